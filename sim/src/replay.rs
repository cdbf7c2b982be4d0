//! Files that tell a run: scenarios as `traces/seeds` keeps them, and recordings of a production server.
//!
//! A scenario file is text: lines of a post-mortem that begin with '#', a line with the format, the scenario as JSON. Settings
//! that it does not name have their usual values, so that it outlives new ones. Recordings are [`zebu_core::record`]'s.

use crate::scenario::Scenario;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::fmt::Write as _;
use zebu_core::boundary::{Dir, Output};
use zebu_core::disk::{FileError, Files, recover};
use zebu_core::record::{Digest, File, Frame, Player};
use zebu_core::rng::Rng;
use zebu_core::server::Server;

const FORMAT: &str = "zebu-scenario 2";

/// A scenario file.
#[derive(Clone, PartialEq, Debug)]
pub struct ScenarioFile {
    /// The post-mortem, without the marks.
    pub notes: Vec<String>,
    /// The scenario.
    pub plan: Scenario,
}

impl ScenarioFile {
    /// As text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        for line in &self.notes {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "{FORMAT}");
        let plan = serde_json::to_value(&self.plan).expect("plain values encode");
        let fields = plan.as_object().expect("a scenario has fields");
        // A field a line: enough to see what a change is about.
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let _ = writeln!(out, "{{\n{}\n}}", lines.join(",\n"));
        out
    }

    /// From text.
    pub fn decode(text: &str) -> Result<ScenarioFile> {
        let notes: Vec<String> = text
            .lines()
            .take_while(|l| l.starts_with('#'))
            .map(|l| l.trim_start_matches('#').trim().to_owned())
            .collect();
        let mut rest = text.lines().skip(notes.len());
        ensure!(rest.next() == Some(FORMAT), "neither a recording nor a scenario of this version");
        let plan = serde_json::from_str(&rest.collect::<String>()).context("the scenario does not decode")?;
        Ok(ScenarioFile { notes, plan })
    }
}

/// The files of a recording, as recovery reads them.
struct Recorded<'a>(&'a [File]);

impl Files for Recorded<'_> {
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        let here = self.0.iter().filter(|f| f.dir == dir);
        Ok(here.map(|f| (f.name.clone(), f.bytes.len() as u64)).collect())
    }
    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError> {
        let found = self.0.iter().find(|f| f.dir == dir && f.name == name);
        found.map(|f| f.bytes.clone()).ok_or(FileError::Missing)
    }
}

/// What replaying a recording came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Replayed {
    /// Inputs stepped.
    pub steps: u64,
    /// Outputs that came of them.
    pub outputs: u64,
    /// Hashes of the recording that ours met.
    pub checked: u64,
}

/// Steps a recorded server again; fails where its outputs hash differently. `each` sees every step's time and outputs.
pub fn replay(recording: &[u8], mut each: impl FnMut(&Frame<'_>, &[Output])) -> Result<Replayed> {
    let (header, mut player) = Player::new(recording)?;
    // As the production server draws it.
    let tree_seed = Rng::new(header.seed).u64();
    let recovered = recover(&Recorded(&header.files), &header.config, tree_seed)
        .map_err(|e| anyhow::anyhow!("recovery refuses: {e}"))?;
    let mut server = Server::new(header.config.clone(), recovered, header.seed, header.start);
    let mut digest = Digest::default();
    let mut done = Replayed::default();
    let mut out = Vec::new();
    while let Some(frame) = player.next_frame()? {
        out.clear();
        match &frame {
            Frame::Step { now, input } => {
                server.step(*now, input.clone(), &mut out);
                done.steps += 1;
                done.outputs += out.len() as u64;
                out.iter().for_each(|o| digest.output(o));
                each(&frame, &out);
            }
            Frame::Outputs { hash } => {
                if *hash != digest.value() {
                    bail!("after {} steps the outputs differ from the recorded ones", done.steps);
                }
                done.checked += 1;
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_file_keeps_notes_and_scenario() {
        let file = ScenarioFile { notes: vec!["what".into(), "why".into()], plan: Scenario::from_seed(7) };
        let text = file.encode();
        assert_eq!(ScenarioFile::decode(&text).expect("reads"), file);
        assert!(ScenarioFile::decode("# x\nnothing").is_err());
    }

    #[test]
    fn the_failures_of_the_past_stay_mended() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../traces/seeds");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let file = ScenarioFile::decode(&text).expect("a scenario");
            let outcome = crate::sweep::run(&file.plan);
            assert_eq!(outcome.failure(), None, "{}", path.display());
            files += 1;
        }
        assert!(files > 0);
    }
}
