// SPDX-License-Identifier: GPL-3.0-or-later
//! I: which file a process runs, whatever happens to the file, the path or the process.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use picosnitch_api::{Query, row};

use super::Case;
use super::expect::{Expected, PATIENCE, rows_of};
use crate::lab::client::settle;
use crate::lab::program::{Running, report, reports, reports_of, sha256, sha256_file};
use crate::lab::tools::run;
use crate::lab::{Lab, Outcome, Trouble, User, ensure};
use crate::traffic::Report;

/// The cases.
pub const CASES: &[Case] = &[
    Case { id: "I01", title: "executable deleted while it runs", run: i01 },
    Case { id: "I02", title: "executable replaced while it runs", run: i02 },
    Case { id: "I03", title: "executable written in place", run: i03 },
    Case { id: "I04", title: "exits and is deleted before anything looks", run: i04 },
    Case { id: "I05", title: "exec chain in one process over one socket", run: i05 },
    Case { id: "I06", title: "process id used again", run: i06 },
    Case { id: "I07", title: "memfd and fexecve", run: i07 },
    Case { id: "I09", title: "overlayfs: lower, upper, copied up", run: i09 },
    Case { id: "I12", title: "bind-mounted in another mount namespace", run: i12 },
    Case { id: "I13", title: "hard links and symbolic links to one file", run: i13 },
    Case { id: "I15", title: "threads that rename themselves", run: i15 },
    Case { id: "I16", title: "a process that rewrites its name and arguments", run: i16 },
    Case { id: "I17", title: "hostile bytes in path, name and arguments", run: i17 },
    Case { id: "I18", title: "arguments of 2 MiB", run: i18 },
    Case { id: "I19", title: "the parent has exited", run: i19 },
    Case { id: "I21", title: "setuid program: real and effective user", run: i21 },
    Case { id: "I23", title: "content that cannot be had is unknown, with a reason", run: i23 },
];

fn i01(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let program = lab.programs.make("i01-deleted")?;
    let content = sha256_file(&program)?;
    let mut running = Running::start(&program, &["tcp-echo", &lab.net.to(), "wait=1"])?;
    std::fs::remove_file(&program)?;
    running.say("")?;
    let expected = Expected::with_content(&program, &content, &[running.finish()?])?;
    lab.check(&expected)
}

fn of_pid(rows: Vec<row::Connection>, pid: u32) -> Vec<row::Connection> {
    rows.into_iter().filter(|row| row.pid == Some(pid)).collect()
}

/// Waits until the rows of one process have exactly this content and these bytes.
fn check_process(lab: &mut Lab, program: &Path, content: &str, report: &Report) -> Outcome {
    let expected = Expected::with_content(program, content, std::slice::from_ref(report))?;
    let client = &lab.shared()?.client;
    settle(PATIENCE, || {
        let rows = of_pid(rows_of(client, &expected.path)?, report.pid);
        super::expect::compare(&rows, &expected, |_| true)
    })
}

/// Waits until there are exactly these changes of content on the bus for one path.
pub(super) fn check_changes(lab: &mut Lab, program: &Path, changes: &[(&str, &str)]) -> Outcome {
    let client = &lab.shared()?.client;
    let path = program.to_string_lossy();
    settle(PATIENCE, || {
        let got: Vec<(String, String)> = client
            .notices("hash-changed", &path)
            .into_iter()
            .map(|(_, event)| (event.old_sha256.unwrap_or_default(), event.sha256.unwrap_or_default()))
            .collect();
        let want: Vec<(String, String)> =
            changes.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        ensure(got == want, || format!("HashChanged for {path}: {got:?}, not {want:?}"))
    })
}

fn i02(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let program = lab.programs.make("i02-replaced")?;
    let old = sha256_file(&program)?;
    let mut first = Running::start(&program, &["tcp-steps", &to])?;
    first.report()?;
    first.say("1000")?;
    first.report()?;
    // On record before the new one comes, so that the order of contents is certain.
    lab.check_notice(&program.to_string_lossy(), &old)?;
    let other = lab.programs.make("i02-new")?;
    let new = sha256_file(&other)?;
    std::fs::rename(&other, &program)?;
    let second = report(&program, &["tcp-echo", &to])?;
    first.say("500")?;
    let first = first.finish()?;
    check_process(lab, &program, &old, &first)?;
    check_process(lab, &program, &new, &second)?;
    check_changes(lab, &program, &[(&old, &new)])?;
    lab.check_notice(&program.to_string_lossy(), &old)
}

fn i03(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let program = lab.programs.make("i03-written")?;
    let old = sha256_file(&program)?;
    let first = report(&program, &["tcp-echo", &to])?;
    check_process(lab, &program, &old, &first)?;
    // The same inode, the same size, other bytes, its times set back: nothing but the content tells.
    let times = std::fs::metadata(&program)?.modified()?;
    let mut content = std::fs::read(&program)?;
    if let Some(last) = content.last_mut() {
        *last ^= 0x55;
    }
    let mut file = std::fs::OpenOptions::new().write(true).open(&program)?;
    file.write_all(&content)?;
    file.set_modified(times)?;
    drop(file);
    let new = sha256_file(&program)?;
    let second = report(&program, &["tcp-echo", &to])?;
    check_process(lab, &program, &new, &second)?;
    check_changes(lab, &program, &[(&old, &new)])?;
    // While it runs, where the kernel allows it.
    let mut running = Running::start(&program, &["tcp-steps", &to])?;
    running.report()?;
    match std::fs::OpenOptions::new().append(true).open(&program) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ETXTBSY) => running.release(),
        Err(error) => return Err(error.into()),
        Ok(mut file) => {
            file.write_all(b"more")?;
            drop(file);
            running.release();
            let newest = sha256_file(&program)?;
            let third = report(&program, &["tcp-echo", &to])?;
            check_process(lab, &program, &newest, &third)?;
        }
    }
    Ok(())
}

fn i04(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let mut all = Vec::new();
    for number in 0..10 {
        let program = lab.programs.make("i04-gone")?;
        let content = sha256_file(&program)?;
        let mark = format!("mark=number-{number}");
        let report = report(&program, &["udp", "silent=1", "count=1", &to, &mark])?;
        std::fs::remove_file(&program)?;
        let cmdline = format!("{} udp silent=1 count=1 {to} {mark}", program.display());
        all.push((Expected::with_content(&program, &content, &[report])?, cmdline));
    }
    for (expected, cmdline) in all {
        lab.check(&expected)?;
        let rows = rows_of(&lab.shared()?.client, &expected.path)?;
        let got = rows.first().and_then(|row| row.cmdline.clone());
        ensure(got.as_deref() == Some(cmdline.as_str()), || format!("cmdline {got:?}, not {cmdline:?}"))?;
    }
    Ok(())
}

fn i05(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let programs: Vec<PathBuf> =
        ["i05-a", "i05-b", "i05-c"].iter().map(|name| lab.programs.make(name)).collect::<Outcome<_>>()?;
    let next = format!("next={},{}", programs[1].display(), programs[2].display());
    let reports = reports(&programs[0], &["chain", &lab.net.to(), &next])?;
    ensure(reports.len() == 3, || format!("{} programs of 3 said something", reports.len()))?;
    ensure(reports.iter().all(|report| report.pid == reports[0].pid), || "not one process".to_owned())?;
    for (program, report) in programs.iter().zip(&reports) {
        lab.check(&Expected::new(program, std::slice::from_ref(report))?)?;
    }
    Ok(())
}

const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

fn i06(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    for _ in 0..40 {
        let (one, two) = (lab.programs.make("i06-one")?, lab.programs.make("i06-two")?);
        let first = report(&one, &["udp", "count=2", &to])?;
        if std::fs::write(LAST_PID, (first.pid - 1).to_string()).is_err() {
            return Err(Trouble::Skipped("the next process id cannot be chosen here".to_owned()));
        }
        let second = report(&two, &["udp", "count=3", &to])?;
        if first.pid != second.pid {
            // Somebody else on this machine was faster.
            continue;
        }
        lab.check(&Expected::new(&one, &[first])?)?;
        return lab.check(&Expected::new(&two, &[second])?);
    }
    Err("no process id came again in 40 tries".into())
}

fn i07(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let program = lab.programs.make("i07-launcher")?;
    let name = format!("i07-memory-{}", std::process::id());
    let tail = "a tail of its own";
    let mut content = std::fs::read(&program)?;
    content.extend(tail.bytes());
    let report = report(
        &program,
        &[
            "memory",
            &lab.net.to(),
            &format!("name={name}"),
            &format!("tail={tail}"),
            "run=tcp-drip",
            "count=8",
            "every=50",
        ],
    )?;
    ensure(report.exe.starts_with("/memfd:"), || format!("it ran from {}", report.exe))?;
    let path = format!("/memfd:{name}");
    let mut expected = Expected::with_content(Path::new(&path), &sha256(&content), &[report])?;
    expected.path = path;
    lab.check(&expected)
}

/// Mounts that are taken away when the case ends, however it ends.
#[derive(Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Runs `mount` with these arguments; the last one is where.
    pub(super) fn mount(&mut self, arguments: &[&str]) -> Outcome {
        run("mount", arguments)?;
        self.0.extend(arguments.last().map(PathBuf::from));
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for point in self.0.iter().rev() {
            let _ = run("umount", &["-l", &point.to_string_lossy()]);
        }
    }
}

fn i09(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let dir = lab.new_dir("overlay")?;
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut mounts = Mounts::default();
    // The upper layer wants a file system that is not an overlay itself.
    mounts.mount(&["-t", "tmpfs", "none", &at("")])?;
    for folder in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(dir.join(folder))?;
    }
    lab.programs.make_at(&dir.join("lower/i09-lower"))?;
    lab.programs.make_at(&dir.join("lower/i09-copied"))?;
    lab.programs.make_at(&dir.join("upper/i09-upper"))?;
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    mounts.mount(&["-t", "overlay", "overlay", "-o", &options, &at("merged")])?;
    // On a file system as new as this one a program must live for a moment to be looked at.
    let moment = ["tcp-drip", &to, "count=5", "every=100"];
    for name in ["i09-lower", "i09-upper"] {
        let program = dir.join("merged").join(name);
        let report = report(&program, &moment)?;
        lab.check(&Expected::new(&program, &[report])?)?;
    }
    let program = dir.join("merged/i09-copied");
    let old = sha256_file(&program)?;
    let first = report(&program, &moment)?;
    check_process(lab, &program, &old, &first)?;
    std::fs::OpenOptions::new().append(true).open(&program)?.write_all(b"copied up")?;
    ensure(dir.join("upper/i09-copied").exists(), || "it was not copied up".to_owned())?;
    let new = sha256_file(&program)?;
    let second = report(&program, &moment)?;
    check_process(lab, &program, &new, &second)?;
    check_process(lab, &program, &old, &first)?;
    check_changes(lab, &program, &[(&old, &new)])
}

fn i12(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let dir = lab.new_dir("bind")?;
    let (there, here) = (dir.join("there"), dir.join("here"));
    std::fs::create_dir(&there)?;
    std::fs::create_dir(&here)?;
    let program = lab.programs.make_at(&there.join("i12-bound"))?;
    let seen = here.join("i12-bound");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(r#"mount --bind "$1" "$2" && exec "$2/i12-bound" tcp-drip "$3" count=5 every=100"#)
        .arg("sh")
        .args([&there, &here])
        .arg(lab.net.to());
    let reports = reports_of(&mut command)?;
    ensure(!seen.exists(), || format!("{} exists on the host", seen.display()))?;
    lab.check(&Expected::with_content(&seen, &sha256_file(&program)?, &reports)?)?;
    let rows = rows_of(&lab.shared()?.client, &seen.to_string_lossy())?;
    ensure(rows.iter().all(|row| row.foreign_root == Some(true)), || {
        "the path is not marked as one of another mount namespace".to_owned()
    })
}

fn i13(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let program = lab.programs.make("i13-one")?;
    let link = program.with_file_name(format!("i13-two-{}", std::process::id()));
    std::fs::hard_link(&program, &link)?;
    let first = report(&program, &["tcp-echo", &to])?;
    let second = report(&link, &["tcp-echo", &to, "bytes=77"])?;
    lab.check(&Expected::new(&program, &[first])?)?;
    lab.check(&Expected::new(&link, &[second])?)?;
    // A symbolic link is no file of its own: the process is called like the link, the program is the file.
    let target = lab.programs.make("i13-busy")?;
    let applet = target.with_file_name("i13-applet");
    let _ = std::fs::remove_file(&applet);
    symlink(&target, &applet)?;
    let third = report(&applet, &["tcp-echo", &to])?;
    let expected = Expected::new(&target, &[third])?;
    lab.check(&expected)?;
    let rows = rows_of(&lab.shared()?.client, &expected.path)?;
    ensure(rows.iter().all(|row| row.name.as_deref() == Some("i13-applet")), || {
        format!("its name is {:?}", rows.first().and_then(|row| row.name.clone()))
    })
}

fn i15(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let expected = lab.run_and_check("i15-threads", &["disguise", &to, "threads=6"])?;
    let rows = rows_of(&lab.shared()?.client, &expected.path)?;
    let file = expected.path.rsplit('/').next().unwrap_or("");
    let name = &file[..file.len().min(15)];
    ensure(rows.iter().all(|row| row.name.as_deref() == Some(name)), || {
        let names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        format!("names {names:?}, not only {name:?}")
    })
}

fn i16(lab: &mut Lab) -> Outcome {
    let to = lab.net.to();
    let expected =
        lab.run_and_check("i16-liar", &["disguise", &to, "comm=kworker/0:1", "argv=/usr/sbin/innocent"])?;
    let rows = rows_of(&lab.shared()?.client, &expected.path)?;
    let cmdline = format!("{} disguise {to} comm=kworker/0:1 argv=/usr/sbin/innocent", expected.path);
    ensure(rows.iter().all(|row| row.cmdline.as_ref() == Some(&cmdline)), || {
        format!("cmdline {:?}, not {cmdline:?}", rows.first().and_then(|row| row.cmdline.clone()))
    })
}

fn i17(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let mut name = format!("i17-{}-", std::process::id()).into_bytes();
    name.extend(b"\xff\xfe\x1b[31m\n\r<b>&");
    name.extend("\u{202e}gpj.exe".bytes());
    let program = lab.programs.make_at(&lab.programs.dir().join(std::ffi::OsString::from_vec(name)))?;
    let hostile = std::ffi::OsString::from_vec(b"mark=\xff\x1b]0;owned\x07\nuid=0".to_vec());
    let reports = reports_of(Command::new(&program).args(["tcp-echo", &to]).arg(&hostile))?;
    let content = sha256_file(&program)?;
    let raw = program.as_os_str().as_bytes();
    let started = reports.first().ok_or("there is no report")?.started;
    let client = &lab.shared()?.client;
    settle(PATIENCE, || {
        let query = Query { since: Some(started - 2_000_000), ..Query::default() };
        let mut rows = client.connections(&query)?;
        rows.retain(|row| row.path_raw.as_deref() == Some(raw));
        let mut expected = Expected::with_content(&program, &content, &reports)?;
        expected.path = program.to_string_lossy().into_owned();
        super::expect::compare(&rows, &expected, |_| true)?;
        let cmdline = rows.first().and_then(|row| row.cmdline.clone()).unwrap_or_default();
        ensure(cmdline.contains("mark=\u{fffd}"), || format!("cmdline {cmdline:?}"))
    })?;
    // A path as long as the kernel takes it: 4 095 bytes and a NUL. Each folder is entered in turn, as the
    // whole path is near the limit.
    let mut deep = lab.programs.dir().to_path_buf();
    while deep.as_os_str().len() < 3_700 {
        deep = deep.join("d".repeat(200));
    }
    std::fs::create_dir_all(&deep)?;
    let rest = 4_095 - deep.as_os_str().len() - 1;
    let long = deep.join(format!("i17-{}", "l".repeat(rest.min(250) - 4)));
    lab.programs.make_at(&long)?;
    let report = report(&long, &["tcp-echo", &to])?;
    lab.check(&Expected::new(&long, &[report])?)
}

fn i18(lab: &mut Lab) -> Outcome {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    lab.shared()?;
    let program = lab.programs.make("i18-long")?;
    let to = lab.net.to();
    // One argument may have 128 KiB, all together a quarter of the stack's limit (execve(2)).
    let (soft, hard) = getrlimit(Resource::RLIMIT_STACK)?;
    setrlimit(Resource::RLIMIT_STACK, (16 << 20).min(hard), hard)?;
    let filler = format!("mark={}", "x".repeat((128 << 10) - 10));
    let reports = reports_of(Command::new(&program).args(["tcp-echo", &to]).args(vec![&filler; 16]));
    setrlimit(Resource::RLIMIT_STACK, soft, hard)?;
    let expected = Expected::new(&program, &reports?)?;
    lab.check(&expected)?;
    let rows = rows_of(&lab.shared()?.client, &expected.path)?;
    let cmdline = rows.first().and_then(|row| row.cmdline.clone()).unwrap_or_default();
    let start = format!("{} tcp-echo {to} mark=xxx", expected.path);
    ensure(cmdline.starts_with(&start) && (4_000..=4_100).contains(&cmdline.len()), || {
        let part: String = cmdline.chars().take(100).collect();
        format!("a cmdline of {} bytes that starts with {part:?}", cmdline.len())
    })
}

fn i19(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let program = lab.programs.make("i19-orphan")?;
    let reports = reports(&program, &["orphan", &lab.net.to(), "run=tcp-drip", "count=5", "every=50"])?;
    let adopter = reports.first().ok_or("the orphan said nothing")?.parent;
    let mut expected = Expected::new(&program, &reports)?;
    // Some machines hide what their process 1 runs even from root.
    let path = std::fs::read_link(format!("/proc/{adopter}/exe"));
    expected.parent = match path.as_ref().map(|path| sha256_file(path)) {
        Ok(Ok(content)) => path.ok().map(|path| (path.to_string_lossy().into_owned(), content)),
        _ => None,
    };
    expected.grandparent = None;
    lab.check(&expected)?;
    if adopter == 1 {
        let rows = rows_of(&lab.shared()?.client, &expected.path)?;
        ensure(rows.iter().all(|row| row.grandparent.is_none()), || {
            format!("process 1 has the parent {:?}", rows.first().and_then(|row| row.grandparent.clone()))
        })?;
    }
    Ok(())
}

fn i21(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let alice = User::get("alice")?;
    let program = lab.programs.make("i21-setuid")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755))?;
    let reports = reports_of(alice.command(&program).args(["tcp-echo", &lab.net.to()]))?;
    let first = reports.first().ok_or("there is no report")?;
    ensure((first.uid, first.euid) == (alice.uid, 0), || {
        format!("it ran as {} and {}: is the file system mounted nosuid?", first.uid, first.euid)
    })?;
    lab.check(&Expected::new(&program, &reports)?)
}

/// Programs without a file that are gone at once: path and content may be known or not, but they are
/// never wrong and never a text that is none.
fn i23(lab: &mut Lab) -> Outcome {
    lab.shared()?;
    let to = lab.net.to();
    let program = lab.programs.make("i23-launcher")?;
    let name = format!("i23-{}", std::process::id());
    let mut content = std::fs::read(&program)?;
    content.extend(b"tail");
    let right = sha256(&content);
    let path = format!("/memfd:{name}");
    let since = crate::traffic::sys::now_us() - 1_000_000;
    let mut pids = Vec::new();
    for _ in 0..20 {
        let arguments =
            ["memory", &to, &format!("name={name}"), "tail=tail", "run=udp", "silent=1", "count=1"];
        pids.push(report(&program, &arguments)?.pid);
    }
    let reasons = ["pending", "exited", "unreadable", "changing", "kernel", "resources"];
    let client = &lab.shared()?.client;
    let mut paths = BTreeSet::new();
    settle(PATIENCE, || {
        let rows = client.connections(&Query { since: Some(since), ..Query::default() })?;
        for pid in &pids {
            let of_pid: Vec<_> = rows.iter().filter(|row| row.pid == Some(*pid)).collect();
            ensure(!of_pid.is_empty(), || format!("process {pid} is missing"))?;
            for row in of_pid {
                let seen = row.path.clone().unwrap_or_default();
                ensure(seen == path || (seen.starts_with('(') && seen.ends_with(')')), || {
                    format!("path {seen:?}, neither {path:?} nor a name in brackets")
                })?;
                paths.insert(seen);
                match (&row.sha256, &row.sha256_unknown) {
                    (Some(hash), None) => ensure(*hash == right, || format!("sha256 {hash}, not {right}"))?,
                    (None, Some(reason)) => {
                        ensure(reasons.contains(&reason.as_str()), || format!("reason {reason:?}"))?;
                    }
                    other => return Err(format!("content and reason are {other:?}").into()),
                }
            }
        }
        Ok(())
    })?;
    for path in paths {
        let notices = client.notices("new-executable", &path).len();
        ensure(notices <= 1, || format!("{notices} NewExecutable for {path}"))?;
        let changed = client.notices("hash-changed", &path).len();
        ensure(changed == 0, || format!("{changed} HashChanged for {path}"))?;
    }
    Ok(())
}

/// A moment, for what must not happen.
pub(super) const MOMENT: Duration = Duration::from_millis(2_500);
