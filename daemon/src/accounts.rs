// SPDX-License-Identifier: GPL-3.0-or-later
//! Whose is a uid? A person's: their own and those of their subordinate range (rootless containers). The
//! rest, below UID_MIN and above UID_MAX, is the system's. Sources: login.defs(5), subuid(5).

use std::ops::RangeInclusive;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::SystemTime;

use crate::model::Owner;

const LOGIN_DEFS: &str = "/etc/login.defs";
const SUBUID: &str = "/etc/subuid";

/// The accounts of this machine as far as ownership goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    logins: RangeInclusive<u32>,
    /// Person and their subordinate ids; these neither overlap nor reach into `logins` or below it.
    subordinate: Vec<(u32, RangeInclusive<u32>)>,
    /// When the files were changed last, as they were read.
    seen: [Option<SystemTime>; 2],
}

impl Default for Accounts {
    /// The values that login.defs(5) says hold where it says nothing.
    fn default() -> Self {
        Self { logins: 1000..=60_000, subordinate: Vec::new(), seen: [None; 2] }
    }
}

impl Accounts {
    /// Reads the machine's files. Blocking: names in subuid are looked up.
    #[must_use]
    pub fn load() -> Self {
        let seen = changed();
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let uid =
            |name: &str| nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        Self { seen, ..Self::parse(&read(LOGIN_DEFS), &read(SUBUID), uid) }
    }

    /// The files changed since they were read.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.seen != changed()
    }

    fn parse(login_defs: &str, subuid: &str, uid: impl Fn(&str) -> Option<u32>) -> Self {
        let mut accounts = Self::default();
        let value = |key: &str| {
            // The last one counts, as in shadow's own reader.
            let lines = login_defs.lines().rev().map(|line| line.split_whitespace());
            lines.into_iter().find_map(|mut words| {
                (words.next() == Some(key)).then(|| words.next()?.parse::<u32>().ok()).flatten()
            })
        };
        let min = value("UID_MIN").unwrap_or(*accounts.logins.start());
        let max = value("UID_MAX").unwrap_or(*accounts.logins.end());
        // Root is never a person, whatever the file says.
        if min > 0 && min <= max {
            accounts.logins = min..=max;
        }
        for line in subuid.lines() {
            let mut fields = line.trim().split(':');
            let (Some(who), Some(start), Some(count), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Some(who) = who.parse().ok().or_else(|| uid(who)) else { continue };
            let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
            if count == 0 || !accounts.logins.contains(&who) {
                continue;
            }
            let mut free = vec![start..=start.saturating_add(count - 1)];
            // A careless line must not make other people's ids, or the system's, somebody's.
            free = without(free, &(0..=*accounts.logins.end()));
            for (_, taken) in &accounts.subordinate {
                free = without(free, taken);
            }
            accounts.subordinate.extend(free.into_iter().map(|range| (who, range)));
        }
        accounts
    }

    /// Whose rows are those of this real uid.
    #[must_use]
    pub fn owner(&self, uid: u32) -> Owner {
        if self.logins.contains(&uid) {
            return Owner::Person(uid);
        }
        let person = self.subordinate.iter().find(|(_, range)| range.contains(&uid));
        person.map_or(Owner::System, |(person, _)| Owner::Person(*person))
    }

    /// The uids whose rows are always shown to a caller of this uid.
    #[must_use]
    pub fn own(&self, uid: u32) -> Vec<RangeInclusive<u32>> {
        let subordinate = self.subordinate.iter().filter(|(person, _)| *person == uid);
        std::iter::once(uid..=uid).chain(subordinate.map(|(_, range)| range.clone())).collect()
    }

    /// The uids that are the system's.
    #[must_use]
    pub fn system(&self) -> Vec<RangeInclusive<u32>> {
        let mut all = without(vec![0..=u32::MAX], &self.logins);
        for (_, range) in &self.subordinate {
            all = without(all, range);
        }
        all
    }
}

/// Reads the accounts anew when their files have changed, on a thread of its own: names may be asked of a
/// server that is slow.
#[derive(Debug, Default)]
pub struct Renewal {
    seen: [Option<SystemTime>; 2],
    coming: Option<JoinHandle<Accounts>>,
}

impl Renewal {
    /// Goes on from these.
    #[must_use]
    pub fn of(accounts: &Accounts) -> Self {
        Renewal { seen: accounts.seen, coming: None }
    }

    /// Newer accounts, if there are; never waits for them. Two calls of stat(2).
    pub fn renewed(&mut self) -> Option<Accounts> {
        if self.coming.as_ref().is_some_and(JoinHandle::is_finished) {
            let accounts = self.coming.take()?.join().ok()?;
            self.seen = accounts.seen;
            return Some(accounts);
        }
        if self.coming.is_none() && self.seen != changed() {
            self.coming = std::thread::Builder::new().name("accounts".into()).spawn(Accounts::load).ok();
        }
        None
    }
}

fn changed() -> [Option<SystemTime>; 2] {
    [LOGIN_DEFS, SUBUID].map(|path| Path::new(path).metadata().and_then(|meta| meta.modified()).ok())
}

/// The ranges without what `cut` has of them.
fn without(ranges: Vec<RangeInclusive<u32>>, cut: &RangeInclusive<u32>) -> Vec<RangeInclusive<u32>> {
    let mut left = Vec::with_capacity(ranges.len() + 1);
    for range in ranges {
        if let Some(before) = cut.start().checked_sub(1) {
            left.push(*range.start()..=before.min(*range.end()));
        }
        if let Some(after) = cut.end().checked_add(1) {
            left.push(after.max(*range.start())..=*range.end());
        }
    }
    left.retain(|range| !range.is_empty());
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn machine() -> Accounts {
        let names = |name: &str| match name {
            "alice" => Some(1000),
            "bob" => Some(1001),
            _ => None,
        };
        Accounts::parse(
            "# comment\nUID_MIN\t\t 1000\nUID_MAX 60000\nSYS_UID_MIN 100\n",
            "alice:100000:65536\n1001:165536:65536\nmallory:1:5\nbob:x:3\nalice:400000:0\nwww:1:2:3\n",
            names,
        )
    }

    #[test]
    fn b04_ids_belong_to_people_or_to_the_system() {
        let accounts = machine();
        for (uid, owner) in [
            (0, Owner::System),
            (33, Owner::System),
            (999, Owner::System),
            (1000, Owner::Person(1000)),
            (1001, Owner::Person(1001)),
            (60_000, Owner::Person(60_000)),
            (60_001, Owner::System),
            (61_500, Owner::System),
            (65_534, Owner::System),
            (99_999, Owner::System),
            (100_000, Owner::Person(1000)),
            (165_535, Owner::Person(1000)),
            (165_536, Owner::Person(1001)),
            (231_072, Owner::System),
            (u32::MAX, Owner::System),
        ] {
            assert_eq!(accounts.owner(uid), owner, "{uid}");
        }
        assert_eq!(accounts.own(1000), [1000..=1000, 100_000..=165_535]);
        assert_eq!(accounts.own(33), [33..=33]);
        assert_eq!(accounts.system(), [0..=999, 60_001..=99_999, 231_072..=u32::MAX]);
    }

    #[test]
    fn b04_a_careless_subuid_line_gives_nobody_what_is_anothers() {
        let accounts = Accounts::parse("", "1000:0:4294967295\n1001:100000:65536\n", |_| None);
        assert_eq!(accounts.owner(0), Owner::System);
        assert_eq!(accounts.owner(1001), Owner::Person(1001));
        assert!(!accounts.own(1000).iter().any(|range| range.contains(&1001) || range.contains(&33)));
        // The first line has the ids that both claim.
        assert_eq!(accounts.owner(100_000), Owner::Person(1000));
        assert_eq!(accounts.own(1001), [1001..=1001]);
        let odd = Accounts::parse("UID_MIN 0\nUID_MAX 60000\n", "", |_| None);
        assert_eq!(odd.owner(0), Owner::System);
        let odd = Accounts::parse("UID_MIN 5000\nUID_MAX 400\n", "", |_| None);
        assert_eq!(odd.owner(1000), Owner::Person(1000));
    }

    proptest! {
        /// Every uid has one owner, and the ranges say the same as `owner`.
        #[test]
        fn b04_ranges_and_owners_agree(
            min in 1u32..3000, span in 0u32..100_000,
            lines in prop::collection::vec((900u32..1200, 0u32..300_000, 0u32..200_000), 0..8),
            uids in prop::collection::vec(prop_oneof![0u32..400_000, any::<u32>()], 1..40),
        ) {
            let subuid: String = lines.iter().map(|(who, start, count)| format!("{who}:{start}:{count}\n")).collect();
            let accounts = Accounts::parse(&format!("UID_MIN {min}\nUID_MAX {}\n", min + span), &subuid, |_| None);
            for uid in uids {
                let system = accounts.system().iter().filter(|range| range.contains(&uid)).count();
                match accounts.owner(uid) {
                    Owner::System => prop_assert_eq!(system, 1),
                    Owner::Person(person) => {
                        prop_assert_eq!(system, 0);
                        prop_assert!(accounts.own(person).iter().any(|range| range.contains(&uid)));
                        for other in (900..1200).filter(|other| *other != person) {
                            prop_assert!(!accounts.own(other)[1..].iter().any(|range| range.contains(&uid)));
                        }
                    }
                }
            }
        }
    }
}
