// SPDX-License-Identifier: GPL-3.0-or-later
//! What a notification says: a short title without a path, one fact per line. Every name that somebody
//! else chose goes through `inert` here; the result is plain text, not markup.

use picosnitch_api::tongue::{fill, say, say_n, tr, tr_n};
use picosnitch_api::{Incident, Origin, inert, inert_short, row};

/// How accounts are called, by uid.
pub type Names<'a> = &'a dyn Fn(u32) -> Option<String>;

/// Title and lines of one notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// One line.
    pub title: String,
    /// One fact per line.
    pub body: String,
}

/// Longest name in a title or a list, in characters.
const NAME: usize = 40;
/// Longest line.
const LINE: usize = 80;

/// What people call the program: the file's name, or the process's where there is no file; a container's is marked.
pub fn program(row: &row::Event) -> String {
    let file = row.path.as_deref().and_then(|path| path.rsplit('/').next()).filter(|file| !file.is_empty());
    let program = inert_short(file.or(row.name.as_deref()).unwrap_or(tr("a program")), NAME);
    if row.foreign_root == Some(true) {
        return say("{program} (in a container)", &[("program", &program)]);
    }
    program
}

/// One program that is new on the network or whose content changed.
pub fn single(row: &row::Event, names: Names<'_>) -> Text {
    let program = program(row);
    let changed = row.kind.as_deref() == Some("hash-changed");
    let verdict = row.message.as_deref().filter(|_| row.kind.as_deref() == Some("verdict"));
    let title = if verdict.is_some() {
        say("Suspicious: {program}", &[("program", &program)])
    } else if changed && temporary(row) {
        say("Changed, in a temporary place: {program}", &[("program", &program)])
    } else if changed {
        say("{program} changed", &[("program", &program)])
    } else if temporary(row) {
        say("New, from a temporary place: {program}", &[("program", &program)])
    } else {
        say("New on the network: {program}", &[("program", &program)])
    };
    let mut lines = Vec::new();
    if row.file_deleted == Some(true) {
        lines.push(tr("It runs from a file that was deleted or replaced.").into());
    }
    if changed {
        lines.push(
            tr("Its file is not the one that was known. If nothing updated it just now, look at it.").into(),
        );
    }
    if let Some(verdict) = verdict {
        let verdict = inert_short(verdict, LINE);
        lines.push(say("Found harmful or suspicious by {verdict}", &[("verdict", &verdict)]));
    }
    lines.extend(contact(row, changed));
    lines.extend(row.path.as_deref().map(|path| inert_short(path, LINE)));
    lines.extend(started(row, names));
    if let Some(container) = &row.container {
        lines.push(say("In container {name}", &[("name", &inert_short(container, NAME))]));
    } else if let Some(unit) = &row.unit {
        lines.push(say("Unit {name}", &[("name", &inert_short(unit, LINE))]));
    }
    if changed && let (Some(old), Some(new)) = (&row.old_sha256, &row.sha256) {
        lines.push(say("sha256 {new}, was {old}", &[("new", &short_hash(new)), ("old", &short_hash(old))]));
    }
    Text { title, body: lines.join("\n") }
}

fn contact(row: &row::Event, changed: bool) -> Option<String> {
    let whom = row.domain.as_deref().or(row.address.as_deref())?;
    let called = row.direction.as_deref() == Some("in");
    let text = match (changed, called) {
        (false, false) => tr("First contact {whom}"),
        (false, true) => tr("First contacted by {whom}"),
        (true, false) => tr("Contacted {whom}"),
        (true, true) => tr("Contacted by {whom}"),
    };
    let mut line = fill(text, &[("whom", &inert_short(whom, NAME))]);
    // The port that says what for: that of whoever was called.
    match (if called { row.local_port } else { row.remote_port }, row.protocol.as_deref()) {
        (Some(port), Some(protocol)) => {
            line += ", ";
            line += &say("{protocol} port {port}", &[("protocol", &inert(protocol)), ("port", &port)]);
        }
        (Some(port), None) => {
            line += ", ";
            line += &say("port {port}", &[("port", &port)]);
        }
        (None, Some(protocol)) => line += &format!(", {}", inert(protocol)),
        (None, None) => {}
    }
    if row.domain.is_some()
        && let Some(address) = &row.address
    {
        line += &format!(" ({})", inert(address));
    }
    Some(line)
}

fn started(row: &row::Event, names: Names<'_>) -> Option<String> {
    let parent = row.parent.as_deref().and_then(|path| path.rsplit('/').next()).filter(|p| !p.is_empty());
    let user = row.uid.map(|uid| names(uid).map_or(format!("uid {uid}"), |name| inert_short(&name, NAME)));
    match (parent, user) {
        (Some(parent), Some(user)) => Some(say(
            "Started by {parent} as {user}",
            &[("parent", &inert_short(parent, NAME)), ("user", &user)],
        )),
        (Some(parent), None) => Some(say("Started by {parent}", &[("parent", &inert_short(parent, NAME))])),
        (None, Some(user)) => Some(say("Run as {user}", &[("user", &user)])),
        (None, None) => None,
    }
}

fn short_hash(hash: &str) -> String {
    inert(hash).chars().take(12).chain(['…']).collect()
}

/// It runs from where programs do not belong: a temporary directory, memory, or a file that is not there any more.
pub fn risky(row: &row::Event) -> bool {
    temporary(row) || row.file_deleted == Some(true)
}

/// It runs from a temporary directory or memory.
fn temporary(row: &row::Event) -> bool {
    let origin = |path: &str| Origin::of(path, row.foreign_root == Some(true));
    row.path.as_deref().and_then(origin).is_some_and(Origin::is_risky)
}

/// Many at once: how many are new, how many changed, and who the first are. `more` are not in `rows`.
pub fn digest(rows: &[row::Event], more: usize) -> Text {
    let changed = rows.iter().filter(|row| row.kind.as_deref() == Some("hash-changed")).count();
    let total = rows.len() + more;
    let title = match (changed, total - changed) {
        (0, new) => say_n("{n} new program on the network", "{n} new programs on the network", new as u64),
        (changed, 0) => say_n("{n} program changed", "{n} programs changed", changed as u64),
        (changed, new) => {
            let news = say_n("{n} new program on the network", "{n} new programs on the network", new as u64);
            format!("{news}, {}", say_n("{n} changed", "{n} changed", changed as u64))
        }
    };
    Text { title, body: body(rows, more) }
}

/// What came while nobody was there to see it.
pub fn waited(rows: &[row::Event], more: usize) -> Text {
    let total = rows.len() + more;
    let title = say_n("{n} notice while you were away", "{n} notices while you were away", total as u64);
    Text { title, body: body(rows, more) }
}

/// What could not be shown when it came.
pub fn again(rows: &[row::Event]) -> Text {
    let program = |row: &row::Event| matches!(row.kind.as_deref(), Some("new-executable" | "hash-changed"));
    if rows.iter().all(program) {
        return digest(rows, 0);
    }
    Text { title: say_n("{n} notice", "{n} notices", rows.len() as u64), body: body(rows, 0) }
}

/// The first day after installation: everything is new, so nothing is told one by one.
pub fn first_day(programs: usize) -> Text {
    Text {
        title: say_n("Watching {n} program", "Watching {n} programs", programs as u64),
        body: tr("Everything is new on the first day, so programs are only listed. From tomorrow on, each new one is announced.").into(),
    }
}

/// What a person chose does not hold.
pub fn not_saved(error: &std::io::Error) -> Text {
    Text { title: tr("Your choice was not saved").into(), body: inert_short(&error.to_string(), 300) }
}

/// What the monitor says of itself that a person can use; `None` for what only waits in the timeline.
pub fn incident(kind: Incident, row: &row::Event) -> Option<Text> {
    Some(Text {
        title: incident_title(kind)?.into(),
        body: row.message.as_deref().map(|message| inert_short(message, 300)).unwrap_or_default(),
    })
}

/// One for each kind, so that none says what is true of another only.
fn incident_title(kind: Incident) -> Option<&'static str> {
    Some(match kind {
        Incident::LostFlows | Incident::LostRows | Incident::LostCalls => tr("The record is not complete"),
        Incident::LostEvents => tr("Some programs may be named less well"),
        Incident::LostNames => tr("Some domains may be missing"),
        Incident::LostComparisons => tr("Some programs were not checked for changes"),
        Incident::LostVerdicts => tr("Some programs will have no verdict"),
        Incident::LostRemote | Incident::Remote | Incident::RemoteRefused => {
            tr("Rows do not reach the remote database")
        }
        Incident::Storage => tr("The history cannot be written"),
        Incident::StorageRecovered => tr("The history is written again"),
        Incident::StorageDamaged => tr("The history was damaged and begins anew"),
        Incident::StorageMended => tr("The history was damaged and repaired as far as possible"),
        Incident::TextLog => tr("A text log cannot be written"),
        Incident::Relay | Incident::Scanner => tr("picosnitch needs attention"),
        // A missing hash is shown where the program is, and not told each time.
        Incident::LostExecutables | Incident::LostHashes | Incident::LostRowHashes => return None,
        // Nothing is missing for good, or there is nothing to do about it.
        Incident::LostChanges
        | Incident::LostLookups
        | Incident::LostSignals
        | Incident::Forgotten
        | Incident::ForgottenNames
        | Incident::ForgottenPrograms
        | Incident::Undecoded
        | Incident::TextLogLost
        | Incident::Clock
        | Incident::Gap => return None,
        // Who did it knows, and the icon shows it.
        Incident::Settings | Incident::Pause | Incident::Resume => return None,
    })
}

/// Of many: who they are, and which of them are from where programs do not belong.
fn body(rows: &[row::Event], more: usize) -> String {
    let mut lines = vec![listed(rows, more)];
    let of = |so: &dyn Fn(&row::Event) -> bool| {
        let rows: Vec<_> = rows.iter().filter(|row| so(row)).cloned().collect();
        (!rows.is_empty()).then(|| listed(&rows, 0))
    };
    if let Some(list) = of(&temporary) {
        lines.push(say("In a temporary place: {list}", &[("list", &list)]));
    }
    if let Some(list) = of(&|row| row.file_deleted == Some(true)) {
        lines.push(say("From a file that was deleted or replaced: {list}", &[("list", &list)]));
    }
    lines.join("\n")
}

fn listed(rows: &[row::Event], more: usize) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = Vec::new();
    for row in rows {
        let name = match row.kind.as_deref() {
            Some("error") => {
                row.message.as_deref().map_or(tr("an error").into(), |text| inert_short(text, LINE))
            }
            _ => program(row),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rest = names.len().saturating_sub(SHOWN) + more;
    names.truncate(SHOWN);
    let list = names.join(", ");
    if rest == 0 {
        list
    } else {
        fill(
            tr_n("{list} and {n} more", "{list} and {n} more", rest as u64),
            &[("list", &list), ("n", &rest)],
        )
    }
}
