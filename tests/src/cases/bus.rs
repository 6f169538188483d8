// SPDX-License-Identifier: GPL-3.0-or-later
//! B: what changes something is refused and allowed action by action; clients, the bus and polkit that
//! misbehave or go away.

use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::{Error, Query, Scope, name};
use zbus::{MatchRule, MessageStream};

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::faults;
use super::traffic::totals;
use crate::lab::client::settle;
use crate::lab::program::{Running, report, reports_of};
use crate::lab::tools::{spawn, until};
use crate::lab::{Client, Lab, Outcome, Stage, Trouble, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "B02", title: "each change takes its own permission", run: b02 },
    Case { id: "B02", title: "the example of a rule does what it says", run: b02_example },
    Case { id: "B03", title: "a caller that goes while polkit thinks changes nothing", run: b03 },
    Case { id: "B06", title: "200 clients, most of them never reading", run: b06 },
    Case { id: "B06", title: "an export that nobody reads holds up no end", run: b06_unread },
    Case { id: "B07", title: "the bus restarts; polkit is absent", run: b07 },
];

/// How long things may take while 200 clients want everything at once, on two cores that they run on too.
const CROWDED: Duration = Duration::from_secs(40);

/// What each action allows.
fn changes() -> Vec<(&'static str, &'static str)> {
    vec![
        (name::action::CONFIGURE, "set notify.desktop=false"),
        (name::action::CONFIGURE_REMOTE, "set virustotal.upload=true"),
        (name::action::DELETE_HISTORY, "delete until=1"),
        (name::action::PAUSE, "pause 60"),
        (name::action::PAUSE, "resume"),
        (name::action::SCAN, "scan 0000000000000000000000000000000000000000000000000000000000000000"),
    ]
}

fn b02(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b02", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let config = std::fs::read_to_string(stage.daemon.config())?;
    let refused = |who: &User, command: &str| -> Outcome {
        let answer = stage.person(who, false)?.ask(command)?;
        ensure(answer["error"] == "NotAuthorized", || {
            format!("{}: {command} was answered {answer}", who.name)
        })
    };
    for (_, command) in changes() {
        refused(&alice, command)?;
    }
    ensure(std::fs::read_to_string(stage.daemon.config())? == config, || "the file changed".to_owned())?;
    ensure(stage.client.status()?.state.as_deref() == Some("watching"), || "it does not watch".to_owned())?;
    for action in name::action::ALL {
        stage.bus.allow("alice", &[action])?;
        // polkitd reads its rules when it notices that the folder changed.
        let mut person = stage.person(&alice, false)?;
        settle(PATIENCE, || {
            let answer = person.ask("permissions")?;
            let yes = |action: &str| answer["ok"][action] == "yes";
            let right = name::action::ALL.iter().all(|other| yes(other) == (*other == action));
            ensure(right, || format!("only {action} is allowed, and the answer is {answer}"))
        })?;
        for (takes, command) in changes() {
            if takes == action {
                let answer = person.ask(command)?;
                // Nothing of this content was ever seen here.
                let done = answer.get("ok").is_some()
                    || (action == name::action::SCAN && answer["error"] == "NotFound");
                ensure(done, || format!("{action}: {command}: {answer}"))?;
            } else {
                refused(&alice, command)?;
            }
            refused(&bob, command)?;
        }
    }
    let config = std::fs::read_to_string(stage.daemon.config())?;
    ensure(config.contains("desktop = false") && config.contains("upload = true"), || {
        format!("what was allowed is not in the file: {config}")
    })?;
    let log = std::fs::read_to_string(stage.daemon.log())?;
    for did in [
        "changed settings: notify.desktop",
        "changed settings: virustotal.upload",
        "deleted 0 rows of history",
        "paused the record for 60 s",
        "ended the pause",
    ] {
        let line = |line: &&str| line.contains(&format!("uid {} ", alice.uid)) && line.ends_with(did);
        let lines = log.lines().filter(line).count();
        ensure(lines == 1, || format!("{lines} lines of the audit log say that alice {did}"))?;
    }
    ensure(
        !log.lines().any(|line| line.contains(&format!("uid {} ", bob.uid)) && !line.contains("was refused")),
        || "the audit log says that bob did something".to_owned(),
    )
}

/// The rule that is shipped: who is in the group sees everybody's history, and nobody deletes or pauses.
fn b02_example(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b02-example", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let program = lab.programs.make("b02-roots")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let path = program.to_string_lossy().into_owned();
    settle(PATIENCE, || ensure(!rows_of(&stage.client, &path)?.is_empty(), || "not on record".to_owned()))?;
    // With a password they might, so that a no is the rule's.
    for user in [&alice, &bob] {
        let before = stage.person(user, false)?.ask("permissions")?;
        let before = &before["ok"][name::action::READ_ANY];
        ensure(before == "challenge", || format!("{}: read-any at first: {before}", user.name))?;
    }
    let bob = stage.bus.group("netadmin", &bob)?;
    stage.bus.example_rule()?;
    let answer = |user: &User, action: &str| -> Outcome<String> {
        let answer = stage.person(user, false)?.ask("permissions")?;
        Ok(answer["ok"][action].as_str().unwrap_or_default().to_owned())
    };
    settle(PATIENCE, || {
        let (his, hers) = (answer(&bob, name::action::READ_ANY)?, answer(&alice, name::action::READ_ANY)?);
        ensure(his == "yes" && hers != "yes", || format!("read-any: bob {his}, alice {hers}"))
    })?;
    for user in [&alice, &bob] {
        for action in [name::action::DELETE_HISTORY, name::action::PAUSE] {
            let got = answer(user, action)?;
            ensure(got == "no", || format!("{}: {action}: {got}", user.name))?;
        }
    }
    let seen = |user: &User| -> Outcome<usize> {
        let answer = stage.person(user, false)?.ask(&format!("connections scope=any path={path}"))?;
        Ok(answer["ok"]["rows"].as_array().map_or(0, Vec::len))
    };
    ensure(seen(&bob)? > 0, || "bob is in the group and does not see root's rows".to_owned())?;
    for (_, command) in changes()
        .into_iter()
        .filter(|(action, _)| *action == name::action::DELETE_HISTORY || *action == name::action::PAUSE)
    {
        let answer = stage.person(&bob, false)?.ask(command)?;
        ensure(answer["error"] == "NotAuthorized", || format!("bob: {command}: {answer}"))?;
    }
    Ok(())
}

fn b03(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("b03", "")?;
    let alice = User::get("alice")?;
    // An answer, but only after a while, in which the caller goes. polkitd is a user of its own.
    let thinks = stage.dir.join("thinks");
    std::fs::create_dir(&thinks)?;
    std::fs::set_permissions(&thinks, std::fs::Permissions::from_mode(0o777))?;
    let thinks = thinks.join("now");
    let rules = stage.dir.join("rules/10-alice.rules");
    let text = format!(
        "polkit.addRule(function(action, subject) {{\n  if (action.id == {:?}) {{\n    \
         polkit.spawn([\"sh\", \"-c\", \"touch {}; sleep 1\"]);\n    \
         return subject.user == \"alice\" ? polkit.Result.YES : polkit.Result.NO;\n  }}\n}});\n",
        name::action::PAUSE,
        thinks.display()
    );
    std::fs::write(&rules, text)?;
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o644))?;
    let mut person = stage.person(&alice, false)?;
    settle(PATIENCE, || {
        let answer = person.ask("permissions")?;
        ensure(answer["ok"][name::action::PAUSE] == "yes", || format!("{answer}"))
    })?;
    let paused = || -> Outcome<bool> { Ok(stage.client.status()?.state.as_deref() == Some("paused")) };
    // One that stays is served, so that the rule is known to work.
    let answer = person.ask("pause 60")?;
    ensure(answer.get("ok").is_some(), || format!("a pause that is allowed: {answer}"))?;
    settle(PATIENCE, || ensure(paused()?, || "it is not paused".to_owned()))?;
    let answer = person.ask("resume")?;
    ensure(answer.get("ok").is_some(), || format!("{answer}"))?;
    settle(PATIENCE, || ensure(!paused()?, || "it is still paused".to_owned()))?;
    let refusals = || -> Outcome<usize> {
        Ok(std::fs::read_to_string(stage.daemon.log())?.matches("was refused").count())
    };
    let before = refusals()?;
    std::fs::remove_file(&thinks)?;
    let mut leaves = alice.command("dbus-send");
    leaves.arg(format!("--bus={}", stage.bus.address)).arg("--print-reply").args([
        &format!("--dest={}", name::BUS),
        name::PATH,
        &format!("{}.Pause", name::ADMIN),
        "uint32:60",
    ]);
    let mut leaves = spawn(leaves.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let asked = until(PATIENCE, || thinks.exists());
    leaves.kill()?;
    leaves.wait()?;
    ensure(asked, || "polkit was not asked".to_owned())?;
    settle(PATIENCE, || {
        ensure(refusals()? > before, || "the call of one that left has no answer yet".to_owned())
    })?;
    ensure(!paused()?, || "a caller that left paused the record".to_owned())?;
    // One who may not, and whose connection is root's, or a child's, when polkit answers.
    let bob = User::get("bob")?;
    let (person, rooted) = (stage.dir.join("picosnitch-person"), stage.dir.join("rooted"));
    std::fs::copy(&person, &rooted)?;
    std::fs::set_permissions(&rooted, std::fs::Permissions::from_mode(0o4755))?;
    for how in ["exec", "fork"] {
        std::fs::remove_file(&thinks)?;
        let before = refusals()?;
        let mut command = bob.command(&person);
        command.arg("hands").arg(how).arg(&rooted).env("DBUS_SYSTEM_BUS_ADDRESS", &stage.bus.address);
        let mut caller = Running::start_command(&mut command)?;
        caller.line()?;
        ensure(until(PATIENCE, || thinks.exists()), || format!("{how}: polkit was not asked"))?;
        caller.say("go")?;
        if how == "exec" {
            let now = caller.line()?;
            ensure(now.contains("root"), || format!("it did not become root: {now}"))?;
        }
        ensure(refusals()? == before, || format!("{how}: polkit had answered before"))?;
        settle(PATIENCE, || ensure(refusals()? > before, || format!("{how}: the call has no answer yet")))?;
        ensure(!paused()?, || format!("{how}: a connection that changed hands paused the record"))?;
    }
    Ok(())
}

fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long the daemon takes to answer one well-behaved client.
fn answer_time(stage: &Stage) -> Outcome<Duration> {
    let start = Instant::now();
    stage.client.status()?;
    Ok(start.elapsed())
}

/// A connection as the one with this uid; `None`: as root.
async fn connect_as(uid: Option<u32>, address: &str) -> Result<zbus::Connection, Error> {
    let own = nix::unistd::geteuid();
    let failed = |error: nix::Error| Error::Unavailable(error.to_string());
    if let Some(uid) = uid {
        nix::unistd::seteuid(uid.into()).map_err(failed)?;
    }
    // The kernel tells the bus who connected; after that root goes on.
    let connection = async { zbus::connection::Builder::address(address)?.build().await }.await;
    nix::unistd::seteuid(own).map_err(failed)?;
    Ok(connection?)
}

fn b06(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("b06", "")?;
    let some = lab.programs.make("b06-some")?;
    report(&some, &["tcp-sequence", &lab.net.to(), "count=300"])?;
    let path = some.to_string_lossy().into_owned();
    // As much of somebody's own, who is one of the crowd.
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let hers = lab.programs.make("b06-hers")?;
    let mut command = alice.command(&hers);
    reports_of(command.args(["tcp-sequence", &lab.net.to(), "count=300"]))?;
    let hers = hers.to_string_lossy().into_owned();
    for path in [&path, &hers] {
        let rows = || rows_of(&stage.client, path).map(|rows| rows.len());
        settle(CROWDED, || ensure(rows()? >= 300, || format!("{path} is not on record")))?;
    }
    let before = memory(stage.daemon.pid());
    let address = stage.bus.address.clone();
    let of = [None, Some(alice.uid), Some(bob.uid)];
    // Kept until the end: the stream that nobody polls stops the connection from reading.
    let crowd = stage.client.call(|_| async move {
        let mut crowd = Vec::new();
        for number in 0..200 {
            let connection = connect_as(of[number % of.len()], address.as_str()).await?;
            let client = picosnitch_api::Client::new(&connection).await?;
            client.watch().await?;
            crowd.push((client, None));
        }
        // Together far more than a bus keeps for one sender.
        // Everybody's: where that is not allowed, polkit is asked and others' rows are left out.
        let query = Query { limit: Some(300), scope: Some(Scope::Any), ..Query::default() }.to_dict();
        for (client, deaf) in crowd.iter_mut().skip(20) {
            let connection = client.connection();
            let rule = MatchRule::builder().sender(name::BUS)?.build();
            *deaf = Some(MessageStream::for_match_rule(rule, connection, Some(1)).await?);
            for _ in 0..12 {
                let call = zbus::Message::method_call(name::PATH, "Connections")?
                    .destination(name::BUS)?
                    .interface(name::MONITOR)?
                    .build(&query)?;
                connection.send(&call).await?;
            }
        }
        Ok::<_, Error>(crowd)
    })?;
    let outcome = beside_a_crowd(lab, &stage).and_then(|()| {
        // Nobody is given somebody else's rows in the crush.
        for (user, want) in [(&alice, 300), (&bob, 0)] {
            let answer =
                stage.person(user, false)?.ask(&format!("connections scope=any limit=1000 path={hers}"))?;
            let rows = answer["ok"]["rows"].as_array().map(Vec::len);
            ensure(rows == Some(want), || format!("{} sees {rows:?} rows of alice, not {want}", user.name))?;
        }
        Ok(())
    });
    // The streams end where they were made.
    stage.client.call(|_| async move { drop(crowd) });
    outcome?;
    ensure(stage.daemon.is_running(), || "the daemon ended".to_owned())?;
    settle(PATIENCE, || {
        let after = memory(stage.daemon.pid());
        ensure(after < before + 64 * 1024, || format!("its memory grew from {before} to {after} KiB"))
    })
}

/// Into a pipe that stays full: the daemon ends as soon as without it.
fn b06_unread(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("b06-unread", "")?;
    let alice = User::get("alice")?;
    let some = lab.programs.make("b06-unread")?;
    report(&some, &["tcp-sequence", &lab.net.to(), "count=300"])?;
    let path = some.to_string_lossy().into_owned();
    settle(PATIENCE, || ensure(rows_of(&stage.client, &path)?.len() >= 300, || "not on record".to_owned()))?;
    stage.bus.allow("alice", &[name::action::READ_SYSTEM])?;
    settle(PATIENCE, || {
        let answer = stage.person(&alice, false)?.ask("permissions")?;
        ensure(answer["ok"][name::action::READ_SYSTEM] == "yes", || format!("{answer}"))
    })?;
    let (reader, writer) = std::io::pipe()?;
    let full = writer.try_clone()?;
    let mut export = stage.cli(Some(&alice))?;
    export.args(["--json", "export", "connections"]).stdin(Stdio::null());
    let mut export = spawn(export.stdout(writer).stderr(Stdio::null()))?;
    let filled = until(PATIENCE, || {
        let mut fds = [PollFd::new(full.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready == 0)
    });
    let began = Instant::now();
    let stopped = stage.daemon.stop();
    let took = began.elapsed();
    export.kill()?;
    export.wait()?;
    drop(reader);
    ensure(filled, || "the export has filled no pipe".to_owned())?;
    stopped?;
    println!("    it ended within {took:?}");
    Ok(())
}

/// What the crowd asked for is being answered; others are served all the same.
fn beside_a_crowd(lab: &Lab, stage: &Stage) -> Outcome {
    let mut slowest = Duration::ZERO;
    for number in 0..10 {
        let program = lab.programs.make(&format!("b06-new{number}"))?;
        report(&program, &["tcp-echo", &lab.net.to()])?;
        let path = program.to_string_lossy().into_owned();
        settle(CROWDED, || heard(&stage.client, &path))?;
        slowest = slowest.max(answer_time(stage)?);
    }
    // On two cores that the crowd's answers are made on too, by a build that is not optimised.
    ensure(slowest < Duration::from_secs(10), || format!("Status took {slowest:?}"))
}

fn b07(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("b07", "")?;
    let alice = User::get("alice")?;
    let to = lab.net.to();
    // Without polkit: own rows and Status for everybody, changes for root alone.
    stage.bus.stop_polkit();
    let mut person = stage.person(&alice, false)?;
    for command in ["status", "connections", "permissions"] {
        let answer = person.ask(command)?;
        ensure(answer.get("ok").is_some(), || format!("without polkit {command} was answered {answer}"))?;
    }
    for (_, command) in changes() {
        let answer = person.ask(command)?;
        ensure(answer["error"] == "NotAuthorized", || {
            format!("without polkit {command} was answered {answer}")
        })?;
    }
    stage.client.call(|client| async move {
        client.pause(60).await?;
        client.resume().await
    })?;
    drop(person);
    let many = |name: &str| -> Outcome<(String, u64)> {
        let program = lab.programs.make(name)?;
        let made = report(&program, &["tcp-sequence", &to, "count=40"])?.connections;
        Ok((program.to_string_lossy().into_owned(), made))
    };
    let (path, made) = many("b07-unasked")?;
    counted(&stage, "polkit absent", &path, made)?;
    // A program first seen while there is no bus.
    stage.bus.stop();
    let (unheard, made) = many("b07-unheard")?;
    let program = lab.programs.make("b07-meanwhile")?;
    let mut running = Running::start(&program, &["tcp-steps", &to])?;
    running.report()?;
    stage.bus.restart()?;
    stage.client = Client::connect(&stage.bus.address)?;
    let path = program.to_string_lossy().into_owned();
    settle(Duration::from_secs(20), || stage.client.status().map(|_| ()))?;
    ensure(stage.daemon.is_running(), || "the daemon ended with the bus".to_owned())?;
    counted(&stage, "bus restarted", &unheard, made)?;
    settle(PATIENCE, || {
        let known = stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?;
        ensure(known.len() == 1, || format!("{} events about what was first seen meanwhile", known.len()))
    })?;
    running.say("1000")?;
    running.report()?;
    settle(PATIENCE, || {
        let sent: u64 = rows_of(&stage.client, &path)?.iter().filter_map(|row| row.sent).sum();
        ensure(sent == 1000, || format!("{sent} bytes on record, not 1000"))
    })?;
    running.finish()?;
    // And signals go out again.
    let program = lab.programs.make("b07-after")?;
    report(&program, &["tcp-echo", &to])?;
    let path = program.to_string_lossy().into_owned();
    settle(PATIENCE, || heard(&stage.client, &path))?;
    log_has(&stage.daemon.log(), "back on the bus")
}

/// All of these are on record.
fn counted(stage: &Stage, fault: &str, path: &str, made: u64) -> Outcome {
    settle(PATIENCE, || {
        let got = totals(stage, path)?.2;
        ensure(got == made, || format!("{fault}: {got} of {made} connections on record"))
    })?;
    let lost = stage.client.status()?.lost_rows.unwrap_or(0);
    faults::count(fault, made, totals(stage, path)?.2, lost)
}

fn heard(client: &Client, path: &str) -> Outcome {
    ensure(client.notices("new-executable", path).len() == 1, || format!("no notice of {path}"))
}

fn log_has(log: &Path, words: &str) -> Outcome {
    let text = std::fs::read_to_string(log).map_err(Trouble::from)?;
    ensure(text.contains(words), || format!("the log does not say {words:?}"))
}
