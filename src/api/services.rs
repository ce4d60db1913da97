//! Which service a call is for.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::Either;
use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower::Service;

use super::kv;
use crate::pb::v1::kv_server::{self, KvServer};

/// All services of a member. `Kv`, for which most calls are, is found by its name alone; the others are
/// behind tonic's router, whose boxes and wrapped bodies cost a call some 5 % of its time here.
#[derive(Clone)]
pub struct Services {
    pub(super) kv: KvServer<kv::Service>,
    pub(super) others: Routes,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <KvServer<kv::Service> as Service<Request<Body>>>::Future,
        <Routes as Service<Request<Body>>>::Future,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.others, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match is_for_kv(request.uri().path()) {
            true => Either::Left(self.kv.call(request)),
            false => Either::Right(self.others.call(request)),
        }
    }
}

/// Whether a path is that of a method of `Kv`, or would be.
fn is_for_kv(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
    service == Some(kv_server::SERVICE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_is_known_by_its_whole_name() {
        assert!(is_for_kv("/quorate.v1.Kv/Range") && is_for_kv("/quorate.v1.Kv/NoSuchMethod"));
        for other in
            ["/quorate.v1.Lease/Grant", "/quorate.v1.KvX/Range", "/quorate.v1.Kv", "quorate.v1.Kv/Range", "/"]
        {
            assert!(!is_for_kv(other), "{other}");
        }
    }
}
