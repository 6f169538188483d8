// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::out::Style;
use crate::view::Listed as _;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn shown(event: &Event) -> String {
    let lines = block::lines(event, &mut View::new(event.time.unwrap_or(0)), Style::default());
    let text = lines.join("\n");
    // The local time of the machine that tests is not ours to choose.
    let (time, rest) = text.split_at("00:00:00".len());
    assert!(time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'), "{time}");
    rest.replace("\n          ", "\n")
}

#[test]
fn a_new_program_is_told_in_one_block() {
    let event = Event {
        kind: text("new-executable"),
        time: Some(1_772_000_000_000_000),
        path: text("/usr/bin/curl"),
        uid: Some(0),
        parent: text("/usr/bin/bash"),
        cmdline: text("curl https://example.com"),
        address: text("192.0.2.7"),
        domain: text("example.com"),
        remote_port: Some(443),
        protocol: text("tcp"),
        unit: text("session-3.scope"),
        sha256: Some("ab".repeat(32)),
        ..Event::default()
    };
    assert_eq!(
        shown(&event),
        format!(
            "  new program  /usr/bin/curl\n\
             to        example.com:443 (192.0.2.7, tcp)\n\
             by        user root, started by /usr/bin/bash\n\
             in        unit session-3.scope\n\
             command   curl https://example.com\n\
             sha256    {}",
            "ab".repeat(32)
        )
    );
}

#[test]
fn who_was_called_is_told_by_whom_and_where() {
    let event = Event {
        kind: text("new-executable"),
        time: Some(0),
        path: text("/usr/sbin/sshd"),
        address: text("192.0.2.7"),
        remote_port: Some(40_000),
        protocol: text("tcp"),
        direction: text("in"),
        local_port: Some(22),
        ..Event::default()
    };
    assert!(shown(&event).contains("\nfrom      192.0.2.7:40000 to port 22 (tcp)\n"), "{}", shown(&event));
}

#[test]
fn a_program_of_a_container_is_told_as_such() {
    let inside = Event {
        kind: text("new-executable"),
        time: Some(0),
        path: text("/usr/bin/curl"),
        foreign_root: Some(true),
        ..Event::default()
    };
    let said = "/usr/bin/curl (in a container)".to_owned();
    assert!(shown(&inside).contains(&format!("new program  {said}\n")), "{}", shown(&inside));
    assert!(inside.cells(&mut View::new(0)).contains(&said));
    let outside = Event { foreign_root: None, ..inside };
    assert!(!shown(&outside).contains("container"), "{}", shown(&outside));
    assert!(outside.cells(&mut View::new(0)).contains(&"/usr/bin/curl".to_owned()));
}

#[test]
fn a_deleted_file_is_told_of() {
    let gone = Event {
        kind: text("new-executable"),
        time: Some(0),
        path: text("/usr/bin/curl"),
        file_deleted: Some(true),
        ..Event::default()
    };
    assert!(shown(&gone).contains("\nfile      was deleted or replaced\n"), "{}", shown(&gone));
    assert!(gone.cells(&mut View::new(0)).contains(&"/usr/bin/curl (deleted)".to_owned()));
    let there = Event { file_deleted: None, ..gone };
    assert!(!shown(&there).contains("deleted"), "{}", shown(&there));
    assert!(there.cells(&mut View::new(0)).contains(&"/usr/bin/curl".to_owned()));
}

#[test]
fn a_changed_program_shows_both_contents() {
    let event = Event {
        kind: text("hash-changed"),
        time: Some(0),
        path: text("/usr/bin/curl"),
        old_sha256: text("aa"),
        sha256_unknown: text("unreadable"),
        ..Event::default()
    };
    assert_eq!(
        shown(&event),
        "  changed program  /usr/bin/curl\nby        user -\nwas       aa\nis now    not known: unreadable"
    );
}

#[test]
fn n05_a_hostile_program_cannot_forge_a_notice() {
    let event = Event {
        kind: text("new-executable"),
        time: Some(0),
        path: text("/tmp/a\n00:00:00  error (fake)\x1b[2J\u{202e}"),
        cmdline: text("x\r\ny\u{9b}A"),
        ..Event::default()
    };
    let shown = shown(&event);
    assert!(!shown.chars().any(|c| c != '\n' && picosnitch_api::inert::is_hidden(c)), "{shown:?}");
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let error =
        Event { kind: text("error"), error: text("k\n"), message: text("m\n\x07"), time: Some(0), ..event };
    assert_eq!(block::lines(&error, &mut View::new(0), Style::default()).len(), 1);
}

#[test]
fn details_complete_a_signal_and_do_not_lose_it() {
    let signal = Event { id: Some(7), path: text("/a"), uid: Some(1), ..Event::default() };
    let answer = Event { id: Some(7), sha256: text("aa"), domain: text("example.com"), ..Event::default() };
    let both = merge(answer, signal);
    assert_eq!(
        (both.path, both.uid, both.sha256, both.domain),
        (text("/a"), Some(1), text("aa"), text("example.com"))
    );
}

#[test]
fn n01_nothing_is_printed_twice() {
    let mut printed = Printed::default();
    assert!(printed.is_new(Some(2)) && printed.is_new(Some(1)));
    assert!(!printed.is_new(Some(2)) && !printed.is_new(Some(1)));
    assert!(printed.is_new(None) && printed.is_new(None));
    for id in 10..10_000 {
        assert!(printed.is_new(Some(id)));
    }
    assert_eq!(printed.0.len(), REMEMBERED);
    assert!(!printed.is_new(Some(9_999)));
}
