// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person can do about an error: data, that each client shows in its own way.

use crate::Error;
use crate::tongue::mark;

/// Why a call failed, as far as a client acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no bus to ask on.
    NoBus,
    /// Nobody owns the daemon's name: it is stopped, starting, or not installed.
    NotRunning,
    /// The bus refused the message: its policy file is missing.
    Policy,
    /// The daemon went away in the middle, or took too long.
    Interrupted,
    /// The daemon does not know the call: it is of another version than the client.
    Version,
    /// The caller is not allowed.
    NotAuthorized,
    /// The daemon answered with another of its errors; its message says what to do.
    Refused,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Sorts an error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::ZBus(error) => Self::of_bus(error),
            Error::NotAuthorized(_) => Trouble::NotAuthorized,
            Error::InvalidQuery(_)
            | Error::NotFound(_)
            | Error::InvalidSetting(_)
            | Error::Unavailable(_)
            | Error::LimitExceeded(_) => Trouble::Refused,
        }
    }

    fn of_bus(error: &zbus::Error) -> Self {
        use zbus::fdo;
        match error {
            zbus::Error::Address(_) | zbus::Error::Connection(..) | zbus::Error::Handshake(_) => {
                Trouble::NoBus
            }
            zbus::Error::InputOutput(error) => match error.kind() {
                // Before a connection exists: no socket, or nobody listens. After: the bus went away.
                std::io::ErrorKind::NotFound
                | std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::PermissionDenied => Trouble::NoBus,
                _ => Trouble::Interrupted,
            },
            zbus::Error::MethodError(name, _, _) => Self::of_name(name.as_str()),
            zbus::Error::FDO(error) => match &**error {
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Trouble::NotRunning,
                fdo::Error::AccessDenied(_) => Trouble::Policy,
                fdo::Error::NoReply(_) | fdo::Error::Disconnected(_) | fdo::Error::Timeout(_) => {
                    Trouble::Interrupted
                }
                fdo::Error::UnknownMethod(_)
                | fdo::Error::UnknownObject(_)
                | fdo::Error::UnknownInterface(_)
                | fdo::Error::InvalidArgs(_) => Trouble::Version,
                fdo::Error::ZBus(error) => Self::of_bus(error),
                _ => Trouble::Other,
            },
            _ => Trouble::Other,
        }
    }

    fn of_name(name: &str) -> Self {
        match name.strip_prefix("org.freedesktop.DBus.Error.").unwrap_or(name) {
            "ServiceUnknown" | "NameHasNoOwner" => Trouble::NotRunning,
            name if name.starts_with("Spawn.") || name.starts_with("org.freedesktop.systemd1.") => {
                Trouble::NotRunning
            }
            "AccessDenied" => Trouble::Policy,
            "NoReply" | "Disconnected" | "Timeout" | "TimedOut" => Trouble::Interrupted,
            "UnknownMethod" | "UnknownObject" | "UnknownInterface" | "InvalidArgs" => Trouble::Version,
            _ => Trouble::Other,
        }
    }

    /// One sentence in plain words, to show instead of the transport's own; `None` where the error's
    /// message is the better one.
    #[must_use]
    pub fn sentence(self) -> Option<&'static str> {
        match self {
            Trouble::NoBus => Some(mark("There is no system bus to reach the monitor on.")),
            Trouble::NotRunning => Some(mark("The monitor is not running.")),
            Trouble::Policy => Some(mark("The system bus does not let messages through to the monitor.")),
            Trouble::Interrupted => Some(mark("The monitor did not answer.")),
            Trouble::Version => Some(mark("The monitor that runs is of another version than this program.")),
            Trouble::NotAuthorized | Trouble::Refused | Trouble::Other => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Trouble::NoBus => Some(mark(
                "Start the bus (systemctl start dbus), or name one in DBUS_SYSTEM_BUS_ADDRESS (unix:path=/run/dbus/system_bus_socket).",
            )),
            Trouble::NotRunning => Some(mark(
                "Start it with: systemctl start picosnitchd. If it does not stay up, journalctl -u picosnitchd says why.",
            )),
            Trouble::Policy => Some(mark(
                "Install org.picosnitch.Monitor.conf in /usr/share/dbus-1/system.d and reload the bus (systemctl reload dbus).",
            )),
            Trouble::Interrupted => {
                Some(mark("Try again; journalctl -u picosnitchd says if it was stopped."))
            }
            Trouble::Version => Some(mark("Restart it after an upgrade: systemctl restart picosnitchd.")),
            Trouble::NotAuthorized => Some(mark(
                "Do it as root, or log in at the machine itself with an agent that can ask for the password.",
            )),
            Trouble::Refused | Trouble::Other => None,
        }
    }
}

/// What to do about an error, where there is something to do that its message does not say.
#[must_use]
pub fn hint(error: &Error) -> Option<&'static str> {
    Trouble::of(error).hint()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fdo(error: zbus::fdo::Error) -> Error {
        Error::ZBus(zbus::Error::FDO(Box::new(error)))
    }

    #[test]
    fn errors_are_told_apart() {
        use zbus::fdo::Error as Fdo;
        for (error, trouble) in [
            (fdo(Fdo::ServiceUnknown("x".into())), Trouble::NotRunning),
            (fdo(Fdo::AccessDenied("x".into())), Trouble::Policy),
            (fdo(Fdo::NoReply("x".into())), Trouble::Interrupted),
            (fdo(Fdo::UnknownMethod("x".into())), Trouble::Version),
            (Error::ZBus(zbus::Error::Address("x".into())), Trouble::NoBus),
            (Error::NotAuthorized("x".into()), Trouble::NotAuthorized),
            (Error::InvalidQuery("x".into()), Trouble::Refused),
        ] {
            assert_eq!(Trouble::of(&error), trouble, "{error:?}");
        }
        assert_eq!(Trouble::of_name("org.freedesktop.DBus.Error.Spawn.ChildExited"), Trouble::NotRunning);
        assert_eq!(Trouble::of_name("org.freedesktop.DBus.Error.ServiceUnknown"), Trouble::NotRunning);
        assert_eq!(hint(&Error::InvalidQuery("x".into())), None);
        assert!(
            hint(&fdo(Fdo::ServiceUnknown("x".into()))).is_some_and(|hint| hint.contains("systemctl start"))
        );
    }
}
