// SPDX-License-Identifier: GPL-3.0-or-later
//! A file on its way out: copied into memory that nobody can change any more, and only if it has exactly
//! the content that was asked about. The helper gets that memory and never a path.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use picosnitch_relay_wire::MAX_UPLOAD;
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use sha2::{Digest as _, Sha256};

/// Why there is no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is nowhere, or not as it was.
    #[error("no file with this content is here any more")]
    Gone,
    /// More than [`MAX_UPLOAD`].
    #[error("the file is larger than 32 MiB")]
    TooLarge,
    /// No memory or descriptor.
    #[error("the file cannot be copied")]
    Failed,
}

/// The first of these files that has the content, sealed.
pub(super) fn sealed(sha256: &[u8; 32], places: &[PathBuf]) -> Result<OwnedFd, Refusal> {
    let mut why = Refusal::Gone;
    for place in places {
        match copy(sha256, place) {
            Ok(Some(copy)) => return Ok(copy),
            Ok(None) => {}
            Err(Refusal::Gone) => {}
            Err(refusal) => why = refusal,
        }
    }
    Err(why)
}

fn copy(sha256: &[u8; 32], place: &Path) -> Result<Option<OwnedFd>, Refusal> {
    // A FIFO or a device in its place must neither hold us up nor become our terminal.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(|_| Refusal::Failed)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(place).map_err(|error| {
        // Ours, not the file's.
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Refusal::Failed,
            _ => Refusal::Gone,
        }
    })?;
    let metadata = file.metadata().map_err(|_| Refusal::Gone)?;
    if !metadata.is_file() {
        return Err(Refusal::Gone);
    }
    if metadata.len() > MAX_UPLOAD {
        return Err(Refusal::TooLarge);
    }
    let failed = |_| Refusal::Failed;
    let memory = rustix::fs::memfd_create("upload", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed)?;
    let mut memory = File::from(memory);
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 128 * 1024];
    let mut file = file.take(MAX_UPLOAD + 1);
    loop {
        let count = file.read(&mut buffer).map_err(|_| Refusal::Gone)?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > MAX_UPLOAD {
            return Err(Refusal::TooLarge);
        }
        hash.update(&buffer[..count]);
        memory.write_all(&buffer[..count]).map_err(|_| Refusal::Failed)?;
    }
    if hash.finalize()[..] != sha256[..] {
        return Ok(None);
    }
    memory.rewind().map_err(|_| Refusal::Failed)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).map_err(failed)?;
    Ok(Some(memory.into()))
}
