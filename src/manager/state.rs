//! The life of a task: which command is legal in which phase, and what has to be done for it. Pure.
//!
//! Two rules carry everything: a terminal phase never changes, and an outcome counts only for the attempt that is running (a late outcome of
//! an earlier attempt, or of a run that was cancelled, is refused).

use crate::task::TaskStatus;

/// Where a task stands, in the manager's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Waits for tasks it depends on.
    Blocked,
    /// Its references are being replaced by values.
    Resolving,
    /// Waits for its turn and for resources.
    Queued,
    /// An executor works on it.
    Running,
    /// Its outcome is being written to the journal; nothing can stop it any more.
    Committing,
    /// Waits for its next attempt.
    Backoff,
    /// Ended with a result.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by someone's wish.
    Cancelled,
}

impl Phase {
    /// True when nothing can change any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The public name of the phase; the text of a failure is kept elsewhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked | Self::Resolving | Self::Queued | Self::Backoff => "pending",
            Self::Running | Self::Committing => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The public status, with `failure` as the text of a failure.
    #[must_use]
    pub fn status(self, failure: impl FnOnce() -> String) -> TaskStatus {
        match self {
            Self::Blocked | Self::Resolving | Self::Queued | Self::Backoff => TaskStatus::Pending,
            Self::Running | Self::Committing => TaskStatus::Running,
            Self::Completed => TaskStatus::Completed,
            Self::Failed => TaskStatus::Failed(failure()),
            Self::Cancelled => TaskStatus::Cancelled,
        }
    }
}

/// How something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// By someone's wish.
    Cancelled,
}

impl End {
    fn phase(self) -> Phase {
        match self {
            Self::Completed => Phase::Completed,
            Self::Failed => Phase::Failed,
            Self::Cancelled => Phase::Cancelled,
        }
    }
}

/// What is wanted of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The last task it depends on has completed; `resolve` says whether references have to be replaced.
    Unblock {
        /// True when the payload refers to other tasks' results.
        resolve: bool,
    },
    /// Its references have been replaced.
    Resolved,
    /// Its turn has come and its claim is held.
    Start,
    /// The run of that attempt wants to end; its outcome is about to be written.
    Commit {
        /// The attempt.
        attempt: u32,
    },
    /// The outcome of the committed attempt is written.
    Finish {
        /// How.
        end: End,
    },
    /// The run of that attempt ended with an error that is worth another attempt.
    Retry {
        /// The attempt.
        attempt: u32,
    },
    /// The back-off is over.
    RetryDue,
    /// It ends now, whatever it does: a cancel, a deadline, a failed dependency.
    Stop {
        /// How.
        end: End,
    },
}

/// What a legal command makes necessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Put it into the queue.
    pub enqueue: bool,
    /// Take it out of the queue.
    pub dequeue: bool,
    /// Replace its references.
    pub resolve: bool,
    /// Begin a run.
    pub run: bool,
    /// Cancel the run that is under way.
    pub stop_run: bool,
    /// Arm the back-off timer.
    pub back_off: bool,
    /// Publish the end, wake waiters, settle dependents, start retention.
    pub ended: bool,
}

/// Why a command was refused; the task is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The task has ended, or its outcome is being written.
    Ended(Phase),
    /// The outcome belongs to an attempt that no longer counts.
    StaleAttempt,
    /// The command makes no sense in this phase.
    OutOfOrder(Phase),
}

/// Phase and attempt of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    phase: Phase,
    attempt: u32,
}

impl Life {
    /// A task that was just accepted; `blocked` when it depends on tasks that have not completed.
    #[must_use]
    pub fn accepted(blocked: bool, resolve: bool) -> Self {
        let phase = match (blocked, resolve) {
            (true, _) => Phase::Blocked,
            (false, true) => Phase::Resolving,
            (false, false) => Phase::Queued,
        };
        Self { phase, attempt: 0 }
    }

    /// The same life with attempts that were begun before a restart.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// A life that is over: a task replayed from a journal.
    #[must_use]
    pub fn ended(end: End, attempt: u32) -> Self {
        Self { phase: end.phase(), attempt }
    }

    /// Where the task stands.
    #[must_use]
    pub fn phase(self) -> Phase {
        self.phase
    }

    /// Runs begun so far.
    #[must_use]
    pub fn attempt(self) -> u32 {
        self.attempt
    }

    /// Makes the move, or refuses it and changes nothing.
    pub fn apply(&mut self, command: Command) -> Result<Effects, Refusal> {
        let from = self.phase;
        if from.is_terminal() {
            return Err(Refusal::Ended(from));
        }
        let mut effects = Effects::default();
        let to = match (from, command) {
            (Phase::Blocked, Command::Unblock { resolve: true }) => {
                effects.resolve = true;
                Phase::Resolving
            }
            (Phase::Blocked, Command::Unblock { resolve: false })
            | (Phase::Resolving, Command::Resolved)
            | (Phase::Backoff, Command::RetryDue) => {
                effects.enqueue = true;
                Phase::Queued
            }
            (Phase::Queued, Command::Start) => {
                effects.run = true;
                effects.dequeue = true;
                self.attempt += 1;
                Phase::Running
            }
            (Phase::Running, Command::Commit { attempt } | Command::Retry { attempt }) if attempt != self.attempt => {
                return Err(Refusal::StaleAttempt);
            }
            (Phase::Running, Command::Commit { .. }) => Phase::Committing,
            (Phase::Running, Command::Retry { .. }) => {
                effects.back_off = true;
                Phase::Backoff
            }
            (Phase::Committing, Command::Finish { end }) => {
                effects.ended = true;
                end.phase()
            }
            (Phase::Committing, Command::Stop { .. }) => return Err(Refusal::Ended(from)),
            (_, Command::Stop { end }) => {
                effects.ended = true;
                effects.dequeue = from == Phase::Queued;
                effects.stop_run = from == Phase::Running;
                end.phase()
            }
            (_, Command::Commit { .. } | Command::Retry { .. }) => return Err(Refusal::StaleAttempt),
            _ => return Err(Refusal::OutOfOrder(from)),
        };
        self.phase = to;
        Ok(effects)
    }
}
