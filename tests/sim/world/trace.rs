//! What happened: a hash over (simulated time, who, what), and the lines of it for people; and a hash over
//! every segment on the simulated wire, which finds what the first one misses: a leak of the real world.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::now;

/// One simulation's trace, and the violations that were found. Cheap to clone.
#[derive(Clone, Default)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// SipHash with fixed keys: the same in every process.
    hasher: DefaultHasher,
    events: u64,
    lines: Option<Vec<String>>,
    violations: Vec<String>,
}

impl Trace {
    pub fn new(keep_lines: bool) -> Trace {
        let trace = Trace::default();
        trace.inner().lines = keep_lines.then(Vec::new);
        trace
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everything at the first panic, and ends the process with exit code 1: what is dropped afterwards
    /// may panic too, which ends in an abort without a word.
    pub fn tell_at_panic(&self) {
        let trace = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            trace.lines().iter().for_each(|line| println!("{line}"));
            println!("VIOLATED a task panicked at {:?}: {panic}", now());
            std::process::exit(1);
        }));
    }

    /// Notes what `who` did, now.
    pub fn event(&self, who: &str, what: impl AsRef<str>) {
        self.event_at(now(), who, what);
    }

    /// Notes what `who` did at `at`: for who is outside of every host.
    pub fn event_at(&self, at: Duration, who: &str, what: impl AsRef<str>) {
        let mut inner = self.inner();
        (at, who, what.as_ref()).hash(&mut inner.hasher);
        inner.events += 1;
        if let Some(lines) = &mut inner.lines {
            lines.push(format!("{:>9.3}  {who:<8} {}", at.as_secs_f64(), what.as_ref()));
        }
    }

    /// Something that must hold does not.
    pub fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.event("VIOLATED", &what);
        let mut inner = self.inner();
        // The first ones tell; a broken invariant breaks at every step.
        if inner.violations.len() < 20 {
            inner.violations.push(what);
        }
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner().violations.clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.clone().unwrap_or_default()
    }

    pub fn events(&self) -> u64 {
        self.inner().events
    }

    pub fn hash(&self) -> u64 {
        self.inner().hasher.finish()
    }
}

/// Hashes what turmoil tells of its wire: when what was sent or taken off, between whom; and the bytes, but
/// for those of HTTP/2's HEADERS. Where tonic answers by itself that a call is late, hyper dates the answer
/// by the real clock, and no layer can prevent it.
#[derive(Clone, Default)]
pub struct WireHash {
    hasher: Arc<Mutex<Hashing>>,
    segments: Arc<AtomicU64>,
    dump: bool,
}

impl WireHash {
    /// `dump`: print each segment as well, to find where two runs differ.
    pub fn new(dump: bool) -> WireHash {
        WireHash { dump, ..WireHash::default() }
    }

    /// The hash, and the number of segments.
    pub fn get(&self) -> (u64, u64) {
        let hashing = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        (hashing.hasher.finish(), self.segments.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Hashing {
    hasher: DefaultHasher,
    /// By connection and direction.
    streams: BTreeMap<String, Frames>,
}

impl Hashing {
    fn segment(&mut self, fields: &str) {
        let (who, bytes) = fields.split_once(" [").unwrap_or((fields, ""));
        (now(), who).hash(&mut self.hasher);
        // Ports are used again.
        if let Some((ends, _)) = who.split_once(";protocol=TCP SYN;")
            && let Some(client) = ends.split(';').find_map(|field| field.strip_prefix("src="))
        {
            self.streams.retain(|who, _| !who.contains(&format!("={client};")));
        }
        if who.starts_with("message=Send") {
            let bytes =
                bytes.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|byte| byte.strip_prefix("0x"));
            let frames = self.streams.entry(who.to_owned()).or_default();
            bytes
                .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
                .for_each(|b| frames.take(b, &mut self.hasher));
        }
    }
}

/// A direction of an HTTP/2 connection (RFC 9113, section 4.1), byte by byte.
#[derive(Default)]
struct Frames {
    /// What the client says first was passed.
    begun: bool,
    head: Vec<u8>,
    /// Of the frame's payload.
    left: usize,
}

impl Frames {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const HEADERS: u8 = 1;

    fn take(&mut self, byte: u8, hasher: &mut DefaultHasher) {
        if self.left > 0 {
            self.left -= 1;
            if self.head[3] != Frames::HEADERS {
                byte.hash(hasher);
            }
            if self.left == 0 {
                self.head.clear();
            }
            return;
        }
        self.head.push(byte);
        if !self.begun && Frames::PREFACE.starts_with(&self.head) {
            if self.head.len() == Frames::PREFACE.len() {
                self.begun = true;
                self.head.clear();
            }
            return;
        }
        if let [a, b, c, kind, flags, ref stream @ ..] = self.head[..]
            && stream.len() == 4
        {
            self.begun = true;
            self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            (kind, flags, stream).hash(hasher);
            if self.left == 0 {
                self.head.clear();
            }
        }
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?};", field.name());
    }
}

impl tracing::Subscriber for WireHash {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "turmoil"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).segment(&fields.0);
        self.segments.fetch_add(1, Ordering::Relaxed);
        if self.dump {
            eprintln!("{:?} {}", now(), fields.0);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
