//! `torture`: arguments, progress in the terminal, and what came of it.

use std::{
    collections::BTreeSet,
    env,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use super::{
    Failure, Outcome,
    args::{GlobalArgs, OutputForm},
    output,
    serve::Signals,
};
use crate::{
    env::draw,
    telemetry::{self, LogFormat},
    torture::{self, Kind, Live, Options, Part, Phase, Script, Summary},
};

/// Arguments of `torture`.
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// Members of the cluster that is started: 3 or 5 [default: 3].
    #[arg(long, value_parser = nodes, value_name = "N")]
    pub nodes: Option<u64>,
    /// How long clients work while things go wrong.
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub duration: Duration,
    /// Draws the faults and what clients do [default: random, and printed].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What goes wrong [default: all; with --endpoints nothing].
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    pub nemesis: Vec<String>,
    /// Faults that are written down, rather than drawn.
    #[arg(long, value_enum, conflicts_with = "nemesis", value_name = "SCRIPT")]
    pub script: Option<ScriptName>,
    /// What clients do.
    #[arg(long, default_value = "all", value_delimiter = ',', value_name = "PART")]
    pub workload: Vec<String>,
    /// Operations per second that are aimed at.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[arg(value_name = "OPERATIONS")]
    pub rate: u32,
    /// Where history, logs and report go; must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Faults that are written down.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScriptName {
    /// The leader is cut off, paused, killed, one after the other: shows the levels side by side.
    Contrast,
    /// The leader's clock runs at a fifth of its rate, and it is cut off: shows what leases rest on.
    Clock,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration.as_secs() {
        5..=86_400 => Ok(duration),
        _ => Err("it must be between 5s and 1day".to_owned()),
    }
}

fn nodes(text: &str) -> Result<u64, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("it must be 3 or 5".to_owned()),
    }
}

/// Names that were typed; `all` stands for many, `none` for none.
fn chosen<T: Copy + Ord + FromStr<Err = String>>(names: &[String], all: &[T]) -> Result<Vec<T>, Failure> {
    let mut chosen = BTreeSet::new();
    for name in names {
        match name.as_str() {
            "all" => chosen.extend(all),
            "none" => {}
            name => {
                chosen.insert(name.parse().map_err(Failure::Usage)?);
            }
        }
    }
    Ok(chosen.into_iter().collect())
}

/// Operations that a run may aim at: what memory holds and a report shows.
const OPERATIONS_MAX: u64 = 20_000_000;

impl TortureArgs {
    fn options(&self, global: &GlobalArgs) -> Result<Options, Failure> {
        let program = env::current_exe().map_err(|error| Failure::Usage(error.to_string()))?;
        let endpoints = if global.endpoints_typed { global.endpoints.clone() } else { Vec::new() };
        let parts = chosen(&self.workload, &Part::ALL)?;
        if parts.is_empty() {
            return Err(Failure::Usage("--workload names nothing to do".to_owned()));
        }
        let nemeses = self.nemeses(&endpoints)?;
        let aimed = self.duration.as_secs() * u64::from(self.rate);
        if aimed > OPERATIONS_MAX {
            let why = format!("the run aims at {aimed} operations: at most {OPERATIONS_MAX} are kept");
            return Err(Failure::Usage(format!("{why}; lower --rate or --duration")));
        }
        let command = env::args().skip(1).collect::<Vec<_>>().join(" ");
        Ok(Options {
            program,
            nodes: self.nodes.unwrap_or(3),
            endpoints,
            duration: self.duration,
            seed: self.seed.unwrap_or_else(draw),
            nemeses,
            script: self.script.map(|script| match script {
                ScriptName::Contrast => Script::Contrast,
                ScriptName::Clock => Script::Clock,
            }),
            parts,
            rate: self.rate,
            out: self.out.clone(),
            command: format!("quorate {command}"),
        })
    }
}

impl TortureArgs {
    /// Nothing is done to a cluster that is not ours.
    fn nemeses(&self, endpoints: &[String]) -> Result<Vec<Kind>, Failure> {
        let all = ["all".to_owned()];
        let own = endpoints.is_empty();
        let names = if self.nemesis.is_empty() && own { &all[..] } else { &self.nemesis[..] };
        let nemeses = chosen(names, &Kind::ALL)?;
        if !own && (!nemeses.is_empty() || self.script.is_some() || self.nodes.is_some()) {
            let why =
                "--nemesis, --script and --nodes are for a cluster that is started here, not for --endpoints";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(nemeses)
    }
}

/// `torture`
pub(super) async fn torture(
    args: TortureArgs,
    global: &GlobalArgs,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let options = args.options(global)?;
    telemetry::init(LogFormat::Human, Some("off,quorate::torture=warn")).map_err(Failure::Usage)?;
    let progress = Progress::new(&options);
    let mut signals = Signals::new()?;
    let run = torture::run(&options, |phase, live| progress.tell(phase, live));
    let summary = tokio::select! {
        summary = run => summary.map_err(Failure::Torture)?,
        // The members end with the run.
        signal = signals.next() => {
            progress.end();
            return Err(Failure::Interrupted(signal));
        }
    };
    progress.end();
    match global.output {
        OutputForm::Json => output::json(out, &summary)?,
        _ => print(&summary, out)?,
    }
    Ok(match summary.verdict {
        torture::Outcome::Ok => Outcome::Done,
        torture::Outcome::Violated => Outcome::Negative,
        torture::Outcome::Unknown | torture::Outcome::Void => Outcome::Code(2),
    })
}

/// How the run stands, on standard error: a line that is written over in a terminal, now and then a new one
/// elsewhere.
struct Progress {
    began: Instant,
    duration: Duration,
    in_place: bool,
    told: Mutex<Option<(Phase, Instant)>>,
}

/// Between two lines where nobody looks.
const PAUSE: Duration = Duration::from_secs(10);

impl Progress {
    fn new(options: &Options) -> Progress {
        let in_place = io::stderr().is_terminal();
        let seed = options.seed;
        let _ = writeln!(io::stderr(), "seed {seed}, {:?}, into {}", options.duration, options.out.display());
        Progress { began: Instant::now(), duration: options.duration, in_place, told: Mutex::new(None) }
    }

    fn tell(&self, phase: Phase, live: &Live) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|(last, at)| last != phase || at.elapsed() >= PAUSE);
        if !self.in_place && !due {
            return;
        }
        *told = Some((phase, Instant::now()));
        let line = self.line(phase, live);
        let _ = match self.in_place {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    fn line(&self, phase: Phase, live: &Live) -> String {
        let doing = match phase {
            Phase::Starting => return "starting the members".to_owned(),
            Phase::Faults => {
                format!("{:3.0}/{:.0}s", self.began.elapsed().as_secs_f64(), self.duration.as_secs_f64())
            }
            Phase::Healing => "healing".to_owned(),
            Phase::Converging => "converging".to_owned(),
            Phase::Judging => "checking".to_owned(),
        };
        let leader = match live.leader {
            Some((leader @ 1.., term)) => format!("n{leader} leads in term {term}"),
            _ => "nobody leads".to_owned(),
        };
        let Live { ok, failed, unknown, stale, faults, landed, .. } = live;
        format!(
            "{doing} · {ok} done, {failed} refused, {unknown} unknown · {landed} of {faults} faults landed · \
             {leader} · {stale} violations so far"
        )
    }

    fn end(&self) {
        if self.in_place {
            let _ = writeln!(io::stderr());
        }
    }
}

fn print(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match summary.verdict {
        torture::Outcome::Ok => "every promise was kept",
        torture::Outcome::Violated => "VIOLATED",
        torture::Outcome::Unknown => "unknown: the checker did not come to an end",
        torture::Outcome::Void => "void: too little happened to say anything",
    };
    writeln!(out, "{verdict} (seed {})", summary.seed)?;
    for reason in &summary.reasons {
        writeln!(out, "  {reason}")?;
    }
    let Summary { operations, unknown, faults, faults_landed, violations, .. } = summary;
    writeln!(out, "{operations} operations, {unknown} of unknown outcome, {violations} promises broken")?;
    let kinds = summary.faults_by_kind.iter();
    let kinds = kinds.map(|(kind, (_, landed))| format!("{kind} {landed}")).collect::<Vec<_>>().join(", ");
    writeln!(out, "{faults_landed} of {faults} faults landed: {kinds}")?;
    let rows = summary.levels.iter().map(|(level, counts)| {
        let torture::LevelCounts { ok, failed, stale, violations, excused } = counts;
        let counts = [ok, failed, stale, violations, excused].map(|count| count.to_string());
        [vec![(*level).to_owned()], counts.to_vec()].concat()
    });
    let head = ["LEVEL", "ANSWERED", "NOT", "STALE", "BROKEN", "EXCUSED"];
    writeln!(out, "{}", output::table(&head, rows))?;
    for assumption in &summary.assumptions {
        writeln!(out, "excused while this did not hold: {assumption}")?;
    }
    if let (Some(without), Some(with)) = (summary.lost_without_fencing, summary.lost_with_fencing) {
        writeln!(out, "updates lost under a lock: {without} without fencing, {with} with")?;
    }
    let dir = summary.out.display();
    writeln!(out, "report: {dir}/report.html · history: {dir}/history.jsonl · logs: {dir}/node-*/log")
}
