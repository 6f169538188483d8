// SPDX-License-Identifier: GPL-3.0-or-later
//! A private system bus with the policy that the project ships, and a real polkitd on it that reads
//! the project's actions and the case's rules.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tools::{open_to_all, spawn, stop, tail, until};
use super::{Outcome, Trouble, User, project};

const POLKITD: [&str; 2] = ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkit-1/polkitd"];

/// What every system bus says before its services' own policies (dbus-daemon(1)).
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path=@SOCKET@</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow own="org.freedesktop.systemd1"/>
    <allow send_destination="org.freedesktop.systemd1"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
  <include>@POLICY@</include>
</busconfig>
"#;

/// Starts dbus-daemon with the policy that the project ships.
fn launch(dir: &Path) -> Outcome<Child> {
    let policy = project().join("dbus-policy/org.picosnitch.Monitor.conf");
    if !policy.is_file() {
        return Err(Trouble::Failed(format!("{} is missing", policy.display())));
    }
    launch_with(dir, &CONFIG.replace("@POLICY@", &policy.to_string_lossy()))
}

fn launch_with(dir: &Path, config: &str) -> Outcome<Child> {
    let text = config.replace("@SOCKET@", &dir.join("bus").to_string_lossy());
    let config = dir.join("bus.conf");
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(dir.join("bus.log"))?;
    let daemon = spawn(
        Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .arg("--nofork")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
    )
    .map_err(|error| Trouble::Failed(format!("dbus-daemon: {error}")))?;
    Ok(daemon)
}

/// Calls of a method, as they are made.
#[derive(Debug)]
pub struct Calls {
    member: String,
    file: PathBuf,
    child: Child,
}

impl Calls {
    /// All arguments of each call so far, in order.
    #[must_use]
    pub fn arguments(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lines = lines.filter(|line| line["member"] == self.member.as_str());
        lines.map(|line| line["payload"]["data"].clone()).collect()
    }

    /// The first argument of each call so far, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<serde_json::Value> {
        self.arguments().into_iter().map(|data| data[0].clone()).collect()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        stop(&mut self.child, Duration::from_secs(3));
    }
}

/// A running bus.
#[derive(Debug)]
pub struct Bus {
    /// Its address, for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub address: String,
    dir: PathBuf,
    daemon: Child,
    polkit: Option<Child>,
}

impl Bus {
    /// Starts bus and polkitd; files go to `dir`.
    ///
    /// # Errors
    /// One of them is missing or does not start.
    pub fn start(dir: &Path) -> Outcome<Bus> {
        let daemon = launch(dir)?;
        let address = format!("unix:path={}", dir.join("bus").display());
        let mut bus = Bus { address, dir: dir.to_path_buf(), daemon, polkit: None };
        bus.up()?;
        Ok(bus)
    }

    /// Starts a bus that no service has installed a policy on: nobody may own a name, and there is no
    /// polkitd.
    ///
    /// # Errors
    /// It does not start.
    pub fn bare(dir: &Path) -> Outcome<Bus> {
        let without: Vec<&str> = CONFIG.lines().filter(|line| !line.contains("<include")).collect();
        let daemon = launch_with(dir, &without.join("\n"))?;
        let address = format!("unix:path={}", dir.join("bus").display());
        let mut bus = Bus { address, dir: dir.to_path_buf(), daemon, polkit: None };
        bus.listens()?;
        Ok(bus)
    }

    /// Ends bus and polkitd.
    pub fn stop(&mut self) {
        self.stop_polkit();
        stop(&mut self.daemon, Duration::from_secs(3));
        let _ = std::fs::remove_file(self.dir.join("bus"));
    }

    /// Starts both again at the same address.
    ///
    /// # Errors
    /// As [`Bus::start`].
    pub fn restart(&mut self) -> Outcome {
        self.stop();
        self.daemon = launch(&self.dir)?;
        self.up()
    }

    /// Listens to the calls of this method from now on.
    ///
    /// # Errors
    /// busctl is missing or may not listen.
    pub fn listen(&self, member: &str) -> Outcome<Calls> {
        let file = self.dir.join(format!("calls-{member}"));
        let log = std::fs::File::create(self.dir.join(format!("calls-{member}.log")))?;
        let child = spawn(
            Command::new("busctl")
                .arg(format!("--address={}", self.address))
                .args(["--json=short", "monitor"])
                .arg(format!("--match=type=method_call,member={member}"))
                .arg("--match=type=method_call,member=Ping")
                .stdin(Stdio::null())
                .stdout(std::fs::File::create(&file)?)
                .stderr(log),
        )?;
        let calls = Calls { member: member.to_owned(), file, child };
        let said = self.dir.join(format!("calls-{member}.log"));
        // Not every version says when it listens: it does when it hears something.
        let up = until(Duration::from_secs(30), || {
            let mut ping = Command::new("busctl");
            ping.arg(format!("--address={}", self.address)).args(["call", "org.freedesktop.DBus", "/"]);
            ping.args(["org.freedesktop.DBus.Peer", "Ping"]).stdout(Stdio::null()).stderr(Stdio::null());
            ping.status().is_ok_and(|status| status.success())
                && std::fs::metadata(&calls.file).is_ok_and(|file| file.len() > 0)
        });
        super::ensure(up, || format!("busctl does not listen: {}", tail(&said, 3)))?;
        Ok(calls)
    }

    fn up(&mut self) -> Outcome {
        self.listens()?;
        self.start_polkit()
    }

    fn listens(&mut self) -> Outcome {
        let socket = self.dir.join("bus");
        let up = until(Duration::from_secs(30), || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
                || !matches!(self.daemon.try_wait(), Ok(None))
        });
        if !up || !matches!(self.daemon.try_wait(), Ok(None)) {
            return Err(format!("the bus does not start: {}", tail(&self.dir.join("bus.log"), 5)).into());
        }
        Ok(())
    }

    /// Starts polkitd in a mount namespace of its own, where it finds nothing but the project's actions
    /// and this bus's rules.
    ///
    /// # Errors
    /// It is missing or does not start.
    pub fn start_polkit(&mut self) -> Outcome {
        let polkitd = POLKITD
            .iter()
            .find(|path| Path::new(path).exists())
            .ok_or("polkitd is missing: install the package polkitd")?;
        let (actions, rules) = (self.dir.join("actions"), self.dir.join("rules"));
        for folder in [&actions, &rules] {
            std::fs::create_dir_all(folder)?;
            open_to_all(folder)?;
        }
        let policy = project().join("polkit/org.picosnitch.Monitor.policy");
        std::fs::copy(&policy, actions.join("org.picosnitch.Monitor.policy"))
            .map_err(|error| Trouble::Failed(format!("{}: {error}", policy.display())))?;
        // It looks up there who is in which group; a case may add one (`Bus::group`).
        let groups = self.dir.join("group");
        std::fs::copy("/etc/group", &groups)?;
        let log = std::fs::File::create(self.dir.join("polkit.log"))?;
        let script = r#"set -e
mount --bind "$1" /usr/share/polkit-1/actions
mount --bind "$2" /etc/polkit-1/rules.d
mount --bind "$3" /etc/group
exec "$4" --no-debug"#;
        let child = spawn(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
                .args([&actions, &rules, &groups])
                .arg(polkitd)
                .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        self.polkit = Some(child);
        let up = until(Duration::from_secs(30), || self.has_owner("org.freedesktop.PolicyKit1"));
        if up {
            Ok(())
        } else {
            Err(format!("polkitd does not start: {}", tail(&self.dir.join("polkit.log"), 5)).into())
        }
    }

    /// Ends polkitd.
    pub fn stop_polkit(&mut self) {
        if let Some(mut child) = self.polkit.take() {
            stop(&mut child, Duration::from_secs(3));
        }
    }

    /// Answers yes to `actions` (or parts of their names) for one user, no to everybody else as the
    /// actions' defaults say. An empty list takes the rule away.
    ///
    /// # Errors
    /// The rule cannot be written.
    pub fn allow(&self, user: &str, actions: &[&str]) -> Outcome {
        let path = self.dir.join("rules").join(format!("10-{user}.rules"));
        if actions.is_empty() {
            return std::fs::remove_file(path).map_err(Trouble::from);
        }
        let list: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
        let text = format!(
            "polkit.addRule(function(action, subject) {{\n  if (subject.user == \"{user}\" && \
             [{}].indexOf(action.id) >= 0) return polkit.Result.YES;\n}});\n",
            list.join(", ")
        );
        self.rule(&path, &text)
    }

    /// The rule that the project ships as an example, as an administrator puts it in place.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn example_rule(&self) -> Outcome {
        let text = std::fs::read_to_string(project().join("polkit/50-picosnitch.rules.example"))?;
        self.rule(&self.dir.join("rules/50-picosnitch.rules"), &text)
    }

    /// For polkitd a user is in a group of this name; the user as one who logged in since. Older versions look
    /// into the list of groups, newer ones at the process.
    ///
    /// # Errors
    /// The file of groups cannot be written.
    pub fn group(&self, name: &str, user: &User) -> Outcome<User> {
        let gid = 64_999;
        let mut file = std::fs::File::options().append(true).open(self.dir.join("group"))?;
        std::io::Write::write_all(&mut file, format!("{name}:x:{gid}:{}\n", user.name).as_bytes())?;
        Ok(user.in_group(gid))
    }

    fn rule(&self, path: &Path, text: &str) -> Outcome {
        // polkitd looks when a file is moved in or written; moved, it never sees half a rule.
        let new = self.dir.join("rule.new");
        std::fs::write(&new, text)?;
        open_to_all(&new)?;
        std::fs::rename(&new, path).map_err(Trouble::from)
    }

    /// Whether somebody owns a name.
    #[must_use]
    pub fn has_owner(&self, name: &str) -> bool {
        Command::new("dbus-send")
            .arg(format!("--bus={}", self.address))
            .args(["--print-reply=literal", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
            .args(["org.freedesktop.DBus.NameHasOwner", &format!("string:{name}")])
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("true"))
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
    }
}
