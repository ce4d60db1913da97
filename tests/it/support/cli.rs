//! The command line, run as a person would: arguments in, output, exit code and time out. Nothing may hang.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// No command of these tests may take longer, whatever its own deadline.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// The program under test: `QUORATE_TEST_BIN`, or the one that Cargo built for these tests.
pub fn binary() -> PathBuf {
    std::env::var_os("QUORATE_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_quorate").into(), PathBuf::from)
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Done {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// Fails unless the exit code is `code`.
    pub fn expect(self, code: i32) -> Done {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// The program with an environment free of `QUORATE_*` variables, and nothing on its standard input.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `quorate` with these arguments.
pub fn run(arguments: &[&str]) -> Done {
    let mut command = command();
    command.args(arguments);
    finish(command)
}

/// Runs a prepared command to its end, which must come soon.
pub fn finish(mut command: Command) -> Done {
    let start = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let watchdog = Watchdog::over(child.id());
    let output = child.wait_with_output().expect("the program's output");
    assert!(!watchdog.barked(), "{command:?} hung for {HANGS_AFTER:?}");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: start.elapsed(),
    }
}

/// Kills a process that takes too long.
struct Watchdog {
    finished: std::sync::mpsc::SyncSender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn over(pid: u32) -> Watchdog {
        let (finished, waits) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let late = waits.recv_timeout(HANGS_AFTER).is_err();
            if late {
                super::cluster::signal(pid, rustix::process::Signal::KILL);
            }
            late
        });
        Watchdog { finished, thread }
    }

    fn barked(self) -> bool {
        // It has left already if it had to bark.
        let _ = self.finished.send(());
        self.thread.join().expect("the watchdog does not panic")
    }
}
