// SPDX-License-Identifier: GPL-3.0-or-later
//! Brings the window's frame in line with the state.

use gtk4::prelude::*;
use picosnitch_api::name::action;
use picosnitch_api::state::Daemon;
use picosnitch_api::tongue::{fill, say, tr, tr_n};
use picosnitch_api::{Permission, Scope};

use super::App;
use super::banner::{Act, banner};
use super::window::{PLACES, Removes, on_click};
use crate::format;
use crate::msg::{Msg, Place};
use crate::page::Record;

/// What the sidebar says of the record: its class, its icon and its words. `lost`: how much of it is.
fn recording(daemon: Daemon, lost: Option<&str>, record: Record) -> (&'static str, &'static str, String) {
    match (daemon, lost) {
        (Daemon::Absent, _) => ("state-none", "media-playback-stop-symbolic", tr("Not running").to_owned()),
        (Daemon::Starting, _) => ("state-none", "media-record-symbolic", tr("Starting …").into()),
        (Daemon::Paused, _) => ("state-bad", "media-playback-pause-symbolic", tr("Paused").into()),
        _ if record == Record::Off => {
            ("state-none", "media-playback-stop-symbolic", tr("The history is switched off").into())
        }
        (Daemon::Watching | Daemon::Degraded, Some(lost)) => {
            ("state-bad", "dialog-warning-symbolic", say("Recording · {lost}", &[("lost", &lost)]))
        }
        (Daemon::Watching, None) => ("state-good", "media-record-symbolic", tr("Recording · 0 lost").into()),
        (Daemon::Degraded, None) => {
            ("state-bad", "dialog-warning-symbolic", tr("Recording, not complete").into())
        }
    }
}

impl App {
    pub(super) fn show(&self) {
        self.show_place();
        self.show_state();
        self.show_filters();
        self.show_whose();
    }

    fn show_place(&self) {
        let title = match self.place {
            Place::Overview => tr("Overview"),
            Place::Programs => tr("Programs"),
            Place::Destinations => tr("Destinations"),
            Place::Timeline => tr("Timeline"),
            Place::Live => tr("Live"),
            Place::Health => tr("Record"),
            Place::Program(_) => tr("Program"),
        };
        super::can_export(self.place != Place::Health);
        let name = super::name(self.place);
        let frame = &self.frame;
        frame.pages.set_visible_child_name(name);
        let range = self.context.view.range.label(format::span);
        frame.title.set_title(title);
        frame.range_label.set_text(&range);
        crate::speak::label(&frame.range, &say("Time range: {range}", &[("range", &range)]));
        frame.back.set_visible(!self.been.is_empty());
        for (label, count) in frame.counts.iter().zip(&self.counts) {
            label.set_text(count);
        }
        let at = PLACES.iter().position(|(place, ..)| *place == self.place);
        let row = at.and_then(|at| frame.list.row_at_index(at as i32));
        if frame.list.selected_row() != row {
            frame.list.select_row(row.as_ref());
        }
    }

    fn show_state(&self) {
        let frame = &self.frame;
        let unread = self.state.unread_count();
        frame.badge.set_visible(unread > 0);
        frame.badge.set_text(&format::count(unread));
        self.pages.timeline.set_unread(unread > 0);
        let lost = self.state.status().and_then(picosnitch_api::Status::most_lost);
        let lost = lost.map(|(kind, count)| format::lost(kind, count, self.context.units));
        let (class, icon, text) = recording(self.state.daemon(), lost.as_deref(), self.context.record);
        for known in ["state-good", "state-bad", "state-none"] {
            frame.state_icon.remove_css_class(known);
        }
        frame.state_icon.add_css_class(class);
        frame.state_icon.set_icon_name(Some(icon));
        frame.state_label.set_text(&text);
        // Made of some twenty widgets: not while something else is looked at.
        if self.place == Place::Health {
            self.pages.health.set(self.state.status(), self.context.units);
        }
        self.show_banner();
    }

    /// Only when something needs doing.
    fn show_banner(&self) {
        let frame = &self.frame;
        let resumes = self.may(action::PAUSE) != Permission::No;
        let mut quiet = self.quiet.borrow_mut();
        // One that cannot be read changes nothing.
        let _ = quiet.read();
        // Not where its button leads.
        let here = |act| match self.place {
            Place::Health => matches!(act, Act::Start | Act::Show),
            Place::Timeline => act == Act::Review && self.shows_unread(),
            _ => false,
        };
        let says = banner(&self.state, quiet.quiet(), self.put_away.sentences(), resumes, here);
        let Some(says) = says else { return frame.banner.set_visible(false) };
        frame.banner_label.set_text(&says.text);
        crate::speak::label(&frame.banner, &says.text);
        frame.banner_button.set_label(says.act.label());
        frame.banner_act.set(says.act);
        frame.banner_away.set_visible(says.goes);
        frame.banner.set_visible(true);
    }

    fn show_filters(&self) {
        let frame = &self.frame;
        let view = &self.context.view;
        let people = &self.context.people;
        let mut chips: Vec<(String, Removes)> = Vec::new();
        // The record is of no time and no filter.
        let filters: &[_] = if self.place == Place::Health { &[] } else { &view.chips };
        if !view.range.is_live() && self.place != Place::Health {
            // What a drag over the chart leaves behind.
            chips.push((view.range.label(format::span), Removes::Range(self.been.wider())));
        }
        let filters = filters.iter().enumerate();
        chips.extend(filters.map(|(at, chip)| (chip.label(people), Removes::Filter(at))));
        self.show_chips(chips);
        self.show_search();
        let problem = view.problem(&self.context.people);
        frame.problem.set_visible(problem.is_some());
        frame.problem.set_text(&problem.unwrap_or_default());
    }

    /// The entry says what is searched for, also when nobody wrote it there: it comes from the command line, or from the
    /// way back. The keyboard stays where it is.
    fn show_search(&self) {
        let (frame, text) = (&self.frame, &self.context.view.search);
        if *frame.searched.borrow() == *text {
            return;
        }
        frame.searched.replace(text.clone());
        let focus = GtkWindowExt::focus(&self.root);
        frame.search_bar.set_search_mode(!text.is_empty());
        if frame.search.text() != *text {
            frame.search.set_text(text);
            frame.search.set_position(-1);
        }
        let gone =
            focus.as_ref().is_some_and(|focus| focus.is_ancestor(&frame.search_bar)) && text.is_empty();
        if !gone {
            GtkWindowExt::set_focus(&self.root, focus.as_ref());
        }
    }

    /// Those that are there already stay, with the keyboard where it is.
    fn show_chips(&self, chips: Vec<(String, Removes)>) {
        if *self.frame.chipped.borrow() == chips {
            return;
        }
        while let Some(child) = self.frame.chips.first_child() {
            self.frame.chips.remove(&child);
        }
        for (label, removes) in &chips {
            self.show_chip(label, *removes);
        }
        self.frame.chips.set_visible(!chips.is_empty());
        self.frame.chipped.replace(chips);
    }

    /// A filter with the button that removes it.
    fn show_chip(&self, label: &str, removes: Removes) {
        let chips = &self.frame.chips;
        let inside = gtk4::Box::builder().spacing(4).css_classes(["chip"]).halign(gtk4::Align::Start).build();
        inside.append(
            &gtk4::Label::builder()
                .label(label)
                .ellipsize(gtk4::pango::EllipsizeMode::Middle)
                .width_chars(i32::try_from(label.chars().count().min(24)).unwrap_or(24))
                .tooltip_text(label)
                .build(),
        );
        let text = say("Remove the filter {filter}", &[("filter", &label)]);
        let remove = gtk4::Button::builder()
            .icon_name("window-close-symbolic")
            .css_classes(["flat", "circular"])
            .valign(gtk4::Align::Center)
            .tooltip_text(&text)
            .build();
        crate::speak::label(&remove, &text);
        on_click(&remove, &self.sender, move || match removes {
            Removes::Filter(at) => Msg::Unfilter(at),
            Removes::Range(wider) => Msg::Range(wider),
        });
        inside.append(&remove);
        chips.append(&inside);
    }

    pub(super) fn show_whose(&self) {
        let frame = &self.frame;
        let all = self.context.view.scope == Scope::Any;
        let mut text = if all {
            tr("Showing the programs of everybody.").to_owned()
        } else {
            tr("Showing your programs and those of the system.").to_owned()
        };
        if self.hidden > 0 {
            let hidden =
                tr_n("{n} row of others is not shown.", "{n} rows of others are not shown.", self.hidden);
            text += " ";
            text += &fill(hidden, &[("n", &format::count(self.hidden))]);
        }
        frame.whose.set_text(&text);
        frame.show_all.set_visible(self.may_see_all() || all);
        frame.show_all.set_sensitive(!self.asking_all);
        frame.show_all.set_label(if all { tr("Show Only Yours") } else { tr("Show All Users…") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_the_sidebar_does_not_say_that_what_is_switched_off_is_whole() {
        let says = |daemon, lost, record| {
            let (class, _, text) = recording(daemon, lost, record);
            (class, text)
        };
        assert_eq!(says(Daemon::Watching, None, Record::On).0, "state-good");
        let off = ("state-none", "The history is switched off".to_owned());
        assert_eq!(says(Daemon::Watching, None, Record::Off), off);
        assert_eq!(says(Daemon::Degraded, Some("1 row lost"), Record::Off), off);
        assert_eq!(says(Daemon::Absent, None, Record::Off).1, "Not running");
        assert_eq!(says(Daemon::Watching, Some("1 row lost"), Record::On).1, "Recording · 1 row lost");
    }
}
