// SPDX-License-Identifier: GPL-3.0-or-later
//! The script that an interpreter runs: started for by its first line, `#!` (execve(2)), or named in its
//! arguments.

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

/// How an interpreter reads its arguments.
struct Reads {
    /// What its name begins with; digits, dots and dashes may follow.
    name: &'static [u8],
    /// Options that come in place of a script.
    instead: &'static [u8],
    /// Options with a value, joined or as the next argument.
    value: &'static [u8],
    /// Options with a joined value or none.
    joined: &'static [u8],
    /// Long options whose value is the next argument.
    long: &'static [&'static [u8]],
}

const INTERPRETERS: [Reads; 8] = [
    Reads { name: b"python", instead: b"cm", value: b"WX", joined: b"", long: &[b"--check-hash-based-pycs"] },
    Reads { name: b"pypy", instead: b"cm", value: b"WX", joined: b"", long: &[] },
    Reads { name: b"perl", instead: b"eEvV", value: b"I", joined: b"CDFMilmx0d", long: &[] },
    Reads { name: b"ruby", instead: b"ev", value: b"CEIKr", joined: b"FTWix0", long: &[] },
    Reads {
        name: b"node",
        instead: b"epvi",
        value: b"rC",
        joined: b"",
        long: &[b"--require", b"--import", b"--loader", b"--conditions", b"--env-file"],
    },
    Reads { name: b"php", instead: b"rRBESimvh", value: b"cdzgt", joined: b"", long: &[] },
    Reads { name: b"lua", instead: b"v", value: b"el", joined: b"", long: &[] },
    Reads { name: b"", instead: b"cs", value: b"oO", joined: b"", long: &[b"--rcfile", b"--init-file"] },
];

/// All of them read their arguments as sh(1) does.
const SHELLS: [&[u8]; 8] = [b"sh", b"dash", b"bash", b"zsh", b"ksh", b"mksh", b"ash", b"rbash"];

/// Bytes of a command line that are kept, so that a longer one is cut there.
const CUT: usize = 4096;

/// The argument that is the path of a script, if the executable is an interpreter that knows one by its
/// arguments. What it says has to be looked at: arguments can say anything.
#[must_use]
pub fn interpreted<'a>(executable: &[u8], argv: &'a [u8]) -> Option<&'a [u8]> {
    let name = file_name(executable);
    let shell = SHELLS.contains(&name) || (name == b"busybox" && is_shell(argv));
    let reads = INTERPRETERS.iter().find(|reads| {
        if reads.name.is_empty() {
            return shell;
        }
        let rest = name.strip_prefix(reads.name);
        rest.is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_digit() || b".-js".contains(byte)))
    })?;
    let whole = argv.len() < CUT || argv.ends_with(&[0]);
    let mut rest = argv.split(|byte| *byte == 0).peekable();
    rest.next();
    let script = loop {
        let argument = rest.next()?;
        let options = match argument {
            b"--" => break rest.next()?,
            b"-" | b"" => return None,
            [b'-', b'-', ..] => {
                if matches!(argument, b"--eval" | b"--print" | b"--version" | b"--help") {
                    return None;
                }
                if reads.long.contains(&argument) {
                    rest.next()?;
                }
                continue;
            }
            [b'-', options @ ..] => options,
            [b'+', options @ ..] if reads.name.is_empty() => options,
            script => break script,
        };
        for (place, option) in options.iter().enumerate() {
            if reads.name == b"php" && *option == b'f' && place + 1 == options.len() {
                return rest.next();
            }
            if reads.instead.contains(option) {
                return None;
            }
            if reads.value.contains(option) {
                if place + 1 == options.len() {
                    rest.next()?;
                }
                break;
            }
            if reads.joined.contains(option) {
                break;
            }
        }
    };
    // The last argument of a command line that was cut may be a part of itself.
    (whole || rest.peek().is_some()).then_some(script)
}

/// A multi-call binary goes by its first argument.
fn is_shell(argv: &[u8]) -> bool {
    argv.split(|byte| *byte == 0).next().is_some_and(|first| SHELLS.contains(&file_name(first)))
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

    #[test]
    fn i14_a_script_is_found_in_the_arguments() {
        for (executable, argv, script) in [
            ("/usr/bin/python3.11", "python3\0x.py\0-c\0y\0", "x.py"),
            ("/usr/bin/python3", "python3\0-u\0-W\0ignore\0-Xdev\0./x.py\0", "./x.py"),
            ("/usr/bin/python3.11", "python3\0-c\0print()\0x.py\0", ""),
            ("/usr/bin/python3.11", "python3\0-Ic\0print()\0", ""),
            ("/usr/bin/python3.11", "python3\0-m\0http.server\0", ""),
            ("/usr/bin/python3.11", "python3\0-\0x.py\0", ""),
            ("/usr/bin/python3.11", "python3\0", ""),
            ("/usr/bin/pythonish", "pythonish\0x.py\0", ""),
            ("/bin/dash", "sh\0/srv/x.sh\0", "/srv/x.sh"),
            ("/bin/bash", "bash\0-eu\0-o\0pipefail\0x.sh\0", "x.sh"),
            ("/bin/bash", "bash\0+x\0--norc\0--\0-x.sh\0", "-x.sh"),
            ("/bin/bash", "-bash\0", ""),
            ("/bin/dash", "sh\0-c\0x.sh\0", ""),
            ("/bin/dash", "sh\0-s\0x.sh\0", ""),
            ("/bin/busybox", "sh\0x.sh\0", "x.sh"),
            ("/bin/busybox", "wget\0x.sh\0", ""),
            ("/usr/bin/perl", "perl\0-w\0-Ilib\0-I\0more\0-Mstrict\0x.pl\0", "x.pl"),
            ("/usr/bin/perl", "perl\0-ne\0print\0x.txt\0", ""),
            ("/usr/bin/perl5.36.0", "perl\0x.pl\0", "x.pl"),
            ("/usr/bin/node", "node\0--require\0a\0--inspect\0x.js\0", "x.js"),
            ("/usr/bin/node", "node\0-e\0x\0", ""),
            ("/usr/bin/ruby3.1", "ruby\0-rjson\0-I\0lib\0x.rb\0", "x.rb"),
            ("/usr/bin/php8.2", "php\0-f\0x.php\0", "x.php"),
            ("/usr/bin/curl", "curl\0x.py\0", ""),
        ] {
            let found = interpreted(executable.as_bytes(), argv.as_bytes());
            assert_eq!(found.unwrap_or_default(), script.as_bytes(), "{argv:?}");
        }
        let long = [b"sh\0".as_slice(), &[b'x'; CUT - 3]].concat();
        assert_eq!(interpreted(b"/bin/sh", &long), None, "cut");
        assert!(interpreted(b"/bin/sh", &[&long[..200], b"\0"].concat()).is_some());
    }
}
