// SPDX-License-Identifier: GPL-3.0-or-later
//! `watch`: each notice as it comes.
//!
//! Signals come on a connection of their own and details are asked for on another: when notices come
//! faster than they are printed, the bus holds them back, and an answer never waits behind them.
//! Nothing is missed between subscribing and `Watch()`, because the subscription comes first; what is
//! announced while the daemon restarts is asked for afterwards.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::row::Event;
use picosnitch_api::{Client, Error, Query, Trouble, name};
use zbus::export::futures_core::Stream;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream};

use crate::args::WatchArgs;
use crate::commands::status::see;
use crate::failure::Failure;
use crate::out::Out;
use crate::view::View;
use crate::{client, filters, time};

mod block;

/// Notices remembered, so that none is printed twice after a restart.
const REMEMBERED: usize = 4096;
/// How far back is asked after a restart, in µs: the clocks of an event and of our noticing differ.
const OVERLAP: i64 = 5_000_000;
/// Between attempts to reach a bus that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Runs `watch`; it ends with an error, or when nobody reads any more.
///
/// # Errors
/// If the daemon is not there at the start, or the output fails.
pub async fn run(args: &WatchArgs, out: &mut Out) -> Result<(), Failure> {
    let mut since = match &args.since {
        Some(text) => Some(filters::time("since", text, time::now())?),
        None => None,
    };
    let gone = reader_gone();
    tokio::pin!(gone);
    let mut printed = Printed::default();
    let mut session = Session::open().await?;
    // The first attempt must work; from then on the daemon and the bus may come and go.
    session.begin(since, &mut printed, out).await?;
    session.greet(out).await?;
    loop {
        let event = tokio::select! {
            () = &mut gone => return Ok(()),
            event = session.next() => event,
        };
        match event {
            Some(Heard::Notice(notice)) => {
                if printed.is_new(notice.id) {
                    let notice = session.details(notice).await;
                    print(&notice, out)?;
                }
            }
            Some(Heard::Left) => {
                since = Some(time::now());
                out.warning("the service has stopped; watching goes on when it is back");
            }
            Some(Heard::Back) => {
                // It may stop again at once: then it is said again.
                let from = since.unwrap_or_else(time::now) - OVERLAP;
                match session.begin(Some(from), &mut printed, out).await {
                    Ok(()) => out.note("the service is back, watching goes on"),
                    Err(failure) if failure.quiet => return Err(failure),
                    Err(failure) => out.warning(&failure.message),
                }
            }
            None => {
                let from = time::now() - OVERLAP;
                out.warning("the bus has gone; watching goes on when it is back");
                session = tokio::select! {
                    () = &mut gone => return Ok(()),
                    session = reopen(from, &mut printed, out) => session?,
                };
                out.note("the bus and the service are back, watching goes on");
            }
        }
    }
}

/// Connects anew until there is a bus; the daemon may come later.
async fn reopen(from: i64, printed: &mut Printed, out: &mut Out) -> Result<Session, Failure> {
    loop {
        tokio::time::sleep(RETRY).await;
        let Ok(mut session) = Session::open().await else { continue };
        match session.begin(Some(from), printed, out).await {
            Ok(()) => return Ok(session),
            Err(failure) if failure.quiet => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Something that was heard on the bus.
#[derive(Debug)]
enum Heard {
    Notice(Box<Event>),
    Left,
    Back,
}

struct Session {
    /// Where signals come from, and the one that called `Watch()`.
    listening: Client,
    /// Where questions go.
    asking: Client,
    signals: MessageStream,
    owners: MessageStream,
}

impl Session {
    /// Subscribes to everything before anything is asked.
    async fn open() -> Result<Self, Failure> {
        let listening = client::open_patiently().await?;
        let asking = client::open_patiently().await?;
        let connection = listening.connection();
        let signals = async {
            let rule = MatchRule::builder()
                .msg_type(Type::Signal)
                .sender(name::BUS)?
                .path(name::PATH)?
                .interface(name::MONITOR)?
                .build();
            MessageStream::for_match_rule(rule, connection, Some(1024)).await
        };
        let owners = async {
            let rule = MatchRule::builder()
                .msg_type(Type::Signal)
                .sender("org.freedesktop.DBus")?
                .interface("org.freedesktop.DBus")?
                .member("NameOwnerChanged")?
                .arg(0, name::BUS)?
                .build();
            MessageStream::for_match_rule(rule, connection, Some(64)).await
        };
        let signals = signals.await.map_err(Error::from)?;
        let owners = owners.await.map_err(Error::from)?;
        Ok(Self { listening, asking, signals, owners })
    }

    /// Calls `Watch()`, then prints what was announced since `since` and is not printed yet.
    async fn begin(
        &mut self,
        since: Option<i64>,
        printed: &mut Printed,
        out: &mut Out,
    ) -> Result<(), Failure> {
        self.listening.watch().await?;
        let Some(since) = since else { return Ok(()) };
        let mut query =
            Query { since: Some(since), descending: Some(false), limit: Some(1000), ..Query::default() };
        loop {
            let page = self.asking.events(&query).await?;
            for event in page.rows {
                if printed.is_new(event.id) {
                    print(&event, out)?;
                }
            }
            if page.cursor.is_empty() || query.cursor.as_ref() == Some(&page.cursor) {
                return Ok(());
            }
            query.cursor = Some(page.cursor);
        }
    }

    /// Says on standard error what will be seen here.
    async fn greet(&self, out: &Out) -> Result<(), Failure> {
        let status = self.asking.status().await?;
        let see = see(&self.asking.permissions().await?);
        out.note(&format!("watching {see}; new and changed programs appear here, Ctrl-C ends"));
        for sentence in status.degraded.iter().flatten() {
            out.warning(sentence);
        }
        Ok(())
    }

    /// What comes next; `None` when the bus is gone.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            let heard = tokio::select! {
                // In this order: what a daemon said before it left is printed before that.
                biased;
                message = next(&mut self.signals) => notice(&message?.ok()?).map(|event| Heard::Notice(Box::new(event))),
                message = next(&mut self.owners) => owner(&message?.ok()?),
            };
            if heard.is_some() {
                return heard;
            }
        }
    }

    /// The whole notice where the daemon tells it, else as much as the signal said.
    async fn details(&self, notice: Box<Event>) -> Event {
        let Some(id) = notice.id else { return *notice };
        match self.asking.event(id).await {
            Ok(event) => merge(event, *notice),
            Err(_) => *notice,
        }
    }
}

/// What both know, the daemon's answer first.
fn merge(answer: Event, signal: Event) -> Event {
    Event {
        id: answer.id.or(signal.id),
        time: answer.time.or(signal.time),
        kind: answer.kind.or(signal.kind),
        path: answer.path.or(signal.path),
        name: answer.name.or(signal.name),
        sha256: answer.sha256.or(signal.sha256),
        old_sha256: answer.old_sha256.or(signal.old_sha256),
        uid: answer.uid.or(signal.uid),
        error: answer.error.or(signal.error),
        message: answer.message.or(signal.message),
        ..answer
    }
}

async fn next(stream: &mut MessageStream) -> Option<Result<Message, zbus::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Reads a signal of the contract; `None` for others, which a newer daemon may send.
fn notice(message: &Message) -> Option<Event> {
    let header = message.header();
    let body = message.body();
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let base = Event { time: Some(time::now()), ..Event::default() };
    match header.member()?.as_str() {
        "NewExecutable" => {
            let (id, path, name, sha256, uid): (i64, String, String, String, u32) = body.deserialize().ok()?;
            Some(Event {
                id: Some(id),
                kind: Some("new-executable".to_owned()),
                path: text(path),
                name: text(name),
                sha256: text(sha256),
                uid: Some(uid),
                ..base
            })
        }
        "HashChanged" => {
            let (id, path, name, old, new, uid): (i64, String, String, String, String, u32) =
                body.deserialize().ok()?;
            Some(Event {
                id: Some(id),
                kind: Some("hash-changed".to_owned()),
                path: text(path),
                name: text(name),
                old_sha256: text(old),
                sha256: text(new),
                uid: Some(uid),
                ..base
            })
        }
        "Error" => {
            let (id, error, message): (i64, String, String) = body.deserialize().ok()?;
            Some(Event {
                id: Some(id),
                kind: Some("error".to_owned()),
                error: text(error),
                message: text(message),
                ..base
            })
        }
        _ => None,
    }
}

fn owner(message: &Message) -> Option<Heard> {
    let (_, _, new): (String, String, String) = message.body().deserialize().ok()?;
    Some(if new.is_empty() { Heard::Left } else { Heard::Back })
}

fn print(event: &Event, out: &mut Out) -> Result<(), Failure> {
    if out.json {
        out.json(event)?;
    } else {
        let mut view = View::new(time::now());
        for line in block::lines(event, &mut view, out.style) {
            out.line(&line)?;
        }
    }
    out.flush()
}

/// Ids of the latest notices that were printed. Ids grow, but notices of one moment may come out of
/// order, so that the last one alone does not tell.
#[derive(Debug, Default)]
struct Printed(VecDeque<i64>);

impl Printed {
    /// Whether it was not printed yet; from now on it was. One without an id is always new.
    fn is_new(&mut self, id: Option<i64>) -> bool {
        let Some(id) = id else { return true };
        if self.0.contains(&id) {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(id);
        true
    }
}

/// Ends when nobody reads standard output any more, which a pipe tells before anything is written.
async fn reader_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let stdout = std::io::stdout();
        loop {
            let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
                Ok(_) => match fds[0].revents() {
                    Some(flags) if flags.contains(PollFlags::POLLERR) => {
                        let _ = tell.send(());
                        return;
                    }
                    // A terminal that hung up sends SIGHUP; anything else shows when it is written to.
                    _ => return,
                },
            }
        }
    });
    // Without the thread, or if it has nothing to tell: writing shows it.
    if spawned.is_err() || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether a failure means that the daemon is away, not that it refused.
#[allow(dead_code)]
fn away(error: &Error) -> bool {
    matches!(Trouble::of(error), Trouble::NotRunning | Trouble::Interrupted)
}

#[cfg(test)]
mod tests;
