//! Watches whose member falls behind, and those that are not read.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use quorate::{
    Client,
    recipes::{KvApi, WatchApi},
    types::{CallOptions, KeyRange, Op, Put, Revision, Txn, Watch, WatchUpdate},
};
use tokio::{sync::watch, task::JoinHandle};

use super::{Scenario, Stage};
use crate::{
    workload::Watched,
    world::{ms, now},
};

/// How long a watch may take to tell the last of what happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a revision that no message holds: more than the 1 MiB at which a watch splits it.
const LARGE_VALUES: usize = 12;
const LARGE_BYTES: usize = 100 << 10;

pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("a_reader_that_does_not_read", 3, |s| Box::pin(unread(s)))]
}

/// One who watches all keys of the scripts, with the pairs before.
pub struct Watcher {
    /// Up to which revision it is to hear; 0: nobody knows yet.
    until: watch::Sender<Revision>,
    /// Whether it reads.
    reads: watch::Sender<bool>,
    hearing: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch, through a client.
    pub async fn begin(stage: &Arc<Stage>, client: &Client) -> Watcher {
        let watch = Watch {
            prev_kv: true,
            progress_interval: Some(ms(500)),
            start_revision: 1,
            ..Watch::new(KeyRange::prefix("k"))
        };
        let ((until, wanted), (reads, reading)) = (watch::channel(0), watch::channel(true));
        let (stage, client) = (stage.clone(), client.clone());
        let hearing = tokio::spawn(async move {
            let name = "watch of the scripts' keys".to_owned();
            let mut watched = Watched { name, watch, from: 1, events: Vec::new(), until: 0 };
            if let Err(why) = hear(&client, &mut watched, (wanted, reading)).await {
                let until = watched.until;
                stage.world().trace.violation(format!("liveness: a watch is at {until}: {why}"));
            }
            stage.clients.history().watched.push(watched);
        });
        Watcher { until, reads, hearing }
    }

    /// Reads on, or no more.
    pub fn read(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// Hears of everything that has happened, and ends.
    pub async fn hear_all(self, stage: &Stage, client: &Client) {
        let mark = stage.put_at(client, "k").await;
        self.until.send_replace(mark);
        let _ = self.hearing.await;
    }
}

async fn hear(
    client: &Client,
    watched: &mut Watched,
    (until, mut reading): (watch::Receiver<Revision>, watch::Receiver<bool>),
) -> Result<(), String> {
    let mut updates = client.watch(watched.watch.clone()).await.map_err(|error| error.to_string())?;
    let mut deadline = None;
    while *until.borrow() == 0 || watched.until < *until.borrow() {
        if *until.borrow() > 0 && now() > *deadline.get_or_insert(now() + PATIENCE) {
            return Err("it does not come to its end".to_owned());
        }
        let _ = reading.wait_for(|reads| *reads).await;
        let Ok(update) = tokio::time::timeout(ms(200), updates.next()).await else { continue };
        match update.ok_or("it has ended")?.map_err(|error| error.to_string())? {
            WatchUpdate::Created(_) => {}
            WatchUpdate::Progress(header) => watched.until = watched.until.max(header.revision),
            WatchUpdate::Events { header, events } => {
                watched.until = watched.until.max(header.revision);
                watched.events.push((header.revision, events));
            }
        }
    }
    Ok(())
}

/// Revisions that are told in parts come to one who does not read: more than may wait for it.
async fn unread(stage: Arc<Stage>) {
    stage.leader(None).await;
    let client = stage.client_for(&[1, 2, 3], Duration::from_secs(5));
    stage.put_surely(&client, "k").await;
    let watcher = Watcher::begin(&stage, &client).await;
    for round in 0..4 {
        watcher.read(round == 0);
        let put = |at: usize| {
            let (key, value) = (format!("k{at}"), vec![b'a' + round; LARGE_BYTES]);
            Op::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
        };
        let txn = Txn { then_ops: (0..LARGE_VALUES).map(put).collect(), ..Txn::default() };
        let written = client.txn(txn, CallOptions::default()).await;
        stage
            .world()
            .trace
            .event("script", format!("a large revision: {:?}", written.map(|w| w.header.revision)));
        tokio::time::sleep(ms(500)).await;
    }
    watcher.read(true);
    watcher.hear_all(&stage, &client).await;
}
