// SPDX-License-Identifier: GPL-3.0-or-later
//! What a call can answer instead of data.

/// Error replies of the daemon, named `org.picosnitch.Monitor.Error.*` on the bus. Each message is
/// one sentence for a person and says what to do about it where something can be done.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.picosnitch.Monitor.Error")]
pub enum Error {
    /// Transport or another service failed.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The caller is not allowed to do this, even after asking.
    NotAuthorized(String),
    /// A query key, its type or its value is not understood.
    InvalidQuery(String),
    /// There is no such executable, event or setting.
    NotFound(String),
    /// A setting was refused; the message names the key and says what is accepted.
    InvalidSetting(String),
    /// The daemon cannot answer now (storage unavailable, shutting down); try again.
    Unavailable(String),
    /// More is asked for than is served at once.
    LimitExceeded(String),
}
