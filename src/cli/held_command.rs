//! A command that runs while a lock is held, and must not run a moment longer.
//!
//! It is a process group of its own, so that what it starts ends with it. When no keep-alive has come
//! through for long, the group gets SIGTERM, and SIGKILL before the server can end the lease: as long as
//! this process itself runs. If it is stopped, or killed with SIGKILL, nobody ends the command; what
//! must not be done by two at once is guarded with the token that the command finds in its environment.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Command, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

use super::{Failure, serve::Signals};
use crate::{client::Client, recipes::LockGuard};

/// Of the lock's time to live, what is left when the command is told to end.
const WARN_PART: u32 = 4;
/// And when it is killed.
const KILL_PART: u32 = 16;
/// How often the clock is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a command may take to end after a signal to this process.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, or after a signal that was passed on, with this exit code.
    Code(u8),
    /// Because the lock was about to be lost.
    Lost,
}

/// The command.
pub(super) struct Running {
    /// Nothing that it started outlives the lock, unless the command itself has ended in peace.
    group: Pid,
    ending: JoinHandle<io::Result<ExitStatus>>,
    /// As it was typed.
    name: String,
}

/// Why it is ended.
#[derive(PartialEq, Eq)]
enum Cause {
    Lost,
    Signal,
}

impl Running {
    /// Starts it, with key and token in its environment.
    pub fn start(command: &[OsString], guard: &LockGuard<Client>) -> Result<Running, Failure> {
        let [program, arguments @ ..] = command else {
            return Err(Failure::Usage("no command is given".into()));
        };
        let name = program.display().to_string();
        let failed = |why: io::Error| Failure::Usage(format!("cannot run {name}: {why}"));
        let mut prepared = Command::new(program);
        prepared.args(arguments).process_group(0);
        prepared.env("QUORATE_LOCK_KEY", OsStr::from_bytes(guard.owner_key()));
        prepared.env("QUORATE_FENCING_TOKEN", guard.token().to_string());
        let mut child = prepared.spawn().map_err(failed)?;
        let group = Pid::from_child(&child);
        Ok(Running { group, ending: spawn_blocking(move || child.wait()), name })
    }

    /// Waits for its end, and brings it about if it must be.
    pub async fn until_its_end(
        mut self,
        guard: &LockGuard<Client>,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let cause = tokio::select! {
            ended = &mut self.ending => return self.code(ended),
            () = nearly_lost(guard, WARN_PART) => Cause::Lost,
            _ = signals.next() => Cause::Signal,
        };
        self.signal(Signal::TERM);
        if cause == Cause::Lost {
            tracing::debug!(command = self.name, "the lock is about to be lost: the command is ended");
        }
        let patience = match cause {
            Cause::Lost => guard.remaining().saturating_sub(guard.ttl() / KILL_PART),
            // The lock is kept meanwhile.
            Cause::Signal => GRACE,
        };
        let until = Instant::now() + patience;
        let ended = tokio::select! {
            ended = &mut self.ending => ended,
            () = async { tokio::select! {
                () = sleep_until(until) => {}
                () = nearly_lost(guard, KILL_PART) => {}
                _ = signals.next() => {}
            } } => {
                self.signal(Signal::KILL);
                (&mut self.ending).await
            }
        };
        // What it has started and left behind.
        self.signal(Signal::KILL);
        match cause {
            Cause::Lost => Ok(Ended::Lost),
            Cause::Signal => self.code(ended),
        }
    }

    /// A group that is gone is no error.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.group, signal);
    }

    fn code(&self, ended: Result<io::Result<ExitStatus>, tokio::task::JoinError>) -> Result<Ended, Failure> {
        let status = ended.map_err(io::Error::other).flatten();
        let status = status.map_err(|why| Failure::Usage(format!("cannot wait for {}: {why}", self.name)))?;
        Ok(Ended::Code(exit_code(status)))
    }
}

/// As a shell tells it: of a command that a signal ended, 128 and the signal.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Resolves when less than a part of the time to live is left, by a clock that is looked at again and again:
/// timers do not see a suspension.
async fn nearly_lost(guard: &LockGuard<Client>, part: u32) {
    while guard.remaining() > guard.ttl() / part {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_what_a_shell_would_say() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }
}
