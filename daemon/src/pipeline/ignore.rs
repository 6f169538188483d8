// SPDX-License-Identifier: GPL-3.0-or-later
//! `log.ignore`: which connections are left out of the record. Their programs are not.

use std::collections::HashSet;

use picosnitch_api::query::Network;

use crate::model::{Connection, Hash, NameSource};
use crate::settings;

/// The lists, ready to be asked.
#[derive(Debug, Default)]
pub struct Ignored {
    sha256: HashSet<String>,
    domains: HashSet<Vec<u8>>,
    ports: HashSet<u16>,
    networks: Vec<Network>,
    names: HashSet<Vec<u8>>,
}

impl Ignored {
    /// Takes the lists of the settings.
    #[must_use]
    pub fn new(lists: &settings::Ignore) -> Ignored {
        Ignored {
            sha256: lists.sha256.iter().cloned().collect(),
            domains: lists.domains.iter().map(|domain| domain.as_bytes().to_vec()).collect(),
            ports: lists.ports.iter().copied().collect(),
            networks: lists.networks.clone(),
            names: lists.names.iter().map(|name| name.as_bytes().to_vec()).collect(),
        }
    }

    /// Whether this connection is left out.
    #[must_use]
    pub fn matches(&self, row: &Connection) -> bool {
        let program = &row.who.program;
        row.remote_port.is_some_and(|port| self.ports.contains(&port))
            || self.names.contains(&program.name[..])
            || (!self.sha256.is_empty()
                && matches!(program.hash, Hash::Known(_))
                && program.hash.hex().is_some_and(|hash| self.sha256.contains(&hash)))
            || row.remote.is_some_and(|address| self.networks.iter().any(|network| holds(network, address)))
            // A name that another process was told decides nothing: anybody can have an answer sent to themselves.
            || row.domain.as_ref().is_some_and(|(domain, source)| {
                *source != NameSource::DnsNetns && self.domain(domain)
            })
    }

    /// A domain matches itself and its subdomains, nothing else.
    fn domain(&self, domain: &[u8]) -> bool {
        let domain = domain.to_ascii_lowercase();
        let mut rest = &domain[..];
        loop {
            if self.domains.contains(rest) {
                return true;
            }
            let Some(dot) = rest.iter().position(|byte| *byte == b'.') else { return false };
            rest = &rest[dot + 1..];
        }
    }
}

fn holds(network: &Network, address: std::net::IpAddr) -> bool {
    let same_kind = network.address.is_ipv4() == address.is_ipv4();
    same_kind
        && format!("{address}/{}", network.prefix)
            .parse::<Network>()
            .is_ok_and(|masked| masked.address == network.address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_domain_matches_itself_and_its_subdomains_only() {
        let lists = settings::Ignore { domains: vec!["example.org".into()], ..Default::default() };
        let ignored = Ignored::new(&lists);
        assert!(ignored.domain(b"example.org"));
        assert!(ignored.domain(b"a.b.Example.org"));
        assert!(!ignored.domain(b"notexample.org"));
        assert!(!ignored.domain(b"example.org.evil"));
    }

    #[test]
    fn a_network_holds_its_addresses_only() {
        let network: Network = "192.0.2.0/24".parse().unwrap();
        assert!(holds(&network, "192.0.2.200".parse().unwrap()));
        assert!(!holds(&network, "192.0.3.1".parse().unwrap()));
        assert!(!holds(&network, "::ffff:0:1".parse().unwrap()));
    }
}
