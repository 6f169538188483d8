// SPDX-License-Identifier: GPL-3.0-or-later
//! Which permissions a change of the settings takes. What is guarded as an act is guarded as a setting too: a
//! short retention deletes, an ignored network is a gap in the record, and with a server set up, what is
//! recorded leaves the machine. Pure.

use picosnitch_api::name::action;

use crate::settings::{Ignore, Settings};

/// The actions for a change of these keys that makes `after` of `before`, the strictest first. Both are what the
/// file says: what root wrote there already needs nobody's permission.
pub fn takes<'a>(
    keys: impl Iterator<Item = &'a String>,
    before: &Settings,
    after: &Settings,
) -> Vec<&'static str> {
    let mut all = by_key(keys);
    let mut add = |action, needed: bool| {
        if needed && !all.contains(&action) {
            all.push(action);
        }
    };
    add(action::CONFIGURE_REMOTE, sends_more(before, after));
    add(action::DELETE_HISTORY, keeps_less(before, after));
    add(action::PAUSE, leaves_out_more(before, after));
    all.sort_by_key(|action| *action == action::CONFIGURE);
    all
}

/// What the keys alone take, whatever their values are.
pub fn by_key<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<&'static str> {
    let mut all = Vec::new();
    for key in keys {
        let outside = key.starts_with("remote.") || key.starts_with("virustotal.");
        let action = if outside { action::CONFIGURE_REMOTE } else { action::CONFIGURE };
        if !all.contains(&action) {
            all.push(action);
        }
    }
    // A change of nothing still puts in force what the file says.
    if all.is_empty() {
        all.push(action::CONFIGURE);
    }
    all.sort_by_key(|action| *action == action::CONFIGURE);
    all
}

fn keeps_less(before: &Settings, after: &Settings) -> bool {
    after.database.retention_days < before.database.retention_days
        || after.detail_days() < before.detail_days()
}

fn leaves_out_more(before: &Settings, after: &Settings) -> bool {
    before.database.enabled && !after.database.enabled || has_more(&after.log.ignore, &before.log.ignore)
}

/// Whether one has an entry that the other has not.
fn has_more(one: &Ignore, other: &Ignore) -> bool {
    fn more<T: PartialEq>(one: &[T], other: &[T]) -> bool {
        one.iter().any(|entry| !other.contains(entry))
    }
    let Ignore { sha256, domains, ports, networks, names } = one;
    more(sha256, &other.sha256)
        || more(domains, &other.domains)
        || more(ports, &other.ports)
        || more(networks, &other.networks)
        || more(names, &other.names)
}

/// Whether something begins to leave the machine that did not, by a key that is not one of `[remote]`.
fn sends_more(before: &Settings, after: &Settings) -> bool {
    let on = |was: bool, is: bool| is && !was;
    let programs = on(before.monitor.every_executable, after.monitor.every_executable);
    let rows = programs
        || on(before.monitor.bandwidth, after.monitor.bandwidth)
        || on(before.log.addresses, after.log.addresses)
        || on(before.log.commands, after.log.commands)
        || on(before.log.ports, after.log.ports)
        || has_more(&before.log.ignore, &after.log.ignore);
    let set = |secret: &str| !secret.is_empty();
    // What has no address now goes nowhere, whatever is widened.
    set(&after.remote.url) && rows || set(&after.virustotal.api_key) && programs
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Settings);

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    }

    fn taken(key: &str, before: &Settings, change: impl FnOnce(&mut Settings)) -> Vec<&'static str> {
        let mut after = before.clone();
        change(&mut after);
        takes([key.to_owned()].iter(), before, &after)
    }

    #[test]
    fn b02_what_deletes_or_pauses_takes_that_permission() {
        let plain = settings(|s| s.log.ignore.ports = vec![53]);
        let configure = [action::CONFIGURE];
        let delete = [action::DELETE_HISTORY, action::CONFIGURE];
        let pause = [action::PAUSE, action::CONFIGURE];
        assert_eq!(taken("database.retention_days", &plain, |s| s.database.retention_days = 400), configure);
        assert_eq!(taken("database.retention_days", &plain, |s| s.database.retention_days = 364), delete);
        assert_eq!(taken("database.detail_days", &plain, |s| s.database.detail_days = 29), delete);
        assert_eq!(taken("database.detail_days", &plain, |s| s.database.detail_days = 31), configure);
        assert_eq!(taken("database.enabled", &plain, |s| s.database.enabled = false), pause);
        assert_eq!(taken("log.ignore.ports", &plain, |s| s.log.ignore.ports = vec![443]), pause);
        assert_eq!(taken("log.ignore.ports", &plain, |s| s.log.ignore.ports.clear()), configure);
        assert_eq!(taken("log.ignore.names", &plain, |s| s.log.ignore.names.push("x".to_owned())), pause);
        assert_eq!(taken("log.ignore.sha256", &plain, |s| s.log.ignore.sha256.push("0".repeat(64))), pause);
        assert_eq!(taken("log.ignore.domains", &plain, |s| s.log.ignore.domains.push("a".to_owned())), pause);
        let everywhere: Option<picosnitch_api::query::Network> = "0.0.0.0/0".parse().ok();
        assert_eq!(taken("log.ignore.networks", &plain, |s| s.log.ignore.networks.extend(everywhere)), pause);
        assert_eq!(taken("notify.desktop", &plain, |s| s.notify.desktop = false), configure);
        let off = settings(|s| s.database.enabled = false);
        assert_eq!(taken("database.enabled", &off, |s| s.database.enabled = true), configure);
        assert_eq!(takes([].iter(), &plain, &plain), configure);
    }

    #[test]
    fn b02_what_sends_more_takes_the_permission_for_that() {
        let narrow = |s: &mut Settings| {
            (s.log.commands, s.log.addresses, s.log.ports, s.monitor.bandwidth) =
                (false, false, false, false);
            s.log.ignore.names = vec!["quiet".to_owned()];
        };
        let widen: [(&str, Change); 6] = [
            ("log.commands", |s| s.log.commands = true),
            ("log.addresses", |s| s.log.addresses = true),
            ("log.ports", |s| s.log.ports = true),
            ("log.ignore.names", |s| s.log.ignore.names.clear()),
            ("monitor.bandwidth", |s| s.monitor.bandwidth = true),
            ("monitor.every_executable", |s| s.monitor.every_executable = true),
        ];
        let here = settings(narrow);
        let mut away = here.clone();
        away.remote.url = "mysql://u:p@h/d".to_owned();
        for (key, change) in widen {
            assert_eq!(taken(key, &here, change), [action::CONFIGURE], "{key}");
            assert_eq!(taken(key, &away, change), [action::CONFIGURE_REMOTE, action::CONFIGURE], "{key}");
        }
        let mut asks = here.clone();
        asks.virustotal.api_key = "k".to_owned();
        let programs = taken("monitor.every_executable", &asks, |s| s.monitor.every_executable = true);
        assert_eq!(programs, [action::CONFIGURE_REMOTE, action::CONFIGURE]);
        assert_eq!(taken("log.ports", &asks, |s| s.log.ports = true), [action::CONFIGURE]);
        assert_eq!(taken("remote.url", &here, |s| s.remote.url.clear()), [action::CONFIGURE_REMOTE]);
    }
}
