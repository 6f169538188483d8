// SPDX-License-Identifier: GPL-3.0-or-later
//! The slots that the kernel side counts in. See `bpf/src/wire.h` for who may change what.

// The counters are memory shared with the kernel; mapping and reading them is all that is unsafe here.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapMut};
use nix::sys::mman::{MapFlags as Mmap, ProtFlags, mmap, munmap};
use picosnitch_bpf::skeleton::PicosnitchMaps;
use picosnitch_bpf::wire as abi;

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
    /// Hints; nothing of a flow is lost by these, but all slots must be looked through.
    pub hints: u64,
}

/// Slots that are mapped together: a page of the kernel's array each 128, and all of them would be 2 MiB of
/// memory that most machines never count in.
const PIECE: u32 = 2048;
const PIECE_BYTES: usize = PIECE as usize * size_of::<Counters>();
const PIECES: usize = (COUNT / PIECE) as usize;

const _: () = assert!(PIECE_BYTES.is_multiple_of(65536), "a whole number of pages of any machine");

/// User space's side of the slots.
pub struct Slots {
    /// Mapped when a slot of theirs is looked at first.
    pieces: [OnceCell<NonNull<Counters>>; PIECES],
    counters: MapHandle,
    flows: MapHandle,
    free: MapHandle,
    peers: MapHandle,
    lost: MapHandle,
    bss: MapHandle,
}

impl Slots {
    pub(super) fn new(maps: &PicosnitchMaps<'_>, bss: &MapMut<'_>) -> Result<Slots, libbpf_rs::Error> {
        let this = Slots {
            pieces: [const { OnceCell::new() }; PIECES],
            counters: MapHandle::try_from(&maps.counters)?,
            flows: MapHandle::try_from(&maps.flows)?,
            free: MapHandle::try_from(&maps.free_slots)?,
            peers: MapHandle::try_from(&maps.peers)?,
            lost: MapHandle::try_from(&maps.lost)?,
            bss: MapHandle::try_from(bss)?,
        };
        // A kernel that does not let us map says so at the start.
        this.pieces[0].set(this.map(0)?).unwrap_or_default();
        Ok(this)
    }

    fn map(&self, piece: usize) -> Result<NonNull<Counters>, libbpf_rs::Error> {
        let length = NonZeroUsize::new(PIECE_BYTES).unwrap_or(NonZeroUsize::MIN);
        let offset = (piece * PIECE_BYTES) as nix::libc::off_t;
        // SAFETY: a fresh shared mapping of a part of a BPF array with BPF_F_MMAPABLE; nothing else of this
        // process points into it.
        let memory = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                Mmap::MAP_SHARED,
                self.counters.as_fd(),
                offset,
            )
        };
        Ok(memory.map_err(|errno| libbpf_rs::Error::from_raw_os_error(errno as i32))?.cast())
    }

    fn counters(&self, slot: u32) -> Option<&Counters> {
        let index = (slot / PIECE) as usize;
        let piece = self.pieces.get(index)?;
        let start = match piece.get() {
            Some(start) => start,
            None => match self.map(index) {
                Ok(start) => piece.get_or_init(|| start),
                Err(error) => {
                    // The slots stay as they are, and are looked at again at the next collection.
                    tracing::error!("mapping counters: {error}");
                    return None;
                }
            },
        };
        // SAFETY: the mapping holds PIECE of them and lives as long as `self`; all that changes behind our
        // back is atomic.
        Some(unsafe { start.add((slot % PIECE) as usize).as_ref() })
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
        let bytes = self.flows.lookup(&at.slot.to_ne_bytes(), MapFlags::ANY)?;
        Ok(bytes.and_then(|bytes| decode::flow(&bytes)).filter(|flow| flow.generation == at.generation))
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

    /// Hands a slot back. Only for flows that have ended or were retired long enough ago.
    ///
    /// # Errors
    /// The kernel's refusal; the slot is then lost until the daemon restarts.
    pub fn free(&self, at: SlotRef) -> Result<(), libbpf_rs::Error> {
        let Some(counters) = self.counters(at.slot) else { return Ok(()) };
        counters.state.store(abi::PS_FREE, Ordering::Release);
        self.free.update(&[], &at.slot.to_ne_bytes(), MapFlags::ANY)
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
        Ok(total)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for start in self.pieces.iter().filter_map(|piece| piece.get()) {
            // SAFETY: exactly the mapping made in `map`; no reference into it outlives `self`.
            let _ = unsafe { munmap(start.cast(), PIECE_BYTES) };
        }
    }
}

/// Twin of `owner_key` in `bpf/src/task.h`.
fn owner_key(id: ProcessId) -> u64 {
    id.start.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(id.exec_id) << 32 | u64::from(id.tgid))
}
