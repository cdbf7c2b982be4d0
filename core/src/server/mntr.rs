//! `mntr`: the figures that exporters and dashboards read, by ZooKeeper's names. Only what is measured here is printed.

use super::Base;
use super::words::{VERSION, mode};
use std::fmt::{Display, Write};

pub(super) fn mntr(base: &Base, out: &mut String) {
    let mut put = |key: &str, value: &dyn Display| {
        writeln!(out, "zk_{key}\t{value}").expect("a String takes everything");
    };
    let stats = &base.stats;
    put("version", &VERSION);
    put("server_state", &mode(base.role));
    put("avg_latency", &stats.latency.avg());
    put("min_latency", &stats.latency.min());
    put("max_latency", &stats.latency.max());
    put("packets_received", &stats.received);
    put("packets_sent", &stats.sent);
    put("num_alive_connections", &base.conns.len());
    put("outstanding_requests", &base.waiting);
    put("uptime", &base.now.mono.since(base.started.mono).as_millis());
    put("znode_count", &base.tree.node_count());
    put("watch_count", &base.watches.watch_count());
    let ephemerals: usize = base.tree.sessions_with_ephemerals().map(|(_, n)| n).sum();
    put("ephemerals_count", &ephemerals);
    put("approximate_data_size", &base.tree.approximate_data_size());
    put("global_sessions", &base.sessions.len());
    put("local_sessions", &base.local.len());
    put("open_file_descriptor_count", &stats.open_fds);
    put("max_file_descriptor_count", &stats.max_fds);
    let (last, min, max) = match stats.response_size {
        None => (-1, -1, -1),
        Some((last, min, max)) => (last as i64, min as i64, max as i64),
    };
    put("last_client_response_size", &last);
    put("max_client_response_size", &max);
    put("min_client_response_size", &min);
    put("auth_failed_count", &stats.auth_failed);
    put("connection_request_count", &stats.connects);
    put("connection_rejected", &stats.rejected);
    put("connection_drop_count", &stats.dropped);
    put("connection_revalidate_count", &stats.revalidations);
    put("stale_sessions_expired", &stats.sessions_expired);
    put("bytes_received_count", &stats.bytes_received);
    put("response_bytes", &stats.response_bytes);
    put("commit_count", &stats.commits);
}
