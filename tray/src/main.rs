// SPDX-License-Identifier: GPL-3.0-or-later
//! x
mod policy;
mod text;
fn main() {}
