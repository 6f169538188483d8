// SPDX-License-Identifier: GPL-3.0-or-later
//! From a cgroup's id to the systemd unit and the container it stands for.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fingerprint::mounts;
use crate::model::Bytes;

/// Cgroups remembered.
const CGROUPS: usize = 4096;
/// Directories looked at in one search of the tree: some ms.
const SEARCH: usize = 1024;
/// Shortest time between two searches: somebody may make and leave cgroups as fast as they can.
const PAUSE: Duration = Duration::from_millis(500);

/// What a cgroup stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// systemd unit.
    pub unit: Option<Bytes>,
    /// `engine:name`.
    pub container: Option<Bytes>,
}

/// Units and containers by cgroup id.
pub(super) struct Cgroups {
    /// Where the cgroup2 hierarchy is mounted, if it is.
    mount: Option<PathBuf>,
    known: HashMap<u64, Group>,
    searched: Option<Instant>,
}

impl Cgroups {
    /// Finds the hierarchy.
    pub(super) fn new() -> Self {
        let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mount = mounts::parse(&text)
            .into_iter()
            .find(|mount| mount.kind == b"cgroup2" && mount.root == b"/")
            .map(|mount| PathBuf::from(OsString::from_vec(mount.point)));
        Cgroups { mount, known: HashMap::new(), searched: None }
    }

    /// What the cgroup `id` stands for; `pid` is a process in it.
    pub(super) fn get(&mut self, id: u64, pid: u32) -> Group {
        if id == 0 {
            // The kernel side did not know.
            return Group::default();
        }
        if let Some(group) = self.known.get(&id) {
            return group.clone();
        }
        let mut path = self.of_process(id, pid);
        if path.is_none() {
            // The process has gone or moved on.
            let now = Instant::now();
            if self.searched.is_some_and(|last| now.duration_since(last) < PAUSE) {
                return Group::default();
            }
            self.searched = Some(now);
            path = self.mount.as_deref().and_then(|mount| search(mount, id));
        }
        let group = path.as_deref().map(classify).unwrap_or_default();
        // Ids are never used again, so an id that was not found will not be either.
        if self.known.len() >= CGROUPS {
            self.known.clear();
        }
        self.known.insert(id, group.clone());
        group
    }

    /// The path within the hierarchy as the process says, if the directory there has that id.
    fn of_process(&self, id: u64, pid: u32) -> Option<Vec<u8>> {
        let mount = self.mount.as_deref()?;
        let path = of_process(pid)?;
        let inside = PathBuf::from(OsString::from_vec(path.strip_prefix(b"/")?.to_vec()));
        (number(&mount.join(inside)) == Some(id)).then_some(path)
    }
}

/// The id of a cgroup is the inode number of its directory.
fn number(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

/// The `0::` line of /proc/PID/cgroup, cgroups(7).
fn of_process(pid: u32) -> Option<Vec<u8>> {
    let text = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).map(<[u8]>::to_vec)
}

/// Breadth first: units lie high in the tree.
fn search(mount: &Path, id: u64) -> Option<Vec<u8>> {
    let mut level = vec![mount.to_path_buf()];
    let mut looked_at = 0;
    while !level.is_empty() {
        let mut below = Vec::new();
        for directory in level {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                looked_at += 1;
                if looked_at > SEARCH {
                    return None;
                }
                let path = entry.path();
                if number(&path) == Some(id) {
                    let inside = path.strip_prefix(mount).ok()?;
                    let mut found = vec![b'/'];
                    found.extend_from_slice(inside.as_os_str().as_encoded_bytes());
                    return Some(found);
                }
                below.push(path);
            }
        }
        level = below;
    }
    None
}

/// Reads a cgroup path by the names that systemd and the container engines give.
#[must_use]
pub fn classify(path: &[u8]) -> Group {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let is_unit = |part: &&&[u8]| part.ends_with(b".service") || part.ends_with(b".scope");
    let unit = parts.iter().rev().find(is_unit).map(|part| Bytes::from(*part));
    // The innermost container: one may run inside another.
    let container = parts
        .iter()
        .enumerate()
        .rev()
        .find_map(|(depth, part)| container(part, &parts[..depth]))
        .map(Bytes::from);
    Group { unit, container }
}

/// The container that one component names: `engine:name`, long hexadecimal ids cut to twelve digits as
/// their engines print them.
fn container(part: &[u8], above: &[&[u8]]) -> Option<Vec<u8>> {
    let scope = part.strip_suffix(b".scope").or_else(|| part.strip_suffix(b".service"));
    for (prefix, engine) in [
        (b"docker-".as_slice(), "docker"),
        (b"libpod-payload-", "podman"),
        (b"libpod-", "podman"),
        (b"cri-containerd-", "containerd"),
        (b"crio-", "crio"),
        (b"cri-o-", "crio"),
        (b"nerdctl-", "containerd"),
    ] {
        if let Some(id) = scope.unwrap_or(part).strip_prefix(prefix)
            && let Some(id) = short(id)
        {
            return Some(named(engine, id));
        }
    }
    if let Some(name) = part.strip_prefix(b"lxc.payload.").or_else(|| part.strip_prefix(b"lxc.payload/")) {
        return some_name("lxc", name);
    }
    if above.last().is_some_and(|parent| *parent == b"lxc".as_slice()) {
        return some_name("lxc", part);
    }
    if let Some(scope) = scope {
        if let Some(name) = scope.strip_prefix(b"systemd-nspawn@") {
            return some_name("machine", &unescape(name));
        }
        if let Some(name) = scope.strip_prefix(b"machine-") {
            return some_name("machine", &unescape(name));
        }
        if let Some(rest) = scope.strip_prefix(b"app-flatpak-") {
            // app-flatpak-ID-NUMBER.scope
            let end = rest.iter().rposition(|byte| *byte == b'-')?;
            return some_name("flatpak", &unescape(&rest[..end]));
        }
        if let Some(rest) = scope.strip_prefix(b"snap.") {
            let end = rest.iter().position(|byte| *byte == b'.').unwrap_or(rest.len());
            return some_name("snap", &unescape(&rest[..end]));
        }
    }
    // Engines that do not use systemd: /docker/ID, /libpod_parent/libpod-ID, /kubepods/…/podUID/ID.
    let id = short(part).filter(|_| part.len() == 64)?;
    let engine = above.iter().rev().find_map(|parent| match *parent {
        b"docker" => Some("docker"),
        b"libpod_parent" => Some("podman"),
        _ if parent.starts_with(b"kubepods") => Some("kubernetes"),
        _ => None,
    })?;
    Some(named(engine, id))
}

fn named(engine: &str, name: &[u8]) -> Vec<u8> {
    [engine.as_bytes(), b":", name].concat()
}

fn some_name(engine: &str, name: &[u8]) -> Option<Vec<u8>> {
    (!name.is_empty()).then(|| named(engine, name))
}

/// The first twelve digits of an id of at least as many.
fn short(id: &[u8]) -> Option<&[u8]> {
    (id.len() >= 12 && id.iter().all(u8::is_ascii_hexdigit)).then(|| &id[..12])
}

/// systemd writes characters that unit names may not hold as `\xNN` (systemd-escape(1)).
fn unescape(name: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        if let (b'\\', [b'x', high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn units_and_containers_by_their_names() {
        let cases: &[(&str, &str, &str)] = &[
            ("/", "", ""),
            ("/system.slice/cups.service", "cups.service", ""),
            ("/init.scope", "init.scope", ""),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4242.scope",
                "app-gnome-firefox-4242.scope",
                "",
            ),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice", "user@1000.service", ""),
            ("/system.slice/docker-ID.scope", "docker-ID.scope", "docker:0123456789ab"),
            (
                "/system.slice/docker-ID.scope/system.slice/nginx.service",
                "nginx.service",
                "docker:0123456789ab",
            ),
            ("/docker/ID", "", "docker:0123456789ab"),
            ("/docker/short", "", ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
                "libpod-ID.scope",
                "podman:0123456789ab",
            ),
            ("/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope", ""),
            ("/libpod_parent/libpod-ID", "", "podman:0123456789ab"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
                "cri-containerd-ID.scope",
                "containerd:0123456789ab",
            ),
            ("/kubepods.slice/kubepods-besteffort.slice/crio-ID.scope", "crio-ID.scope", "crio:0123456789ab"),
            ("/kubepods/besteffort/pod77/ID", "", "kubernetes:0123456789ab"),
            ("/lxc.payload.web1/system.slice/ssh.service", "ssh.service", "lxc:web1"),
            ("/lxc.monitor.web1", "", ""),
            ("/lxc/old", "", "lxc:old"),
            (
                "/machine.slice/systemd-nspawn@deb\\x2d13.service/payload",
                "systemd-nspawn@deb\\x2d13.service",
                "machine:deb-13",
            ),
            (
                "/machine.slice/machine-qemu\\x2d1\\x2dwin.scope",
                "machine-qemu\\x2d1\\x2dwin.scope",
                "machine:qemu-1-win",
            ),
            (
                "/user.slice/user@1000.service/app.slice/app-flatpak-org.mozilla.firefox-2961.scope",
                "app-flatpak-org.mozilla.firefox-2961.scope",
                "flatpak:org.mozilla.firefox",
            ),
            (
                "/user.slice/user@1000.service/app.slice/snap.firefox.firefox-7a2b.scope",
                "snap.firefox.firefox-7a2b.scope",
                "snap:firefox",
            ),
            ("/system.slice/snap.cups.cupsd.service", "snap.cups.cupsd.service", "snap:cups"),
            ("/system.slice/app-flatpak-.scope", "app-flatpak-.scope", ""),
            ("/system.slice/machine-.scope", "machine-.scope", ""),
        ];
        for (path, unit, container) in cases {
            let fill = |text: &str| text.replace("ID", ID);
            let group = classify(fill(path).as_bytes());
            let text = |bytes: Option<Bytes>| {
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
            };
            assert_eq!(text(group.unit), fill(unit), "unit of {path}");
            assert_eq!(text(group.container), fill(container), "container of {path}");
        }
    }

    #[test]
    fn hostile_paths_do_no_harm() {
        for path in [b"////".as_slice(), b"", b"/\xff.service", b"/a\\x", b"/machine-\\x2.scope", b".scope"] {
            let _ = classify(path);
        }
    }
}
