// SPDX-License-Identifier: GPL-3.0-or-later
//! A file server of the lab's own that can fall silent: a FUSE file system (`linux/fuse.h`) with one program in it.
//! Who waits for it is let go when it is dropped.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Outcome;

/// Name of the program.
const NAME: &[u8] = b"program";
/// Number of the program.
const PROGRAM: u64 = 2;
/// What the kernel sends at the most: nothing is written here.
const LARGEST: usize = 128 * 1024;
const HEADER: usize = 40;
/// `FOPEN_KEEP_CACHE`: what was read once need not be asked for again.
const KEEP: u32 = 2;

/// See the module.
#[derive(Debug)]
pub struct FileServer {
    point: PathBuf,
    silent: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FileServer {
    /// Mounts it; `silent`: it never answers, until it is told to.
    ///
    /// # Errors
    /// There is no FUSE here.
    pub fn mount(point: &Path, content: Vec<u8>, silent: bool) -> Outcome<FileServer> {
        let connection = File::options().read(true).write(true).open("/dev/fuse")?;
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", connection.as_raw_fd());
        nix::mount::mount(Some("lab"), point, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
        let (silent, ended) = (Arc::new(AtomicBool::new(silent)), Arc::new(AtomicBool::new(false)));
        let mut server = FileServer {
            point: point.to_owned(),
            silent: Arc::clone(&silent),
            ended: Arc::clone(&ended),
            thread: None,
        };
        let body = move || serve(connection, &content, &silent, &ended);
        server.thread = Some(std::thread::Builder::new().name("file server".to_owned()).spawn(body)?);
        Ok(server)
    }

    /// Path of the program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.point.join(String::from_utf8_lossy(NAME).as_ref())
    }

    /// From now on nobody gets an answer, or everybody again.
    pub fn fall_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.point, nix::mount::MntFlags::MNT_DETACH);
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut connection: File, content: &[u8], silent: &AtomicBool, ended: &AtomicBool) {
    let mut buffer = vec![0; LARGEST + 4096];
    while !ended.load(Ordering::SeqCst) {
        if silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let mut fds = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut fds, PollTimeout::from(20_u8)).is_ok_and(|ready| ready > 0) {
            continue;
        }
        // It may have fallen silent meanwhile: then who asked waits as well.
        let length = match connection.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return,
            Err(_) => continue,
        };
        let Some(question) = Question::of(&buffer[..length]) else { continue };
        let answer = match question.answer(content) {
            Some(Ok(body)) => question.reply(0, &body),
            Some(Err(error)) => question.reply(-(error as i32), &[]),
            None => continue,
        };
        let _ = connection.write_all(&answer);
    }
}

struct Question<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Numbers one after the other, as the kernel's structures have them.
fn packed(longs: &[u64], words: &[u32]) -> Vec<u8> {
    let longs = longs.iter().flat_map(|number| number.to_ne_bytes());
    longs.chain(words.iter().flat_map(|number| number.to_ne_bytes())).collect()
}

/// `struct fuse_attr`.
fn attributes(node: u64, content: &[u8]) -> Vec<u8> {
    let (size, mode) = if node == PROGRAM { (content.len() as u64, 0o100_755) } else { (0, 0o40_755) };
    packed(&[node, size, size.div_ceil(512), 1, 1, 1], &[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])
}

impl<'a> Question<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (opcode, unique, node) = (word(bytes, 4)?, long(bytes, 8)?, long(bytes, 16)?);
        Some(Question { opcode, unique, node, body: bytes.get(HEADER..)? })
    }

    fn reply(&self, error: i32, body: &[u8]) -> Vec<u8> {
        let mut answer = Vec::with_capacity(16 + body.len());
        answer.extend((16 + body.len() as u32).to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(self.unique.to_ne_bytes());
        answer.extend(body);
        answer
    }

    /// `None`: nothing is said to this.
    fn answer(&self, content: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
        // An hour, so that little is asked twice.
        const VALID: u64 = 3600;
        Some(Ok(match self.opcode {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // LOOKUP
            1 if self.body.strip_suffix(b"\0") == Some(NAME) => {
                let mut entry = packed(&[PROGRAM, 0, VALID, VALID], &[0, 0]);
                entry.extend(attributes(PROGRAM, content));
                entry
            }
            1 => return Some(Err(Errno::ENOENT)),
            // GETATTR
            3 => {
                let mut answer = packed(&[VALID], &[0, 0]);
                answer.extend(attributes(self.node, content));
                answer
            }
            // OPEN
            14 => packed(&[0], &[KEEP, 0]),
            // READ
            15 => {
                let (Some(offset), Some(size)) = (long(self.body, 8), word(self.body, 16)) else {
                    return Some(Err(Errno::EINVAL));
                };
                let from = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
                content[from..content.len().min(from + size as usize)].to_vec()
            }
            // RELEASE, FLUSH
            18 | 25 => Vec::new(),
            // INIT: version 7.31, no flags, 12 and 10 in the background, 4096 bytes written.
            26 => {
                let mut answer = packed(&[], &[7, 31, LARGEST as u32, 0, 12 | 10 << 16, 4096, 1]);
                answer.resize(64, 0);
                answer
            }
            _ => return Some(Err(Errno::ENOSYS)),
        }))
    }
}
