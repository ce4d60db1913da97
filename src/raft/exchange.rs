//! A stream of requests to one member, and of its answers: appends, and questions for read indexes.
//!
//! One at a time is under way: the next is sent when the last is answered. But a call for each would cost
//! headers, and twice the messages and wake-ups on both sides; most of what a heartbeat costs.

use std::future::Future;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

/// The stream to one member; opened when it is needed, and again after it broke.
pub struct Exchange<Q, A> {
    open: Option<Open<Q, A>>,
}

struct Open<Q, A> {
    requests: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Default for Exchange<Q, A> {
    fn default() -> Self {
        Exchange { open: None }
    }
}

impl<Q: Clone, A> Exchange<Q, A> {
    /// Sends a request, through a stream that `open` makes where there is none, and waits for its answer.
    /// Where this is given up before it ends, the stream goes with it: no later request can get the answer.
    ///
    /// A stream that breaks may have been broken for long (the member restarted): the request is sent once
    /// more on a new one. So it must be one that does no harm when it arrives twice. A refusal is an
    /// answer: one that says why in its details, as ours do, or that the request is garbled.
    ///
    /// # Errors
    /// The member cannot be reached, or refuses; the stream has ended then.
    pub async fn send<F>(
        &mut self,
        request: Q,
        open: impl FnOnce(ReceiverStream<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        if let Some(open) = self.open.take() {
            match self.through(open, request.clone()).await {
                Err(status) if status.code() != Code::InvalidArgument && status.details().is_empty() => {}
                answered => return answered,
            }
        }
        let (requests, stream) = mpsc::channel(1);
        // The stream's own request: an answer to its opening needs one.
        requests.try_send(request).map_err(|_| broken())?;
        let opened = open(ReceiverStream::new(stream)).await?;
        self.next(Open { requests, answers: opened.into_inner() }).await
    }

    async fn through(&mut self, open: Open<Q, A>, request: Q) -> Result<A, Status> {
        open.requests.send(request).await.map_err(|_| broken())?;
        self.next(open).await
    }

    /// Waits for the answer; keeps a stream that brought one.
    async fn next(&mut self, mut open: Open<Q, A>) -> Result<A, Status> {
        let answer = open.answers.message().await?.ok_or_else(broken)?;
        self.open = Some(open);
        Ok(answer)
    }
}

fn broken() -> Status {
    Status::unavailable("the stream has ended")
}
