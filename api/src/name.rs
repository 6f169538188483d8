// SPDX-License-Identifier: GPL-3.0-or-later
//! Names on the bus and in polkit. They are stable: other people's scripts call them.

/// Well-known bus name, owned by root only.
pub const BUS: &str = "org.picosnitch.Monitor";
/// The one object.
pub const PATH: &str = "/org/picosnitch/Monitor";
/// Signals and queries.
pub const MONITOR: &str = "org.picosnitch.Monitor";
/// Reading and changing settings.
pub const SETTINGS: &str = "org.picosnitch.Monitor.Settings";
/// What changes or stops the record.
pub const ADMIN: &str = "org.picosnitch.Monitor.Admin";

/// polkit actions (`polkit/org.picosnitch.Monitor.policy`).
pub mod action {
    /// See rows of accounts that are nobody's login.
    pub const READ_SYSTEM: &str = "org.picosnitch.Monitor.read-system";
    /// See other people's rows, and every command line.
    pub const READ_ANY: &str = "org.picosnitch.Monitor.read-any";
    /// Change settings that stay on this machine.
    pub const CONFIGURE: &str = "org.picosnitch.Monitor.configure";
    /// Change where data may be sent.
    pub const CONFIGURE_REMOTE: &str = "org.picosnitch.Monitor.configure-remote";
    /// Delete parts of the history.
    pub const DELETE_HISTORY: &str = "org.picosnitch.Monitor.delete-history";
    /// Pause the record.
    pub const PAUSE: &str = "org.picosnitch.Monitor.pause";
    /// Ask a scanner about a hash.
    pub const SCAN: &str = "org.picosnitch.Monitor.scan";

    /// All of them, in the order they are documented.
    pub const ALL: [&str; 7] =
        [READ_SYSTEM, READ_ANY, CONFIGURE, CONFIGURE_REMOTE, DELETE_HISTORY, PAUSE, SCAN];
}
