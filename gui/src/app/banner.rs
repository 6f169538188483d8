// SPDX-License-Identifier: GPL-3.0-or-later
//! What stands above the page: only what needs doing, one thing at a time, the most pressing first. Pure.

use std::collections::BTreeSet;

use picosnitch_api::row::Event;
use picosnitch_api::state::{Daemon, State};
use picosnitch_api::tongue::{fill, say, say_n, tr, tr_n};
use picosnitch_api::{Quiet, inert};

use crate::format;
use crate::msg::{Msg, Place};

/// Where its button leads, or what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Act {
    /// To what is unread.
    Review,
    /// To the page that says how to start the monitor.
    Start,
    /// Ends the pause.
    Resume,
    /// To the record.
    #[default]
    Show,
}

impl Act {
    /// What the button says.
    pub fn label(self) -> &'static str {
        match self {
            Act::Review => tr("Review"),
            Act::Start => tr("What to Do"),
            Act::Resume => tr("Resume"),
            Act::Show => tr("Show"),
        }
    }

    /// What it sends.
    pub fn message(self) -> Msg {
        match self {
            Act::Review => Msg::Review,
            Act::Resume => Msg::Resume,
            Act::Start | Act::Show => Msg::Go(Place::Health),
        }
    }
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Banner {
    /// One sentence, or two.
    pub text: String,
    /// Its button.
    pub act: Act,
    /// It may be put away, as nothing can be done about it.
    pub goes: bool,
}

impl Banner {
    fn of(text: String, act: Act) -> Self {
        Self { text, act, goes: false }
    }
}

/// What needs doing, if anything does. `seen`: degradations that were put away. `resumes`: the person may end a pause.
/// `here`: what a button would do is done, so that what comes after it is said.
pub fn banner(
    state: &State,
    quiet: &Quiet,
    seen: &BTreeSet<String>,
    resumes: bool,
    here: impl Fn(Act) -> bool,
) -> Option<Banner> {
    let suspicious = unread(state, quiet, "verdict");
    let suspicious = (suspicious > 0).then(|| {
        Banner::of(say_n("{n} suspicious program.", "{n} suspicious programs.", suspicious), Act::Review)
    });
    let changed = unread(state, quiet, "hash-changed");
    let changed = (changed > 0)
        .then(|| Banner::of(say_n("{n} program changed.", "{n} programs changed.", changed), Act::Review));
    let all = [suspicious, stopped(state, resumes), changed, short(state, seen)];
    all.into_iter().flatten().find(|says| !here(says.act))
}

/// Why nothing is recorded.
fn stopped(state: &State, resumes: bool) -> Option<Banner> {
    match state.daemon() {
        Daemon::Absent => {
            let text = tr("The monitor is not running: nothing is recorded.").to_owned();
            Some(Banner::of(text, Act::Start))
        }
        Daemon::Paused => {
            let until = state.status().and_then(|status| status.paused_until);
            let text = until.map_or_else(
                || tr("The record is paused.").to_owned(),
                |until| say("The record is paused until {time}.", &[("time", &format::lately(until))]),
            );
            Some(Banner::of(text, if resumes { Act::Resume } else { Act::Show }))
        }
        _ => None,
    }
}

/// What does not work as it should, while there is a monitor that does.
fn short(state: &State, seen: &BTreeSet<String>) -> Option<Banner> {
    if matches!(state.daemon(), Daemon::Absent | Daemon::Paused) {
        return None;
    }
    let mut reasons = degraded(state).filter(|why| !seen.contains(*why));
    let why = inert(reasons.next()?);
    let more = reasons.count() as u64;
    let text = match more {
        0 => why.into_owned(),
        more => {
            fill(tr_n("{why} And {n} more.", "{why} And {n} more.", more), &[("why", &why), ("n", &more)])
        }
    };
    Some(Banner { goes: true, ..Banner::of(text, Act::Show) })
}

/// What does not work as it should, one sentence each.
pub fn degraded(state: &State) -> impl Iterator<Item = &String> {
    state.status().and_then(|status| status.degraded.as_ref()).into_iter().flatten()
}

/// Programs with unread notices of a kind, each once, without those that nobody is to be told of.
fn unread(state: &State, quiet: &Quiet, kind: &str) -> u64 {
    let of_kind = |row: &&Event| row.kind.as_deref() == Some(kind) && !quiet.hides(row);
    let programs: BTreeSet<_> = state.unread().filter(of_kind).map(|row| &row.path).collect();
    programs.len() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use picosnitch_api::listen;
    use picosnitch_api::row::Status;
    use picosnitch_api::state::Input;

    use super::*;

    fn state(word: &str, degraded: &[&str], notices: &[(&str, &str)]) -> State {
        let mut state = State::default();
        let status = Status {
            state: Some(word.into()),
            degraded: Some(degraded.iter().map(|why| (*why).to_owned()).collect()),
            ..Status::default()
        };
        let rows = notices.iter().zip(1..).map(|((kind, path), id)| Event {
            id: Some(id),
            kind: Some((*kind).into()),
            path: Some((*path).into()),
            ..Event::default()
        });
        let rows = rows.collect();
        for input in
            [Input::Event(listen::Event::Appeared), Input::Status(Box::new(status)), Input::Notices(rows)]
        {
            let _ = state.apply(input);
        }
        state
    }

    fn says(state: &State, quiet: &Quiet, seen: &[&str]) -> Option<(String, Act, bool)> {
        let seen = seen.iter().map(|why| (*why).to_owned()).collect();
        banner(state, quiet, &seen, true, |_| false).map(|it| (it.text, it.act, it.goes))
    }

    #[test]
    fn d05_what_nobody_is_to_be_told_of_needs_nothing_done() {
        let news = [
            ("hash-changed", "/a"),
            ("hash-changed", "/a"),
            ("hash-changed", "/b"),
            ("new-executable", "/c"),
        ];
        let state = state("watching", &[], &news);
        let mut quiet = Quiet::default();
        assert_eq!(says(&state, &quiet, &[]).unwrap().0, "2 programs changed.", "each once");
        quiet.expected.insert("/b".into());
        assert_eq!(says(&state, &quiet, &[]).unwrap().0, "1 program changed.");
        quiet.muted.insert("/a".into());
        assert_eq!(says(&state, &quiet, &[]), None);
    }

    #[test]
    fn d05_a_pause_is_ended_from_where_it_is_told() {
        let paused = state("paused", &["x"], &[("hash-changed", "/a")]);
        let quiet = Quiet::default();
        assert_eq!(says(&paused, &quiet, &[]), Some(("The record is paused.".into(), Act::Resume, false)));
        let refused = banner(&paused, &quiet, &BTreeSet::new(), false, |_| false).unwrap();
        assert_eq!(refused.act, Act::Show, "who may not end it is not offered to");
    }

    #[test]
    fn d05_what_was_put_away_does_not_come_again() {
        let quiet = Quiet::default();
        let both = state("watching", &["one", "two"], &[]);
        assert_eq!(says(&both, &quiet, &[]), Some(("one And 1 more.".into(), Act::Show, true)));
        assert_eq!(says(&both, &quiet, &["one"]), Some(("two".into(), Act::Show, true)));
        assert_eq!(says(&both, &quiet, &["two", "one"]), None);
    }

    #[test]
    fn d05_what_leads_here_hides_nothing_else() {
        let news = [("verdict", "/a"), ("hash-changed", "/b")];
        let mut absent = state("watching", &["one"], &news);
        let _ = absent.apply(Input::Event(listen::Event::Gone));
        let says = |state: &State, here: Act| {
            banner(state, &Quiet::default(), &BTreeSet::new(), true, |act| act == here).map(|it| it.text)
        };
        assert_eq!(says(&absent, Act::Resume).unwrap(), "1 suspicious program.");
        let text = says(&absent, Act::Review).unwrap();
        assert_eq!(text, "The monitor is not running: nothing is recorded.");
        let watching = state("watching", &["one"], &news);
        assert_eq!(says(&watching, Act::Review).unwrap(), "one");
        let paused = state("paused", &["one"], &[]);
        assert_eq!(says(&paused, Act::Resume), None, "what does not work is not looked at in a pause");
    }
}
