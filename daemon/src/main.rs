// SPDX-License-Identifier: GPL-3.0-or-later
//! picosnitchd: see ARCHITECTURE.md for the way of one event.

fn main() {}
