// SPDX-License-Identifier: GPL-3.0-or-later
//! The bus: signals and queries, each caller authorised first.
//!
//! Takes: notices and hints from the pipeline ([`Outgoing`]), the reading side of the record, settings.
//! Gives: `org.picosnitch.Monitor` on the system bus; [`Control`] to the pipeline.
//! Thread: one current-thread runtime; queries on at most four blocking threads, exports on at most eight.
//! Drops when: the bus is away for more than [`BACKLOG`] notices; they are counted, and Events has them.

mod answer;
mod authority;
mod change;
mod desk;
mod export;
mod limits;
mod monitor;
mod takes;
#[cfg(test)]
mod tests;
mod unread;
mod watchers;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use picosnitch_api::Status;
use picosnitch_api::name::{self, action};
use tokio::sync::{mpsc, watch};
use zbus::fdo::RequestNameFlags;
use zbus::message::Type;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::object_server::{Interface as _, SignalEmitter};
use zbus::{MatchRule, MessageStream};

use authority::Authority;
use desk::Desk;
use monitor::Monitor;

use crate::model::{Before, Contact, Hash, Notice, NoticeKind, Owner};
use crate::record::Reader;
use crate::relay;
use crate::settings::{self, Settings};

/// Notices kept while there is no bus.
pub const BACKLOG: usize = 256;
/// First and longest wait between two tries to reach a bus that went away.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(10);

/// What the rest of the daemon gives.
#[derive(Clone)]
pub struct Deps {
    /// The history.
    pub reader: Reader,
    /// The daemon's state now; called often, must not block. `version` is filled in here.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// The settings.
    pub settings: settings::Store,
    /// Orders to the pipeline. If it is full, the caller is told to try again.
    pub control: mpsc::Sender<Control>,
    /// Who asks the scanner.
    pub relay: relay::Control,
}

/// An order to the pipeline, from somebody who may give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Stop recording for so many seconds.
    Pause {
        /// From now.
        seconds: u32,
        /// Who wants it.
        uid: u32,
    },
    /// Go on recording.
    Resume {
        /// Who wants it.
        uid: u32,
    },
    /// So many notices were not signalled while the bus was away.
    Unsignalled(u64),
}

/// What the pipeline tells the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Something for people.
    Notice(Notice),
    /// The history is written up to this time, µs since the epoch.
    Recorded(i64),
    /// What `status` says of degradations is another than before.
    Degraded,
}

/// Why the bus cannot be served. Each is one sentence with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bus.
    #[error("there is no system bus to serve on ({0}): start dbus, or name a bus in DBUS_SYSTEM_BUS_ADDRESS")]
    NoBus(#[source] zbus::Error),
    /// Somebody else is the monitor.
    #[error("another picosnitchd already serves this bus: stop it first, or give this one a bus of its own")]
    Taken,
    /// The bus does not let us be the monitor.
    #[error(
        "the bus does not allow us the name {name}: run as root and install {name}.conf in \
         /usr/share/dbus-1/system.d",
        name = name::BUS
    )]
    NotAllowed,
    /// Anything else that the bus said.
    #[error("the bus failed: {0}")]
    Bus(#[from] zbus::Error),
}

/// The objects on the bus.
pub struct Server {
    deps: Deps,
    link: Link,
    /// The name was asked for, so it is asked for again on the next bus.
    named: bool,
}

/// The interfaces as the bus describes them, with their documentation: what
/// `data/org.picosnitch.Monitor.xml` has.
#[must_use]
pub fn introspection() -> String {
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n\
         <!-- SPDX-License-Identifier: GPL-3.0-or-later -->\n\
         <!-- Generated from daemon/src/serve; a test compares. -->\n<node>\n",
    );
    let about =
        include_str!("about.txt").lines().map(|line| format!("   {line}").trim_end().to_owned() + "\n");
    xml.extend(["  <!--\n".to_owned()].into_iter().chain(about).chain(["  -->\n".to_owned()]));
    Monitor { desk: Weak::new() }.introspect_to_writer(&mut xml, 2);
    change::Settings { desk: Weak::new() }.introspect_to_writer(&mut xml, 2);
    change::Admin { desk: Weak::new() }.introspect_to_writer(&mut xml, 2);
    xml.push_str("</node>\n");
    xml
}

/// One connection to the bus.
struct Link {
    connection: zbus::Connection,
    desk: Arc<Desk>,
    emitter: SignalEmitter<'static>,
    /// Takes clients out that disconnect.
    cleaner: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cleaner.abort();
        self.desk.over.store(true, Ordering::Relaxed);
    }
}

impl Link {
    async fn new(deps: &Deps) -> Result<Self, Error> {
        let connection = zbus::Connection::system().await.map_err(Error::NoBus)?;
        Self::on(connection, deps).await
    }

    async fn on(connection: zbus::Connection, deps: &Deps) -> Result<Self, Error> {
        // Before the first call can come, so that no client is forgotten in us.
        let gone = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")?
            .interface("org.freedesktop.DBus")?
            .member("NameOwnerChanged")?
            .arg(2, "")?
            .build();
        let gone = MessageStream::for_match_rule(gone, &connection, Some(1024)).await?;
        let desk = Arc::new(Desk::new(&connection, Authority::new(&connection).await?, deps));
        let server = connection.object_server();
        server.at(name::PATH, Monitor { desk: Arc::downgrade(&desk) }).await?;
        server.at(name::PATH, change::Settings { desk: Arc::downgrade(&desk) }).await?;
        server.at(name::PATH, change::Admin { desk: Arc::downgrade(&desk) }).await?;
        let emitter = SignalEmitter::new(&connection, name::PATH)?.into_owned();
        let cleaner = tokio::spawn(clean(gone, Arc::downgrade(&desk)));
        Ok(Self { connection, desk, emitter, cleaner })
    }

    async fn own_name(&self) -> Result<(), Error> {
        // Never in place of somebody else, and nobody in place of us.
        let flags = RequestNameFlags::DoNotQueue.into();
        match self.connection.request_name_with_flags(name::BUS, flags).await {
            Ok(_) => Ok(()),
            Err(zbus::Error::NameTaken) => Err(Error::Taken),
            Err(error)
                if picosnitch_api::Trouble::of(&error.clone().into()) == picosnitch_api::Trouble::Policy =>
            {
                Err(Error::NotAllowed)
            }
            Err(error) => Err(Error::Bus(error)),
        }
    }

    async fn tell(&self, notice: &Notice) -> zbus::Result<()> {
        match &notice.kind {
            NoticeKind::Error { kind, message } => {
                Monitor::error(&self.emitter, notice.id, kind.as_str(), &answer::text(message)).await
            }
            NoticeKind::NewExecutable(contact) => {
                self.tell_of(News::of(notice.id, contact, Kind::New), &notice.before).await
            }
            NoticeKind::HashChanged { contact, old } => {
                let kind = Kind::Changed { old: hex(old) };
                self.tell_of(News::of(notice.id, contact, kind), &notice.before).await
            }
            NoticeKind::Verdict { suspect, verdict } => {
                let news = News {
                    event: notice.id,
                    path: answer::bytes(&suspect.path),
                    name: answer::bytes(&suspect.name),
                    sha256: hex(&suspect.sha256),
                    kind: Kind::Verdict(verdict.to_string()),
                    uid: suspect.uid,
                };
                self.tell_of(news, &notice.before).await
            }
        }
    }

    async fn tell_of(&self, news: News, before: &Before) -> zbus::Result<()> {
        let news = Arc::new(news);
        let accounts = self.desk.authority.accounts().await;
        let owner = accounts.owner(news.uid);
        // To those who see everybody.
        let any = match before {
            Before::Nobody if owner == Owner::System => return news.send(&self.emitter).await,
            Before::Nobody => Some(news.clone()),
            Before::Same(_) => None,
            Before::Other(old) => {
                Some(Arc::new(News { kind: Kind::Changed { old: hex(old) }, ..(*news).clone() }))
            }
        };
        let targets = self.desk.watchers.targets(|uid| match (owner, before) {
            (Owner::Person(person), _) => uid == person,
            // Of the system everybody hears; who ran the same has heard it.
            (Owner::System, Before::Same(people)) => match accounts.owner(uid) {
                Owner::Person(person) => !people.contains(&person),
                Owner::System => true,
            },
            (Owner::System, _) => true,
        });
        for client in targets.own {
            news.send(&self.to(client)).await?;
        }
        let Some(news) = any else { return Ok(()) };
        for client in targets.any {
            news.send(&self.to(client)).await?;
        }
        for (client, uid) in targets.asked {
            // polkit takes its time; nobody else waits for that.
            let (desk, news, emitter) = (self.desk.clone(), news.clone(), self.to(client.clone()));
            tokio::spawn(async move {
                let may = desk.authority.may_read(&client, uid, action::READ_ANY, false).await;
                desk.watchers.renew(&client, may);
                if may {
                    let _ = news.send(&emitter).await;
                }
            });
        }
        Ok(())
    }

    fn to(&self, client: OwnedUniqueName) -> SignalEmitter<'static> {
        self.emitter.clone().set_destination(BusName::Unique(client.into_inner()))
    }
}

fn hex(content: &[u8; 32]) -> String {
    Hash::Known(*content).hex().unwrap_or_default()
}

/// What a signal about a program says: nothing but its signature.
#[derive(Clone)]
struct News {
    event: i64,
    path: String,
    name: String,
    sha256: String,
    kind: Kind,
    uid: u32,
}

/// Which signal it is, with what that alone has.
#[derive(Clone)]
enum Kind {
    New,
    Changed { old: String },
    Verdict(String),
}

impl News {
    fn of(event: i64, contact: &Contact, kind: Kind) -> Self {
        let program = &contact.who.program;
        Self {
            event,
            path: answer::bytes(&program.key.path),
            name: answer::bytes(&program.name),
            sha256: program.hash.hex().unwrap_or_default(),
            kind,
            uid: contact.who.uid,
        }
    }

    async fn send(&self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        let Self { event, path, name, sha256, kind, uid } = self;
        match kind {
            Kind::New => Monitor::new_executable(emitter, *event, path, name, sha256, *uid).await,
            Kind::Changed { old } => {
                Monitor::hash_changed(emitter, *event, path, name, old, sha256, *uid).await
            }
            Kind::Verdict(verdict) => {
                Monitor::verdict(emitter, *event, path, name, sha256, verdict, *uid).await
            }
        }
    }
}

/// Forgets clients that disconnect.
async fn clean(mut gone: MessageStream, desk: Weak<Desk>) {
    use zbus::export::ordered_stream::OrderedStreamExt as _;
    while let Some(message) = gone.next().await {
        let Ok(message) = message else { return };
        let Ok((name, _, _)) = message.body().deserialize::<(String, String, String)>() else { continue };
        let Some(desk) = desk.upgrade() else { return };
        if let Ok(name) = OwnedUniqueName::try_from(name) {
            desk.authority.gone(&name);
            desk.watchers.remove(&name);
            desk.unread.gone(&name);
        }
    }
}

impl Server {
    /// Connects and exports the objects; the name, and with it the first client, comes later.
    ///
    /// # Errors
    /// [`Error::NoBus`], [`Error::Bus`].
    pub async fn connect(deps: Deps) -> Result<Self, Error> {
        let link = Link::new(&deps).await?;
        Ok(Self { deps, link, named: false })
    }

    /// Becomes the monitor of this bus: once capture is live.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::NotAllowed`], [`Error::Bus`].
    pub async fn own_name(&mut self) -> Result<(), Error> {
        self.link.own_name().await?;
        self.named = true;
        Ok(())
    }

    /// Serves until `notices` is closed, and sends what is in it until then. A bus that goes away is waited
    /// for.
    ///
    /// # Errors
    /// None while it runs; what the bus does is lived with.
    pub async fn run(mut self, mut notices: mpsc::Receiver<Outgoing>) -> Result<(), Error> {
        let mut settings = self.deps.settings.subscribe();
        let mut before = settings.borrow_and_update().clone();
        let mut backlog = Backlog::default();
        loop {
            let outgoing = {
                let closed = pin!(self.link.connection.closed());
                tokio::select! {
                    biased;
                    () = closed => None,
                    outgoing = notices.recv() => match outgoing {
                        Some(outgoing) => Some(outgoing),
                        None => break,
                    },
                    () = changed(&mut settings) => {
                        let now = settings.borrow_and_update().clone();
                        let keys = now.changed(&before);
                        before = now;
                        if !keys.is_empty() {
                            let _ = change::Settings::changed(&self.link.emitter, &keys).await;
                        }
                        continue;
                    }
                }
            };
            match outgoing {
                None => {
                    if !self.reconnect(&mut notices, &mut backlog).await {
                        break;
                    }
                    for notice in std::mem::take(&mut backlog).notices {
                        self.tell(notice, &mut backlog).await;
                    }
                }
                Some(Outgoing::Notice(notice)) => self.tell(notice, &mut backlog).await,
                Some(Outgoing::Recorded(through)) => {
                    let _ = Monitor::recorded(&self.link.emitter, through).await;
                }
                Some(Outgoing::Degraded) => self.degraded().await,
            }
        }
        // Clients see at once that the monitor went.
        if self.named && !self.link.connection.is_closed() {
            let _ = self.link.connection.release_name(name::BUS).await;
        }
        Ok(())
    }

    async fn tell(&self, notice: Notice, backlog: &mut Backlog) {
        if let Err(error) = self.link.tell(&notice).await {
            // The bus is going; the next turn of the loop sees that.
            tracing::debug!("notice {} was not signalled yet: {error}", notice.id);
            backlog.keep(notice);
        }
    }

    async fn degraded(&self) {
        let server = self.link.connection.object_server();
        if let Ok(monitor) = server.interface::<_, Monitor>(name::PATH).await {
            let _ = monitor.get().await.degraded_changed(&self.link.emitter).await;
        }
    }

    /// Tries until there is a bus again; false if there is nothing more to serve for.
    async fn reconnect(&mut self, notices: &mut mpsc::Receiver<Outgoing>, backlog: &mut Backlog) -> bool {
        tracing::warn!("the bus went away; waiting for it to come back");
        let mut wait = SOONEST;
        loop {
            let tick = tokio::time::sleep(wait);
            let mut tick = pin!(tick);
            loop {
                tokio::select! {
                    () = &mut tick => break,
                    outgoing = notices.recv() => match outgoing {
                        Some(Outgoing::Notice(notice)) => backlog.keep(notice),
                        Some(_) => {}
                        None => return false,
                    },
                }
            }
            match self.relink().await {
                Ok(()) => break,
                Err(error) => tracing::debug!("no bus yet: {error}"),
            }
            wait = (wait * 2).min(LATEST);
        }
        tracing::info!("back on the bus");
        if backlog.dropped > 0 {
            let _ = self.deps.control.try_send(Control::Unsignalled(std::mem::take(&mut backlog.dropped)));
        }
        true
    }

    async fn relink(&mut self) -> Result<(), Error> {
        let link = Link::new(&self.deps).await?;
        if self.named {
            link.own_name().await?;
        }
        self.link = link;
        Ok(())
    }
}

/// Ends when the settings change; never, once nobody can change them any more.
async fn changed(settings: &mut watch::Receiver<Arc<Settings>>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Notices that wait for a bus, the newest of them.
#[derive(Debug, Default)]
struct Backlog {
    notices: VecDeque<Notice>,
    dropped: u64,
}

impl Backlog {
    fn keep(&mut self, notice: Notice) {
        if self.notices.len() == BACKLOG {
            self.notices.pop_front();
            self.dropped += 1;
        }
        self.notices.push_back(notice);
    }
}
