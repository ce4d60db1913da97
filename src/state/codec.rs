//! Our own binary encoding: varints, length-prefixed bytes, and an envelope with version and checksum.
//!
//! Decoding trusts nothing: every length is checked against what is there, and damage is an error that says
//! what is wrong. The envelope is `version:u8 crc32:u32le body`, the checksum over version and body.

use std::ops::Range;

use bytes::Bytes;

/// Bytes in front of a sealed body.
pub(super) const ENVELOPE_BYTES: usize = 5;

/// What is wrong with encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub &'static str);

/// A buffer that will become a sealed body: write behind what is there.
pub(super) fn unsealed(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(ENVELOPE_BYTES + capacity);
    buffer.resize(ENVELOPE_BYTES, 0);
    buffer
}

/// Fills in the envelope of a buffer that [`unsealed`] made.
pub(super) fn seal(mut buffer: Vec<u8>, version: u8) -> Bytes {
    buffer[0] = version;
    let checksum = checksum(version, &buffer[ENVELOPE_BYTES..]);
    buffer[1..ENVELOPE_BYTES].copy_from_slice(&checksum.to_le_bytes());
    buffer.into()
}

/// Checks an envelope, and gives what reads the body. Offsets count from the start of the envelope.
pub(super) fn open(sealed: &[u8], version: u8) -> Result<Input<'_>, Malformed> {
    let mut input = Input::new(sealed);
    if input.u8()? != version {
        return Err(Malformed("unknown version"));
    }
    let expected = u32::from_le_bytes(input.array()?);
    if checksum(version, &sealed[ENVELOPE_BYTES..]) != expected {
        return Err(Malformed("wrong checksum"));
    }
    Ok(input)
}

/// The same for a body of any version up to `newest`; says which.
pub(super) fn open_upto(sealed: &[u8], newest: u8) -> Result<(u8, Input<'_>), Malformed> {
    match sealed.first() {
        Some(version) if (1..=newest).contains(version) => Ok((*version, open(sealed, *version)?)),
        Some(_) => Err(Malformed("unknown version")),
        None => Err(Malformed("cut short")),
    }
}

fn checksum(version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// The checksum in the envelope of sealed bytes.
pub(super) fn checksum_of(sealed: &[u8]) -> u32 {
    sealed[1..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Seven bits per byte, least first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length, then the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads encoded bytes from front to back.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input { bytes, at: 0 }
    }

    /// Continues at an offset, behind what was read before.
    pub fn resume(bytes: &'a [u8], at: usize) -> Self {
        Input { bytes, at }
    }

    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(Malformed("cut short"))?;
        self.at += N;
        Ok(*array)
    }

    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("number too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("number too long"))
    }

    /// Where length-prefixed bytes lie; moves behind them.
    pub fn span(&mut self) -> Result<Range<usize>, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed("cut short"))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let span = self.at..end.ok_or(Malformed("cut short"))?;
        self.at = span.end;
        Ok(span)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut input = Input::new(&out);
            prop_assert_eq!(input.varint(), Ok(value));
            prop_assert_eq!(input.end(), Ok(()));
        }

        #[test]
        fn a_flipped_bit_breaks_the_seal(
            body in prop::collection::vec(any::<u8>(), 0..64),
            position in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut buffer = unsealed(body.len());
            buffer.extend_from_slice(&body);
            let mut sealed = seal(buffer, 1).to_vec();
            prop_assert!(open(&sealed, 1).is_ok());
            let position = position.index(sealed.len());
            sealed[position] ^= 1u8 << bit;
            prop_assert!(open(&sealed, 1).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut input = Input::new(&bytes);
            while input.varint().is_ok() && input.span().is_ok() {}
            prop_assert!(input.at <= bytes.len());
        }
    }
}
