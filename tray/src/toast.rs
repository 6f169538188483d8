// SPDX-License-Identifier: GPL-3.0-or-later
//! Showing toasts: a thin layer over notify-rust that knows which one is on the screen for which key.
//! Each toast keeps a connection and a waiting task until it is closed, so there are at most
//! [`MAX_SHOWN`]; an older one stays on the screen, but its buttons do nothing more.

use std::collections::{HashMap, VecDeque};

use notify_rust::{Hint, Notification, NotificationResponse, Timeout, Urgency};
use picosnitch_api::tongue::{mark, tr};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::policy::{Action, Toast, Weight};
use crate::{APP_ID, Message};

/// Toasts whose buttons work at the same time.
const MAX_SHOWN: usize = 16;

struct Shown {
    id: u32,
    waiting: JoinHandle<()>,
}

/// What is on the screen.
pub struct Toaster {
    shown: HashMap<String, Shown>,
    order: VecDeque<String>,
    answers: mpsc::Sender<Message>,
    /// The notification server reads markup, so that text has to be escaped for it.
    markup: bool,
}

impl Drop for Toaster {
    fn drop(&mut self) {
        for shown in self.shown.values() {
            shown.waiting.abort();
        }
    }
}

impl Toaster {
    /// What the person does with a toast goes to `answers`.
    pub fn new(answers: mpsc::Sender<Message>) -> Self {
        Self { shown: HashMap::new(), order: VecDeque::new(), answers, markup: false }
    }

    /// Learns what the notification server can; to be called again when another one takes over.
    pub async fn learn(&mut self, session: &zbus::Connection) {
        let name = "org.freedesktop.Notifications";
        let reply = session.call_method(
            Some(name),
            "/org/freedesktop/Notifications",
            Some(name),
            "GetCapabilities",
            &(),
        );
        // Without an answer nothing is shown either, and the next server is asked anew.
        if let Ok(reply) = reply.await
            && let Ok(able) = reply.body().deserialize::<Vec<String>>()
        {
            self.markup = able.iter().any(|able| able == "body-markup");
        }
    }

    /// A new server knows nothing of what the old one showed.
    pub fn forget(&mut self) {
        for (_, shown) in self.shown.drain() {
            shown.waiting.abort();
        }
        self.order.clear();
    }

    /// Shows it, in the place of what it replaces.
    ///
    /// # Errors
    /// When there is no notification server or it refuses.
    pub async fn show(&mut self, toast: Toast) -> notify_rust::error::Result<()> {
        let mut note = Notification::new();
        let body = if self.markup { escape(&toast.text.body) } else { toast.text.body.clone() };
        note.appname("picosnitch")
            .summary(&toast.text.title)
            .body(&body)
            .icon(APP_ID)
            .hint(Hint::DesktopEntry(APP_ID.into()))
            .hint(Hint::Category("network".into()))
            .urgency(if toast.weight == Weight::Critical { Urgency::Critical } else { Urgency::Normal })
            .timeout(match toast.weight {
                Weight::Critical => Timeout::Never,
                Weight::High => Timeout::Milliseconds(30_000),
                Weight::Normal | Weight::Silent => Timeout::Default,
            });
        note.action("default", tr("Details"));
        for action in &toast.actions {
            note.action(word(*action), label(*action));
        }
        let mut takes = None;
        let mut closing = Vec::new();
        for key in std::iter::once(&toast.key).chain(&toast.replaces) {
            let Some(old) = self.take(key) else { continue };
            old.waiting.abort();
            if takes.is_none() {
                takes = Some(old.id);
                note.id(old.id);
            } else {
                closing.push(old.id);
            }
        }
        let handle = note.show_async().await?;
        let id = handle.id();
        for old in closing {
            close(old).await;
        }
        let answers = self.answers.clone();
        let key = toast.key.clone();
        let waiting = tokio::spawn(async move {
            let mut answer = None;
            handle
                .wait_for_action_async(|response| {
                    answer = match response {
                        NotificationResponse::Default => toast.actions.first().copied(),
                        NotificationResponse::Action(word) => {
                            toast.actions.iter().copied().find(|action| self::word(*action) == word)
                        }
                        _ => None,
                    };
                })
                .await;
            let message = match answer {
                Some(action) => Message::Answer(action, Box::new(toast)),
                None => Message::Closed(toast.key, id),
            };
            // Only fails when the program ends.
            let _ = answers.send(message).await;
            // Not every server takes away what was answered, and nobody listens to its buttons any more.
            if answer.is_some() {
                close(id).await;
            }
        });
        self.order.push_back(key.clone());
        self.shown.insert(key, Shown { id, waiting });
        while self.order.len() > MAX_SHOWN {
            if let Some(oldest) = self.order.pop_front()
                && let Some(shown) = self.shown.remove(&oldest)
            {
                shown.waiting.abort();
            }
        }
        Ok(())
    }

    /// It is no more on the screen.
    pub fn closed(&mut self, key: &str, id: u32) {
        if self.shown.get(key).is_some_and(|shown| shown.id == id) {
            self.take(key);
        }
    }

    /// The person answered it.
    pub fn answered(&mut self, key: &str) {
        self.take(key);
    }

    fn take(&mut self, key: &str) -> Option<Shown> {
        self.order.retain(|known| known != key);
        self.shown.remove(key)
    }
}

async fn close(id: u32) {
    // A toast that stays a little longer than it should is no reason to fail.
    let Ok(session) = zbus::Connection::session().await else { return };
    let name = "org.freedesktop.Notifications";
    let path = "/org/freedesktop/Notifications";
    let _ = session.call_method(Some(name), path, Some(name), "CloseNotification", &id).await;
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Details => "details",
        Action::Expected => "expected",
        Action::ExpectUpdates => "expect-updates",
        Action::Mute => "mute",
        Action::Review => "review",
    }
}

fn label(action: Action) -> &'static str {
    tr(match action {
        Action::Details => mark("Details"),
        Action::Expected => mark("Expected"),
        Action::ExpectUpdates => mark("Expect Updates"),
        Action::Mute => mark("Mute"),
        Action::Review => mark("Review"),
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n05_markup_is_shown_and_not_obeyed() {
        assert_eq!(escape("<b>a</b> & <img src=x>"), "&lt;b&gt;a&lt;/b&gt; &amp; &lt;img src=x&gt;");
    }
}
