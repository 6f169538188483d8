// SPDX-License-Identifier: GPL-3.0-or-later
//! The contract of `org.picosnitch.Monitor`, said once: names, types, errors, proxies, and the
//! clients' state reducer. The daemon serves what stands here and the clients call it; nobody else
//! writes a bus name or a field name down.

pub mod error;
pub mod file;
pub mod hint;
pub mod incident;
pub mod inert;
pub mod listen;
pub mod mark;
pub mod name;
pub mod origin;
pub mod part;
pub mod people;
pub mod proxy;
pub mod query;
pub mod quiet;
pub mod row;
pub mod state;
pub mod tongue;
pub mod units;

pub use error::Error;
pub use hint::{Trouble, hint};
pub use incident::Incident;
pub use inert::{inert, inert_short};
pub use mark::Mark;
pub use origin::Origin;
pub use part::Part;
pub use people::People;
pub use proxy::{Client, Format, Permission, What};
pub use query::{Dimension, Query, Scope};
pub use quiet::Quiet;
pub use row::{Page, Status};
pub use units::Units;
