// SPDX-License-Identifier: GPL-3.0-or-later
//! The script that an interpreter was started for by its first line, `#!` (execve(2)).

/// The argument that is the script's path, if this exec was one of a script: the kernel then puts the path
/// behind the interpreter and its one option, and names the process after the script, not after the
/// interpreter. `executable` is the interpreter's path. The argument may be relative.
pub(super) fn argument<'a>(comm: &[u8], executable: &[u8], argv: &'a [u8]) -> Option<&'a [u8]> {
    if comm.is_empty() || comm_of(executable) == comm {
        return None;
    }
    argv.split(|byte| *byte == 0).skip(1).take(2).find(|argument| comm_of(argument) == comm)
}

/// The name that the kernel gives a process that executes this path: 15 bytes at the most.
fn comm_of(path: &[u8]) -> &[u8] {
    let name = file_name(path);
    &name[..name.len().min(15)]
}

/// What follows the last slash.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i14_a_script_is_told_from_its_interpreter() {
        for (comm, executable, argv, script) in [
            ("x.py", "/usr/bin/python3.11", "/usr/bin/python3\0/srv/x.py\0--all\0", "/srv/x.py"),
            ("x.sh", "/bin/dash", "/bin/sh\0-e\0./x.sh\0", "./x.sh"),
            ("a-very-long-nam", "/bin/dash", "/bin/sh\0/a-very-long-name.sh\0", "/a-very-long-name.sh"),
            ("python3", "/usr/bin/python3.11", "python3\0x.py\0", ""),
            ("dash", "/bin/dash", "dash\0/bin/dash\0", ""),
            ("curl", "/usr/bin/curl", "curl\0https://example.org/curl\0", ""),
            ("busybox", "/bin/busybox", "sh\0-c\0busybox", ""),
            ("", "/bin/x", "x\0\0\0", ""),
        ] {
            let found = argument(comm.as_bytes(), executable.as_bytes(), argv.as_bytes());
            assert_eq!(found.unwrap_or_default(), script.as_bytes(), "{argv:?}");
        }
    }
}
