// SPDX-License-Identifier: GPL-3.0-or-later
//! Buttons that make filters of what is said of a program. They lead to the overview of it.

use gtk4::prelude::*;
use picosnitch_api::Dimension;
use picosnitch_api::tongue::{say, tr};

use super::{Context, ProgramPage, column};
use crate::msg::{Msg, Place};
use crate::words::Chip;

impl ProgramPage {
    /// Several filters behind one button.
    pub(super) fn choice(&self, chips: Vec<Chip>, context: &Context) -> gtk4::MenuButton {
        let says = tr("Filters of this row");
        let button = gtk4::MenuButton::builder()
            .icon_name("edit-find-symbolic")
            .valign(gtk4::Align::Center)
            .css_classes(["flat"])
            .sensitive(!chips.is_empty())
            .tooltip_text(says)
            .build();
        crate::speak::label(&button, says);
        let (sender, people) = (self.sender.clone(), context.people.clone());
        // Most are never opened.
        button.set_create_popup_func(move |button| {
            let list = column(0);
            for chip in &chips {
                let text = say("Only {filter}", &[("filter", &chip.label(&people))]);
                let label = gtk4::Label::builder().label(&text).xalign(0.0).build();
                let filter = gtk4::Button::builder().child(&label).css_classes(["flat"]).build();
                crate::speak::label(&filter, &text);
                let (sender, chip, button) = (sender.clone(), chip.clone(), button.downgrade());
                filter.connect_clicked(move |_| {
                    if let Some(button) = button.upgrade() {
                        button.popdown();
                    }
                    sender.emit(Msg::FilterIn(chip.clone(), Place::Overview));
                });
                list.append(&filter);
            }
            let popover = gtk4::Popover::builder().child(&list).css_classes(["menu"]).build();
            crate::speak::label(&popover, says);
            button.set_popover(Some(&popover));
        });
        button
    }

    pub(super) fn filter(&self, by: Dimension, key: &str, context: &Context) -> gtk4::Button {
        let button = gtk4::Button::builder()
            .icon_name("edit-find-symbolic")
            .valign(gtk4::Align::Center)
            .css_classes(["flat"])
            .build();
        if let Some(chip) = Chip::of(by, key) {
            let text = say("Only {filter}", &[("filter", &chip.label(&context.people))]);
            button.set_tooltip_text(Some(&text));
            crate::speak::label(&button, &text);
            let sender = self.sender.clone();
            button.connect_clicked(move |_| sender.emit(Msg::FilterIn(chip.clone(), Place::Overview)));
        }
        button
    }
}
