// SPDX-License-Identifier: GPL-3.0-or-later
//! What waits to leave the machine.

use picosnitch_relay_wire::Row;

use super::*;
use crate::model::{Gap, Scan, Verdict, Viewer};
use crate::record::Batch;

fn sending() -> Settings {
    Settings { outbox: 1 << 20, verdicts: true, ..settings() }
}

fn lab() -> Lab {
    Lab::with(tempfile::tempdir().unwrap(), sending())
}

fn rows(batch: &Batch) -> Vec<Row> {
    let lines = batch.payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn s11_rows_wait_until_they_have_arrived_and_never_have_a_number_twice() {
    let lab = lab();
    let reader = lab.recorder.reader();
    lab.write(vec![row(DAY0, who("/bin/a", 1000)), row(DAY0 + 1, who("/bin/b", 1000))]);
    let first = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!((first.rows, first.chunks.len()), (2, 1));
    let sent = rows(&first);
    assert_eq!(sent[0].executable.as_deref(), Some("/bin/a"));
    assert_eq!((sent[0].time, sent[0].sent, sent[0].received), (DAY0, Some(100), Some(2000)));
    assert!(sent[0].id < sent[1].id);
    // Not arrived: still there after a restart.
    lab.recorder.clone().stop().unwrap();
    let Lab { dir, .. } = lab;
    let lab = Lab::with(dir, sending());
    let reader = lab.recorder.reader();
    assert_eq!(reader.outbox(0, usize::MAX).unwrap().unwrap(), first);
    lab.recorder.sent(&first.chunks);
    lab.recorder.flush();
    assert_eq!(reader.outbox(0, usize::MAX).unwrap(), None);
    assert_eq!(lab.recorder.counters().outbox_rows, 0);
    lab.write(vec![row(DAY0 + 2, who("/bin/c", 1000))]);
    let next = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!(next.origin, first.origin);
    assert!(rows(&next)[0].id > sent[1].id, "a number was used again");
    assert!(other_origin() != first.origin, "two machines have one origin");
}

fn other_origin() -> i64 {
    let lab = lab();
    lab.write(vec![row(DAY0, who("/bin/a", 1000))]);
    lab.recorder.reader().outbox(0, usize::MAX).unwrap().unwrap().origin
}

#[test]
fn s11_what_does_not_fit_is_counted() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), Settings { outbox: 100_000, ..sending() });
    let some = |from: i64| -> Vec<Connection> {
        (0..100).map(|index| row(DAY0 + from + index, who("/usr/bin/program", 1000))).collect()
    };
    for round in 0..10 {
        lab.write(some(round * 1000));
    }
    let counters = lab.recorder.counters();
    assert!(counters.outbox_lost > 0 && counters.outbox_rows > 0);
    assert_eq!(counters.outbox_lost + counters.outbox_rows, 1000);
    // The history here has them all.
    assert_eq!(counters.rows_written, 1000);
}

#[test]
fn s11_nobody_is_sent_what_settings_leave_out() {
    let settings = Settings { addresses: false, commands: false, ports: false, ..sending() };
    let lab = Lab::with(tempfile::tempdir().unwrap(), settings);
    let mut hostile = who("/bin/\u{1b}[2J\n", 1000);
    hostile.container = Some(bytes(&"x".repeat(100_000)));
    lab.write(vec![row(DAY0, hostile)]);
    let sent = rows(&lab.recorder.reader().outbox(0, usize::MAX).unwrap().unwrap()).remove(0);
    for nothing in [
        &sent.cmdline,
        &sent.parent_cmdline,
        &sent.grandparent_cmdline,
        &sent.ip,
        &sent.local_ip,
        &sent.domain,
    ] {
        assert_eq!(*nothing, None);
    }
    assert_eq!((sent.port, sent.local_port), (None, None));
    assert!(!sent.executable.unwrap().contains(char::is_control));
    assert_eq!(sent.container.unwrap().len(), 4096);
}

#[test]
fn s11_switched_off_nothing_waits() {
    let lab = lab();
    lab.write(vec![row(DAY0, who("/bin/a", 1000))]);
    lab.recorder.reconfigure(settings());
    lab.write(vec![row(DAY0 + 1, who("/bin/b", 1000))]);
    assert_eq!(lab.recorder.reader().outbox(0, usize::MAX).unwrap(), None);
    assert_eq!(lab.recorder.counters().outbox_rows, 0);
}

#[test]
fn i23_contents_that_are_news_wait_for_a_verdict_unknown_ones_never() {
    let lab = lab();
    let reader = lab.recorder.reader();
    let mut unread = who("/bin/unreadable", 1000);
    let program = Program { hash: Hash::Unknown(Gap::Unreadable), ..(*unread.program).clone() };
    unread.program = Arc::new(program);
    lab.recorder.notice(new_executable(1, DAY0, unread));
    lab.recorder.flush();
    assert_eq!(reader.scan_due().unwrap(), (None, 0));
    // Known later: asked for then.
    let sha256 = [9; 32];
    lab.recorder.hash_known(1, Hash::Known(sha256));
    lab.recorder.flush();
    assert_eq!(reader.scan_due().unwrap().0.unwrap().sha256, sha256);
    let verdict = Verdict { malicious: 2, suspicious: 1, total: 70, analysed: DAY0 };
    lab.recorder.scanned(sha256, Scan::Verdict(verdict));
    lab.recorder.flush();
    assert_eq!(reader.scan_due().unwrap(), (None, 0));
    // News again: it has its verdict.
    lab.recorder.hash_known(1, Hash::Known(sha256));
    lab.recorder.flush();
    assert_eq!(reader.scan_due().unwrap(), (None, 0));
    let executable = reader.executable(1, &Viewer::everything()).unwrap();
    assert_eq!(executable.verdicts.unwrap(), ["3 of 70 engines (2026-11-22)"]);
}

#[test]
fn b04_a_verdict_is_told_to_each_account_that_runs_the_program() {
    let lab = lab();
    let reader = lab.recorder.reader();
    lab.write(vec![row(DAY0, who("/bin/shared", 1000)), row(DAY0 + 1, who("/bin/shared", 1001))]);
    let sha256 = ["/bin/shared".len() as u8; 32];
    let mut suspects = reader.suspects(&sha256).unwrap();
    suspects.sort_by_key(|suspect| suspect.uid);
    assert_eq!(suspects.iter().map(|suspect| suspect.uid).collect::<Vec<_>>(), [1000, 1001]);
    let verdict = Verdict { malicious: 1, suspicious: 0, total: 70, analysed: 0 };
    let suspect = Box::new(suspects.remove(0));
    let kind = NoticeKind::Verdict { suspect, verdict };
    lab.recorder.notice(Notice { id: 1, time: DAY0, kind, before: crate::model::Before::Nobody });
    lab.recorder.flush();
    let alice = Viewer { rows: vec![1000..=1000], cmdlines: vec![1000..=1000] };
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let event = reader.event(1, &alice).unwrap();
    assert_eq!(event.kind.as_deref(), Some("verdict"));
    assert_eq!(event.path.as_deref(), Some("/bin/shared"));
    assert_eq!(event.message.as_deref(), Some("1 of 70 engines"));
    assert!(reader.event(1, &bob).is_err(), "bob sees a verdict on alice's program");
}
