// SPDX-License-Identifier: GPL-3.0-or-later
//! The icon in the panel, in a task of its own: a panel or a bus that takes its time holds up nothing else, and an
//! icon that ended comes again.

use std::time::Duration;

use ksni::{Handle, TrayMethods as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::status::Status;

/// Whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait before the next try.
const RETRY: Duration = Duration::from_secs(10);
/// How long the icon may take to go at the end.
const END: Duration = Duration::from_secs(1);

/// The icon.
pub struct Panel {
    wanted: watch::Sender<Status>,
    task: JoinHandle<()>,
}

impl Panel {
    /// Shows an icon from now on.
    pub fn start(status: Status) -> Self {
        let (wanted, looks) = watch::channel(status);
        Self { wanted, task: tokio::spawn(keep(looks)) }
    }

    /// Draws it anew if anything that it shows is different.
    pub fn draw(&self, fresh: Status) {
        self.wanted.send_if_modified(|shown| {
            let differs = fresh.differs(shown);
            if differs {
                *shown = fresh;
            }
            differs
        });
    }

    /// What it shows.
    pub fn shown(&self) -> Status {
        self.wanted.borrow().clone()
    }

    /// Takes it away.
    pub async fn end(self) {
        drop(self.wanted);
        let _ = timeout(END, self.task).await;
    }
}

async fn keep(mut looks: watch::Receiver<Status>) {
    let mut told = false;
    while looks.has_changed().is_ok() {
        match appear(&mut looks).await {
            Ok(icon) => {
                told = false;
                follow(&icon, &mut looks).await;
                let _ = timeout(END, icon.shutdown()).await;
            }
            Err(why) => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("picosnitch-tray: no status icon: {why}");
                }
                // The end does not wait for the next try.
                let _ = timeout(RETRY, async { while looks.changed().await.is_ok() {} }).await;
            }
        }
    }
}

async fn appear(looks: &mut watch::Receiver<Status>) -> Result<Handle<Status>, String> {
    let status = looks.borrow_and_update().clone();
    // Without a panel that shows it, the icon waits for one; everything else works.
    match timeout(PATIENCE, status.assume_sni_available(true).spawn()).await {
        Ok(spawned) => spawned.map_err(|error| error.to_string()),
        Err(_) => Err("the session's bus does not answer".into()),
    }
}

/// Until it is gone, hangs, or is not wanted any more.
async fn follow(icon: &Handle<Status>, looks: &mut watch::Receiver<Status>) {
    loop {
        let fresh = looks.borrow_and_update().clone();
        let drawn = timeout(PATIENCE, icon.update(move |status| *status = fresh)).await;
        if !matches!(drawn, Ok(Some(()))) {
            sleep(Duration::from_secs(1)).await;
            return;
        }
        if looks.changed().await.is_err() {
            return;
        }
    }
}
