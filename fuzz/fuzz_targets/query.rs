// SPDX-License-Identifier: GPL-3.0-or-later
//! Queries of clients: each key with a value of any type that a bus can carry.
#![no_main]

use picosnitch_api::Query;
use picosnitch_api::query::{Dict, KEYS};
use zbus::zvariant::Value;

const NO_KEYS: [&str; 2] = ["", "none"];

libfuzzer_sys::fuzz_target!(|input: Vec<(u8, u8, i64, &str)>| {
    let mut dict = Dict::new();
    for (key, kind, number, text) in input {
        // A NUL cannot travel on a bus.
        let text = text.replace('\0', "");
        let value = match kind % 8 {
            0 => Value::from(text),
            1 => Value::from(number),
            2 => Value::from(number as u64),
            3 => Value::from(number as u32),
            4 => Value::from(number as u16),
            5 => Value::from(number & 1 == 0),
            6 => Value::from(f64::from_bits(number as u64)),
            _ => Value::from(vec![text]),
        };
        if let Ok(value) = value.try_to_owned() {
            let keys = || KEYS.iter().chain(&NO_KEYS);
            let key = keys().cycle().nth(usize::from(key)).copied().unwrap_or_default();
            dict.insert(key.to_owned(), value);
        }
    }
    if let Ok(query) = Query::from_dict(&dict, 1_800_000_000_000_000) {
        assert!((1..=1000).contains(&query.page()));
    }
});
