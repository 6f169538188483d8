// SPDX-License-Identifier: GPL-3.0-or-later
//! With the real kernel side: identities as it gives them, on the filesystems people have.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;
use crate::capture::Engine;
use crate::decode::{self, Event};
use crate::fingerprint::Done;

const DEADLINE: Duration = Duration::from_secs(30);

/// The stages up to this one.
struct Rig {
    enrich: Enrich,
    done: Receiver<Done>,
    engine: Engine,
    dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let engine = Engine::start(1024).expect("the kernel side loads");
    let identify = engine.identify().unwrap();
    let (send, done) = channel();
    let fingerprint = Fingerprint::start(
        Arc::new(move |fd: std::os::fd::BorrowedFd<'_>| identify.file(fd)),
        1024,
        move |done| {
            send.send(done).unwrap();
        },
    )
    .unwrap();
    assert!(fingerprint.shortfalls().is_empty(), "{:?}", fingerprint.shortfalls());
    Rig { enrich: Enrich::new(Arc::new(fingerprint)), done, engine, dir: tempfile::tempdir().unwrap() }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    /// Starts a command and takes in events until its last exec of `execs` has been seen. What it then
    /// runs, with all hashes. `gone`: looked at only after it has exited and was reaped.
    fn run(&mut self, command: &mut Command, execs: u32, gone: bool) -> (Subject, Running) {
        let events = Rc::new(RefCell::new(Vec::new()));
        let ring = self.engine.ring({
            let events = Rc::clone(&events);
            move |bytes| events.borrow_mut().extend(decode::event(bytes))
        });
        let ring = ring.unwrap();
        let mut running = Running(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        if gone {
            running.0.wait().unwrap();
        }
        let (mut seen, mut last) = (0, None);
        let deadline = Instant::now() + DEADLINE;
        while seen < execs {
            assert!(Instant::now() < deadline, "{command:?}: no exec seen");
            ring.poll(Duration::from_millis(50)).unwrap();
            for event in events.take() {
                match event {
                    Event::Fork { child, parent } => self.enrich.fork(parent, child),
                    Event::Exit { tgid, start } => self.enrich.exit(tgid, start, Instant::now()),
                    Event::Exec(exec) => {
                        let (process, cgroup, argv) = (&exec.process, exec.cgroup, exec.argv.as_slice());
                        let called = exec.called.as_slice();
                        self.enrich.exec(Exec { process, cgroup, file: b"", called, argv }, Instant::now());
                        if process.id.tgid == running.0.id() {
                            seen += 1;
                            last = Some(exec);
                        }
                    }
                    _ => {}
                }
            }
        }
        let exec = last.unwrap();
        let (parent, grandparent) = (exec.parent.as_ref(), exec.grandparent.as_ref());
        let mut subject = self.enrich.who(&exec.process, parent, grandparent, exec.cgroup);
        while !subject.settled() {
            let done = self.done.recv_timeout(DEADLINE).expect("a completion");
            subject.settle(done.file, done.hash);
        }
        (subject, running)
    }

    /// Runs a program that lives on, and one that exits at once; both must be told right.
    #[track_caller]
    fn check(&mut self, path: &Path) {
        let expected = sha256(path);
        for (argument, gone) in [("1000", false), ("0", true)] {
            let (subject, _running) = self.run(Command::new(path).arg(argument), 1, gone);
            let program = &subject.who.program;
            assert_eq!(String::from_utf8_lossy(&program.key.path), path.to_string_lossy(), "gone: {gone}");
            assert_eq!(program.hash, expected, "{path:?}, gone: {gone}");
            assert!(!program.key.foreign, "{path:?}, gone: {gone}");
            let cmdline = format!("{} {argument}", path.display());
            assert_eq!(program.cmdline.as_deref(), Some(cmdline.as_bytes()));
        }
    }

    fn sub(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

/// A copy of sleep with something of its own at the end.
fn program(path: &Path, mark: &str) -> PathBuf {
    sh("cat /bin/sleep > \"$0\" && printf %s \"$1\" >> \"$0\" && chmod 755 \"$0\"", path, mark);
    path.to_path_buf()
}

fn append(path: &Path, mark: &str) {
    sh("printf %s \"$1\" >> \"$0\"", path, mark);
}

fn sh(script: &str, path: &Path, argument: &str) {
    let output = Command::new("sh").args(["-ec", script]).arg(path).arg(argument).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sha256(path: &Path) -> Hash {
    Hash::Known(Sha256::digest(std::fs::read(path).unwrap()).into())
}

/// Unmounted when dropped, whoever still uses it.
struct Mounted(PathBuf);

impl Mounted {
    fn new(point: &Path, arguments: &[&str]) -> Self {
        let output = Command::new("mount").args(arguments).arg(point).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Mounted(point.to_path_buf())
    }

    /// Makes a filesystem in a file and mounts it.
    fn image(rig: &Rig, kind: &str, make: &str) -> Self {
        let (image, point) = (rig.dir.path().join(format!("{kind}.img")), rig.sub(kind));
        sh(make, &image, point.to_str().unwrap());
        Self::new(&point, &["-o", "loop", "-t", kind, image.to_str().unwrap()])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i08_btrfs_subvolumes_with_equal_inode_numbers() {
    let mut rig = rig();
    let disk = Mounted::image(&rig, "btrfs", "truncate -s 200M \"$0\"; mkfs.btrfs -q \"$0\"");
    let at = |name: &str| disk.0.join(name);
    sh("btrfs -q subvolume create \"$0/one\"; btrfs -q subvolume create \"$0/two\"", &disk.0, "");
    let (one, two) = (program(&at("one/tool"), "1"), program(&at("two/tool"), "2"));
    sh("btrfs -q subvolume snapshot \"$0/one\" \"$0/three\"", &disk.0, "");
    let three = at("three/tool");
    append(&three, "3");
    use std::os::unix::fs::MetadataExt;
    let ino = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!((ino(&one), ino(&one)), (ino(&two), ino(&three)), "the case is the one meant");
    for _ in 0..2 {
        for path in [&one, &two, &three] {
            rig.check(path);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i09_overlay_lower_upper_and_copied_up() {
    let mut rig = rig();
    // On a disk of its own: the upper layer wants one that takes its attributes.
    let disk = Mounted::image(&rig, "ext4", "truncate -s 100M \"$0\"; mkfs.ext4 -q \"$0\"");
    sh("mkdir \"$0/lower\" \"$0/upper\" \"$0/work\"", &disk.0, "");
    program(&disk.0.join("lower/below"), "lower");
    let options = format!("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", disk.0.display());
    let merged = Mounted::new(&rig.sub("merged"), &["-t", "overlay", "overlay", "-o", &options]);
    let below = merged.0.join("below");
    rig.check(&below);
    rig.check(&program(&merged.0.join("above"), "upper"));
    append(&below, "copied up");
    rig.check(&below);
    append(&below, "changed again");
    rig.check(&below);
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i10_tmpfs_xfs_squashfs() {
    let mut rig = rig();
    let tmpfs = Mounted::new(&rig.sub("tmpfs"), &["-t", "tmpfs", "none"]);
    let xfs = Mounted::image(&rig, "xfs", "truncate -s 320M \"$0\"; mkfs.xfs -q \"$0\"");
    for disk in [&tmpfs, &xfs] {
        let path = program(&disk.0.join("tool"), "x");
        rig.check(&path);
        append(&path, "changed in place");
        rig.check(&path);
    }
    let source = rig.sub("source");
    program(&source.join("tool"), "packed");
    let make = format!("mksquashfs '{}' \"$0\" -quiet -no-progress", source.display());
    let packed = Mounted::image(&rig, "squashfs", &make);
    rig.check(&packed.0.join("tool"));
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i05_i13_i14_chains_names_and_scripts() {
    let mut rig = rig();
    let (a, b) = (rig.dir.path().join("a"), program(&rig.dir.path().join("b"), "b"));
    sh("cp -L /bin/sh \"$0\"", &a, "");
    let mut chain = Command::new(&a);
    chain.args(["-c", "exec \"$0\" 0"]).arg(&b);
    let (subject, _) = rig.run(&mut chain, 2, true);
    assert_eq!(&*subject.who.program.key.path, b.as_os_str().as_encoded_bytes());
    assert_eq!(subject.who.program.hash, sha256(&b));

    let link = rig.dir.path().join("other-name");
    std::fs::hard_link(&b, &link).unwrap();
    rig.check(&link);
    rig.check(&b);

    let script = rig.dir.path().join("script");
    sh("printf '#!/bin/sh\\nread x\\n' > \"$0\"; chmod 755 \"$0\"", &script, "");
    let (subject, _running) = rig.run(&mut Command::new(&script), 1, false);
    assert_eq!(subject.who.program.hash, sha256(Path::new("/bin/sh")), "the interpreter runs");
    let cmdline = format!("/bin/sh {}", script.display());
    assert_eq!(subject.who.program.cmdline.as_deref(), Some(cmdline.as_bytes()));
    let beside = |path: &Path| Some((Bytes::from(path.as_os_str().as_encoded_bytes()), sha256(path)));
    assert_eq!(subject.who.program.script, beside(&script));

    // By a relative path, and gone before anybody looks.
    let short = rig.dir.path().join("short");
    sh("printf '#!/bin/sh -e\\n:\\n' > \"$0\"; chmod 755 \"$0\"", &short, "");
    let mut command = Command::new("./short");
    command.current_dir(rig.dir.path());
    let (subject, _running) = rig.run(&mut command, 1, true);
    assert_eq!(subject.who.program.script, beside(&short));
    let (subject, _running) = rig.run(Command::new("/bin/sh").arg(&short), 1, true);
    assert_eq!(subject.who.program.script, None, "not executed but read: not told yet");
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i07_a_file_in_memory() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let mut rig = rig();
    let content = std::fs::read("/bin/sleep").unwrap();
    let memory = std::fs::File::from(memfd_create("picosnitch-test", MFdFlags::empty()).unwrap());
    (&memory).write_all(&content).unwrap();
    // A writable descriptor keeps a file from being executed, and only dup clears close-on-exec.
    let reading = std::fs::File::open(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap();
    drop(memory);
    let reading = nix::unistd::dup(&reading).unwrap();
    let path = format!("/proc/self/fd/{}", reading.as_raw_fd());
    let (subject, _running) = rig.run(Command::new(path).arg("1000"), 1, false);
    assert_eq!(&*subject.who.program.key.path, b"/memfd:picosnitch-test");
    assert_eq!(subject.who.program.hash, Hash::Known(Sha256::digest(&content).into()));
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i19_ancestors() {
    let mut rig = rig();
    let tool = program(&rig.dir.path().join("tool"), "t");
    let (subject, _) = rig.run(Command::new(&tool).arg("0"), 1, true);
    let parent = subject.who.parent.expect("this test");
    assert_eq!(&*parent.key.path, std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
    assert_eq!(parent.hash, sha256(Path::new("/proc/self/exe")));
}

#[test]
#[ignore = "needs root"]
fn root_kernel_i04_gone_from_a_mount_that_nobody_watched() {
    let mut rig = rig();
    let point = rig.sub("own");
    let script = "mount -t tmpfs own \"$0\"; cp /bin/true \"$0/tool\"; exec \"$0/tool\" x";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]).arg(&point);
    let (subject, _running) = rig.run(&mut command, 3, true);
    let program = &subject.who.program;
    let called = point.join("tool");
    assert_eq!(String::from_utf8_lossy(&program.key.path), format!("({})", called.display()), "as called");
    assert_eq!(program.cmdline.as_deref(), Some(format!("{} x", called.display()).as_bytes()));
    assert_eq!(program.hash, Hash::Unknown(Gap::Exited));
}
