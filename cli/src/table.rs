// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables that line up, and fit the terminal if there is one. Without a terminal nothing is cut: what
//! a script greps for is there.

use std::io::{self, Write};

use picosnitch_api::inert;

use crate::out::Style;

/// Space between columns.
const GAP: usize = 2;
/// A flexible column is not made narrower than this; the line overflows instead.
const NARROW: usize = 16;
/// Without a terminal, longer values do not push the later columns of the other lines aside.
const PAD: usize = 40;

/// How a column's values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As they are, left.
    Left,
    /// As they are, right: numbers.
    Right,
    /// Cut in the middle where the terminal is too narrow: paths, whose ends tell most.
    Middle,
    /// Cut at the end where the terminal is too narrow.
    End,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading, in capitals.
    pub head: &'static str,
    /// How its values stand.
    pub fit: Fit,
    /// Left out on terminals narrower than this many characters; 0: always shown.
    pub from: usize,
}

/// A column that is always shown.
pub const fn column(head: &'static str, fit: Fit) -> Column {
    Column { head, fit, from: 0 }
}

/// Prints pages of rows under one heading.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    style: Style,
    /// Of each column, from the first page on; 0: left out.
    widths: Option<Vec<usize>>,
}

impl Table {
    /// A table for this output.
    pub fn new(columns: &[Column], style: Style) -> Self {
        Self { columns: columns.to_vec(), style, widths: None }
    }

    /// Prints rows, with the heading before the first ones. Values need not be inert. A table without
    /// rows prints nothing.
    ///
    /// # Errors
    /// What writing gives.
    pub fn print(&mut self, out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|value| inert(value).into_owned()).collect()).collect();
        if self.widths.is_none() && !rows.is_empty() {
            let widths = self.measure(&rows);
            let heads: Vec<String> = self.columns.iter().map(|column| column.head.to_owned()).collect();
            let line = self.line(&heads, &widths);
            writeln!(out, "{}", self.style.dim(&line))?;
            self.widths = Some(widths);
        }
        let Some(widths) = &self.widths else { return Ok(()) };
        for row in &rows {
            writeln!(out, "{}", self.line(row, widths))?;
        }
        Ok(())
    }

    fn measure(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let values = rows.iter().filter_map(|row| row.get(index)).map(|value| width(value));
                values.max().unwrap_or(0).max(width(self.columns[index].head))
            })
            .collect();
        let Some(terminal) = self.style.width else {
            for width in &mut widths {
                *width = (*width).min(PAD);
            }
            return widths;
        };
        for (column, width) in self.columns.iter().zip(&mut widths) {
            if column.from > terminal {
                *width = 0;
            }
        }
        // The widest flexible column gives way first.
        loop {
            let shown = widths.iter().filter(|width| **width > 0).count();
            let total = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
            let widest = (0..widths.len())
                .filter(|index| matches!(self.columns[*index].fit, Fit::Middle | Fit::End))
                .max_by_key(|index| widths[*index]);
            match widest {
                Some(index) if total > terminal && widths[index] > NARROW => widths[index] -= 1,
                _ => return widths,
            }
        }
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let last = widths.iter().rposition(|width| *width > 0).unwrap_or(0);
        let mut line = String::new();
        for (index, value) in row.iter().enumerate() {
            let (Some(&room), Some(column)) = (widths.get(index), self.columns.get(index)) else { break };
            if room == 0 {
                continue;
            }
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            let value = match column.fit {
                _ if self.style.width.is_none() => value.clone(),
                Fit::Middle => cut_middle(value, room),
                Fit::End => cut_end(value, room),
                Fit::Left | Fit::Right => value.clone(),
            };
            let space = " ".repeat(room.saturating_sub(width(&value)));
            match column.fit {
                Fit::Right => line.push_str(&(space + &value)),
                _ if index == last => line.push_str(&value),
                _ => line.push_str(&(value + &space)),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Cells that a character takes on a terminal, nearly: 2 for East Asian wide characters and emoji, 0
/// for combining marks. Terminals disagree about the rest of Unicode; a wrong guess bends a column.
fn cells(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f
        | 0x0483..=0x0489
        | 0x0591..=0x05bd
        | 0x064b..=0x065f
        | 0x1ab0..=0x1aff
        | 0x1dc0..=0x1dff
        | 0x20d0..=0x20ff
        | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Cells that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

fn take(chars: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += cells(*c);
            used <= room
        })
        .collect()
}

fn cut_end(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    take(text.chars(), room.saturating_sub(1)).into_iter().chain(['…']).collect()
}

fn cut_middle(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(1);
    let start = take(text.chars(), keep / 3);
    let end = take(text.chars().rev(), keep - keep / 3);
    start.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COLUMNS: [Column; 4] = [
        column("TIME", Fit::Left),
        column("SENT", Fit::Right),
        Column { head: "USER", fit: Fit::Left, from: 60 },
        column("PROGRAM", Fit::Middle),
    ];

    fn print(width: Option<usize>, rows: &[[&str; 4]]) -> String {
        let mut out = Vec::new();
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|value| (*value).to_owned()).collect()).collect();
        Table::new(&COLUMNS, Style { colour: false, width }).print(&mut out, &rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up() {
        let text = print(
            None,
            &[
                ["05:16:16", "512 B", "alice", "/usr/bin/curl"],
                ["2026-01-02 05:16:16", "1.50 KiB", "root", "/usr/lib/apt/methods/http"],
            ],
        );
        assert_eq!(
            text,
            "\
TIME                     SENT  USER   PROGRAM
05:16:16                512 B  alice  /usr/bin/curl
2026-01-02 05:16:16  1.50 KiB  root   /usr/lib/apt/methods/http
"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_flexible_column_and_leaves_out_others() {
        let text = print(Some(40), &[["05:16:16", "512 B", "alice", "/opt/very/long/way/to/a/program"]]);
        assert_eq!(
            text,
            "\
TIME       SENT  PROGRAM
05:16:16  512 B  /opt/ve…ay/to/a/program
"
        );
        assert!(text.lines().all(|line| width(line) <= 40));
        assert!(print(Some(80), &[["05:16:16", "512 B", "alice", "/x"]]).contains("alice"));
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let long = format!("/tmp/{}/x", "y".repeat(4096));
        let text = print(None, &[["05:16:16", "512 B", "alice", &long], ["05:16:16", "512 B", "bob", "/x"]]);
        assert!(text.contains(&long));
        assert!(text.lines().last().unwrap().len() < 100);
    }

    #[test]
    fn n05_a_hostile_value_stays_in_its_cell() {
        let text =
            print(None, &[["05:16:16", "0 B", "x\u{202e}y", "/tmp/a\n05:16:17  9 B  root  /bin/sh\x1b[A"]]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.chars().any(|c| c != '\n' && picosnitch_api::inert::is_hidden(c)));
    }

    #[test]
    fn no_rows_no_heading() {
        assert_eq!(print(None, &[]), "");
    }

    #[test]
    fn the_next_page_keeps_the_widths() {
        let mut table = Table::new(&COLUMNS[..2], Style { colour: false, width: None });
        let mut out = Vec::new();
        let row = |time: &str, sent: &str| vec![time.to_owned(), sent.to_owned()];
        table.print(&mut out, &[row("05:16:16", "512 B")]).unwrap();
        table.print(&mut out, &[row("05:16", "1 B")]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "TIME       SENT\n05:16:16  512 B\n05:16       1 B\n");
    }

    proptest::proptest! {
        #[test]
        fn a_cut_fits(text: String, room in 1_usize..60) {
            let text = inert(&text);
            proptest::prop_assert!(width(&cut_end(&text, room)) <= room);
            proptest::prop_assert!(width(&cut_middle(&text, room)) <= room);
        }
    }
}
