// SPDX-License-Identifier: GPL-3.0-or-later
//! Window and tray, from the outside: when the screen changes, how much memory, how many wake-ups. With
//! `--database DIR` the daemon serves the history in there (a copy), with which the promises are made.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use picosnitch_tests::lab::desktop::Desktop;
use picosnitch_tests::lab::program::report;
use picosnitch_tests::lab::{Lab, Outcome, Stage, Trouble, ensure};

use crate::Arguments;
use crate::cost::pss;
use crate::table::{Line, spread};

/// Starts of the window.
const STARTS: usize = 5;
/// Fresh programs for the latency of a toast.
const TOASTS: usize = 5;
/// From one to the next. Five toasts a minute are all there are, and other programs of the machine may have one of
/// them: whoever comes sixth waits until the first is a minute old.
const BETWEEN: Duration = Duration::from_secs(20);

/// The picture of an X server that keeps it in a file (XWD, xwdfile.h).
struct Screen {
    file: File,
    first: u64,
    line: u64,
}

impl Screen {
    fn open(path: &Path) -> Outcome<Screen> {
        let file = File::open(path)?;
        let word = |at: u64| -> Outcome<u64> {
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from(u32::from_be_bytes(bytes)))
        };
        // Header size, bytes of a line, entries of the colour map of 12 bytes each.
        let (header, line, colours) = (word(0)?, word(48)?, word(76)?);
        Ok(Screen { first: header + colours * 12, line, file })
    }

    /// A row of pixels.
    fn row(&self, x: u64, y: u64, count: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; count * 4];
        self.file.read_exact_at(&mut bytes, self.first + y * self.line + x * 4)?;
        Ok(bytes)
    }

    /// Waits until the pixel is another than this.
    fn other(&self, (x, y): (u64, u64), than: &[u8], since: Instant) -> Outcome<f64> {
        while self.row(x, y, 1)? == than {
            ensure(since.elapsed() < Duration::from_secs(30), || "nothing appears on the screen".into())?;
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(since.elapsed().as_secs_f64() * 1e3)
    }
}

/// A pixel of the window's content, and one that only a tile with numbers covers.
const CONTENT: (u64, u64) = (700, 600);
const TILE: (u64, u64) = (420, 70);

/// Times that its threads were woken.
fn wakes(pid: u32) -> Outcome<u64> {
    let mut all = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("status"))?;
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        all += line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(all)
}

fn stage(lab: &mut Lab, arguments: &Arguments) -> Outcome<Stage> {
    let mut stage = lab.stage("bench-desktop", "")?;
    if let Some(from) = &arguments.database {
        stage.daemon.stop()?;
        let state = stage.dir.join("state");
        for file in std::fs::read_dir(from)? {
            let file = file?;
            std::fs::copy(file.path(), state.join(file.file_name()))?;
        }
        stage.daemon.launch_again()?;
    }
    Ok(stage)
}

/// Rows of pixels by which pictures of a list are told apart. One alone shows the same again and again: what is
/// between two lines of text, or a stroke that all of them have.
const ROWS: std::ops::Range<u64> = 150..680;
/// Pixels from one of them to the next, which is no part of the height of a line.
const APART: usize = 13;

/// What is on the screen, as far as pictures are told apart.
fn picture(screen: &Screen) -> Outcome<Vec<Vec<u8>>> {
    ROWS.step_by(APART).map(|y| screen.row(240, y, 800)).collect()
}

/// Distances between pictures that differ, in ms, while something is done.
fn frames(screen: &Screen, act: impl FnOnce() -> Outcome + Send) -> Outcome<Vec<f64>> {
    let (mut all, mut last) = (Vec::new(), None);
    let mut shown = picture(screen)?;
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        while !acting.is_finished() {
            let now = picture(screen)?;
            if now != shown {
                shown = now;
                if let Some(last) = last.replace(Instant::now()) {
                    all.push(Instant::elapsed(&last).as_secs_f64() * 1e3);
                }
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        acting.join().map_err(|_| "the one who scrolls ended")?
    })?;
    Ok(all)
}

/// Turns of the wheel while frames are measured, each 16 ms after the one before: ten seconds.
const TURNS: usize = 600;

/// A page, scrolled down as fast as a wheel turns: frames and memory.
fn scrolling(desktop: &Desktop, screen: &Screen, key: &str, name: &str) -> Outcome<Vec<Line>> {
    desktop.input(&["key", key])?;
    std::thread::sleep(Duration::from_secs(2));
    desktop.input(&["mousemove", "700", "400"])?;
    let turns = TURNS.to_string();
    let mut times = frames(screen, || desktop.input(&["click", "--repeat", &turns, "--delay", "16", "5"]))?;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let most = times.last().copied().unwrap_or(f64::NAN);
    Ok(vec![
        Line::plain(
            format!("window, {name}: between frames while scrolling (software rendering)"),
            format!(
                "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, most {most:.0} ms, {} frames",
                at(0.5),
                at(0.95),
                at(0.99),
                times.len()
            ),
        ),
        Line::plain(
            format!("window, {name}: memory after scrolling (PSS)"),
            format!("{:.1} MiB", pss(desktop.window_pid())?),
        ),
    ])
}

/// The window: how soon it is there, its frames and its memory.
pub fn window(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = stage(lab, arguments)?;
    let program = lab.programs.make("bench-desktop")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let dir = lab.new_dir("bench-desktop")?;
    let mut desktop = Desktop::start(&dir, &stage.bus.address, true)?;
    let screen = Screen::open(&dir.join("Xvfb_screen0"))?;
    let (mut paints, mut fills) = (Vec::new(), Vec::new());
    // What is there instead of what was waited for.
    let instead = |desktop: &Desktop, why: Trouble| -> Trouble {
        desktop.picture("bench-failed");
        let tree = desktop.access().and_then(|access| access.tree()).map(|tree| tree.text());
        format!("{why}; {}; {}", tree.unwrap_or_default(), desktop.window_log()).into()
    };
    for _ in 0..STARTS {
        let (dark, tile) = (screen.row(CONTENT.0, CONTENT.1, 1)?, Instant::now());
        desktop.begin_window(&[])?;
        paints.push(screen.other(CONTENT, &dark, tile).map_err(|why| instead(&desktop, why))?);
        let page = screen.row(CONTENT.0, CONTENT.1, 1)?;
        fills.push(screen.other(TILE, &page, tile).map_err(|why| instead(&desktop, why))?);
        std::thread::sleep(Duration::from_secs(2));
        if fills.len() < STARTS {
            let page = screen.row(CONTENT.0, CONTENT.1, 1)?;
            desktop.close_window();
            screen.other(CONTENT, &page, Instant::now()).map_err(|why| instead(&desktop, why))?;
        }
    }
    let (paints, fills) = (spread(paints), spread(fills));
    let mut lines = vec![
        Line::promised(
            "window: start to first paint",
            format!(
                "{:.0} ms (median of {STARTS}, {:.0} to {:.0})",
                paints.median, paints.least, paints.most
            ),
            "≤ 500 ms",
            paints.median <= 500.0,
        ),
        Line::plain(
            "window: start to first data",
            format!("{:.0} ms (median of {STARTS}, {:.0} to {:.0})", fills.median, fills.least, fills.most),
        ),
        Line::plain(
            "window: memory at its first screen (PSS)",
            format!("{:.1} MiB", pss(desktop.window_pid())?),
        ),
    ];
    let passes = [
        ("alt+5", "live"),
        ("alt+5", "live, further"),
        ("alt+2", "programs"),
        ("alt+4", "timeline"),
        ("alt+5", "live again"),
        ("alt+5", "live, further still"),
    ];
    for (key, name) in passes {
        lines.extend(scrolling(&desktop, &screen, key, name)?);
    }
    Ok(lines)
}

/// The tray: its memory, its wake-ups, and how soon a toast is there.
pub fn tray(lab: &mut Lab, arguments: &Arguments) -> Outcome<Vec<Line>> {
    let stage = stage(lab, arguments)?;
    let mut desktop = Desktop::start(&lab.new_dir("bench-tray")?, &stage.bus.address, true)?;
    let mut lines = Vec::new();
    desktop.tray(&["--announce-at-once"])?;
    std::thread::sleep(Duration::from_secs(5));
    let (memory, before) = (pss(desktop.tray_pid())?, wakes(desktop.tray_pid())?);
    std::thread::sleep(Duration::from_secs(arguments.idle.min(60)));
    let woken = wakes(desktop.tray_pid())?.saturating_sub(before);
    lines.push(Line::promised("tray: memory (PSS)", format!("{memory:.1} MiB"), "≤ 10 MiB", memory <= 10.0));
    lines.push(Line::plain("tray: wake-ups while idle", format!("{woken} in {} s", arguments.idle.min(60))));
    desktop.clear()?;
    let mut shown = Vec::new();
    for number in 0..TOASTS {
        let name = format!("bench-toast-{number}");
        let fresh = lab.programs.make(&name)?;
        let start = Instant::now();
        report(&fresh, &["tcp-echo", &lab.net.to()])?;
        while !desktop.toasts().iter().any(|toast| toast.title.contains(&name)) {
            ensure(start.elapsed() < Duration::from_secs(20), || "no toast".into())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        shown.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(BETWEEN);
    }
    let shown = spread(shown);
    lines.push(Line::plain(
        "from the start of a new program to its toast",
        format!("{:.0} ms (median of {TOASTS}, {:.0} to {:.0})", shown.median, shown.least, shown.most),
    ));
    Ok(lines)
}
