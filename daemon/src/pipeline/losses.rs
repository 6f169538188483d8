// SPDX-License-Identifier: GPL-3.0-or-later
//! What could not be kept, and the sentences for it. Every counter of a drop ends here. A sentence is held back
//! while its kind was told a moment ago, its number never: it is in the next one.

use picosnitch_api::Incident;

use crate::capture::Lost;
use crate::fingerprint;
use crate::judge;

/// All counters of drops, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) kernel: Lost,
    pub(super) files: fingerprint::Counts,
    pub(super) judge: judge::Dropped,
    /// Processes and names forgotten by `enrich` for lack of room.
    pub(super) forgotten: u64,
    /// Rows that were recorded without a hash, as too many waited for one.
    pub(super) unhashed: u64,
    /// Look-ups in file systems and memory of others that were not answered in time.
    pub(super) unanswered: u64,
    /// Messages of the kernel side that make no sense.
    pub(super) strange: u64,
    /// Notices that the bus did not take.
    pub(super) unsignalled: u64,
    /// Rows that the record could not keep, and bytes in them.
    pub(super) rows: u64,
    pub(super) row_bytes: u64,
    /// Rows for which there was no room to wait for the remote database.
    pub(super) remote: u64,
    /// Contents for which there was no room to wait for a verdict.
    pub(super) verdicts: u64,
}

/// What of it was told.
#[derive(Debug, Default)]
pub(super) struct Losses {
    told: Totals,
}

impl Losses {
    /// Kind and sentence of each loss that was not told yet, if `may` says that this kind may be told now.
    pub(super) fn due(&mut self, now: &Totals, may: impl Fn(Incident) -> bool) -> Vec<(Incident, String)> {
        let mut due = Vec::new();
        let (told, kernel) = (&mut self.told, &now.kernel);
        let flows = kernel.flows.saturating_sub(told.kernel.flows);
        let sent = kernel.sent.saturating_sub(told.kernel.sent);
        let received = kernel.received.saturating_sub(told.kernel.received);
        if flows + sent + received > 0 && may(Incident::LostFlows) {
            (told.kernel.flows, told.kernel.sent, told.kernel.received) =
                (kernel.flows, kernel.sent, kernel.received);
            due.push((
                Incident::LostFlows,
                format!(
                    "{flows} connections or destinations were not recorded, {sent} bytes sent and {received} bytes \
                     received are missing: more connections were open at once than the monitor can follow"
                ),
            ));
        }
        let remote = now.remote.saturating_sub(told.remote);
        if remote > 0 && may(Incident::LostRemote) {
            told.remote = now.remote;
            due.push((
                Incident::LostRemote,
                format!(
                    "{remote} rows will not reach the remote database, the history here has them: more waited for \
                     it than remote.outbox_mib allows, or they waited in a database that was damaged"
                ),
            ));
        }
        let verdicts = now.verdicts.saturating_sub(told.verdicts);
        if verdicts > 0 && may(Incident::LostVerdicts) {
            told.verdicts = now.verdicts;
            due.push((
                Incident::LostVerdicts,
                format!("{verdicts} programs will have no verdict: too many wait for one already"),
            ));
        }
        let rows = now.rows.saturating_sub(told.rows);
        let bytes = now.row_bytes.saturating_sub(told.row_bytes);
        if rows > 0 && may(Incident::LostRows) {
            (told.rows, told.row_bytes) = (now.rows, now.row_bytes);
            due.push((
                Incident::LostRows,
                format!(
                    "{rows} rows with {bytes} bytes in total were not recorded: the database took them too \
                     slowly or not at all"
                ),
            ));
        }
        let mut one = |kind, told: &mut u64, now: u64, sentence: &str| {
            let number = now.saturating_sub(*told);
            if number > 0 && may(kind) {
                *told = now;
                due.push((kind, format!("{number} {sentence}")));
            }
        };
        one(
            Incident::LostEvents,
            &mut told.kernel.process_events,
            kernel.process_events,
            "starts and ends of processes were missed, short-lived programs may be named less well: set \
             monitor.ring_buffer_kib higher if this happens often",
        );
        one(
            Incident::LostCalls,
            &mut told.kernel.missed,
            kernel.missed,
            "sends and receives were not counted: the kernel was counting another one on the same processor",
        );
        one(
            Incident::LostNames,
            &mut told.kernel.name_events,
            kernel.name_events,
            "resolved names were missed, some domains may be missing: set monitor.ring_buffer_kib higher if \
             this happens often",
        );
        one(
            Incident::LostExecutables,
            &mut told.files.execs_lost,
            now.files.execs_lost,
            "started programs could not be opened in time, their hashes may be unknown",
        );
        one(
            Incident::LostChanges,
            &mut told.files.changes_lost,
            now.files.changes_lost,
            "changes of executables were missed; every hash was looked at again",
        );
        one(
            Incident::LostHashes,
            &mut told.files.refused,
            now.files.refused,
            "programs have no hash: too many had to be hashed at once",
        );
        one(
            Incident::LostRowHashes,
            &mut told.unhashed,
            now.unhashed,
            "rows have no hash: too many waited for the one of their program",
        );
        one(
            Incident::LostComparisons,
            &mut told.judge.comparisons,
            now.judge.comparisons,
            "programs were not compared with their known content: too many had to be hashed at once",
        );
        one(
            Incident::ForgottenPrograms,
            &mut told.judge.programs,
            now.judge.programs,
            "programs were forgotten because too many are known; seen again, they are announced again",
        );
        one(
            Incident::Forgotten,
            &mut told.files.evicted,
            now.files.evicted,
            "processes or contents were forgotten for lack of room: some hashes may be unknown",
        );
        one(
            Incident::ForgottenNames,
            &mut told.forgotten,
            now.forgotten,
            "processes or names were forgotten for lack of room: some paths or domains may be missing",
        );
        one(
            Incident::LostLookups,
            &mut told.unanswered,
            now.unanswered,
            "look-ups were not answered in time by a file system: some paths may be marked as foreign, or have \
             no script or command line",
        );
        one(
            Incident::Undecoded,
            &mut told.strange,
            now.strange,
            "messages of the kernel side could not be decoded: this is a bug",
        );
        one(
            Incident::LostSignals,
            &mut told.unsignalled,
            now.unsignalled,
            "notices were not signalled, the bus was too slow or away; the list of events has them",
        );
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that grows in all places at once.
    fn all(number: u64) -> Totals {
        Totals {
            kernel: Lost {
                flows: number,
                sent: number,
                received: number,
                process_events: number,
                name_events: number,
                missed: number,
                hints: number,
            },
            files: fingerprint::Counts {
                execs_lost: number,
                changes_lost: number,
                refused: number,
                evicted: number,
            },
            judge: judge::Dropped { comparisons: number, programs: number },
            forgotten: number,
            unhashed: number,
            strange: number,
            unanswered: number,
            unsignalled: number,
            rows: number,
            row_bytes: number,
            remote: number,
            verdicts: number,
        }
    }

    #[test]
    fn every_counter_is_told_once_with_its_number() {
        let mut losses = Losses::default();
        assert!(losses.due(&all(0), |_| true).is_empty());
        let told = losses.due(&all(7), |_| true);
        assert_eq!(told.len(), 18);
        assert!(told.iter().all(|(_, sentence)| sentence.starts_with("7 ")), "{told:?}");
        assert!(losses.due(&all(7), |_| true).is_empty());
        // Hints are no loss: the slots are looked through.
        let hints = Totals { kernel: Lost { hints: 99, ..all(7).kernel }, ..all(7) };
        assert!(losses.due(&hints, |_| true).is_empty());
    }

    #[test]
    fn what_is_held_back_is_in_the_next_sentence() {
        let mut losses = Losses::default();
        assert_eq!(losses.due(&all(1), |_| true).len(), 18);
        assert!(losses.due(&all(4), |_| false).is_empty());
        let told = losses.due(&all(10), |kind| kind == Incident::LostRows);
        assert_eq!(told.len(), 1);
        assert!(told[0].1.starts_with("9 rows with 9 bytes"), "{told:?}");
        assert!(losses.due(&all(10), |_| true).iter().all(|(_, sentence)| sentence.starts_with("9 ")));
    }
}
