//! The small language of the scripts.
//!
//! ```text
//! keys     a (one key) · a..c (interval) · a.. (from a) · "a*" (prefix) · "*" (all)
//! put      put KEY VALUE [prev] [lease=ID]
//! delete   del KEYS [prev]
//! range    get KEYS [rev=N] [limit=N] [sort=key|version|create|mod|value] [desc] [keys-only] [count-only]
//!          [min-mod=N] [max-mod=N] [min-create=N] [max-create=N]
//! compare  value|version|create|mod|lease KEYS =|!=|>|< OPERAND
//! txn      txn [if "COMPARE"…] [then "OP"…] [else "OP"…], an OP being put, del, get, or txn NAME of a `let`
//! ```

use std::collections::BTreeMap;

use quorate::types::{Compare, CompareTarget, Delete, KeyRange, Op, Operator, Put, Range, SortBy, Txn};

/// Transactions by name.
pub type Named = BTreeMap<String, Txn>;

pub fn keys(text: &str) -> KeyRange {
    let bytes = |text: &str| text.as_bytes().to_vec();
    if let Some((start, end)) = text.split_once("..") {
        let end = (!end.is_empty()).then(|| bytes(end).into());
        return KeyRange::interval(bytes(start), end);
    }
    match text.strip_suffix('*') {
        Some(prefix) => KeyRange::prefix(bytes(prefix)),
        None => KeyRange::key(bytes(text)),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

pub fn put(tokens: &[&str]) -> Result<Put, String> {
    let [key, value, options @ ..] = tokens else { return Err("put KEY VALUE".to_owned()) };
    let mut put = Put { key: key.to_string().into(), value: value.to_string().into(), ..Put::default() };
    for option in options {
        match option.split_once('=') {
            Some(("lease", id)) => put.lease = number(id)?,
            None if *option == "prev" => put.prev_kv = true,
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(put)
}

pub fn delete(tokens: &[&str]) -> Result<Delete, String> {
    match tokens {
        [range] => Ok(Delete { keys: keys(range), prev_kv: false }),
        [range, "prev"] => Ok(Delete { keys: keys(range), prev_kv: true }),
        _ => Err("del KEYS [prev]".to_owned()),
    }
}

pub fn range(tokens: &[&str]) -> Result<Range, String> {
    let [range, options @ ..] = tokens else { return Err("get KEYS".to_owned()) };
    let mut range = Range::new(keys(range));
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("rev", value) => range.revision = number(value)?,
            ("limit", value) => range.limit = number(value)?,
            ("min-mod", value) => range.min_mod_revision = number(value)?,
            ("max-mod", value) => range.max_mod_revision = number(value)?,
            ("min-create", value) => range.min_create_revision = number(value)?,
            ("max-create", value) => range.max_create_revision = number(value)?,
            ("sort", value) => range.sort_by = sort(value)?,
            ("desc", "") => range.descending = true,
            ("keys-only", "") => range.keys_only = true,
            ("count-only", "") => range.count_only = true,
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(range)
}

fn sort(text: &str) -> Result<SortBy, String> {
    match text {
        "key" => Ok(SortBy::Key),
        "version" => Ok(SortBy::Version),
        "create" => Ok(SortBy::CreateRevision),
        "mod" => Ok(SortBy::ModRevision),
        "value" => Ok(SortBy::Value),
        other => Err(format!("unknown order {other}")),
    }
}

pub fn txn(tokens: &[&str], named: &Named) -> Result<Txn, String> {
    let mut txn = Txn::default();
    let mut part = "then";
    for token in tokens {
        match (part, *token) {
            (_, "if" | "then" | "else") => part = token,
            ("if", text) => txn.compares.push(compare(text)?),
            ("then", text) => txn.then_ops.push(op(text, named)?),
            (_, text) => txn.else_ops.push(op(text, named)?),
        }
    }
    Ok(txn)
}

fn compare(text: &str) -> Result<Compare, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let [target, range, operator, operand] = words[..] else {
        return Err(format!("{text:?} is not a compare"));
    };
    let operator = match operator {
        "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        other => return Err(format!("unknown operator {other}")),
    };
    let target = match target {
        "value" => CompareTarget::Value(operand.to_owned().into()),
        "version" => CompareTarget::Version(number(operand)?),
        "create" => CompareTarget::CreateRevision(number(operand)?),
        "mod" => CompareTarget::ModRevision(number(operand)?),
        "lease" => CompareTarget::Lease(number(operand)?),
        other => return Err(format!("unknown target {other}")),
    };
    Ok(Compare { keys: keys(range), operator, target })
}

fn op(text: &str, named: &Named) -> Result<Op, String> {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["put", ref rest @ ..] => put(rest).map(Op::Put),
        ["del", ref rest @ ..] => delete(rest).map(Op::Delete),
        ["get", ref rest @ ..] => range(rest).map(Op::Range),
        ["txn", name] => named.get(name).cloned().map(Op::Txn).ok_or(format!("no transaction {name}")),
        _ => Err(format!("{text:?} is not an operation")),
    }
}
