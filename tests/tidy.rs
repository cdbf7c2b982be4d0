//! The style as a test: lengths, banned words, who may use whom, what every file owes. Reads the source tree as text and
//! knows nothing of what it does. Lists of exceptions here only get shorter: each entry says what is left to mend.

use std::collections::BTreeMap;
use std::path::Path;
use zebu_tests::capture::root;

/// No file of code is longer.
const FILE_LINES: usize = 900;
/// No function is longer, but those in [`LONG_FUNCTIONS`].
const FUNCTION_LINES: usize = 70;
/// Functions that are longer still, with their length. One that got shorter has to be entered anew, or struck out.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[
    ("core/src/server/words.rs", "text", 73),
    ("sim/src/check/images.rs", "vouched", 84),
    ("sim/src/check/wgl/tree.rs", "apply", 79),
    ("sim/src/world/faults.rs", "fault", 89),
];

/// A text file of the tree, by its path from the top.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
    fn is_code(&self) -> bool {
        self.is_rust()
            || [".py", ".java", ".sh"].iter().any(|e| self.path.ends_with(e))
            || self.path == "tests/run"
    }
    /// Lines of the program itself: no comments, nothing from the first test module on.
    fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        let beside = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, l)| !beside && l.trim() != "#[cfg(test)]")
            .filter(|(_, l)| !l.trim_start().starts_with("//"))
            .map(|(i, l)| (i + 1, l))
    }
}

/// Every text file that belongs to the project, but recorded data and the lock file.
fn files() -> Vec<File> {
    fn walk(dir: &Path, out: &mut Vec<File>) {
        let mut entries: Vec<_> =
            std::fs::read_dir(dir).expect("readable").map(|e| e.expect("entry").path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let left_out = [
                "target",
                ".git",
                "zebu-data",
                "__pycache__",
                "Cargo.lock",
                "LICENSE",
                "corpus",
                "artifacts",
            ];
            if left_out.contains(&name.as_str())
                || path.ends_with("traces/java")
                || path.ends_with("traces/seeds")
            {
                continue;
            }
            if path.is_dir() {
                walk(&path, out);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("below the top").to_string_lossy().into_owned();
                out.push(File { path, text });
            }
        }
    }
    let mut out = Vec::new();
    walk(&root(), &mut out);
    assert!(out.iter().any(|f| f.path == "core/src/lib.rs"), "this is not the source tree");
    out
}

/// Fails with every complaint at once.
fn settle(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| f.is_code()) {
        let n = f.text.lines().count();
        if n > FILE_LINES {
            bad.push(format!("{}: {n} lines, {FILE_LINES} at most: split it by meaning", f.path));
        }
        if f.is_rust() && !f.text.starts_with("//!") {
            bad.push(format!("{}: opens with no //! header", f.path));
        }
    }
    settle(bad);
}

/// Functions with their first line and length; rustfmt puts the closing brace under the `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let Some(at) = body.find("fn ") else { continue };
        let before = &body[..at];
        let words = before.split_whitespace().all(|w| {
            ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "default"].contains(&w)
                || w.starts_with("pub(")
        });
        if !words || body.ends_with('}') {
            continue;
        }
        let name: String = body[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let close = format!("{}}}", " ".repeat(indent));
        // A declaration without a body ends with a semicolon at this depth first.
        let end = lines[i + 1..]
            .iter()
            .position(|l| **l == close || (l.ends_with(';') && l.len() - l.trim_start().len() == indent));
        if !body.ends_with(';')
            && let Some(n) = end
        {
            out.push((name, i + 1, n + 2));
        }
    }
    out
}

#[test]
fn functions_fit_a_screen() {
    let mut bad = Vec::new();
    let mut left: BTreeMap<(String, String), usize> =
        LONG_FUNCTIONS.iter().map(|(p, f, n)| ((p.to_string(), f.to_string()), *n)).collect();
    for f in files().iter().filter(|f| f.is_rust()) {
        for (name, at, n) in functions(&f.text).into_iter().filter(|(_, _, n)| *n > FUNCTION_LINES) {
            match left.remove(&(f.path.clone(), name.clone())) {
                None => bad.push(format!("{}:{at}: {name} has {n} lines, {FUNCTION_LINES} at most", f.path)),
                Some(was) if n > was => {
                    bad.push(format!("{}:{at}: {name} grew from {was} to {n} lines", f.path))
                }
                Some(was) if n < was => {
                    bad.push(format!("{}:{at}: {name}: enter its new length, {n}", f.path))
                }
                Some(_) => {}
            }
        }
    }
    bad.extend(
        left.keys().map(|(path, name)| format!("{path}: {name} is gone or short: strike it from the list")),
    );
    settle(bad);
}

#[test]
fn banned_words_are_absent() {
    // In pieces, so that this file does not hold them.
    let anywhere = [
        ("FIX", "ME"),
        ("XX", "X"),
        ("for ", "now"),
        ("#[ig", "nore"),
        ("TO", "DO"),
        ("to", "do!("),
        ("unimpl", "emented!("),
        ("db", "g!("),
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("sha", "red/"),
        ("pypi", ".org"),
        ("python", "hosted"),
        ("deb.deb", "ian"),
        ("crates", ".io"),
        ("npmjs", ".org"),
        ("maven", ".org"),
    ];
    let mut bad = Vec::new();
    for f in files() {
        for (i, line) in f.text.lines().enumerate() {
            for (a, b) in anywhere {
                if line.contains(&format!("{a}{b}")) {
                    bad.push(format!("{}:{}: {a}{b}", f.path, i + 1));
                }
            }
        }
    }
    settle(bad);
}

/// What a module of the core may use of the others.
enum Uses {
    Only(&'static str),
    AllBut(&'static str),
}

/// Who may use whom. A name stands for the file and its folder.
const USES: &[(&str, Uses)] = &[
    ("jute", Uses::Only("")),
    ("id", Uses::Only("")),
    ("time", Uses::Only("")),
    ("addr", Uses::Only("")),
    ("properties", Uses::Only("")),
    ("proto", Uses::Only("addr jute id")),
    ("path", Uses::Only("")),
    ("acl", Uses::Only("proto auth")),
    ("auth", Uses::Only("proto")),
    ("cause", Uses::Only("id jute proto")),
    ("boundary", Uses::Only("addr cause id limits proto")),
    ("config", Uses::Only("id limits quorum time")),
    ("record", Uses::Only("boundary config time")),
    ("tree", Uses::Only("path acl id jute limits proto rng")),
    ("watch", Uses::Only("path tree boundary id limits proto")),
    ("quorum", Uses::Only("addr id properties proto")),
    ("election", Uses::Only("addr boundary id jute limits proto quorum time")),
    ("zab", Uses::Only("boundary cause id jute limits proto quorum rng time")),
    ("session", Uses::Only("id limits proto rng time")),
    ("disk", Uses::Only("boundary config id jute limits path proto quorum rng session time tree")),
    ("client", Uses::AllBut("server tree disk watch session config acl")),
    ("server", Uses::AllBut("client")),
];

/// Modules named after `crate::`, in a group too.
fn modules_used(statement: &str) -> Vec<String> {
    let word = |s: &str| -> String { s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut out = Vec::new();
    for rest in statement.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            out.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut starts = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                c if starts && c.is_alphanumeric() => {
                    out.push(word(&group[i..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    out
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut bad = Vec::new();
    let files = files();
    for (module, uses) in USES {
        let folder = format!("core/src/{module}/");
        let own = |f: &&File| f.path == format!("core/src/{module}.rs") || f.path.starts_with(&folder);
        for f in files.iter().filter(own) {
            let program: Vec<&str> = f.program().map(|(_, l)| l).collect();
            for used in modules_used(&program.join("\n")) {
                let allowed = match uses {
                    Uses::Only(list) => list.split(' ').any(|m| m == used),
                    Uses::AllBut(list) => list.split(' ').all(|m| m != used),
                };
                if used != *module && !allowed {
                    bad.push(format!("{}: {module} must not use {used}", f.path));
                }
            }
        }
    }
    settle(bad);
}

#[test]
fn the_core_asks_for_nothing() {
    let banned = [
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "Instant::now",
        "SystemTime",
        "std::collections::HashMap",
        "std::collections::HashSet",
        "RefCell",
        "Mutex",
        "println!",
        "eprintln!",
        "tokio",
        "tracing",
        "unsafe ",
    ];
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| f.path.starts_with("core/src/") && f.is_rust()) {
        for (at, line) in f.program() {
            bad.extend(banned.iter().filter(|b| line.contains(**b)).map(|b| format!("{}:{at}: {b}", f.path)));
        }
    }
    settle(bad);
}

/// Every dependency of every package. A new one is a decision: enter it here with its package.
const DEPENDENCIES: &[(&str, &str)] = &[
    (
        "core",
        "base64 bytes crc32fast flate2 foldhash indexmap postcard proptest rand_chacha serde sha1 simd-adler32 snap",
    ),
    (
        "sim",
        "anyhow base64 bytes clap crc32fast indicatif postcard proptest rand_chacha serde serde_json sha1 zebu-core",
    ),
    (
        "runtime-tokio",
        "anyhow base64 bytes clap foldhash jiff mimalloc postcard rustyline serde socket2 tempfile tokio tracing tracing-subscriber zebu-core",
    ),
    ("tests", "anyhow base64 bytes proptest serde_json zebu-core zebu-sim"),
    ("fuzz", "libfuzzer-sys zebu-sim"),
];

#[test]
fn dependencies_are_on_the_list() {
    let mut bad = Vec::new();
    for f in files().iter().filter(|f| f.path.ends_with("/Cargo.toml")) {
        let package = f.path.trim_end_matches("/Cargo.toml");
        let allowed = DEPENDENCIES.iter().find(|(p, _)| *p == package).map_or("", |(_, d)| *d);
        let mut section = "";
        for line in f.text.lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            } else if section.ends_with("dependencies") && !line.trim().is_empty() && !line.starts_with('#') {
                let name = line.split(['.', ' ', '=']).next().expect("a word");
                if !allowed.split(' ').any(|a| a == name) {
                    bad.push(format!("{}: {name} is not on the list in tidy.rs", f.path));
                }
            }
        }
    }
    settle(bad);
}

/// The arms beside an `Output::Send` arm, with the number of the first: those at its indentation, up and down to the
/// end of the match.
fn arms_beside(lines: &[&str], at: usize) -> Vec<(usize, String)> {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let depth = indent(lines[at]);
    let inside = |l: &&str| l.trim().is_empty() || indent(l) >= depth;
    let first = at - lines[..at].iter().rev().take_while(|l| inside(l)).count();
    let last = at + lines[at..].iter().take_while(|l| inside(l)).count();
    (first..last)
        .filter(|i| indent(lines[*i]) == depth)
        .map(|i| (i + 1, lines[i].trim().to_owned()))
        .collect()
}

#[test]
fn the_drivers_match_every_output() {
    let mut bad = Vec::new();
    for driver in ["sim/src/", "runtime-tokio/src/"] {
        let mut found = false;
        for f in files().iter().filter(|f| f.path.starts_with(driver) && f.is_rust()) {
            let lines: Vec<&str> = f.text.lines().collect();
            for at in (0..lines.len()).filter(|i| lines[*i].trim_start().starts_with("Output::Send")) {
                found = true;
                for (n, arm) in arms_beside(&lines, at) {
                    // `_ =>`, `_ if …` and a name that catches all.
                    let pattern = arm.split("=>").next().unwrap_or_default().trim();
                    let catches_all = arm.contains("=>")
                        && pattern.chars().next().is_some_and(|c| c == '_' || c.is_lowercase());
                    if catches_all {
                        bad.push(format!("{}:{n}: {arm}: a driver matches every Output by name", f.path));
                    }
                }
            }
        }
        if !found {
            bad.push(format!("{driver}: no match on Output::Send: where is the driver?"));
        }
    }
    settle(bad);
}

#[test]
fn the_changelog_is_open_and_the_code_map_is_true() {
    let read = |p: &str| std::fs::read_to_string(root().join(p)).unwrap_or_else(|e| panic!("{p}: {e}"));
    assert!(
        read("CHANGELOG.md").lines().any(|l| l == "## Unreleased"),
        "CHANGELOG.md has no Unreleased section"
    );
    let readme = read("README.md");
    let map = readme
        .split("## The code")
        .nth(1)
        .expect("README.md has a code map")
        .split("\n## ")
        .next()
        .expect("text");
    let mut bad = Vec::new();
    let mut count = 0;
    for name in map.split('`').skip(1).step_by(2).filter(|n| n.contains('/') && !n.contains(' ')) {
        count += 1;
        if !root().join(name).exists() {
            bad.push(format!("README.md's code map names {name}, which does not exist"));
        }
    }
    assert!(count > 10, "README.md's code map has only {count} entries");
    settle(bad);
}

/// What reads the source for these rules is code too.
#[test]
fn the_rules_see_what_they_look_for() {
    let long = format!(
        "impl X {{\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8 {{\n{}    }}\n    fn short() {{}}\n}}\n",
        "        a;\n".repeat(80)
    );
    assert_eq!(functions(&long), vec![("long".to_owned(), 2, 84)]);
    assert_eq!(functions("trait T {\n    fn declared(&self);\n}\n"), vec![]);
    let used = modules_used("use crate::{disk::{Store, log}, tree::Tree};\nlet x = crate::time::Time(0);");
    assert_eq!(used, ["disk", "tree", "time"]);
    let driver = "match o {\n    Output::Send { conn } => {\n        f();\n    }\n    _ => {}\n}\nother();";
    let arms: Vec<String> =
        arms_beside(&driver.lines().collect::<Vec<_>>(), 1).into_iter().map(|(_, a)| a).collect();
    assert!(arms.contains(&"_ => {}".to_owned()), "{arms:?}");
    assert!(!arms.contains(&"other();".to_owned()));
}
