// SPDX-License-Identifier: GPL-3.0-or-later
//! Writing into a descriptor that a client passed. What is behind it is the client's: a pipe that nobody
//! reads must not keep a thread of ours for ever, nor the daemon from ending.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picosnitch_api::Error;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a descriptor may take nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an export goes on once it is over, ms.
const LOOK: u16 = 200;
/// What a pipe takes without blocking once it says that it is writable (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// See the module. Blocking: used on a thread of its own.
#[derive(Debug)]
pub struct Outlet {
    file: File,
    over: Arc<AtomicBool>,
}

impl Outlet {
    /// Takes the descriptor of a file or a pipe. Nothing else: bytes written into a client's socket would be
    /// root's traffic. It takes nothing more once `over` is set.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for any other kind.
    pub fn new(fd: OwnedFd, over: Arc<AtomicBool>) -> Result<Self, Error> {
        let file = File::from(fd);
        let kind = file.metadata().map(|metadata| metadata.file_type());
        if kind.is_ok_and(|kind| kind.is_file() || kind.is_fifo()) {
            return Ok(Self { file, over });
        }
        Err(Error::InvalidQuery("an export wants a file or a pipe to write into".to_owned()))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        loop {
            if self.over.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the monitor is stopping"));
            }
            if poll(&mut fds, PollTimeout::from(LOOK))? > 0 {
                break;
            }
            if began.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads what is exported"));
            }
        }
        self.file.write(&bytes[..bytes.len().min(PIECE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read as _;

    #[test]
    fn everything_arrives_through_a_pipe_and_a_closed_one_is_an_error() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let thread =
            std::thread::spawn(move || Outlet::new(writer.into(), Arc::default()).unwrap().write_all(&copy));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        thread.join().unwrap().unwrap();
        assert_eq!(got, sent);

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(
            Outlet::new(writer.into(), Arc::default()).unwrap().write_all(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn what_nobody_reads_ends_with_the_daemon() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let over = Arc::<AtomicBool>::default();
        let mut outlet = Outlet::new(writer.into(), over.clone()).unwrap();
        let thread = std::thread::spawn(move || outlet.write_all(&[0; 300_000]));
        let began = Instant::now();
        over.store(true, Ordering::Relaxed);
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
    }

    #[test]
    fn a_socket_is_no_place_for_an_export() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(Outlet::new(one.into(), Arc::default()), Err(Error::InvalidQuery(_))));
    }
}
