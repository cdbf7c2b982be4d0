//! A command line in words, and words in options and arguments. Answers to `ZooKeeperMain.parseCommand` and to the part of
//! commons-cli that zkCli shows: its grammar and its complaints.

/// Splits a line at blanks; `"…"` and `'…'` keep theirs and lose their quotes. A quote without its partner counts for nothing.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = match first {
            '"' | '\'' => rest[1..].split_once(first),
            _ => None,
        };
        let (word, tail) = match quoted {
            Some((word, tail)) => (word, tail),
            None if matches!(first, '"' | '\'') => {
                rest = rest[1..].trim_start();
                continue;
            }
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = tail.trim_start();
    }
    words
}

/// An option that a command knows.
pub(super) struct Flag {
    /// Without its dash.
    pub(super) name: &'static str,
    /// Takes a value.
    pub(super) value: bool,
    /// What it says in help.
    pub(super) about: &'static str,
}

/// An option that stands alone.
pub(super) const fn flag(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: false, about }
}
/// An option with a value.
pub(super) const fn option(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: true, about }
}

/// A command's words, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    flags: Vec<(&'static str, String)>,
    /// What is no option; the command itself is not among them.
    pub(super) args: Vec<String>,
}

impl Given {
    /// Was this option given?
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }
    /// Its value; empty for one that stands alone.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

/// Sorts the words behind a command out. `one_of`: only one of the options may be given. The error is Java's text.
pub(super) fn sort_out(words: &[String], known: &[Flag], one_of: bool) -> Result<Given, String> {
    let complaint = |kind: &str, text: String| Err(format!("org.apache.commons.cli.{kind}Exception: {text}"));
    let mut given = Given::default();
    let mut words = words.iter();
    let is_number = |w: &str| w.parse::<f64>().is_ok();
    while let Some(word) = words.next() {
        if word == "--" {
            given.args.extend(words.cloned());
            break;
        }
        let Some(name) = word.strip_prefix('-').filter(|n| !n.is_empty()) else {
            given.args.push(word.clone());
            continue;
        };
        for (flag, attached) in match cut(name, known) {
            Some(flags) => flags,
            None => return complaint("UnrecognizedOption", format!("Unrecognized option: {word}")),
        } {
            let taken = given.flags.first().map(|(name, _)| *name);
            if let Some(before) = taken.filter(|before| one_of && *before != flag.name) {
                return complaint(
                    "AlreadySelected",
                    format!(
                        "The option '{}' was specified but an option from this group has already been selected: '{before}'",
                        flag.name
                    ),
                );
            }
            let value = match attached {
                _ if !flag.value => String::new(),
                Some(value) => value,
                // An option's value may be a number below zero, but no other option.
                None => match words.clone().next().filter(|w| !w.starts_with('-') || is_number(w)) {
                    Some(value) => {
                        words.next();
                        value.clone()
                    }
                    None => {
                        return complaint(
                            "MissingArgument",
                            format!("Missing argument for option: {}", flag.name),
                        );
                    }
                },
            };
            given.flags.push((flag.name, value));
        }
    }
    Ok(given)
}

/// The options in one word: `-s`, `-v 1`, `-v1`, `-v=1`, `-sw`.
fn cut<'a>(name: &str, known: &'a [Flag]) -> Option<Vec<(&'a Flag, Option<String>)>> {
    let find = |name: &str| known.iter().find(|f| f.name == name);
    if let Some(flag) = find(name) {
        return Some(vec![(flag, None)]);
    }
    if let Some((name, value)) = name.split_once('=') {
        return find(name).filter(|f| f.value).map(|f| vec![(f, Some(value.to_owned()))]);
    }
    let mut flags = Vec::new();
    for (at, c) in name.char_indices() {
        let flag = find(c.encode_utf8(&mut [0; 4]))?;
        let tail = &name[at + c.len_utf8()..];
        if flag.value && !tail.is_empty() {
            flags.push((flag, Some(tail.to_owned())));
            return Some(flags);
        }
        flags.push((flag, None));
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn a_line_in_words() {
        assert_eq!(split("  get   /a  "), words(&["get", "/a"]));
        assert_eq!(split("set /a \"b  c\" 'd \"e'"), words(&["set", "/a", "b  c", "d \"e"]));
        assert_eq!(split("a\"b c\""), words(&["a\"b", "c\""]));
        assert_eq!(split("set /a \"\" x"), words(&["set", "/a", "", "x"]));
        assert_eq!(split("\"open end"), words(&["open", "end"]));
        assert_eq!(split(" "), words(&[]));
    }

    const KNOWN: &[Flag] = &[flag("s", ""), flag("w", ""), option("v", ""), option("add", "")];

    fn sorted(list: &[&str]) -> Result<Given, String> {
        sort_out(&words(list), KNOWN, false)
    }

    #[test]
    fn options_stand_anywhere() {
        let given = sorted(&["/a", "-s", "x", "-v", "-1"]).unwrap();
        assert_eq!(given.args, words(&["/a", "x"]));
        assert!(given.has("s") && !given.has("w"));
        assert_eq!(given.value("v"), Some("-1"));
        for form in [&["-sv", "7"][..], &["-sv7"], &["-s", "-v=7"], &["-v7", "-s"]] {
            let given = sorted(form).unwrap();
            assert!(given.has("s"));
            assert_eq!(given.value("v"), Some("7"));
        }
        assert_eq!(sorted(&["-add", "server.1=a"]).unwrap().value("add"), Some("server.1=a"));
        assert_eq!(sorted(&["--", "-s"]).unwrap().args, words(&["-s"]));
        assert_eq!(sorted(&["-"]).unwrap().args, words(&["-"]));
    }

    #[test]
    fn complaints_are_java_s() {
        let text = |r: Result<Given, String>| r.unwrap_err();
        assert_eq!(
            text(sorted(&["-q"])),
            "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -q"
        );
        assert_eq!(
            text(sorted(&["-v"])),
            "org.apache.commons.cli.MissingArgumentException: Missing argument for option: v"
        );
        assert_eq!(
            text(sort_out(&words(&["-s", "-w"]), KNOWN, true)),
            "org.apache.commons.cli.AlreadySelectedException: The option 'w' was specified but an option from this group has \
             already been selected: 's'"
        );
    }
}
