// SPDX-License-Identifier: GPL-3.0-or-later
//! S07, S08: settings that are wrong are refused with their place, settings that are right hold at once.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picosnitch_api::{Query, row};

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::traffic::totals;
use crate::lab::client::settle;
use crate::lab::program::{report, sha256_file};
use crate::lab::{Daemon, Lab, Outcome, Stage, Trouble, built, ensure, project};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "S07", title: "settings with a mistake", run: s07 },
    Case { id: "S08", title: "every setting has its effect at once", run: s08 },
    Case { id: "S08", title: "picosnitch config edit", run: s08_edit },
    Case { id: "S08", title: "an edited file holds, whichever way it was written", run: s08_file },
];

/// Mistakes with the place that is told and a word of what is said.
const MISTAKES: [(&str, &[u8], &str, &str); 6] = [
    ("syntax", b"[database]\nretention_days = = 3\n", ":2:", "config.toml"),
    ("wrong type", b"[database]\n\nretention_days = \"long\"\n", ":3:", "database.retention_days"),
    ("unknown key", b"[database]\nretention_dayz = 3\n", ":2:", "retention_days"),
    ("out of range", b"# mine\n[database]\nretention_days = -7\n", ":3:", "database.retention_days"),
    ("absurd", b"[monitor]\nring_buffer_kib = 1000\n", ":2:", "power of two"),
    ("not UTF-8", b"[log]\n# caf\xe9\nports = false\n", ":2:", "UTF-8"),
];

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn s07(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("s07", "[database]\nwrite_interval_seconds = 1\nretention_days = 77\n")?;
    let config = stage.daemon.config();
    let good = std::fs::read(&config)?;
    let name = config.to_string_lossy().into_owned();
    let ask = |program: &str, arguments: &[&str]| -> Outcome<Output> {
        let mut command = Command::new(built(program)?);
        Ok(command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &stage.bus.address).output()?)
    };
    // The same opinion from the client, from a start, and from the one that runs.
    let elsewhere = lab.new_dir("s07-start")?;
    for (what, text, place, word) in MISTAKES {
        std::fs::write(&config, text)?;
        let place = format!("config.toml{place}");
        let said = |output: &Output, status: i32, who: &str| -> Outcome {
            let text = words(output);
            ensure(
                output.status.code() == Some(status) && text.contains(&place) && text.contains(word),
                || format!("{what}, {who}: {:?}, {text}", output.status.code()),
            )
        };
        said(&ask("picosnitch", &["config", "check", &name])?, 2, "config check")?;
        std::fs::write(elsewhere.join("config.toml"), text)?;
        said(&Daemon::command(&elsewhere, &stage.bus.address)?.output()?, 3, "start")?;
        let before = errors(&stage, "settings")?.len();
        signal(&stage, nix::sys::signal::Signal::SIGHUP)?;
        settle(PATIENCE, || {
            let errors = errors(&stage, "settings")?;
            ensure(errors.len() > before, || format!("{what}: no Error event"))?;
            let last = errors.into_iter().next().and_then(|event| event.message).unwrap_or_default();
            ensure(last.contains(&place) && last.contains(word), || format!("{what}, running: {last}"))
        })?;
        let kept = ask("picosnitch", &["config", "get", "database.retention_days"])?;
        ensure(kept.stdout == b"database.retention_days = 77\n", || {
            format!("{what}: the last good settings are gone: {}", words(&kept))
        })?;
    }
    secret_stays(&stage)?;
    std::fs::write(&config, MISTAKES[5].1)?;
    // Nor is a mistake that somebody left in the file written over.
    let set = ask("picosnitch", &["config", "set", "database.retention_days", "30"])?;
    ensure(!set.status.success() && std::fs::read(&config)? == MISTAKES[5].1, || {
        format!("a file with a mistake was changed: {}", words(&set))
    })?;
    std::fs::write(&config, &good)?;
    let right = ask("picosnitch", &["config", "check", &name])?;
    ensure(right.status.success(), || words(&right))?;
    let missing = ask("picosnitch", &["config", "check", "/nonexistent/config.toml"])?;
    ensure(missing.status.code() == Some(2), || format!("no file: {}", words(&missing)))?;
    let shipped = project().join("data/config.toml");
    let shipped = ask("picosnitch", &["config", "check", &shipped.to_string_lossy()])?;
    ensure(shipped.status.success(), || words(&shipped))
}

/// A password in a value of the wrong type is told to nobody.
fn secret_stays(stage: &Stage) -> Outcome {
    const SECRET: &str = "hunter2hunter2";
    let before = errors(stage, "settings")?.len();
    std::fs::write(stage.daemon.config(), format!("[remote]\ntls = \"{SECRET}\"\n"))?;
    signal(stage, nix::sys::signal::Signal::SIGHUP)?;
    settle(PATIENCE, || ensure(errors(stage, "settings")?.len() > before, || "no Error event".to_owned()))?;
    let error_log = stage.daemon.log_dir().join("error.log");
    settle(PATIENCE, || {
        let text = std::fs::read_to_string(&error_log).unwrap_or_default();
        ensure(text.contains("remote.tls: this is none"), || format!("error.log: {text}"))
    })?;
    for file in [error_log, stage.daemon.log()] {
        let text = std::fs::read_to_string(&file)?;
        ensure(!text.contains(SECRET), || format!("{} has the password", file.display()))?;
    }
    let told = serde_json::to_string(&stage.client.events(&Query::default())?)?;
    ensure(!told.contains(SECRET), || "Events has the password".to_owned())?;
    let heard = format!("{:?}", stage.client.signals());
    ensure(heard.contains("remote.tls") && !heard.contains(SECRET), || format!("a signal has it: {heard}"))
}

/// Error events of one kind, newest first.
fn errors(stage: &Stage, kind: &str) -> Outcome<Vec<row::Event>> {
    let mut events = stage.client.events(&Query::default())?;
    events.retain(|event| event.error.as_deref() == Some(kind));
    events.sort_by_key(|event| std::cmp::Reverse(event.id));
    Ok(events)
}

fn signal(stage: &Stage, signal: nix::sys::signal::Signal) -> Outcome {
    let pid = i32::try_from(stage.daemon.pid()).unwrap_or(0);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)
        .map_err(|error| Trouble::Failed(format!("kill: {error}")))
}

/// What shows that a key has its effect.
#[derive(Clone, Copy)]
enum Shown {
    /// This, on a daemon that runs.
    Here(fn(&mut World<'_>, &str) -> Outcome),
    /// The case with this title, which says so.
    Case(&'static str),
}

/// Every key of the shipped file.
const KEYS: &[(&str, Shown)] = &[
    ("monitor.bandwidth", Shown::Here(bandwidth)),
    ("monitor.every_executable", Shown::Here(every_executable)),
    ("monitor.ring_buffer_kib", Shown::Here(ring_buffer)),
    ("monitor.open_files", Shown::Here(open_files)),
    ("database.enabled", Shown::Here(enabled)),
    ("database.retention_days", Shown::Case("what is forgotten, and when")),
    ("database.detail_days", Shown::Case("what is forgotten, and when")),
    ("database.write_interval_seconds", Shown::Here(write_interval)),
    ("log.connections", Shown::Here(conn_log)),
    ("log.addresses", Shown::Here(addresses)),
    ("log.commands", Shown::Here(commands)),
    ("log.ports", Shown::Here(ports)),
    ("log.ignore.sha256", Shown::Here(ignored)),
    ("log.ignore.domains", Shown::Here(ignored_domain)),
    ("log.ignore.ports", Shown::Here(ignored)),
    ("log.ignore.networks", Shown::Here(ignored_networks)),
    ("log.ignore.names", Shown::Here(ignored)),
    ("notify.desktop", Shown::Case("no toast, if none is wanted")),
    ("remote.url", Shown::Case("PostgreSQL down for a while: every row arrives once")),
    ("remote.host_name", Shown::Case("PostgreSQL down for a while: every row arrives once")),
    ("remote.ca_file", Shown::Case("a remote server that is not who it should be")),
    ("remote.tls", Shown::Case("a server without TLS, if one says so")),
    ("remote.table", Shown::Case("the helper has no privilege and no secret is shown")),
    ("remote.outbox_mib", Shown::Case("as much waits for a server as may")),
    ("virustotal.api_key", Shown::Case("a verdict is kept, shown and told")),
    ("virustotal.upload", Shown::Case("no file is sent unasked")),
    ("virustotal.request_interval_seconds", Shown::Case("the scanner is asked as often as may be")),
    ("virustotal.url", Shown::Case("a verdict is kept, shown and told")),
    ("virustotal.ca_file", Shown::Case("a verdict is kept, shown and told")),
];

struct World<'a> {
    lab: &'a mut Lab,
    stage: Stage,
}

impl World<'_> {
    fn set(&self, key: &str, value: &str) -> Outcome {
        let mut command = Command::new(built("picosnitch")?);
        command.args(["config", "set", key, value]).env("DBUS_SYSTEM_BUS_ADDRESS", &self.stage.bus.address);
        let output = command.output()?;
        ensure(output.status.success(), || format!("config set {key} {value}: {}", words(&output)))
    }

    /// A new program that sends and receives 500 bytes once.
    fn traffic(&self, name: &str) -> Outcome<(PathBuf, String)> {
        let program = self.lab.programs.make(name)?;
        report(&program, &["tcp-echo", &self.lab.net.to(), "bytes=500"])?;
        let path = program.to_string_lossy().into_owned();
        Ok((program, path))
    }

    /// Its row.
    fn row(&self, path: &str) -> Outcome<row::Connection> {
        let mut found = None;
        settle(PATIENCE, || {
            found = rows_of(&self.stage.client, path)?.into_iter().next();
            ensure(found.is_some(), || format!("no row of {path}"))
        })?;
        found.ok_or_else(|| "no row".into())
    }

    /// Waits for a row of something else. What came before it is in the record by then, or left out of it.
    fn collected(&self) -> Outcome {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let shell = self.lab.programs.dir().join(format!("s08-between-{}", crate::traffic::sys::now_us()));
        std::fs::copy("/bin/bash", &shell)?;
        std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755))?;
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; printf hello >&3", server.local_addr()?.port());
        let status = Command::new(&shell).args(["-c", &script]).status()?;
        ensure(status.success(), || format!("{}: {status}", shell.display()))?;
        self.row(&shell.to_string_lossy()).map(drop)
    }

    /// The row of new traffic.
    fn seen(&self, name: &str) -> Outcome<row::Connection> {
        let (_, path) = self.traffic(name)?;
        self.row(&path)
    }
}

fn s08(lab: &mut Lab) -> Outcome {
    every_key_is_shown()?;
    let comment = "# a comment of mine, in the middle\n";
    let stage = lab.stage("s08", &format!("[database]\n{comment}write_interval_seconds = 1\n"))?;
    let mut world = World { lab, stage };
    for (key, shown) in KEYS {
        if let Shown::Here(show) = shown {
            show(&mut world, key).map_err(|trouble| match trouble {
                Trouble::Failed(text) => Trouble::Failed(format!("{key}: {text}")),
                other => other,
            })?;
        }
    }
    let text = std::fs::read_to_string(world.stage.daemon.config())?;
    ensure(text.contains(comment), || format!("the comment is gone: {text}"))
}

/// The list has every key of the shipped file, and each case in it says which keys it shows and sets them.
fn every_key_is_shown() -> Outcome {
    let keys = keys_of(&std::fs::read_to_string(project().join("data/config.toml"))?)?;
    let listed: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    for key in &keys {
        ensure(listed.contains(&key.as_str()), || format!("{key}: nothing shows that it has an effect"))?;
    }
    let known: Vec<&str> = super::all().iter().map(|case| case.title).collect();
    for (key, shown) in KEYS {
        ensure(keys.iter().any(|known| known == key), || format!("{key} is no setting"))?;
        let Shown::Case(title) = shown else { continue };
        ensure(known.contains(title), || format!("{key}: there is no case {title:?}"))?;
        let (words, code) = case_of(title)?;
        let between = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '.');
        let named = words.split(between).any(|word| word.trim_end_matches('.') == *key);
        ensure(named, || format!("{key}: {title:?} does not name it"))?;
        // What is said is not what is done.
        let (_, last) = key.rsplit_once('.').unwrap_or_default();
        let set = code.contains(&format!("{key}\"")) || code.contains(&format!("{last} = "));
        ensure(set, || format!("{key}: nothing beside {title:?} sets it"))?;
    }
    Ok(())
}

/// The function of the case with this title, with what is said above it, and the code of its file.
fn case_of(title: &str) -> Outcome<(String, String)> {
    for entry in std::fs::read_dir(project().join("tests/src/cases"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        let Some((_, after)) = text.split_once(&format!("title: {title:?}")) else { continue };
        let name = after.split_once("run: ").and_then(|(_, name)| name.split([' ', ',']).next());
        let start = format!("\nfn {}(", name.unwrap_or_default());
        let (before, body) = text.split_once(&start).ok_or_else(|| format!("no function of {title:?}"))?;
        let above = before.rsplit("\n\n").next().unwrap_or_default();
        let said = format!("{above}\n{}", body.split("\n}\n").next().unwrap_or_default());
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        return Ok((said, code.join("\n")));
    }
    Err(format!("no file has the case {title:?}").into())
}

/// In a terminal, with an editor that does what it is told: what is right is in force with the comments kept, what is
/// wrong changes nothing.
fn s08_edit(lab: &mut Lab) -> Outcome {
    let comment = "# mine\n";
    let stage = lab.stage("s08-edit", &format!("[database]\n{comment}write_interval_seconds = 1\n"))?;
    let edit = |editor: &str| -> Outcome<Output> {
        let terminal = "import os,pty,sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        let mut command = Command::new("python3");
        command.args(["-c", terminal]).arg(built("picosnitch")?).args(["config", "edit"]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &stage.bus.address).env("VISUAL", editor);
        Ok(command.stdin(std::process::Stdio::null()).output()?)
    };
    let days = || -> Outcome<String> {
        let output = stage.cli(None)?.args(["config", "get", "database.retention_days"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let good = edit("sed -i -E 's/^(retention_days *= *)365$/\\1123/'")?;
    ensure(good.status.success() && words(&good).contains("database.retention_days"), || words(&good))?;
    ensure(days()? == "database.retention_days = 123", || {
        format!("{} is in force", days().unwrap_or_default())
    })?;
    let text = std::fs::read_to_string(stage.daemon.config())?;
    ensure(text.contains(comment) && text.contains("retention_days = 123"), || {
        format!("the file says {text}")
    })?;
    for (what, editor) in [
        ("out of range", "sed -i -E 's/^(retention_days *= *)123$/\\1-5/'"),
        ("no TOML", "sed -i -E 's/^(retention_days *= *)123$/\\1= 5/'"),
        ("unknown key", "sed -i -E 's/^(retention_)days *= *123$/\\1dayz = 5/'"),
        ("an editor that fails", "false"),
    ] {
        let bad = edit(editor)?;
        ensure(!bad.status.success(), || format!("{what} was taken: {}", words(&bad)))?;
        ensure(std::fs::read_to_string(stage.daemon.config())? == text, || format!("{what} is in the file"))?;
        ensure(days()? == "database.retention_days = 123", || format!("{what} is in force"))?;
        // What was written by hand is still there, if it was.
        let said = words(&bad);
        let kept = said.split("is kept in ").nth(1).and_then(|rest| rest.split_whitespace().next());
        ensure(kept.is_some() != (editor == "false"), || format!("{what}: {said}"))?;
        if let Some(kept) = kept {
            let text = std::fs::read_to_string(kept)?;
            ensure(text.contains("retention_") && !text.contains("= 123"), || format!("{what}: {text}"))?;
            std::fs::remove_dir_all(Path::new(kept).parent().ok_or("no folder")?)?;
        }
    }
    // Nothing that asks for a terminal waits where there is none.
    let mut without = stage.cli(None)?;
    let output = without.args(["config", "edit"]).stdin(std::process::Stdio::null()).output()?;
    ensure(output.status.code() == Some(2), || words(&output))
}

fn s08_file(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("s08-file", "[database]\nwrite_interval_seconds = 1\n")?;
    let config = stage.daemon.config();
    let say = |days: &str| format!("[database]\nwrite_interval_seconds = 1\nretention_days = {days}\n");
    let holds = |days: &str| -> Outcome {
        let wanted = format!("database.retention_days = {days}");
        settle(PATIENCE, || {
            let output = stage.cli(None)?.args(["config", "get", "database.retention_days"]).output()?;
            let got = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ensure(got == wanted, || format!("{got}, not {wanted}"))
        })
    };
    std::fs::write(&config, say("123"))?;
    holds("123")?;
    let beside = config.with_extension("swp");
    std::fs::write(&beside, say("124"))?;
    std::fs::rename(&beside, &config)?;
    holds("124")?;
    // Not half of a file that is written in two steps: what is left out would have its default for a moment,
    // and a day's history would go by it.
    std::fs::write(&config, "")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    std::fs::write(&config, say("125"))?;
    holds("125")?;
    let log = std::fs::read_to_string(stage.daemon.log())?;
    let changes = log.matches("settings changed: ").count();
    ensure(changes == 3, || format!("settings changed {changes} times: {log}"))?;
    // A mistake is told once, and what held goes on.
    let before = errors(&stage, "settings")?.len();
    std::fs::write(&config, say("-5"))?;
    settle(PATIENCE, || ensure(errors(&stage, "settings")?.len() > before, || "no Error event".to_owned()))?;
    holds("125")?;
    // A change by the bus is no edit, and the file can be edited after it, though it is another file now.
    std::fs::write(&config, say("126"))?;
    holds("126")?;
    let set = stage.cli(None)?.args(["config", "set", "database.retention_days", "127"]).output()?;
    ensure(set.status.success(), || words(&set))?;
    std::fs::write(&config, say("128"))?;
    holds("128")?;
    // Where it becomes a link, what that leads to is looked at.
    let elsewhere = lab.new_dir("s08-elsewhere")?.join("mine.toml");
    std::fs::write(&elsewhere, say("129"))?;
    std::os::unix::fs::symlink(&elsewhere, &beside)?;
    std::fs::rename(&beside, &config)?;
    holds("129")?;
    std::fs::write(&elsewhere, say("130"))?;
    holds("130")?;
    // One that is gone is no edit: what was in force stays so.
    std::fs::remove_file(&config)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    holds("130")?;
    ensure(errors(&stage, "settings")?.len() == before + 1, || "the mistake was told again".to_owned())
}

/// Keys of a TOML text, with their sections.
fn keys_of(text: &str) -> Outcome<Vec<String>> {
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            keys.push(format!("{section}.{key}"));
        }
    }
    ensure(keys.len() > 20, || format!("only {} keys in the shipped file", keys.len()))?;
    Ok(keys)
}

fn bandwidth(world: &mut World<'_>, key: &str) -> Outcome {
    world.set(key, "false")?;
    let row = world.seen("s08-uncounted")?;
    ensure((row.sent, row.received, row.connections) == (Some(0), Some(0), Some(1)), || format!("{row:?}"))?;
    world.set(key, "true")?;
    let (_, path) = world.traffic("s08-counted")?;
    settle(PATIENCE, || {
        let got = totals(&world.stage, &path)?;
        ensure(got == (500, 500, 1), || format!("{got:?}, not 500 bytes"))
    })
}

fn every_executable(world: &mut World<'_>, key: &str) -> Outcome {
    let run = |name: &str| -> Outcome<PathBuf> {
        // It runs, and does nothing.
        let program = world.lab.programs.make(name)?;
        let _ = Command::new(&program).output()?;
        Ok(program)
    };
    let before = run("s08-idle")?.to_string_lossy().into_owned();
    world.set(key, "true")?;
    let program = run("s08-ran")?;
    let after = program.to_string_lossy().into_owned();
    let row = world.row(&after)?;
    let sha256 = sha256_file(&program)?;
    ensure(row.sha256.as_ref() == Some(&sha256), || format!("its content is {sha256}: {row:?}"))?;
    ensure(row.protocol.as_deref() == Some("exec") && row.address.is_none(), || format!("{row:?}"))?;
    settle(PATIENCE, || {
        ensure(world.stage.client.notices("new-executable", &after).len() == 1, || "not announced".to_owned())
    })?;
    ensure(rows_of(&world.stage.client, &before)?.is_empty(), || {
        "recorded before it was asked for".to_owned()
    })?;
    world.set(key, "false")
}

/// Starts the daemon again, with this value, and gives its process id.
fn again(world: &mut World<'_>, key: &str, value: &str) -> Outcome<u32> {
    world.set(key, value)?;
    world.stage.daemon.stop()?;
    world.stage.daemon.launch_again()?;
    Ok(world.stage.daemon.pid())
}

fn ring_buffer(world: &mut World<'_>, key: &str) -> Outcome {
    let rings = |pid: u32| -> Outcome<Vec<u64>> {
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u64>().ok()
            };
            // BPF_MAP_TYPE_RINGBUF
            if field("map_type:") == Some(27) {
                sizes.extend(field("max_entries:"));
            }
        }
        Ok(sizes)
    };
    for kib in [128_u64, 256] {
        let pid = again(world, key, &kib.to_string())?;
        let got = rings(pid)?;
        ensure(got.contains(&(kib * 1024)), || format!("{kib} KiB asked for, {got:?} bytes there"))?;
    }
    Ok(())
}

fn open_files(world: &mut World<'_>, key: &str) -> Outcome {
    let pid = again(world, key, "4321")?;
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    ensure(line.split_whitespace().nth(3) == Some("4321"), || line.to_owned())?;
    again(world, key, "0").map(drop)
}

fn enabled(world: &mut World<'_>, key: &str) -> Outcome {
    // The daemon was started again by the case before: a row waits until the content of its parent is known, which
    // is to be before the history is off.
    world.seen("s08-before")?;
    world.set(key, "false")?;
    let (_, path) = world.traffic("s08-unrecorded")?;
    settle(PATIENCE, || {
        ensure(world.stage.client.notices("new-executable", &path).len() == 1, || "not announced".to_owned())
    })?;
    // Its row would have come before that of the next.
    let written = world.stage.client.status()?.recorded_through;
    settle(PATIENCE, || {
        let now = world.stage.client.status()?.recorded_through;
        ensure(now > written, || "nothing is written".to_owned())
    })?;
    world.set(key, "true")?;
    world.seen("s08-recorded")?;
    ensure(rows_of(&world.stage.client, &path)?.is_empty(), || "recorded all the same".to_owned())
}

fn write_interval(world: &mut World<'_>, key: &str) -> Outcome {
    world.set(key, "3600")?;
    // The interval that was under way, of a second, ends first.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let (_, path) = world.traffic("s08-waits")?;
    settle(PATIENCE, || {
        ensure(world.stage.client.notices("new-executable", &path).len() == 1, || "not announced".to_owned())
    })?;
    // Three of the intervals that it had before.
    std::thread::sleep(std::time::Duration::from_secs(3));
    ensure(rows_of(&world.stage.client, &path)?.is_empty(), || "written before its time".to_owned())?;
    world.set(key, "1")?;
    world.row(&path).map(drop)
}

fn conn_log(world: &mut World<'_>, key: &str) -> Outcome {
    let log = world.stage.daemon.log_dir().join("conn.log");
    world.seen("s08-unlogged")?;
    ensure(!log.exists(), || "conn.log is there unasked".to_owned())?;
    world.set(key, "true")?;
    let (_, path) = world.traffic("s08-logged")?;
    settle(PATIENCE, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        ensure(text.lines().filter(|line| line.contains(&path)).count() == 1, || format!("conn.log: {text}"))
    })?;
    world.set(key, "false")
}

fn addresses(world: &mut World<'_>, key: &str) -> Outcome {
    world.set(key, "false")?;
    let row = world.seen("s08-nowhere")?;
    ensure(row.address.is_none() && row.domain.is_none() && row.remote_port.is_some(), || {
        format!("{row:?}")
    })?;
    world.set(key, "true")?;
    let row = world.seen("s08-somewhere")?;
    ensure(row.address == Some(world.lab.net.peer.to_string()), || format!("{row:?}"))
}

fn commands(world: &mut World<'_>, key: &str) -> Outcome {
    world.set(key, "false")?;
    let row = world.seen("s08-wordless")?;
    ensure(row.cmdline.is_none() && row.parent_cmdline.is_none(), || format!("{row:?}"))?;
    world.set(key, "true")?;
    let row = world.seen("s08-wordy")?;
    ensure(row.cmdline.as_deref().is_some_and(|text| text.contains("tcp-echo")), || format!("{row:?}"))
}

fn ports(world: &mut World<'_>, key: &str) -> Outcome {
    world.set(key, "false")?;
    let row = world.seen("s08-portless")?;
    ensure(row.remote_port.is_none() && row.local_port.is_none(), || format!("{row:?}"))?;
    world.set(key, "true")?;
    let row = world.seen("s08-ported")?;
    ensure(row.remote_port.is_some() && row.local_port.is_some(), || format!("{row:?}"))
}

/// The same program once more while what it does is ignored: it is not recorded again, but announced if it is new.
fn ignored(world: &mut World<'_>, key: &str) -> Outcome {
    let (program, path) = world.traffic("s08-ignored")?;
    let row = world.row(&path)?;
    let value = match key {
        "log.ignore.sha256" => sha256_file(&program)?,
        "log.ignore.ports" => row.remote_port.unwrap_or(0).to_string(),
        _ => row.name.clone().unwrap_or_default(),
    };
    world.set(key, &value)?;
    let to = world.lab.net.to();
    report(&program, &["tcp-echo", &to, "bytes=500"])?;
    // One that was never seen, of that name, of that content, or to that port.
    let fresh = match key {
        "log.ignore.ports" => world.lab.programs.make("s08-new")?,
        _ => {
            let there = program.with_file_name(format!("{key}.d"));
            std::fs::create_dir(&there)?;
            let fresh = there.join(program.file_name().ok_or("no name")?);
            if key == "log.ignore.sha256" {
                std::fs::copy(&program, &fresh)?;
                fresh
            } else {
                world.lab.programs.make_at(&fresh)?
            }
        }
    };
    let news = fresh.to_string_lossy().into_owned();
    report(&fresh, &["tcp-echo", &to, "bytes=500"])?;
    settle(PATIENCE, || {
        ensure(world.stage.client.notices("new-executable", &news).len() == 1, || {
            "a new program is not announced".to_owned()
        })
    })?;
    world.collected()?;
    world.set(key, "")?;
    world.seen("s08-heard")?;
    let got = totals(&world.stage, &path)?;
    ensure(got == (500, 500, 1), || format!("{value} is ignored, and {got:?} on record"))?;
    ensure(rows_of(&world.stage.client, &news)?.is_empty(), || {
        format!("{value} is ignored, not for {news}")
    })?;
    // It was seen: what it does now is on record.
    report(&fresh, &["tcp-echo", &to, "bytes=500"])?;
    world.row(&news).map(drop)
}

/// A network of IPv4, the same as IPv6 writes it, and one of IPv6: what goes there is announced, and not recorded.
fn ignored_networks(world: &mut World<'_>, key: &str) -> Outcome {
    let (peer, peer6) = (world.lab.net.peer, world.lab.net.peer6);
    let (to, to6) = (world.lab.net.to(), world.lab.net.to6());
    for (value, there, elsewhere) in [
        (format!("{peer}/32"), &to, &to6),
        (format!("{}/120", peer.to_ipv6_mapped()), &to, &to6),
        (format!("{peer6}/64"), &to6, &to),
    ] {
        world.set(key, &value)?;
        let unseen = world.lab.programs.make("s08-there")?;
        let path = unseen.to_string_lossy().into_owned();
        report(&unseen, &["tcp-echo", there, "bytes=500"])?;
        settle(PATIENCE, || {
            ensure(world.stage.client.notices("new-executable", &path).len() == 1, || {
                format!("{value}: a new program is not announced")
            })
        })?;
        let seen = world.lab.programs.make("s08-elsewhere")?;
        report(&seen, &["tcp-echo", elsewhere, "bytes=500"])?;
        world.row(&seen.to_string_lossy())?;
        world.collected()?;
        ensure(rows_of(&world.stage.client, &path)?.is_empty(), || {
            format!("{value} is ignored, not for {path}")
        })?;
        world.set(key, "")?;
        report(&unseen, &["tcp-echo", there, "bytes=500"])?;
        world.row(&path)?;
    }
    Ok(())
}

/// `localhost`, as bash resolves it.
fn ignored_domain(world: &mut World<'_>, key: &str) -> Outcome {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    let shell = world.lab.programs.dir().join("s08-shell");
    std::fs::copy("/bin/bash", &shell)?;
    std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755))?;
    let say = |shell: &Path, host: &str| -> Outcome {
        let script = format!("exec 3<>/dev/tcp/{host}/{port}; printf hello >&3");
        let status = Command::new(shell).args(["-c", &script]).status()?;
        ensure(status.success(), || format!("{host}: {status}"))?;
        let mut text = String::new();
        server.accept()?.0.read_to_string(&mut text)?;
        ensure(text == "hello", || text.clone())
    };
    say(&shell, "localhost")?;
    let path = shell.to_string_lossy().into_owned();
    let row = world.row(&path)?;
    ensure(row.domain.as_deref() == Some("localhost"), || format!("{row:?}"))?;
    // A name stands for itself and its subdomains, where these are resolved (by systemd's resolver, for one).
    world.set(key, "localhost")?;
    say(&shell, "localhost")?;
    if Command::new("getent").args(["ahostsv4", "a.localhost"]).output()?.status.success() {
        say(&shell, "a.localhost")?;
    }
    world.collected()?;
    world.set(key, "ocalhost")?;
    say(&shell, "localhost")?;
    settle(PATIENCE, || {
        let got = totals(&world.stage, &path)?;
        ensure(got == (10, 0, 2), || format!("said three times or four, heard twice: {got:?} on record"))
    })?;
    world.set(key, "")
}
