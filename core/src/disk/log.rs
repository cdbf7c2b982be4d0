//! The transaction log's framing. Answers to `FileTxnLog` and `FileHeader`. Knows neither what a transaction means nor
//! what a damaged end is worth: the first is [`crate::proto::LoggedTxn`]'s, the second [`super::tail`]'s.
//!
//! ```text
//! header   int magic "ZKLG" | int version 2 | long dbid 0                16 bytes
//! entry*   long Adler-32 of body | int len | body[len] | byte 'B'        len + 13 bytes
//! padding  zero bytes (Java preallocates; we do not)
//! ```

use crate::limits::MAX_TXN;
use bytes::{BufMut, BytesMut};

/// Bytes in front of the first entry.
pub const HEADER_LEN: usize = 16;
/// Bytes of an entry beside its body.
pub const FRAME_LEN: usize = 13;
/// Checksum and length.
const PREFIX_LEN: usize = 12;
/// The byte that ends an entry.
const EOR: u8 = b'B';
const MAGIC: u32 = 0x5a4b_4c47;
const VERSION: i32 = 2;

/// Writes the header of a new file.
pub fn put_header(out: &mut BytesMut) {
    out.put_u32(MAGIC);
    out.put_i32(VERSION);
    out.put_i64(0);
}

/// Writes one entry around `body`.
pub fn put_entry(body: &[u8], out: &mut BytesMut) {
    assert!(body.len() <= MAX_TXN, "a transaction of {} bytes could not be read back", body.len());
    out.reserve(body.len() + FRAME_LEN);
    out.put_i64(i64::from(simd_adler32::adler32(&body)));
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    out.put_u8(EOR);
}

/// Why a file is not read at all. Only the magic is looked at, as in Java.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// Shorter than a header.
    Short,
    /// Another magic.
    Magic,
}

/// An entry whose checksum and end byte are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Its offset in the file.
    pub at: usize,
    /// Header, record, digest of the transaction.
    pub body: &'a [u8],
}

/// Where the readable entries end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Offset behind the last good entry.
    pub at: usize,
    /// Where the entry found there would end, by its own length field.
    pub claimed: usize,
    /// What is there instead of a good entry.
    pub found: Found,
}

/// What may stand where the next entry should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The end of the file.
    Eof,
    /// Checksum and length are there and the length is 0: padding, or bytes that were never written.
    ZeroLength,
    /// The file ends inside the entry.
    CutShort,
    /// The end byte is another one.
    NoEor(u8),
    /// The end byte is right, the checksum is not.
    BadSum,
    /// A length that no writer writes.
    BadLength(i32),
}

/// What [`Entries::step`] came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// The next entry.
    Entry(Entry<'a>),
    /// No more; asking again gives the same.
    End(End),
}

/// Walks over a file's entries.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// At the first entry of `file`.
    pub fn new(file: &'a [u8]) -> Result<Entries<'a>, BadHeader> {
        if file.len() < HEADER_LEN {
            return Err(BadHeader::Short);
        }
        if file[..4] != MAGIC.to_be_bytes() {
            return Err(BadHeader::Magic);
        }
        Ok(Entries { file, at: HEADER_LEN })
    }

    /// At the first entry of a piece of a file that begins with one.
    pub fn within(piece: &'a [u8]) -> Entries<'a> {
        Entries { file: piece, at: 0 }
    }

    /// The next entry, or what stands in its place.
    pub fn step(&mut self) -> Step<'a> {
        let at = self.at;
        let end = |found, claimed| Step::End(End { at, claimed, found });
        let rest = &self.file[at..];
        if rest.is_empty() {
            return end(Found::Eof, at);
        }
        let Some((prefix, behind)) = rest.split_at_checked(PREFIX_LEN) else {
            return end(Found::CutShort, at + FRAME_LEN);
        };
        let sum = i64::from_be_bytes(*prefix.first_chunk().expect("12 bytes"));
        let len = i32::from_be_bytes(*prefix.last_chunk().expect("12 bytes"));
        if len == 0 {
            return end(Found::ZeroLength, at + PREFIX_LEN);
        }
        let Some(size) = usize::try_from(len).ok().filter(|n| *n <= MAX_TXN) else {
            return end(Found::BadLength(len), at + FRAME_LEN);
        };
        let claimed = at + size + FRAME_LEN;
        if behind.len() <= size {
            return end(Found::CutShort, claimed);
        }
        let body = &behind[..size];
        if behind[size] != EOR {
            return end(Found::NoEor(behind[size]), claimed);
        }
        if sum != i64::from(simd_adler32::adler32(&body)) {
            return end(Found::BadSum, claimed);
        }
        self.at = claimed;
        Step::Entry(Entry { at, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bodies: &[Vec<u8>]) -> BytesMut {
        let mut out = BytesMut::new();
        put_header(&mut out);
        bodies.iter().for_each(|b| put_entry(b, &mut out));
        out
    }

    #[test]
    fn the_bytes_are_java_s() {
        // The first entry of a log written by 3.9.3.
        let body = [
            &[1, 0, 0, 0x1f, 0xf7, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
            &[0, 0, 1, 0xa2, 2, 0xaa, 0x67, 0xbf, 0xff, 0xff, 0xff, 0xf6, 0, 9, 0x27, 0xc0],
            &[0, 0, 0, 2, 0, 0, 0, 0, 0x51, 0xc6, 0xd6, 0x60],
        ]
        .concat();
        let out = file(&[body]);
        assert_eq!(&out[..16], b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
        assert_eq!(&out[16..28], [0, 0, 0, 0, 0xed, 0xd9, 0x0b, 0xbc, 0, 0, 0, 0x30]);
        assert_eq!((out.len(), out[out.len() - 1]), (16 + 13 + 48, b'B'));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_padded_or_not(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..20),
            padding in 0usize..100,
        ) {
            let mut out = file(&bodies);
            let written = out.len();
            out.put_bytes(0, padding);
            let mut entries = Entries::new(&out).unwrap();
            for body in &bodies {
                let Step::Entry(entry) = entries.step() else { panic!("ends early") };
                prop_assert_eq!(entry.body, &body[..]);
            }
            let Step::End(end) = entries.step() else { panic!("an entry too many") };
            prop_assert_eq!(end.at, written);
        }

        #[test]
        fn any_bytes_can_be_walked(bytes: Vec<u8>) {
            let mut file = b"ZKLG0123456789ab".to_vec();
            file.extend(bytes);
            let mut entries = Entries::new(&file).unwrap();
            while let Step::Entry(_) = entries.step() {}
        }
    }
}
