// SPDX-License-Identifier: GPL-3.0-or-later
//! What ends a command: one sentence, a hint where something can be done, and an exit status.

use picosnitch_api::{Error, Trouble, inert};

/// Exit statuses; scripts rely on them, and `--help` and the man page say them.
pub mod status {
    /// Something else went wrong.
    pub const ERROR: u8 = 1;
    /// The command line, a filter or a setting is not understood (clap uses the same).
    pub const USAGE: u8 = 2;
    /// The daemon cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// Not permitted.
    pub const NOT_PERMITTED: u8 = 4;
}

/// How a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence; texts of others in it are inert.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// One of [`status`].
    pub status: u8,
    /// Whoever read our output has gone: nothing is said, and it is no error.
    pub quiet: bool,
}

impl Failure {
    /// Something that went wrong here.
    pub fn new(message: impl AsRef<str>) -> Self {
        let message = inert(message.as_ref()).into_owned();
        Self { message, hint: None, status: status::ERROR, quiet: false }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl AsRef<str>) -> Self {
        Self { hint: Some(inert(hint.as_ref()).into_owned()), ..self }
    }

    /// The command line is at fault.
    pub fn usage(message: impl AsRef<str>) -> Self {
        Self { status: status::USAGE, ..Self::new(message) }
    }

    /// A file could not be read or written.
    pub fn file(path: &std::path::Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(format!("{}: cannot {doing}: {error}", path.display()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::new(format!("cannot write the output: {error}")) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let trouble = Trouble::of(&error);
        let status = match (&error, trouble) {
            (_, Trouble::NoBus | Trouble::NotRunning | Trouble::Policy | Trouble::Interrupted) => {
                status::UNREACHABLE
            }
            (_, Trouble::NotAuthorized) => status::NOT_PERMITTED,
            (Error::InvalidQuery(_) | Error::InvalidSetting(_), _) => status::USAGE,
            _ => status::ERROR,
        };
        let message = match (trouble.sentence(), &error) {
            (Some(sentence), _) => sentence.to_owned(),
            (
                None,
                Error::NotAuthorized(text)
                | Error::InvalidQuery(text)
                | Error::NotFound(text)
                | Error::InvalidSetting(text)
                | Error::Unavailable(text)
                | Error::LimitExceeded(text),
            ) => inert(text).into_owned(),
            (None, error) => inert(&error.to_string()).into_owned(),
        };
        Self { message, hint: trouble.hint().map(str::to_owned), status, quiet: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status_and_hint() {
        let cases = [
            (Error::ZBus(zbus::Error::Address("x".into())), status::UNREACHABLE, true),
            (Error::NotAuthorized("You may not.".into()), status::NOT_PERMITTED, true),
            (Error::InvalidQuery("no query key".into()), status::USAGE, false),
            (Error::InvalidSetting("x wants a number".into()), status::USAGE, false),
            (Error::NotFound("no executable 7".into()), status::ERROR, false),
            (Error::Unavailable("storage".into()), status::ERROR, false),
        ];
        for (error, status, hint) in cases {
            let text = format!("{error:?}");
            let failure = Failure::from(error);
            assert_eq!((failure.status, failure.hint.is_some()), (status, hint), "{text}");
            assert!(!failure.quiet && !failure.message.is_empty());
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).quiet);
        assert!(!Failure::from(std::io::Error::from(std::io::ErrorKind::StorageFull)).quiet);
    }

    #[test]
    fn n05_messages_are_inert() {
        let failure = Failure::from(Error::NotFound("no \u{202e}\x1b[2J\nfoo".into()));
        assert_eq!(failure.message, "no \\u{202e}\\x1b[2J\\nfoo");
    }
}
