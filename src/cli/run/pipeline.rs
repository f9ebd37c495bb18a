//! The road of a line: read, recognised as answered or submitted, awaited, written. At most `window` lines and 64 MiB of them are on it.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::super::exit::{CliError, Exit};
use super::super::local::without_batch;
use super::super::progress::Progress;
use super::feed::{Feed, TaskLine};
use super::journal::Key;
use super::names::{Names, mentions};
use super::sink::{Ended, Sink};
use super::summary::Summary;
use crate::manager::resolve_names;
use crate::task::{self, SubmissionSpec, TaskError, TaskExecutor as _, TaskId, TaskType};
use crate::worker::WorkerManager;

/// Bytes of lines in flight; one larger line still passes alone.
const FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Lines read ahead of the window: enough that reading and submitting overlap.
const READ_AHEAD: usize = 4;

/// Everything between the task file and the answers.
pub(crate) struct Pipeline<'a> {
    manager: Arc<WorkerManager>,
    sink: Sink<'a>,
    names: Names,
    summary: Summary,
    progress: Option<Progress>,
    window: usize,
    flight_bytes: usize,
    in_flight: FuturesOrdered<BoxFuture<'static, Ended>>,
}

impl<'a> Pipeline<'a> {
    /// A pipeline with nothing in it. `total_bytes` is the size of the task file, for the progress bar.
    pub(crate) fn new(manager: Arc<WorkerManager>, sink: Sink<'a>, total_bytes: Option<u64>, window: usize, quiet: bool) -> Self {
        // Answers on the terminal are progress enough.
        let progress = (!sink.to_terminal()).then(|| Progress::new("bytes of tasks", total_bytes, quiet));
        Self {
            manager,
            sink,
            names: Names::default(),
            summary: Summary::new(),
            progress,
            window: window.max(1),
            flight_bytes: 0,
            in_flight: FuturesOrdered::new(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Executes the whole file. Errors: the file or the output fails; failed lines are no error.
    pub(crate) async fn run(&mut self, feed: Feed) -> Result<(), CliError> {
        let mut lines = read_ahead(feed)?;
        let mut more = true;
        while more || !self.in_flight.is_empty() {
            let room = self.in_flight.is_empty() || (self.in_flight.len() < self.window && self.flight_bytes < FLIGHT_BYTES_MAX);
            tokio::select! {
                biased;
                Some(ended) = self.in_flight.next() => self.write(ended)?,
                line = lines.recv(), if more && room => match line {
                    Some(line) => self.take(line?).await?,
                    None => more = false,
                },
            }
        }
        Ok(())
    }

    /// Writes what is buffered.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        self.sink.finish()
    }

    fn write(&mut self, ended: Ended) -> Result<(), CliError> {
        self.flight_bytes = self.flight_bytes.saturating_sub(ended.bytes);
        if let Some(progress) = &mut self.progress {
            progress.add(ended.bytes as u64 + 1);
        }
        self.summary.count(&ended);
        self.sink.write(ended)
    }

    /// Takes one line: skips it when its answer is there, else submits it.
    async fn take(&mut self, line: TaskLine) -> Result<(), CliError> {
        let TaskLine { number, text, spec } = line;
        let bytes = text.len();
        let spec = match spec {
            Ok(spec) => spec,
            Err(reason) => return self.refuse(number, &text, None, TaskError::invalid(format!("line {number}"), reason)),
        };
        let mentioned = mentions(&spec);
        let own_name = spec.name.clone();
        let checked = own_name.as_deref().map_or(Ok(()), |name| self.names.check_free(name)).and_then(|()| self.names.keys(&mentioned));
        let sources = match checked {
            Ok(sources) => sources,
            Err(reason) => return self.refuse(number, &text, Some(spec), TaskError::invalid(format!("line {number}"), reason)),
        };
        let key = Key::of(&text, &sources);
        if self.sink.take_answered(key) {
            self.summary.skip();
            if let Some(progress) = &mut self.progress {
                progress.add(bytes as u64 + 1);
            }
            return match own_name {
                Some(name) => self.names.skipped(&name, number, key, text).map_err(|reason| CliError::new(Exit::DoesNotFit, reason)),
                None => Ok(()),
            };
        }
        for revived in self.names.to_revive(&mentioned) {
            let parsed = super::feed::parse(&revived.text).map_err(|reason| CliError::usage(format!("line {}: {reason}", revived.line)))?;
            let sources =
                self.names.keys(&mentions(&parsed)).map_err(|reason| CliError::usage(format!("line {}: {reason}", revived.line)))?;
            let task_type = parsed.task_type.clone();
            let again = self.submit(parsed).await.map_err(|error| {
                let told = self.unserved(&error, &task_type).map(CliError::usage);
                told.unwrap_or_else(|| error.into()).at(format!("line {}", revived.line))
            })?;
            self.names.submitted(&revived.name, revived.line, Key::of(&revived.text, &sources), again);
        }
        let label = label_of(&spec);
        match self.submit(spec.clone()).await {
            Ok(id) => {
                if let Some(name) = &own_name {
                    self.names.submitted(name, number, key, id);
                }
                self.flight_bytes += bytes;
                self.in_flight.push_back(Box::pin(await_end(self.manager.clone(), id, Ended::open(number, own_name, key, label, bytes))));
                Ok(())
            }
            Err(error) => self.refuse(number, &text, Some(spec), error),
        }
    }

    /// Submits one task; when the worker is full, waits as long as it says and tries again.
    async fn submit(&self, mut spec: SubmissionSpec) -> Result<TaskId, TaskError> {
        self.names.substitute(&mut spec);
        let submissions = resolve_names(vec![spec], "").map_err(without_batch)?;
        let Some(submission) = submissions.into_iter().next() else { return Err(TaskError::internal("the submission was lost", "")) };
        loop {
            match self.manager.submit(submission.clone()).await {
                Err(TaskError::Overloaded { retry_after, .. }) => tokio::time::sleep(retry_after).await,
                outcome => return outcome,
            }
        }
    }

    /// What to tell of a type that nothing here serves.
    fn unserved(&self, error: &TaskError, task_type: &TaskType) -> Option<String> {
        let served = &self.manager.executor().capabilities().supported_types;
        matches!(error, TaskError::UnsupportedTaskType).then(|| task::unserved(task_type, served))
    }

    /// A line that never becomes a task still gets its answer, in its place.
    fn refuse(&mut self, number: u64, text: &str, spec: Option<SubmissionSpec>, error: TaskError) -> Result<(), CliError> {
        let key = Key::of(text, &Default::default());
        let name = spec.as_ref().and_then(|spec| spec.name.clone());
        if let Some(name) = &name {
            self.names.refused(name, number, key);
        }
        let label = spec.as_ref().map_or_else(|| "not a task".into(), label_of);
        let mut ended = Ended::open(number, name, key, label, text.len());
        ended.message = spec.and_then(|spec| self.unserved(&error, &spec.task_type));
        ended.outcome = Err(error);
        self.flight_bytes += ended.bytes;
        self.in_flight.push_back(Box::pin(std::future::ready(ended)));
        Ok(())
    }
}

/// `text_processing chunk`: the row of the summary a task belongs to.
fn label_of(spec: &SubmissionSpec) -> String {
    let operation = spec.data.get("operation").and_then(serde_json::Value::as_str).unwrap_or("-");
    format!("{} {}", spec.task_type.name(), super::super::output::clip(operation, 40))
}

async fn await_end(manager: Arc<WorkerManager>, id: TaskId, mut ended: Ended) -> Ended {
    ended.outcome = manager.wait(&id).await.and_then(|result| Ok((result, manager.parts(&id)?)));
    ended
}

/// Reads lines on a thread of its own, so that a slow producer on standard input holds up no answers.
fn read_ahead(mut feed: Feed) -> Result<mpsc::Receiver<Result<TaskLine, CliError>>, CliError> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let reader = move || {
        loop {
            let line = feed.next().transpose();
            let Some(line) = line else { return };
            let failed = line.is_err();
            // The receiver is gone when the run has ended early; nobody wants the rest.
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    };
    // The thread ends with its file or with the process; it holds nothing that must be put in order.
    std::thread::Builder::new()
        .name("tallow-read".into())
        .spawn(reader)
        .map_err(|error| CliError::new(Exit::Runtime, format!("could not start a thread: {error}")))?;
    Ok(receiver)
}
