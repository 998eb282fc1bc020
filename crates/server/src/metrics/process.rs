//! What the system says about this process. Nothing here touches a disk.

use std::fs;

/// Numbers of the process; what the system does not tell stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// How many may be open.
    pub max_fds: u64,
}

/// Ticks of processor time a second: what Linux shows to programs, whatever it uses itself.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessStats {
    /// As of now.
    pub fn read() -> ProcessStats {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
        ProcessStats {
            resident_bytes: kib(&status, "VmRSS:") * 1024,
            virtual_bytes: kib(&status, "VmSize:") * 1024,
            cpu_seconds: cpu_seconds(&stat),
            threads: kib(&status, "Threads:"),
            // One of them is the look at the directory itself.
            open_fds: (open as u64).saturating_sub(1),
            max_fds: max_fds(&limits),
        }
    }
}

fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cpu_seconds(stat: &str) -> f64 {
    // The program's name, in brackets, may hold anything; fields are counted after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |at: usize| -> f64 {
        after_name.split_whitespace().nth(at).and_then(|it| it.parse().ok()).unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn max_fds(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes > 100_000 && stats.virtual_bytes >= stats.resident_bytes);
        assert!(stats.threads >= 1 && stats.open_fds >= 3 && stats.max_fds >= stats.open_fds);
        assert_eq!(cpu_seconds("7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 1"), 2.0);
    }
}
