// SPDX-License-Identifier: GPL-3.0-or-later
//! B: what a setting does takes the permission of the act that it amounts to, a person is asked once and only
//! where the caller allows that, and what is taken away is gone.

use std::time::Duration;

use picosnitch_api::name::action::{self, CONFIGURE, CONFIGURE_REMOTE, DELETE_HISTORY, PAUSE};

use super::Case;
use super::expect::PATIENCE;
use crate::lab::client::settle;
use crate::lab::program::reports_of;
use crate::lab::{Agent, Lab, Outcome, Stage, User, ensure};

/// As `daemon/src/serve/watchers.rs` has it, and a moment.
const GRANT: Duration = Duration::from_secs(31);

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        id: "B02",
        title: "a setting that deletes, pauses or sends takes that permission",
        run: b02_settings,
    },
    Case { id: "B04", title: "read-any taken from one who watches", run: b04_revoked },
    Case { id: "B02", title: "one password for a change, and none is asked for unasked", run: b02_passwords },
];

/// Settings that nobody would miss a thing by, and a server that is not there.
const NARROW: &str = "[database]\nwrite_interval_seconds = 1\nretention_days = 100\ndetail_days = 50\n\
[monitor]\nbandwidth = false\n[log]\naddresses = false\ncommands = false\nports = false\n\
[log.ignore]\nports = [9]\nnames = [\"quiet\"]\n\
[remote]\nurl = \"postgresql://u:p@127.0.0.1:9/d\"\ntls = \"off\"\n";

/// What takes more than `configure`, with what that is.
const GUARDED: &[(&str, &str)] = &[
    (DELETE_HISTORY, "set database.retention_days=99"),
    (DELETE_HISTORY, "set database.detail_days=49"),
    (DELETE_HISTORY, "set notify.desktop=false database.retention_days=60"),
    (PAUSE, "set database.enabled=false"),
    (PAUSE, "set log.ignore.networks=[0.0.0.0/0,::/0]"),
    (PAUSE, "set log.ignore.ports=[9,443]"),
    (PAUSE, "set log.ignore.domains=[org]"),
    (PAUSE, "set log.ignore.names=[quiet,curl]"),
    (PAUSE, "set log.ignore.sha256=[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]"),
    (CONFIGURE_REMOTE, "set log.commands=true"),
    (CONFIGURE_REMOTE, "set log.addresses=true"),
    (CONFIGURE_REMOTE, "set log.ports=true"),
    (CONFIGURE_REMOTE, "set log.ignore.names=[]"),
    (CONFIGURE_REMOTE, "set monitor.bandwidth=true"),
    (CONFIGURE_REMOTE, "set monitor.every_executable=true"),
];

/// What does not.
const FREE: &[&str] = &[
    "set notify.desktop=false",
    "set database.retention_days=101",
    "set database.detail_days=51",
    "set log.connections=true",
    "set log.connections=false",
];

/// A rule gives alice these and no others.
fn may(stage: &Stage, alice: &User, actions: &[&str]) -> Outcome {
    stage.bus.allow(&alice.name, actions)?;
    settle(PATIENCE, || {
        let answer = stage.person(alice, false)?.ask("permissions")?;
        let right = action::ALL.iter().all(|one| (answer["ok"][*one] == "yes") == actions.contains(one));
        ensure(right, || format!("{actions:?} are allowed, and the answer is {answer}"))
    })
}

fn b02_settings(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b02-settings", NARROW)?;
    let alice = User::get("alice")?;
    let config = || std::fs::read_to_string(stage.daemon.config());
    let before = config()?;
    let refused = |command: &str| -> Outcome {
        let answer = stage.person(&alice, false)?.ask(command)?;
        ensure(answer["error"] == "NotAuthorized", || format!("{command} was answered {answer}"))?;
        ensure(config()? == before, || format!("{command} changed the file"))
    };
    may(&stage, &alice, &[CONFIGURE])?;
    GUARDED.iter().try_for_each(|(_, command)| refused(command))?;
    // And neither is enough without the other.
    for other in [DELETE_HISTORY, PAUSE] {
        may(&stage, &alice, &[other])?;
        let all = GUARDED.iter().filter(|(takes, _)| *takes == other);
        all.map(|(_, command)| *command).try_for_each(refused)?;
    }
    // What is not accepted is not explained to who may not ask.
    may(&stage, &alice, &[PAUSE])?;
    refused("set database.retention_days=0")?;
    may(&stage, &alice, &[CONFIGURE])?;
    let answer = stage.person(&alice, false)?.ask("set database.retention_days=0")?;
    ensure(answer["error"] == "InvalidSetting", || format!("{answer}"))?;
    for command in FREE {
        let answer = stage.person(&alice, false)?.ask(command)?;
        ensure(answer.get("ok").is_some(), || format!("{command}: {answer}"))?;
    }
    for takes in [DELETE_HISTORY, PAUSE, CONFIGURE_REMOTE] {
        may(&stage, &alice, &[CONFIGURE, takes])?;
        for (_, command) in GUARDED.iter().filter(|(action, _)| *action == takes) {
            let answer = stage.person(&alice, false)?.ask(command)?;
            ensure(answer.get("ok").is_some(), || format!("{takes}: {command}: {answer}"))?;
            ensure(config()? != before, || format!("{command} changed nothing"))?;
        }
    }
    // With the rule that is shipped nobody deletes or pauses, by no way.
    std::fs::write(stage.daemon.config(), &before)?;
    may(&stage, &alice, &[CONFIGURE, CONFIGURE_REMOTE])?;
    stage.bus.example_rule()?;
    settle(PATIENCE, || {
        let answer = stage.person(&alice, false)?.ask("permissions")?;
        ensure(answer["ok"][PAUSE] == "no", || format!("{answer}"))
    })?;
    let guarded = GUARDED.iter().filter(|(takes, _)| *takes != CONFIGURE_REMOTE);
    guarded.map(|(_, command)| *command).try_for_each(refused)
}

/// The daemon believes a yes for half a minute; what comes later is asked about again.
fn b04_revoked(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b04-revoked", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    may(&stage, &alice, &[action::READ_ANY])?;
    let mut watches = stage.person(&alice, true)?;
    watches.heard_until(|value| value["signal"] == "appeared")?;
    // `Watch` came before this signal.
    let runs = |user: Option<&User>, name: &str| -> Outcome<String> {
        let program = lab.programs.make(name)?;
        let mut command = match user {
            Some(user) => user.command(&program),
            None => std::process::Command::new(&program),
        };
        reports_of(command.args(["tcp-echo", &lab.net.to()]))?;
        let path = program.to_string_lossy().into_owned();
        settle(PATIENCE, || {
            ensure(stage.client.notices("new-executable", &path).len() == 1, || {
                format!("no notice of {path}")
            })
        })?;
        Ok(path)
    };
    runs(None, "b04-before")?;
    watches.heard_until(|value| value["signal"] == "recorded")?;
    let allowed = runs(Some(&bob), "b04-allowed")?;
    watches.heard_until(|value| value["notice"]["path"] == allowed.as_str())?;
    may(&stage, &alice, &[action::READ_SYSTEM])?;
    std::thread::sleep(GRANT);
    let revoked = runs(Some(&bob), "b04-revoked")?;
    // polkit is asked about that one; what is the system's comes to everybody, after it.
    let log = || std::fs::read_to_string(stage.daemon.log());
    let own = runs(Some(&alice), "b04-own")?;
    let last = runs(None, "b04-after")?;
    let heard = watches.heard_until(|value| value["notice"]["path"] == last.as_str())?;
    let text = serde_json::to_string(&heard)?;
    ensure(text.contains(&own), || format!("alice does not hear of her own {own}"))?;
    ensure(!text.contains(&revoked), || format!("alice hears of {revoked}"))?;
    let granted = log()?.matches(&format!("was granted {}", action::READ_ANY)).count();
    ensure(granted == 1, || format!("{granted} grants in the audit log"))
}

/// With somebody at hand who types an administrator's password whenever polkit asks for one.
fn b02_passwords(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b02-passwords", NARROW)?;
    let alice = User::get("alice")?;
    let mut person = stage.person(&alice, false)?;
    let agent = Agent::of(&stage.bus.address, person.pid(), alice.uid)?;
    let everything = [
        ("set notify.desktop=false", &[CONFIGURE][..]),
        ("set database.retention_days=99", &[DELETE_HISTORY]),
        ("set log.ignore.ports=[9,443] notify.desktop=true", &[PAUSE]),
        ("set log.ports=true", &[CONFIGURE_REMOTE]),
        ("set remote.table=other notify.desktop=false", &[CONFIGURE_REMOTE]),
        // Two that are never kept, and no question of polkit is about both.
        ("set database.retention_days=98 database.enabled=false", &[DELETE_HISTORY, PAUSE]),
        ("pause 60", &[PAUSE]),
        ("resume", &[PAUSE]),
        ("delete until=1", &[DELETE_HISTORY]),
        ("connections scope=any", &[action::READ_ANY]),
    ];
    // Without the flag nobody is asked, and nothing is done.
    for (command, _) in everything {
        let answer = person.ask(command)?;
        let asked = agent.asked();
        ensure(asked.is_empty(), || format!("{command}, without the flag: asked about {asked:?}"))?;
        ensure(answer["error"] == "NotAuthorized" || command.starts_with("connections"), || {
            format!("{command}, without the flag: {answer}")
        })?;
    }
    for (command, wanted) in everything {
        let answer = person.ask(&format!("asking {command}"))?;
        let asked = agent.asked();
        ensure(answer.get("ok").is_some(), || format!("{command}: {answer}, asked about {asked:?}"))?;
        ensure(asked == wanted, || format!("{command}: asked about {asked:?}, not {wanted:?}"))?;
    }
    // What ends in a no is not asked about first.
    let answer = person.ask(&format!("asking scan {}", "00".repeat(32)))?;
    let asked = agent.asked();
    ensure(answer["error"] == "NotFound" && asked.is_empty(), || {
        format!("a content that was never seen: {answer}, asked about {asked:?}")
    })?;
    stage.bus.example_rule()?;
    settle(PATIENCE, || {
        let answer = person.ask("permissions")?;
        ensure(answer["ok"][PAUSE] == "no", || format!("{answer}"))
    })?;
    let command = "asking set log.ignore.ports=[] remote.table=third database.retention_days=97";
    let answer = person.ask(command)?;
    let asked = agent.asked();
    ensure(answer["error"] == "NotAuthorized" && asked.is_empty(), || {
        format!("refused in the end: {answer}, asked about {asked:?}")
    })
}
