//! What the examples about locks stand on: three members in this process, with listeners for clients.

use std::{error::Error, net::TcpListener, time::Duration};

use quorate::{
    client::Client,
    config::{Config, MemberAddr},
    recipes::KvApi,
    server,
    types::{CallOptions, Consistency, KeyRange, Range},
};
use tempfile::TempDir;

/// A cluster that ends with the process.
pub struct LocalCluster {
    pub endpoints: Vec<String>,
    _dir: TempDir,
}

impl LocalCluster {
    /// Starts three members, and waits until they answer.
    pub async fn start() -> Result<LocalCluster, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        // Held together, so that they are different ports; free again when they are dropped.
        let ports = (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
        let addrs = ports.iter().map(|port| port.local_addr().map(|addr| addr.to_string()));
        let addrs = addrs.collect::<Result<Vec<_>, _>>()?;
        drop(ports);
        let (peers, clients) = addrs.split_at(3);
        let pair =
            |(peer, client): (&String, &String)| MemberAddr { peer: peer.clone(), client: client.clone() };
        let members: std::collections::BTreeMap<u64, _> =
            (1..).zip(peers.iter().zip(clients).map(pair)).collect();
        for id in members.keys() {
            let data_dir = dir.path().join(id.to_string());
            let config = Config { id: *id, members: members.clone(), data_dir, ..Config::default() };
            tokio::spawn(server::run(config, std::future::pending()));
        }
        let endpoints = clients.to_vec();
        let client = Client::connect(endpoints.clone())?;
        let is_ready = async || {
            let (range, how) = (Range::new(KeyRange::key("ready")), CallOptions::default());
            client.range(range, Consistency::default(), how).await.is_ok()
        };
        while !is_ready().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("three members are ready");
        Ok(LocalCluster { endpoints, _dir: dir })
    }
}
