// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what the window says is so: whose rows are shown, what is searched, what is unread, and whether the monitor
//! is there.

use std::time::Duration;

use nix::sys::signal::Signal;
use picosnitch_api::{Query, name};

use super::Case;
use super::expect::{PATIENCE, rows_of};
use super::window::{OVERVIEW, click, open, press, rows, title};
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::{report, reports_of};
use crate::lab::{Access, Calls, Lab, Outcome, Tree, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        id: "D08",
        title: "everybody's rows: polkit asks once, a refusal changes nothing, a permission that ends is told",
        run: d08_everybody,
    },
    Case { id: "D05", title: "a search stands in its entry wherever it comes from", run: d05_search },
    Case {
        id: "D05",
        title: "a search that is opened right after Clear takes what is typed",
        run: d05_again,
    },
    Case { id: "D05", title: "what is unread is found, and goes when others saw it", run: d05_unread },
    Case {
        id: "D05",
        title: "the banner: not for who is muted; a pause is told and ended from it",
        run: d05_banner,
    },
    Case { id: "D03", title: "the monitor goes and comes: each page of the window says so", run: d03_window },
    Case {
        id: "D03",
        title: "a monitor that hangs and time that goes by: the window says so",
        run: d03_hangs,
    },
];

/// The list of what is new.
const TIMELINE: &str = "Timeline";
/// The footer, while only one's own rows and the system's are shown.
const MINE: &str = "Showing your programs and those of the system.";
/// And while everybody's are.
const ALL: &str = "Showing the programs of everybody.";

/// How often polkit was told to ask for a password so that everybody's rows may be seen.
fn asked(calls: &Calls) -> usize {
    let read_any = |call: &serde_json::Value| call[1] == name::action::READ_ANY;
    let asks = |call: &serde_json::Value| call[3].as_u64().is_some_and(|flags| flags & 1 == 1);
    calls.arguments().iter().filter(|call| read_any(call) && asks(call)).count()
}

fn begins(tree: &Tree, text: &str) -> bool {
    tree.0.iter().any(|it| it.role == "label" && it.name.starts_with(text))
}

fn d08_everybody(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d08-all", "")?;
    let (alice, bob) = (User::get("alice")?, User::get("bob")?);
    let mut made = Vec::new();
    for user in [&alice, &bob] {
        let program = lab.programs.make(&format!("d08-{}", user.name))?;
        reports_of(user.command(&program).args(["tcp-echo", &lab.net.to()]))?;
        let path = program.to_string_lossy().into_owned();
        settle(PATIENCE, || {
            ensure(!rows_of(&stage.client, &path)?.is_empty(), || "not on record".to_owned())
        })?;
        made.push(program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    }
    let (mine, his) = (made[0].as_str(), made[1].as_str());
    let calls = stage.bus.listen("CheckAuthorization")?;
    let mut desktop = Desktop::of(Some(&alice), &lab.new_dir("d08-all")?, &stage.bus.address, false)?;
    desktop.window(&[], &[])?;
    let access = desktop.access()?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    sees("alice's program", &|tree| rows(tree, OVERVIEW).contains(&mine) && begins(tree, MINE))?;
    // Nobody gives a password.
    press(&desktop, &access, "push button", "Show All Users")?;
    sees("a refusal", &|tree| {
        tree.0.iter().any(|it| it.name == "Permission to see all users was not given.")
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let tree = access.tree()?;
    ensure(begins(&tree, MINE) && !begins(&tree, ALL), || {
        format!("refused, and the window says {:?}", tree.0.iter().map(|it| &it.name).collect::<Vec<_>>())
    })?;
    ensure(asked(&calls) == 1, || format!("polkit was asked {} times for one refusal", asked(&calls)))?;
    // The list of programs says as well what it hides.
    desktop.input(&["key", "alt+2"])?;
    sees("what is hidden", &|tree| {
        title(tree) == "Programs"
            && rows(tree, "Programs").contains(&mine)
            && tree.0.iter().any(|it| it.name.starts_with(MINE) && it.name.contains("not shown"))
    })?;
    // With a permission they are shown; when it ends, that is said, and nobody is asked.
    stage.bus.allow(&alice.name, &[name::action::READ_ANY])?;
    settle(PATIENCE, || {
        press(&desktop, &access, "push button", "Show All Users")?;
        std::thread::sleep(Duration::from_secs(1));
        let tree = access.tree()?;
        ensure(begins(&tree, ALL) && rows(&tree, "Programs").contains(&his), || "not shown".to_owned())
    })?;
    stage.bus.allow(&alice.name, &[])?;
    let before = asked(&calls);
    settle(PATIENCE * 2, || {
        desktop.input(&["key", "F5"])?;
        let tree = access.tree()?;
        ensure(begins(&tree, MINE) && !begins(&tree, ALL), || {
            format!("the permission has ended: {:?}", tree.0.iter().map(|it| &it.name).collect::<Vec<_>>())
        })
    })?;
    sees("alice's alone", &|tree| {
        let rows = rows(tree, "Programs");
        rows.contains(&mine) && !rows.contains(&his)
    })?;
    ensure(asked(&calls) == before, || "polkit was asked for a password when a permission ended".into())
}

/// What the entry of the search says, if it can be seen.
fn searched(access: &Access) -> Outcome<Option<String>> {
    let tree = access.tree()?;
    let entry = tree.find("entry", "Search").ok_or("no entry")?;
    let text = access.text(entry)?;
    // The button that opens the entry is on while it is open.
    Ok(tree.0.iter().any(|it| it.name == "Search" && (it.pressed || it.checked)).then_some(text))
}

fn d05_search(lab: &mut Lab) -> Outcome {
    let (_stage, mut desktop, access, [one, two]) = open(lab, "d05-search")?;
    let says = |wanted: Option<&str>| {
        settle(PATIENCE, || {
            let said = searched(&access)?;
            ensure(said.as_deref().filter(|text| !text.is_empty()) == wanted, || {
                format!("the entry says {said:?} and not {wanted:?}")
            })
        })
    };
    let only = |desktop: &Desktop, table: &str, with: bool| {
        desktop.seen(&access, "what is searched for", |tree| {
            let rows = rows(tree, table);
            rows.contains(&two.as_str()) && rows.contains(&one.as_str()) != with
        })
    };
    // From the command line.
    desktop.window(&["--filter", &two], &[])?;
    only(&desktop, OVERVIEW, true)?;
    says(Some(&two))?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    only(&desktop, OVERVIEW, false)?;
    says(None)?;
    // Typed on one page, it is left behind by Back, and comes again with a page that was searched.
    desktop.input(&["key", "alt+2"])?;
    only(&desktop, "Programs", false)?;
    desktop.input(&["key", "ctrl+f"])?;
    desktop.input(&["type", &two])?;
    only(&desktop, "Programs", true)?;
    desktop.input(&["key", "alt+1"])?;
    only(&desktop, OVERVIEW, true)?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    only(&desktop, OVERVIEW, false)?;
    desktop.input(&["key", "alt+Left"])?;
    only(&desktop, "Programs", true)?;
    says(Some(&two))?;
    desktop.input(&["key", "alt+Left"])?;
    only(&desktop, OVERVIEW, false)?;
    says(None)?;
    // What is not understood is not asked for, neither as if it were not there.
    desktop.input(&["key", "ctrl+f"])?;
    desktop.input(&["type", "port:https"])?;
    desktop.seen(&access, "that it is not understood", |tree| {
        page_says(tree, OVERVIEW, "The filters are not understood")
    })?;
    Ok(())
}

fn d05_again(lab: &mut Lab) -> Outcome {
    let (_stage, desktop, access, [one, two]) = open(lab, "d05-again")?;
    let sees = |what: &str, with_one: bool, with_two: bool| {
        desktop.seen(&access, what, |tree| {
            let rows = rows(tree, "Programs");
            rows.contains(&one.as_str()) == with_one && rows.contains(&two.as_str()) == with_two
        })
    };
    desktop.seen(&access, "the overview", |tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    desktop.input(&["key", "alt+2"])?;
    for _ in 0..5 {
        sees("both programs", true, true)?;
        click(&desktop, &access, "Programs", &one, "1")?;
        desktop.input(&["key", "shift+F10"])?;
        press(&desktop, &access, "push button", "Only Program: ")?;
        sees("the one", true, false)?;
        // As fast as somebody can who knows the keys.
        desktop.input(&["key", "ctrl+shift+f", "ctrl+f", "type", &two])?;
        sees("what is searched for", false, true)?;
        desktop.input(&["key", "ctrl+shift+f"])?;
    }
    Ok(())
}

fn d05_banner(lab: &mut Lab) -> Outcome {
    let (stage, desktop, access, [one, _]) = open(lab, "d05-banner")?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    let dir = lab.programs.dir().to_path_buf();
    let path = dir.join(&one);
    lab.programs.write(&path, &lab.programs.content())?;
    report(&path, &["tcp-echo", &lab.net.to()])?;
    sees("a change", &|tree| {
        tree.says("1 program changed.") && tree.find("push button", "Review").is_some()
    })?;
    // Who is told nothing of it by the tray is asked to do nothing by the window.
    let own = desktop.home().join(".config/picosnitch");
    std::fs::create_dir_all(&own)?;
    std::fs::write(own.join("quiet"), format!("expect {}\n", path.display()))?;
    desktop.input(&["key", "F5"])?;
    sees("nothing to do", &|tree| tree.find("push button", "Review").is_none())?;
    stage.client.call(|client| async move { client.pause(3600).await })?;
    sees("a pause", &|tree| begins(tree, "The record is paused until "))?;
    press(&desktop, &access, "push button", "Resume")?;
    sees("that it goes on", &|tree| {
        begins(tree, "Recording") && tree.find("push button", "Resume").is_none()
    })?;
    let status = stage.client.call(|client| async move { client.status().await })?;
    ensure(status.state.as_deref() == Some("watching"), || format!("it is {:?}", status.state))
}

/// Chooses a time, by the keyboard.
fn choose(desktop: &Desktop, access: &Access, from: &str, to: &str) -> Outcome {
    desktop.input(&["key", "ctrl+t"])?;
    let tree = desktop.seen(access, "From", |tree| tree.find("entry", "From").is_some())?;
    settle(PATIENCE, || {
        desktop.input(&["key", "Tab"])?;
        std::thread::sleep(Duration::from_millis(100));
        let focus = access.focus(&tree).map(|it| it.name.clone());
        ensure(focus.as_deref() == Some("From"), || format!("the keyboard is at {focus:?}"))
    })?;
    for text in [from, to] {
        desktop.input(&["key", "ctrl+a", "Delete"])?;
        if !text.is_empty() {
            desktop.input(&["type", text])?;
        }
        desktop.input(&["key", if text == from { "Tab" } else { "Return" }])?;
    }
    desktop.seen(access, "that time", |tree| {
        tree.find("push button", "Time range: Last").is_none()
            && tree.find("push button", "Time range").is_some()
    })?;
    Ok(())
}

fn d05_unread(lab: &mut Lab) -> Outcome {
    let (stage, desktop, access, [one, two]) = open(lab, "d05-unread")?;
    // The file of the first changes.
    let dir = lab.programs.dir().to_path_buf();
    lab.programs.write(&dir.join(&one), &lab.programs.content())?;
    report(dir.join(&one), &["tcp-echo", &lab.net.to()])?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    sees("that it changed", &|tree| tree.says("1 program changed."))?;
    // A time and a search in which there is nothing: Review leads to it all the same.
    desktop.input(&["key", "alt+4"])?;
    choose(&desktop, &access, "2020-01-01", "2020-01-02")?;
    desktop.input(&["key", "ctrl+f"])?;
    desktop.input(&["type", "nothing-like-this"])?;
    sees("nothing", &|tree| page_says(tree, TIMELINE, "Nothing here"))?;
    desktop.input(&["key", "alt+1"])?;
    press(&desktop, &access, "push button", "Review")?;
    sees("what changed, as unread", &|tree| {
        let rows = rows(tree, TIMELINE);
        title(tree) == TIMELINE
            && tree.find("push button", "Time range: Last 24 hours").is_some()
            && !page_says(tree, TIMELINE, "Nothing here")
            && rows.contains(&format!("{one} changed").as_str())
            && rows.contains(&"unread")
    })?;
    // Somebody else has seen one of them: it is not unread here either once one looks again.
    let events = stage.client.events(&Query::default())?;
    let ids: Vec<i64> = events.iter().filter_map(|event| event.id).collect();
    stage.client.call(|client| async move { client.acknowledge(&ids).await })?;
    desktop.input(&["key", "alt+1"])?;
    desktop.input(&["key", "F5"])?;
    sees("no banner", &|tree| title(tree) == "Overview" && !tree.says("1 program changed."))?;
    // The list of what is new is read again after a double click and what came meanwhile.
    desktop.input(&["key", "alt+4"])?;
    click(&desktop, &access, TIMELINE, &format!("{one} changed"), "2")?;
    sees("the program", &|tree| title(tree) == "Program")?;
    let fresh = lab.programs.make("d05-later")?;
    let later = fresh.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    report(&fresh, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        let known =
            events.iter().filter_map(|event| event.path.as_deref()).any(|path| path.ends_with(&later));
        ensure(known, || "no notice of it".to_owned())
    })?;
    // The pointer would hold the list.
    desktop.input(&["mousemove", "1190", "790", "key", "alt+Left"])?;
    let new = format!("New on the network: {later}");
    sees("what came meanwhile", &|tree| {
        title(tree) == TIMELINE && rows(tree, TIMELINE).contains(&new.as_str())
    })?;
    let _ = two;
    Ok(())
}

/// How long a page waits for an answer, and some.
const LIMIT: Duration = Duration::from_secs(45);
/// In this time `now` becomes minutes.
const MINUTES: Duration = Duration::from_secs(110);

fn d03_hangs(lab: &mut Lab) -> Outcome {
    let (stage, desktop, access, [one, _]) = open(lab, "d03-hangs")?;
    desktop.seen(&access, "the overview", |tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    desktop.input(&["key", "alt+4"])?;
    let ages = |tree: &Tree, text: &str| rows(tree, TIMELINE).iter().any(|row| row.ends_with(text));
    desktop.seen(&access, "what is new now", |tree| ages(tree, "now"))?;
    stage.daemon.signal(Signal::SIGSTOP)?;
    // Nothing is recorded, and nothing asked: only the clock goes on.
    settle(MINUTES, || {
        let tree = access.tree()?;
        ensure(ages(&tree, "min ago") && !ages(&tree, "now"), || format!("{:?}", rows(&tree, TIMELINE)))
    })?;
    desktop.input(&["key", "alt+2"])?;
    settle(LIMIT, || {
        let tree = access.tree()?;
        ensure(page_says(&tree, "Programs", "No answer"), || "it waits for ever".to_owned())
    })?;
    stage.daemon.signal(Signal::SIGCONT)?;
    desktop.input(&["key", "F5"])?;
    desktop.seen(&access, "the programs", |tree| {
        !rows(tree, "Programs").is_empty() && !page_says(tree, "Programs", "No answer")
    })?;
    Ok(())
}

/// The pages with their keys and lists.
const PAGES: [(&str, &str); 5] = [
    ("alt+1", OVERVIEW),
    ("alt+2", "Programs"),
    ("alt+3", "Totals"),
    ("alt+4", TIMELINE),
    ("alt+5", "Connections, newest first"),
];

/// The page that has this table says this. All pages are in the tree, also those that nobody sees.
fn page_says(tree: &Tree, table: &str, text: &str) -> bool {
    let within = |name: &str| {
        let table = tree.0.iter().find(|it| it.role == "tree table" && it.name == name);
        table.map(|it| it.within.clone()).unwrap_or_default()
    };
    let (own, other) = (within(table), within(if table == "Totals" { "Programs" } else { "Totals" }));
    let page = own.iter().find(|at| !other.contains(at));
    tree.0.iter().any(|it| it.name == text && page.is_some_and(|page| it.within.contains(page)))
}

fn d03_window(lab: &mut Lab) -> Outcome {
    let (mut stage, desktop, access, _) = open(lab, "d03-window")?;
    let there =
        |tree: &Tree, table: &str| !rows(tree, table).is_empty() && !page_says(tree, table, "No answer");
    let full = |desktop: &Desktop, table: &str| desktop.seen(&access, table, |tree| there(tree, table));
    for time in ["Last 24 hours", "a time of its own"] {
        if time == "a time of its own" {
            choose(&desktop, &access, "2020-01-01", "")?;
        }
        for (key, table) in PAGES {
            desktop.input(&["key", key])?;
            full(&desktop, table)?;
        }
        stage.daemon.stop()?;
        let all = |tree: &Tree| PAGES.iter().all(|(_, table)| page_says(tree, table, "No answer"));
        desktop.seen(&access, "that it does not run", |tree| tree.says("Not running") && all(tree))?;
        stage.daemon.launch_again()?;
        desktop.seen(&access, "that it runs", |tree| begins(tree, "Recording"))?;
        // Back through all of them, each as it was asked for.
        full(&desktop, PAGES[4].1)?;
        for (_, table) in PAGES.iter().rev().skip(1) {
            desktop.input(&["key", "alt+Left"])?;
            full(&desktop, table)?;
        }
    }
    Ok(())
}
