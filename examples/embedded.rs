//! A three-node cluster inside one program: no separate service, no network hop for local reads.
//!
//! `cargo run --release --example embedded`

use std::{collections::BTreeMap, error::Error, net::TcpListener, path::Path};

use quorate::{
    Node,
    config::{Config, MemberAddr},
    recipes::KvApi,
    types::{
        CallOptions, Compare, CompareTarget, Consistency, KeyRange, Level, Op, Operator, Put, Range,
        RangeAnswer, Txn,
    },
};

/// The whole example; a test runs it too.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let members = members(3)?;
    // Founding takes all founding members: start them concurrently.
    let starting = members.keys().map(|id| Node::start(config(*id, &members, dir.path())));
    let nodes: Vec<Node> = futures::future::try_join_all(starting).await?;
    for node in &nodes {
        node.readiness().wait_for(|ready| *ready).await?;
    }
    println!("three members are ready");

    // A member that fails (its disk is full, say) stops by itself; the program that embeds it must notice.
    let failures = nodes.iter().map(|node| Box::pin(node.failed()));
    tokio::select! {
        toured = tour(&nodes) => toured?,
        (reason, at, _) = futures::future::select_all(failures) => {
            return Err(format!("member {} has failed: {reason}", nodes[at].id()).into());
        }
    }

    for node in &nodes {
        node.shutdown().await?;
    }
    println!("all members have stopped");
    Ok(())
}

async fn tour(nodes: &[Node]) -> Result<(), Box<dyn Error>> {
    // Any member takes writes: it forwards them to the leader.
    let written = nodes[0].put(put("greeting", "hello"), CallOptions::default()).await?;
    println!("put at revision {}, log index {}", written.header.revision, written.write.log_index);

    for level in [Level::Linearizable, Level::Lease, Level::Session { min_revision: written.header.revision }]
    {
        for node in nodes {
            print(&read(node, "greeting", level).await?);
        }
    }

    // Only the first of two takes the seat: the comparison and the put are one step.
    for name in ["ann", "bob"] {
        let taken = nodes[1].txn(take("seat", name), CallOptions::default()).await?;
        println!("{name} takes the seat: {}", taken.result.succeeded);
    }
    Ok(())
}

fn members(count: u64) -> Result<BTreeMap<u64, MemberAddr>, std::io::Error> {
    // Held together, so that they are different ports; free again when they are dropped.
    let ports = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addrs = ports.iter().map(|port| port.local_addr().map(|addr| addr.to_string()));
    let addrs = addrs.collect::<Result<Vec<_>, _>>()?;
    Ok((1..).zip(addrs.into_iter().map(|peer| MemberAddr { peer, client: String::new() })).collect())
}

fn config(id: u64, members: &BTreeMap<u64, MemberAddr>, dir: &Path) -> Config {
    Config { id, members: members.clone(), data_dir: dir.join(id.to_string()), ..Config::default() }
}

fn put(key: &'static str, value: &'static str) -> Put {
    Put { key: key.into(), value: value.into(), ..Put::default() }
}

fn take(seat: &'static str, name: &'static str) -> Txn {
    let free =
        Compare { keys: KeyRange::key(seat), operator: Operator::Equal, target: CompareTarget::Version(0) };
    Txn { compares: vec![free], then_ops: vec![Op::Put(put(seat, name))], else_ops: Vec::new() }
}

async fn read(node: &Node, key: &'static str, level: Level) -> Result<RangeAnswer, quorate::error::Error> {
    node.range(Range::new(KeyRange::key(key)), Consistency::from(level), CallOptions::default()).await
}

fn print(answer: &RangeAnswer) {
    let value = answer.result.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    let evidence = &answer.evidence;
    println!(
        "{:<12} from member {} ({}): {:?} by {}, at most {:?} old",
        evidence.level_served.name(),
        evidence.served_by,
        evidence.role.name(),
        value.unwrap_or_default(),
        evidence.mechanism.name(),
        evidence.staleness_bound.unwrap_or_default(),
    );
}
