//! One put, which every client watches: how long it takes from the put to each of them.
//!
//! The value begins with the moment at which the put was to begin. In a closed loop the next put waits until
//! everybody has been told of the last; in an open one it does not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{PAUSE, Shared, random};
use crate::{
    bench::{
        BenchError,
        keys::Random,
        options::Options,
        threads::Threads,
        wire::{Failed, Wire},
    },
    client::Client,
    error::Error,
    recipes::{WatchApi, WatchStream},
    types::{KeyRange, Watch, WatchUpdate},
};

/// The key that is put.
const KEY: &str = "bench/watched";
/// Watches that begin at a time.
const OPENING: usize = 64;
/// How often it is looked whether the last events have come.
const LOOK: Duration = Duration::from_millis(5);

/// A watch for each client.
#[derive(Default)]
pub(in crate::bench) struct Watches(Vec<(Client, WatchStream)>);

/// Begins the watches of all clients.
///
/// # Errors
/// One of them did not begin.
pub(super) async fn open(
    options: &Options,
    wires: &[Wire],
    threads: &Threads,
) -> Result<Watches, BenchError> {
    let clients = wires.iter().enumerate().cycle().take(options.load.clients as usize);
    let limit = options.load.timeout;
    let open = |(connection, wire): (usize, &Wire)| {
        let client = wire.client().cloned();
        threads.on(connection, async move {
            let client = client?;
            let late = || Error::Deadline { waiting_for: "a watch".into(), maybe_committed: false };
            let stream = timeout(limit, begin(&client)).await.unwrap_or_else(|_| Err(late()))?;
            Ok::<_, BenchError>((client, stream))
        })
    };
    let opened = stream::iter(clients).map(open).buffered(OPENING);
    Ok(Watches(opened.map(|opened| opened?).try_collect().await?))
}

/// A watch that has begun.
async fn begin(client: &Client) -> Result<WatchStream, Error> {
    let mut stream = client.watch(Watch::new(KeyRange::key(KEY))).await?;
    match stream.next().await {
        Some(Ok(WatchUpdate::Created(_))) => Ok(stream),
        Some(Err(error)) => Err(error),
        _ => Err(Error::Protocol("a watch that did not begin with its creation".into())),
    }
}

/// Lets one client put, and all others watch.
pub(super) fn start(shared: &Arc<Shared>, wires: &[Wire], (watches, threads): (Watches, &mut Threads)) {
    let (seen, over) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
    for (number, (client, stream)) in watches.0.into_iter().enumerate() {
        let watcher = Watcher { shared: shared.clone(), seen: seen.clone(), client, number };
        let over = over.clone();
        threads.spawn(number % wires.len(), async move {
            over.run_until_cancelled_owned(watcher.watch(stream)).await.unwrap_or(())
        });
    }
    if let Some(wire) = wires.first() {
        let putter = Putter { shared: shared.clone(), seen, wire: wire.clone() };
        threads.spawn(0, async move {
            putter.put().await;
            over.cancel();
        });
    }
}

struct Watcher {
    shared: Arc<Shared>,
    /// A permit for each event that was told: a number.
    seen: Arc<Semaphore>,
    client: Client,
    number: usize,
}

impl Watcher {
    /// Counts what is told; begins anew when the watch ends.
    async fn watch(self, mut stream: WatchStream) {
        loop {
            while let Some(Ok(update)) = stream.next().await {
                if let WatchUpdate::Events { events, .. } = update {
                    events.iter().for_each(|event| self.told(&event.kv.value));
                }
            }
            stream = loop {
                sleep(PAUSE).await;
                match begin(&self.client).await {
                    Ok(stream) => break stream,
                    Err(error) => self.shared.done(self.number, Instant::now(), Err(error.into())).await,
                }
            };
        }
    }

    fn told(&self, value: &[u8]) {
        if let Some(nanos) = value.first_chunk().copied().map(u64::from_be_bytes) {
            let began = self.shared.window.start + Duration::from_nanos(nanos);
            self.shared.recorder.record(self.number, began, Ok(()));
        }
        self.seen.add_permits(1);
    }
}

struct Putter {
    shared: Arc<Shared>,
    seen: Arc<Semaphore>,
    wire: Wire,
}

impl Putter {
    async fn put(mut self) {
        let (mut random, mut open) = (random(0), 0);
        let everybody = self.shared.options.load.clients;
        while let Some(began) = self.shared.pace.turn().await {
            if self.shared.options.load.rate.is_none() {
                // Who was told too late of an earlier put was not told of this one.
                self.seen.forget_permits(self.seen.available_permits());
            }
            let value = self.value(began, &mut random);
            match self.wire.put(Bytes::from_static(KEY.as_bytes()), value).await {
                Ok(()) if self.shared.options.load.rate.is_some() => open += u64::from(everybody),
                Ok(()) => self.all_told(began, everybody).await,
                Err(failed) => self.shared.done(0, began, Err(failed)).await,
            }
        }
        let since = Instant::now();
        while (self.seen.available_permits() as u64) < open
            && since.elapsed() < self.shared.options.load.timeout
        {
            sleep(LOOK).await;
        }
    }

    /// Waits until everybody has been told of the put that began then.
    async fn all_told(&self, began: Instant, everybody: u32) {
        match timeout(self.shared.options.load.timeout, self.seen.acquire_many(everybody)).await {
            Ok(Ok(told)) => told.forget(),
            _ => self.shared.done(0, began, Err(Failed("deadline"))).await,
        }
    }

    fn value(&self, began: Instant, random: &mut Random) -> Bytes {
        let padding = self.shared.keys.value(random);
        let mut value = BytesMut::with_capacity(padding.len().max(8));
        value.put_u64((began - self.shared.window.start).as_nanos() as u64);
        value.extend_from_slice(padding.get(8..).unwrap_or_default());
        value.freeze()
    }
}
