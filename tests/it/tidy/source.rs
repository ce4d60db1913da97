//! A Rust file as the rules see it: comments and the insides of literals blanked, functions found by their
//! braces.
//!
//! Not a parser. It knows just enough of the lexical grammar never to mistake text for code.

/// A source file.
pub struct Source {
    /// Path below the repository's root.
    pub path: String,
    /// As written.
    pub text: String,
    /// The same lines with comments and literals blanked.
    pub code: String,
    /// Whether all of it is test code.
    pub is_test: bool,
}

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
    /// Parameters besides `self`.
    pub parameters: usize,
}

impl Source {
    /// Reads `text`, found at `path`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let is_test = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        Source { code: blank(&text), path, text, is_test }
    }

    /// The top-level module below `src/`, if it is part of one.
    pub fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let name = rest.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        (name != "lib").then_some(name)
    }

    /// The code with `#[cfg(test)] mod … { … }` blanked too.
    pub fn product_code(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let item = start + "#[cfg(test)]".len();
            let end = match code[item..].find(['{', ';']) {
                Some(at) if code[item + at..].starts_with('{') => matching(&code, item + at) + 1,
                Some(at) => item + at,
                None => code.len(),
            };
            let blanked: String = code[start..end].chars().map(blank_char).collect();
            code.replace_range(start..end, &blanked);
        }
        code
    }

    /// All functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        words(&self.code, "fn").filter_map(|at| function(&self.code, at)).collect()
    }
}

/// The line of a byte offset, from 1.
pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Offsets of `word` where it stands alone.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = word.starts_with(part) && code[..*at].chars().next_back().is_some_and(part);
        let after = word.ends_with(part) && code[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// The identifier at the start of `code`, which may be empty.
pub fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    &code[..end]
}

/// The offset of the bracket that closes the one at `open`.
pub fn matching(code: &str, open: usize) -> usize {
    let mut depth = 0i32;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

/// Splits at commas outside of any bracket, `<…>` included.
pub fn split_commas(code: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start, mut before) = (Vec::new(), 0i32, 0, ' ');
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if before != '-' && before != '=' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&code[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(&code[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The function whose `fn` stands at `at`; none for a pointer type or a signature without body.
fn function(code: &str, at: usize) -> Option<Function> {
    let rest = code[at + 2..].trim_start();
    let name = identifier(rest);
    if name.is_empty() {
        return None;
    }
    let after_name = code.len() - rest.len() + name.len();
    let open = after_name + parameters_start(&code[after_name..])?;
    let close = matching(code, open);
    let body = close + code[close..].find(['{', ';'])?;
    if code[body..].starts_with(';') {
        return None;
    }
    let first = line_of(code, at);
    let parameters =
        split_commas(code.get(open + 1..close)?).iter().filter(|part| !is_receiver(part)).count();
    let lines = line_of(code, matching(code, body).min(code.len())) - first + 1;
    Some(Function { name: name.to_owned(), line: first, lines, parameters })
}

/// Where the parameter list opens: the first `(` outside of the generic parameters.
fn parameters_start(code: &str) -> Option<usize> {
    let (mut depth, mut before) = (0i32, ' ');
    for (at, c) in code.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            '(' if depth == 0 => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

fn is_receiver(parameter: &str) -> bool {
    let name = parameter.split(':').next().unwrap_or_default();
    words(name, "self").next().is_some()
}

fn blank_char(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Blanks comments and what stands between quotes; quotes and lines stay where they are.
pub fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = literal_or_comment(rest, out.chars().next_back());
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().map(blank_char));
            rest = &rest[skipped..];
        }
    }
    out
}

/// Bytes of the comment or literal that begins here; 0 if none does. `before` is the character in front of
/// it.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if rest.starts_with('\'') {
        return char_literal(rest);
    }
    if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#") || rest.starts_with("br")) {
        return raw_string(rest);
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match inside.next() {
        Some('\\') => rest[3..].find('\'').map_or(rest.len(), |at| 3 + at + 1),
        Some(c) if inside.next() == Some('\'') => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn raw_string(rest: &str) -> usize {
    let body = rest.trim_start_matches('b').trim_start_matches('r');
    let hashes = body.len() - body.trim_start_matches('#').len();
    if !body[hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len() + hashes + 1;
    rest[start..].find(&close).map_or(rest.len(), |at| start + at + close.len())
}
