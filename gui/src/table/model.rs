// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Pages`] as GTK's lists want them.

use gtk4::glib::BoxedAnyObject;
use gtk4::prelude::*;
use gtk4::subclass::prelude::*;
use gtk4::{gio, glib};

use super::pages::{Change, Pages, Wanted};

mod inside {
    use std::cell::RefCell;

    use gtk4::glib::BoxedAnyObject;
    use gtk4::prelude::*;
    use gtk4::subclass::prelude::*;
    use gtk4::{gio, glib};

    use super::super::pages::Pages;

    #[derive(Default)]
    pub struct Model(pub RefCell<Pages<BoxedAnyObject>>);

    #[glib::object_subclass]
    impl ObjectSubclass for Model {
        const NAME: &'static str = "PicosnitchRows";
        type Type = super::Model;
        type Interfaces = (gio::ListModel,);
    }

    impl ObjectImpl for Model {}

    impl ListModelImpl for Model {
        fn item_type(&self) -> glib::Type {
            BoxedAnyObject::static_type()
        }

        fn n_items(&self) -> u32 {
            self.0.borrow().count()
        }

        fn item(&self, position: u32) -> Option<glib::Object> {
            let row = self.0.borrow().row(position)?.cloned();
            // Each stand-in is another one: GTK takes the same object for the same row.
            Some(row.unwrap_or_else(|| BoxedAnyObject::new(())).upcast())
        }
    }
}

glib::wrapper! {
    /// Rows, those that are not held as objects without a row.
    pub struct Model(ObjectSubclass<inside::Model>) @implements gio::ListModel;
}

impl Model {
    /// An empty one.
    pub fn new() -> Self {
        glib::Object::new()
    }

    /// Changes them and tells GTK what changed. What GTK asks while it is told sees the change.
    fn change(&self, change: impl FnOnce(&mut Pages<BoxedAnyObject>) -> Option<Change>) -> bool {
        let changed = change(&mut self.imp().0.borrow_mut());
        let Some(Change { at, gone, come }) = changed.filter(|it| it.gone > 0 || it.come > 0) else {
            return false;
        };
        self.items_changed(at, gone, come);
        true
    }

    /// See [`Pages::begin`]; whether anything changed.
    pub fn begin(&self, head: usize, tail: usize, fresh: Vec<BoxedAnyObject>, next: String) -> bool {
        self.change(|pages| Some(pages.begin(head, tail, fresh, next)))
    }

    /// See [`Pages::merge`].
    pub fn merge(
        &self,
        fresh: Vec<BoxedAnyObject>,
        after: impl Fn(&BoxedAnyObject, &BoxedAnyObject) -> bool,
        same: impl Fn(&BoxedAnyObject, &BoxedAnyObject) -> bool,
    ) {
        self.change(|pages| pages.merge(fresh, after, same));
    }

    /// See [`Pages::turn`].
    pub fn turn(&self) -> Option<BoxedAnyObject> {
        self.imp().0.borrow().turn().cloned()
    }

    /// See [`Pages::fill`] and [`Pages::let_go`].
    pub fn fill(&self, page: usize, rows: Vec<BoxedAnyObject>, next: String, kept: Option<u32>) {
        self.change(|pages| pages.fill(page, rows, next));
        self.change(|pages| pages.let_go(page, kept));
    }

    /// See [`Pages::wanted`].
    pub fn wanted(&self, from: u32, to: u32) -> Option<Wanted> {
        self.imp().0.borrow().wanted(from, to)
    }

    /// See [`Pages::first`].
    pub fn first(&self) -> Vec<BoxedAnyObject> {
        self.imp().0.borrow().first().to_vec()
    }

    /// See [`Pages::count`].
    pub fn count(&self) -> u32 {
        self.imp().0.borrow().count()
    }
}
