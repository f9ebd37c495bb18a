//! The probe on made-up hosts of both cgroup versions, on broken ones, and on this one.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::resource::HostProbe;
use crate::resource::probe::cpu_list;

const GIB: u64 = 1 << 30;
const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree:         4194304 kB\nMemAvailable:    8388608 kB\n";
const STATUS: &str = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n";
const V2_MOUNT: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNTS: &str = "33 28 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         35 28 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
const V1_SELF: &str = "9:name=systemd:/\n5:cpu,cpuacct:/jobs/a\n4:memory:/jobs/a\n0::/\n";

/// Probes a host made of these files (and 8 processors, 16 GiB, 8 GiB of them available).
fn probe(files: &[(&str, &str)]) -> HostProbe {
    let root = tempfile::tempdir().unwrap();
    let auxv: Vec<u8> = [3usize, 64, 6, 16384, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let put = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("proc/meminfo", MEMINFO.as_bytes());
    put("proc/self/status", STATUS.as_bytes());
    put("proc/self/auxv", &auxv);
    put("sys/devices/system/cpu/online", b"0-7\n");
    for (path, text) in files {
        put(path, text.as_bytes());
    }
    HostProbe::read_below(root.path())
}

#[test]
fn a_host_without_cgroups_is_what_it_is() {
    let found = probe(&[]);
    assert_eq!((found.memory.total_bytes, found.memory.usable_bytes, found.memory.available_bytes), (16 * GIB, 16 * GIB, 8 * GIB));
    assert_eq!(found.memory.limited_by, "the machine has");
    assert_eq!((found.cpus.online, found.cpus.allowed, found.cpus.usable, found.cpus.quota), (8, 8, 8, None));
    assert_eq!(found.page_bytes, 16384);
    assert_eq!(found.warnings, Vec::<String>::new());
}

#[test]
fn version_2_the_smallest_limit_on_the_way_up_binds() {
    let found = probe(&[
        ("proc/self/cgroup", "0::/a/b/c\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/a/memory.current", "3221225472\n"),
        ("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 1073741824\n"),
        ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("sys/fs/cgroup/a/b/c/memory.max", "8589934592\n"),
        ("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"),
        ("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"),
    ]);
    assert_eq!(found.memory.usable_bytes, 4 * GIB);
    assert_eq!(found.memory.available_bytes, 2 * GIB, "3 GiB held, 1 GiB of them cache that can go");
    assert_eq!(found.memory.limited_by, "cgroup v2 /sys/fs/cgroup/a allows");
    assert_eq!((found.cpus.quota, found.cpus.usable), (Some(2.5), 2));
    assert_eq!(found.warnings, Vec::<String>::new());
}

#[test]
fn version_2_the_throttling_limit_counts_too() {
    let found = probe(&[
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/memory.high", "2147483648\n"),
    ]);
    assert_eq!(found.memory.usable_bytes, 2 * GIB);
}

#[test]
fn version_1_own_group_quota_and_hierarchy() {
    let found = probe(&[
        ("proc/self/cgroup", V1_SELF),
        ("proc/self/mountinfo", V1_MOUNTS),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "6442450944\n"),
        ("sys/fs/cgroup/memory/jobs/a/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/jobs/a/memory.usage_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/memory/jobs/a/memory.stat", "cache 0\nhierarchical_memory_limit 5368709120\ntotal_inactive_file 0\n"),
        ("sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(found.memory.usable_bytes, 5 * GIB);
    assert_eq!(found.memory.available_bytes, 4 * GIB);
    assert_eq!(found.memory.limited_by, "cgroup v1 /sys/fs/cgroup/memory/jobs/a allows");
    assert_eq!((found.cpus.quota, found.cpus.usable), (Some(0.5), 1), "half a processor is still one thread");
}

#[test]
fn version_1_container_without_a_namespace_sees_its_group_at_the_mount_point() {
    let found = probe(&[
        ("proc/self/cgroup", "4:memory:/docker/0123\n"),
        ("proc/self/mountinfo", "35 28 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
    ]);
    assert_eq!(found.memory.usable_bytes, 2 * GIB);
}

#[test]
fn a_membership_outside_the_mount_reads_the_mounted_group() {
    for own in ["0::/../../elsewhere\n", "0::/docker/0123\n"] {
        let found = probe(&[
            ("proc/self/cgroup", own),
            ("proc/self/mountinfo", "30 24 0:26 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/memory.max", "2147483648\n"),
        ]);
        assert_eq!(found.memory.usable_bytes, 2 * GIB, "{own}");
    }
}

#[test]
fn hybrid_hosts_read_the_version_that_has_the_controller() {
    let found = probe(&[
        ("proc/self/cgroup", "1:name=systemd:/\n0::/x\n"),
        ("proc/self/mountinfo", V1_MOUNTS),
        ("sys/fs/cgroup/unified/x/memory.max", "2147483648\n"),
    ]);
    assert_eq!(found.memory.usable_bytes, 2 * GIB);
}

#[test]
fn a_limit_above_the_machine_does_not_bind() {
    let found =
        probe(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2_MOUNT), ("sys/fs/cgroup/memory.max", "99999999999999\n")]);
    assert_eq!((found.memory.usable_bytes, found.memory.limited_by.as_str()), (16 * GIB, "the machine has"));
}

#[test]
fn nonsense_is_told_and_no_limit_is_made_of_it() {
    let found = probe(&[
        ("proc/self/cgroup", "0::/\nrubbish\n::\n"),
        ("proc/self/mountinfo", &format!("rubbish\n - \n{V2_MOUNT}")),
        ("sys/fs/cgroup/memory.max", "lots\n"),
        ("sys/fs/cgroup/cpu.max", "0 0\n"),
        ("proc/self/auxv", "short"),
    ]);
    assert_eq!((found.memory.usable_bytes, found.cpus.usable, found.page_bytes), (16 * GIB, 8, 4096));
    assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
    assert!(found.warnings[0].contains("memory.max") && found.warnings[0].contains("lots"), "{}", found.warnings[0]);
}

#[test]
fn affinity_and_hyper_threads_are_counted() {
    let mut files = vec![("proc/self/status", "Cpus_allowed_list:\t0-3,6,9\n")];
    let paths: Vec<String> = (0..8).map(|cpu| format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).collect();
    let siblings = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
    files.extend(paths.iter().map(String::as_str).zip(siblings));
    let found = probe(&files);
    assert_eq!((found.cpus.online, found.cpus.allowed, found.cpus.cores, found.cpus.usable), (8, 5, 4, 5), "processor 9 is switched off");
}

#[test]
fn an_empty_root_still_makes_a_probe() {
    let root = tempfile::tempdir().unwrap();
    let found = HostProbe::read_below(root.path());
    assert!(found.cpus.usable >= 1 && found.page_bytes == 4096 && !found.warnings.is_empty());
    let nowhere = HostProbe::read_below(&root.path().join("nowhere"));
    assert_eq!(nowhere.cpus.usable, found.cpus.usable);
}

#[test]
fn this_host_agrees_with_the_standard_library_and_sysinfo() {
    let found = HostProbe::read();
    let ram = sysinfo::MemoryRefreshKind::nothing().with_ram();
    let system = sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_memory(ram)).unwrap();
    assert_eq!(found.memory.total_bytes, system.total_memory());
    assert!(found.memory.usable_bytes > 0 && found.memory.usable_bytes <= found.memory.total_bytes);
    assert!(found.memory.available_bytes <= found.memory.usable_bytes);
    assert_eq!(found.cpus.usable, std::thread::available_parallelism().unwrap().get());
    assert!(found.page_bytes.is_power_of_two());
    if Path::new("/proc/self/auxv").exists() {
        assert_eq!(found.warnings, Vec::<String>::new());
    }
}

proptest! {
    #[test]
    fn no_file_makes_the_probe_panic(cgroup in "[0-9:,/a-z.\\n]{0,60}", mounts in "[0-9: /a-z.,\\\\\\-\\n]{0,120}", limit in "\\PC{0,30}", list in "[0-9,\\- ]{0,30}") {
        let found = probe(&[
            ("proc/self/cgroup", &cgroup),
            ("proc/self/mountinfo", &format!("{mounts}\n{V2_MOUNT}")),
            ("sys/fs/cgroup/memory.max", &limit),
            ("sys/fs/cgroup/cpu.max", &limit),
            ("proc/self/status", &format!("Cpus_allowed_list:\t{list}\n")),
        ]);
        prop_assert!(found.cpus.usable >= 1 && found.cpus.usable <= found.cpus.allowed.max(1));
        prop_assert!(found.memory.usable_bytes <= found.memory.total_bytes);
        if let Some(cpus) = cpu_list(&list) {
            prop_assert!(cpus.is_sorted() && !cpus.is_empty());
        }
    }
}
