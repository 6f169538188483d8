// SPDX-License-Identifier: GPL-3.0-or-later
//! Cells of a table: made once for each place on the screen, filled anew for each row that comes there.
//!
//! GTK keeps cells for two hundred rows, so each has as few widgets as it can, and its texts are inscriptions: their
//! size does not hang on what they say, so that nothing is measured and placed anew when a row comes.

use gtk4::prelude::*;

use super::{Name, Show};

/// Height of a small chart, in pixels.
const SPARK: i32 = 24;
/// Characters that there is to be room for.
const ROOM: u32 = 8;
/// And in a name: where the window is narrow, one scrolls sideways instead.
const NAME: u32 = 18;

fn text(align: f32, class: &str) -> gtk4::Inscription {
    gtk4::Inscription::builder()
        .xalign(align)
        .min_chars(ROOM)
        .text_overflow(gtk4::InscriptionOverflow::EllipsizeMiddle)
        .css_classes([class])
        .build()
}

/// An empty cell.
pub fn make<T>(show: &Show<T>) -> gtk4::Widget {
    match show {
        Show::Text(_) => {
            let text = text(0.0, "text");
            hint(&text, &text);
            text.upcast()
        }
        Show::Number(_) => text(1.0, "numeric").upcast(),
        Show::Name(_) => {
            let main = text(0.0, "main");
            main.set_min_chars(NAME);
            let sub = text(0.0, "dim-label");
            sub.add_css_class("caption");
            let both = gtk4::Box::builder()
                .orientation(gtk4::Orientation::Vertical)
                .valign(gtk4::Align::Center)
                .hexpand(true)
                .build();
            both.append(&main);
            both.append(&sub);
            let all = gtk4::Box::new(gtk4::Orientation::Horizontal, 10);
            all.append(&both);
            hint(&all, &sub);
            all.upcast()
        }
        Show::Spark(_) => gtk4::DrawingArea::builder()
            .content_width(96)
            .content_height(SPARK)
            .valign(gtk4::Align::Center)
            .css_classes(["spark"])
            // The numbers beside it say as much.
            .accessible_role(gtk4::AccessibleRole::Presentation)
            .build()
            .upcast(),
    }
}

/// Fills a cell that [`make`] made.
pub fn fill<T>(show: &Show<T>, row: &T, cell: &gtk4::Widget) {
    match show {
        Show::Text(says) | Show::Number(says) => {
            if let Some(label) = cell.downcast_ref::<gtk4::Inscription>() {
                let text = says(row);
                label.set_text(Some(&text));
            }
        }
        Show::Name(says) => name(&says(row), cell),
        Show::Spark(says) => {
            if let Some(area) = cell.downcast_ref::<gtk4::DrawingArea>() {
                let values = says(row);
                area.set_draw_func(move |area, cr, width, height| {
                    // The next frame is drawn anew.
                    let _ = spark(area, cr, (width.into(), height.into()), &values);
                });
                area.queue_draw();
            }
        }
    }
}

/// A cell of a row that is not here yet. It is as high as the others.
pub fn blank<T>(show: &Show<T>, cell: &gtk4::Widget) {
    match show {
        Show::Text(_) | Show::Number(_) => {
            if let Some(label) = cell.downcast_ref::<gtk4::Inscription>() {
                label.set_text(None);
            }
        }
        Show::Name(_) => name(&Name { main: "…".into(), sub: " ".into(), ..Name::default() }, cell),
        Show::Spark(_) => {
            if let Some(area) = cell.downcast_ref::<gtk4::DrawingArea>() {
                area.set_draw_func(|_, _, _, _| ());
                area.queue_draw();
            }
        }
    }
}

/// Says in full what is likely to be cut. Asked for when the pointer rests there: to set a tooltip each time that
/// a row comes takes as long as all else, GTK asks the X server where the pointer is.
fn hint(cell: &impl IsA<gtk4::Widget>, of: &gtk4::Inscription) {
    let of = of.downgrade();
    cell.set_has_tooltip(true);
    cell.connect_query_tooltip(move |_, _, _, _, tooltip| {
        let text = of.upgrade().and_then(|of| of.text()).filter(|text| text.chars().count() > 24);
        tooltip.set_text(text.as_deref());
        text.is_some()
    });
}

fn name(name: &Name, cell: &gtk4::Widget) {
    let Some(cell) = cell.downcast_ref::<gtk4::Box>() else { return };
    icon(name.icon.as_ref(), cell);
    pill(name.pill, cell);
    let parts = std::iter::successors(cell.first_child(), WidgetExt::next_sibling);
    let both = parts.filter_map(|part| part.downcast::<gtk4::Box>().ok()).next();
    let main = both.as_ref().and_then(WidgetExt::first_child).and_downcast::<gtk4::Inscription>();
    let sub = both.as_ref().and_then(WidgetExt::last_child).and_downcast::<gtk4::Inscription>();
    let (Some(main), Some(sub)) = (main, sub) else { return };
    main.set_text(Some(&name.main));
    if name.strong != main.has_css_class("heading") {
        main.set_css_classes(if name.strong { &["main", "heading"] } else { &["main"] });
    }
    sub.set_text(Some(&name.sub));
    sub.set_visible(!name.sub.is_empty());
}

/// The icon before the name, made when the first one comes.
fn icon(icon: Option<&gtk4::gio::Icon>, cell: &gtk4::Box) {
    let image = match cell.first_child().and_downcast::<gtk4::Image>() {
        Some(image) => image,
        None if icon.is_none() => return,
        None => {
            let image = gtk4::Image::builder()
                .width_request(24)
                .accessible_role(gtk4::AccessibleRole::Presentation)
                .build();
            cell.prepend(&image);
            image
        }
    };
    image.set_visible(icon.is_some());
    if let Some(icon) = icon.filter(|icon| image.gicon().as_ref() != Some(*icon)) {
        image.set_from_gicon(icon);
        // One that many share is no more than a mark.
        let plain = crate::icon::is_plain(icon);
        image.set_pixel_size(if plain { 16 } else { 24 });
        image.set_opacity(if plain { 0.55 } else { 1.0 });
    }
}

/// The one word that stands out, after the name.
fn pill(says: Option<&str>, cell: &gtk4::Box) {
    let label = match cell.last_child().and_downcast::<gtk4::Label>() {
        Some(label) => label,
        None if says.is_none() => return,
        None => {
            let label = gtk4::Label::builder()
                .css_classes(["pill-label", "caption"])
                .valign(gtk4::Align::Center)
                .build();
            cell.append(&label);
            label
        }
    };
    label.set_visible(says.is_some());
    if let Some(says) = says {
        label.set_text(says);
    }
}

/// Small bars on a base line.
fn spark(
    area: &gtk4::DrawingArea,
    cr: &gtk4::cairo::Context,
    (width, height): (f64, f64),
    values: &[f64],
) -> Result<(), gtk4::cairo::Error> {
    if values.is_empty() {
        return Ok(());
    }
    let ink = area.style_context().color();
    let ink = |alpha: f64| cr.set_source_rgba(ink.red().into(), ink.green().into(), ink.blue().into(), alpha);
    let peak = values.iter().copied().fold(0.0, f64::max);
    let column = (width / values.len() as f64).floor().max(1.0);
    let bar = (column - 1.0).max(1.0);
    let left = ((width - column * values.len() as f64) / 2.0).floor().max(0.0);
    let base = height - 1.0;
    ink(0.3);
    cr.rectangle(left, base, column * values.len() as f64, 1.0);
    cr.fill()?;
    if peak <= 0.0 {
        return Ok(());
    }
    ink(0.85);
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        // A root, so that a little beside a lot is still seen.
        let tall = ((value / peak).sqrt() * (base - 1.0)).round().max(1.0);
        cr.rectangle(left + at as f64 * column, base - tall, bar, tall);
    }
    cr.fill()
}
