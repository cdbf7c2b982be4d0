//! Every packet that real 3.9.3 servers exchanged in `traces/java/quorum` is read by the records of `zebu_core::proto` and
//! written back to the same bytes; every cut and every flipped byte of it is read without a panic. Knows the records and
//! the configuration only: who answers what is the business of others.

use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use zebu_core::jute::{Reader, Write};
use zebu_core::proto::*;
use zebu_core::quorum::{ConfigRules, QuorumVerifier};
use zebu_tests::quorum_capture::{self, Kind, Packet};

/// Longest packet that is read here.
const MAX: usize = 1 << 20;

/// Reads a packet and writes it back. The error is a text: there are several types.
fn back(p: &Packet, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let fault = |e: &dyn std::fmt::Debug| format!("{e:?}");
    if p.name() == "SASL" {
        let mut out = Vec::new();
        let mut r = Reader::new(bytes);
        QuorumAuthPacket::decode(&mut r).map_err(|e| fault(&e))?.encode(&mut out);
        return Ok(out);
    }
    if p.name() == "SNAPSHOT-STREAM" {
        return snapshot_back(bytes, bytes.len().max(1));
    }
    let mut out = Vec::new();
    match p.kind {
        Kind::Election if p.name() == "INITIAL" => {
            let message = InitialMessage::decode(bytes).map_err(|e| fault(&e))?;
            message.ok_or("short")?.0.encode(&mut out);
        }
        Kind::Election => {
            let mut buf = BytesMut::from(bytes);
            let frame = take_notification_frame(&mut buf).map_err(|e| fault(&e))?.ok_or("short")?;
            let notification = Notification::decode(&frame).map_err(|e| fault(&e))?;
            out.int(frame.len() as i32);
            notification.encode(&mut out);
        }
        Kind::Quorum | Kind::ObserverMaster => {
            let mut reader = PacketReader::new(MAX);
            reader.feed(bytes);
            let packet = reader.next_packet().map_err(|e| fault(&e))?.ok_or("short")?;
            typed(p, packet)?.encode(&mut out);
        }
    }
    Ok(out)
}

/// Through the typed form, and what it carries through that, too.
fn typed(p: &Packet, packet: QuorumPacket) -> Result<QuorumPacket, String> {
    let fault = |e: &dyn std::fmt::Debug| format!("{e:?}");
    if p.from_learner {
        return Ok(FromLearner::decode(packet).map_err(|e| fault(&e))?.into_packet());
    }
    let said = FromLeader::decode(packet).map_err(|e| fault(&e))?;
    match &said {
        FromLeader::Proposal { txn, .. }
        | FromLeader::Inform { txn, .. }
        | FromLeader::InformAndActivate { txn, .. } => {
            LoggedTxn::decode(txn).map_err(|e| fault(&e))?;
        }
        FromLeader::LeaderInfo { .. }
        | FromLeader::Diff { .. }
        | FromLeader::Trunc { .. }
        | FromLeader::Snap { .. }
        | FromLeader::NewLeader { .. }
        | FromLeader::UpToDate
        | FromLeader::Commit { .. }
        | FromLeader::CommitAndActivate { .. }
        | FromLeader::Ping { .. }
        | FromLeader::Revalidate { .. }
        | FromLeader::Sync => {}
    }
    Ok(said.into_packet())
}

fn snapshot_back(bytes: &[u8], step: usize) -> Result<Vec<u8>, String> {
    let mut reader = SnapshotReader::new(BytesMut::new(), MAX);
    let (mut sessions, mut acls, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let mut parts = bytes.chunks(step);
    loop {
        match reader.next_part().map_err(|e| e.to_string())? {
            SnapshotPart::Wait => reader.feed(parts.next().ok_or("short")?),
            SnapshotPart::End => break,
            SnapshotPart::Record(r @ SnapshotRecord::Session { .. }) => sessions.push(r),
            SnapshotPart::Record(r @ SnapshotRecord::AclEntry { .. }) => acls.push(r),
            SnapshotPart::Record(r @ SnapshotRecord::Node { .. }) => nodes.push(r),
        }
    }
    let mut out = Vec::new();
    for counted in [&sessions, &acls] {
        out.count(counted.len());
        counted.iter().for_each(|r| r.encode(&mut out));
    }
    nodes.iter().for_each(|r| r.encode(&mut out));
    encode_snapshot_end(&mut out);
    Ok(out)
}

fn packets() -> Vec<Packet> {
    quorum_capture::all().expect("captures")
}

#[test]
fn every_captured_packet_is_read_and_written_back() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for p in packets() {
        let got = back(&p, &p.bytes).unwrap_or_else(|e| panic!("{}: {}: {e}", p.at, p.decoded));
        assert_eq!(hex(&p.bytes), hex(&got), "{}: {}", p.at, p.decoded);
        *count.entry(p.name().to_owned()).or_default() += 1;
    }
    println!("{count:?}");
    assert_eq!(count.values().sum::<usize>(), 2819);
    // All nineteen types, the snapshots, SASL, and the two of the election port.
    assert_eq!(count.len(), 23, "{count:?}");
}

/// The direction of a connection as one stream, in pieces of any size: packets, and snapshots between them.
#[test]
fn whole_streams_are_cut_into_the_same_packets() {
    let mut streams: BTreeMap<(String, u64, bool), Vec<Packet>> = BTreeMap::new();
    for p in packets().into_iter().filter(|p| p.kind != Kind::Election && p.name() != "SASL") {
        let file = p.at.split(':').next().expect("a name").to_owned();
        streams.entry((file, p.conn, p.from_learner)).or_default().push(p);
    }
    assert!(streams.len() > 60, "{}", streams.len());
    for packets in streams.values() {
        let bytes: Vec<u8> = packets.iter().flat_map(|p| p.bytes.clone()).collect();
        for step in [1, 7, 1000] {
            assert_eq!(names(&bytes, step), packets.iter().map(Packet::name).map(plain).collect::<Vec<_>>());
        }
    }
}

/// Without what the recorder's names and ours spell differently.
fn plain(name: &str) -> String {
    name.replace(['_', '-'], "").to_uppercase()
}

fn names(bytes: &[u8], step: usize) -> Vec<String> {
    enum Stream {
        Packets(PacketReader),
        Snapshot(SnapshotReader),
    }
    let mut stream = Stream::Packets(PacketReader::new(MAX));
    let mut out = Vec::new();
    for part in bytes.chunks(step) {
        match &mut stream {
            Stream::Packets(r) => r.feed(part),
            Stream::Snapshot(r) => r.feed(part),
        }
        loop {
            match &mut stream {
                Stream::Packets(r) => match r.next_packet().expect("a packet") {
                    None => break,
                    Some(p) => {
                        out.push(plain(&format!("{:?}", p.kind)));
                        if p.kind == PacketType::Snap {
                            stream = Stream::Snapshot(SnapshotReader::new(r.take_rest(), MAX));
                        }
                    }
                },
                Stream::Snapshot(r) => match r.next_part().expect("a record") {
                    SnapshotPart::Wait => break,
                    SnapshotPart::Record(_) => {}
                    SnapshotPart::End => {
                        out.push(plain("SNAPSHOT-STREAM"));
                        let mut packets = PacketReader::new(MAX);
                        packets.feed(&r.take_rest());
                        stream = Stream::Packets(packets);
                    }
                },
            }
        }
    }
    out
}

/// A cut packet is unfinished or an error, never something else.
#[test]
fn every_cut_is_noticed() {
    for p in packets() {
        let step = if p.bytes.len() > 400 { 13 } else { 1 };
        for n in (0..p.bytes.len()).step_by(step) {
            assert!(back(&p, &p.bytes[..n]).is_err(), "{} cut at {n}: {}", p.at, p.decoded);
        }
    }
}

/// No flipped byte makes a reader panic, or makes it claim more than there is.
#[test]
fn every_flipped_byte_is_survived() {
    for p in packets() {
        let step = if p.bytes.len() > 200 { 5 } else { 1 };
        for n in (0..p.bytes.len()).step_by(step) {
            for flip in [0x01, 0x80, 0xff] {
                let mut b = p.bytes.clone();
                b[n] ^= flip;
                if let Ok(back) = back(&p, &b) {
                    // Text that is not UTF-8 any more grows, by its replacement characters.
                    assert!(back.len() <= 3 * b.len() + 8, "{} byte {n}", p.at);
                }
            }
        }
    }
}

/// Notifications keep their payload as it is, whoever cuts it.
#[test]
fn a_notification_of_every_accepted_length_comes_from_a_real_one() {
    let p = packets().into_iter().find(|p| p.name() == "NOTIFICATION").expect("one");
    for (len, version, accepted) in
        [(27, 2, false), (28, 2, true), (36, 2, false), (40, 2, true), (44, 1, true)]
    {
        let mut bytes = p.bytes[4..4 + len].to_vec();
        if len == 44 {
            bytes[36..40].copy_from_slice(&i32::to_be_bytes(version));
        }
        assert_eq!(Notification::decode(&Bytes::from(bytes)).is_ok(), accepted, "{len}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The configurations that crossed the wire are read and written to the same text.
#[test]
fn configurations_are_read_and_written_back() {
    let rules = ConfigRules { multi_address: true, ..ConfigRules::default() };
    let mut seen = std::collections::BTreeSet::new();
    for p in packets() {
        let text = match p.name() {
            "NOTIFICATION" => {
                Notification::decode(&Bytes::from(p.bytes[4..].to_vec())).expect("read before").config
            }
            "NEWLEADER" => {
                let mut reader = PacketReader::new(MAX);
                reader.feed(&p.bytes);
                reader.next_packet().expect("read before").expect("whole").data
            }
            _ => None,
        };
        let Some(text) = text else { continue };
        let text = std::str::from_utf8(&text).expect("text");
        let config = QuorumVerifier::parse(text, rules).unwrap_or_else(|e| panic!("{}: {e}", p.at));
        assert_eq!(config.to_string(), text, "{}", p.at);
        seen.insert(text.to_owned());
    }
    assert!(seen.len() >= 8, "{seen:?}");
    assert!(seen.iter().any(|t| t.contains("weight.3=0")) && seen.iter().any(|t| t.contains('|')));
}
