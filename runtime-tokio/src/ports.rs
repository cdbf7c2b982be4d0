//! Where a server listens: names become addresses, a port that is taken is tried again. Answers to the binding of
//! `QuorumCnxManager.Listener` and `Leader`.

use crate::server::ServeError;
use crate::transport::BoundPort;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;
use tracing::warn;
use zebu_core::addr::Addr;
use zebu_core::boundary::Port;
use zebu_core::quorum::QuorumServer;

/// Pause before a taken port is tried again.
pub(crate) const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Where one of the listeners is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) port: Port,
    /// On each of these; a name may stand for several addresses.
    addrs: Vec<Addr>,
    backlog: i32,
}

impl Place {
    /// For clients. The wildcard takes IPv6 and IPv4.
    pub(crate) fn for_clients(addr: &Addr, backlog: i32) -> Place {
        let addr = if addr.is_wildcard() { everywhere(addr.port) } else { addr.clone() };
        Place { port: Port::Client, addrs: vec![addr], backlog }
    }

    /// For the other members: the election port, then the quorum port, then the port for observers if there is one.
    pub(crate) fn for_members(me: &QuorumServer, master: Option<u16>, on_all_ips: bool) -> Vec<Place> {
        let place = |port, own: Vec<Addr>| {
            let mut addrs = Vec::new();
            for addr in own {
                let addr = if on_all_ips || addr.is_wildcard() { everywhere(addr.port) } else { addr };
                if !addrs.contains(&addr) {
                    addrs.push(addr);
                }
            }
            Place { port, addrs, backlog: -1 }
        };
        let for_observers = |port| me.quorum_addrs().map(|addr| Addr { port, ..addr }).collect();
        let fixed = [
            place(Port::Election, me.election_addrs().collect()),
            place(Port::Quorum, me.quorum_addrs().collect()),
        ];
        let master = master.map(|port| place(Port::ObserverMaster, for_observers(port)));
        fixed.into_iter().chain(master).collect()
    }

    /// Takes all of it. One that is taken is tried again, so many times in all; 0: for ever.
    pub(crate) fn bind(&self, tries: u32) -> Result<Vec<BoundPort>, ServeError> {
        let mut bound: Vec<BoundPort> = Vec::new();
        for addr in &self.addrs {
            let found: BTreeSet<SocketAddr> = match (addr.host.as_str(), addr.port).to_socket_addrs() {
                Ok(found) => found.collect(),
                Err(cause) => return Err(ServeError::OwnHost { addr: addr.clone(), cause }),
            };
            let mut failed = None;
            let before = bound.len();
            // Two of its names may mean the same.
            let new: Vec<SocketAddr> =
                found.into_iter().filter(|a| bound.iter().all(|b| b.addr != *a)).collect();
            for &addr in &new {
                match bind_patiently(addr, self.backlog, tries) {
                    Ok(socket) => bound.push(socket),
                    // localhost may have an IPv6 address that the machine has not.
                    Err(cause) if cause.kind() == io::ErrorKind::AddrNotAvailable => {
                        failed = Some(ServeError::Bind { port: self.port, addr, cause });
                    }
                    Err(cause) => return Err(ServeError::Bind { port: self.port, addr, cause }),
                }
            }
            match failed {
                Some(failed) if bound.len() == before => return Err(failed),
                Some(_) | None => {}
            }
        }
        Ok(bound)
    }
}

fn everywhere(port: u16) -> Addr {
    Addr::new(&Ipv6Addr::UNSPECIFIED.to_string(), port)
}

fn bind_patiently(addr: SocketAddr, backlog: i32, tries: u32) -> io::Result<BoundPort> {
    let mut tried = 1;
    loop {
        match BoundPort::bind(addr, backlog) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && (tries == 0 || tried < tries) => {
                warn!(%addr, "taken; trying again");
                std::thread::sleep(BIND_PAUSE);
                tried += 1;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zebu_core::id::ServerId;
    use zebu_core::quorum::ConfigRules;

    #[test]
    fn names_and_wildcards() {
        let rules = ConfigRules { multi_address: true, ..ConfigRules::default() };
        let me = QuorumServer::parse(ServerId(1), "localhost:0:1|127.0.0.1:0:1", rules).unwrap();
        let places = Place::for_members(&me, Some(0), false);
        assert_eq!(places[2].port, Port::ObserverMaster);
        let bound = places[1].bind(1).unwrap();
        assert!(bound.iter().all(|b| b.addr.ip().is_loopback()) && bound.len() >= 2);
        let places = Place::for_members(&me, None, true);
        assert_eq!(places.len(), 2);
        let bound = places[1].bind(1).unwrap();
        assert_eq!(bound.len(), 1);
        assert!(bound[0].addr.ip().is_unspecified());
        let taken = bound[0].addr.port();
        let _listens = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let again = Place::for_clients(&Addr::new("127.0.0.1", _listens.local_addr().unwrap().port()), -1);
        assert!(matches!(again.bind(1), Err(ServeError::Bind { port: Port::Client, .. })));
        assert!(matches!(
            Place::for_clients(&Addr::new("no-such-host.invalid", taken), -1).bind(1),
            Err(ServeError::OwnHost { .. })
        ));
        let far = Place::for_clients(&Addr::new("192.0.2.1", 0), -1).bind(1).unwrap_err();
        assert!(far.to_string().contains("192.0.2.1:0, the client port: Cannot assign"), "{far}");
    }
}
