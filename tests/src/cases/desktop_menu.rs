// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what the tray does when it is clicked on, and when those who show it start again or hang.

use std::time::Duration;

use nix::sys::signal::Signal;
use picosnitch_api::Query;

use super::Case;
use super::desktop::{AT_ONCE, desktop, ready, tooltip_says, wait_own};
use super::expect::PATIENCE;
use crate::lab::client::settle;
use crate::lab::program::report;
use crate::lab::{Lab, Outcome, Stage, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "D01", title: "each item of the tray's menu, and each click on the icon", run: d01_menu },
    Case { id: "D02", title: "panel and notification server start again", run: d02_again },
    Case {
        id: "D02",
        title: "a notification server hangs: nothing else does, and it is asked again",
        run: d02_hangs,
    },
    Case { id: "D02", title: "what could not be shown was muted: it is not tried for ever", run: d02_muted },
    Case { id: "D04", title: "Details opens that program; Expected marks as seen", run: d04_buttons },
    Case { id: "N05", title: "a hostile name in a real toast, menu and window", run: n05 },
];

/// The latest event about a program.
fn event(stage: &Stage, path: &str) -> Outcome<picosnitch_api::row::Event> {
    let events = stage.client.events(&Query { path: Some(path.to_owned()), ..Query::default() })?;
    events.into_iter().next().ok_or_else(|| format!("no event about {path}").into())
}

fn d01_menu(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d01-menu", true)?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "Watching")?;
    let program = lab.programs.make("d01-item")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || {
        let menu = desktop.menu()?;
        ensure(menu.iter().any(|(_, text)| text.starts_with("d01-item")), || format!("{menu:?}"))
    })?;
    let number = event(&stage, &program.to_string_lossy())?.executable.ok_or("no executable")?.to_string();
    let items: [(&str, &[&str]); 5] = [
        ("d01-item", &["--program", &number]),
        ("Timeline (", &["--page", "timeline"]),
        ("Settings", &["--page", "settings"]),
        ("About", &["--page", "about"]),
        ("Open History", &[]),
    ];
    for (item, arguments) in items {
        desktop.click(item)?;
        let opened = desktop.opened()?;
        ensure(opened == arguments, || format!("{item:?} opens the window with {opened:?}"))?;
    }
    // Something is unread, so that is where a click leads.
    for method in ["Activate", "SecondaryActivate"] {
        desktop.click_icon(method)?;
        let opened = desktop.opened()?;
        ensure(opened == ["--page", "timeline"], || format!("{method} opens the window with {opened:?}"))?;
    }
    desktop.click("Mark All as Seen")?;
    settle(PATIENCE, || ensure(!desktop.tooltip()?.contains("unread"), || "still unread".into()))?;
    desktop.click_icon("Activate")?;
    let opened = desktop.opened()?;
    ensure(opened.is_empty(), || format!("a click opens the window with {opened:?}"))?;
    desktop.click("Until Tomorrow")?;
    tooltip_says(&desktop, "Notifications are paused")?;
    desktop.click("Resume Notifications")?;
    settle(PATIENCE, || ensure(!desktop.tooltip()?.contains("paused"), || "still paused".into()))
}

fn d02_again(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d02-again", true)?;
    ready(lab, &stage, &mut desktop)?;
    tooltip_says(&desktop, "Watching")?;
    desktop.stop_part("panel");
    settle(PATIENCE, || {
        ensure(!desktop.has_owner("org.kde.StatusNotifierWatcher"), || "the panel runs".into())
    })?;
    desktop.start_panel()?;
    tooltip_says(&desktop, "Watching")?;
    desktop.stop_part("dunst");
    desktop.start_dunst()?;
    let program = lab.programs.make("d02-again")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    wait_own(&desktop, "d02-again", 1)?;
    // It is on the screen of the new one, which is believed.
    settle(PATIENCE, || {
        desktop.press("Expected")?;
        let seen = event(&stage, &program.to_string_lossy())?.acknowledged == Some(true);
        ensure(seen, || "Expected was not heard".into())
    })
}

fn d02_hangs(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d02-hangs", true)?;
    ready(lab, &stage, &mut desktop)?;
    desktop.click("Mark All as Seen")?;
    settle(PATIENCE, || ensure(!desktop.tooltip()?.contains("unread"), || "still unread".into()))?;
    desktop.signal_part("dunst", Signal::SIGSTOP)?;
    report(lab.programs.make("d02-hung")?, &["tcp-echo", &lab.net.to()])?;
    wait_own(&desktop, "d02-hung", 1)?;
    // While it waits for the server, it does what else there is to do: sooner than the server is given up.
    settle(Duration::from_secs(3), || {
        let tip = desktop.tooltip()?;
        ensure(tip.contains("1 unread"), || format!("the tooltip says {tip:?}"))
    })?;
    settle(PATIENCE, || {
        let log = desktop.tray_log();
        ensure(log.contains("no notification could be shown"), || format!("it says {log:?}"))
    })?;
    desktop.signal_part("dunst", Signal::SIGCONT)?;
    settle(Duration::from_secs(40), || {
        let toasts = desktop.toasts();
        let again = toasts.iter().filter(|toast| toast.title.contains("d02-hung")).count();
        ensure(again >= 2, || format!("it was not told again: {toasts:?}"))
    })?;
    let toasts = desktop.toasts();
    ensure(!format!("{toasts:?}").contains("away"), || format!("nobody was away: {toasts:?}"))
}

fn d02_muted(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d02-muted", true)?;
    ready(lab, &stage, &mut desktop)?;
    desktop.signal_part("dunst", Signal::SIGSTOP)?;
    let program = lab.programs.make("d02-muted")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    wait_own(&desktop, "d02-muted", 1)?;
    settle(PATIENCE, || {
        let log = desktop.tray_log();
        ensure(log.contains("no notification could be shown"), || format!("it says {log:?}"))
    })?;
    let id = event(&stage, &program.to_string_lossy())?.id.ok_or("no number")?;
    let told = || -> Outcome<i64> {
        let text = std::fs::read_to_string(desktop.home().join(".local/state/picosnitch/told"))?;
        let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("told says {text:?}").into())
    };
    ensure(told()? < id, || "it counts as told".into())?;
    // By somebody else: in the window.
    let quiet = desktop.home().join(".config/picosnitch/quiet");
    std::fs::create_dir_all(quiet.parent().ok_or("no folder")?)?;
    std::fs::write(&quiet, format!("mute {}\n", program.display()))?;
    desktop.signal_part("dunst", Signal::SIGCONT)?;
    settle(Duration::from_secs(40), || {
        let told = told()?;
        ensure(told >= id, || format!("{told} was told last, and not {id}: the next login tells it again"))
    })?;
    let toasts = desktop.toasts();
    let about = toasts.iter().filter(|toast| format!("{toast:?}").contains("d02-muted")).count();
    ensure(about == 1, || format!("told again: {toasts:?}"))
}

fn d04_buttons(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d04-buttons", true)?;
    ready(lab, &stage, &mut desktop)?;
    let program = lab.programs.make("d04-button")?;
    let path = program.to_string_lossy().into_owned();
    let change = |lab: &Lab| -> Outcome {
        let fresh = program.with_extension("fresh");
        lab.programs.write(&fresh, &lab.programs.content())?;
        std::fs::rename(&fresh, &program)?;
        report(&program, &["tcp-echo", &lab.net.to()])?;
        Ok(())
    };
    report(&program, &["tcp-echo", &lab.net.to()])?;
    wait_own(&desktop, "d04-button", 1)?;
    let number = event(&stage, &path)?.executable.ok_or("no executable")?.to_string();
    let access = desktop.access()?;
    desktop.press("Details")?;
    desktop.seen(&access, "the program's page", |tree| {
        tree.0.iter().any(|it| it.role == "label" && it.name.contains(&path))
    })?;
    let opened = desktop.opened()?;
    ensure(opened == ["--program", &number], || format!("Details opens the window with {opened:?}"))?;
    // Twice changed, in one toast that takes the place of its own: what is said of it is said of both.
    for count in 2..=3 {
        change(lab)?;
        wait_own(&desktop, "d04-button", count)?;
    }
    desktop.press("Expected")?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?;
        let left = events.iter().filter(|event| event.acknowledged != Some(true)).count();
        ensure(events.len() == 3 && left == 0, || format!("{left} of {} are unread", events.len()))
    })?;
    ensure(!desktop.has_owner("org.picosnitch.Picosnitch"), || "Expected opened the window".into())
}

fn n05(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "n05-desktop", true)?;
    ready(lab, &stage, &mut desktop)?;
    let program = lab.programs.make("n05-<b>x<i>&\u{202e}gpj\n_e")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let toasts = wait_own(&desktop, "n05-", 1)?;
    let hidden = |text: &str| text.chars().any(|c| c != '\n' && picosnitch_api::inert::is_hidden(c));
    let toast = &toasts[0];
    ensure(!hidden(&toast.title) && !toast.title.contains('\n'), || format!("title {:?}", toast.title))?;
    // dunst reads markup in the text, and in the title none.
    ensure(toast.body.contains("n05-&lt;b&gt;x&lt;i&gt;&amp;"), || format!("text {:?}", toast.body))?;
    ensure(!hidden(&toast.body) && !toast.body.contains("\n_e"), || format!("text {:?}", toast.body))?;
    let menu = desktop.menu()?;
    let item = menu.iter().find(|(_, text)| text.starts_with("n05-")).ok_or_else(|| format!("{menu:?}"))?;
    ensure(item.1.contains("<b>x<i>&") && item.1.contains("\\n_e"), || format!("menu {:?}", item.1))?;
    ensure(!hidden(&item.1) && !item.1.contains('\n'), || format!("menu {:?}", item.1))?;
    let tip = desktop.tooltip()?;
    ensure(!hidden(&tip) && !tip.contains("<b>"), || format!("tooltip {tip:?}"))?;
    // In the window: a list, and the page of the program.
    let number = event(&stage, &program.to_string_lossy())?.executable.ok_or("no executable")?.to_string();
    let pages: [&[&str]; 3] = [&["--page", "timeline"], &["--page", "programs"], &["--program", &number]];
    for page in pages {
        desktop.window(page, &[])?;
        let access = desktop.access()?;
        let is_whole = |text: &str| text.contains("n05-<b>x<i>&") && text.contains("\\n_e");
        let tree = desktop.seen(&access, "the program", |tree| {
            tree.0.iter().any(|it| it.role == "label" && is_whole(&it.name))
        })?;
        // The name of a process is no longer than 15 bytes.
        for text in tree.0.iter().map(|it| it.name.as_str()).filter(|text| text.contains("n05-")) {
            ensure(text.contains("n05-<b>x<i>&") && !hidden(text) && !text.contains("\n_e"), || {
                format!("{page:?} shows {text:?}")
            })?;
        }
    }
    Ok(())
}
