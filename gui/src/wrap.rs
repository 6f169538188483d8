// SPDX-License-Identifier: GPL-3.0-or-later
//! A line of widgets that goes on below where there is no more room, each as wide as it wants to be. A flow box puts
//! them into columns instead, so that there are holes between those of different lengths.

use gtk4::glib;
use gtk4::prelude::*;

/// Room between two of them, in pixels.
const GAP: i32 = 6;

mod inside {
    use gtk4::glib;
    use gtk4::prelude::*;
    use gtk4::subclass::prelude::*;

    use super::{GAP, lines};

    #[derive(Default)]
    pub struct Wrap;

    #[glib::object_subclass]
    impl ObjectSubclass for Wrap {
        const NAME: &'static str = "PicosnitchWrap";
        type Type = super::Wrap;
        type ParentType = gtk4::LayoutManager;
    }

    impl ObjectImpl for Wrap {}

    fn children(widget: &gtk4::Widget) -> Vec<gtk4::Widget> {
        let all = std::iter::successors(widget.first_child(), WidgetExt::next_sibling);
        all.filter(WidgetExt::should_layout).collect()
    }

    /// Least and natural width of each.
    fn widths(children: &[gtk4::Widget]) -> Vec<(i32, i32)> {
        let width = |child: &gtk4::Widget| {
            let (least, natural, ..) = child.measure(gtk4::Orientation::Horizontal, -1);
            (least, natural)
        };
        children.iter().map(width).collect()
    }

    fn height(child: &gtk4::Widget, width: i32) -> i32 {
        child.measure(gtk4::Orientation::Vertical, width).1
    }

    impl LayoutManagerImpl for Wrap {
        fn request_mode(&self, _: &gtk4::Widget) -> gtk4::SizeRequestMode {
            gtk4::SizeRequestMode::HeightForWidth
        }

        fn measure(
            &self,
            widget: &gtk4::Widget,
            orientation: gtk4::Orientation,
            for_size: i32,
        ) -> (i32, i32, i32, i32) {
            let children = children(widget);
            let widths = widths(&children);
            if orientation == gtk4::Orientation::Horizontal {
                let least = widths.iter().map(|(least, _)| *least).max().unwrap_or(0);
                let natural: i32 = widths.iter().map(|(_, natural)| natural + GAP).sum();
                return (least, (natural - GAP).max(least), -1, -1);
            }
            let room = if for_size < 0 { i32::MAX } else { for_size };
            let lines = lines(&widths, room);
            let line = |line: &Vec<(usize, i32, i32)>| {
                line.iter().map(|(at, _, width)| height(&children[*at], *width)).max().unwrap_or(0) + GAP
            };
            let all = (lines.iter().map(line).sum::<i32>() - GAP).max(0);
            (all, all, -1, -1)
        }

        fn allocate(&self, widget: &gtk4::Widget, room: i32, _: i32, _: i32) {
            let children = children(widget);
            let mirrored = widget.direction() == gtk4::TextDirection::Rtl;
            let mut y = 0;
            for line in lines(&widths(&children), room) {
                let tall =
                    line.iter().map(|(at, _, width)| height(&children[*at], *width)).max().unwrap_or(0);
                for (at, x, width) in line {
                    let x = if mirrored { room - x - width } else { x };
                    children[at].size_allocate(&gtk4::Allocation::new(x, y, width, tall), -1);
                }
                y += tall + GAP;
            }
        }
    }
}

glib::wrapper! {
    /// See the module.
    pub struct Wrap(ObjectSubclass<inside::Wrap>) @extends gtk4::LayoutManager;
}

/// A box whose children go on below. It begins empty.
pub fn wrap() -> gtk4::Box {
    let all = gtk4::Box::builder().build();
    all.set_layout_manager(Some(glib::Object::new::<Wrap>()));
    all
}

/// Lines of widgets of these least and natural widths: which one, where it begins, how wide it is.
fn lines(widths: &[(i32, i32)], room: i32) -> Vec<Vec<(usize, i32, i32)>> {
    let mut lines: Vec<Vec<(usize, i32, i32)>> = Vec::new();
    let mut next = 0;
    for (at, (least, natural)) in widths.iter().enumerate() {
        let width = (*natural).min(room).max(*least);
        match lines.last_mut().filter(|_| next + width <= room) {
            Some(line) => line.push((at, next, width)),
            None => {
                next = 0;
                lines.push(vec![(at, 0, width)]);
            }
        }
        next += width + GAP;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_each_is_as_wide_as_it_wants_and_goes_on_below() {
        let widths = [(20, 50), (20, 30), (20, 40), (20, 400)];
        let all: Vec<Vec<(usize, i32, i32)>> =
            vec![vec![(0, 0, 50), (1, 56, 30)], vec![(2, 0, 40)], vec![(3, 0, 100)]];
        assert_eq!(lines(&widths, 100), all);
        assert_eq!(lines(&widths, 10_000).len(), 1);
        // Narrower than the least: one each, none thinner than it can be.
        assert_eq!(lines(&widths[..2], 5), [vec![(0, 0, 20)], vec![(1, 0, 20)]]);
        assert!(lines(&[], 100).is_empty());
    }
}
