// SPDX-License-Identifier: GPL-3.0-or-later
//! A client that keeps every signal with the moment it came, and waits for what it wants to see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::{Error, Query, Scope, row};
use tokio::runtime::Runtime;

use super::{Outcome, Trouble};
use crate::traffic::sys::now_us;

/// A signal and when it came.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Wall clock, µs since the epoch.
    pub at: i64,
    /// What was said.
    pub event: Event,
}

/// Client of one bus, as root.
pub struct Client {
    runtime: Runtime,
    client: picosnitch_api::Client,
    signals: Arc<Mutex<Vec<Signal>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

async fn connection(address: &str) -> Result<zbus::Connection, Error> {
    Ok(zbus::connection::Builder::address(address)?.build().await?)
}

impl Client {
    /// Connects and listens.
    ///
    /// # Errors
    /// There is no bus.
    pub fn connect(address: &str) -> Outcome<Client> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let signals = Arc::new(Mutex::new(Vec::new()));
        let (client, mut listener) = runtime.block_on(async {
            let client = picosnitch_api::Client::new(&connection(address).await?).await?;
            let listener = Listener::new(connection(address).await?).await?;
            Ok::<_, Error>((client, listener))
        })?;
        let kept = signals.clone();
        runtime.spawn(async move {
            while let Some(event) = listener.next().await {
                let signal = Signal { at: now_us(), event };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(signal);
            }
        });
        Ok(Client { runtime, client, signals })
    }

    /// Calls the daemon.
    pub fn call<T, F>(&self, call: impl FnOnce(picosnitch_api::Client) -> F) -> T
    where
        F: Future<Output = T>,
    {
        self.runtime.block_on(call(self.client.clone()))
    }

    /// Every signal so far.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notices of one kind about one path so far.
    #[must_use]
    pub fn notices(&self, kind: &str, path: &str) -> Vec<(i64, row::Event)> {
        self.signals()
            .into_iter()
            .filter_map(|signal| match signal.event {
                Event::Notice(event)
                    if event.kind.as_deref() == Some(kind) && event.path.as_deref() == Some(path) =>
                {
                    Some((signal.at, *event))
                }
                _ => None,
            })
            .collect()
    }

    /// All pages of `Connections`.
    ///
    /// # Errors
    /// As the daemon says.
    pub fn connections(&self, query: &Query) -> Outcome<Vec<row::Connection>> {
        let mut query = Query { limit: Some(1000), scope: Some(Scope::Any), ..query.clone() };
        let mut rows = Vec::new();
        loop {
            let page = self.call(|client| {
                let query = query.clone();
                async move { client.connections(&query).await }
            })?;
            rows.extend(page.rows);
            if page.cursor.is_empty() {
                return Ok(rows);
            }
            query.cursor = Some(page.cursor);
        }
    }

    /// All pages of `Events`.
    ///
    /// # Errors
    /// As the daemon says.
    pub fn events(&self, query: &Query) -> Outcome<Vec<row::Event>> {
        let mut query = Query { limit: Some(1000), scope: Some(Scope::Any), ..query.clone() };
        let mut rows = Vec::new();
        loop {
            let page = self.call(|client| {
                let query = query.clone();
                async move { client.events(&query).await }
            })?;
            rows.extend(page.rows);
            if page.cursor.is_empty() {
                return Ok(rows);
            }
            query.cursor = Some(page.cursor);
        }
    }

    /// What the daemon says of itself.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn status(&self) -> Outcome<picosnitch_api::Status> {
        self.call(|client| async move { client.status().await }).map_err(Trouble::from)
    }
}

/// Asks again until the answer has nothing to complain about; then, or when the time is over, gives the
/// last complaint.
///
/// # Errors
/// The last complaint.
pub fn settle(within: Duration, mut look: impl FnMut() -> Outcome) -> Outcome {
    let end = Instant::now() + within;
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(Trouble::Skipped(reason)) => return Err(Trouble::Skipped(reason)),
            Err(complaint) if Instant::now() >= end => return Err(complaint),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
