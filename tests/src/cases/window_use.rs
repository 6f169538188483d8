// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what people do with the window besides looking: pointer on the chart, menus of rows, words that filter, files,
//! times of their own. On a real X server, seen through the accessibility bus.

use std::path::PathBuf;

use picosnitch_api::{Dimension, Query};
use serde_json::Value;

use super::Case;
use super::expect::PATIENCE;
use super::window::{OVERVIEW, click, open, press, rows, says_at, title};
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::report;
use crate::lab::{Access, Lab, Outcome, Stage, Tree, built, ensure, project};

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        id: "D05",
        title: "chart by pointer: numbers, new and changed programs, a closer look",
        run: chart,
    },
    Case { id: "D05", title: "sums of the filters, menu of a row, a time of one's own", run: filters },
    Case { id: "D05", title: "files of every page; what is not there is not exported", run: files },
    Case {
        id: "D05",
        title: "a program's page goes on by itself; actions of the desktop entry",
        run: goes_on,
    },
    Case { id: "D05", title: "the session bus starts the window, and there is one", run: started_by_the_bus },
];

/// Path of the program on record whose file has this name.
fn path_of(stage: &Stage, name: &str) -> Outcome<PathBuf> {
    let page = stage.client.call(|client| async move { client.executables(&Query::default()).await })?;
    let end = format!("/{name}");
    let path = page.rows.into_iter().filter_map(|row| row.path).find(|path| path.ends_with(&end));
    Ok(path.ok_or("the program is not on record")?.into())
}

fn chart(lab: &mut Lab) -> Outcome {
    let (stage, desktop, access, [one, _]) = open(lab, "d05c")?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    // The same file with other content.
    let path = path_of(&stage, &one)?;
    let mut content = std::fs::read(&path)?;
    content.extend_from_slice(b"changed");
    std::fs::write(&path, content)?;
    report(&path, &["tcp-echo", &lab.net.to()])?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        let changed = events.iter().any(|event| event.kind.as_deref() == Some("hash-changed"));
        ensure(changed, || "no change on record".into())
    })?;
    desktop.input(&["key", "F5"])?;
    sees("the program", &|tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    let tree = sees("totals that are compared", &|tree| tree.says("nothing in the period before"))?;
    let area = tree.find("image", "Traffic over time").ok_or("no chart")?;
    let (x, y, width, height) = access.extents(area)?;
    let place =
        |share: i32| [(x + 64 + (width - 72) * share / 100).to_string(), (y + height / 2).to_string()];
    // All of it was just now: at the right end.
    let [right, middle] = place(98);
    settle(PATIENCE, || {
        desktop.input(&["mousemove", &place(60)[0], &middle, "mousemove", &right, &middle])?;
        let tree = access.tree()?;
        let says = |part: &str| tree.0.iter().any(|it| it.role == "label" && it.name.contains(part));
        let said = [format!("◆ new: {one}"), format!("▲ changed: {one}"), format!("{one}: ↓ ")];
        ensure(said.iter().all(|part| says(part)), || format!("at the pointer it does not say {said:?}"))
    })?;
    desktop.picture("pointer");
    for share in [40, 97] {
        says_at(&desktop, &access, share)?;
    }
    // Away from it the numbers are gone, for a screen reader too.
    desktop.input(&["mousemove", "20", "20"])?;
    sees("no numbers", &|tree| {
        tree.find("image", "Traffic over time").is_some()
            && !tree.0.iter().any(|it| it.name.contains("◆ new: "))
    })?;
    let [left, _] = place(90);
    desktop.input(&["mousemove", &left, &middle, "mousedown", "1", "mousemove", &place(95)[0], &middle])?;
    desktop.input(&["mousemove", &place(100)[0], &middle, "mouseup", "1"])?;
    let tree = sees("a closer look", &|tree| tree.find("push button", "Time range: Last").is_none())?;
    ensure(tree.find("push button", "Remove the filter ").is_some(), || "there is no way back".into())?;
    sees("what was in that time", &|tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    desktop.input(&["key", "Escape"])?;
    sees("the day again", &|tree| tree.find("push button", "Time range: Last 24 hours").is_some())?;
    Ok(())
}

/// What the row with this name says, cell by cell.
fn cells(tree: &Tree, table: &str, name: &str) -> Vec<String> {
    let table = tree.0.iter().position(|it| it.role == "tree table" && it.name == table);
    let label = tree.0.iter().find(|it| it.name == name && table.is_some_and(|at| it.within.contains(&at)));
    let is_row = |at: &&usize| tree.0.get(**at).is_some_and(|it| it.role == "table row");
    let Some(row) = label.and_then(|label| label.within.iter().find(is_row)) else { return Vec::new() };
    let labels = tree.0.iter().filter(|it| it.role == "label" && it.within.contains(row));
    labels.map(|it| it.name.clone()).collect()
}

fn filters(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop, access, [one, two]) = open(lab, "d05f")?;
    let path = path_of(&stage, &two)?;
    report(&path, &["udp", &lab.net.to()])?;
    settle(PATIENCE, || {
        let query = Query { protocol: Some("udp".into()), ..Query::default() };
        let page = stage.client.call(|client| async move { client.connections(&query).await })?;
        ensure(!page.rows.is_empty(), || "no datagram on record".into())
    })?;
    // Connections are the third from the right.
    let counted = |tree: &Tree, name: &str| {
        let cells = cells(tree, "Programs", name);
        cells.len().checked_sub(3).and_then(|at| cells.get(at)).cloned().unwrap_or_default()
    };
    desktop.window(&["--page", "programs"], &[])?;
    desktop
        .seen(&access, "both programs", |tree| counted(tree, &one) == "3" && counted(tree, &two) == "2")?;
    desktop.window(&["--filter", "protocol:tcp"], &[])?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    sees("what is TCP of it", &|tree| counted(tree, &one) == "3" && counted(tree, &two) == "1")?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    sees("all of it", &|tree| counted(tree, &two) == "2")?;
    // The menu of a row, by the pointer and by keys.
    click_menu(&desktop, &access, &one)?;
    press(&desktop, &access, "push button", "Only Program: ")?;
    sees("one program", &|tree| counted(tree, &one) == "3" && counted(tree, &two).is_empty())?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    sees("both again", &|tree| counted(tree, &two) == "2")?;
    click(&desktop, &access, "Programs", &two, "1")?;
    desktop.input(&["key", "shift+F10"])?;
    press(&desktop, &access, "push button", "Only Process name: ")?;
    sees("the other one", &|tree| counted(tree, &two) == "2" && counted(tree, &one).is_empty())?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    sees("both once more", &|tree| counted(tree, &one) == "3" && counted(tree, &two) == "2")?;
    own_time(&desktop, &access, &one)
}

fn click_menu(desktop: &Desktop, access: &Access, name: &str) -> Outcome {
    let tree = desktop.seen(access, name, |tree| rows(tree, "Programs").contains(&name))?;
    let table = tree.0.iter().position(|it| it.role == "tree table" && it.name == "Programs").unwrap_or(0);
    let label = tree.0.iter().find(|it| it.name == name && it.within.contains(&table)).ok_or("gone")?;
    let (x, y) = access.middle(label)?;
    desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "3"])
}

/// A time that somebody writes.
fn own_time(desktop: &Desktop, access: &Access, one: &str) -> Outcome {
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(access, what, so);
    desktop.input(&["key", "ctrl+t"])?;
    sees("the choice of a time", &|tree| tree.find("push button", "Show This Time").is_some())?;
    // To the first of the two fields.
    for _ in 0..12 {
        desktop.input(&["key", "Tab"])?;
        let tree = access.tree()?;
        if tree.focus().is_some_and(|it| it.role == "entry") {
            break;
        }
    }
    desktop.input(&["type", "yesterday"])?;
    desktop.input(&["key", "Return"])?;
    sees("how it is written", &|tree| tree.says("Write it as 2026-01-31 08:00."))?;
    desktop.input(&["key", "ctrl+a"])?;
    desktop.input(&["type", "2020-01-31 08:00"])?;
    desktop.input(&["key", "Tab"])?;
    desktop.input(&["type", "2020-02-01 08:00"])?;
    desktop.input(&["key", "Return"])?;
    let label = "2020-01-31 08:00 – 2020-02-01 08:00";
    sees("that time", &|tree| tree.find("push button", &format!("Time range: {label}")).is_some())?;
    sees("nothing of it", &|tree| tree.says("Nothing was recorded in this time."))?;
    press(desktop, access, "push button", &format!("Remove the filter {label}"))?;
    sees("the programs again", &|tree| rows(tree, "Programs").contains(&one))?;
    Ok(())
}

/// Exports what is shown into a file of this name, and gives its text.
fn exported(desktop: &Desktop, access: &Access, name: &str) -> Outcome<String> {
    let file = desktop.home().join(name);
    desktop.input(&["key", "ctrl+s"])?;
    desktop.seen(access, "where to export to", |tree| tree.find("push button", "Export").is_some())?;
    desktop.input(&["key", "ctrl+a"])?;
    desktop.input(&["type", &file.display().to_string()])?;
    desktop.input(&["key", "Return"])?;
    let mut text = String::new();
    settle(PATIENCE, || {
        text = std::fs::read_to_string(&file).map_err(|error| format!("no export: {error}"))?;
        ensure(text.ends_with('\n'), || format!("it is not written yet: {text:?}"))
    })?;
    desktop.seen(access, "that it is done", |tree| tree.find("push button", "Export").is_none())?;
    Ok(text)
}

fn files(lab: &mut Lab) -> Outcome {
    let (_stage, mut desktop, access, [one, two]) = open(lab, "d05x")?;
    let ends = |text: &str, name: &str| text.lines().any(|line| line.contains(&format!("/{name},")));
    // Totals, all of them.
    desktop.seen(&access, "the programs", |tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    let text = exported(&desktop, &access, "totals.csv")?;
    ensure(text.starts_with("path,sent,received,connections\n"), || format!("totals: {text:?}"))?;
    ensure(ends(&text, &one) && ends(&text, &two), || format!("totals: {text:?}"))?;
    // By what the chart is coloured by.
    let tree = access.tree()?;
    let (x, y) = access.middle(tree.find("combo box", "Colours of the chart").ok_or("no choice")?)?;
    desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "1"])?;
    let down = Dimension::ALL.iter().position(|(by, _)| *by == Dimension::Protocol).unwrap_or(0);
    desktop.input(&[vec!["key", "--delay", "100", "Home"], vec!["Down"; down], vec!["Return"]].concat())?;
    desktop.seen(&access, "protocols", |tree| tree.find("push button", "tcp").is_some())?;
    let text = exported(&desktop, &access, "protocols.csv")?;
    ensure(text.starts_with("protocol,sent,") && text.contains("\ntcp,"), || {
        format!("by protocol: {text:?}")
    })?;
    // Programs, in the order of the screen.
    desktop.input(&["key", "alt+2"])?;
    desktop.seen(&access, "the programs", |tree| rows(tree, "Programs").contains(&one.as_str()))?;
    for (order, name) in [([&two, &one], "fewest.csv"), ([&one, &two], "most.csv")] {
        click(&desktop, &access, "Programs", "Connections", "1")?;
        desktop.seen(&access, name, |tree| {
            let rows = rows(tree, "Programs");
            let [first, last] = order.map(|name| rows.iter().position(|text| text == name));
            first.is_some() && first < last
        })?;
        let text = exported(&desktop, &access, name)?;
        let [first, last] = order.map(|name| text.find(&format!("/{name},")));
        ensure(first.is_some() && first < last, || format!("{name}: {text:?}"))?;
    }
    // Events.
    desktop.input(&["key", "alt+4"])?;
    desktop.seen(&access, "what is new", |tree| title(tree) == "Timeline")?;
    let text = exported(&desktop, &access, "events.csv")?;
    ensure(text.starts_with("id,") && text.contains("new-executable"), || format!("events: {text:?}"))?;
    // Connections, as JSON by the name that the file has.
    desktop.input(&["key", "alt+5"])?;
    desktop.seen(&access, "connections", |tree| title(tree) == "Live")?;
    let text = exported(&desktop, &access, "live.jsonl")?;
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    let of = |name: &str| {
        let end = format!("/{name}");
        lines.iter().filter(|row| row["path"].as_str().is_some_and(|path| path.ends_with(&end))).count()
    };
    ensure((of(&one), of(&two)) == (3, 1), || format!("live: {text:?}"))?;
    // A program that cannot be shown: nothing is exported in its place.
    desktop.window(&["--program", "999999"], &[])?;
    desktop.seen(&access, "that it is not known", |tree| tree.says("No answer"))?;
    desktop.input(&["key", "ctrl+s"])?;
    let tree = desktop.seen(&access, "why not", |tree| {
        tree.0.iter().any(|it| it.name == "Nothing is known of this program.")
            || tree.find("push button", "Export").is_some()
    })?;
    ensure(tree.find("push button", "Export").is_none(), || "it asks where to export everything to".into())
}

fn goes_on(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop, access, [one, two]) = open(lab, "d05g")?;
    let path = path_of(&stage, &one)?;
    let table = "Connections of this program";
    let port = |text: &&&str| text.ends_with(":7001");
    desktop.seen(&access, "the programs", |tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    desktop.input(&["key", "alt+2"])?;
    // The pointer stays where the row was, which is now somewhere on the page.
    click(&desktop, &access, "Programs", &one, "2")?;
    desktop.seen(&access, "three connections", |tree| rows(tree, table).iter().filter(port).count() == 3)?;
    report(&path, &["tcp-echo", &lab.net.to()])?;
    desktop.seen(&access, "the fourth one, by itself", |tree| {
        rows(tree, table).iter().filter(port).count() == 4
    })?;
    // Its facts are filters too.
    let tree = access.tree()?;
    for filter in ["Only Port: 7001", "Only Process name: ", "Only Command line: "] {
        ensure(tree.find("push button", filter).is_some(), || format!("there is no {filter:?}"))?;
    }
    press(&desktop, &access, "push button", "Only Port: 7001")?;
    desktop.seen(&access, "the filter", |tree| title(tree) == "Overview" && tree.says("Port: 7001"))?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    // As a desktop calls the actions of the entry.
    let name = "org.picosnitch.Picosnitch";
    for (action, page) in [("timeline", "Timeline"), ("live", "Live")] {
        let call =
            ["call", name, "/org/picosnitch/Picosnitch", "org.freedesktop.Application", "ActivateAction"];
        desktop.busctl(&[&call[..], &["sava{sv}", action, "0", "0"]].concat())?;
        desktop.seen(&access, page, |tree| title(tree) == page)?;
    }
    // And as one does that knows only the command.
    desktop.close_window();
    desktop.window(&["--page", "timeline"], &[])?;
    let access = desktop.access()?;
    desktop.seen(&access, "the timeline", |tree| {
        title(tree) == "Timeline" && rows(tree, "Timeline").iter().any(|text| text.ends_with(&two))
    })?;
    Ok(())
}

fn started_by_the_bus(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d05-bus", "")?;
    let dir = lab.new_dir("d05-bus")?;
    // Below XDG_RUNTIME_DIR; the bus reads them when it starts. For root it does not go by HOME.
    let services = dir.join("run/dbus-1/services");
    std::fs::create_dir_all(&services)?;
    let file = project().join("data/services/org.picosnitch.Picosnitch.service");
    let window = built("picosnitch-gui")?;
    let folder = window.parent().ok_or("no folder")?.display().to_string();
    let text = std::fs::read_to_string(&file)?.replace("@bindir@", &folder);
    std::fs::write(services.join(file.file_name().unwrap_or_default()), text)?;
    let desktop = Desktop::start(&dir, &stage.bus.address, false)?;
    let access = desktop.access()?;
    let name = "org.picosnitch.Picosnitch";
    let call = |method: &[&str]| {
        let object = ["call", name, "/org/picosnitch/Picosnitch", "org.freedesktop.Application"];
        desktop.busctl(&[&object[..], method].concat())
    };
    ensure(!desktop.has_owner(name), || "there is a window before it is asked for".to_owned())?;
    call(&["Activate", "a{sv}", "0"])?;
    desktop.seen(&access, "the window", |tree| title(tree) == "Overview")?;
    let pid = desktop.pid_of(name)?;
    call(&["ActivateAction", "sava{sv}", "live", "0", "0"])?;
    let tree = desktop.seen(&access, "Live", |tree| title(tree) == "Live")?;
    let windows = tree.0.iter().filter(|it| it.role == "frame").count();
    ensure(windows == 1 && desktop.pid_of(name)? == pid, || format!("{windows} windows"))?;
    // Closed, it can be asked for again, with an action right away.
    desktop.input(&["key", "ctrl+q"])?;
    settle(PATIENCE, || ensure(!desktop.has_owner(name), || "it does not quit".to_owned()))?;
    call(&["ActivateAction", "sava{sv}", "timeline", "0", "0"])?;
    desktop.seen(&access, "Timeline", |tree| title(tree) == "Timeline")?;
    desktop.input(&["key", "ctrl+q"])?;
    settle(PATIENCE, || ensure(!desktop.has_owner(name), || "it does not quit".to_owned()))
}
