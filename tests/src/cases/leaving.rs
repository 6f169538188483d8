// SPDX-License-Identifier: GPL-3.0-or-later
//! S11: rows that leave the machine, to real database servers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use picosnitch_api::{Query, row};

use super::expect::{PATIENCE, rows_of};
use super::faults;
use super::{Case, long};
use crate::lab::certificates::Authority;
use crate::lab::client::settle;
use crate::lab::database::{Database, Kind};
use crate::lab::program::report;
use crate::lab::tools::{run, spawn};
use crate::lab::{Lab, Outcome, Stage, Trouble, built, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "S11", title: "PostgreSQL down for a while: every row arrives once", run: s11_postgres },
    Case { id: "S11", title: "MariaDB down for a while: every row arrives once", run: s11_mariadb },
    Case { id: "S11", title: "two machines share one server", run: s11_two },
    Case { id: "S11", title: "a remote server that is not who it should be", run: s11_hostile },
    Case {
        id: "S11",
        title: "PostgreSQL far away that refuses rows takes the others",
        run: s11_misfit_postgres,
    },
    Case { id: "S11", title: "MariaDB far away that refuses rows takes the others", run: s11_misfit_mariadb },
    Case { id: "S11", title: "the helper has no privilege and no secret is shown", run: s11_helper },
    Case { id: "S11", title: "the helper as systemd starts it", run: s11_socket },
];

/// Longest wait between two tries, and a margin.
pub(super) const RETURN: Duration = Duration::from_secs(45);

/// Settings with this server, whose certificate this authority vouches for.
pub(super) fn config(url: &str, ca: &Path, more: &str) -> String {
    format!(
        "[remote]\nurl = \"{url}\"\nhost_name = \"lab\"\ntls = \"verify\"\nca_file = \"{}\"\n{more}",
        ca.display()
    )
}

/// What identifies a row on both sides.
type Line = (i64, String, u64, u64, u64, u64);

fn here(stage: &Stage, path: &str) -> Outcome<Vec<Line>> {
    let number = |value: Option<u64>| value.unwrap_or(0);
    let line = |row: &row::Connection| {
        let port = row.local_port.map_or(0, u64::from);
        (
            row.time.unwrap_or(0),
            row.sha256.clone().unwrap_or_default(),
            port,
            number(row.sent),
            number(row.received),
            number(row.connections),
        )
    };
    let mut lines: Vec<_> = rows_of(&stage.client, path)?.iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

fn there(database: &Database, path: &str) -> Outcome<Vec<Line>> {
    let time = database.micros("time");
    let sql = format!(
        "SELECT {time}, coalesce(sha256, ''), coalesce(local_port, 0), sent, received, coalesce(conns, 0), host \
         FROM picosnitch_connections WHERE executable = '{path}'"
    );
    let mut lines = Vec::new();
    for cells in database.read(&sql)? {
        let number = |index: usize| cells.get(index).and_then(|cell| cell.parse::<u64>().ok());
        let line = (|| {
            let time = i64::try_from(number(0)?).ok()?;
            Some((time, cells.get(1)?.clone(), number(2)?, number(3)?, number(4)?, number(5)?))
        })();
        ensure(cells.get(6).is_some_and(|host| host == "lab"), || format!("the host's name in {cells:?}"))?;
        lines.push(line.ok_or_else(|| Trouble::Failed(format!("a row like {cells:?}")))?);
    }
    lines.sort();
    Ok(lines)
}

/// Both have the same rows, each once.
pub(super) fn same(stage: &Stage, database: &Database, path: &str, at_least: usize) -> Outcome {
    let (here, there) = (here(stage, path)?, there(database, path)?);
    ensure(here.len() >= at_least, || format!("{} rows here, not {at_least}", here.len()))?;
    ensure(here == there, || {
        let missing = here.iter().filter(|line| !there.contains(line)).count();
        let strange = there.iter().filter(|line| !here.contains(line)).count();
        let status = stage.client.status().map(|status| format!("{status:?}")).unwrap_or_default();
        format!(
            "{} rows here, {} there; {missing} are missing there, {strange} are not from here\n{status}",
            here.len(),
            there.len()
        )
    })
}

/// The process of the helper: the daemon's child.
fn helper(stage: &Stage) -> Option<i32> {
    let parent = format!("PPid:\t{}", stage.daemon.pid());
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        (status.lines().any(|line| line == parent) && status.starts_with("Name:\tpicosnitch-rel"))
            .then_some(pid)
    })
}

fn kill_helper(stage: &Stage) -> Outcome {
    let mut killed = Err("there is no helper".into());
    settle(PATIENCE, || {
        killed = helper(stage)
            .ok_or_else(|| Trouble::from("there is no helper"))
            .and_then(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(Trouble::from));
        match &killed {
            Ok(()) => Ok(()),
            Err(trouble) => Err(trouble.to_string().into()),
        }
    })
}

/// What was told of this kind.
pub fn errors(stage: &Stage, kind: &str) -> Outcome<Vec<String>> {
    let events = stage.client.events(&Query::default())?;
    Ok(events
        .into_iter()
        .filter(|event| event.error.as_deref() == Some(kind))
        .filter_map(|event| event.message)
        .collect())
}

/// Shows remote.url and remote.host_name.
fn s11_postgres(lab: &mut Lab) -> Outcome {
    s11(lab, Kind::Postgres, "s11-postgres")
}

fn s11_mariadb(lab: &mut Lab) -> Outcome {
    s11(lab, Kind::MariaDb, "s11-mariadb")
}

fn s11(lab: &mut Lab, kind: Kind, name: &str) -> Outcome {
    let dir = lab.new_dir(&format!("{name}-server"))?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let identity = authority.sign("good", "IP:127.0.0.1")?;
    let mut database = Database::new(kind, &dir, &identity)?;
    let mut stage = lab.stage(name, &config(&database.url(), &authority.certificate(), ""))?;
    let to = lab.net.to();
    let program = lab.programs.make(name)?;
    let path = program.to_string_lossy().into_owned();
    let traffic = |count: usize| -> Outcome {
        (0..count).try_for_each(|index| {
            report(&program, &["tcp-echo", &to, &format!("bytes={}", 500 + index)]).map(drop)
        })
    };
    traffic(20)?;
    settle(RETURN, || same(&stage, &database, &path, 20))?;
    // Rights to add and to look, and no others.
    let counted = database.as_picosnitch("SELECT count(*) FROM picosnitch_connections");
    ensure(counted.is_ok(), || format!("the account may not look: {counted:?}"))?;
    for forbidden in ["DELETE FROM picosnitch_connections", "UPDATE picosnitch_connections SET sent = 0"] {
        ensure(database.as_picosnitch(forbidden).is_err(), || format!("the account may {forbidden}"))?;
    }
    // Killed while it sends.
    traffic(10)?;
    kill_helper(&stage)?;
    settle(RETURN, || same(&stage, &database, &path, 30))?;
    settle(PATIENCE, || {
        let status = stage.client.status()?;
        ensure(status.relay_restarts.unwrap_or(0) >= 1, || {
            "a helper that was killed is not counted".to_owned()
        })
    })?;
    // Down: the history here goes on, and says why nothing arrives, once.
    database.stop();
    for _ in 0..3 {
        traffic(5)?;
        std::thread::sleep(Duration::from_millis(1100));
    }
    settle(PATIENCE, || {
        let (rows, status) = (here(&stage, &path)?, stage.client.status()?);
        ensure(rows.len() >= 45, || format!("{} rows here while the server is away", rows.len()))?;
        ensure(status.remote_error.is_some() && status.remote_queued.unwrap_or(0) >= 15, || {
            format!("status does not tell that rows wait: {status:?}")
        })
    })?;
    let told = errors(&stage, "remote")?;
    ensure(told.len() == 1, || format!("one Error about one outage: {told:?}"))?;
    let more = if long() { many(&program, &to)? } else { 0 };
    // What waits survives both programs. (What is not written yet does not: S01.)
    settle(Duration::from_secs(120), || {
        let rows = rows_of(&stage.client, &path)?.len();
        ensure(rows >= 45 + more, || format!("{rows} rows here of {} connections", 45 + more))
    })?;
    kill_helper(&stage)?;
    stage.daemon.kill();
    let waiting = outbox(&stage)?;
    ensure(!waiting.is_empty(), || "nothing waits on the disk".into())?;
    stage.daemon.launch_again()?;
    traffic(5)?;
    database.start(Some(&identity))?;
    if more > 0 {
        measure(&stage)?;
    }
    settle(RETURN, || same(&stage, &database, &path, 50 + more))?;
    settle(PATIENCE, || {
        let status = stage.client.status()?;
        // Sending is traffic too: the rows about it are always on their way.
        ensure(status.remote_error.is_none() && status.remote_queued.is_some_and(|rows| rows < 10), || {
            format!("status after the server's return: {status:?}")
        })?;
        ensure(status.remote_lost == Some(0), || format!("rows were given up: {status:?}"))
    })?;
    // Sent once more, as after an answer that did not arrive: the server has them, and adds nothing.
    stage.daemon.kill();
    put_back(&stage, &waiting)?;
    stage.daemon.launch_again()?;
    settle(if long() { Duration::from_secs(300) } else { RETURN }, || {
        let left = outbox(&stage)?.iter().filter(|chunk| waiting.contains(chunk)).count();
        ensure(left == 0, || format!("{left} of {} chunks are not taken a second time", waiting.len()))
    })?;
    same(&stage, &database, &path, 50 + more)?;
    let fault = format!("{kind:?} away, then helper and monitor killed, then all sent twice: rows there");
    let lost = stage.client.status()?.remote_lost.unwrap_or(0);
    let (here, there) = (here(&stage, &path)?.len() as u64, there(&database, &path)?.len() as u64);
    faults::count(&fault, here, there, lost)
}

/// Rows that wait: id, how many, what.
pub(super) type Chunk = (i64, i64, Vec<u8>);

/// What waits on the disk.
pub(super) fn outbox(stage: &Stage) -> Outcome<Vec<Chunk>> {
    let history = rusqlite::Connection::open(stage.daemon.database())?;
    history.busy_timeout(PATIENCE)?;
    let mut statement = history.prepare("SELECT id, rows, payload FROM outbox ORDER BY id")?;
    let chunks = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    chunks.collect::<Result<_, _>>().map_err(Trouble::from)
}

fn put_back(stage: &Stage, chunks: &[Chunk]) -> Outcome {
    let history = rusqlite::Connection::open(stage.daemon.database())?;
    for chunk in chunks {
        history.execute(
            "INSERT INTO outbox (id, rows, payload) VALUES (?1, ?2, ?3)",
            (chunk.0, chunk.1, &chunk.2),
        )?;
    }
    Ok(())
}

/// So many short connections, each a row.
fn many(program: &Path, to: &str) -> Outcome<usize> {
    let made = report(program, &["connections", to, "peers=100", "count=20000"])?;
    usize::try_from(made.connections).map_err(|error| Trouble::Failed(error.to_string()))
}

/// Prints how fast what waits is sent, and what the helper takes for that.
fn measure(stage: &Stage) -> Outcome {
    let queued = || -> Outcome<u64> { Ok(stage.client.status()?.remote_queued.unwrap_or(0)) };
    let all = queued()?;
    settle(RETURN, || ensure(queued()? < all, || "nothing is sent".to_owned()))?;
    let (start, first) = (Instant::now(), queued()?);
    settle(Duration::from_secs(300), || ensure(queued()? < 10, || "rows still wait".to_owned()))?;
    let rate = first as f64 / start.elapsed().as_secs_f64();
    let pid = helper(stage).ok_or("there is no helper")?;
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or("Pss: unknown");
    println!(
        "    {first} rows sent, {rate:.0} rows/s; the helper has {}",
        pss.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

/// Two monitors, each with its own name: the server has what both saw, each row once.
fn s11_two(lab: &mut Lab) -> Outcome {
    const COUNT: usize = 20;
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let dir = lab.new_dir(&format!("s11-two-{kind:?}"))?;
        let authority = Authority::new(&dir.join("certificates"))?;
        let identity = authority.sign("good", "IP:127.0.0.1")?;
        let database = Database::new(kind, &dir, &identity)?;
        let text = config(&database.url(), &authority.certificate(), "");
        let one = lab.stage("s11-one", &text)?;
        let other = lab.stage("s11-other", &text.replace("\"lab\"", "\"other\""))?;
        let program = lab.programs.make("s11-two")?;
        let path = program.to_string_lossy().into_owned();
        report(&program, &["tcp-sequence", &lab.net.to(), &format!("count={COUNT}")])?;
        let sql = format!(
            "SELECT count(*), sum(conns) FROM picosnitch_connections WHERE executable = '{path}' AND host = "
        );
        for (stage, host) in [(&one, "lab"), (&other, "other")] {
            settle(RETURN, || {
                let (here, got) = (here(stage, &path)?.len(), database.read(&format!("{sql}'{host}'"))?);
                // A connection that lasts over the end of an interval has two rows.
                ensure(here >= COUNT && got == [[here.to_string(), COUNT.to_string()]], || {
                    format!("{kind:?}, {host}: {got:?} rows and connections there, {here} rows here")
                })
            })?;
            ensure(stage.client.status()?.remote_lost == Some(0), || "rows were given up".to_owned())?;
        }
    }
    Ok(())
}

/// Servers that a thief of the address could offer: none gets a row, or the password. Shows
/// remote.ca_file: only whom its authority vouches for is trusted.
fn s11_hostile(lab: &mut Lab) -> Outcome {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let dir = lab.new_dir(&format!("s11-hostile-{kind:?}"))?;
        let authority = Authority::new(&dir.join("certificates"))?;
        let good = authority.sign("good", "IP:127.0.0.1")?;
        let other = authority.sign("other", "DNS:other.example")?;
        let own = authority.self_signed("own", "IP:127.0.0.1")?;
        let mut database = Database::new(kind, &dir, &good)?;
        database.stop();
        let program = lab.programs.make("s11-hostile")?;
        let path = program.to_string_lossy().into_owned();
        let to = lab.net.to();
        for (what, identity) in
            [("another name", Some(&other)), ("itself as authority", Some(&own)), ("no TLS", None)]
        {
            database.start(identity)?;
            let stage = lab.stage("s11-hostile", &config(&database.url(), &authority.certificate(), ""))?;
            report(&program, &["tcp-echo", &to])?;
            settle(RETURN, || {
                let error = stage.client.status()?.remote_error.unwrap_or_default();
                ensure(error.contains("not safe"), || format!("{kind:?}, {what}: status says {error:?}"))
            })?;
            let told = errors(&stage, "remote")?;
            ensure(told.len() == 1, || format!("{kind:?}, {what}: one Error: {told:?}"))?;
            let rows = there(&database, &path)?;
            ensure(rows.is_empty(), || format!("{kind:?}, {what}: it got {} rows", rows.len()))?;
            drop(stage);
            database.stop();
        }
        // The right one gets them.
        database.start(Some(&good))?;
        let stage = lab.stage("s11-right", &config(&database.url(), &authority.certificate(), ""))?;
        report(&program, &["tcp-echo", &to])?;
        settle(RETURN, || same(&stage, &database, &path, 1))?;
    }
    Ok(())
}

fn s11_misfit_postgres(lab: &mut Lab) -> Outcome {
    s11_misfit(lab, Kind::Postgres, "s11-misfit-postgres")
}

fn s11_misfit_mariadb(lab: &mut Lab) -> Outcome {
    s11_misfit(lab, Kind::MariaDb, "s11-misfit-mariadb")
}

/// Rows that the server refuses for what they are, among others, over a way on which a try for each of these would
/// take longer than all of them may: every other arrives, those are counted and told.
fn s11_misfit(lab: &mut Lab, kind: Kind, name: &str) -> Outcome {
    const LATER: Duration = Duration::from_millis(80);
    const EACH: usize = 70;
    let dir = lab.new_dir(&format!("{name}-server"))?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let identity = authority.sign("good", "IP:127.0.0.1")?;
    let mut database = Database::new(kind, &dir, &identity)?;
    database.narrow()?;
    let url = database.url_far(LATER)?;
    // They wait, so that they are sent together.
    database.stop();
    let stage = lab.stage(name, &config(&url, &authority.certificate(), ""))?;
    let (fits, large) = (lab.programs.make("s11-fits")?, lab.programs.make("s11-large")?);
    let foreign = lab.programs.make("s11-\u{65e5}\u{672c}")?;
    let to = lab.net.to();
    let sequence = format!("count={EACH}");
    report(&fits, &["tcp-sequence", &to, &sequence])?;
    report(&large, &["tcp-echo", &to, "bytes=50000"])?;
    report(&fits, &["tcp-sequence", &to, &sequence])?;
    report(&foreign, &["tcp-echo", &to])?;
    report(&fits, &["tcp-sequence", &to, &sequence])?;
    let path = |program: &Path| program.to_string_lossy().into_owned();
    for (program, count) in [(&fits, 3 * EACH), (&large, 1), (&foreign, 1)] {
        settle(PATIENCE, || {
            let rows = here(&stage, &path(program))?.len();
            ensure(rows >= count, || format!("{rows} rows of {} here", program.display()))
        })?;
    }
    database.start(Some(&identity))?;
    let started = Instant::now();
    settle(Duration::from_secs(120), || same(&stage, &database, &path(&fits), 3 * EACH))?;
    println!("    {} rows over {LATER:?} each way after {:.0?}", 3 * EACH, started.elapsed());
    settle(PATIENCE, || {
        let status = stage.client.status()?;
        // The server of the large one has a row as large.
        let few = status.remote_lost.is_some_and(|lost| (2..6).contains(&lost));
        ensure(status.remote_error.is_none() && few, || format!("a few rows are refused: {status:?}"))
    })?;
    let told = errors(&stage, "remote-refused")?;
    ensure(told.iter().any(|message| message.contains("does not take")), || {
        format!("nobody is told: {told:?}")
    })?;
    // The server repeats what does not fit. What is told is told to everybody.
    ensure(told.iter().all(|message| !message.contains("s11-") && !message.contains("\\xE6")), || {
        format!("everybody is told of a row: {told:?}")
    })
}

/// Shows remote.table as well.
fn s11_helper(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s11-helper-server")?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let identity = authority.sign("good", "IP:127.0.0.1")?;
    let database = Database::new(Kind::Postgres, &dir, &identity)?;
    let text =
        config(&database.url(), &authority.certificate(), "[log]\ncommands = false\naddresses = false\n");
    // Rows leave also where the history is off.
    let text = format!("[database]\nenabled = false\nwrite_interval_seconds = 1\n{text}");
    let stage = lab.stage("s11-helper", &text)?;
    let program = lab.programs.make("s11-helper")?;
    let path = program.to_string_lossy().into_owned();
    let to = lab.net.to();
    report(&program, &["tcp-echo", &to])?;
    settle(RETURN, || {
        let rows = there(&database, &path)?;
        ensure(rows.len() == 1, || format!("{} rows there without a history here", rows.len()))
    })?;
    let left_out = "SELECT count(*) FROM picosnitch_connections WHERE cmdline IS NOT NULL OR parent_cmdline IS NOT NULL \
                    OR ip IS NOT NULL OR local_ip IS NOT NULL OR domain IS NOT NULL";
    ensure(database.read(left_out)? == [["0"]], || "what log.* leaves out was sent".to_owned())?;
    another_table(&stage, &database, &program, &to)?;
    let had = there(&database, &path)?.len();
    let pid = helper(&stage).ok_or("there is no helper")?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let status = std::fs::read_to_string(proc.join("status"))?;
    let line = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .unwrap_or("")
            .trim()
            .to_owned()
    };
    ensure(!line("Uid").split_whitespace().any(|uid| uid == "0"), || format!("its uids: {}", line("Uid")))?;
    ensure(!line("Gid").split_whitespace().any(|gid| gid == "0"), || format!("its gids: {}", line("Gid")))?;
    ensure(line("Groups").is_empty(), || format!("its groups: {}", line("Groups")))?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure(line(set).bytes().all(|digit| digit == b'0'), || format!("{set}: {}", line(set)))?;
    }
    ensure(line("NoNewPrivs") == "1", || "it may gain privileges".to_owned())?;
    for entry in std::fs::read_dir(proc.join("fd"))?.flatten() {
        let target = std::fs::read_link(entry.path())?.to_string_lossy().into_owned();
        let own = ["socket:", "pipe:", "anon_inode:[event", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind));
        ensure(own || target.ends_with("daemon.log"), || format!("it holds {target}"))?;
    }
    let secret = b"w0rd";
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(proc.join(file))?;
        ensure(!bytes.windows(secret.len()).any(|window| window == secret), || {
            format!("the password is in {file}")
        })?;
    }
    let settings = stage.client.call(|client| async move { client.settings().await })?;
    let shown = format!("{settings:?}");
    ensure(!shown.contains("w0rd") && shown.contains("remote.url"), || format!("Get says {shown}"))?;
    if long() {
        // Stopped, it answers nothing and does not end: taken for dead after a minute, and replaced.
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        report(&program, &["tcp-echo", &lab.net.to()])?;
        // Nobody here waits for it.
        let other = lab.programs.make("s11-meanwhile")?;
        report(&other, &["tcp-echo", &lab.net.to()])?;
        let other = other.to_string_lossy().into_owned();
        settle(Duration::from_secs(3), || {
            let told = stage.client.notices("new-executable", &other).len();
            ensure(told == 1, || format!("{told} notices with a helper that hangs"))
        })?;
        let asked = Instant::now();
        stage.client.status()?;
        ensure(asked.elapsed() < Duration::from_secs(1), || format!("Status took {:?}", asked.elapsed()))?;
        settle(Duration::from_secs(100), || {
            let rows = there(&database, &path)?.len();
            ensure(rows == had + 1, || format!("{rows} rows there with a helper that hangs"))
        })?;
        ensure(stage.client.status()?.relay_restarts.unwrap_or(0) >= 1, || "not counted".to_owned())?;
        ensure(helper(&stage).is_some_and(|new| new != pid), || {
            "the one that hangs is still here".to_owned()
        })?;
    }
    Ok(())
}

/// `remote.table`, changed while the daemon runs: rows go to the other one, then to the first again.
fn another_table(stage: &Stage, database: &Database, program: &Path, to: &str) -> Outcome {
    const FIRST: &str = "picosnitch_connections";
    const OTHER: &str = "elsewhere";
    database.another_table(OTHER)?;
    let rows = |table: &str| -> Outcome<usize> {
        let sql = format!("SELECT id FROM {table} WHERE executable = '{}'", program.display());
        Ok(database.read(&sql)?.len())
    };
    let before = rows(FIRST)?;
    for (table, want) in [(OTHER, (before, 1)), (FIRST, (before + 1, 1))] {
        let output = stage.cli(None)?.args(["config", "set", "remote.table", table]).output()?;
        ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
        report(program, &["tcp-echo", to])?;
        settle(RETURN, || {
            let got = (rows(FIRST)?, rows(OTHER)?);
            ensure(got == want, || format!("{got:?} rows in the two tables, not {want:?}, with {table}"))
        })?;
    }
    Ok(())
}

/// By a socket on which systemd starts it, when something is to be sent, and again after its end.
fn s11_socket(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s11-socket-server")?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let identity = authority.sign("good", "IP:127.0.0.1")?;
    let database = Database::new(Kind::Postgres, &dir, &identity)?;
    let dir = lab.new_dir("s11-socket")?;
    let (socket, relay) = (dir.join("relay.sock"), dir.join("picosnitch-relay"));
    std::fs::copy(built("picosnitch-relay")?, &relay)?;
    let log = std::fs::File::create(dir.join("relay.log"))?;
    let systemd = spawn(
        Command::new("systemd-socket-activate")
            .args(["--seqpacket", "--accept", "--inetd", "-E", "SSL_CERT_FILE=/dev/null", "-l"])
            .arg(&socket)
            .args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&relay)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
    );
    let systemd = systemd.map_err(|error| Trouble::Skipped(format!("systemd-socket-activate: {error}")))?;
    let mut systemd = Guard(systemd);
    settle(PATIENCE, || ensure(socket.exists(), || "no socket".to_owned()))?;
    let stage = Stage::start(&dir, &config(&database.url(), &authority.certificate(), ""))?;
    let program = lab.programs.make("s11-socket")?;
    let path = program.to_string_lossy().into_owned();
    let to = lab.net.to();
    report(&program, &["tcp-echo", &to])?;
    settle(RETURN, || same(&stage, &database, &path, 1))?;
    let child = || -> Option<i32> {
        let text = run("pgrep", &["-P", &systemd.0.id().to_string()]).ok()?;
        text.lines().next()?.parse().ok()
    };
    let pid = child().ok_or("nobody was started by the socket")?;
    ensure(helper(&stage).is_none(), || "the daemon started a helper itself".to_owned())?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    report(&program, &["tcp-echo", &to])?;
    settle(RETURN, || same(&stage, &database, &path, 2))?;
    drop(stage);
    settle(PATIENCE, || ensure(child().is_none(), || "a helper outlives the daemon".to_owned()))?;
    systemd.0.kill().map_err(Trouble::from)
}

/// A child that ends with its owner.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
