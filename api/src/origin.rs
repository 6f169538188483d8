// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a program's file lies, as far as its path says it: tray and window judge by the same words.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A container's: its path says nothing about this machine.
    Container,
    /// An app of Flatpak.
    Flatpak,
    /// A snap.
    Snap,
    /// It has the form of the place where an AppImage mounts itself, see [`Origin::of`].
    AppImage,
    /// A folder that is empty after the next start, and that anybody may write to.
    Temporary,
    /// Memory; there is no file.
    Memory,
    /// Somebody's home.
    Home,
    /// What the system or its package manager put there.
    System,
}

const TEMPORARY: [&str; 4] = ["/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/"];
/// Folders of an app in the sandbox of Flatpak. Containers of other kinds have an `/app` as well, but rarely these in it.
const OF_FLATPAK: [&str; 5] = ["/app/bin/", "/app/lib/", "/app/lib64/", "/app/libexec/", "/app/extra/"];

fn within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

impl Origin {
    /// That of the program with this path; `foreign`: it is one of another mount namespace's root. `None`: none of them.
    ///
    /// What is risky comes first, in a container as well. Of an AppImage only the form of its folder is known: anybody
    /// can make one of such a name, and whether something is mounted there is not seen from here (a FUSE mount is
    /// another user's, or in another mount namespace, or gone by the time it is told). So the form takes away an alarm,
    /// and no more.
    #[must_use]
    pub fn of(path: &str, foreign: bool) -> Option<Self> {
        Some(match path {
            path if within(path, &["/memfd:", "memfd:"]) => Origin::Memory,
            path if in_app_image(path) => Origin::AppImage,
            path if within(path, &TEMPORARY) => Origin::Temporary,
            path if foreign && within(path, &OF_FLATPAK) => Origin::Flatpak,
            _ if foreign => Origin::Container,
            path if path.starts_with("/var/lib/flatpak/") => Origin::Flatpak,
            path if path.starts_with("/snap/") => Origin::Snap,
            path if path.starts_with("/home/") => Origin::Home,
            path if path.starts_with("/usr/") => Origin::System,
            _ => return None,
        })
    }

    /// Programs do not belong there: an alarm.
    #[must_use]
    pub fn is_risky(self) -> bool {
        matches!(self, Origin::Temporary | Origin::Memory)
    }
}

/// Up to six bytes of its name, and six letters or digits by chance.
fn in_app_image(path: &str) -> bool {
    let folder = path.strip_prefix("/tmp/.mount_").and_then(|rest| rest.split_once('/'));
    let Some((folder, _)) = folder.filter(|(_, inside)| !inside.is_empty()) else { return false };
    let chance = folder.len().checked_sub(6).and_then(|at| folder.split_at_checked(at));
    chance.is_some_and(|(name, chance)| {
        (1..=6).contains(&name.len()) && chance.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_risky_is_said_before_what_it_belongs_to() {
        let here = |path| Origin::of(path, false);
        let there = |path| Origin::of(path, true);
        assert_eq!(here("/usr/bin/curl"), Some(Origin::System));
        assert_eq!(there("/usr/bin/curl"), Some(Origin::Container));
        assert_eq!((here("/app/bin/x"), there("/app/bin/x")), (None, Some(Origin::Flatpak)));
        assert_eq!(there("/app/server"), Some(Origin::Container), "many containers have their program there");
        assert_eq!(here("/var/lib/flatpak/app/org.x/x"), Some(Origin::Flatpak));
        assert_eq!(here("/snap/x/1/x"), Some(Origin::Snap));
        assert_eq!(here("/home/u/x"), Some(Origin::Home));
        assert_eq!(here("(x)"), None);
        for path in ["/tmp/x", "/var/tmp/x", "/dev/shm/x", "/run/user/1000/x", "/memfd:x", "memfd:x"] {
            for foreign in [false, true] {
                assert!(Origin::of(path, foreign).is_some_and(Origin::is_risky), "{path}");
            }
        }
        assert_eq!(there("/memfd:x"), Some(Origin::Memory));
    }

    #[test]
    fn an_app_image_is_told_by_the_whole_form_of_its_folder() {
        assert_eq!(Origin::of("/tmp/.mount_ObsidiAb3xYz/obsidian", false), Some(Origin::AppImage));
        for path in
            ["/tmp/.mount_x", "/tmp/.mount_x/y", "/tmp/.mount_ObsidianAb3xYz/x", "/tmp/.mount_a______/x"]
        {
            assert_eq!(Origin::of(path, false), Some(Origin::Temporary), "{path}");
        }
    }
}
