// SPDX-License-Identifier: GPL-3.0-or-later
//! `watch`: each notice as it comes.
//!
//! Notices are heard on a connection of their own and details are asked for on another: when notices
//! come faster than they are printed, the bus holds them back, and an answer never waits behind them.
//! Nothing is missed: listening begins before `Watch()` is called, and what is announced while the
//! daemon restarts is asked for once `Watch()` is answered.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::listen::{self, Listener};
use picosnitch_api::row::Event;
use picosnitch_api::{Client, Error, Permission, Query, name};

use crate::args::WatchArgs;
use crate::commands::status::see;
use crate::failure::Failure;
use crate::out::Out;
use crate::view::View;
use crate::{client, filters, time};

mod block;

/// Notices remembered, so that none is printed twice after a restart.
const REMEMBERED: usize = 4096;
/// How far back is asked after a restart, in µs: a notice is dated by its first packet, and our own
/// noticing that the daemon left comes a little after.
const OVERLAP: i64 = 5_000_000;
/// How long a notice that was announced may take to be readable, and between attempts to read it.
const SOON: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);
/// Between attempts to reach a bus that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Permissions with which notices about system accounts can be read.
const READS: [&str; 2] = [name::action::READ_SYSTEM, name::action::READ_ANY];

/// Runs `watch`; it ends with an error, or when nobody reads any more.
///
/// # Errors
/// If the daemon is not there at the start, or the output fails.
pub async fn run(args: &WatchArgs, out: &mut Out) -> Result<(), Failure> {
    let since = match &args.since {
        Some(text) => Some(filters::time("since", text, time::now())?),
        None => None,
    };
    let gone = reader_gone();
    tokio::pin!(gone);
    // What is announced from here on is asked for once `Watch()` holds: it may come before we can hear it.
    let since = since.or_else(|| Some(time::now()));
    // The first attempt must work; from then on the daemon and the bus may come and go.
    let mut session = Session::open().await?;
    session.greet(out).await?;
    let mut state = State { printed: Printed::default(), from: since, restarted: false };
    loop {
        let heard = tokio::select! {
            () = &mut gone => return Ok(()),
            heard = session.next() => heard,
        };
        if let Some(heard) = heard {
            session.tell(heard, &mut state, out).await?;
            continue;
        }
        state.from.get_or_insert(time::now() - OVERLAP);
        session = loop {
            tokio::select! {
                () = &mut gone => return Ok(()),
                () = tokio::time::sleep(RETRY) => {}
            }
            if let Ok(session) = Session::open().await {
                break session;
            }
        };
    }
}

/// What outlives a connection.
struct State {
    printed: Printed,
    /// From when on notices are asked for once the daemon is there, µs since the epoch.
    from: Option<i64>,
    /// The daemon was away.
    restarted: bool,
}

struct Session {
    listener: Listener,
    /// On the listener's connection, to call `Watch()` there.
    listening: Client,
    /// On another one, for questions.
    asking: Client,
    /// Heard while something else was waited for.
    heard: VecDeque<listen::Event>,
    /// Notices about system accounts can be read, too.
    sees_system: bool,
}

impl Session {
    async fn open() -> Result<Self, Failure> {
        let asking = client::open_patiently().await?;
        let listening = client::open_patiently().await?;
        let listener = Listener::new(listening.connection().clone()).await?;
        Ok(Self { listener, listening, asking, heard: VecDeque::new(), sees_system: false })
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
    async fn next(&mut self) -> Option<listen::Event> {
        match self.heard.pop_front() {
            Some(event) => Some(event),
            None => self.listener.next().await,
        }
    }

    async fn tell(&mut self, heard: listen::Event, state: &mut State, out: &mut Out) -> Result<(), Failure> {
        match heard {
            listen::Event::Notice(notice) => {
                if state.printed.is_new(notice.id) {
                    let notice = self.details(*notice).await;
                    print(&notice, out)?;
                }
            }
            listen::Event::Gone => {
                if !state.restarted {
                    out.warning("the service has stopped; watching goes on when it is back");
                }
                state.restarted = true;
                state.from.get_or_insert(time::now() - OVERLAP);
            }
            listen::Event::Appeared => {
                if std::mem::take(&mut state.restarted) {
                    out.note("the service is back, watching goes on");
                }
                match self.catch_up(state, out).await {
                    Ok(()) => state.from = None,
                    // It may have gone again; if so that is heard next.
                    Err(failure) if failure.quiet => return Err(failure),
                    Err(failure) => out.warning(&failure.message),
                }
            }
            listen::Event::Refused(message) => out.warning(&message),
            listen::Event::Degraded(sentences) => {
                for sentence in sentences {
                    out.warning(&sentence);
                }
            }
            listen::Event::Recorded(_) | listen::Event::Settings(_) => {}
        }
        Ok(())
    }

    /// Waits until `Watch()` holds, and prints what was announced since `state.from`.
    async fn catch_up(&mut self, state: &mut State, out: &mut Out) -> Result<(), Failure> {
        let watching = self.listening.watch();
        tokio::pin!(watching);
        loop {
            // The answer comes on the same connection as notices: these are taken meanwhile.
            tokio::select! {
                answer = &mut watching => break answer?,
                event = self.listener.next() => match event {
                    Some(event) => self.heard.push_back(event),
                    None => return Ok(()),
                },
            }
        }
        let permissions = self.asking.permissions().await?;
        self.sees_system =
            permissions.iter().any(|(action, answer)| READS.contains(action) && *answer == Permission::Yes);
        let Some(since) = state.from else { return Ok(()) };
        let mut query =
            Query { since: Some(since), descending: Some(false), limit: Some(1000), ..Query::default() };
        loop {
            let page = self.asking.events(&query).await?;
            for event in page.rows {
                if state.printed.is_new(event.id) {
                    print(&event, out)?;
                }
            }
            if page.cursor.is_empty() || query.cursor.as_ref() == Some(&page.cursor) {
                return Ok(());
            }
            query.cursor = Some(page.cursor);
        }
    }

    /// The whole notice where the daemon tells it, else as much as the signal said. A signal may be here
    /// before the record of it can be read: that is waited for, but not for what would never be shown.
    async fn details(&self, notice: Event) -> Event {
        let notice = Event { time: notice.time.or_else(|| Some(time::now())), ..notice };
        let Some(id) = notice.id else { return notice };
        let patience = if self.may_see(notice.uid) { SOON } else { Duration::ZERO };
        let asked = Instant::now();
        loop {
            match self.asking.event(id).await {
                Ok(event) => return merge(event, notice),
                Err(Error::NotFound(_)) if asked.elapsed() < patience => tokio::time::sleep(AGAIN).await,
                Err(_) => return notice,
            }
        }
    }

    fn may_see(&self, uid: Option<u32>) -> bool {
        self.sees_system || uid.is_none() || uid == Some(nix::unistd::getuid().as_raw())
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

#[cfg(test)]
mod tests;
