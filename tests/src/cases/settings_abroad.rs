// SPDX-License-Identifier: GPL-3.0-or-later
//! S08: settings of what leaves the machine, each with a value with which its default would fail.

use std::time::Duration;

use serde_json::{Value, json};

use super::Case;
use super::expect::PATIENCE;
use super::leaving::{self, RETURN, outbox, same};
use super::verdicts::{start_scanner, verdict_becomes, virustotal};
use crate::lab::certificates::Authority;
use crate::lab::client::settle;
use crate::lab::database::{Database, Kind};
use crate::lab::program::{report, sha256_file};
use crate::lab::scanner;
use crate::lab::{Lab, Outcome, Stage, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "S08", title: "as much waits for a server as may", run: s08_outbox },
    Case { id: "S08", title: "a server without TLS, if one says so", run: s08_plain },
    Case { id: "S08", title: "the scanner is asked as often as may be", run: s08_pace },
    Case { id: "S08", title: "no file is sent unasked", run: s08_upload },
];

fn set(stage: &Stage, key: &str, value: &str) -> Outcome {
    let output = stage.cli(None)?.args(["config", "set", key, value]).output()?;
    ensure(output.status.success(), || {
        format!("config set {key} {value}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// Shows remote.outbox_mib: what is more is given up, until more may wait.
fn s08_outbox(lab: &mut Lab) -> Outcome {
    const MIB: usize = 1 << 20;
    // Nobody listens there.
    let text = "[remote]\nurl = \"postgresql://lab@127.0.0.1:1/net\"\noutbox_mib = 1\n";
    let stage = lab.stage("s08-outbox", text)?;
    let waiting = || -> Outcome<usize> { Ok(outbox(&stage)?.iter().map(|chunk| chunk.2.len()).sum()) };
    let lost = || -> Outcome<u64> { Ok(stage.client.status()?.remote_lost.unwrap_or(0)) };
    // Each connection is a row of more than 3000 bytes.
    let program = lab.programs.make("s08-outbox")?;
    let padding = format!("padding={}", "x".repeat(3000));
    let traffic = || report(&program, &["tcp-sequence", &lab.net.to(), "count=500", &padding]).map(drop);
    traffic()?;
    settle(PATIENCE, || ensure(lost()? > 0, || "1.5 MB fit in 1 MiB".to_owned()))?;
    let first = waiting()?;
    ensure((MIB * 8 / 10..=MIB).contains(&first), || format!("{first} bytes wait, of 1 MiB"))?;
    set(&stage, "remote.outbox_mib", "2")?;
    let had = lost()?;
    traffic()?;
    settle(PATIENCE, || {
        let (second, lost) = (waiting()?, lost()?);
        ensure(lost > had && (MIB * 18 / 10..=2 * MIB).contains(&second), || {
            format!("{second} bytes wait, of 2 MiB; {had} rows were given up, then {lost}")
        })
    })
}

/// Shows remote.tls: what is refused when it is to be safe is sent when it need not be.
fn s08_plain(lab: &mut Lab) -> Outcome {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let dir = lab.new_dir(&format!("s08-plain-{kind:?}"))?;
        let authority = Authority::new(&dir.join("certificates"))?;
        let identity = authority.sign("good", "IP:127.0.0.1")?;
        let mut database = Database::new(kind, &dir, &identity)?;
        database.stop();
        database.start(None)?;
        let stage =
            lab.stage("s08-plain", &leaving::config(&database.url(), &authority.certificate(), ""))?;
        let program = lab.programs.make("s08-plain")?;
        let path = program.to_string_lossy().into_owned();
        report(&program, &["tcp-echo", &lab.net.to()])?;
        settle(RETURN, || {
            let error = stage.client.status()?.remote_error.unwrap_or_default();
            ensure(error.contains("not safe"), || format!("{kind:?}: status says {error:?}"))
        })?;
        set(&stage, "remote.tls", "off")?;
        settle(RETURN, || same(&stage, &database, &path, 1))?;
    }
    Ok(())
}

/// Shows virustotal.request_interval_seconds: 3, then 1; the default would be too slow, and 1 too fast at first.
fn s08_pace(lab: &mut Lab) -> Outcome {
    const COUNT: usize = 4;
    let (scanner, authority) =
        start_scanner(lab, "s08-pace-scanner", &[scanner::report(0, 0, 70)], &[json!({"status": 500})])?;
    let text = virustotal(&scanner, &authority, "").replace("_seconds = 1\n", "_seconds = 3\n");
    let stage = lab.stage("s08-pace", &text)?;
    // When it was asked about as many as are made here, from the `from`th on.
    let asked = |from: usize| -> Outcome<Vec<f64>> {
        for _ in 0..COUNT {
            report(lab.programs.make("s08-pace")?, &["tcp-echo", &lab.net.to()])?;
        }
        let mut times = Vec::new();
        settle(Duration::from_secs(100), || {
            times = scanner.requests()?.iter().skip(from).filter_map(|it| it["time"].as_f64()).collect();
            ensure(times.len() >= COUNT, || format!("asked at {times:?}"))
        })?;
        Ok(times.windows(2).map(|pair| pair[1] - pair[0]).collect())
    };
    let slow = asked(0)?;
    ensure(slow.iter().all(|apart| (2.9..10.0).contains(apart)), || format!("{slow:?} s apart, not 3"))?;
    set(&stage, "virustotal.request_interval_seconds", "1")?;
    // The interval that was under way ends first.
    let quick = asked(scanner.requests()?.len())?;
    let short = quick.iter().copied().fold(f64::MAX, f64::min);
    ensure((0.95..2.9).contains(&short), || format!("{quick:?} s apart, not 1"))
}

/// Shows virustotal.upload: what the scanner does not know is sent only once that is allowed.
fn s08_upload(lab: &mut Lab) -> Outcome {
    let taken = json!({"status": 200, "body": {"data": {"type": "analysis", "id": "abc"}}});
    let (scanner, authority) = start_scanner(lab, "s08-upload-scanner", &[scanner::not_found()], &[taken])?;
    let stage = lab.stage("s08-upload", &virustotal(&scanner, &authority, "upload = false\n"))?;
    let sent = || -> Outcome<Vec<Value>> {
        Ok(scanner.requests()?.into_iter().filter(|request| request["method"] == "POST").collect())
    };
    let kept = lab.programs.make("s08-kept")?;
    report(&kept, &["tcp-echo", &lab.net.to()])?;
    verdict_becomes(&stage, &kept.to_string_lossy(), "unknown")?;
    // Two intervals, in which it would have been.
    std::thread::sleep(Duration::from_secs(2));
    ensure(sent()?.is_empty(), || format!("sent unasked: {:?}", sent().unwrap_or_default()))?;
    set(&stage, "virustotal.upload", "true")?;
    let given = lab.programs.make("s08-given")?;
    let sha256 = sha256_file(&given)?;
    report(&given, &["tcp-echo", &lab.net.to()])?;
    // Whatever else is new on this machine may be before it.
    settle(Duration::from_secs(120), || {
        let sent = sent()?;
        let found = sent.iter().any(|request| request["body"]["sha256"] == sha256.as_str());
        ensure(found, || format!("not sent: {sent:?}"))
    })?;
    // Nor is it switched on for good.
    set(&stage, "virustotal.upload", "false")?;
    let again = lab.programs.make("s08-kept-again")?;
    let sha256 = sha256_file(&again)?;
    report(&again, &["tcp-echo", &lab.net.to()])?;
    verdict_becomes(&stage, &again.to_string_lossy(), "unknown")?;
    ensure(sent()?.iter().all(|request| request["body"]["sha256"] != sha256.as_str()), || {
        "sent after it was switched off".to_owned()
    })
}
