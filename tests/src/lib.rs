// SPDX-License-Identifier: GPL-3.0-or-later
//! What the cases of `make test` stand on: traffic generators, a network lab in namespaces, a private
//! system bus with a real polkitd, ordinary users, and the daemon itself as a child process.

pub mod cases;
pub mod fuzz;
pub mod lab;
pub mod person;
pub mod traffic;
