//! Named histories: each leads the cluster to the edge of a known hazard. With the protection switched off
//! (`twin`) some seed must fall over it, and in the way that is named; with it, none may.
//!
//! A script runs on the clients' host; what it orders outside of every host (crashes, cuts) the driver does
//! between two steps.

mod leases;
mod locks;
mod reads;
mod snapshots;
mod storage;
mod watches;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quorate::{
    Client,
    client::ClientBuilder,
    mutant::Mutant,
    recipes::KvApi,
    types::{CallOptions, Consistency, KeyRange, Level, Put, Range, Revision, Route},
};
use turmoil::Sim;

use crate::{
    nemesis::CLIENTS,
    run::{Report, build, drive, judge, simulating},
    workload::{self, Call, Clients, Op, Outcome, Parts, Plan},
    world::{Loss, Member, World, client_addr, ms, now},
};

type Script = fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
type Order = Box<dyn FnOnce(&mut Sim<'static>) + Send>;

/// A named history.
pub struct Scenario {
    pub name: &'static str,
    pub nodes: u64,
    /// `None`: the history must be survived, and there is nothing to switch off.
    pub twin: Option<Twin>,
    /// What members promise their leaders, where it is not the default.
    promise: Option<Duration>,
    script: Script,
}

/// The bug that a history must catch, and what the violation says that it must show: nothing else counts.
#[derive(Clone, Copy)]
pub struct Twin {
    pub mutant: Mutant,
    pub violation: &'static str,
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let all = [
        storage::scenarios(),
        snapshots::scenarios(),
        reads::scenarios(),
        leases::scenarios(),
        locks::scenarios(),
        watches::scenarios(),
    ];
    all.into_iter().flatten().collect()
}

impl Scenario {
    /// Nothing to switch off.
    fn new(name: &'static str, nodes: u64, script: Script) -> Scenario {
        Scenario { name, nodes, twin: None, promise: None, script }
    }

    /// The same, which falls with this bug, and says so.
    fn falls(self, mutant: Mutant, violation: &'static str) -> Scenario {
        Scenario { twin: Some(Twin { mutant, violation }), ..self }
    }

    /// The same, among members that wait so long for a leader.
    fn promising(self, promise: Duration) -> Scenario {
        Scenario { promise: Some(promise), ..self }
    }

    /// Plays it once, with the protection on or off.
    pub fn play(&self, seed: u64, protected: bool) -> Report {
        let mutant = self.twin.filter(|_| !protected).map(|twin| twin.mutant);
        simulating(seed, mutant, || {
            let world = World::new(seed, self.nodes, true);
            world.members.iter().for_each(|member| member.promises(self.promise));
            let parts = Parts { kv: false, locks: false, leases: false, watches: false, registers: false };
            let clients =
                Clients::new(world.clone(), Plan { seed, length: Duration::ZERO, parts, clocks: true });
            let stage =
                Arc::new(Stage { clients: clients.clone(), orders: Mutex::default(), serial: Mutex::new(0) });
            let mut sim = build(&world, seed);
            let (script, at, ends) = (self.script, stage.clone(), clients.clone());
            sim.client(CLIENTS, async move {
                script(at.clone()).await;
                at.heal().await;
                workload::finish(&ends).await;
                Ok(())
            });
            let ended = drive(&mut sim, |sim| stage.obey(sim));
            judge(&clients, sim, ended)
        })
    }
}

/// What a script has in hand.
pub struct Stage {
    pub clients: Arc<Clients>,
    orders: Mutex<Vec<Order>>,
    serial: Mutex<u64>,
}

impl Stage {
    fn world(&self) -> &Arc<World> {
        &self.clients.world
    }

    fn member(&self, id: u64) -> &Arc<Member> {
        self.world().member(id)
    }

    fn obey(&self, sim: &mut Sim<'static>) {
        let orders = std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        orders.into_iter().for_each(|order| order(sim));
    }

    /// Has the driver do something, and waits until it is done.
    async fn order(&self, order: impl FnOnce(&mut Sim<'static>) + Send + 'static) {
        let (sender, done) = tokio::sync::oneshot::channel();
        let order: Order = Box::new(move |sim| {
            order(sim);
            let _ = sender.send(());
        });
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        let _ = done.await;
    }

    /// Takes power from a member, and gives it back at once, or not.
    pub async fn crash(&self, id: u64, loss: Loss, again: bool) {
        let member = self.member(id).clone();
        self.order(move |sim| {
            member.crash(loss);
            sim.crash(member.name());
            if again {
                sim.bounce(member.name());
            }
        })
        .await;
    }

    /// Starts a member that is down.
    pub async fn start(&self, id: u64) {
        let name = self.member(id).name();
        self.order(move |sim| sim.bounce(name)).await;
    }

    /// Does something to the link between a member and each other one.
    async fn links(&self, id: u64, change: impl Fn(&Sim<'static>, &str, &str) + Send + 'static) {
        let name = self.member(id).name();
        let others: Vec<_> = self.others(id).into_iter().map(|id| self.member(id).name()).collect();
        self.order(move |sim| others.iter().for_each(|other| change(sim, &name, other))).await;
    }

    /// Cuts a member off from the other members; clients reach it.
    pub async fn isolate(&self, id: u64) {
        self.links(id, |sim, one, other| sim.partition(one, other)).await;
    }

    /// Ends that.
    pub async fn join(&self, id: u64) {
        self.links(id, |sim, one, other| sim.repair(one, other)).await;
    }

    /// Nothing goes from one member to another any more.
    pub async fn cut_one_way(&self, from: u64, to: u64) {
        let (from, to) = (self.member(from).name(), self.member(to).name());
        self.order(move |sim| sim.partition_oneway(from, to)).await;
    }

    /// What one member and the others send to each other from now on waits.
    pub async fn hold(&self, id: u64) {
        self.links(id, |sim, one, other| sim.hold(one, other)).await;
    }

    /// What waited arrives, and nothing after it: they are cut off from each other.
    pub async fn release_and_isolate(&self, id: u64) {
        let change = |sim: &Sim<'static>, one: &str, other: &str| {
            sim.release(one, other);
            sim.partition(one, other);
        };
        self.links(id, change).await;
    }

    /// Cuts two members off from each other.
    pub async fn cut(&self, a: u64, b: u64) {
        let (a, b) = (self.member(a).name(), self.member(b).name());
        self.order(move |sim| sim.partition(a, b)).await;
    }

    /// Every link is whole, every disk quick. Members that are down stay so.
    pub async fn heal(&self) {
        let names: Vec<_> = self.world().members.iter().map(|member| member.name()).collect();
        self.world().members.iter().for_each(|member| member.disk.stall(Duration::ZERO));
        self.order(move |sim| {
            for (at, a) in names.iter().enumerate() {
                for b in &names[at + 1..] {
                    sim.repair(a.as_str(), b.as_str());
                    sim.release(a.as_str(), b.as_str());
                }
            }
        })
        .await;
    }

    pub fn others(&self, id: u64) -> Vec<u64> {
        self.world().members.iter().map(|member| member.id).filter(|other| *other != id).collect()
    }

    /// The member that leads with a quorum behind it, once there is one other than `not`.
    pub async fn leader(&self, not: Option<u64>) -> u64 {
        loop {
            for member in &self.world().members {
                let Some(node) = member.node().filter(|_| Some(member.id) != not) else { continue };
                let status = node.status().await;
                if status.leader_id == Some(member.id) && status.ready {
                    return member.id;
                }
            }
            tokio::time::sleep(ms(5)).await;
        }
    }

    /// A client that knows these members only, and does not repeat writes.
    pub fn client_of(&self, ids: &[u64]) -> Client {
        self.client_for(ids, ms(150))
    }

    /// The same, which waits so long for an answer.
    pub fn client_for(&self, ids: &[u64], timeout: Duration) -> Client {
        ClientBuilder::new(ids.iter().map(|id| client_addr(*id)))
            .timeout(timeout)
            .connect_timeout(ms(200))
            .sessions(false)
            .env(self.world().client_env())
            .build()
            .expect("endpoints are sound")
    }

    fn mark(&self) -> String {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        *serial += 1;
        format!("s{serial}")
    }

    /// Writes a value that nobody else writes, followed by `padding` bytes. Whether it was acknowledged.
    pub async fn put(&self, client: &Client, key: &str, padding: usize) -> bool {
        let mark = format!("{}{}", self.mark(), ".".repeat(padding));
        let put = Put { key: key.to_owned().into(), value: mark.clone().into(), ..Put::default() };
        let began = now();
        let outcome = Outcome::written(client.put(put, CallOptions::default()).await);
        self.note(began, Call::Write { mark, session: false }, outcome)
    }

    /// Writes until one is acknowledged.
    pub async fn put_surely(&self, client: &Client, key: &str) {
        while !self.put(client, key, 0).await {
            tokio::time::sleep(ms(10)).await;
        }
    }

    /// The same. Gives the revision of the write.
    pub async fn put_at(&self, client: &Client, key: &str) -> Revision {
        self.put_surely(client, key).await;
        let last = |op: &Op| op.outcome.revision().filter(|_| matches!(op.call, Call::Write { .. }));
        self.clients.history().ops.iter().rev().find_map(last).unwrap_or(0)
    }

    /// Reads at a level from one member. Whether it was answered.
    pub async fn read(&self, client: &Client, level: Level, id: u64) -> bool {
        self.read_at(client, level, (id, 0)).await
    }

    /// The same, at a revision; 0: the newest.
    pub async fn read_at(&self, client: &Client, level: Level, (id, revision): (u64, Revision)) -> bool {
        let range = Range { revision, ..Range::new(KeyRange::prefix("k")) };
        let consistency = Consistency { level, route: Route::Member(id) };
        let began = now();
        let answer = client.range(range.clone(), consistency, CallOptions::default()).await;
        let outcome = Outcome::read(answer);
        self.note(began, Call::Read { range, level }, outcome)
    }

    fn note(&self, began: Duration, call: Call, outcome: Outcome) -> bool {
        let ok = outcome.name() == "ok";
        self.world().trace.event("script", format!("{}: {outcome}", shortened(&call.to_string())));
        let op = Op { client: 0, began, ended: now(), call, outcome };
        self.clients.history().ops.push(op);
        ok
    }

    /// Waits until `done` says so, at most five seconds.
    pub async fn until(&self, mut done: impl FnMut() -> bool) {
        let deadline = now() + Duration::from_secs(5);
        while !done() && now() < deadline {
            tokio::time::sleep(ms(2)).await;
        }
    }
}

fn shortened(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}
