// SPDX-License-Identifier: GPL-3.0-or-later
//! picosnitch-relay: what leaves the machine. picosnitchd starts it, or systemd does when picosnitchd
//! calls; it is told what to do over its standard input, a socket, and ends when that is closed. It is
//! never root, opens no file for anybody and keeps nothing.
//!
//! Three threads: this one reads questions, one speaks to the database server, one to the scanner. Each
//! answers by itself; a packet is never mixed with another.

mod certificates;
mod database;
mod harden;
mod scanner;
mod text;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, bail};
use picosnitch_relay_wire::{Answer, Ask, MAX_ASK, receive, send};

/// Questions that wait for a thread: the daemon asks for one thing at a time, and may change its settings
/// meanwhile.
const WAITING: usize = 16;

/// A question with what came along.
pub struct Asked {
    ask: Ask,
    /// The rows of [`Ask::Rows`].
    rest: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// Where answers go.
#[derive(Clone)]
pub struct Reply(Arc<OwnedFd>);

impl Reply {
    /// Waits for room. A daemon that is gone needs no answer, and its end ends this program.
    pub fn send(&self, answer: &Answer) {
        if let Ok(bytes) = serde_json::to_vec(answer) {
            let _ = send(&*self.0, &[&bytes], None, true);
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picosnitch-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    harden::check()?;
    let socket = harden::connection()?;
    harden::harden()?;
    let reply = Reply(Arc::new(socket.try_clone()?));
    let (to_database, database) = sync_channel(WAITING);
    let (to_scanner, scanner) = sync_channel(WAITING);
    // Fails only if there is one already, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It was started by descriptor, which is no name.
    rustix::thread::set_name(c"picosnitch-relay").context("its name")?;
    thread("database", reply.clone(), database, database::run)?;
    thread("scanner", reply, scanner, scanner::run)?;
    listen(&socket, &to_database, &to_scanner)
}

fn thread(
    name: &str,
    reply: Reply,
    inbox: Receiver<Asked>,
    body: fn(&Reply, &Receiver<Asked>),
) -> anyhow::Result<()> {
    // A thread that panics must not leave a helper that answers to half.
    let body = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&reply, &inbox))).is_err() {
            std::process::exit(70);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).context("cannot start a thread")?;
    Ok(())
}

fn listen(
    socket: impl AsFd,
    database: &SyncSender<Asked>,
    scanner: &SyncSender<Asked>,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; MAX_ASK];
    loop {
        let received = receive(&socket, &mut buffer)?;
        if received.length == 0 {
            return Ok(());
        }
        let message = buffer.get(..received.length).unwrap_or_default();
        let (head, rest) = match message.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&message[..end], message[end + 1..].to_vec()),
            None => (message, Vec::new()),
        };
        let ask: Ask = serde_json::from_slice(head).context("a question that is not understood")?;
        let to = match &ask {
            Ask::Database { .. } | Ask::Rows { .. } => database,
            Ask::Scanner { .. } | Ask::Lookup { .. } | Ask::Upload { .. } => scanner,
        };
        let asked = Asked { ask, rest, descriptor: received.descriptor };
        if to.try_send(asked).is_err() {
            bail!("more questions than are asked at once");
        }
    }
}
