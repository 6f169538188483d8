// SPDX-License-Identifier: GPL-3.0-or-later
//! The monitor itself comes late, goes and comes back, in the middle of traffic.

use picosnitch_api::Query;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use crate::lab::client::settle;
use crate::lab::program::{Running, sha256_file};
use crate::lab::{Lab, Outcome, Stage, Trouble, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "T00", title: "all of it once more: nothing was added later", run: t00 },
    Case { id: "T23", title: "a socket older than the monitor, idle, then used", run: t23 },
    Case { id: "T30", title: "the monitor restarted in the middle", run: t30 },
];

fn sums(stage: &Stage, path: &str) -> Outcome<(u64, u64)> {
    let rows = rows_of(&stage.client, path)?;
    Ok(rows
        .iter()
        .fold((0, 0), |sum, row| (sum.0 + row.sent.unwrap_or(0), sum.1 + row.received.unwrap_or(0))))
}

fn settle_sums(stage: &Stage, path: &str, want: (u64, u64)) -> Outcome {
    settle(PATIENCE, || {
        let got = sums(stage, path)?;
        ensure(got == want, || format!("sent and received {got:?} on record, not {want:?}"))
    })
}

/// What was right when its case ended is still right now.
fn t00(lab: &mut Lab) -> Outcome {
    let checked = std::mem::take(&mut lab.checked);
    if checked.is_empty() {
        return Err(Trouble::Skipped("no case has left anything to look at".to_owned()));
    }
    checked.iter().try_for_each(|expected| lab.compare_now(expected))
}

fn t23(lab: &mut Lab) -> Outcome {
    let program = lab.programs.make("t23-older")?;
    let content = sha256_file(&program)?;
    let path = program.to_string_lossy().into_owned();
    let mut running = Running::start(&program, &["tcp-steps", &lab.net.to()])?;
    running.report()?;
    running.say("3000")?;
    running.report()?;
    let stage = lab.stage("t23", "")?;
    running.say("5000")?;
    running.report()?;
    settle_sums(&stage, &path, (5_000, 5_000))?;
    let rows = rows_of(&stage.client, &path)?;
    ensure(rows.iter().all(|row| row.sha256.as_deref() == Some(content.as_str())), || {
        format!("content {:?}, not {content}", rows.first().and_then(|row| row.sha256.clone()))
    })?;
    let made = running.finish()?;
    let flow = made.flows.first().cloned().unwrap_or_default();
    ensure(
        rows.iter().all(|row| {
            row.remote_port == flow.remote_port
                && row.local_port == flow.local_port
                && row.direction.as_deref() == Some("out")
        }),
        || format!("{:?} is not {flow:?}", rows.first()),
    )
}

fn t30(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("t30", "")?;
    let program = lab.programs.make("t30-restart")?;
    let path = program.to_string_lossy().into_owned();
    let mut running = Running::start(&program, &["tcp-steps", &lab.net.to()])?;
    running.report()?;
    running.say("10001")?;
    running.report()?;
    settle_sums(&stage, &path, (10_001, 10_001))?;
    stage.daemon.stop()?;
    let down = crate::traffic::sys::now_us();
    // Unseen: nobody watches. These bytes must not turn up later as if they had been.
    running.say("20002")?;
    running.report()?;
    stage.daemon.launch_again()?;
    running.say("30003")?;
    running.report()?;
    settle_sums(&stage, &path, (40_004, 40_004))?;
    // An end in disorder loses at most what was not written, and counts nothing twice either.
    stage.daemon.kill();
    stage.daemon.launch_again()?;
    running.say("40004")?;
    running.report()?;
    settle_sums(&stage, &path, (80_008, 80_008))?;
    running.finish()?;
    // The gap itself is on record: when nobody watched.
    let gaps = stage.client.events(&Query { since: Some(down - 1_000_000), ..Query::default() })?;
    let gaps = gaps.iter().filter(|event| event.error.as_deref() == Some("gap")).count();
    ensure(gaps >= 1, || format!("{gaps} events tell of the time without a monitor"))?;
    let notices = stage.client.notices("new-executable", &path).len();
    ensure(notices == 1, || format!("{notices} NewExecutable, not 1"))
}
