//! A reader of EDN (the extensible data notation), as far as histories need it.
//!
//! Of our own, since a message must name line and column of a value that is well-formed but no operation:
//! the published readers keep positions of syntax errors alone, and read from one string in memory. This one
//! takes a stream form by form. Left out: namespaced maps and metadata. A number that is no 64-bit integer is
//! kept as its text.

use std::{
    collections::HashSet,
    io::{self, BufRead},
};

use super::{Malformed, ROW_BYTES_MAX, ReadError};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: usize,
    pub column: usize,
    pub edn: Edn,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edn {
    Nil,
    Bool(bool),
    Int(i64),
    /// Another number, as it is spelled.
    Number(String),
    Text(String),
    /// Without its colon.
    Keyword(String),
    Symbol(String),
    Char(String),
    /// A vector, a list or a set.
    Seq(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Tagged(String, Box<Node>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.edn == other.edn
    }
}

impl Node {
    /// A mistake at this place.
    pub fn error(&self, what: impl Into<String>) -> Malformed {
        Malformed::new(self.line, self.column, what)
    }

    /// The value of a key of a map; `None` too if this is no map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Edn::Map(pairs) = &self.edn else { return None };
        let is = |(name, _): &&(Node, Node)| matches!(&name.edn, Edn::Keyword(name) if name == key);
        pairs.iter().find(is).map(|(_, value)| value)
    }

    /// The elements of a vector, list or set.
    pub fn seq(&self) -> Option<&[Node]> {
        match &self.edn {
            Edn::Seq(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Nesting beyond this is no history.
const DEPTH_MAX: usize = 64;

/// Reads forms from a stream.
pub(super) struct Reader<R> {
    input: R,
    line: usize,
    column: usize,
    /// Bytes of the form that is being read.
    bytes: usize,
    /// Whether a `#` was taken from the stream that belongs to what comes.
    hash: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Reader<R> {
        Reader { input, line: 1, column: 1, bytes: 0, hash: false }
    }

    /// The next form; `None` at the end.
    pub fn form(&mut self) -> Result<Option<Node>, ReadError> {
        self.bytes = 0;
        self.space(0)?;
        match self.peek()? {
            None => Ok(None),
            Some(_) => self.value(0).map(Some),
        }
    }

    /// Goes into a vector that is the next form: its elements are then forms, up to [`Reader::close`].
    pub fn open(&mut self) -> Result<bool, ReadError> {
        self.space(0)?;
        let is_vector = matches!(self.peek()?, Some(b'[' | b'('));
        if is_vector {
            self.next()?;
        }
        Ok(is_vector)
    }

    /// Whether the vector ends here.
    pub fn close(&mut self) -> Result<bool, ReadError> {
        self.bytes = 0;
        self.space(0)?;
        let is_end = matches!(self.peek()?, Some(b']' | b')'));
        if is_end {
            self.next()?;
        }
        Ok(is_end)
    }

    /// A mistake at the place that was reached.
    pub fn error(&self, what: impl Into<String>) -> ReadError {
        Malformed::new(self.line, self.column, what).into()
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        match self.hash {
            true => Ok(Some(b'#')),
            false => Ok(self.input.fill_buf()?.first().copied()),
        }
    }

    fn next(&mut self) -> Result<Option<u8>, ReadError> {
        let Some(byte) = self.peek()? else { return Ok(None) };
        match self.hash {
            true => self.hash = false,
            false => self.input.consume(1),
        }
        if byte == b'\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        self.bytes += 1;
        match self.bytes > ROW_BYTES_MAX {
            true => Err(self.error(format!("expected a form of at most {ROW_BYTES_MAX} bytes"))),
            false => Ok(Some(byte)),
        }
    }

    /// Passes blanks, commas, comments and discarded forms.
    fn space(&mut self, depth: usize) -> Result<(), ReadError> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r' | b',') => drop(self.next()?),
                Some(b';') => while !matches!(self.next()?, None | Some(b'\n')) {},
                Some(b'#') => {
                    self.next()?;
                    if self.peek()? != Some(b'_') {
                        (self.hash, self.column) = (true, self.column - 1);
                        return Ok(());
                    }
                    self.next()?;
                    self.discard(depth + 1)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn discard(&mut self, depth: usize) -> Result<(), ReadError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("expected at most {DEPTH_MAX} levels of nesting")));
        }
        self.space(depth)?;
        self.value(depth).map(drop)
    }

    fn value(&mut self, depth: usize) -> Result<Node, ReadError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("expected at most {DEPTH_MAX} levels of nesting")));
        }
        let (line, column) = (self.line, self.column);
        let edn = match self.peek()? {
            None => return Err(self.error("expected a value, found the end")),
            Some(b'[') => Edn::Seq(self.seq(b']', depth)?),
            Some(b'(') => Edn::Seq(self.seq(b')', depth)?),
            Some(b'{') => self.map(depth)?,
            Some(b'"') => Edn::Text(self.text()?),
            Some(b'#') => self.dispatch(depth)?,
            Some(b'\\') => self.character()?,
            Some(close @ (b']' | b')' | b'}')) => {
                return Err(self.error(format!("expected a value, found \"{}\"", close as char)));
            }
            Some(_) => self.atom()?,
        };
        Ok(Node { line, column, edn })
    }

    fn seq(&mut self, end: u8, depth: usize) -> Result<Vec<Node>, ReadError> {
        self.next()?;
        let mut found = vec![];
        loop {
            self.space(depth)?;
            match self.peek()? {
                Some(byte) if byte == end => {
                    self.next()?;
                    return Ok(found);
                }
                None => return Err(self.error(format!("expected \"{}\", found the end", end as char))),
                Some(_) => found.push(self.value(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, ReadError> {
        let mut nodes = self.seq(b'}', depth)?.into_iter();
        let mut pairs: Vec<(Node, Node)> = vec![];
        let mut names = HashSet::new();
        while let Some(key) = nodes.next() {
            let value = nodes.next().ok_or_else(|| key.error("expected a value for this key, found none"))?;
            if let Edn::Keyword(name) = &key.edn
                && !names.insert(name.clone())
            {
                return Err(key.error("expected each key once").into());
            }
            pairs.push((key, value));
        }
        Ok(Edn::Map(pairs))
    }

    fn dispatch(&mut self, depth: usize) -> Result<Edn, ReadError> {
        self.next()?;
        match self.peek()? {
            Some(b'{') => Ok(Edn::Seq(self.seq(b'}', depth)?)),
            Some(byte) if byte.is_ascii_alphabetic() => {
                let tag = self.word()?;
                self.space(depth)?;
                Ok(Edn::Tagged(tag, Box::new(self.value(depth + 1)?)))
            }
            _ => Err(self.error("expected a set or a tag after \"#\"")),
        }
    }

    fn text(&mut self) -> Result<String, ReadError> {
        self.next()?;
        let mut bytes = vec![];
        loop {
            match self.next()? {
                None => return Err(self.error("expected the end of a string, found the end")),
                Some(b'"') => break,
                Some(b'\\') => match self.next()? {
                    Some(b'n') => bytes.push(b'\n'),
                    Some(b't') => bytes.push(b'\t'),
                    Some(b'r') => bytes.push(b'\r'),
                    Some(escaped @ (b'"' | b'\\')) => bytes.push(escaped),
                    Some(b'u') => bytes.extend(self.unicode()?.to_string().bytes()),
                    _ => return Err(self.error("expected one of n, t, r, u, \" or \\ after a backslash")),
                },
                Some(byte) => bytes.push(byte),
            }
        }
        self.utf8(bytes)
    }

    fn unicode(&mut self) -> Result<char, ReadError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next()?.and_then(|byte| (byte as char).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
        }
        char::from_u32(code).ok_or_else(|| self.error("expected a character's code"))
    }

    fn character(&mut self) -> Result<Edn, ReadError> {
        self.next()?;
        let mut bytes: Vec<u8> = self.next()?.into_iter().collect();
        bytes.extend(self.word()?.bytes());
        match bytes.is_empty() {
            true => Err(self.error("expected a character after a backslash")),
            false => self.utf8(bytes).map(Edn::Char),
        }
    }

    /// Up to the next blank, bracket or quote.
    fn word(&mut self) -> Result<String, ReadError> {
        let mut bytes = vec![];
        while let Some(byte) = self.peek()? {
            if byte.is_ascii_whitespace() || b",;\"[](){}".contains(&byte) {
                break;
            }
            self.next()?;
            bytes.push(byte);
        }
        self.utf8(bytes)
    }

    fn utf8(&self, bytes: Vec<u8>) -> Result<String, ReadError> {
        String::from_utf8(bytes).map_err(|_| self.error("expected text in UTF-8"))
    }

    fn atom(&mut self) -> Result<Edn, ReadError> {
        let (line, column) = (self.line, self.column);
        let word = self.word()?;
        let rest = word.strip_prefix(['+', '-']).unwrap_or(&word);
        match word.as_str() {
            "nil" => return Ok(Edn::Nil),
            "true" => return Ok(Edn::Bool(true)),
            "false" => return Ok(Edn::Bool(false)),
            _ => {}
        }
        if let Some(name) = word.strip_prefix(':') {
            return match name.is_empty() {
                true => Err(Malformed::new(line, column, "expected a keyword's name after \":\"").into()),
                false => Ok(Edn::Keyword(name.to_owned())),
            };
        }
        match rest.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
            true => Ok(number(word)),
            false => Ok(Edn::Symbol(word)),
        }
    }
}

fn number(word: String) -> Edn {
    let digits = word.strip_suffix('N').unwrap_or(&word);
    digits.parse().map_or(Edn::Number(word), Edn::Int)
}
