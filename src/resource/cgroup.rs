//! Linux control groups, both versions: which groups this process is in, and what they allow. Texts in, values out; the reader is [`Groups`].
//!
//! A limit of any ancestor binds, so the whole path from the process's own group to the top of the mount is read, and the smallest wins.
//! A file that is missing sets no limit (the root group has none); a file that cannot be understood is told as a warning, never as "no limit"
//! in silence.

use std::path::{Path, PathBuf};

/// One hierarchy as this process sees it: the folder of its own group and the top above which nothing can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) version: Version,
    /// The process's own group, below the root directory that was probed.
    pub(super) own: PathBuf,
    /// The mount point of the hierarchy.
    pub(super) top: PathBuf,
}

/// Which interface files a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A line of `/proc/self/cgroup`: `5:cpu,cpuacct:/path` or, for version 2, `0::/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Membership {
    controllers: Vec<String>,
    path: String,
}

fn memberships(self_cgroup: &str) -> Vec<Membership> {
    let parse = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Membership { controllers, path: path.to_owned() })
    };
    self_cgroup.lines().filter_map(parse).collect()
}

/// A cgroup mount out of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is mounted: `/`, or the container's own where no namespace hides it.
    root: String,
    point: String,
    /// Version 1: the controllers, from the super block's options.
    options: Vec<String>,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = file_system.nth(1).unwrap_or("").split(',').map(str::to_owned).collect();
        Some(Mount { version, root: unescape(root), point: unescape(point), options })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// `mountinfo` writes blanks, tabs, line ends and backslashes as octal escapes.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The group that governs `controller` (`memory`, `cpu`) for this process: version 1 where it is mounted with that controller, else version 2.
/// `root` stands before every path (`/` on a real host).
pub(super) fn find_group(root: &Path, self_cgroup: &str, mountinfo: &str, controller: &str) -> Option<Group> {
    let (memberships, mounts) = (memberships(self_cgroup), mounts(mountinfo));
    let named = |names: &[String]| names.iter().any(|name| name == controller);
    let v1 = memberships.iter().find(|membership| named(&membership.controllers));
    let v1_mount = mounts.iter().find(|mount| mount.version == Version::V1 && named(&mount.options));
    let v2 = memberships.iter().find(|membership| membership.controllers.is_empty());
    let v2_mount = mounts.iter().find(|mount| mount.version == Version::V2);
    let (membership, mount) = v1.zip(v1_mount).or_else(|| v2.zip(v2_mount))?;
    let top = below(root, &mount.point);
    let own = below(&top, relative(&membership.path, &mount.root));
    Some(Group { version: mount.version, own, top })
}

/// The membership's path within the mount. Where it lies outside (another namespace), the mounted group is the nearest that can be seen.
fn relative<'a>(path: &'a str, mount_root: &str) -> &'a str {
    let inside = if mount_root == "/" { Some(path) } else { path.strip_prefix(mount_root) };
    match inside {
        Some(rest) if (rest.is_empty() || rest.starts_with('/')) && !rest.split('/').any(|step| step == "..") => rest,
        _ => "",
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

impl Group {
    /// The folders whose limits bind: the own group, its parents, up to the top.
    pub(super) fn ancestry(&self) -> Vec<&Path> {
        self.own.ancestors().take_while(|folder| folder.starts_with(&self.top)).collect()
    }
}

/// A memory limit in bytes: `max` and version 1's "as much as a page counter holds" are none. Errors: what could not be understood.
pub(super) fn parse_memory_limit(text: &str) -> Result<Option<u64>, String> {
    /// Version 1 writes no limit as `LONG_MAX` rounded down to a page; no host has an exbibyte.
    const UNLIMITED_FROM: u64 = 1 << 60;
    match text.trim() {
        "max" => Ok(None),
        number => match number.parse::<u64>() {
            Ok(bytes) => Ok((bytes < UNLIMITED_FROM).then_some(bytes)),
            Err(_) if number == "-1" => Ok(None),
            Err(_) => Err(format!("expected bytes or `max`, found `{}`", cut(number))),
        },
    }
}

/// Processors that a quota allows, from `cpu.max` (`200000 100000` or `max 100000`).
pub(super) fn parse_cpu_max(text: &str) -> Result<Option<f64>, String> {
    let mut fields = text.split_whitespace();
    match (fields.next(), fields.next()) {
        (Some("max"), _) => Ok(None),
        (Some(quota), period) => cpu_quota(quota, period.unwrap_or("100000")),
        (None, _) => Err("it is empty".into()),
    }
}

/// Processors that a quota allows, from version 1's `cpu.cfs_quota_us` (`-1` is none) and `cpu.cfs_period_us`.
pub(super) fn cpu_quota(quota_us: &str, period_us: &str) -> Result<Option<f64>, String> {
    let (quota_us, period_us) = (quota_us.trim(), period_us.trim());
    if quota_us == "-1" {
        return Ok(None);
    }
    match (quota_us.parse::<u32>(), period_us.parse::<u32>()) {
        (Ok(quota), Ok(period)) if quota > 0 && period > 0 => Ok(Some(f64::from(quota) / f64::from(period))),
        _ => Err(format!("expected two numbers of microseconds, found `{}` and `{}`", cut(quota_us), cut(period_us))),
    }
}

/// A line `key 123` of a `memory.stat` file.
pub(super) fn stat_value(memory_stat: &str, key: &str) -> Option<u64> {
    memory_stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
