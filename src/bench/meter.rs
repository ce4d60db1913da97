//! What processes use: processor time, memory, what they write. From `/proc`, so on Linux only; what cannot
//! be read is `None`.

use std::{fs, time::Duration};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    time::{ClockId, clock_gettime},
};

use super::BenchError;

/// The processes that are looked at, besides our own.
pub(super) struct Meter {
    pids: Vec<u32>,
}

/// What was used up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// User and system time of the processes; `None` without processes.
    pub server_cpu: Option<Duration>,
    /// The same of our own process.
    pub own_cpu: Duration,
    /// Bytes that the processes caused to be written to disks.
    pub written: Option<u64>,
    /// Requests to write caches out that all of this machine's disks have carried out, for whomever.
    pub flushes: Option<u64>,
    /// Bytes of memory of each process.
    pub resident: Vec<u64>,
}

impl Meter {
    /// # Errors
    /// `Invalid`: there is no such process.
    pub fn new(pids: &[u32]) -> Result<Meter, BenchError> {
        match pids.iter().find(|pid| cpu(**pid).is_none()) {
            Some(pid) => Err(BenchError::Invalid(format!("--server-pids: there is no process {pid} here"))),
            None => Ok(Meter { pids: pids.to_vec() }),
        }
    }

    /// What was used up to now.
    pub fn sample(&self) -> Sample {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own_cpu = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        Sample {
            server_cpu: self.sum(cpu),
            own_cpu,
            written: self.sum(written),
            flushes: self.pids.first().and_then(|_| flushes(&fs::read_to_string("/proc/diskstats").ok()?)),
            resident: self.pids.iter().map(|pid| resident(*pid).unwrap_or(0)).collect(),
        }
    }

    /// Over all processes; `None` if there are none, or one cannot be read.
    fn sum<T: std::iter::Sum>(&self, of: impl Fn(u32) -> Option<T>) -> Option<T> {
        self.pids.first()?;
        self.pids.iter().map(|pid| of(*pid)).sum()
    }
}

fn cpu(pid: u32) -> Option<Duration> {
    let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// User and system time in `/proc/PID/stat`: the 14th and 15th field. The second is the program's name, in
/// which blanks and brackets may stand.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn written(pid: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Flushes in `/proc/diskstats`: the 16th number behind a device's name (since Linux 5.5).
fn flushes(diskstats: &str) -> Option<u64> {
    let of = |line: &str| line.split_ascii_whitespace().nth(18)?.parse().ok();
    let counts: Vec<u64> = diskstats.lines().filter_map(of).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_programs_name_does_not_shift_the_fields() {
        let stat = "7 (a ) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 9 0 12345 1 2";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (x) S 1"), None);
    }

    #[test]
    fn flushes_are_summed_where_the_kernel_counts_them() {
        let line = |flushes: u64| format!(" 254 0 vda 1 0 1 1 1 0 1 1 0 1 1 0 0 0 0 {flushes} 9\n");
        assert_eq!(flushes(&(line(5) + &line(7))), Some(12));
        assert_eq!(flushes(" 254 0 vda 1 0 1 1 1 0 1 1 0 1 1\n"), None);
    }

    #[test]
    fn work_costs_processor_time_in_both_accounts() {
        let meter = Meter::new(&[std::process::id()]).expect("our own process");
        let (before, start) = (meter.sample(), Instant::now());
        let mut number = 1u64;
        while start.elapsed() < Duration::from_millis(300) {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        let after = meter.sample();
        let own = after.own_cpu - before.own_cpu;
        let servers = after.server_cpu.expect("readable") - before.server_cpu.expect("readable");
        assert!(own > Duration::from_millis(30), "{own:?}");
        // Ticks are 10 ms, and other tests may run in this process between the two looks.
        assert!(servers + Duration::from_millis(50) > own, "{servers:?} and {own:?}");
        assert!(after.resident[0] > 1 << 20 && number != 0);
    }

    #[test]
    fn nobody_uses_nothing_and_a_stranger_is_refused() {
        let sample = Meter::new(&[]).expect("nobody").sample();
        let nothing = Sample { own_cpu: sample.own_cpu, ..Sample::default() };
        assert_eq!(sample, nothing);
        let refused = Meter::new(&[u32::MAX]).map(|_| ()).expect_err("no such process");
        assert!(refused.to_string().contains("there is no process 4294967295"));
    }
}
