// SPDX-License-Identifier: GPL-3.0-or-later
//! How the daemon ends: one clear sentence and an exit status of its own for each trouble, so that service
//! managers and scripts can tell them apart.

use std::process::ExitCode;

use crate::{capture, pipeline, record, serve, settings};

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Exit status 8.
    #[error(
        "picosnitchd watches the whole machine and needs root: systemctl start picosnitchd, or sudo picosnitchd"
    )]
    NotRoot,
    /// Exit status 3.
    #[error("{0}")]
    Settings(#[from] settings::Error),
    /// Exit status 4; 7 without BTF, 8 without the capabilities, 11 in a PID namespace.
    #[error("{0}")]
    Capture(#[from] pipeline::Error),
    /// Exit status 5; 10 beside another picosnitchd.
    #[error("{0}")]
    Storage(#[from] record::Error),
    /// Exit status 5.
    #[error("{0}")]
    Unwritten(#[from] record::Unwritten),
    /// Exit status 6; 9 without the policy, 10 beside another picosnitchd.
    #[error("{0}")]
    Bus(#[from] serve::Error),
    /// Exit status 1.
    #[error("{0}")]
    Other(#[from] std::io::Error),
    /// Exit status 70: a bug.
    #[error("a part of picosnitchd has died; this is a bug, and going on half alive would hide things")]
    Died,
}

impl Trouble {
    /// The exit status of the process.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Trouble::Other(_) => 1,
            Trouble::NotRoot => 8,
            Trouble::Settings(_) => 3,
            Trouble::Capture(pipeline::Error::Capture(capture::Error::NoBtf)) => 7,
            Trouble::Capture(pipeline::Error::Capture(capture::Error::NotPermitted(_))) => 8,
            Trouble::Capture(pipeline::Error::Capture(capture::Error::Enclosed)) => 11,
            Trouble::Capture(_) => 4,
            Trouble::Storage(record::Error::InUse(_)) => 10,
            Trouble::Storage(_) | Trouble::Unwritten(_) => 5,
            Trouble::Bus(serve::Error::NotAllowed) => 9,
            Trouble::Bus(serve::Error::Taken) => 10,
            Trouble::Bus(_) => 6,
            Trouble::Died => 70,
        })
    }
}
