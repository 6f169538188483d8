// SPDX-License-Identifier: GPL-3.0-or-later
//! Names for a screen reader. The binding offers this only for GTK 4.10 and later; the C function is there
//! since 4.0 (gtk/gtkaccessible.h).
#![allow(unsafe_code)] // Two calls into GTK.

use std::ffi::c_int;

use gtk4::glib::translate::ToGlibPtr as _;
use gtk4::prelude::*;
use gtk4::{ffi, glib};

unsafe extern "C" {
    fn gtk_accessible_update_property_value(
        accessible: *mut ffi::GtkWidget,
        n_properties: c_int,
        properties: *mut ffi::GtkAccessibleProperty,
        values: *const glib::gobject_ffi::GValue,
    );
    fn gtk_accessible_reset_relation(accessible: *mut ffi::GtkWidget, relation: ffi::GtkAccessibleRelation);
}

/// Says what a widget is called.
pub fn label(widget: &impl IsA<gtk4::Widget>, text: &str) {
    let value = text.to_value();
    let mut properties = [ffi::GTK_ACCESSIBLE_PROPERTY_LABEL];
    let widget: &gtk4::Widget = widget.upcast_ref();
    let value: *const glib::gobject_ffi::GValue = value.to_glib_none().0;
    // SAFETY: every GtkWidget is a GtkAccessible (the pointer is the same instance). The widget and the value
    // live until after the call, both arrays have the one element that is announced, and the property takes
    // a string. The relation is one of its enumeration.
    unsafe {
        // Newer versions of GTK name a drop-down after what is chosen in it, which would hide its own name.
        gtk_accessible_reset_relation(widget.to_glib_none().0, ffi::GTK_ACCESSIBLE_RELATION_LABELLED_BY);
        gtk_accessible_update_property_value(widget.to_glib_none().0, 1, properties.as_mut_ptr(), value);
    }
}
