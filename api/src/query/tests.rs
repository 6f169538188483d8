// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000_000;

fn dict(pairs: Vec<(&str, Value<'_>)>) -> Dict {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.try_to_owned().unwrap())).collect()
}

fn one(key: &str, value: impl Into<Value<'static>>) -> Result<Query, Error> {
    Query::from_dict(&dict(vec![(key, value.into())]), NOW)
}

#[test]
fn times_are_read_as_people_and_scripts_write_them() {
    for (text, time) in [
        ("now", Some(NOW)),
        ("-90s", Some(NOW - 90_000_000)),
        ("-15m", Some(NOW - 900_000_000)),
        ("-24h", Some(NOW - 86_400_000_000)),
        ("-2w", Some(NOW - 1_209_600_000_000)),
        ("-1y", Some(NOW - 31_536_000_000_000)),
        ("-0s", Some(NOW)),
        ("1700000000000000", Some(1_700_000_000_000_000)),
        ("-h", None),
        ("-1", None),
        ("-1x", None),
        ("- 1h", None),
        ("-1.5h", None),
        ("--1h", None),
        ("-99999999999h", None),
        ("-4294967295y", None),
        ("yesterday", None),
        ("-1\u{661}h", None),
        ("-", None),
        ("", None),
    ] {
        assert_eq!(parse_time(text, NOW), time, "{text:?}");
    }
    assert_eq!(one("since", 5_i64).unwrap().since, Some(5));
    assert_eq!(one("until", 5_u64).unwrap().until, Some(5));
}

#[test]
fn networks_lose_their_host_bits() {
    for (text, network) in [
        ("192.0.2.9", "192.0.2.9/32"),
        ("192.0.2.9/24", "192.0.2.0/24"),
        ("192.0.2.9/0", "0.0.0.0/0"),
        ("192.0.2.9/31", "192.0.2.8/31"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("ffff::/0", "::/0"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/96", "0.0.0.0/0"),
        ("::ffff:10.1.2.3/95", "::fffe:0:0/95"),
    ] {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), network);
    }
    for text in [
        "",
        "/",
        "192.0.2.1/33",
        "::/129",
        "192.0.2.1/-1",
        "192.0.2.1/",
        "192.0.2/24",
        "example.org",
        "1.2.3.4/ 8",
    ] {
        assert!(text.parse::<Network>().is_err(), "{text:?}");
    }
}

#[test]
fn b05_what_is_not_understood_is_refused_with_its_key() {
    for (query, word) in [
        (one("nope", 1_u32), "nope"),
        (one("limit", 0_u32), "limit wants 1 to 1000"),
        (one("limit", 1_000_000_u32), "limit wants 1 to 1000"),
        (one("uid", -1_i64), "uid"),
        (one("uid", 4_294_967_296_i64), "uid"),
        (one("remote-port", 65_536_u32), "remote-port"),
        (one("sha256", "xyz"), "sha256"),
        (one("sha256", "é".repeat(32)), "sha256"),
        (one("scope", "everything"), "scope"),
        (one("direction", "sideways"), "direction"),
        (one("descending", "yes"), "descending"),
        (one("path", 7_u32), "path"),
        (one("search", "x".repeat(MAX_TEXT + 1)), "search"),
        (one("since", u64::MAX), "since"),
        (one("since", 1.5_f64), "since"),
        (one("address", "10.0.0.0/99"), "address"),
    ] {
        match query {
            Err(Error::InvalidQuery(message)) => assert!(message.contains(word), "{message}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    assert_eq!(one("uid", "1000").unwrap().uid, Some(1000));
    assert_eq!(one("domain", "Example.ORG.").unwrap().domain.as_deref(), Some("example.org"));
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<u8>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[-0-9a-z:./%']{0,20}".prop_map(Value::from),
        any::<Vec<String>>().prop_map(Value::from),
        any::<Vec<u8>>().prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    /// Any dictionary is a query or an error; a query is the same after it travelled.
    #[test]
    fn b05_any_dictionary_is_a_query_or_an_error(
        pairs in prop::collection::hash_map(key(), value(), 0..6), now in any::<i64>(),
    ) {
        let wire: Dict = pairs.into_iter().map(|(key, value)| (key, value.try_to_owned().unwrap())).collect();
        match Query::from_dict(&wire, now) {
            Ok(query) => {
                let again: Dict = query
                    .to_dict()
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value.try_to_owned().unwrap()))
                    .collect();
                prop_assert_eq!(Query::from_dict(&again, now).unwrap(), query);
            }
            Err(error) => prop_assert!(matches!(error, Error::InvalidQuery(_))),
        }
    }
}
