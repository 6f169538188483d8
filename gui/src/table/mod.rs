// SPDX-License-Identifier: GPL-3.0-or-later
//! A table over rows of any kind: only the rows that are on the screen have widgets, however many there
//! are, and only the pages around them are held. A row opens by double click or Enter, and gives filters by the context menu (secondary click, Menu
//! key or Shift+F10). New rows come in without moving what is selected or where it is scrolled to.

mod cell;
mod model;
mod pages;

use std::cell::{Cell, Ref, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;

use gtk4::glib::BoxedAnyObject;
use gtk4::prelude::*;
use gtk4::{gdk, gio, glib};
use picosnitch_api::People;
use picosnitch_api::query::MAX_PAGE;
use picosnitch_api::row::Page;
use picosnitch_api::tongue::{say, tr};

use crate::msg::{Msg, Part, Sender};
use crate::words::Chip;
use model::Model;
pub use pages::{PAGE, Wanted};

/// Rows above and below the screen that are asked for before they come into sight.
const NEAR: u32 = 60;

/// How often what cells say of the time since is written anew, in seconds.
const AGES: u32 = 60;

/// How far a list is scrolled, and what is selected in it: enough to come back to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spot {
    /// In pixels.
    pub at: f64,
    /// Rows from the beginning to the end of the screen.
    rows: u32,
    /// Pixels of a row.
    height: f64,
    /// The first row on the screen: its place, and what it is.
    top: Option<(u32, glib::Object)>,
    selected: Option<glib::Object>,
}

impl Spot {
    /// So many pixels down, where nothing is selected.
    pub fn pixels(at: f64) -> Self {
        Self { at, ..Self::default() }
    }
}

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
    /// A small chart.
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
    /// In bold.
    pub strong: bool,
    /// Before the name; cells of a column have one or have none.
    pub icon: Option<gio::Icon>,
}

/// Who sorts.
enum Sort<T> {
    Nobody,
    /// The rows that are here, which are all.
    Here(Order<T>),
    /// The monitor, by this word of the query.
    There(&'static str),
}

/// One column.
pub struct Column<T> {
    title: &'static str,
    show: Show<T>,
    sort: Sort<T>,
    width: i32,
    ages: bool,
}

impl<T: 'static> Column<T> {
    /// A column that takes its share of the room.
    pub fn new(title: &'static str, show: Show<T>) -> Self {
        Self { title, show, sort: Sort::Nobody, width: -1, ages: false }
    }

    /// A column of text.
    pub fn text(title: &'static str, says: impl Fn(&T) -> String + 'static) -> Self {
        Self::new(title, Show::Text(Rc::new(says)))
    }

    /// A column of numbers.
    pub fn number(title: &'static str, says: impl Fn(&T) -> String + 'static) -> Self {
        Self::new(title, Show::Number(Rc::new(says))).wide(room(title))
    }

    /// Rows can be sorted by it here.
    pub fn sorted(mut self, order: Order<T>) -> Self {
        self.sort = Sort::Here(order);
        self
    }

    /// Rows can be sorted by it, by the monitor.
    pub fn asked(mut self, word: &'static str) -> Self {
        self.sort = Sort::There(word);
        self
    }

    /// It says how long ago something was.
    pub fn ages(mut self) -> Self {
        self.ages = true;
        self
    }

    /// A fixed width, in pixels.
    pub fn wide(mut self, width: i32) -> Self {
        self.width = width;
        self
    }
}

/// Room for a title with its arrow, in pixels, in whatever language: it ends where its numbers do.
fn room(title: &str) -> i32 {
    let characters = i32::try_from(title.chars().count()).unwrap_or(i32::MAX);
    characters.saturating_mul(8).saturating_add(46).clamp(104, 200)
}

thread_local! {
    /// The first column that a sorter compared by; see [`Table::order`].
    static COMPARED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// See the module.
pub struct Table<T: 'static> {
    /// What is put on a page.
    pub root: gtk4::ScrolledWindow,
    rows: Model,
    /// A page is on its way.
    asking: Cell<bool>,
    /// Where to come back to with the answer that is on its way.
    back: RefCell<Option<Spot>>,
    /// Cells of columns whose text changes by itself.
    cells: Cells,
    selection: gtk4::SingleSelection,
    view: gtk4::ColumnView,
    hover: gtk4::EventControllerMotion,
    row: std::marker::PhantomData<T>,
}

impl<T: Clone + PartialEq + 'static> Table<T> {
    /// `label` is for a screen reader. `open` is called with the row; `chips` are its filters.
    pub fn new(
        label: &str,
        columns: Vec<Column<T>>,
        people: &Rc<People>,
        sender: &Sender,
        open: impl Fn(&T) + 'static,
        chips: impl Fn(&T) -> Vec<Chip> + 'static,
    ) -> Self {
        let rows = Model::new();
        let view = gtk4::ColumnView::builder()
            .show_row_separators(true)
            .enable_rubberband(false)
            .css_classes(["data-table"])
            .build();
        crate::speak::label(&view, label);
        let here = columns.iter().any(|column| matches!(column.sort, Sort::Here(_)));
        let model: gio::ListModel = if here {
            let sorted = gtk4::SortListModel::new(Some(rows.clone()), view.sorter());
            sorted.set_incremental(true);
            sorted.upcast()
        } else {
            rows.clone().upcast()
        };
        let selection = gtk4::SingleSelection::builder()
            .model(&model)
            .autoselect(false)
            .can_unselect(true)
            .selected(gtk4::INVALID_LIST_POSITION)
            .build();
        view.set_model(Some(&selection));
        let chips: Chips<T> = Rc::new(chips);
        let ends: Vec<bool> = columns.iter().map(|column| matches!(column.show, Show::Number(_))).collect();
        let cells = Cells::default();
        for column in columns {
            view.append_column(&build(column, &chips, people, sender, &cells));
        }
        align_titles(&view, &ends);
        view.connect_activate(move |view, at| {
            let item = view.model().and_then(|model| model.item(at));
            if let Some(row) = item.as_ref().and_then(|item| row_of::<T>(item).map(|row| row.clone())) {
                open(&row);
            }
        });
        keys(&view, &selection, &chips, people, sender);
        let root = gtk4::ScrolledWindow::builder()
            .child(&view)
            .vexpand(true)
            .hscrollbar_policy(gtk4::PolicyType::Automatic)
            .build();
        let hover = gtk4::EventControllerMotion::new();
        view.add_controller(hover.clone());
        clock(&root, &cells);
        Self {
            root,
            rows,
            asking: Cell::new(false),
            back: RefCell::default(),
            cells,
            selection,
            view,
            hover,
            row: std::marker::PhantomData,
        }
    }

    /// Shows these rows, which are all.
    pub fn set(&self, rows: Vec<T>, same: impl Fn(&T, &T) -> bool) {
        self.begin(Page { rows, cursor: String::new(), hidden: 0 }, same);
    }

    /// Shows this page instead of all. Rows that were there before and still are stay as they are; `same`
    /// tells by which one the selection is found again.
    fn begin(&self, page: Page<T>, same: impl Fn(&T, &T) -> bool) {
        let rows = page.rows;
        let back = self.back.take();
        let selected =
            back.as_ref().map_or_else(|| self.selection.selected_item(), |back| back.selected.clone());
        let at = self.root.vadjustment().value();
        let old = self.rows.first();
        let count = old.len();
        let is = |index: usize, row: &T| {
            old.get(index).and_then(|item| item.try_borrow::<T>().ok()).is_some_and(|known| *known == *row)
        };
        let shorter = count.min(rows.len());
        let head = (0..shorter).take_while(|index| is(*index, &rows[*index])).count();
        let tail =
            (0..shorter - head).take_while(|back| is(count - 1 - back, &rows[rows.len() - 1 - back])).count();
        let end = rows.len() - tail;
        let fresh = rows.into_iter().take(end).skip(head).map(BoxedAnyObject::new).collect();
        let changed = self.rows.begin(head, tail, fresh, page.cursor);
        if !changed && back.is_none() {
            return;
        }
        let find = |item: &glib::Object| {
            let wanted = row_of::<T>(item)?;
            (0..self.selection.n_items()).find(|index| {
                let item = self.selection.item(*index);
                item.as_ref().and_then(row_of::<T>).is_some_and(|row| same(&row, &wanted))
            })
        };
        if let Some(selected) = &selected {
            self.selection.set_selected(find(selected).unwrap_or(gtk4::INVALID_LIST_POSITION));
        }
        if let Some(back) = back {
            // What came above it meanwhile is above it now.
            let moved = back.top.and_then(|(at, item)| Some(f64::from(find(&item)?) - f64::from(at)));
            let at = if back.at > 0.0 { back.at + moved.unwrap_or(0.0) * back.height } else { 0.0 };
            self.scroll(at.max(0.0));
        } else if at > 0.0 && count > 0 {
            self.scroll(at);
        }
    }

    /// Rows that came since the beginning was asked for, or are older and came late; those that are here already
    /// are passed over. Both are in order; `after` says that the first comes after the second.
    fn merge(&self, rows: Vec<T>, after: impl Fn(&T, &T) -> bool) {
        let both = |one: &BoxedAnyObject, other: &BoxedAnyObject, holds: &dyn Fn(&T, &T) -> bool| {
            let (one, other) = (one.try_borrow::<T>(), other.try_borrow::<T>());
            one.is_ok_and(|one| other.is_ok_and(|other| holds(&one, &other)))
        };
        let fresh = rows.into_iter().map(BoxedAnyObject::new).collect();
        self.rows.merge(fresh, |a, b| both(a, b, &after), |a, b| both(a, b, &T::eq));
    }

    /// The last row of the first page, if others follow on further ones.
    pub fn turn(&self) -> Option<T> {
        self.rows.turn()?.try_borrow::<T>().ok().map(|row| row.clone())
    }

    /// Where it is scrolled to, and what is selected.
    pub fn spot(&self) -> Spot {
        let scrolled = self.root.vadjustment();
        let count = self.selection.n_items();
        let height = scrolled.upper() / f64::from(count.max(1));
        let row = |pixels: f64| (pixels / height.max(1.0)) as u32;
        let top = row(scrolled.value());
        Spot {
            at: scrolled.value(),
            rows: if scrolled.value() > 0.0 { row(scrolled.value() + scrolled.page_size()) + 1 } else { 0 },
            height,
            top: self.selection.item(top).map(|item| (top, item)),
            selected: self.selection.selected_item(),
        }
    }

    /// The answer that is asked for next is shown as it was then.
    pub fn come_back(&self, to: Spot) {
        self.back.replace(Some(to));
    }

    /// How many rows to ask for first: more than a page to come back to what is further down.
    pub fn first_page(&self) -> u32 {
        let rows = self.back.borrow().as_ref().map_or(0, |back| back.rows);
        if rows == 0 { PAGE } else { (rows + PAGE).min(MAX_PAGE) }
    }

    /// Writes the cells anew that change by themselves.
    pub fn refill(&self) {
        refill(&self.cells, false);
    }

    /// Takes a page that was asked for.
    pub fn take(
        &self,
        page: Page<T>,
        part: Part,
        same: impl Fn(&T, &T) -> bool,
        after: impl Fn(&T, &T) -> bool,
    ) {
        self.asking.set(false);
        let objects = |rows: Vec<T>| rows.into_iter().map(BoxedAnyObject::new).collect();
        match part {
            Part::First => self.begin(page, same),
            Part::Page(at) => {
                let kept = Some(self.selection.selected()).filter(|at| *at != gtk4::INVALID_LIST_POSITION);
                self.rows.fill(at, objects(page.rows), page.cursor, kept);
            }
            Part::Newer => self.merge(page.rows, after),
        }
    }

    /// The first page, or what is newer, is asked for.
    pub fn ask(&self) {
        self.asking.set(true);
    }

    /// An answer that will not come any more.
    pub fn lost(&self) {
        self.asking.set(false);
        self.back.take();
    }

    /// A page is on its way.
    pub fn is_asking(&self) -> bool {
        self.asking.get()
    }

    /// The page to ask for: one that is in sight, or nearly, and not held. It counts as asked for.
    pub fn ask_more(&self) -> Option<Wanted> {
        if self.asking.get() {
            return None;
        }
        let wanted = in_sight(&self.root.vadjustment(), &self.rows)?;
        self.asking.set(true);
        Some(wanted)
    }

    /// Rows of the first page.
    pub fn first(&self) -> usize {
        self.rows.first().len()
    }

    /// Forgets all rows and begins at the top.
    pub fn clear(&self) {
        self.selection.set_selected(gtk4::INVALID_LIST_POSITION);
        self.set(Vec::new(), |_, _| false);
        self.root.vadjustment().set_value(0.0);
    }

    /// Scrolls there, once the rows have their place.
    pub fn scroll(&self, to: f64) {
        let scrolled = self.root.clone();
        glib::idle_add_local_once(move || scrolled.vadjustment().set_value(to));
    }

    /// A row is selected.
    pub fn is_selected(&self) -> bool {
        self.selection.selected() != gtk4::INVALID_LIST_POSITION
    }

    /// The pointer is over it.
    pub fn is_hovered(&self) -> bool {
        self.hover.contains_pointer()
    }

    /// Somebody selected a row or scrolled down.
    pub fn is_busy(&self) -> bool {
        self.is_selected() || self.root.vadjustment().value() > 1.0
    }

    /// Calls it when nothing may hold the list any more: the pointer leaves, a selection ends, or it is scrolled back to
    /// the top.
    pub fn on_release(&self, released: impl Fn() + Clone + 'static) {
        let call = released.clone();
        self.hover.connect_leave(move |_| call());
        let call = released.clone();
        self.selection.connect_selected_notify(move |selection| {
            if selection.selected() == gtk4::INVALID_LIST_POSITION {
                call();
            }
        });
        self.root.vadjustment().connect_value_changed(move |at| {
            if at.value() <= 0.0 {
                released();
            }
        });
    }

    /// Calls it when something comes into sight that is not held.
    pub fn on_sight(&self, more: impl Fn() + 'static) {
        let rows = self.rows.clone();
        self.root.vadjustment().connect_value_changed(move |at| {
            if in_sight(at, &rows).is_some() {
                more();
            }
        });
    }

    /// Begins sorted by the column at this place, largest first, and calls `changed` whenever the person
    /// wants another order of the monitor.
    pub fn on_order(&self, first: u32, changed: impl Fn() + 'static) {
        let column = self.view.columns().item(first).and_downcast::<gtk4::ColumnViewColumn>();
        self.view.sort_by_column(column.as_ref(), gtk4::SortType::Descending);
        if let Some(sorter) = self.view.sorter() {
            sorter.connect_changed(move |_, _| changed());
        }
    }

    /// Another title or another width for a column.
    pub fn column(&self, at: u32, title: Option<&str>, width: Option<i32>) {
        let column = self.view.columns().item(at).and_downcast::<gtk4::ColumnViewColumn>();
        let Some(column) = column else { return };
        if let Some(title) = title {
            column.set_title(Some(title));
        }
        if let Some(width) = width.filter(|width| *width != column.fixed_width()) {
            column.set_fixed_width(width);
        }
    }

    /// The column that the rows are to be sorted by, as a word for the monitor, and whether the largest
    /// come first. GTK tells this only since 4.10; so its sorter is given two rows, and the columns say
    /// which of them was asked first.
    pub fn order(&self) -> Option<(&'static str, bool)> {
        COMPARED.set(None);
        let (one, other) = (BoxedAnyObject::new(()), BoxedAnyObject::new(()));
        let answer = self.view.sorter()?.compare(&one, &other);
        Some((COMPARED.take()?, answer == gtk4::Ordering::Larger))
    }
}

/// Cells that change by themselves: whether they say how long ago something was, and what writes one anew as long as it
/// is there.
type Cells = Rc<RefCell<Vec<(bool, Box<dyn Fn(bool) -> bool>)>>>;

/// Writes cells anew: those that say how long ago something was, or all.
fn refill(cells: &Cells, ages: bool) {
    cells.borrow_mut().retain(|(aging, again)| again(*aging || !ages));
}

/// While a table is seen, what it says of the time since is written anew once a minute.
fn clock(root: &gtk4::ScrolledWindow, cells: &Cells) {
    let running: Rc<RefCell<Option<glib::SourceId>>> = Rc::default();
    let (of, cells, set) = (root.downgrade(), cells.clone(), running.clone());
    root.connect_map(move |_| {
        refill(&cells, true);
        let (of, cells) = (of.clone(), cells.clone());
        let tick = move || {
            let surface = of.upgrade().and_then(|root| root.native()).and_then(|native| native.surface());
            let top = surface.and_downcast::<gdk::Toplevel>();
            if top.is_some_and(|top| !top.state().contains(gdk::ToplevelState::MINIMIZED)) {
                refill(&cells, true);
            }
            glib::ControlFlow::Continue
        };
        if let Some(old) = set.replace(Some(glib::timeout_add_seconds_local(AGES, tick))) {
            old.remove();
        }
    });
    root.connect_unmap(move |_| {
        if let Some(source) = running.take() {
            source.remove();
        }
    });
}

/// The row of an item; none where a row is stood in for.
fn row_of<T: 'static>(item: &glib::Object) -> Option<Ref<'_, T>> {
    item.downcast_ref::<BoxedAnyObject>()?.try_borrow().ok()
}

/// The first page that is on the screen or near it, and not held. All rows are of one height.
fn in_sight(at: &gtk4::Adjustment, rows: &Model) -> Option<Wanted> {
    let row = |pixels: f64| (pixels / at.upper().max(1.0) * f64::from(rows.count())) as u32;
    rows.wanted(row(at.value()).saturating_sub(NEAR), row(at.value() + at.page_size()) + NEAR)
}

/// Titles of numbers stand above their numbers.
fn align_titles(view: &gtk4::ColumnView, ends: &[bool]) {
    let mut title = view.first_child().and_then(|header| header.first_child());
    for end in ends {
        let Some(widget) = title else { return };
        if *end && let Some(inside) = widget.first_child().and_downcast::<gtk4::Box>() {
            inside.set_halign(gtk4::Align::End);
            // The arrow stands before the title, so that the title ends where the numbers do.
            if let (Some(title), Some(arrow)) = (inside.first_child(), inside.last_child())
                && title != arrow
            {
                inside.reorder_child_after(&title, Some(&arrow));
            }
        }
        title = widget.next_sibling();
    }
}

fn build<T: 'static>(
    column: Column<T>,
    chips: &Chips<T>,
    people: &Rc<People>,
    sender: &Sender,
    cells: &Cells,
) -> gtk4::ColumnViewColumn {
    let factory = gtk4::SignalListItemFactory::new();
    let show = Rc::new(column.show);
    let (make, chips, people, sender) = (show.clone(), chips.clone(), people.clone(), sender.clone());
    let ages = column.ages;
    let cells = cells.clone();
    factory.connect_setup(move |_, item| {
        let Some(item) = item.downcast_ref::<gtk4::ListItem>() else { return };
        let widget = cell::make(&make);
        if ages || matches!(*make, Show::Name(_)) {
            let (of, show) = (item.downgrade(), make.clone());
            let again = move |write: bool| {
                let Some(item) = of.upgrade() else { return false };
                if write
                    && let (Some(row), Some(widget)) = (item.item(), item.child())
                    && let Some(row) = row_of::<T>(&row)
                {
                    cell::fill(&show, &row, &widget);
                }
                true
            };
            cells.borrow_mut().push((ages, Box::new(again)));
        }
        on_click(&widget, item, &chips, &people, &sender);
        item.set_child(Some(&widget));
    });
    factory.connect_bind(move |_, item| {
        let Some(item) = item.downcast_ref::<gtk4::ListItem>() else { return };
        let (Some(row), Some(widget)) = (item.item(), item.child()) else { return };
        match row_of::<T>(&row) {
            Some(row) => cell::fill(&show, &row, &widget),
            None => cell::blank(&show, &widget),
        }
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
    let sorter = match column.sort {
        Sort::Nobody => None,
        Sort::Here(order) => {
            Some(gtk4::CustomSorter::new(move |a, b| match (row_of::<T>(a), row_of::<T>(b)) {
                (Some(a), Some(b)) => order(&a, &b).into(),
                _ => gtk4::Ordering::Equal,
            }))
        }
        Sort::There(word) => Some(gtk4::CustomSorter::new(move |_, _| {
            COMPARED.set(COMPARED.get().or(Some(word)));
            gtk4::Ordering::Smaller
        })),
    };
    built.set_sorter(sorter.as_ref());
    built
}

/// The context menu by a click on a cell.
fn on_click<T: 'static>(
    cell: &gtk4::Widget,
    item: &gtk4::ListItem,
    chips: &Chips<T>,
    people: &Rc<People>,
    sender: &Sender,
) {
    let click = gtk4::GestureClick::builder().button(gdk::BUTTON_SECONDARY).build();
    let (item, cell_of) = (item.downgrade(), cell.downgrade());
    let (chips, people, sender) = (chips.clone(), people.clone(), sender.clone());
    click.connect_pressed(move |_, _, x, y| {
        let (Some(item), Some(cell)) = (item.upgrade(), cell_of.upgrade()) else { return };
        let Some(row) = item.item() else { return };
        if let Some(row) = row_of::<T>(&row) {
            menu(&cell, (x, y), chips(&row), &people, &sender);
        }
    });
    cell.add_controller(click);
}

/// And by the keyboard, of the row that is selected.
fn keys<T: 'static>(
    view: &gtk4::ColumnView,
    selection: &gtk4::SingleSelection,
    chips: &Chips<T>,
    people: &Rc<People>,
    sender: &Sender,
) {
    let keys = gtk4::EventControllerKey::new();
    let (selection, chips, people, sender) =
        (selection.clone(), chips.clone(), people.clone(), sender.clone());
    let of = view.downgrade();
    keys.connect_key_pressed(move |_, key, _, state| {
        let shifted = key == gdk::Key::F10 && state.contains(gdk::ModifierType::SHIFT_MASK);
        if key != gdk::Key::Menu && !shifted {
            return glib::Propagation::Proceed;
        }
        let row = selection.selected_item();
        let row = row.as_ref().and_then(row_of::<T>);
        let (Some(row), Some(view)) = (row, of.upgrade()) else { return glib::Propagation::Proceed };
        // At the row that has the focus, or at the top of the table.
        let at = view.root().and_then(|root| root.focus()).filter(|focus| focus.is_ancestor(&view));
        let at = at.unwrap_or_else(|| view.upcast());
        menu(&at, (24.0, 12.0), chips(&row), &people, &sender);
        glib::Propagation::Stop
    });
    view.add_controller(keys);
}

/// Filters of a row, to choose one.
fn menu(at: &gtk4::Widget, (x, y): (f64, f64), chips: Vec<Chip>, people: &Rc<People>, sender: &Sender) {
    if chips.is_empty() {
        return;
    }
    let list = gtk4::Box::new(gtk4::Orientation::Vertical, 0);
    let popover = gtk4::Popover::builder().child(&list).has_arrow(false).css_classes(["menu"]).build();
    crate::speak::label(&popover, tr("Filters of this row"));
    for chip in chips {
        let text = say("Only {filter}", &[("filter", &chip.label(people))]);
        let label = gtk4::Label::builder().label(&text).xalign(0.0).build();
        let button = gtk4::Button::builder().child(&label).css_classes(["flat"]).build();
        crate::speak::label(&button, &text);
        let (sender, popover) = (sender.clone(), popover.downgrade());
        let chip = RefCell::new(Some(chip));
        button.connect_clicked(move |_| {
            if let Some(popover) = popover.upgrade() {
                popover.popdown();
            }
            if let Some(chip) = chip.take() {
                sender.emit(Msg::Filter(chip));
            }
        });
        list.append(&button);
    }
    // Rows take all that is in them for cells, and go with what is shown: it belongs to the table.
    let table = at.ancestor(gtk4::ColumnView::static_type()).unwrap_or_else(|| at.clone());
    let (x, y) = at.translate_coordinates(&table, x, y).unwrap_or((x, y));
    popover.set_parent(&table);
    popover.set_pointing_to(Some(&gdk::Rectangle::new(x as i32, y as i32, 1, 1)));
    popover.connect_closed(|popover| {
        let popover = popover.clone();
        // Not before its click was handled.
        glib::idle_add_local_once(move || popover.unparent());
    });
    popover.popup();
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn d05_a_title_has_room() {
        assert_eq!(room("Sent"), 104);
        assert!(room("Connections") < room("Verbindungen"));
        assert_eq!(room(&"x".repeat(90)), 200);
    }
}
