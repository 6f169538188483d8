// SPDX-License-Identifier: GPL-3.0-or-later
//! The cases, by the ids of the project's list: T traffic, I identity, N notices, S storage, B bus, D
//! desktop.

pub mod authority;
pub mod bus;
pub mod command;
pub mod descriptors;
pub mod desktop;
pub mod desktop_daemon;
pub mod desktop_menu;
pub mod disk;
pub mod expect;
pub mod faults;
pub mod identity;
pub mod leaving;
pub mod many_rows;
pub mod names;
pub mod notices;
pub mod permission;
pub mod privacy;
pub mod renewed;
pub mod scale;
pub mod scripts;
pub mod settings;
pub mod settings_abroad;
pub mod storage;
pub mod traffic;
pub mod trouble;
pub mod verdicts;
pub mod window;
pub mod window_truth;
pub mod window_use;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::{Lab, Outcome};

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its id, `T01`.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// Shows it.
    pub run: fn(&mut Lab) -> Outcome,
}

/// All cases, in the order they run: those that share a daemon come first; some only of the long variants.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        traffic::CASES,
        identity::CASES,
        scripts::CASES,
        names::CASES,
        notices::CASES,
        trouble::CASES,
        storage::CASES,
        settings::CASES,
        disk::CASES,
        descriptors::CASES,
        authority::CASES,
        privacy::CASES,
        bus::CASES,
        permission::CASES,
        leaving::CASES,
        verdicts::CASES,
        settings_abroad::CASES,
        command::CASES,
        desktop::CASES,
        desktop_daemon::CASES,
        desktop_menu::CASES,
        window::CASES,
        window_truth::CASES,
        window_use::CASES,
        renewed::CASES,
        many_rows::CASES,
        if long() { scale::LONG } else { &[] },
    ]
    .concat()
}

static LONG: AtomicBool = AtomicBool::new(false);

/// Asks for the long variants (`make test-all`).
pub fn set_long() {
    LONG.store(true, Ordering::Relaxed);
}

/// Whether the long variants are wanted.
#[must_use]
pub fn long() -> bool {
    LONG.load(Ordering::Relaxed)
}

static SLOW: AtomicBool = AtomicBool::new(false);

/// The machine is emulated: a program may be hashed after the time that its notice waits for that.
pub fn set_slow() {
    SLOW.store(true, Ordering::Relaxed);
}

/// Whether the machine is emulated.
#[must_use]
pub fn slow() -> bool {
    SLOW.load(Ordering::Relaxed)
}
