// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

const NOW: i64 = 1_700_000_000 * SECOND;

fn names(uid: u32) -> Option<String> {
    (uid == 1000).then(|| "alice".into())
}

fn new(id: i64, path: &str) -> row::Event {
    row::Event {
        id: Some(id),
        kind: Some("new-executable".into()),
        path: Some(path.into()),
        uid: Some(1000),
        ..Default::default()
    }
}

fn changed(id: i64, path: &str) -> row::Event {
    row::Event { kind: Some("hash-changed".into()), ..new(id, path) }
}

fn verdict(id: i64, path: &str) -> row::Event {
    row::Event {
        kind: Some("verdict".into()),
        message: Some("3 of 72 engines (2026-11-22)".into()),
        ..new(id, path)
    }
}

fn error(id: i64, kind: &str) -> row::Event {
    row::Event {
        id: Some(id),
        kind: Some("error".into()),
        error: Some(kind.into()),
        message: Some("3 connections were not recorded.".into()),
        ..Default::default()
    }
}

/// Feeds notices at their times and lets the clock run until nothing is due; what was shown, and when.
fn run(policy: &mut Policy, notices: &[(i64, row::Event)]) -> Vec<(i64, Toast)> {
    let mut shown = Vec::new();
    let tick = |policy: &mut Policy, due| {
        let toasts = policy.tick(due, &names);
        if toasts.iter().any(|toast| toast.key == FIRST_DAY_KEY) {
            policy.summary_shown();
        }
        toasts.into_iter().map(move |toast| (due, toast))
    };
    for (at, row) in notices {
        while let Some(due) = policy.due().filter(|due| due <= at) {
            shown.extend(tick(policy, due));
        }
        shown.extend(policy.notice(row.clone(), *at, &names).into_iter().map(|toast| (*at, toast)));
    }
    for _ in 0..100 {
        let Some(due) = policy.due() else { return shown };
        shown.extend(tick(policy, due));
    }
    panic!("it never comes to rest");
}

#[test]
fn d04_a_toast_says_who_with_whom_and_for_whom() {
    let row = row::Event {
        executable: Some(7),
        domain: Some("example.org".into()),
        address: Some("203.0.113.7".into()),
        remote_port: Some(443),
        protocol: Some("tcp".into()),
        parent: Some("/usr/bin/bash".into()),
        container: Some("web".into()),
        ..new(1, "/usr/bin/curl")
    };
    let shown = run(&mut Policy::default(), &[(NOW, row)]);
    let [(at, toast)] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(*at, NOW, "the first one does not wait");
    assert_eq!(toast.text.title, "New on the network: curl");
    assert_eq!(
        toast.text.body,
        "First contact example.org, tcp port 443 (203.0.113.7)\n/usr/bin/curl\nStarted by bash as alice\nIn container web"
    );
    assert_eq!(toast.target, Target::Program(7));
    assert_eq!(toast.actions, [Action::Details, Action::Expected, Action::Mute]);
}

#[test]
fn d04_a_server_is_told_by_whom_it_was_called_and_on_which_port() {
    let row = row::Event {
        address: Some("203.0.113.7".into()),
        remote_port: Some(40_000),
        protocol: Some("tcp".into()),
        direction: Some("in".into()),
        local_port: Some(22),
        ..new(1, "/usr/sbin/sshd")
    };
    let shown = run(&mut Policy::default(), &[(NOW, row)]);
    let [(_, toast)] = &shown[..] else { panic!("{shown:?}") };
    assert!(
        toast.text.body.starts_with("First contacted by 203.0.113.7, tcp port 22\n"),
        "{}",
        toast.text.body
    );
}

#[test]
fn n05_hostile_names_are_inert_in_every_text() {
    let hostile = "/opt/\u{202e}gpj\n<b>x</b>\x1b[2J";
    let row = row::Event {
        domain: Some("a\nb\u{2066}".into()),
        parent: Some(hostile.into()),
        container: Some("\u{200b}c".into()),
        message: Some("m\u{202e}".into()),
        ..changed(1, hostile)
    };
    for text in [
        text::single(&row, &names),
        text::digest(&[row.clone(), row.clone(), row.clone()], 1),
        text::waited(std::slice::from_ref(&row), 0),
        text::incident(Incident::LostFlows, &row).unwrap(),
    ] {
        assert!(!text.title.chars().any(picosnitch_api::inert::is_hidden), "{text:?}");
        for line in text.body.lines() {
            assert!(!line.chars().any(picosnitch_api::inert::is_hidden), "{text:?}");
        }
        assert!(text.body.lines().count() <= 6, "{text:?}");
    }
}

#[test]
fn n03_a_burst_is_one_digest_that_replaces_what_it_tells() {
    let burst: Vec<_> =
        (0..40).map(|n| (NOW + n * SECOND / 10, new(n, &format!("/usr/bin/program-{n:02}")))).collect();
    let shown = run(&mut Policy::default(), &burst);
    assert!(shown.len() <= 3, "{shown:?}");
    let (_, last) = shown.last().unwrap();
    assert_eq!(last.text.title, "40 new programs on the network");
    assert!(last.text.body.starts_with("program-00, program-01"), "{}", last.text.body);
    assert!(last.text.body.ends_with("and 35 more"), "{}", last.text.body);
    let alone: Vec<_> = shown.iter().filter(|(_, toast)| toast.key.starts_with("program")).collect();
    assert_eq!(alone.len(), 1);
    assert!(shown.iter().any(|(_, toast)| toast.replaces.contains(&alone[0].1.key)));
    assert_eq!(last.events.len(), 40);
}

#[test]
fn n03_a_package_upgrade_is_one_digest() {
    let burst: Vec<_> = (0..23).map(|n| (NOW + n, changed(n, &format!("/usr/bin/p{n}")))).collect();
    let shown = run(&mut Policy::default(), &burst);
    assert_eq!(shown.last().unwrap().1.text.title, "23 programs changed");
    assert_eq!(shown.len(), 2, "the first alone, then the digest in its place");
}

#[test]
fn a_handful_a_minute_and_then_more() {
    // Each its own burst, for five minutes.
    let many: Vec<_> = (0..30).map(|n| (NOW + n * 10 * SECOND, new(n, &format!("/usr/bin/p{n}")))).collect();
    let shown = run(&mut Policy::default(), &many);
    for (at, _) in &shown {
        let minute = shown.iter().filter(|(other, _)| (*at..*at + MINUTE).contains(other)).count();
        assert!(minute <= PER_MINUTE + 1, "{minute} toasts in one minute");
    }
    let told: std::collections::BTreeSet<i64> =
        shown.iter().flat_map(|(_, toast)| toast.events.iter().copied()).collect();
    assert_eq!(told.len(), 30, "each is told, alone or in a digest");
}

#[test]
fn n04_a_muted_program_makes_no_toast() {
    let mut policy = Policy::default();
    policy.set_quiet(&Quiet { muted: ["/usr/bin/curl".into()].into(), ..Quiet::default() });
    assert_eq!(
        run(&mut policy, &[(NOW, new(1, "/usr/bin/curl")), (NOW + 1, changed(2, "/usr/bin/curl"))]),
        []
    );
    assert_eq!(policy.waited(vec![new(1, "/usr/bin/curl")], 0, NOW, &names), []);
    assert_eq!(run(&mut policy, &[(NOW + 2, new(3, "/usr/bin/wget"))]).len(), 1);
}

#[test]
fn n04_muting_the_host_s_program_does_not_hide_a_container_s() {
    let inside = |row: row::Event| row::Event { foreign_root: Some(true), ..row };
    let curl = "/usr/bin/curl";
    let both = [
        (NOW, new(1, curl)),
        (NOW + 1, inside(new(2, curl))),
        (NOW + 2, changed(3, curl)),
        (NOW + 3, inside(changed(4, curl))),
    ];
    for (hidden, left) in [(None, [2, 4]), (Some(true), [1, 3])] {
        let quiet = Quiet { muted: [Program::new(curl, hidden)].into(), ..Quiet::default() };
        let shown = run(&mut Policy::new(quiet.clone(), false), &both);
        let mut told: Vec<_> = shown.iter().flat_map(|(_, toast)| toast.events.clone()).collect();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told, left, "{hidden:?}: {shown:?}");
        // What waits already.
        let mut policy = Policy::default();
        full(&mut policy);
        for (at, row) in &both {
            assert_eq!(policy.notice(row.clone(), *at, &names), []);
        }
        policy.set_quiet(&quiet);
        assert_eq!(policy.waiting().collect::<Vec<_>>(), [left[1]]);
    }
    // The same of what is expected to change.
    for (hidden, left) in [(None, 4), (Some(true), 3)] {
        let quiet = Quiet { expected: [Program::new(curl, hidden)].into(), ..Quiet::default() };
        let shown = run(&mut Policy::new(quiet, false), &both[2..]);
        assert_eq!(told(&shown).into_iter().flat_map(|(_, events)| events).collect::<Vec<_>>(), [left]);
    }
}

#[test]
fn d04_a_program_of_a_container_is_told_as_such() {
    let inside = |id| row::Event { foreign_root: Some(true), ..new(id, "/usr/bin/curl") };
    let rows = [(NOW, new(1, "/usr/bin/curl")), (NOW + 20 * SECOND, inside(2))];
    let shown = run(&mut Policy::default(), &rows);
    let [(_, host), (_, container)] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(host.text.title, "New on the network: curl");
    assert_eq!(container.text.title, "New on the network: curl (in a container)");
    assert_ne!(host.key, container.key, "each has its own");
    // Mute is about what the toast says.
    assert_eq!(host.program, Some("/usr/bin/curl".into()));
    assert_eq!(container.program, Some(Program::new("/usr/bin/curl", Some(true))));
    let digest = text::digest(&[new(1, "/usr/bin/curl"), inside(2), new(3, "/usr/bin/wget")], 0);
    assert_eq!(digest.body, "curl, curl (in a container), wget");
}

#[test]
fn what_updates_itself_can_be_expected_to() {
    let mut policy = Policy::default();
    let often: Vec<_> = (0..3).map(|n| (NOW + n * 60 * SECOND, changed(n, "/opt/it/it"))).collect();
    let shown = run(&mut policy, &often);
    assert!(shown[0].1.actions.contains(&Action::Expected));
    assert!(shown[2].1.actions.contains(&Action::ExpectUpdates));
    assert!(shown.iter().all(|(_, toast)| toast.key == shown[0].1.key), "each replaces the one before");
    policy.set_quiet(&Quiet { expected: ["/opt/it/it".into()].into(), ..Quiet::default() });
    assert_eq!(run(&mut policy, &[(NOW + 900 * SECOND, changed(9, "/opt/it/it"))]), []);
}

#[test]
fn d04_the_same_program_again_takes_the_place_of_its_own_toast() {
    let mut policy = Policy::default();
    let again: Vec<_> = (0..6).map(|n| (NOW + n * 2 * SECOND, changed(n, "/usr/bin/curl"))).collect();
    let shown = run(&mut policy, &again);
    assert!(shown.iter().all(|(_, toast)| toast.key == shown[0].1.key), "{shown:?}");
}

#[test]
fn the_first_day_is_one_summary() {
    let mut policy = Policy::default();
    policy.record_is_old(3600 * SECOND, NOW);
    let many: Vec<_> = (0..50).map(|n| (NOW + n * SECOND, new(n, &format!("/usr/bin/p{n}")))).collect();
    let shown = run(&mut policy, &many);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].1.text.title.starts_with("Watching "), "{shown:?}");
    let shown = run(&mut policy, &[(NOW, new(99, "/tmp/dropper"))]);
    assert_eq!(shown.len(), 1, "what runs from a temporary place is told on the first day, too");
    assert_eq!(run(&mut policy, &[(NOW + FIRST_DAY, new(100, "/usr/bin/next-day"))]).len(), 1);
    let mut eager = Policy::new(Quiet::default(), true);
    eager.record_is_old(0, NOW);
    assert_eq!(run(&mut eager, &[(NOW, new(1, "/usr/bin/curl"))]).len(), 1);
}

#[test]
fn the_first_day_before_the_login_hides_no_temporary_place() {
    let at = |time: i64, row: row::Event| row::Event { time: Some(time), ..row };
    let rows = || vec![at(NOW - 1, new(2, "/tmp/dropper")), at(NOW - 2, new(1, "/usr/bin/curl"))];
    let mut policy = Policy::default();
    policy.record_is_old(3600 * SECOND, NOW);
    let shown = policy.found(rows(), 0, NOW, NOW, &names);
    let [toast] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((toast.text.title.as_str(), &toast.events[..]), ("1 notice while you were away", &[2][..]));
    assert_eq!(
        (toast.weight, toast.text.body.as_str()),
        (Weight::High, "dropper\nIn a temporary place: dropper")
    );
    // The other one is in the summary.
    let shown = run(&mut policy, &[]);
    assert_eq!(
        shown.iter().map(|(_, toast)| toast.text.title.as_str()).collect::<Vec<_>>(),
        ["Watching 1 program"]
    );
    // What comes while the page is asked for is told the same way.
    let mut policy = Policy::default();
    policy.record_is_old(3600 * SECOND, NOW);
    let shown = policy.found(rows(), 0, NOW - 2, NOW, &names);
    let [toast] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(
        (toast.weight, toast.text.title.as_str()),
        (Weight::High, "New, from a temporary place: dropper")
    );
}

#[test]
fn the_next_login_goes_on_where_the_last_one_ended() {
    let day = 24 * 3600 * SECOND;
    let begins = 5_000 * day;
    let login = |memory: &Memory, begins: i64, wall: i64| {
        let mut policy = Policy::default();
        policy.remember(memory.clone());
        policy.record_begins(begins, wall, NOW);
        policy
    };
    let mut policy = login(&Memory::default(), begins, begins + 3600 * SECOND);
    assert_eq!(run(&mut policy, &[(NOW, new(1, "/usr/bin/a"))])[0].1.key, "first day");
    let mut again = login(policy.memory(), begins, begins + 7200 * SECOND);
    assert_eq!(run(&mut again, &[(NOW, new(2, "/usr/bin/b"))]), [], "it was summed up");
    // A history that begins anew is another one.
    let mut anew = login(policy.memory(), begins + 9 * day, begins + 9 * day);
    assert_eq!(run(&mut anew, &[(NOW, new(3, "/usr/bin/c"))])[0].1.key, "first day");
    // One change each week, a login each week; the last one while nobody was there.
    let mut memory = Memory::default();
    for week in 0..3 {
        let mut policy = login(&memory, begins, begins + (week + 2) * 7 * day);
        let shown = if week == 1 {
            assert_eq!(policy.found(vec![changed(week, "/opt/it/it")], 0, NOW, NOW, &names).len(), 1);
            Vec::new()
        } else {
            run(&mut policy, &[(NOW, changed(week, "/opt/it/it"))])
        };
        let offered = shown.iter().any(|(_, toast)| toast.actions.contains(&Action::ExpectUpdates));
        assert_eq!(offered, week == 2, "{shown:?}");
        memory = policy.memory().clone();
    }
}

#[test]
fn an_incident_is_told_once() {
    let mut policy = Policy::default();
    let many: Vec<_> = (0..20).map(|n| (NOW + n * 20 * SECOND, error(n, "lost-flows"))).collect();
    let shown = run(&mut policy, &many);
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].1.target, Target::Health);
    assert_eq!(run(&mut policy, &[(NOW + 9000 * SECOND, error(99, "clock"))]), [], "nothing to do about it");
}

#[test]
fn every_incident_says_what_is_true_of_it_alone_or_nothing() {
    use Incident as I;
    let holes = [I::LostFlows, I::LostRows, I::LostCalls];
    let remote = [I::LostRemote, I::Remote, I::RemoteRefused];
    let silent = [
        [I::LostExecutables, I::LostHashes, I::LostRowHashes].as_slice(),
        &[I::LostChanges, I::LostLookups, I::LostSignals, I::Undecoded, I::TextLogLost],
        &[I::Forgotten, I::ForgottenNames, I::ForgottenPrograms, I::Clock, I::Gap],
        &[I::Settings, I::Pause, I::Resume, I::StorageRecovered],
    ]
    .concat();
    for (number, kind) in I::ALL.iter().enumerate() {
        let shown = run(&mut Policy::default(), &[(NOW, error(number as i64, kind.as_str()))]);
        assert_eq!(shown.is_empty(), silent.contains(kind), "{kind}: {shown:?}");
        let Some((_, toast)) = shown.first() else { continue };
        let title = toast.text.title.as_str();
        assert_eq!(title == "The record is not complete", holes.contains(kind), "{kind}: {title}");
        assert_eq!(
            title == "Rows do not reach the remote database",
            remote.contains(kind),
            "{kind}: {title}"
        );
        assert_eq!(title == "The history cannot be written", *kind == I::Storage, "{kind}: {title}");
        assert_eq!(title.contains("and repaired"), *kind == I::StorageMended, "{kind}: {title}");
        let alone = if holes.contains(kind) { I::LostFlows } else { *kind };
        assert_eq!(toast.key, format!("incident {alone}"));
    }
    assert_eq!(run(&mut Policy::default(), &[(NOW, error(1, "of-a-newer-monitor"))]), []);
}

#[test]
fn a_harmless_incident_does_not_hide_a_hole_in_the_record() {
    let mut policy = Policy::default();
    let rows = ["lost-remote", "lost-signals", "lost-flows"].map(|kind| (NOW, error(1, kind)));
    let shown = run(&mut policy, &rows);
    let titles: Vec<_> = shown.iter().map(|(_, toast)| toast.text.title.as_str()).collect();
    assert_eq!(titles, ["Rows do not reach the remote database", "The record is not complete"]);
}

#[test]
fn paused_is_silent_and_ends_by_itself() {
    let mut policy = Policy::default();
    policy.pause(Some(NOW + 3600 * SECOND));
    assert_eq!(run(&mut policy, &[(NOW, new(1, "/usr/bin/curl")), (NOW + 1, error(2, "storage"))]), []);
    assert_eq!(policy.paused_until(NOW), Some(NOW + 3600 * SECOND));
    assert_eq!(run(&mut policy, &[(NOW + 3601 * SECOND, new(3, "/usr/bin/wget"))]).len(), 1);
    policy.set_wanted(false);
    assert_eq!(run(&mut policy, &[(NOW + 4000 * SECOND, new(4, "/usr/bin/ssh"))]), []);
}

#[test]
fn n07_what_waited_is_told_in_one_toast() {
    let mut policy = Policy::default();
    let rows = (0..12).rev().map(|n| new(n, &format!("/usr/bin/p{n}"))).collect();
    let shown = policy.waited(rows, 3, NOW, &names);
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].text.title, "15 notices while you were away");
    assert!(shown[0].text.body.ends_with("and 10 more"), "{}", shown[0].text.body);
    assert_eq!(shown[0].target, Target::Timeline);
}

#[test]
fn d03_what_comes_while_the_first_page_is_asked_for_was_not_missed() {
    let mut policy = Policy::default();
    let at = |time: i64, row: row::Event| row::Event { time: Some(time), ..row };
    let rows = vec![at(NOW, new(2, "/usr/bin/curl")), at(NOW - 1, new(1, "/usr/bin/wget"))];
    let shown = policy.found(rows, 0, NOW, NOW + 1, &names);
    let titles: Vec<_> = shown.iter().map(|toast| toast.text.title.as_str()).collect();
    assert_eq!(titles, ["1 notice while you were away", "New on the network: curl"]);
}

#[test]
fn a_temporary_place_is_told_at_once_in_the_middle_of_a_burst() {
    let mut policy = Policy::default();
    let mut rows: Vec<_> = (0..10).map(|n| (NOW + n, new(n, &format!("/usr/bin/p{n}")))).collect();
    rows.push((NOW + 11, new(11, "/dev/shm/x")));
    let shown = run(&mut policy, &rows);
    let (at, toast) = shown.iter().find(|(_, toast)| toast.weight == Weight::High).unwrap();
    assert_eq!((*at, toast.text.title.as_str()), (NOW + 11, "New, from a temporary place: x"));
}

#[test]
fn a_temporary_place_without_room_is_told_no_less_loudly() {
    // Alone: as it would have been told.
    let mut policy = Policy::default();
    full(&mut policy);
    let shown = run(&mut policy, &[(NOW + 1, new(1, "/tmp/x"))]);
    let [(at, toast)] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((*at, toast.weight), (NOW + MINUTE, Weight::High));
    assert_eq!(toast.text.title, "New, from a temporary place: x");
    // Among others, the last of them.
    let mut policy = Policy::default();
    full(&mut policy);
    let mut rows: Vec<_> = (0..10).map(|n| (NOW + n, new(n, &format!("/usr/bin/p{n}")))).collect();
    rows.push((NOW + 11, new(11, "/tmp/x")));
    let shown = run(&mut policy, &rows);
    let [(at, toast)] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((*at, toast.weight), (NOW + MINUTE, Weight::High));
    assert_eq!(toast.text.title, "11 new programs on the network");
    assert_eq!(toast.text.body, "p0, p1, p2, p3, p4 and 6 more\nIn a temporary place: x");
    // Of more than are known one by one.
    let mut policy = Policy::default();
    full(&mut policy);
    let mut rows: Vec<_> = (0..300).map(|n| (NOW + n, new(n, &format!("/usr/bin/p{n}")))).collect();
    rows.extend((300..800).map(|n| (NOW + n, new(n, &format!("/tmp/x{n}")))));
    let shown = run(&mut policy, &rows);
    let (_, toast) = shown.last().unwrap();
    assert_eq!((toast.weight, toast.text.title.as_str()), (Weight::High, "800 new programs on the network"));
    let said = "\nIn a temporary place: x300, x301, x302, x303, x304 and 195 more";
    assert!(toast.text.body.ends_with(said), "{}", toast.text.body);
    assert_eq!(policy.burst.as_ref().map(|burst| burst.rows.len()), Some(2 * burst::BURST_ROWS));
    // What is told later, too.
    let rows = || (0..4).rev().map(|n| new(n, if n == 1 { "/dev/shm/x" } else { "/usr/bin/a" })).collect();
    for shown in
        [Policy::default().waited(rows(), 0, NOW, &names), Policy::default().again(rows(), NOW, &names)]
    {
        let [toast] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!((toast.weight, toast.text.body.as_str()), (Weight::High, "a, x\nIn a temporary place: x"));
    }
}

#[test]
fn what_changed_in_a_temporary_place_is_told_at_once() {
    let mut policy = Policy::default();
    let mut rows: Vec<_> = (0..10).map(|n| (NOW + n, new(n, &format!("/usr/bin/p{n}")))).collect();
    rows.push((NOW + 11, changed(11, "/var/tmp/x")));
    rows.push((NOW + 12, changed(12, "/usr/bin/curl")));
    let shown = run(&mut policy, &rows);
    let high: Vec<_> = shown.iter().filter(|(_, toast)| toast.weight == Weight::High).collect();
    let [(at, toast)] = &high[..] else { panic!("{shown:?}") };
    assert_eq!((*at, toast.text.title.as_str()), (NOW + 11, "Changed, in a temporary place: x"));
    // Whoever expects it is not told.
    policy.set_quiet(&Quiet { expected: ["/tmp/own".into()].into(), ..Quiet::default() });
    assert!(run(&mut policy, &[(NOW + 600 * SECOND, changed(13, "/tmp/own"))]).is_empty());
}

#[test]
fn what_runs_from_a_deleted_file_is_told_at_once_and_says_so() {
    let gone = |row: row::Event| row::Event { file_deleted: Some(true), ..row };
    let mut policy = Policy::default();
    policy.record_is_old(0, NOW);
    let rows = [(NOW, new(1, "/usr/bin/a")), (NOW + 1, gone(new(2, "/usr/bin/b")))];
    let shown = run(&mut policy, &rows);
    let high: Vec<_> = shown.iter().filter(|(_, toast)| toast.weight == Weight::High).collect();
    let [(at, toast)] = &high[..] else { panic!("{shown:?}") };
    assert_eq!((*at, toast.text.title.as_str()), (NOW + 1, "New on the network: b"));
    assert!(toast.text.body.starts_with("It runs from a file that was deleted or replaced.\n"), "{toast:?}");
    let shown = run(&mut Policy::default(), &[(NOW, gone(changed(3, "/usr/bin/c")))]);
    let [(_, toast)] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((toast.weight, toast.text.title.as_str()), (Weight::High, "c changed"));
    // In a digest, too.
    let rows = vec![gone(new(9, "/usr/bin/e")), new(8, "/tmp/x"), new(7, "/usr/bin/d")];
    let shown = Policy::default().waited(rows, 0, NOW, &names);
    let [toast] = &shown[..] else { panic!("{shown:?}") };
    let body = "e, x, d\nIn a temporary place: x\nFrom a file that was deleted or replaced: e";
    assert_eq!((toast.weight, toast.text.body.as_str()), (Weight::High, body));
    // What a newer daemon may say some day of one whose file is there.
    let there = row::Event { file_deleted: Some(false), ..new(4, "/usr/bin/d") };
    let shown = run(&mut Policy::default(), &[(NOW, there)]);
    assert_eq!(shown[0].1.weight, Weight::Normal);
    assert!(!shown[0].1.text.body.contains("deleted"), "{shown:?}");
}

#[test]
fn an_app_image_is_no_program_in_a_temporary_place() {
    let told = |path: &str| {
        let shown = run(&mut Policy::default(), &[(NOW, new(1, path))]);
        let [(_, toast)] = &shown[..] else { panic!("{path}: {shown:?}") };
        (toast.weight, toast.text.title.contains("temporary place"))
    };
    for path in ["/tmp/.mount_NextclAb3dEf/usr/bin/nextcloud", "/tmp/.mount_xZ9z9Z9/AppRun"] {
        assert_eq!(told(path), (Weight::Normal, false), "{path}");
    }
    for path in [
        "/tmp/.mount_/x",
        "/tmp/.mount_Ab3dEf/x",
        "/tmp/.mount_NextclAb3dE-/x",
        "/tmp/.mount_NextcloAb3dEf/x",
        "/tmp/.mount_NextclAb3dEf",
        "/tmp/.mount_NextclAb3dEf/",
        "/tmp/sub/.mount_NextclAb3dEf/x",
        "/var/tmp/.mount_NextclAb3dEf/x",
        "/tmp/.mount_ééééé/x",
    ] {
        assert_eq!(told(path), (Weight::High, true), "{path}");
    }
}

#[test]
fn a_flood_stays_small() {
    let mut policy = Policy::default();
    let flood: Vec<_> = (0..20_000).map(|n| (NOW + n, new(n, &format!("/opt/{n}")))).collect();
    let shown = run(&mut policy, &flood);
    assert!(shown.len() <= 4, "{}", shown.len());
    assert_eq!(shown.last().unwrap().1.text.title, "20000 new programs on the network");
    assert!(policy.burst.as_ref().unwrap().rows.len() <= burst::BURST_ROWS);
}

#[test]
fn d04_what_a_scanner_finds_is_told_at_once_and_stays() {
    let mut policy = Policy::new(Quiet::default(), true);
    // However much was told in this minute.
    let mut notices: Vec<_> = (0..20).map(|id| (NOW, new(id, &format!("/usr/bin/p{id}")))).collect();
    notices.push((NOW + 1, verdict(20, "/usr/bin/p3")));
    let shown = run(&mut policy, &notices);
    let (at, toast) = shown.iter().find(|(_, toast)| toast.events == [20]).unwrap();
    assert_eq!((*at, toast.weight), (NOW + 1, Weight::Critical));
    assert_eq!(toast.text.title, "Suspicious: p3");
    assert!(toast.text.body.starts_with("Found harmful or suspicious by 3 of 72 engines"), "{toast:?}");
    assert_eq!(toast.actions, [Action::Details, Action::Mute]);
    // What the program does next does not take its place.
    let next = run(&mut policy, &[(NOW + 600 * SECOND, changed(21, "/usr/bin/p3"))]);
    assert!(next.iter().all(|(_, next)| next.key != toast.key && !next.replaces.contains(&toast.key)));
    // Whoever muted it is not told of it.
    policy.set_quiet(&Quiet { muted: ["/usr/bin/p4".into()].into(), ..Quiet::default() });
    assert!(run(&mut policy, &[(NOW, verdict(22, "/usr/bin/p4"))]).is_empty());
}

#[test]
fn n07_what_is_critical_is_told_by_itself_when_somebody_is_there() {
    let rows = vec![new(3, "/usr/bin/c"), verdict(2, "/usr/bin/b"), new(1, "/usr/bin/a")];
    let shown = Policy::default().waited(rows, 0, NOW, &names);
    let [alarm, digest] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((alarm.weight, alarm.text.title.as_str()), (Weight::Critical, "Suspicious: b"));
    assert!(!alarm.actions.contains(&Action::Expected));
    assert_eq!((&digest.text.title[..], &digest.events[..]), ("2 notices while you were away", &[3, 1][..]));
    // Many of them: the first ones, and a digest that nobody expects.
    let rows = (0..9).rev().map(|id| verdict(id, &format!("/usr/bin/p{id}"))).collect();
    let shown = Policy::default().waited(rows, 0, NOW, &names);
    assert_eq!(shown.len(), 4);
    assert!(shown.iter().all(|toast| toast.weight == Weight::Critical));
    assert!(shown.iter().all(|toast| !toast.actions.contains(&Action::Expected)));
    let told: std::collections::BTreeSet<i64> =
        shown.iter().flat_map(|toast| toast.events.iter().copied()).collect();
    assert_eq!(told.len(), 9);
}

#[test]
fn d04_what_is_critical_outlasts_a_pause() {
    let paused = || {
        let mut policy = Policy::default();
        policy.pause(Some(NOW + 3600 * SECOND));
        let rows = [verdict(1, "/usr/bin/a"), verdict(2, "/usr/bin/b"), new(3, "/usr/bin/c")];
        for row in rows {
            assert_eq!(policy.notice(row, NOW + SECOND, &names), []);
        }
        assert_eq!(policy.waiting().min(), Some(1));
        policy
    };
    let shown = run(&mut paused(), &[]);
    let of: Vec<_> = shown.iter().map(|(at, toast)| (*at, toast.weight, toast.events[0])).collect();
    let end = NOW + 3600 * SECOND;
    assert_eq!(of, [(end, Weight::Critical, 2), (end, Weight::Critical, 1)]);
    // Ended by the person; one of them was seen in the window.
    let mut policy = paused();
    policy.seen(&[1].into());
    policy.pause(None);
    assert!(policy.due().is_some_and(|due| due <= NOW + 2 * SECOND));
    let shown = policy.tick(NOW + 2 * SECOND, &names);
    assert_eq!(shown.iter().map(|toast| toast.events[0]).collect::<Vec<_>>(), [2]);
    assert_eq!((policy.due(), policy.waiting().min()), (None, None));
}

#[test]
fn the_end_of_an_incident_takes_its_place() {
    let mut policy = Policy::default();
    let shown = run(
        &mut policy,
        &[
            (NOW, error(1, "storage")),
            (NOW + 60 * SECOND, error(2, "storage-recovered")),
            (NOW + 90 * SECOND, error(3, "storage")),
        ],
    );
    let titles: Vec<_> = shown.iter().map(|(_, toast)| toast.text.title.as_str()).collect();
    let bad = "The history cannot be written";
    assert_eq!(titles, [bad, "The history is written again", bad]);
    assert!(shown.iter().all(|(_, toast)| toast.key == shown[0].1.key));
    let mut policy = Policy::default();
    assert_eq!(run(&mut policy, &[(NOW, error(1, "storage-recovered"))]), [], "nobody heard of trouble");
    let shown = run(&mut policy, &[(NOW, error(1, "storage-damaged"))]);
    assert_eq!(shown[0].1.text.title, "The history was damaged and begins anew");
}

#[test]
fn a_digest_grows_now_and_then() {
    // Beyond what a burst remembers one by one.
    let many: Vec<_> = (0..600).map(|n| (NOW + n * SECOND / 2, new(n, &format!("/usr/bin/p{n}")))).collect();
    let mut policy = Policy::default();
    let shown = run(&mut policy, &many);
    assert!(shown.len() <= 2 + 300 / 15 + 2, "{} toasts in 300 s", shown.len());
    let digests: Vec<_> = shown.iter().filter(|(_, toast)| toast.key.starts_with("burst")).collect();
    for pair in digests.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= GROW, "{} µs", pair[1].0 - pair[0].0);
    }
    let (_, last) = digests.last().unwrap();
    assert_eq!((last.text.title.as_str(), last.events.len()), ("600 new programs on the network", 600));
    assert_eq!(policy.waiting().min(), None);
}

/// Titles of what leads to the record, with their times after [`NOW`] and the notices that they tell.
fn incidents(shown: &[(i64, Toast)]) -> Vec<(i64, &str, Vec<i64>)> {
    let health = shown.iter().filter(|(_, toast)| toast.target == Target::Health);
    health.map(|(at, toast)| (at - NOW, toast.text.title.as_str(), toast.events.clone())).collect()
}

#[test]
fn an_incident_that_finds_no_room_is_told_when_there_is_some() {
    let mut policy = Policy::default();
    full(&mut policy);
    let notices = [(NOW + 1, error(10, "lost-flows")), (NOW + 2, error(11, "lost-rows"))];
    for (at, row) in &notices {
        assert_eq!(policy.notice(row.clone(), *at, &names), []);
    }
    assert_eq!(policy.waiting().min(), Some(10), "the next login tells it if this one does not");
    let shown = run(&mut policy, &[(NOW + 120 * SECOND, error(12, "lost-calls"))]);
    assert_eq!(incidents(&shown), [(MINUTE, "The record is not complete", vec![10, 11])]);
    // What was seen meanwhile is not told.
    let mut policy = Policy::default();
    full(&mut policy);
    assert_eq!(policy.notice(error(10, "lost-flows"), NOW, &names), []);
    policy.seen(&[10].into());
    assert_eq!(run(&mut policy, &[]), []);
}

#[test]
fn an_outage_is_told_whatever_else_is() {
    let mut policy = Policy::default();
    full(&mut policy);
    let bad = "The history cannot be written";
    let good = "The history is written again";
    // It comes once for each; the second one within the minute waits for room, and says how it ended.
    let shown = run(
        &mut policy,
        &[
            (NOW + 1, error(1, "storage")),
            (NOW + 2, error(2, "storage-recovered")),
            (NOW + 3, error(3, "storage")),
            (NOW + 4, error(4, "storage-recovered")),
        ],
    );
    assert_eq!(incidents(&shown), [(1, bad, vec![1]), (MINUTE, good, vec![2, 3, 4])]);
    // A recovery without room is not forgotten.
    let mut policy = Policy::default();
    assert_eq!(policy.notice(error(1, "storage"), NOW - 100 * SECOND, &names).len(), 1);
    full(&mut policy);
    let shown = run(
        &mut policy,
        &[(NOW + 1, error(2, "storage-recovered")), (NOW + MINUTE + 1, error(3, "storage-recovered"))],
    );
    assert_eq!(incidents(&shown), [(1, good, vec![2])]);
}

#[test]
fn one_overload_is_one_toast() {
    let rows = ["lost-flows", "lost-rows", "lost-calls"].into_iter().zip(1..);
    let rows: Vec<_> = rows.map(|(kind, id)| (NOW + id, error(id, kind))).collect();
    let shown = run(&mut Policy::default(), &rows);
    assert_eq!(incidents(&shown), [(1, "The record is not complete", vec![1])]);
}

#[test]
fn n04_what_is_muted_while_it_waits_is_not_told() {
    let mut policy = Policy::default();
    let rows = [
        (NOW, new(1, "/usr/bin/a")),
        (NOW + 1, changed(2, "/usr/bin/b")),
        (NOW + 2, new(3, "/usr/bin/c")),
        (NOW + 3, changed(4, "/usr/bin/d")),
    ];
    for (at, row) in rows {
        let _ = policy.notice(row, at, &names);
    }
    policy.set_quiet(&Quiet {
        muted: ["/usr/bin/c".into()].into(),
        expected: ["/usr/bin/b".into(), "/usr/bin/a".into()].into(),
    });
    assert_eq!(policy.waiting().collect::<Vec<_>>(), [4]);
    let shown = run(&mut policy, &[]);
    assert_eq!(told(&shown), [(NOW + 3 + SETTLE, vec![4])]);
    // Of those that are only counted, too.
    let mut policy = Policy::default();
    for id in 0..300 {
        let _ = policy.notice(new(id, &format!("/usr/bin/p{id}")), NOW, &names);
    }
    let muted = (1..299).map(|id| Program::new(format!("/usr/bin/p{id}"), None)).collect();
    policy.set_quiet(&Quiet { muted, ..Quiet::default() });
    let shown = run(&mut policy, &[]);
    assert!(shown.iter().all(|(_, toast)| !toast.text.title.starts_with("30")), "{shown:?}");
    assert_eq!(policy.waiting().count(), 0);
    assert!(
        told(&shown).iter().all(|(_, events)| events.iter().all(|id| [0, 299].contains(id))),
        "{shown:?}"
    );
}

#[test]
fn the_summary_of_the_first_day_counts_when_it_is_on_the_screen() {
    let mut policy = Policy::default();
    policy.record_is_old(0, NOW);
    let summary = |policy: &mut Policy, now| {
        let toasts = policy.tick(now, &names);
        toasts.iter().filter(|toast| toast.key == FIRST_DAY_KEY).count()
    };
    assert_eq!(policy.notice(new(1, "/usr/bin/a"), NOW, &names), []);
    let mut now = NOW;
    for round in 0..12 {
        now = policy.due().unwrap();
        assert_eq!(summary(&mut policy, now), 1);
        assert!(!policy.memory().summed_up(0), "nobody shows it");
        // What comes meanwhile does not make it two.
        let _ = policy.notice(new(10 + round, "/usr/bin/b"), now, &names);
        assert_eq!(policy.due(), None);
        assert_eq!(policy.summary_failed(now), round == 0);
        let due = policy.due().unwrap();
        assert!(due > now && due <= now + 60 * MINUTE, "{}", due - now);
    }
    assert_eq!(policy.due(), Some(now + 60 * MINUTE));
    policy.summary_at_once(now + 1);
    assert_eq!((policy.due(), summary(&mut policy, now + 1)), (Some(now + 1), 1));
    policy.summary_shown();
    assert!(policy.memory().summed_up(0));
    let _ = policy.notice(new(30, "/usr/bin/c"), now + 2, &names);
    policy.summary_at_once(now + 3);
    assert_eq!(policy.due(), None);
}

#[test]
fn d02_what_could_not_be_shown_is_told_as_it_would_have_been() {
    let mut policy = Policy::default();
    let rows = vec![new(2, "/usr/bin/b"), error(1, "lost-flows")];
    let shown = policy.again(rows, NOW, &names);
    let said: Vec<_> = shown.iter().map(|toast| (toast.text.title.as_str(), &toast.target)).collect();
    assert_eq!(
        said,
        [("The record is not complete", &Target::Health), ("New on the network: b", &Target::Timeline)]
    );
    // Many are one, and nobody was away.
    let mut policy = Policy::default();
    let rows: Vec<_> = (0..5).rev().map(|id| new(id, &format!("/usr/bin/p{id}"))).collect();
    let shown = policy.again(rows.clone(), NOW, &names);
    let [toast] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(
        (toast.text.title.as_str(), &toast.events[..]),
        ("5 new programs on the network", &[4, 3, 2, 1, 0][..])
    );
    let alarms: Vec<_> = (10..16).rev().map(|id| verdict(id, &format!("/usr/bin/p{id}"))).collect();
    let shown = policy.again(alarms, NOW, &names);
    let titles: Vec<_> = shown.iter().map(|toast| toast.text.title.as_str()).collect();
    assert_eq!(titles, ["Suspicious: p15", "Suspicious: p14", "Suspicious: p13", "3 notices"]);
    assert!(shown.iter().all(|toast| toast.weight == Weight::Critical), "{shown:?}");
    // Without room they are told when there is some, many or few.
    for rows in [rows, vec![new(1, "/usr/bin/a")]] {
        let mut policy = Policy::default();
        full(&mut policy);
        let count = rows.len();
        assert_eq!(policy.again(rows, NOW, &names), []);
        assert_eq!(policy.waiting().count(), count);
        let shown = run(&mut policy, &[]);
        let [(at, toast)] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!((*at, toast.events.len()), (NOW + MINUTE, count));
        assert!(!toast.text.title.contains("away"), "{toast:?}");
    }
    // What came while the record was out of order, and how that ended.
    let mut policy = Policy::default();
    let rows = vec![error(2, "storage-recovered"), error(1, "storage")];
    let shown = policy.again(rows, NOW, &names);
    let [toast] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((toast.text.title.as_str(), &toast.events[..]), ("The history is written again", &[1, 2][..]));
    // Seen and muted ones are not told.
    policy.set_quiet(&Quiet { muted: ["/usr/bin/a".into()].into(), ..Quiet::default() });
    let seen = row::Event { acknowledged: Some(true), ..error(3, "lost-flows") };
    assert_eq!(policy.again(vec![seen, new(4, "/usr/bin/a")], NOW, &names), []);
}

#[test]
fn a_record_that_begins_in_the_future_silences_nobody() {
    let days = |days: i64| days * FIRST_DAY;
    // The clock was wrong by a year when the record began, or is now.
    for (age, told) in [(days(-365), 1), (-SECOND, 0), (0, 0), (days(365), 1)] {
        let mut policy = Policy::default();
        policy.record_is_old(age, NOW);
        let shown = policy.notice(new(1, "/usr/bin/curl"), NOW, &names);
        assert_eq!(shown.len(), told, "{age} µs old");
        let shown = policy.notice(new(2, "/usr/bin/wget"), NOW + FIRST_DAY, &names);
        assert_eq!(shown.len(), 1, "{age} µs old, a day later");
    }
}

/// As many as a minute has room for.
fn full(policy: &mut Policy) {
    for id in 100..100 + PER_MINUTE as i64 {
        assert_eq!(policy.notice(new(id, &format!("/tmp/p{id}")), NOW, &names).len(), 1);
    }
}

fn told(shown: &[(i64, Toast)]) -> Vec<(i64, Vec<i64>)> {
    shown.iter().map(|(at, toast)| (*at, toast.events.clone())).collect()
}

#[test]
fn n07_what_waited_and_finds_no_room_is_told_when_there_is_some() {
    let waiting = || {
        let mut policy = Policy::default();
        full(&mut policy);
        let rows = vec![new(3, "/usr/bin/c"), verdict(2, "/usr/bin/b"), new(1, "/usr/bin/a")];
        let shown = policy.waited(rows, 4, NOW + SECOND, &names);
        assert_eq!(shown.iter().map(|toast| &toast.events[..]).collect::<Vec<_>>(), [&[2][..]]);
        assert_eq!(policy.waiting().collect::<Vec<_>>(), [3, 1]);
        policy
    };
    let mut policy = waiting();
    let shown = run(&mut policy, &[]);
    assert_eq!(told(&shown), [(NOW + MINUTE, vec![3, 1])]);
    assert_eq!(shown[0].1.text.title, "6 notices while you were away");
    assert_eq!(policy.waiting().count(), 0);
    // In a pause it waits for the end.
    let mut policy = waiting();
    policy.pause(Some(NOW + 3600 * SECOND));
    assert_eq!(told(&run(&mut policy, &[])), [(NOW + 3600 * SECOND, vec![3, 1])]);
    // What was muted or seen meanwhile is told no more.
    let mut policy = waiting();
    policy.set_quiet(&Quiet { muted: ["/usr/bin/a".into(), "/usr/bin/c".into()].into(), ..Quiet::default() });
    assert_eq!((run(&mut policy, &[]), policy.waiting().count()), (vec![], 0));
    let mut policy = waiting();
    policy.seen(&[1].into());
    assert_eq!(told(&run(&mut policy, &[])), [(NOW + MINUTE, vec![3])]);
}

#[test]
fn d04_what_was_seen_is_not_told_later() {
    // Two wait for the end of a burst, and one is in the place of an older one of its own.
    let mut policy = Policy::default();
    let rows =
        [changed(1, "/usr/bin/a"), changed(2, "/usr/bin/b"), changed(3, "/usr/bin/b"), new(4, "/usr/bin/c")];
    for row in rows {
        let _ = policy.notice(row, NOW, &names);
    }
    assert_eq!(policy.waiting().collect::<Vec<_>>(), [3, 4]);
    policy.seen(&[1, 3].into());
    assert_eq!(told(&run(&mut policy, &[])), [(NOW + SETTLE, vec![4])]);
    policy.seen(&[2, 4].into());
    assert_eq!(run(&mut policy, &[]), []);
    // Answered before it could be told.
    let seen = row::Event { acknowledged: Some(true), ..verdict(5, "/usr/bin/d") };
    assert_eq!(run(&mut policy, &[(NOW, seen)]), []);
}

#[test]
fn d04_what_was_seen_of_many_is_not_counted_later() {
    let mut policy = Policy::default();
    let _ = policy.notice(new(0, "/usr/bin/first"), NOW, &names);
    for id in 1..=300 {
        assert_eq!(policy.notice(new(id, &format!("/usr/bin/p{id}")), NOW + 1, &names), []);
    }
    policy.seen(&(0..=290).collect());
    let shown = run(&mut policy, &[]);
    assert_eq!(shown[0].1.text.title, "10 new programs on the network");
    assert_eq!(shown[0].1.events, (291..=300).collect::<Vec<_>>());
    // Half of what is on the screen already: nothing new.
    policy.seen(&(291..=295).collect());
    assert_eq!((policy.due(), policy.waiting().count()), (None, 0));
    let shown = run(&mut policy, &[(NOW + 600 * SECOND, new(400, "/usr/bin/next"))]);
    assert_eq!(told(&shown), [(NOW + 600 * SECOND, vec![400])]);
}

#[test]
fn a_program_of_a_container_is_not_that_of_the_host() {
    let inside = row::Event { container: Some("web".into()), ..new(2, "/usr/bin/curl") };
    let shown = run(&mut Policy::default(), &[(NOW, new(1, "/usr/bin/curl")), (NOW + SECOND, inside)]);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_ne!(shown[0].1.key, shown[1].1.key);
}

#[test]
fn expected_is_said_of_all_that_a_toast_stands_for() {
    // Changed three times while it could not be shown by itself.
    let mut policy = Policy::default();
    let mut notices: Vec<_> = (0..5).map(|n| (NOW, new(n, &format!("/tmp/p{n}")))).collect();
    notices.extend((10..13).map(|n| (NOW + n, changed(n, "/usr/bin/curl"))));
    let shown = run(&mut policy, &notices);
    let of: Vec<_> =
        shown.iter().filter(|(_, toast)| toast.program == Some("/usr/bin/curl".into())).collect();
    let [(_, toast)] = &of[..] else { panic!("{shown:?}") };
    assert_eq!(toast.events, [10, 11, 12]);
}

#[test]
fn n07_what_waits_is_forgotten_with_its_history() {
    let mut policy = Policy::default();
    full(&mut policy);
    let at = |time: i64, row: row::Event| row::Event { time: Some(time), ..row };
    let rows = |from: i64| (from..from + 4).map(|id| new(id, &format!("/usr/bin/p{id}")));
    assert_eq!(policy.waited(rows(1).collect(), 7, NOW, &names), []);
    assert_eq!(policy.again(rows(11).collect(), NOW, &names), []);
    for row in rows(21) {
        assert_eq!(policy.notice(row, NOW, &names), []);
    }
    // The first one of the new history is faster than its page.
    assert_eq!(policy.notice(at(NOW + 5, error(1, "lost-flows")), NOW + 5, &names), []);
    policy.pause(Some(NOW + MINUTE));
    assert_eq!(policy.notice(verdict(31, "/usr/bin/a"), NOW + 6, &names), []);
    policy.forget(NOW + 5);
    assert_eq!(policy.waiting().collect::<Vec<_>>(), [1]);
    let shown = run(&mut policy, &[]);
    assert_eq!(told(&shown), [(NOW + MINUTE, vec![1])]);
    // A burst that waits.
    let mut policy = Policy::default();
    for row in rows(1) {
        let _ = policy.notice(row, NOW, &names);
    }
    policy.forget(NOW + 5);
    assert_eq!((policy.waiting().count(), run(&mut policy, &[])), (0, vec![]));
}
