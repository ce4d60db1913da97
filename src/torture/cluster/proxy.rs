//! The network in our hands: a proxy for each directed pair of members, since a member's dialling can be
//! redirected per target (`Config::peer_dial`), and one before each member for clients, since a member
//! advertises the address that it is told to.
//!
//! What is wrong with the network is a set of troubles. Each is imposed and lifted by itself, so that the end
//! of one does not heal another. A cut behaves as a lossy network does: bytes stop, connections stay, nobody
//! is told, and what was under way arrives after the cut. Cuts are per direction of the *bytes*: a one-way
//! cut stops requests of one side and answers to the other. Deliberately absent: loss of single packets,
//! which TCP hides; a lossy link loses connections instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::types::NodeId;

/// Bytes on their way from one place to another; place 0 is that of all clients.
pub type Direction = (NodeId, NodeId);

/// The place of all clients.
pub const CLIENTS: NodeId = 0;

/// What can be wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing passes.
    Cut,
    /// Bytes arrive this much later; those behind them are not held up further.
    Delay(Duration),
    /// So many bytes pass per second.
    Throttle(u64),
    /// A connection is lost with this probability at each piece that it carries.
    Lossy(f64),
}

/// Names a trouble that was imposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Imposed(u64);

/// What the network does now.
#[derive(Clone, Default)]
struct Weather {
    next: u64,
    troubles: BTreeMap<Imposed, (BTreeSet<Direction>, Trouble)>,
    /// Connections that were made before so many resets of the link are ended.
    resets: BTreeMap<Direction, u64>,
}

impl Weather {
    fn troubles(&self, direction: Direction) -> impl Iterator<Item = Trouble> {
        let here = move |(links, trouble): &(BTreeSet<Direction>, Trouble)| {
            links.contains(&direction).then_some(*trouble)
        };
        self.troubles.values().filter_map(here)
    }

    fn is_cut(&self, direction: Direction) -> bool {
        self.troubles(direction).any(|trouble| trouble == Trouble::Cut)
    }

    /// How much later bytes arrive.
    fn delay(&self, direction: Direction) -> Duration {
        let delays = self.troubles(direction).map(|trouble| match trouble {
            Trouble::Delay(delay) => delay,
            _ => Duration::ZERO,
        });
        delays.sum()
    }

    /// How long the link is busy with a piece of so many bytes.
    fn busy(&self, direction: Direction, bytes: usize) -> Duration {
        let times = self.troubles(direction).map(|trouble| match trouble {
            Trouble::Throttle(rate) => Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64),
            _ => Duration::ZERO,
        });
        times.sum()
    }

    /// The probability that a connection does not survive a piece.
    fn loss(&self, direction: Direction) -> f64 {
        let losses = self.troubles(direction).map(|trouble| match trouble {
            Trouble::Lossy(loss) => loss,
            _ => 0.0,
        });
        losses.fold(0.0, f64::max)
    }

    fn resets(&self, (from, to): Direction) -> u64 {
        let resets = |direction| self.resets.get(&direction).copied().unwrap_or_default();
        resets((from, to)) + resets((to, from))
    }
}

/// What was done to one direction, in pieces of bytes or connections. What does not grow while a trouble is
/// imposed on it shows that the trouble hit nothing.
#[derive(Debug, Default)]
pub struct Traffic {
    carried: AtomicU64,
    held: AtomicU64,
    delayed: AtomicU64,
    lost: AtomicU64,
}

/// The counters at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Connections that were made.
    pub carried: u64,
    /// Pieces and connections that a cut has held up.
    pub held: u64,
    /// Pieces that were made late.
    pub delayed: u64,
    /// Connections that were ended.
    pub lost: u64,
}

/// All proxies of a cluster. They end when it is dropped.
pub struct Network {
    weather: watch::Sender<Weather>,
    /// Where `from` must dial to reach `to`.
    detours: BTreeMap<Direction, String>,
    traffic: BTreeMap<Direction, Arc<Traffic>>,
    _tasks: JoinSet<()>,
}

impl Network {
    /// Proxies for every directed pair of `peers` (member -> its real address for peers), and for clients one
    /// before each of `members` (member -> its real address for clients).
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(
        peers: &BTreeMap<NodeId, String>,
        members: &BTreeMap<NodeId, String>,
    ) -> io::Result<Network> {
        let pairs = peers.keys().flat_map(|from| peers.iter().map(move |(to, addr)| ((*from, *to), addr)));
        let pairs = pairs.filter(|((from, to), _)| from != to);
        let targets = pairs.chain(members.iter().map(|(to, addr)| ((CLIENTS, *to), addr)));
        let (weather, _) = watch::channel(Weather::default());
        let (mut detours, mut tasks, mut traffic) = (BTreeMap::new(), JoinSet::new(), BTreeMap::new());
        for (direction, target) in targets {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            detours.insert(direction, listener.local_addr()?.to_string());
            let mut of = |direction| Arc::<Traffic>::clone(traffic.entry(direction).or_default());
            let there = Way { direction, traffic: of(direction) };
            let back = Way { direction: (direction.1, direction.0), traffic: of((direction.1, direction.0)) };
            let link = Link { there, back, target: target.clone() };
            tasks.spawn(serve(listener, link, weather.subscribe()));
        }
        Ok(Network { weather, detours, traffic, _tasks: tasks })
    }

    /// The part of a member's configuration file that sends it through its proxies.
    pub fn detours_of(&self, from: NodeId) -> String {
        let own = self.detours.iter().filter(|((source, _), _)| *source == from);
        let lines: String = own.map(|((_, to), addr)| format!("{to} = \"{addr}\"\n")).collect();
        format!("[peer_dial]\n{lines}")
    }

    /// Where clients dial a member, if the network stands before it.
    pub fn client_addr(&self, member: NodeId) -> Option<&str> {
        self.detours.get(&(CLIENTS, member)).map(String::as_str)
    }

    /// What was done so far, to these directions together.
    pub fn counted(&self, directions: &[Direction]) -> Counted {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut sum = Counted::default();
        for traffic in directions.iter().filter_map(|direction| self.traffic.get(direction)) {
            sum.carried += count(&traffic.carried);
            sum.held += count(&traffic.held);
            sum.delayed += count(&traffic.delayed);
            sum.lost += count(&traffic.lost);
        }
        sum
    }

    /// Makes something wrong with some directions, until it is lifted.
    pub fn impose(&self, directions: impl IntoIterator<Item = Direction>, trouble: Trouble) -> Imposed {
        let directions = directions.into_iter().collect();
        let mut imposed = Imposed(0);
        self.weather.send_modify(|weather| {
            weather.next += 1;
            imposed = Imposed(weather.next);
            weather.troubles.insert(imposed, (directions, trouble));
        });
        imposed
    }

    /// Stops everything between a member and all others; clients still reach it.
    pub fn isolate(&self, member: NodeId) -> Imposed {
        let touches = |(from, to): &Direction| *from == member || *to == member;
        self.impose(self.between_members().into_iter().filter(touches), Trouble::Cut)
    }

    /// All directions from one member to another.
    pub fn between_members(&self) -> Vec<Direction> {
        self.detours.keys().copied().filter(|(from, _)| *from != CLIENTS).collect()
    }

    /// Ends a trouble; one that has ended is no error.
    pub fn lift(&self, imposed: Imposed) {
        self.weather.send_modify(|weather| {
            weather.troubles.remove(&imposed);
        });
    }

    /// Ends every trouble.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| weather.troubles.clear());
    }

    /// Ends all connections of some directions; new ones can be made at once.
    pub fn reset(&self, directions: impl IntoIterator<Item = Direction>) {
        self.weather.send_modify(|weather| {
            for direction in directions {
                *weather.resets.entry(direction).or_default() += 1;
            }
        });
    }

    /// All directions between the members `one` side and those of the `other`, in both ways.
    pub fn between(one: &[NodeId], other: &[NodeId]) -> Vec<Direction> {
        let pairs = one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        pairs.filter(|(a, b)| a != b).collect()
    }
}

/// The connections that one place makes to another.
#[derive(Clone)]
struct Link {
    there: Way,
    back: Way,
    /// Where the other really listens.
    target: String,
}

/// One direction of a link.
#[derive(Clone)]
struct Way {
    direction: Direction,
    traffic: Arc<Traffic>,
}

impl Way {
    /// Waits until the bytes of this direction pass.
    async fn passes(&self, weather: &mut watch::Receiver<Weather>) -> io::Result<()> {
        if weather.borrow().is_cut(self.direction) {
            self.traffic.held.fetch_add(1, Ordering::Relaxed);
        }
        let passes = weather.wait_for(|weather| !weather.is_cut(self.direction)).await;
        passes.map(drop).map_err(io::Error::other)
    }
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

/// One connection, until either side ends it, or it is reset.
async fn connect(near: TcpStream, link: Link, mut weather: watch::Receiver<Weather>) {
    let resets = weather.borrow().resets(link.there.direction);
    let mut reset = weather.clone();
    tokio::select! {
        _ = carry(near, &link, &mut weather) => {}
        _ = reset.wait_for(|weather| weather.resets(link.there.direction) != resets) => {
            link.there.traffic.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn carry(near: TcpStream, link: &Link, weather: &mut watch::Receiver<Weather>) -> io::Result<()> {
    // A handshake needs both directions.
    link.there.passes(weather).await?;
    link.back.passes(weather).await?;
    let far = TcpStream::connect(&link.target).await?;
    let number = link.there.traffic.carried.fetch_add(1, Ordering::Relaxed);
    // Without it the proxies would add 40 ms to small messages.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // The first side that ends takes the other along: a dead process must look dead.
    tokio::select! {
        ended = copy(near_read, far_write, (&link.there, number), weather.clone()) => ended,
        ended = copy(far_read, near_write, (&link.back, number), weather.clone()) => ended,
    }
}

/// Pieces that a delayed direction may hold; a reader in front of a full one waits.
const ON_THE_WAY_MAX: usize = 1024;

/// Bytes of a piece, at most.
const PIECE_BYTES: usize = 16 << 10;

/// Bytes on their way, and when they arrive.
type OnTheWay = (Instant, Vec<u8>);

/// Copies bytes, as the weather allows. A delay makes each of them late, not the ones behind it later.
async fn copy(
    source: impl AsyncRead + Unpin,
    sink: impl AsyncWrite + Unpin,
    (way, number): (&Way, u64),
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (depart, arrive) = mpsc::channel(ON_THE_WAY_MAX);
    let sent = send_off(source, depart, (way, number), weather.clone());
    tokio::try_join!(sent, deliver(sink, arrive, way, weather))?;
    Ok(())
}

/// Reads bytes until the source ends or nobody wants them, and decides when each arrives.
async fn send_off(
    mut source: impl AsyncRead + Unpin,
    depart: mpsc::Sender<OnTheWay>,
    (link, number): (&Way, u64),
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    // What is lost is not part of a run's plan: it depends on when bytes come.
    let (from, to) = link.direction;
    let mut rng = SmallRng::seed_from_u64(from ^ to.rotate_left(32) ^ number.rotate_left(16));
    let (mut busy_until, mut last) = (Instant::now(), Instant::now());
    loop {
        let mut buffer = Vec::with_capacity(PIECE_BYTES);
        if source.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let (busy, delay, loss) = {
            let weather = weather.borrow();
            let busy = weather.busy(link.direction, buffer.len());
            (busy, weather.delay(link.direction), weather.loss(link.direction))
        };
        if loss > 0.0 && rng.random_bool(loss.min(1.0)) {
            link.traffic.lost.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !(busy + delay).is_zero() {
            link.traffic.delayed.fetch_add(1, Ordering::Relaxed);
        }
        busy_until = busy_until.max(Instant::now()) + busy;
        // Order is kept also when a trouble ends.
        last = last.max(busy_until + delay);
        if depart.send((last, buffer)).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes bytes when they are due and the link is not cut.
async fn deliver(
    mut sink: impl AsyncWrite + Unpin,
    mut arrive: mpsc::Receiver<OnTheWay>,
    link: &Way,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    while let Some((due, bytes)) = arrive.recv().await {
        tokio::time::sleep_until(due).await;
        link.passes(&mut weather).await?;
        sink.write_all(&bytes).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
