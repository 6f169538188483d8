// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of remote addresses, as the programs on this machine asked for them: answers that getaddrinfo
//! gave, and DNS answers seen on the wire. Nobody is ever asked for a name.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::dns;
use crate::model::{Bytes, NameSource};

/// (process, address) pairs remembered.
const BY_PROCESS: usize = 16 * 1024;
/// (namespace, address) pairs remembered.
const BY_NAMESPACE: usize = 16 * 1024;
/// getaddrinfo gives no lifetime: resolvers and programs keep answers about that long.
const GETADDRINFO: Duration = Duration::from_secs(3600);
/// Programs use an address longer than its lifetime says, and cached answers arrive with 0 s left.
const SHORTEST: Duration = Duration::from_secs(300);
/// However long the answer says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A process, as names are kept for it: tgid and start. An exec does not change what it had resolved.
pub type Asker = (u32, u64);

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
            self.names.remove(&oldest);
            self.evicted += 1;
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

/// Names per process and per network namespace.
pub struct Names {
    by_process: Table<(Asker, IpAddr)>,
    by_namespace: Table<(u32, IpAddr)>,
    sequence: u64,
}

impl Default for Names {
    fn default() -> Self {
        Names { by_process: Table::new(BY_PROCESS), by_namespace: Table::new(BY_NAMESPACE), sequence: 0 }
    }
}

impl Names {
    /// A DNS answer arrived in a network namespace, at a socket of `process` if that is known.
    pub fn dns(&mut self, netns: u32, process: Option<Asker>, payload: &[u8], now: Instant) {
        let Some(answer) = dns::read(payload) else { return };
        for (address, ttl) in answer.addresses {
            let until = now + Duration::from_secs(u64::from(ttl)).clamp(SHORTEST, LONGEST);
            self.put(netns, process, address, &answer.name, NameSource::Dns, until, now);
        }
    }

    /// getaddrinfo told a process that `node` has these addresses.
    pub fn resolved(&mut self, netns: u32, process: Asker, node: &[u8], addresses: &[IpAddr], now: Instant) {
        let Some(name) = dns::hostname(node) else { return };
        for address in addresses {
            let until = now + GETADDRINFO;
            self.put(netns, Some(process), *address, &name, NameSource::Getaddrinfo, until, now);
        }
    }

    /// The name of a remote address, and how good it is: the latest that the process asked for, else
    /// the latest that was seen in its network namespace.
    pub fn lookup(
        &mut self,
        netns: u32,
        process: Asker,
        address: IpAddr,
        now: Instant,
    ) -> Option<(Bytes, NameSource)> {
        let address = address.to_canonical();
        if let Some(found) = self.by_process.get(&(process, address), now) {
            return Some(found);
        }
        let (name, _) = self.by_namespace.get(&(netns, address), now)?;
        Some((name, NameSource::DnsNetns))
    }

    /// Names forgotten before their time, for lack of room. Only grows.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.by_process.evicted + self.by_namespace.evicted
    }

    #[allow(clippy::too_many_arguments, reason = "one fact, written into two tables")]
    fn put(
        &mut self,
        netns: u32,
        process: Option<Asker>,
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
        if let Some(process) = process {
            self.by_process.put((process, address), entry(self.sequence), now);
        }
        // What another process asked libc for tells as much of the address as its DNS answer.
        let source = NameSource::DnsNetns;
        self.by_namespace.put((netns, address), Name { source, ..entry(self.sequence) }, now);
    }
}
