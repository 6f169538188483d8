// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{Direction, ProgramKey, Protocol, Who};

fn key(path: &str) -> ProgramKey {
    ProgramKey { path: path.as_bytes().into(), foreign: false }
}

fn contact_of(key: ProgramKey, hash: Hash) -> Contact {
    let program = Program { key, name: (*b"name").into(), hash, cmdline: None, script: None };
    Contact {
        who: Who {
            program: Arc::new(program),
            parent: None,
            grandparent: None,
            pid: 1,
            uid: 0,
            euid: 0,
            unit: None,
            container: None,
        },
        file: FileId::default(),
        deleted: false,
        remote: None,
        remote_port: None,
        local_port: None,
        protocol: Protocol::Ip(6),
        direction: Some(Direction::Out),
        domain: None,
    }
}

fn contact(path: &str, hash: Hash) -> Contact {
    contact_of(key(path), hash)
}

fn file(number: u64) -> FileId {
    FileId { inode: number, ino: number, dev: 1, generation: 0 }
}

/// The same, by a process that runs this file.
fn run(contact: Contact, number: u64) -> Contact {
    Contact { file: file(number), ..contact }
}

fn at(ms: i64) -> Moment {
    Moment { wall: 1_000_000_000 + ms * 1000, monotonic: ms * 1000 }
}

const PENDING: Hash = Hash::Unknown(Gap::Pending);

fn known(byte: u8) -> Hash {
    Hash::Known([byte; 32])
}

fn judge_of(known: Known) -> Judge {
    Judge::new(known, crate::accounts::Accounts::default())
}

fn fresh() -> Judge {
    judge_of(Known { programs: Vec::new(), next_notice: 7, last: None, open_flows: Vec::new() })
}

/// The notices of a kind as (id, path, hash).
fn new_executables(out: &[Output]) -> Vec<(i64, Vec<u8>, Hash)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Notice(Notice { id, kind: NoticeKind::NewExecutable(contact), .. }) => {
                Some((*id, contact.who.program.key.path.to_vec(), contact.who.program.hash))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn n01_a_new_path_is_announced_once() {
    let mut judge = fresh();
    let out = judge.observe(run(contact("/bin/a", known(1)), 1), at(0));
    assert_eq!(new_executables(&out), [(7, b"/bin/a".to_vec(), known(1))]);
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(1)).is_empty());
    let out = judge.observe(run(contact("/bin/b", known(1)), 1), at(2));
    assert_eq!(new_executables(&out).len(), 1, "the same content under another path is another program");
}

#[test]
fn n01_none_after_a_restart() {
    let mut judge = judge_of(Known {
        programs: vec![(key("/bin/a"), 0, vec![[1; 32]])],
        next_notice: 40,
        last: None,
        open_flows: Vec::new(),
    });
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(0)).is_empty());
    assert!(judge.observe(run(contact("/bin/a", PENDING), 1), at(0)).is_empty());
    assert!(judge.hash(file(1), known(1), at(3)).is_empty());
    assert_eq!(judge.next_notice(), 40);
}

#[test]
fn n01_waits_for_the_hash_but_not_long() {
    let mut judge = fresh();
    assert!(judge.observe(run(contact("/bin/a", PENDING), 1), at(0)).is_empty());
    assert!(judge.observe(run(contact("/bin/b", PENDING), 2), at(100)).is_empty());
    assert!(judge.observe(run(contact("/bin/a", PENDING), 1), at(120)).is_empty());
    assert_eq!(judge.deadline(), Some(500_000));

    let out = judge.hash(file(1), known(1), at(200));
    assert_eq!(new_executables(&out), [(7, b"/bin/a".to_vec(), known(1))]);
    assert_eq!(out.len(), 1);

    assert_eq!(judge.deadline(), Some(600_000));
    assert!(judge.tick(at(599)).is_empty());
    let out = judge.tick(at(600));
    assert_eq!(new_executables(&out), [(8, b"/bin/b".to_vec(), PENDING)]);
    assert_eq!(judge.deadline(), None);
    assert!(judge.tick(at(5000)).is_empty());

    assert_eq!(
        judge.hash(file(2), known(2), at(5001)),
        [Output::Completed { notice: 8, hash: known(2), old: None }],
        "the event gets its hash, people are not told again"
    );
    assert!(judge.hash(file(2), known(2), at(5002)).is_empty());
    assert!(judge.observe(run(contact("/bin/b", known(2)), 2), at(6000)).is_empty());
}

#[test]
fn n02_changed_only_when_the_content_is_none_of_those_known() {
    let mut judge = judge_of(Known {
        programs: vec![(key("/bin/a"), 0, vec![[1; 32], [2; 32]])],
        next_notice: 1,
        last: None,
        open_flows: Vec::new(),
    });
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(0)).is_empty());
    assert!(judge.observe(run(contact("/bin/a", known(2)), 1), at(0)).is_empty());
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(0)).is_empty());
    let out = judge.observe(run(contact("/bin/a", known(3)), 1), at(1));
    match out.as_slice() {
        [Output::Notice(Notice { id: 1, kind: NoticeKind::HashChanged { contact, old }, .. })] => {
            assert_eq!(*old, [1; 32], "the content seen last before");
            assert_eq!(contact.who.program.hash, known(3));
        }
        other => panic!("{other:?}"),
    }
    assert!(judge.observe(run(contact("/bin/a", known(3)), 1), at(2)).is_empty());
}

#[test]
fn n02_a_host_and_a_container_file_of_one_path_do_not_flap() {
    let mut judge = fresh();
    let inside = ProgramKey { foreign: true, ..key("/usr/bin/curl") };
    let mut notices = 0;
    for round in 0..6 {
        notices += judge.observe(run(contact("/usr/bin/curl", known(1)), 1), at(round)).len();
        notices += judge.observe(run(contact_of(inside.clone(), known(2)), 2), at(round)).len();
    }
    assert_eq!(notices, 2, "one NewExecutable each, no HashChanged");
}

#[test]
fn n02_a_change_is_told_when_its_hash_comes_late() {
    let mut judge = judge_of(Known {
        programs: vec![(key("/bin/a"), 0, vec![[1; 32]])],
        next_notice: 1,
        last: None,
        open_flows: Vec::new(),
    });
    assert!(judge.observe(run(contact("/bin/a", PENDING), 9), at(0)).is_empty());
    assert_eq!(judge.deadline(), None, "a known program has nothing to be sent in a hurry");
    let out = judge.hash(file(9), known(2), at(9000));
    assert!(
        matches!(
            out.as_slice(),
            [Output::Notice(Notice { kind: NoticeKind::HashChanged { old, .. }, .. })] if *old == [1; 32]
        ),
        "{out:?}"
    );
}

#[test]
fn i23_an_unknown_hash_is_never_a_change_and_never_stored() {
    let mut judge = fresh();
    let out = judge.observe(run(contact("/bin/a", Hash::Unknown(Gap::Unreadable)), 1), at(0));
    assert_eq!(new_executables(&out), [(7, b"/bin/a".to_vec(), Hash::Unknown(Gap::Unreadable))]);
    // The first content that becomes known is no change: there is nothing it differs from.
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(1)).is_empty());
    for gap in Gap::ALL {
        assert!(judge.observe(run(contact("/bin/a", Hash::Unknown(gap)), 1), at(2)).is_empty(), "{gap:?}");
        assert!(judge.hash(file(1), Hash::Unknown(gap), at(2)).is_empty(), "{gap:?}");
    }
    assert!(judge.observe(run(contact("/bin/a", known(1)), 1), at(3)).is_empty());
    assert_eq!(judge.observe(run(contact("/bin/a", known(2)), 1), at(4)).len(), 1);
}

#[test]
fn i23_a_hash_that_never_comes_completes_with_its_reason() {
    let mut judge = fresh();
    judge.observe(run(contact("/bin/a", PENDING), 1), at(0));
    assert_eq!(judge.tick(at(500)).len(), 1);
    let gone = Hash::Unknown(Gap::Exited);
    assert_eq!(judge.hash(file(1), gone, at(700)), [Output::Completed { notice: 7, hash: gone, old: None }]);

    judge.observe(run(contact("/bin/b", PENDING), 2), at(1000));
    let out = judge.hash(file(2), gone, at(1001));
    assert_eq!(new_executables(&out), [(8, b"/bin/b".to_vec(), gone)], "not told twice, not forgotten");
}

#[test]
fn a_second_process_with_a_known_hash_brings_the_notice_forward() {
    let mut judge = fresh();
    judge.observe(run(contact("/bin/a", PENDING), 1), at(0));
    let out = judge.observe(run(contact("/bin/a", known(5)), 2), at(10));
    assert_eq!(new_executables(&out), [(7, b"/bin/a".to_vec(), known(5))]);
    assert_eq!(judge.deadline(), None);
    assert!(judge.tick(at(600)).is_empty());
    let out = judge.hash(file(1), known(6), at(700));
    assert!(
        matches!(out.as_slice(), [Output::Notice(Notice { kind: NoticeKind::HashChanged { old, .. }, .. })]
            if *old == [5; 32]),
        "two contents under one path: {out:?}"
    );
}

#[test]
fn s06_deadlines_do_not_follow_the_wall_clock() {
    let mut judge = fresh();
    judge.observe(run(contact("/bin/a", PENDING), 1), Moment { wall: 5_000_000_000, monotonic: 0 });
    let out = judge.tick(Moment { wall: -3, monotonic: PATIENCE });
    assert!(matches!(out.as_slice(), [Output::Notice(Notice { time: -3, .. })]), "{out:?}");
}

#[test]
fn errors_are_numbered_and_told_once_a_minute() {
    let mut judge = fresh();
    let first = judge.error(Incident::LostFlows, "one".into(), at(0)).expect("the first is told");
    assert_eq!(first.id, 7);
    assert!(judge.error(Incident::LostFlows, "two".into(), at(1)).is_none());
    assert!(judge.error(Incident::LostFlows, "three".into(), at(2)).is_none());
    assert_eq!(judge.error(Incident::Storage, "other".into(), at(3)).expect("another kind").id, 8);
    let later = judge.error(Incident::LostFlows, "four".into(), at(60_000)).expect("a minute later");
    assert_eq!(
        later.kind,
        NoticeKind::Error {
            kind: Incident::LostFlows,
            message: "four (and 2 more like it since the last report)".into()
        }
    );
}

#[test]
fn waiting_is_bounded_and_counted() {
    let mut judge = fresh();
    let mut notices = 0;
    for number in 0..5000_u64 {
        notices += judge.observe(run(contact(&format!("/bin/{number}"), PENDING), number), at(0)).len();
    }
    assert_eq!(notices, 5000 - WAITING, "what cannot wait is announced at once");
    notices += judge.tick(at(500)).len();
    assert_eq!(notices, 5000);
    judge.observe(run(contact("/bin/0", PENDING), 77_777), at(501));
    assert_eq!(judge.dropped().comparisons, 1);
}

fn by(uid: u32, contact: Contact) -> Contact {
    Contact { who: Who { uid, ..contact.who.clone() }, ..contact }
}

/// Kind, old content, and to whom it is no or other news.
fn told(out: &[Output]) -> Vec<(Option<[u8; 32]>, Before)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Notice(Notice { kind: NoticeKind::HashChanged { old, .. }, before, .. }) => {
                Some((Some(*old), before.clone()))
            }
            Output::Notice(Notice { before, .. }) => Some((None, before.clone())),
            Output::Completed { .. } => None,
        })
        .collect()
}

#[test]
fn b04_what_others_ran_changes_nothing_for_the_owner() {
    let (alice, bob) = (1000, 1001);
    let mut judge = fresh();
    let mut observe =
        |uid, content| told(&judge.observe(run(by(uid, contact("/tmp/tool", known(content))), 1), at(0)));
    assert_eq!(observe(alice, 1), [(None, Before::Nobody)]);
    assert_eq!(observe(bob, 2), [(None, Before::Other([1; 32]))], "new to bob, changed to root");
    assert_eq!(observe(bob, 1), [(Some([2; 32]), Before::Same(vec![alice]))]);
    assert_eq!(observe(alice, 1), []);
    assert_eq!(observe(0, 1), [(None, Before::Same(vec![alice, bob]))]);
    assert_eq!(observe(0, 3), [(Some([1; 32]), Before::Nobody)]);
    assert_eq!(observe(alice, 3), [], "what the system ran everybody knows");
    assert_eq!(observe(alice, 4), [(Some([3; 32]), Before::Nobody)]);
}

#[test]
fn b04_a_late_content_means_what_it_means_in_time() {
    let mut judge = fresh();
    judge.observe(run(by(1000, contact("/tmp/tool", known(1))), 1), at(0));
    judge.observe(run(by(1001, contact("/tmp/tool", PENDING)), 2), at(0));
    assert_eq!(told(&judge.tick(at(500))), [(None, Before::Nobody)]);
    let completed = |content, old| [Output::Completed { notice: 8, hash: known(content), old }];
    assert_eq!(judge.hash(file(2), known(2), at(501)), completed(2, Some([1; 32])), "changed to root");

    // The same content is the news it was.
    let mut judge = fresh();
    judge.observe(run(by(1000, contact("/tmp/tool", known(1))), 1), at(0));
    judge.observe(run(by(1001, contact("/tmp/tool", PENDING)), 1), at(0));
    judge.tick(at(500));
    assert_eq!(judge.hash(file(1), known(1), at(501)), completed(1, None));
}

#[test]
fn b04_none_of_it_again_after_a_restart() {
    let programs = vec![(key("/tmp/tool"), 1000, vec![[1; 32]]), (key("/tmp/tool"), 1001, vec![[2; 32]])];
    let mut judge = judge_of(Known { programs, next_notice: 9, last: None, open_flows: Vec::new() });
    let mut observe =
        |uid, content| told(&judge.observe(run(by(uid, contact("/tmp/tool", known(content))), 1), at(0)));
    assert_eq!(observe(1000, 1), []);
    assert_eq!(observe(1001, 2), []);
    assert_eq!(observe(1001, 3), [(Some([2; 32]), Before::Nobody)]);
    assert_eq!(observe(1002, 3), [(None, Before::Same(vec![1001]))]);
}

#[test]
fn b04_what_the_record_has_forgotten_is_new_again() {
    let mut judge = fresh();
    let observe =
        |judge: &mut Judge, uid, path| told(&judge.observe(run(by(uid, contact(path, known(1))), 1), at(0)));
    for path in ["/bin/a", "/bin/b"] {
        assert_eq!(observe(&mut judge, 0, path).len(), 1);
        assert_eq!(observe(&mut judge, 1000, path), []);
    }
    judge.forget(&key("/bin/a"));
    judge.forget(&key("/bin/c"));
    assert_eq!(observe(&mut judge, 1000, "/bin/a"), [(None, Before::Nobody)]);
    assert_eq!(observe(&mut judge, 1000, "/bin/b"), []);
    assert_eq!(judge.dropped().programs, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Observe { path: u8, file: u8, hash: Option<u8>, gap: bool },
    Hash { file: u8, content: Option<u8> },
    Pass { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 0..6_u8, proptest::option::of(0..5_u8), any::<bool>())
            .prop_map(|(path, file, hash, gap)| Step::Observe { path, file, hash, gap }),
        (0..6_u8, proptest::option::of(0..5_u8)).prop_map(|(file, content)| Step::Hash { file, content }),
        (0..900_u16).prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: ids grow by one, each path is announced exactly once and
    /// within its patience, a change has content that was never there before, and unknown never counts.
    #[test]
    fn notices_are_sound(steps in proptest::collection::vec(step(), 0..200)) {
        let mut judge = fresh();
        let mut clock = 0_i64;
        let mut next = 7;
        let mut seen: HashMap<Vec<u8>, i64> = HashMap::new();
        let mut announced: HashSet<Vec<u8>> = HashSet::new();
        let mut changed: HashSet<(Vec<u8>, [u8; 32])> = HashSet::new();
        let mut open: HashSet<i64> = HashSet::new();
        for step in steps.into_iter().chain([Step::Pass { ms: 500 }]) {
            let out = match step {
                Step::Observe { path, file: number, hash, gap } => {
                    let hash = match (hash, gap) {
                        (Some(byte), _) => known(byte),
                        (None, true) => Hash::Unknown(Gap::Exited),
                        (None, false) => PENDING,
                    };
                    let path = format!("/{path}");
                    seen.entry(path.clone().into_bytes()).or_insert(clock);
                    judge.observe(run(contact(&path, hash), number.into()), at(clock))
                }
                Step::Hash { file: number, content } => {
                    let hash = content.map_or(Hash::Unknown(Gap::Changing), known);
                    judge.hash(file(number.into()), hash, at(clock))
                }
                Step::Pass { ms } => {
                    clock += i64::from(ms);
                    judge.tick(at(clock))
                }
            };
            for output in out {
                match output {
                    Output::Notice(notice) => {
                        prop_assert_eq!(notice.id, next);
                        next += 1;
                        match notice.kind {
                            NoticeKind::NewExecutable(contact) => {
                                let path = contact.who.program.key.path.to_vec();
                                prop_assert!(announced.insert(path), "announced twice");
                                if contact.who.program.hash == PENDING {
                                    open.insert(notice.id);
                                }
                            }
                            NoticeKind::HashChanged { contact, old } => {
                                let path = contact.who.program.key.path.to_vec();
                                prop_assert!(announced.contains(&path));
                                let Hash::Known(new) = contact.who.program.hash else {
                                    return Err(TestCaseError::fail("changed to unknown"));
                                };
                                prop_assert_ne!(new, old);
                                prop_assert!(changed.insert((path, new)), "the same change twice");
                            }
                            NoticeKind::Verdict { .. } | NoticeKind::Error { .. } => prop_assert!(false),
                        }
                    }
                    Output::Completed { notice, hash, .. } => {
                        prop_assert!(open.remove(&notice), "completed twice or never sent");
                        prop_assert_ne!(hash, PENDING);
                    }
                }
            }
            for (path, since) in &seen {
                prop_assert!(announced.contains(path) || clock - since <= 1400);
            }
        }
        prop_assert_eq!(announced.len(), seen.len());
    }
}

proptest! {
    /// What bob is told is the same whether or not others did anything: by their programs, at his paths.
    #[test]
    fn b04_no_interference(
        steps in proptest::collection::vec((0..3_usize, 0..3_u8, 0..4_u8, any::<bool>(), 0..900_u16), 0..120)
    ) {
        let uids = [0, 1001, 1000];
        let hear = |with_alice: bool| {
            let (mut judge, mut clock, mut heard) = (fresh(), 0, Vec::new());
            let mut listen = |clock: i64, outputs: Vec<Output>| {
                for output in outputs {
                    let Output::Notice(notice) = output else { continue };
                    let (contact, old) = match notice.kind {
                        NoticeKind::NewExecutable(contact) => (contact, None),
                        NoticeKind::HashChanged { contact, old } => (contact, Some(old)),
                        NoticeKind::Verdict { .. } | NoticeKind::Error { .. } => continue,
                    };
                    // Bob hears of the system's programs unless he ran the same before.
                    let ran = matches!(&notice.before, Before::Same(people) if people.contains(&1001));
                    if contact.who.uid == 1001 || (contact.who.uid == 0 && !ran) {
                        heard.push((clock, contact.who.uid, contact.who.program.key.path.to_vec(), contact.who.program.hash, old));
                    }
                }
            };
            for (who, path, content, pending, ms) in &steps {
                let number = u64::from(*content) + 10 * *who as u64;
                if *who < 2 || with_alice {
                    let hash = if *pending { PENDING } else { known(*content) };
                    let contact = by(uids[*who], contact(&format!("/{path}"), hash));
                    listen(clock, judge.observe(run(contact, number), at(clock)));
                    if *ms % 3 == 0 {
                        listen(clock, judge.hash(file(number), known(*content), at(clock)));
                    }
                }
                clock += i64::from(*ms);
                listen(clock, judge.tick(at(clock)));
            }
            heard
        };
        prop_assert_eq!(hear(true), hear(false));
    }
}
