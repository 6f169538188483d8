// SPDX-License-Identifier: GPL-3.0-or-later
//! DNS answers: what is read of one is a name and addresses that a row may have.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(answer) = picosnitchd::enrich::dns::read(bytes) {
        assert!(!answer.name.is_empty() && answer.name.len() <= 253);
        assert!(answer.name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)));
        assert!(!answer.addresses.is_empty());
    }
});
