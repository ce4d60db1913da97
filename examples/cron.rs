//! A job that runs on one of three machines, once in each period, also when machines fail.
//!
//! `cargo run --release --example cron`
//!
//! Every machine runs the same scheduler: it stands for election, and while it leads, it runs the job when it
//! is due. That the job runs on one machine is the election's doing. That no period is run twice, and none
//! left out at a change of machines, is the guard's: the period is written down under it, by a transaction
//! that compares, before the job runs.

use std::{error::Error, time::Duration};

use quorate::{
    client::Client,
    recipes::{KvApi, Leadership, LockOptions, Recipes},
    types::{CallOptions, Compare, CompareTarget, Consistency, KeyRange, Op, Operator, Put, Range, Txn},
};
use tokio::task::AbortHandle;

#[path = "common/mod.rs"]
mod common;

const PERIOD: Duration = Duration::from_millis(500);
const PERIODS: u64 = 12;
/// After so many periods the machine that runs the job fails.
const FAILS_AFTER: u64 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = common::LocalCluster::start().await?;
    let (ran, mut runs) = tokio::sync::mpsc::channel::<(u64, &'static str)>(16);
    let mut machines: Vec<(&'static str, AbortHandle)> = Vec::new();
    for name in ["machine a", "machine b", "machine c"] {
        let (client, ran) = (Client::connect(cluster.endpoints.clone())?, ran.clone());
        let scheduler = async move {
            loop {
                if let Err(error) = schedule(&client, name, &ran).await {
                    println!("{name}: {error}; standing for election again");
                }
            }
        };
        machines.push((name, tokio::spawn(scheduler).abort_handle()));
    }
    let mut expected = 1;
    while let Some((period, name)) = runs.recv().await {
        println!("period {period:>2}: the job runs on {name}");
        assert_eq!(period, expected, "each period once, in order");
        expected += 1;
        if period == FAILS_AFTER {
            let (_, machine) = machines.iter().find(|(other, _)| *other == name).ok_or("a machine")?;
            machine.abort();
            println!("           {name} fails");
        }
        if period == PERIODS {
            break;
        }
    }
    println!("{PERIODS} periods, each once, none left out");
    Ok(())
}

/// Waits until this machine leads, then runs what is due.
async fn schedule(
    client: &Client,
    name: &'static str,
    ran: &tokio::sync::mpsc::Sender<(u64, &'static str)>,
) -> Result<(), quorate::Error> {
    let ttl = Duration::from_secs(2);
    let options = LockOptions { ttl, value: name.into(), ..LockOptions::new("cron/report") };
    let leadership = client.campaign(options).await?;
    println!("{name} leads, epoch {}", leadership.token());
    let lost = leadership.lost();
    loop {
        tokio::select! {
            () = lost.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        let last = last_period(client).await?;
        if claim(client, &leadership, last).await? && ran.send((last + 1, name)).await.is_err() {
            return Ok(());
        }
    }
}

async fn last_period(client: &Client) -> Result<u64, quorate::Error> {
    let range = Range::new(KeyRange::key("cron/report/last"));
    let answer = client.range(range, Consistency::default(), CallOptions::default()).await?;
    let last = answer.result.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    Ok(last.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Writes down that the period after `last` is run here; false: somebody else did. Refused with `LOCK_LOST`
/// if this machine does not lead any more.
async fn claim(client: &Client, leadership: &Leadership<Client>, last: u64) -> Result<bool, quorate::Error> {
    let key = KeyRange::key("cron/report/last");
    let target = match last {
        0 => CompareTarget::Version(0),
        last => CompareTarget::Value(last.to_string().into()),
    };
    let put = Put { key: key.start.clone(), value: (last + 1).to_string().into(), ..Put::default() };
    let compares = vec![Compare { keys: key, operator: Operator::Equal, target }];
    let txn = Txn { compares, then_ops: vec![Op::Put(put)], else_ops: Vec::new() };
    let answer = client.guarded(leadership).txn(txn, CallOptions::default()).await?;
    Ok(answer.result.succeeded)
}
