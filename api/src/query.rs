// SPDX-License-Identifier: GPL-3.0-or-later
//! Filters of the query methods: the `a{sv} query` argument, checked and typed.

use std::collections::HashMap;
use std::net::IpAddr;

use zbus::zvariant::{OwnedValue, Value};

use crate::Error;

/// Rows in one page at the most.
pub const MAX_PAGE: u32 = 1000;
/// Rows in one page if `limit` is not given.
pub const DEFAULT_PAGE: u32 = 100;
/// Longest text accepted for any filter value, in bytes (a path may be `PATH_MAX` long).
pub const MAX_TEXT: usize = 8192;

/// Whose rows are wanted. What the caller may see is decided apart from it; asking for more than
/// that is answered with what is allowed and the number of rows that were hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Rows of the caller's own uid.
    Own,
    /// Own rows and those of accounts that are nobody's login.
    #[default]
    System,
    /// Everybody's.
    Any,
}

/// An address or a network: `192.0.2.0/24`, `2001:db8::/32`, `203.0.113.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Address with the host bits cleared.
    pub address: IpAddr,
    /// Prefix length in bits: ≤ 32 or ≤ 128.
    pub prefix: u8,
}

/// What the history can be grouped and filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Executable (row id of path and mount root), shown as its path.
    Path,
    /// Name of the process (its leader's `comm`).
    Name,
    /// Content of the executable.
    Sha256,
    /// Command line.
    Cmdline,
    /// Path of the parent's executable.
    Parent,
    /// Path of the grandparent's executable.
    Grandparent,
    /// Real uid, decimal.
    Uid,
    /// Domain name, as the program asked for it.
    Domain,
    /// Remote address.
    Address,
    /// Local port.
    LocalPort,
    /// Remote port.
    RemotePort,
    /// `tcp`, `udp`, `icmp`, …
    Protocol,
    /// `in`, `out`.
    Direction,
    /// Network namespace (inode number).
    Netns,
    /// systemd unit.
    Unit,
    /// Container.
    Container,
}

impl Dimension {
    /// All of them with their word in queries, rows, `--by` and exports.
    pub const ALL: [(Dimension, &'static str); 16] = [
        (Dimension::Path, "path"),
        (Dimension::Name, "name"),
        (Dimension::Sha256, "sha256"),
        (Dimension::Cmdline, "cmdline"),
        (Dimension::Parent, "parent"),
        (Dimension::Grandparent, "grandparent"),
        (Dimension::Uid, "uid"),
        (Dimension::Domain, "domain"),
        (Dimension::Address, "address"),
        (Dimension::LocalPort, "local-port"),
        (Dimension::RemotePort, "remote-port"),
        (Dimension::Protocol, "protocol"),
        (Dimension::Direction, "direction"),
        (Dimension::Netns, "netns"),
        (Dimension::Unit, "unit"),
        (Dimension::Container, "container"),
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(dimension, _)| *dimension == self).map_or("", |(_, word)| word)
    }
}

impl std::str::FromStr for Dimension {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(dimension, _)| *dimension).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(_, word)| *word).collect();
            Error::InvalidQuery(format!("no dimension {word:?}; there are {}", known.join(", ")))
        })
    }
}

/// A checked query. Every filter is optional; filters of different keys must all hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Earliest time, µs since the epoch, inclusive.
    pub since: Option<i64>,
    /// Latest time, µs since the epoch, exclusive.
    pub until: Option<i64>,
    /// Whose rows.
    pub scope: Option<Scope>,
    /// One executable, as [`crate::row::Executable::id`]. A path may be that of several: of the host, and of containers.
    pub executable: Option<i64>,
    /// Exact path of the executable.
    pub path: Option<String>,
    /// Exact name of the process.
    pub name: Option<String>,
    /// Content of the executable, 64 hexadecimal digits, lower case.
    pub sha256: Option<String>,
    /// Part of the command line.
    pub cmdline: Option<String>,
    /// Exact path of the parent's executable.
    pub parent: Option<String>,
    /// Exact path of the grandparent's executable.
    pub grandparent: Option<String>,
    /// Real uid.
    pub uid: Option<u32>,
    /// The domain and its subdomains.
    pub domain: Option<String>,
    /// Remote network.
    pub address: Option<Network>,
    /// Local port.
    pub local_port: Option<u16>,
    /// Remote port.
    pub remote_port: Option<u16>,
    /// Protocol word.
    pub protocol: Option<String>,
    /// `in` or `out`.
    pub direction: Option<String>,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// Free words: part of path, name, domain, address or command line.
    pub search: Option<String>,
    /// Field to sort by; each method says which ones it takes.
    pub sort: Option<String>,
    /// Largest or newest first. Default true.
    pub descending: Option<bool>,
    /// Rows wanted, 1 to [`MAX_PAGE`].
    pub limit: Option<u32>,
    /// Continue after the page that gave this cursor.
    pub cursor: Option<String>,
}

/// The wire form of a query.
pub type Dict = HashMap<String, OwnedValue>;

fn bad(key: &str, wants: &str) -> Error {
    Error::InvalidQuery(format!("{key} wants {wants}"))
}

fn text(key: &str, value: &Value<'_>) -> Result<String, Error> {
    match value {
        Value::Str(text) if text.len() <= MAX_TEXT => Ok(text.to_string()),
        Value::Str(_) => Err(bad(key, &format!("at most {MAX_TEXT} bytes"))),
        _ => Err(bad(key, "a text")),
    }
}

fn integer(key: &str, value: &Value<'_>) -> Result<i64, Error> {
    Ok(match value {
        Value::U8(n) => i64::from(*n),
        Value::I16(n) => i64::from(*n),
        Value::U16(n) => i64::from(*n),
        Value::I32(n) => i64::from(*n),
        Value::U32(n) => i64::from(*n),
        Value::I64(n) => *n,
        Value::U64(n) => i64::try_from(*n).map_err(|_| bad(key, "a smaller number"))?,
        Value::Str(text) => text.parse().map_err(|_| bad(key, "a whole number"))?,
        _ => return Err(bad(key, "a whole number")),
    })
}

fn number<N: TryFrom<i64>>(key: &str, value: &Value<'_>) -> Result<N, Error> {
    N::try_from(integer(key, value)?).map_err(|_| bad(key, "a number in its range"))
}

/// Times are µs since the epoch or text: `-90s`, `-15m`, `-24h`, `-7d`, `-2w` before now, `now`.
fn time(key: &str, value: &Value<'_>, now: i64) -> Result<i64, Error> {
    let Value::Str(text) = value else { return integer(key, value) };
    parse_time(text, now).ok_or_else(|| bad(key, "µs since the epoch, or like -24h, -7d, now"))
}

/// Reads a time as a person or a script writes it; `now` in µs since the epoch.
///
/// Accepted: `now`, `-N` followed by `s m h d w` or `y` (365 days), or µs since the epoch.
#[must_use]
pub fn parse_time(text: &str, now: i64) -> Option<i64> {
    if text == "now" {
        return Some(now);
    }
    let Some(ago) = text.strip_prefix('-') else { return text.parse().ok() };
    let unit = ago.chars().next_back()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return None,
    };
    let count: u32 = ago.strip_suffix(unit)?.parse().ok()?;
    now.checked_sub(i64::from(count).checked_mul(seconds)?.checked_mul(1_000_000)?)
}

impl std::str::FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wants = || bad("address", "an address or a network like 192.0.2.0/24");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wants())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wants())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(wants());
        }
        // Traffic of IPv4 is on record as that, also if its socket is one of IPv6.
        let (address, prefix) = match address {
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), prefix.checked_sub(96)) {
                (Some(v4), Some(prefix)) => (IpAddr::V4(v4), prefix),
                _ => (address, prefix),
            },
            IpAddr::V4(_) => (address, prefix),
        };
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Ok(Network { address, prefix })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "own" => Ok(Scope::Own),
            "system" => Ok(Scope::System),
            "any" => Ok(Scope::Any),
            _ => Err(bad("scope", "own, system or any")),
        }
    }
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Scope::Own => "own",
            Scope::System => "system",
            Scope::Any => "any",
        }
    }
}

/// Keys of the wire form.
pub const KEYS: [&str; 25] = [
    "since",
    "until",
    "scope",
    "executable",
    "path",
    "name",
    "sha256",
    "cmdline",
    "parent",
    "grandparent",
    "uid",
    "domain",
    "address",
    "local-port",
    "remote-port",
    "protocol",
    "direction",
    "netns",
    "unit",
    "container",
    "search",
    "sort",
    "descending",
    "limit",
    "cursor",
];

impl Query {
    /// Checks the wire form. `now` in µs since the epoch, for relative times.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for an unknown key, a value of the wrong type or out of its range.
    pub fn from_dict(dict: &Dict, now: i64) -> Result<Query, Error> {
        let mut query = Query::default();
        for (key, value) in dict {
            let value: &Value<'_> = value;
            let k = key.as_str();
            match k {
                "since" => query.since = Some(time(k, value, now)?),
                "until" => query.until = Some(time(k, value, now)?),
                "scope" => query.scope = Some(text(k, value)?.parse()?),
                "executable" => query.executable = Some(integer(k, value)?),
                "path" => query.path = Some(text(k, value)?),
                "name" => query.name = Some(text(k, value)?),
                "sha256" => {
                    let hash = text(k, value)?.to_ascii_lowercase();
                    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                        return Err(bad(k, "64 hexadecimal digits"));
                    }
                    query.sha256 = Some(hash);
                }
                "cmdline" => query.cmdline = Some(text(k, value)?),
                "parent" => query.parent = Some(text(k, value)?),
                "grandparent" => query.grandparent = Some(text(k, value)?),
                "uid" => query.uid = Some(number(k, value)?),
                "domain" => {
                    query.domain = Some(text(k, value)?.trim_end_matches('.').to_ascii_lowercase());
                }
                "address" => query.address = Some(text(k, value)?.parse()?),
                "local-port" => query.local_port = Some(number(k, value)?),
                "remote-port" => query.remote_port = Some(number(k, value)?),
                "protocol" => query.protocol = Some(text(k, value)?.to_ascii_lowercase()),
                "direction" => match text(k, value)?.as_str() {
                    word @ ("in" | "out") => query.direction = Some(word.to_owned()),
                    _ => return Err(bad(k, "in or out")),
                },
                "netns" => query.netns = Some(number(k, value)?),
                "unit" => query.unit = Some(text(k, value)?),
                "container" => query.container = Some(text(k, value)?),
                "search" => query.search = Some(text(k, value)?),
                "sort" => query.sort = Some(text(k, value)?),
                "descending" => match value {
                    Value::Bool(yes) => query.descending = Some(*yes),
                    _ => return Err(bad(k, "true or false")),
                },
                "limit" => {
                    let limit: u32 = number(k, value)?;
                    if !(1..=MAX_PAGE).contains(&limit) {
                        return Err(bad(k, &format!("1 to {MAX_PAGE}")));
                    }
                    query.limit = Some(limit);
                }
                "cursor" => query.cursor = Some(text(k, value)?),
                _ => return Err(Error::InvalidQuery(format!("no query key {k:?}"))),
            }
        }
        Ok(query)
    }

    /// The wire form; only what is set.
    #[must_use]
    pub fn to_dict(&self) -> HashMap<&'static str, Value<'static>> {
        let mut dict: HashMap<&'static str, Value<'static>> = HashMap::new();
        let mut put = |key, value: Option<Value<'static>>| {
            if let Some(value) = value {
                dict.insert(key, value);
            }
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        put("since", self.since.map(Value::from));
        put("until", self.until.map(Value::from));
        put("scope", self.scope.map(|scope| Value::from(scope.word())));
        put("executable", self.executable.map(Value::from));
        put("path", text(&self.path));
        put("name", text(&self.name));
        put("sha256", text(&self.sha256));
        put("cmdline", text(&self.cmdline));
        put("parent", text(&self.parent));
        put("grandparent", text(&self.grandparent));
        put("uid", self.uid.map(Value::from));
        put("domain", text(&self.domain));
        put("address", self.address.map(|network| Value::from(network.to_string())));
        put("local-port", self.local_port.map(Value::from));
        put("remote-port", self.remote_port.map(Value::from));
        put("protocol", text(&self.protocol));
        put("direction", text(&self.direction));
        put("netns", self.netns.map(Value::from));
        put("unit", text(&self.unit));
        put("container", text(&self.container));
        put("search", text(&self.search));
        put("sort", text(&self.sort));
        put("descending", self.descending.map(Value::from));
        put("limit", self.limit.map(Value::from));
        put("cursor", text(&self.cursor));
        dict
    }

    /// Rows wanted in one page.
    #[must_use]
    pub fn page(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE)
    }
}

#[cfg(test)]
mod tests;
