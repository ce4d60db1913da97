//! `serve`: a member of a cluster, until a signal.

use std::{
    io::Write,
    process,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Outcome, serve_args::ServeArgs};
use crate::{env, server, telemetry};

/// The exit code of a process that a second signal ended.
const INTERRUPTED: i32 = 130;
/// A signal so soon after the first means the same shutdown.
const ECHO: Duration = Duration::from_millis(500);

/// Runs a member. A bad configuration is a usage error; what fails later is the server's.
pub(super) async fn serve(args: ServeArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let config = args.load().map_err(Failure::Usage)?;
    if args.print_config {
        let text = toml::to_string(&config).map_err(|error| Failure::Usage(error.to_string()))?;
        out.write_all(text.as_bytes())?;
        return Ok(Outcome::Done);
    }
    config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
    telemetry::init(args.log_format, Some(&args.log_level)).map_err(Failure::Usage)?;
    if let Some(file) = std::env::var_os(env::CLOCK_VARIABLE) {
        env::obey(file.into());
    }
    let signals = Signals::new().map_err(Failure::Print)?;
    server::run(config, signals.first()).await.map_err(Failure::Serve)?;
    Ok(Outcome::Done)
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they do not end the process.
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Resolves at the first signal, for a graceful shutdown. A second one ends the process at once; but not
    /// right behind the first: a terminal and a supervisor may both send it.
    async fn first(mut self) {
        let name = self.next().await;
        tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
        let first = Instant::now();
        tokio::spawn(async move {
            let mut name = self.next().await;
            while first.elapsed() < ECHO {
                name = self.next().await;
            }
            tracing::warn!(signal = name, "ending at once");
            process::exit(INTERRUPTED);
        });
    }
}
