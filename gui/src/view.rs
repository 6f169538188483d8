// SPDX-License-Identifier: GPL-3.0-or-later
//! What the person looks at: range, filters, search and whose rows. All pages ask with it. Pure.

use picosnitch_api::{Dimension, People, Query, Scope};

use crate::range::Range;
use crate::words::{self, Chip};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Time range of all pages.
    pub range: Range,
    /// Filters that must all hold.
    pub chips: Vec<Chip>,
    /// The search, as it is written.
    pub search: String,
    /// Whose rows.
    pub scope: Scope,
    /// What the chart and the page of groups are grouped by.
    pub by: Dimension,
}

impl Default for View {
    fn default() -> Self {
        Self {
            range: Range::Day,
            chips: Vec::new(),
            search: String::new(),
            scope: Scope::System,
            by: Dimension::Path,
        }
    }
}

impl View {
    /// The query without a time, and what of the search was not understood.
    pub fn filter(&self, people: &People) -> (Query, Option<String>) {
        let search = words::parse(&self.search, people);
        let mut query = Query { scope: Some(self.scope), ..Query::default() };
        let mut problem = search.problem;
        for chip in self.chips.iter().chain(&search.chips) {
            if let Err(why) = chip.apply(&mut query) {
                problem = Some(why);
            }
        }
        query.search = (!search.text.is_empty()).then_some(search.text);
        (query, problem)
    }

    /// The query of a page.
    pub fn query(&self, now: i64, people: &People) -> Query {
        let (since, until) = self.range.bounds(now);
        Query { since, until, ..self.filter(people).0 }
    }

    /// The same for the period before, to compare with.
    pub fn before(&self, now: i64, people: &People) -> Option<Query> {
        let (since, until) = self.range.before(now)?;
        Some(Query { since: Some(since), until: Some(until), ..self.filter(people).0 })
    }

    /// Adds a filter; another one of the same dimension makes way for it.
    pub fn add(&mut self, chip: Chip) {
        self.chips.retain(|known| known.by != chip.by);
        self.search = words::without(&self.search, chip.by);
        self.chips.push(chip);
    }

    /// Searches for this; filters of a dimension that it has words for make way for them.
    pub fn search(&mut self, text: String, people: &People) {
        let words = words::parse(&text, people).chips;
        self.chips.retain(|known| words.iter().all(|word| word.by != known.by));
        self.search = text;
    }

    /// What of the filters is not understood: then nothing is asked for, for it would be asked without them.
    pub fn problem(&self, people: &People) -> Option<String> {
        self.filter(people).1
    }

    /// Something besides the range is filtered.
    pub fn is_filtered(&self) -> bool {
        !self.chips.is_empty() || !self.search.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    #[test]
    fn chips_and_words_and_range_make_one_query() {
        let mut view = View::default();
        view.add(Chip::of(Dimension::Path, "/usr/bin/curl").unwrap());
        view.add(Chip::of(Dimension::Uid, "1000").unwrap());
        view.add(Chip::of(Dimension::Uid, "0").unwrap());
        view.search = "port:443 backup".into();
        let query = view.query(NOW, &People::default());
        assert_eq!(query.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(query.uid, Some(0));
        assert_eq!(query.remote_port, Some(443));
        assert_eq!(query.search.as_deref(), Some("backup"));
        assert_eq!(query.since, Some(NOW - crate::range::DAY));
        assert_eq!(query.scope, Some(Scope::System));
        let before = view.before(NOW, &People::default()).unwrap();
        assert_eq!((before.until, before.remote_port), (query.since, Some(443)));
    }

    #[test]
    fn d05_of_each_dimension_there_is_one_filter_and_it_is_shown() {
        let people = People::default();
        let mut view = View::default();
        view.add(Chip::of(Dimension::RemotePort, "443").unwrap());
        view.add(Chip::of(Dimension::Uid, "1000").unwrap());
        view.search("port:80 backup".into(), &people);
        assert_eq!(view.chips, [Chip::of(Dimension::Uid, "1000").unwrap()], "the word took its place");
        assert_eq!(view.filter(&people).0.remote_port, Some(80));
        view.add(Chip::of(Dimension::RemotePort, "22").unwrap());
        assert_eq!((view.search.as_str(), view.filter(&people).0.remote_port), ("backup", Some(22)));
        assert_eq!(view.problem(&people), None);
        view.search("port:https".into(), &people);
        assert!(view.problem(&people).is_some());
    }
}
