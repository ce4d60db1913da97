//! How long a call may take: `grpc-timeout`, as the gRPC protocol defines it, within the bounds of the
//! configuration.
//!
//! tonic reads `grpc-timeout` as well, on both ends of a connection, counts from the departure or arrival of
//! the headers, and at its end drops the call and answers a bare `CANCELLED`, which says nothing about a
//! write. So the node gets a little less ([`margin`]): its answer has to come back before the client's clock
//! runs out. Where that fails (a very short timeout, a stalled machine) the client takes the outcome of a
//! write as unknown.

use std::time::Duration;

use crate::error::Error;

/// The metadata that carries it.
pub const METADATA: &str = "grpc-timeout";

/// Digits that the protocol allows.
const DIGITS_MAX: usize = 8;

/// Parses a `grpc-timeout`: 1 to 8 digits and one of the units `H M S m u n`.
///
/// # Errors
/// `Invalid`, quoting the text.
pub fn parse(text: &str) -> Result<Duration, Error> {
    try_parse(text).ok_or_else(|| {
        Error::Invalid(format!(
            "{METADATA} is {text:?}: it must be 1 to {DIGITS_MAX} digits and a unit of H, M, S, m, u or n"
        ))
    })
}

fn try_parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = valid.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// How long the node gets of a timeout that the client asked for, so that it answers before tonic does.
pub fn budget(asked: Duration, timeout_max: Duration) -> Duration {
    (asked - margin(asked)).min(timeout_max)
}

/// A tenth of the timeout, at most 50 ms: for the way back, and for a scheduler that is late under load.
fn margin(asked: Duration) -> Duration {
    (asked / 10).min(Duration::from_millis(50))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_protocol_is_understood() {
        let table = [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("9n", Duration::from_nanos(9)),
            ("0S", Duration::ZERO),
            ("00000001m", Duration::from_millis(1)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, timeout) in table {
            assert_eq!(parse(text), Ok(timeout), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        for text in ["", "S", "5", "5s", "-5S", "+5S", "5 S", "1.5S", "123456789m", "5Sm", "5é", "é", "٣S"]
        {
            let error = parse(text).expect_err(text);
            assert!(matches!(&error, Error::Invalid(why) if why.contains(&format!("{text:?}"))), "{error}");
        }
    }

    #[test]
    fn the_node_gets_a_little_less_than_the_client_asked_for() {
        let ms = Duration::from_millis;
        let cap = ms(60_000);
        assert_eq!(budget(ms(1000), cap), ms(950));
        assert_eq!(budget(ms(20), cap), ms(18));
        assert_eq!(budget(Duration::ZERO, cap), Duration::ZERO);
        assert_eq!(budget(Duration::from_secs(3600), cap), cap);
    }
}
