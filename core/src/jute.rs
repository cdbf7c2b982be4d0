//! Jute, ZooKeeper's encoding: big-endian numbers, length-prefixed strings, buffers and vectors. Answers to
//! `BinaryInputArchive` and `BinaryOutputArchive`. Knows bytes only, no record.
//!
//! | type | bytes |
//! |---|---|
//! | int, long | 4, 8, big-endian two's complement |
//! | boolean | 1; any non-zero byte reads as true |
//! | ustring, buffer | int length, then the bytes; length -1 is null |
//! | vector | int count, then the elements; -1 is null |

use bytes::{BufMut, Bytes, BytesMut};
use std::borrow::Cow;

/// Why a record could not be read. The reader never panics and never allocates more than the bytes it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// The bytes ended inside a field.
    Short,
    /// A length or count below -1, or beyond the bytes that are left.
    Length(i32),
    /// Null where the record needs a value.
    Null,
    /// A tag (operation, transaction or mode) that this record does not know.
    Tag(i32),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bad::Short => write!(f, "the bytes end inside a field"),
            Bad::Length(n) => write!(f, "unreasonable length {n}"),
            Bad::Null => write!(f, "null where a value is needed"),
            Bad::Tag(t) => write!(f, "unknown type {t}"),
        }
    }
}
impl std::error::Error for Bad {}

/// Reads fields off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }
    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
    /// True when everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Bad::Short)?;
        self.rest = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Bad::Short)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Bad> {
        Ok(self.array::<1>()?[0])
    }
    /// A boolean: any non-zero byte is true.
    pub fn bool(&mut self) -> Result<bool, Bad> {
        Ok(self.byte()? != 0)
    }
    /// An int.
    pub fn int(&mut self) -> Result<i32, Bad> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    /// A long.
    pub fn long(&mut self) -> Result<i64, Bad> {
        Ok(i64::from_be_bytes(self.array()?))
    }
    /// A buffer as a slice of the input; `None` is null.
    pub fn slice(&mut self) -> Result<Option<&'a [u8]>, Bad> {
        match self.int()? {
            -1 => Ok(None),
            n if n < 0 || n as usize > self.rest.len() => Err(Bad::Length(n)),
            n => self.take(n as usize).map(Some),
        }
    }
    /// A buffer, copied; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<Bytes>, Bad> {
        Ok(self.slice()?.map(Bytes::copy_from_slice))
    }
    /// A ustring; `None` is null. Bad UTF-8 becomes the replacement character, as in Java.
    pub fn opt_string(&mut self) -> Result<Option<String>, Bad> {
        Ok(self.slice()?.map(|b| match String::from_utf8_lossy(b) {
            Cow::Borrowed(s) => s.to_owned(),
            Cow::Owned(s) => s,
        }))
    }
    /// A ustring that must not be null.
    pub fn string(&mut self) -> Result<String, Bad> {
        self.opt_string()?.ok_or(Bad::Null)
    }
    /// A vector; `None` is null. `each` reads one element, of at least one byte, so the input bounds the count.
    pub fn vector<T>(
        &mut self,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<T, Bad>,
    ) -> Result<Option<Vec<T>>, Bad> {
        let n = self.int()?;
        if n == -1 {
            return Ok(None);
        }
        if n < 0 || n as usize > self.rest.len() {
            return Err(Bad::Length(n));
        }
        // A count is only a claim: the vector grows as elements arrive.
        let mut out = Vec::with_capacity((n as usize).min(32));
        for _ in 0..n {
            out.push(each(self)?);
        }
        Ok(Some(out))
    }
    /// A vector that must not be null.
    pub fn vector_of<T>(
        &mut self,
        each: impl FnMut(&mut Reader<'a>) -> Result<T, Bad>,
    ) -> Result<Vec<T>, Bad> {
        self.vector(each)?.ok_or(Bad::Null)
    }
}

/// Appends fields to a buffer. A thin layer over [`BytesMut`], so that a reply is encoded straight into its connection's queue.
pub trait Write: BufMut {
    /// A boolean as one byte.
    fn bool(&mut self, v: bool) {
        self.put_u8(v as u8);
    }
    /// An int.
    fn int(&mut self, v: i32) {
        self.put_i32(v);
    }
    /// A long.
    fn long(&mut self, v: i64) {
        self.put_i64(v);
    }
    /// A buffer or null.
    fn buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.put_i32(-1),
            Some(b) => {
                self.put_i32(i32::try_from(b.len()).expect("a buffer fits an int length"));
                self.put_slice(b);
            }
        }
    }
    /// A ustring.
    fn string(&mut self, v: &str) {
        self.buffer(Some(v.as_bytes()));
    }
    /// A ustring or null.
    fn opt_string(&mut self, v: Option<&str>) {
        self.buffer(v.map(str::as_bytes));
    }
    /// The count in front of a vector's elements.
    fn count(&mut self, n: usize) {
        self.put_i32(i32::try_from(n).expect("a vector fits an int count"));
    }
}
impl Write for BytesMut {}
impl Write for Vec<u8> {}

/// Starts a frame: reserves its 4-byte length. Pass the result to [`end_frame`].
pub fn begin_frame(out: &mut BytesMut) -> usize {
    let at = out.len();
    out.put_i32(0);
    at
}

/// Fills in the length of the frame that [`begin_frame`] started at `at`.
pub fn end_frame(out: &mut BytesMut, at: usize) {
    let n = i32::try_from(out.len() - at - 4).expect("a frame fits an int length");
    out[at..at + 4].copy_from_slice(&n.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_and_empty_differ() {
        let mut b = Vec::new();
        b.buffer(None);
        b.buffer(Some(b""));
        let mut r = Reader::new(&b);
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(Bytes::new())));
        assert!(r.is_empty());
    }

    #[test]
    fn lengths_are_held_against_what_is_left() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1]).slice(), Err(Bad::Length(i32::MAX)));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).slice(), Err(Bad::Length(-2)));
        assert_eq!(Reader::new(&[0, 0, 0]).int(), Err(Bad::Short));
        let mut r = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!(r.vector(|r| r.int()), Err(Bad::Length(i32::MAX)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: i32, b: i64, c: bool, s in ".*", d: Option<Vec<u8>>) {
            let mut w = Vec::new();
            w.int(a); w.long(b); Write::bool(&mut w, c); w.string(&s); w.buffer(d.as_deref());
            let mut r = Reader::new(&w);
            prop_assert_eq!(r.int(), Ok(a));
            prop_assert_eq!(r.long(), Ok(b));
            prop_assert_eq!(r.bool(), Ok(c));
            prop_assert_eq!(r.string(), Ok(s));
            prop_assert_eq!(r.buffer(), Ok(d.map(Bytes::from)));
            prop_assert!(r.is_empty());
        }
    }
}
