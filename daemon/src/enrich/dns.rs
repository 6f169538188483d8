// SPDX-License-Identifier: GPL-3.0-or-later
//! One DNS answer (RFC 1035) to one name and its addresses. Pure; anybody on the network may have
//! written the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};

use crate::model::Bytes;

/// Records read of one answer.
const RECORDS: u16 = 64;
/// Length of a DNS header, and of the counts in it.
const HEADER: usize = 12;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The name that was asked for, lower case, without a dot at the end: what people know, whatever
    /// aliases lead from it to the addresses.
    pub(super) name: Bytes,
    /// Addresses with their lifetime in seconds.
    pub(super) addresses: Vec<(IpAddr, u32)>,
}

/// Reads an answer. `None` if it is none, has no addresses for what was asked, or makes no sense.
pub(super) fn read(payload: &[u8]) -> Option<Answer> {
    // Only question and answers are wanted: what follows may be cut off, or of kinds nobody knows.
    let mut packet = payload.to_vec();
    let counts = packet.get_mut(4..HEADER)?;
    if counts[..2] != [0, 1] {
        return None;
    }
    let mut records = u16::from_be_bytes([counts[2], counts[3]]).min(RECORDS);
    counts[4..].fill(0);
    // The end of a long answer may be missing, so fewer records are tried.
    while records > 0 {
        packet[6..8].copy_from_slice(&records.to_be_bytes());
        if let Ok(parsed) = Packet::parse(&packet) {
            return interpret(&parsed);
        }
        records /= 2;
    }
    None
}

fn interpret(packet: &Packet<'_>) -> Option<Answer> {
    let question = packet.questions.first()?;
    let asks_address =
        matches!(question.qtype, QTYPE::TYPE(TYPE::A | TYPE::AAAA) | QTYPE::ANY | QTYPE::TYPE(TYPE::HTTPS));
    let internet = matches!(question.qclass, QCLASS::CLASS(simple_dns::CLASS::IN) | QCLASS::ANY);
    if !packet.has_flags(PacketFlag::RESPONSE)
        || packet.rcode() != RCODE::NoError
        || !asks_address
        || !internet
    {
        return None;
    }
    let asked = question.qname.to_string();
    let name = hostname(asked.as_bytes())?;
    // From the question along the aliases; records of other names prove nothing about this one. An
    // alias holds no longer than the shortest of its chain.
    let mut owners = vec![(asked, u32::MAX)];
    for _ in 0..packet.answers.len() {
        let before = owners.len();
        for record in &packet.answers {
            if let RData::CNAME(alias) = &record.rdata
                && let Some(ttl) = lifetime(&owners, &record.name.to_string())
                && lifetime(&owners, &alias.0.to_string()).is_none()
            {
                owners.push((alias.0.to_string(), ttl.min(record.ttl)));
            }
        }
        if owners.len() == before {
            break;
        }
    }
    let addresses: Vec<(IpAddr, u32)> = packet
        .answers
        .iter()
        .filter_map(|record| {
            let address = match &record.rdata {
                RData::A(a) => IpAddr::V4(Ipv4Addr::from(a.address)),
                RData::AAAA(aaaa) => IpAddr::V6(Ipv6Addr::from(aaaa.address)),
                _ => return None,
            };
            let ttl = lifetime(&owners, &record.name.to_string())?.min(record.ttl);
            // RFC 2181, section 8: with the highest bit set it means 0.
            Some((address, if ttl > i32::MAX as u32 { 0 } else { ttl }))
        })
        .collect();
    (!addresses.is_empty()).then_some(Answer { name, addresses })
}

fn lifetime(owners: &[(String, u32)], name: &str) -> Option<u32> {
    owners.iter().find(|(owner, _)| owner.eq_ignore_ascii_case(name)).map(|(_, ttl)| *ttl)
}

/// A name as rows have it, if it looks like one: letters, digits, hyphens, underscores and dots, lower
/// case, no dot at the end, and no address. Anything else may be made to mislead, and is dropped.
pub(super) fn hostname(raw: &[u8]) -> Option<Bytes> {
    let raw = raw.split(|byte| *byte == 0).next()?;
    let raw = raw.strip_suffix(b".").unwrap_or(raw);
    if raw.is_empty() || raw.len() > 253 {
        return None;
    }
    let labels = raw.split(|byte| *byte == b'.');
    for label in labels {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if label.is_empty() || label.len() > 63 || !label.iter().all(plain) {
            return None;
        }
    }
    let text = std::str::from_utf8(raw).ok()?;
    // Also the short and hexadecimal forms that inet_aton(3) takes: their last label is a number.
    let last = text.rsplit('.').next()?;
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!number).then(|| Bytes::from(text.to_ascii_lowercase().into_bytes()))
}
