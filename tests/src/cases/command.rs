// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line against a real daemon: what `watch` may not miss, what others may not see, and the
//! exit statuses that scripts go by.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use crate::lab::client::settle;
use crate::lab::program::report;
use crate::lab::tools::{spawn, until};
use crate::lab::{Lab, Outcome, Stage, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "N01", title: "picosnitch watch tells each notice once, a restart or not", run: watch },
    Case { id: "N01", title: "picosnitch ends in silence when nobody reads", run: unread },
    Case { id: "B04", title: "picosnitch says how many rows are hidden", run: hidden },
    Case { id: "B02", title: "exit statuses of picosnitch", run: statuses },
];

fn output(command: &mut Command, arguments: &[&str]) -> Outcome<Output> {
    Ok(command.args(arguments).stdin(Stdio::null()).output()?)
}

fn watch(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("watch", "")?;
    let to = lab.net.to();
    let (data, notes) = (stage.dir.join("watch.json"), stage.dir.join("watch.err"));
    let mut child = spawn(
        stage
            .cli(None)?
            .args(["watch", "--json"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&data)?)
            .stderr(std::fs::File::create(&notes)?),
    )?;
    let said = |text: &str| {
        let all = || std::fs::read_to_string(&notes).unwrap_or_default();
        ensure(until(PATIENCE, || all().contains(text)), || format!("watch does not say {text:?}: {}", all()))
    };
    let told = |path: &str| -> Outcome<Vec<Value>> {
        let text = std::fs::read_to_string(&data)?;
        let objects: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(objects?.into_iter().filter(|object| object["path"] == path).collect())
    };
    said("watching")?;
    let mut programs = Vec::new();
    for turn in 0..3 {
        for _ in 0..5 {
            let program = lab.programs.make(&format!("watch-{turn}"))?;
            report(&program, &["tcp-echo", &to])?;
            programs.push(program.to_string_lossy().into_owned());
        }
        if turn < 2 {
            stage.daemon.restart()?;
            // Whether or not watch has noticed yet: nothing may be missed.
        }
    }
    for path in &programs {
        settle(PATIENCE, || {
            let count = told(path)?.len();
            ensure(count == 1, || format!("{path} was told {count} times"))
        })?;
    }
    said("is back")?;
    let last = told(programs.last().map_or("", String::as_str))?;
    for key in ["id", "time", "sha256", "uid", "parent", "address", "remote-port", "protocol"] {
        ensure(last.iter().all(|object| !object[key].is_null()), || format!("no {key} in {last:?}"))?;
    }
    ensure(matches!(child.try_wait(), Ok(None)), || "watch has ended".to_owned())?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn unread(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("unread", "")?;
    let mut child = spawn(
        stage.cli(None)?.arg("watch").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
    )?;
    drop(child.stdout.take());
    let ended = until(PATIENCE, || !matches!(child.try_wait(), Ok(None)));
    let status = if ended {
        child.wait()?
    } else {
        return child.kill().map_err(Into::into).and(Err("it stays".into()));
    };
    ensure(status.success(), || format!("watch ends with {status}"))?;
    // Here the service writes, and meets it.
    let (read, write) = std::io::pipe()?;
    drop(read);
    let export =
        stage.cli(None)?.args(["export", "connections"]).stdin(Stdio::null()).stdout(write).output()?;
    ensure(export.status.success() && export.stderr.is_empty(), || {
        format!("export ends with {}: {}", export.status, String::from_utf8_lossy(&export.stderr))
    })
}

fn hidden(lab: &mut Lab) -> Outcome {
    let stage: Stage = lab.stage("hidden", "")?;
    let to = lab.net.to();
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let program = lab.programs.make("hidden-alice")?;
    let path = program.to_string_lossy().into_owned();
    let made = alice.command(&program).args(["tcp-echo", &to]).stdin(Stdio::null()).output()?;
    ensure(made.status.success(), || String::from_utf8_lossy(&made.stderr).into_owned())?;
    settle(PATIENCE, || ensure(!rows_of(&stage.client, &path)?.is_empty(), || "no row".to_owned()))?;
    let arguments = ["connections", "--path", &path];
    let hers = output(&mut stage.cli(Some(&alice))?, &arguments)?;
    ensure(String::from_utf8_lossy(&hers.stdout).contains("hidden-alice"), || {
        "alice misses hers".to_owned()
    })?;
    let his = output(&mut stage.cli(Some(&bob))?, &arguments)?;
    let notes = String::from_utf8_lossy(&his.stderr).into_owned();
    ensure(his.stdout.is_empty(), || format!("bob sees {}", String::from_utf8_lossy(&his.stdout)))?;
    ensure(notes.contains("hidden") && notes.contains("--scope any"), || notes.clone())?;
    // A file says nothing of what is not in it.
    for what in ["connections", "executables", "events"] {
        let arguments = ["export", what, "--path", &path];
        let hers = output(&mut stage.cli(Some(&alice))?, &arguments)?;
        ensure(String::from_utf8_lossy(&hers.stdout).contains("hidden-alice"), || {
            format!("alice's export of {what}: {hers:?}")
        })?;
        let his = output(&mut stage.cli(Some(&bob))?, &arguments)?;
        let (rows, notes) = (String::from_utf8_lossy(&his.stdout), String::from_utf8_lossy(&his.stderr));
        ensure(!rows.contains("hidden-alice") && notes.contains("hidden"), || {
            format!("bob's export of {what}: {rows}{notes}")
        })?;
    }
    Ok(())
}

fn statuses(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("statuses", "")?;
    let bob = User::get("bob")?;
    let expect = |stage: &Stage, user: Option<&User>, arguments: &[&str], want: i32| -> Outcome {
        let got = output(&mut stage.cli(user)?, arguments)?;
        ensure(got.status.code() == Some(want), || {
            let notes = String::from_utf8_lossy(&got.stderr);
            format!("picosnitch {}: {:?}, not {want}: {notes}", arguments.join(" "), got.status.code())
        })
    };
    expect(&stage, Some(&bob), &["status"], 0)?;
    expect(&stage, Some(&bob), &["config", "set", "database.retention_days", "90"], 4)?;
    expect(&stage, None, &["config", "set", "database.retention_days", "-1"], 2)?;
    expect(&stage, None, &["config", "set", "database.retention_days", "90"], 0)?;
    expect(&stage, None, &["connections", "--sort", "weather"], 2)?;
    expect(&stage, None, &["executable", "4611686018427387904"], 1)?;
    let got = output(&mut stage.cli(None)?, &["config", "get", "database.retention_days"])?;
    ensure(got.stdout == b"database.retention_days = 90\n", || format!("{got:?}"))?;
    stage.daemon.stop()?;
    expect(&stage, None, &["status"], 3)?;
    expect(&stage, None, &["watch"], 3)
}
