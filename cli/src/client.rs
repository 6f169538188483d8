// SPDX-License-Identifier: GPL-3.0-or-later
//! Reaching the daemon.

use std::io::IsTerminal as _;
use std::time::Duration;

use picosnitch_api::{Client, Error};

use crate::agent::Agent;
use crate::failure::Failure;

/// Longest wait for an answer when nobody is asked for a password.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait when polkit may ask somebody.
const PATIENCE_ASKING: Duration = Duration::from_secs(600);

/// Connects for a command that may run for a while on nobody's behalf: polkit asks nobody.
///
/// # Errors
/// If there is no bus.
pub async fn connect() -> Result<Client, Failure> {
    Ok(open(PATIENCE).await?)
}

/// A client for a command that a person just typed. The agent, if there is one, asks for as long as this
/// lives.
#[derive(Debug)]
pub struct Asking {
    /// To call the daemon.
    pub client: Client,
    _agent: Option<Agent>,
}

/// Connects for a command that a person just typed: if standard input is a terminal, polkit may ask for
/// a password for what `asks` says, and nothing else.
///
/// # Errors
/// If there is no bus.
pub async fn connect_asking(asks: bool) -> Result<Asking, Failure> {
    if !asks || !std::io::stdin().is_terminal() {
        return Ok(Asking { client: connect().await?, _agent: None });
    }
    let client = open(PATIENCE_ASKING).await?;
    // No agent for a daemon that is not there.
    client.status().await?;
    Ok(Asking { client: client.asking(), _agent: Agent::start() })
}

/// Connects, or says why not in the contract's terms.
///
/// # Errors
/// [`Error::ZBus`] if there is no bus.
pub async fn open(patience: Duration) -> Result<Client, Error> {
    let connection =
        zbus::connection::Builder::system()?.method_timeout(patience).max_queued(1024).build().await?;
    Client::new(&connection).await
}

/// Connects without a wish to ask.
///
/// # Errors
/// [`Error::ZBus`] if there is no bus.
pub async fn open_patiently() -> Result<Client, Error> {
    open(PATIENCE).await
}
