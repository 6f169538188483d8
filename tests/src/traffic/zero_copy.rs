// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes that never pass through the program's own memory.

use std::io::{self, Seek as _, Write as _};
use std::net::Shutdown;

use super::stream::{connect, receive, send_all};
use super::{Options, Report, pattern, port, sys};

/// T15: `bytes` of a file to the peer's sink by `sendfile`.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn send_file(options: &Options) -> io::Result<Report> {
    let bytes: usize = options.get("bytes", 3_000_017)?;
    let mut file = tempfile::tempfile()?;
    file.write_all(&pattern(bytes))?;
    file.rewind()?;
    let (stream, mut flow, started) = connect(options, port::SINK)?;
    let mut left = bytes;
    while left > 0 {
        let count = sys::sendfile(&stream, &file, left)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        flow.add_sent(count);
        left -= count;
    }
    stream.shutdown(Shutdown::Write)?;
    receive(&stream, u64::MAX, &mut flow)?;
    Ok(Report { started, ..Report::of(vec![flow]) })
}

/// T16: `bytes` from the peer's source by `splice`, socket to pipe to /dev/null. With `mixed=1` every
/// other part is read in the usual way.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn splice_down(options: &Options) -> io::Result<Report> {
    let bytes: u64 = options.get("bytes", 3_000_017)?;
    let mixed = options.is_set("mixed");
    let (stream, mut flow, started) = connect(options, port::SOURCE)?;
    send_all(&stream, &bytes.to_be_bytes(), &mut flow)?;
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let (reading, writing) = sys::pipe()?;
    let mut round = 0_u32;
    while flow.received < bytes {
        round += 1;
        if mixed && round.is_multiple_of(2) {
            receive(&stream, 1_000.min(bytes - flow.received), &mut flow)?;
            continue;
        }
        let count = sys::splice(&stream, &writing, 16 * 1024)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        flow.add_received(count);
        let mut left = count;
        while left > 0 {
            left -= sys::splice(&reading, &null, left)?;
        }
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}
