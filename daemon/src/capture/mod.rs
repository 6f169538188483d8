// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes: what the kernel side says and counts (ring buffer, slots).
//! Gives: bytes of events to `decode`, and the bytes sent and received of each slot since the last look.
//! Thread: the pipeline's; nothing here waits for disk, hashing, bus or names.
//! Drops when: all slots are taken, or the ring is full; the kernel side counts both.

pub mod degradation;
pub mod engine;
pub mod identify;
mod pieces;
pub mod selftest;
pub mod slots;

pub use degradation::Degradation;
pub use engine::{Engine, Error};
pub use slots::{Counted, Lost, Slots, State};
