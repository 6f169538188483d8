// SPDX-License-Identifier: GPL-3.0-or-later
//! Lines of the table, and the statistics in them.

use std::fmt;

/// First lines of the table.
pub const HEAD: &str = "| figure | measured | budget | holds |\n|---|---|---|---|";

/// One line.
pub struct Line {
    /// What was measured.
    pub figure: String,
    /// With its unit and spread.
    pub measured: String,
    /// What was promised; empty for a figure without a promise.
    pub budget: String,
    /// Whether it holds.
    pub holds: Option<bool>,
}

impl Line {
    /// A figure without a promise.
    pub fn plain(figure: impl Into<String>, measured: impl Into<String>) -> Line {
        Line { figure: figure.into(), measured: measured.into(), budget: String::new(), holds: None }
    }

    /// A figure with a promise.
    pub fn promised(
        figure: impl Into<String>,
        measured: impl Into<String>,
        budget: impl Into<String>,
        holds: bool,
    ) -> Line {
        Line { figure: figure.into(), measured: measured.into(), budget: budget.into(), holds: Some(holds) }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = match self.holds {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        write!(f, "| {} | {} | {} | {holds} |", self.figure, self.measured, self.budget)
    }
}

/// Median, smallest and largest.
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
    /// How many.
    pub count: usize,
}

/// Of at least one number.
pub fn spread(mut all: Vec<f64>) -> Spread {
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    let middle = all.len() / 2;
    let median = if all.len().is_multiple_of(2) {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    } else {
        at(middle)
    };
    Spread { median, least: at(0), most: at(all.len().wrapping_sub(1)), count: all.len() }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} (median of {}, {:.3} to {:.3})", self.median, self.count, self.least, self.most)
    }
}
