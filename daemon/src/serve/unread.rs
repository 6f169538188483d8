// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers that were sent and perhaps not read. dbus-daemon keeps them for a client that does not read,
//! counts them to us, and stops reading from us at `max_incoming_bytes` (127 MiB, dbus-daemon(1)): a few
//! deaf clients would silence us for everybody. So whoever has much unread is asked by `Peer.Ping`, whose
//! answer shows that everything before it was read, and gets no more until that comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picosnitch_api::Error;
use zbus::names::OwnedUniqueName;

use super::authority::Caller;

/// Bytes that may be unread, of one client, of one uid and of all.
const PER_CLIENT: usize = 16 << 20;
const PER_UID: usize = 24 << 20;
const ALL: usize = 64 << 20;
/// With less room than this no answer is made.
const LEAST: usize = 512 << 10;
/// From here on a client is asked what it has read.
const ASK_AT: usize = 256 << 10;
/// Questions under way, of one uid and of all: a bus allows so many calls without an answer.
const ASKED_PER_UID: usize = 8;
const ASKED: usize = 64;
/// Lets the answer that was just weighed go out before the question.
const AFTER: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Client {
    uid: u32,
    bytes: usize,
    asked: bool,
}

#[derive(Debug, Default)]
struct Sums {
    of_uid: usize,
    of_all: usize,
    asked_of_uid: usize,
    asked: usize,
}

impl Sums {
    fn of(clients: &HashMap<OwnedUniqueName, Client>, uid: u32) -> Self {
        let mut sums = Self::default();
        for client in clients.values() {
            sums.of_all += client.bytes;
            sums.asked += usize::from(client.asked);
            if client.uid == uid {
                sums.of_uid += client.bytes;
                sums.asked_of_uid += usize::from(client.asked);
            }
        }
        sums
    }

    fn room(&self, own: usize, bytes: usize) -> Result<(), Error> {
        if own + bytes <= PER_CLIENT && self.of_uid + bytes <= PER_UID && self.of_all + bytes <= ALL {
            return Ok(());
        }
        Err(Error::LimitExceeded(
            "Too many answers wait to be read, or this client does not answer Peer.Ping; read them, connect \
             again, or use Export."
                .to_owned(),
        ))
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Unread {
    clients: Arc<Mutex<HashMap<OwnedUniqueName, Client>>>,
}

impl Unread {
    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<OwnedUniqueName, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of so many bytes is about to go out. True: ask the client what it has read, with
    /// [`Unread::ask`].
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if too much is unread already; it must not go out then.
    pub fn charge(&self, name: &OwnedUniqueName, uid: u32, bytes: usize) -> Result<bool, Error> {
        let mut clients = self.clients();
        let sums = Sums::of(&clients, uid);
        let own = clients.get(name).map_or(0, |client| client.bytes);
        sums.room(own, bytes)?;
        let client = clients.entry(name.clone()).or_insert(Client { uid, ..Client::default() });
        client.bytes += bytes;
        let ask = client.bytes >= ASK_AT
            && !client.asked
            && sums.asked_of_uid < ASKED_PER_UID
            && sums.asked < ASKED;
        client.asked |= ask;
        Ok(ask)
    }

    /// Whether it is worth the work to make an answer for this client.
    ///
    /// # Errors
    /// As [`Unread::charge`].
    pub fn admit(&self, caller: &Caller) -> Result<(), Error> {
        let clients = self.clients();
        let own = clients.get(&caller.name).map_or(0, |client| client.bytes);
        Sums::of(&clients, caller.uid).room(own, LEAST)
    }

    /// Asks a client what it has read.
    pub fn ask(&self, connection: &zbus::Connection, name: &OwnedUniqueName) {
        let (unread, connection, name) = (self.clone(), connection.clone(), name.clone());
        tokio::spawn(async move {
            tokio::time::sleep(AFTER).await;
            let bytes = unread.clients().get(&name).map_or(0, |client| client.bytes);
            let peer = Some("org.freedesktop.DBus.Peer");
            let answer = connection.call_method(Some(&name), "/", peer, "Ping", &()).await;
            if let Err(error) = &answer {
                // An error of the client's own is an answer too. One of the bus, that we may not ask, leaves
                // nothing but to believe that it was read.
                tracing::debug!("{name} was asked what it has read: {error}");
            }
            if let Some(client) = unread.clients().get_mut(&name) {
                client.bytes = client.bytes.saturating_sub(bytes);
                client.asked = false;
            }
            unread.rest(bytes);
        });
    }

    /// A client disconnected; the bus has thrown away what was for it.
    pub fn gone(&self, name: &OwnedUniqueName) {
        let bytes = self.clients().remove(name).map_or(0, |client| client.bytes);
        self.rest(bytes);
    }

    /// So many bytes are read or thrown away. After the last large answer, what they took goes back.
    fn rest(&self, bytes: usize) {
        if bytes >= ASK_AT && self.clients().values().map(|client| client.bytes).sum::<usize>() < ASK_AT {
            crate::memory::give_back();
        }
    }

    /// What `caller` may get: all of an answer, or an error.
    ///
    /// # Errors
    /// As [`Unread::charge`].
    pub fn send<T: Weigh>(
        &self,
        connection: &zbus::Connection,
        caller: &Caller,
        answer: T,
    ) -> Result<T, Error> {
        if self.charge(&caller.name, caller.uid, answer.weigh())? {
            self.ask(connection, &caller.name);
        }
        Ok(answer)
    }
}

/// About how many bytes an answer has.
pub trait Weigh {
    /// Bytes.
    fn weigh(&self) -> usize;
}

impl Weigh for () {
    fn weigh(&self) -> usize {
        64
    }
}

impl Weigh for super::answer::Row {
    fn weigh(&self) -> usize {
        super::answer::size(self)
    }
}

impl Weigh for super::answer::Reply {
    fn weigh(&self) -> usize {
        64 + self.0.iter().map(super::answer::size).sum::<usize>() + self.1.len()
    }
}

impl Weigh for (Vec<picosnitch_api::row::Total>, u64) {
    fn weigh(&self) -> usize {
        64 + self.0.iter().map(|total| total.key.len() + 40).sum::<usize>()
    }
}

impl Weigh for (Vec<picosnitch_api::row::Series>, u64) {
    fn weigh(&self) -> usize {
        64 + self.0.iter().map(|series| series.key.len() + 16 + series.points.len() * 24).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn b06_deaf_clients_fill_their_own_share_and_no_more() {
        let unread = Unread::default();
        let name = |number: usize| OwnedUniqueName::try_from(format!(":1.{number}")).unwrap();
        let page = 4 << 20;
        assert!(unread.charge(&name(1), 1000, page).unwrap(), "much is unread: ask");
        assert!(!unread.charge(&name(1), 1000, page).unwrap(), "asked already");
        unread.charge(&name(1), 1000, page).unwrap();
        unread.charge(&name(1), 1000, page).unwrap();
        assert!(unread.charge(&name(1), 1000, page).is_err(), "one client");
        unread.charge(&name(2), 1000, page).unwrap();
        unread.charge(&name(2), 1000, page).unwrap();
        assert!(unread.charge(&name(3), 1000, page).is_err(), "one person");
        for uid in 1001..1011 {
            unread.charge(&name(uid as usize), uid, page).unwrap();
        }
        assert!(unread.charge(&name(9), 2000, page).is_err(), "everybody");
        unread.gone(&name(1));
        unread.charge(&name(9), 2000, page).unwrap();
    }
}
