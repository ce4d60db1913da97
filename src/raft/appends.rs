//! A stream of requests to append to one member, and of its answers.
//!
//! One at a time is under way: openraft sends the next when the last is answered. But a call for each would
//! cost headers, and twice the messages and wake-ups on both sides; most of what a heartbeat costs.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::links::Link;
use crate::pb::internal as pb;

/// The stream to one member; opened when it is needed, and again after it broke.
#[derive(Default)]
pub struct Appends {
    open: Option<Open>,
}

struct Open {
    requests: mpsc::Sender<pb::AppendRequest>,
    answers: Streaming<pb::AppendReply>,
}

impl Appends {
    /// Sends a request and waits for its answer. Where this is given up before it ends, the stream goes with
    /// it: no later request can get the answer.
    ///
    /// A stream that breaks may have been broken for long (the member restarted): the request is sent once
    /// more on a new one. To append the same twice is to append it once. A refusal is an answer.
    ///
    /// # Errors
    /// The member cannot be reached, or refuses.
    pub async fn exchange(
        &mut self,
        link: &Link,
        request: pb::AppendRequest,
    ) -> Result<pb::AppendReply, Status> {
        if let Some(open) = self.open.take() {
            match self.through(open, request.clone()).await {
                Err(status) if status.code() != Code::InvalidArgument => {}
                answered => return answered,
            }
        }
        let (requests, stream) = mpsc::channel(1);
        // The stream's own request: an answer to its opening needs one.
        requests.try_send(request).map_err(|_| broken())?;
        let opened = link.client.clone().append(link.stream(ReceiverStream::new(stream))).await?;
        self.next(Open { requests, answers: opened.into_inner() }).await
    }

    async fn through(&mut self, open: Open, request: pb::AppendRequest) -> Result<pb::AppendReply, Status> {
        open.requests.send(request).await.map_err(|_| broken())?;
        self.next(open).await
    }

    /// Waits for the answer; keeps a stream that brought one.
    async fn next(&mut self, mut open: Open) -> Result<pb::AppendReply, Status> {
        let reply = open.answers.message().await?.ok_or_else(broken)?;
        self.open = Some(open);
        Ok(reply)
    }
}

fn broken() -> Status {
    Status::unavailable("the stream of appends has ended")
}
