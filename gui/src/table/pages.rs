// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of a list that may be endless. Of all that was scrolled to, only those pages are held that were
//! looked at last; the others leave their length and the cursor that they are asked for by. Pure.

/// Rows of a page: few, so that the widgets for them are made a few at a time.
pub const PAGE: u32 = 80;
/// Pages that are held.
pub const HELD: usize = 10;

/// A page that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub page: usize,
    /// What the monitor knows it by; `None` is the beginning.
    pub cursor: Option<String>,
    /// Rows that it had.
    pub rows: usize,
}

/// Rows that others took the place of: where, how many went, how many came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The first that differs.
    pub at: u32,
    /// How many are not there any more.
    pub gone: u32,
    /// How many are there instead.
    pub come: u32,
}

#[derive(Debug)]
struct Page<R> {
    cursor: Option<String>,
    /// Rows, when they are not held as well.
    count: usize,
    rows: Option<Vec<R>>,
}

/// See the module.
#[derive(Debug)]
pub struct Pages<R> {
    pages: Vec<Page<R>>,
    /// Cursor of the page after the last.
    next: Option<String>,
}

impl<R> Default for Pages<R> {
    fn default() -> Self {
        Self { pages: Vec::new(), next: None }
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An empty cursor leads nowhere.
fn cursor(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl<R> Pages<R> {
    /// Rows in all, held or not.
    pub fn count(&self) -> u32 {
        length(self.pages.iter().map(|page| page.count).sum())
    }

    /// Which page it is on, and which row of that it is.
    fn find(&self, at: u32) -> Option<(usize, usize)> {
        let mut left = at as usize;
        for (index, page) in self.pages.iter().enumerate() {
            if left < page.count {
                return Some((index, left));
            }
            left -= page.count;
        }
        None
    }

    fn start(&self, page: usize) -> u32 {
        length(self.pages.iter().take(page).map(|page| page.count).sum())
    }

    /// The row; `None` inside where it is not held.
    pub fn row(&self, at: u32) -> Option<Option<&R>> {
        let (page, row) = self.find(at)?;
        Some(self.pages.get(page)?.rows.as_ref().and_then(|rows| rows.get(row)))
    }

    /// Rows of the first page, if it is held.
    pub fn first(&self) -> &[R] {
        self.pages.first().and_then(|page| page.rows.as_deref()).unwrap_or_default()
    }

    /// Begins anew: as many rows of the first page stay at its head and its tail, `fresh` come between, and
    /// all other pages go.
    pub fn begin(&mut self, head: usize, tail: usize, fresh: Vec<R>, next: String) -> Change {
        let before = self.count() as usize;
        let mut rows = self.pages.drain(..).next().and_then(|page| page.rows).unwrap_or_default();
        // With further pages behind it, its tail was not the tail of all.
        let kept = if before == rows.len() { tail } else { 0 };
        let come = fresh.len() + tail - kept;
        rows.splice(head..rows.len() - tail, fresh);
        self.pages.push(Page { cursor: None, count: rows.len(), rows: Some(rows) });
        self.next = cursor(next);
        Change { at: length(head), gone: length(before - head - kept), come: length(come) }
    }

    /// More rows on the first page, each before the first one that it does not come after; both are in order. Those that
    /// are there already, and those that belong on further pages, are passed over.
    pub fn merge(
        &mut self,
        mut fresh: Vec<R>,
        after: impl Fn(&R, &R) -> bool,
        same: impl Fn(&R, &R) -> bool,
    ) -> Option<Change> {
        let further = self.pages.len() > 1 || self.next.is_some();
        let page = self.pages.first_mut()?;
        let known = page.rows.as_ref()?;
        fresh.retain(|row| {
            let begin = known.partition_point(|known| after(row, known));
            let mut beside = known.iter().skip(begin).take_while(|known| !after(known, row));
            let here = !further || known.last().is_some_and(|last| after(last, row));
            here && !beside.any(|known| same(known, row))
        });
        if fresh.is_empty() {
            return None;
        }
        let before = page.count;
        let mut known = page.rows.take()?.into_iter().peekable();
        let mut rows = Vec::with_capacity(before + fresh.len());
        let (mut at, mut end) = (before, 0);
        for row in fresh {
            while let Some(known) = known.next_if(|known| after(&row, known)) {
                rows.push(known);
            }
            at = at.min(rows.len());
            rows.push(row);
            end = rows.len();
        }
        rows.extend(known);
        let tail = rows.len() - end;
        page.count = rows.len();
        page.rows = Some(rows);
        Some(Change { at: length(at), gone: length(before - at - tail), come: length(end - at) })
    }

    /// The last row of the first page, if that is not the end of all.
    pub fn turn(&self) -> Option<&R> {
        let further = self.pages.len() > 1 || self.next.is_some();
        self.first().last().filter(|_| further)
    }

    /// A page that was asked for: a further one, or one that was let go.
    pub fn fill(&mut self, page: usize, rows: Vec<R>, next: String) -> Option<Change> {
        if page > self.pages.len() {
            return None;
        }
        let at = self.start(page);
        let come = rows.len();
        if page == self.pages.len() {
            self.pages.push(Page { cursor: self.next.take(), count: 0, rows: None });
        }
        if page + 1 == self.pages.len() {
            self.next = cursor(next);
        }
        let known = self.pages.get_mut(page)?;
        let gone = std::mem::replace(&mut known.count, come);
        known.rows = Some(rows);
        Some(Change { at, gone: length(gone), come: length(come) })
    }

    /// Lets go of the page that is farthest from this one, if too many are held; never of the one with the
    /// row `kept`.
    pub fn let_go(&mut self, near: usize, kept: Option<u32>) -> Option<Change> {
        let kept = kept.and_then(|at| self.find(at)).map(|(page, _)| page);
        let held = |(_, page): &(usize, &Page<R>)| page.rows.is_some();
        if self.pages.iter().enumerate().filter(held).count() <= HELD {
            return None;
        }
        let others = self.pages.iter().enumerate().filter(held).map(|(index, _)| index);
        let far = others.filter(|index| Some(*index) != kept).max_by_key(|index| index.abs_diff(near))?;
        let at = self.start(far);
        let page = self.pages.get_mut(far)?;
        page.rows = None;
        Some(Change { at, gone: length(page.count), come: length(page.count) })
    }

    /// The first page that has rows from here to there and is not held; the next one, if the rows end there.
    pub fn wanted(&self, from: u32, to: u32) -> Option<Wanted> {
        let mut start = 0;
        for (index, page) in self.pages.iter().enumerate() {
            let end = start + length(page.count);
            if page.rows.is_none() && start <= to && end > from {
                return Some(Wanted { page: index, cursor: page.cursor.clone(), rows: page.count });
            }
            start = end;
        }
        let next = self.next.clone().filter(|_| to >= start)?;
        Some(Wanted { page: self.pages.len(), cursor: Some(next), rows: 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Pages of ten rows each, all asked for one after the other; rows are numbers.
    fn scrolled(count: usize) -> Pages<usize> {
        let mut pages = Pages::default();
        pages.begin(0, 0, (0..10).collect(), "c1".into());
        for page in 1..count {
            let next = format!("c{}", page + 1);
            let rows = (page * 10..page * 10 + 10).collect();
            let change = pages.fill(page, rows, next).unwrap();
            assert_eq!(change, Change { at: page as u32 * 10, gone: 0, come: 10 });
            pages.let_go(page, None);
        }
        pages
    }

    fn held(pages: &Pages<usize>) -> usize {
        (0..pages.count()).filter(|at| pages.row(*at).unwrap().is_some()).count()
    }

    #[test]
    fn d06_however_far_one_scrolls_a_few_pages_are_held() {
        let pages = scrolled(500);
        assert_eq!((pages.count(), held(&pages)), (5000, HELD * 10));
        assert_eq!(pages.row(4999), Some(Some(&4999)));
        assert_eq!(pages.row(2000), Some(None), "it is there, but not held");
        assert_eq!(pages.row(5000), None);
    }

    #[test]
    fn d06_what_was_let_go_is_asked_for_by_its_own_cursor() {
        let mut pages = scrolled(20);
        assert_eq!(pages.wanted(150, 199), None, "all of it is held, and the end is not in sight");
        let wanted = |page, cursor: &str, rows| Some(Wanted { page, cursor: Some(cursor.into()), rows });
        assert_eq!(pages.wanted(150, 200), wanted(20, "c20", 0));
        assert_eq!(pages.wanted(95, 105), wanted(9, "c9", 10));
        assert_eq!(pages.wanted(0, 5), Some(Wanted { page: 0, cursor: None, rows: 10 }));
        // It has become shorter; what follows moves up, and the end stays where it was.
        let change = pages.fill(9, vec![90, 91], "c10".into()).unwrap();
        assert_eq!(change, Change { at: 90, gone: 10, come: 2 });
        assert_eq!((pages.count(), pages.row(91), pages.row(92)), (192, Some(Some(&91)), Some(Some(&100))));
        assert_eq!(pages.wanted(180, 192), wanted(20, "c20", 0));
        assert_eq!(pages.fill(30, vec![1], String::new()), None, "nobody asked for it");
    }

    #[test]
    fn d06_the_page_of_a_selected_row_is_kept() {
        let mut pages = scrolled(6);
        for page in 6..60 {
            pages.fill(page, vec![0; 10], "c".into());
            pages.let_go(page, Some(23));
        }
        assert_eq!(pages.row(23), Some(Some(&23)));
        assert_eq!(held(&pages), HELD * 10);
    }

    #[test]
    fn d05_rows_that_come_late_stand_where_they_belong() {
        let mut pages = Pages::default();
        // Newest first, as the numbers are times.
        let merge = |pages: &mut Pages<i32>, rows: &[i32]| {
            pages.merge(rows.to_vec(), |fresh, known| fresh < known, |one, other| one == other)
        };
        assert_eq!(merge(&mut pages, &[1]), None, "nothing is asked for yet");
        pages.begin(0, 0, vec![50, 40, 30], String::new());
        assert_eq!((merge(&mut pages, &[]), pages.turn()), (None, None));
        assert_eq!(merge(&mut pages, &[70, 60]), Some(Change { at: 0, gone: 0, come: 2 }));
        assert_eq!(pages.first(), [70, 60, 50, 40, 30]);
        assert_eq!(merge(&mut pages, &[45, 35]), Some(Change { at: 3, gone: 1, come: 3 }));
        assert_eq!(pages.first(), [70, 60, 50, 45, 40, 35, 30]);
        assert_eq!(merge(&mut pages, &[80, 25]), Some(Change { at: 0, gone: 7, come: 9 }));
        assert_eq!(pages.first(), [80, 70, 60, 50, 45, 40, 35, 30, 25]);
        assert_eq!(pages.count(), 9);
    }

    #[test]
    fn d05_rows_that_are_there_or_belong_on_further_pages_do_not_come_again() {
        let mut pages = Pages::default();
        // Times, and what else the row says.
        let compared = std::cell::Cell::new(0);
        let merge = |pages: &mut Pages<(i32, char)>, rows: &[(i32, char)]| {
            let same = |one: &(i32, char), other: &(i32, char)| {
                compared.set(compared.get() + 1);
                one == other
            };
            pages.merge(rows.to_vec(), |fresh, known| fresh.0 < known.0, same)
        };
        pages.begin(0, 0, vec![(50, 'a'), (40, 'b'), (40, 'c'), (30, 'd')], "c".into());
        assert_eq!(pages.turn(), Some(&(30, 'd')));
        assert_eq!(merge(&mut pages, &[(50, 'a'), (40, 'c'), (40, 'b'), (30, 'q'), (20, 'e')]), None);
        assert_eq!(merge(&mut pages, &[(40, 'x'), (40, 'b')]), Some(Change { at: 1, gone: 0, come: 1 }));
        assert_eq!(pages.first(), [(50, 'a'), (40, 'x'), (40, 'b'), (40, 'c'), (30, 'd')]);
        pages.fill(1, vec![(20, 'e')], String::new());
        assert_eq!(merge(&mut pages, &[(20, 'e'), (10, 'f')]), None, "the second page has it");
        // However many there are, a row is compared with those of its time alone.
        let many: Vec<_> = (0..1000).rev().map(|time| (time, 'z')).collect();
        pages.begin(0, 0, many.clone(), String::new());
        compared.set(0);
        assert_eq!((merge(&mut pages, &many), compared.get()), (None, 1000));
    }

    #[test]
    fn d05_the_first_page_changes_where_it_differs() {
        let mut pages = scrolled(3);
        assert_eq!(pages.first(), (0..10).collect::<Vec<_>>());
        // Two new ones before eight that stay; what was scrolled to goes.
        let change = pages.begin(0, 8, vec![100, 101], "c".into());
        assert_eq!(change, Change { at: 0, gone: 30, come: 10 });
        assert_eq!(pages.first(), [100, 101, 2, 3, 4, 5, 6, 7, 8, 9]);
        let change = pages.begin(1, 8, vec![7], "c".into());
        assert_eq!(change, Change { at: 1, gone: 1, come: 1 });
        assert_eq!(pages.first(), [100, 7, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(pages.begin(0, 0, Vec::new(), String::new()), Change { at: 0, gone: 10, come: 0 });
        assert_eq!(pages.wanted(0, 100), None);
    }
}
