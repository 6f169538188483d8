// SPDX-License-Identifier: GPL-3.0-or-later
//! S02 with disks of the case's own: one that stops answering, one that takes nothing, one that is read-only;
//! and a file server that never answers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use picosnitch_api::Query;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::faults;
use super::identity::Mounts;
use super::traffic::totals;
use crate::lab::client::settle;
use crate::lab::program::{Running, report, sha256};
use crate::lab::tools::{run, tail, until};
use crate::lab::{Daemon, FileServer, Lab, Outcome, Stage, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "S02", title: "a disk that stops answering, and one that refuses writes", run: s02_disk },
    Case { id: "S02", title: "a read-only disk at the start", run: s02_read_only },
    Case { id: "I12", title: "a file server that never answers holds nothing up", run: i12_silent },
    Case { id: "S01", title: "programs of a file server that fell silent are on record", run: s01_silent },
];

/// An ext4 file system in a file. Thawed and taken away at the end.
struct Disk {
    point: PathBuf,
    _mounts: Mounts,
}

impl Disk {
    fn new(dir: &Path) -> Outcome<Disk> {
        let (image, point) = (dir.join("disk"), dir.join("state"));
        File::create(&image)?.set_len(256 << 20)?;
        run("mkfs.ext4", &["-q", &image.to_string_lossy()])?;
        std::fs::create_dir_all(&point)?;
        let mut mounts = Mounts::default();
        mounts.mount(&["-o", "loop", &image.to_string_lossy(), &point.to_string_lossy()])?;
        Ok(Disk { point, _mounts: mounts })
    }

    fn freeze(&self, on: bool) -> Outcome {
        run("fsfreeze", &[if on { "-f" } else { "-u" }, &self.point.to_string_lossy()]).map(drop)
    }

    /// Files of the database that must or may change.
    fn immutable(&self, on: bool) -> Outcome {
        for name in ["picosnitch.db", "picosnitch.db-wal"] {
            let file = self.point.join(name);
            run("chattr", &[if on { "+i" } else { "-i" }, &file.to_string_lossy()])?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.freeze(false);
        let _ = self.immutable(false);
    }
}

fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Capture goes on while nothing can be written, memory stays bounded, and all of it is written later.
fn s02_disk(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s02-disk")?;
    let disk = Disk::new(&dir)?;
    let mut stage = Stage::start(&dir, "")?;
    let to = lab.net.to();
    let warm = lab.programs.make("s02-warm")?;
    report(&warm, &["tcp-echo", &to])?;
    let warm = warm.to_string_lossy().into_owned();
    settle(PATIENCE, || ensure(totals(&stage, &warm)?.2 == 1, || "not on record".to_owned()))?;
    for what in ["silent", "refusing"] {
        let stop = |on| if what == "silent" { disk.freeze(on) } else { disk.immutable(on) };
        stop(true)?;
        let before = memory(stage.daemon.pid());
        let (few, many) =
            (lab.programs.make(&format!("s02-{what}"))?, lab.programs.make(&format!("s02-{what}-many"))?);
        let path = few.to_string_lossy().into_owned();
        let made = report(&many, &["flows", &to, "count=10000"])?;
        for _ in 0..3 {
            report(&few, &["tcp-echo", &to])?;
        }
        // News does not wait for the disk, and it is no news after the write interval only.
        settle(PATIENCE, || {
            ensure(stage.client.notices("new-executable", &path).len() == 1, || {
                format!("{what}: no NewExecutable while nothing can be written")
            })
        })?;
        ensure(stage.daemon.is_running(), || format!("{what}: the daemon has ended"))?;
        let grown = memory(stage.daemon.pid()).saturating_sub(before);
        ensure(grown < 64 * 1024, || format!("{what}: its memory grew by {grown} KiB"))?;
        stop(false)?;
        settle(Duration::from_secs(40), || {
            let got = (totals(&stage, &path)?, totals(&stage, &many.to_string_lossy())?);
            let want = ((30_000, 30_000, 3), (made.sent, 0, made.connections));
            ensure(got == want, || format!("{what}: {got:?} on record, not {want:?}"))
        })?;
        let lost = stage.client.status()?.lost_rows;
        let recorded = totals(&stage, &path)?.2 + totals(&stage, &many.to_string_lossy())?.2;
        let fault = if what == "silent" { "disk that stops answering" } else { "disk that refuses writes" };
        faults::count(fault, 3 + made.connections, recorded, lost.unwrap_or(0))?;
        ensure(lost == Some(0), || format!("{what}: {lost:?} rows reported lost"))?;
    }
    let kinds = || -> Outcome<Vec<String>> {
        Ok(stage.client.events(&Query::default())?.into_iter().filter_map(|event| event.error).collect())
    };
    settle(PATIENCE, || {
        let kinds = kinds()?;
        ensure(["storage", "storage-recovered"].iter().all(|kind| kinds.iter().any(|k| k == kind)), || {
            format!("the Error events are {kinds:?}")
        })
    })?;
    // An end while nothing can be written says what is missing: both ends of a connection.
    disk.immutable(true)?;
    report(&lab.programs.make("s02-last")?, &["tcp-echo", &to])?;
    stage.daemon.ends_with(5, Duration::from_secs(20))?;
    let said = std::fs::read_to_string(stage.daemon.log())?;
    ensure(said.contains("2 rows with 40000 bytes, and 1 notices, are missing"), || {
        tail(&stage.daemon.log(), 5)
    })
}

/// One clear sentence and its own exit status, and nothing loops.
fn s02_read_only(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s02-ro")?;
    let disk = Disk::new(&dir)?;
    let mut stage = Stage::start(&dir, "")?;
    let program = lab.programs.make("s02-ro")?;
    let path = program.to_string_lossy().into_owned();
    let made = report(&program, &["tcp-sequence", &lab.net.to(), "count=40"])?.connections;
    settle(PATIENCE, || ensure(totals(&stage, &path)?.2 == made, || "not on record".to_owned()))?;
    stage.daemon.stop()?;
    run("mount", &["-o", "remount,ro", &disk.point.to_string_lossy()])?;
    let start = Instant::now();
    let output = Daemon::command(&dir, &stage.bus.address)?.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(5), || format!("it ended with {}: {text}", output.status))?;
    ensure(start.elapsed() < Duration::from_secs(10), || format!("it took {:?} to say so", start.elapsed()))?;
    let place = disk.point.to_string_lossy().into_owned();
    let sentences = text.lines().filter(|line| line.contains(&place)).count();
    ensure(sentences == 1 && !text.contains("panicked"), || format!("it said {text}"))?;
    run("mount", &["-o", "remount,rw", &place])?;
    stage.daemon.launch_again()?;
    faults::count("disk read-only at the start (made before)", made, totals(&stage, &path)?.2, 0)
}

/// The machine's path of a program leads into a server that is dead, and the program runs from elsewhere in a
/// mount namespace of its own: whether it is the machine's file cannot be known, and must not be waited for.
fn i12_silent(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("silent", "")?;
    let dir = lab.new_dir("silent-programs")?;
    let program = lab.programs.make_at(&dir.join("i12-covered"))?;
    let path = program.to_string_lossy().into_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", "read -r go; exec \"$@\"", "sh"]);
    let mut covered =
        Running::start_command(command.arg(&program).args(["tcp-echo", &lab.net.to(), "hold=1"]))?;
    // In its own namespace before the mount is made in ours.
    let own = std::fs::read_link("/proc/self/ns/mnt")?;
    let link = format!("/proc/{}/ns/mnt", covered.pid());
    let apart = until(PATIENCE, || std::fs::read_link(&link).is_ok_and(|theirs| theirs != own));
    ensure(apart, || "unshare did not unshare".to_owned())?;
    let silent = FileServer::mount(&dir, Vec::new(), true)?;
    covered.say("go")?;
    covered.report()?;
    let other = lab.programs.make("i12-other")?;
    let started = report(&other, &["tcp-echo", &lab.net.to()])?.started;
    let other = other.to_string_lossy().into_owned();
    settle(PATIENCE, || {
        let heard = stage.client.notices("new-executable", &other);
        let (at, _) = heard.first().ok_or_else(|| {
            format!("nothing is told while a server is silent:\n{}", tail(&stage.daemon.log(), 5))
        })?;
        ensure(at - started < 5_000_000, || format!("news took {} ms", (at - started) / 1000))
    })?;
    settle(PATIENCE, || {
        let rows = rows_of(&stage.client, &path)?;
        ensure(rows.iter().any(|row| row.sent == Some(10_000) && row.foreign_root == Some(true)), || {
            format!("{:?} on record", rows.first())
        })
    })?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        ensure(events.iter().any(|event| event.error.as_deref() == Some("lost-lookups")), || {
            "nobody is told that a look-up was not answered".to_owned()
        })
    })?;
    drop(silent);
    covered.release();
    Ok(())
}

/// A program runs from a server that falls silent before anybody has read it: what it does is written all the same,
/// so that a kill does not take it away, and its content is there once the server answers.
fn s01_silent(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("fell-silent", "")?;
    let content = lab.programs.content();
    let right = sha256(&content);
    let server = FileServer::mount(&lab.new_dir("fell-silent-programs")?, content, false)?;
    let program = server.program();
    let path = program.to_string_lossy().into_owned();
    // All of it is in memory, so that it can run without its server; to open it takes the server.
    std::fs::read(&program)?;
    let mut running = Running::start(&program, &["tcp-steps", &lab.net.to(), "wait=1"])?;
    server.fall_silent(true);
    running.say("go")?;
    running.report()?;
    let mut step = |stage: &Stage, bytes: u64, sum: u64, within: Duration| -> Outcome<Vec<_>> {
        running.say(&bytes.to_string())?;
        running.report()?;
        let rows = || rows_of(&stage.client, &path);
        settle(within, || {
            let rows = rows()?;
            let got: u64 = rows.iter().filter_map(|row| row.sent).sum();
            let connections: u64 = rows.iter().filter_map(|row| row.connections).sum();
            ensure((got, connections) == (sum, 1), || {
                format!("{got} bytes and {connections} connections on record, not {sum} and 1")
            })
        })?;
        rows()
    };
    // So long it is waited for its content.
    let rows = step(&stage, 1000, 1000, Duration::from_secs(30) + PATIENCE)?;
    ensure(rows.iter().all(|row| row.sha256_unknown.as_deref() == Some("pending")), || format!("{rows:?}"))?;
    step(&stage, 200, 1200, PATIENCE)?;
    stage.daemon.kill();
    stage.daemon.launch_again()?;
    step(&stage, 30, 1230, Duration::from_secs(30) + PATIENCE)?;
    server.fall_silent(false);
    let mut sum = 1230;
    settle(PATIENCE, || {
        sum += 4;
        let rows = step(&stage, 4, sum, PATIENCE)?;
        let known =
            rows.iter().any(|row| row.sha256.as_deref() == Some(&right) && row.sha256_unknown.is_none());
        ensure(known, || "no row has the content of a server that answers again".to_owned())
    })?;
    let notices = |kind| stage.client.notices(kind, &path).len();
    let told = (notices("new-executable"), notices("hash-changed"));
    ensure(told == (1, 0), || format!("{told:?} notices of a new and of a changed program"))
}
