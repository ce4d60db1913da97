//! `get put del txn scan compact`: build the request, call, print.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::ffi::OsStringExt,
};

use futures::StreamExt;
use serde::Serialize;

use super::{
    Failure, Outcome, Session,
    args::{CompactArgs, DelArgs, GetArgs, KeyArgs, OutputForm, PutArgs, ScanArgs, TxnArgs},
    evidence,
    output::{
        self, CompactObject, DeleteObject, PairObject, PutObject, RangeObject, ScanEndObject, TxnObject,
    },
    txn::{json, text},
};
use crate::{
    error::Error,
    recipes::KvApi,
    types::{
        Consistency, Delete, KeyRange, KeyValue, OpResult, Put, Range, RangeAnswer, RangeResult, Scan, Txn,
        TxnResult, WriteAnswer,
    },
};

/// Bytes read from standard input: more than any member accepts by default, and a bound on memory.
const STDIN_BYTES_MAX: u64 = 64 << 20;

impl KeyArgs {
    pub(super) fn range(self) -> KeyRange {
        let key = self.key.into_vec();
        match (self.prefix, self.range_end) {
            (true, _) => KeyRange::prefix(key),
            (false, Some(end)) => interval(key, end),
            (false, None) => KeyRange::key(key),
        }
    }
}

/// `start <= key < end`; an empty end means no upper bound.
fn interval(start: Vec<u8>, end: OsString) -> KeyRange {
    let end = end.into_vec();
    KeyRange::interval(start, (!end.is_empty()).then(|| end.into()))
}

impl Session<'_> {
    fn consistency(&self) -> Result<Consistency, Failure> {
        self.global.consistency().map_err(Failure::Usage)
    }

    /// Prints the answer to a write: in JSON, or `summary` and what `rest` adds.
    pub(super) fn print_write<T, O>(
        &mut self,
        answer: WriteAnswer<T>,
        summary: &str,
        rest: Vec<KeyValue>,
    ) -> io::Result<()>
    where
        O: From<WriteAnswer<T>> + Serialize,
    {
        if self.global.output == OutputForm::Json {
            return output::json(self.out, &O::from(answer));
        }
        writeln!(self.out, "{summary}")?;
        self.print_pairs(&rest, false)?;
        if self.global.evidence {
            writeln!(self.out, "# {}", evidence::of_write(&answer.header, &answer.write))?;
        }
        Ok(())
    }

    fn print_pairs(&mut self, kvs: &[KeyValue], keys_only: bool) -> io::Result<()> {
        match self.global.output {
            OutputForm::Table if !kvs.is_empty() => writeln!(self.out, "{}", output::pair_table(kvs)),
            OutputForm::Table => Ok(()),
            _ => output::pairs(self.out, kvs, keys_only),
        }
    }
}

/// `get`
pub(super) async fn get(session: &mut Session<'_>, args: GetArgs) -> Result<Outcome, Failure> {
    let consistency = session.consistency()?;
    let shape = Shape::of(&args);
    let (keys_only, asked) = (args.keys_only, args.limit);
    let range = range_of(args);
    if shape == Shape::Raw && session.global.evidence {
        return Err(Failure::Usage("--raw prints nothing but the value: leave --evidence out".into()));
    }
    let answer = session.client.range(range, consistency, session.options()).await?;
    let outcome = Outcome::done_if(answer.result.count > 0);
    if session.global.output == OutputForm::Json {
        output::json(session.out, &RangeObject::new(answer, keys_only))?;
    } else {
        print_range(session, shape, &answer)?;
        warn_if_cut(&answer, asked)?;
    }
    Ok(outcome)
}

/// What a simple `get` prints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Value,
    Raw,
    Pairs,
    Keys,
    Count,
}

impl Shape {
    fn of(args: &GetArgs) -> Shape {
        match args {
            GetArgs { count_only: true, .. } => Shape::Count,
            GetArgs { keys_only: true, .. } => Shape::Keys,
            GetArgs { raw: true, .. } => Shape::Raw,
            GetArgs { keys: KeyArgs { prefix: false, range_end: None, .. }, .. } => Shape::Value,
            _ => Shape::Pairs,
        }
    }
}

fn range_of(args: GetArgs) -> Range {
    Range {
        revision: args.revision,
        limit: args.limit,
        sort_by: args.sort_by.into(),
        descending: args.desc,
        keys_only: args.keys_only,
        count_only: args.count_only,
        min_mod_revision: args.min_mod_revision,
        max_mod_revision: args.max_mod_revision,
        min_create_revision: args.min_create_revision,
        max_create_revision: args.max_create_revision,
        ..Range::new(args.keys.range())
    }
}

fn print_range(session: &mut Session<'_>, shape: Shape, answer: &RangeAnswer) -> io::Result<()> {
    let kvs = &answer.result.kvs;
    let table = session.global.output == OutputForm::Table;
    match shape {
        Shape::Count => writeln!(session.out, "{}", answer.result.count)?,
        Shape::Value | Shape::Raw if !table => {
            for kv in kvs {
                session.out.write_all(&kv.value)?;
                session.out.write_all(if shape == Shape::Raw { b"" } else { b"\n" })?;
            }
        }
        _ => session.print_pairs(kvs, shape == Shape::Keys)?,
    }
    if session.global.evidence {
        writeln!(session.out, "# {}", evidence::of_read(&answer.evidence))?;
    }
    Ok(())
}

/// Says so if the member's limit cut the answer, not the one that was `asked` for.
fn warn_if_cut(answer: &RangeAnswer, asked: u64) -> io::Result<()> {
    let RangeResult { kvs, count, more } = &answer.result;
    let printed = kvs.len() as u64;
    if *more && (asked == 0 || printed < asked) {
        writeln!(io::stderr(), "quorate: {printed} of {count} pairs; scan has no such limit")?;
    }
    Ok(())
}

/// `put`
pub(super) async fn put(session: &mut Session<'_>, args: PutArgs) -> Result<Outcome, Failure> {
    let value = if args.value == "-" { stdin()? } else { args.value.into_vec() };
    let put = Put {
        key: args.key.into_vec().into(),
        value: value.into(),
        lease: args.lease,
        prev_kv: args.prev_kv,
    };
    let answer = session.client.put(put, session.guarded(args.guards)).await?;
    let summary = format!("ok, revision {}", answer.header.revision);
    let replaced = answer.result.clone().into_iter().collect();
    session.print_write::<_, PutObject>(answer, &summary, replaced)?;
    Ok(Outcome::Done)
}

/// `del`
pub(super) async fn del(session: &mut Session<'_>, args: DelArgs) -> Result<Outcome, Failure> {
    let delete = Delete { keys: args.keys.range(), prev_kv: args.prev_kv };
    let answer = session.client.delete(delete, session.guarded(args.guards)).await?;
    let deleted = answer.result.deleted;
    let summary = format!("{deleted} deleted, revision {}", answer.header.revision);
    let pairs = answer.result.prev_kvs.clone();
    session.print_write::<_, DeleteObject>(answer, &summary, pairs)?;
    Ok(Outcome::done_if(deleted > 0))
}

/// `compact`
pub(super) async fn compact(session: &mut Session<'_>, args: CompactArgs) -> Result<Outcome, Failure> {
    let compacted = session.client.compact(args.revision, session.options()).await;
    let answer = compacted.map_err(|error| match error {
        // The log decided that, not a member that is behind: asking another one is pointless.
        Error::FutureRevision { .. } => Failure::Definite(error),
        error => Failure::Call(error),
    })?;
    let summary = format!("compacted at revision {}", args.revision);
    session.print_write::<_, CompactObject>(answer, &summary, Vec::new())?;
    Ok(Outcome::Done)
}

/// `txn`
pub(super) async fn txn(session: &mut Session<'_>, args: TxnArgs) -> Result<Outcome, Failure> {
    let options = session.guarded(args.guards);
    let txn = read_txn(args.text, args.json)?;
    let answer = session.client.txn(txn, options).await?;
    let outcome = Outcome::done_if(answer.result.succeeded);
    if session.global.output == OutputForm::Json {
        output::json(session.out, &TxnObject::from(answer))?;
        return Ok(outcome);
    }
    let taken = if answer.result.succeeded { "succeeded" } else { "compare failed" };
    writeln!(session.out, "{taken}, revision {}", answer.header.revision)?;
    print_results(session, &answer.result)?;
    if session.global.evidence {
        writeln!(session.out, "# {}", evidence::of_write(&answer.header, &answer.write))?;
    }
    Ok(outcome)
}

fn read_txn(given: Option<String>, is_json: bool) -> Result<Txn, Failure> {
    let typed = match given {
        Some(text) if text != "-" => text,
        _ => String::from_utf8(stdin()?)
            .map_err(|_| Failure::Usage("the transaction on standard input is not UTF-8".into()))?,
    };
    let parsed = if is_json { json::parse(&typed) } else { text::parse(&typed) };
    parsed.map_err(|error| Failure::Usage(error.to_string()))
}

/// One line per operation, and its pairs. Nesting is bounded by what the server accepted.
fn print_results(session: &mut Session<'_>, result: &TxnResult) -> io::Result<()> {
    for op in &result.results {
        match op {
            OpResult::Put(prev_kv) => {
                writeln!(session.out, "put: ok")?;
                session.print_pairs(prev_kv.as_slice(), false)?;
            }
            OpResult::Delete(deleted) => {
                writeln!(session.out, "del: {} deleted", deleted.deleted)?;
                session.print_pairs(&deleted.prev_kvs, false)?;
            }
            OpResult::Range(range) => {
                writeln!(session.out, "get: {} found", range.count)?;
                session.print_pairs(&range.kvs, false)?;
            }
            OpResult::Txn(nested) => {
                writeln!(
                    session.out,
                    "txn: {}",
                    if nested.succeeded { "succeeded" } else { "compare failed" }
                )?;
                print_results(session, nested)?;
            }
        }
    }
    Ok(())
}

/// `scan`
pub(super) async fn scan(session: &mut Session<'_>, args: ScanArgs) -> Result<Outcome, Failure> {
    let prefix = args.prefix.into_vec();
    let keys = match args.range_end {
        Some(end) => interval(prefix, end),
        None => KeyRange::prefix(prefix),
    };
    let scan = Scan { keys, revision: args.revision, keys_only: args.keys_only };
    let mut answer = session.client.scan(scan, session.consistency()?, session.options()).await?;
    let (mut count, mut more) = (0, false);
    while let Some(chunk) = answer.chunks.next().await {
        let mut kvs = chunk?;
        let left = args.limit.map_or(u64::MAX, |limit| limit.get() - count);
        more = kvs.len() as u64 > left;
        kvs.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        count += kvs.len() as u64;
        print_chunk(session, kvs, args.keys_only)?;
        if more {
            break;
        }
    }
    match session.global.output {
        OutputForm::Json => {
            output::json(session.out, &ScanEndObject::new(answer.header, (count, more), answer.evidence))?;
        }
        _ if session.global.evidence => {
            writeln!(session.out, "# {}", evidence::of_read(&answer.evidence))?;
        }
        _ => {}
    }
    Ok(Outcome::done_if(count > 0))
}

/// What came is printed at once. A table is cut into one per chunk, so that memory stays bounded.
fn print_chunk(session: &mut Session<'_>, kvs: Vec<KeyValue>, keys_only: bool) -> io::Result<()> {
    if session.global.output == OutputForm::Json {
        let pair = if keys_only { PairObject::key_only } else { PairObject::from };
        for kv in kvs {
            output::json(session.out, &pair(kv))?;
        }
    } else {
        session.print_pairs(&kvs, keys_only)?;
    }
    session.out.flush()
}

/// All of standard input.
fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
    let actual = bytes.len() as u64;
    if actual > STDIN_BYTES_MAX {
        let what = "standard input".to_owned();
        return Err(Failure::Call(Error::TooLarge { what, limit: STDIN_BYTES_MAX, actual }));
    }
    Ok(bytes)
}
