// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of cgroups, which their owners choose.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let group = picosnitchd::enrich::cgroup::classify(bytes);
    assert!(group.unit.is_none_or(|unit| unit.len() <= bytes.len()));
});
