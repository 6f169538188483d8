// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of remote ends, from DNS on the wire and from libc, in a network namespace of their own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use picosnitch_api::{Query, row};

use super::Case;
use super::expect::{PATIENCE, rows_of};
use crate::lab::client::settle;
use crate::lab::program::{Running, reports_of};
use crate::lab::{Lab, Outcome, Stage, Trouble, User, ensure};
use crate::traffic::Report;

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "T04", title: "names: asked of libc, of a server, of a stub on loopback", run: named },
    Case { id: "T04", title: "names: of a resolver behind a translated port", run: translated },
    Case { id: "T04", title: "names: a forged answer silences and names nothing", run: forged },
];

/// A network namespace with a DNS server in it.
struct Island {
    server: Running,
    resolv: PathBuf,
}

impl Island {
    /// `at`: the server's address.
    fn new(
        lab: &mut Lab,
        name: &str,
        at: &str,
        answers: &[(&str, &str)],
        forge: Option<&str>,
    ) -> Outcome<Island> {
        Island::with(lab, name, at, answers, forge, "")
    }

    /// `more`: what the shell does there before the server starts.
    fn with(
        lab: &mut Lab,
        name: &str,
        at: &str,
        answers: &[(&str, &str)],
        forge: Option<&str>,
        more: &str,
    ) -> Outcome<Island> {
        let dir = lab.new_dir(name)?;
        let mut addresses = vec![at];
        addresses.extend(answers.iter().map(|(_, address)| *address));
        addresses.extend(forge);
        let mut script = "set -e; ip link set lo up; ".to_owned();
        for address in addresses.iter().filter(|address| !address.starts_with("127.")) {
            let _ = write!(script, "ip addr replace {address}/32 dev lo; ");
        }
        script += more;
        script += "exec \"$0\" dns-serve \"$@\"";
        let pairs: Vec<String> = answers.iter().map(|(name, address)| format!("{name}/{address}")).collect();
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).arg(lab.programs.make("dns-server")?);
        command.arg(format!("to={at}")).arg(format!("answers={}", pairs.join(",")));
        command.args(forge.map(|address| format!("forge={address}")));
        let mut server = Running::start_command(&mut command)?;
        ensure(server.line()? == "ready", || "the DNS server is not ready".to_owned())?;
        let resolv = dir.join("resolv.conf");
        std::fs::write(&resolv, format!("nameserver {at}\noptions timeout:2 attempts:1\n"))?;
        crate::lab::tools::open_to_all(&resolv)?;
        Ok(Island { server, resolv })
    }

    /// Runs a generator in it, as somebody, with the server as the machine's.
    fn run(
        &self,
        lab: &Lab,
        user: Option<&User>,
        name: &str,
        arguments: &[&str],
    ) -> Outcome<(String, Report)> {
        let program = lab.programs.make(name)?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.server.pid()))
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c"])
            .arg(r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#)
            .arg(&self.resolv);
        match user {
            Some(user) => {
                let inner = user.command(&program);
                command.arg(inner.get_program()).args(inner.get_args());
            }
            None => {
                command.arg(&program);
            }
        }
        let mut reports = reports_of(command.args(arguments))?;
        let report = reports.pop().ok_or("the generator said nothing")?;
        Ok((program.to_string_lossy().into_owned(), report))
    }
}

/// The rows that carry the ten bytes.
fn ten(stage: &Stage, path: &str) -> Outcome<Vec<row::Connection>> {
    let mut rows = rows_of(&stage.client, path)?;
    rows.retain(|row| row.remote_port == Some(9));
    Ok(rows)
}

fn expect(stage: &Stage, path: &str, address: &str, domain: Option<(&str, &str)>) -> Outcome {
    settle(PATIENCE, || {
        let rows = ten(stage, path)?;
        let got: Vec<_> = rows
            .iter()
            .map(|row| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (text(&row.address), row.sent.unwrap_or(0), text(&row.domain), text(&row.domain_source))
            })
            .collect();
        let (name, source) = domain.unwrap_or_default();
        let want = [(address.to_owned(), 10, name.to_owned(), source.to_owned())];
        ensure(got == want, || format!("{path}: {got:?}, not {want:?}"))
    })
}

/// As containers have it: what is sent to port 53 goes to another port of the same address.
fn translated(lab: &mut Lab) -> Outcome {
    let rules = "add table ip nat
        add chain ip nat output { type nat hook output priority -100; }
        add rule ip nat output ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:5353";
    let possible = Command::new("unshare").args(["--net", "nft", rules]).output()?;
    if !possible.status.success() {
        return Err(Trouble::Skipped("this kernel cannot translate addresses".to_owned()));
    }
    let stage = lab.stage("translated", "")?;
    let answers = [("open.names.test", "10.99.0.1"), ("joined.names.test", "10.99.0.2")];
    let more = format!("nft '{rules}'; set -- \"$@\" port=5353; ");
    let island = Island::with(lab, "translated", "127.0.0.11", &answers, None, &more)?;
    let (to, name) = ("to=127.0.0.11", "name=open.names.test");
    let (path, _) = island.run(lab, None, "translated-open", &["dns-ask", to, name, "unconnected"])?;
    expect(&stage, &path, "10.99.0.1", Some(("open.names.test", "dns")))?;
    let (path, _) = island.run(lab, None, "translated-joined", &["dns-ask", to, "name=joined.names.test"])?;
    expect(&stage, &path, "10.99.0.2", Some(("joined.names.test", "dns")))
}

fn named(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("names", "")?;
    let bob = User::get("bob")?;
    let answers = [
        ("libc.names.test", "10.99.0.1"),
        ("wire.names.test", "10.99.0.2"),
        ("late.names.test", "10.99.0.2"),
    ];
    // A server elsewhere, and one that stands for a stub on this machine.
    for at in ["10.99.0.53", "127.0.0.53"] {
        let island = Island::new(lab, "names", at, &answers, None)?;
        let to = format!("to={at}");
        let (path, _) = island.run(lab, None, "names-libc", &["resolve", "name=libc.names.test"])?;
        expect(&stage, &path, "10.99.0.1", Some(("libc.names.test", "getaddrinfo")))?;
        let (path, _) = island.run(lab, None, "names-itself", &["dns-ask", &to, "name=wire.names.test"])?;
        expect(&stage, &path, "10.99.0.2", Some(("wire.names.test", "dns")))?;
        // Another program is told where it heard of it: not by asking.
        let (path, _) = island.run(lab, None, "names-other", &["unnamed", "to=10.99.0.2"])?;
        expect(&stage, &path, "10.99.0.2", Some(("wire.names.test", "dns-netns")))?;
        // What somebody asks for names nobody else's traffic, or they could try addresses to learn it.
        let (path, _) = island.run(lab, Some(&bob), "names-theirs", &["unnamed", "to=10.99.0.2"])?;
        expect(&stage, &path, "10.99.0.2", None)?;
        // The latest answer counts.
        let (path, _) = island.run(lab, None, "names-again", &["dns-ask", &to, "name=late.names.test"])?;
        expect(&stage, &path, "10.99.0.2", Some(("late.names.test", "dns")))?;
        let (path, _) = island.run(lab, None, "names-after", &["unnamed", "to=10.99.0.2"])?;
        expect(&stage, &path, "10.99.0.2", Some(("late.names.test", "dns-netns")))?;
        let gone = std::fs::read_link(format!("/proc/{}/ns/net", island.server.pid()))?;
        let queries = island.server.finish()?.connections;
        // libc asks for both kinds of addresses, the others once each.
        ensure(queries == 4, || format!("the server at {at} was asked {queries} times, not 4"))?;
        // A name holds in its own network namespace: in this one nobody asked.
        let program = lab.programs.make("names-outside")?;
        in_another(&gone.to_string_lossy(), &program)?;
        expect(&stage, &program.to_string_lossy(), "10.99.0.2", None)?;
    }
    // The monitor itself asked nobody anything.
    let own = crate::lab::built("picosnitchd")?.to_string_lossy().into_owned();
    let rows = stage.client.connections(&Query { path: Some(own), ..Query::default() })?;
    ensure(rows.is_empty(), || format!("the monitor itself sent: {:?}", rows.first()))
}

/// Runs it in a fresh network namespace, with the inode number of one that is gone if that can be had.
fn in_another(gone: &str, program: &Path) -> Outcome {
    const SCRIPT: &str = r#"[ -z "$0" ] || [ "$(readlink /proc/self/ns/net)" = "$0" ] || exit 3
        ip link set lo up; ip addr add 10.99.0.2/32 dev lo; exec "$@""#;
    let run = |wanted: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", SCRIPT, wanted]).arg(program).args(["unnamed", "to=10.99.0.2"]);
        reports_of(&mut command).map(drop)
    };
    // The kernel takes a namespace down some time after its last process.
    for _ in 0..30 {
        if run(gone).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    run("")
}

fn forged(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("forged", "[log.ignore]\ndomains = [\"quiet.test\"]\n")?;
    let bob = User::get("bob")?;
    let answers = [("host.quiet.test", "10.99.0.3"), ("plain.test", "10.99.0.4")];
    let more = "ip addr replace 10.99.0.67/32 dev lo; ";
    let island = Island::with(lab, "forged", "10.99.0.53", &answers, Some("10.99.0.66"), more)?;
    // The answer from elsewhere came first; neither libc nor the record believe it.
    let (path, _) = island.run(lab, None, "forged-libc", &["resolve", "name=plain.test"])?;
    expect(&stage, &path, "10.99.0.4", Some(("plain.test", "getaddrinfo")))?;
    let (path, _) =
        island.run(lab, None, "forged-itself", &["dns-ask", "to=10.99.0.53", "name=plain.test"])?;
    expect(&stage, &path, "10.99.0.4", Some(("plain.test", "dns")))?;
    // Nor when the socket takes answers from anybody.
    let (path, _) = island.run(
        lab,
        None,
        "forged-open",
        &["dns-ask", "unconnected", "to=10.99.0.53", "name=plain.test"],
    )?;
    expect(&stage, &path, "10.99.0.4", Some(("plain.test", "dns")))?;
    let (path, _) = island.run(lab, None, "forged-other", &["unnamed", "to=10.99.0.66"])?;
    expect(&stage, &path, "10.99.0.66", None)?;
    // A server is believed about what it was asked, and nothing else.
    let (path, _) = island.run(lab, None, "forged-lie", &["unnamed", "to=10.99.0.67"])?;
    expect(&stage, &path, "10.99.0.67", None)?;
    // Bob has an address of others named so that it would be ignored: his own traffic there is, theirs is not.
    let ask = ["dns-ask", "to=10.99.0.53", "name=host.quiet.test"];
    let (his, _) = island.run(lab, Some(&bob), "forged-bob", &ask)?;
    let (path, _) = island.run(lab, None, "forged-victim", &["unnamed", "to=10.99.0.3"])?;
    expect(&stage, &path, "10.99.0.3", None)?;
    // Nor does it decide for another program of his, which has the name by hearsay.
    let (path, _) = island.run(lab, Some(&bob), "forged-hearsay", &["unnamed", "to=10.99.0.3"])?;
    expect(&stage, &path, "10.99.0.3", Some(("host.quiet.test", "dns-netns")))?;
    ensure(ten(&stage, &his)?.is_empty(), || "log.ignore does not work at all".to_owned())?;
    island.server.finish().map(drop)
}
