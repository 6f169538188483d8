// SPDX-License-Identifier: GPL-3.0-or-later
//! Host and peer: a network namespace behind a veth pair, with every service of
//! [`crate::traffic::serve`] in it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::program::Programs;
use super::tools::{NET_PREFIX, run, run_with, spawn};
use super::{Outcome, Trouble};
use crate::traffic::{Report, port};

/// Addresses that the peer has beside its first one.
pub const PEERS: u32 = 100;

/// Two network namespaces: this one and the peer's.
#[derive(Debug)]
pub struct Net {
    /// Name of the peer's namespace.
    pub namespace: String,
    /// Our end of the pair.
    pub interface: String,
    /// Our address.
    pub host: Ipv4Addr,
    /// The peer's first address; [`PEERS`] more follow.
    pub peer: Ipv4Addr,
    /// Our address.
    pub host6: Ipv6Addr,
    /// The peer's address.
    pub peer6: Ipv6Addr,
    server: Option<Server>,
    ping_group_range: Option<String>,
}

#[derive(Debug)]
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

impl Net {
    /// Makes the peer and starts its services.
    ///
    /// # Errors
    /// `ip` or `nft` are missing or refuse.
    pub fn new(programs: &Programs) -> Outcome<Net> {
        let namespace = format!("{NET_PREFIX}{}", std::process::id());
        let interface = format!("psl{}", std::process::id());
        let used = run("ip", &["-o", "-4", "addr"])?;
        let third = (0..=255_u8)
            .find(|third| !used.contains(&format!("10.213.{third}.")))
            .ok_or("no free network 10.213.x.0/24")?;
        let peer6 = |last| Ipv6Addr::new(0xfd00, 0x7073, u16::from(third), 0, 0, 0, 0, last);
        let mut net = Net {
            namespace: namespace.clone(),
            interface: interface.clone(),
            host: Ipv4Addr::new(10, 213, third, 1),
            peer: Ipv4Addr::new(10, 213, third, 2),
            host6: peer6(1),
            peer6: peer6(2),
            server: None,
            // Another lab that runs at the same time puts back what it found; what it set is not to be kept.
            ping_group_range: std::fs::read_to_string(PING_GROUPS)
                .ok()
                .filter(|range| !range.contains("2147483647")),
        };
        std::fs::write(PING_GROUPS, "0 2147483647")?;
        run("ip", &["netns", "add", &namespace])?;
        // From here on Drop takes the namespace away, and the interfaces with it.
        run_with(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add {interface} type veth peer name up0 netns {namespace}\n\
                 addr add {}/24 dev {interface}\naddr add {}/64 dev {interface} nodad\n\
                 link set {interface} up\n",
                net.host, net.host6
            ),
        )?;
        let mut inside = format!("link set lo up\naddr add {}/64 dev up0 nodad\n", net.peer6);
        for index in 0..=PEERS {
            inside += &format!("addr add {}/24 dev up0\n", Ipv4Addr::from(u32::from(net.peer) + index));
        }
        run_with("ip", &["-n", &namespace, "-batch", "-"], &(inside + "link set up0 up\n"))?;
        run_with(
            "ip",
            &["netns", "exec", &namespace, "nft", "-f", "-"],
            &format!(
                "table inet lab {{\n chain in {{\n type filter hook input priority 0;\n\
                 tcp dport {} drop\nudp dport 10000-10999 drop\n}}\n}}\n",
                port::FILTERED
            ),
        )?;
        net.serve(programs)?;
        Ok(net)
    }

    /// A command that runs in the peer's namespace.
    #[must_use]
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// The peer's first address as a `to=` argument.
    #[must_use]
    pub fn to(&self) -> String {
        format!("to={}", self.peer)
    }

    /// The peer's IPv6 address as a `to=` argument.
    #[must_use]
    pub fn to6(&self) -> String {
        format!("to={}", self.peer6)
    }

    /// Whether an address is one of this machine's ends of the lab.
    #[must_use]
    pub fn is_host(&self, address: IpAddr) -> bool {
        address == IpAddr::V4(self.host) || address == IpAddr::V6(self.host6)
    }

    /// (Re)starts the services; those that ran before answer what they counted.
    ///
    /// # Errors
    /// The server does not start.
    pub fn serve(&mut self, programs: &Programs) -> Outcome<Option<Report>> {
        let before = self.stop_serving();
        let mut command = self.inside(programs.server());
        command
            .arg("serve")
            .arg(self.to())
            .arg(format!("to6={}", self.peer6))
            .arg(format!("peers={}", PEERS + 1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the server has no pipes".into());
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.trim() != "ready" {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Trouble::Failed(format!("the peer's server said {line:?}")));
        }
        self.server = Some(Server { child, stdin, stdout });
        Ok(before)
    }

    fn stop_serving(&mut self) -> Option<Report> {
        let mut server = self.server.take()?;
        let _ = server.stdin.flush();
        drop(server.stdin);
        let mut line = String::new();
        let _ = server.stdout.read_line(&mut line);
        let _ = server.child.wait();
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop_serving();
        if let Some(range) = &self.ping_group_range {
            let _ = std::fs::write(PING_GROUPS, range);
        }
        let _ = run("ip", &["link", "del", &self.interface]);
        let _ = run("ip", &["netns", "del", &self.namespace]);
    }
}
