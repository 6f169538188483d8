// SPDX-License-Identifier: GPL-3.0-or-later
//! The window's frame: sidebar with the places and the recording state, header with search and time range,
//! filters, banner, the pages, and whose rows are shown.

use gtk4::prelude::*;
use gtk4::{gio, glib};
use libadwaita as adw;

use crate::msg::{Msg, Place, Sender};
use crate::range::Range;

/// Places of the sidebar: where, what it is called, its icon.
pub const PLACES: [(Place, &str, &str); 5] = [
    (Place::Overview, "Overview", "view-grid-symbolic"),
    (Place::Programs, "Programs", "application-x-executable-symbolic"),
    (Place::Destinations, "Destinations", "network-server-symbolic"),
    (Place::Timeline, "Timeline", "document-open-recent-symbolic"),
    (Place::Live, "Live", "network-transmit-receive-symbolic"),
];

/// The parts that change.
pub struct Frame {
    /// Sidebar beside content; one at a time where it is narrow.
    pub leaflet: adw::Leaflet,
    /// Above all, what is said for a moment.
    pub toasts: adw::ToastOverlay,
    /// The places.
    pub list: gtk4::ListBox,
    /// Count of unread notices.
    pub badge: gtk4::Label,
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
    /// What of the search is not understood.
    pub problem: gtk4::Label,
    /// The time range.
    pub range: gtk4::MenuButton,
    /// What it is called.
    pub range_label: gtk4::Label,
    /// Filters.
    pub chips: gtk4::FlowBox,
    /// What needs doing.
    pub banner: gtk4::Box,
    /// See `banner`.
    pub banner_label: gtk4::Label,
    /// See `banner`.
    pub banner_button: gtk4::Button,
    /// The pages.
    pub pages: gtk4::Stack,
    /// Whose rows.
    pub whose: gtk4::Label,
    /// Asks for everybody's.
    pub show_all: gtk4::Button,
}

impl Frame {
    /// Builds it.
    pub fn new(sender: &Sender) -> Self {
        let leaflet = adw::Leaflet::builder().can_navigate_back(true).can_unfold(true).build();
        let badge = gtk4::Label::builder()
            .css_classes(["badge", "numeric"])
            .valign(gtk4::Align::Center)
            .visible(false)
            .build();
        let (list, sidebar, state_icon, state_label) = sidebar(sender, &leaflet, &badge);
        let back = gtk4::Button::builder()
            .icon_name("go-previous-symbolic")
            .tooltip_text("Back (Alt+Left)")
            .visible(false)
            .build();
        on_click(&back, sender, || Msg::Back);
        let title = adw::WindowTitle::new("Overview", "");
        let search = gtk4::SearchEntry::builder()
            .placeholder_text("Search: words, domain: port: user: hash: unit:")
            .hexpand(true)
            .build();
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
            .tooltip_text("Search (Ctrl+F)")
            .build();
        search_bar
            .bind_property("search-mode-enabled", &find, "active")
            .bidirectional()
            .sync_create()
            .build();
        let range_label = gtk4::Label::builder()
            .label("Last 24 hours")
            .ellipsize(gtk4::pango::EllipsizeMode::Middle)
            .build();
        let range = gtk4::MenuButton::builder()
            .child(&range_label)
            .always_show_arrow(true)
            .tooltip_text("Time range (Ctrl+T)")
            .build();
        range.set_popover(Some(&ranges(sender)));
        let header = adw::HeaderBar::builder().title_widget(&title).build();
        header.pack_start(&back);
        header.pack_end(&main_menu());
        header.pack_end(&range);
        header.pack_end(&find);
        let chips = gtk4::FlowBox::builder()
            .selection_mode(gtk4::SelectionMode::None)
            .column_spacing(6)
            .row_spacing(6)
            .margin_start(12)
            .margin_end(12)
            .margin_top(6)
            .max_children_per_line(8)
            .visible(false)
            .build();
        let banner_label = gtk4::Label::builder().hexpand(true).xalign(0.0).wrap(true).build();
        let banner_button = gtk4::Button::new();
        let banner = gtk4::Box::builder().spacing(8).css_classes(["banner"]).visible(false).build();
        banner.append(&gtk4::Image::from_icon_name("dialog-warning-symbolic"));
        banner.append(&banner_label);
        banner.append(&banner_button);
        let pages = gtk4::Stack::builder().vexpand(true).hexpand(true).build();
        let whose = gtk4::Label::builder()
            .css_classes(["caption", "dim-label"])
            .xalign(0.0)
            .hexpand(true)
            .wrap(true)
            .build();
        let show_all = gtk4::Button::builder()
            .label("Show All Users…")
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
        let show = gtk4::Button::builder().icon_name("sidebar-show-symbolic").tooltip_text("Places").build();
        let (of, to) = (leaflet.clone(), sidebar.clone());
        show.connect_clicked(move |_| of.set_visible_child(&to));
        leaflet.bind_property("folded", &show, "visible").sync_create().build();
        header.pack_start(&show);
        leaflet.bind_property("folded", &header, "show-start-title-buttons").sync_create().build();
        let toasts = adw::ToastOverlay::new();
        toasts.set_child(Some(&leaflet));
        Self {
            leaflet,
            toasts,
            list,
            badge,
            state_icon,
            state_label,
            back,
            title,
            search,
            search_bar,
            problem,
            range,
            range_label,
            chips,
            banner,
            banner_label,
            banner_button,
            pages,
            whose,
            show_all,
        }
    }

    /// Where it is narrow, shows the content and not the sidebar.
    pub fn show_content(&self) {
        if let Some(content) = self.leaflet.last_child() {
            self.leaflet.set_visible_child(&content);
        }
    }
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
) -> (gtk4::ListBox, gtk4::Box, gtk4::Image, gtk4::Label) {
    let list = gtk4::ListBox::builder().css_classes(["navigation-sidebar"]).vexpand(true).build();
    crate::speak::label(&list, "Places");
    for (place, name, icon) in PLACES {
        let row = gtk4::Box::builder().spacing(10).build();
        row.append(&gtk4::Image::from_icon_name(icon));
        row.append(&gtk4::Label::builder().label(name).xalign(0.0).hexpand(true).build());
        if place == Place::Timeline {
            row.append(badge);
        }
        list.append(&gtk4::ListBoxRow::builder().child(&row).build());
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
        .tooltip_text("What is recorded, and what is lost")
        .build();
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
    view.append(Some("_Refresh"), Some("app.refresh"));
    view.append(Some("_Export What Is Shown…"), Some("app.export"));
    menu.append_section(None, &view);
    let rest = gio::Menu::new();
    rest.append(Some("_Settings"), Some("app.settings"));
    rest.append(Some("_Keyboard Shortcuts"), Some("win.show-help-overlay"));
    rest.append(Some("_About picosnitch"), Some("app.about"));
    menu.append_section(None, &rest);
    gtk4::MenuButton::builder()
        .icon_name("open-menu-symbolic")
        .menu_model(&menu)
        .primary(true)
        .tooltip_text("Menu (F10)")
        .build()
}

/// The presets, and two days to choose.
fn ranges(sender: &Sender) -> gtk4::Popover {
    let list = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
    let popover = gtk4::Popover::builder().child(&list).css_classes(["menu"]).build();
    for (range, name) in Range::PRESETS {
        let label = gtk4::Label::builder().label(name).xalign(0.0).build();
        let button = gtk4::Button::builder().child(&label).css_classes(["flat"]).build();
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
    let to = gtk4::Entry::builder().placeholder_text("now").width_chars(17).build();
    for (entry, name) in [(&from, "From"), (&to, "To")] {
        let line = gtk4::Box::builder().spacing(8).margin_top(4).margin_start(8).margin_end(8).build();
        line.append(&gtk4::Label::builder().label(name).width_chars(5).xalign(0.0).build());
        line.append(entry);
        crate::speak::label(entry, name);
        list.append(&line);
    }
    let apply = gtk4::Button::builder()
        .label("Show This Time")
        .margin_top(8)
        .margin_start(8)
        .margin_end(8)
        .margin_bottom(4)
        .build();
    let (emit, closing) = (sender.clone(), popover.downgrade());
    let choose = move || {
        let Some(since) = moment(&from.text()) else {
            from.add_css_class("error");
            return;
        };
        let until = match to.text().trim() {
            "" | "now" => Some(glib::real_time()),
            text => moment(text),
        };
        let Some(until) = until.filter(|until| *until > since) else {
            to.add_css_class("error");
            return;
        };
        from.remove_css_class("error");
        to.remove_css_class("error");
        if let Some(popover) = closing.upgrade() {
            popover.popdown();
        }
        emit.emit(Msg::Range(Range::Custom(since, until)));
    };
    apply.connect_clicked(move |_| choose());
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
    fn a_day_is_read_as_it_is_written() {
        let day = moment("2026-01-31");
        assert!(day.is_some());
        assert_eq!(moment("2026-01-31 08:30"), day.map(|day| day + (8 * 60 + 30) * 60 * 1_000_000));
        for text in ["", "yesterday", "2026-13-01", "2026-01-31 25:00", "2026-01"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
