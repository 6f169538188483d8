// SPDX-License-Identifier: GPL-3.0-or-later
//! Showing toasts, and hearing what becomes of them. All go over the session's connection, on which the
//! server's signals are listened for before the first one is shown: an answer cannot come too early. All of it is a
//! task of its own: a server that hangs holds up nothing else.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use picosnitch_api::tongue::{mark, tr};
use tokio::sync::mpsc;
use zbus::export::ordered_stream::OrderedStreamExt as _;
use zbus::names::OwnedUniqueName;
use zbus::zvariant::Value;

use crate::policy::{AGAIN, Action, Toast, WAITED, Weight};
use crate::{APP_ID, Message};

/// Name and interface of the notification server.
const SERVER: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// Toasts that are remembered; the buttons of older ones do nothing any more.
const MAX_SHOWN: usize = 64;
/// Signals that wait to be taken.
const SAID: usize = 64;
/// A server that takes longer to answer hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that asks for attention stays, in ms. -1 is as long as the server likes, 0 for ever.
const HIGH: i32 = 30_000;

/// What the server says of a toast, by its number.
#[derive(Debug)]
pub enum Said {
    /// With this a window may come to the front; told before the answer.
    Token(u32, String),
    /// The person chose an action.
    Action(u32, String),
    /// It is no more on the screen.
    Closed(u32),
}

/// What a person chose.
#[derive(Debug)]
pub struct Answer {
    /// The action.
    pub action: Action,
    /// Of which toast.
    pub toast: Toast,
    /// Lets the window come to the front.
    pub token: Option<String>,
}

/// What became of a toast.
#[derive(Debug)]
pub struct Fate {
    /// What it is about.
    pub key: String,
    /// The notices it tells.
    pub events: Vec<i64>,
    /// It was shown, or why it was not.
    pub outcome: Result<(), String>,
}

/// What the task is told.
enum Order {
    Show(Toast),
    /// This one shows toasts from now on, if anybody.
    Server(Option<String>),
    /// The numbers of notices mean others from now on.
    Forget,
}

/// Where toasts go.
#[derive(Debug, Clone)]
pub struct Toaster(mpsc::UnboundedSender<Order>);

struct Shown {
    id: u32,
    toast: Toast,
    token: Option<String>,
}

/// What is on the screen.
struct Screen {
    session: zbus::Connection,
    messages: mpsc::Sender<Message>,
    /// Oldest first.
    shown: VecDeque<Shown>,
    /// Who shows them; nobody else is believed.
    server: Option<OwnedUniqueName>,
    /// The notification server reads markup, so that text has to be escaped for it; unless it says that it does
    /// not.
    markup: bool,
}

impl Toaster {
    /// Answers, and what became of each toast, go to `messages`.
    ///
    /// # Errors
    /// The session's bus is gone.
    pub async fn start(session: &zbus::Connection, messages: mpsc::Sender<Message>) -> zbus::Result<Self> {
        let rule = zbus::MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SERVER)?
            .interface(SERVER)?
            .build();
        let mut signals = zbus::MessageStream::for_match_rule(rule, session, None).await?;
        let (say, mut said) = mpsc::channel(SAID);
        // By itself, so that whoever sends many signals does not hold up the answers to our calls.
        tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                let Ok(signal) = signal else { continue };
                if let (Some(said), Some(by)) = (read(&signal), signal.header().sender()) {
                    // When so many wait, the program hangs or somebody floods it.
                    let _ = say.try_send((OwnedUniqueName::from(by.to_owned()), said));
                }
            }
        });
        let (order, mut orders) = mpsc::unbounded_channel();
        let session = session.clone();
        let mut screen = Screen { session, messages, shown: VecDeque::new(), server: None, markup: true };
        tokio::spawn(async move {
            screen.learn().await;
            loop {
                tokio::select! {
                    order = orders.recv() => match order {
                        Some(order) => screen.obey(order).await,
                        None => break,
                    },
                    Some((by, said)) = said.recv() => screen.heard(&by, said).await,
                }
            }
        });
        Ok(Self(order))
    }

    /// Shows it, in the place of what it replaces; [`Message::Shown`] says what became of it.
    pub fn show(&self, toast: Toast) {
        // Only fails when the program ends.
        let _ = self.0.send(Order::Show(toast));
    }

    /// The history is another one: what is said of toasts from before is said of nothing in it.
    pub fn forget(&self) {
        let _ = self.0.send(Order::Forget);
    }

    /// `server` shows toasts from now on, if anybody.
    pub fn server(&self, server: Option<String>) {
        let _ = self.0.send(Order::Server(server));
    }
}

impl Screen {
    async fn obey(&mut self, order: Order) {
        match order {
            Order::Show(toast) => {
                let (key, events) = (toast.key.clone(), toast.events.clone());
                let outcome = self.show(toast).await.map_err(|error| error.to_string());
                let _ = self.messages.send(Message::Shown(Fate { key, events, outcome })).await;
            }
            Order::Forget => self.shown.iter_mut().for_each(|shown| shown.toast.events.clear()),
            Order::Server(server) => {
                self.forget(server.as_deref());
                if server.is_some() {
                    self.learn().await;
                }
            }
        }
    }

    async fn call<B>(&self, member: &str, body: &B) -> zbus::Result<zbus::Message>
    where
        B: zbus::export::serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        let call = self.session.call_method(Some(SERVER), PATH, Some(SERVER), member, body);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(reply) => reply,
            Err(_) => Err(zbus::Error::Failure("the notification server does not answer".into())),
        }
    }

    /// Learns what the notification server can; to be called again when another one takes over.
    async fn learn(&mut self) {
        self.markup = true;
        if let Ok(reply) = self.call("GetCapabilities", &()).await
            && let Ok(able) = reply.body().deserialize::<Vec<String>>()
        {
            self.markup = able.iter().any(|able| able == "body-markup");
        }
    }

    /// `server` is the one that shows toasts from now on, if any. A new one knows nothing of what the old one
    /// showed; but the bus may start it for a toast, and tell of it after the toast.
    fn forget(&mut self, server: Option<&str>) {
        if server.is_none() || self.server.as_ref().map(|known| known.as_str()) != server {
            self.shown.clear();
            self.server = None;
        }
    }

    async fn show(&mut self, mut toast: Toast) -> zbus::Result<()> {
        let body = if self.markup { escape(&toast.text.body) } else { toast.text.body.clone() };
        let mut actions = vec!["default", tr("Details")];
        actions.extend(toast.actions.iter().flat_map(|action| [word(*action), label(*action)]));
        let critical = toast.weight == Weight::Critical;
        let hints = HashMap::from([
            ("desktop-entry", Value::from(APP_ID)),
            ("category", Value::from("network")),
            ("urgency", Value::from(if critical { 2_u8 } else { 1_u8 })),
        ]);
        let expires = match toast.weight {
            Weight::Critical => 0,
            Weight::High => HIGH,
            Weight::Normal | Weight::Silent => -1,
        };
        let keys = std::iter::once(&toast.key).chain(&toast.replaces);
        let of = |key: &String| self.shown.iter().find(|shown| shown.toast.key == *key).map(|shown| shown.id);
        let old: Vec<u32> = keys.filter_map(of).collect();
        let replaces = old.first().copied().unwrap_or(0);
        let title = toast.text.title.as_str();
        let call = ("picosnitch", replaces, APP_ID, title, body.as_str(), actions, hints, expires);
        let reply = self.call("Notify", &call).await?;
        let id = reply.body().deserialize()?;
        self.server = reply.header().sender().map(|by| by.to_owned().into());
        take_over(&mut toast, self.shown.iter().filter(|shown| old.contains(&shown.id)));
        self.shown.retain(|shown| !old.contains(&shown.id));
        for old in old.into_iter().skip(1) {
            self.close(old).await;
        }
        self.shown.push_back(Shown { id, toast, token: None });
        if self.shown.len() > MAX_SHOWN {
            self.shown.pop_front();
        }
        Ok(())
    }

    /// Takes what `by` says; passes on what the person chose.
    async fn heard(&mut self, by: &OwnedUniqueName, said: Said) {
        if self.server.as_ref() != Some(by) {
            return;
        }
        let Some((answer, id)) = hear(&mut self.shown, said) else { return };
        let _ = self.messages.send(Message::Answer(Box::new(answer))).await;
        // Not every server takes away what was answered, and nothing is done for its buttons any more.
        self.close(id).await;
    }

    async fn close(&self, id: u32) {
        // A toast that stays a little longer than it should is no reason to fail.
        let _ = self.call("CloseNotification", &id).await;
    }
}

/// What is said of a toast is said of those whose place it took, too. Not of what was told later: that was another
/// list.
fn take_over<'a>(toast: &mut Toast, of: impl Iterator<Item = &'a Shown>) {
    for old in of.filter(|old| ![WAITED, AGAIN].contains(&old.toast.key.as_str())) {
        toast.events.extend_from_slice(&old.toast.events);
    }
    toast.events.sort_unstable();
    toast.events.dedup();
}

fn take(shown: &mut VecDeque<Shown>, which: impl Fn(&Shown) -> bool) -> Option<Shown> {
    shown.iter().position(which).and_then(|at| shown.remove(at))
}

/// What becomes of the toasts by what is said of one; the answer to it and its number.
fn hear(shown: &mut VecDeque<Shown>, said: Said) -> Option<(Answer, u32)> {
    match said {
        Said::Token(id, token) => {
            shown.iter_mut().find(|shown| shown.id == id)?.token = Some(token);
            None
        }
        Said::Closed(id) => {
            take(shown, |shown| shown.id == id);
            None
        }
        Said::Action(id, chosen) => {
            let of = shown.iter().find(|shown| shown.id == id)?;
            let mut actions = of.toast.actions.iter().copied();
            let action = match chosen.as_str() {
                "default" => actions.next()?,
                chosen => actions.find(|action| word(*action) == chosen)?,
            };
            let Shown { toast, token, .. } = take(shown, |shown| shown.id == id)?;
            Some((Answer { action, toast, token }, id))
        }
    }
}

fn read(signal: &zbus::Message) -> Option<Said> {
    let body = signal.body();
    match signal.header().member()?.as_str() {
        "ActivationToken" => body.deserialize().ok().map(|(id, token)| Said::Token(id, token)),
        "ActionInvoked" => body.deserialize().ok().map(|(id, action)| Said::Action(id, action)),
        "NotificationClosed" => body.deserialize::<(u32, u32)>().ok().map(|(id, _)| Said::Closed(id)),
        _ => None,
    }
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
    use crate::policy::Target;
    use crate::text::Text;

    fn shown(id: u32, actions: &[Action]) -> Shown {
        let toast = Toast {
            key: format!("program {id}"),
            replaces: Vec::new(),
            text: Text { title: String::new(), body: String::new() },
            weight: Weight::Normal,
            target: Target::Timeline,
            actions: actions.to_vec(),
            events: Vec::new(),
            program: None,
        };
        Shown { id, toast, token: None }
    }

    #[test]
    fn n05_markup_is_shown_and_not_obeyed() {
        assert_eq!(escape("<b>a</b> & <img src=x>"), "&lt;b&gt;a&lt;/b&gt; &amp; &lt;img src=x&gt;");
    }

    #[test]
    fn d04_what_is_said_of_a_toast_is_said_of_what_it_replaced() {
        let with = |id, key: &str, events: &[i64]| {
            let mut shown = shown(id, &[Action::Expected]);
            (shown.toast.key, shown.toast.events) = (key.into(), events.to_vec());
            shown
        };
        let mut toast = with(0, "program curl", &[9]).toast;
        take_over(&mut toast, [with(1, "program curl", &[3, 4]), with(2, WAITED, &[5])].iter());
        assert_eq!(toast.events, [3, 4, 9]);
    }

    #[test]
    fn d04_an_answer_comes_once_with_the_token_that_was_told_before_it() {
        let all = [Action::Details, Action::Mute];
        let mut toasts = VecDeque::from([shown(7, &all), shown(8, &all), shown(9, &all)]);
        let mut hear = |said| hear(&mut toasts, said).map(|(it, id)| (it.action, it.token, id));
        let press = |id, word: &str| Said::Action(id, word.into());
        assert_eq!(hear(Said::Token(8, "front".into())), None);
        assert_eq!(hear(press(8, "default")), Some((Action::Details, Some("front".into()), 8)));
        assert_eq!(hear(press(8, "mute")), None, "it was answered");
        assert_eq!(hear(press(7, "review")), None, "it has no such button");
        assert_eq!(hear(press(7, "mute")), Some((Action::Mute, None, 7)));
        assert_eq!(hear(Said::Closed(9)), None);
        assert_eq!(hear(press(9, "mute")), None, "it is gone");
    }
}
