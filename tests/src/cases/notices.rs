// SPDX-License-Identifier: GPL-3.0-or-later
//! N: what is news, told once, soon and in a form that harms nobody.

use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use picosnitch_api::Query;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::identity::MOMENT;
use crate::lab::client::settle;
use crate::lab::program::{Running, report, reports_of, sha256_file};
use crate::lab::{Lab, Outcome, Stage, Trouble, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "N01", title: "one NewExecutable per path, none after a restart", run: n01 },
    Case { id: "N01", title: "from a deleted file, and from one that is there", run: n01_deleted },
    Case { id: "N02", title: "HashChanged only for content never seen", run: n02 },
    Case { id: "N05", title: "hostile names are inert in every output", run: n05 },
    Case { id: "N06", title: "notice latency", run: n06 },
    Case { id: "N06", title: "a notice waits for its hash, and no longer", run: n06_hashing },
];

fn notices(stage: &Stage, kind: &str, path: &str, want: usize) -> Outcome {
    settle(PATIENCE, || {
        let got = stage.client.notices(kind, path).len();
        ensure(got == want, || format!("{got} {kind} for {path}, not {want}"))
    })
}

fn n01(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("n01", "")?;
    let to = lab.net.to();
    let program = lab.programs.make("n01-once")?;
    let path = program.to_string_lossy().into_owned();
    for _ in 0..5 {
        report(&program, &["tcp-echo", &to])?;
    }
    notices(&stage, "new-executable", &path, 1)?;
    stage.daemon.restart()?;
    let sum = |stage: &Stage| -> Outcome<u64> {
        Ok(rows_of(&stage.client, &path)?.iter().filter_map(|row| row.connections).sum())
    };
    let before = sum(&stage)?;
    report(&program, &["tcp-echo", &to])?;
    report(&program, &["tcp-echo", &to])?;
    // The rows show that the daemon has seen it, so that a second notice would be there by now.
    settle(PATIENCE, || {
        let now = sum(&stage)?;
        ensure(now == before + 2, || format!("{now} connections on record, not {}", before + 2))
    })?;
    std::thread::sleep(MOMENT);
    notices(&stage, "new-executable", &path, 1)?;
    notices(&stage, "hash-changed", &path, 0)?;
    let events = stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?;
    ensure(events.len() == 1, || format!("{} events on record for {path}, not 1", events.len()))
}

/// It is told of a program that removes itself before it talks, of one that another is renamed over, of a change of
/// content, and of what is over at once; not of one whose file is there. And so it is after a restart.
fn n01_deleted(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("n01-deleted", "")?;
    let to = lab.net.to();
    let (gone, kept) = (lab.programs.make("n01-gone")?, lab.programs.make("n01-kept")?);
    let (replaced, brief) = (lab.programs.make("n01-replaced")?, lab.programs.make("n01-brief")?);
    let mut waits = Running::start(&replaced, &["tcp-echo", &to, "wait=1"])?;
    lab.programs.make_at(&replaced.with_extension("new"))?;
    std::fs::rename(replaced.with_extension("new"), &replaced)?;
    waits.say("")?;
    waits.finish()?;
    let mut stays = Running::start(&gone, &["tcp-echo", &to, "unlink=1", "hold=1"])?;
    stays.report()?;
    report(&kept, &["tcp-echo", &to])?;
    report(&brief, &["udp", "silent=1", "count=1", "unlink=1", &to])?;
    let mut wanted = vec![
        ("new-executable", &gone, true),
        ("new-executable", &kept, false),
        ("new-executable", &replaced, true),
        ("new-executable", &brief, true),
    ];
    let check = |stage: &Stage, wanted: &[(&str, &PathBuf, bool)]| -> Outcome {
        for (kind, program, deleted) in wanted {
            let path = program.to_string_lossy().into_owned();
            settle(PATIENCE, || {
                let events = stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?;
                let event = events.iter().find(|event| event.kind.as_deref() == Some(kind));
                let event = event.ok_or_else(|| format!("no {kind} for {path}"))?;
                let got = event.file_deleted == Some(true);
                ensure(got == *deleted, || format!("{kind} for {path}: file-deleted is {got}, not {deleted}"))
            })?;
        }
        Ok(())
    };
    check(&stage, &wanted)?;
    stays.release();
    lab.programs.make_at(&kept)?;
    report(&kept, &["tcp-echo", &to, "unlink=1"])?;
    wanted.push(("hash-changed", &kept, true));
    check(&stage, &wanted)?;
    stage.daemon.restart()?;
    check(&stage, &wanted)?;
    let output = stage.cli(None)?.args(["events", "--json"]).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.matches(r#""file-deleted":true"#).count();
    ensure(said == 4, || format!("picosnitch events says it {said} times, not 4:\n{text}"))
}

fn n02(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("n02", "")?;
    let to = lab.net.to();
    let program = lab.programs.make("n02-changes")?;
    let path = program.to_string_lossy().into_owned();
    let contents = [std::fs::read(&program)?, lab.programs.content(), lab.programs.content()];
    let hashes: Vec<String> = contents.iter().map(|content| crate::lab::program::sha256(content)).collect();
    // First, second, first again, second again, third: two changes are news.
    for (turn, index) in [0, 1, 0, 1, 2].into_iter().enumerate() {
        let fresh = program.with_extension("fresh");
        lab.programs.write(&fresh, &contents[index])?;
        std::fs::rename(&fresh, &program)?;
        let made = report(&program, &["tcp-echo", &to])?;
        settle(PATIENCE, || {
            let rows = rows_of(&stage.client, &path)?;
            let mine: Vec<_> = rows.iter().filter(|row| row.pid == Some(made.pid)).collect();
            ensure(mine.iter().any(|row| row.sha256.as_deref() == Some(hashes[index].as_str())), || {
                format!("turn {turn}: no row of process {} with content {}", made.pid, hashes[index])
            })
        })?;
        let want = [0, 1, 1, 1, 2][turn];
        notices(&stage, "hash-changed", &path, want)?;
    }
    // A container with a file of its own at the same path is another program: it is news once, and the
    // two never look like changes of each other.
    let dir = lab.new_dir("n02")?;
    lab.programs.make_at(&dir.join(program.file_name().unwrap_or_default()))?;
    let folder = program.parent().map(PathBuf::from).unwrap_or_default();
    for _ in 0..2 {
        report(&program, &["tcp-echo", &to])?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(r#"mount --bind "$1" "$2" && exec "$3" tcp-echo "$4""#)
            .arg("sh")
            .args([&dir, &folder, &program])
            .arg(&to);
        reports_of(&mut command)?;
    }
    settle(PATIENCE, || {
        let foreign: u64 = rows_of(&stage.client, &path)?
            .iter()
            .filter(|row| row.foreign_root == Some(true))
            .filter_map(|row| row.connections)
            .sum();
        ensure(foreign == 2, || format!("{foreign} connections of the container's program, not 2"))
    })?;
    std::thread::sleep(MOMENT);
    notices(&stage, "hash-changed", &path, 2)?;
    notices(&stage, "new-executable", &path, 2)?;
    // And the event says which of them it is about.
    let events = stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?;
    let mut roots: Vec<_> = events
        .iter()
        .filter(|event| event.kind.as_deref() == Some("new-executable"))
        .map(|event| event.foreign_root)
        .collect();
    roots.sort_unstable();
    ensure(roots == [None, Some(true)], || format!("the events say {roots:?} of its root"))
}

/// What a terminal or a reader could take for something else than text.
fn harmful(text: &str) -> Option<char> {
    text.chars().find(|c| {
        (c.is_control() && *c != '\n' && *c != '\t')
            || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
    })
}

fn n05(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("n05", "[log]\nconnections = true\n")?;
    let to = lab.net.to();
    let mut name = b"n05-\x1b[2J\x1b]0;owned\x07\n2026-01-01 forged,line\r<b>bold&amp;\xff".to_vec();
    name.extend("\u{202e}txt.\u{2066}exe\u{9b}31m".bytes());
    let program = lab.programs.make_at(&lab.programs.dir().join(std::ffi::OsString::from_vec(name)))?;
    let path = program.to_string_lossy().into_owned();
    report(&program, &["tcp-echo", &to, "mark=\x1b[31m\n\"=cmd|' /C calc'!A0"])?;
    notices(&stage, "new-executable", &path, 1)?;
    settle(PATIENCE, || {
        // Its path is no text that a filter could take.
        let rows = stage.client.connections(&Query::default())?;
        ensure(rows.iter().any(|row| row.path.as_ref() == Some(&path)), || "no row".to_owned())
    })?;
    let commands: [&[&str]; 6] = [
        &["connections"],
        &["executables"],
        &["events"],
        &["summary", "--by", "path"],
        &["summary", "--by", "cmdline"],
        &["connections", "--json"],
    ];
    for arguments in commands {
        let output = stage.cli(None)?.args(arguments).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let command = arguments.join(" ");
        ensure(output.status.success(), || {
            format!("picosnitch {command}: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        ensure(text.contains("n05-"), || format!("picosnitch {command} does not show the program:\n{text}"))?;
        ensure(harmful(&text).is_none(), || {
            format!("picosnitch {command} prints {:?}", harmful(&text).unwrap_or(' '))
        })?;
        ensure(!text.lines().any(|line| line.starts_with("2026-01-01 forged")), || {
            format!("picosnitch {command} prints a forged line")
        })?;
    }
    for entry in std::fs::read_dir(stage.daemon.log_dir())?.flatten() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
        let file = entry.file_name();
        ensure(harmful(&text).is_none(), || format!("{file:?} holds {:?}", harmful(&text).unwrap_or(' ')))?;
        ensure(!text.lines().any(|line| line.starts_with("2026-01-01 forged")), || {
            format!("{file:?} holds a forged line")
        })?;
    }
    Ok(())
}

/// Microseconds from each program's connect to its signal; `programs` new paths of one file.
///
/// # Errors
/// A notice is missing.
pub fn latencies(lab: &Lab, stage: &Stage, programs: usize) -> Outcome<Vec<i64>> {
    let to = lab.net.to();
    let one = lab.programs.make("n06-one")?;
    let content = sha256_file(&one)?;
    report(&one, &["tcp-echo", &to])?;
    notices(stage, "new-executable", &one.to_string_lossy(), 1)?;
    let mut started = Vec::new();
    for number in 0..programs {
        let link = one.with_file_name(format!("n06-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&link);
        std::fs::hard_link(&one, &link)?;
        let made = report(&link, &["tcp-echo", &to, "bytes=10"])?;
        started.push((link.to_string_lossy().into_owned(), made.started));
    }
    let mut all = Vec::new();
    for (path, start) in &started {
        notices(stage, "new-executable", path, 1)?;
        for (at, event) in stage.client.notices("new-executable", path) {
            ensure(event.sha256.as_deref() == Some(content.as_str()), || {
                format!("NewExecutable for {path} says {:?}", event.sha256)
            })?;
            all.push(at - start);
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// How long a notice waits for its hash at the most, µs.
const WAITS: i64 = 500_000;

fn n06_hashing(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("n06-hashing", "")?;
    let cached = percentile(&latencies(lab, &stage, 20)?, 50);
    let to = lab.net.to();
    let mut started = Vec::new();
    for _ in 0..20 {
        let program = lab.programs.make("n06-fresh")?;
        let content = sha256_file(&program)?;
        let made = report(&program, &["tcp-echo", &to, "bytes=10"])?;
        started.push((program.to_string_lossy().into_owned(), content, made.started));
    }
    let (mut all, mut late) = (Vec::new(), 0);
    for (path, content, start) in &started {
        notices(&stage, "new-executable", path, 1)?;
        for (at, event) in stage.client.notices("new-executable", path) {
            match event.sha256 {
                Some(told) => ensure(told == *content, || format!("NewExecutable for {path} says {told}"))?,
                None => late += 1,
            }
            all.push(at - start);
        }
    }
    all.sort_unstable();
    let fresh = percentile(&all, 50);
    println!("    connect to signal: p50 {fresh} µs to be hashed, {cached} µs cached; {late} went without");
    if super::slow() {
        return Ok(());
    }
    // Whoever waits to the end in any case needs all of it. Half of them may have met a machine that is busy.
    ensure(fresh < WAITS / 2, || format!("p50 is {fresh} µs ({cached} µs cached): they wait to the end"))?;
    ensure(late * 2 < all.len(), || format!("{late} of {} went without their hash", all.len()))
}

/// The p-th percentile of sorted numbers.
#[must_use]
pub fn percentile(sorted: &[i64], p: usize) -> i64 {
    sorted.get((sorted.len() * p / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn n06(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("n06", "")?;
    let all = latencies(lab, &stage, 200)?;
    let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
    println!("    connect to signal: p50 {} µs, p99 {} µs over {} programs", p50, p99, all.len());
    // The promise is about the release build; `bench` measures that. A debug build gets five times as long.
    let limit = if cfg!(debug_assertions) { 100_000 } else { 20_000 };
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: f64 = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if p99 > limit && load > 2.0 * processors as f64 {
        return Err(Trouble::Skipped(format!(
            "p99 is {p99} µs, but {load} processes want the {processors} processors: not a measurement"
        )));
    }
    ensure(p99 <= limit, || format!("p99 is {p99} µs, more than {limit}"))
}
