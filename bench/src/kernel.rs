// SPDX-License-Identifier: GPL-3.0-or-later
//! Nanoseconds per send and per receive in the kernel, by the kernel's own statistics about programs,
//! against empty programs on the same hooks in the same run. Two of the same name (another daemon's) are added
//! up: see [`others`].
#![allow(unsafe_code)] // the generated skeleton

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

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

/// Runs and nanoseconds of each program that ran between two counts.
fn costs(
    before: &BTreeMap<(String, u32), (u64, u64)>,
    after: &BTreeMap<(String, u32), (u64, u64)>,
) -> BTreeMap<String, (u64, f64)> {
    let mut all = BTreeMap::new();
    for (key, (runs, time)) in after {
        let (runs_before, time_before) = before.get(key).copied().unwrap_or_default();
        let Some(runs) = runs.checked_sub(runs_before).filter(|runs| *runs > 0) else { continue };
        let sum: &mut (u64, f64) = all.entry(key.0.clone()).or_default();
        sum.0 += runs;
        sum.1 += (time - time_before) as f64;
    }
    all
}

/// What runs for a call, each with the empty program on the same hook.
type Programs = [(&'static str, &'static str)];
const SENDING: [(&str, &str); 1] = [("sock_send", "empty_send")];
/// All that a TCP receive passes, also what only finds out that it has nothing to do.
const RECEIVING: [(&str, &str); 3] =
    [("sock_recv", "empty_receive"), ("tcp_received", "empty_adjust"), ("datagram_copied", "empty_copied")];
const PACKETS: [(&str, &str); 2] = [("packet_out", "empty_out"), ("packet_in", "empty_in")];

/// Nanoseconds per call above as many empty programs. Each of ours runs once for a call of this load; what else
/// happens on the machine is in the average, so that runs cannot be divided by calls.
fn above(all: &BTreeMap<String, (u64, f64)>, programs: &Programs) -> Outcome<f64> {
    let mut sum = 0.0;
    for (ours, empty) in programs {
        let per_run = |name: &str| all.get(name).map(|(runs, time)| time / *runs as f64);
        sum += per_run(ours).ok_or_else(|| format!("{ours} did not run"))?
            - per_run(empty).ok_or_else(|| format!("{empty} did not run"))?;
    }
    Ok(sum)
}

/// The root of the cgroup v2 hierarchy.
fn cgroup_mount() -> Outcome<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let point = text.lines().find_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        (rest.starts_with("cgroup2 ") && fields.next() == Some("/")).then(|| fields.next())?
    });
    Ok(point.ok_or("no cgroup v2 is mounted")?.into())
}

/// Sends and receives of 1 byte over loopback TCP, in several rounds.
pub fn per_call(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let mut stage = lab.stage("kernel", "")?;
    let program = lab.programs.make("bench-kernel")?;
    let bpf = |error: libbpf_rs::Error| Trouble::Failed(format!("the empty programs: {error}"));
    let mut object = MaybeUninit::uninit();
    let open = empty::EmptySkelBuilder::default().open(&mut object).map_err(bpf)?;
    let mut skeleton = open.load().map_err(bpf)?;
    let root = File::open(cgroup_mount()?)?;
    let stats = Stats::on()?;
    let (mut sends, mut receives, mut packets) = (Vec::new(), Vec::new(), Vec::new());
    let mut each: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // Ours and the empty ones take turns: together, whichever comes second on a hook finds the caches warm.
    for _ in 0..arguments.pairs {
        stage.daemon.stop()?;
        let mut links = Vec::new();
        for program in skeleton.object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let cgroup = ["empty_out", "empty_in"].contains(&name.as_str());
            let link = if cgroup { program.attach_cgroup(root.as_raw_fd()) } else { program.attach_trace() };
            links.push(link.map_err(bpf)?);
        }
        let before = counts();
        report(&program, &["ping-pong", "count=100000"])?;
        let mut all = costs(&before, &counts());
        drop(links);
        // Programs of other daemons have the same names.
        let others = counts();
        stage.daemon.launch_again()?;
        let mut before = counts();
        before.retain(|program, _| !others.contains_key(program));
        report(&program, &["ping-pong", "count=100000"])?;
        let mut after = counts();
        after.retain(|program, _| before.contains_key(program));
        all.extend(costs(&before, &after));
        sends.push(above(&all, &SENDING)?);
        receives.push(above(&all, &RECEIVING)?);
        packets.push(above(&all, &PACKETS)?);
        for (name, (runs, time)) in all {
            if runs > 10_000 {
                each.entry(name).or_default().push(time / runs as f64);
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
    let packets = spread(packets);
    lines.push(Line::plain(
        "per packet in the kernel (on its way out and in), above empty programs",
        format!("{:.0} ns", packets.median),
    ));
    let table: Vec<String> =
        each.into_iter().map(|(name, costs)| format!("{name} {:.0}", spread(costs).median)).collect();
    lines.push(Line::plain("ns per run of each program that ran per call", table.join(", ")));
    Ok(lines)
}
