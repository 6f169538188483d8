// SPDX-License-Identifier: GPL-3.0-or-later
//! The window's frame: sidebar with the places and the recording state, header with search and time range,
//! filters, banner, the pages, and whose rows are shown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use gtk4::{gio, glib};
use libadwaita as adw;
use picosnitch_api::tongue::{mark, tr};

use super::banner::Act;
use crate::msg::{Msg, Place, Sender};
use crate::range::Range;

/// Places of the sidebar: where, what it is called, its icon.
pub const PLACES: [(Place, &str, &str); 5] = [
    (Place::Overview, mark("Overview"), "view-grid-symbolic"),
    (Place::Programs, mark("Programs"), "application-x-executable-symbolic"),
    (Place::Destinations, mark("Destinations"), "network-server-symbolic"),
    (Place::Timeline, mark("Timeline"), "document-open-recent-symbolic"),
    (Place::Live, mark("Live"), "network-transmit-receive-symbolic"),
];

/// What the button of a chip removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removes {
    /// The filter with this number.
    Filter(usize),
    /// A closer look; it was a part of this.
    Range(Range),
}

/// The parts that change.
pub struct Frame {
    /// Sidebar beside content; one at a time where it is narrow.
    pub leaflet: adw::Leaflet,
    /// All but the sidebar.
    pub content: gtk4::Box,
    /// Above all, what is said for a moment.
    pub toasts: adw::ToastOverlay,
    /// The places.
    pub list: gtk4::ListBox,
    /// Count of unread notices.
    pub badge: gtk4::Label,
    /// How many programs and destinations.
    pub counts: [gtk4::Label; 2],
    /// Symbol and words of the recording state.
    pub state_icon: gtk4::Image,
    /// See `state_icon`.
    pub state_label: gtk4::Label,
    /// Goes back.
    pub back: gtk4::Button,
    /// What the page is called.
    pub title: adw::WindowTitle,
    /// Words to search.
    pub search: gtk4::SearchEntry,
    /// Shown while something is searched.
    pub search_bar: gtk4::SearchBar,
    /// What was searched for last, as far as the entry knows.
    pub searched: RefCell<String>,
    /// What of the search is not understood.
    pub problem: gtk4::Label,
    /// The time range.
    pub range: gtk4::MenuButton,
    /// What it is called.
    pub range_label: gtk4::Label,
    /// Filters.
    pub chips: gtk4::Box,
    /// What they say and remove.
    pub chipped: RefCell<Vec<(String, Removes)>>,
    /// What needs doing.
    pub banner: gtk4::Box,
    /// See `banner`.
    pub banner_label: gtk4::Label,
    /// See `banner`.
    pub banner_button: gtk4::Button,
    /// What its button does.
    pub banner_act: Rc<Cell<Act>>,
    /// Puts it away.
    pub banner_away: gtk4::Button,
    /// The pages.
    pub pages: gtk4::Stack,
    /// Whose rows.
    pub whose: gtk4::Label,
    /// Asks for everybody's.
    pub show_all: gtk4::Button,
}

impl Frame {
    /// Builds it; `narrow`: there will be no room for the sidebar beside the content.
    pub fn new(sender: &Sender, narrow: bool) -> Self {
        let leaflet = adw::Leaflet::builder().can_navigate_back(true).can_unfold(true).build();
        let badge = gtk4::Label::builder()
            .css_classes(["badge", "numeric"])
            .valign(gtk4::Align::Center)
            .visible(false)
            .build();
        let counts = [0, 1].map(|_| {
            gtk4::Label::builder().css_classes(["count", "numeric"]).valign(gtk4::Align::Center).build()
        });
        let (list, sidebar, state_icon, state_label) = sidebar(sender, &leaflet, &badge, &counts);
        let back = gtk4::Button::builder()
            .icon_name("go-previous-symbolic")
            .tooltip_text(tr("Back (Alt+Left)"))
            .visible(false)
            .build();
        crate::speak::label(&back, tr("Back"));
        on_click(&back, sender, || Msg::Back);
        // The heading by which a screen reader says where one is.
        let title = adw::WindowTitle::builder()
            .title(tr("Overview"))
            .accessible_role(gtk4::AccessibleRole::Heading)
            .build();
        let search = gtk4::SearchEntry::builder()
            .placeholder_text(tr("Search: words, domain: port: user: hash: unit:"))
            .hexpand(true)
            .build();
        crate::speak::label(&search, tr("Search"));
        let emit = sender.clone();
        search.connect_search_changed(move |search| emit.emit(Msg::Search(search.text().to_string())));
        let problem = gtk4::Label::builder().css_classes(["warning", "caption"]).visible(false).build();
        let searching = gtk4::Box::new(gtk4::Orientation::Vertical, 4);
        searching.append(&search);
        searching.append(&problem);
        let clamp = adw::Clamp::builder().maximum_size(640).child(&searching).hexpand(true).build();
        let search_bar = gtk4::SearchBar::builder().child(&clamp).build();
        search_bar.connect_entry(&search);
        let find = gtk4::ToggleButton::builder()
            .icon_name("system-search-symbolic")
            .tooltip_text(tr("Search (Ctrl+F)"))
            .build();
        crate::speak::label(&find, tr("Search"));
        search_bar
            .bind_property("search-mode-enabled", &find, "active")
            .bidirectional()
            .sync_create()
            .build();
        let range_label = gtk4::Label::builder()
            .label(tr("Last 24 hours"))
            .ellipsize(gtk4::pango::EllipsizeMode::Middle)
            .build();
        let clock = gtk4::Image::from_icon_name("x-office-calendar-symbolic");
        let says = gtk4::Box::new(gtk4::Orientation::Horizontal, 0);
        says.append(&clock);
        says.append(&range_label);
        let range = gtk4::MenuButton::builder()
            .child(&says)
            .always_show_arrow(true)
            .tooltip_text(tr("Time range (Ctrl+T)"))
            .build();
        range.set_popover(Some(&ranges(sender)));
        // Where it is narrow, the time stands below the title and its button is a symbol. A window that opens
        // narrow begins so: it would open as wide as it must be before it folds.
        let header = adw::HeaderBar::builder().title_widget(&title).build();
        let is_narrow = Rc::new(Cell::new(narrow));
        let fit = {
            let (label, button, title, find, header) =
                (range_label.clone(), range.clone(), title.clone(), find.clone(), header.clone());
            let narrow = is_narrow.clone();
            move || {
                let (text, narrow) = (label.text(), narrow.get());
                let all = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
                label.set_width_chars(all.min(36));
                label.set_visible(!narrow);
                clock.set_visible(narrow);
                button.set_always_show_arrow(!narrow);
                // It is in the menu, too.
                find.set_visible(!narrow);
                // So much of the title is left then that one can read it.
                let buttons = header.settings().gtk_decoration_layout().filter(|_| narrow);
                header.set_decoration_layout(buttons.map(|all| closing(&all)).as_deref());
                title.set_subtitle(if narrow { &text } else { "" });
            }
        };
        fit();
        let again = fit.clone();
        range_label.connect_label_notify(move |_| again());
        leaflet.connect_folded_notify(move |leaflet| {
            is_narrow.set(leaflet.is_folded());
            fit();
        });
        header.pack_start(&back);
        header.pack_end(&main_menu());
        header.pack_end(&range);
        header.pack_end(&find);
        let chips = crate::wrap::wrap();
        chips.set_margin_start(12);
        chips.set_margin_end(12);
        chips.set_margin_top(6);
        chips.set_margin_bottom(6);
        chips.set_visible(false);
        let banner_label = gtk4::Label::builder().hexpand(true).xalign(0.0).wrap(true).build();
        let banner_button = gtk4::Button::builder().valign(gtk4::Align::Center).build();
        let banner_act = Rc::new(Cell::new(Act::default()));
        let act = banner_act.clone();
        on_click(&banner_button, sender, move || act.get().message());
        let away = tr("Do not show this again");
        let banner_away = gtk4::Button::builder()
            .icon_name("window-close-symbolic")
            .css_classes(["flat", "circular"])
            .valign(gtk4::Align::Center)
            .tooltip_text(away)
            .build();
        crate::speak::label(&banner_away, away);
        on_click(&banner_away, sender, || Msg::PutAway);
        // A screen reader says it wherever the keyboard is.
        let banner = gtk4::Box::builder()
            .spacing(8)
            .css_classes(["banner"])
            .visible(false)
            .accessible_role(gtk4::AccessibleRole::Alert)
            .build();
        banner.append(&gtk4::Image::from_icon_name("dialog-warning-symbolic"));
        banner.append(&banner_label);
        banner.append(&banner_button);
        banner.append(&banner_away);
        let pages = gtk4::Stack::builder().vexpand(true).hexpand(true).build();
        let whose = gtk4::Label::builder()
            .css_classes(["caption", "dim-label"])
            .xalign(0.0)
            .hexpand(true)
            .wrap(true)
            .build();
        let show_all = gtk4::Button::builder()
            .label(tr("Show All Users…"))
            .css_classes(["flat", "caption"])
            .visible(false)
            .build();
        on_click(&show_all, sender, || Msg::ShowAll);
        let footer = gtk4::Box::builder().spacing(8).css_classes(["footer"]).build();
        footer.append(&whose);
        footer.append(&show_all);
        let content = gtk4::Box::builder()
            .orientation(gtk4::Orientation::Vertical)
            .hexpand(true)
            .width_request(340)
            .build();
        content.append(&header);
        content.append(&search_bar);
        content.append(&banner);
        content.append(&chips);
        content.append(&pages);
        content.append(&footer);
        leaflet.append(&sidebar);
        let line = leaflet.append(&gtk4::Separator::new(gtk4::Orientation::Vertical));
        line.set_navigatable(false);
        leaflet.append(&content);
        leaflet.set_visible_child(&content);
        let show =
            gtk4::Button::builder().icon_name("sidebar-show-symbolic").tooltip_text(tr("Places")).build();
        crate::speak::label(&show, tr("Places"));
        let (of, to) = (leaflet.clone(), sidebar.clone());
        show.connect_clicked(move |_| of.set_visible_child(&to));
        leaflet.bind_property("folded", &show, "visible").sync_create().build();
        header.pack_start(&show);
        leaflet.bind_property("folded", &header, "show-start-title-buttons").sync_create().build();
        let toasts = adw::ToastOverlay::new();
        toasts.set_child(Some(&leaflet));
        Self {
            leaflet,
            content,
            toasts,
            list,
            badge,
            counts,
            state_icon,
            state_label,
            back,
            title,
            search,
            search_bar,
            searched: RefCell::default(),
            problem,
            range,
            range_label,
            chips,
            chipped: RefCell::default(),
            banner,
            banner_label,
            banner_button,
            banner_act,
            banner_away,
            pages,
            whose,
            show_all,
        }
    }

    /// Where it is narrow, shows the content and not the sidebar.
    pub fn show_content(&self) {
        self.leaflet.set_visible_child(&self.content);
    }
}

/// A layout of window buttons without those that a narrow window can do without.
fn closing(layout: &str) -> String {
    let kept = |button: &&str| !["minimize", "maximize"].contains(button);
    let side = |side: &str| side.split(',').filter(kept).collect::<Vec<_>>().join(",");
    layout.split(':').map(side).collect::<Vec<_>>().join(":")
}

/// Sends a message when it is clicked.
pub fn on_click(button: &gtk4::Button, sender: &Sender, message: impl Fn() -> Msg + 'static) {
    let sender = sender.clone();
    button.connect_clicked(move |_| sender.emit(message()));
}

fn sidebar(
    sender: &Sender,
    leaflet: &adw::Leaflet,
    badge: &gtk4::Label,
    counts: &[gtk4::Label; 2],
) -> (gtk4::ListBox, gtk4::Box, gtk4::Image, gtk4::Label) {
    let list = gtk4::ListBox::builder().css_classes(["navigation-sidebar"]).vexpand(true).build();
    crate::speak::label(&list, tr("Places"));
    for (place, name, icon) in PLACES {
        let row = gtk4::Box::builder().spacing(10).build();
        row.append(&gtk4::Image::from_icon_name(icon));
        row.append(&gtk4::Label::builder().label(tr(name)).xalign(0.0).hexpand(true).build());
        match place {
            Place::Programs => row.append(&counts[0]),
            Place::Destinations => row.append(&counts[1]),
            Place::Timeline => row.append(badge),
            _ => {}
        }
        let row = gtk4::ListBoxRow::builder().child(&row).build();
        crate::speak::label(&row, tr(name));
        list.append(&row);
    }
    let emit = sender.clone();
    list.connect_row_activated(move |_, row| {
        if let Some((place, ..)) = usize::try_from(row.index()).ok().and_then(|at| PLACES.get(at)) {
            emit.emit(Msg::Go(*place));
        }
    });
    let state_icon = gtk4::Image::from_icon_name("media-record-symbolic");
    let state_label = gtk4::Label::builder().xalign(0.0).hexpand(true).wrap(true).build();
    let inside = gtk4::Box::builder().spacing(8).build();
    inside.append(&state_icon);
    inside.append(&state_label);
    let state = gtk4::Button::builder()
        .child(&inside)
        .css_classes(["flat", "recording"])
        .tooltip_text(tr("What is recorded, and what is lost"))
        .build();
    crate::speak::label(&state, tr("State of the record"));
    on_click(&state, sender, || Msg::Go(Place::Health));
    let header = adw::HeaderBar::builder().title_widget(&adw::WindowTitle::new("picosnitch", "")).build();
    leaflet.bind_property("folded", &header, "show-end-title-buttons").sync_create().build();
    let sidebar = gtk4::Box::builder()
        .orientation(gtk4::Orientation::Vertical)
        .width_request(210)
        .hexpand(false)
        .css_classes(["sidebar-pane"])
        .build();
    sidebar.append(&header);
    sidebar.append(&list);
    sidebar.append(&state);
    (list, sidebar, state_icon, state_label)
}

fn main_menu() -> gtk4::MenuButton {
    let menu = gio::Menu::new();
    let view = gio::Menu::new();
    view.append(Some(tr("_Search")), Some("app.find"));
    view.append(Some(tr("_Refresh")), Some("app.refresh"));
    view.append(Some(tr("_Export What Is Shown…")), Some("app.export"));
    menu.append_section(None, &view);
    let rest = gio::Menu::new();
    rest.append(Some(tr("_Settings")), Some("app.settings"));
    rest.append(Some(tr("_Keyboard Shortcuts")), Some("win.show-help-overlay"));
    rest.append(Some(tr("_About picosnitch")), Some("app.about"));
    menu.append_section(None, &rest);
    let button = gtk4::MenuButton::builder()
        .icon_name("open-menu-symbolic")
        .menu_model(&menu)
        .primary(true)
        .tooltip_text(tr("Menu (F10)"))
        .build();
    crate::speak::label(&button, tr("Menu"));
    button
}

/// The presets, and two days to choose.
fn ranges(sender: &Sender) -> gtk4::Popover {
    let list = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
    let popover = gtk4::Popover::builder().child(&list).css_classes(["menu"]).build();
    for (range, name) in Range::PRESETS {
        let label = gtk4::Label::builder().label(tr(name)).xalign(0.0).build();
        let button = gtk4::Button::builder().child(&label).css_classes(["flat"]).build();
        crate::speak::label(&button, tr(name));
        let (emit, popover) = (sender.clone(), popover.downgrade());
        button.connect_clicked(move |_| {
            if let Some(popover) = popover.upgrade() {
                popover.popdown();
            }
            emit.emit(Msg::Range(range));
        });
        list.append(&button);
    }
    list.append(&gtk4::Separator::new(gtk4::Orientation::Horizontal));
    let from = gtk4::Entry::builder().placeholder_text("2026-01-31 08:00").width_chars(17).build();
    let to = gtk4::Entry::builder().placeholder_text(tr("now")).width_chars(17).build();
    for (entry, name) in [(&from, tr("From")), (&to, tr("To"))] {
        let line = gtk4::Box::builder().spacing(8).margin_top(4).margin_start(8).margin_end(8).build();
        line.append(&gtk4::Label::builder().label(name).width_chars(5).xalign(0.0).build());
        line.append(entry);
        crate::speak::label(entry, name);
        list.append(&line);
    }
    let entries = [from.clone(), to.clone()];
    let apply = gtk4::Button::builder()
        .label(tr("Show This Time"))
        .margin_top(8)
        .margin_start(8)
        .margin_end(8)
        .margin_bottom(4)
        .build();
    let problem = gtk4::Label::builder()
        .css_classes(["caption", "range-problem"])
        .margin_start(8)
        .margin_end(8)
        .margin_top(4)
        .xalign(0.0)
        .visible(false)
        .build();
    let said = problem.clone();
    let explain = move |text: &str| {
        said.set_text(text);
        said.set_visible(!text.is_empty());
    };
    let (emit, closing) = (sender.clone(), popover.downgrade());
    let choose = move || {
        from.remove_css_class("error");
        to.remove_css_class("error");
        explain("");
        let Some(since) = moment(&from.text()) else {
            from.add_css_class("error");
            return explain(tr("Write it as 2026-01-31 08:00."));
        };
        let until = match to.text().trim() {
            "" | "now" => Some(glib::real_time()),
            text => moment(text),
        };
        let Some(until) = until.filter(|until| *until > since) else {
            to.add_css_class("error");
            return explain(tr("The end is after the beginning, as 2026-01-31 08:00."));
        };
        if let Some(popover) = closing.upgrade() {
            popover.popdown();
        }
        emit.emit(Msg::Range(Range::Custom(since, until)));
    };
    let choose = Rc::new(choose);
    for entry in entries {
        let choose = choose.clone();
        entry.connect_activate(move |_| choose());
    }
    apply.connect_clicked(move |_| choose());
    list.append(&problem);
    list.append(&apply);
    popover
}

/// A day, with or without a time, as people write it.
fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let mut day = day.split('-').map(str::parse::<i32>);
    let (year, month, date) = (day.next()?.ok()?, day.next()?.ok()?, day.next()?.ok()?);
    let mut time = time.split(':').map(str::parse::<i32>);
    let (hour, minute) = (time.next()?.ok()?, time.next().unwrap_or(Ok(0)).ok()?);
    glib::DateTime::from_local(year, month, date, hour, minute, 0.0).ok().map(|at| at.to_unix() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_a_narrow_window_keeps_the_button_that_closes_it_where_it_is() {
        assert_eq!(closing("menu:minimize,maximize,close"), "menu:close");
        assert_eq!(closing("close,minimize:icon"), "close:icon");
        assert_eq!(closing(""), "");
    }

    #[test]
    fn a_day_is_read_as_it_is_written() {
        let day = moment("2026-01-31");
        assert!(day.is_some());
        assert_eq!(moment("2026-01-31 08:30"), day.map(|day| day + (8 * 60 + 30) * 60 * 1_000_000));
        for text in ["", "yesterday", "2026-13-01", "2026-01-31 25:00", "2026-01"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
