// SPDX-License-Identifier: GPL-3.0-or-later
//! What tray and window both keep in mind: is the daemon there and well, what is new, which programs
//! came last. One [`State::apply`], no I/O: a client feeds it what a [`crate::listen::Listener`] and its
//! own calls give, does what the returned [`Effect`]s say and draws the state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Mark;
use crate::listen::Event;
use crate::row::{self, Status};

/// Unread notices kept; beyond it the oldest are only counted by [`State::more_unread`]. A client asks for so many
/// of the latest: a shorter page is the whole history.
pub const MAX_UNREAD: usize = 500;
/// Latest programs kept.
pub const MAX_PROGRAMS: usize = 12;

/// What a client feeds to [`State::apply`].
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// From the listener.
    Event(Event),
    /// The answer of `Status`.
    Status(Box<Status>),
    /// Rows of `Events`: the newest [`MAX_UNREAD`].
    Notices(Vec<row::Event>),
    /// One row that was fetched because of [`Effect::Notify`].
    Details(Box<row::Event>),
    /// These were marked as seen, here or in another client.
    Acknowledged(Vec<i64>),
}

/// What the client does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Call `Status`, `Permissions` and `Events`, and feed the answers back.
    Refresh,
    /// Call `Status` and feed the answer back.
    RefreshStatus,
    /// Tell the person: it happened just now and was not told before.
    Notify(Box<row::Event>),
    /// These notices came while nobody listened: one digest, not a storm.
    Waiting(Vec<i64>),
    /// The history is another one than before the daemon came up: numbers that are known from before mean other
    /// notices now. Comes before what the new one has.
    Another,
}

/// The daemon, as a person would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Daemon {
    /// Nobody answers: stopped or not installed.
    #[default]
    Absent,
    /// It is there and does not watch yet, or its state is not known yet.
    Starting,
    /// All is well.
    Watching,
    /// It watches, but something does not work as it should.
    Degraded,
    /// Somebody paused the record.
    Paused,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    present: bool,
    status: Option<Status>,
    unread: BTreeMap<i64, row::Event>,
    /// What was unread when the daemon came up, until a page says what of it is still so: the history may be
    /// another one now, with the same numbers for other things.
    before: BTreeMap<i64, row::Event>,
    more_unread: u64,
    programs: VecDeque<row::Event>,
    /// Everything up to this number was told or counted.
    told: i64,
    /// The newest notice of the latest page.
    newest: Option<Mark>,
    /// The newest number of a page since the daemon came up: what is not newer was in the history once.
    paged: i64,
    /// The daemon came up and no page was seen since then.
    anew: bool,
    /// The first page of notices was seen since the client started.
    caught_up: bool,
}

impl State {
    /// Takes one thing in. Effects are in the order to do them.
    #[must_use]
    pub fn apply(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Event(Event::Appeared) => {
                self.present = true;
                self.status = None;
                self.begin();
                return vec![Effect::Refresh];
            }
            Input::Event(Event::Gone) => {
                self.present = false;
                self.status = None;
            }
            Input::Event(Event::Notice(notice)) => return self.notice(*notice),
            Input::Event(Event::Recorded(through)) => {
                if let Some(status) = &mut self.status {
                    status.recorded_through = Some(through);
                }
            }
            Input::Event(Event::Degraded(reasons)) => {
                if let Some(status) = &mut self.status {
                    status.degraded = (!reasons.is_empty()).then_some(reasons);
                }
                return vec![Effect::RefreshStatus];
            }
            Input::Event(Event::Settings(_)) => return vec![Effect::RefreshStatus],
            Input::Event(Event::Refused(_)) => {}
            Input::Status(status) => {
                // An answer that was on its way while the daemon went says nothing any more.
                if self.present {
                    self.status = Some(*status);
                }
            }
            Input::Notices(rows) => return self.page(rows),
            Input::Details(row) => {
                if let Some(id) = row.id {
                    self.details(id, *row);
                }
            }
            Input::Acknowledged(ids) => {
                for id in ids {
                    self.unread.remove(&id);
                    self.before.remove(&id);
                }
                if self.unread.is_empty() && self.before.is_empty() {
                    self.more_unread = 0;
                }
            }
        }
        Vec::new()
    }

    /// Its history may be the same, one that was put in its place, or one that lost its last notices when the
    /// machine stopped: numbers say nothing until a page has been seen.
    fn begin(&mut self) {
        let unread = std::mem::take(&mut self.unread);
        self.before.extend(unread);
        self.programs.clear();
        self.told = 0;
        self.paged = 0;
        self.anew = true;
    }

    fn notice(&mut self, notice: row::Event) -> Vec<Effect> {
        let Some(id) = notice.id else { return Vec::new() };
        let new = id > self.told && !self.unread.contains_key(&id);
        // An error tells of something that Status says better: a pause, a loss, trouble with the history.
        let trouble = notice.kind.as_deref() == Some("error");
        self.keep(id, notice.clone());
        let mut effects = Vec::new();
        if new {
            self.told = id;
            effects.push(Effect::Notify(Box::new(notice)));
        }
        if trouble {
            effects.push(Effect::RefreshStatus);
        }
        effects
    }

    /// What was seen meanwhile, or is too old to be kept by now, does not come back.
    fn details(&mut self, id: i64, row: row::Event) {
        self.program(id, &row);
        if row.acknowledged == Some(true) {
            self.unread.remove(&id);
            self.before.remove(&id);
        } else if let Some(known) = self.unread.get_mut(&id).or_else(|| self.before.get_mut(&id)) {
            fill(known, row);
        }
    }

    fn page(&mut self, rows: Vec<row::Event>) -> Vec<Effect> {
        let same_history = self.newest.is_none_or(|newest| newest.is_of(&rows));
        let newest = rows
            .iter()
            .filter_map(|row| Some(Mark { number: row.id?, time: row.time }))
            .max_by_key(|mark| mark.number);
        let mut effects = Vec::new();
        if self.anew && !same_history {
            effects.push(Effect::Another);
        }
        let mut waiting = Vec::new();
        let mut listed = BTreeSet::new();
        for row in rows {
            let Some(id) = row.id else { continue };
            listed.insert(id);
            if row.acknowledged == Some(true) {
                self.unread.remove(&id);
                self.program(id, &row);
            } else if self.listed(id, row) {
                waiting.push(id);
            }
        }
        self.told = self.told.max(listed.last().copied().unwrap_or(0));
        if self.anew {
            self.rejoin(&listed, same_history);
        }
        self.newest = newest.or(self.newest);
        self.forget_gone(&listed);
        self.anew = false;
        self.caught_up = true;
        if !waiting.is_empty() {
            effects.push(Effect::Waiting(waiting));
        }
        effects
    }

    /// Of what was unread before the daemon came up, what is too old for the page is so still.
    fn rejoin(&mut self, listed: &BTreeSet<i64>, same_history: bool) {
        let older = std::mem::take(&mut self.before);
        if !same_history {
            self.more_unread = 0;
        } else if listed.len() >= MAX_UNREAD {
            for (id, row) in older.into_iter().filter(|(id, _)| Some(id) < listed.first()) {
                self.keep(id, row);
            }
        }
    }

    /// An unread row of a page; true if nobody was told of it.
    fn listed(&mut self, id: i64, row: row::Event) -> bool {
        if self.unread.contains_key(&id) {
            self.keep(id, row);
            return false;
        }
        if let Some(held) = self.before.remove(&id).filter(|held| same(held, &row)) {
            // It may say what the row does not.
            self.keep(id, held);
            self.keep(id, row);
            return false;
        }
        // Before the first page nothing was heard of what is older than the first signal.
        let fresh = id > self.told || self.anew || !self.caught_up;
        let older = self.unread.first_key_value().is_some_and(|(first, _)| id < *first);
        if !fresh && older && self.unread.len() >= MAX_UNREAD {
            // Counted already.
            self.program(id, &row);
            return false;
        }
        if !fresh {
            self.more_unread = self.more_unread.saturating_sub(1);
        }
        self.keep(id, row);
        fresh
    }

    /// What a page does not list although it goes that far was deleted, or its time is over. What is newer than
    /// any page is only on its way into the history.
    fn forget_gone(&mut self, listed: &BTreeSet<i64>) {
        let full = listed.len() >= MAX_UNREAD;
        self.paged = self.paged.max(listed.last().copied().unwrap_or(0));
        let from = listed.first().copied().filter(|_| full).unwrap_or(0);
        let reached = from..=self.paged;
        self.unread.retain(|id, _| !reached.contains(id) || listed.contains(id));
        if !full || self.unread.range(reached).next().is_none() {
            self.more_unread = 0;
        }
    }

    fn keep(&mut self, id: i64, row: row::Event) {
        self.program(id, &row);
        match self.unread.get_mut(&id) {
            Some(known) => fill(known, row),
            None => {
                self.unread.insert(id, row);
            }
        }
        while self.unread.len() > MAX_UNREAD {
            self.unread.pop_first();
            self.more_unread += 1;
        }
    }

    /// Newest first, each program once.
    fn program(&mut self, id: i64, row: &row::Event) {
        if row.path.is_none() {
            return;
        }
        if let Some(known) = self.programs.iter_mut().find(|known| known.id == Some(id)) {
            fill(known, row.clone());
        } else {
            let at = self.programs.iter().position(|known| known.id < Some(id));
            self.programs.insert(at.unwrap_or(self.programs.len()), row.clone());
        }
        let mut at = 1;
        while at < self.programs.len() {
            if self.programs.range(..at).any(|newer| same_program(newer, &self.programs[at])) {
                self.programs.remove(at);
            } else {
                at += 1;
            }
        }
        self.programs.truncate(MAX_PROGRAMS);
    }

    /// How the daemon is.
    #[must_use]
    pub fn daemon(&self) -> Daemon {
        let Some(status) = self.status.as_ref().filter(|_| self.present) else {
            return if self.present { Daemon::Starting } else { Daemon::Absent };
        };
        match status.state.as_deref() {
            Some("paused") => Daemon::Paused,
            Some("watching") if status.degraded.as_ref().is_none_or(Vec::is_empty) => Daemon::Watching,
            Some("watching") => Daemon::Degraded,
            _ => Daemon::Starting,
        }
    }

    /// The latest answer of `Status`; `None` while the daemon is absent.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Unread notices, newest first.
    pub fn unread(&self) -> impl Iterator<Item = &row::Event> {
        let mut known = self.unread.iter().rev().peekable();
        let mut before = self.only_before().peekable();
        std::iter::from_fn(move || {
            let newer = known.peek().is_some_and(|(id, _)| before.peek().is_none_or(|(other, _)| id > other));
            if newer { known.next() } else { before.next() }.map(|(_, row)| row)
        })
    }

    fn only_before(&self) -> impl Iterator<Item = (&i64, &row::Event)> {
        self.before.iter().rev().filter(|(id, _)| !self.unread.contains_key(id))
    }

    /// How many are unread, with those that are too old to be kept here.
    #[must_use]
    pub fn unread_count(&self) -> u64 {
        (self.unread.len() + self.only_before().count()) as u64 + self.more_unread
    }

    /// Unread notices that are too old to be kept here.
    #[must_use]
    pub fn more_unread(&self) -> u64 {
        self.more_unread
    }

    /// The programs that were news last, newest first.
    pub fn programs(&self) -> impl ExactSizeIterator<Item = &row::Event> {
        self.programs.iter()
    }

    /// A page of notices was seen, so that an empty list means that there are none.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }
}

/// Both are about the same thing; a signal knows no time.
fn same(one: &row::Event, other: &row::Event) -> bool {
    let time = one.time.is_none() || other.time.is_none() || one.time == other.time;
    time && (&one.kind, &one.path, &one.error) == (&other.kind, &other.path, &other.error)
}

/// Both are about the same program. A signal does not say whether it is one of a container or the host's of the same
/// path: it is neither until that is known.
fn same_program(one: &row::Event, other: &row::Event) -> bool {
    match (one.executable, other.executable) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.path == other.path,
        _ => false,
    }
}

/// A row from `Events` says more than a signal; a signal never takes anything away from a row.
fn fill(known: &mut row::Event, with: row::Event) {
    macro_rules! take {
        ($($field:ident),*) => {
            let row::Event { id: _, $($field),* } = with;
            $(if $field.is_some() { known.$field = $field; })*
        };
    }
    take!(
        time,
        kind,
        path,
        path_raw,
        name,
        sha256,
        sha256_unknown,
        old_sha256,
        uid,
        executable,
        parent,
        cmdline,
        address,
        domain,
        remote_port,
        protocol,
        direction,
        local_port,
        domain_source,
        unit,
        container,
        foreign_root,
        error,
        message,
        acknowledged,
        file_deleted
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn new(id: i64, path: &str) -> row::Event {
        row::Event {
            id: Some(id),
            kind: Some("new-executable".into()),
            path: Some(path.into()),
            ..Default::default()
        }
    }

    fn signal(id: i64, path: &str) -> Input {
        Input::Event(Event::Notice(Box::new(new(id, path))))
    }

    fn status(state: &str, degraded: &[&str]) -> Input {
        Input::Status(Box::new(Status {
            state: Some(state.into()),
            degraded: Some(degraded.iter().map(|text| (*text).to_owned()).collect()),
            ..Default::default()
        }))
    }

    #[test]
    fn d03_the_daemon_comes_goes_and_is_never_older_than_the_bus_says() {
        let mut state = State::default();
        assert_eq!(state.daemon(), Daemon::Absent);
        assert_eq!(state.apply(Input::Event(Event::Appeared)), [Effect::Refresh]);
        assert_eq!(state.daemon(), Daemon::Starting);
        for (input, daemon) in [
            (status("starting", &[]), Daemon::Starting),
            (status("watching", &[]), Daemon::Watching),
            (status("watching", &["no fanotify"]), Daemon::Degraded),
            (status("paused", &[]), Daemon::Paused),
        ] {
            assert_eq!(state.apply(input), []);
            assert_eq!(state.daemon(), daemon);
        }
        let _ = state.apply(Input::Event(Event::Gone));
        assert_eq!(state.daemon(), Daemon::Absent);
        let _ = state.apply(status("watching", &[]));
        assert_eq!(state.daemon(), Daemon::Absent, "an answer that came late");
        assert_eq!(state.status(), None);
    }

    #[test]
    fn a_container_s_program_stays_beside_the_host_s_of_the_same_path() {
        let row = |id, executable, foreign_root| row::Event {
            executable: Some(executable),
            foreign_root,
            ..new(id, "/usr/bin/curl")
        };
        let mut state = State::default();
        let _ = state.apply(Input::Event(Event::Appeared));
        let _ = state.apply(Input::Notices(vec![row(1, 7, None)]));
        let shown = |state: &State| -> Vec<_> {
            state.programs().map(|row| (row.id.unwrap(), row.foreign_root)).collect()
        };
        // The signal does not say which of them it is.
        let _ = state.apply(signal(2, "/usr/bin/curl"));
        let _ = state.apply(Input::Details(Box::new(row(2, 8, Some(true)))));
        assert_eq!(shown(&state), [(2, Some(true)), (1, None)]);
        assert_eq!(state.unread().next().unwrap().foreign_root, Some(true), "the banner goes by it");
        // Each once.
        let _ = state.apply(signal(3, "/usr/bin/curl"));
        let _ = state.apply(Input::Details(Box::new(row(3, 7, None))));
        assert_eq!(shown(&state), [(3, None), (2, Some(true))]);
        let _ = state.apply(Input::Details(Box::new(row(1, 7, None))));
        assert_eq!(shown(&state), [(3, None), (2, Some(true))]);
    }

    #[test]
    fn degraded_is_known_as_soon_as_the_daemon_says_it() {
        let mut state = State::default();
        let _ = state.apply(Input::Event(Event::Appeared));
        let _ = state.apply(status("watching", &[]));
        assert_eq!(state.apply(Input::Event(Event::Degraded(vec!["x".into()]))), [Effect::RefreshStatus]);
        assert_eq!(state.daemon(), Daemon::Degraded);
        let _ = state.apply(Input::Event(Event::Degraded(vec![])));
        assert_eq!(state.daemon(), Daemon::Watching);
    }

    #[test]
    fn n01_a_notice_is_told_once_by_whichever_way_it_comes() {
        let mut state = State::default();
        assert!(matches!(&state.apply(signal(7, "/usr/bin/curl"))[..], [Effect::Notify(_)]));
        assert_eq!(state.apply(signal(7, "/usr/bin/curl")), []);
        assert_eq!(state.apply(Input::Notices(vec![new(7, "/usr/bin/curl")])), []);
        assert_eq!(state.unread_count(), 1);
        let _ = state.apply(Input::Acknowledged(vec![7]));
        assert_eq!(state.unread_count(), 0);
        assert_eq!(state.apply(signal(7, "/usr/bin/curl")), [], "a signal that is heard late");
    }

    #[test]
    fn n07_what_waited_is_one_digest() {
        let mut state = State::default();
        let rows = (1..=40).map(|id| new(id, &format!("/bin/{id}"))).collect();
        assert_eq!(state.apply(Input::Notices(rows)), [Effect::Waiting((1..=40).collect())]);
        assert_eq!(state.unread_count(), 40);
        assert_eq!(state.unread().next().unwrap().id, Some(40));
        assert_eq!(state.programs().len(), MAX_PROGRAMS);
        assert_eq!(state.programs().next().unwrap().id, Some(40));
    }

    #[test]
    fn n07_a_signal_that_is_faster_than_the_first_page_hides_nothing() {
        let mut state = State::default();
        assert!(matches!(&state.apply(signal(41, "/bin/41"))[..], [Effect::Notify(_)]));
        assert_eq!(state.apply(Input::Details(Box::new(new(41, "/bin/41")))), []);
        let rows = || (1..=41).map(|id| new(id, &format!("/bin/{id}"))).collect();
        assert_eq!(state.apply(Input::Notices(rows())), [Effect::Waiting((1..=40).collect())]);
        assert_eq!(state.apply(Input::Notices(rows())), []);
    }

    fn timed(id: i64, path: &str, time: i64) -> row::Event {
        row::Event { time: Some(time), ..new(id, path) }
    }

    fn ids(state: &State) -> Vec<i64> {
        state.unread().filter_map(|row| row.id).collect()
    }

    /// A client that has told everything up to 1000, three of which are unread.
    fn told_1000() -> State {
        let mut state = State::default();
        let _ = state.apply(Input::Event(Event::Appeared));
        let page = || [998, 999, 1000].map(|id| timed(id, &format!("/bin/{id}"), id * 10)).into();
        assert_eq!(state.apply(Input::Notices(page())), [Effect::Waiting(vec![998, 999, 1000])]);
        let _ = state.apply(Input::Event(Event::Gone));
        assert_eq!(ids(&state), [1000, 999, 998], "they wait while the daemon is away");
        assert_eq!(state.apply(Input::Event(Event::Appeared)), [Effect::Refresh]);
        assert_eq!(ids(&state), [1000, 999, 998], "nothing is known yet of the new one");
        state
    }

    #[test]
    fn d03_a_history_that_begins_anew_is_told() {
        let mut state = told_1000();
        assert!(matches!(&state.apply(signal(1, "/bin/one"))[..], [Effect::Notify(_)]));
        let page = || [1, 2, 3].map(|id| timed(id, "/bin/one", 20_000 + id)).into();
        assert_eq!(state.apply(Input::Notices(page())), [Effect::Another, Effect::Waiting(vec![2, 3])]);
        assert_eq!(ids(&state), [3, 2, 1], "what was in the other history is gone");
        assert_eq!(state.programs().next().unwrap().id, Some(3));
        assert_eq!(state.apply(Input::Notices(page())), []);
    }

    #[test]
    fn d03_a_restart_tells_nothing_again() {
        let mut state = told_1000();
        let seen = row::Event { acknowledged: Some(true), ..timed(998, "/bin/998", 9_980) };
        let page = vec![timed(1000, "/bin/1000", 10_000), timed(999, "/bin/999", 9_990), seen];
        assert_eq!(state.apply(Input::Notices(page)), []);
        assert_eq!(ids(&state), [1000, 999]);
        assert!(matches!(&state.apply(signal(1001, "/bin/new"))[..], [Effect::Notify(_)]));
    }

    #[test]
    fn d03_a_number_that_is_used_again_is_told() {
        // The machine stopped before 1000 was written.
        let mut state = told_1000();
        let page = vec![timed(1000, "/bin/other", 30_000), timed(999, "/bin/999", 9_990)];
        assert_eq!(state.apply(Input::Notices(page)), [Effect::Another, Effect::Waiting(vec![1000])]);
        assert_eq!(state.unread().next().unwrap().path.as_deref(), Some("/bin/other"));
        // The same program, but another day.
        let mut state = told_1000();
        let page = vec![timed(1000, "/bin/1000", 30_000)];
        assert_eq!(state.apply(Input::Notices(page)), [Effect::Another, Effect::Waiting(vec![1000])]);
    }

    #[test]
    fn d03_a_daemon_that_comes_twice_before_a_page_takes_nothing_away() {
        let mut state = told_1000();
        let _ = state.apply(signal(1001, "/bin/1001"));
        let _ = state.apply(Input::Event(Event::Gone));
        let _ = state.apply(Input::Event(Event::Appeared));
        assert_eq!(ids(&state), [1001, 1000, 999, 998]);
        let _ = state.apply(Input::Acknowledged(vec![999]));
        let page = [1001, 1000, 998].map(|id| timed(id, &format!("/bin/{id}"), id * 10)).into();
        assert_eq!(state.apply(Input::Notices(page)), []);
        assert_eq!(ids(&state), [1001, 1000, 998]);
    }

    /// Those of these numbers were seen in the window.
    fn seen(ids: std::ops::RangeInclusive<i64>) -> Vec<row::Event> {
        let seen = |id| row::Event { acknowledged: Some(true), ..timed(id, "/bin/x", id * 10) };
        ids.rev().map(seen).collect()
    }

    #[test]
    fn d03_what_is_unread_behind_a_page_outlasts_a_restart() {
        let full = MAX_UNREAD as i64;
        let again = |state: &mut State, page: Vec<row::Event>| {
            let _ = state.apply(Input::Event(Event::Gone));
            let _ = state.apply(Input::Event(Event::Appeared));
            state.apply(Input::Notices(page))
        };
        let mut state = told_1000();
        let _ = state.apply(Input::Notices(seen(1001..=1000 + full)));
        assert_eq!(ids(&state), [1000, 999, 998]);
        assert_eq!(again(&mut state, seen(1001..=1000 + full)), []);
        assert_eq!(ids(&state), [1000, 999, 998]);
        let mut other = state.clone();
        // The last row of the page before has another time now.
        let page = seen(1001..=1000 + full).into_iter().map(|row| row::Event { time: Some(7), ..row });
        assert_eq!(again(&mut other, page.collect()), [Effect::Another]);
        assert_eq!(ids(&other), [0; 0], "another history");
        assert_eq!(again(&mut state, seen(1400..=1000 + full)), []);
        assert_eq!(ids(&state), [0; 0], "a page that is not full is all there is");
    }

    #[test]
    fn d03_what_is_only_counted_outlasts_a_restart() {
        let mut state = State::default();
        let _ = state.apply(Input::Notices(Vec::new()));
        for id in 1..=700 {
            let _ = state.apply(Input::Event(Event::Notice(Box::new(timed(id, "/bin/x", id)))));
        }
        let page = || Input::Notices((201..=700).rev().map(|id| timed(id, "/bin/x", id)).collect());
        let _ = state.apply(page());
        assert_eq!(state.unread_count(), 700);
        let _ = state.apply(Input::Event(Event::Appeared));
        let _ = state.apply(page());
        assert_eq!(state.unread_count(), 700);
    }

    #[test]
    fn details_bring_nothing_back_that_was_seen() {
        let mut state = State::default();
        let _ = state.apply(signal(7, "/bin/a"));
        let _ = state.apply(Input::Acknowledged(vec![7]));
        let _ = state.apply(Input::Details(Box::new(timed(7, "/bin/a", 70))));
        assert_eq!(ids(&state), [0; 0], "an answer that came late");
        let _ = state.apply(signal(8, "/bin/b"));
        let _ = state.apply(Input::Details(Box::new(seen(8..=8).remove(0))));
        assert_eq!(ids(&state), [0; 0], "seen elsewhere");
    }

    #[test]
    fn d03_an_error_asks_for_the_state() {
        // Pauses, losses and trouble with the history are told as errors, and by nothing else.
        let pause = row::Event {
            id: Some(5),
            kind: Some("error".into()),
            error: Some("pause".into()),
            ..Default::default()
        };
        let mut state = State::default();
        let effects = state.apply(Input::Event(Event::Notice(Box::new(pause))));
        assert!(matches!(&effects[..], [Effect::Notify(_), Effect::RefreshStatus]), "{effects:?}");
    }

    #[test]
    fn what_is_no_more_in_the_history_is_no_more_unread() {
        let rows = |ids: std::ops::RangeInclusive<i64>| -> Input {
            Input::Notices(ids.rev().map(|id| timed(id, &format!("/bin/{id}"), id)).collect())
        };
        let mut state = State::default();
        let _ = state.apply(rows(1..=10));
        let _ = state.apply(signal(11, "/bin/11"));
        let _ = state.apply(rows(6..=9));
        assert_eq!(ids(&state), [11, 9, 8, 7, 6], "11 is on its way, the others were deleted");
        let _ = state.apply(rows(6..=11));
        let _ = state.apply(Input::Notices(Vec::new()));
        assert_eq!(ids(&state), [0; 0], "all was deleted");
        // A full page says nothing of what is older.
        let _ = state.apply(rows(12..=20));
        let full = MAX_UNREAD as i64;
        let seen = |id| row::Event { acknowledged: Some(true), ..timed(id, "/bin/x", id) };
        let _ = state.apply(Input::Notices((21..21 + full).rev().map(seen).collect()));
        assert_eq!(ids(&state).len(), 9);
    }

    #[test]
    fn what_is_only_counted_is_counted_once_and_not_for_ever() {
        let full = MAX_UNREAD as i64;
        let page = |ids: std::ops::Range<i64>| -> Input {
            Input::Notices(ids.rev().map(|id| timed(id, &format!("/bin/{id}"), id)).collect())
        };
        let flood = || {
            let mut state = State::default();
            let _ = state.apply(Input::Notices(Vec::new()));
            for id in 1..=2 * full {
                let _ = state.apply(signal(id, &format!("/bin/{id}")));
            }
            assert_eq!(state.more_unread(), MAX_UNREAD as u64);
            // One that was asked for before the last ones came lists some that are only counted.
            for _ in 0..3 {
                let _ = state.apply(page(full - 9..2 * full - 9));
                assert_eq!((state.unread().count(), state.more_unread()), (MAX_UNREAD, MAX_UNREAD as u64));
            }
            state
        };
        let mut state = flood();
        let _ = state.apply(Input::Acknowledged((1..=2 * full).collect()));
        assert_eq!(state.more_unread(), 0, "nothing is left");
        let mut state = flood();
        let _ = state.apply(page(2 * full - 3..2 * full + 1));
        assert_eq!((state.unread().count(), state.more_unread()), (4, 0), "the history was cut");
        let mut state = flood();
        let seen = |id| row::Event { acknowledged: Some(true), ..new(id, "/bin/x") };
        let _ = state.apply(Input::Notices((full + 1..=2 * full).rev().map(seen).collect()));
        assert_eq!((state.unread().count(), state.more_unread()), (0, 0), "all were seen elsewhere");
    }

    #[test]
    fn rows_add_to_signals_and_signals_take_nothing_from_rows() {
        let mut state = State::default();
        let _ = state.apply(signal(1, "/bin/a"));
        let mut row = new(1, "/bin/a");
        row.domain = Some("example.org".into());
        let _ = state.apply(Input::Notices(vec![row]));
        let _ = state.apply(signal(1, "/bin/a"));
        assert_eq!(state.unread().next().unwrap().domain.as_deref(), Some("example.org"));
        assert_eq!(state.programs().next().unwrap().domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn programs_are_listed_once_newest_first() {
        let mut state = State::default();
        for (id, path) in [(1, "/bin/a"), (2, "/bin/b"), (3, "/bin/a")] {
            let _ = state.apply(signal(id, path));
        }
        let _ = state.apply(Input::Notices(vec![new(2, "/bin/b"), new(1, "/bin/a")]));
        let ids: Vec<_> = state.programs().map(|program| program.id.unwrap()).collect();
        assert_eq!(ids, [3, 2]);
    }

    #[test]
    fn a_flood_is_kept_within_bounds_and_counted() {
        let mut state = State::default();
        for id in 1..=2000 {
            let _ = state.apply(signal(id, &format!("/bin/{id}")));
        }
        assert_eq!(state.unread().count(), MAX_UNREAD);
        assert_eq!(state.more_unread(), 2000 - MAX_UNREAD as u64);
        assert_eq!(state.programs().len(), MAX_PROGRAMS);
    }
}
