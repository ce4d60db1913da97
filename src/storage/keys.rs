//! Every key layout of the engine, in one place.
//!
//! A key is one tag byte and big-endian fields, so that the order of encoded keys is the order of [`Key`].
//! Tags are frozen.

use bytes::Bytes;

const BLOCK: u8 = 0x10;
const BLOCK_END: u8 = 0x11;
const LEASES: u8 = 0x20;
const LEASES_END: u8 = 0x21;
const META: u8 = 0xf0;

const HEAD: u8 = 0x01;
const MEMBERSHIP: u8 = 0x02;
const COMPACTION: u8 = 0x03;

/// What the engine's keys name.
///
/// The head is rewritten with every batch. It comes last, so that it shares a page with the newest records,
/// which are written just then; at the front it would have the oldest records rewritten again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `10 main:u64 sub:u32`: a block of records in order of revision, named by its first one.
    Block {
        /// The first record's revision.
        main: u64,
        /// Its place within the revision.
        sub: u32,
    },
    /// `20 number:u64`: a part of the journal of leases and sessions, in order.
    Leases {
        /// Its place in the journal.
        number: u64,
    },
    /// `f0 01`: applied log position, revision, compact revision, tally of records. Without it there is no
    /// state.
    Head,
    /// `f0 02`: the last membership, with its log position.
    Membership,
    /// `f0 03`: how far compaction has got.
    Compaction,
}

impl Key {
    /// The least key of a block.
    pub const FIRST_BLOCK: Key = Key::Block { main: 0, sub: 0 };

    /// The least key of the journal of leases.
    pub const FIRST_LEASES: Key = Key::Leases { number: 0 };

    /// The bytes under which the engine keeps it.
    pub fn encode(&self) -> Bytes {
        match self {
            Key::Head => Bytes::from_static(&[META, HEAD]),
            Key::Membership => Bytes::from_static(&[META, MEMBERSHIP]),
            Key::Compaction => Bytes::from_static(&[META, COMPACTION]),
            Key::Leases { number } => {
                let mut bytes = Vec::with_capacity(9);
                bytes.push(LEASES);
                bytes.extend_from_slice(&number.to_be_bytes());
                bytes.into()
            }
            Key::Block { main, sub } => {
                let mut bytes = Vec::with_capacity(13);
                bytes.push(BLOCK);
                bytes.extend_from_slice(&main.to_be_bytes());
                bytes.extend_from_slice(&sub.to_be_bytes());
                bytes.into()
            }
        }
    }

    /// The inverse of [`Key::encode`]; `None` for anything that it does not make.
    pub fn decode(bytes: &[u8]) -> Option<Key> {
        match bytes {
            [META, HEAD] => Some(Key::Head),
            [META, MEMBERSHIP] => Some(Key::Membership),
            [META, COMPACTION] => Some(Key::Compaction),
            [LEASES, rest @ ..] => Some(Key::Leases { number: u64::from_be_bytes(rest.try_into().ok()?) }),
            [BLOCK, rest @ ..] => {
                let (main, sub) = rest.split_first_chunk::<8>()?;
                let sub: [u8; 4] = sub.try_into().ok()?;
                Some(Key::Block { main: u64::from_be_bytes(*main), sub: u32::from_be_bytes(sub) })
            }
            _ => None,
        }
    }

    /// The exclusive end of all blocks, encoded: no key itself.
    pub fn blocks_end() -> Bytes {
        Bytes::from_static(&[BLOCK_END])
    }

    /// The exclusive end of the journal of leases, encoded: no key itself.
    pub fn leases_end() -> Bytes {
        Bytes::from_static(&[LEASES_END])
    }

    /// The exclusive end of all keys, encoded: no key itself.
    pub fn end() -> Bytes {
        Bytes::from_static(&[0xff])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            Just(Key::Head),
            Just(Key::Membership),
            Just(Key::Compaction),
            any::<u64>().prop_map(|number| Key::Leases { number }),
            (any::<u64>(), any::<u32>()).prop_map(|(main, sub)| Key::Block { main, sub }),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(key in any_key()) {
            prop_assert_eq!(Key::decode(&key.encode()), Some(key));
        }

        #[test]
        fn order_is_preserved(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn other_bytes_are_no_keys(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(&key.encode()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn blocks_lie_between_their_bounds() {
        let last = Key::Block { main: u64::MAX, sub: u32::MAX }.encode();
        assert!(last < Key::blocks_end());
        assert!(Key::blocks_end() < Key::Head.encode());
        assert!(Key::Compaction.encode() < Key::end());
    }
}
