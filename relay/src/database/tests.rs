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

/// Whether the way to this address is protected.
fn protected(url: &str, tls: Tls) -> bool {
    match server(url, tls, Trusted::default()).unwrap() {
        Server::Postgres(options) => match options.get_ssl_mode() {
            PgSslMode::VerifyFull => true,
            PgSslMode::Disable => false,
            other => panic!("{other:?}"),
        },
        Server::MySql(options) => match options.get_ssl_mode() {
            MySqlSslMode::VerifyIdentity => true,
            MySqlSslMode::Disabled => false,
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn in_the_clear_only_over_a_socket_or_when_told_so() {
    for host in ["db.example.org", "192.0.2.1", "localhost", "127.0.0.1", "[::1]", "127.0.0.1:5432"] {
        for scheme in ["postgresql", "mysql", "mariadb"] {
            let url = format!("{scheme}://u:p@{host}/d");
            assert!(protected(&url, Tls::Automatic), "{url}");
            assert!(protected(&url, Tls::Verify), "{url}");
            assert!(!protected(&url, Tls::Off), "{url}");
        }
    }
    let socket = "postgresql://u:p@%2Frun%2Fpostgresql/d";
    assert!(!protected(socket, Tls::Automatic));
    assert!(protected(socket, Tls::Verify));
}

#[test]
fn no_address_can_weaken_the_protection() {
    for url in ["postgresql://u:p@h.example/d?sslmode=disable", "mysql://u:p@h.example/d?ssl-mode=DISABLED"] {
        assert!(protected(url, Tls::Automatic), "{url}");
    }
}

#[test]
fn times_are_utc_to_the_microsecond() {
    assert_eq!(instant(1_795_324_576_123_456), "2026-11-22 05:16:16.123456");
}

#[test]
fn a_refusal_is_told_without_the_words_of_the_server() {
    for (state, number, of_rows, told) in [
        ("28P01", None, false, "the server refuses the login (SQLSTATE 28P01)"),
        ("28000", Some(1045), false, "the server refuses the login (SQLSTATE 28000, number 1045)"),
        (
            "42000",
            Some(1142),
            false,
            "the account may not do that: it takes INSERT and SELECT (SQLSTATE 42000, number 1142)",
        ),
        ("HY000", Some(1366), true, "a value does not fit its column (SQLSTATE HY000, number 1366)"),
        ("42P01", None, false, "there is no such table (SQLSTATE 42P01)"),
        ("XX000", None, false, "the server refuses it (SQLSTATE XX000)"),
        ("", None, false, "the server refuses it (SQLSTATE none)"),
    ] {
        assert_eq!(refusal(state, number, of_rows), told);
    }
}

#[test]
fn what_a_server_says_in_place_of_a_state_is_not_repeated() {
    assert!(["22001", "HY000", "42P01"].into_iter().all(is_state));
    assert!(!["", "2200", "220010", "HY 00", "<b>00", "ééx"].into_iter().any(is_state));
}
