//! Values of EDN as texts, and texts as values.

use std::fmt::Write;

use crate::check::format::edn::Edn;

/// A value as text: different values have different texts.
pub(super) fn text_of(edn: &Edn) -> String {
    match edn {
        Edn::Int(number) => number.to_string(),
        Edn::Text(text) if is_plain(text) => text.clone(),
        other => {
            let mut out = String::new();
            print(other, &mut out);
            out
        }
    }
}

/// Whether a string cannot be taken for another value.
fn is_plain(text: &str) -> bool {
    let is_special = text.starts_with(|first: char| ":\\#\"[({'".contains(first));
    !is_special && !matches!(text, "" | "nil" | "true" | "false") && !is_integer(text)
}

fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

fn print(edn: &Edn, out: &mut String) {
    match edn {
        Edn::Nil => out.push_str("nil"),
        Edn::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Edn::Int(number) => out.push_str(&number.to_string()),
        Edn::Number(text) => out.extend(["#", text]),
        Edn::Text(text) => quote(text, out),
        Edn::Keyword(name) => out.extend([":", name]),
        Edn::Symbol(name) => out.extend(["'", name]),
        Edn::Char(name) => out.extend(["\\", name]),
        Edn::Seq(nodes) => {
            out.push('[');
            for node in nodes {
                print(&node.edn, out);
                out.push(' ');
            }
            out.push(']');
        }
        Edn::Map(pairs) => {
            out.push('{');
            for (key, value) in pairs {
                print(&key.edn, out);
                out.push(' ');
                print(&value.edn, out);
                out.push(' ');
            }
            out.push('}');
        }
        Edn::Tagged(tag, node) => {
            out.extend(["#", tag, " "]);
            print(&node.edn, out);
        }
    }
}

/// A text as a value: an integer if it is one, otherwise a string. Different texts are different values.
pub(super) fn value_of(text: &str) -> String {
    if is_integer(text) {
        return text.to_owned();
    }
    let mut out = String::new();
    quote(text, &mut out);
    out
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for one in text.chars() {
        match one {
            '"' | '\\' => out.extend(['\\', one]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if (control as u32) < 0x20 => drop(write!(out, "\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}
