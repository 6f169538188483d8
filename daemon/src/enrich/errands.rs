// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions that may wait for somebody for ever: a file server that is gone, a page of memory that such a
//! server has. They are asked on a thread of their own, and the pipeline waits for a moment only.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How long the pipeline waits for one answer, while it has not waited much lately.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long it waits in any case.
const LEAST: Duration = Duration::from_millis(5);
/// What it may wait beyond that, at once; used, it comes back within so many times that time. A server that is
/// slow and not dead must not hold up what others do.
const ALLOWANCE: Duration = Duration::from_millis(500);
const RETURNS: u32 = 20;
/// Threads that wait for ever at the most; then nothing is asked until one of them comes back.
const THREADS: usize = 8;

type Task = Box<dyn FnOnce() + Send>;

/// See the module.
pub(super) struct Errands {
    name: &'static str,
    idle: Option<SyncSender<Task>>,
    /// Each thread holds one.
    alive: Arc<()>,
    unanswered: u64,
    allowance: Duration,
    counted: Instant,
}

impl Errands {
    /// Starts nothing yet. `name`: of the threads.
    pub(super) fn new(name: &'static str) -> Self {
        Errands {
            name,
            idle: None,
            alive: Arc::new(()),
            unanswered: 0,
            allowance: ALLOWANCE,
            counted: Instant::now(),
        }
    }

    /// Does the work elsewhere; `None` if that took too long.
    pub(super) fn ask<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, wait) = sync_channel(1);
        let task: Task = Box::new(move || drop(answer.send(work())));
        let began = Instant::now();
        self.allowance = (self.allowance + began.duration_since(self.counted) / RETURNS).min(ALLOWANCE);
        self.counted = began;
        let patience = self.allowance.clamp(LEAST, PATIENCE);
        let outcome = self.thread().filter(|thread| thread.send(task).is_ok()).and_then(|thread| {
            let outcome = wait.recv_timeout(patience).ok()?;
            self.idle = Some(thread);
            Some(outcome)
        });
        self.allowance = self.allowance.saturating_sub(began.elapsed().saturating_sub(LEAST));
        // A thread that is late finds nobody to work for when it is done, and ends.
        self.unanswered += u64::from(outcome.is_none());
        outcome
    }

    /// A question that could not even be asked.
    pub(super) fn missed(&mut self) {
        self.unanswered += 1;
    }

    /// Questions without an answer. Only grows.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    fn thread(&mut self) -> Option<SyncSender<Task>> {
        if let Some(idle) = self.idle.take() {
            return Some(idle);
        }
        if Arc::strong_count(&self.alive) > THREADS {
            return None;
        }
        let alive = Arc::clone(&self.alive);
        let (send, receive) = sync_channel::<Task>(1);
        let body = move || {
            let _alive = alive;
            while let Ok(task) = receive.recv() {
                task();
            }
        };
        std::thread::Builder::new().name(self.name.into()).spawn(body).ok()?;
        Some(send)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    #[test]
    fn who_never_answers_costs_a_moment_each_and_no_more_than_the_threads() {
        let mut errands = Errands::new("test");
        assert_eq!(errands.ask(|| 7), Some(7));
        let (release, held) = channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let start = Instant::now();
        for _ in 0..100 {
            let held = Arc::clone(&held);
            let answer = errands.ask(move || held.lock().map(|held| held.recv().is_ok()).is_ok());
            assert_eq!(answer, None);
        }
        // Half a second of it, and then hardly anything; the rest is what a busy machine adds.
        assert!(start.elapsed() < PATIENCE * THREADS as u32, "{:?}", start.elapsed());
        assert_eq!(errands.unanswered(), 100);
        drop(release);
        // The threads come back, one after another.
        let end = Instant::now() + Duration::from_secs(10);
        while errands.ask(|| ()).is_none() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        assert_eq!(errands.ask(|| 8), Some(8));
    }
}
