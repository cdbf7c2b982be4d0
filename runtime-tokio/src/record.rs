//! `--record`: all that the server was told, written to a file that `zebu-sim replay` steps through. It costs a copy of every
//! input and is meant for chasing a fault. A recording that cannot be written on ends; the server does not.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use tracing::error;
use zebu_core::boundary::{Input, Output};
use zebu_core::record::{Digest, Frame, Header, write_frame, write_header};
use zebu_core::time::Now;

/// Steps between two hashes of the outputs.
const HASH_EVERY: u64 = 1000;

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    /// `None` after a failure.
    file: Option<BufWriter<File>>,
    frame: Vec<u8>,
    digest: Digest,
    steps: u64,
}

impl Recorder {
    pub(crate) fn create(path: &Path, header: &Header) -> io::Result<Recorder> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut frame = Vec::new();
        write_header(header, &mut frame);
        file.write_all(&frame)?;
        file.flush()?;
        Ok(Recorder { path: path.to_owned(), file: Some(file), frame, digest: Digest::default(), steps: 0 })
    }

    /// What the server is about to be told.
    pub(crate) fn input(&mut self, now: Now, input: &Input<'_>) {
        self.write(&Frame::Step { now, input: input.clone() });
    }

    /// What it answered.
    pub(crate) fn outputs(&mut self, outputs: &[Output]) {
        for output in outputs {
            self.digest.output(output);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(HASH_EVERY) {
            self.hash();
        }
    }

    /// Brings all that was recorded so far into the file.
    pub(crate) fn hash(&mut self) {
        self.write(&Frame::Outputs { hash: self.digest.value() });
        if let Some(file) = &mut self.file
            && let Err(cause) = file.flush()
        {
            self.give_up(&cause);
        }
    }

    fn write(&mut self, frame: &Frame<'_>) {
        let Some(file) = &mut self.file else { return };
        self.frame.clear();
        write_frame(frame, &mut self.frame);
        if let Err(cause) = file.write_all(&self.frame) {
            self.give_up(&cause);
        }
    }

    fn give_up(&mut self, cause: &io::Error) {
        error!(file = %self.path.display(), %cause, "the recording ends here");
        self.file = None;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.hash();
    }
}
