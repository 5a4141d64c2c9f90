//! How much memory this process and the workers that it starts may take: of the machine, and of every control group (of a container,
//! a service, a batch job) that they are in. The kernel kills what goes beyond the smallest of these limits.
//!
//! Control groups lie in the file system: `/proc/self/cgroup` names ours, `/proc/self/mountinfo` says where the hierarchies are
//! mounted, and each folder from ours up to the mount point may have a limit. Described in the kernel's documentation:
//! `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1/memory.rst`.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// From here on a limit is none: version 1 writes the largest number of pages where nothing was set. Bytes.
const NO_LIMIT: u64 = 1 << 62;

/// Memory for all workers together, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// What may be taken now; `None` where unknown.
    pub free: Option<u64>,
    /// What could be taken if nobody else took any; `None` where unknown.
    pub total: Option<u64>,
}

impl Memory {
    /// Of this process, now. Unknown where the system is not Linux.
    pub fn of_this_process() -> Self {
        Self::under(Path::new("/"))
    }

    /// What is left of it where so many bytes are kept for something else.
    pub fn without(self, bytes: u64) -> Self {
        Self { free: self.free.map(|free| free.saturating_sub(bytes)), ..self }
    }

    /// As `/proc` and the control groups below `root` say.
    fn under(root: &Path) -> Self {
        let machine = text(&root.join("proc/meminfo"));
        let kibibytes = |name| value(&machine, name).and_then(|amount| amount.checked_mul(1024));
        let machine = Self { free: kibibytes("MemAvailable:"), total: kibibytes("MemTotal:") };
        groups(root).iter().filter_map(|(version, folder)| version.memory(folder)).fold(machine, Self::smaller)
    }

    /// What both allow.
    fn smaller(self, other: Self) -> Self {
        let smaller = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self { free: smaller(self.free, other.free), total: smaller(self.total, other.total) }
    }
}

/// The folders of all control groups that limit this process, its own and those above.
fn groups(root: &Path) -> Vec<(Version, PathBuf)> {
    let (own, mounts) = (text(&root.join("proc/self/cgroup")), text(&root.join("proc/self/mountinfo")));
    let mut groups = Vec::new();
    for Mount { version, origin, point } in mounts.lines().filter_map(Mount::parse) {
        let Some(path) = own.lines().find_map(|line| version.path(line)) else { continue };
        let point = root.join(point.strip_prefix("/").unwrap_or(&point));
        // In a container the mount may begin somewhere below what the path counts from, and in a namespace the path may lead out
        // of it: what is seen at the mount point is then what holds for us.
        let inside = Path::new(path).strip_prefix(&origin).ok();
        let inside = inside.filter(|path| !path.components().any(|part| part == Component::ParentDir));
        let folder = inside.map_or_else(|| point.clone(), |inside| point.join(inside));
        groups.extend(folder.ancestors().take_while(|above| above.starts_with(&point)).map(|above| (version, above.to_owned())));
    }
    groups
}

/// A hierarchy of control groups that is mounted.
struct Mount {
    version: Version,
    /// The group that lies at the mount point.
    origin: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// A line of `/proc/self/mountinfo`; `None` where it is a mount of something else.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (origin, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let version = match (after.next()?, after.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, origin: unescaped(origin).into(), point: unescaped(point).into() })
    }
}

/// The two kinds of control groups; a machine may have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The path of our group, where this line of `/proc/self/cgroup` is of this kind.
    fn path(self, line: &str) -> Option<&str> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let matches = match self {
            Self::One => controllers.split(',').any(|controller| controller == "memory"),
            Self::Two => controllers.is_empty(),
        };
        matches.then_some(path)
    }

    /// What one group allows; `None` where it has no limit.
    fn memory(self, folder: &Path) -> Option<Memory> {
        let read = |name: &str| text(&folder.join(name)).trim().parse::<u64>().ok();
        let stat = text(&folder.join("memory.stat"));
        let (limits, used, reclaimable): (_, _, &[&str]) = match self {
            // The limit of all groups above, also of those that a container does not see.
            Self::One => (
                [read("memory.limit_in_bytes"), value(&stat, "hierarchical_memory_limit")],
                read("memory.usage_in_bytes"),
                &["total_inactive_file", "total_active_file"],
            ),
            // Above `high` nothing is killed, but everything waits until something was given back, which workers never do.
            Self::Two => (
                [read("memory.max"), read("memory.high")],
                read("memory.current"),
                &["inactive_file", "active_file", "slab_reclaimable"],
            ),
        };
        let limit = limits.into_iter().flatten().min().filter(|&limit| limit < NO_LIMIT)?;
        // Pages of files are given back as soon as somebody needs memory.
        let given_back = reclaimable.iter().filter_map(|name| value(&stat, name)).sum();
        let used = used.unwrap_or(0).saturating_sub(given_back);
        Some(Memory { free: Some(limit.saturating_sub(used)), total: Some(limit) })
    }
}

/// The text of a file; empty where it cannot be read.
fn text(path: &Path) -> String {
    fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The number after a name that stands first on its line.
fn value(text: &str, name: &str) -> Option<u64> {
    let of = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next()? == name { words.next()?.parse().ok() } else { None }
    };
    text.lines().find_map(of)
}

/// A path of `mountinfo`, in which a space, a tab, a line feed and a backslash are written as three octal digits.
fn unescaped(path: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .into_iter()
        .fold(path.to_owned(), |path, (from, to)| path.replace(from, to))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const MACHINE: &str = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\n";
    const OF_MACHINE: Memory = Memory { free: Some(4_096_000_000), total: Some(8_192_000_000) };
    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// What is read from these files.
    fn read(files: &[(&str, &str)]) -> Memory {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Memory::under(folder.path())
    }

    fn memory(free: u64, total: u64) -> Memory {
        Memory { free: Some(free), total: Some(total) }
    }

    #[test]
    fn without_groups_the_machine_decides() {
        assert_eq!(read(&[]), Memory::default());
        assert_eq!(read(&[("proc/meminfo", MACHINE)]), OF_MACHINE);
        assert_eq!(read(&[("proc/meminfo", "MemAvailable: many kB\n")]), Memory::default());
        let damaged = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "::\nno\n0:\n"),
            ("proc/self/mountinfo", "- - -\n\n1 2 - cgroup2\n"),
        ];
        assert_eq!(read(&damaged), OF_MACHINE);
    }

    #[test]
    fn the_smallest_limit_above_us_counts_less_what_is_used_there() {
        let files = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "0::/user.slice/night.scope\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/user.slice/night.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/night.scope/memory.current", "900000000\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "1000000000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "700000000\n"),
            (
                "sys/fs/cgroup/user.slice/memory.stat",
                "anon 100\nfile 500000000\ninactive_file 300000000\nactive_file 100000000\n",
            ),
        ];
        assert_eq!(read(&files), memory(700_000_000, 1_000_000_000), "page cache is given back");
        let high = [&files[..], &[("sys/fs/cgroup/user.slice/night.scope/memory.high", "950000000\n")]].concat();
        assert_eq!(read(&high), memory(50_000_000, 950_000_000));
        let above = [&files[..], &[("sys/fs/cgroup/memory.max", "1\n")]].concat();
        assert_eq!(read(&above), memory(1, 1), "also at the mount point");
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_root_has_the_limit_there() {
        let files = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/memory.max", "1000000000\n"),
            ("sys/fs/cgroup/memory.current", "1200000000\n"),
        ];
        assert_eq!(read(&files), memory(0, 1_000_000_000), "a limit may be set below what is used");
        let moved = [&files[..], &[("proc/self/cgroup", "0::/../elsewhere\n")]].concat();
        assert_eq!(read(&moved), memory(0, 1_000_000_000));
    }

    #[test]
    fn version_one_has_other_files_and_a_huge_number_for_no_limit() {
        let mount = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let files = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/jobs/17\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/memory/jobs/17/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/jobs/17/memory.usage_in_bytes", "12218368\n"),
            ("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "600000000\n"),
            ("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "500000000\n"),
            (
                "sys/fs/cgroup/memory/jobs/memory.stat",
                "inactive_file 1\ntotal_inactive_file 90000000\ntotal_active_file 10000000\n",
            ),
        ];
        assert_eq!(read(&files), memory(200_000_000, 600_000_000));
        assert_eq!(read(&files[..5]), OF_MACHINE, "no limit at all");
        let hidden =
            [&files[..5], &[("sys/fs/cgroup/memory/jobs/17/memory.stat", "hierarchical_memory_limit 112218368\n")]].concat();
        assert_eq!(read(&hidden), memory(100_000_000, 112_218_368), "of a group that is not seen");
    }

    #[test]
    fn a_container_may_see_only_the_part_of_the_tree_that_begins_with_its_own_group() {
        let mount = r"35 31 0:32 /docker/a /sys/fs/control\040groups rw master:9 - cgroup cgroup rw,memory";
        let files = [
            ("proc/meminfo", MACHINE),
            ("proc/self/mountinfo", mount),
            ("sys/fs/control groups/memory.limit_in_bytes", "600000000\n"),
            ("sys/fs/control groups/inner/memory.limit_in_bytes", "500000000\n"),
        ];
        for (path, limit) in [("/docker/a", 600_000_000), ("/docker/a/inner", 500_000_000), ("/elsewhere", 600_000_000)] {
            let own = format!("4:memory:{path}\n");
            let files = [&files[..], &[("proc/self/cgroup", own.as_str())]].concat();
            assert_eq!(read(&files), memory(limit, limit), "{path}: nothing is known of what is used");
        }
    }

    #[test]
    fn of_both_versions_beside_each_other_the_smaller_limit_counts() {
        let mounts = format!(
            "{}35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            V2.replace("cgroup rw", "cgroup/unified rw")
        );
        let files = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
            ("proc/self/mountinfo", mounts.as_str()),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "600000000\n"),
            ("sys/fs/cgroup/unified/b/memory.max", "500000000\n"),
        ];
        assert_eq!(read(&files), memory(500_000_000, 500_000_000));
    }

    #[test]
    fn what_is_kept_for_something_else_is_not_free() {
        assert_eq!(memory(700, 1000).without(300), memory(400, 1000));
        assert_eq!(memory(200, 1000).without(300), memory(0, 1000));
        assert_eq!(Memory::default().without(300), Memory::default(), "nothing is known");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_some() {
        let here = Memory::of_this_process();
        assert!(here.free.unwrap() <= here.total.unwrap() && here.free.unwrap() > 0, "{here:?}");
    }
}
