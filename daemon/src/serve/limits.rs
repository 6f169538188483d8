// SPDX-License-Identifier: GPL-3.0-or-later
//! How much one client, and one person with many clients, may have under way at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use picosnitch_api::Error;
use zbus::names::OwnedUniqueName;

/// Calls of one client under way at once.
const PER_CLIENT: usize = 16;
/// Queries of one uid under way at once, over all its clients.
const PER_UID: usize = 32;
/// Exports of one uid at once: one may take as long as its reader likes.
const EXPORTS_PER_UID: usize = 1;
/// Exports at once.
const EXPORTS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Client(OwnedUniqueName),
    Uid(u32),
    ExportsOf(u32),
    Exports,
}

/// What is under way. Holds an entry only while there is something.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    under_way: Arc<Mutex<HashMap<Key, usize>>>,
}

/// Something that is under way, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Slot {
    limits: Limits,
    key: Key,
}

impl Limits {
    /// A call of this client.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`].
    pub fn client(&self, name: &OwnedUniqueName) -> Result<Slot, Error> {
        self.enter(Key::Client(name.clone()), PER_CLIENT, "calls of this client")
    }

    /// A query of this uid.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`].
    pub fn uid(&self, uid: u32) -> Result<Slot, Error> {
        self.enter(Key::Uid(uid), PER_UID, "queries of this user")
    }

    /// An export of this uid.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`].
    pub fn export(&self, uid: u32) -> Result<(Slot, Slot), Error> {
        let own = self.enter(Key::ExportsOf(uid), EXPORTS_PER_UID, "exports of this user")?;
        Ok((own, self.enter(Key::Exports, EXPORTS, "exports")?))
    }

    fn enter(&self, key: Key, most: usize, what: &str) -> Result<Slot, Error> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(key.clone()).or_insert(0);
        if *count >= most {
            return Err(Error::LimitExceeded(format!("{most} {what} are under way; wait for one to end.")));
        }
        *count += 1;
        Ok(Slot { limits: self.clone(), key })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut under_way = self.limits.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn b06_one_client_has_so_many_calls_and_leaves_no_trace() {
        let limits = Limits::default();
        let name = OwnedUniqueName::try_from(":1.7").unwrap();
        let slots: Vec<_> = (0..PER_CLIENT).map(|_| limits.client(&name).unwrap()).collect();
        assert!(matches!(limits.client(&name), Err(Error::LimitExceeded(_))));
        let other = limits.client(&OwnedUniqueName::try_from(":1.8").unwrap()).unwrap();
        drop(slots);
        assert!(limits.client(&name).is_ok());
        let _uid = (0..PER_UID).map(|_| limits.uid(1000).unwrap()).collect::<Vec<_>>();
        assert!(limits.uid(1000).is_err() && limits.uid(1001).is_ok());
        drop((other, _uid));
        assert!(limits.under_way.lock().unwrap().is_empty());
    }

    #[test]
    fn b06_one_person_cannot_take_every_export() {
        let limits = Limits::default();
        let mine = limits.export(1000).unwrap();
        assert!(limits.export(1000).is_err());
        let others: Vec<_> = (1001..).take(EXPORTS - 1).map(|uid| limits.export(uid).unwrap()).collect();
        assert!(limits.export(2000).is_err());
        drop((mine, others));
        assert!(limits.under_way.lock().unwrap().is_empty());
    }
}
