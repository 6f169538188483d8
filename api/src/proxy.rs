// SPDX-License-Identifier: GPL-3.0-or-later
//! Calling the daemon: typed methods over the three interfaces of `org.picosnitch.Monitor`.
//!
//! No call starts the service: a monitor that an administrator stopped stays stopped, whoever looks.

use std::collections::HashMap;
use std::os::fd::AsFd;

use zbus::proxy::MethodFlags;
use zbus::zvariant::{self, DynamicDeserialize, DynamicType, OwnedValue, Value};

use crate::query::{Dimension, MAX_PAGE, Query};
use crate::row::{self, Page, Series, Status, Total};
use crate::{Error, name};

/// What [`Client::export`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Rows of [`Client::connections`].
    Connections,
    /// Rows of [`Client::executables`].
    Executables,
    /// Rows of [`Client::events`].
    Events,
}

/// How [`Client::export`] writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header line, then one line per row (RFC 4180, lines end with LF).
    Csv,
    /// One JSON object per line.
    JsonLines,
}

/// Declares an enum's words, both ways.
macro_rules! words {
    ($type:ident, $what:literal: $($variant:ident $word:literal),* $(,)?) => {
        impl $type {
            /// All of them with their word on the bus and the command line.
            pub const ALL: &'static [($type, &'static str)] = &[$(($type::$variant, $word)),*];

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $($type::$variant => $word),* }
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::ALL.iter().find(|(_, word)| *word == text).map(|(value, _)| *value).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|(_, word)| *word).collect();
                    Error::InvalidQuery(format!("no {} {text:?}; there are {}", $what, known.join(", ")))
                })
            }
        }
    };
}

words!(What, "export": Connections "connections", Executables "executables", Events "events");
words!(Format, "format": Csv "csv", JsonLines "jsonl");
words!(Permission, "answer": Yes "yes", No "no", Challenge "challenge");

/// What polkit would say to the caller about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Allowed now.
    Yes,
    /// Not allowed, and asking does not help.
    No,
    /// Allowed after the person proves who they are: call through [`Client::asking`].
    Challenge,
}

/// A connection to the daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    monitor: zbus::Proxy<'static>,
    settings: zbus::Proxy<'static>,
    admin: zbus::Proxy<'static>,
    asking: bool,
}

impl Client {
    /// Connects to the system bus, or to the one that `DBUS_SYSTEM_BUS_ADDRESS` names. The daemon need
    /// not be there yet.
    ///
    /// # Errors
    /// [`Error::ZBus`] if there is no bus; [`crate::hint`] says what to do.
    pub async fn connect() -> Result<Self, Error> {
        Self::new(&zbus::Connection::system().await?).await
    }

    /// Uses a connection that exists.
    ///
    /// # Errors
    /// [`Error::ZBus`] if the connection is closed.
    pub async fn new(connection: &zbus::Connection) -> Result<Self, Error> {
        // Answers Peer.Ping, by which the daemon sees that its answers are read.
        let _ = connection.object_server();
        let proxy = |interface: &'static str| {
            zbus::proxy::Builder::<zbus::Proxy<'static>>::new(connection)
                .destination(name::BUS)?
                .path(name::PATH)?
                .interface(interface)
                .map(|builder| builder.cache_properties(zbus::proxy::CacheProperties::No))
        };
        Ok(Self {
            monitor: proxy(name::MONITOR)?.build().await?,
            settings: proxy(name::SETTINGS)?.build().await?,
            admin: proxy(name::ADMIN)?.build().await?,
            asking: false,
        })
    }

    /// The same client, whose calls may make polkit ask the person for a password. Only for what a
    /// person just asked for; never for what a timer does.
    #[must_use]
    pub fn asking(&self) -> Self {
        Self { asking: true, ..self.clone() }
    }

    /// The connection underneath.
    pub fn connection(&self) -> &zbus::Connection {
        self.monitor.connection()
    }

    async fn call<B, R>(
        &self,
        proxy: &zbus::Proxy<'static>,
        method: &'static str,
        body: &B,
    ) -> Result<R, Error>
    where
        B: serde::Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let flags = if self.asking {
            MethodFlags::NoAutoStart | MethodFlags::AllowInteractiveAuth
        } else {
            MethodFlags::NoAutoStart.into()
        };
        match proxy.call_with_flags(method, flags, body).await? {
            Some(reply) => Ok(reply),
            // Only a call that expects no reply gets none.
            None => Err(Error::ZBus(zbus::Error::InvalidReply)),
        }
    }

    /// State of the daemon. Allowed to everybody.
    ///
    /// # Errors
    /// [`Error::ZBus`] if the daemon cannot be reached.
    pub async fn status(&self) -> Result<Status, Error> {
        self.call(&self.monitor, "Status", &()).await.map(Status::from_dict)
    }

    /// What the caller may do: one answer for each of [`name::action::ALL`], in that order; `No` for an
    /// action that the daemon does not know.
    ///
    /// # Errors
    /// [`Error::ZBus`] if the daemon cannot be reached.
    pub async fn permissions(&self) -> Result<Vec<(&'static str, Permission)>, Error> {
        let answers: HashMap<String, String> = self.call(&self.monitor, "Permissions", &()).await?;
        let answer = |action: &str| answers.get(action).and_then(|word| word.parse().ok());
        Ok(name::action::ALL
            .iter()
            .map(|action| (*action, answer(action).unwrap_or(Permission::No)))
            .collect())
    }

    /// Asks for the signals about the caller's own programs (and, with `read-any`, everybody's). It
    /// holds for this connection until [`Client::unwatch`] or until either side goes.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if too many clients watch.
    pub async fn watch(&self) -> Result<(), Error> {
        self.call(&self.monitor, "Watch", &()).await
    }

    /// Ends [`Client::watch`].
    ///
    /// # Errors
    /// [`Error::ZBus`] if the daemon cannot be reached.
    pub async fn unwatch(&self) -> Result<(), Error> {
        self.call(&self.monitor, "Unwatch", &()).await
    }

    async fn page<T>(
        &self,
        method: &'static str,
        query: &Query,
        row: fn(row::Dict) -> T,
    ) -> Result<Page<T>, Error> {
        let (rows, cursor, hidden): (Vec<row::Dict>, String, u64) =
            self.call(&self.monitor, method, &query.to_dict()).await?;
        Ok(Page { rows: rows.into_iter().map(row).collect(), cursor, hidden })
    }

    /// Programs. `sort`: `path`, `name`, `first-seen`, `last-seen`, `sent`, `received`, `connections`.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] as the daemon says it.
    pub async fn executables(&self, query: &Query) -> Result<Page<row::Executable>, Error> {
        self.page("Executables", query, row::Executable::from_dict).await
    }

    /// Everything about one program.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of that number that the caller may see.
    pub async fn executable(&self, id: i64) -> Result<row::Executable, Error> {
        self.call(&self.monitor, "Executable", &id).await.map(row::Executable::from_dict)
    }

    /// The connection log, newest first. `sort`: `time`, `sent`, `received`.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] as the daemon says it.
    pub async fn connections(&self, query: &Query) -> Result<Page<row::Connection>, Error> {
        self.page("Connections", query, row::Connection::from_dict).await
    }

    /// Totals grouped by a dimension, largest first, and how many rows were hidden.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] as the daemon says it.
    pub async fn summary(&self, by: Dimension, query: &Query) -> Result<(Vec<Total>, u64), Error> {
        self.call(&self.monitor, "Summary", &(by.word(), query.to_dict())).await
    }

    /// Totals over time, grouped by a dimension, largest first, and how many rows were hidden.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] as the daemon says it.
    pub async fn series(&self, by: Dimension, query: &Query) -> Result<(Vec<Series>, u64), Error> {
        self.call(&self.monitor, "Series", &(by.word(), query.to_dict())).await
    }

    /// Notices, newest first.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] as the daemon says it.
    pub async fn events(&self, query: &Query) -> Result<Page<row::Event>, Error> {
        self.page("Events", query, row::Event::from_dict).await
    }

    /// One notice.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of that number that the caller may see.
    pub async fn event(&self, id: i64) -> Result<row::Event, Error> {
        self.call(&self.monitor, "Event", &id).await.map(row::Event::from_dict)
    }

    /// Marks notices as seen. Those that the caller may not see are passed over.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] for more than [`MAX_PAGE`] at once.
    pub async fn acknowledge(&self, events: &[i64]) -> Result<(), Error> {
        self.call(&self.monitor, "Acknowledge", &events).await
    }

    /// Marks all notices as seen that the caller may see, up to this number: what comes meanwhile stays unread. Returns
    /// those that were unread and are marked, also where an error ([`Error::ZBus`] if the daemon cannot be reached)
    /// ends it before the oldest one. It goes through the whole history, as nothing says how many are unread.
    pub async fn acknowledge_through(&self, newest: i64) -> (Vec<i64>, Result<(), Error>) {
        let mut marked = Vec::new();
        let outcome = self.walk(newest, &mut marked).await;
        (marked, outcome)
    }

    async fn walk(&self, newest: i64, marked: &mut Vec<i64>) -> Result<(), Error> {
        let mut query = Query { limit: Some(MAX_PAGE), ..Query::default() };
        loop {
            let page = self.events(&query).await?;
            let unread = page.rows.iter().filter(|row| row.acknowledged != Some(true));
            let unread: Vec<_> = unread.filter_map(|row| row.id).filter(|id| *id <= newest).collect();
            if !unread.is_empty() {
                self.acknowledge(&unread).await?;
            }
            marked.extend(unread);
            if page.cursor.is_empty() {
                return Ok(());
            }
            query.cursor = Some(page.cursor);
        }
    }

    /// Writes everything that the query selects into a file descriptor (a file or a pipe), without
    /// paging; returns when the last row is written.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot be written, [`Error::LimitExceeded`] if too many exports run.
    pub async fn export(
        &self,
        what: What,
        format: Format,
        query: &Query,
        into: impl AsFd,
    ) -> Result<(), Error> {
        let into = zvariant::Fd::from(into.as_fd());
        self.call(&self.monitor, "Export", &(what.word(), format.word(), query.to_dict(), into)).await
    }

    /// The settings, by their key in `config.toml` (`database.retention_days`). Secrets are absent.
    ///
    /// # Errors
    /// [`Error::ZBus`] if the daemon cannot be reached.
    pub async fn settings(&self) -> Result<HashMap<String, OwnedValue>, Error> {
        self.call(&self.settings, "Get", &()).await
    }

    /// Changes settings, all or none of them; they hold at once and are written to the file.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`], [`Error::NotAuthorized`].
    pub async fn set_settings(&self, changes: &HashMap<&str, Value<'_>>) -> Result<(), Error> {
        self.call(&self.settings, "Set", changes).await
    }

    /// Deletes the part of the history that the query selects; returns the number of rows deleted.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`], [`Error::InvalidQuery`].
    pub async fn delete_history(&self, query: &Query) -> Result<u64, Error> {
        self.call(&self.admin, "DeleteHistory", &query.to_dict()).await
    }

    /// Stops recording for so many seconds; the pause itself is recorded.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`], [`Error::InvalidQuery`] for a time out of range.
    pub async fn pause(&self, seconds: u32) -> Result<(), Error> {
        self.call(&self.admin, "Pause", &seconds).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.call(&self.admin, "Resume", &()).await
    }

    /// Asks the configured scanner about a content, 64 hexadecimal digits; returns its verdict.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no scanner is configured or it does not answer.
    pub async fn scan(&self, sha256: &str) -> Result<String, Error> {
        self.call(&self.admin, "Scan", &sha256).await
    }
}
