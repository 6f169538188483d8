// SPDX-License-Identifier: GPL-3.0-or-later
//! Cells of a table: made once for each place on the screen, filled anew for each row that comes there.

use gtk4::prelude::*;

use super::{Name, Show};

/// Height of a small chart, in pixels.
const SPARK: i32 = 24;

/// An empty cell.
pub fn make<T>(show: &Show<T>) -> gtk4::Widget {
    match show {
        Show::Text(_) => gtk4::Label::builder()
            .xalign(0.0)
            .ellipsize(gtk4::pango::EllipsizeMode::Middle)
            .width_chars(6)
            .build()
            .upcast(),
        Show::Number(_) => gtk4::Label::builder().xalign(1.0).css_classes(["numeric"]).build().upcast(),
        Show::Name(_) => {
            let main = gtk4::Label::builder().xalign(0.0).ellipsize(gtk4::pango::EllipsizeMode::End).build();
            let pill = gtk4::Label::builder()
                .css_classes(["pill-label", "caption"])
                .valign(gtk4::Align::Center)
                .visible(false)
                .build();
            let top = gtk4::Box::new(gtk4::Orientation::Horizontal, 6);
            top.append(&main);
            top.append(&pill);
            let sub = gtk4::Label::builder()
                .xalign(0.0)
                .ellipsize(gtk4::pango::EllipsizeMode::Middle)
                .width_chars(8)
                .css_classes(["dim-label", "caption"])
                .build();
            let both = gtk4::Box::builder()
                .orientation(gtk4::Orientation::Vertical)
                .valign(gtk4::Align::Center)
                .build();
            both.append(&top);
            both.append(&sub);
            let icon = gtk4::Image::builder()
                .pixel_size(24)
                .width_request(24)
                .accessible_role(gtk4::AccessibleRole::Presentation)
                .visible(false)
                .build();
            let all = gtk4::Box::new(gtk4::Orientation::Horizontal, 10);
            all.append(&icon);
            all.append(&both);
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
            if let Some(label) = cell.downcast_ref::<gtk4::Label>() {
                let text = says(row);
                label.set_tooltip_text(
                    Some(&text).filter(|text| text.chars().count() > 24).map(String::as_str),
                );
                label.set_text(&text);
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

fn name(name: &Name, cell: &gtk4::Widget) {
    let icon = cell.first_child().and_downcast::<gtk4::Image>();
    let both = cell.last_child();
    let top = both.as_ref().and_then(WidgetExt::first_child);
    let main = top.as_ref().and_then(WidgetExt::first_child).and_downcast::<gtk4::Label>();
    let pill = top.as_ref().and_then(WidgetExt::last_child).and_downcast::<gtk4::Label>();
    let sub = both.as_ref().and_then(WidgetExt::last_child).and_downcast::<gtk4::Label>();
    let (Some(icon), Some(main), Some(pill), Some(sub)) = (icon, main, pill, sub) else { return };
    icon.set_visible(name.icon.is_some());
    if let Some(known) = &name.icon {
        icon.set_from_gicon(known);
        // One that many share is no more than a mark.
        let plain = crate::icon::is_plain(known);
        icon.set_pixel_size(if plain { 16 } else { 24 });
        icon.set_opacity(if plain { 0.55 } else { 1.0 });
    }
    main.set_text(&name.main);
    if name.strong {
        main.add_css_class("heading");
    } else {
        main.remove_css_class("heading");
    }
    sub.set_text(&name.sub);
    sub.set_visible(!name.sub.is_empty());
    cell.set_tooltip_text(Some(&name.sub).filter(|sub| sub.chars().count() > 24).map(String::as_str));
    pill.set_text(name.pill.unwrap_or_default());
    pill.set_visible(name.pill.is_some());
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
