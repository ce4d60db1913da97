//! Where members are, and which of them a run talks to.

use std::time::Duration;

use tokio::time::timeout;

use super::{DEADLINE, Etcd};
use crate::{
    bench::{BenchError, options::Options},
    client::Client,
    error::Error,
    types::{CallOptions, Route},
};

/// A member that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub address: String,
    pub id: u64,
    pub leads: bool,
}

impl Place {
    /// The addresses of those that the run's connections are spread over.
    ///
    /// # Errors
    /// `NoLeader`, or that nobody fits the route.
    pub fn choose(places: &[Place], options: &Options) -> Result<Vec<String>, BenchError> {
        let route = match options.consistency.route {
            _ if !options.workload.reads() => Route::Leader,
            Route::Any if options.is_served_by_leader() => Route::Leader,
            route => route,
        };
        let fits = |place: &&Place| match route {
            Route::Any => true,
            Route::Leader => place.leads,
            Route::Follower => !place.leads,
            Route::Member(id) => place.id == id,
        };
        let chosen: Vec<_> = places.iter().filter(fits).map(|place| place.address.clone()).collect();
        match (chosen.is_empty(), route) {
            (false, _) => Ok(chosen),
            (true, Route::Leader) => Err(Error::NoLeader.into()),
            (true, route) => {
                Err(BenchError::Invalid(format!("no endpoint answered that fits --route {route}")))
            }
        }
    }
}

/// Quorate's members, as they answer themselves.
///
/// # Errors
/// None of them did: what the last one said.
pub(super) async fn quorate(client: &Client, limit: Duration) -> Result<Vec<Place>, BenchError> {
    let (mut places, mut error) = (Vec::new(), Error::NoLeader);
    for address in client.endpoints() {
        let options = CallOptions { timeout: Some(limit), ..CallOptions::default() };
        match client.status(&address, options).await {
            Ok(status) => {
                places.push(Place { address, id: status.id, leads: status.id == status.leader_id });
            }
            Err(why) => error = why,
        }
    }
    if places.is_empty() { Err(error.into()) } else { Ok(places) }
}

/// The same of etcd.
///
/// # Errors
/// None of them did.
pub(super) async fn etcd(endpoints: &[String], limit: Duration) -> Result<Vec<Place>, BenchError> {
    let (mut places, mut why) = (Vec::new(), "");
    for address in endpoints {
        let mut etcd = Etcd::new(address, false)?;
        match timeout(limit, etcd.status()).await.unwrap_or(Err(DEADLINE)) {
            Ok((id, leader)) => places.push(Place { address: address.clone(), id, leads: id == leader }),
            Err(failed) => why = failed.0,
        }
    }
    if places.is_empty() { Err(BenchError::Etcd(why)) } else { Ok(places) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Data, Distribution, Driver, Load, Workload};
    use crate::types::{Consistency, Level};

    fn options(workload: Workload, level: Level, route: Route) -> Options {
        let second = Duration::from_secs(1);
        Options {
            workload,
            driver: Driver::Plain,
            pipeline: false,
            endpoints: Vec::new(),
            load: Load {
                clients: 1,
                connections: 1,
                threads: 1,
                duration: second,
                warmup: second,
                rate: None,
                timeout: second,
            },
            data: Data { keys: 1, value_bytes: 1, distribution: Distribution::Uniform, loaded: false },
            consistency: Consistency { level, route },
            server_pids: Vec::new(),
        }
    }

    #[test]
    fn a_route_chooses_among_those_who_answered() {
        let place = |id: u64, leads| Place { address: id.to_string(), id, leads };
        let places = [place(1, false), place(2, true), place(3, false)];
        for (workload, level, route, expected) in [
            (Workload::Get, Level::Linearizable, Route::Any, "1 2 3"),
            (Workload::Get, Level::Lease, Route::Any, "2"),
            (Workload::Get, Level::Linearizable, Route::Leader, "2"),
            (Workload::Get, Level::Eventual, Route::Follower, "1 3"),
            (Workload::Get, Level::Eventual, Route::Member(3), "3"),
            (Workload::Put, Level::Linearizable, Route::Any, "2"),
            (Workload::Mixed, Level::Linearizable, Route::Any, "1 2 3"),
        ] {
            let chosen = Place::choose(&places, &options(workload, level, route)).expect("somebody");
            assert_eq!(chosen.join(" "), expected, "{workload} {level} {route}");
        }
        let put = options(Workload::Put, Level::Linearizable, Route::Any);
        assert!(matches!(Place::choose(&places[..1], &put), Err(BenchError::Call(Error::NoLeader))));
    }
}
