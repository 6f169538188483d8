// SPDX-License-Identifier: GPL-3.0-or-later
//! The latest processes of a program, from its latest connections.

use libadwaita as adw;
use libadwaita::prelude::*;
use picosnitch_api::query::MAX_TEXT;
use picosnitch_api::row::{Connection, Page};
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Dimension, inert_short};

use super::{Context, LINES, ProgramPage, last, latest, row};
use crate::page::{file_name, value};
use crate::words::Chip;

/// One process with the sum of its connections.
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    pid: u32,
    name: Option<String>,
    cmdline: Option<String>,
    parent: Option<String>,
    uid: Option<u32>,
    last: Option<i64>,
    sent: u64,
    received: u64,
}

/// Processes of connections that come newest first, in the order of their latest one. A pid that was used
/// again for another command line is another process.
pub fn gather(rows: &[Connection]) -> Vec<Process> {
    let mut all: Vec<Process> = Vec::new();
    for row in rows {
        let Some(pid) = row.pid else { continue };
        let known = all.iter().position(|known| known.pid == pid && known.cmdline == row.cmdline);
        let at = known.unwrap_or_else(|| {
            all.push(Process {
                pid,
                name: row.name.clone(),
                cmdline: row.cmdline.clone(),
                parent: row.parent.clone(),
                uid: row.uid,
                last: row.time,
                ..Process::default()
            });
            all.len() - 1
        });
        all[at].sent += row.sent.unwrap_or(0);
        all[at].received += row.received.unwrap_or(0);
    }
    all
}

/// A list of them; `None` without any.
pub fn processes(
    page: &ProgramPage,
    latest_rows: &Page<Connection>,
    context: &Context,
) -> Option<adw::PreferencesGroup> {
    let all = gather(&latest_rows.rows);
    if all.is_empty() {
        return None;
    }
    let group = adw::PreferencesGroup::builder().title(tr("Latest processes")).build();
    group.set_description(latest(all.len(), !latest_rows.cursor.is_empty()).as_deref());
    for process in all.iter().take(LINES) {
        let title = process.cmdline.as_deref().or(process.name.as_deref()).unwrap_or_default();
        let mut says = vec![say("process {pid}", &[("pid", &process.pid)])];
        if let Some(uid) = process.uid {
            let user = value(Dimension::Uid, &uid.to_string(), &context.people);
            says.push(say("as {user}", &[("user", &user)]));
        }
        if let Some(parent) = &process.parent {
            says.push(say("launched by {parent}", &[("parent", &file_name(parent))]));
        }
        says.push(last(process.last));
        let row = row(&inert_short(title, 160), &says.join(" · "));
        let bytes =
            format!("↓ {}  ↑ {}", context.units.bytes(process.received), context.units.bytes(process.sent));
        row.add_suffix(&gtk4::Label::builder().label(&bytes).css_classes(["numeric", "dim-label"]).build());
        row.add_suffix(&page.choice(chips(process), context));
        group.add(&row);
    }
    Some(group)
}

/// Everything that is said of it as a filter.
fn chips(process: &Process) -> Vec<Chip> {
    let known = [(Dimension::Cmdline, &process.cmdline), (Dimension::Name, &process.name)];
    let known = known.into_iter().find_map(|(by, value)| Some((by, Some(value.clone()?))));
    let uid = process.uid.map(|uid| uid.to_string());
    let rest = [(Dimension::Uid, uid), (Dimension::Parent, process.parent.clone())];
    let mut chips = Chip::all(None, known.into_iter().chain(rest));
    chips.retain(|chip| chip.value.len() <= MAX_TEXT);
    chips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_everything_that_is_said_of_a_process_can_become_a_filter() {
        let of = |process: &Process| chips(process).into_iter().map(|chip| chip.by).collect::<Vec<_>>();
        let mut process = Process { name: Some("a".into()), uid: Some(0), ..Process::default() };
        assert_eq!(of(&process), [Dimension::Name, Dimension::Uid]);
        (process.cmdline, process.parent) = (Some("a b".into()), Some("/bin/sh".into()));
        assert_eq!(of(&process), [Dimension::Cmdline, Dimension::Uid, Dimension::Parent]);
        process.cmdline = Some("a".repeat(MAX_TEXT + 1));
        assert_eq!(of(&process), [Dimension::Uid, Dimension::Parent]);
    }

    #[test]
    fn connections_of_a_process_are_one_line() {
        let row = |pid, cmdline: &str, time, sent| Connection {
            pid: Some(pid),
            cmdline: Some(cmdline.into()),
            time: Some(time),
            sent: Some(sent),
            ..Connection::default()
        };
        let all = gather(&[row(7, "a", 30, 1), row(8, "a", 20, 5), row(7, "a", 10, 2), row(7, "b", 5, 4)]);
        let read: Vec<_> = all.iter().map(|it| (it.pid, it.last, it.sent)).collect();
        assert_eq!(read, [(7, Some(30), 3), (8, Some(20), 5), (7, Some(5), 4)]);
    }
}
