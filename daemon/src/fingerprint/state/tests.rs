// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used)]
use super::*;

fn file(number: u64) -> FileId {
    FileId { inode: number, ino: number, dev: 7, generation: 0 }
}

fn place() -> Place {
    Place { path: (*b"/x").into(), deleted: false }
}

fn held() -> Option<Held> {
    let fd = std::fs::File::open("/dev/null").unwrap().into();
    Some(Held { fd, path_only: false })
}

fn stamp() -> Stamp {
    Stamp { size: 1, mtime: (1, 1), ctime: (1, 1) }
}

const PENDING: Answer = Answer::Now(Hash::Unknown(Gap::Pending));

/// Asks and answers at once.
fn know(state: &mut State, file: FileId, guard: Guard, now: Instant) {
    assert!(matches!(state.request(file, 1, now), Answer::Queued(_)));
    state.finish(file, Ok(([1; 32], stamp(), guard)), state.version(file), now);
}

#[test]
fn a_watched_content_holds_until_it_is_modified() {
    let (mut state, now) = (State::new(64), Instant::now());
    know(&mut state, file(1), Guard::Watched, now);
    let later = now + Duration::from_secs(1_000_000);
    assert_eq!(state.request(file(1), 1, later), Answer::Now(Hash::Known([1; 32])));
    assert!(state.modified(file(1)));
    assert!(matches!(state.request(file(1), 1, later), Answer::Queued(1)));
    assert!(state.start(file(1)).before.is_none(), "the old content is not believed by its stamp");
    assert_eq!(state.request(file(1), 2, later), PENDING);
    assert_eq!(state.start(file(1)).askers, [1, 2]);
}

#[test]
fn an_unwatched_content_is_looked_at_again() {
    let (mut state, now) = (State::new(64), Instant::now());
    know(&mut state, file(1), Guard::Until(now + TRUST), now);
    assert_eq!(state.request(file(1), 1, now), Answer::Now(Hash::Known([1; 32])));
    assert!(matches!(state.request(file(1), 1, now + TRUST), Answer::Queued(_)));
    assert_eq!(state.start(file(1)).before, Some(([1; 32], stamp())), "by its stamp");
}

#[test]
fn a_change_while_reading_is_not_remembered() {
    let (mut state, now) = (State::new(64), Instant::now());
    assert!(matches!(state.request(file(1), 1, now), Answer::Queued(_)));
    let version = state.version(file(1));
    assert!(!state.modified(file(1)), "its mark stays: the job goes on");
    state.finish(file(1), Ok(([1; 32], stamp(), Guard::Watched)), version, now);
    assert!(matches!(state.request(file(1), 1, now), Answer::Queued(_)));
}

#[test]
fn an_unmounted_filesystem_is_forgotten() {
    let (mut state, now) = (State::new(64), Instant::now());
    state.mounted(HashSet::from([7, 8]));
    know(&mut state, file(1), Guard::Watched, now);
    know(&mut state, file(2), Guard::Watched, now);
    state.keep_marked(&HashSet::from([(2, 7)]));
    assert_eq!(state.sizes().1, 1);
    state.mounted(HashSet::from([8]));
    assert_eq!(state.sizes().1, 0);
}

#[test]
fn descriptors_are_let_go_some_time_after_the_last_process() {
    let (mut state, now) = (State::new(64), Instant::now());
    for pid in [1, 2] {
        state.executed(pid, file(1), place(), held);
    }
    assert_eq!(state.sizes(), (1, 1), "one for both");
    assert!(state.exited(1, now));
    assert!(!state.exited(2, now), "somebody is to come anyway");
    assert!(!state.exited(3, now), "never seen");
    assert_eq!(state.tidy(now), Some(now + LINGER));
    assert!(state.place(file(1), 2).is_some());
    assert_eq!(state.tidy(now + LINGER), None);
    assert_eq!(state.sizes(), (0, 0));
}

#[test]
fn i06_a_pid_used_again_keeps_what_it_executes_now() {
    let (mut state, now) = (State::new(64), Instant::now());
    state.executed(1, file(1), place(), held);
    state.exited(1, now);
    state.executed(1, file(2), place(), held);
    state.tidy(now + LINGER);
    assert!(state.place(file(1), 1).is_none());
    assert!(state.place(file(2), 1).is_some());
    assert_eq!(state.sizes(), (1, 1));
}

#[test]
fn filesystems_of_containers_are_marked_from_time_to_time() {
    let (mut state, now) = (State::new(64), Instant::now());
    state.mounted(HashSet::from([7]));
    assert!(!state.met(7, 1, now), "the machine's own are marked as they are mounted");
    assert!(state.met(8, 1, now));
    assert!(!state.met(8, 2, now));
    assert!(state.met(8, 3, now + REMARK));
    assert_eq!(state.namespaces, [1, 3]);
    for dev in 100..100_000 {
        state.met(dev, 4, now);
    }
    assert!(state.namespaces.len() <= NAMESPACES && state.foreign.len() <= FOREIGN);
}

#[test]
fn everything_is_bounded() {
    let (mut state, now) = (State::new(100), Instant::now());
    for pid in 0..1000 {
        state.executed(pid, file(pid.into()), place(), held);
        assert!(state.sizes().0 <= 100);
    }
    assert!(state.place(file(999), 999).is_some(), "the latest stay");
    for number in 0..100 {
        state.executed(5000, file(number), place(), held);
    }
    assert!(state.processes[&5000].len() <= PER_PROCESS);
    for number in 10_000..20_000 {
        let _ = state.request(file(number), 1, now);
    }
    assert_eq!(state.lanes[1].len(), JOBS);
    assert_eq!(state.refused, 10_000 - JOBS as u64);
}

#[test]
fn contents_are_bounded_and_the_rest_doubted() {
    let (mut state, now) = (State::new(64), Instant::now());
    let mut flushed = 0;
    for number in 0..10_000 {
        assert!(matches!(state.request(file(number), 1, now), Answer::Queued(_)));
        let version = state.version(file(number));
        flushed +=
            usize::from(state.finish(file(number), Ok(([1; 32], stamp(), Guard::Watched)), version, now));
        assert!(state.sizes().1 <= FILES);
    }
    assert!(flushed > 0);
    assert_eq!(state.request(file(9999), 1, now), Answer::Now(Hash::Known([1; 32])));
}
