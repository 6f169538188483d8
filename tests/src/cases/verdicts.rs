// SPDX-License-Identifier: GPL-3.0-or-later
//! V: verdicts on contents, from an HTTPS server in VirusTotal's place.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use picosnitch_api::Query;
use serde_json::{Value, json};

use super::Case;
use super::expect::PATIENCE;
use super::leaving::errors;
use crate::lab::certificates::Authority;
use crate::lab::client::settle;
use crate::lab::program::{report, reports_of, sha256_file};
use crate::lab::scanner::{self, Scanner};
use crate::lab::{Lab, Outcome, Stage, Trouble, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "V01", title: "a verdict is kept, shown and told", run: v01 },
    Case { id: "V02", title: "404 alone leads to an upload, of the bytes that were hashed", run: v02 },
    Case { id: "V03", title: "another file in its place is not sent", run: v03 },
    Case { id: "S11", title: "hostile certificate in the scanner's place: no key, no hash", run: hostile },
    Case { id: "V04", title: "asking now takes scan, and only for what was seen", run: v04 },
    Case {
        id: "V02",
        title: "a file that the scanner does not take is not sent again and again",
        run: v02_refused,
    },
    Case { id: "V02", title: "a strange answer about one content holds up no other", run: v02_strange },
    Case { id: "V05", title: "where data goes is configure-remote's alone", run: v05 },
];

/// Settings with this scanner.
pub fn virustotal(scanner: &Scanner, authority: &Authority, more: &str) -> String {
    format!(
        "[virustotal]\napi_key = \"lab-key\"\nurl = \"{}\"\nca_file = \"{}\"\nrequest_interval_seconds = 1\n{more}",
        scanner.url(),
        authority.certificate().display()
    )
}

/// A scanner with these answers to GET and to POST, and who vouches for it.
pub fn start_scanner(
    lab: &mut Lab,
    name: &str,
    get: &[Value],
    post: &[Value],
) -> Outcome<(Scanner, Authority)> {
    let dir = lab.new_dir(name)?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let identity = authority.sign("scanner", "IP:127.0.0.1")?;
    Ok((Scanner::start(&dir, &identity, get, post)?, authority))
}

/// The verdict on a program's only content.
fn verdict_of(stage: &Stage, path: &str) -> Outcome<String> {
    let query = Query { path: Some(path.to_owned()), ..Query::default() };
    let page = stage.client.call(|client| async move { client.executables(&query).await })?;
    let id = page.rows.first().and_then(|row| row.id).ok_or("the program is not on record")?;
    let row = stage.client.call(|client| async move { client.executable(id).await })?;
    let (hashes, verdicts) = (row.hashes.unwrap_or_default(), row.verdicts.unwrap_or_default());
    ensure(hashes.len() == verdicts.len(), || format!("{verdicts:?} for {hashes:?}"))?;
    Ok(verdicts.first().cloned().unwrap_or_default())
}

/// Waits for this verdict on a program's only content.
pub fn verdict_becomes(stage: &Stage, path: &str, words: &str) -> Outcome {
    settle(Duration::from_secs(120), || {
        let verdict = verdict_of(stage, path)?;
        ensure(verdict == words, || {
            let status = stage.client.status().map(|status| status.scan_error).ok().flatten();
            format!("the verdict is {verdict:?}, not {words:?}; status says {status:?}")
        })
    })
}

/// Requests about one content, in order.
fn about(scanner: &Scanner, sha256: &str) -> Outcome<Vec<Value>> {
    let of = |request: &Value| {
        request["path"].as_str().is_some_and(|path| path.ends_with(sha256))
            || request["body"]["sha256"] == sha256
    };
    Ok(scanner.requests()?.into_iter().filter(of).collect())
}

/// Shows virustotal.api_key, virustotal.url and virustotal.ca_file: this scanner is asked, with this key.
fn v01(lab: &mut Lab) -> Outcome {
    let (scanner, authority) =
        start_scanner(lab, "v01-scanner", &[scanner::report(3, 1, 72)], &[not_wanted()])?;
    let stage = lab.stage("v01", &virustotal(&scanner, &authority, ""))?;
    let program = lab.programs.make("v01-suspicious")?;
    let (path, sha256) = (program.to_string_lossy().into_owned(), sha256_file(&program)?);
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let words = "4 of 72 engines (2026-09-21)";
    verdict_becomes(&stage, &path, words)?;
    settle(PATIENCE, || {
        let told = stage.client.notices("verdict", &path);
        ensure(told.len() == 1, || format!("{} signals of the verdict", told.len()))?;
        let (_, event) = told.into_iter().next().ok_or("no signal")?;
        ensure(event.message.as_deref() == Some(words) && event.sha256.as_deref() == Some(&sha256), || {
            format!("the signal says {event:?}")
        })?;
        let id = event.id.unwrap_or(0);
        let event = stage.client.call(|client| async move { client.event(id).await })?;
        ensure(
            event.kind.as_deref() == Some("verdict")
                && event.path.as_deref() == Some(&path)
                && event.message.as_deref() == Some(words)
                && event.sha256.as_deref() == Some(&sha256)
                && event.uid == Some(0),
            || format!("the event says {event:?}"),
        )
    })?;
    let asked = about(&scanner, &sha256)?;
    ensure(asked.len() == 1 && asked[0]["key"] == "lab-key", || format!("it was asked {asked:?}"))?;
    // The command shows it, and the log of notices has it.
    let output = stage.cli(None)?.args(["executable", &path]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure(text.contains(words), || format!("the command shows\n{text}"))?;
    let log = std::fs::read_to_string(stage.daemon.log_dir().join("exe.log"))?;
    ensure(log.lines().any(|line| line.contains(" verdict ") && line.contains(words)), || {
        format!("exe.log:\n{log}")
    })
}

/// An answer that no case may come to.
fn not_wanted() -> Value {
    json!({"status": 500, "body": "nobody asked for this"})
}

fn v02(lab: &mut Lab) -> Outcome {
    let long = json!({"status": 200, "body": "{", "padding": 100_000_000});
    let mut troubles = vec![
        json!({"status": 429, "headers": {"Retry-After": "3"}, "body": {"error": {"code": "QuotaExceededError"}}}),
        json!({"status": 401, "body": {"error": {"code": "WrongCredentialsError"}}}),
        json!({"status": 503, "body": "<html>busy</html>"}),
        json!({"status": 200, "body": "<html>welcome to this hotel</html>"}),
        long,
    ];
    if super::long() {
        // It takes the question and says nothing: that takes half a minute.
        troubles.push(json!({"status": 0, "hang": true}));
    }
    let count = troubles.len();
    let get: Vec<Value> = troubles.into_iter().chain([scanner::not_found()]).collect();
    let taken = json!({"status": 200, "body": {"data": {"type": "analysis", "id": "abc"}}});
    // The monitor's own programs are news as well: one content at a time, so that the order is ours.
    let (scanner, authority) = start_scanner(lab, "v02-scanner", &get, &[taken])?;
    let stage = lab.stage("v02", &virustotal(&scanner, &authority, "upload = true\n"))?;
    let program = lab.programs.make("v02-unknown")?;
    let (path, sha256) = (program.to_string_lossy().into_owned(), sha256_file(&program)?);
    report(&program, &["tcp-echo", &lab.net.to()])?;
    settle(Duration::from_secs(240), || {
        let verdict = verdict_of(&stage, &path)?;
        ensure(verdict == "no verdict yet", || format!("the verdict is {verdict:?}"))
    })?;
    let all = scanner.requests()?;
    let uploads: Vec<&Value> = all.iter().filter(|request| request["method"] == "POST").collect();
    let sent = uploads.iter().find(|request| request["body"]["sha256"] == sha256.as_str());
    let sent = sent.ok_or_else(|| Trouble::Failed(format!("the file was not sent: {uploads:?}")))?;
    ensure(sent["body"]["length"].as_u64() == std::fs::metadata(&program)?.len().into(), || {
        format!("{sent}")
    })?;
    let head = sent["body"]["head"].as_str().unwrap_or_default();
    ensure(head.contains(&sha256) && !head.contains("v02"), || format!("the form tells: {head}"))?;
    // No trouble led to an upload, and nobody was asked sooner than allowed.
    let first = all.iter().position(|request| request["method"] == "POST").unwrap_or(0);
    let unknown = all.iter().position(|request| request["status"] == 404).unwrap_or(usize::MAX);
    ensure(unknown < first && unknown >= count, || format!("asked in this order: {all:?}"))?;
    let times: Vec<f64> = all.iter().filter_map(|request| request["time"].as_f64()).collect();
    let short = times.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min);
    ensure(short > 0.95, || format!("two requests {short} s apart, not 1 s"))?;
    ensure(times.get(1).zip(times.first()).is_some_and(|(b, a)| b - a > 2.9), || {
        format!("asked again too soon after Retry-After: 3: {times:?}")
    })?;
    let told = errors(&stage, "scanner")?;
    ensure(told.len() == 1, || format!("one Error about one incident: {told:?}"))?;
    ensure(stage.client.notices("verdict", &path).is_empty(), || "a trouble was told as a verdict".to_owned())
}

fn v02_refused(lab: &mut Lab) -> Outcome {
    const WATCHED: Duration = Duration::from_secs(20);
    let refused = json!({"status": 413, "body": "<html>Request Entity Too Large</html>"});
    let (scanner, authority) = start_scanner(lab, "v02-refusing", &[scanner::report(0, 0, 70)], &[refused])?;
    let program = lab.programs.make("v02-refused")?;
    let sha256 = sha256_file(&program)?;
    scanner.always(&sha256, scanner::not_found())?;
    let stage = lab.stage("v02-refused", &virustotal(&scanner, &authority, "upload = true\n"))?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let uploads = || -> Outcome<usize> {
        Ok(about(&scanner, &sha256)?.iter().filter(|request| request["method"] == "POST").count())
    };
    settle(PATIENCE, || ensure(uploads()? > 0, || "the file was not sent".to_owned()))?;
    let first = Instant::now();
    // Others are asked about meanwhile.
    let other = lab.programs.make("v02-meanwhile")?;
    report(&other, &["tcp-echo", &lab.net.to()])?;
    verdict_becomes(&stage, &other.to_string_lossy(), "0 of 70 engines (2026-09-21)")?;
    std::thread::sleep(WATCHED.saturating_sub(first.elapsed()));
    ensure(uploads()? == 1, || format!("sent {} times in {:?}", uploads().unwrap_or(0), first.elapsed()))?;
    let told = errors(&stage, "scanner")?;
    ensure(told.len() == 1 && told[0].contains("413"), || format!("one Error that says why: {told:?}"))
}

fn v02_strange(lab: &mut Lab) -> Outcome {
    let (scanner, authority) = start_scanner(lab, "v02-odd", &[scanner::report(0, 0, 70)], &[not_wanted()])?;
    let program = lab.programs.make("v02-odd")?;
    let sha256 = sha256_file(&program)?;
    // As a report is, but for the number of engines.
    scanner.always(&sha256, scanner::report(1, 0, 20_000))?;
    let stage = lab.stage("v02-odd", &virustotal(&scanner, &authority, ""))?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || ensure(!about(&scanner, &sha256)?.is_empty(), || "nobody was asked".to_owned()))?;
    let other = lab.programs.make("v02-even")?;
    report(&other, &["tcp-echo", &lab.net.to()])?;
    verdict_becomes(&stage, &other.to_string_lossy(), "0 of 70 engines (2026-09-21)")?;
    let path = program.to_string_lossy().into_owned();
    ensure(verdict_of(&stage, &path)?.is_empty(), || "nonsense was taken for a verdict".to_owned())?;
    let status = stage.client.status()?;
    ensure(status.relay_restarts.unwrap_or(0) == 0, || "the helper died of an answer".to_owned())
}

fn v03(lab: &mut Lab) -> Outcome {
    // A redirection is not followed: the key goes to the address that was named.
    let wait =
        json!({"status": 302, "headers": {"Retry-After": "4", "Location": "/api/v3/elsewhere"}, "body": ""});
    let (scanner, authority) =
        start_scanner(lab, "v03-scanner", &[wait, scanner::not_found()], &[not_wanted()])?;
    let stage = lab.stage("v03", &virustotal(&scanner, &authority, "upload = true\n"))?;
    let program = lab.programs.make("v03-replaced")?;
    let (path, sha256) = (program.to_string_lossy().into_owned(), sha256_file(&program)?);
    report(&program, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || ensure(!scanner.requests()?.is_empty(), || "nobody was asked".to_owned()))?;
    // Same path, same length, other bytes, before the scanner says that it does not know the first.
    let mut bytes = std::fs::read(&program)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    let new = program.with_extension("new");
    lab.programs.write(&new, &bytes)?;
    std::fs::rename(&new, &program)?;
    verdict_becomes(&stage, &path, "unknown")?;
    let elsewhere = scanner.requests()?.iter().any(|request| request["path"] == "/api/v3/elsewhere");
    ensure(!elsewhere, || "a redirection was followed".to_owned())?;
    let other = sha256_file(&program)?;
    let uploads: Vec<Value> =
        scanner.requests()?.into_iter().filter(|request| request["method"] == "POST").collect();
    let wrong = uploads.iter().any(|upload| {
        upload["body"]["sha256"] == other.as_str() || upload["body"]["sha256"] == sha256.as_str()
    });
    ensure(!wrong, || format!("a file that was not the one was sent: {uploads:?}"))
}

fn v04(lab: &mut Lab) -> Outcome {
    let (scanner, authority) =
        start_scanner(lab, "v04-scanner", &[scanner::report(0, 0, 70)], &[not_wanted()])?;
    // Set later, so that nothing is asked by itself.
    let stage = lab.stage("v04", "")?;
    let program = lab.programs.make("v04-asked")?;
    let (path, sha256) = (program.to_string_lossy().into_owned(), sha256_file(&program)?);
    report(&program, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || verdict_of(&stage, &path).map(drop))?;
    let bob = User::get("bob")?;
    let mut person = stage.person(&bob, false)?;
    let answer = person.ask(&format!("scan {sha256}"))?;
    ensure(answer["error"] == "NotAuthorized", || format!("bob may scan: {answer}"))?;
    stage.bus.allow("bob", &["org.picosnitch.Monitor.scan", "org.picosnitch.Monitor.read-system"])?;
    let mut last = Value::Null;
    settle(PATIENCE, || {
        last = person.ask(&format!("scan {sha256}"))?;
        ensure(last["error"] == "Unavailable", || format!("a scan without a scanner: {last}"))
    })?;
    let text = format!("{}{}", crate::lab::stage::CONFIG, virustotal(&scanner, &authority, ""));
    std::fs::write(stage.daemon.config(), text)?;
    stage.daemon.signal(Signal::SIGHUP)?;
    settle(PATIENCE, || {
        let status = stage.client.status()?;
        ensure(status.scan_queued.is_some(), || "the scanner is not in force".to_owned())
    })?;
    let started = Instant::now();
    let answer = person.ask(&format!("scan {sha256}"))?;
    ensure(answer["ok"] == "0 of 70 engines (2026-09-21)", || format!("the scan says {answer}"))?;
    ensure(started.elapsed() < Duration::from_secs(15), || "the scan took too long".to_owned())?;
    verdict_becomes(&stage, &path, "0 of 70 engines (2026-09-21)")?;
    // A scanner that does not answer takes back nothing.
    scanner.always(&sha256, json!({"status": 429, "body": {"error": {"code": "QuotaExceededError"}}}))?;
    let answer = person.ask(&format!("scan {sha256}"))?;
    ensure(answer["error"] == "Unavailable", || format!("a scan with the quota used up: {answer}"))?;
    let verdict = verdict_of(&stage, &path)?;
    ensure(verdict == "0 of 70 engines (2026-09-21)", || {
        format!("after a scan that failed the verdict is {verdict:?}")
    })?;
    // What was never seen here is nobody's business.
    let never = "ab".repeat(32);
    let answer = person.ask(&format!("scan {never}"))?;
    ensure(answer["error"] == "NotFound", || format!("a content that was never seen: {answer}"))?;
    ensure(about(&scanner, &never)?.is_empty(), || {
        "the scanner was told of a content that is not here".to_owned()
    })?;
    // Nor is what somebody else alone ran.
    let hers = lab.programs.make("v04-hers")?;
    let to = lab.net.to();
    reports_of(User::get("alice")?.command(&hers).args(["tcp-echo", &to]))?;
    let (hers, sha256) = (hers.to_string_lossy().into_owned(), sha256_file(&hers)?);
    settle(PATIENCE, || verdict_of(&stage, &hers).map(drop))?;
    let answer = person.ask(&format!("scan {sha256}"))?;
    ensure(answer["error"] == "NotFound", || format!("a content of alice's: {answer}"))
}

/// Servers that a thief of the scanner's address could offer.
fn hostile(lab: &mut Lab) -> Outcome {
    let dir = lab.new_dir("s11-scanner")?;
    let authority = Authority::new(&dir.join("certificates"))?;
    let other = authority.sign("other", "DNS:other.example")?;
    let own = authority.self_signed("own", "IP:127.0.0.1")?;
    let program = lab.programs.make("s11-asked")?;
    for (what, identity) in [("another name", &other), ("itself as authority", &own)] {
        let place = lab.new_dir(&format!("s11-scanner-{}", what.len()))?;
        let scanner = Scanner::start(&place, identity, &[scanner::report(0, 0, 70)], &[not_wanted()])?;
        let stage = lab.stage("s11-scanned", &virustotal(&scanner, &authority, ""))?;
        report(&program, &["tcp-echo", &lab.net.to()])?;
        settle(PATIENCE, || {
            let error = stage.client.status()?.scan_error.unwrap_or_default();
            ensure(error.contains("certificate"), || format!("{what}: status says {error:?}"))
        })?;
        let asked = scanner.requests()?;
        ensure(asked.is_empty(), || format!("{what}: it was asked {asked:?}"))?;
    }
    Ok(())
}

fn v05(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("v05", "")?;
    let settings = stage.client.call(|client| async move { client.settings().await })?;
    let mut keys: Vec<String> = settings
        .into_keys()
        .filter(|key| key.starts_with("remote.") || key.starts_with("virustotal."))
        .chain(["remote.url", "virustotal.api_key"].map(str::to_owned))
        .collect();
    keys.sort();
    ensure(keys.len() >= 11, || format!("the keys are {keys:?}"))?;
    let value = |key: &str| match key {
        "remote.url" => "postgresql://u:p@db.invalid/net",
        "remote.tls" => "verify",
        "remote.outbox_mib" => "7",
        "remote.table" => "net.rows",
        "remote.ca_file" | "virustotal.ca_file" => "/etc/hostname",
        "virustotal.upload" => "true",
        "virustotal.request_interval_seconds" => "20",
        "virustotal.url" => "https://mirror.invalid/api",
        _ => "word",
    };
    let bob = User::get("bob")?;
    let mut person = stage.person(&bob, false)?;
    // Everything that one can be granted, but for this one.
    let others: Vec<&str> = picosnitch_api::name::action::ALL
        .into_iter()
        .filter(|action| *action != picosnitch_api::name::action::CONFIGURE_REMOTE)
        .collect();
    stage.bus.allow("bob", &others)?;
    settle(PATIENCE, || {
        let answer = person.ask("set database.retention_days=300")?;
        ensure(answer.get("ok").is_some(), || format!("bob has configure: {answer}"))
    })?;
    for key in &keys {
        let answer = person.ask(&format!("set {key}={}", value(key)))?;
        ensure(answer["error"] == "NotAuthorized", || format!("{key} without configure-remote: {answer}"))?;
    }
    stage.bus.allow("bob", &[picosnitch_api::name::action::CONFIGURE_REMOTE])?;
    settle(PATIENCE, || {
        let answer = person.ask("set remote.host_name=granted")?;
        ensure(answer.get("ok").is_some(), || format!("bob has configure-remote: {answer}"))
    })?;
    for key in &keys {
        let answer = person.ask(&format!("set {key}={}", value(key)))?;
        ensure(answer.get("ok").is_some(), || format!("{key} with configure-remote: {answer}"))?;
    }
    let text = std::fs::read_to_string(stage.daemon.config())?;
    ensure(keys.iter().all(|key| text.contains(value(key))), || format!("the file says\n{text}"))
}
