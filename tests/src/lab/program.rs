// SPDX-License-Identifier: GPL-3.0-or-later
//! Uniquely named programs: copies of the traffic generator, each with content of its own.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest as _, Sha256};

use super::tools::{open_to_all, spawn};
use super::{Outcome, Trouble, built};
use crate::traffic::Report;

/// Makes uniquely named programs.
#[derive(Debug)]
pub struct Programs {
    base: Vec<u8>,
    dir: PathBuf,
    server: PathBuf,
    made: AtomicU32,
}

/// SHA-256 of bytes, hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_file(path: &Path) -> Outcome<String> {
    std::fs::read(path)
        .map(|bytes| sha256(&bytes))
        .map_err(|error| Trouble::Failed(format!("{}: {error}", path.display())))
}

impl Programs {
    /// Reads the generator, without its symbols where `strip` is at hand: smaller files are copied and
    /// hashed sooner.
    ///
    /// # Errors
    /// The generator is not built.
    pub fn new(dir: &Path) -> Outcome<Programs> {
        let generator = built("picosnitch-traffic")?;
        let dir = dir.join("bin");
        std::fs::create_dir_all(&dir)?;
        open_to_all(&dir)?;
        let server = dir.join("peer");
        let stripped = Command::new("strip").arg("-o").arg(&server).arg(&generator).status();
        if !stripped.is_ok_and(|status| status.success()) {
            std::fs::copy(&generator, &server)?;
        }
        open_to_all(&server)?;
        Ok(Programs { base: std::fs::read(&server)?, dir, server, made: AtomicU32::new(0) })
    }

    /// The program that serves in the peer's namespace.
    #[must_use]
    pub fn server(&self) -> &Path {
        &self.server
    }

    /// Content for a new program: runs as any other, and is like no other.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.base.clone();
        bytes.extend(format!("{} {number}", std::process::id()).bytes());
        bytes
    }

    /// A program of that name (a number is added).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make(&self, name: &str) -> Outcome<PathBuf> {
        let number = self.made.load(Ordering::Relaxed);
        self.make_at(&self.dir.join(format!("{name}-{number}")))
    }

    /// A program at that path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make_at(&self, path: &Path) -> Outcome<PathBuf> {
        self.write(path, &self.content())?;
        Ok(path.to_path_buf())
    }

    /// Writes a program's content; the file is closed and may be run afterwards.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, content: &[u8]) -> Outcome {
        std::fs::write(path, content)
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
            .map_err(|error| Trouble::Failed(format!("{}: {error}", path.display())))
    }

    /// Folder of the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Runs a generator to its end; one report per line that it printed.
///
/// # Errors
/// It fails; the text has its last words.
pub fn reports(program: impl AsRef<OsStr>, arguments: &[&str]) -> Outcome<Vec<Report>> {
    reports_of(Command::new(program).args(arguments))
}

/// Runs a command that ends in a generator.
///
/// # Errors
/// As [`reports`].
pub fn reports_of(command: &mut Command) -> Outcome<Vec<Report>> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| Trouble::Failed(format!("{command:?}: {error}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Trouble::Failed(format!("the generator failed ({}): {words}", output.status)));
    }
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{"))
        .map(|line| serde_json::from_slice(line).map_err(Trouble::from))
        .collect()
}

/// Runs a generator that prints one report.
///
/// # Errors
/// As [`reports`], or it printed none.
pub fn report(program: impl AsRef<OsStr>, arguments: &[&str]) -> Outcome<Report> {
    reports(program, arguments)?.pop().ok_or_else(|| "the generator said nothing".into())
}

/// A generator that runs beside the case, led by lines on its standard input. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a generator.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: impl AsRef<OsStr>, arguments: &[&str]) -> Outcome<Running> {
        Self::start_command(Command::new(program).args(arguments))
    }

    /// Starts a command that ends in a generator.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_command(command: &mut Command) -> Outcome<Running> {
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or("no pipe")?;
        Ok(Running { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it one line.
    ///
    /// # Errors
    /// It has gone.
    pub fn say(&mut self, line: &str) -> Outcome {
        let stdin = self.stdin.as_mut().ok_or("its standard input is closed")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(Trouble::from)
    }

    /// Its next line.
    ///
    /// # Errors
    /// It has gone.
    pub fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("the generator ended without a word".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its next report.
    ///
    /// # Errors
    /// It has gone or said something else.
    pub fn report(&mut self) -> Outcome<Report> {
        serde_json::from_str(&self.line()?).map_err(Trouble::from)
    }

    /// Ends its standard input and waits for its end; the last line is its report.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(mut self) -> Outcome<Report> {
        self.stdin = None;
        let mut text = String::new();
        self.stdout.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        let last = text.lines().rfind(|line| line.starts_with('{'));
        match last {
            Some(line) if status.success() => serde_json::from_str(line).map_err(Trouble::from),
            _ => Err(format!("the generator ended with {status}: {text:?}").into()),
        }
    }

    /// Lets it end and forgets what it has to say.
    pub fn release(mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
