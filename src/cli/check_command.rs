//! `check`: what a history proves.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use super::{
    Failure, Outcome,
    args::{GlobalArgs, OutputForm},
    byte_size, output,
};
use crate::check::{
    self, History, Model, Options, Verdict,
    format::{self, Format, jepsen},
};

mod told;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history; -: standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its form [default: edn for a file *.edn, otherwise jsonl]
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: Option<FormatName>,
    /// What its values mean: kv, register, cas-register, list-append, set or lock [default: as its rows say]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Model>,
    /// How long searches may take.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s", value_name = "TIME")]
    pub deadline: Duration,
    /// How much memory searches may use.
    #[arg(long, value_parser = byte_size::parse::<u64>, default_value = "2GiB", value_name = "SIZE")]
    pub memory: u64,
    /// Write a report to look at with a browser.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Check nothing: write the history for other checkers to --out.
    #[arg(long, value_enum, value_name = "FORM", requires = "out")]
    pub export: Option<FormatName>,
    /// The one key that is exported to edn, as a register [default: all list-append transactions]
    #[arg(long, value_name = "KEY", requires = "export")]
    pub key: Option<String>,
    /// Where it is exported to.
    #[arg(long, value_name = "FILE", requires = "export")]
    pub out: Option<PathBuf>,
}

/// Forms of histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Own JSON lines.
    Jsonl,
    /// Jepsen's EDN.
    Edn,
}

/// `check`
pub(super) fn check(args: &CheckArgs, global: &GlobalArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let history = watched("reading", || read(args))?;
    if let (Some(form), Some(to)) = (args.export, &args.out) {
        export(&history, (form, args.key.as_deref()), to)?;
        return Ok(Outcome::Done);
    }
    let options = Options {
        model: args.model,
        deadline: args.deadline,
        memory_bytes_max: args.memory,
        ..Options::default()
    };
    let findings = watched("checking", || check::check(&history, &options));
    if let Some(path) = &args.report {
        let written = watched("writing the report", || check::report::save(&history, &findings, path));
        written.map_err(|error| bad(path, &error))?;
    }
    match global.output {
        OutputForm::Json => output::json(out, &told::VerdictObject::new(&history, &findings))?,
        OutputForm::Simple | OutputForm::Table => told::print(&history, &findings, out)?,
    }
    Ok(match findings.verdict() {
        Verdict::Ok => Outcome::Done,
        Verdict::Violated => Outcome::Negative,
        Verdict::Unknown => Outcome::Code(2),
    })
}

/// Bytes that are read and written at once.
const BUFFER: usize = 1 << 20;

fn read(args: &CheckArgs) -> Result<History, Failure> {
    let name = args.file.to_string_lossy();
    let form = match args.format {
        Some(FormatName::Jsonl) => Format::Jsonl,
        Some(FormatName::Edn) => Format::Edn,
        None => Format::of_name(&name),
    };
    let history = match &*name {
        "-" => format::read(io::stdin().lock(), form),
        _ => {
            let file = File::open(&args.file).map_err(|error| bad(&args.file, &error))?;
            format::read(BufReader::with_capacity(BUFFER, file), form)
        }
    };
    history.map_err(|error| bad(&args.file, &error))
}

fn bad(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::History(format!("{}: {error}", file.display()))
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    let file = File::create(path).map_err(|error| bad(path, &error))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn export(history: &History, (form, key): (FormatName, Option<&str>), path: &Path) -> Result<(), Failure> {
    let mut file = create(path)?;
    let written = match (form, key) {
        (FormatName::Jsonl, Some(_)) => return Err(Failure::Usage("--key needs --export edn".into())),
        (FormatName::Jsonl, None) => format::jsonl::write(history, &mut file).map_err(Into::into),
        (FormatName::Edn, Some(key)) => jepsen::write_register(history, key, &mut file),
        (FormatName::Edn, None) => jepsen::write_lists(history, &mut file),
    };
    written.map_err(|error| bad(path, &error))?;
    file.flush().map_err(|error| bad(path, &error))
}

/// After so long without an end, standard error says what is done, and for how long it has been.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does something that may take long, and says so.
fn watched<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let in_place = io::stderr().is_terminal();
    let (done, waits) = mpsc::sync_channel::<()>(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut told = false;
            while waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                let _ = match in_place {
                    true => write!(io::stderr(), "\r\x1b[K{what}: {seconds} s"),
                    // Once is enough where nobody looks.
                    false if told => Ok(()),
                    false => writeln!(io::stderr(), "quorate: {what}"),
                };
                told = true;
            }
            if told && in_place {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}
