//! Runs the stories of `tests/scenarios` and compares their logs. `REWRITE=1` writes the logs down as they are instead: read
//! the difference before it is committed. The language: `zebu_sim::script`.

use zebu_sim::script;
use zebu_tests::capture::root;

#[test]
fn every_story_goes_as_it_is_told() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let folder = root().join("tests/scenarios");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("readable").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let mut bad = Vec::new();
    for path in &paths {
        let name = path.file_name().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(path).expect("readable");
        if !text.starts_with("# ") {
            bad.push(format!("{name} opens with no comment that tells the story"));
        }
        match script::run(&text) {
            Err(why) => bad.push(format!("{name}: {why}")),
            // Not even written anew.
            Ok(now) if now.contains(script::TREES_DIFFER) => bad.push(format!("{name}: the trees differ")),
            Ok(now) if now == text => {}
            Ok(now) if rewrite => std::fs::write(path, now).expect("writable"),
            Ok(now) => bad.push(first_difference(&name, &text, &now)),
        }
    }
    assert!(!paths.is_empty(), "there are no stories");
    assert!(bad.is_empty(), "\n{}\n", bad.join("\n"));
}

fn first_difference(name: &str, told: &str, now: &str) -> String {
    let ends = |text: &str| text.lines().map(str::to_owned).chain([String::new()]).collect::<Vec<_>>();
    let (told, now) = (ends(told), ends(now));
    let at = told.iter().zip(&now).position(|(a, b)| a != b).unwrap_or(told.len().min(now.len()) - 1);
    format!("{name}:{}: told {:?}, happened {:?}", at + 1, told[at], now[at])
}
