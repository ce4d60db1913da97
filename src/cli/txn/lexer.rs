//! Words, quoted strings and symbols, each with its place.
//!
//! A word is a run of characters other than white space, quotes and ``( ) = ! < > ; #``; everything else must
//! be quoted. Inside quotes: `\n`, `\t`, `\r`, `\\`, `\"` and `\xNN` (a byte). `#` begins a comment, up to
//! the end of the line.

use std::{iter::Peekable, str::Chars};

use super::ParseError;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Without quotes: a keyword, a number, or simple text.
    Word(String),
    /// In quotes: always text.
    Quoted(Vec<u8>),
    /// `( ) = != < >`
    Symbol(&'static str),
    /// The end of a statement: a line break or `;`.
    End,
}

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub line: usize,
    pub column: usize,
}

/// All tokens of `text`. The last one is an `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { chars: text.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    let (line, column) = (lexer.line, lexer.column);
    tokens.push(Token { kind: Kind::End, line, column });
    Ok(tokens)
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Lexer<'_> {
    fn token(&mut self) -> Result<Option<Token>, ParseError> {
        self.skip_blanks();
        let (line, column) = (self.line, self.column);
        let Some(&first) = self.chars.peek() else { return Ok(None) };
        let kind = match first {
            '\n' | ';' => {
                self.next();
                Kind::End
            }
            '"' => Kind::Quoted(self.quoted()?),
            '(' | ')' | '=' | '!' | '<' | '>' => Kind::Symbol(self.symbol()?),
            _ => Kind::Word(self.word()),
        };
        Ok(Some(Token { kind, line, column }))
    }

    /// White space except line breaks, and comments.
    fn skip_blanks(&mut self) {
        while let Some(&next) = self.chars.peek() {
            if next == '#' {
                while self.chars.peek().is_some_and(|c| *c != '\n') {
                    self.next();
                }
            } else if next != '\n' && next.is_whitespace() {
                self.next();
            } else {
                return;
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| !c.is_whitespace() && !"\"()=!<>;#".contains(*c)) {
            self.column += 1;
            word.push(c);
        }
        word
    }

    fn symbol(&mut self) -> Result<&'static str, ParseError> {
        let error = self.error("expected != here");
        let first = self.next();
        let equal = self.chars.peek() == Some(&'=');
        match first {
            Some('(') => Ok("("),
            Some(')') => Ok(")"),
            Some('=') => Ok("="),
            Some('!') if equal => {
                self.next();
                Ok("!=")
            }
            Some(order @ ('<' | '>')) if equal => {
                Err(ParseError { why: format!("there is no {order}=, only =, !=, < and >"), ..error })
            }
            Some('<') => Ok("<"),
            Some('>') => Ok(">"),
            _ => Err(error),
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, ParseError> {
        let unclosed = self.error("this quote is not closed");
        self.next();
        let mut bytes = Vec::new();
        loop {
            let escape = self.error("unknown escape: use \\n, \\t, \\r, \\\\, \\\" or \\xNN");
            match self.next() {
                None => return Err(unclosed),
                Some('"') => return Ok(bytes),
                Some('\\') => bytes.push(self.escaped().ok_or(escape)?),
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escaped(&mut self) -> Option<u8> {
        match self.next()? {
            'n' => Some(b'\n'),
            't' => Some(b'\t'),
            'r' => Some(b'\r'),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            'x' => {
                let (high, low) = (self.next()?.to_digit(16)?, self.next()?.to_digit(16)?);
                u8::try_from(high * 16 + low).ok()
            }
            _ => None,
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        if next == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(next)
    }

    /// An error at the present place.
    fn error(&self, why: &str) -> ParseError {
        ParseError { line: self.line, column: self.column, why: why.into() }
    }
}
