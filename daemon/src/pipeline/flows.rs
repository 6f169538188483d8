// SPDX-License-Identifier: GPL-3.0-or-later
//! The flows that live in slots, and the rows that are made of them.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use super::before::{Before, Word};
use super::waiting::Waiting;
use crate::capture::{Counted, Slots, State};
use crate::decode::{Flow, SlotRef};
use crate::enrich::Subject;
use crate::model::{Bytes, Connection, Contact, Direction, FileId, Hash, NameSource, ProcessId, Protocol};

/// With more live flows than this, those that were idle for [`IDLE_TICKS`] give their slot back.
const CROWDED: usize = crate::capture::slots::COUNT as usize / 4 * 3;
/// Collections without a byte after which a flow counts as idle.
const IDLE_TICKS: u32 = 2;
/// Collections between retiring a slot and handing it back: nobody is in the middle of adding any more.
const GRACE_TICKS: u32 = 2;

/// A flow and what was read of its slot so far.
#[derive(Debug)]
pub struct Live {
    at: SlotRef,
    word: Word,
    /// Who.
    pub subject: Subject,
    /// What the kernel said, as far as it is needed again.
    flow: Ends,
    /// Number of it in this run of the daemon.
    number: u64,
    /// Remote name.
    pub domain: Option<(Bytes, NameSource)>,
    /// Interface of a packet socket.
    pub interface: Option<Bytes>,
    /// Wall clock of its first use, µs since the epoch.
    opened: i64,
    read: Counted,
    recorded: bool,
    /// Not for the record: the daemon's own start-up test.
    hidden: bool,
    idle: u32,
}

/// The part of [`Flow`] that outlives its opening. Tens of thousands of these may live at once.
#[derive(Debug)]
struct Ends {
    id: ProcessId,
    cookie: u64,
    remote_key: [u8; 16],
    remote_port_key: u16,
    secondary: bool,
    protocol: Protocol,
    direction: Direction,
    netns: u32,
    local: Option<IpAddr>,
    local_port: Option<u16>,
    remote: Option<IpAddr>,
    remote_port: Option<u16>,
}

impl From<Flow> for Ends {
    fn from(flow: Flow) -> Ends {
        Ends {
            id: flow.process.id,
            cookie: flow.cookie,
            remote_key: flow.remote_key,
            remote_port_key: flow.remote_port_key,
            secondary: flow.secondary,
            protocol: flow.protocol,
            direction: flow.direction,
            netns: flow.netns,
            local: flow.local,
            local_port: flow.local_port,
            remote: flow.remote,
            remote_port: flow.remote_port,
        }
    }
}

/// What [`Flows::open`] needs to know besides the slot.
#[derive(Debug)]
pub struct Opening {
    /// Who.
    pub subject: Subject,
    /// Remote name.
    pub domain: Option<(Bytes, NameSource)>,
    /// Interface of a packet socket.
    pub interface: Option<Bytes>,
    /// Wall clock, µs since the epoch.
    pub opened: i64,
    /// Leave it out of the record.
    pub hidden: bool,
    /// It is counted already: see [`Flows::before`].
    pub counted: bool,
}

/// All flows.
pub struct Flows {
    slots: Slots,
    /// By slot; as long as the highest that was ever used.
    live: Vec<Option<Box<Live>>>,
    count: usize,
    /// Socket and slot: a socket may have as many slots as it has peers.
    by_socket: BTreeSet<(u64, u32)>,
    /// Slots whose subject still waits for a hash.
    unsettled: BTreeSet<u32>,
    /// Flows of packet sockets.
    packets: usize,
    retiring: Vec<(u32, u32)>,
    waiting: Waiting,
    rows: Vec<Connection>,
    next: u64,
    before: Before,
    paused: bool,
    /// What the recorder was told last.
    told: Vec<u64>,
}

impl Flows {
    /// Counts by these slots. `before`: as [`Flows::open_now`] gave it to the daemon before this one.
    #[must_use]
    pub fn new(slots: Slots, before: &[u64]) -> Flows {
        Flows {
            before: Before::of(before),
            told: Vec::new(),
            slots,
            live: Vec::new(),
            count: 0,
            by_socket: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            packets: 0,
            retiring: Vec::new(),
            waiting: Waiting::default(),
            rows: Vec::new(),
            next: 1,
            paused: false,
        }
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Gives back what a burst has filled.
    pub fn shrink(&mut self) {
        self.slots.unmap();
        let used = self.live.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.live.truncate(used);
        self.live.shrink_to_fit();
        self.waiting.shrink();
        self.told.shrink_to_fit();
        self.before.shrink();
    }

    /// Flows that live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this very flow is known.
    #[must_use]
    pub fn knows(&self, at: SlotRef) -> bool {
        self.get(at.slot).is_some_and(|live| live.at == at)
    }

    fn get(&self, slot: u32) -> Option<&Live> {
        self.live.get(slot as usize)?.as_deref()
    }

    /// Reads what a slot says; `None` if it holds another flow by now, or was handed back: a flow whose
    /// hint waited in the ring may have been found, collected and ended before.
    #[must_use]
    pub fn read(&self, at: SlotRef) -> Option<Flow> {
        if self.slots.state(at.slot).is_none_or(|(state, now)| state == State::Free || now != at) {
            return None;
        }
        match self.slots.flow(at) {
            Ok(flow) => flow,
            Err(error) => {
                tracing::error!("reading slot {}: {error}", at.slot);
                None
            }
        }
    }

    /// Who began a flow that has rows already, from before the monitor was started again or before it lost its
    /// slot. Says it once.
    pub fn before(&mut self, flow: &Flow) -> Option<Direction> {
        self.before.remove(word_of(flow))
    }

    /// Rows whose hash was given up for lack of room. Only grows.
    #[must_use]
    pub fn hashes_given_up(&self) -> u64 {
        self.waiting.given_up
    }

    /// Rows that have waited for their hashes for long enough are ready then.
    pub fn overdue(&mut self) {
        self.waiting.overdue(Instant::now(), &mut self.rows);
    }

    /// When [`Flows::overdue`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    /// The open flows that have rows, if they are others than last time: a word each, for the daemon after this
    /// one. A row that still waits for a hash may not come to be.
    pub fn open_now(&mut self) -> Option<Vec<u64>> {
        let waiting: HashSet<u64> = self.waiting.begun().collect();
        let living = self
            .live
            .iter()
            .flatten()
            .filter(|live| live.recorded && !live.hidden && !waiting.contains(&live.number))
            .map(|live| live.word.with(live.flow.direction));
        let words: Vec<u64> = living.chain(self.before.words()).collect();
        if words == self.told {
            return None;
        }
        self.told.clone_from(&words);
        Some(words)
    }

    /// Takes a flow up.
    pub fn open(&mut self, at: SlotRef, flow: Flow, opening: Opening) {
        // The slot was handed out again before its end was told: what it held is complete.
        self.end_slot(at.slot, true);
        let index = at.slot as usize;
        if index >= self.live.len() {
            self.live.resize_with(index + 1, || None);
        }
        let Some(place) = self.live.get_mut(index) else { return };
        self.by_socket.insert((flow.cookie, at.slot));
        self.packets += usize::from(flow.protocol == Protocol::Packet);
        if !opening.subject.settled() {
            self.unsettled.insert(at.slot);
        }
        let Opening { subject, domain, interface, opened, hidden, counted } = opening;
        *place = Some(Box::new(Live {
            at,
            word: word_of(&flow),
            subject,
            flow: flow.into(),
            number: self.next,
            domain,
            interface,
            opened,
            read: Counted::default(),
            recorded: counted,
            hidden,
            idle: 0,
        }));
        self.count += 1;
        self.next += 1;
    }

    /// The socket of this slot was closed: all flows over it are complete.
    pub fn close(&mut self, at: SlotRef, now: i64) {
        let Some(live) = self.get(at.slot).filter(|live| live.at == at) else { return };
        let cookie = live.flow.cookie;
        let slots: Vec<u32> =
            self.by_socket.range((cookie, 0)..=(cookie, u32::MAX)).map(|(_, slot)| *slot).collect();
        for slot in slots {
            self.collect_slot(slot, now);
            if let Some(word) = self.get(slot).map(|live| live.word) {
                self.before.remove(word);
            }
            self.end_slot(slot, true);
        }
    }

    /// A process has exited: its packet sockets have no other end that could be seen.
    pub fn exited(&mut self, tgid: u32, start: u64) {
        for place in &self.live {
            if let Some(live) = place
                && live.flow.protocol == Protocol::Packet
                && live.subject.who.pid == tgid
                && live.flow.id.start == start
            {
                self.slots.retire(live.at);
                self.retiring.push((live.at.slot, 0));
            }
        }
    }

    /// Whether any packet socket is in use.
    #[must_use]
    pub fn has_packet_sockets(&self) -> bool {
        self.packets > 0
    }

    /// `forget`: the kernel side does not find this slot any more by its socket, process and peer.
    fn end_slot(&mut self, slot: u32, forget: bool) {
        let Some(live) = self.live.get_mut(slot as usize).and_then(Option::take) else { return };
        self.count -= 1;
        if live.flow.secondary && forget {
            let Ends { cookie, id, remote_key, remote_port_key, .. } = live.flow;
            self.slots.forget_peer(cookie, id, remote_key, remote_port_key);
        }
        self.slots.free(live.at);
        self.by_socket.remove(&(live.flow.cookie, slot));
        self.unsettled.remove(&slot);
        self.packets -= usize::from(live.flow.protocol == Protocol::Packet);
    }

    /// Makes a row of what was added to a slot since the last time.
    fn collect_slot(&mut self, slot: u32, since: i64) {
        let Some(live) = self.live.get_mut(slot as usize).and_then(|place| place.as_deref_mut()) else {
            return;
        };
        let Some(counted) = self.slots.counted(live.at) else { return };
        let (sent, received) = (counted.sent - live.read.sent, counted.received - live.read.received);
        if live.hidden {
            return;
        }
        if sent == 0 && received == 0 && (live.recorded || self.paused) {
            live.idle = live.idle.saturating_add(1);
            return;
        }
        live.idle = 0;
        if self.paused {
            live.read = counted;
            return;
        }
        if (live.flow.local_port.is_none() && live.flow.remote_port.is_some()) || live.flow.local.is_none() {
            // connect() chooses the local end after it has begun.
            if let Ok(Some(flow)) = self.slots.flow(live.at) {
                live.flow.local = flow.local;
                live.flow.local_port = flow.local_port;
            }
        }
        let row = Connection {
            time: if live.recorded { since.max(live.opened) } else { live.opened },
            flow: live.number,
            who: live.subject.who.clone(),
            domain: live.domain.clone(),
            local: live.flow.local,
            local_port: live.flow.local_port,
            remote: live.flow.remote,
            remote_port: live.flow.remote_port,
            interface: live.interface.clone(),
            protocol: live.flow.protocol,
            direction: live.flow.direction,
            netns: live.flow.netns,
            sent,
            received,
            connections: u32::from(!live.recorded),
        };
        live.read = counted;
        live.recorded = true;
        let subject = live.subject.clone();
        self.push(subject, row);
    }

    /// Makes rows of all that was added since the last collection, gives out those that have waited for a hash
    /// for long enough, and hands idle slots back when few are left. `since`: wall clock of the last collection.
    pub fn collect(&mut self, since: i64) {
        let crowded = self.count > CROWDED;
        for slot in 0..self.slots.used() {
            if self.get(slot).is_none() {
                continue;
            }
            self.collect_slot(slot, since);
            let Some(live) = self.get(slot) else { continue };
            let (at, word, direction, counted) =
                (live.at, live.word, live.flow.direction, live.recorded && !live.hidden);
            let idle = live.idle >= IDLE_TICKS;
            match self.slots.state(slot) {
                Some((State::Ended, now)) if now == at => self.close(at, since),
                Some((State::Live, now)) if now == at && crowded && idle => {
                    // First: it may speak again at once, and has another slot then.
                    if counted {
                        self.before.insert(word, direction);
                    }
                    self.slots.retire(at);
                    self.retiring.push((slot, 0));
                }
                _ => {}
            }
        }
        let mut due = Vec::new();
        self.retiring.retain_mut(|(slot, ticks)| {
            *ticks += 1;
            if *ticks > GRACE_TICKS {
                due.push(*slot);
            }
            *ticks <= GRACE_TICKS
        });
        for slot in due {
            if self.slots.state(slot).is_some_and(|(state, _)| state == State::Retired) {
                self.collect_slot(slot, since);
                // One that spoke again meanwhile has another slot, which is found now.
                let again = self.get(slot).is_some_and(|live| {
                    live.flow.protocol != Protocol::Packet && !self.before.contains(live.word)
                });
                self.end_slot(slot, !again);
            }
        }
        self.overdue();
    }

    /// Slots in use that nobody told of: their hint found the ring full.
    #[must_use]
    pub fn untold(&self) -> Vec<SlotRef> {
        (0..self.slots.used())
            .filter_map(|slot| self.slots.state(slot))
            .filter(|(state, at)| matches!(state, State::Live | State::Ended) && !self.knows(*at))
            .map(|(_, at)| at)
            .collect()
    }

    /// A hash became known, or never will.
    pub fn settle(&mut self, file: FileId, hash: Hash) {
        let live = &mut self.live;
        self.unsettled.retain(|slot| {
            live.get_mut(*slot as usize)
                .and_then(|place| place.as_deref_mut())
                .is_some_and(|live| !live.subject.settle(file, hash))
        });
        self.waiting.settle(file, hash, &mut self.rows);
    }

    /// A program was started (`monitor.every_executable`): a row without a remote end.
    pub fn executed(&mut self, subject: Subject, time: i64) {
        let row = Connection {
            time,
            flow: self.next,
            who: subject.who.clone(),
            domain: None,
            local: None,
            local_port: None,
            remote: None,
            remote_port: None,
            interface: None,
            protocol: Protocol::Exec,
            direction: Direction::Out,
            netns: 0,
            sent: 0,
            received: 0,
            connections: 1,
        };
        self.next += 1;
        self.push(subject, row);
    }

    fn push(&mut self, subject: Subject, row: Connection) {
        if self.paused {
            return;
        }
        if subject.settled() {
            self.rows.push(row);
        } else {
            self.rows.extend(self.waiting.push(subject, row, Instant::now()));
        }
    }

    /// Rows that are ready.
    pub fn take_rows(&mut self) -> Vec<Connection> {
        std::mem::take(&mut self.rows)
    }

    /// Number of rows that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.rows.len()
    }

    /// From now on nothing that is counted becomes a row. What waits for a hash already still does.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Ends that. What began meanwhile and goes on begins now, µs since the epoch.
    pub fn resume(&mut self, now: i64) {
        self.paused = false;
        for live in self.live.iter_mut().flatten().filter(|live| !live.recorded) {
            live.opened = now;
        }
    }

    /// Who talks to somebody now: each process once.
    #[must_use]
    pub fn talking(&self) -> Vec<(ProcessId, Subject, Contact)> {
        let mut known = HashSet::new();
        let live = self.live.iter().flatten().filter(|live| !live.hidden);
        live.filter(|live| known.insert(live.flow.id))
            .map(|live| {
                let flow = &live.flow;
                let contact = Contact {
                    who: live.subject.who.clone(),
                    file: live.subject.file,
                    deleted: false,
                    remote: flow.remote,
                    remote_port: flow.remote_port,
                    local_port: flow.local_port.filter(|_| flow.direction == Direction::In),
                    protocol: flow.protocol,
                    direction: Some(flow.direction),
                    domain: live.domain.clone(),
                };
                (flow.id, live.subject.clone(), contact)
            })
            .collect()
    }

    /// All rows, also those that still wait for a hash: the daemon stops.
    pub fn take_everything(&mut self) -> Vec<Connection> {
        self.waiting.finish(&mut self.rows);
        self.unsettled.clear();
        self.take_rows()
    }
}

fn word_of(flow: &Flow) -> Word {
    Word::new(flow.process.id, flow.cookie, &flow.remote_key, flow.remote_port_key)
}
