//! Java's properties syntax, as zoo.cfg and the ensemble's configuration use it: comments, three separators, escapes, continued lines. Knows no key by
//! name. Answers to `java.util.Properties.load`.

/// One `key=value`, with the line it began on (counted from 1). Key and value are trimmed, as ZooKeeper does it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it began.
    pub line: usize,
    /// Left of the separator.
    pub key: String,
    /// Right of it.
    pub value: String,
}

/// A `\u` that four hexadecimal digits do not follow; the only fault this syntax knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadEscape {
    /// In which line.
    pub line: usize,
}

/// All entries in the order of the file, duplicates included.
pub fn parse(text: &str) -> Result<Vec<Entry>, BadEscape> {
    logical_lines(text).into_iter().map(|(line, text)| entry(line, &text)).collect()
}

/// A file's text: UTF-8, or else Latin-1, which is how Java reads it.
pub fn decode(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

/// Joins continued lines and drops blank and comment lines; escapes are left in.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (i, raw) in text.split('\n').enumerate() {
        let raw = raw.trim_start_matches(BLANK);
        let (first, mut joined) = match open.take() {
            Some(begun) => begun,
            None if raw.is_empty() || raw.starts_with(['#', '!']) => continue,
            None => (i + 1, String::new()),
        };
        let backslashes = raw.chars().rev().take_while(|&c| c == '\\').count();
        if backslashes % 2 == 1 {
            joined.push_str(&raw[..raw.len() - 1]);
            open = Some((first, joined));
        } else {
            joined.push_str(raw);
            lines.push((first, joined));
        }
    }
    lines.extend(open); // a continuation at the end of the file
    lines
}

const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// Splits at the first separator that no backslash protects.
fn entry(line: usize, text: &str) -> Result<Entry, BadEscape> {
    let mut protected = false;
    let end = text
        .char_indices()
        .find(|&(_, c)| {
            let ends = !protected && (c == '=' || c == ':' || BLANK.contains(&c));
            protected = !protected && c == '\\';
            ends
        })
        .map_or(text.len(), |(at, _)| at);
    let (key, rest) = text.split_at(end);
    let rest = rest.trim_start_matches(BLANK);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK);
    Ok(Entry { line, key: unescape(line, key)?, value: unescape(line, value)? })
}

/// Takes the backslashes away. UTF-16 surrogates written as two `\u` make one character; a lone one is replaced.
fn unescape(line: usize, text: &str) -> Result<String, BadEscape> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut pair = [0; 2];
        match c {
            '\\' => match chars.next() {
                None => {}
                Some('t') => units.push(u16::from(b'\t')),
                Some('n') => units.push(u16::from(b'\n')),
                Some('r') => units.push(u16::from(b'\r')),
                Some('f') => units.push(0x0c),
                Some('u') => {
                    let digits = chars.as_str().get(..4).ok_or(BadEscape { line })?;
                    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                        return Err(BadEscape { line });
                    }
                    units.push(u16::from_str_radix(digits, 16).map_err(|_| BadEscape { line })?);
                    chars = chars.as_str()[4..].chars();
                }
                Some(other) => units.extend_from_slice(other.encode_utf16(&mut pair)),
            },
            other => units.extend_from_slice(other.encode_utf16(&mut pair)),
        }
    }
    Ok(String::from_utf16_lossy(&units).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|e| (e.line, e.key, e.value)).collect()
    }
    fn one(text: &str) -> (String, String) {
        let all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        (all[0].1.clone(), all[0].2.clone())
    }
    fn kv(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators() {
        for text in ["a=b", "a:b", "a b", "a = b", "a\t:\tb", "  a=b  ", "a   b", "\x0ca=b"] {
            assert_eq!(one(text), kv("a", "b"), "{text:?}");
        }
        assert_eq!(one("a==b"), kv("a", "=b"));
        assert_eq!(one("a=:b"), kv("a", ":b"));
        assert_eq!(one("a"), kv("a", ""));
        assert_eq!(one("=b"), kv("", "b"));
        assert_eq!(one("server.1=h:2888:3888;2181"), kv("server.1", "h:2888:3888;2181"));
        assert_eq!(one(r"a\=\:\ b=c"), kv("a=: b", "c"));
        assert_eq!(one(r"a\\=b"), kv(r"a\", "b"));
    }

    #[test]
    fn comments_blank_lines_and_line_numbers() {
        let text = "# one\n! two\r\n\n   # three\na=1\rb=2\n\nc=3";
        let want = [(5, "a", "1"), (6, "b", "2"), (8, "c", "3")];
        let got = pairs(text);
        assert_eq!(got.len(), 3);
        for (got, want) in got.iter().zip(want) {
            assert_eq!((got.0, got.1.as_str(), got.2.as_str()), want);
        }
        // A comment ends with its line, whatever its last character is.
        assert_eq!(one("# x \\\na=1"), kv("a", "1"));
    }

    #[test]
    fn continued_lines() {
        assert_eq!(one("a=b\\\n   c\\\n\td"), kv("a", "bcd"));
        assert_eq!(one("a=b\\\n#c"), kv("a", "b#c"));
        assert_eq!(one("a=b\\\\"), kv("a", "b\\"));
        assert_eq!(one("a=b\\"), kv("a", "b"));
        assert_eq!(pairs("a=b\\\n\nc=d"), vec![(1, "a".into(), "b".into()), (3, "c".into(), "d".into())]);
    }

    #[test]
    fn escapes() {
        assert_eq!(one(r"a=x\ty\nz"), kv("a", "x\ty\nz"));
        assert_eq!(one(r"a=\u0041\u00e9"), kv("a", "Aé"));
        assert_eq!(one(r"a=\ud83d\ude00"), kv("a", "😀"));
        assert_eq!(one(r"a=c:\\data\q"), kv("a", r"c:\dataq"));
        assert_eq!(parse("x=1\ny=\\u12"), Err(BadEscape { line: 2 }));
        assert_eq!(parse("y=\\u12éé"), Err(BadEscape { line: 1 }));
        assert_eq!(parse("y=\\u+123"), Err(BadEscape { line: 1 }));
    }

    #[test]
    fn bytes() {
        assert_eq!(decode("é".as_bytes()), "é");
        assert_eq!(decode(b"\xe9"), "é");
        assert_eq!(decode(b"\xef\xbb\xbfa=b"), "a=b");
    }
}
