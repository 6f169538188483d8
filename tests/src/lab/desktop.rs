// SPDX-License-Identifier: GPL-3.0-or-later
//! A desktop: an X server, a session bus, a panel that hosts status icons, a notification daemon, and one
//! who listens to what is said on the bus. All of it real.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::tools::{self, run, spawn, until};
use super::{Access, Outcome, Tree, Trouble, User, built};

/// Programs that it takes, with the package that has them in Debian.
const PARTS: [(&str, &str); 7] = [
    ("Xvfb", "xvfb"),
    ("dbus-daemon", "dbus-daemon"),
    ("busctl", "systemd"),
    ("xfce4-panel", "xfce4-panel"),
    ("dunst", "dunst"),
    ("dunstctl", "dunst"),
    ("xdotool", "xdotool"),
];

/// A panel with nothing but the place for status icons.
const PANEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array"><value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/></property>
    </property>
  </property>
  <property name="plugins" type="empty"><property name="plugin-1" type="string" value="systray"/></property>
</channel>
"#;

/// What a toast said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// The toast that it takes the place of; 0 if none.
    pub replaces: u32,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// Words and labels of its buttons, one after the other.
    pub actions: Vec<String>,
    /// The desktop entry that it belongs to.
    pub desktop_entry: String,
    /// It is critical: it stays until somebody answers it.
    pub critical: bool,
}

/// See the module. What is started first ends last.
#[derive(Debug)]
pub struct Desktop {
    dir: PathBuf,
    session: String,
    display: String,
    system: String,
    /// Name and process.
    parts: Vec<(&'static str, Child)>,
    tray: Option<Child>,
    window: Option<Child>,
    user: Option<User>,
    /// Toasts that were cleared away.
    cleared: usize,
}

impl Desktop {
    /// Starts it; programs in it find the daemon at `system`. Without a panel there is nobody who shows
    /// status icons.
    ///
    /// # Errors
    /// Something is missing (skipped) or does not start.
    pub fn start(dir: &Path, system: &str, panel: bool) -> Outcome<Desktop> {
        Self::of(None, dir, system, panel)
    }

    /// The same, with somebody else than root logged in.
    ///
    /// # Errors
    /// See [`Desktop::start`].
    pub fn of(user: Option<&User>, dir: &Path, system: &str, panel: bool) -> Outcome<Desktop> {
        for (program, package) in PARTS {
            if run("sh", &["-c", &format!("command -v {program}")]).is_err() {
                return Err(Trouble::Skipped(format!("{program} is not installed (package {package})")));
            }
        }
        let mut desktop = Desktop {
            dir: dir.to_path_buf(),
            session: format!("unix:path={}", dir.join("session").display()),
            display: String::new(),
            system: system.to_owned(),
            parts: Vec::new(),
            tray: None,
            window: None,
            user: user.cloned(),
            cleared: 0,
        };
        desktop.x_server()?;
        desktop.config()?;
        let mut bus = desktop.command("dbus-daemon");
        bus.args(["--session", "--nofork", "--nopidfile", "--address", &desktop.session]);
        desktop.part(bus, "session")?;
        let socket = dir.join("session");
        desktop.wait("the session bus", || socket.exists())?;
        // `busctl monitor` writes every message as one line.
        let mut listener = desktop.command("busctl");
        listener.arg(format!("--address={}", desktop.session)).args([
            "--json=short",
            "monitor",
            "--match=type=method_call,interface=org.freedesktop.Notifications,member=Notify",
        ]);
        desktop.part(listener, "heard")?;
        desktop.start_dunst()?;
        if panel {
            desktop.start_panel()?;
        }
        Ok(desktop)
    }

    /// Starts what shows toasts.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_dunst(&mut self) -> Outcome {
        self.part(self.command("dunst"), "dunst")?;
        self.wait("dunst", || self.has_owner("org.freedesktop.Notifications"))
    }

    /// Starts what shows status icons.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_panel(&mut self) -> Outcome {
        let mut panel = self.command("xfce4-panel");
        panel.arg("--disable-wm-check");
        self.part(panel, "panel")?;
        self.wait("the panel", || self.has_owner("org.kde.StatusNotifierWatcher"))
    }

    /// Ends the part with this name: `dunst` or `panel`.
    pub fn stop_part(&mut self, name: &str) {
        if let Some(at) = self.parts.iter().position(|(part, _)| *part == name) {
            tools::stop(&mut self.parts.remove(at).1, Duration::from_secs(3));
        }
    }

    /// Sends a signal to the part with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn signal_part(&self, name: &str, signal: nix::sys::signal::Signal) -> Outcome {
        let part = self.parts.iter().find(|(part, _)| *part == name);
        let (_, child) = part.ok_or_else(|| format!("{name} does not run"))?;
        tools::signal(child, signal).map_err(Trouble::from)
    }

    fn x_server(&mut self) -> Outcome {
        let number = self.dir.join("display");
        let file = std::fs::File::create(&number)?;
        let log = std::fs::File::create(self.dir.join("xvfb.log"))?;
        let mut server = Command::new("Xvfb");
        server
            .args(["-displayfd", "1", "-ac", "-screen", "0", "1200x800x24", "-fbdir"])
            .arg(&self.dir)
            .stdout(file)
            .stderr(log);
        self.parts.push(("xvfb", spawn(server.stdin(Stdio::null()))?));
        self.wait("Xvfb", || std::fs::read_to_string(&number).is_ok_and(|text| text.ends_with('\n')))?;
        self.display = format!(":{}", std::fs::read_to_string(&number)?.trim());
        Ok(())
    }

    fn config(&self) -> Outcome {
        let config = self.dir.join("home/.config");
        let channel = config.join("xfce4/xfconf/xfce-perchannel-xml");
        std::fs::create_dir_all(&channel)?;
        std::fs::write(channel.join("xfce4-panel.xml"), PANEL)?;
        std::fs::create_dir_all(config.join("dunst"))?;
        // The one who answers dunst's question which button is meant: the one named in a file, of the toast
        // that came last. The order of the question differs from version to version.
        let chooser = self.dir.join("choose");
        // Of lines like `#Mute (a title) [3,mute]`.
        let last = r"sed 's/.*\[\([0-9]*\),[^[]*$/\1 &/' | sort -n | tail -n 1 | cut -d ' ' -f 2-";
        let choice = self.dir.join("choice");
        let script = format!("#!/bin/sh\ngrep -F \"#$(cat {}) (\" | {last}\n", choice.display());
        std::fs::write(&chooser, script)?;
        std::fs::set_permissions(&chooser, std::fs::Permissions::from_mode(0o755))?;
        // What goes within a case was taken away by somebody.
        let dunst = format!(
            "[global]\nmarkup = full\nshow_indicators = no\ndmenu = {}\n[urgency_normal]\ntimeout = 120\n",
            chooser.display()
        );
        std::fs::write(config.join("dunst/dunstrc"), dunst)?;
        std::fs::create_dir_all(self.dir.join("run"))?;
        std::fs::set_permissions(self.dir.join("run"), std::fs::Permissions::from_mode(0o700))?;
        if let Some(user) = &self.user {
            let dir = self.dir.display().to_string();
            run("chown", &["--recursive", &user.name, &dir])?;
        }
        Ok(())
    }

    /// A command of whoever is logged in.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.user {
            Some(user) => user.command(program),
            None => Command::new(program),
        }
    }

    /// One of our programs where everybody can run it, with the translations beside it.
    fn program(&self, name: &str) -> Outcome<PathBuf> {
        let copy = self.dir.join("bin").join(name);
        if !copy.exists() {
            std::fs::create_dir_all(self.dir.join("bin"))?;
            std::fs::copy(built(name)?, &copy)?;
            let folder = self.dir.join("share/locale/de/LC_MESSAGES");
            std::fs::create_dir_all(&folder)?;
            let (from, to) = (super::project().join("data/po/de.po"), folder.join("picosnitch.mo"));
            run("msgfmt", &["-o", &to.display().to_string(), &from.display().to_string()])?;
        }
        Ok(copy)
    }

    /// Puts a command into this session.
    fn inside(&self, command: &mut Command) {
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("LANGUAGE")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.dir.join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
            .env("DISPLAY", &self.display)
            .env("GSK_RENDERER", "cairo")
            .env("DBUS_SESSION_BUS_ADDRESS", &self.session)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.system)
            .stdin(Stdio::null());
    }

    fn part(&mut self, mut command: Command, log: &'static str) -> Outcome {
        self.inside(&mut command);
        command.stdout(std::fs::File::create(self.dir.join(format!("{log}.out")))?);
        command.stderr(std::fs::File::create(self.dir.join(format!("{log}.log")))?);
        self.parts.push((log, spawn(&mut command)?));
        Ok(())
    }

    fn wait(&self, what: &str, condition: impl FnMut() -> bool) -> Outcome {
        if until(Duration::from_secs(20), condition) {
            Ok(())
        } else {
            Err(Trouble::Failed(format!("{what} does not start")))
        }
    }

    /// Somebody has this name on the session bus.
    #[must_use]
    pub fn has_owner(&self, name: &str) -> bool {
        self.busctl(&["call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", name])
            .is_ok_and(|answer| answer["data"][0] == true)
    }

    /// Process id of who has this name on the session bus.
    ///
    /// # Errors
    /// Nobody has it.
    pub fn pid_of(&self, name: &str) -> Outcome<u64> {
        let bus = "org.freedesktop.DBus";
        let answer = self.busctl(&["call", bus, "/", bus, "GetConnectionUnixProcessID", "s", name])?;
        answer["data"][0].as_u64().ok_or_else(|| format!("who is {name}? {answer}").into())
    }

    /// Asks on the session bus.
    ///
    /// # Errors
    /// The call fails.
    pub fn busctl(&self, arguments: &[&str]) -> Outcome<Value> {
        let address = format!("--address={}", self.session);
        let mut command = self.command("busctl");
        command.args([address.as_str(), "--json=short", "--"]).args(arguments);
        let output = command.stdin(Stdio::null()).output()?;
        super::ensure(output.status.success(), || {
            format!("busctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        // A call without an answer prints nothing.
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Starts the tray.
    ///
    /// # Errors
    /// It is not built.
    pub fn tray(&mut self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(self.program("picosnitch-tray")?);
        // Which opens the window that is beside it.
        self.program("picosnitch-gui")?;
        command.args(arguments);
        self.inside(&mut command);
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("tray.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.tray = Some(spawn(&mut command)?);
        self.wait("the tray", || self.has_owner("org.picosnitch.Tray"))
    }

    /// Opens the window, or asks the one that is open for something; with these variables besides.
    ///
    /// # Errors
    /// It is not built, or does not come up.
    pub fn window(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let mut child = self.start_window(arguments, variables)?;
        if self.window.is_some() {
            return super::ensure(child.wait()?.success(), || "the window was not told".into());
        }
        self.window = Some(child);
        self.wait("the window", || self.has_owner("org.picosnitch.Picosnitch"))
    }

    /// Begins to open the window and does not wait.
    ///
    /// # Errors
    /// It is not built.
    pub fn begin_window(&mut self, arguments: &[&str]) -> Outcome {
        self.window = Some(self.start_window(arguments, &[])?);
        Ok(())
    }

    fn start_window(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome<Child> {
        let mut command = self.command(self.program("picosnitch-gui")?);
        command.args(arguments);
        self.inside(&mut command);
        command.envs(variables.iter().copied());
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("window.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(spawn(&mut command)?)
    }

    /// Closes the window.
    pub fn close_window(&mut self) {
        if let Some(mut window) = self.window.take() {
            tools::stop(&mut window, Duration::from_secs(5));
        }
    }

    /// Process id of the window.
    #[must_use]
    pub fn window_pid(&self) -> u32 {
        self.window.as_ref().map_or(0, Child::id)
    }

    /// Memory that the window has for itself, in KiB: without what it shares or has from files.
    ///
    /// # Errors
    /// It does not run.
    pub fn window_memory(&self) -> Outcome<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.window_pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| "no Pss_Anon in smaps_rollup".into())
    }

    /// How often its main thread has waited for something.
    ///
    /// # Errors
    /// It does not run.
    pub fn window_waits(&self) -> Outcome<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.window_pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|line| line.trim().parse().ok()).ok_or_else(|| "no switches in status".into())
    }

    /// Process id of the tray.
    #[must_use]
    pub fn tray_pid(&self) -> u32 {
        self.tray.as_ref().map_or(0, Child::id)
    }

    /// What the window wrote.
    #[must_use]
    pub fn window_log(&self) -> String {
        tools::tail(&self.dir.join("window.log"), 20)
    }

    /// The session for a screen reader.
    ///
    /// # Errors
    /// There is none.
    pub fn access(&self) -> Outcome<Access> {
        Access::connect(&self.session, self.user.as_ref().map_or(0, |user| user.uid))
    }

    /// What xdotool does: `key`, `type`, `mousemove`, `click` and so on.
    ///
    /// # Errors
    /// It fails.
    pub fn input(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("xdotool");
        self.inside(command.args(arguments));
        let output = command.output()?;
        super::ensure(output.status.success(), || {
            format!("xdotool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Width of the window as the X server has it, in pixels.
    ///
    /// # Errors
    /// There is none.
    pub fn window_width(&self) -> Outcome<i32> {
        let mut command = Command::new("xdotool");
        let words = ["search", "--onlyvisible", "--name", "^picosnitch$", "getwindowgeometry", "--shell"];
        self.inside(command.args(words));
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let width = text.lines().find_map(|line| line.strip_prefix("WIDTH=")?.parse().ok());
        width.ok_or_else(|| format!("no window: {text:?}").into())
    }

    /// Waits until the widgets are so, and answers them.
    ///
    /// # Errors
    /// They do not become so; `what` says what was waited for.
    pub fn seen(&self, access: &Access, what: &str, so: impl Fn(&Tree) -> bool) -> Outcome<Tree> {
        let mut last = Tree::default();
        let came = tools::until(Duration::from_secs(20), || {
            access.tree().is_ok_and(|tree| {
                last = tree;
                so(&last)
            })
        });
        if came {
            return Ok(last);
        }
        // Kept with the other logs.
        std::fs::write(self.dir.join("unseen.txt"), last.text())?;
        self.picture("unseen");
        let texts: Vec<&str> = last.0.iter().map(|it| it.name.as_str()).filter(|it| !it.is_empty()).collect();
        Err(Trouble::Failed(format!(
            "the window does not show {what}; it shows {texts:?}; {}",
            self.window_log()
        )))
    }

    /// A picture of the screen, kept with `PICOSNITCH_KEEP`; ImageMagick makes it where it is installed.
    pub fn picture(&self, name: &str) {
        if std::env::var_os("PICOSNITCH_KEEP").is_some() {
            let mut command = Command::new("import");
            self.inside(command.args(["-window", "root"]).arg(self.dir.join(format!("{name}.png"))));
            // No picture is no failure: the cases do not look at it.
            let _ = command.status();
        }
    }

    /// Ends the tray as a logout does.
    pub fn stop_tray(&mut self) {
        if let Some(mut tray) = self.tray.take() {
            tools::stop(&mut tray, Duration::from_secs(5));
        }
    }

    /// The tray is alive.
    pub fn tray_runs(&mut self) -> bool {
        self.tray.as_mut().is_some_and(|tray| matches!(tray.try_wait(), Ok(None)))
    }

    /// Every toast that was asked for since the last clearing, in order.
    #[must_use]
    pub fn toasts(&self) -> Vec<Toast> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines: Vec<Value> = read_lines(&self.dir.join("heard.out"));
        lines
            .iter()
            .filter(|line| line["member"] == "Notify")
            .skip(self.cleared)
            .map(|line| {
                let data = &line["payload"]["data"];
                Toast {
                    replaces: data[1].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
                    title: text(&data[3]),
                    body: text(&data[4]),
                    actions: data[5].as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default(),
                    desktop_entry: text(&data[6]["desktop-entry"]["data"]),
                    critical: data[6]["urgency"]["data"] == 2,
                }
            })
            .collect()
    }

    /// Takes all toasts from the screen and forgets them.
    ///
    /// # Errors
    /// dunst does not answer.
    pub fn clear(&mut self) -> Outcome {
        self.dunstctl(&["close-all"])?;
        self.cleared += self.toasts().len();
        Ok(())
    }

    /// Titles of toasts that were on the screen and are not any more.
    ///
    /// # Errors
    /// dunst does not answer.
    pub fn gone(&self) -> Outcome<Vec<String>> {
        let name = "org.freedesktop.Notifications";
        let path = "/org/freedesktop/Notifications";
        let list = self.busctl(&["call", name, path, "org.dunstproject.cmd0", "NotificationListHistory"])?;
        let toasts = list["data"][0].as_array().into_iter().flatten();
        Ok(toasts.filter_map(|toast| toast["summary"]["data"].as_str()).map(str::to_owned).collect())
    }

    fn dunstctl(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command("dunstctl");
        self.inside(command.args(arguments));
        let output = command.output()?;
        super::ensure(output.status.success(), || {
            format!("dunstctl: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Presses a button of the latest toast; an empty label is a click on the toast itself.
    ///
    /// # Errors
    /// dunst does not answer.
    pub fn press(&self, label: &str) -> Outcome {
        if label.is_empty() {
            return self.dunstctl(&["action", "0"]);
        }
        std::fs::write(self.dir.join("choice"), label)?;
        self.dunstctl(&["context"])
    }

    /// Bus name of the status icon, as the panel knows it.
    ///
    /// # Errors
    /// There is none.
    pub fn icon(&self) -> Outcome<String> {
        let watcher = "org.kde.StatusNotifierWatcher";
        let items = self.busctl(&[
            "get-property",
            watcher,
            "/StatusNotifierWatcher",
            watcher,
            "RegisteredStatusNotifierItems",
        ])?;
        let item = items["data"].as_array().and_then(|items| items.first()).and_then(Value::as_str);
        let item = item.ok_or_else(|| Trouble::from("the panel knows no status icon"))?;
        Ok(item.split('/').next().unwrap_or(item).to_owned())
    }

    /// Text of the icon's tooltip.
    ///
    /// # Errors
    /// There is no icon.
    pub fn tooltip(&self) -> Outcome<String> {
        let icon = self.icon()?;
        let item = "org.kde.StatusNotifierItem";
        let tip = self.busctl(&["get-property", &icon, "/StatusNotifierItem", item, "ToolTip"])?;
        Ok(tip["data"][3].as_str().or(tip["data"][0][3].as_str()).unwrap_or_default().to_owned())
    }

    /// The icon that the panel is given bears the red dot of what is unread.
    ///
    /// # Errors
    /// There is no icon, or its sizes differ in that.
    pub fn badge(&self) -> Outcome<bool> {
        let (icon, item) = (self.icon()?, "org.kde.StatusNotifierItem");
        let answer = self.busctl(&["get-property", &icon, "/StatusNotifierItem", item, "IconPixmap"])?;
        let sizes = answer["data"].as_array().ok_or("no pictures")?;
        // In the middle of where the dot is: alpha, red, green, blue.
        let dot = |picture: &Value| {
            let side = picture[0].as_u64().unwrap_or(0);
            let at = (side * 19 / 100 * side + side * 81 / 100) * 4;
            (0..4)
                .map(|byte| picture[2][usize::try_from(at + byte).unwrap_or(0)].as_u64())
                .collect::<Vec<_>>()
        };
        let red = [0xff, 0xe0, 0x1b, 0x24].map(Some);
        let count = sizes.iter().filter(|picture| dot(picture) == red).count();
        super::ensure(!sizes.is_empty() && (count == 0 || count == sizes.len()), || {
            format!("{count} of {} sizes have the dot", sizes.len())
        })?;
        Ok(count > 0)
    }

    /// What a panel on Wayland hands over before it tells a click.
    ///
    /// # Errors
    /// There is no icon.
    pub fn provide_token(&self, token: &str) -> Outcome {
        let (icon, item) = (self.icon()?, "org.kde.StatusNotifierItem");
        self.busctl(&["call", &icon, "/StatusNotifierItem", item, "ProvideXdgActivationToken", "s", token])?;
        Ok(())
    }

    /// Labels of the menu with their numbers, submenus too.
    ///
    /// # Errors
    /// There is no icon.
    pub fn menu(&self) -> Outcome<Vec<(i64, String)>> {
        fn collect(node: &Value, into: &mut Vec<(i64, String)>) {
            if let (Some(id), Some(label)) = (node[0].as_i64(), node[1]["label"]["data"].as_str()) {
                into.push((id, label.replace("__", "\u{0}").replace('_', "").replace('\u{0}', "_")));
            }
            for child in node[2].as_array().into_iter().flatten() {
                collect(&child["data"], into);
            }
        }
        let icon = self.icon()?;
        let layout = self.busctl(&[
            "call",
            &icon,
            "/MenuBar",
            "com.canonical.dbusmenu",
            "GetLayout",
            "iias",
            "0",
            "-1",
            "0",
        ])?;
        let mut items = Vec::new();
        collect(&layout["data"][1], &mut items);
        Ok(items)
    }

    /// Clicks on the first item of the menu that begins with this.
    ///
    /// # Errors
    /// There is none.
    pub fn click(&self, label: &str) -> Outcome {
        let menu = self.menu()?;
        let item = menu.iter().find(|(_, text)| text.starts_with(label));
        let (id, _) = item.ok_or_else(|| format!("no {label:?} in the menu {menu:?}"))?;
        let (icon, id) = (self.icon()?, id.to_string());
        let menu = "com.canonical.dbusmenu";
        self.busctl(&["call", &icon, "/MenuBar", menu, "Event", "isvu", &id, "clicked", "s", "", "0"])?;
        Ok(())
    }

    /// A click on the icon itself: `Activate` or `SecondaryActivate`.
    ///
    /// # Errors
    /// There is none.
    pub fn click_icon(&self, method: &str) -> Outcome {
        let (icon, item) = (self.icon()?, "org.kde.StatusNotifierItem");
        self.busctl(&["call", &icon, "/StatusNotifierItem", item, method, "ii", "0", "0"])?;
        Ok(())
    }

    /// The arguments of the window that somebody opened; ends it.
    ///
    /// # Errors
    /// There is none.
    pub fn opened(&self) -> Outcome<Vec<String>> {
        let name = "org.picosnitch.Picosnitch";
        self.wait("the window", || self.has_owner(name))?;
        let pid = self.pid_of(name)?;
        let words = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let words = words.split(|byte| *byte == 0).skip(1).map(|it| String::from_utf8_lossy(it).into_owned());
        let process = nix::unistd::Pid::from_raw(i32::try_from(pid).map_err(|error| error.to_string())?);
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL)
            .map_err(|error| error.to_string())?;
        self.wait("the end of the window", || !self.has_owner(name))?;
        Ok(words.filter(|word| !word.is_empty()).collect())
    }

    /// Home of whoever is logged in.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// What the tray wrote.
    #[must_use]
    pub fn tray_log(&self) -> String {
        tools::tail(&self.dir.join("tray.log"), 20)
    }
}

fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.close_window();
        self.stop_tray();
        for (_, part) in self.parts.iter_mut().rev() {
            tools::stop(part, Duration::from_secs(3));
        }
    }
}
