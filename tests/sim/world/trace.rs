//! What happened: a hash over (simulated time, who, what), and the lines of it for people; and a hash over every
//! segment on the simulated wire, which finds what the first one misses: a leak of the real world.

use std::{
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

/// Hashes what turmoil tells about each segment that is put on its wire or taken off it.
#[derive(Clone, Default)]
pub struct WireHash {
    hasher: Arc<Mutex<DefaultHasher>>,
    segments: Arc<AtomicU64>,
}

impl WireHash {
    /// The hash, and the number of segments.
    pub fn get(&self) -> (u64, u64) {
        let hasher = self.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        (hasher.finish(), self.segments.load(Ordering::Relaxed))
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
        fields.0.hash(&mut *self.hasher.lock().unwrap_or_else(PoisonError::into_inner));
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
