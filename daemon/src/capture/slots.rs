// SPDX-License-Identifier: GPL-3.0-or-later
//! The slots that the kernel side counts in. See `bpf/src/wire.h` for who may change what.

// libbpf-rs has no names for running a program, and asking about one, by a descriptor of our own.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::skel::Skel as _;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Program, libbpf_sys};
use nix::sys::mman::ProtFlags;
use picosnitch_bpf::skeleton::PicosnitchSkel;
use picosnitch_bpf::wire as abi;

use super::pieces::Pieces;
use crate::decode::{self, Flow, SlotRef};
use crate::model::ProcessId;

/// Number of slots.
pub const COUNT: u32 = abi::PS_SLOTS;

/// Twin of `struct ps_counters`, shared with the kernel.
#[repr(C)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    generation: AtomicU32,
    state: AtomicU32,
    /// The kernel's own.
    rest: u64,
}

const _: () = assert!(size_of::<Counters>() == size_of::<abi::ps_counters>());

/// What a slot is used for right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Free,
    /// A flow that may still grow.
    Live,
    /// A flow whose socket is closed.
    Ended,
    /// Given up by [`Slots::retire`].
    Retired,
}

/// Totals of a slot since it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// What the kernel side could not keep, since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Sockets that never found a slot.
    pub flows: u64,
    /// Bytes sent that belong to no slot.
    pub sent: u64,
    /// Bytes received that belong to no slot.
    pub received: u64,
    /// fork, exec and exit events.
    pub process_events: u64,
    /// Names.
    pub name_events: u64,
    /// Sends and receives at which the kernel did not run our program: it was in the middle of one already.
    pub missed: u64,
    /// Hints; nothing of a flow is lost by these, but all slots must be looked through.
    pub hints: u64,
}

/// Slots whose counters are mapped together: all of them would be 2 MiB of memory that most machines never
/// count in.
const COUNTED_TOGETHER: u32 = 2048;
/// The same of the other half: 19 pages.
const READ_TOGETHER: u32 = 256;
/// Flows that are mapped at the most, 4.9 MB; those in higher slots are read by a system call each.
const READ_AT_MOST: u32 = 16384;
const FLOW_BYTES: usize = size_of::<abi::ps_flow>();

const _: () = assert!(FLOW_BYTES.is_multiple_of(8) && COUNT.is_multiple_of(COUNTED_TOGETHER));

/// User space's side of the slots.
pub struct Slots {
    counters: Pieces<Counters>,
    flows: Pieces<[AtomicU64; FLOW_BYTES / 8]>,
    returned: Pieces<Returned>,
    return_slots: OwnedFd,
    /// Free, but not handed back yet.
    free: RefCell<Vec<u32>>,
    peers: MapHandle,
    lost: MapHandle,
    bss: MapHandle,
    /// The programs that count bytes.
    counting: Vec<OwnedFd>,
}

/// Twin of `struct ps_returned`, shared with the kernel.
#[repr(C)]
struct Returned {
    count: AtomicU32,
    slots: [AtomicU32; abi::PS_BUNDLE as usize],
}

const _: () = assert!(size_of::<Returned>() == size_of::<abi::ps_returned>());

impl Slots {
    /// `counting`: names of the programs that count bytes.
    pub(super) fn new(skel: &PicosnitchSkel<'_>, counting: &[&str]) -> Result<Slots, libbpf_rs::Error> {
        let maps = &skel.maps;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let program = skel.progs.return_slots.as_fd().try_clone_to_owned();
        let counts = |program: &Program<'_>| counting.iter().any(|name| program.name() == *name);
        let counting = skel.object().progs().filter(|program| program.autoload() && counts(program));
        let counting = counting.map(|program| program.as_fd().try_clone_to_owned());
        let this = Slots {
            counters: Pieces::new(MapHandle::try_from(&maps.counters)?, COUNTED_TOGETHER, COUNT, both),
            flows: Pieces::new(
                MapHandle::try_from(&maps.flows)?,
                READ_TOGETHER,
                READ_AT_MOST,
                ProtFlags::PROT_READ,
            ),
            returned: Pieces::new(MapHandle::try_from(&maps.returned)?, 1, 1, both),
            return_slots: program.map_err(libbpf_rs::Error::from)?,
            free: RefCell::default(),
            peers: MapHandle::try_from(&maps.peers)?,
            lost: MapHandle::try_from(&maps.lost)?,
            bss: MapHandle::try_from(&maps.bss)?,
            counting: counting.collect::<Result<_, _>>().map_err(libbpf_rs::Error::from)?,
        };
        // A kernel that does not let us map says so at the start.
        this.counters.map_piece(0)?;
        this.returned.map_piece(0)?;
        Ok(this)
    }

    fn counters(&self, slot: u32) -> Option<&Counters> {
        let counters = self.counters.get(slot);
        if counters.is_none() {
            // The slots stay as they are, and are looked at again at the next collection.
            tracing::error!("the counters of slot {slot} cannot be mapped");
        }
        counters
    }

    /// What a slot is used for, and by which generation.
    #[must_use]
    pub fn state(&self, slot: u32) -> Option<(State, SlotRef)> {
        let counters = self.counters(slot)?;
        let state = match counters.state.load(Ordering::Acquire) {
            abi::PS_FREE => State::Free,
            abi::PS_LIVE => State::Live,
            abi::PS_ENDED => State::Ended,
            _ => State::Retired,
        };
        Some((state, SlotRef { slot, generation: counters.generation.load(Ordering::Acquire) }))
    }

    /// Totals of a flow; `None` if the slot holds another one by now.
    #[must_use]
    pub fn counted(&self, at: SlotRef) -> Option<Counted> {
        let counters = self.counters(at.slot)?;
        (counters.generation.load(Ordering::Acquire) == at.generation).then(|| Counted {
            sent: counters.sent.load(Ordering::Acquire),
            received: counters.received.load(Ordering::Acquire),
        })
    }

    /// Who talks to whom in a slot; `None` if the slot holds another flow by now.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn flow(&self, at: SlotRef) -> Result<Option<Flow>, libbpf_rs::Error> {
        let flow = match self.flows.get(at.slot) {
            Some(words) => {
                let mut bytes = [0; FLOW_BYTES];
                for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
                    to.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
                }
                decode::flow(&bytes)
            }
            None => {
                let bytes = self.flows.map.lookup(&at.slot.to_ne_bytes(), MapFlags::ANY)?;
                bytes.and_then(|bytes| decode::flow(&bytes))
            }
        };
        Ok(flow.filter(|flow| flow.generation == at.generation))
    }

    /// Asks the kernel side to add no more here. The next send of the same flow takes another slot. Read
    /// the totals again after a while, then [`Slots::free`].
    pub fn retire(&self, at: SlotRef) {
        if let Some(counters) = self.counters(at.slot) {
            let _ = counters.state.compare_exchange(
                abi::PS_LIVE,
                abi::PS_RETIRED,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }

    /// Hands a slot back with the next bundle, unless another flow has it by now. Only for flows that have
    /// ended or were retired long enough ago.
    pub fn free(&self, at: SlotRef) {
        let Some(counters) = self.counters(at.slot) else { return };
        // A loser of a race for a socket's first slot gave it back by itself; it may be in use again.
        if counters.generation.load(Ordering::Acquire) != at.generation
            || counters.state.swap(abi::PS_FREE, Ordering::AcqRel) == abi::PS_FREE
        {
            return;
        }
        let mut free = self.free.borrow_mut();
        free.push(at.slot);
        if free.len() < abi::PS_BUNDLE as usize {
            return;
        }
        drop(free);
        self.hand_back();
    }

    /// Hands back all that are free.
    pub fn hand_back(&self) {
        let mut free = self.free.borrow_mut();
        while !free.is_empty() {
            let Some(returned) = self.returned.get(0) else { return };
            let rest = free.len().saturating_sub(abi::PS_BUNDLE as usize);
            let bundle = &free[rest..];
            for (place, slot) in returned.slots.iter().zip(bundle) {
                place.store(*slot, Ordering::Relaxed);
            }
            returned.count.store(bundle.len() as u32, Ordering::Release);
            let mut options = libbpf_sys::bpf_test_run_opts {
                sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
                ..Default::default()
            };
            // SAFETY: `options` lives through the call and points to nothing.
            let result = unsafe {
                libbpf_sys::bpf_prog_test_run_opts(self.return_slots.as_raw_fd(), &raw mut options)
            };
            if result < 0 {
                // They wait here for the next try.
                tracing::error!("handing slots back: {}", std::io::Error::from_raw_os_error(-result));
                return;
            }
            free.truncate(rest);
        }
    }

    /// Gives back what was mapped for a burst.
    pub fn unmap(&mut self) {
        self.counters.unmap();
        self.flows.unmap();
    }

    /// Forgets a further peer or owner of a socket.
    pub fn forget_peer(&self, cookie: u64, process: ProcessId, remote: [u8; 16], remote_port: u16) {
        let mut key = [0; size_of::<[u64; 5]>()];
        key[..8].copy_from_slice(&cookie.to_ne_bytes());
        key[8..16].copy_from_slice(&owner_key(process).to_ne_bytes());
        key[16..32].copy_from_slice(&remote);
        key[32..34].copy_from_slice(&remote_port.to_ne_bytes());
        let _ = self.peers.delete(&key);
    }

    /// How many slots were ever handed out: those above need no look.
    #[must_use]
    pub fn used(&self) -> u32 {
        let bytes = self.bss.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).ok().flatten();
        let fresh = bytes.and_then(|bytes| Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)));
        fresh.unwrap_or(COUNT).min(COUNT)
    }

    /// What the kernel side could not keep.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn lost(&self) -> Result<Lost, libbpf_rs::Error> {
        let values = self.lost.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let mut total = Lost::default();
        let mut recovered = 0;
        for bytes in &values {
            let word = |at: usize| {
                let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_ne_bytes)
            };
            use abi::ps_lost as L;
            total.flows += word(std::mem::offset_of!(L, flows));
            recovered += word(std::mem::offset_of!(L, recovered));
            total.sent += word(std::mem::offset_of!(L, sent));
            total.received += word(std::mem::offset_of!(L, received));
            total.process_events += word(std::mem::offset_of!(L, process_events));
            total.name_events += word(std::mem::offset_of!(L, name_events));
            total.hints += word(std::mem::offset_of!(L, flow_events));
        }
        total.flows = total.flows.saturating_sub(recovered);
        total.missed = self.counting.iter().map(missed).sum();
        Ok(total)
    }
}

/// How often the kernel did not run a program because the same processor was running it; 0 where it does not say.
fn missed(program: &OwnedFd) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut size = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which is plain data without pointers set.
    let result = unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut size)
    };
    if result < 0 { 0 } else { info.recursion_misses }
}

/// Twin of `owner_key` in `bpf/src/task.h`.
fn owner_key(id: ProcessId) -> u64 {
    id.start.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(id.exec_id) << 32 | u64::from(id.tgid))
}
