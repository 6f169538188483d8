// SPDX-License-Identifier: GPL-3.0-or-later
//! `/proc/PID/mountinfo` (proc(5)), and what a filesystem's kind means for us.

use std::collections::HashSet;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `s_dev` in the kernel's encoding, major << 20 | minor.
    pub(crate) dev: u32,
    /// Directory of the filesystem that is mounted.
    pub(crate) root: Vec<u8>,
    /// Where, as the reader's root has it.
    pub(crate) point: Vec<u8>,
    /// Kind of the filesystem, `ext4` for instance.
    pub(crate) kind: Vec<u8>,
}

/// What may be done with files of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// All changes pass through this kernel, and opening never waits for somebody else.
    Local,
    /// A server or another process answers: it may change files unseen, or never answer.
    Remote,
    /// Holds no programs.
    Pseudo,
}

impl Mount {
    /// Kinds that are not known to be local count as remote: that is slower, and always right.
    pub(crate) fn sort(&self) -> Sort {
        match self.kind.as_slice() {
            b"ext2" | b"ext3" | b"ext4" | b"xfs" | b"btrfs" | b"bcachefs" | b"f2fs" | b"zfs" | b"jfs"
            | b"reiserfs" | b"nilfs2" | b"tmpfs" | b"ramfs" | b"rootfs" | b"devtmpfs" | b"hugetlbfs"
            | b"overlay" | b"aufs" | b"ecryptfs" | b"squashfs" | b"erofs" | b"cramfs" | b"romfs"
            | b"iso9660" | b"udf" | b"vfat" | b"msdos" | b"exfat" | b"ntfs3" | b"hfs" | b"hfsplus"
            | b"ubifs" | b"jffs2" | b"minix" => Sort::Local,
            b"proc" | b"sysfs" | b"cgroup" | b"cgroup2" | b"devpts" | b"securityfs" | b"debugfs"
            | b"tracefs" | b"bpf" | b"pstore" | b"efivarfs" | b"configfs" | b"mqueue" | b"fusectl"
            | b"selinuxfs" | b"binfmt_misc" | b"autofs" | b"nsfs" | b"rpc_pipefs" | b"binder"
            | b"resctrl" | b"nfsd" => Sort::Pseudo,
            _ => Sort::Remote,
        }
    }
}

/// Reads mountinfo; lines that are not understood are passed over.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let dev = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = dev.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(Mount { dev: major << 20 | minor, root, point, kind })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// One mount of each filesystem that holds programs and is local, in the order they were mounted.
pub(crate) fn local(mounts: &[Mount]) -> Vec<&Mount> {
    let mut seen = HashSet::new();
    mounts.iter().filter(|mount| mount.sort() == Sort::Local && seen.insert(mount.dev)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n\
        40 27 254:0 /srv/x /mnt/a\\040b\\134c\\011 rw - ext4 /dev/vda rw\n\
        41 27 0:52 / /mnt/fuse rw - fuse.sshfs host: rw\n\
        garbage\n\
        42 27 0:53 / /mnt/new rw - nobodyknowsfs x rw\n\
        43 27 8:17 / /media/stick rw - vfat /dev/sdb1 rw\n";

    #[test]
    fn reads_every_field_that_is_used() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 6);
        assert_eq!(mounts[1].dev, 254 << 20);
        assert_eq!(mounts[2].point, b"/mnt/a b\\c\t");
        assert_eq!(mounts[2].root, b"/srv/x");
        assert_eq!(mounts[3].kind, b"fuse.sshfs");
    }

    #[test]
    fn only_known_local_filesystems_are_local() {
        let mounts = parse(TEXT);
        let sorts: Vec<Sort> = mounts.iter().map(Mount::sort).collect();
        assert_eq!(sorts, [Sort::Pseudo, Sort::Local, Sort::Local, Sort::Remote, Sort::Remote, Sort::Local]);
        let points: Vec<&[u8]> = local(&mounts).iter().map(|mount| mount.point.as_slice()).collect();
        assert_eq!(points, [b"/".as_slice(), b"/media/stick"], "each filesystem once");
    }

    #[test]
    fn reads_this_machine() {
        let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        assert!(parse(&text).iter().any(|mount| mount.point == b"/proc" && mount.sort() == Sort::Pseudo));
    }
}
