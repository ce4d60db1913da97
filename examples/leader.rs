//! Leader election of a small service of three processes; prints how long a failover takes.
//!
//! `cargo run --release --example leader`
//!
//! The service's processes are this program, started again as `leader serve NAME ENDPOINTS`. Whoever
//! leads proclaims its address; clients find it by `leader_of`, or are told by `observe`. One leader is
//! asked to end and resigns; the next is killed, and its successor leads when its lease has run out.

use std::{
    error::Error,
    process::{Child, Command},
    time::{Duration, Instant},
};

use futures::StreamExt;
use quorate::{
    client::Client,
    recipes::{LockOptions, Recipes, election::LeaderStream},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

#[path = "common/mod.rs"]
mod common;

const ELECTION: &str = "service/leader";
const TTL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, endpoints] => serve(name, endpoints).await,
        _ => watch_over_the_service().await,
    }
}

/// One process of the service.
async fn serve(name: &str, endpoints: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(endpoints.split(','))?;
    let mut ended = signal(SignalKind::terminate())?;
    let options = LockOptions { ttl: TTL, value: name.to_owned().into(), ..LockOptions::new(ELECTION) };
    let stop = async {
        ended.recv().await;
    };
    let leadership = match client.campaign_until(options, stop).await {
        Ok(leadership) => leadership,
        Err(quorate::Error::Deadline { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Here it would serve, with `leadership.guard()` on everything that only the leader may write.
    let lost = leadership.lost();
    tokio::select! {
        _ = ended.recv() => leadership.resign().await?,
        () = lost.cancelled() => eprintln!("{name} does not lead any more"),
    }
    Ok(())
}

/// The processes of the service. They end with this one.
struct Service(Vec<(String, Child)>);

impl Service {
    fn start(endpoints: &str) -> Result<Service, Box<dyn Error>> {
        let mut processes = Vec::new();
        for name in ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"] {
            let child = Command::new(std::env::current_exe()?).args(["serve", name, endpoints]).spawn()?;
            processes.push((name.to_owned(), child));
        }
        Ok(Service(processes))
    }

    fn signal(&self, name: &str, signal: Signal) -> Result<(), Box<dyn Error>> {
        let (_, child) = self.0.iter().find(|(other, _)| other == name).ok_or("not a process of ours")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn watch_over_the_service() -> Result<(), Box<dyn Error>> {
    let cluster = common::LocalCluster::start().await?;
    let client = Client::connect(cluster.endpoints.clone())?;
    let mut leaders = client.observe(ELECTION, 0).await?;
    let service = Service::start(&cluster.endpoints.join(","))?;
    let first = next_leader(&mut leaders).await?;
    println!("{first} leads");

    let began = Instant::now();
    service.signal(&first, Signal::TERM)?;
    let second = next_leader(&mut leaders).await?;
    println!("{first} was asked to end and resigned: {second} leads after {:.0?}", began.elapsed());

    let began = Instant::now();
    service.signal(&second, Signal::KILL)?;
    let third = next_leader(&mut leaders).await?;
    let took = began.elapsed();
    println!("{second} was killed: {third} leads after {took:.2?} (lease of {TTL:?})");
    Ok(())
}

/// The next leader that is told; while nobody leads, goes on waiting.
async fn next_leader(leaders: &mut LeaderStream) -> Result<String, Box<dyn Error>> {
    while let Some(told) = leaders.next().await {
        if let Some(leader) = told?.leader {
            return Ok(String::from_utf8_lossy(&leader.value).into_owned());
        }
    }
    Err("the observation has ended".into())
}
