//! The threads of the load. Each has a runtime of its own, and connections with all their clients: what
//! happens on a connection wakes nobody on another thread, and what its clients ask at a time leaves
//! together. That spares a third of what a call costs the load (measured beside one runtime for all threads).

use std::{future::Future, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use super::BenchError;

/// Threads, and the clients that work on them. They end with it.
pub(super) struct Threads {
    threads: Vec<Thread>,
    clients: JoinSet<()>,
}

struct Thread {
    runtime: Handle,
    /// It ends when this is gone.
    _over: oneshot::Sender<()>,
}

impl Threads {
    /// # Errors
    /// The system gives none.
    pub fn start(count: usize) -> Result<Threads, BenchError> {
        let threads = (0..count.max(1)).map(|_| Thread::start()).collect::<Result<_, _>>()?;
        Ok(Threads { threads, clients: JoinSet::new() })
    }

    /// Does something on the thread of a connection.
    ///
    /// # Errors
    /// It broke off there.
    pub async fn on<T: Send + 'static>(
        &self,
        connection: usize,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BenchError> {
        let done = self.runtime(connection).spawn(work).await;
        done.map_err(|error| BenchError::io("the load broke off")(error.into()))
    }

    /// Lets a client work that uses this connection.
    pub fn spawn(&mut self, connection: usize, client: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime(connection).clone();
        self.clients.spawn_on(client, &runtime);
    }

    /// Waits so long for clients to end, and then ends them.
    pub async fn finish(&mut self, limit: Duration) {
        let all = async { while self.clients.join_next().await.is_some() {} };
        let _ = timeout(limit, all).await;
        self.clients.abort_all();
    }

    fn runtime(&self, connection: usize) -> &Handle {
        &self.threads[connection % self.threads.len()].runtime
    }
}

impl Thread {
    fn start() -> Result<Thread, BenchError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(BenchError::io("cannot start a thread"))?;
        let (over, ended) = oneshot::channel();
        let thread = Thread { runtime: runtime.handle().clone(), _over: over };
        let work = move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        };
        let started = thread::Builder::new().name("load".into()).spawn(work);
        started.map_err(BenchError::io("cannot start a thread"))?;
        Ok(thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_uses_a_connection_runs_on_its_thread() {
        let mut threads = Threads::start(2).expect("threads");
        let mut ids = Vec::new();
        for connection in 0..4 {
            ids.push(threads.on(connection, async { thread::current().id() }).await.expect("its thread"));
        }
        assert!(ids[0] == ids[2] && ids[1] == ids[3] && ids[0] != ids[1], "{ids:?}");
        let (told, id) = oneshot::channel();
        threads.spawn(1, async {
            let _ = told.send(thread::current().id());
        });
        assert_eq!(id.await, Ok(ids[1]));
    }

    #[tokio::test]
    async fn who_does_not_end_in_time_is_ended() {
        let mut threads = Threads::start(1).expect("threads");
        let (told, ended) = oneshot::channel::<()>();
        threads.spawn(0, async {
            std::future::pending::<()>().await;
            drop(told);
        });
        threads.finish(Duration::from_millis(10)).await;
        assert!(ended.await.is_err());
    }
}
