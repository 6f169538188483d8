// SPDX-License-Identifier: GPL-3.0-or-later
//! `org.picosnitch.Monitor.Settings` and `org.picosnitch.Monitor.Admin`: what changes something. Every
//! method asks polkit first and leaves a line in the audit log.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use picosnitch_api::inert;
use picosnitch_api::name::action;
use picosnitch_api::query::Dict;
use picosnitch_api::{Error, Query};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::OwnedValue;

use super::Control;
use super::authority::Caller;
use super::desk::{self, Desk};
use super::takes::{by_key, takes};
use crate::model::Viewer;
use crate::settings;

/// A pause is at most this long, seconds: a week.
const LONGEST_PAUSE: u32 = 7 * 24 * 3600;

/// Serves the settings.
pub struct Settings {
    pub(super) desk: Weak<Desk>,
}

/// Serves what changes or stops the record.
pub struct Admin {
    pub(super) desk: Weak<Desk>,
}

fn audit(caller: &Caller, did: &str) {
    tracing::info!(target: "audit", "uid {} ({}) {did}", caller.uid, caller.name);
}

/// A query on one line, whatever the caller wrote into it.
fn words(query: &Query) -> String {
    let mut words: Vec<_> =
        query.to_dict().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.sort();
    inert(&words.join(" ")).into_owned()
}

fn refused(error: settings::Error) -> Error {
    match error {
        settings::Error::Change(_) | settings::Error::File { .. } => Error::InvalidSetting(error.to_string()),
        settings::Error::Read { .. } | settings::Error::Write { .. } | settings::Error::Meanwhile => {
            Error::Unavailable(error.to_string())
        }
    }
}

/// The settings of the daemon: /etc/picosnitch/config.toml, by its keys (database.retention_days).
#[zbus::interface(name = "org.picosnitch.Monitor.Settings")]
impl Settings {
    /// All settings. Secrets are absent; secrets-set (as) has the keys of those that are set.
    #[zbus(out_args("settings"))]
    async fn get(&self, #[zbus(header)] header: Header<'_>) -> Result<HashMap<String, OwnedValue>, Error> {
        let desk = desk::of(&self.desk)?;
        desk.authority.caller(&header).await?;
        Ok(desk.settings.current().to_dict())
    }

    /// Changes settings, all of those given or none; the file keeps its comments. It takes
    /// org.picosnitch.Monitor.configure, for keys of remote and virustotal
    /// org.picosnitch.Monitor.configure-remote, and what a change does beyond that: to keep history for less
    /// time org.picosnitch.Monitor.delete-history, to leave more out of it (database.enabled, log.ignore)
    /// org.picosnitch.Monitor.pause, and to record more while that is sent elsewhere
    /// org.picosnitch.Monitor.configure-remote.
    async fn set(&self, changes: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        let changes = Arc::new(changes);
        let (store, asked) = (desk.settings.clone(), changes.clone());
        let planned = desk::blocking(move || Ok(store.plan(&asked))).await?;
        // Who may not change anything does not learn from us what is wrong with the change, or with the file.
        let needed = match &planned {
            Ok((before, after)) => takes(changes.keys(), before, after),
            Err(_) => by_key(changes.keys()),
        };
        desk.authority.require_all(&caller, &needed).await?;
        planned.map_err(refused)?;
        let store = desk.settings.clone();
        let changed = desk::blocking(move || {
            // The file may be another than a moment ago.
            let allowed = |before: &settings::Settings, after: &settings::Settings| {
                takes(changes.keys(), before, after).iter().all(|action| needed.contains(action))
            };
            store.set(&changes, allowed).map_err(refused)
        })
        .await?;
        audit(&caller, &format!("changed settings: {}", changed.join(", ")));
        Ok(())
    }

    /// These settings changed, by Set or by hand; Get has their values.
    #[zbus(signal)]
    pub async fn changed(emitter: &SignalEmitter<'_>, keys: &[String]) -> zbus::Result<()>;
}

/// What changes or stops the record.
#[zbus::interface(name = "org.picosnitch.Monitor.Admin")]
impl Admin {
    /// Deletes the part of the history that the query selects, whosever it is, and returns the number of rows
    /// of the connection log that were deleted. A query without any filter is refused: since with -100y says
    /// everything. It takes org.picosnitch.Monitor.delete-history.
    #[zbus(out_args("rows"))]
    async fn delete_history(&self, query: Dict, #[zbus(header)] header: Header<'_>) -> Result<u64, Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        let query = desk::query(&query)?;
        let filters = Query { scope: None, sort: None, descending: None, limit: None, cursor: None, ..query };
        if filters == Query::default() {
            return Err(Error::InvalidQuery(
                "Say what to delete; since with -100y says everything.".to_owned(),
            ));
        }
        desk.authority.require(&caller, action::DELETE_HISTORY).await?;
        let reader = desk.reader.clone();
        // Before: of one that breaks off a part is gone.
        audit(&caller, &format!("deletes history: {}", words(&filters)));
        let deleted = desk::blocking(move || reader.delete_history(&filters, &Viewer::everything())).await;
        match &deleted {
            Ok(rows) => audit(&caller, &format!("deleted {rows} rows of history")),
            Err(error) => audit(&caller, &format!("did not delete all of that: {error}")),
        }
        deleted
    }

    /// Stops recording for so many seconds, at most a week; the pause itself is recorded. It takes
    /// org.picosnitch.Monitor.pause.
    async fn pause(&self, seconds: u32, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        if !(1..=LONGEST_PAUSE).contains(&seconds) {
            return Err(Error::InvalidQuery(format!("A pause has 1 to {LONGEST_PAUSE} seconds.")));
        }
        desk.authority.require(&caller, action::PAUSE).await?;
        desk.control(Control::Pause { seconds, uid: caller.uid })?;
        audit(&caller, &format!("paused the record for {seconds} s"));
        Ok(())
    }

    /// Ends a pause. It takes org.picosnitch.Monitor.pause.
    async fn resume(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        desk.authority.require(&caller, action::PAUSE).await?;
        desk.control(Control::Resume { uid: caller.uid })?;
        audit(&caller, "ended the pause");
        Ok(())
    }

    /// Asks the configured scanner about a content, 64 hexadecimal digits, that was seen here, and returns its
    /// verdict: 3 of 72 engines (2026-11-22), unknown, or no verdict yet. It takes
    /// org.picosnitch.Monitor.scan.
    #[zbus(out_args("verdict"))]
    async fn scan(&self, sha256: String, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::InvalidQuery("A content is 64 hexadecimal digits.".to_owned()));
        }
        let Some(content) = crate::model::sha256(&sha256) else {
            return Err(Error::InvalidQuery("A content is 64 hexadecimal digits.".to_owned()));
        };
        // Nobody is told of contents that were never seen here, or by others alone; and nobody types a password for
        // that. Who cannot be asked for one may not scan, whatever was seen.
        let (reader, viewer) = (desk.reader.clone(), desk.authority.viewer(&caller, None).await);
        let known = desk::blocking(move || reader.knows_content(&content, &viewer)).await?;
        if known || !caller.interactive {
            desk.authority.require(&caller, action::SCAN).await?;
        }
        if !known {
            let not = "This content was not seen here, or only by programs that you may not see.";
            return Err(Error::NotFound(not.to_owned()));
        }
        audit(&caller, &format!("asked the scanner about {}", sha256.to_ascii_lowercase()));
        desk.relay.scan(content).await.map_err(Error::Unavailable)
    }
}
