// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory that a burst of traffic needed goes back to the machine once it is over.

// Two calls of the C library that Rust has no name for.
#![allow(unsafe_code)]

/// Few heaps for few busy threads: each further one would keep what it has freed. Called first in `main`.
pub fn few_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets one number of the allocator, before any other thread runs.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 2);
    }
}

/// Returns what is free. Takes some ms after a burst, nothing otherwise.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; thread-safe by its manual.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
