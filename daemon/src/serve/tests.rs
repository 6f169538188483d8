// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use picosnitch_api::name::action;

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

/// Who may do what as it is shipped: any session, an inactive one, the active one (DESIGN, Authority).
const DEFAULTS: [(&str, [&str; 3]); 7] = [
    (action::READ_SYSTEM, ["auth_admin", "auth_admin", "yes"]),
    (action::READ_ANY, ["auth_admin", "auth_admin", "auth_admin_keep"]),
    (action::CONFIGURE, ["auth_admin", "no", "auth_admin_keep"]),
    (action::CONFIGURE_REMOTE, ["auth_admin", "no", "auth_admin"]),
    (action::DELETE_HISTORY, ["auth_admin", "no", "auth_admin"]),
    (action::PAUSE, ["auth_admin", "no", "auth_admin"]),
    (action::SCAN, ["auth_admin", "no", "auth_admin_keep"]),
];

#[test]
fn b02_what_polkit_is_told_is_the_contract() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../polkit");
    let mut shipped = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "policy") {
            shipped.extend(actions(&std::fs::read_to_string(path).unwrap()));
        }
    }
    let contract: Vec<_> = DEFAULTS.map(|(id, defaults)| (id.to_owned(), defaults.map(str::to_owned))).into();
    assert_eq!(shipped, contract);
    assert_eq!(action::ALL, DEFAULTS.map(|(id, _)| id), "an action that nobody has agreed to");
}

/// Actions of a policy file with their defaults.
fn actions(text: &str) -> Vec<(String, [String; 3])> {
    let mut plain = String::new();
    for (n, part) in text.split("<!--").enumerate() {
        plain += if n == 0 { part } else { part.split_once("-->").unwrap().1 };
    }
    // One action may imply another.
    assert!(!plain.contains("<annotate"), "an annotation may grant more");
    let between = |text: &str, from: &str, to: &str| -> String {
        let parts: Vec<_> = text.split(from).collect();
        assert_eq!(parts.len(), 2, "{from} in {text}");
        parts[1].split_once(to).unwrap().0.trim().to_owned()
    };
    plain
        .split("<action ")
        .skip(1)
        .map(|action| {
            let defaults = ["any", "inactive", "active"]
                .map(|who| between(action, &format!("<allow_{who}>"), &format!("</allow_{who}>")));
            (between(action, "id=\"", "\""), defaults)
        })
        .collect()
}
