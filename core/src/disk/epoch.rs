//! The epoch files of a quorum server: decimal text. Answers to `QuorumPeer.readLongFromFile`.

/// Reads the first line. `None`: that is no epoch.
pub(super) fn parse(bytes: &[u8]) -> Option<i64> {
    let line = bytes.split(|b| *b == b'\n').next()?;
    std::str::from_utf8(line).ok()?.trim_end_matches('\r').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        assert_eq!(parse(b"5"), Some(5));
        assert_eq!(parse(b"12\r\nrest"), Some(12));
        assert_eq!(parse(b"-1\n"), Some(-1));
        for bad in [&b""[..], b"\n5", b"five", b" 5", b"99999999999999999999", b"\xff"] {
            assert_eq!(parse(bad), None);
        }
    }
}
