// SPDX-License-Identifier: GPL-3.0-or-later
//! What serve needs of the record's reading side. Every call may block and is made on a thread for that;
//! every call obeys the viewer that it gets.

use std::io::Write;

use picosnitch_api::row::{self, Page, Series, Total};
use picosnitch_api::{Dimension, Error, Format, Query, What};

use crate::model::Viewer;

/// The history.
#[allow(missing_docs, reason = "the members are documented where they are served")]
pub trait History: Send + Sync {
    fn connections(&self, query: &Query, viewer: &Viewer) -> Result<Page<row::Connection>, Error>;
    fn executables(&self, query: &Query, viewer: &Viewer) -> Result<Page<row::Executable>, Error>;
    fn executable(&self, id: i64, viewer: &Viewer) -> Result<row::Executable, Error>;
    fn events(&self, query: &Query, viewer: &Viewer) -> Result<Page<row::Event>, Error>;
    fn event(&self, id: i64, viewer: &Viewer) -> Result<row::Event, Error>;
    fn acknowledge(&self, ids: &[i64], viewer: &Viewer) -> Result<u64, Error>;
    fn summary(&self, by: Dimension, query: &Query, viewer: &Viewer) -> Result<(Vec<Total>, u64), Error>;
    fn series(&self, by: Dimension, query: &Query, viewer: &Viewer) -> Result<(Vec<Series>, u64), Error>;
    fn export(
        &self,
        what: What,
        format: Format,
        query: &Query,
        viewer: &Viewer,
        into: &mut dyn Write,
    ) -> Result<u64, Error>;
    fn delete_history(&self, query: &Query, viewer: &Viewer) -> Result<u64, Error>;
}
