//! The report: one HTML file that needs nothing else, for people who have not read a paper.
//!
//! What is counted is counted here; the page's own code draws and lets people look around. The data stands
//! in the page as JSON in which `<` is always escaped, so no value can end the element that holds it, and
//! the page puts values in place only as text, never as markup.
//!
//! Absent: a legend of every field of every operation (the page shows them by name), and a picture of the
//! store's states between operations.

mod column;
mod contrast;
mod data;
mod rows;
mod text;
mod timeline;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{
    Findings, History,
    history::{Operation, Outcome},
};

const BODY: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPTS: [&str; 5] = [
    include_str!("base.js"),
    include_str!("tables.js"),
    include_str!("staleness.js"),
    include_str!("timeline.js"),
    include_str!("main.js"),
];

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n<title>Quorate report</title>\n<style>\n";

/// What an operation asked and was answered, in words.
pub fn in_words(operation: &Operation) -> String {
    let (verb, subject) = (text::verb(&operation.action), text::subject(&operation.action));
    let outcome = match &operation.outcome {
        Outcome::Ok => String::new(),
        Outcome::Fail(why) => format!(" (not done: {why})"),
        Outcome::Unknown(why) => format!(" (nobody knows: {why})"),
    };
    let told = format!("{verb} {subject} {}", text::detail(operation));
    format!("{}{outcome}", told.trim_end())
}

/// Writes the report into a file.
pub fn save(history: &History, findings: &Findings, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write(history, findings, &mut file)?;
    file.flush()
}

/// Writes the report of a history and of what was found in it.
pub fn write(history: &History, findings: &Findings, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{HEAD}{STYLE}</style>\n</head>\n{BODY}")?;
    out.write_all(b"<script type=\"application/json\" id=\"data\">")?;
    serde_json::to_writer(Escaped(&mut *out), &data::Page::new(history, findings))?;
    out.write_all(b"</script>\n")?;
    for script in SCRIPTS {
        write!(out, "<script>\n{script}</script>\n")?;
    }
    out.write_all(b"</body>\n</html>\n")
}

/// Writes JSON so that it may stand in an HTML element: `<` occurs only in its texts, where `\u003c` is the
/// same.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (at, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if at > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
