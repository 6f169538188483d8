// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of remote addresses, as the programs on this machine asked for them: answers that getaddrinfo
//! gave, and DNS answers seen on the wire. Nobody is ever asked for a name.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::dns;
use crate::model::{Bytes, NameSource, Owner};

/// (process, address) pairs remembered.
const BY_PROCESS: usize = 16 * 1024;
/// (namespace, owner, address) triples remembered.
const BY_NAMESPACE: usize = 16 * 1024;
/// getaddrinfo gives no lifetime: resolvers and programs keep answers about that long.
const GETADDRINFO: Duration = Duration::from_secs(3600);
/// Programs use an address longer than its lifetime says, and cached answers arrive with 0 s left.
const SHORTEST: Duration = Duration::from_secs(300);
/// However long the answer says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Who asked for a name, or wants to know one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// tgid and start of the process. An exec does not change what it had resolved.
    pub process: (u32, u64),
    /// Network namespace, as in `Flow::network`.
    pub network: u32,
    /// Whose process it is. What people ask for is nobody else's business, and names nobody else's traffic.
    pub owner: Owner,
}

struct Name {
    name: Bytes,
    source: NameSource,
    until: Instant,
    sequence: u64,
}

/// A map that forgets what was written first when it is full.
struct Table<K> {
    names: HashMap<K, Name>,
    order: BTreeMap<u64, K>,
    limit: usize,
    evicted: u64,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(limit: usize) -> Self {
        Table { names: HashMap::new(), order: BTreeMap::new(), limit, evicted: 0 }
    }

    /// The latest wins; the same name again keeps the better source.
    fn put(&mut self, key: K, mut name: Name, now: Instant) {
        if let Some(old) = self.names.get(&key) {
            if old.name == name.name && old.until > now {
                if old.source == NameSource::Getaddrinfo {
                    name.source = old.source;
                }
                name.until = name.until.max(old.until);
            }
            self.order.remove(&old.sequence);
        } else if self.names.len() >= self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            // What has ended by itself is no loss.
            if self.names.remove(&oldest).is_some_and(|old| old.until > now) {
                self.evicted += 1;
            }
        }
        self.order.insert(name.sequence, key);
        self.names.insert(key, name);
    }

    fn get(&mut self, key: &K, now: Instant) -> Option<(Bytes, NameSource)> {
        let found = self.names.get(key)?;
        if found.until > now {
            return Some((found.name.clone(), found.source));
        }
        let sequence = found.sequence;
        self.order.remove(&sequence);
        self.names.remove(key);
        None
    }
}

/// Names per process, and per network namespace and owner.
pub struct Names {
    by_process: Table<((u32, u64), IpAddr)>,
    by_namespace: Table<(u32, Owner, IpAddr)>,
    sequence: u64,
}

impl Default for Names {
    fn default() -> Self {
        Names { by_process: Table::new(BY_PROCESS), by_namespace: Table::new(BY_NAMESPACE), sequence: 0 }
    }
}

impl Names {
    /// A DNS answer arrived at a socket of its asker.
    pub fn dns(&mut self, asker: Asker, payload: &[u8], now: Instant) {
        let Some(answer) = dns::read(payload) else { return };
        for (address, ttl) in answer.addresses {
            let until = now + Duration::from_secs(u64::from(ttl)).clamp(SHORTEST, LONGEST);
            self.put(asker, address, &answer.name, NameSource::Dns, until, now);
        }
    }

    /// getaddrinfo told a process that `node` has these addresses.
    pub fn resolved(&mut self, asker: Asker, node: &[u8], addresses: &[IpAddr], now: Instant) {
        let Some(name) = dns::hostname(node) else { return };
        for address in addresses {
            self.put(asker, *address, &name, NameSource::Getaddrinfo, now + GETADDRINFO, now);
        }
    }

    /// The name of a remote address, and how good it is: the latest that the process asked for, else the latest
    /// that its owner's processes asked for in its network namespace.
    pub fn lookup(&mut self, asker: Asker, address: IpAddr, now: Instant) -> Option<(Bytes, NameSource)> {
        let address = address.to_canonical();
        if let Some(found) = self.by_process.get(&(asker.process, address), now) {
            return Some(found);
        }
        let (name, _) = self.by_namespace.get(&(asker.network, asker.owner, address), now)?;
        Some((name, NameSource::DnsNetns))
    }

    /// Names forgotten before their time, for lack of room. Only grows.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.by_process.evicted + self.by_namespace.evicted
    }

    fn put(
        &mut self,
        asker: Asker,
        address: IpAddr,
        name: &Bytes,
        source: NameSource,
        until: Instant,
        now: Instant,
    ) {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return;
        }
        self.sequence += 1;
        let entry = |sequence| Name { name: name.clone(), source, until, sequence };
        self.by_process.put((asker.process, address), entry(self.sequence), now);
        // What another process asked libc for tells as much of the address as its DNS answer.
        let entry = Name { source: NameSource::DnsNetns, ..entry(self.sequence) };
        self.by_namespace.put((asker.network, asker.owner, address), entry, now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use simple_dns::rdata::{A, RData};
    use simple_dns::{CLASS, Name as DnsName, Packet, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

    use super::*;

    fn answer(asked: &str, address: [u8; 4], ttl: u32) -> Vec<u8> {
        let name = || DnsName::new_unchecked(asked);
        let mut packet = Packet::new_reply(1);
        let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(name(), kind, class, false));
        let rdata = RData::A(A { address: u32::from_be_bytes(address) });
        packet.answers.push(ResourceRecord::new(name(), CLASS::IN, ttl, rdata));
        packet.build_bytes_vec_compressed().unwrap()
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const RAW: [u8; 4] = [192, 0, 2, 1];
    const ME: Asker = Asker { process: (10, 1), network: 1, owner: Owner::Person(1000) };
    const OTHER: Asker = Asker { process: (11, 1), ..ME };
    const THIRD: Asker = Asker { process: (12, 1), ..ME };

    fn found(names: &mut Names, asker: Asker, now: Instant) -> Option<(String, NameSource)> {
        let (name, source) = names.lookup(asker, ADDRESS, now)?;
        Some((String::from_utf8(name.to_vec()).unwrap(), source))
    }

    #[test]
    fn the_process_first_then_its_namespace() {
        let (mut names, now) = (Names::default(), Instant::now());
        assert_eq!(found(&mut names, ME, now), None);
        names.dns(OTHER, &answer("other.example", RAW, 60), now);
        assert_eq!(found(&mut names, ME, now), Some(("other.example".into(), NameSource::DnsNetns)));
        let elsewhere = Asker { network: 2, ..ME };
        assert_eq!(found(&mut names, elsewhere, now), None, "another network namespace is another network");
        names.dns(ME, &answer("mine.example", RAW, 60), now);
        names.dns(THIRD, &answer("latest.example", RAW, 60), now);
        assert_eq!(found(&mut names, ME, now), Some(("mine.example".into(), NameSource::Dns)));
        assert_eq!(found(&mut names, OTHER, now), Some(("other.example".into(), NameSource::Dns)));
        let fourth = Asker { process: (13, 1), ..ME };
        assert_eq!(found(&mut names, fourth, now), Some(("latest.example".into(), NameSource::DnsNetns)));
        let again = Asker { process: (10, 2), ..ME };
        assert_eq!(found(&mut names, again, now).unwrap().1, NameSource::DnsNetns, "a pid used again");
    }

    #[test]
    fn what_somebody_asks_for_names_nobody_elses_traffic() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.dns(ME, &answer("mine.example", RAW, 60), now);
        names.resolved(ME, b"mine.example", &[ADDRESS], now);
        for owner in [Owner::Person(1001), Owner::System] {
            assert_eq!(found(&mut names, Asker { owner, ..OTHER }, now), None, "{owner:?}");
        }
        assert!(found(&mut names, OTHER, now).is_some());
    }

    #[test]
    fn what_the_process_asked_libc_for_is_the_best() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.dns(ME, &answer("intranet.corp.example", RAW, 60), now);
        names.resolved(ME, b"intranet\0", &["::ffff:192.0.2.1".parse().unwrap()], now);
        assert_eq!(found(&mut names, ME, now), Some(("intranet".into(), NameSource::Getaddrinfo)));
        names.resolved(ME, b"192.0.2.1", &[ADDRESS], now);
        assert_eq!(found(&mut names, ME, now).unwrap().0, "intranet", "an address is no name");
        names.dns(ME, &answer("intranet", RAW, 60), now);
        assert_eq!(found(&mut names, ME, now), Some(("intranet".into(), NameSource::Getaddrinfo)));
        names.dns(ME, &answer("later.example", RAW, 60), now);
        assert_eq!(found(&mut names, ME, now), Some(("later.example".into(), NameSource::Dns)));
    }

    #[test]
    fn names_have_a_lifetime() {
        let (mut names, now) = (Names::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        names.dns(ME, &answer("short.example", RAW, 0), now);
        assert!(found(&mut names, ME, at(299)).is_some(), "a floor");
        assert_eq!(found(&mut names, ME, at(300)), None);
        names.dns(ME, &answer("long.example", RAW, 0x7fff_ffff), now);
        assert!(found(&mut names, ME, at(86_399)).is_some());
        assert_eq!(found(&mut names, ME, at(86_400)), None, "a ceiling");
    }

    #[test]
    fn names_are_bounded_and_the_oldest_go() {
        let (mut names, now) = (Names::default(), Instant::now());
        for number in 0..50_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            names.resolved(ME, b"a.example", &[address], now);
            names.resolved(ME, b"b.example", &[address], now);
        }
        assert_eq!(names.by_process.names.len(), BY_PROCESS);
        assert_eq!(names.by_process.order.len(), BY_PROCESS);
        assert_eq!(names.by_namespace.order.len(), BY_NAMESPACE);
        assert!(names.lookup(ME, IpAddr::from(49_999_u32.to_be_bytes()), now).is_some());
        assert!(names.lookup(ME, IpAddr::from(1_u32.to_be_bytes()), now).is_none());
        assert_eq!(names.evicted(), 2 * (49_999 - BY_PROCESS as u64), "0.0.0.0 is nobody's address");
    }
}
