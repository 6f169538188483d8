// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of the writer: what waits is written, or it is said that it is not.

use std::time::{Duration, Instant};

use super::writer::Writer;

/// How long writing is tried again at the end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Wait before each try.
const PAUSE: Duration = Duration::from_millis(500);

/// What could not be written before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, thiserror::Error)]
#[error(
    "the history could not be written before the end: {rows} rows with {bytes} bytes, and {notices} notices, are missing"
)]
pub struct Unwritten {
    /// Rows of connections.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Notices, and hashes and verdicts of older ones.
    pub notices: u64,
}

impl Writer {
    /// Tries again for some seconds where the last write failed. Returns what is left.
    pub(super) fn finish(&mut self) -> Unwritten {
        let until = Instant::now() + PATIENCE;
        while self.is_broken() && Instant::now() < until {
            std::thread::sleep(PAUSE);
            self.write(true);
        }
        let queue = self.shared.queue();
        let bytes = queue.rows.iter().map(|row| row.sent.saturating_add(row.received));
        Unwritten {
            rows: queue.rows.len() as u64 + queue.lost_rows,
            bytes: bytes.fold(queue.lost_bytes, u64::saturating_add),
            notices: queue.urgent.len() as u64,
        }
    }
}
