// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known of files: contents with their validity, and descriptors of what running processes
//! execute. No I/O happens here; the lock around it is held for moments only.
//!
//! A content is valid until the file changes. `Guard::Watched` says that a fanotify mark on the inode
//! tells us; the mark also keeps the inode in memory, so that its address stays its identity without a
//! descriptor of ours (which would keep people from unmounting their disks). Where no mark is possible
//! (files of a server, of FUSE, of another mount namespace), the content is looked at again by size and
//! times when it was not asked for a while.

use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::place::Place;
use super::work::Job;
use crate::model::{FileId, Gap, Hash};

/// Files whose content is remembered at once.
pub(super) const FILES: usize = 4096;
/// Processes whose executables are remembered at once.
const PROCESSES: usize = 8192;
/// Files remembered for one process: a chain of execs, each with its interpreter and loader.
const PER_PROCESS: usize = 8;
/// Hashes that may be asked for at once.
const JOBS: usize = 4096;
/// Processes remembered that run a file whose hash is pending.
const ASKERS: usize = 8;
/// Mount namespaces that wait to be marked; more wait for their next exec.
const NAMESPACES: usize = 256;
/// Filesystems of other mount namespaces that are remembered.
const FOREIGN: usize = 1024;
/// How long such a filesystem is believed to be the same.
const REMARK: Duration = Duration::from_secs(60);
/// How long descriptors outlive the process that executed the file.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// How long a content is believed without a mark, and a failure not tried again.
pub(super) const TRUST: Duration = Duration::from_secs(10);

/// What `stat` says about a content; equal stamps of one inode mean equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        Stamp {
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Why a content may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    Watched,
    Until(Instant),
}

impl Guard {
    fn holds(self, now: Instant) -> bool {
        match self {
            Guard::Watched => true,
            Guard::Until(until) => until > now,
        }
    }
}

#[derive(Debug)]
enum Content {
    Unasked,
    Pending { askers: Vec<u32>, before: Option<([u8; 32], Stamp)> },
    Known { hash: [u8; 32], stamp: Stamp, guard: Guard },
    Failed { gap: Gap, until: Instant },
}

/// A descriptor of an executed file.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    /// It is an O_PATH descriptor: to be opened again for reading.
    pub(super) path_only: bool,
}

struct Entry {
    content: Content,
    held: Option<Arc<Held>>,
    /// How many `Exec`s refer to it; the descriptor is let go with the last.
    holders: u32,
    /// Grows with each change we are told of.
    version: u32,
    used: u64,
    place: Option<Place>,
}

struct Exec {
    file: FileId,
    place: Place,
    sequence: u64,
}

struct Leaving {
    due: Instant,
    pid: u32,
    /// Only what was executed before it left.
    sequence: u64,
}

/// What a job starts from.
pub(super) struct Start {
    pub(super) held: Option<Arc<Held>>,
    pub(super) askers: Vec<u32>,
    pub(super) before: Option<([u8; 32], Stamp)>,
}

/// Answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it stands.
    Now(Hash),
    /// Pending, and the lane has a new job.
    Queued(usize),
}

pub(super) struct State {
    files: HashMap<FileId, Entry>,
    processes: HashMap<u32, VecDeque<Exec>>,
    leaving: VecDeque<Leaving>,
    /// Jobs of local files, and of all others: those may wait for somebody for ever.
    pub(super) lanes: [BinaryHeap<Job>; 2],
    /// `s_dev` of the filesystems that are local and visible to the whole machine.
    pub(super) local: HashSet<u32>,
    /// Filesystems that are not the machine's, and when they were marked. The numbers of those of
    /// containers are used again, and nobody tells when they go.
    foreign: HashMap<u32, Instant>,
    /// Mount namespaces to mark: a process in each.
    pub(super) namespaces: VecDeque<u32>,
    pub(super) closed: bool,
    held: usize,
    held_limit: usize,
    pending: usize,
    clock: u64,
    pub(super) evicted: u64,
    pub(super) refused: u64,
}

impl State {
    pub(super) fn new(held_limit: usize) -> Self {
        State {
            files: HashMap::new(),
            processes: HashMap::new(),
            leaving: VecDeque::new(),
            lanes: [BinaryHeap::new(), BinaryHeap::new()],
            local: HashSet::new(),
            foreign: HashMap::new(),
            namespaces: VecDeque::new(),
            closed: false,
            held: 0,
            held_limit,
            pending: 0,
            clock: 0,
            evicted: 0,
            refused: 0,
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn entry(&mut self, file: FileId) -> &mut Entry {
        let used = self.tick();
        let entry = self.files.entry(file).or_insert_with(|| Entry {
            content: Content::Unasked,
            held: None,
            holders: 0,
            version: 0,
            used,
            place: None,
        });
        entry.used = used;
        entry
    }

    /// The content of a file that process `pid` runs.
    pub(super) fn request(&mut self, file: FileId, pid: u32, now: Instant) -> Answer {
        if let Some(entry) = self.files.get_mut(&file) {
            match &mut entry.content {
                Content::Known { hash, guard, .. } if guard.holds(now) => {
                    let hash = Hash::Known(*hash);
                    self.clock += 1;
                    entry.used = self.clock;
                    return Answer::Now(hash);
                }
                Content::Failed { gap, until } if *until > now => {
                    return Answer::Now(Hash::Unknown(*gap));
                }
                Content::Pending { askers, .. } => {
                    if !askers.contains(&pid) && askers.len() < ASKERS {
                        askers.push(pid);
                    }
                    return Answer::Now(Hash::Unknown(Gap::Pending));
                }
                _ => {}
            }
        }
        if self.pending >= JOBS {
            self.refused += 1;
            return Answer::Now(Hash::Unknown(Gap::Resources));
        }
        let lane = usize::from(!self.local.contains(&file.dev));
        let sequence = self.clock + 1;
        let entry = self.entry(file);
        let before = match entry.content {
            Content::Known { hash, stamp, .. } => Some((hash, stamp)),
            _ => None,
        };
        entry.content = Content::Pending { askers: vec![pid], before };
        self.pending += 1;
        self.lanes[lane].push(Job::new(file, sequence));
        Answer::Queued(lane)
    }

    /// What the job for a file may start from.
    pub(super) fn start(&self, file: FileId) -> Start {
        let entry = self.files.get(&file);
        let (askers, before) = match entry.map(|entry| &entry.content) {
            Some(Content::Pending { askers, before }) => (askers.clone(), *before),
            _ => (Vec::new(), None),
        };
        Start { held: entry.and_then(|entry| entry.held.clone()), askers, before }
    }

    /// Changes seen so far.
    pub(super) fn version(&self, file: FileId) -> u32 {
        self.files.get(&file).map_or(0, |entry| entry.version)
    }

    /// A job ended. `version` is what [`State::version`] said before reading; if the file has changed
    /// since, the content is not believed beyond this answer. True if all marks are to be flushed.
    pub(super) fn finish(
        &mut self,
        file: FileId,
        result: Result<([u8; 32], Stamp, Guard), Gap>,
        version: u32,
        now: Instant,
    ) -> bool {
        self.pending = self.pending.saturating_sub(1);
        let Some(entry) = self.files.get_mut(&file) else { return false };
        entry.content = match result {
            Ok((hash, stamp, guard)) if entry.version == version => Content::Known { hash, stamp, guard },
            Ok(_) => Content::Unasked,
            Err(gap) => Content::Failed { gap, until: now + TRUST },
        };
        self.forget_if_empty(file);
        self.evict(now)
    }

    /// The file was written to. True if there was a content to drop.
    pub(super) fn modified(&mut self, file: FileId) -> bool {
        let Some(entry) = self.files.get_mut(&file) else { return true };
        entry.version = entry.version.wrapping_add(1);
        match entry.content {
            Content::Pending { .. } => false,
            _ => {
                entry.content = Content::Unasked;
                self.forget_if_empty(file);
                true
            }
        }
    }

    /// Changes may have been missed: nothing watched is believed any more.
    pub(super) fn doubt_all(&mut self, now: Instant) {
        for entry in self.files.values_mut() {
            entry.version = entry.version.wrapping_add(1);
            if let Content::Known { guard, .. } = &mut entry.content {
                *guard = Guard::Until(now);
            }
        }
    }

    /// Takes over which filesystems are local, and forgets contents of those that are so no more:
    /// they were unmounted, and the addresses of their inodes may be used again.
    pub(super) fn mounted(&mut self, local: HashSet<u32>) {
        let old = std::mem::replace(&mut self.local, local);
        if !old.is_subset(&self.local) {
            let local = self.local.clone();
            self.forget_watched(|file| old.contains(&file.dev) && !local.contains(&file.dev));
        }
    }

    /// Forgets contents whose mark is gone: their filesystem was unmounted, perhaps mounted again.
    /// `marked` has (ino, dev) of all marks there are.
    pub(super) fn keep_marked(&mut self, marked: &HashSet<(u64, u32)>) {
        self.forget_watched(|file| !marked.contains(&(file.ino, file.dev)));
    }

    fn forget_watched(&mut self, gone: impl Fn(&FileId) -> bool) {
        let gone: Vec<FileId> = self
            .files
            .iter()
            .filter(|(file, entry)| {
                matches!(entry.content, Content::Known { guard: Guard::Watched, .. }) && gone(file)
            })
            .map(|(file, _)| *file)
            .collect();
        for file in gone {
            if let Some(entry) = self.files.get_mut(&file) {
                entry.content = Content::Unasked;
            }
            self.forget_if_empty(file);
        }
    }

    /// Process `pid` executes a file. `open` makes the descriptor to keep, if none is kept yet.
    pub(super) fn executed(
        &mut self,
        pid: u32,
        file: FileId,
        place: Place,
        open: impl FnOnce() -> Option<Held>,
    ) {
        if self.held >= self.held_limit {
            self.release_some();
        }
        if self.processes.len() >= PROCESSES && !self.processes.contains_key(&pid) {
            self.release_oldest(PROCESSES / 8);
        }
        let sequence = self.tick();
        let entry = self.entry(file);
        entry.place = Some(place.clone());
        entry.holders += 1;
        if entry.held.is_none()
            && let Some(held) = open()
        {
            entry.held = Some(Arc::new(held));
            self.held += 1;
        }
        let list = self.processes.entry(pid).or_default();
        list.push_back(Exec { file, place, sequence });
        if list.len() > PER_PROCESS
            && let Some(old) = list.pop_front()
        {
            self.unhold(old.file);
        }
    }

    /// Process `pid` has exited. True if somebody has to be woken to tidy up later.
    pub(super) fn exited(&mut self, pid: u32, now: Instant) -> bool {
        if !self.processes.contains_key(&pid) {
            return false;
        }
        let first = self.leaving.is_empty();
        self.leaving.push_back(Leaving { due: now + LINGER, pid, sequence: self.clock });
        first
    }

    /// Lets go what processes that have left executed. When to come again.
    pub(super) fn tidy(&mut self, now: Instant) -> Option<Instant> {
        while let Some(leaving) = self.leaving.front() {
            if leaving.due > now {
                return Some(leaving.due);
            }
            let Leaving { pid, sequence, .. } = *leaving;
            self.leaving.pop_front();
            self.drop_execs(pid, sequence);
        }
        None
    }

    /// Process `pid` runs a file of this filesystem. True if somebody has to be woken to mark it.
    pub(super) fn met(&mut self, dev: u32, pid: u32, now: Instant) -> bool {
        let marked = self.foreign.get(&dev).is_some_and(|at| now.duration_since(*at) < REMARK);
        if marked || self.local.contains(&dev) || self.namespaces.len() >= NAMESPACES {
            return false;
        }
        if self.foreign.len() >= FOREIGN {
            self.foreign.clear();
        }
        self.foreign.insert(dev, now);
        self.namespaces.push_back(pid);
        true
    }

    /// Where the file was when `pid` executed it.
    pub(super) fn place(&self, file: FileId, pid: u32) -> Option<Place> {
        let list = self.processes.get(&pid)?;
        list.iter().rev().find(|exec| exec.file == file).map(|exec| exec.place.clone())
    }

    /// The file of this name that `pid` executed, other than `not`; the latest.
    pub(super) fn named(&self, pid: u32, name: &[u8], not: FileId) -> Option<(FileId, Place)> {
        let list = self.processes.get(&pid)?;
        let named = |exec: &&Exec| exec.place.path.rsplit(|byte| *byte == b'/').next() == Some(name);
        let exec = list.iter().rev().filter(|exec| exec.file != not).find(named)?;
        Some((exec.file, exec.place.clone()))
    }

    /// Where the file was when anybody executed it last.
    pub(super) fn any_place(&self, file: FileId) -> Option<Place> {
        self.files.get(&file)?.place.clone()
    }

    /// Files that may be open and partly read, in one lane.
    pub(super) fn open_limit(&self) -> usize {
        self.held_limit / 4
    }

    /// Gives back an eighth of the descriptors, the longest held first.
    pub(super) fn release_some(&mut self) {
        let goal = self.held.saturating_sub(1 + self.held_limit / 8);
        while self.held > goal && !self.processes.is_empty() {
            self.release_oldest(1 + self.processes.len() / 8);
        }
    }

    fn release_oldest(&mut self, count: usize) {
        let mut ages: Vec<(u64, u32)> = self
            .processes
            .iter()
            .map(|(pid, list)| (list.back().map_or(0, |exec| exec.sequence), *pid))
            .collect();
        ages.sort_unstable();
        for (_, pid) in ages.into_iter().take(count) {
            self.drop_execs(pid, u64::MAX);
            self.evicted += 1;
        }
    }

    fn drop_execs(&mut self, pid: u32, up_to: u64) {
        let Some(list) = self.processes.get_mut(&pid) else { return };
        let (gone, kept): (VecDeque<Exec>, VecDeque<Exec>) =
            std::mem::take(list).into_iter().partition(|exec| exec.sequence <= up_to);
        if kept.is_empty() {
            self.processes.remove(&pid);
        } else {
            *list = kept;
        }
        for exec in gone {
            self.unhold(exec.file);
        }
    }

    fn unhold(&mut self, file: FileId) {
        let Some(entry) = self.files.get_mut(&file) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 && entry.held.take().is_some() {
            self.held -= 1;
        }
        self.forget_if_empty(file);
    }

    fn forget_if_empty(&mut self, file: FileId) {
        if let Some(entry) = self.files.get(&file)
            && entry.holders == 0
            && matches!(entry.content, Content::Unasked)
        {
            self.files.remove(&file);
        }
    }

    /// Keeps the number of contents bounded. A mark cannot be taken back without a descriptor, so all
    /// go at once (the caller flushes them) and what stays is looked at again when it is asked for.
    fn evict(&mut self, now: Instant) -> bool {
        let known = |entry: &Entry| matches!(entry.content, Content::Known { .. } | Content::Failed { .. });
        if self.files.len() < FILES || self.files.values().filter(|entry| known(entry)).count() < FILES {
            return false;
        }
        let mut ages: Vec<(u64, FileId)> =
            self.files.iter().filter(|(_, entry)| known(entry)).map(|(file, e)| (e.used, *file)).collect();
        ages.sort_unstable_by_key(|(used, _)| *used);
        for (_, file) in ages.into_iter().take(FILES / 2) {
            if let Some(entry) = self.files.get_mut(&file) {
                entry.content = Content::Unasked;
            }
            self.forget_if_empty(file);
            self.evicted += 1;
        }
        self.doubt_all(now);
        true
    }

    /// Descriptors and contents kept, for status and tests.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.held, self.files.len())
    }
}

#[cfg(test)]
mod tests;
