//! The network between the members, in the tests' hands: a proxy for each directed pair, since a member's
//! dialling can be redirected per target (`Config::peer_dial`).
//!
//! A cut link behaves as a lossy network does: bytes stop, connections stay, nobody is told. What was under
//! way arrives after the link is healed. Cuts are per direction of the *bytes*, so that a one-way partition
//! stops requests of one side and answers to the other. Deliberately absent: loss of single packets, which
//! TCP hides anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorate::types::NodeId;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

/// Bytes on their way from one member to another.
type Direction = (NodeId, NodeId);

/// What the network does now.
#[derive(Clone, Default)]
struct Weather {
    cut: BTreeSet<Direction>,
    delay: BTreeMap<Direction, Duration>,
}

/// All proxies of a cluster. They end when it is dropped.
pub struct Network {
    weather: watch::Sender<Weather>,
    /// Where `from` must dial to reach `to`.
    detours: BTreeMap<Direction, String>,
    carried: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Network {
    /// Proxies for every directed pair of `peers` (member -> its real peer address).
    pub async fn start(peers: &BTreeMap<NodeId, String>) -> Network {
        let (weather, _) = watch::channel(Weather::default());
        let (mut detours, mut tasks) = (BTreeMap::new(), JoinSet::new());
        let carried = Arc::new(AtomicUsize::new(0));
        for from in peers.keys() {
            for (to, addr) in peers.iter().filter(|(to, _)| *to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for a proxy");
                let detour = listener.local_addr().expect("a bound port").to_string();
                detours.insert((*from, *to), detour);
                let link = Link { direction: (*from, *to), target: addr.clone(), carried: carried.clone() };
                tasks.spawn(serve(listener, link, weather.subscribe()));
            }
        }
        Network { weather, detours, carried, _tasks: tasks }
    }

    /// The part of a member's configuration file that sends it through its proxies.
    pub fn detours_of(&self, from: NodeId) -> String {
        let own = self.detours.iter().filter(|((source, _), _)| *source == from);
        let lines: String = own.map(|((_, to), addr)| format!("{to} = \"{addr}\"\n")).collect();
        format!("[peer_dial]\n{lines}")
    }

    /// Connections that were made through the proxies.
    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }

    /// Stops the bytes from `from` to `to`; the other direction goes on.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.weather.send_modify(|weather| {
            weather.cut.insert((from, to));
        });
    }

    /// Stops everything between `member` and all others.
    pub fn isolate(&self, member: NodeId) {
        self.weather.send_modify(|weather| {
            let touches = |(from, to): &&Direction| *from == member || *to == member;
            weather.cut.extend(self.detours.keys().filter(touches));
        });
    }

    /// Delays the bytes between all members, in each direction.
    pub fn delay_all(&self, delay: Duration) {
        self.weather.send_modify(|weather| {
            weather.delay = self.detours.keys().map(|direction| (*direction, delay)).collect();
        });
    }

    /// No cuts, no delays.
    pub fn heal(&self) {
        self.weather.send_replace(Weather::default());
    }
}

/// The connections that one member makes to another.
#[derive(Clone)]
struct Link {
    direction: Direction,
    /// Where the other really listens.
    target: String,
    carried: Arc<AtomicUsize>,
}

/// Accepts connections of the link's source, and connects each to its target.
async fn serve(listener: TcpListener, link: Link, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                connections.spawn(connect(near, link.clone(), weather.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side ends it.
async fn connect(near: TcpStream, link: Link, mut weather: watch::Receiver<Weather>) {
    let (from, to) = link.direction;
    let open = |weather: &Weather| !weather.cut.contains(&(from, to)) && !weather.cut.contains(&(to, from));
    if weather.wait_for(open).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(link.target).await else { return };
    link.carried.fetch_add(1, Ordering::Relaxed);
    // Without it the proxies would add 40 ms to small messages.
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = copy(near_read, far_write, (from, to), weather.clone());
    let back = copy(far_read, near_write, (to, from), weather);
    // The first side that ends takes the other along: a dead process must look dead.
    tokio::select! {
        _ = there => {}
        _ = back => {}
    }
}

/// Chunks that a delayed direction may hold; a reader in front of a full one waits.
const ON_THE_WAY_MAX: usize = 1024;

/// Bytes on their way, and when they arrive.
type OnTheWay = (Instant, Vec<u8>);

/// Copies bytes, as the weather allows. A delay makes each of them late, not the ones behind it later: a
/// slow link has the throughput of a fast one.
async fn copy(
    source: impl AsyncRead + Unpin,
    sink: impl AsyncWrite + Unpin,
    direction: Direction,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (depart, arrive) = mpsc::channel(ON_THE_WAY_MAX);
    tokio::try_join!(
        send_off(source, depart, direction, weather.clone()),
        deliver(sink, arrive, direction, weather),
    )?;
    Ok(())
}

/// Reads bytes until the source ends or nobody wants them, and decides when each arrives.
async fn send_off(
    mut source: impl AsyncRead + Unpin,
    depart: mpsc::Sender<OnTheWay>,
    direction: Direction,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    loop {
        let mut buffer = Vec::with_capacity(16 << 10);
        if source.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let delay = weather.borrow().delay.get(&direction).copied().unwrap_or_default();
        if depart.send((Instant::now() + delay, buffer)).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes bytes when they are due and the link is not cut.
async fn deliver(
    mut sink: impl AsyncWrite + Unpin,
    mut arrive: mpsc::Receiver<OnTheWay>,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    while let Some((due, bytes)) = arrive.recv().await {
        tokio::time::sleep_until(due).await;
        if weather.wait_for(|weather| !weather.cut.contains(&direction)).await.is_err() {
            return Ok(());
        }
        sink.write_all(&bytes).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cut_stops_bytes_in_one_direction_until_it_is_healed() {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = target.local_addr().expect("a bound port").to_string();
    let network = Network::start(&BTreeMap::from([(1, "127.0.0.1:1".to_owned()), (2, addr)])).await;
    let mut near = TcpStream::connect(&network.detours[&(1, 2)]).await.expect("the proxy");
    let (mut far, _) = target.accept().await.expect("the target is dialled");
    let (mut byte, patience) = ([0], Duration::from_millis(200));

    network.cut_one_way(1, 2);
    near.write_all(b"a").await.expect("a write");
    tokio::time::timeout(patience, far.read_exact(&mut byte)).await.expect_err("requests are cut");
    far.write_all(b"b").await.expect("a write");
    near.read_exact(&mut byte).await.expect("answers go on");

    network.heal();
    far.read_exact(&mut byte).await.expect("what was under way arrives");
    assert_eq!(&byte, b"a");
    drop(far);
    assert_eq!(near.read(&mut byte).await.expect("an end"), 0, "a dead process looks dead");
}

#[tokio::test]
async fn a_delay_makes_bytes_late_but_does_not_hold_up_those_behind() {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = target.local_addr().expect("a bound port").to_string();
    let network = Network::start(&BTreeMap::from([(1, "127.0.0.1:1".to_owned()), (2, addr)])).await;
    let mut near = TcpStream::connect(&network.detours[&(1, 2)]).await.expect("the proxy");
    near.set_nodelay(true).expect("an open socket");
    let (mut far, _) = target.accept().await.expect("the target is dialled");
    let (delay, chunks) = (Duration::from_millis(100), 50);
    network.delay_all(delay);

    let began = Instant::now();
    let sending = async {
        for _ in 0..chunks {
            near.write_all(b"a").await.expect("a write");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut bytes = vec![0; chunks];
    let (_, read) = tokio::join!(sending, far.read_exact(&mut bytes));
    read.expect("all of it arrives");
    let took = began.elapsed();
    assert!(took >= delay, "late: {took:?}");
    assert!(took < delay * (chunks as u32) / 2, "but not one after the other: {took:?}");
}
