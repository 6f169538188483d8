// SPDX-License-Identifier: GPL-3.0-or-later
//! The threads that read and hash. Each takes the job with the least left to read, for one slice: a
//! 2 GiB file delays a small one by the time of a slice, no more.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::state::{Guard, Held, Stamp, Start, TRUST};
use super::{Done, Shared};
use crate::model::{FileId, Gap, Hash};

/// Bytes read at once.
const CHUNK: usize = 128 * 1024;
/// Bytes hashed before the thread looks for a smaller job: some ms.
const SLICE: u64 = 4 * 1024 * 1024;
/// How often a file that changes while it is read is read again.
const TRIES: u32 = 3;

/// One file to hash.
pub(super) struct Job {
    file: FileId,
    sequence: u64,
    /// Bytes left; 0 until the file is open, so that new jobs come first.
    remaining: u64,
    reading: Option<Reading>,
}

/// An open file, partly read.
struct Reading {
    file: File,
    hasher: Sha256,
    offset: u64,
    stamp: Stamp,
    version: u32,
    watched: bool,
    tries: u32,
}

impl Job {
    pub(super) fn new(file: FileId, sequence: u64) -> Self {
        Job { file, sequence, remaining: 0, reading: None }
    }

    /// It holds a descriptor.
    pub(super) fn is_open(&self) -> bool {
        self.reading.is_some()
    }
}

impl Ord for Job {
    /// The greatest is the one to do next: least left, then first come.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.remaining, other.sequence).cmp(&(self.remaining, self.sequence))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

type Outcome = Result<([u8; 32], Stamp, Guard), Gap>;

/// What a slice of work led to.
enum Step {
    More,
    End(Outcome, u32),
}

/// A worker: until the shared state is closed.
pub(super) fn run(shared: &Shared, lane: usize) {
    let mut buffer = Vec::new();
    let mut kept = None;
    while let Some(mut job) = kept.take().or_else(|| shared.next_job(lane)) {
        buffer.resize(CHUNK, 0);
        match step(shared, &mut job, &mut buffer) {
            Step::More => kept = shared.put_back(lane, job),
            Step::End(outcome, version) => {
                let hash = match outcome {
                    Ok((hash, ..)) => Hash::Known(hash),
                    Err(gap) => Hash::Unknown(gap),
                };
                let file = job.file;
                drop(job);
                shared.finish(file, outcome, version);
                (shared.done)(Done { file, hash });
            }
        }
    }
}

fn step(shared: &Shared, job: &mut Job, buffer: &mut [u8]) -> Step {
    if job.reading.is_none() {
        let start = shared.lock().start(job.file);
        let before = start.before;
        let opened = match open(shared, job.file, &start) {
            Err(error) if exhausted(&error) => {
                shared.lock().release_some();
                open(shared, job.file, &start)
            }
            other => other,
        };
        let file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return Step::End(Err(Gap::Exited), 0),
            Err(error) if exhausted(&error) => return Step::End(Err(Gap::Resources), 0),
            Err(_) => return Step::End(Err(Gap::Unreadable), 0),
        };
        let (watched, version) = shared.watch(job.file, file.as_fd());
        let Ok(meta) = file.metadata() else { return Step::End(Err(Gap::Unreadable), version) };
        let stamp = Stamp::of(&meta);
        if let Some((hash, old)) = before
            && old == stamp
        {
            return Step::End(Ok((hash, stamp, guard(watched))), version);
        }
        job.remaining = stamp.size.max(1);
        let hasher = Sha256::new();
        job.reading = Some(Reading { file, hasher, offset: 0, stamp, version, watched, tries: 0 });
        if job.remaining > SLICE {
            return Step::More;
        }
    }
    match &mut job.reading {
        Some(reading) => {
            let step = read(shared, job.file, reading, buffer);
            job.remaining = reading.stamp.size.saturating_sub(reading.offset).max(1);
            step
        }
        None => Step::End(Err(Gap::Unreadable), 0),
    }
}

/// Reads one slice; at the end of the file looks whether it stayed the same.
fn read(shared: &Shared, id: FileId, reading: &mut Reading, buffer: &mut [u8]) -> Step {
    let end = reading.offset.saturating_add(SLICE);
    while reading.offset < end {
        let count = match reading.file.read_at(buffer, reading.offset) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if exhausted(&error) => return Step::End(Err(Gap::Resources), reading.version),
            Err(_) => return Step::End(Err(Gap::Unreadable), reading.version),
        };
        // A file that grows for ever ends here, too: its size no longer fits its stamp.
        if count > 0 && reading.offset <= reading.stamp.size {
            reading.hasher.update(&buffer[..count]);
            reading.offset += count as u64;
            continue;
        }
        shared.drain_changes();
        let (watched, version) = match shared.lock().version(id) {
            same if same == reading.version => (reading.watched, same),
            _ => shared.watch(id, reading.file.as_fd()),
        };
        let stamp = match reading.file.metadata() {
            Ok(meta) => Stamp::of(&meta),
            Err(_) => return Step::End(Err(Gap::Unreadable), reading.version),
        };
        let hash: [u8; 32] = std::mem::take(&mut reading.hasher).finalize().into();
        if stamp == reading.stamp && version == reading.version && reading.offset == stamp.size {
            return Step::End(Ok((hash, stamp, guard(reading.watched))), version);
        }
        reading.tries += 1;
        if reading.tries >= TRIES {
            return Step::End(Err(Gap::Changing), version);
        }
        (reading.offset, reading.stamp) = (0, stamp);
        (reading.watched, reading.version) = (watched, version);
        return Step::More;
    }
    Step::More
}

fn guard(watched: bool) -> Guard {
    if watched { Guard::Watched } else { Guard::Until(Instant::now() + TRUST) }
}

/// Opens the file for reading: by the descriptor that came at exec, else by a process that runs it.
/// `None`: nobody runs it any more and nothing was kept.
fn open(shared: &Shared, file: FileId, start: &Start) -> io::Result<Option<File>> {
    if let Some(held) = &start.held {
        return readable(held).map(Some);
    }
    let mut trouble = None;
    for pid in &start.askers {
        match executable_of(shared, *pid, file) {
            Ok(Some(handle)) => return reopen(handle.as_fd()).map(Some),
            Ok(None) => {}
            Err(error) => trouble = Some(error),
        }
    }
    // The event of the exec may still be in the queue.
    shared.drain_execs();
    let held = shared.lock().start(file).held;
    match (held, trouble) {
        (Some(held), _) => readable(&held).map(Some),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

/// An O_PATH descriptor of what a process executes, if it is this file. Opens nothing: no FUSE server
/// and no device is asked.
pub(super) fn executable_of(shared: &Shared, pid: u32, file: FileId) -> io::Result<Option<File>> {
    match open_path(pid) {
        Ok(handle) if (shared.identify)(handle.as_fd())? == file => Ok(Some(handle)),
        Ok(_) => Ok(None),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::ESRCH as i32) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An O_PATH descriptor of what a process executes.
pub(super) fn open_path(pid: u32) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(format!("/proc/{pid}/exe"))
}

fn readable(held: &Held) -> io::Result<File> {
    if held.path_only {
        return reopen(held.fd.as_fd());
    }
    // What fanotify opened may be readable to nobody but its holder, so it is not opened again.
    let file = File::from(held.fd.try_clone()?);
    regular(&file)?;
    Ok(file)
}

fn reopen(handle: BorrowedFd<'_>) -> io::Result<File> {
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    if !std::fs::metadata(&link)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let open = |flags: OFlag| {
        let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(&link)
    };
    let file = match open(OFlag::O_NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlag::empty()),
        other => other,
    }?;
    regular(&file)?;
    Ok(file)
}

/// Programs are regular files; anything else could be read for ever.
fn regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// No descriptors or no memory left.
pub(super) fn exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

/// The same of descriptors alone.
pub(super) fn no_descriptor(error: Errno) -> bool {
    matches!(error, Errno::EMFILE | Errno::ENFILE)
}

/// For `Shared`, which keeps what threads refer to.
pub(super) type Callback = Arc<dyn Fn(Done) + Send + Sync>;
