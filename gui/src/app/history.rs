// SPDX-License-Identifier: GPL-3.0-or-later
//! Where Back leads. Pure.

use std::collections::HashMap;

use picosnitch_api::Scope;

use crate::msg::Place;
use crate::range::Range;
use crate::table::Spot;
use crate::view::View;

/// Steps that are remembered.
const STEPS: usize = 100;

/// What was shown, and how far it was scrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which page.
    pub place: Place,
    /// With which filters and which time.
    pub view: View,
    /// How far it was scrolled, and what was selected.
    pub spot: Spot,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History(Vec<Step>);

impl History {
    /// Before something else is shown.
    pub fn push(&mut self, step: Step) {
        if self.0.last().is_some_and(|last| (last.place, &last.view) == (step.place, &step.view)) {
            return;
        }
        self.0.push(step);
        if self.0.len() > STEPS {
            self.0.remove(0);
        }
    }

    /// Back.
    pub fn pop(&mut self) -> Option<Step> {
        self.0.pop()
    }

    /// The last step was another time of the same.
    pub fn zoomed(&self, place: Place, view: &View) -> bool {
        self.0.last().is_some_and(|last| {
            let same = View { range: view.range, ..last.view.clone() };
            last.place == place && last.view.range != view.range && same == *view
        })
    }

    /// The latest range that moves with the clock: what a closer look is a part of.
    pub fn wider(&self) -> Range {
        self.0.iter().rev().map(|step| step.view.range).find(|range| range.is_live()).unwrap_or(Range::Day)
    }

    /// Whose rows are shown is one for all pages as well.
    pub fn scope(&mut self, scope: Scope) {
        for step in &mut self.0 {
            step.view.scope = scope;
        }
    }

    /// There is nothing to go back to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The range is one for all pages: one that is chosen stays on the way back.
    pub fn range(&mut self, range: Range) {
        for step in &mut self.0 {
            step.view.range = range;
        }
        self.0.dedup_by(|a, b| (a.place, &a.view) == (b.place, &b.view));
    }
}

/// What each page was asked for last: it need not be asked for again on the way back. A page is known by its
/// name.
#[derive(Debug, Default)]
pub struct Held {
    pages: HashMap<&'static str, (Place, View)>,
    /// The page that was asked for last.
    last: Option<&'static str>,
}

impl Held {
    /// The page is asked for this.
    pub fn ask(&mut self, page: &'static str, place: Place, view: &View) {
        self.pages.insert(page, (place, view.clone()));
        self.last = Some(page);
    }

    /// Answers that are on their way will be dropped: the page that waits for them does not hold it.
    pub fn drop_open(&mut self) {
        self.pages.retain(|page, _| Some(*page) != self.last);
    }

    /// Nobody answers: no page holds anything that can be relied on.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// The page could not be asked for.
    pub fn failed(&mut self, page: &'static str) {
        self.pages.remove(page);
    }

    /// The page holds this.
    pub fn has(&self, page: &'static str, place: Place, view: &View) -> bool {
        self.pages.get(page).is_some_and(|held| (held.0, &held.1) == (place, view))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn step(place: Place, range: Range, spot: f64) -> Step {
        Step { place, view: View { range, ..View::default() }, spot: Spot::pixels(spot) }
    }

    #[test]
    fn d05_back_undoes_each_step_and_knows_the_spot() {
        let mut history = History::default();
        history.push(step(Place::Overview, Range::Day, 120.0));
        history.push(step(Place::Overview, Range::Custom(0, 100), 0.0));
        history.push(step(Place::Overview, Range::Custom(0, 100), 0.0));
        assert_eq!(history.pop().unwrap().view.range, Range::Custom(0, 100));
        let first = history.pop().unwrap();
        assert_eq!((first.view.range, first.spot.at), (Range::Day, 120.0));
        assert!(history.is_empty() && history.pop().is_none());
    }

    #[test]
    fn a_range_that_is_chosen_stays_on_the_way_back() {
        let mut history = History::default();
        history.push(step(Place::Overview, Range::Day, 0.0));
        history.push(step(Place::Overview, Range::Custom(0, 100), 0.0));
        history.push(step(Place::Live, Range::Custom(0, 100), 0.0));
        history.range(Range::Week);
        assert_eq!(history.pop().unwrap().view.range, Range::Week);
        // The zoom between is no step any more.
        assert_eq!(history.pop().unwrap().place, Place::Overview);
        assert!(history.is_empty());
    }

    #[test]
    fn d05_only_another_time_of_the_same_is_a_closer_look() {
        let mut history = History::default();
        let closer = View { range: Range::Custom(0, 100), ..View::default() };
        assert!(!history.zoomed(Place::Overview, &closer), "there is nothing before");
        assert_eq!(history.wider(), Range::Day);
        history.push(step(Place::Overview, Range::Week, 0.0));
        history.push(step(Place::Overview, Range::Custom(0, 200), 0.0));
        assert_eq!(history.wider(), Range::Week);
        history.push(step(Place::Overview, Range::Day, 0.0));
        assert!(history.zoomed(Place::Overview, &closer));
        assert!(!history.zoomed(Place::Live, &closer));
        assert!(!history.zoomed(Place::Overview, &View { search: "x".into(), ..closer }));
        assert!(!history.zoomed(Place::Overview, &View::default()));
    }

    #[test]
    fn d05_what_was_left_before_its_answer_came_is_asked_for_again() {
        let (mut held, view) = (Held::default(), View::default());
        held.ask("overview", Place::Overview, &view);
        held.ask("programs", Place::Programs, &view);
        assert!(held.has("overview", Place::Overview, &view));
        assert!(!held.has("overview", Place::Overview, &View { search: "x".into(), ..view.clone() }));
        // The answers for the programs are on their way when another page is shown.
        held.drop_open();
        held.ask("program", Place::Program(7), &view);
        assert!(
            !held.has("programs", Place::Programs, &view) && held.has("overview", Place::Overview, &view)
        );
        assert!(
            held.has("program", Place::Program(7), &view) && !held.has("program", Place::Program(8), &view)
        );
        held.failed("program");
        assert!(!held.has("program", Place::Program(7), &view));
        held.clear();
        assert!(!held.has("overview", Place::Overview, &view));
    }
}
