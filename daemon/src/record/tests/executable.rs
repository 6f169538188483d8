// SPDX-License-Identifier: GPL-3.0-or-later
//! A path may be that of two programs, one of this machine and one of containers: each is asked for by its number.

use picosnitch_api::{Dimension, Query};

use super::*;
use crate::model::Viewer;
use crate::record::writer::now;

const PATH: &str = "/usr/bin/curl";

fn of(foreign: bool) -> Who {
    let mut who = who(PATH, 1000);
    who.program = Arc::new(Program {
        key: ProgramKey { path: bytes(PATH), foreign },
        hash: Hash::Known([u8::from(foreign); 32]),
        ..Program::clone(&who.program)
    });
    who
}

/// The numbers of the two, that of this machine first.
fn both(lab: &Lab) -> [i64; 2] {
    let q = Query { path: Some(PATH.to_owned()), ..Query::default() };
    let rows = lab.recorder.reader().executables(&q, &Viewer::everything()).unwrap().rows;
    let id = |foreign| rows.iter().find(|row| row.foreign_root == foreign).unwrap().id.unwrap();
    assert_eq!(rows.len(), 2);
    [id(None), id(Some(true))]
}

fn lab() -> Lab {
    let lab = Lab::new();
    let start = now() - 20 * 86_400 * SECOND;
    let mut rows = Vec::new();
    // Hours, days and what is wider take part, and the rows of the last hour.
    for n in 0..400_i64 {
        let foreign = n % 4 == 0;
        let mut row = row(start + n * 4_300 * SECOND, of(foreign));
        (row.sent, row.received) = if foreign { (1, 0) } else { (0, 1) };
        let place = if foreign { "container.example" } else { "host.example" };
        row.domain = Some((bytes(place), NameSource::Dns));
        rows.push(row);
    }
    lab.write(rows);
    lab.recorder.notice(new_executable(1, now(), of(false)));
    lab.recorder.notice(new_executable(2, now(), of(true)));
    lab.recorder.flush();
    lab
}

#[test]
fn one_program_is_asked_for_by_its_number() {
    let lab = lab();
    let (reader, all) = (lab.recorder.reader(), Viewer::everything());
    let [host, container] = both(&lab);
    for (id, sums, place, event) in
        [(host, (0, 300), "host.example", 1), (container, (100, 0), "container.example", 2)]
    {
        let one = Query { executable: Some(id), ..Query::default() };
        let ranges = [(None, None), (Some(DAY0 - 400 * 86_400 * SECOND), None), (None, Some(now() + SECOND))];
        for (since, until) in ranges {
            let q = Query { since, until, limit: Some(1000), ..one.clone() };
            for (by, word) in Dimension::ALL {
                let (totals, _) = reader.summary(by, &q, &all).unwrap();
                let got =
                    totals.iter().fold((0, 0), |sum, total| (sum.0 + total.sent, sum.1 + total.received));
                assert_eq!(got, sums, "{word}");
                let (lines, _) = reader.series(by, &q, &all).unwrap();
                let points = lines.iter().flat_map(|line| &line.points);
                let got = points.fold((0, 0), |sum, point| (sum.0 + point.sent, sum.1 + point.received));
                assert_eq!(got, sums, "{word}");
            }
            let (totals, _) = reader.summary(Dimension::Domain, &q, &all).unwrap();
            assert_eq!(totals.iter().map(|total| total.key.as_str()).collect::<Vec<_>>(), [place]);
            let rows = reader.connections(&q, &all).unwrap().rows;
            assert_eq!(rows.len() as u64, sums.0 + sums.1);
            assert!(rows.iter().all(|row| row.executable == Some(id)));
            let rows = reader.executables(&q, &all).unwrap().rows;
            assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [Some(id)]);
        }
        let events = reader.events(&one, &all).unwrap().rows;
        assert_eq!(events.iter().map(|row| row.id).collect::<Vec<_>>(), [Some(event)]);
    }
    for id in [0, -1, 77, i64::MIN, i64::MAX] {
        let q = Query { executable: Some(id), ..Query::default() };
        assert!(reader.connections(&q, &all).unwrap().rows.is_empty(), "{id}");
        assert!(reader.summary(Dimension::Path, &q, &all).unwrap().0.is_empty(), "{id}");
        assert!(reader.executables(&q, &all).unwrap().rows.is_empty(), "{id}");
        assert!(reader.events(&q, &all).unwrap().rows.is_empty(), "{id}");
    }
}

#[test]
fn one_program_is_deleted_without_the_other_of_its_path() {
    let lab = lab();
    let (reader, all) = (lab.recorder.reader(), Viewer::everything());
    let [host, container] = both(&lab);
    let count = |id| {
        let q = Query { executable: Some(id), limit: Some(1000), ..Query::default() };
        (reader.connections(&q, &all).unwrap().rows.len(), reader.events(&q, &all).unwrap().rows.len())
    };
    assert_eq!((count(host), count(container)), ((300, 1), (100, 1)));
    let q = Query { executable: Some(container), ..Query::default() };
    assert_eq!(reader.delete_history(&q, &all).unwrap(), 100);
    assert_eq!((count(host), count(container)), ((300, 1), (0, 0)));
    let db = rusqlite::Connection::open(lab.database()).unwrap();
    assert_eq!(connections_by_kind(&db), [300; 7]);
}
