// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::io::{Read as _, Write as _};
use std::time::Duration;

use picosnitch_relay_wire::{Answer, Ask};
use sha2::{Digest as _, Sha256};

use super::scans::Scans;
use super::*;
use crate::model::Scan;
use crate::record::Due;

const CONTENT: [u8; 32] = [7; 32];
const SECOND: Duration = Duration::from_secs(1);

fn due(sent: bool, tries: u32) -> Option<Due> {
    Some(Due { sha256: CONTENT, due: 0, sent, tries })
}

/// Asks the next question; its number is `number`.
fn ask(scans: &mut Scans, due: Option<Due>, number: u64, now: Instant) -> Option<Ask> {
    let ask = scans.next(due, number, 1_000, now)?;
    scans.asked(number, now);
    Some(ask)
}

/// What the record is told of the content.
fn said(outcome: &scans::Outcome) -> Option<Scan> {
    outcome.scan.filter(|scanned| scanned.sha256 == CONTENT).map(|scanned| scanned.scan)
}

fn null() -> std::os::fd::OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

const MINUTE: i64 = 60_000_000;

fn scans(now: Instant) -> Scans {
    let mut scans = Scans::new(now);
    scans.reset(SECOND);
    scans
}

#[test]
fn only_status_404_leads_to_an_upload() {
    let now = Instant::now();
    for (answer, upload, copies) in [
        (Answer::Unknown { number: 1 }, true, true),
        (Answer::Unknown { number: 1 }, false, false),
        (Answer::Pending { number: 1 }, true, false),
        (Answer::Failed { number: 1, why: "status 500".into(), wait: None, unwanted: false }, true, false),
        (Answer::Verdict { number: 1, malicious: 0, suspicious: 0, total: 70, analysed: 0 }, true, false),
    ] {
        let mut scans = scans(now);
        assert!(matches!(ask(&mut scans, due(false, 0), 1, now), Some(Ask::Lookup { .. })));
        let outcome = scans.answer(&answer, upload, 1_000, now).unwrap();
        assert_eq!(outcome.copy.is_some(), copies, "{answer:?}, upload {upload}");
    }
    // One that was sent is not sent again, however often it is not known yet.
    let mut scans = scans(now);
    ask(&mut scans, due(true, 3), 1, now).unwrap();
    let outcome = scans.answer(&Answer::Unknown { number: 1 }, true, 1_000, now).unwrap();
    assert!(outcome.copy.is_none());
    assert!(matches!(said(&outcome), Some(Scan::Later { sent: true, tries: 4, .. })));
}

#[test]
fn trouble_is_no_verdict_and_makes_everybody_wait() {
    let now = Instant::now();
    let mut scans = scans(now);
    ask(&mut scans, due(false, 0), 1, now).unwrap();
    let failed = Answer::Failed { number: 1, why: "no".into(), wait: Some(30), unwanted: false };
    let outcome = scans.answer(&failed, true, 1_000, now).unwrap();
    assert!(matches!(said(&outcome), Some(Scan::Later { sent: false, .. })));
    assert!(outcome.tell.is_some());
    assert!(ask(&mut scans, due(false, 0), 2, now + 29 * SECOND).is_none());
    ask(&mut scans, due(false, 0), 2, now + 31 * SECOND).unwrap();
    // Of the same incident people hear once.
    let failed = Answer::Failed { number: 2, why: "no".into(), wait: None, unwanted: false };
    assert!(scans.answer(&failed, true, 1_000, now + 31 * SECOND).unwrap().tell.is_none());
}

#[test]
fn two_requests_are_an_interval_apart() {
    let now = Instant::now();
    let mut scans = scans(now);
    ask(&mut scans, due(false, 0), 1, now).unwrap();
    scans.answer(&Answer::Unknown { number: 1 }, true, 1_000, now).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    scans.copied(CONTENT, Ok(file.into()), 1_000, now);
    assert!(ask(&mut scans, None, 2, now + SECOND / 2).is_none());
    assert!(matches!(ask(&mut scans, None, 2, now + SECOND), Some(Ask::Upload { .. })));
    let outcome = scans.answer(&Answer::Pending { number: 2 }, true, 1_000, now + SECOND).unwrap();
    assert!(matches!(said(&outcome), Some(Scan::Later { sent: true, .. })));
}

#[test]
fn a_helper_is_not_believed_everything() {
    let now = Instant::now();
    let verdict = |number, malicious, suspicious, total| Answer::Verdict {
        number,
        malicious,
        suspicious,
        total,
        analysed: i64::MAX,
    };
    for nonsense in [
        verdict(1, 5, 0, 4),
        verdict(1, 0, 0, 0),
        verdict(1, u32::MAX, u32::MAX, u32::MAX),
        // About nothing that was asked.
        verdict(2, 0, 0, 70),
        Answer::Stored { number: 1, rows: 1, refused: 0, why: None },
    ] {
        let mut scans = scans(now);
        ask(&mut scans, due(false, 0), 1, now).unwrap();
        assert!(scans.answer(&nonsense, true, 1_000, now).is_err(), "{nonsense:?}");
    }
    // A verdict before anything was asked.
    assert!(scans(now).answer(&verdict(0, 0, 0, 70), true, 1_000, now).is_err());
    let mut scans = scans(now);
    ask(&mut scans, due(false, 0), 1, now).unwrap();
    let outcome = scans.answer(&verdict(1, 1, 0, 70), true, 1_000, now).unwrap();
    let Some(Scan::Verdict(verdict)) = said(&outcome) else { panic!("no verdict") };
    assert_eq!(verdict.analysed, 1_000, "nobody looked later than now");
}

/// Sends the file up to `most` times, and each time it fails by `answer` (`None`: the helper dies): how long it waits
/// each time, minutes, and what becomes of it.
fn send_in_vain(answer: Option<&Answer>, most: usize) -> (Scans, Vec<i64>, Option<Scan>) {
    let mut now = Instant::now();
    let mut scans = scans(now);
    let (mut wall, mut tries) = (0, 0);
    let mut waits = Vec::new();
    while waits.len() < most {
        let due = Some(Due { sha256: CONTENT, due: wall, sent: false, tries });
        let asked = scans.next(due, 1, wall, now);
        assert!(matches!(asked, Some(Ask::Lookup { .. })), "{asked:?}");
        scans.asked(1, now);
        let outcome = scans.answer(&Answer::Unknown { number: 1 }, true, wall, now).unwrap();
        assert_eq!(outcome.copy, Some(CONTENT));
        scans.copied(CONTENT, Ok(null()), wall, now);
        now += SECOND;
        assert!(matches!(scans.next(None, 2, wall, now), Some(Ask::Upload { .. })));
        scans.asked(2, now);
        let outcome = match answer {
            Some(answer) => scans.answer(answer, true, wall, now).unwrap(),
            None => scans.lost(wall, now),
        };
        // One incident, though questions are answered between.
        assert_eq!(outcome.tell.is_some(), answer.is_some() && waits.is_empty());
        match said(&outcome) {
            Some(Scan::Later { sent: false, due, tries: counted }) => {
                waits.push((due - wall) / MINUTE);
                now += Duration::from_micros(u64::try_from(due - wall).unwrap());
                (wall, tries) = (due, counted);
            }
            other => return (scans, waits, other),
        }
    }
    (scans, waits, None)
}

#[test]
fn a_file_that_is_unwanted_is_sent_less_and_less_and_then_no_more() {
    let unwanted = Answer::Failed { number: 2, why: "status 413".into(), wait: None, unwanted: true };
    let (scans, waits, end) = send_in_vain(Some(&unwanted), 20);
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280]);
    assert_eq!(end, Some(Scan::Unknown));
    // And the scanner as such waited longer each time: it never did what it was asked for.
    assert!(scans.error.is_some());
}

#[test]
fn v02_trouble_with_an_upload_is_never_taken_for_an_answer() {
    let trouble = Answer::Failed { number: 2, why: "status 429".into(), wait: None, unwanted: false };
    for answer in [Some(&trouble), None] {
        let (_, waits, end) = send_in_vain(answer, 40);
        assert_eq!(waits[..9], [5, 10, 20, 40, 80, 160, 320, 640, 1280], "{answer:?}");
        assert!(waits[9..].iter().all(|wait| *wait == 24 * 60), "{answer:?}: {waits:?}");
        assert_eq!(end, None, "{answer:?}");
    }
}

#[test]
fn our_own_trouble_is_no_answer_about_a_content() {
    let now = Instant::now();
    for (why, verdict) in [(copy::Refusal::Failed, false), (copy::Refusal::Gone, true)] {
        let mut scans = scans(now);
        ask(&mut scans, due(false, 0), 1, now).unwrap();
        scans.answer(&Answer::Unknown { number: 1 }, true, 1_000, now).unwrap();
        let outcome = scans.copied(CONTENT, Err(why), 1_000, now);
        assert_eq!(said(&outcome) == Some(Scan::Unknown), verdict, "{why}");
        assert!(said(&outcome).is_some());
    }
}

#[test]
fn a_content_that_costs_the_helper_its_life_is_not_first_again() {
    let now = Instant::now();
    let mut scans = scans(now);
    let mut waits = Vec::new();
    for round in 0..14 {
        let now = now + round * 2 * SECOND;
        let wall = 1_000;
        ask(&mut scans, due(false, 0), 1, now).unwrap();
        let nonsense = Answer::Stored { number: 1, rows: 1, refused: 0, why: None };
        assert!(scans.answer(&nonsense, true, wall, now).is_err());
        let outcome = scans.lost(wall, now);
        let Some(Scan::Later { sent: false, due, tries: 0 }) = said(&outcome) else { panic!("{round}") };
        waits.push((due - wall) / 1_000_000);
    }
    assert_eq!(waits[..4], [1, 2, 4, 8]);
    assert_eq!(waits[11..], [2048, 3600, 3600]);
    // What nobody was asked about is nobody's fault.
    assert!(scans.lost(1_000, now).scan.is_none());
}

#[test]
fn a_death_during_an_upload_says_nothing_about_the_file() {
    let now = Instant::now();
    let mut scans = scans(now);
    ask(&mut scans, due(false, 9), 1, now).unwrap();
    scans.answer(&Answer::Unknown { number: 1 }, true, 1_000, now).unwrap();
    // The copy is ours, and outlives a helper that dies before it is asked to send it.
    scans.copied(CONTENT, Ok(null()), 1_000, now);
    assert!(scans.lost(1_000, now).scan.is_none());
    ask(&mut scans, None, 2, now + SECOND).unwrap();
    assert!(matches!(said(&scans.lost(1_000, now)), Some(Scan::Later { sent: false, tries: 9, .. })));
}

#[test]
fn a_daemon_that_is_started_again_goes_on_waiting() {
    let now = Instant::now();
    let wall = 100 * MINUTE;
    let free = |asked: i64, not_before: i64, after: Duration| {
        let mut scans = Scans::new(now);
        scans.reset(10 * SECOND);
        scans.resume(asked, not_before, wall, now);
        scans.next(due(false, 0), 1, wall, now + after).is_some()
    };
    assert!(free(0, 0, Duration::ZERO), "it never asked before");
    assert!(!free(wall - 4_000_000, 0, 5 * SECOND));
    assert!(free(wall - 4_000_000, 0, 7 * SECOND));
    // A clock that was set back: no longer than the interval.
    assert!(!free(wall + 100 * MINUTE, 0, 9 * SECOND));
    assert!(free(wall + 100 * MINUTE, 0, 10 * SECOND));
    // What the scanner said.
    assert!(!free(0, wall + 5 * MINUTE, 299 * SECOND));
    assert!(free(0, wall + 5 * MINUTE, 300 * SECOND));
    assert!(free(0, i64::MAX, LONGEST_WANTED));
}

#[test]
fn words_of_strangers_are_short_and_inert() {
    let text = run::stranger(&format!("\x1b[2J\n{}", "x".repeat(10_000)));
    assert!(text.chars().count() <= picosnitch_relay_wire::MAX_WHY);
    assert!(!text.contains(['\x1b', '\n']));
}

#[test]
fn a_copy_has_the_content_that_was_asked_for_and_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (other, right) = (dir.path().join("other"), dir.path().join("right"));
    std::fs::write(&other, b"something else").unwrap();
    std::fs::write(&right, b"the program").unwrap();
    let sha256: [u8; 32] = Sha256::digest(b"the program").into();
    let places = [dir.path().join("gone"), other.clone(), right];
    let mut copy = std::fs::File::from(copy::sealed(&sha256, &places).unwrap());
    let mut content = Vec::new();
    copy.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"the program");
    assert!(copy.write_all(b"x").is_err() && copy.set_len(3).is_err());
    assert_eq!(copy::sealed(&sha256, &[other]).unwrap_err(), copy::Refusal::Gone);
}

#[test]
fn neither_large_files_nor_those_that_hold_one_up_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(picosnitch_relay_wire::MAX_UPLOAD + 1).unwrap();
    assert_eq!(copy::sealed(&CONTENT, &[large]).unwrap_err(), copy::Refusal::TooLarge);
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(copy::sealed(&CONTENT, &[fifo, "/dev/zero".into()]).unwrap_err(), copy::Refusal::Gone);
}

#[test]
fn waiting_grows_to_a_bound_and_starts_over() {
    let now = Instant::now();
    let mut backoff = Backoff::new(SECOND, 4 * SECOND);
    let waits: Vec<u64> = (0..4).map(|_| backoff.failed(now, None).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 4]);
    assert_eq!(backoff.failed(now, Some(Duration::from_secs(u64::MAX))), LONGEST_WANTED);
    backoff.succeeded();
    assert!(backoff.wait(now).is_none());
    assert_eq!(backoff.failed(now, None), SECOND);
}

#[test]
fn rows_that_have_arrived_are_not_sent_again() {
    use picosnitch_relay_wire::Row;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.remote.url = "postgresql://u:p@192.0.2.1/d".to_owned();
    let record = crate::pipeline::record_settings(&settings);
    let (recorder, _) =
        Recorder::open(&dir.path().join("state"), &dir.path().join("log"), record, |_| {}).unwrap();
    recorder.submit((0..400).map(|_| crate::record::test_row()).collect());
    recorder.flush();
    let (mut rows, now, mut ids) = (rows::Rows::new(), Instant::now(), Vec::new());
    // Not in step with the chunks; and a helper that says more than it was asked for.
    for number in 1.. {
        let Some(batch) = rows.next(&recorder, now) else { break };
        let lines = batch.payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<Row> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, batch.rows);
        let done = if number < 20 { lines.len().min(17) } else { lines.len() };
        ids.extend(lines[..done].iter().map(|row| row.id));
        let said = if number < 20 { 17 } else { u32::MAX };
        rows.asked(number, batch, now);
        let answer = Answer::Stored { number, rows: said, refused: 1, why: None };
        rows.answer(&answer, &recorder, 1_000, now).unwrap();
        recorder.flush();
    }
    assert_eq!(ids.len(), 400);
    assert!(ids.is_sorted_by(|a, b| a < b), "one was sent again, or left out");
    assert_eq!(rows.sent + rows.refused, 400);
    assert_eq!(recorder.counters().outbox_rows, 0);
    // Rows that are done are at least one, else this would never end.
    recorder.submit(vec![crate::record::test_row()]);
    recorder.flush();
    let batch = rows.next(&recorder, now).unwrap();
    rows.asked(1, batch, now);
    let nothing = Answer::Stored { number: 1, rows: 0, refused: 0, why: None };
    assert!(rows.answer(&nothing, &recorder, 1_000, now).is_err());
    recorder.stop().unwrap();
}

/// Accepts one connection after another and treats each as `behave` says, with its number.
fn hostile(
    path: &std::path::Path,
    behave: impl Fn(usize, std::os::fd::OwnedFd) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&listener, 4).unwrap();
    std::thread::spawn(move || {
        for index in 0.. {
            let Ok(socket) = rustix::net::accept_with(&listener, flags) else { return };
            behave(index, socket);
        }
    })
}

#[test]
fn a_helper_that_talks_nonsense_is_ended_counted_and_costs_no_row() {
    use picosnitch_relay_wire::{MAX_ASK, receive, send};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.sock");
    let nonsense = 5;
    hostile(&path, move |index, socket| {
        let mut buffer = vec![0; MAX_ASK];
        let mut number;
        while let Ok(received) = receive(&socket, &mut buffer) {
            let head = buffer[..received.length].split(|byte| *byte == b'\n').next().unwrap();
            match serde_json::from_slice(head) {
                Ok(Ask::Rows { number: asked, .. }) => number = asked,
                Ok(_) => continue,
                Err(_) => return,
            }
            let file = std::fs::File::open("/dev/null").unwrap();
            let bytes = match index {
                0 => b"{".to_vec(),
                1 => vec![b' '; 100_000],
                2 => {
                    serde_json::to_vec(&Answer::Stored { number: number + 1, rows: 1, refused: 0, why: None })
                        .unwrap()
                }
                3 => serde_json::to_vec(&Answer::Unknown { number }).unwrap(),
                4 => return,
                // Rows that were never asked about, and a descriptor nobody wants.
                _ => {
                    let answer = Answer::Stored {
                        number,
                        rows: u32::MAX,
                        refused: u32::MAX,
                        why: Some("\x1b[2J".repeat(60)),
                    };
                    let bytes = serde_json::to_vec(&answer).unwrap();
                    let _ = send(&socket, &[&bytes], Some(std::os::fd::AsFd::as_fd(&file)), true);
                    return;
                }
            };
            let _ = send(&socket, &[&bytes], None, true);
        }
    });
    let mut settings = Settings::default();
    settings.remote.url = "postgresql://u:p@192.0.2.1/d".to_owned();
    let settings = Arc::new(settings);
    let (recorder, _) = Recorder::open(
        &dir.path().join("state"),
        &dir.path().join("log"),
        crate::pipeline::record_settings(&settings),
        |_| {},
    )
    .unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let relay = Handle::start(Config {
        settings,
        recorder: recorder.clone(),
        way: Way::Socket(path),
        tell: Box::new(move |tell| drop(locked(&told).send(tell))),
    })
    .unwrap();
    recorder.submit(vec![crate::record::test_row()]);
    recorder.flush();
    // The third death in a row is told, then the rows that "nobody takes".
    let first = tells.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(&first, Tell::Error(picosnitch_api::Incident::Relay, _)), "{first:?}");
    let second = tells.recv_timeout(Duration::from_secs(30)).unwrap();
    let Tell::Error(picosnitch_api::Incident::RemoteRefused, message) = second else { panic!("{second:?}") };
    assert!(message.contains("does not take 1 rows") && !message.contains('\x1b'), "{message}");
    assert!(relay.facts().lock().unwrap().restarts >= nonsense);
    relay.stop();
    assert_eq!(recorder.counters().rows_written, 1);
    recorder.stop().unwrap();
}

#[test]
fn a_verdict_that_cannot_be_written_is_neither_asked_for_nor_told_again() {
    use picosnitch_relay_wire::{MAX_ASK, receive, send};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.sock");
    let (asked, questions) = std::sync::mpsc::channel();
    hostile(&path, move |_, socket| {
        let mut buffer = vec![0; MAX_ASK];
        while let Ok(received) = receive(&socket, &mut buffer) {
            let head = buffer[..received.length].split(|byte| *byte == b'\n').next().unwrap();
            let number = match serde_json::from_slice(head) {
                Ok(Ask::Lookup { number, .. }) => number,
                Ok(_) => continue,
                Err(_) => return,
            };
            asked.send(()).unwrap();
            let verdict = Answer::Verdict { number, malicious: 3, suspicious: 0, total: 70, analysed: 0 };
            let _ = send(&socket, &[&serde_json::to_vec(&verdict).unwrap()], None, true);
        }
    });
    let mut settings = Settings::default();
    settings.virustotal.api_key = "key".to_owned();
    settings.virustotal.request_interval_seconds = 1;
    let settings = Arc::new(settings);
    let state = dir.path().join("state");
    let (recorder, _) =
        Recorder::open(&state, &dir.path().join("log"), crate::pipeline::record_settings(&settings), |_| {})
            .unwrap();
    recorder.submit(vec![crate::record::test_row()]);
    recorder.flush();
    recorder.notice(crate::record::test_notice(1));
    recorder.flush();
    // Somebody else holds the database: it can be read, and not written.
    let other = rusqlite::Connection::open(state.join("picosnitch.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let relay = Handle::start(Config {
        settings,
        recorder: recorder.clone(),
        way: Way::Socket(path),
        tell: Box::new(move |tell| drop(locked(&told).send(tell))),
    })
    .unwrap();
    questions.recv_timeout(10 * SECOND).unwrap();
    assert!(questions.recv_timeout(6 * SECOND).is_err(), "asked once more");
    assert!(tells.try_recv().is_err(), "told before it is in the history");
    other.execute_batch("ROLLBACK").unwrap();
    let alarm = tells.recv_timeout(30 * SECOND).unwrap();
    assert!(matches!(&alarm, Tell::Alarm(suspect, _) if suspect.uid == 1000), "{alarm:?}");
    assert!(tells.recv_timeout(3 * SECOND).is_err(), "told twice");
    assert!(questions.try_recv().is_err(), "asked once more");
    relay.stop();
    recorder.stop().unwrap();
}
