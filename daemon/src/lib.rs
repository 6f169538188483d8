// SPDX-License-Identifier: GPL-3.0-or-later
//! The stages of picosnitchd, in the order an event travels. A library so that tests, benches and the
//! thin `main.rs` share them; nobody outside this workspace depends on it.

pub mod accounts;
pub mod capture;
pub mod decode;
pub mod ending;
pub mod enrich;
pub mod exit;
pub mod fingerprint;
pub mod judge;
pub mod memory;
pub mod model;
pub mod pipeline;
pub mod record;
pub mod relay;
pub mod serve;
pub mod settings;
pub mod status;
