// SPDX-License-Identifier: GPL-3.0-or-later
//! The flows that were open at the last write, for a daemon that starts again while they still are: it counts
//! no connection twice, and knows who began. Beside the database and not in it: it is of no use after the
//! machine has gone down, and nobody waits for it to be on the disk.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "open-flows";
/// Bytes of `/proc/sys/kernel/random/boot_id`, which the file begins with; then 8 bytes a flow, little-endian.
const BOOT: usize = 36;
/// Largest file that is read, bytes.
const LARGEST: u64 = 4 << 20;

/// Where it is, and since when the machine runs.
#[derive(Debug)]
pub(super) struct OpenFlows {
    path: PathBuf,
    boot: Option<[u8; BOOT]>,
}

impl OpenFlows {
    pub(super) fn new(state_dir: &Path) -> OpenFlows {
        OpenFlows { path: state_dir.join(FILE), boot: boot().ok() }
    }

    /// What the daemon before this one wrote since the machine started. What cannot be read is not known.
    pub(super) fn read(&self) -> Vec<u64> {
        let Ok(bytes) = self.bytes() else { return Vec::new() };
        match (&self.boot, bytes.split_first_chunk::<BOOT>()) {
            (Some(now), Some((then, flows))) if now == then => {
                flows.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes it anew.
    ///
    /// # Errors
    /// What writing gives.
    pub(super) fn write(&self, flows: &[u64]) -> io::Result<()> {
        let Some(boot) = self.boot else { return Ok(()) };
        let new = self.path.with_extension("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let mut bytes = boot.to_vec();
        bytes.extend(flows.iter().flat_map(|flow| flow.to_le_bytes()));
        file.write_all(&bytes)?;
        std::fs::rename(new, &self.path)
    }
}

fn boot() -> io::Result<[u8; BOOT]> {
    let mut boot = [0; BOOT];
    std::fs::File::open("/proc/sys/kernel/random/boot_id")?.read_exact(&mut boot)?;
    Ok(boot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_comes_back_while_the_machine_runs() {
        let dir = tempfile::tempdir().unwrap();
        let open = OpenFlows::new(dir.path());
        assert!(open.read().is_empty());
        open.write(&[1, u64::MAX]).unwrap();
        open.write(&[7, u64::MAX]).unwrap();
        assert_eq!(OpenFlows::new(dir.path()).read(), [7, u64::MAX]);
        let later = OpenFlows { boot: Some([b'0'; BOOT]), ..open };
        assert!(later.read().is_empty());
    }

    #[test]
    fn what_is_damaged_or_no_file_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let open = OpenFlows::new(dir.path());
        open.write(&[7, 8]).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(open.read(), [7]);
        std::fs::write(&path, &whole[..BOOT - 1]).unwrap();
        assert!(open.read().is_empty());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(open.read().is_empty());
    }
}
