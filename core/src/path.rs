//! Paths of znodes: what is a valid one, its parts, its place in a depth-first walk. Answers to `PathUtils`. Knows no tree.

use std::cmp::Ordering;
use std::fmt;

/// Why a path is refused. Positions count UTF-16 units, as Java does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadPath {
    /// No characters at all.
    Empty,
    /// The first character is not '/'.
    NotAbsolute,
    /// The last one is, and it is not the root.
    TrailingSlash,
    /// Two slashes in a row.
    EmptyName(Place),
    /// A component "." or "..".
    Relative(Place),
    /// A control character, a surrogate, a private or special one.
    Invalid(Place),
    /// U+0000.
    Nul(Place),
}

/// Where in which path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The whole path.
    pub path: String,
    /// Index of the UTF-16 unit.
    pub at: usize,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, cause) = match self {
            BadPath::Empty => return f.write_str("Path length must be > 0"),
            BadPath::NotAbsolute => return f.write_str("Path must start with / character"),
            BadPath::TrailingSlash => return f.write_str("Path must not end with / character"),
            BadPath::EmptyName(p) => (p, "empty node name specified"),
            BadPath::Relative(p) => (p, "relative paths not allowed"),
            BadPath::Invalid(p) => (p, "invalid character"),
            BadPath::Nul(p) => (p, "null character not allowed"),
        };
        write!(f, "Invalid path string \"{}\" caused by {cause} @{}", place.path, place.at)
    }
}
impl std::error::Error for BadPath {}

/// Checks a path that a client names.
pub fn validate(path: &str) -> Result<(), BadPath> {
    let bytes = path.as_bytes();
    match bytes {
        [] => return Err(BadPath::Empty),
        [b'/'] => return Ok(()),
        [b'/', .., b'/'] => return Err(BadPath::TrailingSlash),
        [b'/', ..] => {}
        [..] => return Err(BadPath::NotAbsolute),
    }
    let bad = |kind: fn(Place) -> BadPath, byte: usize| {
        let at = path[..byte].encode_utf16().count();
        Err(kind(Place { path: path.to_owned(), at }))
    };
    for (i, c) in path.char_indices().skip(1) {
        match c {
            '\0' => return bad(BadPath::Nul, i),
            '/' if bytes[i - 1] == b'/' => return bad(BadPath::EmptyName, i),
            '.' if matches!(bytes.get(i + 1), None | Some(b'/')) => {
                // The name ends here; it is one of the two if it is nothing but this dot, or this one and another.
                let name = &bytes[..i];
                if name.ends_with(b"/") || name.ends_with(b"/.") {
                    return bad(BadPath::Relative, i);
                }
            }
            // Above U+FFFF there are surrogates in UTF-16.
            '\u{1}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{10000}'.. => return bad(BadPath::Invalid, i),
            _ => {}
        }
    }
    Ok(())
}

/// The parent: of "/a/b" "/a", of "/a" "/". `None` for "/" and for text without '/'.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        i => Some(&path[..i]),
    }
}

/// What follows the last '/'.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Order of a depth-first walk with sorted siblings: '/' comes before every other character, and a path before all below it.
pub fn cmp(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    match a.iter().zip(b).position(|(x, y)| x != y) {
        None => a.len().cmp(&b.len()),
        Some(i) => match (a[i], b[i]) {
            (b'/', _) => Ordering::Less,
            (_, b'/') => Ordering::Greater,
            (x, y) => x.cmp(&y),
        },
    }
}

/// The nodes that are always there and cannot be deleted.
pub fn special(path: &str) -> bool {
    matches!(path, "" | "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_in_javas_words() {
        for (path, text) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            ("//", "Path must not end with / character"),
            ("/a//b", "Invalid path string \"/a//b\" caused by empty node name specified @3"),
            ("/.", "Invalid path string \"/.\" caused by relative paths not allowed @1"),
            ("/a/./b", "Invalid path string \"/a/./b\" caused by relative paths not allowed @3"),
            ("/a/..", "Invalid path string \"/a/..\" caused by relative paths not allowed @4"),
            ("/../a", "Invalid path string \"/../a\" caused by relative paths not allowed @2"),
            ("/a\0", "Invalid path string \"/a\0\" caused by null character not allowed @2"),
            ("/é\u{1f}", "Invalid path string \"/é\u{1f}\" caused by invalid character @2"),
            ("/é🦓", "Invalid path string \"/é🦓\" caused by invalid character @2"),
        ] {
            assert_eq!(validate(path).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_edges_of_what_is_allowed() {
        for c in ['\u{20}', '\u{7e}', '\u{a0}', '\u{d7ff}', '\u{f900}', '\u{ffef}'] {
            assert_eq!(validate(&format!("/{c}")), Ok(()), "{c:?}");
        }
        for c in [
            '\u{1}',
            '\u{1f}',
            '\u{7f}',
            '\u{9f}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{fff0}',
            '\u{ffff}',
            '\u{10000}',
        ] {
            assert!(matches!(validate(&format!("/{c}")), Err(BadPath::Invalid(_))), "{c:?}");
        }
        for path in ["/", "/...", "/.x", "/x.", "/..x/a", "/a/x..", "/a/.../b"] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(
            ["/a/b", "/a", "/", "", "a", "a/b", "/a/"].map(parent),
            [Some("/a"), Some("/"), None, None, None, Some("a"), Some("/a")]
        );
        assert_eq!(["/a/b", "/a", "/", "a"].map(name), ["b", "a", "", "a"]);
    }

    proptest! {
        /// The order is that of the lists of names.
        #[test]
        fn walk_order(a in "(/[!-0aé]{1,2}){0,4}", b in "(/[!-0aé]{1,2}){0,4}") {
            let names = |p: &str| p.split('/').map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(cmp(&a, &b), names(&a).cmp(&names(&b)));
        }
    }
}
