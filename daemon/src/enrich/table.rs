// SPDX-License-Identifier: GPL-3.0-or-later
//! What processes run: by identity, from their exec until nobody can refer to them any more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Bytes, FileId, ProcessId, Program, ProgramKey};

/// Processes remembered at once.
const PROCESSES: usize = 16 * 1024;
/// How long a process is remembered after its exit: events of its flows may still be on their way. Short,
/// as a build starts hundreds of processes a second, each with kilobytes of arguments.
const LINGER: Duration = Duration::from_secs(5);

/// What a process runs. Shared with the children it forks.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) key: ProgramKey,
    pub(super) cmdline: Option<Bytes>,
    /// Script that it interprets.
    pub(super) script: Option<(Bytes, FileId)>,
}

struct Process {
    image: Arc<Image>,
    /// The program as it was last written down, to be shared between flows.
    program: Option<Arc<Program>>,
}

#[derive(Default)]
pub(super) struct Table {
    processes: HashMap<ProcessId, Process>,
    /// The latest exec of each process, by tgid and start: an exit does not tell it.
    latest: HashMap<(u32, u64), u32>,
    leaving: VecDeque<(Instant, ProcessId)>,
    evicted: u64,
}

impl Table {
    pub(super) fn image(&self, id: ProcessId) -> Option<&Arc<Image>> {
        self.processes.get(&id).map(|process| &process.image)
    }

    pub(super) fn insert(&mut self, id: ProcessId, image: Arc<Image>) {
        while self.processes.len() >= PROCESSES && !self.processes.contains_key(&id) {
            // Those that have exited go first; else any: it is looked up again when it is needed.
            let Some(victim) =
                self.leaving.pop_front().map(|(_, id)| id).or_else(|| self.processes.keys().next().copied())
            else {
                break;
            };
            if self.remove(victim) {
                self.evicted += 1;
            }
        }
        self.latest.insert((id.tgid, id.start), id.exec_id);
        self.processes.insert(id, Process { image, program: None });
    }

    /// The process will not be seen again, but for what is on its way.
    pub(super) fn leave(&mut self, id: ProcessId, now: Instant) {
        if self.processes.contains_key(&id) {
            self.leaving.push_back((now + LINGER, id));
        }
        while let Some((due, id)) = self.leaving.front().copied() {
            if due > now {
                break;
            }
            self.leaving.pop_front();
            self.remove(id);
        }
    }

    /// The process has exited.
    pub(super) fn exit(&mut self, tgid: u32, start: u64, now: Instant) {
        if let Some(exec_id) = self.latest.get(&(tgid, start)).copied() {
            self.leave(ProcessId { tgid, exec_id, start }, now);
        }
    }

    fn remove(&mut self, id: ProcessId) -> bool {
        let process = (id.tgid, id.start);
        if self.latest.get(&process) == Some(&id.exec_id) {
            self.latest.remove(&process);
        }
        self.processes.remove(&id).is_some()
    }

    /// The same program for the same facts, so that flows of one process share it.
    pub(super) fn share(&mut self, id: ProcessId, program: Program) -> Arc<Program> {
        let Some(process) = self.processes.get_mut(&id) else { return Arc::new(program) };
        if let Some(last) = &process.program
            && **last == program
        {
            return Arc::clone(last);
        }
        let program = Arc::new(program);
        process.program = Some(Arc::clone(&program));
        program
    }

    /// How many were forgotten for lack of room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(tgid: u32) -> ProcessId {
        ProcessId { tgid, exec_id: 1, start: 5 }
    }

    fn image(path: &str) -> Arc<Image> {
        let key = ProgramKey { path: path.as_bytes().into(), foreign: false };
        Arc::new(Image { key, cmdline: None, script: None })
    }

    #[test]
    fn a_process_is_remembered_for_a_while_after_its_exit() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.insert(id(1), image("/a"));
        table.insert(id(2), image("/b"));
        table.exit(1, 5, start);
        table.exit(2, 99, start);
        assert!(table.image(id(1)).is_some());
        table.leave(id(9), start + LINGER);
        assert!(table.image(id(1)).is_none());
        assert!(table.image(id(2)).is_some(), "it never left");
    }

    #[test]
    fn i06_a_pid_used_again_is_another_process() {
        let mut table = Table::default();
        table.insert(id(1), image("/a"));
        assert!(table.image(ProcessId { start: 6, ..id(1) }).is_none());
        assert!(table.image(ProcessId { exec_id: 2, ..id(1) }).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_counts() {
        let mut table = Table::default();
        table.insert(id(0), image("/first"));
        table.leave(id(0), Instant::now());
        for tgid in 1..=PROCESSES as u32 {
            table.insert(id(tgid), image("/x"));
        }
        assert_eq!(table.len(), PROCESSES);
        assert_eq!(table.evicted(), 1);
        assert!(table.image(id(0)).is_none(), "what has exited goes first");
    }
}
