//! The thread between a queue and its disk: it takes all that queued up, commits it as one group, and calls
//! the completions in order; meanwhile the next group queues up. That is group commit (Gawlick and Kinkade,
//! 1985).

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::queue::Queue;

/// Starts the writer of `queue`. It ends when the log has ended and nothing is left.
pub(super) fn start(queue: Arc<Queue>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("raft-log".into()).spawn(move || {
        while queue.wait_for_work() {
            queue.pump(usize::MAX);
        }
    })
}
