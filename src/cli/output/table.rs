//! Tables: with lines on a terminal, plain columns elsewhere.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets};

/// A table with a line for each row.
pub(in crate::cli) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    render(head, rows, io::stdout().is_terminal())
}

/// The same, knowing whether it goes to a terminal.
pub(super) fn render(head: &[&str], rows: impl Iterator<Item = Vec<String>>, terminal: bool) -> String {
    let mut table = Table::new();
    table.set_header(head.to_vec());
    table.add_rows(rows);
    if terminal {
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Bytes as one line of text: what is not printable is escaped.
pub(in crate::cli) fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// A number of bytes, with three digits at most.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(6);
    let value = bytes as f64 / 2f64.powi(power as i32 * 10);
    let digits = usize::from(value < 10.0);
    format!("{value:.digits$} {}", UNITS[power as usize - 1])
}

/// A time: microseconds below 1 ms, milliseconds below 1 s.
pub(in crate::cli) fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0 => "0 ms".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
