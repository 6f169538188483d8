// SPDX-License-Identifier: GPL-3.0-or-later
//! What the three interfaces work with: one for each connection to the bus.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use picosnitch_api::name::action;
use picosnitch_api::query::Dict;
use picosnitch_api::{Error, Query, Status};
use tokio::sync::{Semaphore, mpsc};
use zbus::message::Header;

use super::authority::{Authority, Caller};
use super::limits::Slot;
use super::unread::{Unread, Weigh};
use super::watchers::Watchers;
use super::{Control, Deps};
use crate::model::Viewer;
use crate::record::Reader;
use crate::relay;
use crate::settings;

/// Queries that run at once; the others wait.
const READS: usize = 4;

/// See the module.
pub struct Desk {
    pub(super) authority: Authority,
    pub(super) watchers: Watchers,
    pub(super) unread: Unread,
    connection: zbus::Connection,
    pub(super) reader: Reader,
    pub(super) settings: settings::Store,
    status: Arc<dyn Fn() -> Status + Send + Sync>,
    control: mpsc::Sender<Control>,
    pub(super) relay: relay::Control,
    reads: Semaphore,
    /// Nobody on this connection is served any more.
    pub(super) over: Arc<AtomicBool>,
}

/// A query of a caller, and what the caller may see of it.
pub struct Asked {
    pub(super) caller: Caller,
    pub(super) query: Query,
    pub(super) viewer: Viewer,
    _slot: Slot,
}

impl Desk {
    pub(super) fn new(connection: &zbus::Connection, authority: Authority, deps: &Deps) -> Self {
        Self {
            authority,
            watchers: Watchers::default(),
            unread: Unread::default(),
            connection: connection.clone(),
            reader: deps.reader.clone(),
            settings: deps.settings.clone(),
            status: deps.status.clone(),
            control: deps.control.clone(),
            relay: deps.relay.clone(),
            reads: Semaphore::new(READS),
            over: Arc::default(),
        }
    }

    /// The daemon's state now.
    pub fn status(&self) -> Status {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        Status { version, ..(self.status)() }
    }

    /// Who asks, what, and how much of it may be shown.
    ///
    /// # Errors
    /// Those of [`Authority::caller`] and [`Query::from_dict`].
    pub async fn asked(&self, header: &Header<'_>, query: &Dict) -> Result<Asked, Error> {
        let caller = self.authority.caller(header).await?;
        let query = self::query(query)?;
        let slot = self.authority.limits.uid(caller.uid)?;
        self.unread.admit(&caller)?;
        let viewer = self.authority.viewer(&caller, query.scope).await;
        Ok(Asked { caller, query, viewer, _slot: slot })
    }

    /// Asks the history, on a thread that may block, and lets the answer go out if its caller reads. The
    /// caller's place is taken until then.
    ///
    /// # Errors
    /// Those of `ask` and of [`Unread::charge`]; [`Error::Unavailable`] while the daemon stops.
    pub async fn read<T: Weigh + Send + 'static>(
        &self,
        asked: Asked,
        ask: impl FnOnce(&Reader, Query, &Viewer) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.reads.acquire().await.map_err(|_| stopping())?;
        let reader = self.reader.clone();
        let Asked { caller, query, viewer, _slot } = asked;
        let answer = blocking(move || ask(&reader, query, &viewer)).await?;
        let answer = self.unread.send(&self.connection, &caller, answer);
        // Gone meanwhile: nobody would forget it again.
        if !self.authority.is_here(&caller.name) {
            self.unread.gone(&caller.name);
        }
        answer
    }

    /// The caller wants to hear of what is new.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if too many do.
    pub async fn watch(&self, caller: &Caller) -> Result<(), Error> {
        let any =
            self.authority.may_read(&caller.name, caller.uid, action::READ_ANY, caller.interactive).await;
        self.watchers.add(&caller.name, caller.uid, any)?;
        // Gone while polkit was asked: nobody would take it out again.
        if !self.authority.is_here(&caller.name) {
            self.watchers.remove(&caller.name);
        }
        Ok(())
    }

    /// Tells the pipeline.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not listen.
    pub fn control(&self, control: Control) -> Result<(), Error> {
        self.control.try_send(control).map_err(|_| stopping())
    }
}

/// The desk of an interface, as long as its connection is served.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn of(desk: &Weak<Desk>) -> Result<Arc<Desk>, Error> {
    desk.upgrade().ok_or_else(stopping)
}

fn stopping() -> Error {
    Error::Unavailable("The monitor is busy or stopping; try again.".to_owned())
}

/// Checks a query against the clock of now.
///
/// # Errors
/// [`Error::InvalidQuery`].
pub fn query(dict: &Dict) -> Result<Query, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Query::from_dict(dict, i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// Those of `work`; [`Error::Unavailable`] while the daemon stops.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(stopping()))
}
