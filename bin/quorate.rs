//! The `quorate` program: reads the arguments and calls the library.

use std::{io::Write, process::ExitCode, time::Duration};

use quorate::cli;

/// How long tasks that are left over may hold up the end of the process.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "quorate: cannot start the runtime: {error}");
            return ExitCode::from(3);
        }
    };
    let code = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(LINGER);
    code
}
