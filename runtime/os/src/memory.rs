//! How much memory this process may have: of the machine, and of the control group that it runs in.

use std::path::{Component, Path, PathBuf};

/// The machine's memory, or what the control groups of this process allow, where that is less; bytes.
#[must_use]
pub fn memory_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    // `totalram` has the width of a word of the machine.
    let machine_bytes = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| limit_in(&file));
    limits.fold(machine_bytes, u64::min)
}

/// The files with the limits of the groups that `/proc/self/cgroup` lists, and of the groups above them.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(group.trim_start_matches('/'));
        // A group outside of this process' own view begins with `..`; nothing above its root can be seen.
        let seen = group.components().all(|component| matches!(component, Component::Normal(_)));
        let group = if seen { group } else { Path::new("") };
        files.extend(group.ancestors().map(|above| root.join(above).join(file)));
    }
    files
}

/// None where the file is not there, or says `max`.
fn limit_in(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(groups: &str) -> Vec<String> {
        limit_files(groups).into_iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn a_group_and_those_above_it() {
        let found = files("0::/system.slice/lockstepd.service\n");
        let expected = [
            "/sys/fs/cgroup/system.slice/lockstepd.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(found, expected);
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn the_older_kind_of_groups_and_what_can_not_be_seen() {
        let found = files("12:cpu,cpuacct:/a\n4:memory:/b\nnonsense\n");
        let expected =
            ["/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        assert_eq!(found, expected);
        assert_eq!(files("0::/../elsewhere\n"), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.max");
        assert_eq!(limit_in(&file), None);
        for (text, limit) in [("max\n", None), ("1073741824\n", Some(1 << 30))] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(limit_in(&file), limit);
        }
        assert!(memory_bytes() > 1 << 20);
    }
}
