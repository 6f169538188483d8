// SPDX-License-Identifier: GPL-3.0-or-later
//! B04: nobody learns anything about rows that are not theirs, whatever they ask.

use picosnitch_api::{Dimension, Query};

use super::*;
use crate::model::{Gap, Viewer};

fn all() -> Viewer {
    Viewer::everything()
}

fn only(uid: u32) -> Viewer {
    Viewer { rows: vec![uid..=uid], cmdlines: vec![uid..=uid] }
}

/// Bob has one row; alice has many, to a place of her own, with a program of her own.
fn lab() -> Lab {
    let lab = Lab::new();
    let mut rows = vec![row(DAY0, who("/usr/bin/curl", 1001))];
    for n in 0..10 {
        let mut row =
            row(DAY0 + 1 + n, who(if n == 0 { "/usr/bin/curl" } else { "/home/alice/secret" }, 1000));
        row.domain = Some((bytes("alice.example"), NameSource::Dns));
        row.remote = Some("198.51.100.9".parse().unwrap());
        row.remote_port = Some(6667);
        rows.push(row);
    }
    lab.recorder.notice(new_executable(1, DAY0, who("/usr/bin/curl", 1001)));
    lab.recorder.notice(new_executable(2, DAY0, who("/home/alice/secret", 1000)));
    let error = NoticeKind::Error { kind: picosnitch_api::Incident::Storage, message: "for all".to_owned() };
    lab.recorder.notice(Notice { id: 3, time: DAY0, kind: error, before: Before::Nobody });
    lab.write(rows);
    lab
}

#[test]
fn b04_rows_counts_and_totals_are_ones_own() {
    let lab = lab();
    let reader = lab.recorder.reader();
    let bob = only(1001);
    let page = reader.connections(&Query::default(), &bob).unwrap();
    assert_eq!((page.rows.len(), page.hidden, page.cursor.as_str()), (1, 10, ""));
    assert!(page.rows.iter().all(|row| row.uid == Some(1001)));
    for (by, word) in Dimension::ALL {
        let (totals, hidden) = reader.summary(by, &Query::default(), &bob).unwrap();
        assert_eq!((totals.len(), hidden), (1, 10), "{word}");
        assert_eq!((totals[0].sent, totals[0].connections), (100, 1));
        let q = Query { since: Some(DAY0), until: Some(DAY0 + 3600 * SECOND), ..Query::default() };
        let (series, _) = reader.series(by, &q, &bob).unwrap();
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].points.iter().map(|point| point.sent).sum::<u64>(), 100);
    }
    let page = reader.executables(&Query::default(), &bob).unwrap();
    assert_eq!((page.rows.len(), page.hidden), (1, 1));
    let row = reader.executable(page.rows[0].id.unwrap(), &bob).unwrap();
    assert_eq!((row.sent, row.connections), (Some(100), Some(1)));
    assert_eq!(row.domains, Some(vec!["www.example.org".to_owned()]));
    assert_eq!(row.ports, Some(vec![443]));
    assert_eq!(row.cmdlines.as_ref().map(Vec::len), Some(1));
    for id in 0..20 {
        if Some(id) != page.rows[0].id {
            assert!(reader.executable(id, &bob).is_err());
        }
    }
    let page = reader.events(&Query::default(), &bob).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.id.unwrap()).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(page.hidden, 1);
    assert!(reader.event(2, &bob).is_err());
    assert_eq!(reader.acknowledge(&[2], &bob).unwrap(), 0);
}

#[test]
fn b04_a_content_that_others_alone_ran_is_not_known() {
    let lab = Lab::new();
    let content = |byte| Hash::Known([byte; 32]);
    let run = |path, uid, hash, script: Option<Hash>| {
        let mut who = who(path, uid);
        if uid == 1000 {
            for (started, byte) in [(&mut who.parent, 5), (&mut who.grandparent, 6)] {
                Arc::make_mut(started.as_mut().unwrap()).hash = content(byte);
            }
        }
        let program = Arc::make_mut(&mut who.program);
        program.hash = hash;
        program.script = script.map(|hash| (bytes("/home/alice/x.py"), hash));
        row(DAY0, who)
    };
    lab.write(vec![
        run("/usr/bin/curl", 1001, content(1), None),
        run("/home/alice/secret", 1000, content(2), Some(content(3))),
    ]);
    let reader = lab.recorder.reader();
    let known =
        |viewer: &Viewer| [1, 2, 3, 4, 5, 6].map(|byte| reader.knows_content(&[byte; 32], viewer).unwrap());
    assert_eq!(known(&all()), [true, true, true, false, true, true]);
    assert_eq!(known(&only(1000)), [false, true, true, false, true, true]);
    assert_eq!(known(&only(1001)), [true, false, false, false, false, false]);
}

#[test]
fn b04_no_question_tells_about_hidden_rows() {
    let lab = lab();
    let reader = lab.recorder.reader();
    let bob = only(1001);
    let text = |text: &str| Some(text.to_owned());
    let known = reader.executables(&Query { path: text("/home/alice/secret"), ..Query::default() }, &all());
    let secret = known.unwrap().rows[0].id.unwrap();
    let hits = [
        Query { domain: text("alice.example"), ..Query::default() },
        Query { address: Some("198.51.100.9".parse().unwrap()), ..Query::default() },
        Query { remote_port: Some(6667), ..Query::default() },
        Query { path: text("/home/alice/secret"), ..Query::default() },
        Query { executable: Some(secret), ..Query::default() },
        Query { name: text("secret"), ..Query::default() },
        Query { cmdline: text("--of 1000"), ..Query::default() },
        Query { search: text("alice"), ..Query::default() },
        Query { uid: Some(1000), ..Query::default() },
    ];
    let misses = [
        Query { domain: text("nobody.example"), ..Query::default() },
        Query { address: Some("198.51.100.8".parse().unwrap()), ..Query::default() },
        Query { remote_port: Some(6668), ..Query::default() },
        Query { path: text("/home/alice/nothing"), ..Query::default() },
        Query { executable: Some(12_345), ..Query::default() },
        Query { name: text("nothing"), ..Query::default() },
        Query { cmdline: text("--of 1234"), ..Query::default() },
        Query { search: text("nobody"), ..Query::default() },
        Query { uid: Some(1234), ..Query::default() },
    ];
    for (hit, miss) in hits.iter().zip(&misses) {
        assert_eq!(
            reader.connections(hit, &bob).unwrap(),
            reader.connections(miss, &bob).unwrap(),
            "{hit:?}"
        );
        assert_eq!(
            reader.executables(hit, &bob).unwrap(),
            reader.executables(miss, &bob).unwrap(),
            "{hit:?}"
        );
        assert_eq!(reader.events(hit, &bob).unwrap(), reader.events(miss, &bob).unwrap(), "{hit:?}");
        for (by, _) in Dimension::ALL {
            assert_eq!(
                reader.summary(by, hit, &bob).unwrap(),
                reader.summary(by, miss, &bob).unwrap(),
                "{hit:?} {by:?}"
            );
            assert_eq!(
                reader.series(by, hit, &bob).unwrap(),
                reader.series(by, miss, &bob).unwrap(),
                "{hit:?} {by:?}"
            );
        }
    }
}

#[test]
fn b04_command_lines_take_no_part_where_they_are_not_shown() {
    let lab = lab();
    let reader = lab.recorder.reader();
    // Sees all rows, but only bob's command lines.
    let system = Viewer { rows: vec![0..=u32::MAX], cmdlines: vec![1001..=1001] };
    let page = reader.connections(&Query::default(), &system).unwrap();
    assert_eq!(page.rows.len(), 11);
    for row in &page.rows {
        let shown = row.uid == Some(1001);
        assert_eq!(row.cmdline.is_some(), shown);
        assert_eq!(row.parent_cmdline.is_some(), shown);
        assert_eq!(row.grandparent_cmdline.is_some(), shown);
    }
    for q in [
        Query { cmdline: Some("--of".to_owned()), ..Query::default() },
        Query { search: Some("--of".to_owned()), ..Query::default() },
    ] {
        assert_eq!(reader.connections(&q, &system).unwrap().rows.len(), 1, "{q:?}");
        assert_eq!(reader.events(&q, &system).unwrap().rows.len(), 1, "{q:?}");
        assert_eq!(reader.executables(&q, &system).unwrap().rows.len(), 1, "{q:?}");
        let (totals, _) = reader.summary(Dimension::Uid, &q, &system).unwrap();
        assert_eq!(totals.iter().map(|total| total.key.as_str()).collect::<Vec<_>>(), ["1001"]);
    }
    let (totals, _) = reader.summary(Dimension::Cmdline, &Query::default(), &system).unwrap();
    let mut keys: Vec<_> = totals.iter().map(|total| total.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["", "/usr/bin/curl --of *"]);
    for row in reader.executables(&Query::default(), &system).unwrap().rows {
        let row = reader.executable(row.id.unwrap(), &system).unwrap();
        let expected = usize::from(row.path.as_deref() == Some("/usr/bin/curl"));
        assert_eq!(row.cmdlines.map(|cmdlines| cmdlines.len()), Some(expected));
    }
    let event = reader.event(2, &system).unwrap();
    assert_eq!((event.cmdline, event.path.as_deref()), (None, Some("/home/alice/secret")));
}

/// What others ran is in no answer: not as an old content, not as a reason for silence, not by a filter.
#[test]
fn b04_events_tell_what_the_viewer_may_know() {
    let lab = Lab::new();
    let with = |uid, content: u8| {
        let mut who = who("/tmp/tool", uid);
        who.program = Arc::new(Program { hash: Hash::Known([content; 32]), ..Program::clone(&who.program) });
        who
    };
    let notice = |id, who: Who, before| Notice { before, ..new_executable(id, DAY0 + id, who) };
    lab.recorder.notice(notice(1, with(1000, 1), Before::Nobody));
    lab.recorder.notice(notice(2, with(1001, 2), Before::Other([1; 32])));
    lab.recorder.notice(notice(3, with(1002, 1), Before::Same(vec![1000])));
    lab.recorder.notice(notice(4, with(0, 1), Before::Same(vec![1000, 1002])));
    lab.recorder.flush();
    let reader = lab.recorder.reader();
    let told = |viewer: &Viewer, q: &Query| -> Vec<(i64, String, bool)> {
        let page = reader.events(q, viewer).unwrap();
        let told =
            page.rows.into_iter().map(|row| (row.id.unwrap(), row.kind.unwrap(), row.old_sha256.is_some()));
        told.collect()
    };
    let new = |id| (id, "new-executable".to_owned(), false);
    let changed = |id| (id, "hash-changed".to_owned(), true);
    let with_system = |uid| Viewer { rows: vec![uid..=uid, 0..=999], cmdlines: vec![uid..=uid] };
    let q = Query::default();
    assert_eq!(told(&all(), &q), [changed(2), new(1)]);
    assert_eq!(told(&with_system(1000), &q), [new(1)]);
    assert_eq!(told(&with_system(1001), &q), [new(4), new(2)]);
    assert_eq!(told(&with_system(1002), &q), [new(3)]);
    assert_eq!(told(&with_system(1003), &q), [new(4)]);
    assert!(reader.event(4, &all()).is_err() && reader.event(4, &with_system(1001)).is_ok());
    let q = Query { sha256: Some("01".repeat(32)), ..Query::default() };
    assert_eq!(told(&all(), &q), [changed(2), new(1)]);
    assert_eq!(told(&only(1001), &q), []);
    // A content that came later than its notice means the same.
    let mut late = with(1004, 2);
    late.program = Arc::new(Program { hash: Hash::Unknown(Gap::Pending), ..Program::clone(&late.program) });
    lab.recorder.notice(notice(5, late, Before::Nobody));
    lab.recorder.flush();
    assert_eq!(told(&all(), &Query::default())[0], new(5));
    lab.recorder.hash_known(5, Hash::Known([2; 32]), Some([1; 32]));
    lab.recorder.flush();
    assert_eq!(told(&all(), &Query::default())[0], changed(5));
    assert_eq!(told(&with_system(1004), &Query::default())[0], new(5));
    // What an administrator deletes is gone for everybody.
    let q = Query { path: Some("/tmp/tool".to_owned()), ..Query::default() };
    reader.delete_history(&q, &all()).unwrap();
    assert_eq!(told(&with_system(1002), &Query::default()), []);
}

/// What is remembered of a program is bounded for each user: what alice does with it hides nothing of bob's.
#[test]
fn b04_nobody_uses_up_what_is_remembered_of_a_program() {
    let lab = Lab::new();
    let one = |n: i64, uid: u32, word: &str| {
        let mut row = row(DAY0 + n, who("/usr/bin/curl", uid));
        row.who.program = program("/usr/bin/curl", &format!("curl {word}"));
        row.domain = Some((bytes(&format!("{word}.example")), NameSource::Dns));
        row
    };
    let letters =
        |n: i64| -> String { (0..4).map(|at| char::from(b'g' + (n >> (3 * at) & 7) as u8)).collect() };
    lab.write((0..1200).map(|n| one(n, 1000, &letters(n))).collect());
    lab.write(vec![one(5000, 1001, "bobs")]);
    let reader = lab.recorder.reader();
    let bob = reader.executable(1, &only(1001)).unwrap();
    assert_eq!(bob.domains.unwrap(), ["bobs.example"]);
    assert_eq!(bob.cmdlines.unwrap(), ["curl bobs"]);
    let count = |sql: &str| -> i64 {
        rusqlite::Connection::open(lab.database()).unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM fact WHERE kind = 4 AND uid = 1000"), 1000);
    assert_eq!(count("SELECT count(*) FROM fact WHERE kind = 5 AND uid = 1000"), 50);
}
