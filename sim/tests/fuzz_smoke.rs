//! Every fuzz body on mutations of what real clients and servers sent and wrote: a minute of what `fuzz/` does for hours, on a
//! stable toolchain. The seed is fresh on each run; a failure prints it and the input. `FUZZ_SEED` and `FUZZ_SECONDS` set them.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use zebu_core::rng::Rng;
use zebu_sim::fuzz::{BODIES, client_input, recover_input, server_input};

/// Inputs longer than this teach nothing more.
const LONGEST: usize = 1 << 16;

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/java")
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
    out.sort();
}

/// What real servers and clients made: payloads of frames, logs and snapshots, bodies of transactions.
fn corpus() -> Vec<Vec<u8>> {
    let (mut paths, mut out) = (Vec::new(), vec![Vec::new()]);
    files(&traces(), &mut paths);
    for path in paths {
        let bytes = std::fs::read(&path).expect("readable");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".jsonl") {
            let all = exchanges(&String::from_utf8(bytes).expect("text"));
            for life in all.chunks(12) {
                out.push(server_input(life.iter().map(|(request, _)| &request[..])));
                out.push(client_input(life.iter().map(|(request, reply)| (&request[..], &reply[..]))));
            }
            out.extend(all.into_iter().flat_map(|(request, reply)| [request, reply]));
        } else if name.starts_with("log.") {
            out.extend(bodies(&bytes));
            out.push(bytes);
        } else if name.starts_with("snapshot.") {
            let form = if name.ends_with(".gz") { 1 } else { 2 * u8::from(name.ends_with(".snappy")) };
            out.push([&[form][..], &bytes].concat());
        }
    }
    out.extend(directories());
    out.retain(|b| b.len() <= LONGEST);
    assert!(out.len() > 500, "the corpus has only {} inputs", out.len());
    out
}

/// Whole data directories.
fn directories() -> Vec<Vec<u8>> {
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("readable"))
    };
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(traces().join("datadir")).expect("readable") {
        let dir = entry.expect("an entry").path().join("version-2");
        if dir.is_dir() {
            let mut paths = Vec::new();
            files(&dir, &mut paths);
            dirs.push(recover_input(&paths.into_iter().map(read).collect::<Vec<_>>()));
        }
    }
    dirs
}

/// The hex fields `request` and `response` of a capture, line by line; nothing for null.
fn exchanges(text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let hex = |line: &str, key: &str| -> Vec<u8> {
        let rest = line.split(key).nth(1).unwrap_or_default().strip_prefix('"').unwrap_or_default();
        let h: Vec<u8> = rest.bytes().take_while(|b| *b != b'"').filter(u8::is_ascii_hexdigit).collect();
        h.chunks_exact(2)
            .map(|p| u8::from_str_radix(std::str::from_utf8(p).expect("hex"), 16).expect("hex"))
            .collect()
    };
    text.lines().map(|l| (hex(l, "\"request\": "), hex(l, "\"response\": "))).collect()
}

/// Bodies of the entries of a log: after the header of 16 bytes each is {long checksum, int length, body, byte}.
fn bodies(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut at) = (Vec::new(), 16);
    while let Some(length) = log.get(at + 8..at + 12) {
        let n = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        let Some(body) = log.get(at + 12..at + 12 + n) else { break };
        if n == 0 {
            break;
        }
        out.push(body.to_vec());
        at += 13 + n;
    }
    out
}

/// One small change.
fn mutate(b: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    let at = rng.below(b.len() as u64 + 1) as usize;
    match rng.below(8) {
        0 if at < b.len() => b[at] ^= 1 << rng.below(8),
        1 if at < b.len() => b[at] = rng.u64() as u8,
        2 => b.truncate(at),
        3 => b.splice(at..at, (0..rng.below(9)).map(|_| 0xff).collect::<Vec<_>>()).for_each(drop),
        // A number where one may stand: lengths, counts, versions, tags.
        4 if at + 4 <= b.len() => {
            let v = [0, 1, -1, -2, i32::MAX, i32::MIN, 0xfffff, 14, 100, rng.u64() as i32];
            b[at..at + 4].copy_from_slice(&v[rng.below(v.len() as u64) as usize].to_be_bytes());
        }
        5 => {
            let to = at + rng.below((b.len() - at) as u64 + 1) as usize;
            b.drain(at..to);
        }
        // A piece of another input, or of this one.
        6 => {
            let other = &corpus[rng.below(corpus.len() as u64) as usize];
            let from = rng.below(other.len() as u64 + 1) as usize;
            let to = from + rng.below((other.len() - from).min(64) as u64 + 1) as usize;
            b.splice(at..at, other[from..to].iter().copied()).for_each(drop);
        }
        _ => b.push(rng.u64() as u8),
    }
    b.truncate(LONGEST);
}

fn smoke(name: &str) {
    let body = BODIES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no body {name}")).1;
    let number = |key: &str| std::env::var(key).ok().and_then(|v| v.parse::<u64>().ok());
    let fresh =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let seed = number("FUZZ_SEED").unwrap_or(fresh);
    let limit = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(5));
    let (corpus, mut whole) = (corpus(), [0; 32]);
    whole[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Rng::new(whole);
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < limit {
        let mut input = match corpus.get(runs as usize) {
            Some(whole) => whole.clone(),
            None => corpus[rng.below(corpus.len() as u64) as usize].clone(),
        };
        if runs >= corpus.len() as u64 {
            (0..=rng.below(6)).for_each(|_| mutate(&mut input, &mut rng, &corpus));
        }
        if catch_unwind(|| body(&input)).is_err() {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            panic!("{name}, run {runs} of FUZZ_SEED={seed}, breaks on {hex}");
        }
        runs += 1;
    }
    println!("{name}: {runs} inputs, FUZZ_SEED={seed}");
}

macro_rules! smokes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })*
        #[test]
        fn every_body_is_here_and_has_a_target() {
            let here = [$(stringify!($name)),*];
            for (name, _) in BODIES {
                assert!(here.contains(name), "{name} is not smoked");
                let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fuzz/fuzz_targets/{name}.rs"));
                let text = std::fs::read_to_string(&target).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
                assert!(text.contains(&format!("zebu_sim::fuzz::{name}(data)")), "{}", target.display());
            }
        }
    };
}

smokes! { client_bytes server_bytes txn log snapshot recover server client world }
