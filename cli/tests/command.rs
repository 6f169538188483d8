// SPDX-License-Identifier: GPL-3.0-or-later
//! The command as a shell runs it, without a bus: exit statuses, and what goes to which output.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};

fn picosnitch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = picosnitch(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn without_a_bus_every_command_says_so_with_status_3() {
    for arguments in [
        &["watch"][..],
        &["watch", "--json", "--since", "-1h"],
        &["status"],
        &["executables", "--all"],
        &["executable", "7"],
        &["executable", "/usr/bin/curl"],
        &["connections", "--since", "-24h", "--json"],
        &["summary", "--by", "domain"],
        &["events"],
        &["export", "connections"],
        &["config", "get"],
        &["config", "set", "database.retention_days", "90"],
    ] {
        let (status, data, notes) = run(arguments);
        assert_eq!(status, Some(3), "{arguments:?}: {notes}");
        assert_eq!(data, "", "{arguments:?}");
        assert!(notes.starts_with("error: ") && notes.contains("\nhint: "), "{arguments:?}: {notes}");
        assert!(!notes.contains('\x1b'), "{arguments:?}: colour without a terminal");
    }
}

#[test]
fn a_wrong_command_line_is_status_2_and_is_found_without_the_service() {
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["connections", "--since", "soon"],
        &["connections", "--address", "nowhere"],
        &["connections", "--limit", "0"],
        &["summary", "--by", "weather"],
        &["watch", "--since", "soon"],
        &["export", "secrets"],
    ] {
        let (status, data, notes) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {notes}");
        assert_eq!(data, "", "{arguments:?}");
        assert!(!notes.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_is_data() {
    for arguments in [&["--help"][..], &["-h"], &["connections", "--help"], &["--version"], &["man"]] {
        let (status, data, notes) = run(arguments);
        assert_eq!((status, notes.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(data.contains("picosnitch"), "{arguments:?}");
    }
    let (_, help, _) = run(&["--help"]);
    assert!(help.contains("\n  0  Done.\n  1  ") && help.contains("\n  picosnitch watch "), "{help}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let output = picosnitch(&["man"]).stdout(write).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = picosnitch(&["man"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));
}

#[test]
fn colour_is_asked_for_or_left_out() {
    let (_, _, plain) = run(&["status"]);
    let (_, _, colour) = run(&["--color", "always", "status"]);
    assert!(colour.contains("\x1b[1;31merror\x1b[0m: "), "{colour}");
    assert!(!plain.contains('\x1b'));
}

#[test]
fn n05_a_hostile_argument_is_shown_inert() {
    let (status, _, notes) = run(&["executable", "x\x1b[2J\u{202e}"]);
    assert_eq!(status, Some(2));
    assert!(!notes.contains('\x1b') && !notes.contains('\u{202e}'), "{notes:?}");
}
