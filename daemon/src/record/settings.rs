// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be chosen about the record.

use std::time::Duration;

/// Choices of `config.toml` that concern the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `database.enabled`: connections go to the database. Programs and events always do.
    pub enabled: bool,
    /// `database.write_interval_seconds`: how long rows may wait. Many rows are written sooner.
    pub write_interval: Duration,
    /// `database.detail_days`: days for which every row is kept; older ones live on in totals.
    pub detail_days: u32,
    /// `database.retention_days`: days for which totals and events are kept.
    pub retention_days: u32,
    /// `log.connections`: rows also go to the text log `conn.log`.
    pub log_connections: bool,
    /// `log.addresses`: addresses and domain names are stored.
    pub addresses: bool,
    /// `log.commands`: command lines are stored.
    pub commands: bool,
    /// `log.ports`: port numbers are stored.
    pub ports: bool,
    /// `remote`: bytes of rows that may wait for the remote database; 0: nobody is sent any.
    pub outbox: u64,
    /// `virustotal.api_key` is set: contents that are news wait for a verdict.
    pub verdicts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: true,
            write_interval: Duration::from_secs(10),
            detail_days: 30,
            retention_days: 365,
            log_connections: false,
            addresses: true,
            commands: true,
            ports: true,
            outbox: 0,
            verdicts: false,
        }
    }
}

impl Settings {
    /// Longest `write_interval`.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
    /// Most days that can be kept: a hundred years.
    pub const MAX_DAYS: u32 = 36_500;

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// One sentence that names the key and what is accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.write_interval > Self::MAX_INTERVAL {
            return Err("database.write_interval_seconds wants 0 to 3600".to_owned());
        }
        if !(1..=Self::MAX_DAYS).contains(&self.retention_days) {
            return Err(format!("database.retention_days wants 1 to {}", Self::MAX_DAYS));
        }
        if !(1..=self.retention_days).contains(&self.detail_days) {
            return Err(format!(
                "database.detail_days wants 1 to database.retention_days ({})",
                self.retention_days
            ));
        }
        Ok(())
    }

    /// The nearest settings that make sense.
    #[must_use]
    pub fn clamped(mut self) -> Self {
        self.write_interval = self.write_interval.min(Self::MAX_INTERVAL);
        self.retention_days = self.retention_days.clamp(1, Self::MAX_DAYS);
        self.detail_days = self.detail_days.clamp(1, self.retention_days);
        self
    }
}
