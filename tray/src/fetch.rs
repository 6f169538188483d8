// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls to the monitor, each in a task of its own: a monitor that takes its time must not hold up the
//! menu. Answers come back as messages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use picosnitch_api::{Client, Dimension, Error, Query, Status, Trouble, row};
use tokio::sync::mpsc;
use zbus::zvariant::OwnedValue;

use crate::Message;

/// The latest notices that are asked for.
const NOTICES: u32 = picosnitch_api::state::MAX_UNREAD as u32;
/// How long what waits to be shown may wait for what was seen elsewhere.
const LOOK: Duration = Duration::from_secs(5);
/// Of what waits and is older than the latest notices, so many are asked for.
const OLDER: usize = 50;
/// How long a notice may wait for what the signal does not say of it.
const PATIENCE: Duration = Duration::from_millis(500);
/// Notices that wait for that at the same time; further ones are told as they are.
const QUEUE: usize = 64;

/// What the monitor answered.
#[derive(Debug)]
pub enum Fetched {
    /// Its state.
    Status(Box<Status>),
    /// The latest notices, newest first, and when they were asked for.
    Notices(Instant, Vec<row::Event>),
    /// One notice that is to be told, with all that is known of it.
    Notice(Box<row::Event>),
    /// When the record begins, µs since the epoch.
    Begins(i64),
    /// Whether notifications are wanted, and whether there is a history.
    Settings { wanted: bool, kept: bool },
    /// These are marked as seen.
    Acknowledged(Vec<i64>),
    /// The same of [`acknowledge_all`], which is over.
    AllAcknowledged(Vec<i64>),
    /// Bytes per second, received and sent.
    Rates(u64, u64),
    /// What of that which waits was seen elsewhere was said before this, or nobody says it.
    Looked,
}

async fn give(to: &mpsc::Sender<Message>, fetched: Fetched) {
    // Only fails when the program ends.
    let _ = to.send(Message::Fetched(fetched)).await;
}

/// Everything, in the order in which it is needed. What fails is asked again when the monitor appears.
pub fn everything(client: Client, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        if let Ok(status) = client.status().await {
            give(&to, Fetched::Status(Box::new(status))).await;
        }
        settings(&client, &to).await;
        let first = Query {
            sort: Some("first-seen".into()),
            descending: Some(false),
            limit: Some(1),
            ..Query::default()
        };
        if let Ok(page) = client.executables(&first).await {
            // Without any program the record begins with the next one.
            let begins = page.rows.first().and_then(|row| row.first_seen).unwrap_or_else(crate::clock::wall);
            give(&to, Fetched::Begins(begins)).await;
        }
        let _ = latest(&client, &to).await;
    });
}

/// The state and the settings.
pub fn status(client: Client, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        if let Ok(status) = client.status().await {
            give(&to, Fetched::Status(Box::new(status))).await;
        }
        settings(&client, &to).await;
    });
}

/// The latest notices: another client may have marked some as seen.
pub fn notices(client: Client, to: mpsc::Sender<Message>) {
    tokio::spawn(async move { latest(&client, &to).await });
}

/// The latest notices, and of these older ones those that were marked as seen; then [`Fetched::Looked`].
pub fn look(client: Client, mut waiting: Vec<i64>, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        let looking = async {
            let Some(first) = latest(&client, &to).await else { return };
            waiting.retain(|id| *id < first);
            let mut seen = Vec::new();
            for id in waiting.into_iter().take(OLDER) {
                let row = client.event(id).await;
                seen.extend(row.is_ok_and(|row| row.acknowledged == Some(true)).then_some(id));
            }
            if !seen.is_empty() {
                give(&to, Fetched::Acknowledged(seen)).await;
            }
        };
        let _ = tokio::time::timeout(LOOK, looking).await;
        give(&to, Fetched::Looked).await;
    });
}

async fn settings(client: &Client, to: &mpsc::Sender<Message>) {
    if let Some(settings) = said(client.settings().await) {
        give(to, settings).await;
    }
}

/// What the answer says. Who may not read the settings is told what happens, as by default; any other failure says
/// nothing of them, so that what was known stands.
fn said(answer: Result<HashMap<String, OwnedValue>, Error>) -> Option<Fetched> {
    let settings = match answer {
        Ok(settings) => settings,
        Err(error) if matches!(Trouble::of(&error), Trouble::NotAuthorized | Trouble::Policy) => {
            HashMap::new()
        }
        Err(_) => return None,
    };
    let set = |key| settings.get(key).and_then(|value| bool::try_from(value).ok()).unwrap_or(true);
    Some(Fetched::Settings { wanted: set("notify.desktop"), kept: set("database.enabled") })
}

/// Gives the number of the first of them.
async fn latest(client: &Client, to: &mpsc::Sender<Message>) -> Option<i64> {
    let asked = Instant::now();
    let page = client.events(&Query { limit: Some(NOTICES), ..Query::default() }).await.ok()?;
    let first = page.rows.iter().filter_map(|row| row.id).min();
    give(to, Fetched::Notices(asked, page.rows)).await;
    first
}

/// Marks as seen.
pub fn acknowledge(client: Client, events: Vec<i64>, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        for chunk in events.chunks(picosnitch_api::query::MAX_PAGE as usize) {
            match client.acknowledge(chunk).await {
                Ok(()) => give(&to, Fetched::Acknowledged(chunk.to_vec())).await,
                Err(error) => return eprintln!("picosnitch-tray: cannot mark as seen: {error}"),
            }
        }
    });
}

/// Marks these as seen, and all that is older; [`Fetched::AllAcknowledged`] ends it.
pub fn acknowledge_all(client: Client, mut events: Vec<i64>, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        let newest = events.iter().copied().max().unwrap_or(0);
        let (marked, outcome) = client.acknowledge_through(newest).await;
        match outcome {
            // Others may have marked some of them.
            Ok(()) => events.extend(marked),
            Err(error) => {
                eprintln!("picosnitch-tray: cannot mark as seen: {error}");
                events = marked;
            }
        }
        give(&to, Fetched::AllAcknowledged(events)).await;
    });
}

/// What was sent and received between two times, per second.
pub fn rates(client: Client, since: i64, until: i64, to: mpsc::Sender<Message>) {
    tokio::spawn(async move {
        let query = Query { since: Some(since), until: Some(until), ..Query::default() };
        let Ok((totals, _)) = client.summary(Dimension::Protocol, &query).await else { return };
        let seconds = u64::try_from((until - since) / 1_000_000).unwrap_or(0).max(1);
        let sum = |bytes: fn(&row::Total) -> u64| totals.iter().map(bytes).fold(0, u64::saturating_add);
        give(&to, Fetched::Rates(sum(|total| total.received) / seconds, sum(|total| total.sent) / seconds))
            .await;
    });
}

/// Asks for what a signal does not say of a notice, one after the other so that their order stays.
#[derive(Clone)]
pub struct Details(mpsc::Sender<(Client, Box<row::Event>)>);

impl Details {
    /// Answers go to `to`.
    pub fn new(to: mpsc::Sender<Message>) -> Self {
        let (ask, mut asked) = mpsc::channel::<(Client, Box<row::Event>)>(QUEUE);
        tokio::spawn(async move {
            while let Some((client, notice)) = asked.recv().await {
                let told = match notice.id {
                    Some(id) => tokio::time::timeout(PATIENCE, client.event(id)).await,
                    None => continue,
                };
                let notice = match told {
                    Ok(Ok(row)) => Box::new(row),
                    _ => notice,
                };
                give(&to, Fetched::Notice(notice)).await;
            }
        });
        Self(ask)
    }

    /// Asks; gives the notice back if too many wait already.
    pub fn ask(&self, client: Client, notice: Box<row::Event>) -> Option<Box<row::Event>> {
        self.0.try_send((client, notice)).err().map(|refused| match refused {
            mpsc::error::TrySendError::Full((_, notice)) | mpsc::error::TrySendError::Closed((_, notice)) => {
                notice
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn d03_a_failure_does_not_switch_notifications_on() {
        let read = |answer| {
            said(answer).map(|said| match said {
                Fetched::Settings { wanted, kept } => (wanted, kept),
                other => panic!("{other:?}"),
            })
        };
        let off = ["notify.desktop", "database.enabled"];
        let off = off.map(|key| (key.to_owned(), OwnedValue::from(false)));
        assert_eq!(read(Ok(off.into())), Some((false, false)));
        assert_eq!(read(Ok(HashMap::new())), Some((true, true)), "a monitor that does not know the keys");
        assert_eq!(read(Err(Error::NotAuthorized("no".into()))), Some((true, true)));
        let silent = zbus::Error::FDO(Box::new(zbus::fdo::Error::NoReply("x".into())));
        for error in [Error::Unavailable("x".into()), Error::LimitExceeded("x".into()), Error::ZBus(silent)] {
            assert_eq!(read(Err(error)), None);
        }
    }
}
