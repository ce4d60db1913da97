//! A run: connect, prepare, let clients work, look at what it costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, time::sleep_until};

use super::{
    BenchError,
    keys::Keys,
    meter::{Meter, Sample},
    options::Options,
    recorder::Live,
    report::Report,
    threads::Threads,
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
        let threads = Threads::start(options.load.threads)?;
        let looker = Builder::new_current_thread().enable_all().build();
        let looker = looker.map_err(BenchError::io("cannot start a runtime"))?;
        let measured = looker.block_on(measure(options, threads, tell));
        looker.shutdown_background();
        measured
    });
    load.await.unwrap_or_else(|error| Err(BenchError::io("the load broke off")(error.into())))
}

/// Looks on while the threads work.
async fn measure(options: Options, mut threads: Threads, tell: impl Fn(&Live)) -> Result<Report, BenchError> {
    let meter = Meter::new(&options.server_pids)?;
    let wires = wire::connect(&options).await?;
    if options.workload.needs_keys() && !options.data.loaded {
        threads.on(0, wire::load(options.clone(), wires.first().cloned())).await??;
    }
    wire::greet(&options, &wires, &threads).await;
    let watches = workload::prepare(&options, &wires, &threads).await?;
    let keys = Keys::new(&options.data);
    let shared = Arc::new(Shared::beginning_now(options, keys));
    workload::start(&shared, &wires, (watches, &mut threads));
    look_until(shared.window.from, &shared, &tell).await;
    let before = meter.sample();
    look_until(shared.window.until, &shared, &tell).await;
    let used = Used { before, after: meter.sample() };
    // What is under way counts: an operation that hangs is what latencies are measured for.
    threads.finish(shared.options.load.timeout + TICK).await;
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
