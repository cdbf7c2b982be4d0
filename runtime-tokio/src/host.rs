//! Facts of the machine and the process that the core only repeats: for `envi`, `conf`, `mntr`. Answers to `Environment`
//! and to `OSMXBean`.

use std::fs;
use std::path::Path;
use zebu_core::boundary::AdminOrder;

/// What `envi` shows when there is nothing to show.
const NONE: &str = "<NA>";

/// The lines of `envi` after `zookeeper.version`, in ZooKeeper's order. There is no Java here, and they say so.
pub(crate) fn environment() -> Vec<(String, String)> {
    let env = |name: &str| std::env::var(name).unwrap_or_else(|_| NONE.to_owned());
    let path = |p: std::io::Result<std::path::PathBuf>| {
        p.map_or_else(|_| NONE.to_owned(), |p| p.display().to_string())
    };
    let proc_text = |file: &str| {
        fs::read_to_string(Path::new("/proc/sys/kernel").join(file))
            .map_or_else(|_| NONE.to_owned(), |s| s.trim().to_owned())
    };
    let memory = |key: &str| memory_mib(key).map_or_else(|| NONE.to_owned(), |mib| format!("{mib}MB"));
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    [
        ("host.name", proc_text("hostname")),
        ("java.version", NONE.to_owned()),
        ("java.vendor", NONE.to_owned()),
        ("java.home", NONE.to_owned()),
        ("java.class.path", NONE.to_owned()),
        ("java.library.path", NONE.to_owned()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", NONE.to_owned()),
        ("os.name", proc_text("ostype")),
        ("os.arch", arch.to_owned()),
        ("os.version", proc_text("osrelease")),
        ("user.name", env("USER")),
        ("user.home", env("HOME")),
        ("user.dir", path(std::env::current_dir())),
        ("os.memory.free", memory("MemAvailable:")),
        ("os.memory.max", memory("MemTotal:")),
        ("os.memory.total", memory("MemTotal:")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn memory_mib(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib >> 10)
}

/// Open file descriptors and their limit, of this process; -1 where the system does not say.
pub(crate) fn gauges() -> AdminOrder {
    let open_fds = fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64);
    let max_fds = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("Max open files"))?;
            line.split_whitespace().nth(3)?.parse().ok()
        })
        .unwrap_or(-1);
    AdminOrder::HostGauges { open_fds, max_fds }
}

/// A seed for the core: from the operating system's generator.
pub(crate) fn seed() -> std::io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described() {
        let lines = environment();
        assert_eq!(lines[0].0, "host.name");
        assert_eq!(lines.len(), 17);
        assert!(lines.iter().all(|(_, v)| !v.is_empty()));
        let AdminOrder::HostGauges { open_fds, max_fds } = gauges() else { panic!() };
        assert!(open_fds > 2 && max_fds >= open_fds, "{open_fds} of {max_fds}");
        assert_ne!(seed().unwrap(), seed().unwrap());
    }
}
