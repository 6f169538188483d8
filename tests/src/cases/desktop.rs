// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what a person sees, on a real X server with a real panel and a real notification daemon.

use std::time::Duration;

use picosnitch_api::Query;

use super::Case;
use super::expect::PATIENCE;
use super::verdicts::{start_scanner, verdict_becomes, virustotal};
use crate::lab::client::settle;
use crate::lab::desktop::{Desktop, Toast};
use crate::lab::program::report;
use crate::lab::scanner;
use crate::lab::tools::until;
use crate::lab::{Lab, Outcome, Stage, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "D01", title: "the tray in a panel: icon, unread, tooltip, menu", run: d01 },
    Case { id: "D02", title: "no panel: notices still arrive", run: d02 },
    Case { id: "D03", title: "the daemon stops and starts: the tray says so", run: d03 },
    Case { id: "D04", title: "a toast says who and whom, opens, mutes, is replaced", run: d04 },
    Case { id: "D04", title: "a scanner finds a program suspicious: a toast that stays", run: d04_verdict },
    Case { id: "D04", title: "what was seen in a pause is not told after it", run: d04_seen },
    Case { id: "N03", title: "many new programs: one digest", run: n03 },
    Case { id: "N03", title: "the first day: one summary, no program by itself", run: n03_first_day },
    Case { id: "N04", title: "a muted program: recorded, no toast, not even the first", run: n04 },
    Case { id: "N08", title: "two people logged in: each is told their own and the system's", run: n08 },
    Case { id: "N07", title: "what came while nobody was there is told once", run: n07 },
];

/// The first day is silent by default; here it is not.
pub(super) const AT_ONCE: &[&str] = &["--announce-at-once"];

pub(super) fn desktop(lab: &mut Lab, name: &str, panel: bool) -> Outcome<(Stage, Desktop)> {
    let stage = lab.stage(name, "")?;
    let desktop = Desktop::start(&lab.new_dir(name)?, &stage.bus.address, panel)?;
    Ok((stage, desktop))
}

/// The other end is known and told before a case begins, so that the toasts are about its own programs.
pub(super) fn ready(lab: &mut Lab, stage: &Stage, desktop: &mut Desktop) -> Outcome {
    report(lab.programs.make("desktop-before")?, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || ensure(!stage.client.events(&Query::default())?.is_empty(), || "no event".into()))?;
    std::thread::sleep(Duration::from_secs(1));
    desktop.tray(AT_ONCE)?;
    wait_toasts(desktop, |toasts| !toasts.is_empty())?;
    desktop.clear()
}

pub(super) fn wait_toasts(desktop: &Desktop, what: impl Fn(&[Toast]) -> bool) -> Outcome<Vec<Toast>> {
    settle(PATIENCE, || {
        let toasts = desktop.toasts();
        ensure(what(&toasts), || format!("toasts: {toasts:?}; {}", desktop.tray_log()))
    })?;
    Ok(desktop.toasts())
}

/// At least so many toasts about the case's own programs: the daemon sees the whole machine.
pub(super) fn wait_own(desktop: &Desktop, name: &str, count: usize) -> Outcome<Vec<Toast>> {
    let own = |toasts: &[Toast]| -> Vec<Toast> {
        toasts.iter().filter(|toast| toast.title.contains(name)).cloned().collect()
    };
    wait_toasts(desktop, |toasts| own(toasts).len() >= count).map(|toasts| own(&toasts))
}

pub(super) fn tooltip_says(desktop: &Desktop, text: &str) -> Outcome {
    settle(PATIENCE, || {
        let tip = desktop.tooltip()?;
        ensure(tip.contains(text), || format!("the tooltip says {tip:?} and not {text:?}"))
    })
}

fn d01(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d01", true)?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "Watching")?;
    let program = lab.programs.make("d01-fresh")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    tooltip_says(&desktop, "unread")?;
    settle(PATIENCE, || ensure(desktop.badge()?, || "the icon says of nothing that it is unread".into()))?;
    let menu = desktop.menu()?;
    for label in [
        "Latest programs",
        "d01-fresh",
        "Open History",
        "Timeline (",
        "Mark All as Seen",
        "For 1 Hour",
        "Until Tomorrow",
        "Settings",
        "About",
        "Quit",
    ] {
        ensure(menu.iter().any(|(_, text)| text.starts_with(label)), || format!("no {label:?} in {menu:?}"))?;
    }
    desktop.click("Mark All as Seen")?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        ensure(events.iter().all(|event| event.acknowledged == Some(true)), || "not marked as seen".into())
    })?;
    settle(PATIENCE, || ensure(!desktop.tooltip()?.contains("unread"), || "still unread".into()))?;
    settle(PATIENCE, || ensure(!desktop.badge()?, || "the icon says that something is unread".into()))?;
    desktop.click("For 1 Hour")?;
    tooltip_says(&desktop, "Notifications are paused")?;
    let before = desktop.toasts().len();
    report(lab.programs.make("d01-hushed")?, &["tcp-echo", &lab.net.to()])?;
    tooltip_says(&desktop, "unread")?;
    ensure(desktop.toasts().len() == before, || "a toast in the pause".into())?;
    desktop.click("Resume Notifications")?;
    // What the panel hands over so that the window may come to the front reaches the window.
    desktop.provide_token("lab-token-7")?;
    desktop.click("Open History")?;
    let window = "org.picosnitch.Picosnitch";
    settle(PATIENCE, || ensure(desktop.has_owner(window), || format!("no window: {}", desktop.tray_log())))?;
    let variables = std::fs::read(format!("/proc/{}/environ", desktop.pid_of(window)?))?;
    let token = b"XDG_ACTIVATION_TOKEN=lab-token-7";
    ensure(variables.split(|byte| *byte == 0).any(|it| it == token), || "the window has no token".into())?;
    desktop.click("Quit")?;
    settle(PATIENCE, || ensure(!desktop.tray_runs(), || "it did not quit".into()))
}

fn d02(lab: &mut Lab) -> Outcome {
    let (_stage, mut desktop) = desktop(lab, "d02", false)?;
    desktop.tray(AT_ONCE)?;
    let program = lab.programs.make("d02-fresh")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    wait_toasts(&desktop, |toasts| {
        // By itself, or in the digest of what came before the tray was ready.
        toasts.iter().any(|toast| toast.title.contains("d02-fresh") || toast.body.contains("d02-fresh"))
    })?;
    ensure(desktop.tray_runs(), || format!("the tray ended: {}", desktop.tray_log()))
}

fn d03(lab: &mut Lab) -> Outcome {
    let (mut stage, mut desktop) = desktop(lab, "d03", true)?;
    stage.daemon.stop()?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "not running")?;
    stage.daemon.launch_again()?;
    tooltip_says(&desktop, "Watching")?;
    stage.daemon.stop()?;
    tooltip_says(&desktop, "systemctl start")?;
    stage.daemon.launch_again()?;
    tooltip_says(&desktop, "Watching")?;
    report(lab.programs.make("d03-fresh")?, &["tcp-echo", &lab.net.to()])?;
    wait_toasts(&desktop, |toasts| toasts.iter().any(|toast| toast.title.contains("d03-fresh")))?;
    Ok(())
}

fn d04(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "d04", true)?;
    ready(lab, &stage, &mut desktop)?;
    let program = lab.programs.make("d04-fresh")?;
    let path = program.to_string_lossy().into_owned();
    let to = lab.net.to();
    report(&program, &["tcp-echo", &to])?;
    let toasts = wait_own(&desktop, "d04-", 1)?;
    let first = &toasts[0];
    let address = to.trim_start_matches("to=");
    let starter = std::env::current_exe()?;
    let starter = starter.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for part in [
        format!("First contact {address}, tcp port 7001\n"),
        path.clone(),
        format!("Started by {starter} as root"),
    ] {
        ensure(first.body.contains(&part), || format!("no {part:?} in {:?}", first.body))?;
    }
    ensure(first.title.contains("d04-fresh"), || format!("title {:?}", first.title))?;
    ensure(first.desktop_entry == "org.picosnitch.Picosnitch", || "no desktop entry".into())?;
    for action in ["Details", "Expected", "Mute"] {
        ensure(first.actions.iter().any(|known| known == action), || format!("no {action}"))?;
    }
    // Another content: the same toast says it.
    let change = |lab: &Lab| -> Outcome {
        let fresh = program.with_extension("fresh");
        lab.programs.write(&fresh, &lab.programs.content())?;
        std::fs::rename(&fresh, &program)?;
        report(&program, &["tcp-echo", &to])?;
        Ok(())
    };
    change(lab)?;
    let toasts = wait_own(&desktop, "d04-", 2)?;
    // The lab's programs are in /tmp.
    ensure(toasts[1].title.starts_with("Changed, in a temporary place: d04-fresh"), || {
        format!("{:?}", toasts[1])
    })?;
    ensure(toasts[1].replaces != 0, || "it is stacked, not replaced".into())?;
    // A click on it opens the window at that program, however soon it comes.
    desktop.press("")?;
    let window = "org.picosnitch.Picosnitch";
    settle(PATIENCE, || ensure(desktop.has_owner(window), || format!("no window: {}", desktop.tray_log())))?;
    // What was answered goes: its buttons would do nothing.
    settle(PATIENCE, || {
        let gone = desktop.gone()?;
        ensure(gone.iter().any(|title| title.starts_with("Changed, in a temporary place: d04-fresh")), || {
            format!("only {gone:?} are gone")
        })
    })?;
    // Muted: recorded, no toast.
    change(lab)?;
    let told = wait_own(&desktop, "d04-", 3)?.len();
    desktop.press("Mute")?;
    let events = |stage: &Stage| -> Outcome<usize> {
        Ok(stage.client.events(&Query { path: Some(path.clone()), ..Query::default() })?.len())
    };
    settle(PATIENCE, || {
        let quiet =
            std::fs::read_to_string(desktop.home().join(".config/picosnitch/quiet")).unwrap_or_default();
        ensure(quiet.contains(&format!("mute {path}")), || format!("Mute was not heard: {quiet:?}"))
    })?;
    let before = events(&stage)?;
    change(lab)?;
    settle(PATIENCE, || ensure(events(&stage)? == before + 1, || "the change is not on record".into()))?;
    // Another one is told after it: so the muted one was decided on before.
    report(lab.programs.make("d04-other")?, &["tcp-echo", &to])?;
    wait_own(&desktop, "d04-other", 1)?;
    let toasts = wait_own(&desktop, "d04-fresh", told)?;
    ensure(toasts.len() == told, || format!("a toast about a muted program: {toasts:?}"))
}

fn d04_verdict(lab: &mut Lab) -> Outcome {
    let none = serde_json::json!({"status": 500, "body": {}});
    let (scanner, authority) = start_scanner(lab, "d04-scanner", &[scanner::report(3, 1, 72)], &[none])?;
    let stage = lab.stage("d04-verdict", &virustotal(&scanner, &authority, ""))?;
    let mut desktop = Desktop::start(&lab.new_dir("d04-verdict")?, &stage.bus.address, true)?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "Watching")?;
    let program = lab.programs.make("d04-suspicious")?;
    let path = program.to_string_lossy().into_owned();
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let words = "4 of 72 engines (2026-09-21)";
    verdict_becomes(&stage, &path, words)?;
    let of = |toasts: &[Toast]| {
        toasts.iter().find(|toast| toast.title.starts_with("Suspicious: d04-suspicious")).cloned()
    };
    let toasts = wait_toasts(&desktop, |toasts| of(toasts).is_some())?;
    let toast = of(&toasts).ok_or("gone")?;
    for part in [format!("Found harmful or suspicious by {words}"), path] {
        ensure(toast.body.contains(&part), || format!("no {part:?} in {:?}", toast.body))?;
    }
    ensure(toast.critical, || format!("it goes by itself: {toast:?}"))?;
    // Nobody expects harm.
    let has = |word: &str| toast.actions.iter().any(|known| known == word);
    ensure(has("Details") && !has("Expected"), || format!("its buttons are {:?}", toast.actions))?;
    desktop.picture("verdict");
    // The tray looks at it, and the window asks for a look.
    desktop.window(&[], &[])?;
    let access = desktop.access()?;
    desktop.seen(&access, "that something is suspicious", |tree| {
        tree.0.iter().any(|it| it.role == "label" && it.name.contains("suspicious program"))
    })?;
    desktop.picture("verdict-window");
    Ok(())
}

fn d04_seen(lab: &mut Lab) -> Outcome {
    let none = serde_json::json!({"status": 500, "body": {}});
    let (scanner, authority) = start_scanner(lab, "d04-seen", &[scanner::report(3, 1, 72)], &[none])?;
    let stage = lab.stage("d04-seen-stage", &virustotal(&scanner, &authority, ""))?;
    let mut desktop = Desktop::start(&lab.new_dir("d04-seen-desktop")?, &stage.bus.address, true)?;
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "Watching")?;
    desktop.click("For 1 Hour")?;
    tooltip_says(&desktop, "Notifications are paused")?;
    let mut id = 0;
    for name in ["d04-bad", "d04-looked-at"] {
        let program = lab.programs.make(name)?;
        report(&program, &["tcp-echo", &lab.net.to()])?;
        let about = Query { path: Some(program.to_string_lossy().into_owned()), ..Query::default() };
        settle(Duration::from_secs(30), || {
            let events = stage.client.events(&about)?;
            let verdict = events.iter().find(|row| row.kind.as_deref() == Some("verdict"));
            id = verdict.and_then(|row| row.id).ok_or("no verdict on record")?;
            Ok(())
        })?;
    }
    // The tray has heard of both.
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        let unread = events.iter().filter(|row| row.acknowledged != Some(true)).count();
        let tip = desktop.tooltip()?;
        ensure(tip.contains(&format!("{unread} unread")), || format!("{unread} are unread, it says {tip:?}"))
    })?;
    stage.client.call(|client| async move { client.acknowledge(&[id]).await })?;
    desktop.click("Resume Notifications")?;
    // Its own toast, or a place in the digest when the lab's own programs had the minute's toasts first.
    let names = |toast: &Toast, name: &str| toast.title.contains(name) || toast.body.contains(name);
    wait_toasts(&desktop, |toasts| toasts.iter().any(|toast| names(toast, "d04-bad")))?;
    // The newest is told first.
    let toasts = desktop.toasts();
    let seen = toasts.iter().any(|toast| names(toast, "d04-looked-at"));
    ensure(!seen, || format!("what was seen is told: {toasts:?}"))
}

fn n03(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "n03", true)?;
    ready(lab, &stage, &mut desktop)?;
    // Programs of the system's own folders, not of a temporary one.
    let dir = tempfile::Builder::new().prefix("picosnitch-lab-").tempdir_in("/opt")?;
    let to = lab.net.to();
    for number in 0..30 {
        let program = dir.path().join(format!("n03-{number:02}"));
        lab.programs.make_at(&program)?;
        report(&program, &["tcp-echo", &to])?;
    }
    settle(PATIENCE, || {
        let events = stage.client.events(&Query { limit: Some(100), ..Query::default() })?.len();
        ensure(events >= 30, || format!("{events} events"))
    })?;
    let toasts = wait_toasts(&desktop, |toasts| {
        toasts.last().is_some_and(|toast| toast.title.contains("new programs") && toast.body.contains("more"))
    })?;
    ensure(toasts.len() <= 8, || format!("{} toasts for 30 programs: {toasts:?}", toasts.len()))?;
    let alone = toasts.iter().filter(|toast| toast.title.starts_with("New on")).count();
    ensure(alone <= 2, || format!("{alone} programs were told one by one: {toasts:?}"))
}

fn n03_first_day(lab: &mut Lab) -> Outcome {
    const PROGRAMS: usize = 12;
    let (stage, mut desktop) = desktop(lab, "n03-first", true)?;
    let dir = tempfile::Builder::new().prefix("picosnitch-lab-").tempdir_in("/opt")?;
    let to = lab.net.to();
    let started = |numbers: std::ops::Range<usize>| -> Outcome {
        for number in numbers {
            let program = lab.programs.make_at(&dir.path().join(format!("n03-first-{number:02}")))?;
            report(&program, &["tcp-echo", &to])?;
        }
        Ok(())
    };
    // Some before the login, some after it.
    started(0..PROGRAMS / 2)?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query { limit: Some(100), ..Query::default() })?.len();
        ensure(events >= PROGRAMS / 2, || format!("{events} events"))
    })?;
    desktop.tray(&[])?;
    tooltip_says(&desktop, "Watching")?;
    started(PROGRAMS / 2..PROGRAMS)?;
    // A tray that has just started may not have listened yet: it looks when there is something on record.
    let before = lab.programs.make_at(&dir.path().join("n03-first-more"))?;
    settle(PATIENCE, || {
        report(&before, &["tcp-echo", &to])?;
        let unread = stage.client.events(&Query { limit: Some(100), ..Query::default() })?.len();
        let tip = desktop.tooltip()?;
        ensure(tip.contains(&format!("{unread} unread")), || format!("{unread} are unread, it says {tip:?}"))
    })?;
    let summaries = |toasts: &[Toast]| -> Vec<Toast> {
        toasts.iter().filter(|toast| toast.title.starts_with("Watching ")).cloned().collect()
    };
    // It comes half a minute after the first of them.
    settle(Duration::from_secs(60), || {
        let toasts = desktop.toasts();
        ensure(!summaries(&toasts).is_empty(), || format!("no summary: {toasts:?}; {}", desktop.tray_log()))
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let toasts = desktop.toasts();
    let summaries = summaries(&toasts);
    let [summary] = &summaries[..] else { return Err(format!("more than one summary: {toasts:?}").into()) };
    let count = summary.title.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
    ensure(count >= PROGRAMS, || format!("of {PROGRAMS} programs: {toasts:?}"))?;
    ensure(!format!("{toasts:?}").contains("n03-first-"), || format!("told by itself: {toasts:?}"))
}

fn n04(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "n04", false)?;
    let (muted, loud) = (lab.programs.make("n04-muted")?, lab.programs.make("n04-loud")?);
    let file = desktop.home().join(".config/picosnitch/quiet");
    std::fs::create_dir_all(file.parent().ok_or("no folder")?)?;
    std::fs::write(&file, format!("mute {}\n", muted.display()))?;
    ready(lab, &stage, &mut desktop)?;
    let to = lab.net.to();
    report(&muted, &["tcp-echo", &to])?;
    // The other one is told after it: so the muted one was decided on before.
    report(&loud, &["tcp-echo", &to])?;
    let toasts = wait_toasts(&desktop, |toasts| toasts.iter().any(|toast| toast.title.contains("n04-loud")))?;
    ensure(!toasts.iter().any(|toast| format!("{toast:?}").contains("n04-muted")), || format!("{toasts:?}"))?;
    let path = Some(muted.to_string_lossy().into_owned());
    let events = stage.client.events(&Query { path: path.clone(), ..Query::default() })?;
    ensure(events.len() == 1, || format!("{} events of the muted program", events.len()))?;
    settle(PATIENCE, || {
        let rows = stage.client.connections(&Query { path: path.clone(), ..Query::default() })?;
        ensure(!rows.is_empty(), || "no connection of the muted program on record".into())
    })
}

fn n08(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("n08", "")?;
    let people = [User::get("alice")?, User::get("bob")?];
    let mut desktops = Vec::new();
    for person in &people {
        let dir = lab.new_dir(&format!("n08-{}", person.name))?;
        let mut desktop = Desktop::of(Some(person), &dir, &stage.bus.address, false)?;
        desktop.tray(AT_ONCE)?;
        desktops.push(desktop);
    }
    let to = lab.net.to();
    // A program of the system (root's), which both are told, then one of each.
    // A tray that has just started may not listen yet: another one is tried then.
    let heard = |desktop: &Desktop| format!("{:?}", desktop.toasts()).contains("n08-of-root");
    for _ in 0..5 {
        report(lab.programs.make("n08-of-root")?, &["tcp-echo", &to])?;
        if until(Duration::from_secs(4), || desktops.iter().all(heard)) {
            break;
        }
    }
    for desktop in &desktops {
        wait_toasts(desktop, |toasts| format!("{toasts:?}").contains("n08-of-root"))?;
    }
    for person in &people {
        let program = lab.programs.make(&format!("n08-of-{}", person.name))?;
        let status =
            person.command(&program).args(["tcp-echo", &to]).stdout(std::process::Stdio::null()).status()?;
        ensure(status.success(), || format!("the program of {} failed", person.name))?;
    }
    for (person, desktop) in people.iter().zip(&desktops) {
        let own = format!("n08-of-{}", person.name);
        let toasts = wait_toasts(desktop, |toasts| format!("{toasts:?}").contains(&own))?;
        let other =
            people.iter().find(|other| other.name != person.name).map(|it| format!("n08-of-{}", it.name));
        let told = other.is_some_and(|other| format!("{toasts:?}").contains(&other));
        ensure(!told, || format!("{} was told of another's program: {toasts:?}", person.name))?;
    }
    Ok(())
}

fn n07(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop) = desktop(lab, "n07", true)?;
    for number in 0..4 {
        report(lab.programs.make(&format!("n07-{number}"))?, &["tcp-echo", &lab.net.to()])?;
    }
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?.len();
        ensure(events >= 4, || format!("{events} events"))
    })?;
    desktop.tray(AT_ONCE)?;
    let toasts = wait_toasts(&desktop, |toasts| !toasts.is_empty())?;
    ensure(toasts[0].title.contains("notices while you were away"), || format!("{toasts:?}"))?;
    // A second login tells only what came since.
    tooltip_says(&desktop, "unread")?;
    desktop.stop_tray();
    desktop.tray(AT_ONCE)?;
    tooltip_says(&desktop, "unread")?;
    std::thread::sleep(Duration::from_secs(1));
    ensure(desktop.toasts().len() == toasts.len(), || format!("told twice: {:?}", desktop.toasts()))
}
