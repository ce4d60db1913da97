//! A run: connect, prepare, let clients work, look at what it costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{
    BenchError,
    keys::Keys,
    meter::{Meter, Sample},
    options::Options,
    recorder::Live,
    report::Report,
    wire,
    workload::{self, Shared},
};

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Measures, and tells once a second how it stands. The load has threads of its own.
///
/// # Errors
/// The options make no sense, or nothing could be prepared. What happens to operations is no error of the
/// run.
pub async fn run(options: Options, tell: impl Fn(&Live) + Send + 'static) -> Result<Report, BenchError> {
    options.validate()?;
    let load = tokio::task::spawn_blocking(move || {
        let mut threads = Builder::new_multi_thread();
        let threads = threads.worker_threads(options.load.threads.max(1)).enable_all().build();
        let threads = threads.map_err(BenchError::io("cannot start threads"))?;
        let measured = threads.block_on(measure(options, tell));
        threads.shutdown_background();
        measured
    });
    load.await.unwrap_or_else(|error| Err(BenchError::io("the load broke off")(error.into())))
}

async fn measure(options: Options, tell: impl Fn(&Live)) -> Result<Report, BenchError> {
    let meter = Meter::new(&options.server_pids)?;
    let wires = wire::connect(&options).await?;
    if options.workload.needs_keys() && !options.data.loaded {
        wire::load(&options, &wires).await?;
    }
    wire::greet(&options, &wires).await;
    let watches = workload::prepare(&options, &wires).await?;
    let keys = Keys::new(&options.data);
    let shared = Arc::new(Shared::beginning_now(options, keys));
    let mut clients = workload::start(&shared, &wires, watches);
    look_until(shared.window.from, &shared, &tell).await;
    let before = meter.sample();
    look_until(shared.window.until, &shared, &tell).await;
    let used = Used { before, after: meter.sample() };
    finish(&mut clients, shared.options.load.timeout).await;
    Ok(Report::new(&shared, &used))
}

/// What was used inside the window.
pub(super) struct Used {
    pub before: Sample,
    pub after: Sample,
}

async fn look_until(end: Instant, shared: &Shared, tell: &impl Fn(&Live)) {
    let mut looked = Instant::now();
    while Instant::now() < end {
        let next = looked + TICK;
        sleep_until(next.min(end).into()).await;
        if next <= end {
            tell(&shared.recorder.look(looked.elapsed()));
            looked = next;
        }
    }
}

/// Waits for what is under way, which counts: an operation that hangs is what latencies are measured for.
async fn finish(clients: &mut JoinSet<()>, limit: Duration) {
    let all = async { while clients.join_next().await.is_some() {} };
    let _ = timeout(limit + TICK, all).await;
    clients.abort_all();
}
