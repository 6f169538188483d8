// SPDX-License-Identifier: GPL-3.0-or-later
//! What picosnitchd and picosnitch-relay say to each other: one message is one packet of a UNIX socket
//! (SOCK_SEQPACKET), JSON, with at most one descriptor. There are no paths in it. The daemon asks, the
//! helper answers each question that has a number once, in any order; answers are short, so that the
//! daemon, which is root and trusts none of them, has little to read.

mod row;
mod socket;

pub use row::{COLUMNS, Cell, Column, Kind, Row};
pub use socket::{Received, pair, receive, receive_answer, send};

use serde::{Deserialize, Serialize};

/// Largest question, bytes: a batch of rows.
pub const MAX_ASK: usize = 160 * 1024;
/// Largest answer, bytes.
pub const MAX_ANSWER: usize = 4096;
/// Largest text in an answer, characters.
pub const MAX_WHY: usize = 400;
/// Largest file that is sent to a scanner, bytes: what it takes without a special address.
pub const MAX_UPLOAD: u64 = 32 << 20;

/// Engines that a scanner can have; a larger number is no verdict.
pub const MAX_ENGINES: u32 = 10_000;

/// How the way to a database server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// TLS, and the certificate must be for this server; in the clear only over a UNIX socket.
    #[default]
    Automatic,
    /// TLS, and the certificate must be for this server.
    Verify,
    /// In the clear.
    Off,
}

/// What the daemon says. A message with rows has them after the first line, one JSON object each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Where rows go from now on. With a descriptor: the certificates to trust, PEM.
    Database {
        /// With user and password.
        url: String,
        /// Name of the table.
        table: String,
        /// Protection.
        tls: Tls,
        /// What this machine calls itself there.
        host: String,
    },
    /// Rows to store.
    Rows {
        /// Of the question.
        number: u64,
        /// Of the database that the rows were made in: with a row's id, the key there.
        origin: i64,
    },
    /// Whom to ask for verdicts from now on. With a descriptor: the certificates to trust, PEM.
    Scanner {
        /// Base of its addresses, without a slash at the end.
        url: String,
        /// Who asks.
        key: String,
    },
    /// What is known of a content.
    Lookup {
        /// Of the question.
        number: u64,
        /// 64 hexadecimal digits.
        sha256: String,
    },
    /// Take the content itself. With a descriptor: a sealed file with exactly that content.
    Upload {
        /// Of the question.
        number: u64,
        /// 64 hexadecimal digits.
        sha256: String,
    },
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// So many rows are there, but for those that the server refuses for what they are.
    Stored {
        /// Of the question.
        number: u64,
        /// From the first on; the others are to be asked for once more. At least 1.
        rows: u32,
        /// Rows that it would refuse for ever.
        refused: u32,
        /// What it said about the first of them.
        why: Option<String>,
    },
    /// Engines have looked at the content.
    Verdict {
        /// Of the question.
        number: u64,
        /// Engines that call it malicious.
        malicious: u32,
        /// Engines that call it suspicious.
        suspicious: u32,
        /// Engines that looked at it.
        total: u32,
        /// When, seconds since the epoch; 0 if that is not said.
        analysed: i64,
    },
    /// The scanner has never seen the content.
    Unknown {
        /// Of the question.
        number: u64,
    },
    /// The scanner has the content and has not looked at it yet.
    Pending {
        /// Of the question.
        number: u64,
    },
    /// It did not work, and may work later.
    Failed {
        /// Of the question.
        number: u64,
        /// One sentence.
        why: String,
        /// Not before so many seconds, if the other side said so.
        wait: Option<u64>,
        /// The scanner will not have this file, whenever it is sent.
        #[serde(default)]
        unwanted: bool,
    },
}

impl Answer {
    /// Number of the question.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Answer::Stored { number, .. }
            | Answer::Verdict { number, .. }
            | Answer::Unknown { number }
            | Answer::Pending { number }
            | Answer::Failed { number, .. } => *number,
        }
    }
}
