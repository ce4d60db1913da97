//! How a place in a lock's queue is spelled as a key: `<name>/<session: 16 hexadecimal digits><mode>`,
//! the mode
//! `x` (exclusive), `s` (shared) or `p` and the number of permits.
//!
//! The order of the queue is that of the keys' create revisions, not of the keys.

use bytes::Bytes;

use super::{KeyRange, LeaseId, LockMode};

const SESSION_DIGITS: usize = 16;

/// A place in a lock's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockKey {
    /// The lock.
    pub name: Bytes,
    /// The lease that the place lives by.
    pub session: LeaseId,
    /// How it wants to hold.
    pub mode: LockMode,
}

impl LockKey {
    /// The key.
    pub fn encode(&self) -> Bytes {
        let mode = match self.mode {
            LockMode::Exclusive => "x".to_owned(),
            LockMode::Shared => "s".to_owned(),
            LockMode::Permits(permits) => format!("p{permits}"),
        };
        let mut key = self.name.to_vec();
        key.extend_from_slice(format!("/{:016x}{mode}", self.session).as_bytes());
        key.into()
    }

    /// The inverse of [`LockKey::encode`]; `None` for anything that it does not make.
    pub fn decode(key: &Bytes) -> Option<LockKey> {
        let slash = key.iter().rposition(|byte| *byte == b'/')?;
        let (session, mode) = key[slash + 1..].split_at_checked(SESSION_DIGITS)?;
        let session = LeaseId::from_str_radix(str::from_utf8(session).ok()?, 16).ok()?;
        let mode = match mode {
            b"x" => LockMode::Exclusive,
            b"s" => LockMode::Shared,
            [b'p', permits @ ..] => LockMode::Permits(str::from_utf8(permits).ok()?.parse().ok()?),
            _ => return None,
        };
        let decoded = LockKey { name: key.slice(..slash), session, mode };
        // One spelling only: no sign, no capitals, no leading zeros.
        (decoded.encode() == *key).then_some(decoded)
    }

    /// Where the places of a lock lie. Other keys may lie there too: of locks whose names go on from this
    /// one's, for example.
    pub fn queue(name: &[u8]) -> KeyRange {
        let with = |last: &[u8]| Bytes::from([name, last].concat());
        KeyRange::interval(with(b"/0"), Some(with(b"/g")))
    }

    /// Where a session's own places of a lock lie, whatever their mode.
    pub fn own(name: &[u8], session: LeaseId) -> KeyRange {
        KeyRange::prefix([name, format!("/{session:016x}").as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_spelled_in_one_way() {
        for mode in [LockMode::Exclusive, LockMode::Shared, LockMode::Permits(3)] {
            let place = LockKey { name: "jobs/cron".into(), session: 0xab, mode };
            let key = place.encode();
            assert_eq!(LockKey::decode(&key), Some(place));
            assert!(
                LockKey::queue(b"jobs/cron").contains(&key) && !LockKey::queue(b"jobs/cro").contains(&key)
            );
            assert!(LockKey::own(b"jobs/cron", 0xab).contains(&key));
        }
        let spelled = LockKey { name: "a".into(), session: 1, mode: LockMode::Permits(7) }.encode();
        assert_eq!(spelled, "a/0000000000000001p7");
        for other in ["a", "a/", "a/1x", "a/0000000000000001", "a/0000000000000001q", "a/000000000000000Ax"] {
            assert_eq!(LockKey::decode(&other.into()), None, "{other}");
        }
        assert_eq!(LockKey::decode(&"a/0000000000000001p07".into()), None);
    }
}
