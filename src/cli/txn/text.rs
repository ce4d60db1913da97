//! The language of `quorate txn`: one statement per line (or separated by `;`).
//!
//! ```text
//! if value(KEYS) = TEXT          conditions; all must hold, none means true
//! if version(KEYS) > NUMBER      also create(KEYS), mod(KEYS), lease(KEYS), with = != < >
//! if exists(KEYS)
//! if not exists(KEYS)
//! then put KEY VALUE [lease ID] [prev]
//! then get KEYS [keys-only | count-only] [limit N]
//! then del KEYS [prev]
//! else …                         the same operations, done if a condition fails
//!
//! KEYS: KEY, prefix KEY, or range KEY END
//! ```
//!
//! Keys and values are words or quoted strings (`lexer` says how); a quoted string is never a keyword.
//! Deliberately absent: nested transactions, which only the JSON form has.

use super::{
    ParseError,
    lexer::{Kind, Token, tokens},
};
use crate::types::{Compare, CompareTarget, Delete, KeyRange, Op, Operator, Put, Range, Txn};

/// Reads a transaction.
///
/// # Errors
/// With line, column, and what was expected there.
pub fn parse(text: &str) -> Result<Txn, ParseError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let mut txn = Txn::default();
    while parser.at < parser.tokens.len() {
        if parser.accept(&Kind::End) {
            continue;
        }
        parser.statement(&mut txn)?;
        parser.end()?;
    }
    Ok(txn)
}

struct Parser {
    /// Never empty: the last one is an `End`.
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn statement(&mut self, txn: &mut Txn) -> Result<(), ParseError> {
        match self.keyword().as_deref() {
            Some("if") => txn.compares.push(self.condition()?),
            Some("then") => txn.then_ops.push(self.operation()?),
            Some("else") => txn.else_ops.push(self.operation()?),
            _ => return Err(self.wrong_before("expected if, then or else")),
        }
        Ok(())
    }

    fn condition(&mut self) -> Result<Compare, ParseError> {
        let field = self.keyword().unwrap_or_default();
        match field.as_str() {
            "not" => {
                if self.keyword().as_deref() != Some("exists") {
                    return Err(self.wrong_before("expected exists(…) behind not"));
                }
                let target = CompareTarget::Version(0);
                Ok(Compare { keys: self.keys_in_parentheses()?, operator: Operator::Equal, target })
            }
            "exists" => {
                let target = CompareTarget::Version(0);
                Ok(Compare { keys: self.keys_in_parentheses()?, operator: Operator::Greater, target })
            }
            "value" | "version" | "create" | "mod" | "lease" => {
                let (keys, operator) = (self.keys_in_parentheses()?, self.operator()?);
                Ok(Compare { keys, operator, target: self.operand(&field)? })
            }
            _ => Err(self.wrong_before(
                "expected a condition: value, version, create, mod, lease, exists or not exists",
            )),
        }
    }

    fn operand(&mut self, field: &str) -> Result<CompareTarget, ParseError> {
        Ok(match field {
            "value" => CompareTarget::Value(self.bytes("a value")?.into()),
            "version" => CompareTarget::Version(self.number()?),
            "create" => CompareTarget::CreateRevision(self.number()?),
            "mod" => CompareTarget::ModRevision(self.number()?),
            _ => CompareTarget::Lease(self.number()?),
        })
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        let operators = [
            ("=", Operator::Equal),
            ("!=", Operator::NotEqual),
            (">", Operator::Greater),
            ("<", Operator::Less),
        ];
        for (symbol, operator) in operators {
            if self.accept(&Kind::Symbol(symbol)) {
                return Ok(operator);
            }
        }
        Err(self.wrong("expected =, !=, < or >"))
    }

    fn keys_in_parentheses(&mut self) -> Result<KeyRange, ParseError> {
        self.expect_symbol("(")?;
        let keys = self.keys()?;
        self.expect_symbol(")")?;
        Ok(keys)
    }

    /// `prefix` and `range` are keywords only if a key follows, so that keys may have these names.
    fn keys(&mut self) -> Result<KeyRange, ParseError> {
        match self.word() {
            Some("prefix") if self.text_follows() => {
                self.at += 1;
                Ok(KeyRange::prefix(self.bytes("a prefix")?))
            }
            Some("range") if self.text_follows() => {
                self.at += 1;
                let (start, end) = (self.bytes("the first key")?, self.bytes("the end of the range")?);
                Ok(KeyRange::interval(start, Some(end.into())))
            }
            _ => Ok(KeyRange::key(self.bytes("a key")?)),
        }
    }

    fn operation(&mut self) -> Result<Op, ParseError> {
        match self.keyword().as_deref() {
            Some("put") => self.put(),
            Some("get") => self.get(),
            Some("del") => {
                let keys = self.keys()?;
                Ok(Op::Delete(Delete { keys, prev_kv: self.accept_word("prev") }))
            }
            _ => Err(self.wrong_before("expected put, get or del")),
        }
    }

    fn put(&mut self) -> Result<Op, ParseError> {
        let (key, value) = (self.bytes("a key")?, self.bytes("a value")?);
        let mut put = Put { key: key.into(), value: value.into(), ..Put::default() };
        if self.accept_word("lease") {
            put.lease = self.number()?;
        }
        put.prev_kv = self.accept_word("prev");
        Ok(Op::Put(put))
    }

    fn get(&mut self) -> Result<Op, ParseError> {
        let mut range = Range::new(self.keys()?);
        range.keys_only = self.accept_word("keys-only");
        range.count_only = !range.keys_only && self.accept_word("count-only");
        if self.accept_word("limit") {
            range.limit = self.number()?;
        }
        Ok(Op::Range(range))
    }

    /// Text: a word or a quoted string.
    fn bytes(&mut self, what: &str) -> Result<Vec<u8>, ParseError> {
        let bytes = match self.peek() {
            Some(Kind::Word(word)) => word.clone().into_bytes(),
            Some(Kind::Quoted(bytes)) => bytes.clone(),
            _ => return Err(self.wrong(&format!("expected {what}"))),
        };
        self.at += 1;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, ParseError> {
        let number = self.word().and_then(|word| word.parse().ok());
        let number = number.ok_or_else(|| self.wrong("expected a number"))?;
        self.at += 1;
        Ok(number)
    }

    /// Takes the next token if it is a word.
    fn keyword(&mut self) -> Option<String> {
        let word = self.word().map(str::to_owned);
        self.at += 1;
        word
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.word() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn accept(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), ParseError> {
        if self.accept(&Kind::Symbol(symbol)) {
            return Ok(());
        }
        Err(self.wrong(&format!("expected {symbol}")))
    }

    fn end(&mut self) -> Result<(), ParseError> {
        if self.accept(&Kind::End) { Ok(()) } else { Err(self.wrong("expected the end of the statement")) }
    }

    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn text_follows(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        matches!(next, Some(Kind::Word(_) | Kind::Quoted(_)))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    /// An error at the token that comes next.
    fn wrong(&self, expected: &str) -> ParseError {
        self.error_at(self.at, expected)
    }

    /// An error at the token that was just taken.
    fn wrong_before(&self, expected: &str) -> ParseError {
        self.error_at(self.at.saturating_sub(1), expected)
    }

    fn error_at(&self, index: usize, expected: &str) -> ParseError {
        let Some(token) = self.tokens.get(index).or(self.tokens.last()) else {
            return ParseError { line: 1, column: 1, why: expected.into() };
        };
        let found = match &token.kind {
            Kind::Word(word) => format!("{word:?}"),
            Kind::Quoted(bytes) => format!("the text {:?}", String::from_utf8_lossy(bytes)),
            Kind::Symbol(symbol) => (*symbol).to_owned(),
            Kind::End => "the end of the statement".to_owned(),
        };
        ParseError { line: token.line, column: token.column, why: format!("{expected}, found {found}") }
    }
}
