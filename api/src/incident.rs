// SPDX-License-Identifier: GPL-3.0-or-later
//! Kinds of Error events: what the monitor may say about itself. One list for who sends them and for who has words
//! for them, so that no kind is sent that nobody thought of.

use std::fmt;
use std::str::FromStr;

macro_rules! incidents {
    ($($(#[$about:meta])+ $name:ident = $word:literal,)+) => {
        /// See the module. As a text it is the `kind` of the signal Error and the `error` of a row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Incident {
            $($(#[$about])+ $name,)+
        }

        impl Incident {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its word on the bus.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

incidents! {
    /// Connections or destinations, and their bytes, are not in the history.
    LostFlows = "lost-flows",
    /// Rows are not in the history, the database did not take them.
    LostRows = "lost-rows",
    /// Sends and receives were not counted.
    LostCalls = "lost-calls",
    /// Rows do not reach the remote database; the history has them.
    LostRemote = "lost-remote",
    /// Contents are not asked for at the scanner.
    LostVerdicts = "lost-verdicts",
    /// Starts and ends of processes were missed.
    LostEvents = "lost-events",
    /// Resolved names were missed.
    LostNames = "lost-names",
    /// Started programs were not opened in time, and may have no hash.
    LostExecutables = "lost-executables",
    /// Changes of executables were missed, and every hash was looked at again.
    LostChanges = "lost-changes",
    /// Programs have no hash.
    LostHashes = "lost-hashes",
    /// Rows have no hash.
    LostRowHashes = "lost-row-hashes",
    /// Programs were not compared with their known content.
    LostComparisons = "lost-comparisons",
    /// File systems did not answer in time.
    LostLookups = "lost-lookups",
    /// Notices were not signalled; the list of events has them.
    LostSignals = "lost-signals",
    /// Too many processes or contents are known.
    Forgotten = "forgotten",
    /// Too many processes or names are known.
    ForgottenNames = "forgotten-names",
    /// Too many programs are known, some are announced again.
    ForgottenPrograms = "forgotten-programs",
    /// The kernel side said what makes no sense.
    Undecoded = "undecoded",
    /// The history cannot be written.
    Storage = "storage",
    /// It can be written again.
    StorageRecovered = "storage-recovered",
    /// It was damaged and begins anew.
    StorageDamaged = "storage-damaged",
    /// Parts of it could not be read and were made anew, as far as possible.
    StorageMended = "storage-mended",
    /// A text log cannot be written.
    TextLog = "text-log",
    /// A text log misses lines that the database has.
    TextLogLost = "text-log-lost",
    /// Rows do not reach the remote database and wait.
    Remote = "remote",
    /// The remote database refuses rows.
    RemoteRefused = "remote-refused",
    /// The helper that speaks to servers ends again and again.
    Relay = "relay",
    /// The scanner does not answer as it should.
    Scanner = "scanner",
    /// New settings are wrong, the old ones stay in force.
    Settings = "settings",
    /// The machine's clock was set.
    Clock = "clock",
    /// Nobody watched for a while.
    Gap = "gap",
    /// Somebody paused the record.
    Pause = "pause",
    /// The record goes on after a pause.
    Resume = "resume",
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of a newer monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known kind of Error event")]
pub struct Unknown;

impl FromStr for Incident {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word).ok_or(Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own_that_leads_back() {
        for kind in Incident::ALL {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
        }
        assert_eq!("lost".parse::<Incident>(), Err(Unknown));
    }

    #[test]
    fn every_kind_is_in_the_description_of_the_interface() {
        let text = include_str!("../../data/org.picosnitch.Monitor.xml");
        let of_error = text.split("kind: lost-flows").nth(1).and_then(|rest| rest.split("message:").next());
        let list = format!("lost-flows{}", of_error.unwrap_or_default());
        let words: Vec<&str> = list.split([' ', ',', '\n']).collect();
        for kind in Incident::ALL {
            assert!(words.contains(&kind.as_str()), "{kind} is not described");
        }
    }
}
