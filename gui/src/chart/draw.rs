// SPDX-License-Identifier: GPL-3.0-or-later
//! Drawing of the chart: received above the line, sent below it, stacked by colour.

use gtk4::cairo::{self, Context};
use gtk4::gdk;
use picosnitch_api::tongue::tr;

use super::scale::{Data, LINES, time_step, value_step};
use super::ticks::ticks;
use crate::format::{self, Units};

/// Colours that are told apart with any kind of colour vision, and in grey by their order; the last one is
/// for all others. The style sheet has the same ones.
pub const COLOURS: [[u8; 3]; LINES + 1] = [
    [0x33, 0x72, 0xc8],
    [0xe0, 0x8a, 0x1e],
    [0x2a, 0x9d, 0x6f],
    [0xb5, 0x4a, 0xb0],
    [0x5d, 0xb9, 0xdd],
    [0xc8, 0x4b, 0x31],
    [0x8d, 0x9f, 0x2b],
    [0x7a, 0x5c, 0x3e],
    [0x9a, 0x99, 0x96],
];

/// Room left for the value axis, above, and for the time axis, in pixels.
pub const LEFT: f64 = 64.0;
const TOP: f64 = 14.0;
/// Room on the right.
pub const RIGHT: f64 = 8.0;
const BOTTOM: f64 = 20.0;

/// How it looks, besides the data.
pub struct Look {
    /// Of text and lines.
    pub ink: gdk::RGBA,
    /// Lines and text are to stand out: the person asked for high contrast.
    pub strong: bool,
    /// Units of the value axis.
    pub units: Units,
    /// The step that the cursor is on.
    pub cursor: Option<usize>,
    /// What is being selected, as shares of the width.
    pub drag: Option<(f64, f64)>,
    /// The line that stands out, as its entry of the legend is pointed at.
    pub line: Option<usize>,
}

impl Look {
    /// How much of the ink a line or a text has that usually has this much.
    fn alpha(&self, usual: f64) -> f64 {
        if self.strong { (2.0 * usual + 0.3).min(1.0) } else { usual }
    }

    /// What is drawn next has so much ink.
    fn ink(&self, cr: &Context, alpha: f64) {
        let ink = self.ink;
        cr.set_source_rgba(ink.red().into(), ink.green().into(), ink.blue().into(), alpha);
    }
}

/// The share of the plot's width that is at a pixel.
pub fn share(x: f64, width: f64) -> f64 {
    ((x - LEFT) / (width - LEFT - RIGHT).max(1.0)).clamp(0.0, 1.0)
}

/// The middle of a step, in pixels.
pub fn middle(step: usize, steps: usize, width: f64) -> f64 {
    let column = (width - LEFT - RIGHT).max(1.0) / steps.max(1) as f64;
    LEFT + (step as f64 + 0.5) * column
}

/// Where what is said of a place stands: beside it, on the right if there is room.
pub fn beside(x: f64, says: f64, width: f64) -> f64 {
    const APART: f64 = 12.0;
    let right = x + APART;
    if right + says <= width { right } else { (x - APART - says).max(0.0) }
}

/// Draws it; a failure of cairo leaves it unfinished.
pub fn draw(cr: &Context, width: f64, height: f64, data: &Data, look: &Look) -> Result<(), cairo::Error> {
    let (plot_w, plot_h) = ((width - LEFT - RIGHT).max(1.0), (height - TOP - BOTTOM).max(1.0));
    let (peak_sent, peak_received) = data.peak();
    let step = value_step(peak_sent.saturating_add(peak_received), 5, look.units.step());
    let whole = |peak: u64| (peak.div_ceil(step).max(1) as f64) * step as f64;
    // The smaller side gets no more room than it needs; both have some, unless there is nothing.
    let side = |peak: u64| match peak {
        0 => 0.0,
        // Enough for its name.
        peak if peak < step / 2 => step as f64 * 0.5,
        peak => whole(peak),
    };
    let (up, down) = match (side(peak_received), side(peak_sent)) {
        (0.0, 0.0) => (step as f64, 0.0),
        sides => sides,
    };
    let scale = plot_h / (up + down);
    let zero = TOP + up * scale;
    let ink = |usual: f64| look.ink(cr, look.alpha(usual));
    cr.select_font_face("sans-serif", cairo::FontSlant::Normal, cairo::FontWeight::Normal);
    cr.set_font_size(11.0);
    cr.set_line_width(1.0);

    // Lines at the ticks, with their values at the left.
    let mut value = -(down / step as f64).floor() * step as f64;
    while value <= up + 0.5 {
        let y = (zero - value * scale).round() + 0.5;
        ink(if value == 0.0 { 0.45 } else { 0.1 });
        cr.move_to(LEFT, y);
        cr.line_to(width - RIGHT, y);
        cr.stroke()?;
        ink(0.65);
        let text = if value == 0.0 { "0".to_owned() } else { look.units.bytes(value.abs() as u64) };
        let extents = cr.text_extents(&text)?;
        cr.move_to(LEFT - 8.0 - extents.width(), y + 4.0);
        cr.show_text(&text)?;
        value += step as f64;
    }

    if data.times.is_empty() {
        return Ok(());
    }
    let column = plot_w / data.times.len() as f64;
    for at in 0..data.times.len() {
        let x = LEFT + at as f64 * column;
        let (mut above, mut below) = (zero, zero);
        for (line, colour) in data.lines.iter().enumerate() {
            let Some((sent, received)) = colour.steps.get(at) else { continue };
            let [r, g, b] = COLOURS[if colour.key.is_none() { LINES } else { line.min(LINES) }];
            let alpha = if look.line.is_none_or(|only| only == line) { 1.0 } else { 0.15 };
            cr.set_source_rgba(f64::from(r) / 255.0, f64::from(g) / 255.0, f64::from(b) / 255.0, alpha);
            // A gap between columns that are wide enough for one, and between lines that are high enough: their
            // order, which is that of the legend, is seen without colours.
            let gap = if column > 5.0 { 1.0 } else { 0.0 };
            let apart = |high: f64| if high > 3.0 { high - 1.0 } else { high };
            let tall = *received as f64 * scale;
            if tall > 0.0 {
                cr.rectangle(x, above - apart(tall), column - gap, apart(tall));
                above -= tall;
            }
            let deep = *sent as f64 * scale;
            if deep > 0.0 {
                cr.rectangle(x, below, column - gap, apart(deep));
                below += deep;
            }
            cr.fill()?;
        }
    }
    halves(cr, (up > 0.0, down > 0.0), height, look)?;
    times(cr, width, height, data, &ink)?;
    markers(cr, plot_w, data, &ink)?;

    if let Some((from, to)) = look.drag {
        look.ink(cr, 0.18);
        cr.rectangle(LEFT + from.min(to) * plot_w, TOP, (to - from).abs() * plot_w, plot_h);
        cr.fill()?;
    } else if let Some(at) = look.cursor {
        look.ink(cr, 0.12);
        cr.rectangle(LEFT + at as f64 * column, TOP, column.max(1.0), plot_h);
        cr.fill()?;
        ink(0.6);
        let x = (LEFT + (at as f64 + 0.5) * column).round() + 0.5;
        cr.move_to(x, TOP);
        cr.line_to(x, TOP + plot_h);
        cr.stroke()?;
    }
    Ok(())
}

/// Says which half is which, in their corners, over whatever is drawn there.
fn halves(cr: &Context, (up, down): (bool, bool), height: f64, look: &Look) -> Result<(), cairo::Error> {
    let light = look.ink.red() + look.ink.green() + look.ink.blue() > 1.5;
    let paper = if light { 0.15 } else { 1.0 };
    for (text, y) in
        [(tr("Received"), up.then_some(TOP + 12.0)), (tr("Sent"), down.then_some(height - BOTTOM - 5.0))]
    {
        let Some(y) = y else { continue };
        cr.set_source_rgba(paper, paper, paper, 0.75);
        cr.rectangle(LEFT + 2.0, y - 11.0, cr.text_extents(text)?.x_advance() + 8.0, 15.0);
        cr.fill()?;
        look.ink(cr, look.alpha(0.75));
        cr.move_to(LEFT + 6.0, y);
        cr.show_text(text)?;
    }
    Ok(())
}

fn times(cr: &Context, width: f64, height: f64, data: &Data, ink: &impl Fn(f64)) -> Result<(), cairo::Error> {
    let plot_w = (width - LEFT - RIGHT).max(1.0);
    let (first, last) = data.span();
    let apart = time_step(last - first, (plot_w / 90.0) as i64);
    let mut free = LEFT;
    for tick in ticks(first, last, apart, None) {
        let x = LEFT + data.share_of(tick) * plot_w;
        ink(0.1);
        cr.move_to(x.round() + 0.5, TOP);
        cr.line_to(x.round() + 0.5, height - BOTTOM);
        cr.stroke()?;
        ink(0.65);
        let text = format::tick(tick, apart);
        let extents = cr.text_extents(&text)?;
        let left = x - extents.width() / 2.0;
        if left >= free && left + extents.width() <= width {
            cr.move_to(left, height - 5.0);
            cr.show_text(&text)?;
            free = left + extents.width() + 12.0;
        }
    }
    Ok(())
}

/// A diamond for each program that was new, a triangle for each that changed.
fn markers(cr: &Context, plot_w: f64, data: &Data, ink: &impl Fn(f64)) -> Result<(), cairo::Error> {
    for (time, changed, _) in &data.markers {
        let share = data.share_of(*time);
        if !(0.0..=1.0).contains(&share) {
            continue;
        }
        let (x, y) = (LEFT + share * plot_w, 7.0);
        cr.move_to(x, y - 5.0);
        cr.line_to(x + 5.0, if *changed { y + 4.0 } else { y });
        if !changed {
            cr.line_to(x, y + 5.0);
        }
        cr.line_to(x - 5.0, if *changed { y + 4.0 } else { y });
        cr.close_path();
        if *changed {
            cr.set_source_rgb(0.78, 0.27, 0.0);
        } else {
            ink(0.75);
        }
        cr.fill()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The darkest pixel between these columns, from 0 (black) to 255, of a chart without traffic on white paper.
    fn darkest(strong: bool, columns: std::ops::Range<usize>) -> Option<u8> {
        let look =
            Look { ink: gdk::RGBA::BLACK, strong, units: Units::Iec, cursor: None, drag: None, line: None };
        let mut surface = cairo::ImageSurface::create(cairo::Format::Rgb24, 300, 200).ok()?;
        {
            let cr = Context::new(&surface).ok()?;
            cr.set_source_rgb(1.0, 1.0, 1.0);
            cr.paint().ok()?;
            draw(&cr, 300.0, 200.0, &Data::default(), &look).ok()?;
        }
        let stride = usize::try_from(surface.stride()).ok()?;
        let data = surface.data().ok()?;
        // Below the top, and above the line at zero, which is always strong.
        let rows = data.chunks(stride).skip(TOP as usize).take(140);
        rows.flat_map(|row| row.chunks(4).skip(columns.start).take(columns.len()).map(|pixel| pixel[1])).min()
    }

    #[test]
    fn d07_high_contrast_makes_lines_and_texts_of_the_chart_stronger() {
        let (lines, texts) = (LEFT as usize + 20..LEFT as usize + 120, 0..LEFT as usize - 6);
        for (part, usual, high) in [(lines, 200..=240, 0..=140), (texts, 60..=160, 0..=60)] {
            let is = [false, true].map(|strong| darkest(strong, part.clone()));
            assert!(is[0].is_some_and(|ink| usual.contains(&ink)), "{part:?}: {is:?}");
            assert!(is[1].is_some_and(|ink| high.contains(&ink)), "{part:?}: {is:?}");
        }
    }

    #[test]
    fn d05_what_is_said_stands_at_the_cursor() {
        assert_eq!(middle(0, 10, LEFT + RIGHT + 100.0), LEFT + 5.0);
        assert_eq!(beside(100.0, 200.0, 800.0), 112.0);
        assert_eq!(beside(700.0, 200.0, 800.0), 488.0, "on the left where the right has no room");
        assert_eq!(beside(150.0, 340.0, 360.0), 0.0, "never outside");
    }
}
