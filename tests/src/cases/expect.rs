// SPDX-License-Identifier: GPL-3.0-or-later
//! The comparison: what generators say they did against what the monitor recorded. Equality is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picosnitch_api::{Query, row};

use crate::lab::client::settle;
use crate::lab::program::sha256_file;
use crate::lab::{Client, Lab, Outcome, Trouble, ensure};
use crate::traffic::{Flow, Report};

/// How long a row may take to appear: the write interval is one second, the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// What must be on record about one program.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Path of the executable.
    pub path: String,
    /// Its content.
    pub sha256: String,
    /// Path and content of the parent's executable; `None`: not looked at.
    pub parent: Option<(String, String)>,
    /// Path of the grandparent's executable; `None`: not looked at.
    pub grandparent: Option<String>,
    /// Real uid.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// Process and flow. Process 0: not looked at.
    pub flows: Vec<(u32, Flow)>,
}

/// Path of this process and of its parent.
///
/// # Errors
/// /proc cannot be read.
pub fn ancestry() -> Outcome<(PathBuf, PathBuf)> {
    let parent = format!("/proc/{}/exe", std::os::unix::process::parent_id());
    Ok((std::env::current_exe()?, std::fs::read_link(parent)?))
}

impl Expected {
    /// A program that this process started, and its reports.
    ///
    /// # Errors
    /// The program cannot be read.
    pub fn new(program: &Path, reports: &[Report]) -> Outcome<Expected> {
        Self::with_content(program, &sha256_file(program)?, reports)
    }

    /// The same, with a content that is not in the file any more.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn with_content(program: &Path, sha256: &str, reports: &[Report]) -> Outcome<Expected> {
        let (parent, grandparent) = ancestry()?;
        let first = reports.first().ok_or("there is no report")?;
        Ok(Expected {
            path: program.to_string_lossy().into_owned(),
            sha256: sha256.to_owned(),
            parent: Some((parent.to_string_lossy().into_owned(), sha256_file(&parent)?)),
            grandparent: Some(grandparent.to_string_lossy().into_owned()),
            uid: first.uid,
            euid: first.euid,
            flows: reports
                .iter()
                .flat_map(|report| report.flows.iter().map(|flow| (report.pid, flow.clone())))
                .collect(),
        })
    }
}

/// What tells flows apart on both sides. The local address is compared apart: a socket that is bound to
/// none has none, or the one that the route chose.
type Key = (u32, String, String, Option<IpAddr>, Option<u16>, Option<u16>, Option<String>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    sent: u64,
    received: u64,
    connections: u64,
    locals: BTreeSet<IpAddr>,
}

fn show(key: &Key, sum: &Sum) -> String {
    let (pid, protocol, direction, remote, remote_port, local_port, interface) = key;
    let end = |address: Option<IpAddr>, port: Option<u16>| {
        format!(
            "{}:{}",
            address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            port.map_or_else(|| "-".to_owned(), |port| port.to_string())
        )
    };
    format!(
        "pid {pid} {protocol} {direction} {} ↔ {}{} sent {} received {} connections {}",
        end(sum.locals.first().copied(), *local_port),
        end(*remote, *remote_port),
        interface.as_ref().map(|name| format!(" on {name}")).unwrap_or_default(),
        sum.sent,
        sum.received,
        sum.connections
    )
}

fn expected_sums(expected: &Expected) -> BTreeMap<Key, Sum> {
    let mut sums = BTreeMap::<Key, Sum>::new();
    for (pid, flow) in &expected.flows {
        let key = (
            *pid,
            flow.protocol.clone(),
            flow.direction.clone(),
            flow.remote,
            flow.remote_port,
            flow.local_port,
            flow.interface.clone(),
        );
        let sum = sums.entry(key).or_default();
        sum.sent += flow.sent;
        sum.received += flow.received;
        sum.connections += 1;
        sum.locals.extend(flow.local);
    }
    sums
}

fn recorded_sums(rows: &[row::Connection], with_pid: bool) -> Outcome<BTreeMap<Key, Sum>> {
    let mut sums = BTreeMap::<Key, Sum>::new();
    for row in rows {
        let address = |text: &Option<String>| -> Outcome<Option<IpAddr>> {
            text.as_ref()
                .map(|text| text.parse().map_err(|_| Trouble::Failed(format!("address {text:?} in a row"))))
                .transpose()
        };
        let key = (
            if with_pid { row.pid.unwrap_or(0) } else { 0 },
            row.protocol.clone().unwrap_or_default(),
            row.direction.clone().unwrap_or_default(),
            address(&row.address)?,
            row.remote_port,
            row.local_port,
            row.interface.clone(),
        );
        let sum = sums.entry(key).or_default();
        sum.sent += row.sent.unwrap_or(0);
        sum.received += row.received.unwrap_or(0);
        sum.connections += row.connections.unwrap_or(0);
        sum.locals.extend(address(&row.local_address)?);
    }
    Ok(sums)
}

/// Compares rows with what was expected.
///
/// # Errors
/// Every difference, five of a kind at the most.
pub fn compare(rows: &[row::Connection], expected: &Expected, is_host: impl Fn(IpAddr) -> bool) -> Outcome {
    let mut text = String::new();
    let mut wrong = BTreeSet::new();
    for row in rows {
        let mut field = |name: &str, want: Option<&str>, got: &Option<String>| {
            if let Some(want) = want
                && got.as_deref() != Some(want)
            {
                wrong.insert(format!("{name} is {got:?}, not {want:?}"));
            }
        };
        field("sha256", Some(&expected.sha256), &row.sha256);
        field("parent", expected.parent.as_ref().map(|parent| parent.0.as_str()), &row.parent);
        field("parent-sha256", expected.parent.as_ref().map(|parent| parent.1.as_str()), &row.parent_sha256);
        field("grandparent", expected.grandparent.as_deref(), &row.grandparent);
        field("path", Some(&expected.path), &row.path);
        if row.uid != Some(expected.uid) {
            wrong.insert(format!("uid is {:?}, not {}", row.uid, expected.uid));
        }
        if row.effective_uid.or(row.uid) != Some(expected.euid) {
            wrong.insert(format!("effective-uid is {:?}, not {}", row.effective_uid, expected.euid));
        }
        if row.netns.is_none_or(|netns| netns == 0) {
            wrong.insert("netns is absent".to_owned());
        }
    }
    for line in wrong.iter().take(8) {
        let _ = writeln!(text, "    {line}");
    }
    let want = expected_sums(expected);
    let with_pid = expected.flows.iter().all(|(pid, _)| *pid != 0);
    let got = recorded_sums(rows, with_pid)?;
    let mut more = [0_usize; 3];
    for (key, sum) in &want {
        let line = match got.get(key) {
            None => {
                more[0] += 1;
                (more[0] <= 5).then(|| format!("missing:  {}", show(key, sum)))
            }
            Some(other) => {
                let bytes = (sum.sent, sum.received, sum.connections)
                    == (other.sent, other.received, other.connections);
                let locals = sum.locals == other.locals
                    || (sum.locals.is_empty() && other.locals.iter().all(|address| is_host(*address)));
                if bytes && locals {
                    None
                } else {
                    more[1] += 1;
                    (more[1] <= 5)
                        .then(|| format!("expected: {}\n    recorded: {}", show(key, sum), show(key, other)))
                }
            }
        };
        if let Some(line) = line {
            let _ = writeln!(text, "    {line}");
        }
    }
    for (key, sum) in got.iter().filter(|(key, _)| !want.contains_key(*key)) {
        more[2] += 1;
        if more[2] <= 5 {
            let _ = writeln!(text, "    not done: {}", show(key, sum));
        }
    }
    ensure(text.is_empty(), || {
        format!(
            "{}: {} of {} flows missing, {} differ, {} not done\n{text}",
            expected.path,
            more[0],
            want.len(),
            more[1],
            more[2]
        )
    })
}

/// Rows of one path.
///
/// # Errors
/// As the daemon says.
pub fn rows_of(client: &Client, path: &str) -> Outcome<Vec<row::Connection>> {
    client.connections(&Query { path: Some(path.to_owned()), ..Query::default() })
}

impl Lab {
    /// Waits until the shared daemon has exactly this on record, and exactly one notice about it.
    ///
    /// # Errors
    /// The difference that stays.
    pub fn check(&mut self, expected: &Expected) -> Outcome {
        self.check_rows(expected)?;
        self.check_notice(&expected.path, &expected.sha256)?;
        self.checked.push(expected.clone());
        Ok(())
    }

    /// Compares what is on record at this moment.
    ///
    /// # Errors
    /// The difference.
    pub fn compare_now(&mut self, expected: &Expected) -> Outcome {
        let host = [IpAddr::V4(self.net.host), IpAddr::V6(self.net.host6)];
        let client = &self.shared()?.client;
        compare(&rows_of(client, &expected.path)?, expected, |address| host.contains(&address))
    }

    /// The rows alone.
    ///
    /// # Errors
    /// The difference that stays.
    pub fn check_rows(&mut self, expected: &Expected) -> Outcome {
        let host = [IpAddr::V4(self.net.host), IpAddr::V6(self.net.host6)];
        let stage = self.shared()?;
        let client = &stage.client;
        settle(PATIENCE, || {
            compare(&rows_of(client, &expected.path)?, expected, |address| host.contains(&address))
        })
    }

    /// Exactly one NewExecutable, with this content.
    ///
    /// # Errors
    /// None, or more, or another content.
    pub fn check_notice(&mut self, path: &str, sha256: &str) -> Outcome {
        let client = &self.shared()?.client;
        settle(PATIENCE, || {
            let notices = client.notices("new-executable", path);
            ensure(notices.len() == 1, || format!("{} NewExecutable for {path}, not 1", notices.len()))?;
            let mut got = notices.first().and_then(|(_, event)| event.sha256.clone()).unwrap_or_default();
            if got.is_empty() && super::slow() {
                let query = Query { path: Some(path.to_owned()), ..Query::default() };
                let recorded = client.events(&query)?;
                let notice =
                    recorded.into_iter().find(|event| event.kind.as_deref() == Some("new-executable"));
                got = notice.and_then(|event| event.sha256).unwrap_or_default();
            }
            ensure(got == sha256, || format!("NewExecutable for {path} says {got:?}, not {sha256}"))
        })
    }

    /// Runs a generator under a new name with these arguments and checks everything about it.
    ///
    /// # Errors
    /// It fails, or the record differs.
    pub fn run_and_check(&mut self, name: &str, arguments: &[&str]) -> Outcome<Expected> {
        self.shared()?;
        let program = self.programs.make(name)?;
        let report = crate::lab::program::report(&program, arguments)?;
        let expected = Expected::new(&program, &[report])?;
        self.check(&expected)?;
        Ok(expected)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn flow(port: u16, sent: u64) -> Flow {
        Flow {
            protocol: "udp".into(),
            direction: "out".into(),
            local_port: Some(port),
            remote: Some([192, 0, 2, 1].into()),
            remote_port: Some(53),
            sent,
            ..Flow::default()
        }
    }

    fn expected(flows: &[Flow]) -> Expected {
        Expected {
            path: "/bin/a".into(),
            sha256: "00".into(),
            parent: Some(("/bin/p".into(), "11".into())),
            grandparent: Some("/bin/g".into()),
            uid: 7,
            euid: 7,
            flows: flows.iter().map(|flow| (1, flow.clone())).collect(),
        }
    }

    fn row(port: u16, sent: u64, connections: u64) -> row::Connection {
        row::Connection {
            path: Some("/bin/a".into()),
            sha256: Some("00".into()),
            parent: Some("/bin/p".into()),
            parent_sha256: Some("11".into()),
            grandparent: Some("/bin/g".into()),
            uid: Some(7),
            pid: Some(1),
            netns: Some(5),
            protocol: Some("udp".into()),
            direction: Some("out".into()),
            address: Some("192.0.2.1".into()),
            remote_port: Some(53),
            local_port: Some(port),
            sent: Some(sent),
            connections: Some(connections),
            ..Default::default()
        }
    }

    fn complaint(rows: &[row::Connection], flows: &[Flow]) -> String {
        compare(rows, &expected(flows), |_| false)
            .err()
            .map(|trouble| trouble.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn rows_of_several_intervals_add_up() {
        assert_eq!(complaint(&[row(9, 60, 1), row(9, 40, 0)], &[flow(9, 100)]), "");
    }

    #[test]
    fn every_difference_is_seen() {
        assert!(complaint(&[], &[flow(9, 1)]).contains("missing:"));
        assert!(complaint(&[row(9, 99, 1)], &[flow(9, 100)]).contains("recorded:"));
        assert!(complaint(&[row(9, 100, 2)], &[flow(9, 100)]).contains("recorded:"), "counted twice");
        assert!(complaint(&[row(9, 1, 1), row(8, 0, 1)], &[flow(9, 1)]).contains("not done:"));
        let wrong = |change: fn(&mut row::Connection)| {
            let mut row = row(9, 1, 1);
            change(&mut row);
            complaint(&[row], &[flow(9, 1)])
        };
        assert!(wrong(|row| row.sha256 = None).contains("sha256 is"));
        assert!(wrong(|row| row.parent = Some("/bin/x".into())).contains("parent is"));
        assert!(wrong(|row| row.grandparent = None).contains("grandparent is"));
        assert!(wrong(|row| row.uid = Some(8)).contains("uid is"));
        assert!(wrong(|row| row.effective_uid = Some(0)).contains("effective-uid is"));
        assert!(wrong(|row| row.pid = Some(2)).contains("missing:"));
        assert!(wrong(|row| row.protocol = Some("tcp".into())).contains("missing:"));
        assert!(wrong(|row| row.direction = Some("in".into())).contains("missing:"));
        assert!(wrong(|row| row.local_address = Some("198.51.100.1".into())).contains("recorded:"));
    }
}
