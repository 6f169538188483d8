// SPDX-License-Identifier: GPL-3.0-or-later
//! One file for each command.

pub mod config;
pub mod executable;
pub mod export;
pub mod list;
pub mod manual;
pub mod status;
pub mod watch;
