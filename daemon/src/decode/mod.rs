// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes: bytes of the ring buffer and of slots, laid out as `bpf/src/wire.h` says.
//! Gives: [`Event`] and [`Flow`].
//! Thread: the pipeline's; pure, no I/O, no clock.
//! Drops when: bytes are too short or of an unknown kind (a bug of ours; counted by the caller).

mod wire;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use picosnitch_bpf::wire as abi;

use crate::model::{Direction, FileId, Process, ProcessId, Protocol};
use wire::Fields;

/// A message of the ring buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A slot was opened: look it up.
    Flow(SlotRef),
    /// The socket of this slot was closed; so are all slots of the same socket.
    FlowEnd(SlotRef),
    /// A process was forked.
    Fork {
        /// The new one.
        child: ProcessId,
        /// The old one.
        parent: ProcessId,
    },
    /// A process runs another program from now on.
    Exec(Box<Exec>),
    /// A process has ended.
    Exit {
        /// Thread-group id.
        tgid: u32,
        /// Start of the leader, CLOCK_BOOTTIME ns.
        start: u64,
    },
    /// A DNS answer arrived at a socket.
    Dns {
        /// Who asked; the network namespace is the socket's, 0 if unknown.
        asker: Asker,
        /// When, CLOCK_BOOTTIME ns.
        time: u64,
        /// From the DNS header on.
        payload: Vec<u8>,
    },
    /// getaddrinfo returned.
    Name {
        /// The caller.
        asker: Asker,
        /// When, CLOCK_BOOTTIME ns.
        time: u64,
        /// What was asked for; any bytes.
        node: Vec<u8>,
        /// What was answered, without repetitions.
        addresses: Vec<IpAddr>,
    },
}

/// A process that asked for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Network namespace, as in [`Flow::network`].
    pub network: u32,
    /// Thread-group id.
    pub tgid: u32,
    /// Start of the leader, CLOCK_BOOTTIME ns.
    pub start: u64,
    /// Real uid.
    pub uid: u32,
}

/// A slot while it holds one particular flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotRef {
    /// Index.
    pub slot: u32,
    /// Changes each time the slot is handed out.
    pub generation: u32,
}

/// An exec, as the kernel saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// CLOCK_BOOTTIME ns.
    pub time: u64,
    /// cgroup v2 id.
    pub cgroup: u64,
    /// The process, after the exec.
    pub process: Process,
    /// Its parent.
    pub parent: Option<Process>,
    /// Its parent's parent.
    pub grandparent: Option<Process>,
    /// Last component of the executable's path, at most 64 bytes.
    pub file: Vec<u8>,
    /// Path by which the kernel was told to find it, at most 256 bytes: perhaps relative, perhaps a link.
    pub called: Vec<u8>,
    /// NUL-separated arguments, at most 4096 bytes.
    pub argv: Vec<u8>,
    /// Length of the whole command line in bytes.
    pub argv_total: u32,
}

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Generation of the slot that this was read for.
    pub generation: u32,
    /// Who uses the socket.
    pub process: Process,
    /// Who started it.
    pub parent: Option<Process>,
    /// Who started that.
    pub grandparent: Option<Process>,
    /// First use, CLOCK_BOOTTIME ns.
    pub opened: u64,
    /// cgroup v2 id of the process.
    pub cgroup: u64,
    /// Tells sockets apart.
    pub cookie: u64,
    /// Network namespace of the socket, inode number.
    pub netns: u32,
    /// The namespace once more: a number that no other one has had. Inode numbers are used again at once.
    pub network: u32,
    /// AF_PACKET: interface that the socket is bound to.
    pub ifindex: Option<u32>,
    /// Protocol.
    pub protocol: Protocol,
    /// Direction.
    pub direction: Direction,
    /// Local address, unless bound to none.
    pub local: Option<IpAddr>,
    /// Local port, unless not bound yet or without ports.
    pub local_port: Option<u16>,
    /// Remote address as the kernel side keys it (16 bytes).
    pub remote_key: [u8; 16],
    /// Remote address.
    pub remote: Option<IpAddr>,
    /// Remote port, unless the protocol has none.
    pub remote_port: Option<u16>,
    /// Remote port in network order, as the kernel side keys it.
    pub remote_port_key: u16,
    /// The kernel side lists it among the further peers and owners of its socket.
    pub secondary: bool,
}

/// Reads one message. `None`: not one of ours.
#[must_use]
pub fn event(bytes: &[u8]) -> Option<Event> {
    let fields = Fields(bytes);
    Some(match fields.u32(0)? {
        abi::PS_EVENT_FLOW => Event::Flow(slot(fields)?),
        abi::PS_EVENT_FLOW_END => Event::FlowEnd(slot(fields)?),
        abi::PS_EVENT_FORK => {
            use abi::ps_fork_event as E;
            let exec_id = fields.u32(std::mem::offset_of!(E, exec_id))?;
            Event::Fork {
                child: ProcessId {
                    tgid: fields.u32(std::mem::offset_of!(E, child))?,
                    exec_id,
                    start: fields.u64(std::mem::offset_of!(E, child_start))?,
                },
                parent: ProcessId {
                    tgid: fields.u32(std::mem::offset_of!(E, parent))?,
                    exec_id,
                    start: fields.u64(std::mem::offset_of!(E, parent_start))?,
                },
            }
        }
        abi::PS_EVENT_EXEC => Event::Exec(Box::new(exec(fields)?)),
        abi::PS_EVENT_EXIT => {
            use abi::ps_exit_event as E;
            Event::Exit {
                tgid: fields.u32(std::mem::offset_of!(E, tgid))?,
                start: fields.u64(std::mem::offset_of!(E, start))?,
            }
        }
        abi::PS_EVENT_DNS => {
            use abi::ps_dns_event as E;
            let length = fields.u32(std::mem::offset_of!(E, length))? as usize;
            Event::Dns {
                asker: Asker {
                    network: fields.u32(std::mem::offset_of!(E, network))?,
                    tgid: fields.u32(std::mem::offset_of!(E, tgid))?,
                    start: fields.u64(std::mem::offset_of!(E, start))?,
                    uid: fields.u32(std::mem::offset_of!(E, uid))?,
                },
                time: fields.u64(std::mem::offset_of!(E, time))?,
                payload: fields.bytes(std::mem::offset_of!(E, payload), length)?.to_vec(),
            }
        }
        abi::PS_EVENT_NAME => name(fields)?,
        _ => return None,
    })
}

fn slot(fields: Fields<'_>) -> Option<SlotRef> {
    use abi::ps_flow_event as E;
    Some(SlotRef {
        slot: fields.u32(std::mem::offset_of!(E, slot))?,
        generation: fields.u32(std::mem::offset_of!(E, generation))?,
    })
}

fn exec(fields: Fields<'_>) -> Option<Exec> {
    use abi::ps_exec_event as E;
    let length = fields.u32(std::mem::offset_of!(E, argv_length))? as usize;
    Some(Exec {
        time: fields.u64(std::mem::offset_of!(E, time))?,
        cgroup: fields.u64(std::mem::offset_of!(E, cgroup))?,
        process: process(fields, std::mem::offset_of!(E, process))?,
        parent: ancestor(fields, std::mem::offset_of!(E, parent))?,
        grandparent: ancestor(fields, std::mem::offset_of!(E, grandparent))?,
        file: text(fields.bytes(std::mem::offset_of!(E, file), abi::PS_FILE as usize)?),
        called: text(fields.bytes(std::mem::offset_of!(E, called), abi::PS_CALLED as usize)?),
        argv: fields.bytes(std::mem::offset_of!(E, argv), length)?.to_vec(),
        argv_total: fields.u32(std::mem::offset_of!(E, argv_total))?,
    })
}

fn name(fields: Fields<'_>) -> Option<Event> {
    use abi::ps_name_event as E;
    let count = (fields.u32(std::mem::offset_of!(E, count))?).min(abi::PS_ANSWERS) as usize;
    let node = fields.bytes(std::mem::offset_of!(E, node), abi::PS_NODE as usize)?;
    let node = text(node);
    let mut addresses = Vec::new();
    for index in 0..count {
        let at = std::mem::offset_of!(E, addresses) + index * 16;
        if let Some(address) = address(fields.array(at)?)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    Some(Event::Name {
        asker: Asker {
            network: fields.u32(std::mem::offset_of!(E, network))?,
            tgid: fields.u32(std::mem::offset_of!(E, tgid))?,
            start: fields.u64(std::mem::offset_of!(E, start))?,
            uid: fields.u32(std::mem::offset_of!(E, uid))?,
        },
        time: fields.u64(std::mem::offset_of!(E, time))?,
        node,
        addresses,
    })
}

fn process(fields: Fields<'_>, at: usize) -> Option<Process> {
    use abi::{ps_file as F, ps_process as P};
    let file = at + std::mem::offset_of!(P, file);
    let comm = fields.bytes(at + std::mem::offset_of!(P, comm), abi::PS_COMM as usize)?;
    Some(Process {
        id: ProcessId {
            tgid: fields.u32(at + std::mem::offset_of!(P, tgid))?,
            exec_id: fields.u32(at + std::mem::offset_of!(P, exec_id))?,
            start: fields.u64(at + std::mem::offset_of!(P, start))?,
        },
        uid: fields.u32(at + std::mem::offset_of!(P, uid))?,
        euid: fields.u32(at + std::mem::offset_of!(P, euid))?,
        mntns: fields.u32(at + std::mem::offset_of!(P, mntns))?,
        kernel: fields.u32(at + std::mem::offset_of!(P, kernel))? != 0,
        file: FileId {
            inode: fields.u64(file + std::mem::offset_of!(F, inode))?,
            ino: fields.u64(file + std::mem::offset_of!(F, ino))?,
            dev: fields.u32(file + std::mem::offset_of!(F, dev))?,
            generation: fields.u32(file + std::mem::offset_of!(F, generation))?,
        },
        comm: text(comm),
    })
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// The outer `Option` is for short bytes, the inner for "there is none".
#[allow(clippy::option_option)]
fn ancestor(fields: Fields<'_>, at: usize) -> Option<Option<Process>> {
    let process = process(fields, at)?;
    Some((process.id.tgid != 0).then_some(process))
}

/// An address of the kernel side; all zero is none, IPv4-mapped is IPv4.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    if bytes == [0; 16] {
        return None;
    }
    let address = Ipv6Addr::from(bytes);
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// Reads one slot. `None`: too short, or the kernel side speaks of a direction nobody knows.
#[must_use]
pub fn flow(bytes: &[u8]) -> Option<Flow> {
    use abi::ps_flow as F;
    let fields = Fields(bytes);
    let family = i32::from(fields.u16(std::mem::offset_of!(F, family))?);
    let kind = i32::from(fields.u16(std::mem::offset_of!(F, type_))?);
    let number = fields.u16(std::mem::offset_of!(F, protocol))?;
    let packet = family == nix::libc::AF_PACKET;
    // Raw sockets and ping sockets have no ports; what stands in their place is an identifier.
    let ports = !packet && matches!(number, 6 | 17 | 33 | 132 | 136 | 262) && kind != nix::libc::SOCK_RAW;
    let remote_key: [u8; 16] = fields.array(std::mem::offset_of!(F, remote))?;
    let remote_port_key = fields.u16(std::mem::offset_of!(F, remote_port))?;
    let local_port = u16::from_be(fields.u16(std::mem::offset_of!(F, local_port))?);
    let known = fields.u8(std::mem::offset_of!(F, peer_known))? != 0;
    let ifindex = fields.u32(std::mem::offset_of!(F, ifindex))?;
    Some(Flow {
        generation: fields.u32(std::mem::offset_of!(F, generation))?,
        process: process(fields, std::mem::offset_of!(F, process))?,
        parent: ancestor(fields, std::mem::offset_of!(F, parent))?,
        grandparent: ancestor(fields, std::mem::offset_of!(F, grandparent))?,
        opened: fields.u64(std::mem::offset_of!(F, opened))?,
        cgroup: fields.u64(std::mem::offset_of!(F, cgroup))?,
        cookie: fields.u64(std::mem::offset_of!(F, cookie))?,
        netns: fields.u32(std::mem::offset_of!(F, netns))?,
        network: fields.u32(std::mem::offset_of!(F, network))?,
        ifindex: (packet && ifindex != 0).then_some(ifindex),
        protocol: if packet { Protocol::Packet } else { Protocol::Ip(number) },
        direction: match u32::from(fields.u8(std::mem::offset_of!(F, direction))?) {
            abi::PS_OUT => Direction::Out,
            abi::PS_IN => Direction::In,
            _ => return None,
        },
        local: address(fields.array(std::mem::offset_of!(F, local))?),
        local_port: (ports && local_port != 0).then_some(local_port),
        remote_key,
        remote: if known && !packet { address(remote_key) } else { None },
        remote_port: (ports && known).then_some(u16::from_be(remote_port_key)),
        remote_port_key,
        secondary: fields.u32(std::mem::offset_of!(F, secondary))? != 0,
    })
}
