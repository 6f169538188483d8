// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon says by itself, as a client hears it: its signals, and whether it is there at all.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use zbus::MatchRule;
use zbus::MessageStream;
use zbus::export::ordered_stream::{self, OrderedStream as _, PollResult};
use zbus::message::{Message, Type};
use zbus::names::OwnedUniqueName;

use crate::proxy::Client;
use crate::{Error, name, row};

/// Signals that may wait to be taken before the connection stops reading. The daemon drops a client that
/// does not read, so this is room for a burst.
const QUEUE: usize = 1024;

/// Something that happened at the daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The daemon came up. Everything known from before may be old.
    Appeared,
    /// The daemon went, or the bus did.
    Gone,
    /// A new program, a changed one, or an error: what the signal said of it, as the row that
    /// [`Client::event`] has more of.
    Notice(Box<row::Event>),
    /// The history is written up to this time, µs since the epoch.
    Recorded(i64),
    /// These settings changed.
    Settings(Vec<String>),
    /// What does not work as it should, one sentence each.
    Degraded(Vec<String>),
    /// The daemon does not let this client watch; only what it tells everybody will come.
    Refused(String),
}

type Watching = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Hears everything in the order in which it was sent. It uses a connection of its own: a client that is
/// busy elsewhere must not hold up the answers to its calls.
pub struct Listener {
    client: Client,
    stream: ordered_stream::Join<MessageStream, MessageStream>,
    /// Who has the daemon's name. A signal of anybody else is a forgery.
    owner: Option<OwnedUniqueName>,
    watching: Option<Watching>,
    ready: VecDeque<Event>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Listener {
    /// Connects to the same bus as [`Client::connect`] and starts to listen. The first event is
    /// [`Event::Appeared`] or [`Event::Gone`].
    ///
    /// # Errors
    /// [`Error::ZBus`] if there is no bus.
    pub async fn connect() -> Result<Self, Error> {
        Self::new(zbus::Connection::system().await?).await
    }

    /// Listens on this connection, which must be used for nothing else.
    ///
    /// # Errors
    /// [`Error::ZBus`] if the connection is closed.
    pub async fn new(connection: zbus::Connection) -> Result<Self, Error> {
        let said = MatchRule::builder().msg_type(Type::Signal).sender(name::BUS)?.path(name::PATH)?.build();
        let owners = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")?
            .interface("org.freedesktop.DBus")?
            .member("NameOwnerChanged")?
            .add_arg(name::BUS)?
            .build();
        let said = MessageStream::for_match_rule(said, &connection, Some(QUEUE)).await?;
        let owners = MessageStream::for_match_rule(owners, &connection, Some(QUEUE)).await?;
        let client = Client::new(&connection).await?;
        let mut listener = Self {
            client,
            stream: ordered_stream::join(owners, said),
            owner: None,
            watching: None,
            ready: VecDeque::new(),
        };
        let bus = zbus::fdo::DBusProxy::new(&connection).await?;
        match bus.get_name_owner(name::BUS.try_into().map_err(zbus::Error::from)?).await {
            Ok(owner) => listener.appeared(owner),
            Err(_) => listener.ready.push_back(Event::Gone),
        }
        Ok(listener)
    }

    fn appeared(&mut self, owner: OwnedUniqueName) {
        self.owner = Some(owner);
        let client = self.client.clone();
        self.watching = Some(Box::pin(async move { client.watch().await }));
        self.ready.push_back(Event::Appeared);
    }

    /// The next event; `None` once the bus is gone, after an [`Event::Gone`]. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            if let Some(Poll::Ready(answer)) = self.watching.as_mut().map(|call| call.as_mut().poll(cx)) {
                self.watching = None;
                // Any other error means that the daemon is going, which the owner's change says too.
                if let Err(Error::LimitExceeded(message) | Error::NotAuthorized(message)) = answer {
                    return Poll::Ready(Some(Event::Refused(message)));
                }
            }
            match Pin::new(&mut self.stream).poll_next_before(cx, None) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(PollResult::Item { data: Ok(message), .. }) => self.take(&message),
                Poll::Ready(PollResult::Item { data: Err(_), .. } | PollResult::NoneBefore) => {}
                Poll::Ready(PollResult::Terminated) => {
                    return Poll::Ready(self.owner.take().map(|_| Event::Gone));
                }
            }
        }
    }

    fn take(&mut self, message: &Message) {
        let header = message.header();
        let (Some(interface), Some(member)) = (header.interface(), header.member()) else { return };
        if interface.as_str() == "org.freedesktop.DBus" {
            // The bus stamps the sender of every message, so this one is its own.
            if header.sender().is_none_or(|sender| sender.as_str() != "org.freedesktop.DBus") {
                return;
            }
            let Ok((_, _, new)) = message.body().deserialize::<(String, String, String)>() else { return };
            if self.owner.as_ref().is_some_and(|owner| owner.as_str() == new) {
                return;
            }
            match OwnedUniqueName::try_from(new) {
                Ok(owner) => self.appeared(owner),
                Err(_) => {
                    self.owner = None;
                    self.watching = None;
                    self.ready.push_back(Event::Gone);
                }
            }
            return;
        }
        let from_owner = match (&self.owner, header.sender()) {
            (Some(owner), Some(sender)) => owner.as_str() == sender.as_str(),
            _ => false,
        };
        if from_owner && let Some(event) = read(interface.as_str(), member.as_str(), message) {
            self.ready.push_back(event);
        }
    }
}

/// Understands one signal; `None` for one that a newer daemon has and we do not know.
fn read(interface: &str, member: &str, message: &Message) -> Option<Event> {
    let body = message.body();
    let known = |text: String| (!text.is_empty()).then_some(text);
    let notice = |event| Some(Event::Notice(Box::new(event)));
    match (interface, member) {
        (name::MONITOR, "NewExecutable") => {
            let (id, path, name, sha256, uid): (i64, String, String, String, u32) =
                body.deserialize().ok()?;
            notice(row::Event {
                id: Some(id),
                kind: Some("new-executable".into()),
                path: Some(path),
                name: Some(name),
                sha256: known(sha256),
                uid: Some(uid),
                ..Default::default()
            })
        }
        (name::MONITOR, "HashChanged") => {
            let (id, path, name, old, new, uid): (i64, String, String, String, String, u32) =
                body.deserialize().ok()?;
            notice(row::Event {
                id: Some(id),
                kind: Some("hash-changed".into()),
                path: Some(path),
                name: Some(name),
                sha256: known(new),
                old_sha256: known(old),
                uid: Some(uid),
                ..Default::default()
            })
        }
        (name::MONITOR, "Verdict") => {
            let (id, path, name, sha256, verdict, uid): (i64, String, String, String, String, u32) =
                body.deserialize().ok()?;
            notice(row::Event {
                id: Some(id),
                kind: Some("verdict".into()),
                path: Some(path),
                name: Some(name),
                sha256: known(sha256),
                message: Some(verdict),
                uid: Some(uid),
                ..Default::default()
            })
        }
        (name::MONITOR, "Error") => {
            let (id, kind, message): (i64, String, String) = body.deserialize().ok()?;
            notice(row::Event {
                id: Some(id),
                kind: Some("error".into()),
                error: Some(kind),
                message: Some(message),
                ..Default::default()
            })
        }
        (name::MONITOR, "Recorded") => body.deserialize().ok().map(Event::Recorded),
        (name::SETTINGS, "Changed") => body.deserialize().ok().map(Event::Settings),
        ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
            let (of, mut changed, _): (String, row::Dict, Vec<String>) = body.deserialize().ok()?;
            (of == name::MONITOR).then_some(())?;
            changed.remove("Degraded")?.try_into().ok().map(Event::Degraded)
        }
        _ => None,
    }
}
