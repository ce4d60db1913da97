//! `grpc.health.v1`: `SERVING` while the member is ready, for the whole server (the empty name) and for each
//! service.

use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::SERVICES;

/// What the health service says. Cheap to clone; all clones speak for the same service.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Not serving yet.
    pub(super) async fn new() -> (Health, HealthServer<HealthService>) {
        let health = Health { reporter: HealthReporter::new() };
        health.set(false).await;
        let service = HealthService::from_health_reporter(health.reporter.clone());
        (health, HealthServer::new(service))
    }

    /// Says what `ready` says, until its sender is gone: then the member is not ready.
    pub async fn follow(self, mut ready: watch::Receiver<bool>) {
        loop {
            let now = *ready.borrow_and_update();
            self.set(now).await;
            if ready.changed().await.is_err() {
                return self.set(false).await;
            }
        }
    }

    /// Says whether the member serves, to those who ask and to those who watch.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names() {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Ends the watchers' streams, which would keep their connections open.
    pub async fn close(mut self) {
        for name in names() {
            self.reporter.clear_service_status(name).await;
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().chain([""])
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_check_response, health_server::Health as _};

    use super::*;

    async fn serving(service: &HealthService, name: &str) -> bool {
        let request = Request::new(HealthCheckRequest { service: name.into() });
        let answer = service.check(request).await.expect("a known service").into_inner();
        answer.status() == health_check_response::ServingStatus::Serving
    }

    #[tokio::test]
    async fn health_follows_readiness_for_every_service_and_ends_its_watchers() {
        let (health, _) = Health::new().await;
        let service = HealthService::from_health_reporter(health.reporter.clone());
        assert!(!serving(&service, "").await);

        let (ready, readiness) = watch::channel(true);
        let following = tokio::spawn(health.clone().follow(readiness));
        let request = Request::new(HealthCheckRequest { service: SERVICES[0].into() });
        let mut watching = service.watch(request).await.expect("watching").into_inner();
        while !serving(&service, SERVICES[2]).await {
            tokio::task::yield_now().await;
        }
        drop(ready);
        following.await.expect("no panic");
        for name in names() {
            assert!(!serving(&service, name).await, "{name}");
        }

        health.close().await;
        while let Some(seen) = watching.next().await {
            seen.expect("a status");
        }
    }
}
