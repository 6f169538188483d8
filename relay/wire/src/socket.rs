// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets with descriptors, both ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{Answer, MAX_ANSWER};

/// Two ends, closed on exec.
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet, never in part, and never with a signal for a closed end. `wait`: for room.
///
/// # Errors
/// Those of sendmsg(2); `WouldBlock` without room.
pub fn send(
    socket: impl AsFd,
    parts: &[&[u8]],
    descriptor: Option<BorrowedFd<'_>>,
    wait: bool,
) -> io::Result<()> {
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &parts, &mut control, flags))?;
    Ok(())
}

/// One packet.
#[derive(Debug)]
pub struct Received {
    /// Its bytes; none at the end of the connection.
    pub length: usize,
    /// What came with it.
    pub descriptor: Option<OwnedFd>,
}

/// Receives one packet with at most one descriptor; waits for it.
///
/// # Errors
/// Those of recvmsg(2); `InvalidData` for a packet that is larger than the buffer.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)
    })?;
    let mut descriptor = None;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = item {
            descriptor = descriptors.last();
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too large"));
    }
    Ok(Received { length: message.bytes, descriptor })
}

/// Receives an answer, if one is there. Takes no descriptors: those that somebody sends are closed by the
/// kernel. `None`: the other side has closed.
///
/// # Errors
/// `WouldBlock` without one; `InvalidData` for whatever is no answer.
pub fn receive_answer(socket: impl AsFd) -> io::Result<Option<Answer>> {
    let mut buffer = [0_u8; MAX_ANSWER];
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let (_, length) = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut buffer[..], flags))?;
    if length == 0 {
        return Ok(None);
    }
    let message = buffer
        .get(..length)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer is too large"))?;
    serde_json::from_slice(message)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
