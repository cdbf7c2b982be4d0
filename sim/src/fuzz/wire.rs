//! Bytes as records: what is read is written and read again as the same.

use zebu_core::jute::{Bad, Reader};
use zebu_core::proto::*;

/// The payload of a frame from a client, as a handshake and as a request.
pub fn client_bytes(data: &[u8]) {
    if let Ok(a) = ConnectRequest::decode(&mut Reader::new(data)) {
        let mut out = Vec::new();
        a.encode(&mut out);
        assert_eq!(ConnectRequest::decode(&mut Reader::new(&out)), Ok(a));
    }
    if let Ok(a) = request(data) {
        let (header, record) = &a;
        let mut out = Vec::new();
        header.encode(&mut out);
        record.encode(&mut out);
        assert_eq!(record.op() as i32, header.op);
        assert_eq!(request(&out), Ok(a));
    }
}

fn request(data: &[u8]) -> Result<(RequestHeader, Request), Bad> {
    let mut r = Reader::new(data);
    let header = RequestHeader::decode(&mut r)?;
    let op = OpCode::from_int(header.op).ok_or(Bad::Tag(header.op))?;
    Ok((header, Request::decode(op, &mut r)?))
}

/// The payload of a frame from a server, as every kind of reply and as a watch event.
pub fn server_bytes(data: &[u8]) {
    if let Ok(a) = ConnectResponse::decode(&mut Reader::new(data)) {
        let mut out = Vec::new();
        a.encode(&mut out);
        assert_eq!(ConnectResponse::decode(&mut Reader::new(&out)), Ok(a));
    }
    let mut r = Reader::new(data);
    if ReplyHeader::decode(&mut r).is_err() {
        return;
    }
    if let Ok(a) = WatcherEvent::decode(&mut r.clone()) {
        let mut out = Vec::new();
        a.encode(&mut out);
        assert_eq!(WatcherEvent::decode(&mut Reader::new(&out)), Ok(a));
    }
    for &op in OpCode::ALL {
        if let Ok(a) = Response::decode(op, &mut r.clone()) {
            let mut out = Vec::new();
            a.encode(&mut out);
            assert_eq!(Response::decode(op, &mut Reader::new(&out)), Ok(a));
        }
    }
}

/// A transaction's body, as a log holds it.
pub fn txn(data: &[u8]) {
    if let Ok(a) = LoggedTxn::decode(data) {
        let mut out = Vec::new();
        a.encode(&mut out);
        assert_eq!(LoggedTxn::decode(&out), Ok(a));
    }
}
