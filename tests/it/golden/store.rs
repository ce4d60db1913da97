//! One store under test: runs a script's commands, and says in words what came of them.

use std::{fmt::Write, sync::Arc};

use quorate::{
    state::{
        Applied, ApplyBatch, Command, Committed, Doomed, Event, EventKind, Expire, GrantLease, HistoryBounds,
        Operation, Outcome, PageQuery, PinnedSnapshot, Position, StateMachine, snapshot, validate_command,
        validate_range,
    },
    storage::Engine,
    types::{DeleteResult, Guard, KeyValue, Limits, OpResult, RangeResult, SessionSeq, TxnResult},
};

use super::parse::{self, Named};

type NewEngine = Box<dyn FnMut() -> Arc<dyn Engine>>;

pub struct Store {
    new_engine: NewEngine,
    machine: StateMachine,
    limits: Limits,
    next_index: u64,
    batch: Option<ApplyBatch>,
    named: Named,
    pinned: Option<PinnedSnapshot>,
    /// Of the next command.
    session: Option<SessionSeq>,
    guards: Vec<Guard>,
}

impl Store {
    pub fn new(mut new_engine: NewEngine) -> Store {
        let machine = StateMachine::open(new_engine()).expect("an empty store");
        let limits = Limits::default();
        Store {
            new_engine,
            machine,
            limits,
            next_index: 0,
            batch: None,
            named: Named::new(),
            pinned: None,
            session: None,
            guards: Vec::new(),
        }
    }

    /// Runs one command. `events`: tell those of a commit.
    pub fn run(&mut self, name: &str, tokens: &[&str], events: bool) -> Result<String, String> {
        match name {
            "put" => self.apply(Operation::Put(parse::put(tokens)?), events),
            "del" => self.apply(Operation::Delete(parse::delete(tokens)?), events),
            "txn" => self.apply(Operation::Txn(parse::txn(tokens, &self.named)?), events),
            "compact" => self.apply(Operation::Compact(one(tokens)?), events),
            "marker" => self.apply(Operation::Marker, events),
            "grant" => self.apply(Operation::Grant(grant(tokens)?), events),
            "revoke" => self.apply(Operation::Revoke(one(tokens)?), events),
            "expire" => self.apply(Operation::Expire(expire(tokens)?), events),
            "as" => self.as_session(tokens),
            "guard" => self.guard(tokens),
            "leases" => self.leases(),
            "history" => self.history(tokens),
            "get" => self.get(tokens),
            "let" => self.define(tokens),
            "scan" => self.scan(tokens),
            "begin" => self.begin(),
            "commit" => self.commit(events),
            "drop" => self.drop_batch(),
            "limit" => self.limit(tokens),
            "step" => Ok(format!("{:?}", self.machine.compactor().step(one(tokens)?).map_err(text)?)),
            "pin" => self.pin(),
            "unpin" => Ok(self.pinned.take().map_or("was not pinned".into(), |_| String::new())),
            "view" => self.view(),
            "hash" => self.hash(tokens),
            "members" => self.members(tokens),
            "reopen" => self.reopen(),
            "snapshot" => self.snapshot(),
            other => Err(format!("unknown command {other}")),
        }
    }

    fn position(&mut self) -> Position {
        let index = self.next_index;
        self.next_index += 1;
        Position { term: 1, index }
    }

    fn apply(&mut self, op: Operation, events: bool) -> Result<String, String> {
        let (session, guards) = (self.session.take(), std::mem::take(&mut self.guards));
        let command = Command { session, guards, ..op.into() };
        validate_command(&command, &self.limits).map_err(text)?;
        let at = self.position();
        let begun = self.batch.take();
        let open = begun.is_some();
        let mut batch = begun.unwrap_or_else(|| self.machine.begin());
        let applied = self.machine.apply(&mut batch, at, &command).map_err(text)?;
        let mut out = describe(&applied);
        if open {
            self.batch = Some(batch);
        } else {
            let heard = self.machine.commit(batch).map_err(text)?;
            out += &describe_committed(&heard, events);
        }
        Ok(out)
    }

    /// Begins a batch, with a blank entry as its first.
    fn begin(&mut self) -> Result<String, String> {
        let at = self.position();
        let mut batch = self.machine.begin();
        self.machine.note(&mut batch, at).map_err(text)?;
        self.batch = Some(batch);
        Ok(String::new())
    }

    fn commit(&mut self, events: bool) -> Result<String, String> {
        let batch = self.batch.take().ok_or("no batch")?;
        let heard = self.machine.commit(batch).map_err(text)?;
        Ok(describe_committed(&heard, events))
    }

    fn as_session(&mut self, tokens: &[&str]) -> Result<String, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a number"));
        let (id, seq, ack_below) = match tokens {
            [id, seq] => (number(id)?, number(seq)?, 0),
            [id, seq, below] => (number(id)?, number(seq)?, number(below)?),
            _ => return Err("as SESSION SEQ [ACK_BELOW]".into()),
        };
        self.session = Some(SessionSeq { id, seq, ack_below });
        Ok(String::new())
    }

    fn guard(&mut self, tokens: &[&str]) -> Result<String, String> {
        let [key, token] = tokens else { return Err("guard KEY TOKEN".into()) };
        let fencing_token = token.parse().map_err(text)?;
        self.guards.push(Guard { owner_key: key.to_string().into(), fencing_token });
        Ok(String::new())
    }

    fn leases(&self) -> Result<String, String> {
        let reader = self.machine.reader();
        let mut out = String::new();
        for lease in reader.leases(0, usize::MAX).0 {
            let (keys, _) = reader.keys_of_lease(lease.lease, usize::MAX);
            let keys: Vec<_> = keys.iter().map(|key| bytes(key)).collect();
            let kind = if lease.session { "session" } else { "lease" };
            writeln!(out, "{kind} {} of {} ms: {}", lease.lease, lease.ttl_ms, keys.join(" "))
                .map_err(text)?;
        }
        let (hash, _) = reader.leases_hash();
        Ok(format!("{out}hash {hash:032x}\n"))
    }

    /// All of it, in reads of so many bytes.
    fn history(&self, tokens: &[&str]) -> Result<String, String> {
        let [range, from, size] = tokens else { return Err("history KEYS FROM BYTES".into()) };
        let (keys, looked_at) = (parse::keys(range), size.parse().map_err(text)?);
        let bounds = HistoryBounds { looked_at, given: looked_at };
        let mut from = from.parse().map_err(text)?;
        let mut out = String::new();
        loop {
            let read = self.machine.reader().history(&keys, from, bounds).map_err(text)?;
            writeln!(out, "from {from}:").map_err(text)?;
            out += &describe_events(&read.events);
            if read.next > read.view.revision {
                return Ok(out);
            }
            from = read.next;
        }
    }

    fn drop_batch(&mut self) -> Result<String, String> {
        self.batch = None;
        self.next_index = self.machine.applied().map_or(0, |at| at.index + 1);
        Ok(String::new())
    }

    fn define(&mut self, tokens: &[&str]) -> Result<String, String> {
        let [name, rest @ ..] = tokens else { return Err("let NAME TXN".into()) };
        self.named.insert(name.to_string(), parse::txn(rest, &self.named)?);
        Ok(String::new())
    }

    fn limit(&mut self, tokens: &[&str]) -> Result<String, String> {
        for token in tokens {
            match token.split_once('=') {
                Some(("pairs", n)) => self.limits.range_pairs_max = n.parse().map_err(text)?,
                Some(("bytes", n)) => self.limits.range_bytes_max = n.parse().map_err(text)?,
                _ => return Err(format!("unknown limit {token}")),
            }
        }
        Ok(String::new())
    }

    fn get(&self, tokens: &[&str]) -> Result<String, String> {
        let range = parse::range(tokens)?;
        validate_range(&range, &self.limits).map_err(text)?;
        let (result, _) = self.machine.reader().range(&range, &self.limits).map_err(text)?;
        Ok(describe_range(&result))
    }

    /// All pages of a scan, each on a line.
    fn scan(&self, tokens: &[&str]) -> Result<String, String> {
        let [range, bytes, ..] = tokens else { return Err("scan KEYS BYTES [keys-only]".into()) };
        let keys = parse::keys(range);
        let keys_only = tokens.contains(&"keys-only");
        let bytes_max = bytes.parse().map_err(text)?;
        let mut query = PageQuery { keys: &keys, revision: 0, after: None, bytes_max, keys_only };
        let mut out = String::new();
        loop {
            let page = self.machine.reader().scan_page(&query).map_err(text)?;
            let kvs: Vec<_> = page.kvs.iter().map(pair).collect();
            writeln!(out, "page at {}: {}", page.revision, kvs.join(" · ")).map_err(text)?;
            let Some(next) = page.next else { return Ok(out) };
            (query.revision, query.after) = (page.revision, Some(next));
        }
    }

    fn pin(&mut self) -> Result<String, String> {
        let pinned = self.machine.pin();
        let out = format!("{:?}\n", pinned.header());
        self.pinned = Some(pinned);
        Ok(out)
    }

    fn view(&self) -> Result<String, String> {
        let view = self.machine.reader().position();
        let applied = view.applied.map_or("nothing".into(), |at| format!("{}.{}", at.term, at.index));
        let members = self.machine.membership();
        let members =
            members.map_or(String::new(), |(at, bytes)| format!(", members {bytes:?} since {at:?}"));
        Ok(format!(
            "revision {}, compacted {}, applied {applied}, {} keys{members}\n",
            view.revision, view.compact_revision, view.keys
        ))
    }

    fn hash(&self, tokens: &[&str]) -> Result<String, String> {
        let hashed = self.machine.reader().hash(one(tokens).unwrap_or(0)).map_err(text)?;
        Ok(format!("{:032x} of {} keys at {}\n", hashed.hash, hashed.keys, hashed.revision))
    }

    fn members(&mut self, tokens: &[&str]) -> Result<String, String> {
        let at = self.position();
        let mut batch = self.machine.begin();
        let members = tokens.join(" ").into();
        self.machine.set_membership(&mut batch, at, members).map_err(text)?;
        self.machine.commit(batch).map_err(text)?;
        Ok(String::new())
    }

    fn reopen(&mut self) -> Result<String, String> {
        self.machine = StateMachine::open(self.machine.engine()).map_err(text)?;
        self.view()
    }

    /// Takes a snapshot (the pinned one, if there is), loads it into a new engine, and goes on with that.
    fn snapshot(&mut self) -> Result<String, String> {
        let pinned = self.pinned.take().unwrap_or_else(|| self.machine.pin());
        let mut bytes = Vec::new();
        pinned.write(&mut bytes).map_err(text)?;
        let summary = snapshot::verify(&bytes[..]).map_err(text)?;
        let loaded = StateMachine::load((self.new_engine)(), &bytes[..]).map_err(text)?;
        self.machine.replace(loaded);
        self.next_index = self.machine.applied().map_or(0, |at| at.index + 1);
        Ok(format!("{} records\n{}", summary.records, self.view()?))
    }
}

fn one<T: std::str::FromStr>(tokens: &[&str]) -> Result<T, String> {
    match tokens {
        [token] => token.parse().map_err(|_| format!("{token:?} is not a number")),
        _ => Err("one number, please".into()),
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn bytes(bytes: &[u8]) -> String {
    match bytes.len() {
        0..40 => bytes.escape_ascii().to_string(),
        length => format!("({length} bytes)"),
    }
}

/// `key=value @create..mod vversion`
fn pair(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease {}", kv.lease) };
    let (key, value) = (bytes(&kv.key), bytes(&kv.value));
    format!("{key}={value} @{}..{} v{}{lease}", kv.create_revision, kv.mod_revision, kv.version)
}

fn describe(applied: &Applied) -> String {
    let Applied { log_index, revision, outcome, deduplicated, .. } = applied;
    let stored = if *deduplicated { " (stored)" } else { "" };
    let what = match outcome {
        Outcome::Put(prev) => format!("put{}", describe_prev(prev)),
        Outcome::Delete(result) => describe_delete(result),
        Outcome::Txn(result) => describe_txn(result, 1),
        Outcome::Compact => "compacted".to_owned(),
        Outcome::Marker => "passed".to_owned(),
        Outcome::Grant(granted) => format!("granted {} for {:?}", granted.id, granted.ttl),
        Outcome::Revoke(revoked) => format!("revoked, with {} keys", revoked.deleted),
        Outcome::Expire { leases, deleted } => format!("{leases} expired, with {deleted} keys"),
        Outcome::Refused(refusal) => format!("refused: {}", quorate::error::Error::from(refusal.clone())),
    };
    format!("{log_index} → revision {revision}: {what}{stored}\n")
}

fn describe_prev(prev: &Option<KeyValue>) -> String {
    prev.as_ref().map_or(String::new(), |kv| format!(", was {}", pair(kv)))
}

fn describe_delete(result: &DeleteResult) -> String {
    let prev: Vec<_> = result.prev_kvs.iter().map(|kv| format!(", was {}", pair(kv))).collect();
    format!("deleted {}{}", result.deleted, prev.concat())
}

fn describe_range(result: &RangeResult) -> String {
    let more = if result.more { ", more" } else { "" };
    let mut out = format!("{} of {}{more}\n", result.kvs.len(), result.count);
    for kv in &result.kvs {
        out += &format!("  {}\n", pair(kv));
    }
    out
}

fn describe_txn(result: &TxnResult, depth: usize) -> String {
    let mut out = if result.succeeded { "then".to_owned() } else { "else".to_owned() };
    for result in &result.results {
        let what = match result {
            OpResult::Put(prev) => format!("put{}", describe_prev(prev)),
            OpResult::Delete(result) => describe_delete(result),
            OpResult::Range(result) => {
                let kvs: Vec<_> = result.kvs.iter().map(pair).collect();
                let more = if result.more { ", more" } else { "" };
                format!("{} of {}{more}: {}", kvs.len(), result.count, kvs.join(" · "))
            }
            OpResult::Txn(result) => describe_txn(result, depth + 1),
        };
        out += &format!("\n{}{}", "  ".repeat(depth), what.trim_end());
    }
    out
}

fn describe_committed(committed: &Committed, wanted: bool) -> String {
    if wanted { describe_events(&committed.events) } else { String::new() }
}

fn describe_events(events: &[Event]) -> String {
    let event = |event: &Event| {
        let kind = if event.kind == EventKind::Put { "put" } else { "delete" };
        format!("  event {}: {kind} {}\n", event.revision, pair(&event.kv))
    };
    events.iter().map(event).collect()
}

/// `ID TTL_MS [session]`, with room for three leases and two sessions.
fn grant(tokens: &[&str]) -> Result<GrantLease, String> {
    let [lease, ttl_ms, rest @ ..] = tokens else { return Err("grant ID TTL_MS [session]".into()) };
    Ok(GrantLease {
        lease: lease.parse().map_err(text)?,
        ttl_ms: ttl_ms.parse().map_err(text)?,
        session: rest == ["session"],
        leases_max: 3,
        sessions_max: 2,
    })
}

/// `TERM ID[@INDEX]…`, INDEX that of the entry that granted it.
fn expire(tokens: &[&str]) -> Result<Expire, String> {
    let [term, leases @ ..] = tokens else { return Err("expire TERM ID[@INDEX]…".into()) };
    let doomed = |token: &&str| -> Result<Doomed, String> {
        let (lease, granted_at) = token.split_once('@').unwrap_or((token, "0"));
        Ok(Doomed { lease: lease.parse().map_err(text)?, granted_at: granted_at.parse().map_err(text)? })
    };
    let leases = leases.iter().map(doomed).collect::<Result<_, _>>()?;
    Ok(Expire { leases, term: term.parse().map_err(text)? })
}
