// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients that want the signals about people's programs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use picosnitch_api::Error;
use zbus::names::OwnedUniqueName;

/// Watching clients, of everybody and of one uid.
const MOST: usize = 1024;
const PER_UID: usize = 256;
/// After this long a grant of `read-any` is checked again before it is used.
const GRANT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Watcher {
    uid: u32,
    /// When polkit last said that everybody's signals may go there.
    any: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watchers {
    clients: Mutex<HashMap<OwnedUniqueName, Watcher>>,
}

/// Where a signal about a person's program goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Those whose business it is.
    pub own: Vec<OwnedUniqueName>,
    /// Those who see everybody.
    pub any: Vec<OwnedUniqueName>,
    /// Those who saw everybody, with their uid, once it is clear that they still may.
    pub asked: Vec<(OwnedUniqueName, u32)>,
}

impl Watchers {
    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<OwnedUniqueName, Watcher>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client, or renews what it may hear.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if there are too many.
    pub fn add(&self, name: &OwnedUniqueName, uid: u32, any: bool) -> Result<(), Error> {
        let mut clients = self.clients();
        if !clients.contains_key(name) {
            let of_uid = clients.values().filter(|watcher| watcher.uid == uid).count();
            if clients.len() >= MOST || of_uid >= PER_UID {
                return Err(Error::LimitExceeded(
                    "Too many clients watch; what is new can still be asked for by Events.".to_owned(),
                ));
            }
        }
        clients.insert(name.clone(), Watcher { uid, any: any.then(Instant::now) });
        Ok(())
    }

    /// Takes a client out, if it is there.
    pub fn remove(&self, name: &OwnedUniqueName) {
        self.clients().remove(name);
    }

    /// polkit was asked again about a client's `read-any`.
    pub fn renew(&self, name: &OwnedUniqueName, any: bool) {
        if let Some(watcher) = self.clients().get_mut(name) {
            watcher.any = any.then(Instant::now);
        }
    }

    /// Who hears of a program that is the business of these uids.
    #[must_use]
    pub fn targets(&self, concerned: impl Fn(u32) -> bool) -> Targets {
        let mut targets = Targets::default();
        for (name, watcher) in self.clients().iter() {
            if watcher.uid == 0 || watcher.any.is_some_and(|granted| granted.elapsed() < GRANT) {
                targets.any.push(name.clone());
            } else if concerned(watcher.uid) {
                targets.own.push(name.clone());
            } else if watcher.any.is_some() {
                targets.asked.push((name.clone(), watcher.uid));
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn name(number: usize) -> OwnedUniqueName {
        OwnedUniqueName::try_from(format!(":1.{number}")).unwrap()
    }

    #[test]
    fn b04_n08_each_person_hears_of_their_own_programs() {
        let watchers = Watchers::default();
        watchers.add(&name(1), 1000, false).unwrap();
        watchers.add(&name(2), 1001, false).unwrap();
        watchers.add(&name(3), 0, true).unwrap();
        watchers.add(&name(4), 1002, true).unwrap();
        let mut hear = watchers.targets(|uid| uid == 1000);
        hear.any.sort();
        assert_eq!(hear, Targets { own: vec![name(1)], any: vec![name(3), name(4)], asked: vec![] });
        watchers.renew(&name(4), false);
        watchers.remove(&name(1));
        assert_eq!(watchers.targets(|uid| uid == 1000), Targets { any: vec![name(3)], ..Targets::default() });
    }

    #[test]
    fn b06_watchers_are_bounded_for_one_uid_and_for_all() {
        let watchers = Watchers::default();
        for number in 0..PER_UID {
            watchers.add(&name(number), 1000, false).unwrap();
        }
        assert!(watchers.add(&name(PER_UID), 1000, false).is_err());
        watchers.add(&name(0), 1000, false).unwrap();
        watchers.add(&name(PER_UID), 1001, false).unwrap();
        for number in PER_UID + 1..MOST {
            watchers.add(&name(number), u32::try_from(number).unwrap() + 5000, false).unwrap();
        }
        assert!(watchers.add(&name(MOST), 1, false).is_err());
    }
}
