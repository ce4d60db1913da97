//! Sizes as people type them: `67108864`, `64MiB`, `9KiB`. Binary units only: a limit is exact, and `MB`
//! means different things to different people.

const UNITS: [(&str, u64); 5] = [("", 1), ("b", 1), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)];

/// Reads a size in bytes.
///
/// # Errors
/// One that shows both forms, or that the size does not fit.
pub(super) fn parse<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let form = || "expected bytes, e.g. 67108864 or 64MiB (units: KiB, MiB, GiB)".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
    let number: u64 = number.parse().map_err(|_| form())?;
    let bytes = number.checked_mul(*scale).and_then(|bytes| T::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{text} is more than fits"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_units_or_none() {
        for (text, bytes) in [("0", 0), ("9KiB", 9216), ("64 MiB", 64 << 20), ("2gib", 2 << 30), ("7b", 7)] {
            assert_eq!(parse::<u64>(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64MB", "1.5MiB", "-1", "99999999999999999999", "18446744073709551615KiB"] {
            assert!(parse::<u64>(text).is_err(), "{text}");
        }
        assert!(parse::<u64>("64MB").is_err_and(|why| why.contains("64MiB")));
    }
}
