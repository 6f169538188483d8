// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes: fork, exec and exit of processes, names that were resolved, and processes that use the network.
//! Gives: [`Subject`]: program, parent, grandparent, user, unit and container; names of addresses.
//! Thread: the pipeline's; it reads /proc, which takes some µs.
//! Drops when: a table is full; the oldest goes, counted in [`Enrich::evicted`].

pub mod cgroup;
pub mod dns;
mod errands;
#[cfg(test)]
mod kernel_tests;
mod names;
mod proc;
pub mod script;
mod subject;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::fingerprint::{Fingerprint, Place};
use crate::model::{Bytes, FileId, Gap, Hash, Process, ProcessId, Program, ProgramKey, Who};
use cgroup::Cgroups;
use errands::Errands;
pub use names::{Asker, Names};
use proc::Machine;
use subject::Files;
pub use subject::Subject;
use table::{Image, Table};

/// Mount namespaces remembered.
const NAMESPACES: usize = 1024;

/// Turns the kernel's identities into what people know.
pub struct Enrich {
    fingerprint: Arc<Fingerprint>,
    table: Table,
    cgroups: Cgroups,
    /// Names of remote addresses.
    pub names: Names,
    machine: Machine,
    errands: Errands,
    scripts: Errands,
    /// Mount namespaces that were seen, and whether their latest root is another than the machine's.
    namespaces: HashMap<u32, bool>,
}

/// An exec, as the kernel tells it.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// After the exec.
    pub process: &'a Process,
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// Last component of the executable's path, perhaps cut.
    pub file: &'a [u8],
    /// Path by which the kernel was told to find the executable, perhaps cut.
    pub called: &'a [u8],
    /// NUL-separated arguments, perhaps cut.
    pub argv: &'a [u8],
}

impl Enrich {
    /// `fingerprint` gives hashes and the paths of what has exited.
    #[must_use]
    pub fn new(fingerprint: Arc<Fingerprint>) -> Self {
        let machine = Machine::find(fingerprint.identify());
        Enrich {
            fingerprint,
            table: Table::default(),
            cgroups: Cgroups::new(),
            names: Names::default(),
            machine,
            errands: Errands::new("look-ups"),
            // Apart: these threads take the rights of others for moments.
            scripts: Errands::new("scripts"),
            namespaces: HashMap::new(),
        }
    }

    /// A process was forked: until it execs it runs what its parent runs. `exec_id` is that of both.
    pub fn fork(&mut self, parent: ProcessId, child: ProcessId) {
        if let Some(image) = self.table.image(parent) {
            let image = Arc::clone(image);
            self.table.insert(child, image);
        }
    }

    /// A process runs another program from now on.
    pub fn exec(&mut self, exec: Exec<'_>, now: Instant) {
        let id = exec.process.id;
        if let Some(before) = id.exec_id.checked_sub(1) {
            self.table.leave(ProcessId { exec_id: before, ..id }, now);
        }
        let key = self.key(exec.process, exec.file, exec.called);
        let script = match script::argument(&exec.process.comm, &key.path, exec.argv) {
            Some(argument) => {
                let (fingerprint, file) = (Arc::clone(&self.fingerprint), exec.process.file);
                let name = script::file_name(argument).to_vec();
                self.errands.ask(move || fingerprint.script(id.tgid, &name, file)).flatten()
            }
            None => self.interpreted(exec.process, &key.path, exec.argv),
        };
        let script = script.map(|(file, place)| (place.path, file));
        let cmdline = Some(proc::join_arguments(exec.argv).into());
        let image = Image { key, cmdline, script };
        self.table.insert(id, Arc::new(image));
        // While it lives: its cgroup may be gone with it.
        let _ = self.cgroups.get(exec.cgroup, id.tgid);
    }

    /// The script in the arguments of an interpreter.
    fn interpreted(&mut self, process: &Process, path: &[u8], argv: &[u8]) -> Option<(FileId, Place)> {
        let argument = script::interpreted(path, argv)?.to_vec();
        let (fingerprint, pid, file) = (Arc::clone(&self.fingerprint), process.id.tgid, process.file);
        self.scripts.ask(move || fingerprint.interpreted(pid, &argument, file)).flatten()
    }

    /// A process has exited; it is remembered for some time, as its flows may still be on their way.
    pub fn exit(&mut self, tgid: u32, start: u64, now: Instant) {
        self.table.exit(tgid, start, now);
        self.fingerprint.exited(tgid);
    }

    /// Everything about who uses the network. Hashes that are pending are asked for: hand what comes
    /// back to [`Subject::settle`].
    pub fn who(
        &mut self,
        process: &Process,
        parent: Option<&Process>,
        grandparent: Option<&Process>,
        cgroup: u64,
    ) -> Subject {
        let group = self.cgroups.get(cgroup, process.id.tgid);
        let (program, files) = self.look(process);
        let (parent, parent_files) = parent.map(|parent| self.ancestor(parent, process.uid)).unzip();
        let (grandparent, grandparent_files) =
            grandparent.map(|grandparent| self.ancestor(grandparent, process.uid)).unzip();
        let who = Who {
            program,
            parent,
            grandparent,
            pid: process.id.tgid,
            uid: process.uid,
            euid: process.euid,
            unit: group.unit,
            container: group.container,
        };
        Subject::new(who, [Some(files), parent_files, grandparent_files])
    }

    /// The program of a parent. What one user typed is not written into another one's rows.
    fn ancestor(&mut self, process: &Process, uid: u32) -> (Arc<Program>, Files) {
        let (program, files) = self.look(process);
        if process.uid == uid || uid == 0 || program.cmdline.is_none() {
            return (program, files);
        }
        (Arc::new(Program { cmdline: None, ..(*program).clone() }), files)
    }

    /// The program that a process runs, with its hash as far as it is known now.
    pub fn program(&mut self, process: &Process) -> Arc<Program> {
        self.look(process).0
    }

    /// The program, and the files behind it: the executable, and the script.
    fn look(&mut self, process: &Process) -> (Arc<Program>, Files) {
        let name = Bytes::from(process.comm.as_slice());
        if process.kernel || process.file.inode == 0 {
            let path = [b"[", process.comm.as_slice(), b"]"].concat();
            let key = ProgramKey { path: path.into(), foreign: false };
            let hash = Hash::Unknown(Gap::Kernel);
            let program = Program { key, name, hash, cmdline: None, script: None };
            return (self.table.share(process.id, program), [None; 2]);
        }
        let image = match self.table.image(process.id) {
            Some(image) => Arc::clone(image),
            None => {
                let ProcessId { tgid, start, .. } = process.id;
                // Its arguments are memory of its own, which a file server may have to bring.
                let cmdline = self.errands.ask(move || proc::cmdline(tgid, start)).flatten().map(Bytes::from);
                let image = Arc::new(Image { key: self.key(process, b"", b""), cmdline, script: None });
                self.table.insert(process.id, Arc::clone(&image));
                image
            }
        };
        let hash = self.fingerprint.request(process.file, process.id);
        let script = image.script.as_ref();
        let script_hash =
            script.map(|(path, file)| (path.clone(), self.fingerprint.request(*file, process.id)));
        let files = [Some(process.file), script.map(|(_, file)| *file)];
        let (key, cmdline) = (image.key.clone(), image.cmdline.clone());
        let program = Program { key, name, hash, cmdline, script: script_hash };
        (self.table.share(process.id, program), files)
    }

    /// Whether the file that process `pid` runs, or ran a moment ago, has lost its name by now. What cannot be known is
    /// not said.
    pub fn deleted(&mut self, file: FileId, pid: u32) -> bool {
        let fingerprint = Arc::clone(&self.fingerprint);
        file.inode != 0 && self.errands.ask(move || fingerprint.deleted(file, pid)).flatten().unwrap_or(false)
    }

    /// Entries forgotten for lack of room: processes, and names. Only grows.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.table.evicted() + self.names.evicted()
    }

    /// Look-ups that were not answered in time. Only grows.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.errands.unanswered() + self.scripts.unanswered()
    }

    /// Processes remembered.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.table.len()
    }

    /// Where the program lies. If nobody saw that before the process was gone, the path by which it was
    /// called, or else its name, stands for it in parentheses: no path looks like that, and neither passes
    /// for what lies there. `file`: last component of the path, if known; that of a memfd is all of it.
    fn key(&mut self, process: &Process, file: &[u8], called: &[u8]) -> ProgramKey {
        let pid = process.id.tgid;
        self.meet(process.mntns, pid);
        self.fingerprint.met(process.file.dev, pid);
        let place = self.fingerprint.place_seen(process.file, pid).or_else(|| {
            let (fingerprint, file) = (Arc::clone(&self.fingerprint), process.file);
            self.errands.ask(move || fingerprint.place(file, pid)).flatten()
        });
        match place {
            Some(place) => {
                let foreign = self.foreign(process, &place);
                ProgramKey { path: place.path, foreign }
            }
            None => {
                let path = if file.starts_with(b"memfd:") {
                    [b"/", file].concat()
                } else {
                    let name = if called.is_empty() { process.comm.as_slice() } else { called };
                    [b"(", name, b")"].concat()
                };
                ProgramKey { path: path.into(), foreign: self.of_machine(process.mntns) == Some(false) }
            }
        }
    }

    fn of_machine(&self, mntns: u32) -> Option<bool> {
        self.machine.mntns.map(|machine| machine == mntns)
    }

    /// Notes the root of a mount namespace, while the process is there to show it.
    fn meet(&mut self, mntns: u32, pid: u32) {
        if mntns == 0 || self.of_machine(mntns) != Some(false) {
            return;
        }
        if self.namespaces.len() >= NAMESPACES && !self.namespaces.contains_key(&mntns) {
            self.namespaces.clear();
        }
        match self.machine.has_root(pid) {
            // It may pivot to another root later, so the latest counts.
            Some(same) => {
                self.namespaces.insert(mntns, !same);
            }
            None => {
                self.namespaces.entry(mntns).or_insert(true);
            }
        }
    }

    /// Whether the path means another file than on this machine. A service with its own mount
    /// namespace but the machine's root runs the machine's programs, unless something else is mounted
    /// over that path there.
    fn foreign(&mut self, process: &Process, place: &Place) -> bool {
        if process.mntns == 0 || self.of_machine(process.mntns) != Some(false) {
            return false;
        }
        if self.namespaces.get(&process.mntns).copied().unwrap_or(true) {
            return true;
        }
        // A deleted file is in doubt: whoever binds a file of theirs over the path can unlink it. A notice too
        // many is better than content of somebody else's that passes for the machine's.
        place.deleted || self.machine.at(&place.path, &mut self.errands) != Some(process.file)
    }
}
