// SPDX-License-Identifier: GPL-3.0-or-later
//! S02 with few descriptors: more programs at once than the daemon may hold files of, and then hardly any
//! descriptor at all.

use std::collections::HashSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use picosnitch_api::Query;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::faults;
use super::traffic::totals;
use crate::lab::client::settle;
use crate::lab::program::{Running, report, sha256_file};
use crate::lab::tools::{run, spawn};
use crate::lab::{Lab, Outcome, Stage, ensure};

/// The cases.
pub const CASES: &[Case] = &[Case { id: "S02", title: "hardly a descriptor is left", run: s02_descriptors }];

/// The smallest limit that the settings take.
const LIMIT: usize = 256;
/// Programs that run at once.
const PROGRAMS: usize = 150;
/// Free descriptors while there are hardly any.
const FREE: usize = 3;

fn open(stage: &Stage) -> Outcome<HashSet<usize>> {
    let list = std::fs::read_dir(format!("/proc/{}/fd", stage.daemon.pid()))?;
    Ok(list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn limit(stage: &Stage, limit: usize) -> Outcome {
    let pid = stage.daemon.pid().to_string();
    run("prlimit", &["--pid", &pid, &format!("--nofile={limit}:")]).map(drop)
}

/// Programs that have sent and received; some still run.
struct Flood {
    running: Vec<Running>,
    /// Path and content.
    programs: Vec<(String, String)>,
}

fn flood(lab: &Lab, name: &str, count: usize, hold: bool) -> Outcome<Flood> {
    let mut flood = Flood { running: Vec::new(), programs: Vec::new() };
    for _ in 0..count {
        let program = lab.programs.make(name)?;
        flood.programs.push((program.to_string_lossy().into_owned(), sha256_file(&program)?));
    }
    let to = lab.net.to();
    for (path, _) in &flood.programs {
        if hold {
            flood.running.push(Running::start(path, &["tcp-echo", &to, "hold=1"])?);
        } else {
            report(path, &["tcp-echo", &to])?;
        }
    }
    flood.running.iter_mut().try_for_each(|running| running.report().map(drop))?;
    Ok(flood)
}

/// Many who ask at once, each with a descriptor for the answer.
fn exports(stage: &Stage) -> Outcome<Vec<Child>> {
    let one = |_| -> Outcome<Child> {
        let mut command = stage.cli(None)?;
        Ok(spawn(
            command
                .args(["export", "executables"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?)
    };
    (0..30).map(one).collect()
}

/// Everything of each program is on record, told once, and its content is right or unknown; how many are unknown.
fn all_there(stage: &Stage, flood: &Flood) -> Outcome<usize> {
    let mut unknown = 0;
    for (path, content) in &flood.programs {
        settle(PATIENCE, || {
            let got = totals(stage, path)?;
            ensure(got == (10_000, 10_000, 1), || format!("{path}: {got:?} on record"))?;
            let told = stage.client.notices("new-executable", path).len();
            ensure(told == 1, || format!("{told} NewExecutable of {path}"))
        })?;
        for row in rows_of(&stage.client, path)? {
            ensure(row.foreign_root != Some(true), || format!("{path} is taken for a container's"))?;
            match &row.sha256 {
                Some(sha256) => ensure(sha256 == content, || format!("{path}: {sha256}, not {content}"))?,
                None => unknown += 1,
            }
        }
    }
    Ok(unknown)
}

/// Everything of each program is on record, by its path or by how it was called; of how many path or content is
/// not known, and how many connections that are.
fn by_some_name(stage: &Stage, flood: &Flood) -> Outcome<(usize, u64)> {
    let (mut unknown, mut recorded) = (0, 0);
    for (path, content) in &flood.programs {
        let called = format!("({path})");
        settle(PATIENCE, || {
            let (known, called) = (totals(stage, path)?, totals(stage, &called)?);
            let sum = (known.0 + called.0, known.1 + called.1, known.2 + called.2);
            ensure(sum == (10_000, 10_000, 1), || format!("{path}: {sum:?} on record"))
        })?;
        recorded += totals(stage, path)?.2 + totals(stage, &called)?.2;
        let known = rows_of(&stage.client, path)?;
        let right = known.iter().any(|row| row.sha256.as_ref() == Some(content));
        let wrong = known.iter().any(|row| row.sha256.as_ref().is_some_and(|sha256| sha256 != content));
        ensure(!wrong, || format!("{path} has the content of another"))?;
        unknown += usize::from(!right);
    }
    Ok((unknown, recorded))
}

/// How often a kind was told, as the sentences count.
fn told(stage: &Stage, kind: &str) -> Outcome<usize> {
    let events = stage.client.events(&Query::default())?;
    let numbers = events
        .iter()
        .filter(|event| event.error.as_deref() == Some(kind))
        .filter_map(|event| event.message.as_ref()?.split(' ').next()?.parse::<usize>().ok());
    Ok(numbers.sum())
}

/// Programs that are gone before the daemon comes to look, while it has hardly a descriptor: what it could not keep
/// it says.
fn hardly_any(lab: &Lab, stage: &mut Stage) -> Outcome {
    let unkept = |stage: &Stage| -> Outcome<usize> {
        Ok(told(stage, "lost-executables")? + told(stage, "forgotten")?)
    };
    std::thread::sleep(Duration::from_secs(2));
    let before = unkept(stage)?;
    let open_now = open(stage)?;
    let free = (0..).filter(|number| !open_now.contains(number)).nth(FREE).unwrap_or(LIMIT);
    limit(stage, free)?;
    stage.daemon.signal(Signal::SIGSTOP)?;
    let few = flood(lab, "s02-few", PROGRAMS / 2, false);
    stage.daemon.signal(Signal::SIGCONT)?;
    let (few, asking) = (few?, exports(stage)?);
    settle(PATIENCE, || stage.client.status().map(drop))?;
    std::thread::sleep(Duration::from_secs(2));
    ensure(stage.daemon.is_running(), || "the daemon has ended".to_owned())?;
    limit(stage, LIMIT)?;
    let (unknown, recorded) = by_some_name(stage, &few)?;
    let lost = stage.client.status()?.lost_rows.unwrap_or(0);
    faults::count(&format!("{FREE} descriptors are left"), few.programs.len() as u64, recorded, lost)?;
    // One sentence of a kind a minute.
    settle(Duration::from_secs(75), || {
        let told = unkept(stage)? - before;
        ensure(unknown <= told, || format!("{unknown} hashes are unknown, {told} programs told as not kept"))
    })?;
    println!("    with {FREE} free descriptors {unknown} of {} hashes are unknown", few.programs.len());
    asking.into_iter().try_for_each(ends)
}

fn ends(mut child: Child) -> Outcome {
    settle(PATIENCE, || ensure(!matches!(child.try_wait(), Ok(None)), || "an export goes on".to_owned()))
}

fn s02_descriptors(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("s02-descriptors", &format!("[monitor]\nopen_files = {LIMIT}\n"))?;
    let before = open(&stage)?.len();
    hardly_any(lab, &mut stage)?;
    // More than it may hold open, and all of it is right.
    let many = flood(lab, "s02-many", PROGRAMS, true)?;
    let asking = exports(&stage)?;
    let unknown = all_there(&stage, &many)?;
    ensure(unknown == 0, || format!("{unknown} of {PROGRAMS} programs that still run have no hash"))?;
    let lost = stage.client.status()?.lost_rows;
    ensure(lost == Some(0), || format!("{lost:?} rows reported lost"))?;
    asking.into_iter().try_for_each(ends)?;
    // As before.
    drop(many);
    let after = flood(lab, "s02-after", 1, false)?;
    ensure(all_there(&stage, &after)? == 0, || "a new program has no hash afterwards".to_owned())?;
    let exported = stage.cli(None)?.args(["export", "executables"]).stdin(Stdio::null()).output()?;
    ensure(exported.status.success() && !exported.stdout.is_empty(), || {
        format!("nothing can be exported: {}", String::from_utf8_lossy(&exported.stderr))
    })?;
    settle(Duration::from_secs(30), || {
        let now = open(&stage)?.len();
        ensure(now <= before + 24, || format!("{now} descriptors, {before} at the start"))
    })?;
    stage.daemon.stop()
}
