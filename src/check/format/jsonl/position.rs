//! Where something stands in a line of JSON: for messages, so it may be slow.

/// A string, a number, a word, or one of `{}[]:,`.
struct Token {
    start: usize,
    end: usize,
}

/// The tokens of a line. What is no JSON is one token per byte.
fn tokens(line: &[u8]) -> impl Iterator<Item = Token> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += line[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = at;
        let first = *line.get(start)?;
        let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'+' | b'.');
        at = match first {
            b'"' => string_end(line, start),
            _ => start + line[start..].iter().take_while(word).count().max(1),
        };
        Some(Token { start, end: at })
    })
}

fn string_end(line: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < line.len() {
        match line[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    line.len()
}

/// The column, from 1, at which the token begins that reaches or ends at a column. Brackets that close are
/// passed over: the parser names the place behind them, for a mistake in the last value before.
pub(super) fn token_start(line: &[u8], column: usize) -> usize {
    let before = tokens(line).take_while(|token| token.start < column.max(1));
    before.filter(|token| !b"}]".contains(&line[token.start])).last().map_or(1, |token| token.start + 1)
}

/// The keys of the outermost object, and the columns, from 1, of their values.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = (&[u8], usize)> + '_ {
    let mut depth = 0_usize;
    let mut key: Option<&[u8]> = None;
    let mut named = None;
    tokens(line).filter_map(move |token| {
        let value = named.take().map(|name| (name, token.start + 1));
        match line[token.start] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' if depth == 1 && value.is_none() => key = line.get(token.start + 1..token.end - 1),
            b':' if depth == 1 => named = key.take(),
            _ => {}
        }
        value
    })
}

/// The column of a field's value; 1 if there is none.
pub(super) fn value_start(line: &[u8], name: &str) -> usize {
    fields(line).find(|(key, _)| *key == name.as_bytes()).map_or(1, |(_, column)| column)
}
