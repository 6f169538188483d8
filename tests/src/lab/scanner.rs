// SPDX-License-Identifier: GPL-3.0-or-later
//! An HTTPS server in VirusTotal's place, with answers that the case writes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::certificates::Identity;
use super::tools::{spawn, tail, until};
use super::{Outcome, Trouble};

/// The running server.
#[derive(Debug)]
pub struct Scanner {
    dir: PathBuf,
    child: Child,
    port: u16,
}

impl Scanner {
    /// Starts it with its first answers to GET and to POST.
    ///
    /// # Errors
    /// python3 is missing, or its last words.
    pub fn start(dir: &Path, identity: &Identity, get: &[Value], post: &[Value]) -> Outcome<Self> {
        let dir = dir.join("scanner");
        std::fs::create_dir_all(&dir)?;
        let script = dir.join("scanner.py");
        std::fs::write(&script, include_str!("scanner.py"))?;
        std::fs::write(dir.join("answers.json"), json!({"GET": get, "POST": post}).to_string())?;
        let log = std::fs::File::create(dir.join("log"))?;
        let mut child = spawn(
            Command::new("python3")
                .arg(&script)
                .arg(&dir)
                .args([&identity.certificate, &identity.key])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        let port = dir.join("port");
        let up = until(Duration::from_secs(10), || port.exists() || !matches!(child.try_wait(), Ok(None)));
        if !up || !port.exists() {
            return Err(format!("the scanner does not start: {}", tail(&dir.join("log"), 10)).into());
        }
        let port = std::fs::read_to_string(&port)?.parse().map_err(|_| Trouble::from("no port"))?;
        Ok(Self { dir, child, port })
    }

    /// What `virustotal.url` says.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/api/v3", self.port)
    }

    /// Who asks about this content gets this answer, from now on.
    ///
    /// # Errors
    /// The file of answers.
    pub fn always(&self, sha256: &str, answer: Value) -> Outcome {
        let path = self.dir.join("answers.json");
        let mut answers: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        answers["OF"][sha256] = answer;
        let new = path.with_extension("new");
        std::fs::write(&new, answers.to_string())?;
        std::fs::rename(new, path).map_err(Trouble::from)
    }

    /// What it was asked so far.
    ///
    /// # Errors
    /// A line is cut.
    pub fn requests(&self) -> Outcome<Vec<Value>> {
        let text = std::fs::read_to_string(self.dir.join("requests.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).map_err(Trouble::from)).collect()
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A report as the scanner gives it: so many engines of so many.
#[must_use]
pub fn report(malicious: u32, suspicious: u32, total: u32) -> Value {
    json!({"status": 200, "body": {"data": {"id": "@SHA256@", "type": "file", "attributes": {
        "sha256": "@SHA256@",
        "last_analysis_date": 1_790_000_000,
        "last_analysis_stats": {
            "malicious": malicious, "suspicious": suspicious, "undetected": total - malicious - suspicious,
            "harmless": 0, "timeout": 2, "failure": 1, "type-unsupported": 3,
        },
    }}}})
}

/// The scanner does not know the content.
#[must_use]
pub fn not_found() -> Value {
    json!({"status": 404, "body": {"error": {"code": "NotFoundError", "message": "File not found."}}})
}
