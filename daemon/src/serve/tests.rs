// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// `UPDATE=1 cargo test -p picosnitchd b08` writes the file.
#[test]
fn b08_the_interface_in_the_repository_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/org.picosnitch.Monitor.xml");
    let served = introspection();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert!(stored == served, "data/org.picosnitch.Monitor.xml is not what is served; see this test");
}
