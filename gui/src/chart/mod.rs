// SPDX-License-Identifier: GPL-3.0-or-later
//! The chart: a drawing with a cursor that pointer and arrow keys move, a readout of exact numbers, and a
//! legend whose entries filter.

mod draw;
pub mod scale;
mod ticks;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gtk4::prelude::*;
use gtk4::{gdk, glib};
use libadwaita as adw;
use picosnitch_api::tongue::{say, tr};
use picosnitch_api::{Dimension, People};

use crate::format::{self, Units};
use crate::msg::{Msg, Sender};
use crate::range::Range;
use crate::table::{Column, Table};
use crate::words::{self, Chip};
use scale::{Data, LINES};

/// A step of the chart as a row of a table.
#[derive(Clone, PartialEq)]
struct Step {
    time: i64,
    sent: u64,
    received: u64,
    lines: String,
}

#[derive(Default)]
struct Inner {
    data: Data,
    by: Option<Dimension>,
    units: Units,
    cursor: Option<usize>,
    /// Where the pointer was last.
    pointer: (f64, f64),
    hovered: bool,
    drag: Option<(f64, f64)>,
    /// It is the pointer that selects.
    dragging: bool,
    /// Where Shift and the arrows began to select.
    anchor: Option<usize>,
    /// The line whose entry of the legend is pointed at.
    line: Option<usize>,
}

impl Inner {
    /// Takes other data. Cursor and selection stay at the times where they are, as long as these are in the chart.
    fn replace(&mut self, data: Data) {
        let old = std::mem::replace(&mut self.data, data);
        let moved = |at: Option<usize>| {
            let time = old.times.get(at?)? + old.width / 2;
            let (first, last) = self.data.span();
            self.data.step_at(self.data.share_of(time)).filter(|_| (first..last).contains(&time))
        };
        (self.cursor, self.anchor) = (moved(self.cursor), moved(self.anchor));
        if self.dragging {
            let moved = |share| self.data.share_of(old.time_at(share)).clamp(0.0, 1.0);
            self.drag = self.drag.map(|(from, to)| (moved(from), moved(to)));
        } else {
            self.select();
        }
    }

    /// Marks what keys have selected: from the anchor to the cursor.
    fn select(&mut self) {
        let steps = self.data.times.len().max(1) as f64;
        self.drag = self
            .anchor
            .zip(self.cursor)
            .map(|(from, to)| (from.min(to) as f64 / steps, (from.max(to) + 1) as f64 / steps));
    }
}

/// See the module.
#[derive(Clone)]
pub struct Chart {
    /// What is put on a page.
    pub root: gtk4::Box,
    /// Shows it as a table instead; stands in the head of the chart.
    pub toggle: gtk4::ToggleButton,
    table: Rc<Table<Step>>,
    area: gtk4::DrawingArea,
    readout: gtk4::Label,
    legend: gtk4::FlowBox,
    inner: Rc<RefCell<Inner>>,
    people: Rc<People>,
    sender: Sender,
}

impl Chart {
    /// An empty one. Zooming and filtering are sent.
    pub fn new(sender: &Sender, people: &Rc<People>, units: &Rc<Cell<Units>>) -> Self {
        let area = gtk4::DrawingArea::builder()
            .content_height(220)
            .hexpand(true)
            .focusable(true)
            .accessible_role(gtk4::AccessibleRole::Img)
            .css_classes(["chart"])
            .build();
        crate::speak::label(&area, tr("Traffic over time"));
        let readout = gtk4::Label::builder()
            .css_classes(["readout", "numeric"])
            .xalign(0.0)
            .yalign(0.0)
            .visible(false)
            .can_target(false)
            .build();
        let overlay = gtk4::Overlay::builder().child(&area).build();
        overlay.add_overlay(&readout);
        let table = Rc::new(as_table(sender, people, units));
        let stack = gtk4::Stack::new();
        stack.add_named(&overlay, Some("chart"));
        stack.add_named(&table.root, Some("table"));
        let toggle = gtk4::ToggleButton::builder()
            .icon_name("view-list-symbolic")
            .css_classes(["flat"])
            .tooltip_text(tr("Show as a table"))
            .build();
        crate::speak::label(&toggle, tr("Show as a table"));
        let legend = gtk4::FlowBox::builder()
            .selection_mode(gtk4::SelectionMode::None)
            .max_children_per_line(9)
            .column_spacing(4)
            .build();
        let root = gtk4::Box::new(gtk4::Orientation::Vertical, 4);
        root.append(&stack);
        root.append(&legend);
        let chart = Self {
            root,
            toggle,
            table,
            area,
            readout,
            legend,
            inner: Rc::default(),
            people: people.clone(),
            sender: sender.clone(),
        };
        chart.connect();
        let this = chart.clone();
        overlay.connect_get_child_position(move |overlay, readout| {
            this.place(readout, f64::from(overlay.width()))
        });
        let this = chart.clone();
        chart.toggle.connect_toggled(move |toggle| {
            stack.set_visible_child_name(if toggle.is_active() { "table" } else { "chart" });
            this.fill();
        });
        chart
    }

    fn connect(&self) {
        let this = self.clone();
        self.area.set_draw_func(move |area, cr, width, height| {
            let inner = this.inner.borrow();
            let look = draw::Look {
                ink: area.style_context().color(),
                strong: adw::StyleManager::default().is_high_contrast(),
                units: inner.units,
                cursor: inner.cursor,
                drag: inner.drag,
                line: inner.line,
            };
            // The next frame is drawn anew.
            let _ = draw::draw(cr, width.into(), height.into(), &inner.data, &look);
        });
        let area = self.area.downgrade();
        adw::StyleManager::default().connect_high_contrast_notify(move |_| {
            if let Some(area) = area.upgrade() {
                area.queue_draw();
            }
        });
        let motion = gtk4::EventControllerMotion::new();
        let this = self.clone();
        motion.connect_motion(move |_, x, y| {
            // What changes under a pointer that rests is told as motion too; the cursor may have been moved by
            // keys since.
            if std::mem::replace(&mut this.inner.borrow_mut().pointer, (x, y)) == (x, y) {
                return;
            }
            let share = draw::share(x, this.area.width().into());
            let at = this.inner.borrow().data.step_at(share);
            this.inner.borrow_mut().hovered = true;
            this.point(at);
        });
        let this = self.clone();
        motion.connect_leave(move |_| {
            this.inner.borrow_mut().hovered = false;
            this.inner.borrow_mut().pointer = (-1.0, -1.0);
            this.point(None);
        });
        self.area.add_controller(motion);
        let drag = gtk4::GestureDrag::new();
        let this = self.clone();
        drag.connect_drag_update(move |drag, dx, _| {
            let Some((x, _)) = drag.start_point() else { return };
            let width = this.area.width().into();
            let mut inner = this.inner.borrow_mut();
            if !inner.dragging {
                inner.dragging = true;
                inner.drag = Some((draw::share(x, width), 0.0));
            }
            // Where it began stays where it is when the data move on.
            inner.drag = inner.drag.map(|(from, _)| (from, draw::share(x + dx, width)));
            drop(inner);
            this.area.queue_draw();
        });
        let this = self.clone();
        drag.connect_drag_end(move |_, dx, _| {
            this.area.grab_focus();
            this.inner.borrow_mut().dragging = false;
            let Some((from, to)) = this.inner.borrow_mut().drag.take() else { return };
            this.area.queue_draw();
            // A click that trembles is no selection.
            if dx.abs() > 6.0 {
                let inner = this.inner.borrow();
                this.sender.emit(Msg::Zoom(Range::zoom(inner.data.time_at(from), inner.data.time_at(to))));
            }
        });
        self.area.add_controller(drag);
        let keys = gtk4::EventControllerKey::new();
        let this = self.clone();
        keys.connect_key_pressed(move |_, key, _, state| this.key(key, state));
        self.area.add_controller(keys);
    }

    /// Arrows move the cursor, with Shift they select; Enter looks closer, Escape goes back.
    fn key(&self, key: gdk::Key, state: gdk::ModifierType) -> glib::Propagation {
        let mut inner = self.inner.borrow_mut();
        let Some(last) = inner.data.times.len().checked_sub(1) else { return glib::Propagation::Proceed };
        let at = inner.cursor.unwrap_or(last);
        let to = match key {
            gdk::Key::Left => at.saturating_sub(1),
            gdk::Key::Right => (at + 1).min(last),
            gdk::Key::Page_Up => at.saturating_sub(10),
            gdk::Key::Page_Down => (at + 10).min(last),
            gdk::Key::Home => 0,
            gdk::Key::End => last,
            gdk::Key::Return | gdk::Key::KP_Enter => {
                let from = inner.anchor.take().unwrap_or(at);
                let (first, end) = (from.min(at), from.max(at));
                let (since, until) = (inner.data.times[first], inner.data.times[end] + inner.data.width);
                inner.drag = None;
                self.sender.emit(Msg::Zoom(Range::zoom(since, until)));
                return glib::Propagation::Stop;
            }
            gdk::Key::Escape => {
                self.sender.emit(Msg::Back);
                return glib::Propagation::Stop;
            }
            _ => return glib::Propagation::Proceed,
        };
        if state.contains(gdk::ModifierType::SHIFT_MASK) {
            inner.anchor.get_or_insert(at);
        } else {
            inner.anchor = None;
        }
        inner.cursor = Some(to);
        inner.select();
        drop(inner);
        self.point(Some(to));
        glib::Propagation::Stop
    }

    /// Where the readout stands: at the cursor, whichever way people read. Time goes to the right everywhere.
    fn place(&self, readout: &gtk4::Widget, width: f64) -> Option<gdk::Rectangle> {
        let inner = self.inner.borrow();
        let x = draw::middle(inner.cursor?, inner.data.times.len(), width);
        let (_, size) = readout.preferred_size();
        let x = draw::beside(x, size.width().into(), width) as i32;
        Some(gdk::Rectangle::new(x, 0, size.width().min(width as i32), size.height()))
    }

    /// Moves the cursor and says what is there.
    fn point(&self, at: Option<usize>) {
        let text = {
            let mut inner = self.inner.borrow_mut();
            inner.cursor = at;
            at.and_then(|at| self.says(&inner, at))
        };
        self.readout.set_visible(text.is_some());
        if text.is_none() {
            // Nothing of what was there before.
            crate::speak::label(&self.area, tr("Traffic over time"));
        }
        if let Some(text) = text {
            self.readout.set_text(&text);
            crate::speak::label(&self.area, &text);
            self.readout.queue_resize();
        }
        self.area.queue_draw();
    }

    fn says(&self, inner: &Inner, at: usize) -> Option<String> {
        let data = &inner.data;
        let time = *data.times.get(at)?;
        let (sent, received) = data.total(at);
        let bytes = |count| inner.units.bytes(count);
        let mut lines = vec![
            if data.width < 60_000_000 {
                format!("{} – {}", format::moment(time), format::clock(time + data.width))
            } else {
                format::span(time, time + data.width)
            },
            format!("↓ {}   ↑ {}", bytes(received), bytes(sent)),
        ];
        lines.extend(self.lines(inner, at).into_iter().take(5));
        for (when, changed, name) in &data.markers {
            if (time..time + data.width).contains(when) && lines.len() < 9 {
                let text = if *changed { tr("▲ changed: {name}") } else { tr("◆ new: {name}") };
                lines.push(picosnitch_api::tongue::fill(text, &[("name", name)]));
            }
        }
        Some(lines.join("\n"))
    }

    /// What each line has in a step, largest first; without those that have nothing.
    fn lines(&self, inner: &Inner, at: usize) -> Vec<String> {
        let bytes = |count| inner.units.bytes(count);
        let lines = inner.data.lines.iter();
        let mut steps: Vec<_> = lines.filter_map(|line| Some((line, *line.steps.get(at)?))).collect();
        steps.retain(|(_, (sent, received))| sent.saturating_add(*received) > 0);
        steps.sort_by_key(|(_, (sent, received))| std::cmp::Reverse(sent.saturating_add(*received)));
        let says = |(line, (sent, received)): (&scale::Line, (u64, u64))| {
            format!("{}: ↓ {} ↑ {}", self.name(inner, line), bytes(received), bytes(sent))
        };
        steps.into_iter().map(says).collect()
    }

    fn name(&self, inner: &Inner, line: &scale::Line) -> String {
        match (&line.key, inner.by) {
            (None, _) => tr("all others").into(),
            (Some(key), Some(Dimension::Path | Dimension::Parent | Dimension::Grandparent)) => {
                let file = key.rsplit('/').next().unwrap_or(key);
                words::shown(Dimension::Name, file, &self.people, 28)
            }
            (Some(key), by) => words::shown(by.unwrap_or(Dimension::Name), key, &self.people, 28),
        }
    }

    /// Somebody points at it or uses it: it holds still.
    pub fn is_held(&self) -> bool {
        self.is_hovered() || self.is_used()
    }

    /// The pointer is over it.
    pub fn is_hovered(&self) -> bool {
        self.inner.borrow().hovered
    }

    /// Somebody selects something of it, or moves its cursor by keys.
    pub fn is_used(&self) -> bool {
        let inner = self.inner.borrow();
        inner.dragging || (inner.cursor.is_some() && self.area.has_focus())
    }

    /// Shows other data.
    pub fn set(&self, data: Data, by: Dimension, units: Units) {
        {
            let mut inner = self.inner.borrow_mut();
            inner.by = Some(by);
            inner.units = units;
            inner.replace(data);
            inner.line = None;
        }
        // Other numbers at the cursor.
        let cursor = self.inner.borrow().cursor;
        self.point(cursor);
        let inner = self.inner.borrow();
        while let Some(child) = self.legend.first_child() {
            self.legend.remove(&child);
        }
        for (at, line) in inner.data.lines.iter().enumerate() {
            let colour = if line.key.is_none() { LINES } else { at.min(LINES) };
            let content = gtk4::Box::new(gtk4::Orientation::Horizontal, 6);
            content.append(
                &gtk4::Box::builder()
                    .valign(gtk4::Align::Center)
                    .css_classes(["dot", &format!("c{colour}")])
                    .build(),
            );
            let name = self.name(&inner, line);
            content.append(&gtk4::Label::builder().label(&name).css_classes(["caption"]).build());
            let button = gtk4::Button::builder().child(&content).css_classes(["flat", "legend"]).build();
            let chip = line.key.as_ref().and_then(|key| Chip::of(by, key));
            let filters = chip.is_some();
            if let Some(chip) = chip {
                button
                    .set_tooltip_text(Some(&say("Only {filter}", &[("filter", &chip.label(&self.people))])));
                let sender = self.sender.clone();
                button.connect_clicked(move |_| sender.emit(Msg::Filter(chip.clone())));
            }
            self.stands_out(&button, at);
            crate::speak::label(&button, &name);
            self.legend.insert(&button, -1);
            if let Some(child) = self.legend.last_child() {
                child.set_focusable(false);
                // Not the button alone: the keyboard would try to go there and stay where it is.
                child.set_sensitive(filters);
            }
        }
        drop(inner);
        self.fill();
        self.area.queue_draw();
    }

    /// While its entry of the legend is pointed at or has the keyboard, a line stands out from the others.
    fn stands_out(&self, entry: &gtk4::Button, line: usize) {
        let set = |this: &Self, line| {
            // Entries that are replaced are left, too; other data begin without such a line.
            if let Ok(mut inner) = this.inner.try_borrow_mut() {
                inner.line = line;
            }
            this.area.queue_draw();
        };
        let (motion, focus) = (gtk4::EventControllerMotion::new(), gtk4::EventControllerFocus::new());
        let [one, two, three, four] = [(); 4].map(|()| self.clone());
        motion.connect_enter(move |_, _, _| set(&one, Some(line)));
        motion.connect_leave(move |_| set(&two, None));
        focus.connect_enter(move |_| set(&three, Some(line)));
        focus.connect_leave(move |_| set(&four, None));
        entry.add_controller(motion);
        entry.add_controller(focus);
    }

    /// Steps with traffic, as rows of the table while it is shown.
    fn fill(&self) {
        if !self.toggle.is_active() {
            return;
        }
        let inner = self.inner.borrow();
        let data = &inner.data;
        let steps = (0..data.times.len()).filter_map(|at| {
            let (sent, received) = data.total(at);
            (sent + received > 0).then(|| Step {
                time: data.times[at],
                sent,
                received,
                lines: self.lines(&inner, at).join(" · "),
            })
        });
        self.table.set(steps.collect(), |a, b| a.time == b.time);
    }
}

fn as_table(sender: &Sender, people: &Rc<People>, units: &Rc<Cell<Units>>) -> Table<Step> {
    let (received, sent) = (units.clone(), units.clone());
    let table = Table::new(
        tr("Traffic over time"),
        vec![
            Column::text(tr("Time"), |step: &Step| format::moment(step.time)),
            Column::number(tr("Received"), move |step: &Step| received.get().bytes(step.received)),
            Column::number(tr("Sent"), move |step: &Step| sent.get().bytes(step.sent)),
            Column::text(tr("Of it"), |step: &Step| step.lines.clone()),
        ],
        people,
        sender,
        |_| {},
        |_| Vec::new(),
    );
    table.root.set_min_content_height(220);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day in hours that begins with this one.
    fn day(first: i64) -> Data {
        Data { times: (first..first + 24).map(|at| at * 100).collect(), width: 100, ..Data::default() }
    }

    #[test]
    fn d07_a_selection_by_keys_outlives_the_next_numbers() {
        let mut inner = Inner { data: day(0), cursor: Some(12), anchor: Some(6), ..Inner::default() };
        inner.select();
        assert_eq!(inner.drag, Some((6.0 / 24.0, 13.0 / 24.0)));
        // An hour later all of it stands one step further left.
        inner.replace(day(1));
        assert_eq!((inner.cursor, inner.anchor), (Some(11), Some(5)));
        assert_eq!(inner.drag, Some((5.0 / 24.0, 12.0 / 24.0)));
        // What is over is not selected any more.
        inner.replace(day(9));
        assert_eq!((inner.cursor, inner.anchor, inner.drag), (Some(3), None, None));
        inner.replace(Data::default());
        assert_eq!(inner.cursor, None);
    }

    #[test]
    fn d05_a_drag_stays_at_its_times() {
        let mut inner = Inner { data: day(0), dragging: true, drag: Some((0.5, 0.75)), ..Inner::default() };
        inner.replace(day(6));
        assert_eq!(inner.drag, Some((0.25, 0.5)));
    }
}
