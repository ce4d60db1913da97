//! The phases of a run.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::FutureExt;
use tokio::{sync::Mutex, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    CLOCK_BOUND, Options, TortureError,
    cluster::{Cluster, Spec},
    nemesis::{self, Kind, Plan, Stage},
    onlooker::Onlooker,
    recorder::{Live, Recorder},
    summary::Summary,
    workload::Workload,
};
use crate::{
    check::{self, Findings, History, history::About, report},
    env::draw,
};

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Members are started.
    Starting,
    /// Clients work, things go wrong.
    Faults,
    /// Everything is put right, and clients go on.
    Healing,
    /// Members come to the same state.
    Converging,
    /// The history is checked.
    Judging,
}

/// Between two looks at who leads, and at how the run stands.
const LOOK: Duration = Duration::from_millis(250);

/// How long clients go on after everything was healed.
const HEALED: Duration = Duration::from_secs(3);

/// By when all members must have come to the same state.
const CONVERGED_WITHIN: Duration = Duration::from_secs(60);

/// Makes a run, and tells how it stands. What it leaves in its directory: `history.jsonl`, `report.html`,
/// `summary.json`, and for each member that was started `node-N/log`.
///
/// # Errors
/// If the directory, the members or the history cannot be had. What the members do wrong is no error, but the
/// summary's verdict.
pub async fn run(options: &Options, tell: impl Fn(Phase, &Live) + Send) -> Result<Summary, TortureError> {
    prepare(&options.out)?;
    tell(Phase::Starting, &Live::default());
    let field = Field::prepare(options).await?;
    let file = options.out.join("history.jsonl");
    let about = about(options, field.onlooker.ids().len());
    let recorder = Recorder::create(&file, about).map_err(TortureError::io("cannot create the history"))?;
    let recorder = Arc::new(recorder);
    field.faults(options, &recorder, &tell).await?;
    tell(Phase::Converging, &recorder.live());
    let ending = field.end(options, &recorder).await;
    tell(Phase::Judging, &recorder.live());
    drop(field);
    let recorder = Arc::into_inner(recorder)
        .ok_or_else(|| TortureError::Broken("something still records after the end".to_owned()))?;
    let live = recorder.live();
    let history = recorder.finish().map_err(TortureError::io("the history could not be written"))?;
    let (history, findings) = judge(history).await?;
    let file = options.out.join("report.html");
    report::save(&history, &findings, &file).map_err(TortureError::io("cannot write the report"))?;
    let summary = Summary::new(options, (&history, &findings), (&live, ending));
    summary.write(&options.out.join("summary.json")).map_err(TortureError::io("cannot write the summary"))?;
    Ok(summary)
}

/// How a run ended, besides what its history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All members came to the same point, and everything was read.
    Converged,
    /// They did not: that is promised, once everything is healed.
    Diverged(String),
    /// It could not be seen.
    Unseen(String),
}

/// The cluster of a run: our own, or somebody's.
struct Field {
    /// `None`: it is not ours, and nothing is done to it.
    cluster: Option<nemesis::Shared>,
    onlooker: Onlooker,
    endpoints: Vec<String>,
    /// Names this run in every key, so that it does not meet the keys of another.
    tag: String,
}

impl Field {
    async fn prepare(options: &Options) -> Result<Field, TortureError> {
        let tag = format!("{:08x}", draw() as u32);
        if !options.endpoints.is_empty() {
            let onlooker = Onlooker::of(&options.endpoints).await?;
            return Ok(Field { cluster: None, onlooker, endpoints: options.endpoints.clone(), tag });
        }
        let spec = Spec {
            program: options.program.clone(),
            nodes: options.nodes,
            dir: options.out.clone(),
            flags: FLAGS.map(str::to_owned).to_vec(),
            small_disks: options.script.is_none() && options.nemeses.contains(&Kind::DiskFull),
        };
        let cluster = Cluster::start(spec).await?;
        let (onlooker, endpoints) = (cluster.onlooker().clone(), cluster.endpoints());
        Ok(Field { cluster: Some(Arc::new(Mutex::new(cluster))), onlooker, endpoints, tag })
    }

    fn workload(&self, options: &Options) -> Workload {
        Workload {
            parts: options.parts.clone(),
            rate: options.rate,
            seed: options.seed,
            endpoints: self.endpoints.clone(),
            nodes: self.onlooker.ids(),
            tag: self.tag.clone(),
        }
    }

    /// Clients work while things go wrong; then everything is put right, and they go on for a moment.
    async fn faults(
        &self,
        options: &Options,
        recorder: &Arc<Recorder>,
        tell: &(impl Fn(Phase, &Live) + Send),
    ) -> Result<(), TortureError> {
        let (stop, heal) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = self.workload(options).start(recorder, &stop)?;
        let observed = observe(self.onlooker.clone(), recorder.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(observed).map(drop));
        let nodes = self.onlooker.ids().len();
        let stage = |cluster| Stage::new(cluster, recorder.clone(), heal.clone(), nodes);
        let stage = self.cluster.clone().map(stage);
        let mut faults = JoinSet::new();
        if let Some(stage) = stage.clone() {
            let looking = stage.clone();
            let deaths = async move { looking.look_for_deaths().await };
            tasks.spawn(stop.clone().run_until_cancelled_owned(deaths).map(drop));
            let plan = match options.script {
                Some(script) => Plan::of(script, options.duration),
                None => Plan::draw(&options.nemeses, options.duration, options.seed),
            };
            faults.spawn(async move { stage.play(plan).await });
        }
        until(recorder, options.duration, |live| tell(Phase::Faults, live)).await;
        heal.cancel();
        while let Some(ended) = faults.join_next().await {
            ended.map_err(broken)?;
        }
        if let Some(stage) = &stage {
            stage.put_right().await;
        }
        until(recorder, recorder.elapsed() + HEALED, |live| tell(Phase::Healing, live)).await;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(broken)?;
        }
        Ok(())
    }

    /// All members come to the same state, and the last reads see it.
    async fn end(&self, options: &Options, recorder: &Arc<Recorder>) -> Ending {
        let revision = match self.onlooker.converge(CONVERGED_WITHIN).await {
            Ok(revision) => revision,
            Err(why) => return Ending::Diverged(why),
        };
        let states = self.onlooker.states(revision).await;
        let read = self.workload(options).last_reads(recorder).await;
        match (states, read) {
            (Ok(states), Ok(())) => {
                states.into_iter().for_each(|state| recorder.final_state(state));
                Ending::Converged
            }
            (Err(error), _) => Ending::Unseen(format!("not all hashes could be seen: {error}")),
            (_, Err(error)) => Ending::Unseen(format!("not everything could be read in the end: {error}")),
        }
    }
}

/// A part of the run that broke down: what is left of it says less than it seems to.
fn broken(error: tokio::task::JoinError) -> TortureError {
    TortureError::Broken(format!("a part of the run broke down: {error}"))
}

/// Takes down who leads.
async fn observe(onlooker: Onlooker, recorder: Arc<Recorder>) {
    loop {
        let (leader, term) = onlooker.leader().await.unwrap_or_default();
        recorder.leader(leader, term);
        sleep(LOOK).await;
    }
}

/// What makes rare things frequent: snapshots and purges all the time; and disks may be small.
const FLAGS: [&str; 6] =
    ["--snapshot-log-bytes", "64KiB", "--log-entries-kept", "100", "--free-bytes-min", "32MiB"];

fn prepare(out: &Path) -> Result<(), TortureError> {
    fs::create_dir_all(out).map_err(TortureError::io("cannot create the directory"))?;
    let mut entries = fs::read_dir(out).map_err(TortureError::io("cannot read the directory"))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            Err(TortureError::Invalid(format!("{} is not empty: name another directory", out.display())))
        }
    }
}

fn about(options: &Options, nodes: usize) -> About {
    About {
        quorate_history: 1,
        title: format!("torture, {nodes} members, {:?}", options.duration),
        command: options.command.clone(),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        seed: Some(options.seed),
        nodes: Some(nodes as u64),
        clock_bound: options.endpoints.is_empty().then_some(CLOCK_BOUND),
        complete: false,
    }
}

/// Tells how it stands until so much time has passed since the beginning.
async fn until(recorder: &Recorder, end: Duration, tell: impl Fn(&Live)) {
    while recorder.elapsed() < end {
        tell(&recorder.live());
        sleep(LOOK.min(end.saturating_sub(recorder.elapsed()))).await;
    }
}

async fn judge(history: History) -> Result<(History, Findings), TortureError> {
    let judged = tokio::task::spawn_blocking(move || {
        let findings = check::check(&history, &check::Options::default());
        (history, findings)
    });
    judged.await.map_err(|error| TortureError::Broken(format!("the judge failed: {error}")))
}
