// SPDX-License-Identifier: GPL-3.0-or-later
//! B04: one path, two people: neither is told what the other runs there, nor that the other does.

use picosnitch_api::name::action;
use serde_json::Value;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::identity::MOMENT;
use crate::lab::client::settle;
use crate::lab::program::{report, reports_of, sha256};
use crate::lab::stage::Person;
use crate::lab::{Lab, Outcome, Stage, User, ensure};

/// The cases.
pub const CASES: &[Case] =
    &[Case { id: "B04", title: "two people's programs at one path are no secret's leak", run: b04_one_path }];

/// Kind, content and old content of the notices about a path, oldest first.
type Told = Vec<(String, String, String)>;

fn told_of<'a>(events: impl Iterator<Item = &'a Value>, path: &str) -> Told {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    events
        .filter(|event| event["path"] == path)
        .map(|event| (text(event, "kind"), text(event, "sha256"), text(event, "old-sha256")))
        .collect()
}

/// As the list of events has it.
fn listed(person: &mut Person, path: &str) -> Outcome<Told> {
    let answer = person.ask("events limit=1000")?;
    let rows = answer["ok"]["rows"].as_array().cloned().unwrap_or_default();
    Ok(told_of(rows.iter().rev(), path))
}

fn as_root(stage: &Stage, path: &str) -> Outcome<Told> {
    let mut events = stage.client.events(&picosnitch_api::Query::default())?;
    events.retain(|event| event.path.as_deref() == Some(path));
    events.sort_by_key(|event| event.id);
    let told = |event: &picosnitch_api::row::Event| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (text(&event.kind), text(&event.sha256), text(&event.old_sha256))
    };
    Ok(events.iter().map(told).collect())
}

fn b04_one_path(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("b04-path", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    for user in [&alice, &bob] {
        stage.bus.allow(&user.name, &[action::READ_SYSTEM])?;
    }
    let to = lab.net.to();
    let path = lab.programs.make("b04-path")?;
    let text = path.to_string_lossy().into_owned();
    let contents: Vec<Vec<u8>> = (0..3).map(|_| lab.programs.content()).collect();
    let hashes: Vec<String> = contents.iter().map(|content| sha256(content)).collect();
    let mut listener = stage.person(&bob, true)?;
    listener.heard_until(|value| value["signal"] == "appeared")?;
    // The call of Watch is answered before what comes after the next interval.
    report(lab.programs.server(), &["loopback", "bytes=10"])?;
    listener.heard_until(|value| value["signal"] == "recorded")?;

    let put = |index: usize| -> Outcome {
        let fresh = path.with_extension("fresh");
        lab.programs.write(&fresh, &contents[index])?;
        std::fs::rename(&fresh, &path).map_err(Into::into)
    };
    let run = |stage: &Stage, user: Option<&User>| -> Outcome {
        let pid = match user {
            Some(user) => {
                reports_of(user.command(&path).args(["tcp-echo", &to]))?.first().map(|made| made.pid)
            }
            None => Some(report(&path, &["tcp-echo", &to])?.pid),
        };
        settle(PATIENCE, || {
            let rows = rows_of(&stage.client, &text)?;
            ensure(rows.iter().any(|row| row.pid == pid && row.sha256.is_some()), || {
                format!("process {pid:?} is not on record")
            })
        })
    };
    // Alice's content first, then bob's own at the same path, then alice's again but run by bob, and twice.
    for (content, user) in [(0, &alice), (1, &bob), (0, &bob), (1, &bob)] {
        put(content)?;
        run(&stage, Some(user))?;
    }
    let word = |kind: &str, new: usize, old: Option<usize>| {
        (kind.to_owned(), hashes[new].clone(), old.map(|old| hashes[old].clone()).unwrap_or_default())
    };
    let bobs = vec![word("new-executable", 1, None), word("hash-changed", 0, Some(1))];
    let mut person = stage.person(&bob, false)?;
    let check = |got: Told, want: &Told, whose: &str| {
        ensure(got == *want, || format!("{whose}: {got:#?}\nnot {want:#?}"))
    };
    settle(PATIENCE, || check(listed(&mut person, &text)?, &bobs, "bob's list"))?;
    // Whoever sees everybody has no second NewExecutable, and no change to what was there before.
    let roots = vec![word("new-executable", 0, None), word("hash-changed", 1, Some(0))];
    settle(PATIENCE, || check(as_root(&stage, &text)?, &roots, "root's list"))?;
    let mut hers = stage.person(&alice, false)?;
    check(listed(&mut hers, &text)?, &vec![word("new-executable", 0, None)], "alice's list")?;
    // Alice's hash is no key to bob's list either, and the other way round.
    let answer = hers.ask(&format!("events sha256={}", hashes[1]))?;
    ensure(answer["ok"]["rows"].as_array().is_some_and(Vec::is_empty), || format!("alice finds {answer}"))?;

    // The system's own run is everybody's news, but once.
    put(2)?;
    run(&stage, None)?;
    run(&stage, Some(&bob))?;
    run(&stage, Some(&alice))?;
    let system = word("new-executable", 2, None);
    settle(PATIENCE, || {
        let all = listed(&mut hers, &text)?;
        check(all, &vec![word("new-executable", 0, None), system.clone()], "alice's list")
    })?;
    // None of it again after a restart.
    let before = (listed(&mut person, &text)?, as_root(&stage, &text)?);
    stage.daemon.restart()?;
    for (content, user) in [(0, &alice), (1, &bob), (0, &bob), (2, &bob)] {
        put(content)?;
        run(&stage, Some(user))?;
    }
    std::thread::sleep(MOMENT);
    let mut person = stage.person(&bob, false)?;
    ensure((listed(&mut person, &text)?, as_root(&stage, &text)?) == before, || {
        "there is news of known contents after a restart".to_owned()
    })?;
    // What bob heard at once is what bob was told: alice's run is not in it.
    let marker = lab.programs.make("b04-marker")?;
    reports_of(bob.command(&marker).args(["tcp-echo", &to]))?;
    let marker = marker.to_string_lossy().into_owned();
    let heard = listener.heard_until(|value| value["notice"]["path"] == marker.as_str())?;
    let heard = told_of(
        heard.iter().filter(|value| value["signal"] == "notice").map(|value| &value["notice"]),
        &text,
    );
    // On a slow machine a new program is told before its content is known.
    let mut want = [bobs, vec![system]].concat();
    for (want, heard) in want.iter_mut().zip(&heard) {
        if super::slow() && heard.0 == "new-executable" && heard.1.is_empty() {
            want.1.clear();
        }
    }
    check(heard, &want, "what bob heard")
}
