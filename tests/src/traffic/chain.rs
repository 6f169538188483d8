// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes that change who they are: exec chains, programs without a file, false names, orphans.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::stream::{connect, receive, send_all};
use super::{Flow, Options, Report, pattern, port, stream, sys};

/// I05: echoes `bytes` on one connection, prints its report, then runs the first program of
/// `next=B,C` in its place with the connection still open, which does the same with one more byte.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn chain(options: &Options) -> io::Result<Report> {
    let bytes: usize = options.get("bytes", 1_000)?;
    let (stream, mut flow, started) = match options.text("fd") {
        None => connect(options, port::ECHO)?,
        Some(fd) => {
            let fd = sys::inherited(fd.parse().map_err(io::Error::other)?)?;
            let stream = TcpStream::from(fd);
            let flow = Flow::new("tcp", "out", stream.local_addr()?, stream.peer_addr()?);
            (stream, flow, sys::now_us())
        }
    };
    send_all(&stream, &pattern(bytes), &mut flow)?;
    receive(&stream, bytes as u64, &mut flow)?;
    let report = Report { started, ..Report::of(vec![flow]) };
    let Some(next) = options.text("next").filter(|next| !next.is_empty()) else { return Ok(report) };
    super::print(&report)?;
    let (program, rest) = next.split_once(',').unwrap_or((next, ""));
    sys::keep_on_exec(&stream)?;
    Err(Command::new(program)
        .arg("chain")
        .arg(format!("fd={}", stream.as_raw_fd()))
        .arg(format!("bytes={}", bytes + 1))
        .arg(format!("next={rest}"))
        .exec())
}

/// T25: a connection that is used by this process, by another thread of it, and twice by a child that inherited it
/// (`child`: its program), in turns. The children's reports are within.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn shared(options: &Options) -> io::Result<Report> {
    let program = options.text("child").ok_or_else(|| io::Error::other("child is not given"))?;
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    sys::keep_on_exec(&stream)?;
    let mut children = Vec::new();
    for bytes in [700, 900] {
        send_all(&stream, &pattern(bytes), &mut flow)?;
        receive(&stream, bytes as u64, &mut flow)?;
        let child = Command::new(program)
            .args(["chain", &format!("fd={}", stream.as_raw_fd()), &format!("bytes={}", bytes + 1)])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        children.push(serde_json::from_slice(&child.stdout)?);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                send_all(&stream, &pattern(30), &mut flow)?;
                receive(&stream, 30, &mut flow)
            });
            thread.join().map_err(|_| io::Error::other("the thread panicked"))?
        })?;
    }
    Ok(Report { started, children, ..Report::of(vec![flow]) })
}

/// I07: runs this program from a memfd called `name`, as mode `run` with the same options. `tail` is
/// appended to its bytes.
///
/// # Errors
/// Always, if at all: success does not come back.
pub fn from_memory(options: &Options) -> io::Result<Report> {
    let name = options.text("name").unwrap_or("memory");
    let mode = options.text("run").unwrap_or("tcp-echo");
    let mut arguments = vec![name.to_owned(), mode.to_owned()];
    arguments.extend(std::env::args().skip(2).filter(|text| text.contains('=') && text != "wait=1"));
    sys::exec_from_memory(name, options.text("tail").unwrap_or("").as_bytes(), &arguments)?;
    Err(io::Error::other("the memory program came back"))
}

/// I15, I16: takes a false name (`comm`), writes over its arguments (`argv`), lets `threads` threads
/// with names of their own connect, then echoes as itself.
///
/// # Errors
/// A call fails.
pub fn disguise(options: &Options) -> io::Result<Report> {
    if let Some(name) = options.text("comm") {
        sys::rename_thread(name);
    }
    if let Some(text) = options.text("argv") {
        sys::overwrite_arguments(text.as_bytes())?;
    }
    let threads: usize = options.get("threads", 0)?;
    let mut all = Report::of(Vec::new());
    let reports = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn(move || {
                    sys::rename_thread(&format!("worker {index}"));
                    stream::echo(options)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
            .collect::<io::Result<Vec<Report>>>()
    })?;
    let last = stream::echo(options)?;
    all.started = last.started;
    for report in reports.into_iter().chain([last]) {
        all.flows.extend(report.flows);
    }
    Ok(Report { started: all.started, ..Report::of(all.flows) })
}

/// I19: starts itself as mode `run` and ends; the child waits until it has been adopted, and reports.
///
/// # Errors
/// The child cannot be started.
pub fn orphan(options: &Options) -> io::Result<Report> {
    let mode = options.text("run").unwrap_or("tcp-echo");
    Command::new(std::fs::read_link("/proc/self/exe")?)
        .arg(mode)
        .args(std::env::args().skip(2))
        .arg(format!("orphan-of={}", std::process::id()))
        .stdin(Stdio::null())
        .spawn()?;
    std::process::exit(0);
}

/// Waits until process `parent` is no longer the parent of this one.
pub fn wait_orphaned(parent: u32) {
    while parent_id() == parent {
        std::thread::sleep(Duration::from_millis(1));
    }
}
