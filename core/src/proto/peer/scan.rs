//! Finds where a record ends in bytes that are still coming in, each byte looked at once however they are split. Knows
//! shapes only, no meaning.

use crate::jute::Bad;

/// A part of a record's shape.
#[derive(Debug)]
pub(super) enum Field {
    /// So many bytes of fixed fields.
    Fixed(usize),
    /// A ustring or buffer.
    Blob,
    /// A vector of such elements.
    Vector(&'static [Field]),
}

/// How far the end of a record is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// The record reaches at least up to here.
    end: usize,
    /// The next field of the shape.
    field: usize,
    /// Inside a vector: elements left with the one at hand, and that one's next field.
    inside: Option<(u32, usize)>,
}

impl Scan {
    /// The record's length once `bytes` holds all of it; `None` while it does not. More than `max` is refused before it
    /// has come in.
    pub(super) fn run(&mut self, shape: &[Field], bytes: &[u8], max: usize) -> Result<Option<usize>, Bad> {
        loop {
            if self.end > max {
                return Err(Bad::Length(i32::try_from(self.end).unwrap_or(i32::MAX)));
            }
            let Some(field) = self.next_field(shape) else {
                return Ok((self.end <= bytes.len()).then_some(self.end));
            };
            match field {
                Field::Fixed(n) => self.end += n,
                Field::Blob => {
                    let Some(n) = self.length(bytes)? else { return Ok(None) };
                    self.end += 4 + n as usize;
                }
                Field::Vector(_) => {
                    let Some(n) = self.length(bytes)? else { return Ok(None) };
                    self.end += 4;
                    self.inside = Some((n, 0));
                    continue;
                }
            }
            match &mut self.inside {
                Some((_, at)) => *at += 1,
                None => self.field += 1,
            }
        }
    }

    /// The field to look at next; `None` when the shape is through.
    fn next_field<'s>(&mut self, shape: &'s [Field]) -> Option<&'s Field> {
        let outer = shape.get(self.field)?;
        let (Field::Vector(element), Some((left, at))) = (outer, &mut self.inside) else {
            return Some(outer);
        };
        if *left > 0 && *at == element.len() {
            (*left, *at) = (*left - 1, 0);
        }
        if *left == 0 {
            self.inside = None;
            self.field += 1;
            return self.next_field(shape);
        }
        Some(&element[*at])
    }

    /// The length or count at the known end; null counts as 0. `None`: not here yet.
    fn length(&self, bytes: &[u8]) -> Result<Option<u32>, Bad> {
        let Some(four) = bytes.get(self.end..).and_then(|b| b.first_chunk::<4>()) else { return Ok(None) };
        match i32::from_be_bytes(*four) {
            -1 => Ok(Some(0)),
            n => u32::try_from(n).map(Some).map_err(|_| Bad::Length(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: &[Field] =
        &[Field::Fixed(3), Field::Vector(&[Field::Blob, Field::Fixed(1), Field::Blob]), Field::Blob];

    fn sample(list: &[(Vec<u8>, Option<Vec<u8>>)], last: &[u8]) -> Vec<u8> {
        use crate::jute::Write;
        let mut w = vec![1, 2, 3];
        w.count(list.len());
        for (a, b) in list {
            w.buffer(Some(a));
            w.push(9);
            w.buffer(b.as_deref());
        }
        w.buffer(Some(last));
        w
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_bytes_are_split(
            list in proptest::collection::vec((".{0,5}", proptest::option::of(".{0,5}")), 0..5),
            last in ".{0,9}",
            step in 1usize..9,
        ) {
            let list: Vec<_> = list.into_iter().map(|(a, b)| (a.into_bytes(), b.map(String::into_bytes))).collect();
            let bytes = sample(&list, last.as_bytes());
            let mut scan = Scan::default();
            let more = [bytes.as_slice(), b"rest"].concat();
            for n in (0..bytes.len()).step_by(step) {
                prop_assert_eq!(scan.run(SHAPE, &more[..n], 1000), Ok(None));
            }
            prop_assert_eq!(scan.clone().run(SHAPE, &bytes, 1000), Ok(Some(bytes.len())));
            prop_assert_eq!(scan.run(SHAPE, &more, 1000), Ok(Some(bytes.len())));
            prop_assert!(Scan::default().run(SHAPE, &more, bytes.len() - 1).is_err());
        }

        #[test]
        fn any_bytes_do(bytes: Vec<u8>, max in 0usize..100) {
            let whole = Scan::default().run(SHAPE, &bytes, max);
            prop_assert!(!matches!(whole, Ok(Some(n)) if n > bytes.len() || n > max));
        }
    }

    #[test]
    fn a_huge_claim_is_refused_at_once() {
        let bytes = [1, 2, 3, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        assert!(Scan::default().run(SHAPE, &bytes, 1000).is_err());
        assert_eq!(Scan::default().run(SHAPE, &[1, 2, 3, 0xff, 0xff, 0xff, 0xfe], 99), Err(Bad::Length(-2)));
    }
}
