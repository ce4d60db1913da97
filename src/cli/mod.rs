//! The command line: arguments in, one answer out.
//!
//! A command is read (`args`, `scope`; `refusal` says what is wrong with it), carried out over
//! [`crate::client`] (`kv_commands`, `watch_command`, `lease_commands`, `cluster_commands`) or as a
//! member (`serve`), and its answer printed in one of three forms (`output`). Exit codes: 0 done, 1 the
//! answer is negative (nothing found, compare failed), 2 usage, 3 server or network. A failure is one
//! line on standard error; with `-o json` also an object on standard output.

mod args;
mod bench_command;
mod byte_size;
mod check_command;
mod cluster_commands;
mod evidence;
mod held_command;
mod help;
mod kv_commands;
mod lease_commands;
mod lock_commands;
mod output;
mod refusal;
mod scope;
mod serve;
mod serve_args;
mod torture_command;
mod txn;
mod watch_command;

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    num::NonZero,
    process::ExitCode,
    thread,
};

use tokio::runtime::{Builder, Runtime};

pub use self::args::Cli;
use self::{
    args::{Command, GlobalArgs, GuardArgs, MemberCommand, OutputForm},
    bench_command::WorkloadName,
    output::ErrorObject,
};
use crate::{
    bench::BenchError,
    client::{Client, ClientBuilder},
    error::Error,
    server::ServerError,
    torture::TortureError,
    types::CallOptions,
};

/// Threads of a member, unless it is told: more were of no use to Raft, which is one task.
const SERVER_THREADS_MAX: usize = 8;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: nothing found, nothing deleted, compare failed, guard lost, hashes differ.
    Negative,
    /// The exit code of the command that was run.
    Code(u8),
}

impl Outcome {
    fn done_if(done: bool) -> Outcome {
        if done { Outcome::Done } else { Outcome::Negative }
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// What was typed makes no sense. Exit code 2.
    Usage(String),
    /// The cluster, or the way to it. Exit code 3; 2 if it found the request to make no sense, 1 if a
    /// guard did not hold or a lease has ended.
    Call(Error),
    /// The same, and repeating the request is pointless though the error in general allows it. Exit code 3.
    Definite(Error),
    /// A lock was lost, or was about to be, while something relied on it. Exit code 3.
    LockLost(Error),
    /// No endpoint answered, or they are of several clusters, and the answer that says so is printed. Exit
    /// code 3.
    Printed(Error),
    /// A member did not start, or failed. Exit code 3; 2 for its configuration.
    Serve(ServerError),
    /// A history could not be read, or not be written. Exit code 3.
    History(String),
    /// A torture could not be made. Exit code 3; 2 if it makes no sense.
    Torture(TortureError),
    /// A signal ended it. Exit code 3.
    Interrupted(&'static str),
    /// Nothing could be measured. Exit code 3; 2 if it makes no sense.
    Bench(BenchError),
    /// The answer could not be printed. Exit code 3; a closed pipe ends the program silently.
    Print(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Call(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Print(error)
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Serve(ServerError::Config(_)) => 2,
            Failure::Torture(TortureError::Invalid(_)) => 2,
            Failure::Bench(error) if error.is_usage() => 2,
            Failure::Call(Error::Invalid(_) | Error::TooLarge { .. }) => 2,
            Failure::Call(Error::LockLost { .. } | Error::LeaseNotFound(_)) => 1,
            _ => 3,
        }
    }

    /// The line on standard error.
    fn line(&self) -> String {
        let text = match self {
            Failure::Usage(why) | Failure::History(why) => why.clone(),
            Failure::Call(error) | Failure::Definite(error) | Failure::Printed(error) => error.to_string(),
            Failure::LockLost(error) => format!("{error}; what was done with it may not have been alone"),
            Failure::Serve(error) => error.to_string(),
            Failure::Torture(error) => error.to_string(),
            Failure::Interrupted(signal) => format!("ended by {signal}"),
            Failure::Bench(error) => error.to_string(),
            Failure::Print(error) => format!("cannot print the answer: {error}"),
        };
        text.replace('\n', " ")
    }

    /// The object that `-o json` prints, if the failure is about a request.
    fn object(&self) -> Option<ErrorObject> {
        match self {
            Failure::Usage(why) | Failure::History(why) => {
                Some(ErrorObject::new(&Error::Invalid(why.clone())))
            }
            Failure::Bench(error) if error.is_usage() => {
                Some(ErrorObject::new(&Error::Invalid(error.to_string())))
            }
            Failure::Call(error) | Failure::Bench(BenchError::Call(error)) => Some(ErrorObject::new(error)),
            Failure::Definite(error) | Failure::LockLost(error) => Some(ErrorObject::new(error).definite()),
            Failure::Printed(_)
            | Failure::Serve(_)
            | Failure::Torture(_)
            | Failure::Bench(_)
            | Failure::Interrupted(_)
            | Failure::Print(_) => None,
        }
    }
}

/// What the client commands work with.
struct Session<'a> {
    client: Client,
    global: GlobalArgs,
    out: &'a mut dyn Write,
}

impl Session<'_> {
    /// The options of a write that is refused unless all of these hold.
    fn guarded(&self, guards: GuardArgs) -> CallOptions {
        CallOptions { guards: guards.guards, ..self.options() }
    }

    fn options(&self) -> CallOptions {
        let request_id = self.global.request_id.clone();
        CallOptions { timeout: Some(self.global.timeout), request_id, ..CallOptions::default() }
    }
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// They make no sense, or ask for help: that is said, and how the process should end.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<_> = args.into_iter().collect();
    scope::read(args.iter().cloned()).map_err(|error| refusal::refuse(&error, &args))
}

/// The runtime for a command.
///
/// # Errors
/// The operating system gives no threads, or nothing to wait with.
pub fn runtime(cli: &Cli) -> io::Result<Runtime> {
    let threads = match &cli.command {
        Command::Serve(args) => args.threads.map_or_else(server_threads, usize::from),
        Command::Bench(args) if args.workload == WorkloadName::Noop => server_threads(),
        _ => processors(),
    };
    // With one, tasks run in the order in which they became ready: answers gather in their connections'
    // buffers, where a pool of threads would send each as soon as it is there.
    let mut runtime = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    runtime.worker_threads(threads).enable_all().build()
}

fn server_threads() -> usize {
    (processors() / 2).clamp(1, SERVER_THREADS_MAX)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Carries a command out, and says how the process should end. Runs inside a tokio runtime.
pub async fn run(cli: Cli) -> ExitCode {
    let form = cli.global.output;
    let mut out = BufWriter::new(io::stdout().lock());
    let ended = match dispatch(cli, &mut out).await {
        Ok(outcome) => out.flush().map(|()| outcome).map_err(Failure::Print),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(1),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        Err(failure) => fail(failure, form, &mut out),
    }
}

async fn dispatch(cli: Cli, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => serve::serve(*args, out).await,
        Command::Completion(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut scope::definition(), "quorate", &mut script);
            out.write_all(&script)?;
            Ok(Outcome::Done)
        }
        Command::Check(args) => check_command::check(&args, &global, out),
        Command::Torture(args) => torture_command::torture(args, &global, out).await,
        Command::Bench(args) => bench_command::bench(*args, &global, out).await,
        command => client_command(command, global, out).await,
    }
}

async fn client_command(
    command: Command,
    global: GlobalArgs,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    // A single write is not worth opening a session for: `maybe_committed` tells what is not known.
    let worth_a_session = matches!(&command, Command::Lock(_) | Command::Elect(_));
    let client = ClientBuilder::new(global.endpoints.clone()).timeout(global.timeout);
    let client = client.sessions(worth_a_session).build()?;
    let session = &mut Session { client, global, out };
    match command {
        Command::Get(args) => kv_commands::get(session, args).await,
        Command::Put(args) => kv_commands::put(session, args).await,
        Command::Del(args) => kv_commands::del(session, args).await,
        Command::Txn(args) => kv_commands::txn(session, args).await,
        Command::Watch(args) => watch_command::watch(session, args).await,
        Command::Lease(command) => lease_commands::run(session, command).await,
        Command::Lock(args) => lock_commands::lock(session, args).await,
        Command::Elect(args) => lock_commands::elect(session, args).await,
        Command::Observe(args) => lock_commands::observe(session, args).await,
        Command::Scan(args) => kv_commands::scan(session, args).await,
        Command::Compact(args) => kv_commands::compact(session, args).await,
        Command::Status(args) => cluster_commands::status(session, args).await,
        Command::Members | Command::Member(MemberCommand::List) => cluster_commands::members(session).await,
        Command::Hash(args) => cluster_commands::hash(session, args).await,
        Command::Serve(_)
        | Command::Completion(_)
        | Command::Check(_)
        | Command::Torture(_)
        | Command::Bench(_) => Err(Failure::Usage("not a client command".into())),
    }
}

/// Says what went wrong. What cannot be printed has nobody left to be told.
fn fail(failure: Failure, form: OutputForm, out: &mut dyn Write) -> ExitCode {
    if matches!(&failure, Failure::Print(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    if let Some(object) = failure.object().filter(|_| form == OutputForm::Json) {
        let _ = output::json(out, &object);
    }
    let _ = out.flush();
    let _ = writeln!(io::stderr(), "quorate: {}", failure.line());
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests;
