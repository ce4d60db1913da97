//! One process, which ends with its handle.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// A child process; killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts it, with what it says appended to `dir/log`.
    pub fn start(mut command: Command, dir: &Path) -> io::Result<Process> {
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        let errors = log.try_clone()?;
        command.stdin(std::process::Stdio::null()).stdout(log).stderr(errors).spawn().map(Process)
    }

    /// Whether it has not ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.0.try_wait().ok()?.map(|status| status.to_string())
    }

    /// SIGKILL. Whether it ran until then.
    pub fn kill(&mut self) -> io::Result<bool> {
        let ran = self.is_alive();
        self.0.kill()?;
        self.0.wait()?;
        Ok(ran)
    }

    /// SIGTERM, and SIGKILL if it goes on after `within`. Whether it ended by itself, with exit code 0.
    pub async fn stop(&mut self, within: Duration) -> io::Result<bool> {
        self.signal(Signal::TERM);
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.success());
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.kill()?;
        Ok(false)
    }

    /// SIGSTOP. Whether it is seen to stand still.
    pub async fn pause(&self) -> bool {
        self.signal(Signal::STOP);
        // The kernel stops its threads one by one.
        for _ in 0..100 {
            if self.state() == Some('T') {
                return true;
            }
            sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// As `/proc` tells it, behind the program's name.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// One that has just ended is no error.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
