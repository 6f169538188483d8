// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;
use crate::fingerprint::Done;
use crate::model::FileId;

const DEADLINE: Duration = Duration::from_secs(30);

fn identify(fd: BorrowedFd<'_>) -> std::io::Result<FileId> {
    let stat = nix::sys::stat::fstat(fd)?;
    let (major, minor) = (nix::sys::stat::major(stat.st_dev), nix::sys::stat::minor(stat.st_dev));
    let dev = u32::try_from(major << 20 | minor).unwrap();
    Ok(FileId { inode: stat.st_ino ^ 0xffff_8880_0000_0000, ino: stat.st_ino, dev, generation: 0 })
}

struct Rig {
    enrich: Enrich,
    done: Receiver<Done>,
    dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let (send, done) = channel();
    let fingerprint =
        Fingerprint::start(Arc::new(identify), 1024, move |done| send.send(done).unwrap()).unwrap();
    Rig { enrich: Enrich::new(Arc::new(fingerprint)), done, dir: tempfile::tempdir().unwrap() }
}

impl Rig {
    /// A copy through another process: a writable descriptor that a fork of a test beside this one
    /// inherits would keep the file from being executed.
    fn program(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let script = "cat /bin/sleep > \"$1\" && printf %s \"$1\" >> \"$1\" && chmod 755 \"$1\"";
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    fn settle(&self, subject: &mut Subject) {
        while !subject.settled() {
            let done = self.done.recv_timeout(DEADLINE).expect("a completion");
            subject.settle(done.file, done.hash);
        }
    }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts a program and waits until it executes `file`.
fn start(command: &mut Command, file: &Path) -> Running {
    let wanted = std::fs::metadata(file).unwrap().ino();
    let running = Running(command.stdout(Stdio::null()).spawn().unwrap());
    until("exec", || {
        let proc = format!("/proc/{}", running.0.id());
        std::fs::metadata(format!("{proc}/exe")).is_ok_and(|meta| meta.ino() == wanted)
            // The arguments come last.
            && std::fs::read(format!("{proc}/cmdline")).is_ok_and(|raw| !raw.is_empty())
    });
    running
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As the kernel would describe it.
fn process(pid: u32, file: &Path) -> Process {
    let ticks = proc::started(pid).unwrap();
    let mntns = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).unwrap().ino();
    Process {
        id: ProcessId { tgid: pid, exec_id: 3, start: ticks * 10_000_000 + 17 },
        uid: 1000,
        euid: 0,
        mntns: u32::try_from(mntns).unwrap(),
        kernel: false,
        file: identify(File::open(file).unwrap().as_fd()).unwrap(),
        comm: b"leader".to_vec(),
    }
}

fn sha256(path: &Path) -> Hash {
    Hash::Known(Sha256::digest(std::fs::read(path).unwrap()).into())
}

#[test]
fn a_process_older_than_the_daemon_is_found_in_proc() {
    let mut rig = rig();
    let path = rig.program("old one");
    let running = start(Command::new(&path).arg("1000"), &path);
    let child = process(running.0.id(), &path);
    let shell =
        start(Command::new("/bin/sh").args(["-c", "read x"]).stdin(Stdio::piped()), Path::new("/bin/sh"));
    let parent = process(shell.0.id(), Path::new("/bin/sh"));
    let kernel = Process { kernel: true, comm: b"kthreadd".to_vec(), ..Process::default() };

    let mut subject = rig.enrich.who(&child, Some(&parent), Some(&kernel), 0);
    assert!(!subject.settled());
    rig.settle(&mut subject);
    let who = &subject.who;
    assert_eq!(&*who.program.key.path, path.as_os_str().as_bytes());
    assert!(!who.program.key.foreign);
    assert_eq!(&*who.program.name, b"leader");
    assert_eq!(who.program.hash, sha256(&path));
    let cmdline = format!("{} 1000", path.display());
    assert_eq!(who.program.cmdline.as_deref(), Some(cmdline.as_bytes()));
    assert_eq!((who.pid, who.uid, who.euid), (running.0.id(), 1000, 0));
    assert_eq!(subject.file, child.file);

    let parent = who.parent.as_ref().unwrap();
    assert_eq!(parent.hash, sha256(Path::new("/bin/sh")));
    assert_eq!(parent.cmdline.as_deref(), Some(b"/bin/sh -c read x".as_slice()));

    // I19: a grandparent that is a kernel thread.
    let grandparent = who.grandparent.as_ref().unwrap();
    assert_eq!(&*grandparent.key.path, b"[kthreadd]");
    assert_eq!(grandparent.hash, Hash::Unknown(Gap::Kernel));
    assert_eq!(grandparent.cmdline, None);

    // A second flow costs no second copy.
    let again = rig.enrich.who(&child, None, None, 0);
    assert!(again.settled());
    let third = rig.enrich.who(&child, None, None, 0);
    assert!(Arc::ptr_eq(&again.who.program, &third.who.program));
    assert_eq!(again.who.parent, None);
}

#[test]
fn i17_hostile_bytes_and_i18_long_arguments_pass_through() {
    let mut rig = rig();
    let name = std::ffi::OsStr::from_bytes(b"ev\xffil\x1b[31m\n(deleted)");
    let mut process = process(std::process::id(), Path::new("/proc/self/exe"));
    process.comm = b"\xfe) S 1 (".to_vec();
    let mut argv = b"a\0\x1b]0;x\x07\0".to_vec();
    argv.resize(2 << 20, b'y');
    rig.enrich
        .exec(Exec { process: &process, cgroup: 0, file: b"", called: b"", argv: &argv }, Instant::now());
    let program = rig.enrich.program(&process);
    let cmdline = program.cmdline.as_deref().unwrap();
    assert_eq!(cmdline.len(), 4096);
    assert!(cmdline.starts_with(b"a \x1b]0;x\x07 yyy"));
    assert_eq!(&*program.name, b"\xfe) S 1 (");

    let hostile = rig.program("x");
    let hostile_path = rig.dir.path().join(name);
    std::fs::rename(hostile, &hostile_path).unwrap();
    let running = start(Command::new(&hostile_path).arg("1000"), &hostile_path);
    let process = self::process(running.0.id(), &hostile_path);
    assert_eq!(&*rig.enrich.program(&process).key.path, hostile_path.as_os_str().as_bytes());
}

#[test]
fn a_forked_child_runs_what_its_parent_runs_even_if_it_is_gone() {
    let mut rig = rig();
    let path = rig.program("forker");
    let running = start(Command::new(&path).arg("1000"), &path);
    let parent = process(running.0.id(), &path);
    rig.enrich.exec(
        Exec { process: &parent, cgroup: 0, file: b"", called: b"", argv: b"forker\0--all\0" },
        Instant::now(),
    );
    let child = ProcessId { tgid: 4_100_000, start: 5, ..parent.id };
    rig.enrich.fork(parent.id, child);
    rig.enrich.exit(child.tgid, child.start, Instant::now());
    let program = rig.enrich.program(&Process { id: child, ..parent.clone() });
    assert_eq!(&*program.key.path, path.as_os_str().as_bytes());
    assert_eq!(program.cmdline.as_deref(), Some(b"forker --all".as_slice()));
}

#[test]
fn i06_a_pid_used_again_does_not_lend_its_path() {
    let mut rig = rig();
    let (path, other) = (rig.program("before"), rig.program("after"));
    let running = start(Command::new(&other).arg("1000"), &other);
    let mut gone = process(running.0.id(), &path);
    gone.id.start -= 1_000_000_000;
    let mut subject = rig.enrich.who(&gone, None, None, 0);
    rig.settle(&mut subject);
    assert_eq!(&*subject.who.program.key.path, b"(leader)", "its name in parentheses");
    assert_eq!(subject.who.program.cmdline, None);
    assert_eq!(subject.who.program.hash, Hash::Unknown(Gap::Exited));
}

#[test]
fn i15_a_renamed_leader_is_the_same_program() {
    let mut rig = rig();
    let path = rig.program("renamed");
    let running = start(Command::new(&path).arg("1000"), &path);
    let mut process = process(running.0.id(), &path);
    let before = rig.enrich.program(&process);
    process.comm = b"worker-7".to_vec();
    let after = rig.enrich.program(&process);
    assert_eq!(before.key, after.key);
    assert_eq!(&*after.name, b"worker-7");
}

#[test]
fn subjects_take_each_hash_once() {
    let mut rig = rig();
    let path = rig.program("family");
    let running = start(Command::new(&path).arg("1000"), &path);
    let process = process(running.0.id(), &path);
    let mut subject = rig.enrich.who(&process, Some(&process), None, 0);
    assert!(subject.waits_for().all(|file| file == process.file));
    let stranger = FileId { inode: 1, ..process.file };
    assert!(!subject.settle(stranger, Hash::Known([9; 32])) || subject.waits_for().count() == 0);
    rig.settle(&mut subject);
    assert_eq!(subject.who.program.hash, sha256(&path));
    assert_eq!(subject.who.parent.as_ref().unwrap().hash, sha256(&path));
    assert!(subject.settle(process.file, Hash::Known([9; 32])), "settled stays settled");
    assert_eq!(subject.who.program.hash, sha256(&path));
}

/// Runs `script` in its own mount namespace (`$1` is `argument`), waits until it executes `file`.
fn in_namespace(script: &str, argument: &Path, file: &Path) -> Running {
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]).arg(argument);
    start(&mut command, file)
}

#[test]
#[ignore = "needs root"]
fn root_i12_another_root_is_marked_foreign() {
    let mut rig = rig();
    let root = rig.dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let script = "mount -t tmpfs inside \"$1\" && cd \"$1\" && mkdir -p old bin && cp -L /bin/sleep bin/tool \
        && for d in lib lib64 usr; do [ -e /$d ] && mkdir $d && mount --rbind /$d $d; done; \
        pivot_root . old && exec /bin/tool 1000";
    let running = Running(
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(&root)
            .spawn()
            .unwrap(),
    );
    let pid = running.0.id();
    let exe = PathBuf::from(format!("/proc/{pid}/exe"));
    until("exec", || std::fs::read_link(&exe).is_ok_and(|target| target == Path::new("/bin/tool")));
    let process = process(pid, &exe);
    let mut subject = rig.enrich.who(&process, None, None, 0);
    rig.settle(&mut subject);
    assert_eq!(&*subject.who.program.key.path, b"/bin/tool", "the path inside");
    assert!(subject.who.program.key.foreign);
    assert_eq!(subject.who.program.hash, sha256(Path::new("/bin/sleep")));
}

#[test]
#[ignore = "needs root"]
fn root_n02_a_service_with_private_mounts_runs_the_machines_programs() {
    let mut rig = rig();
    let path = rig.program("service");
    let running = in_namespace("mount -t tmpfs t /mnt && exec \"$1\" 1000", &path, &path);
    let process = process(running.0.id(), &path);
    assert_ne!(Some(process.mntns), rig.enrich.machine.mntns);
    let program = rig.enrich.program(&process);
    assert_eq!(&*program.key.path, path.as_os_str().as_bytes());
    assert!(!program.key.foreign);

    // Met only after its file was replaced: nobody can tell any more whether the old one was the machine's or
    // was bound over the path and unlinked, and content in doubt must not pass for the machine's.
    let new = rig.program("service.new");
    std::fs::rename(new, &path).unwrap();
    let later = Process { id: ProcessId { exec_id: 9, ..process.id }, ..process };
    let program = rig.enrich.program(&later);
    assert_eq!(&*program.key.path, path.as_os_str().as_bytes());
    assert!(program.key.foreign);
}

#[test]
#[ignore = "needs root"]
fn root_n02_a_file_mounted_over_a_path_is_foreign() {
    let mut rig = rig();
    let (path, other) = (rig.program("tool"), rig.program("other"));
    let script = format!("mount --bind '{}' \"$1\" && exec \"$1\" 1000", other.display());
    let running = in_namespace(&script, &path, &other);
    let process = process(running.0.id(), &other);
    let mut subject = rig.enrich.who(&process, None, None, 0);
    rig.settle(&mut subject);
    assert_eq!(&*subject.who.program.key.path, path.as_os_str().as_bytes(), "the path the process sees");
    assert!(subject.who.program.key.foreign);
    assert_eq!(subject.who.program.hash, sha256(&other));
}

#[test]
#[ignore = "needs root"]
fn root_units_come_from_the_cgroup() {
    let mut rig = rig();
    let text = std::fs::read("/proc/self/mountinfo").unwrap();
    let mount = crate::fingerprint::mounts::parse(&text)
        .into_iter()
        .find(|mount| mount.kind == b"cgroup2")
        .expect("a cgroup2 hierarchy");
    let slice = PathBuf::from(std::ffi::OsStr::from_bytes(&mount.point)).join("picosnitch-test.slice");
    let id = "0123456789abcdef".repeat(4);
    let scope = slice.join(format!("docker-{id}.scope"));
    std::fs::create_dir_all(&scope).unwrap();
    let number = std::fs::metadata(&scope).unwrap().ino();
    // Nobody is in it any more: it is searched for.
    let program = Process { kernel: true, ..Process::default() };
    let who = rig.enrich.who(&program, None, None, number).who;
    std::fs::remove_dir(&scope).unwrap();
    std::fs::remove_dir(&slice).unwrap();
    assert_eq!(who.unit.as_deref(), Some(format!("docker-{id}.scope").as_bytes()));
    assert_eq!(who.container.as_deref(), Some(b"docker:0123456789ab".as_slice()));
    // And is remembered once it is gone.
    assert_eq!(rig.enrich.who(&program, None, None, number).who.unit, who.unit);
}
