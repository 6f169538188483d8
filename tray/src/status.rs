// SPDX-License-Identifier: GPL-3.0-or-later
//! The status icon, its tooltip and its menu. It draws what it is given and sends what is clicked.

use ksni::menu::{StandardItem, SubMenu};
use ksni::{MenuItem, ToolTip};
use picosnitch_api::state::Daemon;
use picosnitch_api::tongue::{mark, say, say_n, tr};
use picosnitch_api::{Units, inert_short};
use tokio::sync::mpsc;

use crate::icon::{self, Look};
use crate::{APP_ID, Message};

/// What is clicked in the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Click {
    /// Open the window.
    Open,
    /// Open this program's page.
    Program(i64),
    /// Open the timeline.
    Timeline,
    /// Mark everything as seen.
    Seen,
    /// No notifications for an hour.
    PauseHour,
    /// No notifications until tomorrow.
    PauseDay,
    /// Notifications again.
    Resume,
    /// Open the settings.
    Settings,
    /// Open what the program says about itself.
    About,
    /// End.
    Quit,
    /// The menu is about to be shown.
    Shown,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Status {
    /// How the daemon is.
    pub daemon: Daemon,
    /// Why it is not well, one sentence each.
    pub reasons: Vec<String>,
    /// Notices nobody has seen.
    pub unread: u64,
    /// Bytes per second received and sent, as far as known.
    pub rates: Option<(u64, u64)>,
    /// How the person wants to read them.
    pub units: Units,
    /// The latest programs: label, number.
    pub programs: Vec<(String, Option<i64>)>,
    /// Notifications are paused.
    pub hushed: bool,
    /// Notifications are not wanted.
    pub off: bool,
    /// There is a history.
    pub kept: bool,
    clicks: mpsc::Sender<Message>,
}

impl Status {
    /// Before anything is known. Clicks go to `clicks`.
    pub fn new(clicks: mpsc::Sender<Message>) -> Self {
        Self {
            daemon: Daemon::default(),
            reasons: Vec::new(),
            unread: 0,
            rates: None,
            units: Units::default(),
            programs: Vec::new(),
            hushed: false,
            off: false,
            kept: true,
            clicks,
        }
    }

    /// Something that the person would see is different in `other`.
    pub fn differs(&self, other: &Self) -> bool {
        let seen = |it: &Self| (it.daemon, it.unread, (it.rates, it.units), it.hushed, it.off, it.kept);
        seen(self) != seen(other) || (&self.reasons, &self.programs) != (&other.reasons, &other.programs)
    }

    fn click(&self, click: Click) {
        // A click while the last 64 wait is a click on a program that hangs.
        let _ = self.clicks.try_send(Message::Click(click, ksni::current_xdg_activation_token()));
    }

    fn speed(&self, received: u64, sent: u64) -> String {
        format!("↓ {}/s   ↑ {}/s", self.units.bytes(received), self.units.bytes(sent))
    }

    /// Where "Watching" could be read as more than there is.
    fn unkept(&self) -> Option<&'static str> {
        let watches = matches!(self.daemon, Daemon::Watching | Daemon::Degraded);
        (watches && !self.kept).then(|| tr("The history is switched off"))
    }

    fn sentence(&self) -> &'static str {
        tr(match self.daemon {
            Daemon::Absent => mark("The monitor is not running"),
            Daemon::Starting => mark("The monitor is starting"),
            Daemon::Watching => mark("Watching"),
            Daemon::Degraded => mark("Watching, but something does not work as it should"),
            Daemon::Paused => mark("The record is paused"),
        })
    }
}

fn item(label: impl Into<String>, click: Click) -> MenuItem<Status> {
    StandardItem {
        label: label.into(),
        activate: Box::new(move |status: &mut Status| status.click(click.clone())),
        ..Default::default()
    }
    .into()
}

fn note(label: impl Into<String>) -> MenuItem<Status> {
    StandardItem { label: label.into(), enabled: false, ..Default::default() }.into()
}

/// In a menu an underscore marks the access key.
fn label(text: &str) -> String {
    inert_short(text, 48).replace('_', "__")
}

impl ksni::Tray for Status {
    fn id(&self) -> String {
        APP_ID.into()
    }

    fn title(&self) -> String {
        "picosnitch".into()
    }

    fn category(&self) -> ksni::Category {
        ksni::Category::SystemServices
    }

    fn icon_pixmap(&self) -> Vec<ksni::Icon> {
        icon::draw(Look { daemon: self.daemon, unread: self.unread > 0, hushed: self.hushed || self.off })
    }

    fn tool_tip(&self) -> ToolTip {
        let mut lines = vec![self.sentence().to_owned()];
        lines.extend(self.unkept().map(str::to_owned));
        // Some hosts read markup in it, and the daemon's sentences may name files.
        lines.extend(
            self.reasons
                .iter()
                .take(3)
                .map(|why| inert_short(why, 100).replace('&', "&amp;").replace('<', "&lt;")),
        );
        if self.daemon == Daemon::Absent {
            lines.push(tr("Start it with: systemctl start picosnitchd").into());
        }
        if let Some((received, sent)) = self.rates {
            lines.push(self.speed(received, sent));
        }
        if self.unread > 0 {
            lines.push(say_n("{n} unread", "{n} unread", self.unread));
        }
        if self.off {
            lines.push(tr("Notifications are switched off").into());
        } else if self.hushed {
            lines.push(tr("Notifications are paused").into());
        }
        ToolTip { title: "picosnitch".into(), description: lines.join("\n"), ..Default::default() }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        self.click(if self.unread > 0 { Click::Timeline } else { Click::Open });
    }

    fn secondary_activate(&mut self, _x: i32, _y: i32) {
        self.click(Click::Timeline);
    }

    fn menu_about_to_show(&mut self) {
        self.click(Click::Shown);
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        let mut menu = vec![note(self.sentence())];
        menu.extend(self.unkept().map(note));
        menu.extend(self.reasons.iter().take(3).map(|why| note(label(why))));
        if let Some((received, sent)) = self.rates {
            menu.push(note(self.speed(received, sent)));
        }
        menu.push(MenuItem::Separator);
        if !self.programs.is_empty() {
            menu.push(note(tr("Latest programs")));
            menu.extend(
                self.programs
                    .iter()
                    .map(|(name, id)| item(label(name), id.map_or(Click::Timeline, Click::Program))),
            );
            menu.push(MenuItem::Separator);
        }
        menu.push(item(tr("_Open History"), Click::Open));
        if self.unread > 0 {
            menu.push(item(say("_Timeline ({n} unread)", &[("n", &self.unread)]), Click::Timeline));
            menu.push(item(tr("_Mark All as Seen"), Click::Seen));
        } else {
            menu.push(item(tr("_Timeline"), Click::Timeline));
        }
        menu.push(if self.hushed {
            item(tr("_Resume Notifications"), Click::Resume)
        } else {
            SubMenu {
                label: tr("_Pause Notifications").into(),
                submenu: vec![
                    item(tr("For 1 _Hour"), Click::PauseHour),
                    item(tr("Until _Tomorrow"), Click::PauseDay),
                ],
                ..Default::default()
            }
            .into()
        });
        menu.push(MenuItem::Separator);
        menu.push(item(tr("_Settings"), Click::Settings));
        menu.push(item(tr("_About picosnitch"), Click::About));
        menu.push(item(tr("_Quit"), Click::Quit));
        menu
    }
}

#[cfg(test)]
mod tests {
    use ksni::Tray as _;

    use super::*;

    fn status() -> Status {
        Status::new(mpsc::channel(1).0)
    }

    #[test]
    fn n05_names_in_the_menu_are_inert() {
        let mut status = status();
        status.programs = vec![("a_b\u{202e}\n".into(), Some(1))];
        let labels: Vec<String> = status
            .menu()
            .into_iter()
            .filter_map(|item| match item {
                MenuItem::Standard(item) => Some(item.label),
                _ => None,
            })
            .collect();
        assert!(labels.contains(&"a__b\\u{202e}\\n".to_owned()), "{labels:?}");
    }

    #[test]
    fn d03_an_absent_daemon_is_said_with_what_to_do() {
        let tip = status().tool_tip().description;
        assert!(tip.contains("not running") && tip.contains("systemctl start"), "{tip}");
    }

    #[test]
    fn d03_watching_is_not_all_where_there_is_no_history() {
        let mut status = status();
        status.daemon = Daemon::Watching;
        let says = |status: &Status| {
            let tip = status.tool_tip().description.contains("The history is switched off");
            let note = |item| matches!(item, MenuItem::Standard(item) if item.label == "The history is switched off");
            (tip, status.menu().into_iter().any(note))
        };
        assert_eq!(says(&status), (false, false));
        let before = status.clone();
        status.kept = false;
        assert!(status.differs(&before));
        assert_eq!(says(&status), (true, true));
        status.daemon = Daemon::Paused;
        assert_eq!(says(&status), (false, false), "there is none for another reason");
    }

    #[test]
    fn rates_are_in_the_units_that_the_person_chose() {
        let mut status = status();
        status.rates = Some((2_000_000, 0));
        let shown = |status: &Status| {
            let menu = status.menu().into_iter().find_map(|item| match item {
                MenuItem::Standard(item) if item.label.starts_with('↓') => Some(item.label),
                _ => None,
            });
            (status.tool_tip().description.lines().last().map(str::to_owned), menu)
        };
        let iec = Some("↓ 1.9 MiB/s   ↑ 0 B/s".to_owned());
        assert_eq!(shown(&status), (iec.clone(), iec));
        let before = status.clone();
        status.units = Units::Si;
        assert!(status.differs(&before));
        let si = Some("↓ 2.0 MB/s   ↑ 0 B/s".to_owned());
        assert_eq!(shown(&status), (si.clone(), si));
    }
}
