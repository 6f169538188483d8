// SPDX-License-Identifier: GPL-3.0-or-later
//! What was submitted can be read back, counted and ranked.

use picosnitch_api::{Dimension, Query};

use super::*;
use crate::model::{Gap, Viewer};
use picosnitch_api::{Format, What};

fn all() -> Viewer {
    Viewer::everything()
}

#[test]
fn a_row_comes_back_as_it_was() {
    let lab = Lab::new();
    let mut sent = row(DAY0 + 5, who("/usr/bin/curl", 1000));
    sent.who.euid = 0;
    lab.write(vec![sent]);
    let page = lab.recorder.reader().connections(&Query::default(), &all()).unwrap();
    assert_eq!((page.rows.len(), page.cursor.as_str(), page.hidden), (1, "", 0));
    let row = &page.rows[0];
    assert_eq!(row.time, Some(DAY0 + 5));
    assert_eq!(row.path.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(row.name.as_deref(), Some("curl"));
    assert_eq!(row.sha256.as_deref(), Some("0d".repeat(32).as_str()));
    assert_eq!(row.cmdline.as_deref(), Some("/usr/bin/curl --of 1000"));
    assert_eq!(row.parent.as_deref(), Some("/bin/bash"));
    assert_eq!(row.grandparent_cmdline.as_deref(), Some("sshd: someone"));
    assert_eq!((row.uid, row.effective_uid, row.pid), (Some(1000), Some(0), Some(4242)));
    assert_eq!(row.domain.as_deref(), Some("www.example.org"));
    assert_eq!(row.domain_source.as_deref(), Some("dns"));
    assert_eq!((row.address.as_deref(), row.remote_port), (Some("203.0.113.7"), Some(443)));
    assert_eq!((row.local_address.as_deref(), row.local_port), (Some("192.0.2.1"), Some(40_000)));
    assert_eq!((row.protocol.as_deref(), row.direction.as_deref()), (Some("tcp"), Some("out")));
    assert_eq!((row.sent, row.received, row.connections), (Some(100), Some(2000), Some(1)));
    assert_eq!(row.unit.as_deref(), Some("session.scope"));
    assert_eq!(row.container, None);
}

#[test]
fn pages_follow_each_other_in_both_directions() {
    let lab = Lab::new();
    // Many rows of one microsecond, too.
    let rows = (0..250).map(|n| row(DAY0 + n / 10, who("/usr/bin/curl", 1000))).collect();
    lab.write(rows);
    let reader = lab.recorder.reader();
    for descending in [true, false] {
        for path in [None, Some("/usr/bin/curl".to_owned())] {
            let mut q = Query { limit: Some(60), descending: Some(descending), path, ..Query::default() };
            let mut times = Vec::new();
            loop {
                let page = reader.connections(&q, &all()).unwrap();
                times.extend(page.rows.iter().map(|row| row.time.unwrap()));
                if page.cursor.is_empty() {
                    break;
                }
                q.cursor = Some(page.cursor);
            }
            assert_eq!(times.len(), 250);
            if descending {
                times.reverse();
            }
            assert!(times.is_sorted());
        }
    }
    let q = Query { since: Some(DAY0 + 3), until: Some(DAY0 + 5), ..Query::default() };
    assert_eq!(reader.connections(&q, &all()).unwrap().rows.len(), 20);
    let q = Query { cursor: Some("no cursor".to_owned()), ..Query::default() };
    assert!(reader.connections(&q, &all()).is_err());
}

#[test]
fn a_program_that_was_only_started_went_nowhere() {
    let lab = Lab::new();
    let started = Connection {
        domain: None,
        local: None,
        local_port: None,
        remote: None,
        remote_port: None,
        protocol: Protocol::Exec,
        ..row(DAY0 + 1, who("/usr/bin/date", 1000))
    };
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000)), started]);
    let reader = lab.recorder.reader();
    let rows = reader.connections(&Query::default(), &all()).unwrap().rows;
    let ways: Vec<_> = rows.iter().map(|row| (row.direction.as_deref(), row.netns)).collect();
    assert_eq!(ways, [(None, None), (Some("out"), Some(4_026_531_840))]);
    for (by, key) in [(Dimension::Direction, "out"), (Dimension::Netns, "4026531840")] {
        let (mut totals, _) = reader.summary(by, &Query::default(), &all()).unwrap();
        totals.sort_by(|one, other| one.key.cmp(&other.key));
        let keys: Vec<_> = totals.iter().map(|total| (total.key.as_str(), total.connections)).collect();
        assert_eq!(keys, [("", 1), (key, 1)]);
    }
    let out = Query { direction: Some("out".to_owned()), ..Query::default() };
    assert_eq!(reader.connections(&out, &all()).unwrap().rows.len(), 1);
}

#[test]
fn every_filter_selects() {
    let lab = Lab::new();
    let mut other = row(DAY0 + 1, who("/opt/Other/app", 1001));
    other.domain = Some((bytes("EXAMPLE.net."), NameSource::Getaddrinfo));
    other.remote = Some("2001:db8::7".parse().unwrap());
    other.remote_port = Some(53);
    other.local_port = Some(5353);
    other.protocol = Protocol::Ip(17);
    other.direction = Direction::In;
    other.netns = 7;
    other.who.parent = Some(program("/usr/bin/cron", "cron -f"));
    other.who.grandparent = Some(program("/sbin/init", "init"));
    other.who.unit = Some(bytes("cron.service"));
    other.who.container = Some(bytes("box"));
    lab.recorder.notice(new_executable(1, DAY0, who("/usr/bin/curl", 1000)));
    lab.recorder.notice(notice_of(2, &other));
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000)), other]);
    let text = |text: &str| Some(text.to_owned());
    let queries = [
        Query { path: text("/opt/Other/app"), ..Query::default() },
        Query { name: text("app"), ..Query::default() },
        Query { sha256: text(&"0e".repeat(32)), ..Query::default() },
        Query { cmdline: text("--of 1001"), ..Query::default() },
        Query { parent: text("/usr/bin/cron"), ..Query::default() },
        Query { grandparent: text("/sbin/init"), ..Query::default() },
        Query { uid: Some(1001), ..Query::default() },
        Query { domain: text("example.net"), ..Query::default() },
        Query { domain: text("net"), ..Query::default() },
        Query { address: Some("2001:db8::/32".parse().unwrap()), ..Query::default() },
        Query { local_port: Some(5353), ..Query::default() },
        Query { remote_port: Some(53), ..Query::default() },
        Query { protocol: text("udp"), ..Query::default() },
        Query { direction: text("in"), ..Query::default() },
        Query { netns: Some(7), ..Query::default() },
        Query { unit: text("cron.service"), ..Query::default() },
        Query { container: text("box"), ..Query::default() },
        Query { search: text("other/APP"), ..Query::default() },
        Query { search: text("example.net"), ..Query::default() },
        Query { search: text("2001:db8"), ..Query::default() },
        Query { search: text("of 1001"), ..Query::default() },
        Query { since: Some(DAY0 + 1), ..Query::default() },
    ];
    let reader = lab.recorder.reader();
    for q in queries {
        let page = reader.connections(&q, &all()).unwrap();
        let paths: Vec<_> = page.rows.iter().map(|row| row.path.clone().unwrap()).collect();
        assert_eq!(paths, ["/opt/Other/app"], "{q:?}");
        if q.remote_port.is_none() {
            let (totals, _) = reader.summary(Dimension::Path, &q, &all()).unwrap();
            let keys: Vec<_> = totals.iter().map(|total| total.key.as_str()).collect();
            assert_eq!(keys, ["/opt/Other/app"], "{q:?}");
        }
        // An event is of no network namespace.
        if q.netns.is_none() {
            let events = reader.events(&q, &all()).unwrap();
            let ids: Vec<_> = events.rows.iter().map(|row| row.id.unwrap()).collect();
            assert_eq!(ids, [2], "{q:?}");
        }
        let page =
            reader.executables(&Query { since: None, remote_port: None, ..q.clone() }, &all()).unwrap();
        if q.since.is_none() && q.remote_port.is_none() && q.search.as_deref() != Some("2001:db8") {
            assert_eq!(page.rows.len(), 1, "{q:?}");
        }
    }
    for q in [
        Query { domain: text("ample.net"), ..Query::default() },
        Query { search: text("%"), ..Query::default() },
        Query { cmdline: text("_"), ..Query::default() },
        Query { path: text("' OR 1=1 --"), ..Query::default() },
        Query { address: Some("32.1.0.0/16".parse().unwrap()), ..Query::default() },
    ] {
        assert!(reader.connections(&q, &all()).unwrap().rows.is_empty(), "{q:?}");
        assert!(reader.events(&q, &all()).unwrap().rows.is_empty(), "{q:?}");
    }
}

/// The notice that the program of this row is new.
fn notice_of(id: i64, row: &Connection) -> Notice {
    let contact = Contact {
        who: row.who.clone(),
        file: FileId::default(),
        deleted: false,
        remote: row.remote,
        remote_port: row.remote_port,
        local_port: row.local_port,
        protocol: row.protocol,
        direction: Some(row.direction),
        domain: row.domain.clone(),
    };
    let kind = NoticeKind::NewExecutable(Box::new(contact));
    Notice { id, time: row.time, kind, before: Before::Nobody }
}

#[test]
fn totals_are_exact_for_every_dimension_and_range() {
    let lab = Lab::new();
    let mut rows = Vec::new();
    // Ten minutes apart over three months: hours, days and periods all take part.
    for n in 0..13_000_i64 {
        let mut row = row(
            DAY0 + n * 600 * SECOND,
            who(["/usr/bin/curl", "/usr/bin/ssh"][n as usize % 2], 1000 + n as u32 % 3),
        );
        row.sent = n as u64;
        row.received = 1;
        row.remote_port = Some(400 + (n % 5) as u16);
        rows.push(row);
    }
    let reference = rows.clone();
    lab.recorder.submit(rows);
    lab.recorder.flush();
    let reader = lab.recorder.reader();
    let step = 600 * SECOND;
    let ranges = [
        (None, None),
        (Some(DAY0 + 7 * step + 1), Some(DAY0 + 9 * step)),
        (Some(DAY0 + 100 * step), Some(DAY0 + 12_345 * step + 77)),
        (Some(DAY0 + 1), None),
        (None, Some(DAY0 + 5_000 * step)),
    ];
    for (since, until) in ranges {
        let within = |row: &&Connection| {
            since.is_none_or(|since| row.time >= since) && until.is_none_or(|until| row.time < until)
        };
        let q = Query { since, until, ..Query::default() };
        let mut sum = (0, 0, 0);
        for row in reference.iter().filter(within) {
            sum = (sum.0 + row.sent, sum.1 + row.received, sum.2 + u64::from(row.connections));
        }
        for (by, word) in Dimension::ALL {
            let (totals, hidden) = reader.summary(by, &q, &all()).unwrap();
            let got = totals.iter().fold((0, 0, 0), |sum, total| {
                (sum.0 + total.sent, sum.1 + total.received, sum.2 + total.connections)
            });
            assert_eq!((got, hidden), (sum, 0), "{word} {since:?} {until:?}");
        }
        // A rollup with filters, and a combination that only days and rows can answer.
        let curl = |row: &&Connection| &*row.who.program.name == b"curl";
        let port = |row: &&Connection| row.remote_port == Some(402);
        let curls: u64 = reference.iter().filter(within).filter(curl).filter(port).map(|row| row.sent).sum();
        let filtered = Query { path: Some("/usr/bin/curl".to_owned()), remote_port: Some(402), ..q.clone() };
        for by in [Dimension::Path, Dimension::RemotePort, Dimension::Domain, Dimension::Name] {
            let (totals, _) = reader.summary(by, &filtered, &all()).unwrap();
            assert_eq!(
                totals.iter().map(|total| total.sent).sum::<u64>(),
                curls,
                "{by:?} {since:?} {until:?}"
            );
        }
    }
    let q = Query { since: Some(DAY0), until: Some(DAY0 + 90 * 144 * step), ..Query::default() };
    for (by, q) in
        [(Dimension::Uid, q.clone()), (Dimension::Domain, Query { remote_port: Some(402), ..q.clone() })]
    {
        let (series, _) = reader.series(by, &q, &all()).unwrap();
        let (totals, _) = reader.summary(by, &q, &all()).unwrap();
        assert_eq!(series.len(), totals.len());
        for (line, total) in series.iter().zip(&totals) {
            assert_eq!(line.key, total.key);
            assert!(line.points.len() <= 300 && line.points.len() > 80);
            assert!(
                line.points
                    .windows(2)
                    .all(|pair| pair[1].time - pair[0].time == line.points[1].time - line.points[0].time)
            );
            assert_eq!(line.points.iter().map(|point| point.sent).sum::<u64>(), total.sent);
        }
    }
}

#[test]
fn rows_of_a_flow_become_one_while_they_wait() {
    let lab = Lab::new();
    let first = row(DAY0, who("/usr/bin/curl", 1000));
    let mut second = Connection { time: DAY0 + SECOND, connections: 0, ..first.clone() };
    let mut other = first.clone();
    other.flow += 1_000_000;
    second.sent = 1;
    lab.write(vec![first, second, other]);
    let page = lab
        .recorder
        .reader()
        .connections(&Query { descending: Some(false), ..Query::default() }, &all())
        .unwrap();
    let sums: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.sent.unwrap(), row.received.unwrap(), row.connections.unwrap()))
        .collect();
    assert_eq!(sums, [(101, 4000, 1), (100, 2000, 1)]);
}

#[test]
fn n01_what_is_known_survives_a_restart() {
    let lab = Lab::new();
    assert_eq!(lab.known.next_notice, 1);
    lab.recorder.notice(new_executable(1, DAY0, who("/usr/bin/curl", 1000)));
    let mut unhashed = who("/usr/bin/late", 1000);
    unhashed.program =
        Arc::new(Program { hash: Hash::Unknown(Gap::Pending), ..Program::clone(&unhashed.program) });
    lab.recorder.notice(new_executable(2, DAY0 + 1, unhashed));
    lab.recorder.hash_known(2, Hash::Known([9; 32]), None);
    let mut changed = who("/usr/bin/curl", 1000);
    changed.program = Arc::new(Program { hash: Hash::Known([7; 32]), ..Program::clone(&changed.program) });
    lab.recorder.seen(&changed, DAY0 + 2);
    let lab = lab.reopen();
    assert_eq!(lab.known.next_notice, 3);
    let mut programs = lab.known.programs.clone();
    programs.sort();
    assert_eq!(programs.len(), 2);
    assert_eq!(programs[0].2, [[13; 32], [7; 32]]);
    assert_eq!((&*programs[1].0.path, &programs[1].2), (&b"/usr/bin/late"[..], &vec![[9; 32]]));
    let event = lab.recorder.reader().event(2, &all()).unwrap();
    assert_eq!(event.sha256.as_deref(), Some("09".repeat(32).as_str()));
    assert_eq!(event.sha256_unknown, None);
}

#[test]
fn an_event_says_that_its_program_is_one_of_another_root() {
    let lab = Lab::new();
    for (id, foreign) in [(1, true), (2, false)] {
        let mut who = who("/usr/bin/curl", 1000);
        let program = Program::clone(&who.program);
        let key = ProgramKey { foreign, ..program.key.clone() };
        who.program = Arc::new(Program { key, ..program });
        lab.recorder.notice(new_executable(id, DAY0 + id, who));
    }
    let error = NoticeKind::Error { kind: picosnitch_api::Incident::Clock, message: "x".to_owned() };
    lab.recorder.notice(Notice { id: 3, time: DAY0 + 3, kind: error, before: Before::Nobody });
    let reader = lab.recorder.reader();
    for (id, foreign) in [(1, Some(true)), (2, None), (3, None)] {
        let event = reader.event(id, &all()).unwrap();
        assert_eq!(event.foreign_root, foreign, "{id}");
        assert_eq!(event.to_dict().contains_key("foreign-root"), foreign.is_some(), "{id}");
    }
    let (inside, outside) = (reader.event(1, &all()).unwrap(), reader.event(2, &all()).unwrap());
    assert_eq!(inside.path, outside.path);
    assert_ne!(inside.executable, outside.executable);
    let mut lines = Vec::new();
    reader.export(What::Events, Format::JsonLines, &Query::default(), &all(), &mut lines).unwrap();
    let said = String::from_utf8(lines).unwrap();
    assert_eq!(said.matches("\"foreign-root\":true").count(), 1, "{said}");
}

#[test]
fn that_a_program_ran_from_a_deleted_file_is_kept() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), Settings { log_connections: true, ..settings() });
    for (id, gone) in [(1, true), (2, false)] {
        let mut notice = new_executable(id, DAY0 + id, who("/usr/bin/curl", 1000));
        let NoticeKind::NewExecutable(contact) = &mut notice.kind else { panic!() };
        contact.deleted = gone;
        lab.recorder.notice(notice);
    }
    lab.recorder.flush();
    let log = std::fs::read_to_string(lab.log("exe.log")).unwrap();
    let lab = lab.reopen();
    for (id, gone) in [(1, Some(true)), (2, None)] {
        let event = lab.recorder.reader().event(id, &all()).unwrap();
        assert_eq!(event.file_deleted, gone);
        assert_eq!(event.to_dict().contains_key("file-deleted"), gone.is_some());
    }
    let said: Vec<_> = log.lines().map(|line| line.contains(" file_deleted=true ")).collect();
    assert_eq!(said, [true, false], "{log}");
}

#[test]
fn a_notice_is_committed_at_once_and_its_event_is_there() {
    let lab = Lab::new();
    for id in 1..20 {
        lab.recorder.notice(new_executable(id, DAY0 + id, who("/usr/bin/curl", 1000)));
        let event = lab.recorder.reader().event(id, &all()).unwrap();
        assert_eq!(event.kind.as_deref(), Some("new-executable"));
        assert_eq!(event.address.as_deref(), Some("203.0.113.7"));
        assert_eq!(event.acknowledged, Some(false));
    }
    let error = NoticeKind::Error {
        kind: picosnitch_api::Incident::LostFlows,
        message: "7 flows\nwere lost".to_owned(),
    };
    lab.recorder.notice(Notice { id: 20, time: DAY0 + 99, kind: error, before: Before::Nobody });
    let event = lab.recorder.reader().event(20, &all()).unwrap();
    assert_eq!((event.kind.as_deref(), event.error.as_deref()), (Some("error"), Some("lost-flows")));
    assert_eq!((event.uid, event.path, event.protocol), (None, None, None));
    let reader = lab.recorder.reader();
    assert!(matches!(reader.event(99, &all()), Err(picosnitch_api::Error::NotFound(_))));
    assert_eq!(reader.acknowledge(&[1, 2, 2, 99], &all()).unwrap(), 2);
    let page = reader.events(&Query { limit: Some(5), ..Query::default() }, &all()).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.id.unwrap()).collect::<Vec<_>>(), [20, 19, 18, 17, 16]);
    let page = reader.events(&Query { cursor: Some(page.cursor), ..Query::default() }, &all()).unwrap();
    assert_eq!((page.rows.len(), page.cursor.as_str()), (15, ""));
    assert_eq!(page.rows.last().unwrap().acknowledged, Some(true));
    let found =
        reader.events(&Query { search: Some("were LOST".to_owned()), ..Query::default() }, &all()).unwrap();
    assert_eq!(found.rows.len(), 1);
}

#[test]
fn a_program_is_known_as_people_think_of_it() {
    let lab = Lab::new();
    for n in 0..120_i64 {
        let mut row = row(DAY0 + n * 12 * 3600 * SECOND, who("/usr/bin/curl", 1000));
        row.who.program = Arc::new(Program {
            cmdline: Some(bytes(&format!("curl job-{:05} {}", n * 37, if n < 60 { "a" } else { "b" }))),
            hash: Hash::Known([(n / 60) as u8; 32]),
            ..Program::clone(&row.who.program)
        });
        lab.write(vec![row]);
    }
    let reader = lab.recorder.reader();
    let page = reader.executables(&Query::default(), &all()).unwrap();
    let row = reader.executable(page.rows[0].id.unwrap(), &all()).unwrap();
    assert_eq!((row.days_seen, row.connections, row.sent), (Some(60), Some(120), Some(12_000)));
    assert_eq!((row.first_seen, row.last_seen), (Some(DAY0), Some(DAY0 + 119 * 12 * 3600 * SECOND)));
    assert_eq!(row.cmdlines, Some(vec!["curl * b".to_owned(), "curl * a".to_owned()]));
    assert_eq!((row.ports, row.domains), (Some(vec![443]), Some(vec!["www.example.org".to_owned()])));
    assert_eq!(row.hashes, Some(vec!["01".repeat(32), "00".repeat(32)]));
    assert_eq!(row.sha256, Some("01".repeat(32)));
    assert_eq!(row.hashes_first_seen, Some(vec![DAY0 + 60 * 12 * 3600 * SECOND, DAY0]));
    assert!(reader.executable(12345, &all()).is_err());
    for sort in ["last-seen", "first-seen", "total", "sent", "received", "connections", "path", "name"] {
        let q = Query { sort: Some(sort.to_owned()), limit: Some(1), ..Query::default() };
        assert_eq!(reader.executables(&q, &all()).unwrap().rows.len(), 1);
    }
}

#[test]
fn d05_totals_follow_each_other_page_by_page() {
    let lab = Lab::new();
    lab.write((0..25).map(|n| row(DAY0 + n % 7, who(&format!("/bin/p{:02}", n * 7 % 25), 1000))).collect());
    let reader = lab.recorder.reader();
    let asked = |cursor: &str| {
        let q = Query { limit: Some(10), cursor: Some(cursor.to_owned()), ..Query::default() };
        reader.summary(Dimension::Path, &q, &all()).map(|(totals, _)| totals)
    };
    let pages = ["0", "10", "20", "30"].map(|cursor| asked(cursor).unwrap());
    assert_eq!(pages.each_ref().map(Vec::len), [10, 10, 5, 0]);
    let whole = Query { limit: Some(1000), ..Query::default() };
    assert_eq!(pages.concat(), reader.summary(Dimension::Path, &whole, &all()).unwrap().0);
    assert!(asked("-1").is_err() && asked("x").is_err());
}

#[test]
fn executables_page_by_every_order() {
    let lab = Lab::new();
    lab.write((0..25).map(|n| row(DAY0 + n % 7, who(&format!("/bin/p{:02}", n * 7 % 25), 1000))).collect());
    let reader = lab.recorder.reader();
    for sort in ["last-seen", "first-seen", "total", "sent", "path", "name"] {
        for descending in [true, false] {
            let mut q = Query {
                sort: Some(sort.to_owned()),
                descending: Some(descending),
                limit: Some(4),
                ..Query::default()
            };
            let mut ids = Vec::new();
            loop {
                let page = reader.executables(&q, &all()).unwrap();
                ids.extend(page.rows.iter().map(|row| row.path.clone().unwrap()));
                if page.cursor.is_empty() {
                    break;
                }
                q.cursor = Some(page.cursor);
            }
            assert_eq!(ids.len(), 25, "{sort}");
            if sort == "path" || sort == "name" {
                assert!(if descending {
                    ids.is_sorted_by(|a, b| a > b)
                } else {
                    ids.is_sorted_by(|a, b| a < b)
                });
            }
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), 25, "{sort}");
        }
    }
}

/// What the list of programs says is what they used in the time that is asked for, by the filters, and it is sorted by
/// what it says.
#[test]
fn d05_programs_are_summed_and_sorted_by_what_is_asked_for() {
    const HOUR: i64 = 3600 * SECOND;
    let lab = Lab::new();
    let used = |hour: i64, path: &str, port: u16, received: u64| Connection {
        received,
        remote_port: Some(port),
        ..row(DAY0 + hour * HOUR, who(path, 1000))
    };
    // Much long ago and little since; the other way round; before and after; only before.
    lab.write(vec![
        used(0, "/bin/old", 443, 9_000),
        used(30, "/bin/old", 443, 10),
        used(0, "/bin/young", 443, 1),
        used(31, "/bin/young", 53, 700),
        used(32, "/bin/young", 443, 20),
        used(0, "/bin/around", 443, 5_000),
        used(60, "/bin/around", 443, 5_000),
        used(1, "/bin/gone", 443, 100_000),
    ]);
    let (reader, everybody) = (lab.recorder.reader(), all());
    let asked = |q: &Query| -> Vec<(String, u64, u64)> {
        let mut q = Query { limit: Some(1), ..q.clone() };
        let mut all = Vec::new();
        // Page by page, as they are scrolled to.
        loop {
            let page = reader.executables(&q, &everybody).unwrap();
            for row in page.rows {
                let name = row.path.unwrap().trim_start_matches("/bin/").to_owned();
                all.push((name, row.received.unwrap(), row.connections.unwrap()));
            }
            if page.cursor.is_empty() {
                return all;
            }
            q.cursor = Some(page.cursor);
        }
    };
    let received = Query { sort: Some("received".to_owned()), ..Query::default() };
    let own = |all: &[(&str, u64, u64)]| -> Vec<(String, u64, u64)> {
        all.iter().map(|(name, received, count)| ((*name).to_owned(), *received, *count)).collect()
    };
    let in_all = [("gone", 100_000, 1), ("around", 10_000, 2), ("old", 9_010, 2), ("young", 721, 3)];
    assert_eq!(asked(&received), own(&in_all));
    let day = Query { since: Some(DAY0 + 24 * HOUR), until: Some(DAY0 + 48 * HOUR), ..received.clone() };
    assert_eq!(asked(&day), own(&[("young", 720, 2), ("old", 10, 1)]));
    assert_eq!(
        asked(&Query { descending: Some(false), ..day.clone() }),
        own(&[("old", 10, 1), ("young", 720, 2)])
    );
    let web = Query { remote_port: Some(443), ..day.clone() };
    assert_eq!(asked(&web), own(&[("young", 20, 1), ("old", 10, 1)]));
    let total = Query { sort: Some("total".to_owned()), ..day.clone() };
    assert_eq!(asked(&total), own(&[("young", 720, 2), ("old", 10, 1)]));
    // In another order they say the same.
    let by_name = Query { sort: Some("path".to_owned()), descending: Some(false), ..day };
    assert_eq!(asked(&by_name), own(&[("old", 10, 1), ("young", 720, 2)]));
}

#[test]
fn settings_keep_fields_out() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with(
        dir,
        Settings { addresses: false, commands: false, ports: false, log_connections: true, ..settings() },
    );
    lab.recorder.notice(new_executable(1, DAY0, who("/usr/bin/curl", 1000)));
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    let page = lab.recorder.reader().connections(&Query::default(), &all()).unwrap();
    let row = &page.rows[0];
    assert_eq!((&row.cmdline, &row.parent_cmdline, &row.address, &row.domain), (&None, &None, &None, &None));
    assert_eq!((row.local_port, row.remote_port, &row.local_address), (None, None, &None));
    let files = ["state/picosnitch.db", "state/picosnitch.db-wal", "log/conn.log", "log/exe.log"];
    for file in files {
        let content = std::fs::read(lab.dir.path().join(file)).unwrap();
        for secret in ["--of 1000", "www.example.org", "203.0.113.7"] {
            assert!(
                !content.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{secret} in {file}"
            );
        }
    }
}

#[test]
fn hostile_names_pass_through_and_exports_cannot_be_forged() {
    let lab = Lab::new();
    let mut hostile = row(DAY0, who("/tmp/x", 1000));
    hostile.who.program = Arc::new(Program {
        key: ProgramKey { path: b"/tmp/\xff\n=1\"".as_slice().into(), foreign: true },
        name: bytes("=cmd|' /C calc'!A0"),
        cmdline: Some(bytes("a\0b,\"c\"\r\nforged")),
        hash: Hash::Unknown(Gap::Exited),
        script: Some((bytes("/tmp/s"), Hash::Known([3; 32]))),
    });
    lab.write(vec![hostile]);
    let reader = lab.recorder.reader();
    let row = reader.connections(&Query::default(), &all()).unwrap().rows.remove(0);
    assert_eq!(row.path_raw.as_deref(), Some(&b"/tmp/\xff\n=1\""[..]));
    assert_eq!((row.sha256, row.sha256_unknown.as_deref()), (None, Some("exited")));
    assert_eq!((row.foreign_root, row.script.as_deref()), (Some(true), Some("/tmp/s")));
    let mut csv = Vec::new();
    assert_eq!(
        reader.export(What::Connections, Format::Csv, &Query::default(), &all(), &mut csv).unwrap(),
        1
    );
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.starts_with("time,executable,path,"));
    assert!(csv.contains("\"'=cmd|' /C calc'!A0\""), "{csv}");
    let mut json = Vec::new();
    assert_eq!(
        reader.export(What::Executables, Format::JsonLines, &Query::default(), &all(), &mut json).unwrap(),
        1
    );
    let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(line["foreign-root"], true);
}

#[test]
fn a_rare_pair_of_a_busy_program_and_a_busy_place_is_found() {
    let lab = Lab::new();
    let place = |row: Connection, n: i64| {
        let address = std::net::Ipv4Addr::from(0xc633_6400 + (n % 5) as u32);
        Connection {
            domain: Some((bytes(&format!("host{}.example", n % 5)), NameSource::Dns)),
            remote: Some(address.into()),
            ..row
        }
    };
    let day = 86_400 * SECOND;
    let mut rows = Vec::new();
    for n in 0..30_000_i64 {
        // Even ones never go to odd places, but for three times.
        let path = if n % 2 == 0 { "/usr/bin/even" } else { "/usr/bin/odd" };
        rows.push(place(row(DAY0 + n * day / 3000, who(path, 1000)), n * 2 % 4 + n % 2));
    }
    for n in [2, 5, 9] {
        rows.push(place(row(DAY0 + n * day + 7, who("/usr/bin/even", 1000)), 1));
    }
    lab.write(rows);
    let reader = lab.recorder.reader();
    let q = Query {
        path: Some("/usr/bin/even".to_owned()),
        domain: Some("host1.example".to_owned()),
        ..Query::default()
    };
    for viewer in [all(), Viewer { rows: vec![1000..=1000], cmdlines: vec![1000..=1000] }] {
        for descending in [true, false] {
            let page =
                reader.connections(&Query { descending: Some(descending), ..q.clone() }, &viewer).unwrap();
            let mut times: Vec<_> = page.rows.iter().map(|row| row.time.unwrap()).collect();
            if descending {
                times.reverse();
            }
            assert_eq!(times, [2, 5, 9].map(|n| DAY0 + n * day + 7));
            assert_eq!(page.cursor, "");
        }
    }
}

#[test]
fn programs_are_found_by_what_totals_find_them_by() {
    let lab = Lab::new();
    let mut other = row(DAY0 + 1, who("/usr/bin/wget", 1000));
    other.remote = Some("198.51.100.9".parse().unwrap());
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000)), other]);
    let (reader, all) = (lab.recorder.reader(), Viewer::everything());
    for since in [None, Some(0), Some(DAY0)] {
        for (text, wanted) in [("203.0.113.7", "/usr/bin/curl"), ("198.51.100.", "/usr/bin/wget")] {
            let q = Query { search: Some(text.to_owned()), since, ..Query::default() };
            let (totals, _) = reader.summary(Dimension::Path, &q, &all).unwrap();
            assert_eq!(totals.iter().map(|total| total.key.as_str()).collect::<Vec<_>>(), [wanted]);
            for sort in [None, Some("total".to_owned())] {
                let rows = reader.executables(&Query { sort, ..q.clone() }, &all).unwrap().rows;
                let paths: Vec<_> = rows.iter().filter_map(|row| row.path.as_deref()).collect();
                assert_eq!(paths, [wanted], "{text} since {since:?}");
            }
        }
    }
}

#[test]
fn a_content_that_is_not_read_yet_hides_none_that_is_known() {
    let lab = Lab::new();
    let unread = |gap| {
        let mut who = who("/usr/bin/curl", 1000);
        who.program = Arc::new(Program { hash: Hash::Unknown(gap), ..Program::clone(&who.program) });
        who
    };
    let (reader, all) = (lab.recorder.reader(), Viewer::everything());
    let shown = || {
        let row = reader.executables(&Query::default(), &all).unwrap().rows.remove(0);
        (row.sha256, row.sha256_unknown)
    };
    lab.write(vec![row(DAY0, unread(Gap::Pending))]);
    assert_eq!(shown(), (None, Some("pending".to_owned())));
    lab.write(vec![row(DAY0 + 1, who("/usr/bin/curl", 1000)), row(DAY0 + 2, unread(Gap::Pending))]);
    assert_eq!(shown(), (Some("0d".repeat(32)), None));
    // What will not be known is news.
    lab.write(vec![row(DAY0 + 3, unread(Gap::Unreadable))]);
    assert_eq!(shown(), (None, Some("unreadable".to_owned())));
}
