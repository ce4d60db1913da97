//! Puts, gets, both, and transactions of one key through one stream for each connection. What a client is
//! elsewhere, is a place here: one task works for all that share a stream, so that the load costs little.

use std::{sync::Arc, time::Instant};

use futures::FutureExt;
use tokio::time::{sleep, sleep_until};

use super::{PAUSE, Shared, random};
use crate::{
    bench::{
        keys::Random,
        options::Workload,
        wire::{Failed, Pipe, Piping, outcome},
    },
    pb::v1::{PipelineAnswer, pipeline_call::Request},
};

/// Lets `places` clients work on one stream. `number` tells it from others.
pub(super) async fn client(shared: Arc<Shared>, piping: Piping, (number, places): (usize, usize)) {
    let mut places = Places {
        began: vec![None; places],
        free: (0..places as u64).collect(),
        paused: Vec::new(),
        until: Instant::now(),
        over: false,
        random: random(number),
        shared,
        piping,
        number,
    };
    while !places.over {
        let failed = match places.piping.open().await {
            Ok(pipe) => places.work(pipe).await,
            Err(failed) => {
                places.fill();
                Some(failed)
            }
        };
        if let Some(failed) = failed {
            places.lose(failed);
            sleep(PAUSE).await;
            places.free.append(&mut places.paused);
        }
    }
}

/// Who works on a stream.
struct Places {
    shared: Arc<Shared>,
    piping: Piping,
    number: usize,
    random: Random,
    /// When the operation of each place began; its number is the call's id.
    began: Vec<Option<Instant>>,
    free: Vec<u64>,
    /// Their operation failed: free again from then on.
    paused: Vec<u64>,
    until: Instant,
    over: bool,
}

/// What is waited for.
enum Happening {
    Turn(Option<Instant>),
    Answers(Result<Vec<PipelineAnswer>, Failed>),
    Rested,
}

impl Places {
    /// Works until the run is over, or the stream has failed.
    async fn work(&mut self, mut pipe: Pipe) -> Option<Failed> {
        while !self.over || self.are_busy() {
            let (free, paused, busy) = (!self.free.is_empty(), !self.paused.is_empty(), self.are_busy());
            let happening = tokio::select! {
                biased;
                () = async { sleep_until(self.until.into()).await }, if paused => Happening::Rested,
                turn = self.shared.pace.turn(), if free && !self.over => Happening::Turn(turn),
                answers = pipe.next(), if busy => Happening::Answers(answers),
            };
            match happening {
                Happening::Turn(turn) => {
                    let first = turn.map(|began| self.begin(began));
                    self.over |= turn.is_none();
                    let mut requests: Vec<_> = first.into_iter().flatten().collect();
                    requests.extend(self.fill());
                    if let Err(failed) = pipe.send(requests).await {
                        return Some(failed);
                    }
                }
                Happening::Answers(Ok(answers)) => answers.into_iter().for_each(|answer| self.end(answer)),
                Happening::Answers(Err(failed)) => return Some(failed),
                Happening::Rested => self.free.append(&mut self.paused),
            }
        }
        None
    }

    /// Begins as many operations as are due and have a place.
    fn fill(&mut self) -> Vec<(u64, Request)> {
        let mut requests = Vec::with_capacity(self.free.len());
        while !self.free.is_empty() && !self.over {
            match self.shared.pace.turn().now_or_never() {
                Some(Some(began)) => requests.extend(self.begin(began)),
                Some(None) => self.over = true,
                None => break,
            }
        }
        requests
    }

    /// Begins an operation in a free place.
    fn begin(&mut self, began: Instant) -> Option<(u64, Request)> {
        let place = self.free.pop()?;
        self.began[place as usize] = Some(began);
        let (keys, random) = (&self.shared.keys, &mut self.random);
        let key = keys.choose(random);
        let request = match self.shared.options.workload {
            _ if self.shared.is_get(random) => self.piping.get(key),
            Workload::Txn => self.piping.txn(key, keys.value(random)),
            _ => self.piping.put(key, keys.value(random)),
        };
        Some((place, request))
    }

    fn end(&mut self, answer: PipelineAnswer) {
        self.record(answer.id, outcome(answer.answer));
    }

    /// Writes down what came of the operation in a place.
    fn record(&mut self, place: u64, result: Result<(), Failed>) {
        let Some(began) = self.began.get_mut(place as usize).and_then(Option::take) else { return };
        match result {
            Ok(()) => self.free.push(place),
            Err(_) => {
                self.paused.push(place);
                self.until = Instant::now() + PAUSE;
            }
        }
        self.shared.recorder.record(self.number, began, result);
    }

    /// All that is under way has failed.
    fn lose(&mut self, failed: Failed) {
        (0..self.began.len() as u64).for_each(|place| self.record(place, Err(failed)));
    }

    fn are_busy(&self) -> bool {
        self.free.len() + self.paused.len() < self.began.len()
    }
}
