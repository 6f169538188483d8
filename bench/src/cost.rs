// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon itself takes: time to start, memory, processor, hashing.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use picosnitch_api::Query;
use picosnitch_tests::lab::client::settle;
use picosnitch_tests::lab::program::{Running, report};
use picosnitch_tests::lab::tools::run;
use picosnitch_tests::lab::{Lab, Outcome, Trouble, ensure};

use crate::Arguments;
use crate::table::{Line, spread};

/// From start to `READY=1`.
pub fn start(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let mut stage = lab.stage("bench-start", "")?;
    let mut all = Vec::new();
    for _ in 0..arguments.pairs.max(5) {
        stage.daemon.restart()?;
        all.push(stage.daemon.ready_after.as_secs_f64() * 1e3);
    }
    let all = spread(all);
    let text = format!("{:.0} ms (median of {}, {:.0} to {:.0})", all.median, all.count, all.least, all.most);
    Ok(vec![Line::promised("start to ready", text, "≤ 300 ms", all.median <= 300.0)])
}

/// Proportional set size, MiB.
pub fn pss(pid: u32) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<f64>().ok())
        .map(|kib| kib / 1024.0)
        .ok_or_else(|| "no Pss in smaps_rollup".into())
}

/// Memory idle, and after many flows.
pub fn memory(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("bench-memory", "")?;
    let program = lab.programs.make("bench-memory")?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = pss(stage.daemon.pid())?;
    let to = lab.net.to();
    let mut most = idle;
    let mut left = arguments.flows;
    // In parts, so that the most it ever took is seen.
    while left > 0 {
        let part = left.min(100_000);
        report(&program, &["flows", &to, "peers=100", &format!("count={part}")])?;
        most = most.max(pss(stage.daemon.pid())?);
        left -= part;
    }
    std::thread::sleep(Duration::from_secs(5));
    let after = pss(stage.daemon.pid())?;
    let status = stage.client.status()?;
    Ok(vec![
        Line::promised("daemon memory idle (PSS)", format!("{idle:.1} MiB"), "≤ 12 MiB", idle <= 12.0),
        Line::promised(
            format!("daemon memory after {} flows (PSS)", arguments.flows),
            format!(
                "{after:.1} MiB (most while they ran: {most:.1}); {} flows reported lost",
                status.lost_flows.unwrap_or(0)
            ),
            "≤ 32 MiB",
            after <= 32.0,
        ),
    ])
}

/// User and system time of a process so far, seconds.
fn processor(pid: u32) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit(')').next().unwrap_or("");
    // Fields 14 and 15 (proc_pid_stat(5)); after the name the first is field 3.
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks / hertz as f64)
}

/// Processor time while nothing is done (on purpose; the machine may have other users).
pub fn idle(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("bench-idle", "[database]\nwrite_interval_seconds = 10\n")?;
    std::thread::sleep(Duration::from_secs(3));
    let before = processor(stage.daemon.pid())?;
    std::thread::sleep(Duration::from_secs(arguments.idle));
    let percent = (processor(stage.daemon.pid())? - before) / arguments.idle as f64 * 100.0;
    Ok(vec![Line::promised(
        format!("daemon processor time over {} s of idleness", arguments.idle),
        format!("{percent:.2} %"),
        "0.0 %",
        percent < 0.05,
    )])
}

const BIG: u64 = 1 << 30;

/// A program of 1 GiB, hashed by the daemon and by openssl.
pub fn sha256(lab: &mut Lab, _: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("bench-sha256", "")?;
    let mut all = Vec::new();
    for _ in 0..3 {
        let program = lab.programs.make("bench-big")?;
        let path = program.to_string_lossy().into_owned();
        let mut file = std::fs::OpenOptions::new().write(true).open(&program)?;
        let own = file.seek(SeekFrom::End(0))?;
        let chunk: Vec<u8> =
            (0..1 << 20).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for _ in 0..(BIG - own) >> 20 {
            file.write_all(&chunk)?;
        }
        file.sync_all()?;
        drop(file);
        // Once to have it in the page cache, then for the time.
        run("openssl", &["dgst", "-sha256", &path])?;
        let start = Instant::now();
        let line = run("openssl", &["dgst", "-sha256", &path])?;
        let theirs = start.elapsed().as_secs_f64();
        let hash = line.rsplit(' ').next().unwrap_or("").trim().to_owned();
        let begun = Instant::now();
        let running = Running::start(&program, &["tcp-echo", &lab.net.to(), "hold=1"])?;
        let query = Query { path: Some(path.clone()), ..Query::default() };
        settle(Duration::from_secs(30), || {
            let events = stage.client.events(&query)?;
            let known = events.iter().find_map(|event| event.sha256.clone());
            ensure(known.as_deref() == Some(hash.as_str()), || format!("its sha256 is {known:?}, not {hash}"))
        })?;
        let ours = begun.elapsed().as_secs_f64();
        running.release();
        std::fs::remove_file(&program).map_err(Trouble::from)?;
        all.push(theirs / ours);
    }
    let all = spread(all);
    Ok(vec![Line::promised(
        "sha256 of a 1 GiB program, from its start to its hash on the bus; speed ÷ openssl dgst",
        all.to_string(),
        "≥ 0.95",
        all.median >= 0.95,
    )])
}
