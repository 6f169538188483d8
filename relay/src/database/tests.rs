// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used)]
use super::*;
use picosnitch_relay_wire::Kind;

/// The columns of a shipped CREATE TABLE, in order: name and type.
fn columns(sql: &str) -> Vec<(String, String)> {
    let body = &sql[sql.find("picosnitch_connections (").unwrap()..];
    let body = &body[body.find('(').unwrap() + 1..body.find("PRIMARY KEY").unwrap()];
    let words = |line: &str| {
        let mut words = line.trim().trim_end_matches(',').split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    body.lines().filter(|line| !line.trim().starts_with("--")).filter_map(words).collect()
}

#[test]
fn the_shipped_tables_have_the_columns_that_rows_have() {
    type Types = fn(Kind) -> &'static str;
    let types: [(&str, Types); 2] = [
        (include_str!("../../../data/sql/postgresql.sql"), |kind| match kind {
            Kind::Integer => "BIGINT",
            Kind::Text => "TEXT",
            Kind::Time => "TIMESTAMPTZ",
            Kind::Truth => "BOOLEAN",
        }),
        (include_str!("../../../data/sql/mysql.sql"), |kind| match kind {
            Kind::Integer => "BIGINT",
            Kind::Text => "TEXT",
            Kind::Time => "DATETIME(6)",
            Kind::Truth => "BOOLEAN",
        }),
    ];
    for (sql, name_of) in types {
        let first = [("origin", "BIGINT"), ("id", "BIGINT"), ("host", "TEXT")];
        let rest = COLUMNS.iter().map(|column| (column.name, name_of(column.kind)));
        let expected: Vec<_> =
            first.into_iter().chain(rest).map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        assert_eq!(columns(sql), expected);
    }
}

#[test]
fn in_the_clear_only_to_this_machine_or_when_told_so() {
    assert!(verified(Tls::Automatic, "db.example.org"));
    // A name server decides what this is.
    assert!(verified(Tls::Automatic, "localhost"));
    assert!(!verified(Tls::Automatic, "127.0.0.1"));
    assert!(!verified(Tls::Automatic, "[::1]"));
    assert!(verified(Tls::Automatic, "192.0.2.1"));
    assert!(verified(Tls::Verify, "127.0.0.1"));
    assert!(!verified(Tls::Off, "db.example.org"));
}

#[test]
fn no_address_can_weaken_the_protection() {
    for url in ["postgresql://u:p@h.example/d?sslmode=disable", "mysql://u:p@h.example/d?ssl-mode=DISABLED"] {
        match server(url, Tls::Automatic, Trusted::default()).unwrap() {
            Server::Postgres(options) => assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull)),
            Server::MySql(options) => assert!(matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity)),
        }
    }
}

#[test]
fn times_are_utc_to_the_microsecond() {
    assert_eq!(instant(1_795_324_576_123_456), "2026-11-22 05:16:16.123456");
}
