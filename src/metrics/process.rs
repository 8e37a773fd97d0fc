//! The process's own metrics under the names that Prometheus' client libraries share, read from `/proc/self` at each
//! scrape. What cannot be read is left out.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

use super::{MetricsError, Registry};

/// Collects on demand; keeps nothing between scrapes but the metrics' names.
#[derive(Debug, Clone)]
struct ProcessCollector {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_seconds: Gauge,
    threads: Gauge,
    ticks_per_second: f64,
    page_bytes: f64,
}

/// Registers the process's metrics.
///
/// # Errors
/// [`MetricsError`] when they are registered already.
pub fn register_process(registry: &Registry) -> Result<(), MetricsError> {
    registry.add(ProcessCollector::new()?)?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
impl ProcessCollector {
    fn new() -> Result<ProcessCollector, MetricsError> {
        let gauge = |name: &str, help: &str| Gauge::new(name, help);
        let collector = ProcessCollector {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "User and system time of the process")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory of the process in RAM")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space of the process")?,
            open_fds: gauge("process_open_fds", "Open file descriptors")?,
            max_fds: gauge("process_max_fds", "The most file descriptors that may be open")?,
            start_seconds: gauge("process_start_time_seconds", "Start of the process since the epoch")?,
            threads: gauge("process_threads", "Threads of the process")?,
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as f64,
        };
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_seconds(&text));
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        if let (Some(boot), Some(stat)) = (boot, stat) {
            collector.start_seconds.set(boot as f64 + stat.start_ticks as f64 / collector.ticks_per_second);
        }
        Ok(collector)
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.start_seconds,
            &self.threads,
        ]
    }

    fn refresh(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
            self.cpu_seconds.reset();
            self.cpu_seconds.inc_by(stat.cpu_ticks as f64 / self.ticks_per_second);
            self.virtual_bytes.set(stat.virtual_bytes as f64);
            self.resident_bytes.set(stat.resident_pages as f64 * self.page_bytes);
            self.threads.set(stat.threads as f64);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.open_fds.set(entries.count().saturating_sub(1) as f64);
        }
        if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.max_fds.set(max as f64);
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}

/// What is used of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_line_is_read() {
        let text = "7 (we (i) r) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 9 0 12345 1048576 256 18446744073709551615 1";
        let expected = Stat {
            cpu_ticks: 42,
            threads: 9,
            start_ticks: 12345,
            virtual_bytes: 1_048_576,
            resident_pages: 256,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (x) S 1"), None);
        assert_eq!(boot_seconds("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn a_scrape_shows_this_process() {
        let registry = Registry::new();
        register_process(&registry).unwrap();
        let text = String::from_utf8(registry.expose().unwrap()).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_threads",
        ] {
            assert!(text.contains(&format!("\n{name} ")), "{name} is missing:\n{text}");
        }
        assert!(register_process(&registry).is_err(), "twice is a defect");
    }
}
