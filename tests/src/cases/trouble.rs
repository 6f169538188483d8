// SPDX-License-Identifier: GPL-3.0-or-later
//! The monitor itself comes late, goes and comes back, in the middle of traffic, or cannot start.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use picosnitch_api::Query;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use crate::lab::client::settle;
use crate::lab::program::{Running, report, sha256_file};
use crate::lab::stage::CONFIG;
use crate::lab::tools::{spawn, stop, until};
use crate::lab::{Bus, Daemon, Lab, Outcome, Stage, Trouble, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "T00", title: "all of it once more: nothing was added later", run: t00 },
    Case { id: "T23", title: "a socket older than the monitor, idle, then used", run: t23 },
    Case { id: "T23", title: "both ends of a connection older than the monitor", run: t23_server },
    Case { id: "T30", title: "the monitor restarted in the middle", run: t30 },
    Case { id: "T30", title: "the machine went on, or down, without its monitor", run: t30_machine },
    Case { id: "B02", title: "a pause: what was before is kept, what goes on after is told", run: b02_pause },
    Case {
        id: "B00",
        title: "what is missing at the start: one sentence, a status of its own",
        run: missing,
    },
];

fn sums(stage: &Stage, path: &str) -> Outcome<(u64, u64)> {
    let rows = rows_of(&stage.client, path)?;
    Ok(rows
        .iter()
        .fold((0, 0), |sum, row| (sum.0 + row.sent.unwrap_or(0), sum.1 + row.received.unwrap_or(0))))
}

/// Waits until so much is on record, sent and received.
pub(super) fn settle_sums(stage: &Stage, path: &str, want: (u64, u64)) -> Outcome {
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

/// Who called whom is not lost, though neither port says it: both are of those that connect() chooses from.
fn t23_server(lab: &mut Lab) -> Outcome {
    let program = lab.programs.make("t23-server")?;
    let path = program.to_string_lossy().into_owned();
    let mut running = Running::start(&program, &["loopback", "pause=1"])?;
    let served = running.report()?.flows.first().and_then(|flow| flow.remote_port);
    let stage = lab.stage("t23-server", "")?;
    running.say("")?;
    running.finish()?;
    // The serving end waits in a call that began before the monitor, whose end the older engine does not see.
    let exact = stage.client.status()?.engine.as_deref() == Some("tracepoint");
    settle(PATIENCE, || {
        let (sent, received) = sums(&stage, &path)?;
        ensure(sent == 200_006 && (received == sent || !exact && received >= 100_003), || {
            format!("sent {sent} and received {received} on record, not 200006")
        })
    })?;
    let rows = rows_of(&stage.client, &path)?;
    let mut ways: Vec<_> = rows
        .iter()
        .map(|row| match row.direction.as_deref() {
            Some("in") => ("in", row.local_port),
            _ => ("out", row.remote_port),
        })
        .collect();
    ways.sort_unstable();
    ways.dedup();
    ensure(ways == [("in", served), ("out", served)], || format!("{served:?} served, but {rows:?}"))
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
    // Another one says nothing until both restarts are over.
    let silent = lab.programs.make("t30-silent")?;
    let silent_path = silent.to_string_lossy().into_owned();
    let mut idle = Running::start(&silent, &["tcp-steps", &lab.net.to()])?;
    idle.report()?;
    idle.say("7")?;
    idle.report()?;
    settle_sums(&stage, &silent_path, (7, 7))?;
    stage.daemon.stop()?;
    let (down, stopped) = (crate::traffic::sys::now_us(), Instant::now());
    // Unseen: nobody watches. These bytes must not turn up later as if they had been.
    running.say("20002")?;
    running.report()?;
    std::thread::sleep(Duration::from_secs(3));
    stage.daemon.launch_again()?;
    let away = stopped.elapsed();
    running.say("30003")?;
    running.report()?;
    settle_sums(&stage, &path, (40_004, 40_004))?;
    // An end in disorder loses at most what was not written, and counts nothing twice either.
    let killed = Instant::now();
    stage.daemon.kill();
    stage.daemon.launch_again()?;
    let dead = killed.elapsed();
    running.say("40004")?;
    running.report()?;
    settle_sums(&stage, &path, (80_008, 80_008))?;
    idle.say("6")?;
    idle.report()?;
    settle_sums(&stage, &silent_path, (13, 13))?;
    // Each is one connection all the time, and this machine's program began it.
    for path in [&path, &silent_path] {
        let rows = rows_of(&stage.client, path)?;
        let count: u64 = rows.iter().filter_map(|row| row.connections).sum();
        ensure(count == 1 && rows.iter().all(|row| row.direction.as_deref() == Some("out")), || {
            format!("{count} connections: {rows:?}")
        })?;
    }
    running.finish()?;
    idle.finish()?;
    // The gap itself is on record: how long nobody watched.
    let gaps = gaps(&stage, down - 1_000_000)?;
    let [killed, stopped] = gaps.as_slice() else {
        return Err(format!("two gaps, and told are {gaps:?}").into());
    };
    let length = seconds(stopped, "nobody watched for the last ", " s, up to now:");
    ensure(length.is_some_and(|length| (3..=away.as_secs() + 1).contains(&length)), || {
        format!("{stopped:?} of {away:?}")
    })?;
    // What was written last is at most an interval older.
    let length = seconds(killed, "nobody watched for the last ", " s or less, up to now, as");
    ensure(length.is_some_and(|length| length <= dead.as_secs() + 3), || format!("{killed:?} of {dead:?}"))?;
    let notices = stage.client.notices("new-executable", &path).len();
    ensure(notices == 1, || format!("{notices} NewExecutable, not 1"))
}

/// Sentences about gaps since then, µs since the epoch, newest first.
fn gaps(stage: &Stage, since: i64) -> Outcome<Vec<String>> {
    let events = stage.client.events(&Query { since: Some(since), ..Query::default() })?;
    let gaps = events.into_iter().filter(|event| event.error.as_deref() == Some("gap"));
    Ok(gaps.filter_map(|event| event.message).collect())
}

/// The number between these words.
fn seconds(sentence: &str, before: &str, after: &str) -> Option<u64> {
    sentence.split_once(before)?.1.split_once(after)?.0.parse().ok()
}

/// In systemd's place on the bus.
struct Systemd(&'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    #[zbus(property)]
    fn system_state(&self) -> String {
        self.0.to_owned()
    }
}

/// Whether the machine went on when the service was stopped is known where systemd says so, and nobody is told of a
/// shutdown. That the machine has been started again meanwhile is said in the database.
fn t30_machine(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("t30-machine", "")?;
    let mut all = 0;
    for (state, again, want) in [
        (Some("running"), true, Some("since the monitor was stopped ")),
        (Some("stopping"), true, None),
        (None, true, None),
        (Some("stopping"), false, Some("for the last ")),
    ] {
        let what = format!("{state:?}, started again: {again}");
        let address = stage.bus.address.clone();
        let systemd = match state {
            None => None,
            Some(state) => Some(stage.client.call(|_| async move {
                zbus::connection::Builder::address(address.as_str())?
                    .serve_at("/org/freedesktop/systemd1", Systemd(state))?
                    .name("org.freedesktop.systemd1")?
                    .build()
                    .await
            })?),
        };
        stage.daemon.stop()?;
        if let Some(systemd) = systemd {
            stage.client.call(|_| systemd.close())?;
        }
        if again {
            let db = rusqlite::Connection::open(stage.daemon.database())?;
            let changed = db.execute("UPDATE meta SET value = value + 1 WHERE key = 'through-boot'", ())?;
            ensure(changed == 1, || "the start of the machine is not on record".to_owned())?;
        }
        stage.daemon.launch_again()?;
        // A monitor that does not start with its machine says that, and this one was started some time ago.
        let uptime = std::fs::read_to_string("/proc/uptime")?;
        let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok()).unwrap_or(0);
        let want = want.or((uptime >= 300).then_some(", from the start of the machine up to now"));
        let gaps = gaps(&stage, 0)?;
        let new = &gaps[..gaps.len().saturating_sub(all)];
        all = gaps.len();
        let right = match (new, want) {
            ([one], Some(want)) => one.contains(want),
            (new, want) => new.is_empty() && want.is_none(),
        };
        ensure(right, || format!("{what}: told is {new:?}"))?;
    }
    Ok(())
}

fn b02_pause(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("pause", "")?;
    let to = lab.net.to();
    let (before, during, closed) = (
        lab.programs.make("pause-before")?,
        lab.programs.make("pause-during")?,
        lab.programs.make("pause-closed")?,
    );
    let path = |program: &Path| program.to_string_lossy().into_owned();
    report(&before, &["tcp-echo", &to])?;
    stage.client.call(|client| async move { client.pause(600).await })?;
    let mut running = Running::start(&during, &["tcp-steps", &to])?;
    running.report()?;
    running.say("1000")?;
    running.report()?;
    report(&closed, &["tcp-echo", &to])?;
    // What was done before it belongs to the record, and that it is a pause.
    settle_sums(&stage, &path(&before), (10_000, 10_000))?;
    state_is(&stage, "paused")?;
    // As much as would have been written meanwhile.
    std::thread::sleep(Duration::from_secs(3));
    stage.client.call(|client| async move { client.resume().await })?;
    state_is(&stage, "watching")?;
    running.say("200")?;
    running.report()?;
    settle_sums(&stage, &path(&during), (200, 200))?;
    let rows = rows_of(&stage.client, &path(&during))?;
    let connections: u64 = rows.iter().filter_map(|row| row.connections).sum();
    ensure(connections == 1, || format!("it is {connections} connections, not 1"))?;
    // It was not told while it began to talk, and is news now.
    settle(PATIENCE, || {
        let notices = stage.client.notices("new-executable", &path(&during)).len();
        ensure(notices == 1, || format!("{notices} NewExecutable, not 1"))
    })?;
    running.finish()?;
    ensure(sums(&stage, &path(&closed))? == (0, 0), || "a pause was recorded".to_owned())?;
    let kinds: Vec<_> =
        stage.client.events(&Query::default())?.into_iter().filter_map(|event| event.error).collect();
    ensure(["pause", "resume"].iter().all(|kind| kinds.iter().any(|known| known == kind)), || {
        format!("the Error events are {kinds:?}")
    })?;
    // One that ends by itself does so at its time, whatever the interval.
    stage.client.call(|client| async move { client.pause(1).await })?;
    state_is(&stage, "watching")
}

fn state_is(stage: &Stage, want: &str) -> Outcome {
    settle(PATIENCE, || {
        let state = stage.client.status()?.state;
        ensure(state.as_deref() == Some(want), || format!("the state is {state:?}, not {want}"))
    })
}

/// A daemon that cannot start ends with `status`, one sentence with `words` in it and nothing else.
fn ends(mut command: Command, status: i32, words: &[&str]) -> Outcome {
    let what = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))?;
    let ended = until(Duration::from_secs(40), || !matches!(child.try_wait(), Ok(None)));
    if !ended {
        stop(&mut child, Duration::from_secs(5));
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(ended, || format!("{what} goes on: {said}"))?;
    ensure(output.status.code() == Some(status), || {
        format!("{what}: {}, not {status}: {said}", output.status)
    })?;
    ensure(said.trim().lines().count() == 1, || format!("{what} says more than one line: {said}"))?;
    let lacking: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    ensure(lacking.is_empty(), || format!("{what} does not say {lacking:?}: {said}"))
}

/// `program` with its arguments and environment, started by way of `before`.
fn by_way_of(before: &[&str], program: &Command) -> Command {
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// As in a container: the cgroups above are out of sight. It goes on, and says so.
fn seen_in_part(dir: &Path, bus: &Bus) -> Outcome {
    const SCRIPT: &str = r#"
        mkdir -p "$0" && mount -t cgroup2 none "$0" && mkdir "$0/picosnitch-lab" || exit
        sh -c 'echo $$ >"$0/picosnitch-lab/cgroup.procs"; exec unshare --cgroup --mount "$@"' "$0" \
            sh -c 'umount -a -l -t cgroup2; mount -t cgroup2 none "$0" && exec timeout --foreground 5 "$@"' "$0" "$@"
        rmdir "$0/picosnitch-lab""#;
    let point = dir.join("cgroup");
    let way = ["unshare", "--mount", "sh", "-c", SCRIPT, &point.to_string_lossy()];
    let output = by_way_of(&way, &Daemon::command(dir, &bus.address)?).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ["only a part of the cgroup v2 hierarchy", "--cgroupns=host"]
        .iter()
        .try_for_each(|word| ensure(text.contains(word), || format!("it does not say {word:?}, but: {text}")))
}

fn missing(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("b00")?;
    std::fs::write(dir.join("config.toml"), CONFIG)?;
    let folders = |names: &[&str]| names.iter().try_for_each(|name| std::fs::create_dir_all(dir.join(name)));
    folders(&["state", "log"])?;
    let daemon = |address: &str| -> Outcome<Command> {
        let mut command = Daemon::command(&dir, address)?;
        command.args(["--log-level", "error"]);
        Ok(command)
    };
    let nowhere = format!("unix:path={}", dir.join("nothing").display());
    ends(daemon(&nowhere)?, 6, &["no system bus", "start dbus", "DBUS_SYSTEM_BUS_ADDRESS"])?;
    {
        let bus = Bus::bare(&dir)?;
        ends(daemon(&bus.address)?, 9, &["org.picosnitch.Monitor.conf", "/usr/share/dbus-1/system.d"])?;
    }
    let bus = Bus::start(&dir)?;
    // All file systems as they are, but for one folder that is empty.
    let hidden =
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\""];
    ends(by_way_of(&hidden, &daemon(&bus.address)?), 7, &["no BTF", "CONFIG_DEBUG_INFO_BTF"])?;
    let without = "-bpf,-sys_admin";
    let stripped = ["setpriv", "--bounding-set", without, "--inh-caps", without];
    ends(by_way_of(&stripped, &daemon(&bus.address)?), 8, &["CAP_BPF", "CAP_SYS_ADMIN", "as root"])?;
    let enclosed = ["unshare", "--pid", "--fork", "--mount-proc"];
    ends(by_way_of(&enclosed, &daemon(&bus.address)?), 11, &["PID namespace", "--pid=host"])?;
    for folder in ["state", "log"] {
        let read_only = format!(
            "mount --bind '{0}' '{0}' && mount -o remount,ro,bind '{0}' && exec \"$0\" \"$@\"",
            dir.join(folder).display()
        );
        let read_only = ["unshare", "--mount", "sh", "-c", &read_only];
        let path = dir.join(folder);
        ends(by_way_of(&read_only, &daemon(&bus.address)?), 5, &[&path.to_string_lossy(), "can write"])?;
    }
    let first = Daemon::start(&dir, &bus.address)?;
    folders(&["other/state", "other/log"])?;
    std::fs::write(dir.join("other/config.toml"), CONFIG)?;
    let beside = |sub: &Path| -> Outcome<Command> {
        let mut command = Daemon::command(sub, &bus.address)?;
        command.args(["--log-level", "error"]);
        Ok(command)
    };
    ends(beside(&dir.join("other"))?, 10, &["another picosnitchd", "stop it first"])?;
    drop(first);
    seen_in_part(&dir, &bus)?;
    // Nothing stands in the way any more.
    Daemon::start(&dir, &bus.address)?.stop()
}
