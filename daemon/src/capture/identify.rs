// SPDX-License-Identifier: GPL-3.0-or-later
//! Which file is this descriptor, in the kernel's own terms? See `identify_fd` in `bpf/src/name.bpf.c`.

// BPF_PROG_RUN on a descriptor that other threads share needs the C function; libbpf-rs offers it only on
// a program that must stay in one thread.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use libbpf_rs::{ProgramMut, libbpf_sys};

use crate::model::FileId;

/// Answers from any thread of this process, for descriptors of that thread's table.
#[derive(Debug)]
pub struct Identify {
    program: OwnedFd,
}

/// Twin of `struct identify`: fd, found, inode, ino, dev, generation.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Question {
    fd: u32,
    found: u32,
    inode: u64,
    ino: u64,
    dev: u32,
    generation: u32,
}

impl Identify {
    pub(super) fn new(program: &ProgramMut<'_>) -> Result<Identify, libbpf_rs::Error> {
        let program = program.as_fd().try_clone_to_owned().map_err(libbpf_rs::Error::from)?;
        Ok(Identify { program })
    }

    /// Identity of the file behind a descriptor.
    ///
    /// # Errors
    /// The kernel's refusal, or `NotFound` for a descriptor that is not open.
    pub fn file(&self, fd: BorrowedFd<'_>) -> io::Result<FileId> {
        let number = u32::try_from(fd.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut question = Question { fd: number, ..Question::default() };
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            ctx_in: (&raw mut question).cast(),
            ctx_size_in: size_of::<Question>() as u32,
            ..Default::default()
        };
        // SAFETY: `options` and `question` live through the call; the kernel reads and writes exactly
        // `ctx_size_in` bytes of `question`, which is plain data.
        let result =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(self.program.as_raw_fd(), &raw mut options) };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        if question.found == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(FileId {
            inode: question.inode,
            ino: question.ino,
            dev: question.dev,
            generation: question.generation,
        })
    }
}
