// SPDX-License-Identifier: GPL-3.0-or-later
//! A table over rows of any kind: only the rows that are on the screen have widgets, however many there
//! are. A row opens by double click or Enter, and gives filters by the context menu.

use std::cmp::Ordering;
use std::rc::Rc;

use gtk4::glib::BoxedAnyObject;
use gtk4::prelude::*;
use gtk4::{gio, glib};
use picosnitch_api::People;

use crate::msg::{Msg, Sender};
use crate::words::Chip;

/// What a cell says of a row.
pub type Says<T> = Rc<dyn Fn(&T) -> String>;
/// How rows are ordered by a column.
pub type Order<T> = fn(&T, &T) -> Ordering;
/// The values of a small chart.
pub type Values<T> = Rc<dyn Fn(&T) -> Vec<f64>>;
type Chips<T> = Rc<dyn Fn(&T) -> Vec<Chip>>;

/// How a cell shows it.
pub enum Show<T> {
    /// Text, cut in the middle where it is too long.
    Text(Says<T>),
    /// Digits of equal width, at the right.
    Number(Says<T>),
    /// A name with something smaller below it, and a pill.
    Name(Rc<dyn Fn(&T) -> Name>),
    /// A small chart of up to 60 values.
    Spark(Values<T>),
}

/// What a cell of names shows.
#[derive(Debug, Default)]
pub struct Name {
    /// The name.
    pub main: String,
    /// Where it belongs.
    pub sub: String,
    /// One word that stands out.
    pub pill: Option<&'static str>,
}

/// One column.
pub struct Column<T> {
    title: &'static str,
    show: Show<T>,
    order: Option<Order<T>>,
    width: i32,
}

impl<T: 'static> Column<T> {
    /// A column that takes its share of the room.
    pub fn new(title: &'static str, show: Show<T>) -> Self {
        Self { title, show, order: None, width: -1 }
    }

    /// A column of text.
    pub fn text(title: &'static str, says: impl Fn(&T) -> String + 'static) -> Self {
        Self::new(title, Show::Text(Rc::new(says)))
    }

    /// A column of numbers.
    pub fn number(title: &'static str, says: impl Fn(&T) -> String + 'static) -> Self {
        Self::new(title, Show::Number(Rc::new(says))).wide(110)
    }

    /// Rows can be sorted by it.
    pub fn sorted(mut self, order: Order<T>) -> Self {
        self.order = Some(order);
        self
    }

    /// A fixed width, in pixels.
    pub fn wide(mut self, width: i32) -> Self {
        self.width = width;
        self
    }
}

/// See the module.
pub struct Table<T: 'static> {
    /// What is put on a page.
    pub root: gtk4::ScrolledWindow,
    store: gio::ListStore,
    selection: gtk4::SingleSelection,
    view: gtk4::ColumnView,
    row: std::marker::PhantomData<T>,
}

impl<T: Clone + 'static> Table<T> {
    /// `label` is for a screen reader. `open` is called with the row; `chips` are its filters.
    pub fn new(
        label: &str,
        columns: Vec<Column<T>>,
        people: &Rc<People>,
        sender: &Sender,
        open: impl Fn(&T) + 'static,
        chips: impl Fn(&T) -> Vec<Chip> + 'static,
    ) -> Self {
        let store = gio::ListStore::new::<BoxedAnyObject>();
        let view = gtk4::ColumnView::builder()
            .show_row_separators(true)
            .enable_rubberband(false)
            .css_classes(["data-table"])
            .build();
        crate::speak::label(&view, label);
        let sorted = gtk4::SortListModel::new(Some(store.clone()), view.sorter());
        sorted.set_incremental(true);
        let selection = gtk4::SingleSelection::builder()
            .model(&sorted)
            .autoselect(false)
            .can_unselect(true)
            .selected(gtk4::INVALID_LIST_POSITION)
            .build();
        view.set_model(Some(&selection));
        let chips: Chips<T> = Rc::new(chips);
        for column in columns {
            view.append_column(&build(column, &chips, people, sender));
        }
        view.connect_activate(move |view, at| {
            let item = view.model().and_then(|model| model.item(at));
            if let Some(item) = item.and_downcast::<BoxedAnyObject>() {
                let row = item.borrow::<T>().clone();
                open(&row);
            }
        });
        let root = gtk4::ScrolledWindow::builder()
            .child(&view)
            .vexpand(true)
            .hscrollbar_policy(gtk4::PolicyType::Automatic)
            .build();
        Self { root, store, selection, view, row: std::marker::PhantomData }
    }

    /// Shows these rows instead.
    pub fn set(&self, rows: Vec<T>) {
        let rows: Vec<BoxedAnyObject> = rows.into_iter().map(BoxedAnyObject::new).collect();
        self.store.splice(0, self.store.n_items(), &rows);
    }

    /// Adds rows at the end.
    pub fn extend(&self, rows: Vec<T>) {
        let rows: Vec<BoxedAnyObject> = rows.into_iter().map(BoxedAnyObject::new).collect();
        self.store.splice(self.store.n_items(), 0, &rows);
    }

    /// Adds rows before the first, and lets go of the last ones beyond `most`.
    pub fn prepend(&self, rows: Vec<T>, most: u32) {
        let rows: Vec<BoxedAnyObject> = rows.into_iter().map(BoxedAnyObject::new).collect();
        self.store.splice(0, 0, &rows);
        let count = self.store.n_items();
        if count > most {
            self.store.splice(most, count - most, &[] as &[BoxedAnyObject]);
        }
    }

    /// Rows that it has.
    pub fn len(&self) -> u32 {
        self.store.n_items()
    }

    /// A row is selected.
    pub fn is_selected(&self) -> bool {
        self.selection.selected() != gtk4::INVALID_LIST_POSITION
    }

    /// Somebody reads it further down, or has a row in mind: it should not change under them.
    pub fn is_busy(&self) -> bool {
        self.is_selected() || self.root.vadjustment().value() > 1.0
    }

    /// Where the keyboard goes.
    pub fn view(&self) -> &gtk4::ColumnView {
        &self.view
    }

    /// Calls it when the end comes into sight.
    pub fn on_end(&self, more: impl Fn() + 'static) {
        self.root.vadjustment().connect_value_changed(move |at| {
            if at.value() + at.page_size() * 2.0 >= at.upper() {
                more();
            }
        });
    }
}

fn build<T: 'static>(
    column: Column<T>,
    chips: &Chips<T>,
    people: &Rc<People>,
    sender: &Sender,
) -> gtk4::ColumnViewColumn {
    let factory = gtk4::SignalListItemFactory::new();
    let show = Rc::new(column.show);
    let (make, chips, people, sender) = (show.clone(), chips.clone(), people.clone(), sender.clone());
    factory.connect_setup(move |_, item| {
        let Some(item) = item.downcast_ref::<gtk4::ListItem>() else { return };
        let cell = cell(&make);
        menu(&cell, item, &chips, &people, &sender);
        item.set_child(Some(&cell));
    });
    factory.connect_bind(move |_, item| {
        let Some(item) = item.downcast_ref::<gtk4::ListItem>() else { return };
        let (Some(row), Some(cell)) = (item.item().and_downcast::<BoxedAnyObject>(), item.child()) else {
            return;
        };
        fill(&show, &row.borrow::<T>(), &cell);
    });
    let built = gtk4::ColumnViewColumn::builder()
        .title(column.title)
        .factory(&factory)
        .resizable(true)
        .expand(column.width < 0)
        .build();
    if column.width >= 0 {
        built.set_fixed_width(column.width);
    }
    if let Some(order) = column.order {
        built.set_sorter(Some(&gtk4::CustomSorter::new(move |a, b| {
            match (a.downcast_ref::<BoxedAnyObject>(), b.downcast_ref::<BoxedAnyObject>()) {
                (Some(a), Some(b)) => order(&a.borrow::<T>(), &b.borrow::<T>()).into(),
                _ => gtk4::Ordering::Equal,
            }
        })));
    }
    built
}

fn cell<T>(show: &Show<T>) -> gtk4::Widget {
    match show {
        Show::Text(_) => gtk4::Label::builder()
            .xalign(0.0)
            .ellipsize(gtk4::pango::EllipsizeMode::Middle)
            .width_chars(6)
            .build()
            .upcast(),
        Show::Number(_) => gtk4::Label::builder().xalign(1.0).css_classes(["numeric"]).build().upcast(),
        Show::Name(_) => {
            let main =
                gtk4::Label::builder().xalign(0.0).ellipsize(gtk4::pango::EllipsizeMode::Middle).build();
            let pill = gtk4::Label::builder().css_classes(["pill-label", "caption"]).visible(false).build();
            let top = gtk4::Box::new(gtk4::Orientation::Horizontal, 6);
            top.append(&main);
            top.append(&pill);
            let sub = gtk4::Label::builder()
                .xalign(0.0)
                .ellipsize(gtk4::pango::EllipsizeMode::Middle)
                .width_chars(8)
                .css_classes(["dim-label", "caption"])
                .build();
            let both = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
            both.append(&top);
            both.append(&sub);
            both.upcast()
        }
        Show::Spark(_) => gtk4::DrawingArea::builder().content_width(96).content_height(22).build().upcast(),
    }
}

fn fill<T>(show: &Show<T>, row: &T, cell: &gtk4::Widget) {
    match show {
        Show::Text(says) | Show::Number(says) => {
            if let Some(label) = cell.downcast_ref::<gtk4::Label>() {
                let text = says(row);
                label.set_tooltip_text(
                    Some(&text).filter(|text| text.chars().count() > 24).map(String::as_str),
                );
                label.set_text(&text);
            }
        }
        Show::Name(says) => {
            let name = says(row);
            let top = cell.first_child();
            let main = top.as_ref().and_then(|top| top.first_child()).and_downcast::<gtk4::Label>();
            let pill = top.as_ref().and_then(|top| top.last_child()).and_downcast::<gtk4::Label>();
            let sub = cell.last_child().and_downcast::<gtk4::Label>();
            if let (Some(main), Some(pill), Some(sub)) = (main, pill, sub) {
                main.set_text(&name.main);
                sub.set_text(&name.sub);
                sub.set_visible(!name.sub.is_empty());
                pill.set_text(name.pill.unwrap_or_default());
                pill.set_visible(name.pill.is_some());
            }
        }
        Show::Spark(says) => {
            if let Some(area) = cell.downcast_ref::<gtk4::DrawingArea>() {
                let values = says(row);
                area.set_draw_func(move |area, cr, width, height| {
                    let ink = area.style_context().color();
                    let peak = values.iter().copied().fold(0.0, f64::max);
                    if peak <= 0.0 {
                        return;
                    }
                    cr.set_source_rgba(ink.red().into(), ink.green().into(), ink.blue().into(), 0.55);
                    let column = f64::from(width) / values.len() as f64;
                    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                        let tall = (value / peak * f64::from(height)).max(1.0);
                        cr.rectangle(at as f64 * column, f64::from(height) - tall, column.max(1.0), tall);
                    }
                    // The next frame is drawn anew.
                    let _ = cr.fill();
                });
                area.queue_draw();
            }
        }
    }
}

/// The context menu of a cell: the row's filters.
fn menu<T: 'static>(
    cell: &gtk4::Widget,
    item: &gtk4::ListItem,
    chips: &Chips<T>,
    people: &Rc<People>,
    sender: &Sender,
) {
    let click = gtk4::GestureClick::builder().button(gtk4::gdk::BUTTON_SECONDARY).build();
    let (item, cell_of) = (item.downgrade(), cell.downgrade());
    let (chips, people, sender) = (chips.clone(), people.clone(), sender.clone());
    click.connect_pressed(move |_, _, x, y| {
        let (Some(item), Some(cell)) = (item.upgrade(), cell_of.upgrade()) else { return };
        let Some(row) = item.item().and_downcast::<BoxedAnyObject>() else { return };
        let list = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
        let popover = gtk4::Popover::builder().child(&list).has_arrow(false).css_classes(["menu"]).build();
        for chip in chips(&row.borrow::<T>()) {
            let label =
                gtk4::Label::builder().label(format!("Only {}", chip.label(&people))).xalign(0.0).build();
            let button = gtk4::Button::builder().child(&label).css_classes(["flat"]).build();
            let (sender, popover) = (sender.clone(), popover.downgrade());
            button.connect_clicked(move |_| {
                if let Some(popover) = popover.upgrade() {
                    popover.popdown();
                }
                sender.emit(Msg::Filter(chip.clone()));
            });
            list.append(&button);
        }
        if list.first_child().is_none() {
            return;
        }
        popover.set_parent(&cell);
        popover.set_pointing_to(Some(&gtk4::gdk::Rectangle::new(x as i32, y as i32, 1, 1)));
        popover.connect_closed(|popover| {
            let popover = popover.clone();
            // Not before its click was handled.
            glib::idle_add_local_once(move || popover.unparent());
        });
        popover.popup();
    });
    cell.add_controller(click);
}
