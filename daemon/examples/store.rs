// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures the record: `cargo run --release -p picosnitchd --example store -- DIR [ROWS [make|ask|write [WORD]…]]`.
//!
//! Makes a believable database of ROWS detail rows in the last 30 days (default 10 million) and five years of
//! totals (none for less than a million rows) in DIR, by the same way that the daemon takes, unless DIR has one.
//! Then, in lines of the table of `bench/RESULTS.md`: with `make` its size alone; with `ask` the time of every query
//! that a page of a client makes, or of those whose name has all of the words; with `write` what the writer does with
//! it, and what pages of that very hour take then (this adds 400 000 rows, the other queries are to come first).

// A bench that cannot go on stops.
#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};
use picosnitch_api::{Dimension, Query};
use picosnitchd::model::{
    Bytes, Connection, Direction, Hash, NameSource, Program, ProgramKey, Protocol, Viewer, Who,
};
use picosnitchd::record::{Reader, Recorder, Settings};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// So much later than at a whole number of everything a range begins, µs.
const INSIDE: i64 = 12_345_678;
/// Rows handed over at once.
const BATCH: usize = 16_384;
/// Days for which every row is kept.
const DETAIL_DAYS: i64 = 30;

/// Destinations in all.
const PLACES: u64 = 50_000;
/// Programs in all; the first ones are browsers, which go everywhere.
const PROGRAMS: u64 = 300;
const BROWSERS: u64 = 6;
/// Logins and accounts of services.
const PEOPLE: u64 = 12;
const SERVICES: u64 = 24;
/// Rows of a flow, one for each interval in which it moved bytes, on average.
const ROWS_A_FLOW: u64 = 6;
/// Flows that are open at one time.
const OPEN: usize = 400;
/// Rows a day before the time for which there is detail.
const OLD_ROWS_A_DAY: i64 = 2_000;
/// How busy each hour of the day is.
const BUSY: [u64; 24] = [2, 1, 1, 1, 1, 1, 2, 4, 8, 12, 13, 12, 9, 10, 12, 12, 11, 10, 9, 10, 12, 11, 8, 4];

/// xorshift64*: the same database every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// Below the limit by Zipf's law: the nth is taken about 1/n as often as the first.
    fn zipf(&mut self, limit: u64) -> u64 {
        let part = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (((limit as f64).powf(part)) as u64 - 1).min(limit - 1)
    }
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

/// A machine with its people.
struct World {
    random: Random,
    /// Flows that are open, each a row's model.
    open: Vec<Connection>,
    /// Processes that run, by program.
    running: Vec<Vec<Who>>,
    flow: u64,
    shell: Arc<Program>,
    init: Arc<Program>,
}

impl World {
    fn new() -> Self {
        let program = |path: &str, cmdline: &str| {
            Arc::new(Program {
                key: ProgramKey { path: bytes(path), foreign: false },
                name: bytes(path.rsplit('/').next().unwrap_or(path)),
                hash: Hash::Known([1; 32]),
                cmdline: Some(bytes(cmdline)),
                script: None,
            })
        };
        World {
            random: Random(0x1234_5678_9abc_def1),
            open: Vec::new(),
            running: vec![Vec::new(); PROGRAMS as usize],
            flow: 0,
            shell: program("/usr/bin/bash", "bash"),
            init: program("/usr/lib/systemd/systemd", "/sbin/init"),
        }
    }

    /// A process that begins: a version that changes every two months, a command line that is one of a few,
    /// or for every tenth process its own. Browsers are everybody's; of the rest a half are services.
    fn start(&mut self, number: u64, time: i64) -> Who {
        let path = format!("/usr/bin/program-{number:03}");
        let mut hash = [(time / (60 * DAY)) as u8; 32];
        (hash[0], hash[1]) = (number as u8, (number >> 8) as u8);
        let cmdline = match self.random.below(10) {
            0 => format!("{path} --run {} --verbose", self.random.below(1_000_000)),
            other => format!("{path} --profile p{other}"),
        };
        let service = number >= BROWSERS && number.is_multiple_of(2);
        let uid = if service {
            [0, 100 + number % SERVICES][usize::from(!number.is_multiple_of(3))]
        } else {
            1000 + (self.random.zipf(PEOPLE) + number) % PEOPLE
        };
        let uid = u32::try_from(uid).unwrap_or(0);
        Who {
            program: Arc::new(Program {
                key: ProgramKey { path: bytes(&path), foreign: number % 40 == 39 },
                name: bytes(&format!("program-{number:03}")),
                hash: Hash::Known(hash),
                cmdline: Some(bytes(&cmdline)),
                script: None,
            }),
            parent: Some(if service { self.init.clone() } else { self.shell.clone() }),
            grandparent: Some(self.init.clone()),
            pid: self.random.below(60_000) as u32,
            uid,
            euid: uid,
            unit: Some(bytes(&if service {
                format!("service-{number}.service")
            } else {
                "app.scope".to_owned()
            })),
            container: (number % 40 == 39).then(|| bytes("box")),
        }
    }

    /// A flow that begins.
    fn connect(&mut self, time: i64) -> Connection {
        let number = self.random.zipf(PROGRAMS);
        let index = number as usize;
        let processes = self.running[index].len() as u64;
        let who = if processes < 4 || self.random.below(60) == 0 {
            let who = self.start(number, time);
            if processes >= 12 {
                self.running[index].remove(0);
            }
            self.running[index].push(who.clone());
            who
        } else {
            self.running[index][self.random.below(processes) as usize].clone()
        };
        // A browser goes everywhere, most often to the same places; any other program has its own few.
        let place = if number < BROWSERS {
            self.random.zipf(PLACES)
        } else {
            let own = 3 + number % 40;
            (number * 7919 + self.random.zipf(own) * 104_729) % PLACES
        };
        let incoming = number % 25 == 24;
        let last = if place.is_multiple_of(5) { self.random.zipf(4) as u8 } else { 1 };
        let remote: std::net::IpAddr = if place % 4 == 3 {
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, place as u16, u16::from(last)).into()
        } else {
            [203 - (place % 3) as u8, (place >> 8) as u8, place as u8, last].into()
        };
        let name = !incoming && !place.is_multiple_of(9);
        self.flow += 1;
        Connection {
            time,
            flow: self.flow,
            who,
            domain: name.then(|| (bytes(&format!("www.place{place}.example")), NameSource::Dns)),
            local: Some([192, 0, 2, 1].into()),
            local_port: Some(if incoming { 22 } else { 32_768 + self.random.below(28_000) as u16 }),
            remote: Some(remote),
            remote_port: Some(if incoming {
                50_000
            } else {
                [443, 443, 443, 443, 443, 443, 80, 53, 993, 123][(place % 10) as usize]
            }),
            interface: None,
            protocol: Protocol::Ip(if matches!(place % 10, 7 | 9) { 17 } else { 6 }),
            direction: if incoming { Direction::In } else { Direction::Out },
            netns: if number % 40 == 39 { 4_026_532_000 } else { 4_026_531_840 },
            sent: 0,
            received: 0,
            connections: 1,
        }
    }

    /// The next row: of a flow that goes on, or of one that begins.
    fn row(&mut self, time: i64) -> Connection {
        let index = self.random.below(OPEN as u64) as usize;
        if self.open.len() <= index || self.random.below(ROWS_A_FLOW) == 0 {
            let flow = self.connect(time);
            if self.open.len() <= index {
                self.open.push(flow);
            } else {
                self.open[index] = flow;
            }
        }
        let index = index.min(self.open.len() - 1);
        let size = 1 << self.random.below(16);
        let (sent, received) = (self.random.below(size * 4), self.random.below(size * 40));
        let flow = &mut self.open[index];
        // One number for each row: the rows of a flow are of different intervals, and must not become one.
        self.flow += 1;
        let row = Connection { time, sent, received, flow: self.flow, ..flow.clone() };
        flow.connections = 0;
        row
    }

    /// The rows of one day, by day and by night.
    fn day(&mut self, start: i64, rows: i64, mut take: impl FnMut(Connection)) {
        let busy = BUSY.iter().sum::<u64>() as i64;
        for (hour, weight) in (0..).zip(BUSY) {
            let count = rows * weight as i64 / busy;
            for n in 0..count {
                take(self.row(start + hour * HOUR + n * HOUR / count));
            }
        }
    }
}

fn generate(recorder: &Recorder, rows: u64, now: i64) {
    let mut world = World::new();
    let mut batch = Vec::with_capacity(BATCH);
    let (mut writing, mut written) = (Duration::ZERO, 0u64);
    let began = Instant::now();
    let days = if rows >= 1_000_000 { 5 * 365 } else { 60 };
    let today = now - now % DAY;
    for day in (0..=days).rev() {
        if day == DETAIL_DAYS {
            folding(recorder, 30, now);
        }
        let count = if day > DETAIL_DAYS { OLD_ROWS_A_DAY } else { rows as i64 / DETAIL_DAYS };
        world.day(today - day * DAY, count, |row| {
            if row.time > now {
                return;
            }
            batch.push(row);
            if batch.len() >= BATCH {
                written += batch.len() as u64;
                let began = Instant::now();
                recorder.submit(std::mem::take(&mut batch));
                recorder.flush();
                writing += began.elapsed();
            }
        });
        if day % 100 == 0 || day == DETAIL_DAYS {
            let rate = written as f64 / writing.as_secs_f64();
            println!(
                "{day} days to go: {written} rows, {rate:.0} rows/s, {:.0} s",
                began.elapsed().as_secs_f64()
            );
        }
    }
    recorder.submit(std::mem::take(&mut batch));
    recorder.flush();
    let rate = written as f64 / writing.as_secs_f64();
    line("writer, while the history was made", &format!("{rate:.0} rows/s of wall time"), None);
}

/// A line of the table; whether a promise holds, with the promise.
fn line(figure: &str, measured: &str, promise: Option<(&str, bool)>) {
    let (budget, holds) = promise.unwrap_or(("", true));
    let holds = match promise {
        Some(_) if holds => "yes",
        Some(_) => "**no**",
        None => "",
    };
    println!("| {figure} | {measured} | {budget} | {holds} |");
}

/// CPU time, seconds, of the process or of this thread: what the machine's other work does not change.
fn cpu(clock: ClockId) -> f64 {
    clock_gettime(clock).map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// What the daemon hands over when much happens at once, in ten seconds: many connections of everything that
/// runs, and of one program to one place.
fn burst(recorder: &Recorder, now: i64) {
    let mut world = World::new();
    let mixed: Vec<Connection> = (0..BATCH as i64 * 12).map(|n| world.row(now + n * 50)).collect();
    let one = mixed[0].clone();
    let alike = (0..BATCH as u64 * 12)
        .map(|n| Connection {
            flow: u64::MAX - n,
            time: now + n as i64,
            local_port: Some((n % 28_000) as u16),
            ..one.clone()
        })
        .collect();
    for (what, mut rows) in [("mixed rows", mixed), ("rows of one program to one place", alike)] {
        let (count, began) = (rows.len() as f64, Instant::now());
        let process = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            recorder.submit(std::mem::replace(&mut rows, rest));
            recorder.flush();
        }
        let wall = began.elapsed().as_secs_f64();
        let process = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID) - process;
        line(
            &format!("writer, {count} {what}"),
            &format!("{:.0} rows/s ({:.0} per processor second)", count / wall, count / process),
            Some(("≥ 200 000 rows/s", count / wall >= 200_000.0)),
        );
    }
}

/// Lines of the table, and the slowest of them.
#[derive(Default)]
struct Report {
    /// Only what has these in its name.
    words: Vec<String>,
    worst: f64,
    lines: usize,
    late: usize,
}

/// What a page of a client may take, ms.
const BUDGET: f64 = 50.0;

impl Report {
    /// Asks so many times; the number of the run picks what is asked for.
    fn measure(&mut self, what: &str, runs: usize, mut ask: impl FnMut(usize)) {
        if !self.words.iter().all(|word| what.contains(word)) {
            return;
        }
        // What only the first query after a start pays for is not what a page costs.
        ask(0);
        let mut times: Vec<(f64, f64, usize)> = (0..runs)
            .map(|run| {
                let (began, before) = (Instant::now(), cpu(ClockId::CLOCK_THREAD_CPUTIME_ID));
                ask(run);
                let spent = cpu(ClockId::CLOCK_THREAD_CPUTIME_ID) - before;
                (began.elapsed().as_secs_f64() * 1000.0, spent * 1000.0, run)
            })
            .collect();
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        let (cpu, slowest) = (at(95).1, at(100).2);
        let half = at(50).1;
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |part: usize| times[(times.len() - 1) * part / 100].0;
        self.worst = self.worst.max(cpu);
        self.lines += 1;
        self.late += usize::from(cpu > BUDGET);
        line(
            what,
            &format!(
                "p50 {:.1} ms, p95 {:.1} ms (on a processor {half:.1}, {cpu:.1}; slowest was run {slowest})",
                at(50),
                at(95)
            ),
            Some(("p95 ≤ 50 ms", cpu <= BUDGET)),
        );
    }
}

const EXPECT: &str = "the query is right";

/// Every query that a page of a client makes.
fn queries(reader: &Reader, now: i64, words: Vec<String>) {
    let mut report = Report { words, ..Report::default() };
    let bob = Viewer { rows: vec![1001..=1001, 0..=999], cmdlines: vec![1001..=1001] };
    let viewers = [("root", Viewer::everything()), ("bob", bob)];
    let path = |n: usize| Some(format!("/usr/bin/program-{:03}", n * 7 % 300));
    let place = |n: usize| Some(format!("www.place{}.example", n * n * 31 % 50_000));
    let everything = Viewer::everything();
    let of_path = |n: usize| {
        let q = Query { path: path(n), limit: Some(1), ..Query::default() };
        reader.executables(&q, &everything).expect(EXPECT).rows.first().and_then(|row| row.id)
    };
    let ids: Vec<Option<i64>> = (0..20).map(of_path).collect();
    let id = |n: usize| ids[n % ids.len()];
    for (who, v) in &viewers {
        let mut page = |name: &str, make: &dyn Fn(usize) -> Query| {
            report.measure(&format!("connections, {who}: {name}"), 20, |run| {
                reader.connections(&make(run), v).expect(EXPECT);
            });
        };
        let q = || Query { limit: Some(200), ..Query::default() };
        page("newest", &|_| q());
        page("newest 1000", &|_| Query { limit: Some(1000), ..Query::default() });
        page("oldest first", &|_| Query { descending: Some(false), ..q() });
        page("one path", &|n| Query { path: path(n), limit: Some(500), ..Query::default() });
        page("one program", &|n| Query { executable: id(n), limit: Some(500), ..Query::default() });
        page("one path and domain", &|n| Query { path: path(n), domain: place(n), ..q() });
        page("one domain", &|n| Query { domain: place(n), ..q() });
        page("one address", &|n| Query { address: format!("201.{n}.7.1").parse().ok(), ..q() });
        page("one network", &|n| Query { address: format!("203.{n}.0.0/16").parse().ok(), ..q() });
        page("port 53, oldest first", &|_| Query { remote_port: Some(53), descending: Some(false), ..q() });
        page("uid", &|n| Query { uid: Some(1000 + n as u32 % 12), ..q() });
        page("unit", &|n| Query { unit: Some(format!("service-{}.service", n * 14)), ..q() });
        page("search, many", &|n| Query { search: Some(format!("place{n}")), ..q() });
        page("search, none", &|_| Query { search: Some("nowhere".to_owned()), ..q() });
        page("cmdline, rare", &|n| Query { cmdline: Some(format!("--run {n}")), ..q() });
        page("an hour, 20 days ago", &|n| Query {
            since: Some(now - 20 * DAY - n as i64 * HOUR),
            until: Some(now - 20 * DAY - n as i64 * HOUR + HOUR),
            ..q()
        });
        let first: Vec<Query> = [q(), Query { uid: Some(1001), ..q() }, Query { domain: place(0), ..q() }]
            .into_iter()
            .map(|q| {
                let cursor = reader.connections(&q, v).expect(EXPECT).cursor;
                Query { cursor: Some(cursor), ..q }
            })
            .collect();
        page("second page", &|n| first[n % first.len()].clone());
        for sort in ["last-seen", "first-seen", "name", "path", "sent", "received", "connections"] {
            report.measure(&format!("executables, {who}: by {sort}"), 10, |_| {
                let q = Query { sort: Some(sort.to_owned()), limit: Some(1000), ..Query::default() };
                reader.executables(&q, v).expect(EXPECT);
            });
        }
        // A page of the window: sums of the range, sorted by them.
        for days in [1, 7, 30, 365] {
            report.measure(&format!("executables, {who}: of {days} days, by received"), 20, |_| {
                let since = Some(now - days * DAY);
                let sort = Some("received".to_owned());
                reader.executables(&Query { sort, since, limit: Some(80), ..q() }, v).expect(EXPECT);
            });
            // The overview counts them all.
            report.measure(&format!("executables, {who}: of {days} days, 1000 by total"), 20, |_| {
                let since = Some(now - days * DAY);
                let sort = Some("total".to_owned());
                reader.executables(&Query { sort, since, limit: Some(1000), ..q() }, v).expect(EXPECT);
            });
        }
        report.measure(&format!("executables, {who}: of 30 days, of a domain"), 20, |n| {
            let q = Query { domain: place(n), since: Some(now - 30 * DAY), ..q() };
            reader.executables(&q, v).expect(EXPECT);
        });
        report.measure(&format!("executables, {who}: search"), 20, |n| {
            let q = Query { search: Some(format!("place{n}.")), ..Query::default() };
            reader.executables(&q, v).expect(EXPECT);
        });
        report.measure(&format!("executables, {who}: of a domain"), 20, |n| {
            reader.executables(&Query { domain: place(n), ..Query::default() }, v).expect(EXPECT);
        });
        let page = reader.executables(&Query::default(), v).expect(EXPECT);
        let ids: Vec<i64> = page.rows.iter().filter_map(|row| row.id).collect();
        report.measure(&format!("executable, {who}: each"), ids.len(), |n| {
            reader.executable(ids[n], v).expect("it is there");
        });
        report.measure(&format!("events, {who}"), 20, |_| {
            reader.events(&Query { limit: Some(200), ..Query::default() }, v).expect(EXPECT);
        });
    }
    let presets = [
        ("hour", HOUR),
        ("24 h", DAY),
        ("7 d", 7 * DAY),
        ("30 d", 30 * DAY),
        ("year", 365 * DAY),
        ("all", 0),
    ];
    for (range, length) in presets {
        let since = (length > 0).then_some(now - length + INSIDE);
        for (who, v) in &viewers {
            type Filter<'a> = (&'a str, &'a dyn Fn(Query, usize) -> Query);
            let filters: [Filter<'_>; 6] = [
                ("all", &|q, _| q),
                ("of a program", &|q, n| Query { path: path(n), ..q }),
                ("of a domain", &|q, n| Query { domain: place(n), ..q }),
                ("of a user", &|q, n| Query { uid: Some(1000 + n as u32 % 12), ..q }),
                ("of a port", &|q, _| Query { remote_port: Some(443), ..q }),
                ("by search", &|q, n| Query { search: Some(format!("place{n}1")), ..q }),
            ];
            for (filter, make) in filters {
                let q = |n: usize| make(Query { since, limit: Some(1000), ..Query::default() }, n);
                report.measure(&format!("summary, {who}, {range}, {filter}: 16 dimensions"), 32, |n| {
                    reader.summary(Dimension::ALL[n % 16].0, &q(n), v).expect(EXPECT);
                });
                report.measure(&format!("series, {who}, {range}, {filter}: 16 dimensions"), 32, |n| {
                    let q = Query { limit: Some(12), ..q(n) };
                    reader.series(Dimension::ALL[n % 16].0, &q, v).expect(EXPECT);
                });
            }
            report.measure(&format!("program page, {who}, {range}: chart by domain"), 20, |n| {
                let q = Query { since, limit: Some(8), executable: id(n), ..Query::default() };
                reader.series(Dimension::Domain, &q, v).expect(EXPECT);
            });
            if length > 0 {
                report.measure(&format!("summary, {who}, the {range} before"), 5, |_| {
                    let q = Query {
                        since: Some(now - 2 * length),
                        until: Some(now - length),
                        ..Query::default()
                    };
                    reader.summary(Dimension::Protocol, &q, v).expect(EXPECT);
                });
            }
        }
    }
    let Report { worst, lines, late, .. } = report;
    line(
        &format!("{lines} kinds of queries"),
        &format!("slowest p95 {worst:.1} ms on a processor; {late} above"),
        Some(("p95 ≤ 50 ms", late == 0)),
    );
}

/// Forgets what is older than so many days of detail; how long a row waits meanwhile is the longest lock.
fn folding(recorder: &Recorder, detail_days: u32, now: i64) {
    static CHANGES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let change = CHANGES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut world = World::new();
    let (began, mut begun) = (Instant::now(), false);
    recorder.reconfigure(Settings { detail_days, retention_days: 6 * 365 - change, ..Settings::default() });
    let mut waits = Vec::new();
    while !begun || recorder.counters().retaining {
        begun |= recorder.counters().retaining || began.elapsed() > Duration::from_secs(5);
        let began = Instant::now();
        recorder.submit(vec![world.row(now)]);
        recorder.flush();
        waits.push(began.elapsed());
    }
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 1000].as_secs_f64() * 1000.0;
    line(
        &format!("longest lock while {detail_days} days of detail are kept and the rest is folded"),
        &format!(
            "in {:.1} s a row waited p50 {:.1} ms, p99.9 {:.1} ms, at most {:.1} ms",
            began.elapsed().as_secs_f64(),
            at(500),
            at(999),
            at(1000)
        ),
        None,
    );
}

/// What the database takes on the disk.
fn size(dir: &Path, recorder: &Recorder) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = recorder.counters().database_bytes;
    let db = rusqlite::Connection::open_with_flags(
        dir.join("picosnitch.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )?;
    let number = |sql: &str| db.query_row(sql, (), |row| row.get::<_, i64>(0));
    let rows = number("SELECT count(*) FROM connection")?;
    let chunks = number("SELECT coalesce(sum(length(data)), 0) FROM chunk")?;
    let lists = number("SELECT coalesce(sum(length(data)), 0) FROM place")?;
    let free = number("PRAGMA freelist_count")? * number("PRAGMA page_size")?;
    // The second level is days: those before there is detail are days of a typical desktop.
    let oldest = number("SELECT coalesce(min(id) / 1024 / 86400000000, 0) FROM connection")?;
    let days = "FROM chunk WHERE (id >> 57) & 7 = 1 AND ((id >> 33) & 0xffffff)";
    let count = number(&format!("SELECT max(count(DISTINCT (id >> 33) & 0xffffff), 1) {days} < {oldest}"))?;
    let day = number(&format!("SELECT coalesce(sum(length(data)), 0) {days} < {oldest}"))? / count;
    let names = number("SELECT (SELECT count(*) FROM who) + (SELECT count(*) FROM peer)")?;
    let bytes = i64::try_from(bytes)? - free;
    let row = (bytes - chunks) as f64 / rows.max(1) as f64;
    line("rows of detail", &format!("{rows}; {names} programs as they ran and peers"), None);
    let mb = |bytes: i64| bytes as f64 / 1e6;
    let of = format!(
        "{:.0} MB, of which totals {:.0} MB, lists of rows {:.0} MB; free besides {:.0} MB",
        mb(bytes),
        mb(chunks),
        mb(lists),
        mb(free)
    );
    line("database", &of, None);
    line("database per million rows, with names and lists", &format!("{row:.0} MB"), None);
    let detail = row * OLD_ROWS_A_DAY as f64 / 1000.0;
    let of = format!("{detail:.0} kB while its rows are kept, {:.0} kB then", day as f64 / 1000.0);
    line(&format!("database per day of a typical desktop ({OLD_ROWS_A_DAY} rows)"), &of, None);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("which directory?")?;
    let rows: u64 = arguments.next().map_or(Ok(10_000_000), |rows| rows.parse())?;
    let dir = Path::new(&dir);
    let fresh = !dir.join("picosnitch.db").exists();
    let settings = Settings { retention_days: 6 * 365, ..Settings::default() };
    let opening = Instant::now();
    let (recorder, known) = Recorder::open(dir, dir, settings, |trouble| println!("trouble: {trouble}"))?;
    line("history opened", &format!("{:.1} ms", opening.elapsed().as_secs_f64() * 1000.0), None);
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros())?;
    drop(known);
    if fresh {
        generate(&recorder, rows, now);
        // As somebody who asks for it: the first round forgets what is too old and makes the wider totals.
        folding(&recorder, 30, now);
        folding(&recorder, 29, now);
    }
    match arguments.next().as_deref() {
        Some("write") => {
            burst(&recorder, now);
            // Rankings and charts of an hour that begins just before all of that, and not at the full hour.
            queries(&recorder.reader(), now - SECOND + HOUR - INSIDE, vec!["hour,".to_owned()]);
            folding(&recorder, 28, now);
        }
        Some("make") => size(dir, &recorder)?,
        _ => {
            size(dir, &recorder)?;
            queries(&recorder.reader(), now, arguments.collect());
        }
    }
    recorder.stop().expect("all of it is written");
    Ok(())
}
