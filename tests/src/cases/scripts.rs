// SPDX-License-Identifier: GPL-3.0-or-later
//! I14: the script beside its interpreter, with real interpreters.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Case;
use super::expect::PATIENCE;
use crate::lab::client::settle;
use crate::lab::program::sha256;
use crate::lab::tools::spawn;
use crate::lab::{Lab, Outcome, Trouble, User, ensure};

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "I14", title: "scripts of python3, perl, bash and #!", run: i14 },
    Case { id: "I14", title: "arguments that only look like scripts", run: i14_hostile },
];

/// The machine's own: another one may be found first that not everybody can run.
const PYTHON3: &str = "/usr/bin/python3";
const PYTHON: &str = "import socket, sys\ns = socket.socket(2, 2)\ns.connect((sys.argv[1], 7002))\ns.send(b'x' * 10)\n\
     sys.stdin.read()\n";
const PERL: &str = "use Socket;\nsocket(S, PF_INET, SOCK_DGRAM, 17);\n\
     connect(S, pack_sockaddr_in(7002, inet_aton($ARGV[0])));\nsend(S, 'x' x 10, 0);\n<STDIN>;\n";
const BASH: &str = "exec 3<>/dev/udp/$1/7002\nprintf xxxxxxxxxx >&3\nread -r _\n";

/// Runs it until its row is there; what the row says of the script.
fn script_of(lab: &mut Lab, command: &mut Command) -> Outcome<(Option<String>, Option<String>)> {
    let client_to = lab.net.peer.to_string();
    let mut child = spawn(command.arg(client_to).stdin(Stdio::piped()).stdout(Stdio::null()))
        .map_err(|error| Trouble::Failed(format!("{command:?}: {error}")))?;
    let pid = child.id();
    let client = &lab.shared()?.client;
    let since = Some(crate::traffic::sys::now_us() - 5_000_000);
    let mut found = (None, None);
    let outcome = settle(PATIENCE, || {
        let rows = client.connections(&picosnitch_api::Query { since, ..Default::default() })?;
        let row = rows.iter().find(|row| row.pid == Some(pid) && row.sent == Some(10));
        let row = row.ok_or_else(|| Trouble::Failed(format!("no row of {command:?}")))?;
        ensure(row.sha256.is_some(), || "the interpreter has no content".to_owned())?;
        ensure(row.script.is_none() || row.script_sha256.is_some(), || {
            "the script has no content".to_owned()
        })?;
        found = (row.script.clone(), row.script_sha256.clone());
        Ok(())
    });
    drop(child.stdin.take());
    child.wait()?;
    outcome.map(|()| found)
}

fn expect(lab: &mut Lab, command: &mut Command, script: &Path, text: &str) -> Outcome {
    let want = (Some(script.to_string_lossy().into_owned()), Some(sha256(text.as_bytes())));
    let got = script_of(lab, command)?;
    ensure(got == want, || format!("{command:?}: the script is {got:?}, not {want:?}"))
}

fn i14(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let dir = lab.new_dir("i14")?;
    let write = |name: &str, text: &str| -> Outcome<std::path::PathBuf> {
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    let (python, perl, bash) = (write("x.py", PYTHON)?, write("x.pl", PERL)?, write("x.sh", BASH)?);
    expect(lab, Command::new(PYTHON3).arg("-u").arg(&python), &python, PYTHON)?;
    expect(lab, Command::new(PYTHON3).args(["-W", "ignore", "./x.py"]).current_dir(&dir), &python, PYTHON)?;
    expect(lab, Command::new("bash").args(["-o", "nounset", "x.sh"]).current_dir(&dir), &bash, BASH)?;
    expect(lab, Command::new("perl").arg("-w").arg(&perl), &perl, PERL)?;
    let alice = User::get("alice")?;
    expect(lab, alice.command(PYTHON3).arg(&python), &python, PYTHON)?;
    // The same by its first line, which the kernel reads.
    let text = format!("#!/usr/bin/python3\n{PYTHON}");
    let first = write("first.py", &text)?;
    expect(lab, &mut Command::new(&first), &first, &text)?;
    // Another content is another script.
    let other = PYTHON.replace("sys.stdin", "(sys.stdin)");
    std::fs::write(&python, &other)?;
    expect(lab, Command::new(PYTHON3).arg(&python), &python, &other)
}

/// What a process says it runs is looked up with its own rights, and nothing waits for it.
fn i14_hostile(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let dir = lab.new_dir("i14-hostile")?;
    let alice = User::get("alice")?;
    let secret = dir.join("secret.py");
    std::fs::write(&secret, PYTHON)?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    let fifo = dir.join("fifo.py");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666))?;
    let nothing = (None, None);
    // Runs before the interpreter looks at its script, and leaves before it opens it.
    let start = dir.join("start");
    std::fs::create_dir(&start)?;
    crate::lab::tools::open_to_all(&start)?;
    std::fs::write(
        start.join("sitecustomize.py"),
        "import os, sys, socket\ns = socket.socket(2, 2)\ns.connect((sys.orig_argv[-1], 7002))\n\
         s.send(b'x' * 10)\nos.read(0, 1)\nos._exit(0)\n",
    )?;
    let environ = Path::new("/proc/self/environ");
    for name in [secret.as_path(), fifo.as_path(), Path::new("/dev/zero"), environ, &dir] {
        let mut command = alice.command(PYTHON3);
        let got = script_of(lab, command.env("PYTHONPATH", &start).arg(name))?;
        ensure(got == nothing, || format!("{}: {got:?} on record", name.display()))?;
    }
    // Root may read it, and its own process is told with it.
    let mut command = Command::new(PYTHON3);
    let got = script_of(lab, command.env("PYTHONPATH", &start).arg(&secret))?;
    ensure(got.0.as_deref() == secret.to_str(), || format!("{got:?} on record for root"))
}
