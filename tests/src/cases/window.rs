// SPDX-License-Identifier: GPL-3.0-or-later
//! D: the window, used by keyboard and pointer on a real X server, seen through the accessibility bus.

use std::time::Duration;

use picosnitch_api::{Dimension, Query};

use super::Case;
use super::expect::PATIENCE;
use crate::lab::access::Widget;
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::report;
use crate::lab::tools::until;
use crate::lab::{Access, Calls, Lab, Outcome, Stage, Tree, User, ensure, locale};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "D05", title: "pages, drill-down, search, sort, range, filters, export, seen", run: d05 },
    Case { id: "D07", title: "keyboard alone; every widget has a name", run: d07 },
    Case { id: "D07", title: "German, right-to-left, 360 pixels, high contrast, dark", run: d07_looks },
    Case {
        id: "D08",
        title: "settings: polkit asks once, a refusal is explained and announced, a permission saves",
        run: d08,
    },
    Case {
        id: "D08",
        title: "settings: lists, numbers and what is sent elsewhere; a mistake is told and nothing saved",
        run: d08_values,
    },
    Case {
        id: "D08",
        title: "settings: shown when the monitor comes; odd values of a list stay, a secret is forgotten",
        run: d08_kept,
    },
    Case {
        id: "D08",
        title: "settings: what others change is shown, what is written stays; closing asks what becomes of it",
        run: d08_unsaved,
    },
];

/// The table of the first page, by its name.
pub const OVERVIEW: &str = "Programs that use the network most";

/// How long one page slides over another, or scrolls; for the pictures alone.
const SLIDE: Duration = Duration::from_millis(700);

/// Name of the window on the session bus.
const WINDOW: &str = "org.picosnitch.Picosnitch";

/// Texts of the labels in a table.
pub fn rows<'a>(tree: &'a Tree, table: &str) -> Vec<&'a str> {
    tree.texts_in("tree table", table)
}

/// What the page is called: the first heading of the window.
pub fn title(tree: &Tree) -> &str {
    let heading = |at: &usize| tree.0.get(*at).is_some_and(|it| it.role == "heading");
    let titled = |it: &&Widget| it.role == "label" && !it.name.is_empty() && it.within.iter().any(heading);
    tree.0.iter().find(titled).map_or("", |label| label.name.as_str())
}

/// A daemon with two programs on record, one with three connections, and the window.
pub(super) fn open(lab: &mut Lab, name: &str) -> Outcome<(Stage, Desktop, Access, [String; 2])> {
    let stage = lab.stage(name, "")?;
    let mut names = Vec::new();
    for (program, times) in [("one", 3), ("two", 1)] {
        let program = lab.programs.make(&format!("{name}-{program}"))?;
        for _ in 0..times {
            report(&program, &["tcp-echo", &lab.net.to()])?;
        }
        names.push(program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    }
    let names: [String; 2] = names.try_into().map_err(|_| "two programs")?;
    let wanted = format!("/{}", names[1]);
    settle(PATIENCE, || {
        let query = Query { limit: Some(1000), ..Query::default() };
        let rows = stage.client.call(|client| async move { client.executables(&query).await })?;
        let known = rows.rows.iter().filter_map(|row| row.path.as_deref()).any(|it| it.ends_with(&wanted));
        ensure(known, || "not yet on record".into())
    })?;
    let mut desktop = Desktop::start(&lab.new_dir(name)?, &stage.bus.address, false)?;
    desktop.window(&[], &[])?;
    let access = desktop.access()?;
    Ok((stage, desktop, access, names))
}

pub(super) fn press(desktop: &Desktop, access: &Access, role: &str, name: &str) -> Outcome {
    desktop.seen(access, name, |tree| tree.find(role, name).is_some())?;
    // What was pressed before may still be at work.
    settle(PATIENCE, || access.press(access.tree()?.find(role, name).ok_or("gone")?))
}

/// Clicks into the middle of the first label that says this, in a table.
pub(super) fn click(desktop: &Desktop, access: &Access, table: &str, text: &str, times: &str) -> Outcome {
    desktop.seen(access, text, |tree| rows(tree, table).contains(&text))?;
    let place = || -> Outcome<(i32, i32)> {
        let tree = access.tree()?;
        let at = tree.0.iter().position(|it| it.role == "tree table" && it.name == table).unwrap_or(0);
        let label = tree.0.iter().find(|it| it.name == text && it.within.contains(&at)).ok_or("gone")?;
        // The places of labels are off by their padding in newer versions of GTK; rows are higher than that.
        let row = label.within.iter().filter_map(|at| tree.0.get(*at)).find(|it| it.role == "table row");
        Ok((access.middle(label)?.0, access.middle(row.unwrap_or(label))?.1))
    };
    // Rows that have just come may still move.
    let (mut x, mut y) = (-1, -1);
    settle(PATIENCE, || {
        let before = (x, y);
        (x, y) = place()?;
        ensure((x, y) == before, || format!("{text:?} moves: {before:?}, {:?}", (x, y)))
    })?;
    desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "--repeat", times, "1"])
}

/// What the chart says of a place stands beside it, wherever people read from. `share`: of its width, in hundredths.
pub(super) fn says_at(desktop: &Desktop, access: &Access, share: i32) -> Outcome {
    let tree = access.tree()?;
    let wide =
        |it: &&Widget| it.role == "image" && access.extents(it).is_ok_and(|(_, _, width, _)| width > 250);
    let (x, y, width, height) = access.extents(tree.0.iter().find(wide).ok_or("no chart")?)?;
    let (at, middle) = (x + width * share / 100, y + height / 2);
    settle(PATIENCE, || {
        let (before, middle) = ((at - 30).to_string(), middle.to_string());
        desktop.input(&["mousemove", &before, &middle, "mousemove", &at.to_string(), &middle])?;
        let tree = access.tree()?;
        let said = |it: &&Widget| it.role == "label" && it.name.contains("\n↓");
        let (left, _, wide, _) = access.extents(tree.0.iter().find(said).ok_or("it says nothing")?)?;
        // A step may be some pixels wide, and a label's padding is no part of it in some versions of GTK.
        let beside = (0..60).contains(&(left - at)) || (0..60).contains(&(at - left - wide));
        ensure(beside, || format!("the pointer is at {at}, what it says from {left} to {}", left + wide))
    })
}

fn d05(lab: &mut Lab) -> Outcome {
    let (stage, desktop, access, names) = open(lab, "d05")?;
    let (one, two) = (names[0].as_str(), names[1].as_str());
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    // Overview: both programs, and the numbers of both.
    let tree = sees("both programs", &|tree| {
        let rows = rows(tree, OVERVIEW);
        rows.contains(&one) && rows.contains(&two)
    })?;
    ensure(title(&tree) == "Overview", || format!("the page is called {:?}", title(&tree)))?;
    // The chart by keys: a cursor that says numbers, a closer look, and back.
    let chart = tree.find("image", "Traffic over time").ok_or("no chart")?;
    let (x, y) = access.middle(chart)?;
    desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "1", "key", "End"])?;
    sees("numbers at the cursor", &|tree| {
        tree.0.iter().any(|it| it.role == "image" && it.name.contains('↓') && it.name.contains('↑'))
    })?;
    let closer = || {
        desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "1"])?;
        desktop.input(&["key", "End", "Return"])?;
        sees("a closer look", &|tree| tree.find("push button", "Time range: Last").is_none())
    };
    // It leaves a chip that removes it, and Escape does so too.
    closer()?;
    press(&desktop, &access, "push button", "Remove the filter ")?;
    sees("the day again", &|tree| tree.find("push button", "Time range: Last 24 hours").is_some())?;
    closer()?;
    desktop.input(&["key", "Escape"])?;
    sees("the day again", &|tree| tree.find("push button", "Time range: Last 24 hours").is_some())?;
    // The chart as a table.
    press(&desktop, &access, "push button", "Show as a table")
        .or_else(|_| press(&desktop, &access, "toggle button", "Show as a table"))?;
    sees("the chart as a table", &|tree| {
        rows(tree, "Traffic over time")
            .iter()
            .filter(|text| text.ends_with(" B") || text.ends_with("iB"))
            .count()
            >= 2
    })?;
    desktop.picture("overview");

    // Programs: the monitor sorts.
    desktop.input(&["key", "alt+2"])?;
    let order = |tree: &Tree| -> Vec<String> {
        let rows = rows(tree, "Programs").into_iter();
        rows.filter(|text| [one, two].contains(text)).map(str::to_owned).collect()
    };
    sees("both programs", &|tree| title(tree) == "Programs" && order(tree).len() == 2)?;
    click(&desktop, &access, "Programs", "Connections", "1")?;
    sees("fewest connections first", &|tree| order(tree) == [two, one])?;
    click(&desktop, &access, "Programs", "Connections", "1")?;
    sees("most connections first", &|tree| order(tree) == [one, two])?;

    // Export of what is shown, searched for.
    desktop.input(&["key", "ctrl+f"])?;
    desktop.input(&["type", two])?;
    sees("the one that is searched for", &|tree| order(tree) == [two])?;
    let file = desktop.home().join("shown.csv");
    desktop.input(&["key", "ctrl+s"])?;
    sees("where to export to", &|tree| tree.find("push button", "Export").is_some())?;
    desktop.input(&["key", "ctrl+a"])?;
    desktop.input(&["type", &file.display().to_string()])?;
    desktop.input(&["key", "Return"])?;
    settle(PATIENCE, || {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("no export: {error}"))?;
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        ensure(head.starts_with("id,path,"), || format!("the header is {head:?}"))?;
        let rows: Vec<&str> = lines.collect();
        ensure(rows.len() == 1 && rows[0].contains(&format!("/{two},")), || format!("the rows are {rows:?}"))
    })?;
    desktop.input(&["key", "ctrl+shift+f"])?;
    sees("all programs again", &|tree| order(tree).len() == 2)?;

    // Drill-down, and back to the row that was selected.
    click(&desktop, &access, "Programs", one, "2")?;
    let page = stage.client.call(|client| async move { client.executables(&Query::default()).await })?;
    let row =
        page.rows.iter().find(|row| row.path.as_deref().is_some_and(|it| it.ends_with(&format!("/{one}"))));
    let hash = row.and_then(|row| row.sha256.clone()).ok_or("no sha256 of d05-one")?;
    let tree = sees("the page of d05-one", &|tree| title(tree) == "Program" && tree.says(&hash))?;
    for says in ["Versions of its file", "Launched by", "Latest processes", "Connections"] {
        ensure(tree.says(says), || format!("the page does not say {says:?}"))?;
    }
    sees("its connections", &|tree| {
        let port = ":7001".to_owned();
        rows(tree, "Connections of this program").iter().filter(|text| text.ends_with(&port)).count() >= 3
    })?;
    desktop.picture("program");
    desktop.input(&["key", "alt+Left"])?;
    sees("the selected row", &|tree| {
        title(tree) == "Programs" && tree.0.iter().any(|it| it.role == "table row" && it.selected)
    })?;

    // By any dimension; a row becomes a filter and leads to its overview.
    desktop.input(&["key", "alt+3"])?;
    let address = lab.net.peer.to_string();
    let tree = sees("the choice of a dimension", &|tree| tree.find("combo box", "Group by").is_some())?;
    let (x, y) = access.middle(tree.find("combo box", "Group by").ok_or("gone")?)?;
    desktop.input(&["mousemove", &x.to_string(), &y.to_string(), "click", "1"])?;
    let down = Dimension::ALL.iter().position(|(by, _)| *by == Dimension::Address).unwrap_or(0);
    let keys = [vec!["key", "--delay", "100", "Home"], vec!["Down"; down], vec!["Return"]].concat();
    desktop.input(&keys)?;
    sees("the address of the other end", &|tree| rows(tree, "Totals").contains(&address.as_str()))?;
    click(&desktop, &access, "Totals", &address, "2")?;
    sees("the overview of it", &|tree| {
        title(tree) == "Overview" && tree.says(&format!("Address: {address}"))
    })?;
    press(&desktop, &access, "push button", &format!("Remove the filter Address: {address}"))?;

    // A filter from outside reaches the window that is open.
    let mut desktop = desktop;
    desktop.window(&["--filter", "port:7001", "--page", "live"], &[])?;
    let sees = |what: &str, so: &dyn Fn(&Tree) -> bool| desktop.seen(&access, what, so);
    let live = "Connections, newest first";
    sees("a filter of the port", &|tree| tree.says("Port: 7001") && rows(tree, live).contains(&one))?;
    let fresh = lab.programs.make("d05-live")?;
    let live_name = fresh.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    report(&fresh, &["tcp-echo", &lab.net.to()])?;
    sees("a connection that was made just now", &|tree| rows(tree, live).contains(&live_name.as_str()))?;
    press(&desktop, &access, "push button", "Remove the filter Port: 7001")?;
    sees("no filter", &|tree| !tree.says("Port: 7001"))?;

    // The time.
    desktop.input(&["key", "ctrl+t"])?;
    press(&desktop, &access, "push button", "Last hour")?;
    sees("the last hour", &|tree| tree.find("push button", "Time range: Last hour").is_some())?;

    // The inbox.
    desktop.input(&["key", "alt+4"])?;
    sees("what is new", &|tree| rows(tree, "Timeline").iter().any(|text| text.ends_with(&live_name)))?;
    press(&desktop, &access, "push button", "Mark All as Seen")?;
    settle(PATIENCE, || {
        let events = stage.client.events(&Query::default())?;
        ensure(events.iter().all(|event| event.acknowledged == Some(true)), || "not marked as seen".into())
    })?;
    sees("nothing unread", &|tree| !rows(tree, "Timeline").contains(&"unread"))?;
    // The record says that nothing is missing.
    press(&desktop, &access, "push button", "State of the record")?;
    sees("the record", &|tree| title(tree) == "Record" && tree.says("Self-test at the start"))?;
    // It has no rows: nothing else is exported in their place.
    desktop.input(&["key", "ctrl+s"])?;
    std::thread::sleep(2 * SLIDE);
    let asks = access.tree()?.find("push button", "Export").is_some();
    ensure(!asks, || "the record asks where to export to".into())
}

/// Roles that a person can do something with.
const ROLES: [&str; 8] =
    ["push button", "toggle button", "check box", "combo box", "entry", "spin button", "image", "tree table"];

fn d07(lab: &mut Lab) -> Outcome {
    let (stage, mut desktop, access, [one, _]) = open(lab, "d07")?;
    let loaded = |tree: &Tree| {
        rows(tree, OVERVIEW).contains(&one.as_str()) && tree.find("push button", "d07-two").is_some()
    };
    desktop.seen(&access, "the programs and the legend", loaded)?;
    // Every widget has a name, and says it once.
    let named = |page: &str, tree: &Tree| -> Outcome {
        for (at, widget) in tree.0.iter().enumerate() {
            // A widget without a name of its own is called as its class.
            let nameless =
                widget.name.is_empty() || ["Gtk", "Adw"].iter().any(|it| widget.name.starts_with(it));
            // What opens a choice is part of it, and the choice has a name.
            let within = widget.within.last().and_then(|parent| tree.0.get(*parent));
            let part = within.is_some_and(|it| it.role == "combo box" && !it.name.starts_with("Gtk"));
            // The text of a button is its name.
            let said = tree.0.iter().any(|it| it.role == "label" && it.within.contains(&at));
            ensure(
                !ROLES.contains(&widget.role.as_str()) || !widget.focusable || !nameless || part || said,
                || format!("{page}: a {} without a name ({:?})", widget.role, widget.name),
            )?;
        }
        // What has a name of its own and one of its label says it twice.
        let twice = |name: &str| {
            let (half, rest) = name.split_at_checked(name.len() / 2).unwrap_or_default();
            rest.strip_prefix(' ') == Some(half) && !half.is_empty()
        };
        let stammers: Vec<_> = tree.0.iter().filter(|it| twice(&it.name)).collect();
        ensure(stammers.is_empty(), || format!("{page}: said twice: {stammers:?}"))
    };
    for (key, page) in [
        ("alt+1", "Overview"),
        ("alt+2", "Programs"),
        ("alt+3", "Destinations"),
        ("alt+4", "Timeline"),
        ("alt+5", "Live"),
    ] {
        desktop.input(&["key", key])?;
        let tree = desktop.seen(&access, page, |tree| title(tree) == page)?;
        named(page, &tree)?;
        // Tab goes round and comes to every kind of thing that the page has.
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for _ in 0..40 {
            desktop.input(&["key", "Tab"])?;
            if let Some(focus) = access.focus(&tree) {
                seen.push((&focus.role, &focus.name));
            }
        }
        desktop.picture("tabs");
        // And on through what is on the page, out at its end.
        let own: &[&str] = match page {
            "Overview" => &["Show as a table", "d07-two", "All Programs"],
            "Timeline" => &["Mark All as Seen"],
            "Live" => &["Hold"],
            _ => &[],
        };
        let all = ["Search", "Time range: ", "Menu", "State of the record"];
        for name in all.iter().chain(own) {
            let there = seen.iter().any(|(_, known)| known.starts_with(name));
            ensure(there, || format!("{page}: Tab never comes to {name:?}; it comes to {seen:?}"))?;
        }
    }
    // By keys alone from the list of programs to one, and back.
    desktop.input(&["key", "alt+2"])?;
    desktop.seen(&access, "the programs", |tree| title(tree) == "Programs")?;
    let mut opened = false;
    let mut seen = Vec::new();
    let on_row = |tree: &Tree| tree.focus().filter(|focus| focus.role == "table row").cloned();
    for _ in 0..20 {
        desktop.input(&["key", "Tab"])?;
        let tree = access.tree()?;
        seen.extend(tree.focus().map(|focus| (focus.role.clone(), focus.name.clone())));
        if on_row(&tree).is_some() {
            desktop.input(&["key", "Down"])?;
            opened = on_row(&access.tree()?).is_some_and(|row| row.selected);
        }
        if opened {
            break;
        }
    }
    ensure(opened, || format!("Tab never comes to a row; it comes to {seen:?}"))?;
    desktop.input(&["key", "Return"])?;
    desktop.seen(&access, "a program", |tree| title(tree) == "Program")?;
    desktop.input(&["key", "alt+Left"])?;
    desktop.seen(&access, "the programs", |tree| title(tree) == "Programs")?;
    // The pages that no key leads to, and the times.
    desktop.window(&["--program", &program_id(&stage, &one)?], &[])?;
    let tree = desktop.seen(&access, "the program", |tree| {
        title(tree) == "Program" && tree.says("Latest processes") && tree.says("Connections, all time")
    })?;
    named("Program", &tree)?;
    press(&desktop, &access, "push button", "State of the record")?;
    named("Record", &desktop.seen(&access, "the record", |tree| title(tree) == "Record")?)?;
    desktop.input(&["key", "ctrl+t"])?;
    let times = |tree: &Tree| tree.find("entry", "From").is_some();
    named("the times", &desktop.seen(&access, "the times", times)?)?;
    desktop.input(&["key", "Escape", "ctrl+question"])?;
    desktop.seen(&access, "the list of keys", |tree| tree.says("Move the cursor"))?;
    Ok(())
}

/// Its name, the name of the table on the first page, and the variables that make it.
type Look<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn d07_looks(lab: &mut Lab) -> Outcome {
    let folder = lab.new_dir("locales")?;
    for name in ["de_DE", "ar_EG"] {
        locale::make(name, &folder)?;
    }
    let locales = ("LOCPATH", &*folder.to_string_lossy());
    let (stage, mut desktop, _, [one, _]) = open(lab, "d07-looks")?;
    let looks: [Look<'_>; 4] = [
        ("german", "Programme, die das Netz am meisten benutzen", &[("LC_ALL", "de_DE.UTF-8"), locales]),
        ("contrast", OVERVIEW, &[("ADW_DEBUG_HIGH_CONTRAST", "1")]),
        ("dark", OVERVIEW, &[("ADW_DEBUG_COLOR_SCHEME", "prefer-dark")]),
        // GTK takes the direction from the language; ours has no Arabic, so the texts stay English.
        ("right-to-left", OVERVIEW, &[("LC_ALL", "ar_EG.UTF-8"), locales]),
    ];
    for (name, table, variables) in looks {
        desktop.close_window();
        settle(PATIENCE, || ensure(!desktop.has_owner(WINDOW), || "the window does not end".into()))?;
        desktop.window(&[], variables)?;
        let access = desktop.access()?;
        let tree = desktop.seen(&access, table, |tree| rows(tree, table).contains(&one.as_str()))?;
        // What stands first is at the left, but where people read from the right.
        let place = tree.find("list", if name == "german" { "Orte" } else { "Places" }).ok_or("no places")?;
        let (x, _) = access.middle(place)?;
        ensure((x > 600) == (name == "right-to-left"), || format!("{name}: the places are at {x}"))?;
        for share in [30, 90] {
            says_at(&desktop, &access, share)?;
        }
        desktop.picture(name);
        desktop.input(&["mousemove", "20", "20"])?;
    }
    desktop.close_window();
    settle(PATIENCE, || ensure(!desktop.has_owner(WINDOW), || "the window does not end".into()))?;
    // 360 pixels wide: nothing asks for more, and the sidebar is one step away.
    let prefs = desktop.home().join(".config/picosnitch");
    std::fs::create_dir_all(&prefs)?;
    std::fs::write(prefs.join("window.ini"), "[window]\nwidth=360\nheight=640\n")?;
    desktop.window(&[], &[])?;
    let access = desktop.access()?;
    let tree = desktop.seen(&access, "the programs", |tree| rows(tree, OVERVIEW).contains(&one.as_str()))?;
    // The header of a page is whole: its last button is on the screen.
    let page_is_shown = || {
        let tree = access.tree()?;
        let (x, _) = access.middle(tree.find("push button", "Menu").ok_or("no menu")?)?;
        ensure((0..360).contains(&x), || format!("the menu is at {x}: outside of 360 pixels"))
    };
    for page in 1..=5 {
        desktop.input(&["key", &format!("alt+{page}")])?;
        settle(PATIENCE, page_is_shown)?;
        // Without a manager of windows GTK draws a border of five pixels on each side, which is no part of it.
        let width = desktop.window_width()? - 10;
        ensure(width <= 360, || {
            format!("page {page}: the window is {width} pixels wide; {}", wide(&access, &tree))
        })?;
        std::thread::sleep(SLIDE);
        desktop.picture(&format!("narrow-{page}"));
    }
    // The sidebar is one step away, and a place leads to its page.
    press(&desktop, &access, "push button", "Places")?;
    settle(PATIENCE, || {
        ensure(page_is_shown().is_err(), || "the page is still there instead of the places".into())
    })?;
    std::thread::sleep(SLIDE);
    desktop.picture("narrow-places");
    desktop.input(&["key", "alt+1"])?;
    settle(PATIENCE, page_is_shown)?;
    desktop.window(&["--program", &program_id(&stage, &one)?], &[])?;
    desktop
        .seen(&access, "the program", |tree| title(tree) == "Program" && tree.says("Versions of its file"))?;
    settle(PATIENCE, page_is_shown)?;
    let width = desktop.window_width()? - 10;
    ensure(width <= 360, || format!("a program: the window is {width} pixels wide"))?;
    std::thread::sleep(SLIDE);
    desktop.picture("narrow-program");
    desktop.close_window();
    settle(PATIENCE, || ensure(!desktop.has_owner(WINDOW), || "the window does not end".into()))?;
    narrow_german(&mut desktop, locales, &program_id(&stage, &one)?)
}

/// What is as wide as a narrow window, or wider.
fn wide(access: &Access, tree: &Tree) -> String {
    let place = |it: &Widget| Some((access.extents(it).ok()?, it.role.clone(), it.name.clone()));
    let all = tree.0.iter().filter_map(place).filter(|((_, _, width, _), ..)| *width > 340);
    format!("{:?}", all.collect::<Vec<_>>())
}

/// Number of the program whose file has this name.
fn program_id(stage: &Stage, name: &str) -> Outcome<String> {
    let page = stage.client.call(|client| async move { client.executables(&Query::default()).await })?;
    let end = format!("/{name}");
    let row = page.rows.iter().find(|row| row.path.as_deref().is_some_and(|path| path.ends_with(&end)));
    Ok(row.and_then(|row| row.id).ok_or("the program is not on record")?.to_string())
}

/// German words are longer: they have to do with 360 pixels as well.
fn narrow_german(desktop: &mut Desktop, locales: (&str, &str), program: &str) -> Outcome {
    desktop.window(&[], &[("LC_ALL", "de_DE.UTF-8"), locales])?;
    let access = desktop.access()?;
    desktop.seen(&access, "Übersicht", |tree| title(tree) == "Übersicht")?;
    for page in 1..=6 {
        if page <= 5 {
            desktop.input(&["key", &format!("alt+{page}")])?;
        } else {
            desktop.window(&["--program", program], &[])?;
        }
        std::thread::sleep(2 * SLIDE);
        settle(PATIENCE, || {
            let tree = access.tree()?;
            let (x, _) = access.middle(tree.find("push button", "Menü").ok_or("no menu")?)?;
            ensure((0..360).contains(&x), || format!("the menu is at {x}: outside of 360 pixels"))
        })?;
        let width = desktop.window_width()? - 10;
        desktop.picture(&format!("narrow-german-{page}"));
        ensure(width <= 360, || {
            let tree = access.tree().unwrap_or_default();
            format!("German, page {page}: the window is {width} pixels wide; {}", wide(&access, &tree))
        })?;
    }
    desktop.close_window();
    Ok(())
}

/// How often polkit was told to ask for a password so that settings may be changed.
fn asked(calls: &Calls) -> usize {
    asked_for(calls, "org.picosnitch.Monitor.configure")
}

/// How often it was told to ask for a password for this.
fn asked_for(calls: &Calls, action: &str) -> usize {
    let of = |call: &serde_json::Value| call[1] == action;
    // Bit 0 of the flags: AllowUserInteraction.
    let asks = |call: &serde_json::Value| call[3].as_u64().is_some_and(|flags| flags & 1 == 1);
    calls.arguments().iter().filter(|call| of(call) && asks(call)).count()
}

fn d08(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d08", "")?;
    let alice = User::get("alice")?;
    let calls = stage.bus.listen("CheckAuthorization")?;
    let mut desktop = Desktop::of(Some(&alice), &lab.new_dir("d08")?, &stage.bus.address, false)?;
    desktop.window(&["--page", "settings"], &[])?;
    let access = desktop.access()?;
    let config = || std::fs::read_to_string(stage.daemon.config()).unwrap_or_default();
    let before = config();
    press(&desktop, &access, "page tab", "Monitor")?;
    // Two changes, one question. A switch says its name, and says it once.
    for key in ["Count bytes", "Ports"] {
        let switch =
            |it: &Widget| ["toggle button", "check box"].contains(&it.role.as_str()) && it.name == key;
        let tree = desktop.seen(&access, key, |tree| tree.0.iter().any(switch))?;
        access.press(tree.0.iter().find(|it| switch(it)).ok_or("gone")?)?;
    }
    ensure(asked(&calls) == 0, || "polkit was asked before anything was to be saved".into())?;
    press(&desktop, &access, "push button", "Save Changes")?;
    let told = |tree: &Tree| -> String {
        let labels = tree.0.iter().filter(|it| ["label", "alert"].contains(&it.role.as_str()));
        labels.map(|it| it.name.as_str()).filter(|text| text.contains('.')).collect::<Vec<_>>().join(" | ")
    };
    // Screen readers say by themselves what comes up as an alert.
    // Newer versions of libadwaita show toasts as alerts, too.
    let refused = |tree: &Tree| {
        tree.0.iter().any(|it| it.role == "alert" && it.name.contains("log in at the machine itself"))
    };
    desktop.seen(&access, "a refusal that is announced", refused)?;
    // The end of the page, where the button is.
    desktop.input(&["mousemove", "30", "400", "click", "--repeat", "40", "5"])?;
    std::thread::sleep(SLIDE);
    desktop.picture("refused");
    ensure(config() == before, || "it was refused, and yet something was changed".into())?;
    ensure(asked(&calls) == 1, || format!("polkit was asked {} times for one refusal", asked(&calls)))?;
    // The same with a rule that lets alice: saved, with one question for each time that she presses.
    stage.bus.allow(&alice.name, &["org.picosnitch.Monitor.configure"])?;
    let mut pressed = 1;
    settle(PATIENCE, || {
        // polkitd reads its rules when it notices that the folder changed.
        let tree = access.tree()?;
        let save = tree.find("push button", "Save Changes").ok_or("gone")?;
        // It takes a press again when it has an answer.
        let before = asked(&calls);
        let done = access.press(save);
        pressed += usize::from(done.is_ok());
        let _ = until(Duration::from_secs(2), || asked(&calls) > before);
        let (text, tree) = (config(), access.tree()?);
        ensure(text.contains("bandwidth = false") && text.contains("ports = false"), || {
            format!("the file says {text:?}; {done:?}; {}", told(&tree))
        })
    })?;
    let tree = desktop.seen(&access, "that it is saved", |tree| tree.says("Saved."))?;
    ensure(!refused(&tree), || "the refusal is still shown".into())?;
    ensure((1..=pressed).contains(&asked(&calls)), || {
        format!("polkit was asked {} times for {pressed} presses", asked(&calls))
    })
}

/// Does it with the first one of this name that lets it be done: a row has the name, and what is in it.
fn with(access: &Access, name: &str, act: impl Fn(&Widget) -> Outcome) -> Outcome {
    let tree = access.tree()?;
    let done = tree.0.iter().filter(|it| it.name == name).any(|it| act(it).is_ok());
    ensure(done, || format!("there is no {name:?} to write into"))
}

fn d08_values(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d08v", "")?;
    let alice = User::get("alice")?;
    // What is left out of the record from now on takes the permission to pause it.
    let (configure, pause) = ("org.picosnitch.Monitor.configure", "org.picosnitch.Monitor.pause");
    stage.bus.allow(&alice.name, &[configure, pause])?;
    let calls = stage.bus.listen("CheckAuthorization")?;
    let mut desktop = Desktop::of(Some(&alice), &lab.new_dir("d08v")?, &stage.bus.address, false)?;
    desktop.window(&["--page", "settings"], &[])?;
    let access = desktop.access()?;
    let config = || std::fs::read_to_string(stage.daemon.config()).unwrap_or_default();
    let before = config();
    press(&desktop, &access, "page tab", "Monitor")?;
    desktop.seen(&access, "the rows", |tree| tree.says("Domains"))?;
    let write = |title: &str, text: &str| with(&access, title, |it| access.write(it, text));
    let alert =
        |tree: &Tree, part: &str| tree.0.iter().any(|it| it.role == "alert" && it.name.contains(part));
    // Typed, and not confirmed by anything. A mistake in one holds all back, and nobody is asked.
    write("Domains", "ads.example, Tracker.example")?;
    write("Ports", "80, https")?;
    press(&desktop, &access, "push button", "Save Changes")?;
    let no_port = "https is no port: a number from 1 to 65535.";
    desktop.seen(&access, "what is wrong", |tree| alert(tree, no_port))?;
    ensure(config() == before, || format!("it was saved in part: {:?}", config()))?;
    let outside = "org.picosnitch.Monitor.configure-remote";
    ensure((asked(&calls), asked_for(&calls, outside)) == (0, 0), || {
        "polkit was asked for a mistake".into()
    })?;
    write("Ports", "80, 443")?;
    with(&access, "Days that it is kept", |it| access.set(it, 400.0))?;
    press(&desktop, &access, "push button", "Save Changes")?;
    desktop.seen(&access, "that it is saved", |tree| tree.says("Saved."))?;
    let text = config();
    for line in ["\"ads.example\", \"tracker.example\"", "ports = [80, 443]", "retention_days = 400"] {
        ensure(text.to_lowercase().contains(line), || format!("no {line:?} in {text:?}"))?;
    }
    let counts = || [configure, pause, outside].map(|action| asked_for(&calls, action));
    // What is allowed without a question is not asked for.
    ensure(counts() == [0, 0, 0], || format!("polkit was asked {:?}", calls.arguments()))?;
    // What leaves the machine is a matter of its own.
    write("Name of this machine there", "box")?;
    press(&desktop, &access, "push button", "Save Changes")?;
    desktop.seen(&access, "a refusal", |tree| alert(tree, "log in at the machine itself"))?;
    ensure(config() == text, || "it was refused, and yet something was changed".into())?;
    ensure(counts() == [0, 0, 1], || format!("polkit was asked {:?}", calls.arguments()))?;
    stage.bus.allow(&alice.name, &[configure, pause, outside])?;
    // polkitd reads its rules when it notices that the folder changed.
    settle(PATIENCE, || {
        access.press(access.tree()?.find("push button", "Save Changes").ok_or("gone")?)?;
        let saved = until(Duration::from_secs(2), || config().contains("host_name = \"box\""));
        ensure(saved, || format!("not saved: {:?}", config()))
    })
}

fn d08_kept(lab: &mut Lab) -> Outcome {
    let odd = ["two, names", "a\u{7}bell", "\"quoted\""];
    // What JSON writes is a list of TOML, too.
    let names = serde_json::to_string(&odd)?;
    let config = format!("[log.ignore]\nnames = {names}\n[virustotal]\napi_key = \"key\"\n");
    let mut stage = lab.stage("d08k", &config)?;
    let mut desktop = Desktop::start(&lab.new_dir("d08k")?, &stage.bus.address, false)?;
    stage.daemon.stop()?;
    desktop.window(&["--page", "settings"], &[])?;
    let access = desktop.access()?;
    press(&desktop, &access, "page tab", "Monitor")?;
    let waits =
        |tree: &Tree| tree.0.iter().any(|it| it.name.ends_with("Its settings are shown when it runs."));
    desktop.seen(&access, "no monitor", |tree| waits(tree) && !tree.says("Process names"))?;
    stage.daemon.launch_again()?;
    desktop.seen(&access, "the rows", |tree| !waits(tree) && tree.says("Process names"))?;
    let tree = access.tree()?;
    let texts = tree.0.iter().filter(|it| it.name == "Process names").map(|it| access.text(it));
    let shown = texts.flatten().find(|text| !text.is_empty()).ok_or("nothing is shown")?;
    ensure(!shown.contains('\u{7}'), || format!("{shown:?}"))?;
    with(&access, "Process names", |it| access.write(it, &format!("{shown}, plain")))?;
    press(&desktop, &access, "push button", "Save Changes")?;
    desktop.seen(&access, "that it is saved", |tree| tree.says("Saved."))?;
    let names = || -> Outcome<Vec<String>> {
        let mut all = stage.client.call(|client| async move { client.settings().await })?;
        let names = all.remove("log.ignore.names").ok_or("no names")?;
        Vec::try_from(names).map_err(|error| error.to_string().into())
    };
    let wanted: Vec<String> = odd.iter().chain(&["plain"]).map(|name| (*name).to_owned()).collect();
    let said = names()?;
    ensure(said == wanted, || format!("{said:?} and not {wanted:?}"))?;
    let file = || std::fs::read_to_string(stage.daemon.config()).unwrap_or_default();
    // Nothing typed is nothing to forget.
    ensure(file().contains("api_key = \"key\""), || format!("the key is gone: {:?}", file()))?;
    with(&access, "Forget what is set: VirusTotal key", |it| access.press(it))?;
    settle(PATIENCE, || access.press(access.tree()?.find("push button", "Save Changes").ok_or("gone")?))?;
    settle(PATIENCE, || {
        ensure(file().contains("api_key = \"\""), || format!("it is not forgotten: {:?}", file()))
    })
}

fn d08_unsaved(lab: &mut Lab) -> Outcome {
    let mut stage = lab.stage("d08u", "")?;
    let mut desktop = Desktop::start(&lab.new_dir("d08u")?, &stage.bus.address, false)?;
    desktop.window(&["--page", "settings"], &[])?;
    let access = desktop.access()?;
    let open = || -> Outcome {
        press(&desktop, &access, "page tab", "Monitor")?;
        desktop.seen(&access, "the rows", |tree| tree.says("Process names")).map(drop)
    };
    let text = |title: &str| -> Outcome<String> {
        let tree = access.tree()?;
        let texts = tree.0.iter().filter(|it| it.name == title).map(|it| access.text(it));
        Ok(texts.flatten().find(|text| !text.is_empty()).unwrap_or_default())
    };
    let shows = |title: &str, wanted: &str| {
        settle(PATIENCE, || {
            let shown = text(title)?;
            ensure(shown == wanted, || format!("{title} shows {shown:?} and not {wanted:?}"))
        })
    };
    open()?;
    with(&access, "Process names", |it| access.write(it, "mine"))?;
    // Somebody else, at the command line, also of what is written here.
    let theirs = |domain: &'static str| {
        stage.client.call(move |client| async move {
            let list = |text: &'static str| zbus::zvariant::Value::from(vec![text]);
            let all = [("log.ignore.domains", list(domain)), ("log.ignore.names", list("theirs"))];
            client.set_settings(&all.into()).await
        })
    };
    theirs("one.example")?;
    shows("Domains", "one.example")?;
    shows("Process names", "mine")?;
    // The same after the monitor was not there.
    let config = std::fs::read_to_string(stage.daemon.config())?;
    stage.daemon.stop()?;
    std::fs::write(stage.daemon.config(), config.replace("one.example", "two.example"))?;
    stage.daemon.launch_again()?;
    shows("Domains", "two.example")?;
    shows("Process names", "mine")?;
    let names = || -> Outcome<Vec<String>> {
        let mut all = stage.client.call(|client| async move { client.settings().await })?;
        let names = all.remove("log.ignore.names").ok_or("no names")?;
        Vec::try_from(names).map_err(|error| error.to_string().into())
    };
    let asks = |tree: &Tree| tree.says("Save changes?");
    let close = || -> Outcome {
        // The window on top comes last.
        let tree = access.tree()?;
        let mut buttons = tree.0.iter().filter(|it| it.role == "push button" && it.name == "Close");
        access.press(buttons.next_back().ok_or("it cannot be closed")?)?;
        desktop.seen(&access, "the question", asks).map(drop)
    };
    // A button is there twice, for a wide and for a narrow window, and has its access key in its name.
    let choose = |word: &str| -> Outcome {
        let tree = access.tree()?;
        let mut buttons = tree.0.iter().filter(|it| it.role == "push button" && it.name.ends_with(word));
        ensure(buttons.any(|it| access.press(it).is_ok()), || format!("{word} cannot be chosen"))
    };
    close()?;
    std::thread::sleep(SLIDE);
    desktop.picture("unsaved");
    choose("Cancel")?;
    desktop.seen(&access, "no question", |tree| !asks(tree) && tree.says("Process names"))?;
    shows("Process names", "mine")?;
    close()?;
    choose("Save")?;
    desktop.seen(&access, "the window without its settings", |tree| !tree.says("Process names"))?;
    let said = names()?;
    ensure(said == ["mine"], || format!("{said:?} is saved"))?;
    desktop.input(&["search", "--onlyvisible", "--name", "^picosnitch$", "windowfocus", "--sync"])?;
    desktop.input(&["key", "ctrl+comma"])?;
    open()?;
    with(&access, "Process names", |it| access.write(it, "other"))?;
    close()?;
    choose("Discard")?;
    desktop.seen(&access, "the window without its settings", |tree| !tree.says("Process names"))?;
    let said = names()?;
    ensure(said == ["mine"], || format!("{said:?} is saved"))
}
