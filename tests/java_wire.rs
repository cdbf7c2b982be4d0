//! Every frame that a real client and a real 3.9.3 server exchanged in `traces/java/client` is read by the records of
//! `zebu_core::proto` and written back to the same bytes; every cut and every flipped byte of it is read without a
//! panic. Knows the records only: what a server answers is `java_replies.rs`'s business.

use std::collections::BTreeMap;
use zebu_core::jute::{Bad, Reader};
use zebu_core::proto::*;
use zebu_tests::capture::{self, Exchange};

/// What a frame turned out to be: its name for the count, and its bytes written back.
type Read = Result<(&'static str, Vec<u8>), Bad>;
/// A frame and what reads it.
type Frame = (Vec<u8>, Box<dyn Fn(&[u8]) -> Read>);

fn connect_request(bytes: &[u8]) -> Read {
    let mut out = Vec::new();
    ConnectRequest::decode(&mut Reader::new(bytes))?.encode(&mut out);
    Ok(("connect request", out))
}

fn connect_response(bytes: &[u8]) -> Read {
    let mut out = Vec::new();
    ConnectResponse::decode(&mut Reader::new(bytes))?.encode(&mut out);
    Ok(("connect response", out))
}

fn notification(bytes: &[u8]) -> Read {
    let (mut r, mut out) = (Reader::new(bytes), Vec::new());
    ReplyHeader::decode(&mut r)?.encode(&mut out);
    WatcherEvent::decode(&mut r)?.encode(&mut out);
    Ok(("notification", out))
}

/// A request, its record only if its operation is one of a client.
fn request(bytes: &[u8]) -> Read {
    let (mut r, mut out) = (Reader::new(bytes), Vec::new());
    let header = RequestHeader::decode(&mut r)?;
    header.encode(&mut out);
    let Some(op) = OpCode::from_int(header.op) else { return Ok(("request of an unknown operation", out)) };
    Request::decode(op, &mut r)?.encode(&mut out);
    Ok(("request", out))
}

/// The reply to the operation that `asked` begins with.
fn response(asked: &[u8], bytes: &[u8]) -> Read {
    let (mut r, mut out) = (Reader::new(bytes), Vec::new());
    let header = ReplyHeader::decode(&mut r)?;
    header.encode(&mut out);
    if header.err != 0 {
        return ErrorCode::from_code(header.err).map(|_| ("error reply", out)).ok_or(Bad::Tag(header.err));
    }
    let op = OpCode::from_int(RequestHeader::decode(&mut Reader::new(asked))?.op)
        .expect("a success has an operation");
    Response::decode(op, &mut r)?.encode(&mut out);
    Ok(("reply", out))
}

fn java_could_not_read(x: &Exchange) -> bool {
    let reply = x.response.as_deref().unwrap_or_default();
    ReplyHeader::decode(&mut Reader::new(reply)).is_ok_and(|h| h.err == ErrorCode::MarshallingError.code())
}

/// Frames of one exchange with their readers. `raw` exchanges are no frames.
fn frames(x: &Exchange) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    let (asked, got) = (x.request.clone(), x.response.clone());
    match x.op.as_str() {
        "raw" => {}
        "notification" if asked.is_none() => out.extend(got.map(|b| (b, Box::new(notification) as _))),
        "connect" => {
            out.extend(asked.map(|b| (b, Box::new(connect_request) as _)));
            // A read-only server answers a handshake that it must refuse with a reply header.
            if !x.note.contains("instead of a ConnectResponse") {
                out.extend(got.map(|b| (b, Box::new(connect_response) as _)));
            }
        }
        // A server of 3.9 answers this one with a ConnectResponse that lacks the last byte.
        "createSession" => out.extend(got.map(|b| (b, Box::new(connect_response) as _))),
        _ => {
            let asked = asked.expect("an operation has a request");
            out.push((asked.clone(), Box::new(request)));
            out.extend(got.map(|b| (b, Box::new(move |b: &[u8]| response(&asked, b)) as _)));
        }
    }
    out
}

#[test]
fn every_captured_frame_is_read_and_written_back() {
    let (mut count, mut refused) = (BTreeMap::new(), Vec::new());
    for x in capture::all().expect("captures").into_iter().flat_map(|(_, v)| v) {
        for (i, (bytes, read)) in frames(&x).into_iter().enumerate() {
            match read(&bytes) {
                Ok((what, back)) => {
                    assert!(
                        what != "request" || !java_could_not_read(&x),
                        "{}: Java could not read it",
                        x.at
                    );
                    // Java ignores what follows a complete request, and ends a failed multi's reply with an empty list.
                    let rest = match (what, x.note.as_str()) {
                        ("request", "trailing bytes after a complete request") => &b"extra"[..],
                        ("error reply", _) if x.op == "multiRead" || x.op == "multi" => &bytes[back.len()..],
                        _ => b"",
                    };
                    assert_eq!(
                        hex(&bytes),
                        hex(&[&back, rest].concat()),
                        "{} frame {i}: {what} of {}",
                        x.at,
                        x.op
                    );
                    *count.entry(what).or_insert(0) += 1;
                }
                Err(_) if i == 0 && java_could_not_read(&x) => {
                    refused.push(format!("{} {}", x.op, x.note));
                }
                Err(bad) => panic!("{} frame {i} of {}: {bad}", x.at, x.op),
            }
        }
    }
    println!("{count:?}; refused as by Java: {}", refused.len());
    assert!(count["request"] > 250 && count["reply"] > 100 && count["notification"] > 25, "{count:?}");
    assert_eq!(refused.len(), 11, "{refused:#?}");
}

/// A cut frame is an error, unless what is missing may be missing: the read-only byte.
#[test]
fn every_cut_is_an_error() {
    for x in capture::all().expect("captures").into_iter().flat_map(|(_, v)| v) {
        for (bytes, read) in frames(&x) {
            let Ok((what, back)) = read(&bytes) else { continue };
            for n in 0..back.len() {
                let cut = read(&back[..n]);
                let optional = what.starts_with("connect") && n + 1 == back.len();
                if !optional {
                    assert!(cut.is_err(), "{}: {what} of {} cut at {n} is read as {cut:?}", x.at, x.op);
                }
            }
        }
    }
}

/// No flipped byte makes a reader panic, or makes it claim more than there is.
#[test]
fn every_flipped_byte_is_survived() {
    for x in capture::all().expect("captures").into_iter().flat_map(|(_, v)| v) {
        for (bytes, read) in frames(&x) {
            for n in 0..bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut b = bytes.clone();
                    b[n] ^= flip;
                    if let Ok((_, back)) = read(&b) {
                        // Text that is not UTF-8 any more grows, by its replacement characters.
                        assert!(back.len() <= 3 * b.len() + 4, "{} byte {n}", x.at);
                    }
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
