// SPDX-License-Identifier: GPL-3.0-or-later
//! Arguments of interpreters: what is taken for a script is one of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (which, argv) = input;
    let names = ["python3", "perl", "bash", "node", "ruby", "php", "lua5.4", "busybox"];
    let path = format!("/usr/bin/{}", names[usize::from(which) % names.len()]);
    if let Some(script) = picosnitchd::enrich::script::interpreted(path.as_bytes(), argv) {
        assert!(argv.split(|byte| *byte == 0).skip(1).any(|argument| argument == script));
    }
});
