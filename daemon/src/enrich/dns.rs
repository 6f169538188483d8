// SPDX-License-Identifier: GPL-3.0-or-later
//! One DNS answer (RFC 1035) to one name and its addresses. Pure; anybody on the network may have
//! written the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};

use crate::model::Bytes;

/// Records read of one answer.
const RECORDS: u16 = 64;
/// Aliases followed one after another; resolvers follow no more either.
const ALIASES: usize = 16;
/// Length of a DNS header, and of the counts in it.
const HEADER: usize = 12;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for, lower case, without a dot at the end: what people know, whatever
    /// aliases lead from it to the addresses.
    pub name: Bytes,
    /// Addresses with their lifetime in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Reads an answer. `None` if it is none, has no addresses for what was asked, or makes no sense.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Answer> {
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
    let named: Vec<(String, &RData<'_>, u32)> =
        packet.answers.iter().map(|record| (record.name.to_string(), &record.rdata, record.ttl)).collect();
    let mut owners = vec![(asked, u32::MAX)];
    for _ in 0..ALIASES {
        let before = owners.len();
        for (owner, rdata, ttl) in &named {
            if let RData::CNAME(alias) = rdata
                && let Some(chain) = lifetime(&owners, owner)
            {
                let alias = alias.0.to_string();
                if lifetime(&owners, &alias).is_none() {
                    owners.push((alias, chain.min(*ttl)));
                }
            }
        }
        if owners.len() == before {
            break;
        }
    }
    let addresses: Vec<(IpAddr, u32)> = named
        .iter()
        .filter_map(|(owner, rdata, ttl)| {
            let address = match rdata {
                RData::A(a) => IpAddr::V4(Ipv4Addr::from(a.address)),
                RData::AAAA(aaaa) => IpAddr::V6(Ipv6Addr::from(aaaa.address)),
                _ => return None,
            };
            let ttl = lifetime(&owners, owner)?.min(*ttl);
            // RFC 2181, section 8: with the highest bit set it means 0.
            Some((address, if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use simple_dns::rdata::{A, AAAA, CNAME, TXT};
    use simple_dns::{CLASS, Name, Question, ResourceRecord};

    use super::*;

    fn record<'a>(owner: &'a str, ttl: u32, rdata: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, ttl, rdata)
    }

    fn a(address: [u8; 4]) -> RData<'static> {
        RData::A(A { address: u32::from_be_bytes(address) })
    }

    fn alias(to: &str) -> RData<'_> {
        RData::CNAME(CNAME(Name::new_unchecked(to)))
    }

    fn packet<'a>(asked: &'a str, kind: TYPE, answers: Vec<ResourceRecord<'a>>) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Question::new(
            Name::new_unchecked(asked),
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.answers = answers;
        packet
    }

    fn bytes(packet: &Packet<'_>) -> Vec<u8> {
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn answer(name: &str, addresses: &[(&str, u32)]) -> Option<Answer> {
        let addresses = addresses.iter().map(|(text, ttl)| (text.parse().unwrap(), *ttl)).collect();
        Some(Answer { name: name.as_bytes().into(), addresses })
    }

    #[test]
    fn the_name_that_was_asked_for_stands_for_all_addresses() {
        let mut asked = packet(
            "WWW.Example.com",
            TYPE::A,
            vec![
                record("edge.cdn.net", 20, a([192, 0, 2, 2])),
                record("www.example.COM", 300, alias("example.cdn.net")),
                record("example.cdn.net", 60, alias("edge.cdn.net")),
                record("edge.cdn.net", 90, a([192, 0, 2, 1])),
                record("other.example", 90, a([198, 51, 100, 1])),
                record("www.example.com", 90, RData::TXT(TXT::new().with_string("x").unwrap())),
            ],
        );
        asked.name_servers.push(record("example.com", 1, a([203, 0, 113, 9])));
        assert_eq!(
            read(&bytes(&asked)),
            answer("www.example.com", &[("192.0.2.2", 20), ("192.0.2.1", 60)]),
            "aliases in any order, the shortest lifetime of a chain, nothing of other names or sections"
        );
    }

    #[test]
    fn version_six() {
        let address = "2001:db8::1".parse::<Ipv6Addr>().unwrap().into();
        let six =
            packet("a.example", TYPE::AAAA, vec![record("a.example", 5, RData::AAAA(AAAA { address }))]);
        assert_eq!(read(&bytes(&six)), answer("a.example", &[("2001:db8::1", 5)]));
    }

    #[test]
    fn a_long_answer_that_was_cut_off_gives_what_is_there() {
        let records = (0..200).map(|n| record("many.example", 9, a([192, 0, 2, n]))).collect();
        let mut whole = bytes(&packet("many.example", TYPE::A, records));
        assert_eq!(read(&whole).unwrap().addresses.len(), usize::from(RECORDS));
        whole.truncate(500);
        assert!(read(&whole).unwrap().addresses.len() >= 10);
    }

    #[test]
    fn what_is_no_answer_is_passed_over() {
        let good = || packet("a.example", TYPE::A, vec![record("a.example", 5, a([192, 0, 2, 1]))]);
        assert!(read(&bytes(&good())).is_some());
        let mut query = good();
        query.remove_flags(PacketFlag::RESPONSE);
        let mut failed = good();
        *failed.rcode_mut() = RCODE::NameError;
        let mut two = good();
        two.questions.push(two.questions[0].clone());
        let mut none = good();
        none.answers.clear();
        let text = packet("a.example", TYPE::TXT, good().answers);
        let reverse = packet("1.2.0.192.in-addr.arpa", TYPE::PTR, vec![record("a", 1, a([1, 1, 1, 1]))]);
        let other = packet("a.example", TYPE::A, vec![record("b.example", 5, a([192, 0, 2, 1]))]);
        for packet in [query, failed, two, none, text, reverse, other] {
            assert_eq!(read(&bytes(&packet)), None, "{packet:?}");
        }
        for payload in [&[][..], &[0; 11], &[0; 12], &[0xff; 512], b"GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(read(payload), None);
        }
    }

    #[test]
    fn n05_only_what_looks_like_a_hostname_is_one() {
        for (raw, name) in [
            (b"Example.COM.".as_slice(), "example.com"),
            (b"_dmarc.a-b.example", "_dmarc.a-b.example"),
            (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
            (b"localhost\0rubbish", "localhost"),
            (b"4chan.example", "4chan.example"),
        ] {
            assert_eq!(hostname(raw).as_deref(), Some(name.as_bytes()), "{raw:?}");
        }
        let long = [b'a'; 254];
        for raw in [
            b"".as_slice(),
            b".",
            b"a..b",
            b".a",
            b"a b",
            b"<b>x</b>.example",
            b"a\n.example",
            b"a\\.b",
            "\u{202e}moc.example".as_bytes(),
            b"\xff",
            b"192.0.2.1",
            b"127.1",
            b"0x7f.0x1",
            b"2130706433",
            b"2001:db8::1",
            b"fe80::1%eth0",
            &long,
            &[b'a'; 64],
        ] {
            assert_eq!(hostname(raw), None, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let circle = vec![
            record("a.example", 5, alias("b.example")),
            record("b.example", 5, alias("a.example")),
            record("b.example", 5, a([192, 0, 2, 1])),
        ];
        assert_eq!(
            read(&bytes(&packet("a.example", TYPE::A, circle))),
            answer("a.example", &[("192.0.2.1", 5)])
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_do_harm(payload in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = read(&payload);
            let _ = hostname(&payload);
        }

        #[test]
        fn no_damage_to_a_good_answer_does_harm(
            damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..12),
            cut in 0..400_usize,
        ) {
            let mut payload = bytes(&packet("www.example.com", TYPE::A, vec![
                record("www.example.com", 300, alias("a.cdn.example")),
                record("a.cdn.example", 60, alias("b.cdn.example")),
                record("b.cdn.example", 20, a([192, 0, 2, 2])),
                record("b.cdn.example", 20, a([192, 0, 2, 3])),
            ]));
            let length = payload.len();
            for (place, byte) in damage {
                payload[place % length] = byte;
            }
            payload.truncate(cut.max(12));
            if let Some(answer) = read(&payload) {
                prop_assert!(hostname(&answer.name).is_some());
                prop_assert!(answer.addresses.len() <= usize::from(RECORDS));
            }
        }
    }
}
