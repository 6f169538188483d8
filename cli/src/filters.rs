// SPDX-License-Identifier: GPL-3.0-or-later
//! From arguments to a query of the contract. Everything that can be wrong is found before the daemon
//! is asked, so that the message names the flag.

use chrono::Local;
use picosnitch_api::Query;
use picosnitch_api::query::MAX_TEXT;

use crate::args::{Filters, PageArgs, scope};
use crate::failure::Failure;
use crate::time;

/// Reads a time from a flag.
///
/// # Errors
/// A usage failure that names the flag and the accepted forms.
pub fn time(flag: &str, text: &str, now: i64) -> Result<i64, Failure> {
    time::parse(text, now, &Local).ok_or_else(|| {
        Failure::usage(format!("--{flag}: {text:?} is no time")).hint(format!("accepted: {}", time::FORMS))
    })
}

impl Filters {
    /// The query with these filters; `now` in µs since the epoch, for relative times.
    ///
    /// # Errors
    /// A usage failure that names the flag.
    pub fn query(&self, now: i64) -> Result<Query, Failure> {
        let time_of =
            |flag, text: &Option<String>| text.as_deref().map(|text| time(flag, text, now)).transpose();
        let mut query = Query {
            since: time_of("since", &self.since)?,
            until: time_of("until", &self.until)?,
            scope: self.scope.as_deref().and_then(scope),
            executable: self.executable,
            path: text("path", &self.path)?,
            name: text("name", &self.name)?,
            sha256: None,
            cmdline: text("cmdline", &self.cmdline)?,
            parent: text("parent", &self.parent)?,
            grandparent: text("grandparent", &self.grandparent)?,
            uid: self.uid,
            domain: text("domain", &self.domain)?.map(|name| name.trim_end_matches('.').to_ascii_lowercase()),
            address: None,
            local_port: self.local_port,
            remote_port: self.remote_port,
            protocol: text("protocol", &self.protocol)?.map(|word| word.to_ascii_lowercase()),
            direction: self.direction.clone(),
            netns: self.netns,
            unit: text("unit", &self.unit)?,
            container: text("container", &self.container)?,
            search: text("search", &self.search)?,
            ..Query::default()
        };
        if let (Some(since), Some(until)) = (query.since, query.until)
            && since >= until
        {
            return Err(Failure::usage("--since is not before --until, so that no row can match"));
        }
        if let Some(hash) = &self.sha256 {
            let hash = hash.to_ascii_lowercase();
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Failure::usage(format!("--sha256: {hash:?} is not 64 hexadecimal digits")));
            }
            query.sha256 = Some(hash);
        }
        if let Some(address) = &self.address {
            query.address = Some(address.parse().map_err(|_| {
                Failure::usage(format!("--address: {address:?} is no address and no network"))
                    .hint("accepted: 192.0.2.7, 192.0.2.0/24, 2001:db8::7, 2001:db8::/32")
            })?);
        }
        if let Some(name) = &self.user {
            query.uid = Some(uid(name)?);
        }
        Ok(query)
    }
}

impl PageArgs {
    /// Adds the order to a query.
    pub fn order(&self, query: Query) -> Query {
        Query {
            sort: self.sort.clone(),
            descending: if self.ascending { Some(false) } else { None },
            ..query
        }
    }
}

fn text(flag: &str, value: &Option<String>) -> Result<Option<String>, Failure> {
    match value {
        Some(text) if text.len() > MAX_TEXT => {
            Err(Failure::usage(format!("--{flag}: a value has at most {MAX_TEXT} bytes")))
        }
        Some(text) if text.contains('\0') => Err(Failure::usage(format!("--{flag}: a value has no NUL"))),
        _ => Ok(value.clone()),
    }
}

fn uid(name: &str) -> Result<u32, Failure> {
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(Failure::usage(format!("--user: there is no user {name:?} on this machine"))
            .hint("name the number of a user that is gone, or of a container's user, with --uid")),
        Err(error) => Err(Failure::new(format!("--user: cannot look up {name:?}: {error}"))),
    }
}

#[cfg(test)]
mod tests;
