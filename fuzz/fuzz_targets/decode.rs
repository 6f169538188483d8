// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages of the ring buffer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = picosnitchd::decode::event(bytes);
});
