// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking the monitor, on other threads than the one that draws. Each question becomes a message.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::tongue::tr;
use picosnitch_api::{Client, Error, Trouble, inert};

use crate::msg::{Got, Msg, Place, Sender};

/// A reason why something did not work, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is.
    pub why: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl Failure {
    /// The monitor does not run.
    pub fn absent() -> Self {
        let trouble = Trouble::NotRunning;
        Self { why: trouble.sentence().map(tr).unwrap_or_default().to_owned(), hint: trouble.hint().map(tr) }
    }
}

impl Failure {
    /// It runs, and does not answer.
    pub fn silent() -> Self {
        Self {
            why: tr("The monitor does not answer.").to_owned(),
            hint: Some(tr("It may be busy or hang: journalctl -u picosnitchd says more.")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let trouble = Trouble::of(&error);
        let why = match error {
            Error::ZBus(error) => {
                trouble.sentence().map_or_else(|| error.to_string(), |why| tr(why).to_owned())
            }
            Error::NotAuthorized(why)
            | Error::InvalidQuery(why)
            | Error::NotFound(why)
            | Error::InvalidSetting(why)
            | Error::Unavailable(why)
            | Error::LimitExceeded(why) => why,
        };
        Self { why: inert(&why).into_owned(), hint: trouble.hint().map(tr) }
    }
}

/// Questions of pages under way at one time. Each makes up to four calls, and the monitor refuses a client
/// with more than sixteen.
const QUESTIONS: usize = 3;

/// How long a page waits for its turn and its answer. No question of a page asks a person anything.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks, once there is somebody to ask.
#[derive(Clone)]
pub struct Asker {
    client: Option<Client>,
    gate: Arc<tokio::sync::Semaphore>,
    /// Number of the view that was asked for last.
    latest: Arc<AtomicU64>,
    /// The same, and how many questions for it have no answer yet.
    open: Rc<Cell<(u64, usize)>>,
    sender: Sender,
}

impl Asker {
    /// Before there is a bus. Answers are sent.
    pub fn new(sender: &Sender) -> Self {
        Self {
            client: None,
            gate: Arc::new(tokio::sync::Semaphore::new(QUESTIONS)),
            latest: Arc::default(),
            open: Rc::default(),
            sender: sender.clone(),
        }
    }

    /// Uses this bus from now on.
    pub fn set(&mut self, client: Option<Client>) {
        self.client = client;
    }

    /// Asks; a failure is given for the place.
    pub fn ask<F>(&self, view: u64, place: Place, question: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<Got, Error>> + Send + 'static,
    {
        let Some(client) = self.client.clone() else { return };
        let (sender, answer) = (self.sender.clone(), question(client));
        let (gate, latest) = (self.gate.clone(), self.latest.clone());
        latest.store(view, Ordering::Relaxed);
        let (of, open) = self.open.get();
        self.open.set((view, if of == view { open + 1 } else { 1 }));
        relm4::spawn(async move {
            let asked = async {
                // It is never closed; without a permit it would only be asked at once.
                let _permit = gate.acquire_owned().await;
                // What nobody waits for any more is not asked.
                if latest.load(Ordering::Relaxed) == view {
                    answer.await.unwrap_or_else(|error| Got::Failed(place, error.into()))
                } else {
                    Got::Late
                }
            };
            let got = tokio::time::timeout(LIMIT, asked).await;
            sender.emit(Msg::Got(view, got.unwrap_or_else(|_| Got::Failed(place, Failure::silent()))));
        });
    }

    /// An answer for this view was taken; each question has one.
    pub fn answered(&self, view: u64) {
        let (of, open) = self.open.get();
        if of == view {
            self.open.set((of, open.saturating_sub(1)));
        }
    }

    /// Answers for this view are on their way.
    pub fn is_open(&self, view: u64) -> bool {
        let (of, open) = self.open.get();
        of == view && open > 0
    }

    /// Asks for something that is no part of a page; a failure is shown for a moment unless `quiet`.
    pub fn tell<F>(&self, quiet: bool, question: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<Msg, Error>> + Send + 'static,
    {
        let Some(client) = self.client.clone() else { return };
        let (sender, answer) = (self.sender.clone(), question(client));
        relm4::spawn(async move {
            match answer.await {
                Ok(message) => sender.emit(message),
                Err(_) if quiet => {}
                Err(error) => sender.emit(Msg::Note(Failure::from(error).why)),
            }
        });
    }
}

/// Hears what the monitor says, for as long as the window lives; a bus that goes is tried again.
pub fn listen(sender: Sender) {
    relm4::spawn(async move {
        loop {
            let both = async { Ok((Listener::connect().await?, Client::connect().await?)) };
            match both.await {
                Ok((mut listener, client)) => {
                    if sender.send(Msg::Bus(client)).is_err() {
                        return;
                    }
                    while let Some(event) = listener.next().await {
                        if sender.send(Msg::Said(event)).is_err() {
                            return;
                        }
                    }
                    sender.emit(Msg::Said(Event::Gone));
                }
                Err(error) => {
                    let error: Error = error;
                    if sender.send(Msg::NoBus(error.into())).is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
}
