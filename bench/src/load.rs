// SPDX-License-Identifier: GPL-3.0-or-later
//! The same load with and without the monitor.

use picosnitch_tests::cases::notices::{latencies, percentile};
use picosnitch_tests::cases::traffic::totals;
use picosnitch_tests::lab::client::settle;
use picosnitch_tests::lab::program::report;
use picosnitch_tests::lab::{Lab, Outcome, ensure};

use crate::Arguments;
use crate::table::{Line, spread};

/// Elapsed time without over elapsed time with, in pairs; which comes first changes from pair to pair.
fn ratio(lab: &mut Lab, pairs: usize, name: &str, load: &[&str]) -> Outcome<Vec<f64>> {
    let mut stage = lab.stage(name, "")?;
    let program = lab.programs.make(name)?;
    // Once for the caches of the program itself.
    report(&program, load)?;
    let mut all = Vec::new();
    for pair in 0..pairs {
        let mut elapsed = [0.0; 2];
        let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
        for with in order {
            if with && !stage.daemon.is_running() {
                stage.daemon.launch_again()?;
            } else if !with {
                stage.daemon.stop()?;
            }
            elapsed[usize::from(with)] = report(&program, load)?.elapsed as f64;
        }
        all.push(elapsed[0] / elapsed[1]);
    }
    Ok(all)
}

/// 1 byte there and back over loopback TCP.
pub fn ping_pong(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let all = spread(ratio(lab, arguments.pairs, "bench-ping-pong", &["ping-pong", "count=200000"])?);
    let holds = all.median >= 0.97;
    Ok(vec![Line::promised(
        "loopback 1-byte ping-pong, speed with ÷ without",
        all.to_string(),
        "≥ 0.97",
        holds,
    )])
}

/// Short connections to the peer.
pub fn connection_rate(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let to = lab.net.to();
    let load = ["connections", &to, "count=40000", "peers=100"];
    let all = spread(ratio(lab, arguments.pairs, "bench-connections", &load)?);
    let holds = all.median >= 0.9;
    Ok(vec![Line::promised("short connections, rate with ÷ without", all.to_string(), "≥ 0.9", holds)])
}

/// 100 000 short connections as fast as they go.
pub fn lost(lab: &mut Lab, _: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("bench-lost", "")?;
    let program = lab.programs.make("bench-lost")?;
    let path = program.to_string_lossy().into_owned();
    let made = report(&program, &["connections", &lab.net.to(), "count=100000", "peers=100"])?;
    let mut recorded = (0, 0, 0);
    let whole = settle(std::time::Duration::from_secs(20), || {
        recorded = totals(&stage, &path)?;
        ensure(recorded == (made.sent, made.received, made.connections), String::new)
    });
    let status = stage.client.status()?;
    let lost = status.lost_flows.unwrap_or(0);
    let rate = made.connections as f64 / (made.elapsed as f64 / 1e6);
    Ok(vec![Line::promised(
        format!("{} short connections at {rate:.0}/s", made.connections),
        format!(
            "{} recorded with {} of {} bytes, {lost} reported lost",
            recorded.2,
            recorded.0 + recorded.1,
            made.sent + made.received
        ),
        "none lost",
        whole.is_ok() && lost == 0,
    )])
}

/// From connect to the signal on the bus, for programs whose content is known already.
pub fn latency(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("bench-latency", "")?;
    let all = latencies(lab, &stage, arguments.programs)?;
    let (p50, p99) = (percentile(&all, 50) as f64 / 1e3, percentile(&all, 99) as f64 / 1e3);
    Ok(vec![Line::promised(
        format!("notice latency, {} fresh programs, content cached", all.len()),
        format!("p50 {p50:.2} ms, p99 {p99:.2} ms, most {:.2} ms", percentile(&all, 100) as f64 / 1e3),
        "p99 ≤ 20 ms",
        p99 <= 20.0,
    )])
}
