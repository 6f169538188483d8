// SPDX-License-Identifier: GPL-3.0-or-later
//! Nanoseconds per send and per receive in the kernel, by the kernel's own statistics about programs,
//! against empty programs on the same hooks in the same run.
#![allow(unsafe_code)] // the generated skeleton

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel as _, Skel as _, SkelBuilder as _};
use picosnitch_tests::lab::program::report;
use picosnitch_tests::lab::{Lab, Outcome, Trouble};

use crate::Arguments;
use crate::table::{Line, spread};

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used
)]
mod empty {
    include!(concat!(env!("OUT_DIR"), "/empty.skel.rs"));
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Statistics on while it lives.
struct Stats(String);

impl Stats {
    fn on() -> Outcome<Stats> {
        let before = std::fs::read_to_string(STATS)?;
        std::fs::write(STATS, "1")?;
        Ok(Stats(before))
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        let _ = std::fs::write(STATS, self.0.trim());
    }
}

/// Name and id → runs, nanoseconds.
fn counts() -> BTreeMap<(String, u32), (u64, u64)> {
    ProgInfoIter::default()
        .map(|program| {
            let name = program.name.to_string_lossy().into_owned();
            ((name, program.id), (program.run_cnt, program.run_time_ns))
        })
        .collect()
}

/// Programs per send of another daemon on this machine.
pub fn others() -> usize {
    counts().keys().filter(|(name, _)| name == "sock_send").count()
}

/// Per run, for each program that ran, between two counts.
fn costs(
    before: &BTreeMap<(String, u32), (u64, u64)>,
    after: &BTreeMap<(String, u32), (u64, u64)>,
) -> BTreeMap<String, (u64, f64)> {
    after
        .iter()
        .filter_map(|((name, id), (runs, time))| {
            let (runs_before, time_before) = before.get(&(name.clone(), *id)).copied().unwrap_or_default();
            let runs = runs.checked_sub(runs_before).filter(|runs| *runs > 0)?;
            Some((name.clone(), (runs, (time - time_before) as f64 / runs as f64)))
        })
        .collect()
}

/// Sends and receives of 1 byte over loopback TCP, in several rounds.
pub fn per_call(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = lab.stage("kernel", "")?;
    let program = lab.programs.make("bench-kernel")?;
    let bpf = |error: libbpf_rs::Error| Trouble::Failed(format!("the empty programs: {error}"));
    let mut object = MaybeUninit::uninit();
    let open = empty::EmptySkelBuilder::default().open(&mut object).map_err(bpf)?;
    let mut skeleton = open.load().map_err(bpf)?;
    skeleton.attach().map_err(bpf)?;
    let stats = Stats::on()?;
    let (mut sends, mut receives) = (Vec::new(), Vec::new());
    let mut each: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut per_packet = Vec::new();
    for _ in 0..arguments.pairs {
        let before = counts();
        report(&program, &["ping-pong", "count=100000"])?;
        let all = costs(&before, &counts());
        let cost = |name: &str| all.get(name).map(|(_, cost)| *cost);
        let (Some(empty_send), Some(empty_receive)) = (cost("empty_send"), cost("empty_receive")) else {
            return Err("the empty programs did not run".into());
        };
        let send = cost("sock_send").ok_or("sock_send did not run")?;
        let receive = cost("sock_recv").ok_or("sock_recv did not run")?;
        sends.push(send - empty_send);
        // A TCP read passes a second hook of ours; an empty program there would cost the same as here.
        receives
            .push(receive - empty_receive + cost("tcp_received").map_or(0.0, |cost| cost - empty_receive));
        // Per packet, and one send makes one packet here.
        let packet = |name: &str| cost(name).map_or(0.0, |cost| (cost - empty_send).max(0.0));
        per_packet.push(packet("packet_out") + packet("packet_in"));
        for (name, (runs, cost)) in all {
            if runs > 10_000 {
                each.entry(name).or_default().push(cost);
            }
        }
    }
    drop(stats);
    drop(stage);
    let line = |figure: &str, all: Vec<f64>| {
        let all = spread(all);
        let text =
            format!("{:.0} ns (median of {}, {:.0} to {:.0})", all.median, all.count, all.least, all.most);
        Line::promised(figure, text, "≤ 60 ns", all.median <= 60.0)
    };
    let mut lines = vec![
        line("per send in the kernel, above an empty program", sends),
        line("per receive in the kernel, above empty programs", receives),
    ];
    let packets = spread(per_packet);
    if packets.most > 0.0 {
        lines.push(Line::plain(
            "per packet in the kernel (both directions), above an empty program",
            format!("{:.0} ns", packets.median),
        ));
    }
    let table: Vec<String> =
        each.into_iter().map(|(name, costs)| format!("{name} {:.0}", spread(costs).median)).collect();
    lines.push(Line::plain("ns per run of each program that ran per call", table.join(", ")));
    Ok(lines)
}
