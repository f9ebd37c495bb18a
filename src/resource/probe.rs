//! What this host lets the process use: memory, processors, page size. Reads `/proc` and `/sys`; a missing file is a note, never a failure.
//!
//! Must not decide anything: budgets and thread plans are made from what is told here.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cgroup::{Group, Version, cpu_quota, find_group, parse_cpu_max, parse_memory_limit, stat_value};

/// Files below `/proc` and `/sys` are short; a longer one is cut here.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The smallest page of the platforms there are, for a host that does not say.
const PAGE_BYTES_DEFAULT: u64 = 4096;

/// Memory that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostMemory {
    /// Memory of the machine, in bytes; 0 where the host does not tell.
    pub total_bytes: u64,
    /// The smallest of the machine's memory and every cgroup limit above this process, in bytes.
    pub usable_bytes: u64,
    /// What could be taken now without pushing anything out, in bytes: the smallest of the machine's available memory and each limit's free rest.
    pub available_bytes: u64,
    /// Who sets `usable_bytes`, as the end of a sentence: `the machine has`, `cgroup v2 /sys/fs/cgroup/a allows`.
    pub limited_by: String,
}

/// Processors that this process may use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostCpus {
    /// Processors of the machine that are online.
    pub online: usize,
    /// Processors that the affinity mask allows.
    pub allowed: usize,
    /// Cores behind the allowed processors: hyper-threads of one core count once.
    pub cores: usize,
    /// Processors' worth of time that the cgroup quota allows, if there is one.
    pub quota: Option<f64>,
    /// Threads that can run at once: the allowed processors, and not more than the quota rounded down; at least 1.
    pub usable: usize,
}

/// Everything that the probe found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostProbe {
    /// Memory.
    pub memory: HostMemory,
    /// Processors.
    pub cpus: HostCpus,
    /// Bytes of a memory page.
    pub page_bytes: u64,
    /// What could not be read or understood, a sentence each.
    pub warnings: Vec<String>,
}

impl HostProbe {
    /// Probes this host. Blocks for some reads of `/proc` and `/sys`; costs well under a millisecond.
    #[must_use]
    pub fn read() -> Self {
        Self::read_below(Path::new("/"))
    }

    /// Probes the host whose `/proc` and `/sys` lie below `root`.
    #[must_use]
    pub fn read_below(root: &Path) -> Self {
        let mut reader = Reader { root: root.to_path_buf(), warnings: Vec::new() };
        let self_cgroup = reader.text("proc/self/cgroup").unwrap_or_default();
        let mountinfo = reader.text("proc/self/mountinfo").unwrap_or_default();
        let group = |controller| find_group(root, &self_cgroup, &mountinfo, controller);
        let memory = reader.memory(group("memory").as_ref());
        let cpus = reader.cpus(group("cpu").as_ref());
        let page_bytes = reader.page_bytes();
        Self { memory, cpus, page_bytes, warnings: reader.warnings }
    }
}

/// A limit with what is held under it.
struct Limit {
    bytes: u64,
    free_bytes: u64,
    label: String,
}

struct Reader {
    root: PathBuf,
    warnings: Vec<String>,
}

impl Reader {
    fn bytes_of(&mut self, path: &Path) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.warnings.push(format!("could not read {}: {error}", path.display()));
                None
            }
        }
    }

    fn text_at(&mut self, path: &Path) -> Option<String> {
        self.bytes_of(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn text(&mut self, path: &str) -> Option<String> {
        self.text_at(&self.root.join(path))
    }

    fn understood<T>(&mut self, path: &Path, parsed: Result<Option<T>, String>) -> Option<T> {
        parsed.unwrap_or_else(|reason| {
            self.warnings.push(format!("{} sets no limit that can be understood: {reason}", path.display()));
            None
        })
    }

    fn memory(&mut self, group: Option<&Group>) -> HostMemory {
        let (total_bytes, free_bytes) = self.machine_memory();
        let mut memory = HostMemory {
            total_bytes,
            usable_bytes: total_bytes,
            available_bytes: free_bytes.min(total_bytes),
            limited_by: "the machine has".into(),
        };
        let Some(group) = group else { return memory };
        for folder in group.ancestry() {
            for limit in self.memory_limits(group.version, folder) {
                memory.available_bytes = memory.available_bytes.min(limit.free_bytes);
                if limit.bytes < memory.usable_bytes {
                    memory.usable_bytes = limit.bytes;
                    memory.limited_by = limit.label;
                }
            }
        }
        memory
    }

    /// Total and available bytes of the machine, from `/proc/meminfo` or, where there is none, from the system's own interface.
    fn machine_memory(&mut self) -> (u64, u64) {
        let meminfo = self.text("proc/meminfo").unwrap_or_default();
        let kib =
            |key: &str| meminfo.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        if let (Some(total), Some(available)) = (kib("MemTotal:"), kib("MemAvailable:").or_else(|| kib("MemFree:"))) {
            return (total.saturating_mul(1024), available.saturating_mul(1024));
        }
        let ram = sysinfo::MemoryRefreshKind::nothing().with_ram();
        match sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_memory(ram)) {
            Ok(system) => (system.total_memory(), system.available_memory()),
            Err(error) => {
                self.warnings.push(format!("this host does not tell its memory: {error}"));
                (0, 0)
            }
        }
    }

    /// The limits that one group sets. Page cache that can be dropped does not count as held.
    fn memory_limits(&mut self, version: Version, folder: &Path) -> Vec<Limit> {
        let stat = self.text_at(&folder.join("memory.stat")).unwrap_or_default();
        let (limit_files, usage_file, cache_key): (&[&str], _, _) = match version {
            Version::V1 => (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
        };
        let usage = self.text_at(&folder.join(usage_file)).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        let held = usage.saturating_sub(stat_value(&stat, cache_key).unwrap_or(0));
        let mut limits = Vec::new();
        for name in limit_files {
            let path = folder.join(name);
            let Some(text) = self.text_at(&path) else { continue };
            if let Some(bytes) = self.understood(&path, parse_memory_limit(&text)) {
                limits.push(self.limit(version, folder, bytes, held));
            }
        }
        // Version 1 tells here what groups above the mount allow, which a container cannot see otherwise.
        if let Some(bytes) = stat_value(&stat, "hierarchical_memory_limit").filter(|bytes| *bytes < 1 << 60) {
            limits.push(self.limit(version, folder, bytes, held));
        }
        limits
    }

    fn limit(&self, version: Version, folder: &Path, bytes: u64, held: u64) -> Limit {
        let number = if version == Version::V1 { 1 } else { 2 };
        let shown = folder.strip_prefix(&self.root).unwrap_or(folder).display();
        Limit { bytes, free_bytes: bytes.saturating_sub(held), label: format!("cgroup v{number} /{shown} allows") }
    }

    fn cpus(&mut self, group: Option<&Group>) -> HostCpus {
        let online = self.text("sys/devices/system/cpu/online").and_then(|text| cpu_list(&text));
        let status = self.text("proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| cpu_list(line.strip_prefix("Cpus_allowed_list:")?));
        let fallback = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if allowed.is_none() {
            self.warnings.push(format!("/proc/self/status tells no affinity; the standard library says {fallback} processors"));
        }
        let online_count = online.as_ref().map(Vec::len);
        let allowed = match (allowed, online) {
            // A mask may name processors that are switched off.
            (Some(allowed), Some(online)) => allowed.into_iter().filter(|cpu| online.contains(cpu)).collect(),
            (Some(allowed), None) => allowed,
            (None, _) => Vec::new(),
        };
        let allowed_count = if allowed.is_empty() { fallback } else { allowed.len() };
        let quota = group.and_then(|group| self.cpu_quota(group));
        HostCpus {
            online: online_count.unwrap_or(allowed_count),
            allowed: allowed_count,
            cores: self.cores(&allowed).unwrap_or(allowed_count),
            quota,
            usable: quota.map_or(allowed_count, |quota| allowed_count.min(whole_cpus(quota))).max(1),
        }
    }

    /// The smallest quota on the way from the own group to the top.
    fn cpu_quota(&mut self, group: &Group) -> Option<f64> {
        let mut smallest: Option<f64> = None;
        for folder in group.ancestry() {
            let (path, parsed) = match group.version {
                Version::V1 => {
                    let path = folder.join("cpu.cfs_quota_us");
                    let Some(quota) = self.text_at(&path) else { continue };
                    let period = self.text_at(&folder.join("cpu.cfs_period_us")).unwrap_or_else(|| "100000".into());
                    (path, cpu_quota(&quota, &period))
                }
                Version::V2 => {
                    let path = folder.join("cpu.max");
                    let Some(text) = self.text_at(&path) else { continue };
                    (path, parse_cpu_max(&text))
                }
            };
            if let Some(quota) = self.understood(&path, parsed) {
                smallest = Some(smallest.map_or(quota, |before| before.min(quota)));
            }
        }
        smallest
    }

    /// Distinct cores behind these processors, where the machine tells which processors share one.
    fn cores(&mut self, allowed: &[usize]) -> Option<usize> {
        let mut cores = std::collections::BTreeSet::new();
        for cpu in allowed {
            cores.insert(self.text(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))?);
        }
        (!cores.is_empty()).then_some(cores.len())
    }

    fn page_bytes(&mut self) -> u64 {
        let auxv = self.bytes_of(&self.root.join("proc/self/auxv")).unwrap_or_default();
        auxv_page_bytes(&auxv).unwrap_or_else(|| {
            self.warnings.push(format!("/proc/self/auxv tells no page size; {PAGE_BYTES_DEFAULT} is assumed"));
            PAGE_BYTES_DEFAULT
        })
    }
}

/// Processors that a quota keeps busy all the time; a thread more would be throttled in every period.
fn whole_cpus(quota: f64) -> usize {
    // The quota is a quotient of two positive u32, so the cast keeps it whole or saturates.
    quota.floor().max(1.0) as usize
}

/// A list such as `0-3,8,10-11`; `None` when it is not one. Bounded at 2^16 processors.
pub(super) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    const CPUS_MAX: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    (!cpus.is_empty()).then_some(cpus)
}

/// The page size out of the auxiliary vector: pairs of native words, key 6.
fn auxv_page_bytes(auxv: &[u8]) -> Option<u64> {
    const AT_PAGESZ: usize = 6;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().ok().map(usize::from_ne_bytes);
    let pair = auxv.chunks_exact(2 * WORD).find(|pair| word(&pair[..WORD]) == Some(AT_PAGESZ))?;
    word(&pair[WORD..]).map(|bytes| bytes as u64).filter(|bytes| bytes.is_power_of_two())
}
