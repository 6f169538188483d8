// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};
use picosnitch_api::Scope;

use super::*;
use crate::args::{Cli, Command, ListArgs};

const NOW: i64 = 1_772_000_000_000_000;

fn list(line: &str) -> ListArgs {
    let words = ["picosnitch", "connections"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Connections(list) => list,
        other => panic!("{other:?}"),
    }
}

fn query(line: &str) -> Result<Query, Failure> {
    let list = list(line);
    Ok(list.page.order(list.filters.query(NOW)?))
}

#[test]
fn every_filter_reaches_the_query() {
    let line = format!(
        "--since -24h --until now --scope any --executable 8 --path /usr/bin/curl --name curl --sha256 {} --cmdline -v \
         --parent /bin/sh --grandparent /bin/init --uid 1000 --domain Example.COM. --address 192.0.2.7/24 \
         --local-port 1 --remote-port 443 --protocol TCP --direction out --netns 7 --unit a.service \
         --container c1 --search x --sort sent --ascending",
        "AB".repeat(32)
    );
    let got = query(&line).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        got,
        Query {
            since: Some(NOW - 86_400_000_000),
            until: Some(NOW),
            scope: Some(Scope::Any),
            executable: Some(8),
            path: text("/usr/bin/curl"),
            name: text("curl"),
            sha256: Some("ab".repeat(32)),
            cmdline: text("-v"),
            parent: text("/bin/sh"),
            grandparent: text("/bin/init"),
            uid: Some(1000),
            domain: text("example.com"),
            address: Some("192.0.2.0/24".parse().unwrap()),
            local_port: Some(1),
            remote_port: Some(443),
            protocol: text("tcp"),
            direction: text("out"),
            netns: Some(7),
            unit: text("a.service"),
            container: text("c1"),
            search: text("x"),
            sort: text("sent"),
            descending: Some(false),
            limit: None,
            cursor: None,
        }
    );
}

#[test]
fn no_filter_no_key() {
    assert_eq!(query("").unwrap(), Query::default());
}

/// A key that the contract gains must get its flag.
#[test]
fn every_query_key_has_a_flag() {
    let full = Query {
        since: Some(1),
        until: Some(2),
        scope: Some(Scope::Own),
        executable: Some(1),
        uid: Some(1),
        address: Some("::1".parse().unwrap()),
        local_port: Some(1),
        remote_port: Some(1),
        netns: Some(1),
        descending: Some(true),
        limit: Some(1),
        ..Query::default()
    };
    let mut keys: BTreeSet<String> = full.to_dict().keys().map(|key| (*key).to_owned()).collect();
    keys.extend(picosnitch_api::Dimension::ALL.map(|(_, word)| word.to_owned()));
    keys.extend(["search", "sort"].map(str::to_owned));
    let command = Cli::command();
    let connections = command.find_subcommand("connections").unwrap();
    let flags: BTreeSet<String> =
        connections.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect();
    for key in keys {
        let flag = if key == "descending" { "ascending" } else { &key };
        assert!(flags.contains(flag), "no --{flag}; there are {flags:?}");
    }
}

#[test]
fn a_wrong_value_is_a_usage_error_that_names_the_flag() {
    for (line, word) in [
        ("--since soon", "--since"),
        ("--until 99:99", "--until"),
        ("--since now --until -1h", "--until"),
        ("--sha256 abc", "--sha256"),
        ("--address example.com", "--address"),
        ("--address 192.0.2.0/33", "--address"),
        ("--user no-such-user-here", "--user"),
    ] {
        let failure = query(line).unwrap_err();
        assert_eq!(failure.status, crate::failure::status::USAGE, "{line}");
        assert!(failure.message.contains(word), "{line}: {}", failure.message);
    }
    let long = "x".repeat(MAX_TEXT + 1);
    assert!(query(&format!("--path {long}")).is_err());
}

#[test]
fn a_user_is_found_by_name() {
    assert_eq!(query("--user root").unwrap().uid, Some(0));
}

#[test]
fn clap_refuses_the_rest() {
    for line in [
        "--limit 0",
        "--limit 5 --all",
        "--uid x",
        "--uid 1 --user root",
        "--remote-port 65536",
        "--direction up",
        "--scope world",
        "--no-such-flag",
    ] {
        let words = ["picosnitch", "connections"].into_iter().chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
    assert!(Cli::try_parse_from(["picosnitch", "summary", "--by", "weather"]).is_err());
    for (_, word) in picosnitch_api::Dimension::ALL {
        assert!(Cli::try_parse_from(["picosnitch", "summary", "--by", word]).is_ok(), "{word}");
    }
    Cli::command().debug_assert();
}
