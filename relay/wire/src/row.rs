// SPDX-License-Identifier: GPL-3.0-or-later
//! A row as it leaves the machine: the fields of `conn.log`, in its order, and a few more. Declared once:
//! the JSON form, the columns of the servers' tables and what is bound to them come from here, and a test
//! compares `data/sql`.

use serde::{Deserialize, Serialize};

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 64 bits, signed.
    Integer,
    /// UTF-8 without control characters.
    Text,
    /// µs since the epoch; a time of the server's own type there.
    Time,
    /// Yes or no.
    Truth,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// A value on its way into a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// [`Kind::Integer`]; larger numbers are the largest that fits.
    Integer(Option<i64>),
    /// [`Kind::Text`].
    Text(Option<&'a str>),
    /// [`Kind::Time`].
    Time(i64),
    /// [`Kind::Truth`].
    Truth(bool),
}

macro_rules! columns {
    (@type Integer) => { Option<u64> };
    (@type Text) => { Option<String> };
    (@type Time) => { i64 };
    (@type Truth) => { bool };
    (@cell Integer $value:expr) => { Cell::Integer($value.map(|number| i64::try_from(number).unwrap_or(i64::MAX))) };
    (@cell Text $value:expr) => { Cell::Text($value.as_deref()) };
    (@cell Time $value:expr) => { Cell::Time($value) };
    (@cell Truth $value:expr) => { Cell::Truth($value) };
    ($($(#[$meta:meta])* $name:ident $kind:ident,)*) => {
        /// A row. What is unknown, or is not to be recorded, is absent.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Row {
            /// With the origin, the key of the row; grows.
            pub id: i64,
            $($(#[$meta])* #[serde(skip_serializing_if = "is_default")] pub $name: columns!(@type $kind),)*
        }

        /// The columns of a table, after `origin`, `id` and `host`.
        pub const COLUMNS: &[Column] = &[$(Column { name: stringify!($name), kind: Kind::$kind },)*];

        impl Row {
            /// The values of [`COLUMNS`].
            #[must_use]
            pub fn cells(&self) -> Vec<Cell<'_>> {
                vec![$(columns!(@cell $kind self.$name),)*]
            }
        }
    };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

columns! {
    /// Path of the executable.
    executable Text,
    /// Name of the process.
    name Text,
    /// Command line.
    cmdline Text,
    /// Content of the executable, hexadecimal.
    sha256 Text,
    /// First byte or attempt of the interval.
    time Time,
    /// Remote name.
    domain Text,
    /// Remote address.
    ip Text,
    /// Remote port.
    port Integer,
    /// Real uid.
    uid Integer,
    /// Of the parent.
    parent_exe Text,
    /// Of the parent.
    parent_name Text,
    /// Of the parent.
    parent_cmdline Text,
    /// Of the parent.
    parent_sha256 Text,
    /// Connections that began.
    conns Integer,
    /// Bytes.
    sent Integer,
    /// Bytes.
    received Integer,
    /// Process.
    pid Integer,
    /// Of the grandparent.
    grandparent_exe Text,
    /// Of the grandparent.
    grandparent_name Text,
    /// Of the grandparent.
    grandparent_cmdline Text,
    /// Of the grandparent.
    grandparent_sha256 Text,
    /// `tcp`, `udp`, …
    protocol Text,
    /// `in` or `out`.
    direction Text,
    /// Local address.
    local_ip Text,
    /// Local port.
    local_port Integer,
    /// Of a packet socket.
    interface Text,
    /// Network namespace.
    netns Integer,
    /// systemd unit.
    unit Text,
    /// Container.
    container Text,
    /// Where the name came from.
    domain_source Text,
    /// Effective uid, where it is another.
    effective_uid Integer,
    /// Why the content is unknown.
    sha256_unknown Text,
    /// Script that the executable interprets.
    script Text,
    /// Its content.
    script_sha256 Text,
    /// The path is one of a container.
    foreign_root Truth,
}
