// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;

/// Long enough for a busy machine; nothing waits that long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// Identity by stat: what the kernel program tells, but for addresses.
fn identify(fd: BorrowedFd<'_>) -> io::Result<FileId> {
    let stat = nix::sys::stat::fstat(fd)?;
    let (major, minor) = (nix::sys::stat::major(stat.st_dev), nix::sys::stat::minor(stat.st_dev));
    let dev = u32::try_from(major << 20 | minor).unwrap();
    Ok(FileId { inode: stat.st_ino ^ 0xffff_8880_0000_0000, ino: stat.st_ino, dev, generation: 0 })
}

struct Rig {
    fingerprint: Fingerprint,
    done: Receiver<Done>,
    dir: tempfile::TempDir,
}

impl Rig {
    /// Without fanotify: whatever the user may do.
    fn plain() -> Self {
        let (send, done) = channel();
        let callback: Callback = Arc::new(move |done| send.send(done).unwrap());
        let fingerprint =
            Fingerprint::with_groups(Arc::new(identify), 1024, callback, (None, None), None).unwrap();
        Rig { fingerprint, done, dir: tempfile::tempdir().unwrap() }
    }

    /// With fanotify: needs root.
    fn watching() -> Self {
        let (send, done) = channel();
        let fingerprint =
            Fingerprint::start(Arc::new(identify), 1024, move |done| send.send(done).unwrap()).unwrap();
        assert!(fingerprint.shortfalls().is_empty(), "{:?}", fingerprint.shortfalls());
        Rig { fingerprint, done, dir: tempfile::tempdir().unwrap() }
    }

    /// A program of its own content.
    fn program(&self, name: &str, original: &str) -> PathBuf {
        program(&self.dir.path().join(name), original)
    }

    /// The hash of a file that a process runs, however long it takes.
    fn hash(&self, file: FileId, pid: u32) -> Hash {
        match self.fingerprint.request(file, id(pid)) {
            Hash::Unknown(Gap::Pending) => {
                let done = self.done.recv_timeout(DEADLINE).expect("a completion");
                assert_eq!(done.file, file);
                done.hash
            }
            now => now,
        }
    }
}

/// Writes a copy that differs from all others. Through another process: a writable descriptor that a
/// fork of a test beside this one inherits would keep the file from being executed.
fn program(path: &Path, original: &str) -> PathBuf {
    let script = "cat \"$1\" > \"$2\" && printf %s \"$2\" >> \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", script, "sh", original]).arg(path).status().unwrap();
    assert!(status.success());
    path.to_path_buf()
}

fn id(pid: u32) -> ProcessId {
    ProcessId { tgid: pid, exec_id: 0, start: 0 }
}

fn file_id(path: &Path) -> FileId {
    identify(File::open(path).unwrap().as_fd()).unwrap()
}

fn sha256(path: &Path) -> Hash {
    Hash::Known(Sha256::digest(std::fs::read(path).unwrap()).into())
}

/// A running process, killed when dropped.
struct Running(Child);

impl Running {
    fn start(path: &Path) -> Self {
        let child = Command::new(path).arg("1000").spawn().unwrap();
        // The child is another program only once it has called exec.
        let until = Instant::now() + DEADLINE;
        let own = std::fs::metadata("/proc/self/exe").unwrap().ino();
        while std::fs::metadata(format!("/proc/{}/exe", child.id())).unwrap().ino() == own {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        Running(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn hashes_what_a_process_runs_once() {
    let rig = Rig::plain();
    let path = rig.program("sleeper", "/bin/sleep");
    let (one, two) = (Running::start(&path), Running::start(&path));
    let file = file_id(&path);
    assert_eq!(rig.fingerprint.request(file, id(one.pid())), Hash::Unknown(Gap::Pending));
    // Pending or known by now, but never a second completion.
    let _ = rig.fingerprint.request(file, id(two.pid()));
    let done = rig.done.recv_timeout(DEADLINE).unwrap();
    assert_eq!(done, Done { file, hash: sha256(&path) });
    assert_eq!(rig.fingerprint.request(file, id(two.pid())), sha256(&path));
    assert!(rig.done.try_recv().is_err());
    let place = rig.fingerprint.place(file, one.pid()).unwrap();
    assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    assert!(!place.deleted);
}

#[test]
fn i01_deleted_while_running() {
    let rig = Rig::plain();
    let path = rig.program("gone", "/bin/sleep");
    let (file, expected, running) = (file_id(&path), sha256(&path), Running::start(&path));
    std::fs::remove_file(&path).unwrap();
    let place = rig.fingerprint.place(file, running.pid()).unwrap();
    assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    assert!(place.deleted);
    assert_eq!(rig.hash(file, running.pid()), expected);
}

#[test]
fn n01_a_file_that_goes_after_it_was_looked_at_is_deleted() {
    let rig = Rig::plain();
    let (path, other) = (rig.program("goes", "/bin/sleep"), rig.program("over", "/bin/sleep"));
    std::fs::hard_link(&path, path.with_extension("link")).unwrap();
    let (file, running) = (file_id(&path), Running::start(&path));
    assert!(!rig.fingerprint.place(file, running.pid()).unwrap().deleted);
    assert_eq!(rig.fingerprint.deleted(file, running.pid()), Some(false));
    std::fs::rename(&other, &path).unwrap();
    // Another name of it does not count: it does not run from there.
    assert_eq!(rig.fingerprint.deleted(file, running.pid()), Some(true));
    assert_eq!(rig.fingerprint.deleted(file_id(&path), running.pid()), None, "it does not run that");
    // Of what has exited, the descriptor that was kept tells.
    let brief = rig.program("brief", "/bin/true");
    let held = rig.hold(&brief);
    assert_eq!(rig.fingerprint.deleted(held, 4_000_000), Some(false));
    std::fs::remove_file(&brief).unwrap();
    assert_eq!(rig.fingerprint.deleted(held, 4_000_000), Some(true));
}

#[test]
fn i01_a_name_that_only_looks_deleted_is_kept() {
    let rig = Rig::plain();
    let path = rig.program("odd (deleted)", "/bin/sleep");
    let (file, running) = (file_id(&path), Running::start(&path));
    let place = rig.fingerprint.place(file, running.pid()).unwrap();
    assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    assert!(!place.deleted);
    std::fs::remove_file(&path).unwrap();
    let place = rig.fingerprint.place(file, running.pid()).unwrap();
    assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    assert!(place.deleted);
}

#[test]
fn i02_renamed_over_while_running() {
    let rig = Rig::plain();
    let path = rig.program("service", "/bin/sleep");
    let (old, old_hash, before) = (file_id(&path), sha256(&path), Running::start(&path));
    let newer = rig.program("service.new", "/bin/sleep");
    std::fs::rename(&newer, &path).unwrap();
    let (new, after) = (file_id(&path), Running::start(&path));
    assert_eq!(rig.hash(old, before.pid()), old_hash);
    assert_eq!(rig.hash(new, after.pid()), sha256(&path));
    assert_ne!(sha256(&path), old_hash);
    for process in [&before, &after] {
        let file = if process.pid() == before.pid() { old } else { new };
        let place = rig.fingerprint.place(file, process.pid()).unwrap();
        assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    }
}

#[test]
fn i07_a_file_in_memory() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let rig = Rig::plain();
    // No close-on-exec: the child opens it by its own number.
    let memory = File::from(memfd_create("picosnitch-test", MFdFlags::empty()).unwrap());
    let content = std::fs::read("/bin/sleep").unwrap();
    (&memory).write_all(&content).unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    let file = identify(memory.as_fd()).unwrap();
    // Writable descriptors keep a file from being executed: the child gets one for reading.
    let reading = File::open(&link).unwrap();
    drop(memory);
    let reading = nix::unistd::dup(&reading).unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reading));
    let running = Running::start(Path::new(&link));
    assert_eq!(rig.hash(file, running.pid()), Hash::Known(Sha256::digest(&content).into()));
    let place = rig.fingerprint.place(file, running.pid()).unwrap();
    assert_eq!(&*place.path, b"/memfd:picosnitch-test");
    assert!(place.deleted);
    assert_eq!(rig.fingerprint.deleted(file, running.pid()), Some(false), "it never had a name");
}

#[test]
fn i22_a_huge_file_does_not_delay_a_small_one() {
    let rig = Rig::plain();
    let small = rig.program("small", "/bin/sleep");
    let mut huge = Vec::new();
    for name in ["huge-1", "huge-2", "huge-3"] {
        let path = rig.program(name, "/bin/sleep");
        nix::unistd::truncate(&path, 256 << 20).unwrap();
        huge.push((file_id(&path), Running::start(&path)));
    }
    let running = Running::start(&small);
    for (file, process) in &huge {
        assert_eq!(rig.fingerprint.request(*file, id(process.pid())), Hash::Unknown(Gap::Pending));
    }
    let file = file_id(&small);
    assert_eq!(rig.fingerprint.request(file, id(running.pid())), Hash::Unknown(Gap::Pending));
    assert_eq!(rig.done.recv_timeout(DEADLINE).unwrap(), Done { file, hash: sha256(&small) });
    for _ in huge {
        assert!(matches!(rig.done.recv_timeout(DEADLINE).unwrap().hash, Hash::Known(_)));
    }
}

#[test]
fn i23_gaps_have_reasons() {
    let rig = Rig::plain();
    let path = rig.program("late", "/bin/sleep");
    let file = file_id(&path);
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    assert_eq!(rig.hash(file, gone.id()), Hash::Unknown(Gap::Exited));
    assert_eq!(rig.fingerprint.request(file, id(gone.id())), Hash::Unknown(Gap::Exited), "not again at once");
    assert_eq!(rig.fingerprint.place(file, gone.id()), None);

    let none = FileId::default();
    assert_eq!(rig.fingerprint.request(none, id(2)), Hash::Unknown(Gap::Kernel));

    // What is no regular file is never read.
    let fifo = rig.dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for odd in [fifo.as_path(), rig.dir.path()] {
        assert_eq!(rig.hash(rig.hold(odd), 4_000_000), Hash::Unknown(Gap::Unreadable), "{odd:?}");
    }
}

#[test]
fn i23_another_program_of_the_same_process_is_not_taken_for_it() {
    let rig = Rig::plain();
    let (path, other) = (rig.program("a", "/bin/sleep"), rig.program("b", "/bin/sleep"));
    let running = Running::start(&other);
    assert_eq!(rig.hash(file_id(&path), running.pid()), Hash::Unknown(Gap::Exited));
}

#[test]
fn i23_a_file_that_never_holds_still() {
    let rig = Rig::plain();
    let path = rig.dir.path().join("restless");
    let writer = File::create(&path).unwrap();
    writer.set_len(64 << 20).unwrap();
    let file = rig.hold(&path);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                (&writer).write_all(b"x").unwrap();
            }
        });
        let hash = rig.hash(file, 4_000_000);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(hash, Hash::Unknown(Gap::Changing));
    });
}

impl Rig {
    /// As if fanotify had told that process 4000000 executes it.
    fn hold(&self, path: &Path) -> FileId {
        let fd: std::os::fd::OwnedFd = {
            use std::os::unix::fs::OpenOptionsExt;
            let flags = nix::fcntl::OFlag::O_PATH.bits();
            File::options().read(true).custom_flags(flags).open(path).unwrap().into()
        };
        let file = identify(fd.as_fd()).unwrap();
        let place = Place::of(&self.fingerprint.identify(), fd.as_fd(), 1).unwrap();
        let held = Held { fd, path_only: true };
        self.fingerprint.shared.lock().executed(4_000_000, file, place, || Some(held));
        file
    }
}

#[test]
fn nothing_wakes_when_nothing_happens() {
    let rig = Rig::plain();
    let path = rig.program("sleeper", "/bin/sleep");
    let running = Running::start(&path);
    rig.hash(file_id(&path), running.pid());
    let switches = || -> u64 {
        let mut sum = 0;
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            // Threads of tests beside this one have the same names; they only add to the sum.
            if comm.trim() == "exec-watch" || comm.starts_with("hash-") {
                let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                sum += status
                    .lines()
                    .find_map(|line| {
                        line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok()
                    })
                    .unwrap_or(0);
            }
        }
        sum
    };
    // Other tests may be busy in this process: some quiet moment is enough.
    until("no quiet moment", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(300));
        switches() == before
    });
}

#[test]
#[ignore = "needs root"]
fn root_i04_exits_before_anything_looks() {
    let rig = Rig::watching();
    for round in 0..20 {
        let path = rig.program(&format!("short \u{1b}[31m{round}"), "/bin/true");
        let (file, expected) = (file_id(&path), sha256(&path));
        let mut child = Command::new(&path).spawn().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(&path).unwrap();
        let place = rig.fingerprint.place(file, child.id()).expect("fanotify told");
        assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
        assert_eq!(rig.hash(file, child.id()), expected);
    }
    assert_eq!(rig.fingerprint.counts(), Counts::default());
}

#[test]
#[ignore = "needs root"]
fn root_i03_written_in_place() {
    let rig = Rig::watching();
    let path = rig.program("edited", "/bin/sleep");
    let file = file_id(&path);
    for round in 0..20 {
        {
            let running = Running::start(&path);
            assert_eq!(rig.hash(file, running.pid()), sha256(&path), "round {round}");
            assert_eq!(rig.fingerprint.request(file, id(running.pid())), sha256(&path), "cached");
        }
        if round % 2 == 0 {
            append(&path, "more");
        } else {
            let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\n\
                f.close()\nm[-1]=(m[-1]+1)%256\nm.close()\n";
            let status = Command::new("python3").args(["-c", script]).arg(&path).status().unwrap();
            assert!(status.success());
        }
        assert_eq!(file_id(&path), file, "the same inode");
    }
}

fn append(path: &Path, text: &str) {
    let status = Command::new("sh").args(["-c", "printf %s \"$1\" >> \"$2\"", "sh", text]).arg(path).status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "needs root"]
fn root_i05_a_chain_of_execs_in_one_process() {
    let rig = Rig::watching();
    let (a, b) = (rig.program("chain-a", "/bin/sh"), rig.program("chain-b", "/bin/true"));
    let (file_a, file_b) = (file_id(&a), file_id(&b));
    let mut child = Command::new(&a).args(["-c", "exec \"$0\""]).arg(&b).spawn().unwrap();
    child.wait().unwrap();
    for (file, path) in [(file_a, &a), (file_b, &b)] {
        let place = rig.fingerprint.place(file, child.id()).unwrap();
        assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
        assert_eq!(rig.hash(file, child.id()), sha256(path));
    }
}

#[test]
#[ignore = "needs root"]
fn root_i13_one_file_under_two_names() {
    let rig = Rig::watching();
    let one = rig.program("name-one", "/bin/true");
    let two = rig.dir.path().join("name-two");
    std::fs::hard_link(&one, &two).unwrap();
    let file = file_id(&one);
    let run = |path: &Path| {
        let mut child = Command::new(path).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let (first, second) = (run(&one), run(&two));
    for (pid, path) in [(first, &one), (second, &two)] {
        let place = rig.fingerprint.place(file, pid).unwrap();
        assert_eq!(&*place.path, path.as_os_str().as_encoded_bytes());
    }
}

/// Mounts a tmpfs; unmounts it when dropped, whoever still uses it.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "picosnitch-test"]).arg(&path).status();
        assert!(status.unwrap().success());
        Mounted(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
#[ignore = "needs root"]
fn root_i10_a_filesystem_mounted_later_is_watched_and_can_be_unmounted() {
    let rig = Rig::watching();
    let mounted = Mounted::new(rig.dir.path().join("stick"));
    let path = program(&mounted.0.join("tool"), "/bin/true");
    let (file, expected) = (file_id(&path), sha256(&path));
    let run = || {
        let mut child = Command::new(&path).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let mut pid = run();
    until("the new filesystem is not watched", || {
        if rig.fingerprint.place(file, pid).is_none() {
            pid = run();
            return false;
        }
        true
    });
    assert_eq!(rig.hash(file, pid), expected);
    rig.fingerprint.exited(pid);
    for pid in 0..pid {
        // Earlier tries, and the shell's tools that were copied from: nobody tells their exit here.
        rig.fingerprint.exited(pid);
    }
    let known = || rig.fingerprint.shared.lock().any_place(file).is_some();
    assert!(known());
    until("it stays busy", || Command::new("umount").arg(&mounted.0).output().unwrap().status.success());
    until("a file is remembered that nobody can name any more", || !known());
}

#[test]
#[ignore = "needs root"]
fn root_i12_another_mount_namespace() {
    let rig = Rig::watching();
    let inside = rig.dir.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    // A file is the door bell: when it appears a program runs and is gone. The namespace lives on: once
    // it is gone, too, nobody can tell where its mounts were.
    let bell = rig.dir.path().join("bell");
    let script = "mount -t tmpfs private \"$1\" && cp /bin/true \"$1/hidden\" && : > \"$2.ready\"\n\
        until [ -e \"$2\" ]; do sleep 0.01; done\n\"$1/hidden\" & echo $! > \"$2.pid\"; wait\n\
        : > \"$2.gone\"; read line";
    let mut child = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .args([&inside, &bell])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", bell.display()));
    until("no namespace", || beside(".ready").exists());
    let hidden = File::open(format!("/proc/{}/root{}/hidden", child.id(), inside.display())).unwrap();
    let file = identify(hidden.as_fd()).unwrap();
    drop(hidden);
    rig.fingerprint.met(file.dev, child.id());
    until("the namespace is not marked", || rig.fingerprint.shared.lock().namespaces.is_empty());
    // Taken from the queue is not yet marked: the thread is at it while it does not sleep in poll.
    until("the thread is busy", || {
        rig.fingerprint.shared.wake();
        std::fs::read_dir("/proc/self/task").unwrap().flatten().any(|task| {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            read("comm").trim() == "exec-watch" && read("stat").contains(") S ")
        })
    });
    std::fs::write(&bell, "").unwrap();
    until("it did not run", || beside(".gone").exists());
    let pid = std::fs::read_to_string(beside(".pid")).unwrap().trim().parse().unwrap();
    let place = rig.fingerprint.place(file, pid).expect("fanotify told");
    assert_eq!(&*place.path, inside.join("hidden").as_os_str().as_encoded_bytes());
    assert_eq!(rig.hash(file, pid), Hash::Known(Sha256::digest(std::fs::read("/bin/true").unwrap()).into()));
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn root_what_runs_already_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(&dir.path().join("early"), "/bin/sleep");
    let (file, expected) = (file_id(&path), sha256(&path));
    let running = Running::start(&path);
    let pid = running.pid();
    let rig = Rig::watching();
    until("not adopted", || rig.fingerprint.shared.lock().any_place(file).is_some());
    drop(running);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(&*rig.fingerprint.place(file, pid).unwrap().path, path.as_os_str().as_encoded_bytes());
    assert_eq!(rig.hash(file, pid), expected);
}

#[test]
#[ignore = "needs root"]
fn root_contents_are_bounded_and_marks_go_with_them() {
    let rig = Rig::watching();
    let mut files = Vec::new();
    for number in 0..state::FILES + 10 {
        let path = rig.dir.path().join(number.to_string());
        std::fs::write(&path, number.to_string()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let file = rig.hold(&path);
        assert!(matches!(rig.hash(file, 4_000_000), Hash::Known(_)), "{number}");
        files.push((file, path));
    }
    assert!(rig.fingerprint.counts().evicted > 0);
    let marks = rig.fingerprint.shared.changes.as_ref().unwrap().marked_files().unwrap().len();
    assert!(marks < 100, "{marks} marks");
    // The last ones are still held, and a change is still seen.
    let (file, path) = files.last().unwrap();
    append(path, "!");
    assert_eq!(rig.hash(*file, 4_000_000), sha256(path));
}
