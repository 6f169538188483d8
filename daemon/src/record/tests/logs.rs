// SPDX-License-Identifier: GPL-3.0-or-later
//! S09: the text logs.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

fn logging() -> Settings {
    Settings { log_connections: true, ..settings() }
}

#[test]
fn s09_rows_notices_and_errors_are_written_one_a_line() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    let mut hostile = row(DAY0, who("/usr/bin/curl", 1000));
    hostile.who.program = Arc::new(Program {
        cmdline: Some(bytes("curl\n/bin/forged,forged,1\r\u{202e}\x1b[2J \"x\"")),
        ..Program::clone(&hostile.who.program)
    });
    lab.recorder.notice(new_executable(1, DAY0, hostile.who.clone()));
    let error = NoticeKind::Error {
        kind: picosnitch_api::Incident::LostFlows,
        message: "1 flow\nwas lost".to_owned(),
    };
    lab.recorder.notice(Notice { id: 2, time: DAY0, kind: error, before: Before::Nobody });
    lab.write(vec![hostile.clone()]);
    let read = |name: &str| std::fs::read_to_string(lab.log(name)).unwrap();
    let rows = read("conn.log");
    let lines: Vec<_> = rows.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(
        "executable,name,cmdline,sha256,time,domain,ip,port,uid,parent_exe,parent_name,parent_cmdline,parent_sha256,conns,sent,received,"
    ));
    assert!(lines[1].starts_with(
        "/usr/bin/curl,curl,\"curl\\u{a}/bin/forged,forged,1\\u{d}\\u{202e}\\u{1b}[2J \"\"x\"\"\",0d0d"
    ));
    assert!(
        lines[1]
            .contains(",2026-11-22T00:00:00.000000Z,www.example.org,203.0.113.7,443,1000,/bin/bash,bash,")
    );
    assert_eq!(read("exe.log").lines().count(), 1);
    assert!(
        read("exe.log")
            .starts_with("2026-11-22T00:00:00.000000Z new-executable path=\"/usr/bin/curl\" name=\"curl\"")
    );
    assert_eq!(read("error.log"), "2026-11-22T00:00:00.000000Z lost-flows 1 flow\\u{a}was lost\n");
    for name in ["conn.log", "exe.log", "error.log"] {
        assert_eq!(lab.log(name).metadata().unwrap().mode() & 0o777 & !0o640, 0);
        assert!(!rows.contains('\u{1b}'));
    }
}

#[test]
fn s09_a_rotated_log_is_opened_anew_with_its_header() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    std::fs::rename(lab.log("conn.log"), lab.log("conn.log.1")).unwrap();
    lab.write(vec![row(DAY0 + 1, who("/usr/bin/curl", 1000))]);
    // What logrotate's copytruncate leaves: the same file, empty.
    for name in ["conn.log.1", "conn.log"] {
        let text = std::fs::read_to_string(lab.log(name)).unwrap();
        assert_eq!(text.lines().count(), 2, "{name}");
        assert!(text.starts_with("executable,"));
    }
    std::fs::File::options().write(true).truncate(true).open(lab.log("conn.log")).unwrap();
    lab.write(vec![row(DAY0 + 2, who("/usr/bin/curl", 1000))]);
    assert!(std::fs::read_to_string(lab.log("conn.log")).unwrap().starts_with("executable,"));
}

#[test]
fn s09_links_and_fifos_in_place_of_a_log_are_refused() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    std::fs::create_dir_all(lab.dir.path().join("log")).unwrap();
    let victim = lab.dir.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    symlink(&victim, lab.log("conn.log")).unwrap();
    std::fs::hard_link(&victim, lab.log("exe.log")).unwrap();
    nix::unistd::mkfifo(&lab.log("error.log"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let error = NoticeKind::Error { kind: picosnitch_api::Incident::LostFlows, message: "x".to_owned() };
    for id in [1, 2] {
        lab.recorder.notice(new_executable(id * 2, DAY0, who("/usr/bin/curl", 1000)));
        lab.recorder.notice(Notice {
            id: id * 2 + 1,
            time: DAY0,
            kind: error.clone(),
            before: Before::Nobody,
        });
        lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    let mut told: Vec<_> = (0..3).map(|_| lab.trouble().to_string()).collect();
    told.sort();
    assert!(told[0].contains("conn.log") && told[0].contains("symbolic link"), "{told:?}");
    assert!(told[1].contains("error.log") && told[1].contains("regular file"), "{told:?}");
    assert!(told[2].contains("exe.log") && told[2].contains("hard links"), "{told:?}");
    assert!(lab.troubles.try_recv().is_err(), "each is said once");
    std::fs::remove_file(lab.log("conn.log")).unwrap();
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    // What waited is there too.
    assert_eq!(std::fs::read_to_string(lab.log("conn.log")).unwrap().lines().count(), 4);
}

#[test]
fn s09_a_hash_that_comes_late_is_written_with_its_event() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    let mut who = who("/usr/bin/curl", 1000);
    let unknown = Hash::Unknown(crate::model::Gap::Pending);
    who.program = Arc::new(Program { hash: unknown, ..Program::clone(&who.program) });
    lab.recorder.notice(new_executable(7, DAY0, who));
    lab.recorder.hash_known(7, Hash::Known([0xab; 32]), None);
    // Nothing in the log waits for these.
    lab.recorder.hash_known(7, Hash::Known([0xab; 32]), None);
    lab.recorder.hash_known(8, Hash::Known([0xab; 32]), None);
    // Somebody else ran another content there.
    let mut late = self::who("/usr/bin/curl", 1001);
    late.program = Arc::new(Program { hash: unknown, ..Program::clone(&late.program) });
    lab.recorder.notice(new_executable(9, DAY0, late));
    lab.recorder.hash_known(9, Hash::Known([0xcd; 32]), Some([0xab; 32]));
    lab.write(vec![row(DAY0, self::who("/usr/bin/curl", 1000))]);
    let text = std::fs::read_to_string(lab.log("exe.log")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains(" sha256= ") && lines[0].contains("sha256_unknown=pending"), "{text}");
    assert!(lines[0].ends_with(" event=7"), "{text}");
    assert!(lines[1].ends_with(&format!(" hash sha256={} event=7", "ab".repeat(32))), "{text}");
    let changed = format!(" hash sha256={} old_sha256={} event=9", "cd".repeat(32), "ab".repeat(32));
    assert!(lines[3].ends_with(&changed), "{text}");
}

#[test]
fn s09_what_others_ran_before_has_changed_for_who_reads_the_log() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    let before = Before::Other([0xcd; 32]);
    lab.recorder.notice(Notice { before, ..new_executable(1, DAY0, who("/usr/bin/curl", 1000)) });
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    let text = std::fs::read_to_string(lab.log("exe.log")).unwrap();
    let old = format!(" old_sha256={} event=1", "cd".repeat(32));
    assert!(
        text.contains(" hash-changed path=\"/usr/bin/curl\"") && text.trim_end().ends_with(&old),
        "{text}"
    );
}

#[test]
fn s09_a_link_in_place_of_the_folder_is_refused() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), logging());
    let elsewhere = lab.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let _ = std::fs::remove_dir_all(lab.dir.path().join("log"));
    symlink(&elsewhere, lab.dir.path().join("log")).unwrap();
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    let told = lab.trouble().to_string();
    assert!(told.contains("its folder is a symbolic link"), "{told}");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    // What waited is written once it may be.
    std::fs::remove_file(lab.dir.path().join("log")).unwrap();
    lab.write(vec![row(DAY0 + 1, who("/usr/bin/curl", 1000))]);
    assert_eq!(std::fs::read_to_string(lab.log("conn.log")).unwrap().lines().count(), 3);
}
