//! The process's own figures from `/proc`, with the names, help texts and fractions of the Go client's process
//! collector, which the reference shows. One that cannot be read is left out.

use std::fs;

use prometheus::Registry;
use prometheus::proto::MetricType;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::figures::{self, Figure};

/// In the order of [`read`].
const FIGURES: [Figure; 8] = [
    counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
    gauge("process_open_fds", "Number of open file descriptors."),
    gauge("process_max_fds", "Maximum number of open file descriptors."),
    gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes."),
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
    // Not the Go client's.
    gauge("process_threads", "Number of OS threads in the process."),
];

const fn counter(name: &'static str, help: &'static str) -> Figure {
    Figure { name, help, kind: MetricType::COUNTER }
}

const fn gauge(name: &'static str, help: &'static str) -> Figure {
    Figure { name, help, kind: MetricType::GAUGE }
}

/// Shows the figures of this process.
pub(super) fn register(registry: &Registry) {
    let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted_at(&stat));
    figures::register(registry, &FIGURES, move || read(booted));
}

fn read(booted: Option<f64>) -> Vec<Option<f64>> {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| Stat::parse(&stat));
    let ticks = clock_ticks_per_second() as f64;
    vec![
        stat.map(|stat| stat.cpu_ticks as f64 / ticks),
        // Without the one that lists them.
        fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as f64),
        Some(limit(Resource::Nofile)),
        stat.map(|stat| stat.resident_pages as f64 * page_size() as f64),
        stat.map(|stat| stat.virtual_bytes as f64),
        Some(limit(Resource::As)),
        stat.zip(booted).map(|(stat, booted)| booted + stat.started_ticks as f64 / ticks),
        stat.map(|stat| stat.threads as f64),
    ]
}

/// The Go client shows "unlimited" as the largest number of 64 bits.
fn limit(resource: Resource) -> f64 {
    getrlimit(resource).current.unwrap_or(u64::MAX) as f64
}

/// What `/proc/[pid]/stat` says (`proc_pid_stat(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time.
    cpu_ticks: u64,
    threads: u64,
    /// After the boot of the machine.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in brackets, and may hold brackets and spaces itself.
        let (_, from_third) = line.rsplit_once(')')?;
        let fields: Vec<_> = from_third.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds after the Unix epoch, from `/proc/stat` (`proc_stat(5)`).
fn booted_at(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_whatever_the_program_calls_itself() {
        let expected = Stat {
            cpu_ticks: 12 + 34,
            threads: 5,
            started_ticks: 7_654,
            virtual_bytes: 123_456_789,
            resident_pages: 2_345,
        };
        for name in ["pushrelay", "a b", "a) R 1 (b", ""] {
            let line = format!(
                "42 ({name}) S 1 42 42 0 -1 4194304 1 2 3 4 12 34 56 78 20 0 5 0 7654 123456789 2345 18446744073709551615 1 1\n"
            );
            assert_eq!(Stat::parse(&line), Some(expected), "{name}");
        }
        for line in ["", "42 (x)", "42 (x) S 1 2 3", "42 x S 1 42 42 0 -1 0 1 2 3 4 12 34 56 78 20 0 5 0 1 1 1"] {
            assert_eq!(Stat::parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_boot_is_one_line_of_many() {
        assert_eq!(booted_at("cpu  1 2 3\nintr 9 9\nctxt 4\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000.0));
        assert_eq!(booted_at("cpu 1\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_of_them_and_they_are_plausible() {
        let registry = Registry::new();
        register(&registry);
        // Work until the kernel has counted a tick of it.
        let value = |name: &str| {
            let families = registry.gather();
            let family = families.iter().find(|family| family.name() == name).expect("the figure is there");
            let metric = &family.get_metric()[0];
            match family.get_field_type() {
                MetricType::COUNTER => metric.get_counter().get_value(),
                _ => metric.get_gauge().get_value(),
            }
        };
        let cpu = value("process_cpu_seconds_total");
        while value("process_cpu_seconds_total") <= cpu {
            std::hint::spin_loop();
        }
        assert!(value("process_cpu_seconds_total") - cpu < 60.0);
        assert_eq!(registry.gather().len(), FIGURES.len());

        let before = value("process_open_fds");
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files at the same time.
        assert!(value("process_open_fds") > before + 20.0, "{before}");
        drop(files);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let (resident, reserved) = (value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"));
        assert!(resident > 1_000_000.0 && resident < reserved, "{resident} {reserved}");
        assert!(reserved <= value("process_virtual_memory_max_bytes"));
        let booted = booted_at(&fs::read_to_string("/proc/stat").unwrap()).unwrap();
        assert!(value("process_start_time_seconds") >= booted);
        assert!(value("process_threads") >= 1.0);
    }
}
