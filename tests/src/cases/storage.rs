// SPDX-License-Identifier: GPL-3.0-or-later
//! S: the database survives whatever happens to it, and says what it lost.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use picosnitch_api::{Dimension, Query, row};
use rusqlite::Connection;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::faults;
use super::identity::{MOMENT, Mounts};
use super::traffic::totals;
use crate::lab::client::settle;
use crate::lab::daemon::Clock;
use crate::lab::program::{Running, report};
use crate::lab::tools::run;
use crate::lab::{Daemon, Lab, Outcome, Stage, Trouble, built, ensure, project};
use crate::traffic::sys::now_us;

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "S01", title: "kill -9 at any instant", run: s01 },
    Case { id: "S02", title: "disk full, locked", run: s02 },
    Case { id: "S03", title: "corrupt database set aside, locked one never", run: s03 },
    Case { id: "S05", title: "what is forgotten, and when", run: s05 },
    Case { id: "S06", title: "clock steps", run: s06 },
    Case { id: "S09", title: "logrotate loses no line", run: s09 },
    Case { id: "S09", title: "a log on a disk that is full: no torn line, no lost one", run: s09_full },
];

/// A database that every reader of SQLite calls sound.
fn sound(daemon: &Daemon) -> Outcome {
    let database = Connection::open(daemon.database())?;
    let answer: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure(answer == "ok", || format!("integrity_check says {answer}"))
}

/// A write interval of 1 s, and as much again for what a busy machine takes to collect and to commit, µs.
const INTERVALS: i64 = 2_000_000;

fn s01(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("s01", "")?;
    let to = lab.net.to();
    let program = lab.programs.make("s01-killed")?;
    let path = program.to_string_lossy().into_owned();
    // Each connection is one of a process of its own: a row of its first moment may be without a local port.
    let mut ended: Vec<(u32, i64)> = Vec::new();
    let mut kills = Vec::new();
    for round in 0..6_u64 {
        let up = now_us();
        // Another point of the write interval each time.
        let until = up + 2_300_000 + i64::try_from(round).unwrap_or(0) * 170_000;
        while now_us() < until {
            let made = report(&program, &["tcp-echo", &to, "bytes=500"])?;
            ended.push((made.pid, now_us()));
        }
        stage.daemon.kill();
        kills.push(now_us());
        sound(&stage.daemon)?;
        stage.daemon.launch_again()?;
    }
    let rows = rows_of(&stage.client, &path)?;
    let mut recorded: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for row in &rows {
        let sum = recorded.entry(row.pid.unwrap_or(0)).or_default();
        sum.0 += row.sent.unwrap_or(0);
        sum.1 += row.received.unwrap_or(0);
    }
    let safe = |end: i64| {
        let kill = kills.iter().find(|kill| **kill > end).copied().unwrap_or(i64::MAX);
        kill - end > INTERVALS
    };
    let must: Vec<_> = ended.iter().filter(|(_, end)| safe(*end)).collect();
    ensure(must.len() > 20, || format!("only {} connections were made in time", must.len()))?;
    count_missing(&rows, &ended, &kills)?;
    // A number may have been used twice.
    let wrong = must.iter().find(|(pid, _)| {
        let (sent, received) = recorded.get(pid).copied().unwrap_or_default();
        sent != received || sent % 500 != 0
    });
    ensure(wrong.is_none(), || {
        format!("{:?} for process {wrong:?}", wrong.and_then(|(pid, _)| recorded.get(pid)))
    })
}

/// Each connection is on record once, but for those of the last interval before a kill.
fn count_missing(rows: &[row::Connection], ended: &[(u32, i64)], kills: &[i64]) -> Outcome {
    let mut recorded: BTreeMap<u32, u64> = BTreeMap::new();
    for row in rows {
        *recorded.entry(row.pid.unwrap_or(0)).or_default() += row.connections.unwrap_or(0);
    }
    let all: u64 = recorded.values().sum();
    // How long before the next kill each ended, and what is not there. Of those with one number the oldest are.
    let mut ages: Vec<(i64, u32)> = Vec::new();
    for (pid, end) in ended {
        let kill = kills.iter().find(|kill| **kill > *end).copied().unwrap_or(i64::MAX);
        ages.push((kill.saturating_sub(*end), *pid));
    }
    ages.sort_unstable_by(|a, b| b.cmp(a));
    ages.retain(|(_, pid)| match recorded.get_mut(pid) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    let oldest = ages.first().map_or(0, |(age, _)| *age);
    let made = ended.len() as u64;
    faults::line(
        &format!("kill -9, {} times", kills.len()),
        made,
        all,
        0,
        &format!(
            "those of the last interval (1 s): the oldest was over {} ms before its kill",
            oldest / 1000
        ),
    );
    let twice: u64 = recorded.values().sum();
    let extra: Vec<u32> = recorded.iter().filter(|(_, left)| **left > 0).map(|(pid, _)| *pid).collect();
    ensure(twice == 0, || {
        let of: Vec<_> = rows.iter().filter(|row| extra.contains(&row.pid.unwrap_or(0))).collect();
        format!("{twice} connections are on record that were not made: {of:?}")
    })?;
    ensure(all + ages.len() as u64 == made, || format!("{} missing of {made}, {all} there", ages.len()))?;
    ensure(oldest <= INTERVALS, || {
        format!("{} of {made} connections are gone, one {} ms older than its kill", ages.len(), oldest / 1000)
    })
}

/// A daemon whose state is on a small file system of its own.
fn on_small_disk(lab: &mut Lab, name: &str, mounts: &mut Mounts) -> Outcome<Stage> {
    let dir = lab.new_dir(name)?;
    let state = dir.join("state");
    std::fs::create_dir_all(&state)?;
    mounts.mount(&["-t", "tmpfs", "-o", "size=4m,mode=0700", "none", &state.to_string_lossy()])?;
    Stage::start(&dir, "")
}

fn s02(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let mut mounts = Mounts::default();
    let mut stage = on_small_disk(lab, "s02", &mut mounts)?;
    let state = stage.dir.join("state");
    // Traffic while the database cannot be written must be on record once it can be again.
    let during = |lab: &Lab,
                  stage: &mut Stage,
                  (name, what): (&str, &str),
                  release: &mut dyn FnMut() -> Outcome|
     -> Outcome {
        let program = lab.programs.make(name)?;
        let path = program.to_string_lossy().into_owned();
        let mut made = (0, 0, 0);
        for _ in 0..5 {
            let part = report(&program, &["tcp-sequence", &to, "count=40"])?;
            made = (made.0 + part.sent, made.1 + part.received, made.2 + part.connections);
            std::thread::sleep(Duration::from_millis(500));
        }
        // News does not wait for the disk.
        settle(PATIENCE, || {
            ensure(stage.client.notices("new-executable", &path).len() == 1, || {
                format!("{name}: no NewExecutable while the database cannot be written")
            })
        })?;
        ensure(stage.daemon.is_running(), || format!("{name}: the daemon has ended"))?;
        degraded(stage, true)?;
        release()?;
        // So little fits into memory: nothing is lost, so nothing is told as lost either.
        let written = settle(Duration::from_secs(30), || {
            let got = totals(stage, &path)?;
            ensure(got == made, || format!("{name}: {got:?} on record, not {made:?}"))
        });
        let lost = stage.client.status()?.lost_rows.unwrap_or(0);
        faults::count(what, made.2, totals(stage, &path)?.2, lost)?;
        ensure(lost == 0, || format!("{name}: {lost} rows reported lost"))?;
        written?;
        degraded(stage, false)
    };
    let filler = state.join("filler");
    // Fill what is left, to the last block.
    let mut file = std::fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    let full = ("s02-full", "disk full for 3 s");
    during(lab, &mut stage, full, &mut || std::fs::remove_file(&filler).map_err(Trouble::from))?;
    let lock = Connection::open(stage.daemon.database())?;
    lock.busy_timeout(Duration::from_secs(5))?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let locked = ("s02-locked", "database locked by another process for 3 s");
    during(lab, &mut stage, locked, &mut || lock.execute_batch("ROLLBACK").map_err(Trouble::from))?;
    drop(lock);
    let events = stage.client.events(&Query::default())?;
    ensure(events.iter().any(|event| event.error.as_deref() == Some("storage")), || {
        "no Error event tells of the storage".to_owned()
    })
}

/// The state says that the history cannot be written, as long as it is so.
fn degraded(stage: &Stage, so: bool) -> Outcome {
    settle(PATIENCE, || {
        let degraded = stage.client.status()?.degraded.unwrap_or_default();
        let said = degraded.iter().any(|why| why.contains("the database cannot be written"));
        ensure(said == so, || format!("degraded by {degraded:?}"))
    })
}

fn bad_files(stage_dir: &std::path::Path) -> Outcome<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(stage_dir.join("state"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".bad"))
        .collect();
    names.sort();
    Ok(names)
}

fn s03(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let mut stage = lab.stage("s03", "")?;
    let program = lab.programs.make("s03-corrupt")?;
    let path = program.to_string_lossy().into_owned();
    report(&program, &["tcp-echo", &to])?;
    settle(PATIENCE, || ensure(totals(&stage, &path)?.2 == 1, || "not on record".to_owned()))?;
    stage.daemon.stop()?;
    // Locked at the start: somebody reads it, that is all. It must not be set aside.
    let lock = Connection::open(stage.daemon.database())?;
    lock.execute_batch("BEGIN EXCLUSIVE")?;
    let release = std::thread::spawn(move || {
        std::thread::sleep(MOMENT);
        let _ = lock.execute_batch("ROLLBACK");
    });
    let outcome = stage.daemon.launch_again();
    let _ = release.join();
    if outcome.is_err() {
        // A daemon that says that it cannot start is right, too, as long as it leaves the file alone.
        stage.daemon.launch_again()?;
    }
    ensure(bad_files(&stage.dir)?.is_empty(), || "a locked database was set aside".to_owned())?;
    settle(PATIENCE, || ensure(totals(&stage, &path)?.2 == 1, || "the history is gone".to_owned()))?;
    faults::count("database locked at the start", 1, totals(&stage, &path)?.2, 0)?;
    stage.daemon.stop()?;
    // Corrupt: the first page and more is noise.
    let database = stage.daemon.database();
    let mut bytes = std::fs::read(&database)?;
    for (index, byte) in bytes.iter_mut().take(20_000).enumerate() {
        *byte = (index * 31 % 256) as u8;
    }
    std::fs::write(&database, &bytes)?;
    for name in ["picosnitch.db-wal", "picosnitch.db-shm"] {
        let _ = std::fs::remove_file(stage.dir.join("state").join(name));
    }
    stage.daemon.launch_again()?;
    let bad = bad_files(&stage.dir)?;
    ensure(!bad.is_empty(), || "the corrupt database was not set aside as .bad".to_owned())?;
    let kept = stage.dir.join("state").join(&bad[0]);
    ensure(std::fs::read(&kept)? == bytes, || format!("{} is not the corrupt file", kept.display()))?;
    sound(&stage.daemon)?;
    report(&program, &["tcp-echo", &to])?;
    settle(PATIENCE, || {
        ensure(totals(&stage, &path)?.2 == 1, || "nothing is recorded afterwards".to_owned())
    })?;
    let after = totals(&stage, &path)?.2;
    faults::line(
        "database damaged at the start",
        1,
        after,
        0,
        "the one recorded before is in picosnitch.db.bad",
    );
    let events = stage.client.events(&Query::default())?;
    ensure(events.iter().any(|event| event.error.as_deref() == Some("storage-damaged")), || {
        format!("no Error event tells of it: {events:?}")
    })
}

/// Rows of forty days ago: first the detail goes, then the totals, at the word of whoever changes the settings.
fn s05(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s05")?;
    let clock = Clock::new(&dir)?;
    let stage = Stage::start(&dir, "")?;
    let to = lab.net.to();
    let made = |days: i64, name: &str| -> Outcome<String> {
        clock.set(days * 86_400)?;
        let program = lab.programs.make(name)?;
        report(&program, &["tcp-echo", &to])?;
        let path = program.to_string_lossy().into_owned();
        settle(PATIENCE, || {
            let got = totals(&stage, &path)?;
            ensure(got == (10_000, 10_000, 1), || format!("{name}: {got:?} on record"))
        })?;
        Ok(path)
    };
    let (old, new) = (made(-40, "s05-old")?, made(0, "s05-new")?);
    let set = |key: &str, value: &str| -> Outcome {
        let mut command = Command::new(built("picosnitch")?);
        command.args(["config", "set", key, value]).env("DBUS_SYSTEM_BUS_ADDRESS", &stage.bus.address);
        let output = command.output()?;
        ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let summed = |path: &str| -> Outcome<u64> {
        let q = Query { path: Some(path.to_owned()), ..Query::default() };
        let (totals, _) =
            stage.client.call(|client| async move { client.summary(Dimension::Path, &q).await })?;
        Ok(totals.iter().map(|total| total.sent).sum())
    };
    set("database.detail_days", "7")?;
    settle(PATIENCE, || ensure(rows_of(&stage.client, &old)?.is_empty(), || "old rows stay".to_owned()))?;
    ensure(summed(&old)? == 10_000, || "the totals of what was folded are gone".to_owned())?;
    set("database.retention_days", "20")?;
    settle(PATIENCE, || {
        let left = summed(&old)?;
        ensure(left == 0, || format!("{left} bytes older than the retention"))
    })?;
    ensure(rows_of(&stage.client, &new)?.len() == 1 && summed(&new)? == 10_000, || {
        "what is new was forgotten too".to_owned()
    })?;
    // It stays known: no second notice.
    clock.set(0)?;
    report(&old, &["tcp-echo", &to])?;
    settle(PATIENCE, || ensure(summed(&old)? == 10_000, || "new traffic is not recorded".to_owned()))?;
    let notices = stage.client.notices("new-executable", &old).len();
    ensure(notices == 1, || format!("{notices} NewExecutable, not 1"))
}

/// The shipped snippet, with the real logrotate, again and again while lines are written.
fn s09(lab: &mut Lab) -> Outcome {
    /// Column of the bytes that were sent, in conn.log.
    const SENT: usize = 14;
    const ROUNDS: usize = 8;
    let stage = lab.stage("s09", "[database]\nwrite_interval_seconds = 1\n[log]\nconnections = true\n")?;
    let logs = stage.daemon.log_dir();
    let snippet = std::fs::read_to_string(project().join("data/picosnitch.logrotate"))?;
    let snippet = snippet.replace("/var/log/picosnitch", &logs.to_string_lossy());
    let (rules, state) = (stage.dir.join("logrotate.conf"), stage.dir.join("logrotate.state"));
    std::fs::write(&rules, snippet)?;
    // It takes rules of root alone.
    std::fs::set_permissions(&rules, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let good = std::fs::read(stage.daemon.config())?;
    let mut made = Vec::new();
    for round in 0..ROUNDS {
        let program = lab.programs.make(&format!("s09-line{round}"))?;
        let path = program.to_string_lossy().into_owned();
        for _ in 0..20 {
            report(&program, &["tcp-echo", &lab.net.to(), "bytes=10"])?;
        }
        std::fs::write(stage.daemon.config(), format!("round{round} = 1\n"))?;
        let pid = i32::try_from(stage.daemon.pid()).unwrap_or(0);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGHUP)
            .map_err(|error| Trouble::Failed(error.to_string()))?;
        // There is something to rotate; lines of this round may come before it, after it, or both.
        settle(PATIENCE, || {
            let text = std::fs::read_to_string(logs.join("exe.log")).unwrap_or_default();
            ensure(text.contains(&path), || format!("exe.log has no line of round {round}"))
        })?;
        run("logrotate", &["--force", "--state", &state.to_string_lossy(), &rules.to_string_lossy()])?;
        made.push(path);
    }
    std::fs::write(stage.daemon.config(), good)?;
    let lines = |name: &str| -> Outcome<Vec<String>> {
        let mut all = String::new();
        for entry in std::fs::read_dir(&logs)? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !file.starts_with(name) {
                continue;
            }
            if file.ends_with(".gz") {
                let output = Command::new("gzip").arg("-dc").arg(&path).output()?;
                all.push_str(&String::from_utf8_lossy(&output.stdout));
            } else {
                all.push_str(&std::fs::read_to_string(&path)?);
            }
        }
        Ok(all.lines().map(str::to_owned).collect())
    };
    settle(PATIENCE, || {
        let (rows, news, errors) = (lines("conn.log")?, lines("exe.log")?, lines("error.log")?);
        for (round, path) in made.iter().enumerate() {
            let count =
                |lines: &[String], text: &str| lines.iter().filter(|line| line.contains(text)).count();
            let cell = format!("{path},");
            // A connection that lasts over the end of an interval has two lines: bytes are what must be whole.
            let sent: u64 = rows
                .iter()
                .filter(|line| line.starts_with(&cell))
                .filter_map(|line| line.split(',').nth(SENT)?.parse::<u64>().ok())
                .sum();
            let got = (sent, count(&news, path), count(&errors, &format!("round{round}")));
            ensure(got == (200, 1, 1), || {
                format!("round {round}: {got:?} bytes, notices and errors, not 200, 1 and 1")
            })?;
        }
        ensure(errors.len() == ROUNDS, || format!("{} errors, not {ROUNDS}", errors.len()))
    })?;
    let rotated = std::fs::read_dir(&logs)?.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".gz"))
    });
    let rotated = rotated.count();
    ensure(rotated >= ROUNDS, || format!("only {rotated} files were rotated and compressed"))
}

/// The daemon's own clock is set; the machine's stays.
fn s06(lab: &mut Lab) -> Outcome {
    const HOUR: i64 = 3_600;
    let dir = lab.new_dir("s06")?;
    let clock = Clock::new(&dir)?;
    let stage = Stage::start(&dir, "")?;
    let to = lab.net.to();
    let mut all = Vec::new();
    // One flow is open across all steps.
    let through = lab.programs.make("s06-through")?;
    let mut running = Running::start(&through, &["tcp-steps", &to])?;
    running.report()?;
    for (name, offset) in
        [("s06-before", 0), ("s06-forward", HOUR), ("s06-backward", -2 * HOUR), ("s06-after", 0)]
    {
        clock.set(offset)?;
        let program = lab.programs.make(name)?;
        let made = report(&program, &["tcp-echo", &to])?;
        running.say("1000")?;
        running.report()?;
        let path = program.to_string_lossy().into_owned();
        settle(PATIENCE, || {
            let got = totals(&stage, &path)?;
            ensure(got == (10_000, 10_000, 1), || format!("{name}: {got:?} on record"))
        })?;
        all.push((path, made.started + offset * 1_000_000));
    }
    running.finish()?;
    // Each row has the time that the clock showed then, give or take the interval in which it was set.
    for (path, at) in &all {
        for row in rows_of(&stage.client, path)? {
            let away = row.time.unwrap_or(0) - at;
            ensure(away.abs() < 5_000_000, || {
                format!("{path} is recorded {} s away from its time", away / 1_000_000)
            })?;
        }
    }
    let path = through.to_string_lossy().into_owned();
    settle(PATIENCE, || {
        let got = totals(&stage, &path)?;
        ensure(got == (4_000, 4_000, 1), || format!("the flow across the steps: {got:?} on record"))
    })?;
    let mut recorded = totals(&stage, &path)?.2;
    for (path, _) in &all {
        recorded += totals(&stage, path)?.2;
    }
    faults::count(
        "clock set forward by 1 h, back by 3 h, forward by 2 h",
        all.len() as u64 + 1,
        recorded,
        0,
    )?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        ensure(events.iter().any(|event| event.error.as_deref() == Some("clock")), || {
            "no Error event tells of the steps".to_owned()
        })
    })
}

/// conn.log on a file system of its own that takes half a line and no more.
fn s09_full(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s09-full")?;
    let logs = dir.join("log");
    std::fs::create_dir_all(&logs)?;
    let mut mounts = Mounts::default();
    mounts.mount(&["-t", "tmpfs", "-o", "size=64k,mode=0700", "none", &logs.to_string_lossy()])?;
    let stage = Stage::start(&dir, "[log]\nconnections = true\n")?;
    let (log, filler) = (logs.join("conn.log"), logs.join("filler"));
    let mut made = Vec::new();
    let mut run_one = |name: &str| -> Outcome {
        let program = lab.programs.make(name)?;
        report(&program, &["tcp-echo", &lab.net.to(), "bytes=10"])?;
        let path = program.to_string_lossy().into_owned();
        settle(PATIENCE, || {
            ensure(!rows_of(&stage.client, &path)?.is_empty(), || format!("{path}: no row"))
        })?;
        made.push(path);
        Ok(())
    };
    run_one("s09-before")?;
    settle(PATIENCE, || ensure(log.exists(), || "there is no conn.log".to_owned()))?;
    // All pages but what is left of the log's last one.
    let _ = std::fs::write(&filler, vec![b'x'; 128 * 1024]);
    let whole = || -> Outcome<String> {
        let text = std::fs::read_to_string(&log)?;
        // What is between quotation marks is one cell.
        let cells =
            |line: &str| line.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>();
        let columns = cells(text.lines().next().unwrap_or_default());
        let torn = text.lines().find(|line| cells(line) != columns);
        ensure(torn.is_none() && text.ends_with('\n'), || format!("half a line: {torn:?}"))?;
        Ok(text)
    };
    for round in 0..20 {
        run_one(&format!("s09-during{round}"))?;
        whole()?;
    }
    let told = stage.client.events(&Query::default())?;
    ensure(told.iter().any(|event| event.error.as_deref() == Some("text-log")), || {
        "the disk was never full".to_owned()
    })?;
    std::fs::remove_file(&filler)?;
    run_one("s09-after")?;
    settle(PATIENCE, || {
        let text = whole()?;
        let lost = made.iter().find(|path| !text.lines().any(|line| line.starts_with(&format!("{path},"))));
        ensure(lost.is_none(), || format!("conn.log has no line of {lost:?}"))
    })
}
