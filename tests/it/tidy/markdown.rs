//! Documents: one title each, and relative links that lead to something.

use std::path::Path;

use super::Finding;

/// Findings in the document `text` at `path`.
pub fn check(path: &Path, text: &str) -> Vec<Finding> {
    let mut fenced = false;
    let prose: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| {
            fenced ^= line.trim_start().starts_with("```");
            !fenced
        })
        .map(|(at, line)| (at + 1, line))
        .collect();
    let titles = prose.iter().filter(|(_, line)| line.starts_with("# ")).count();
    let mut found = Vec::new();
    if titles != 1 {
        found.push(format!("{}:1: {titles} titles (`# …`), one is wanted", path.display()));
    }
    for (line, target) in prose.iter().flat_map(|(at, line)| links(line).map(|link| (*at, link))) {
        let file = target.split('#').next().unwrap_or_default();
        let external = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
        if !external && !path.parent().is_some_and(|dir| dir.join(file).exists()) {
            found.push(format!("{}:{line}: the link `{target}` leads nowhere", path.display()));
        }
    }
    found
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}
