//! Bodies of the fuzz targets. A body takes any bytes and returns: it panics only when the core has a fault. `fuzz/` runs them under
//! libFuzzer, `tests/fuzz_smoke.rs` on every test run with mutations of what real servers sent and wrote.

mod disk;
mod life;
mod machines;
mod wire;

pub use disk::{log, recover, recover_input, snapshot};
pub use life::world;
pub use machines::{client, client_input, server, server_input};
pub use wire::{client_bytes, server_bytes, txn};

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// Every body by its name: one fuzz target each.
pub const BODIES: &[(&str, Body)] = &[
    ("client_bytes", client_bytes),
    ("server_bytes", server_bytes),
    ("txn", txn),
    ("log", log),
    ("snapshot", snapshot),
    ("recover", recover),
    ("server", server),
    ("client", client),
    ("world", world),
];

/// Takes decisions off the front of the input; when it has run out, all are 0.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }
    fn number(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }
    /// At most so many bytes.
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n.min(self.0.len()));
        self.0 = tail;
        head
    }
}
