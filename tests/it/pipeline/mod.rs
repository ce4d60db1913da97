//! `Kv.Pipeline`: each call means what a call of its own means, and none holds up another; what the Rust
//! client makes of it.

mod answers;
mod clients;
mod streams;

use std::{collections::BTreeMap, time::Duration};

use quorate::{
    error::Error,
    pb::{
        convert::{self, RequestKind},
        v1::{self, pipeline_answer::Answer, pipeline_call::Request},
    },
    types::{Consistency, KeyRange, Level, Range},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    node::NodeClient,
};

/// One member is quorum enough for what does not depend on others.
async fn one_member(flags: &[&str]) -> Cluster {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Cluster::start(Spec { members: 1, flags, ..Spec::default() }).await
}

/// One stream to one member.
struct Pipe {
    messages: mpsc::Sender<v1::PipelineRequest>,
    answers: Streaming<v1::PipelineResponse>,
    /// Arrived and not yet looked at.
    arrived: std::vec::IntoIter<v1::PipelineAnswer>,
}

impl Pipe {
    async fn open(node: &NodeClient) -> Pipe {
        let (messages, queued) = mpsc::channel(16);
        let answers = node.kv().pipeline(ReceiverStream::new(queued)).await.expect("a stream").into_inner();
        Pipe { messages, answers, arrived: Vec::new().into_iter() }
    }

    /// Sends calls in one message.
    async fn send(&self, calls: impl IntoIterator<Item = (u64, Request)>) {
        let call = |(id, request)| v1::PipelineCall { id, request: Some(request), ..Default::default() };
        self.send_calls(calls.into_iter().map(call).collect()).await;
    }

    async fn send_calls(&self, calls: Vec<v1::PipelineCall>) {
        self.messages.send(v1::PipelineRequest { calls }).await.expect("the stream is open");
    }

    /// The next answer; `None` at the end.
    async fn next(&mut self) -> Result<Option<(u64, Answer)>, Status> {
        loop {
            if let Some(answer) = self.arrived.next() {
                return Ok(Some((answer.id, answer.answer.expect("an answer has content"))));
            }
            let message = timeout(SOON, self.answers.message()).await.expect("a message in time");
            match message? {
                Some(response) => self.arrived = response.answers.into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// So many answers, by id.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answer> {
        let mut found = BTreeMap::new();
        while found.len() < count {
            let (id, answer) = self.next().await.expect("no error").expect("not the end");
            assert!(found.insert(id, answer).is_none(), "{id} is answered twice");
        }
        found
    }

    /// One call's answer.
    async fn call(&mut self, request: Request) -> Answer {
        self.send([(0, request)]).await;
        self.answers(1).await.remove(&0).expect("its answer")
    }

    /// The status that ends the stream; what is answered before.
    async fn end(&mut self) -> (Vec<u64>, Option<Status>) {
        let mut answered = Vec::new();
        loop {
            match self.next().await {
                Ok(Some((id, _))) => answered.push(id),
                Ok(None) => return (answered, None),
                Err(status) => return (answered, Some(status)),
            }
        }
    }
}

fn put(key: &str, value: &str) -> Request {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Request::Put(v1::PutRequest { key, value, ..Default::default() })
}

fn get(key: &str, level: Level) -> Request {
    let query = Some(Range::new(KeyRange::key(key.to_owned())).into());
    Request::Range(v1::RangeRequest { query, consistency: Some(Consistency::from(level).into()) })
}

/// What a status says, by its details.
fn error(status: &Status) -> Error {
    assert!(!status.details().is_empty(), "no details: {status:?}");
    convert::from_status(status, "member", RequestKind::Write)
}

/// What a failed answer says.
fn failure(answer: Answer) -> Error {
    match answer {
        Answer::Failure(failure) => error(&convert::error::of_failure(failure)),
        other => panic!("not a failure: {other:?}"),
    }
}

fn written(answer: &Answer) -> &v1::PutResponse {
    match answer {
        Answer::Put(put) => put,
        other => panic!("not written: {other:?}"),
    }
}

fn read(answer: &Answer) -> &v1::RangeResponse {
    match answer {
        Answer::Range(range) => range,
        other => panic!("not read: {other:?}"),
    }
}

/// A read that waits here for a revision that does not come.
fn waiting(id: u64, wait: Duration) -> v1::PipelineCall {
    let request = Some(get("k", Level::Session { min_revision: 1 << 40 }));
    v1::PipelineCall { id, timeout_ms: wait.as_millis() as u64, request, ..Default::default() }
}
