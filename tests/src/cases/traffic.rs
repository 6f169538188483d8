// SPDX-License-Identifier: GPL-3.0-or-later
//! T: every kind of traffic, attributed to its program and counted to the byte.

use std::path::Path;

use picosnitch_api::{Dimension, Query, Scope};

use super::expect::{Expected, PATIENCE};
use super::trouble::settle_sums;
use super::{Case, long};
use crate::lab::client::settle;
use crate::lab::program::{Running, report, reports_of, sha256_file};
use crate::lab::{Lab, Outcome, Stage, Trouble, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "T01", title: "TCP download", run: t01 },
    Case { id: "T02", title: "TCP upload", run: t02 },
    Case { id: "T03", title: "TCP both ways at once", run: t03 },
    Case { id: "T04", title: "UDP both ways, connected", run: t04 },
    Case { id: "T05", title: "UDP unconnected, one socket to 100 peers", run: t05 },
    Case { id: "T06", title: "ICMP echo, raw and datagram sockets", run: t06 },
    Case { id: "T07", title: "IPv6, and IPv4-mapped shown as IPv4", run: t07 },
    Case { id: "T09", title: "64 000 small datagrams to port 53", run: t09 },
    Case { id: "T10", title: "raw IP, protocol 253", run: t10 },
    Case { id: "T11", title: "20 processes that live a moment", run: t11 },
    Case { id: "T12", title: "AF_PACKET frames injected and sniffed", run: t12 },
    Case { id: "T13", title: "io_uring send and receive", run: t13 },
    Case { id: "T14", title: "io_uring with SQPOLL", run: t14 },
    Case { id: "T15", title: "sendfile", run: t15 },
    Case { id: "T16", title: "splice from a socket", run: t16 },
    Case { id: "T17", title: "sendmmsg and recvmmsg", run: t17 },
    Case { id: "T18", title: "loopback only, both ends one process", run: t18 },
    Case { id: "T19", title: "from inside a container-like environment", run: t19 },
    Case { id: "T20", title: "16 s drip", run: t20 },
    Case { id: "T21", title: "60 connections one after another", run: t21 },
    Case { id: "T22", title: "30 connections at once", run: t22 },
    Case { id: "T24", title: "a server: accepted connections", run: t24 },
    Case { id: "T25", title: "a connection shared with a child: each is charged for its own", run: t25 },
    Case { id: "T24", title: "a server over MPTCP", run: t24_multipath },
    Case { id: "T26", title: "peeked, cut, empty and returned datagrams", run: t26 },
    Case { id: "T27", title: "connections that fail", run: t27 },
    Case { id: "T28", title: "many short connections, both ends", run: t28 },
    Case { id: "T29", title: "one socket with more destinations than there is room for", run: t29 },
    Case { id: "T29", title: "one socket with tens of thousands of peers", run: t29_fair },
];

fn t01(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t01-down", &["tcp-down", &to]).map(drop)
}

fn t02(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t02-up", &["tcp-up", &to]).map(drop)
}

fn t03(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t03-both", &["tcp-both", &to]).map(drop)
}

fn t04(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t04-udp", &["udp", &to]).map(drop)
}

fn t05(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let expected = lab.run_and_check("t05-elsewhere", &["udp-elsewhere", &to])?;
    ensure(expected.flows.len() == 3, || "the generator has not made 3 flows".to_owned())?;
    lab.run_and_check("t05-plain", &["udp-plain", &to])?;
    lab.run_and_check("t05-queued", &["udp-queued"])?;
    lab.run_and_check("t05-port", &["udp-another-port"])?;
    let expected = lab.run_and_check("t05-peers", &["udp-peers", &to, "peers=100"])?;
    ensure(expected.flows.len() == 100, || "the generator has not made 100 flows".to_owned())
}

fn t06(lab: &mut Lab) -> Outcome {
    let (to, to6) = (lab.net.to(), lab.net.to6());
    lab.run_and_check("t06-raw", &["icmp-raw", &to])?;
    lab.run_and_check("t06-datagram", &["icmp-datagram", &to])?;
    lab.run_and_check("t06-raw6", &["icmp-raw", &to6])?;
    lab.run_and_check("t06-datagram6", &["icmp-datagram", &to6]).map(drop)
}

fn t07(lab: &mut Lab) -> Outcome {
    let (to, to6) = (lab.net.to(), lab.net.to6());
    lab.run_and_check("t07-tcp6", &["tcp-echo", &to6])?;
    lab.run_and_check("t07-udp6", &["udp", &to6, "count=9"])?;
    lab.run_and_check("t07-mapped-tcp", &["tcp-echo", &to, "mapped=1"])?;
    lab.run_and_check("t07-mapped-udp", &["udp", &to, "mapped=1", "count=9"]).map(drop)
}

fn t09(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t09-flood", &["udp-flood", &to, "count=64000"]).map(drop)
}

fn t10(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t10-raw", &["raw", &to])?;
    lab.run_and_check("t10-connected", &["raw", &to, "connect=1"])?;
    // Protocols that the kernel has better sockets for.
    lab.run_and_check("t10-raw-tcp", &["raw-transport", "protocol=tcp"])?;
    lab.run_and_check("t10-raw-udp", &["raw-transport", "protocol=udp"]).map(drop)
}

fn t11(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let program = lab.programs.make("t11-moment")?;
    let report = report(&program, &["processes", &lab.net.to(), "count=20"])?;
    let sha256 = sha256_file(&program)?;
    let mut expected = Expected::new(&program, &report.children)?;
    // Their parent is the program itself, and its parent is us.
    expected.grandparent = expected.parent.take().map(|parent| parent.0);
    expected.parent = Some((expected.path.clone(), sha256));
    ensure(expected.flows.len() == 20, || "the generator has not made 20 flows".to_owned())?;
    lab.check(&expected)
}

fn t12(lab: &mut Lab) -> Outcome {
    let interface = format!("interface={}", lab.net.interface);
    lab.run_and_check("t12-packet", &["packet", &interface]).map(drop)
}

fn uring(lab: &mut Lab, name: &str, option: &str) -> Outcome {
    let allowed = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if allowed.is_ok_and(|text| text.trim() == "2") {
        return Err(Trouble::Skipped("io_uring is disabled on this machine".to_owned()));
    }
    let to = lab.net.to();
    lab.run_and_check(name, &["uring", &to, option]).map(drop)
}

fn t13(lab: &mut Lab) -> Outcome {
    uring(lab, "t13-uring", "sqpoll=0")
}

fn t14(lab: &mut Lab) -> Outcome {
    uring(lab, "t14-sqpoll", "sqpoll=1")
}

fn t15(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t15-sendfile", &["sendfile", &to]).map(drop)
}

fn t16(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t16-splice", &["splice", &to])?;
    lab.run_and_check("t16-mixed", &["splice", &to, "mixed=1", "bytes=500009"]).map(drop)
}

fn t17(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t17-many", &["udp-many", &to]).map(drop)
}

fn t18(lab: &mut Lab) -> Outcome {
    lab.run_and_check("t18-loopback", &["loopback"])?;
    lab.run_and_check("t18-loopback6", &["loopback", "to=::1"]).map(drop)
}

/// Own mount, pid and network namespaces and an overlay as root; the program's path exists nowhere else.
fn t19(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let dir = lab.new_dir("container")?;
    for folder in ["upper", "work", "root"] {
        std::fs::create_dir_all(dir.join(folder))?;
    }
    let inside = Path::new("/opt/inside/t19-container");
    let upper = dir.join("upper/opt/inside");
    std::fs::create_dir_all(&upper)?;
    let program = lab.programs.make_at(&upper.join("t19-container"))?;
    let sha256 = sha256_file(&program)?;
    // The upper layer lies on a file system of the container's own, so that no path of the host leads to
    // the program while it runs.
    let script = r#"set -e
mount -t tmpfs none "$1/work"
mkdir "$1/work/upper" "$1/work/work"
cp -a "$1/upper/." "$1/work/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/work/upper,workdir=$1/work/work" "$1/root"
mount -t proc proc "$1/root/proc"
mkdir -p "$1/root/old"
cd "$1/root"
pivot_root . old
umount -l /old
exec "$2" tcp-drip "$3" count=5 every=100"#;
    let mut command = lab.net.inside("unshare");
    command
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "sh", "-c", script, "sh"])
        .arg(&dir)
        .arg(inside)
        .arg(lab.net.to());
    let reports = reports_of(&mut command)?;
    ensure(!inside.exists(), || format!("{} exists on the host", inside.display()))?;
    std::fs::remove_file(&program)?;
    let mut expected = Expected::with_content(inside, &sha256, &reports)?;
    // It counts its process ids by itself, and `unshare --fork` stands between us and it.
    expected.flows.iter_mut().for_each(|(pid, _)| *pid = 0);
    expected.parent = None;
    expected.grandparent = Some(super::expect::ancestry()?.0.to_string_lossy().into_owned());
    lab.check(&expected)?;
    let client = &lab.shared()?.client;
    let rows = super::expect::rows_of(client, &expected.path)?;
    ensure(rows.iter().all(|row| row.foreign_root == Some(true)), || {
        "the path is not marked as one of another mount namespace".to_owned()
    })
}

fn t20(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let expected = lab.run_and_check("t20-drip", &["tcp-drip", &to, "count=16", "every=1000"])?;
    let rows = super::expect::rows_of(&lab.shared()?.client, &expected.path)?;
    ensure(rows.len() >= 8, || format!("16 s of drips are in {} rows of one second", rows.len()))
}

fn t21(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t21-sequence", &["tcp-sequence", &to, "count=60"]).map(drop)
}

fn t22(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    lab.run_and_check("t22-parallel", &["tcp-parallel", &to, "count=30"]).map(drop)
}

fn t24(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let (server, client) = (lab.programs.make("t24-server")?, lab.programs.make("t24-client")?);
    let host = format!("to={}", lab.net.host);
    let mut running = Running::start(&server, &["tcp-accept", &host, "port=0", "count=7"])?;
    let line = running.line()?;
    let port = line.strip_prefix("ready ").ok_or("the server is not ready")?;
    let clients = reports_of(lab.net.inside(&client).args([
        "tcp-sequence",
        &host,
        "count=7",
        &format!("port={port}"),
    ]))?;
    let served = running.finish()?;
    ensure(served.flows.iter().all(|flow| flow.direction == "in"), || "not a server".to_owned())?;
    lab.check(&Expected::new(&server, &[served])?)?;
    // What is told of a server names the port that was called.
    let path = server.to_string_lossy().into_owned();
    let local_port: u16 = port.parse().map_err(|_| "the server named no port")?;
    let direction = Some("in".to_owned());
    let called = Query { path: Some(path), direction, local_port: Some(local_port), ..Query::default() };
    let bus = &lab.shared()?.client;
    settle(PATIENCE, || {
        let told = bus.events(&called)?.len();
        ensure(told == 1, || format!("{told} notices about a server on port {port}, not 1"))
    })?;
    // The same bytes seen from the other end, in another network namespace.
    lab.check(&Expected::new(&client, &clients)?)
}

/// Both ends over MPTCP: one row each, and none for the connections below.
fn t24_multipath(lab: &mut Lab) -> Outcome {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    if !enabled.is_ok_and(|text| text.trim() == "1") {
        return Err(Trouble::Skipped("the kernel has no MPTCP, or it is disabled".to_owned()));
    }
    lab.run_and_check("t24-mptcp", &["mptcp"]).map(drop)
}

fn t26(lab: &mut Lab) -> Outcome {
    let (to, to6) = (lab.net.to(), lab.net.to6());
    lab.run_and_check("t26-udp", &["udp-flags", &to])?;
    lab.run_and_check("t26-udp6", &["udp-flags", &to6])?;
    lab.run_and_check("t26-tcp", &["tcp-peek", &to]).map(drop)
}

fn t27(lab: &mut Lab) -> Outcome {
    let (to, to6) = (lab.net.to(), lab.net.to6());
    lab.run_and_check("t27-closed", &["tcp-fail", &to, "how=closed"])?;
    lab.run_and_check("t27-closed6", &["tcp-fail", &to6, "how=closed"])?;
    lab.run_and_check("t27-later", &["tcp-fail", &to, "how=later"])?;
    lab.run_and_check("t27-filtered", &["tcp-fail", &to, "how=filtered"]).map(drop)
}

/// Totals of one path: sent, received, connections.
///
/// # Errors
/// As the daemon says.
pub fn totals(stage: &Stage, path: &str) -> Outcome<(u64, u64, u64)> {
    let query = Query { path: Some(path.to_owned()), scope: Some(Scope::Any), ..Query::default() };
    let (lines, hidden) =
        stage.client.call(|client| async move { client.summary(Dimension::Path, &query).await })?;
    ensure(hidden == 0, || format!("{hidden} rows are hidden from root"))?;
    Ok(lines
        .iter()
        .fold((0, 0, 0), |sum, line| (sum.0 + line.sent, sum.1 + line.received, sum.2 + line.connections)))
}

fn t28(lab: &mut Lab) -> Outcome {
    let count: u64 = if long() { 100_000 } else { 20_000 };
    let server = lab.programs.server().to_string_lossy().into_owned();
    let program = lab.programs.make("t28-short")?;
    let path = program.to_string_lossy().into_owned();
    // What other cases had from the server must be on record before: a fresh server knows only ours.
    lab.shared()?;
    lab.net.serve(&lab.programs)?;
    let stage = lab.shared()?;
    let mut before = totals(stage, &server)?;
    let quiet = |stage: &Stage, before: &mut (u64, u64, u64)| {
        settle(PATIENCE, || {
            std::thread::sleep(std::time::Duration::from_millis(1_500));
            let now = totals(stage, &server)?;
            let same = now == *before;
            *before = now;
            ensure(same, || "the server's totals still change".to_owned())
        })
    };
    quiet(stage, &mut before)?;
    let lost_before = stage.client.status()?.lost_flows.unwrap_or(0);
    let to = lab.net.to();
    let made = report(&program, &["connections", &to, "peers=100", &format!("count={count}")])?;
    let served = lab.net.serve(&lab.programs)?.ok_or("the server said nothing")?;
    let stage = lab.shared()?;
    settle(PATIENCE, || {
        let client = totals(stage, &path)?;
        let after = totals(stage, &server)?;
        let peer = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        let lost = stage.client.status()?.lost_flows.unwrap_or(0) - lost_before;
        let want = (
            (made.sent, made.received, made.connections),
            (served.sent, served.received, served.connections),
        );
        if lost == 0 {
            return ensure((client, peer) == want, || {
                format!(
                    "recorded {client:?} and {peer:?}, done {:?} and {:?}; none reported lost",
                    want.0, want.1
                )
            });
        }
        let missing = want.0.2 + want.1.2 - client.2 - peer.2;
        ensure(missing == lost, || format!("{missing} connections are missing, {lost} are reported lost"))
    })
}

/// All its bytes are recorded, and another program's news does not wait for it.
fn t29_fair(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("t29", "")?;
    let program = lab.programs.make("t29-peers")?;
    let path = program.to_string_lossy().into_owned();
    let made = report(&program, &["one-to-many", "count=10000"])?;
    let other = lab.programs.make("t29-other")?;
    let started = report(&other, &["tcp-echo", &lab.net.to()])?.started;
    let other = other.to_string_lossy().into_owned();
    settle(PATIENCE, || {
        let heard = stage.client.notices("new-executable", &other);
        let (at, _) = heard.first().ok_or("the other program is not news")?;
        ensure(at - started < 5_000_000, || format!("the other's news took {} ms", (at - started) / 1000))
    })?;
    settle(PATIENCE, || {
        let got = totals(&stage, &path)?;
        ensure(got == (made.sent, 0, made.connections), || format!("{got:?} on record, not {made:?}"))
    })
}

fn t29(lab: &mut Lab) -> Outcome {
    // What it loses would be missing in the other cases' sums.
    let stage = lab.stage("t29", "")?;
    let quiet = lab.programs.make("t29-quiet")?;
    let mut idle = Running::start(&quiet, &["tcp-steps", &lab.net.to()])?;
    idle.report()?;
    idle.say("7")?;
    idle.report()?;
    let quiet = quiet.to_string_lossy().into_owned();
    settle_sums(&stage, &quiet, (7, 7))?;
    let program = lab.programs.make("t29-scatter")?;
    let path = program.to_string_lossy().into_owned();
    let made = report(&program, &["udp-scatter", "to=127.16.0.1", "peers=70000"])?;
    // A debug build on a busy machine writes a thousand rows a second.
    settle(4 * PATIENCE, || {
        let (sent, _, connections) = totals(&stage, &path)?;
        let status = stage.client.status()?;
        let (flows, bytes) = (status.lost_flows.unwrap_or(0), status.lost_bytes.unwrap_or(0));
        ensure(flows > 0, || "nothing was reported lost".to_owned())?;
        ensure((connections + flows, sent + bytes) == (made.connections, made.sent), || {
            format!(
                "{connections} recorded and {flows} lost of {}; {sent} and {bytes} of {} bytes",
                made.connections, made.sent
            )
        })
    })?;
    // What was lost was told, with its numbers: the second within a minute waits until that is over.
    settle(std::time::Duration::from_secs(75), || {
        let lost = stage.client.status()?.lost_bytes.unwrap_or(0);
        let told: u64 = stage
            .client
            .events(&Query::default())?
            .iter()
            .filter(|event| event.error.as_deref() == Some("lost-flows"))
            .filter_map(|event| event.message.clone())
            .filter_map(|text| text.split(" bytes sent").next()?.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        ensure(told == lost, || format!("{told} bytes told, {lost} counted as lost"))
    })?;
    // A connection that is idle gives up its slot while there are so many, and others get it. It speaks first, and
    // nothing but what it says and hears is counted.
    let mut crowd = Running::start(
        lab.programs.make("t29-crowd")?,
        &["udp-scatter", "to=127.16.0.1", "peers=60000", "hold"],
    )?;
    crowd.report()?;
    let live = |want: fn(u64) -> bool| {
        settle(PATIENCE, || {
            let live = stage.client.status()?.live_flows.unwrap_or(0);
            ensure(want(live), || format!("{live} flows have a slot"))
        })
    };
    live(|live| live > 50_000)?;
    live(|live| live < 1_000)?;
    // Slots are handed out again latest first: all of them, but for a few.
    report(&lab.programs.make("t29-again")?, &["udp-scatter", "to=127.17.0.1", "peers=65500"])?;
    idle.say("6")?;
    idle.report()?;
    idle.say("5")?;
    idle.report()?;
    settle_sums(&stage, &quiet, (18, 18))?;
    crowd.finish()?;
    idle.finish()?;
    Ok(())
}

fn t25(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let (program, child) = (lab.programs.make("t25-shared")?, lab.programs.make("t25-child")?);
    let made = report(&program, &["shared", &lab.net.to(), &format!("child={}", child.display())])?;
    let own = Expected::new(&program, std::slice::from_ref(&made))?;
    let mut inherited = Expected::new(&child, &made.children)?;
    inherited.grandparent = inherited.parent.take().map(|parent| parent.0);
    inherited.parent = Some((own.path.clone(), own.sha256.clone()));
    ensure(inherited.flows.len() == 2, || "the children have not made 2 flows".to_owned())?;
    lab.check(&own)?;
    lab.check(&inherited)
}
