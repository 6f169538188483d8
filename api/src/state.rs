// SPDX-License-Identifier: GPL-3.0-or-later
//! What tray and window both keep in mind: is the daemon there and well, what is new, which programs
//! came last. One [`State::apply`], no I/O: a client feeds it what a [`crate::listen::Listener`] and its
//! own calls give, does what the returned [`Effect`]s say and draws the state.

use std::collections::{BTreeMap, VecDeque};

use crate::listen::Event;
use crate::row::{self, Status};

/// Unread notices kept; beyond it the oldest are only counted by [`State::more_unread`].
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
    /// Rows of `Events`: the newest ones.
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
    more_unread: u64,
    programs: VecDeque<row::Event>,
    /// Everything up to this number was told or counted.
    told: i64,
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
                    self.keep(id, *row);
                }
            }
            Input::Acknowledged(ids) => {
                for id in ids {
                    self.unread.remove(&id);
                }
            }
        }
        Vec::new()
    }

    fn notice(&mut self, notice: row::Event) -> Vec<Effect> {
        let Some(id) = notice.id else { return Vec::new() };
        let new = id > self.told && !self.unread.contains_key(&id);
        self.keep(id, notice.clone());
        if !new {
            return Vec::new();
        }
        self.told = self.told.max(id);
        vec![Effect::Notify(Box::new(notice))]
    }

    fn page(&mut self, rows: Vec<row::Event>) -> Vec<Effect> {
        let mut waiting = Vec::new();
        let mut newest = self.told;
        for row in rows {
            let Some(id) = row.id else { continue };
            newest = newest.max(id);
            if row.acknowledged == Some(true) {
                self.unread.remove(&id);
                self.program(id, &row);
                continue;
            }
            // Before the first page nothing was heard of what is older than the first signal.
            let fresh = id > self.told || !self.caught_up;
            if fresh && !self.unread.contains_key(&id) {
                waiting.push(id);
            }
            self.keep(id, row);
        }
        self.told = newest;
        self.caught_up = true;
        if waiting.is_empty() { Vec::new() } else { vec![Effect::Waiting(waiting)] }
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
        let Some(path) = &row.path else { return };
        let at = self.programs.iter().position(|known| known.path.as_ref() == Some(path));
        if let Some(at) = at {
            match self.programs[at].id.cmp(&Some(id)) {
                std::cmp::Ordering::Greater => return,
                std::cmp::Ordering::Equal => return fill(&mut self.programs[at], row.clone()),
                std::cmp::Ordering::Less => {
                    self.programs.remove(at);
                }
            }
        }
        let at = self.programs.iter().position(|known| known.id < Some(id)).unwrap_or(self.programs.len());
        self.programs.insert(at, row.clone());
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
    pub fn unread(&self) -> impl DoubleEndedIterator<Item = &row::Event> + ExactSizeIterator {
        self.unread.values().rev()
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

/// A row from `Events` says more than a signal; a signal never takes anything away from a row.
fn fill(known: &mut row::Event, with: row::Event) {
    macro_rules! take {
        ($($field:ident),*) => { $(if with.$field.is_some() { known.$field = with.$field; })* };
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
        error,
        message,
        acknowledged
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
        assert_eq!(state.unread().len(), 1);
        let _ = state.apply(Input::Acknowledged(vec![7]));
        assert_eq!(state.unread().len(), 0);
        assert_eq!(state.apply(signal(7, "/usr/bin/curl")), [], "a signal that is heard late");
    }

    #[test]
    fn n07_what_waited_is_one_digest() {
        let mut state = State::default();
        let rows = (1..=40).map(|id| new(id, &format!("/bin/{id}"))).collect();
        assert_eq!(state.apply(Input::Notices(rows)), [Effect::Waiting((1..=40).collect())]);
        assert_eq!(state.unread().len(), 40);
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
        assert_eq!(state.unread().len(), MAX_UNREAD);
        assert_eq!(state.more_unread(), 2000 - MAX_UNREAD as u64);
        assert_eq!(state.programs().len(), MAX_PROGRAMS);
    }
}
