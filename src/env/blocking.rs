//! Work that waits for a disk, or computes for long, beside the tasks.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::{JoinHandle, spawn_blocking};

use super::simulation::is_simulated;
use crate::error::panic_text;

/// Does `work` on a thread where it may block. It begins at once and is done to its end, whether or not
/// anyone awaits it. On a thread that simulates it is done before this returns: no simulated time passes.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    match is_simulated() {
        false => Blocking::Thread(spawn_blocking(work)),
        true => Blocking::Done(Some(
            catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Lost(panic_text(&*panic).to_owned())),
        )),
    }
}

/// The end of [`blocking`] work.
pub enum Blocking<T> {
    /// It is under way.
    Thread(JoinHandle<T>),
    /// It was done at once.
    Done(Option<Result<T, Lost>>),
}

/// There is no result: the work panicked, or the runtime ended before.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lost(String);

// Its parts are never pinned.
impl<T> Unpin for Blocking<T> {}

impl<T: Send + 'static> Future for Blocking<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Blocking::Thread(handle) => {
                let ended = ready!(Pin::new(handle).poll(cx));
                Poll::Ready(ended.map_err(|error| Lost(error.to_string())))
            }
            Blocking::Done(done) => match done.take() {
                Some(done) => Poll::Ready(done),
                None => Poll::Ready(Err(Lost("it was awaited twice".to_owned()))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulate;

    #[tokio::test]
    async fn work_is_done_and_a_panic_is_an_error() {
        for simulated in [false, true] {
            simulate(simulated.then_some(1));
            assert_eq!(blocking(|| 7).await.expect("a result"), 7);
            let lost = blocking(|| panic!("{} broke", "it")).await.expect_err("no result").to_string();
            assert!(lost.contains("it broke") || lost.contains("panic"), "{lost}");
        }
        simulate(None);
    }
}
