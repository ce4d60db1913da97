//! Transactions as JSON: the whole API, nested transactions included.
//!
//! ```json
//! {"if":   [{"key": "k", "version": {"=": 0}}],
//!  "then": [{"put": {"key": "k", "value": "v"}}, {"get": {"prefix": "k/"}}],
//!  "else": [{"del": {"key": "k"}}, {"txn": {"then": []}}]}
//! ```
//!
//! Keys are `{"key"}`, `{"prefix"}`, or `{"start", "end"}` (no end: no upper bound). Bytes that are not
//! UTF-8 are written `{"base64": "…"}`. Unknown fields are errors.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::ParseError;
use crate::types::{Compare, CompareTarget, Delete, KeyRange, Op, Operator, Put, Range, Txn};

/// Reads a transaction.
///
/// # Errors
/// With line, column, and what is wrong there.
pub fn parse(text: &str) -> Result<Txn, ParseError> {
    serde_json::from_str(text).map(TxnJson::into_txn).map_err(|error| {
        let (line, column) = (error.line().max(1), error.column().max(1));
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        // serde_json says "expected value" also where there is one, of another kind.
        let misfit = why.starts_with("invalid ") || why == "expected value";
        let why = match why {
            "expected value" => "no value that fits here".to_owned(),
            why => why.replace("expected u64", "expected a number from 0"),
        };
        match misfit.then(|| field_before(text, line, column)).flatten() {
            Some(field) => ParseError { line, column, why: format!("{field}: {why}") },
            None => ParseError { line, column, why },
        }
    })
}

/// The quoted name of the field whose value ends, or begins, at a place; `None` if that is not easily seen.
fn field_before(text: &str, line: usize, column: usize) -> Option<&str> {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let before = text.get(..start + column)?;
    let named = before[..before.rfind("\":")? + 1].strip_suffix('"')?;
    let name = &named[named.rfind('"')? + 1..];
    Some(name).filter(|name| !name.is_empty())
}

/// Bytes: a string, or base64.
struct Text(Bytes);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or {\"base64\": \"…\"}")]
        enum Form {
            Plain(String),
            Encoded { base64: String },
        }
        match Form::deserialize(deserializer)? {
            Form::Plain(text) => Ok(Text(text.into())),
            Form::Encoded { base64 } => match STANDARD.decode(&base64) {
                Ok(bytes) => Ok(Text(bytes.into())),
                Err(error) => Err(D::Error::custom(format!("{base64:?} is not base64: {error}"))),
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object with if, then and else")]
struct TxnJson {
    #[serde(rename = "if")]
    compares: Vec<CompareJson>,
    #[serde(rename = "then")]
    then_ops: Vec<OpJson>,
    #[serde(rename = "else")]
    else_ops: Vec<OpJson>,
}

/// Which keys. Flattened into other objects would lose positions and unknown fields, so it is spelled out
/// in each.
#[derive(Default)]
struct Keys {
    key: Option<Text>,
    prefix: Option<Text>,
    start: Option<Text>,
    end: Option<Text>,
}

impl Keys {
    fn range(self) -> Result<KeyRange, &'static str> {
        match self {
            Keys { key: Some(key), prefix: None, start: None, end: None } => Ok(KeyRange::key(key.0)),
            Keys { key: None, prefix: Some(prefix), start: None, end: None } => {
                Ok(KeyRange::prefix(prefix.0))
            }
            Keys { key: None, prefix: None, start: Some(start), end } => {
                Ok(KeyRange::interval(start.0, end.map(|end| end.0)))
            }
            _ => Err("expected one of key, prefix, or start (with end)"),
        }
    }
}

/// `{"=": X}` and the like.
#[derive(Deserialize)]
#[serde(expecting = "a comparison such as {\"=\": 1}")]
enum Operand<T> {
    #[serde(rename = "=")]
    Equal(T),
    #[serde(rename = "!=")]
    NotEqual(T),
    #[serde(rename = ">")]
    Greater(T),
    #[serde(rename = "<")]
    Less(T),
}

impl<T> Operand<T> {
    fn split(self) -> (Operator, T) {
        match self {
            Operand::Equal(operand) => (Operator::Equal, operand),
            Operand::NotEqual(operand) => (Operator::NotEqual, operand),
            Operand::Greater(operand) => (Operator::Greater, operand),
            Operand::Less(operand) => (Operator::Less, operand),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a condition: an object with keys and what to compare")]
struct CompareFields {
    key: Option<Text>,
    prefix: Option<Text>,
    start: Option<Text>,
    end: Option<Text>,
    value: Option<Operand<Text>>,
    version: Option<Operand<u64>>,
    create_revision: Option<Operand<u64>>,
    mod_revision: Option<Operand<u64>>,
    lease: Option<Operand<u64>>,
}

#[derive(Deserialize)]
#[serde(try_from = "CompareFields")]
struct CompareJson(Compare);

impl TryFrom<CompareFields> for CompareJson {
    type Error = &'static str;

    fn try_from(fields: CompareFields) -> Result<Self, &'static str> {
        let CompareFields { key, prefix, start, end, value, version, create_revision, mod_revision, lease } =
            fields;
        let keys = Keys { key, prefix, start, end }.range()?;
        let number = |operand: Option<Operand<u64>>, target: fn(u64) -> CompareTarget| {
            operand.map(Operand::split).map(|(operator, operand)| (operator, target(operand)))
        };
        let value = value.map(Operand::split).map(|(op, text)| (op, CompareTarget::Value(text.0)));
        let mut targets = [
            value,
            number(version, CompareTarget::Version),
            number(create_revision, CompareTarget::CreateRevision),
            number(mod_revision, CompareTarget::ModRevision),
            number(lease, CompareTarget::Lease),
        ]
        .into_iter()
        .flatten();
        match (targets.next(), targets.next()) {
            (Some((operator, target)), None) => Ok(CompareJson(Compare { keys, operator, target })),
            _ => Err("expected one of value, version, create_revision, mod_revision or lease"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", expecting = "an operation: an object with put, get, del or txn")]
enum OpJson {
    Put(PutJson),
    Get(GetJson),
    Del(DelJson),
    Txn(TxnJson),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key and value")]
struct PutJson {
    key: Text,
    value: Text,
    #[serde(default)]
    lease: u64,
    #[serde(default)]
    prev_kv: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key, prefix, or start (with end)")]
struct GetFields {
    key: Option<Text>,
    prefix: Option<Text>,
    start: Option<Text>,
    end: Option<Text>,
    #[serde(default)]
    limit: u64,
    #[serde(default)]
    keys_only: bool,
    #[serde(default)]
    count_only: bool,
}

#[derive(Deserialize)]
#[serde(try_from = "GetFields")]
struct GetJson(Range);

impl TryFrom<GetFields> for GetJson {
    type Error = &'static str;

    fn try_from(fields: GetFields) -> Result<Self, &'static str> {
        let GetFields { key, prefix, start, end, limit, keys_only, count_only } = fields;
        let keys = Keys { key, prefix, start, end }.range()?;
        Ok(GetJson(Range { limit, keys_only, count_only, ..Range::new(keys) }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key, prefix, or start (with end)")]
struct DelFields {
    key: Option<Text>,
    prefix: Option<Text>,
    start: Option<Text>,
    end: Option<Text>,
    #[serde(default)]
    prev_kv: bool,
}

#[derive(Deserialize)]
#[serde(try_from = "DelFields")]
struct DelJson(Delete);

impl TryFrom<DelFields> for DelJson {
    type Error = &'static str;

    fn try_from(fields: DelFields) -> Result<Self, &'static str> {
        let DelFields { key, prefix, start, end, prev_kv } = fields;
        Ok(DelJson(Delete { keys: Keys { key, prefix, start, end }.range()?, prev_kv }))
    }
}

impl TxnJson {
    fn into_txn(self) -> Txn {
        let ops = |ops: Vec<OpJson>| ops.into_iter().map(OpJson::into_op).collect();
        Txn {
            compares: self.compares.into_iter().map(|compare| compare.0).collect(),
            then_ops: ops(self.then_ops),
            else_ops: ops(self.else_ops),
        }
    }
}

impl OpJson {
    fn into_op(self) -> Op {
        match self {
            OpJson::Put(PutJson { key, value, lease, prev_kv }) => {
                Op::Put(Put { key: key.0, value: value.0, lease, prev_kv })
            }
            OpJson::Get(get) => Op::Range(get.0),
            OpJson::Del(del) => Op::Delete(del.0),
            OpJson::Txn(txn) => Op::Txn(txn.into_txn()),
        }
    }
}
