// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows to a database server. A batch is one transaction; a row that is there already is left as it is, so
//! that a batch can be sent again by whoever does not know whether it arrived. It takes the rights INSERT
//! and SELECT.

use std::str::FromStr as _;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use picosnitch_relay_wire::{Answer, Ask, COLUMNS, Cell, Row, Tls};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{
    ConnectOptions as _, Connection as _, MySql, MySqlConnection, PgConnection, Postgres, QueryBuilder,
};

use crate::certificates::Trusted;
use crate::text::plain;
use crate::{Asked, Reply};

/// How long a server may take to let us in, and to store a batch.
const CONNECT: Duration = Duration::from_secs(10);
const STORE: Duration = Duration::from_secs(20);
/// And all that there is to do about one batch; the daemon takes us for dead a little later.
const ALL: Duration = Duration::from_secs(50);
/// Rows of one statement: a statement has at most 65 535 values.
const ROWS: usize = 1000;

/// Where rows go.
struct Target {
    server: Server,
    table: String,
    host: String,
}

enum Server {
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
}

enum Link {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// Why rows were not stored.
#[derive(Debug)]
enum Trouble {
    /// The server or the way to it.
    Server(Why),
    /// Not within [`STORE`].
    Slow,
    /// What the rows are; the server would say so for ever.
    Rows(Why),
    /// A row is there already (servers that cannot be told to pass over it).
    Duplicate,
}

/// What is told to every user of the machine, and what the server or the driver said besides: that may repeat what
/// is in a row, and goes to the log alone.
#[derive(Debug)]
struct Why {
    told: String,
    said: Option<String>,
}

impl Why {
    fn new(told: impl Into<String>) -> Self {
        Why { told: told.into(), said: None }
    }

    /// What is told; the rest is logged.
    fn tell(self) -> String {
        if let Some(said) = self.said {
            eprintln!("picosnitch-relay: {}: {}", plain(&self.told), plain(&said));
        }
        plain(&self.told)
    }
}

/// What became of a batch so far, from its first row on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Rows that are there, or refused.
    done: u32,
    refused: u32,
    /// Why the first of those was.
    why: Option<String>,
}

impl Progress {
    /// What is there need not be sent again, whatever happened to the rest.
    fn answer(self, number: u64, outcome: Result<(), String>) -> Answer {
        match outcome {
            Err(why) if self.done == 0 => failed(number, &why),
            _ => Answer::Stored { number, rows: self.done, refused: self.refused, why: self.why },
        }
    }
}

const TOO_LONG: &str = "the server takes too long to store rows";

/// The thread. Ends with the daemon.
pub fn run(reply: &Reply, inbox: &Receiver<Asked>) {
    let Ok(runtime) =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()
    else {
        return;
    };
    let mut target = Err("no server was named".to_owned());
    let mut link = None;
    let mut most = usize::MAX;
    while let Ok(Asked { ask, rest, descriptor }) = inbox.recv() {
        match ask {
            Ask::Database { url, table, tls, host } => {
                (link, most) = (None, usize::MAX);
                target = Trusted::read(descriptor)
                    .and_then(|trusted| server(&url, tls, trusted))
                    .map(|server| Target { server, table, host });
            }
            Ask::Rows { number, origin } => {
                let answer = match &target {
                    Ok(target) => {
                        let mut progress = Progress::default();
                        let stored = store(target, (&mut link, &mut most), &mut progress, origin, &rest);
                        let outcome = runtime
                            .block_on(async { tokio::time::timeout(ALL, stored).await })
                            .unwrap_or_else(|_| Err(TOO_LONG.to_owned()));
                        progress.answer(number, outcome)
                    }
                    Err(why) => failed(number, why),
                };
                reply.send(&answer);
            }
            Ask::Scanner { .. } | Ask::Lookup { .. } | Ask::Upload { .. } => {}
        }
    }
}

fn failed(number: u64, why: &str) -> Answer {
    Answer::Failed { number, why: plain(why), wait: None, unwanted: false }
}

/// What the driver needs, with the protection that is wanted whatever the address says.
fn server(url: &str, tls: Tls, trusted: Trusted) -> Result<Server, String> {
    // The address has the password in it: its errors are not repeated.
    let wrong =
        |_| "remote.url is not understood: it is like postgresql://USER:PASSWORD@HOST/DATABASE".to_owned();
    if url.starts_with("postgres") {
        let options = PgConnectOptions::from_str(url).map_err(wrong)?.application_name("picosnitch");
        let is_socket = options.get_socket().is_some();
        let mode = if verified(tls, is_socket) { PgSslMode::VerifyFull } else { PgSslMode::Disable };
        let options = options.ssl_mode(mode).ssl_root_cert_from_pem(trusted.pem);
        return Ok(Server::Postgres(options.statement_cache_capacity(8)));
    }
    let options = MySqlConnectOptions::from_str(url).map_err(wrong)?;
    let is_socket = options.get_socket().is_some();
    let mode = if verified(tls, is_socket) { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::Disabled };
    let options = options.ssl_mode(mode).ssl_ca_from_pem(trusted.pem);
    Ok(Server::MySql(options.statement_cache_capacity(8)))
}

/// Whether the way must be protected. An address of this machine is no proof: while the server is down, any account may
/// listen there. A socket lies in a directory that the server's account owns.
fn verified(tls: Tls, is_socket: bool) -> bool {
    match tls {
        Tls::Verify => true,
        Tls::Off => false,
        Tls::Automatic => !is_socket,
    }
}

/// Stores the rows from the first to the last. Where the server refuses some for what they are, or is slow, half of
/// them is tried, and so on: a row that it refuses costs a few tries and not one for each of the others. A slow
/// server is given no more rows at once the next time than it took.
async fn store(
    target: &Target,
    (link, most): (&mut Option<Link>, &mut usize),
    progress: &mut Progress,
    origin: i64,
    rest: &[u8],
) -> Result<(), String> {
    let rows: Result<Vec<Row>, _> = rest
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect();
    let rows = rows.map_err(|_| "the rows are not understood".to_owned())?;
    // A connection that was idle may have been closed by the server: that is no failure yet.
    let mut was_open = link.is_some();
    let mut parts: Vec<&[Row]> = rows.chunks(*most).rev().collect();
    let mut slow = false;
    while let Some(part) = parts.pop() {
        match try_store(target, link, origin, part).await {
            // There are no more than fit into a question.
            Ok(()) => progress.done += u32::try_from(part.len()).unwrap_or(u32::MAX),
            Err(Trouble::Server(_)) if was_open => parts.push(part),
            Err(trouble @ (Trouble::Rows(_) | Trouble::Slow)) if part.len() > 1 => {
                if matches!(trouble, Trouble::Slow) {
                    (slow, *most) = (true, part.len() / 2);
                }
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(Trouble::Rows(why)) => {
                progress.done += 1;
                progress.refused += 1;
                progress.why.get_or_insert_with(|| why.tell());
            }
            Err(Trouble::Slow) => return Err(TOO_LONG.to_owned()),
            Err(Trouble::Server(why)) => return Err(why.tell()),
            Err(Trouble::Duplicate) => {
                return Err("the server says that there are rows which are not there".to_owned());
            }
        }
        was_open = false;
    }
    if !slow {
        *most = most.saturating_mul(2);
    }
    Ok(())
}

/// Stores all of them or none.
async fn try_store(
    target: &Target,
    link: &mut Option<Link>,
    origin: i64,
    rows: &[Row],
) -> Result<(), Trouble> {
    let open = match link.take() {
        Some(open) => open,
        None => match tokio::time::timeout(CONNECT, connect(&target.server)).await {
            Ok(open) => open?,
            Err(_) => return Err(Trouble::Server(Why::new("the server does not answer"))),
        },
    };
    let stored = async {
        let mut open = open;
        let stored = match &mut open {
            Link::Postgres(connection) => postgres(target, connection, origin, rows).await,
            Link::MySql(connection) => mysql(target, connection, origin, rows).await,
        };
        (open, stored)
    };
    match tokio::time::timeout(STORE, stored).await {
        Ok((open, stored)) => {
            // After any other failure nobody knows what state the connection is in.
            if matches!(stored, Ok(()) | Err(Trouble::Rows(_))) {
                *link = Some(open);
            }
            stored
        }
        Err(_) => Err(Trouble::Slow),
    }
}

async fn connect(server: &Server) -> Result<Link, Trouble> {
    let link = match server {
        Server::Postgres(options) => options.connect().await.map(Link::Postgres),
        Server::MySql(options) => options.connect().await.map(Link::MySql),
    };
    link.map_err(explain)
}

async fn postgres(
    target: &Target,
    connection: &mut PgConnection,
    origin: i64,
    rows: &[Row],
) -> Result<(), Trouble> {
    let mut transaction = connection.begin().await.map_err(explain)?;
    for rows in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Postgres>::new(insert(&target.table));
        query.push_values(rows, |mut values, row| {
            values.push_bind(origin).push_bind(row.id).push_bind(&target.host);
            for cell in row.cells() {
                match cell {
                    Cell::Integer(number) => values.push_bind(number),
                    Cell::Text(text) => values.push_bind(text),
                    Cell::Truth(truth) => values.push_bind(truth),
                    Cell::Time(time) => values
                        .push("CAST(")
                        .push_bind_unseparated(instant(time) + "+00")
                        .push_unseparated(" AS timestamptz)"),
                };
            }
        });
        query.push(" ON CONFLICT DO NOTHING");
        if let Err(error) = query.build().persistent(false).execute(&mut *transaction).await {
            transaction.rollback().await.map_err(explain)?;
            return Err(explain(error));
        }
    }
    transaction.commit().await.map_err(explain)
}

/// A duplicate is passed over by looking for it: INSERT IGNORE would also pass over what does not fit.
async fn mysql(
    target: &Target,
    connection: &mut MySqlConnection,
    origin: i64,
    rows: &[Row],
) -> Result<(), Trouble> {
    match mysql_insert(target, connection, origin, rows).await {
        Err(Trouble::Duplicate) => {}
        other => return other,
    }
    let mut query = QueryBuilder::<MySql>::new(format!("SELECT id FROM {} WHERE origin = ", target.table));
    query.push_bind(origin).push(" AND id IN (");
    let mut ids = query.separated(", ");
    for row in rows {
        ids.push_bind(row.id);
    }
    query.push(")");
    let there: Vec<i64> =
        query.build_query_scalar().persistent(false).fetch_all(&mut *connection).await.map_err(explain)?;
    let missing: Vec<Row> = rows.iter().filter(|row| !there.contains(&row.id)).cloned().collect();
    if missing.is_empty() { Ok(()) } else { mysql_insert(target, connection, origin, &missing).await }
}

async fn mysql_insert(
    target: &Target,
    connection: &mut MySqlConnection,
    origin: i64,
    rows: &[Row],
) -> Result<(), Trouble> {
    let mut transaction = connection.begin().await.map_err(explain)?;
    for rows in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<MySql>::new(insert(&target.table));
        query.push_values(rows, |mut values, row| {
            values.push_bind(origin).push_bind(row.id).push_bind(&target.host);
            for cell in row.cells() {
                match cell {
                    Cell::Integer(number) => values.push_bind(number),
                    Cell::Text(text) => values.push_bind(text),
                    Cell::Truth(truth) => values.push_bind(truth),
                    Cell::Time(time) => values.push_bind(instant(time)),
                };
            }
        });
        if let Err(error) = query.build().persistent(false).execute(&mut *transaction).await {
            transaction.rollback().await.map_err(explain)?;
            return Err(explain(error));
        }
    }
    transaction.commit().await.map_err(explain)
}

fn insert(table: &str) -> String {
    let names: Vec<&str> =
        ["origin", "id", "host"].into_iter().chain(COLUMNS.iter().map(|c| c.name)).collect();
    format!("INSERT INTO {table} ({}) ", names.join(", "))
}

/// `2026-11-22 05:16:16.123456`, UTC.
fn instant(time: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// A driver's error as one sentence, and whether another try can help.
fn explain(error: sqlx::Error) -> Trouble {
    let because = |told: &str, error: &dyn std::fmt::Display| Why::new(format!("{told}: {error}"));
    match error {
        sqlx::Error::Database(error) => {
            let state = error.code().filter(|code| is_state(code)).unwrap_or_default().into_owned();
            let mysql = error.try_downcast_ref::<MySqlDatabaseError>();
            // Class 22: data exceptions, in the SQL standard and in all of these servers.
            let of_rows = state.starts_with("22") || mysql.is_some_and(misfit);
            let words = refusal(&state, mysql.map(MySqlDatabaseError::number), of_rows);
            let why = Why { told: words, said: Some(error.message().to_owned()) };
            if error.is_unique_violation() {
                Trouble::Duplicate
            } else if of_rows {
                Trouble::Rows(why)
            } else {
                Trouble::Server(why)
            }
        }
        sqlx::Error::Tls(error) => Trouble::Server(because("the way to the server is not safe", &error)),
        sqlx::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Trouble::Server(because("the way to the server is not safe", &error))
        }
        sqlx::Error::Io(error) => Trouble::Server(because("the server cannot be reached", &error)),
        other => Trouble::Server(Why {
            told: "the server is not understood".to_owned(),
            said: Some(other.to_string()),
        }),
    }
}

/// What a server's refusal means, by its SQLSTATE and by the number of MySQL and MariaDB, without a word of its own.
fn refusal(state: &str, number: Option<u16>, of_rows: bool) -> String {
    let means = match (state, number) {
        _ if of_rows => "a value does not fit its column",
        (_, Some(1045)) => "the server refuses the login",
        (_, Some(1044 | 1142 | 1143)) | ("42501", _) => {
            "the account may not do that: it takes INSERT and SELECT"
        }
        (_, Some(1049)) | ("3D000", _) => "there is no such database",
        ("42P01" | "42S02", _) => "there is no such table",
        ("42703" | "42S22", _) => "the table lacks a column",
        ("53300" | "08004", _) => "the server has too many connections",
        _ if state.starts_with("28") => "the server refuses the login",
        _ if state.starts_with("53") => "the server has no room",
        _ => "the server refuses it",
    };
    let state = if state.is_empty() { "none" } else { state };
    match number {
        Some(number) => format!("{means} (SQLSTATE {state}, number {number})"),
        None => format!("{means} (SQLSTATE {state})"),
    }
}

/// Whether this is a SQLSTATE: what a server says there instead is no word of ours.
fn is_state(code: &str) -> bool {
    code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The same where MySQL and MariaDB say only that something is wrong (SQLSTATE HY000, 01000): a number out of range,
/// a value that is cut, text that the column's characters cannot say, text too long, text that cannot be converted.
fn misfit(error: &MySqlDatabaseError) -> bool {
    matches!(error.number(), 1264 | 1265 | 1366 | 1406 | 3988)
}

#[cfg(test)]
mod tests;
