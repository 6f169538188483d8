// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what the tray makes of a daemon that is paused, starts again or has another history.

use std::time::Duration;

use picosnitch_api::Query;

use super::Case;
use super::desktop::{AT_ONCE, desktop, ready, tooltip_says, wait_toasts};
use super::expect::PATIENCE;
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::report;
use crate::lab::{Lab, Outcome, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "D03", title: "the record is paused and goes on: the tray says so", run: d03_pause },
    Case {
        id: "D03",
        title: "the daemon starts again, then with a fresh history: told once, and told",
        run: d03_anew,
    },
    Case { id: "S08", title: "no toast, if none is wanted", run: s08_toasts },
];

fn d03_pause(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d03-pause", true)?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "Watching")?;
    stage.client.call(|client| async move { client.pause(3600).await })?;
    tooltip_says(&desktop, "The record is paused")?;
    stage.client.call(|client| async move { client.resume().await })?;
    tooltip_says(&desktop, "Watching")?;
    // One that is started in a pause, which then ends by itself.
    desktop.stop_tray();
    stage.client.call(|client| async move { client.pause(5).await })?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "The record is paused")?;
    tooltip_says(&desktop, "Watching")
}

/// Shows notify.desktop: a tray that runs says nothing from then on, until it may again. The record does.
fn s08_toasts(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "s08-toasts", true)?;
    ready(lab, &stage, &mut desktop)?;
    let set = |desktop: &Desktop, wanted: bool| -> Outcome {
        let output =
            stage.cli(None)?.args(["config", "set", "notify.desktop", &wanted.to_string()]).output()?;
        ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
        settle(PATIENCE, || {
            let tip = desktop.tooltip()?;
            ensure(tip.contains("Notifications are switched off") != wanted, || format!("it says {tip:?}"))
        })
    };
    let to = lab.net.to();
    set(&desktop, false)?;
    let program = lab.programs.make("s08-hushed")?;
    report(&program, &["tcp-echo", &to])?;
    settle(PATIENCE, || {
        let menu = desktop.menu()?;
        ensure(menu.iter().any(|(_, text)| text.starts_with("s08-hushed")), || format!("{menu:?}"))
    })?;
    set(&desktop, true)?;
    report(lab.programs.make("s08-loud")?, &["tcp-echo", &to])?;
    let toasts = wait_toasts(&desktop, |toasts| format!("{toasts:?}").contains("s08-loud"))?;
    // Told in their order: it would have been before.
    ensure(!format!("{toasts:?}").contains("s08-hushed"), || format!("told all the same: {toasts:?}"))
}

fn d03_anew(lab: &mut Lab) -> Outcome {
    let (mut stage, mut desktop) = desktop(lab, "d03-anew", true)?;
    ready(lab, &stage, &mut desktop)?;
    let to = lab.net.to();
    let told = |desktop: &Desktop, name: &str| format!("{:?}", desktop.toasts()).contains(name);
    // Five toasts a minute are all there are, with the first digest.
    for number in 0..2 {
        report(lab.programs.make(&format!("d03-old-{number}"))?, &["tcp-echo", &to])?;
    }
    wait_toasts(&desktop, |toasts| format!("{toasts:?}").contains("d03-old-1"))?;
    // The same history: what was told is not told again, what is new is.
    stage.daemon.stop()?;
    tooltip_says(&desktop, "not running")?;
    desktop.clear()?;
    stage.daemon.launch_again()?;
    tooltip_says(&desktop, "Watching")?;
    report(lab.programs.make("d03-same")?, &["tcp-echo", &to])?;
    wait_toasts(&desktop, |toasts| format!("{toasts:?}").contains("d03-same"))?;
    std::thread::sleep(Duration::from_secs(2));
    ensure(!told(&desktop, "d03-old"), || format!("told twice: {:?}", desktop.toasts()))?;
    tooltip_says(&desktop, "unread")?;
    let newest = stage.client.events(&Query::default())?.first().and_then(|event| event.id);
    // Another one, whose numbers begin anew.
    stage.daemon.stop()?;
    tooltip_says(&desktop, "not running")?;
    std::fs::remove_dir_all(stage.dir.join("state"))?;
    std::fs::create_dir_all(stage.dir.join("state"))?;
    stage.daemon.launch_again()?;
    tooltip_says(&desktop, "Watching")?;
    let program = lab.programs.make("d03-fresh")?;
    report(&program, &["tcp-echo", &to])?;
    wait_toasts(&desktop, |toasts| format!("{toasts:?}").contains("d03-fresh"))?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        let id = events.iter().find(|event| event.path.as_deref() == program.to_str()).and_then(|it| it.id);
        ensure(id.is_some() && id <= newest, || format!("it is number {id:?}, so the case shows nothing"))
    })
}
