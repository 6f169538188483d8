// SPDX-License-Identifier: GPL-3.0-or-later
//! B: who may do what at the bus, with a real polkitd and real users.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use picosnitch_api::name;
use serde_json::Value;
use zbus::zvariant;

use super::Case;
use super::expect::{PATIENCE, rows_of};
use crate::fuzz::{Random, word};
use crate::lab::client::settle;
use crate::lab::program::{report, reports_of};
use crate::lab::{Lab, Outcome, Stage, Trouble, User, ensure, project};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "B01", title: "only root can own the name", run: b01 },
    Case { id: "B04", title: "bob sees nothing of alice's, and is told how much that is", run: b04 },
    Case { id: "B05", title: "fuzzed calls", run: b05 },
    Case { id: "B08", title: "the served interface is the one in the repository", run: b08 },
];

fn b01(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("b01")?;
    let bus = crate::lab::Bus::start(&dir)?;
    let ask = |mut command: Command| -> Outcome<String> {
        command
            .arg(format!("--bus={}", bus.address))
            .args(["--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
            .args(["org.freedesktop.DBus.RequestName", &format!("string:{}", name::BUS), "uint32:0"]);
        let output = command.output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    for user in ["alice", "bob"] {
        let answer = ask(User::get(user)?.command("dbus-send"))?;
        ensure(answer.contains("org.freedesktop.DBus.Error.AccessDenied"), || {
            format!("{user} asked for the name and got: {answer}")
        })?;
    }
    let answer = ask(Command::new("dbus-send"))?;
    ensure(answer.contains("uint32 1"), || format!("root asked for the name and got: {answer}"))
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["ok"]["rows"].as_array().cloned().unwrap_or_default()
}

fn b04(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b04", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let to = lab.net.to();
    let mut hears = HashMap::new();
    for user in [&alice, &bob] {
        let mut person = stage.person(user, true)?;
        person.heard_until(|value| value["signal"] == "appeared")?;
        hears.insert(user.name.clone(), person);
    }
    // A Watch call is under way; the daemon answers calls of one client in order, and `Recorded` of the
    // next write interval comes after it.
    for person in hears.values_mut() {
        report(lab.programs.server(), &["loopback", "bytes=10"])?;
        person.heard_until(|value| value["signal"] == "recorded")?;
    }
    let mut paths = HashMap::new();
    for (who, name) in [(Some(&alice), "b04-alice"), (Some(&bob), "b04-bob"), (None, "b04-system")] {
        let program = lab.programs.make(name)?;
        let mut command = match who {
            Some(user) => user.command(&program),
            None => Command::new(&program),
        };
        let made = reports_of(command.args(["tcp-echo", &to]))?;
        let uid = made.first().map_or(0, |report| report.uid);
        ensure(uid == who.map_or(0, |user| user.uid), || format!("{name} ran as {uid}"))?;
        paths.insert(name, program.to_string_lossy().into_owned());
        settle(PATIENCE, || {
            ensure(!rows_of(&stage.client, &paths[name])?.is_empty(), || format!("{name} is not on record"))
        })?;
    }
    for (me, other) in [(&alice, "b04-bob"), (&bob, "b04-alice")] {
        let own = format!("b04-{}", me.name);
        let mut person = stage.person(me, false)?;
        let other = &paths[other];
        for command in ["connections", "executables", "events"] {
            let theirs = person.ask(&format!("{command} scope=any path={other}"))?;
            ensure(rows(&theirs).is_empty(), || format!("{} gets {command} {theirs}", me.name))?;
            ensure(theirs["ok"]["hidden"].as_u64().is_some_and(|hidden| hidden > 0), || {
                format!("{} is not told that {command} are hidden: {theirs}", me.name)
            })?;
            let everything = person.ask(&format!("{command} scope=any limit=1000"))?.to_string();
            ensure(!everything.contains(other.as_str()), || {
                format!("{} finds {other} in {command}", me.name)
            })?;
            let mine = person.ask(&format!("{command} path={}", paths[own.as_str()]))?;
            ensure(!rows(&mine).is_empty(), || format!("{} lacks own {command}: {mine}", me.name))?;
        }
        for command in ["summary path", "summary cmdline", "summary uid", "series path"] {
            let all = person.ask(&format!("{command} scope=any"))?;
            let text = all.to_string();
            ensure(all["ok"]["hidden"].as_u64().is_some_and(|hidden| hidden > 0), || {
                format!("{} is not told that parts of {command} are hidden: {all}", me.name)
            })?;
            ensure(!text.contains(other.as_str()), || format!("{} finds {other} in {command}", me.name))?;
        }
        // Rows by their number, one after another: what is not in a list is not there at all.
        let most = stage.client.events(&picosnitch_api::Query::default())?.len() + 2;
        for id in 0..=most {
            for what in ["event", "executable"] {
                let answer = person.ask(&format!("{what} {id}"))?;
                ensure(!answer.to_string().contains(other.as_str()), || {
                    format!("{} gets {what} {id}: {answer}", me.name)
                })?;
            }
        }
        // Signals: own ones and the system's, not the other's. Own comes first or between, the system's
        // program ran last.
        let system = paths["b04-system"].clone();
        let heard = hears
            .get_mut(&me.name)
            .ok_or("nobody listens")?
            .heard_until(|value| value["notice"]["path"] == system.as_str())?;
        let text = serde_json::to_string(&heard)?;
        ensure(text.contains(&paths[own.as_str()]), || format!("{} hears nothing of {own}", me.name))?;
        ensure(!text.contains(other.as_str()), || format!("{} hears of {other}", me.name))?;
    }
    // With read-any bob sees everything, at once.
    stage.bus.allow("bob", &[name::action::READ_ANY, name::action::READ_SYSTEM])?;
    let mut person = stage.person(&bob, false)?;
    settle(PATIENCE, || {
        let all = person.ask(&format!("connections scope=any path={}", paths["b04-alice"]))?;
        ensure(!rows(&all).is_empty(), || format!("bob is allowed and gets {all}"))
    })?;
    // He goes on with it: that is one grant and one line, and alice has none.
    person.ask("summary path scope=any")?;
    let log = std::fs::read_to_string(stage.daemon.log())?;
    let granted = |uid: u32| {
        let line = |line: &&str| {
            line.contains(&format!("uid {uid} "))
                && line.contains(&format!("was granted {}", name::action::READ_ANY))
        };
        log.lines().filter(line).count()
    };
    ensure((granted(bob.uid), granted(alice.uid)) == (1, 0), || {
        format!("{} and {} lines in the audit log, not 1 and 0", granted(bob.uid), granted(alice.uid))
    })
}

fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn b05(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("b05", "")?;
    let program = lab.programs.make("b05-some")?;
    report(&program, &["tcp-sequence", &lab.net.to(), "count=200"])?;
    let path = program.to_string_lossy().into_owned();
    settle(PATIENCE, || ensure(!rows_of(&stage.client, &path)?.is_empty(), || "not on record".to_owned()))?;
    let before = memory(stage.daemon.pid());
    let mut random = Random(0x5eed_1234_5678_9abc);
    let methods = ["Connections", "Executables", "Events", "Summary", "Series"];
    let answers = stage.client.call(|client| async move {
        let connection = client.connection().clone();
        let proxy: zbus::Proxy<'_> =
            zbus::Proxy::new(&connection, name::BUS, name::PATH, name::MONITOR).await?;
        let admin: zbus::Proxy<'_> =
            zbus::Proxy::new(&connection, name::BUS, name::PATH, name::SETTINGS).await?;
        let mut answers = HashMap::<String, usize>::new();
        for _ in 0..1_500 {
            let query = random.query();
            let method = methods[random.below(methods.len())];
            let result = match method {
                "Summary" | "Series" => {
                    let by = ["path", "domain", "", "' --", "nothing"][random.below(5)];
                    proxy.call_method(method, &(by, query)).await
                }
                _ => proxy.call_method(method, &(query,)).await,
            };
            *answers.entry(word(result)).or_default() += 1;
        }
        // Bodies of the wrong shape, numbers of nothing, lists that are too long.
        for _ in 0..200 {
            let result = match random.below(7) {
                0 => proxy.call_method("Connections", &(random.number(),)).await,
                1 => proxy.call_method("Summary", &("path",)).await,
                2 => proxy.call_method("Executable", &(random.number() as i64,)).await,
                3 => proxy.call_method("Event", &("'; --",)).await,
                4 => proxy.call_method("Acknowledge", &(vec![random.number() as i64; 300_000],)).await,
                5 => proxy.call_method("NoSuchMethod", &(random.value(),)).await,
                _ => {
                    let changes = HashMap::from([(random.key(), random.value())]);
                    admin.call_method("Set", &(changes,)).await
                }
            };
            *answers.entry(word(result)).or_default() += 1;
        }
        for (key, value) in wrong_values() {
            let result = admin.call_method("Set", &(HashMap::from([(key, value)]),)).await;
            *answers.entry(format!("{key}: {}", word(result))).or_default() += 1;
        }
        let huge: HashMap<&str, zvariant::Value<'_>> = HashMap::from([("limit", 1_000_000_u32.into())]);
        *answers
            .entry(format!("huge {}", word(proxy.call_method("Connections", &(huge,)).await)))
            .or_default() += 1;
        Ok::<_, Trouble>(answers)
    })?;
    ensure(stage.daemon.is_running(), || format!("the daemon has ended: {answers:?}"))?;
    // NoReply, Timeout or Disconnected would mean that a call broke something.
    let odd: Vec<_> = answers
        .keys()
        .filter(|word| {
            !["reply", "huge reply"].contains(&word.as_str())
                && !word.contains("org.picosnitch.Monitor.Error.")
                && !word.contains("org.freedesktop.DBus.Error.InvalidArgs")
                && !word.contains("org.freedesktop.DBus.Error.UnknownMethod")
                // zbus says this of a body whose types do not fit the method.
                && *word != "org.freedesktop.zbus.Error"
        })
        .collect();
    ensure(odd.is_empty(), || format!("answers of another kind: {odd:?}"))?;
    ensure(answers.keys().any(|word| word.starts_with("huge org.picosnitch")), || {
        format!("a page of a million rows was not refused: {answers:?}")
    })?;
    for (key, _) in wrong_values() {
        let refused = format!("{key}: org.picosnitch.Monitor.Error.InvalidSetting");
        ensure(answers.contains_key(&refused), || {
            format!("a wrong value of {key} was not refused: {answers:?}")
        })?;
    }
    not_allowed(&mut stage)?;
    let after = memory(stage.daemon.pid());
    ensure(after < before + 32 * 1024, || format!("its memory grew from {before} to {after} KiB"))?;
    settle(Duration::from_secs(5), || {
        ensure(!rows_of(&stage.client, &path)?.is_empty(), || "rows are gone".to_owned())
    })
}

/// Settings that there are, each with a value that it cannot have.
fn wrong_values() -> [(&'static str, zvariant::Value<'static>); 9] {
    [
        ("database.retention_days", zvariant::Value::from(-7_i64)),
        ("database.detail_days", zvariant::Value::from("x")),
        ("monitor.ring_buffer_kib", zvariant::Value::from(1000_i64)),
        ("monitor.bandwidth", zvariant::Value::from(f64::NAN)),
        ("log.ignore.ports", zvariant::Value::from(vec![70_000_i64])),
        ("log.ignore.networks", zvariant::Value::from(vec!["nonsense"])),
        ("remote.url", zvariant::Value::from("ftp://nowhere")),
        ("remote.tls", zvariant::Value::from("perhaps")),
        ("virustotal.request_interval_seconds", zvariant::Value::from(i64::MIN)),
    ]
}

/// Bob may not delete, pause, scan or set anything, whatever he writes into the call; an export has his rows.
fn not_allowed(stage: &mut Stage) -> Outcome {
    const CALLS: usize = 500;
    let config = std::fs::read(stage.daemon.config())?;
    let answer = stage.person(&User::get("bob")?, false)?.ask(&format!("fuzz {CALLS}"))?;
    let answers: HashMap<String, HashMap<String, usize>> = serde_json::from_value(answer["ok"].clone())?;
    let mut calls = 0;
    for (method, words) in &answers {
        for (word, count) in words {
            let kind = word.strip_prefix("org.picosnitch.Monitor.Error.").unwrap_or(word);
            let right = match method.as_str() {
                "Export" => ["reply", "InvalidQuery", "Unavailable"].contains(&kind),
                "Set" => kind == "NotAuthorized",
                _ => ["InvalidQuery", "NotAuthorized"].contains(&kind),
            };
            ensure(right, || format!("bob's {method} was answered {word}: {answers:?}"))?;
            calls += count;
        }
        // Some get as far as the question who asks.
        let through = if method == "Export" { "reply" } else { "org.picosnitch.Monitor.Error.NotAuthorized" };
        ensure(words.contains_key(through), || format!("{method} is only ever wrong: {answers:?}"))?;
    }
    ensure((answers.len(), calls) == (5, CALLS), || format!("{calls} answers: {answers:?}"))?;
    ensure(stage.daemon.is_running(), || "the daemon has ended".to_owned())?;
    ensure(std::fs::read(stage.daemon.config())? == config, || "the settings changed".to_owned())?;
    ensure(stage.client.status()?.state.as_deref() == Some("watching"), || "it does not watch".to_owned())
}

/// The interfaces of the project in an introspection answer, without comments and the white space
/// between tags.
fn interfaces(xml: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in xml.split("<interface ").skip(1) {
        let body = part.split("</interface>").next().unwrap_or("");
        if !body.starts_with("name=\"org.picosnitch.") {
            continue;
        }
        let mut text = String::new();
        let mut rest = body;
        while let Some(at) = rest.find("<!--") {
            text += &rest[..at];
            rest = rest[at..].split_once("-->").map_or("", |(_, rest)| rest);
        }
        text += rest;
        all.push(text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
    }
    all.sort();
    all
}

fn introspect(stage: &Stage) -> Outcome<String> {
    stage
        .client
        .call(|client| async move {
            let proxy: zbus::Proxy<'_> = zbus::Proxy::new(
                client.connection(),
                name::BUS,
                name::PATH,
                "org.freedesktop.DBus.Introspectable",
            )
            .await?;
            proxy.call::<_, _, String>("Introspect", &()).await
        })
        .map_err(Trouble::from)
}

fn b08(lab: &mut Lab) -> Outcome {
    let served = interfaces(&introspect(lab.shared()?)?);
    let file = project().join("data/org.picosnitch.Monitor.xml");
    let kept = std::fs::read_to_string(&file)
        .map_err(|error| Trouble::Failed(format!("{}: {error}", file.display())))?;
    let kept = interfaces(&kept);
    ensure(served.len() == 3, || format!("{} interfaces are served, not 3", served.len()))?;
    for (one, other) in served.iter().zip(&kept) {
        if let Some((served, kept)) = one.lines().zip(other.lines()).find(|(one, other)| one != other) {
            return Err(format!("served: {served}\n    in {}: {kept}", file.display()).into());
        }
    }
    ensure(served == kept, || "served and kept differ in length".to_owned())
}
