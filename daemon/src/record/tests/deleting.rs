// SPDX-License-Identifier: GPL-3.0-or-later
//! What is deleted is what the same query shows, and what is told afterwards is what is left.

use picosnitch_api::{Dimension, Query};

use super::*;
use crate::model::Viewer;
use crate::record::writer::now;

fn all() -> Viewer {
    Viewer::everything()
}

/// Rows out, in, and of programs that were only started, with ports on either side, on two days.
fn varied() -> Lab {
    let lab = Lab::new();
    let start = now() - 30 * 3_600 * SECOND;
    let mut rows = Vec::new();
    for n in 0..60_i64 {
        let uid = if n % 7 == 0 { 1001 } else { 1000 };
        let path = ["/usr/bin/curl", "/opt/Other/app", "/usr/bin/ssh"][n as usize % 3];
        let mut row = row(start + n * 1_800 * SECOND, who(path, uid));
        (row.sent, row.received) = (1 << (n % 40), 3);
        match n % 4 {
            0 => (row.local_port, row.remote_port) = (Some(50_000), Some(443)),
            1 => {
                row.direction = Direction::In;
                // Somebody called from the port that others are called at.
                (row.local_port, row.remote_port) = (Some(443), Some([443, 22, 50_000][n as usize / 4 % 3]));
                row.domain = Some((bytes("in.example.net"), NameSource::DnsNetns));
                row.remote = Some("2001:db8::7".parse().unwrap());
            }
            2 => {
                (row.local_port, row.remote_port) = (Some([443, 53][n as usize / 4 % 2]), Some(53));
                row.protocol = Protocol::Ip(17);
                row.netns = 7;
                row.who.container = Some(bytes("box"));
            }
            _ => {
                (row.domain, row.local, row.remote) = (None, None, None);
                (row.local_port, row.remote_port, row.protocol) = (None, None, Protocol::Exec);
                row.who.parent = Some(program("/usr/bin/cron", "cron -f"));
                row.who.grandparent = Some(program("/sbin/init", "init"));
                row.who.unit = Some(bytes("cron.service"));
            }
        }
        rows.push(row);
    }
    lab.write(rows);
    lab
}

/// One query for each key.
fn queries() -> Vec<Query> {
    let text = |text: &str| Some(text.to_owned());
    let none = Query::default;
    vec![
        Query { path: text("/opt/Other/app"), ..none() },
        Query { name: text("ssh"), ..none() },
        Query { sha256: text(&"0d".repeat(32)), ..none() },
        Query { cmdline: text("ssh --of 1001"), ..none() },
        Query { parent: text("/usr/bin/cron"), ..none() },
        Query { grandparent: text("/sbin/init"), ..none() },
        Query { uid: Some(1001), ..none() },
        Query { domain: text("example.net"), ..none() },
        Query { address: Some("2001:db8::/32".parse().unwrap()), ..none() },
        Query { remote_port: Some(443), ..none() },
        Query { remote_port: Some(22), ..none() },
        Query { local_port: Some(443), ..none() },
        Query { local_port: Some(50_000), remote_port: Some(443), ..none() },
        Query { remote_port: Some(443), direction: text("in"), ..none() },
        Query { remote_port: Some(9), ..none() },
        Query { protocol: text("udp"), ..none() },
        Query { protocol: text("exec"), ..none() },
        Query { direction: text("in"), ..none() },
        Query { netns: Some(7), ..none() },
        Query { unit: text("cron.service"), ..none() },
        Query { container: text("box"), ..none() },
        Query { search: text("net"), ..none() },
        Query { search: text("443"), ..none() },
        Query { since: Some(now() - 20 * 3_600 * SECOND), until: Some(now() - 4_000 * SECOND), ..none() },
    ]
}

/// Of each row what makes it that one.
fn list(lab: &Lab, q: &Query) -> Vec<(i64, u64)> {
    let q = Query { limit: Some(1000), ..q.clone() };
    let page = lab.recorder.reader().connections(&q, &all()).unwrap();
    assert_eq!(page.cursor, "");
    page.rows.iter().map(|row| (row.time.unwrap(), row.sent.unwrap())).collect()
}

#[test]
fn what_a_filter_deletes_is_what_it_shows() {
    for q in queries() {
        let lab = varied();
        let before = list(&lab, &Query::default());
        assert_eq!(before.len(), 60);
        let shown = list(&lab, &q);
        assert_eq!(shown.is_empty(), q.remote_port == Some(9) || q.search.as_deref() == Some("443"), "{q:?}");
        let deleted = lab.recorder.reader().delete_history(&q, &all()).unwrap();
        assert_eq!(deleted, shown.len() as u64, "{q:?}");
        let left: Vec<_> = before.into_iter().filter(|row| !shown.contains(row)).collect();
        assert_eq!(list(&lab, &Query::default()), left, "{q:?}");
        let bytes: u64 = left.iter().map(|(_, sent)| sent).sum();
        for (by, word) in Dimension::ALL {
            let most = Query { limit: Some(1000), ..Query::default() };
            let (totals, _) = lab.recorder.reader().summary(by, &most, &all()).unwrap();
            assert_eq!(totals.iter().map(|total| total.sent).sum::<u64>(), bytes, "{q:?} by {word}");
            let connections = totals.iter().map(|total| total.connections).sum::<u64>();
            assert_eq!(connections, left.len() as u64, "{q:?} by {word}");
        }
        let db = rusqlite::Connection::open(lab.database()).unwrap();
        assert_eq!(connections_by_kind(&db), [left.len() as u64; 7], "{q:?}");
    }
}
