// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers that stand for words in the database. Never changed once released.

use crate::model::{Direction, Gap, NameSource, Protocol};

/// Kinds of `word`.
pub(super) mod word {
    pub(in crate::record) const NAME: i64 = 1;
    pub(in crate::record) const UNIT: i64 = 2;
    pub(in crate::record) const CONTAINER: i64 = 3;
    pub(in crate::record) const INTERFACE: i64 = 4;
    pub(in crate::record) const SCRIPT: i64 = 5;
    pub(in crate::record) const PATTERN: i64 = 6;
}

/// Kinds of `fact`.
pub(super) mod fact {
    pub(in crate::record) const NAME: i64 = 1;
    pub(in crate::record) const CONTENT: i64 = 2;
    pub(in crate::record) const PORT: i64 = 3;
    pub(in crate::record) const DOMAIN: i64 = 4;
    pub(in crate::record) const PATTERN: i64 = 5;
}

/// Kinds of `event`.
pub(super) mod event {
    pub(in crate::record) const NEW: i64 = 1;
    pub(in crate::record) const CHANGED: i64 = 2;
    pub(in crate::record) const ERROR: i64 = 3;
    pub(in crate::record) const VERDICT: i64 = 4;
    /// As [`NEW`] and [`CHANGED`], but others ran the same content before: to whoever may see that it is no
    /// news. A [`NEW`] with an old content is a change to whoever sees everybody.
    pub(in crate::record) const NEW_AGAIN: i64 = 5;
    pub(in crate::record) const CHANGED_AGAIN: i64 = 6;
}

/// `peer.direction`; 0 for a program that was only started, as its `peer.netns`.
pub(super) const OUT: i64 = 1;
/// `peer.direction`.
pub(super) const IN: i64 = 2;
/// A port that is not there.
pub(super) const NO_PORT: i64 = -1;

pub(super) fn direction(direction: Direction) -> i64 {
    match direction {
        Direction::Out => OUT,
        Direction::In => IN,
    }
}

pub(super) fn direction_word(number: i64) -> Option<&'static str> {
    match number {
        OUT => Some(Direction::Out.word()),
        IN => Some(Direction::In.word()),
        _ => None,
    }
}

const PACKET: i64 = 1 << 16;
const EXEC: i64 = (1 << 16) + 1;

pub(super) fn protocol(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::Ip(number) => i64::from(number),
        Protocol::Packet => PACKET,
        Protocol::Exec => EXEC,
    }
}

pub(super) fn protocol_word(number: i64) -> String {
    match number {
        PACKET => Protocol::Packet.to_string(),
        EXEC => Protocol::Exec.to_string(),
        _ => Protocol::Ip(u16::try_from(number).unwrap_or(u16::MAX)).to_string(),
    }
}

/// Reads a protocol as rows name it.
pub(super) fn protocol_number(word: &str) -> Option<i64> {
    let named = [1u16, 6, 17, 58, 132, 136, 262].map(Protocol::Ip);
    let named = named.into_iter().chain([Protocol::Packet, Protocol::Exec]);
    named
        .into_iter()
        .find(|known| known.to_string() == word)
        .or_else(|| word.strip_prefix("ip-")?.parse().ok().map(Protocol::Ip))
        .map(protocol)
}

pub(super) fn source(source: NameSource) -> i64 {
    match source {
        NameSource::Getaddrinfo => 1,
        NameSource::Dns => 2,
        NameSource::DnsNetns => 3,
    }
}

pub(super) fn source_word(number: i64) -> Option<&'static str> {
    [NameSource::Getaddrinfo, NameSource::Dns, NameSource::DnsNetns]
        .into_iter()
        .find(|known| source(*known) == number)
        .map(NameSource::word)
}

/// Number of an unknown content: below zero.
pub(super) fn gap(gap: Gap) -> i64 {
    match gap {
        Gap::Pending => -1,
        Gap::Exited => -2,
        Gap::Unreadable => -3,
        Gap::Changing => -4,
        Gap::Kernel => -5,
        Gap::Resources => -6,
    }
}

pub(super) fn gap_word(number: i64) -> Option<&'static str> {
    Gap::ALL.into_iter().find(|known| gap(*known) == number).map(Gap::word)
}
