//! The bytes of a snapshot file as a stream, decompressed piece by piece, with a running sum. A file that claims to hold
//! much is believed as far as it gets: nothing grows beyond what has really come out of it.

use super::snapshot::Form;
use flate2::read::GzDecoder;
use simd_adler32::Adler32;
use std::io::Read as _;

/// The first bytes of xerial's SnappyOutputStream.
pub(super) const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, version, lowest compatible version.
const SNAPPY_HEADER: usize = 16;
/// Uncompressed bytes of one snappy block; xerial writes 32 KiB unless told otherwise.
const SNAPPY_BLOCK: usize = 8 << 20;
const PIECE: usize = 64 << 10;

/// Why there is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Truncated {
    /// The stream is over.
    End,
    /// It does not decompress.
    Garbled,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gz(Box<GzDecoder<&'a [u8]>>),
    Snappy(&'a [u8]),
}

/// See the module.
pub(super) struct Input<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    /// Of `buffer`, what has been read off, and what of that is in `sum`.
    at: usize,
    summed: usize,
    sum: Adler32,
    /// Offset of the buffer's start in the stream.
    base: u64,
}

impl<'a> Input<'a> {
    /// At the start of `file`.
    pub(super) fn new(file: &'a [u8], form: Form) -> Input<'a> {
        let source = match form {
            Form::Plain => Source::Plain(file),
            Form::Gz => Source::Gz(Box::new(GzDecoder::new(file))),
            // Without its header it is garbled: an empty block.
            Form::Snappy => Source::Snappy(match file.split_at_checked(SNAPPY_HEADER) {
                Some((header, blocks)) if header.starts_with(SNAPPY_MAGIC) => blocks,
                Some(_) | None => &[0],
            }),
        };
        Input { source, buffer: Vec::new(), at: 0, summed: 0, sum: Adler32::new(), base: 0 }
    }

    /// How far it has been read.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Adler-32 of everything read off so far.
    pub(super) fn sum(&mut self) -> u32 {
        self.sum.write(&self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.sum.finish()
    }

    /// Reads `n` bytes off.
    pub(super) fn take(&mut self, n: usize) -> Result<&[u8], Truncated> {
        if self.left(n)? < n {
            return Err(Truncated::End);
        }
        self.at += n;
        Ok(&self.buffer[self.at - n..self.at])
    }

    /// How many bytes are left, counted up to `n`.
    pub(super) fn left(&mut self, n: usize) -> Result<usize, Truncated> {
        while self.buffer.len() - self.at < n && self.fill()? {}
        Ok((self.buffer.len() - self.at).min(n))
    }

    /// Gets another piece; false: there is none.
    fn fill(&mut self) -> Result<bool, Truncated> {
        if self.at >= PIECE {
            self.sum();
            self.buffer.drain(..self.at);
            self.base += self.at as u64;
            (self.at, self.summed) = (0, 0);
        }
        let before = self.buffer.len();
        match &mut self.source {
            Source::Plain(rest) => {
                let (piece, behind) = rest.split_at(rest.len().min(PIECE));
                self.buffer.extend_from_slice(piece);
                *rest = behind;
            }
            Source::Gz(gz) => {
                let mut piece = gz.take(PIECE as u64);
                piece.read_to_end(&mut self.buffer).map_err(|_| Truncated::Garbled)?;
            }
            Source::Snappy(rest) => unsnap(rest, &mut self.buffer)?,
        }
        Ok(self.buffer.len() > before)
    }
}

/// Decompresses the next block: int length, raw snappy.
fn unsnap(rest: &mut &[u8], buffer: &mut Vec<u8>) -> Result<(), Truncated> {
    let Some((len, behind)) = rest.split_first_chunk() else {
        return if rest.is_empty() { Ok(()) } else { Err(Truncated::Garbled) };
    };
    let (block, behind) =
        behind.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(Truncated::Garbled)?;
    let size = snap::raw::decompress_len(block).map_err(|_| Truncated::Garbled)?;
    if size == 0 || size > SNAPPY_BLOCK {
        return Err(Truncated::Garbled);
    }
    let at = buffer.len();
    buffer.resize(at + size, 0);
    snap::raw::Decoder::new().decompress(block, &mut buffer[at..]).map_err(|_| Truncated::Garbled)?;
    *rest = behind;
    Ok(())
}
