// SPDX-License-Identifier: GPL-3.0-or-later
//! Sending and receiving through io_uring, where no socket system call is made at all.
#![allow(unsafe_code)] // io-uring takes raw pointers to the buffers

use std::io;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, squeue, types};

use super::stream::connect;
use super::{Options, Report, pattern, port};

fn one(ring: &mut IoUring, entry: &squeue::Entry, polled: bool) -> io::Result<usize> {
    // SAFETY: the buffer of the entry outlives this function, which waits for its completion.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    if polled {
        ring.submit()?;
    }
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map(|done| done.result());
    match result {
        Some(count) if count >= 0 => Ok(count.unsigned_abs() as usize),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("io_uring woke up with nothing done")),
    }
}

/// T13, T14: `bytes` to the echo service and back. `sqpoll=1` lets the kernel's own thread pick up
/// the work.
///
/// # Errors
/// io_uring is not to be had, a call fails or bytes are missing.
pub fn echo(options: &Options) -> io::Result<Report> {
    let bytes: usize = options.get("bytes", 200_003)?;
    let polled = options.is_set("sqpoll");
    let mut ring = if polled { IoUring::builder().setup_sqpoll(50).build(8)? } else { IoUring::new(8)? };
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    let fd = types::Fd(stream.as_raw_fd());
    let mut buffer = vec![0_u8; 8192];
    for part in pattern(bytes).chunks(5_000) {
        let mut sent = 0;
        while sent < part.len() {
            let rest = &part[sent..];
            let entry = opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).build();
            let count = one(&mut ring, &entry, polled)?;
            flow.add_sent(count);
            sent += count;
        }
        let mut got = 0;
        while got < part.len() {
            let length = part.len() - got;
            let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), length as u32).build();
            let count = one(&mut ring, &entry, polled)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            flow.add_received(count);
            got += count;
        }
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}
