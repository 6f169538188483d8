// SPDX-License-Identifier: GPL-3.0-or-later
//! picosnitchd: see ARCHITECTURE.md for the way of one event.

// Until every stage is wired.
#![allow(dead_code)]

mod decode;
mod enrich;
mod fingerprint;
mod judge;
mod model;
mod record;
mod serve;
mod settings;

fn main() {}
