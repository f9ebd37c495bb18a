//! Which tasks wait for which. Pure: ids in, order or verdict out.

use std::collections::HashMap;

use crate::task::{TaskError, TaskId};

/// Tasks one task may depend on, references included.
pub const DEPENDENCY_COUNT_MAX: usize = 1024;

/// Adds the tasks that references name to those that are named outright, without duplicates, in order of first mention.
///
/// Errors: `InvalidPayload` at `depends_on` for a task that depends on itself, or more than [`DEPENDENCY_COUNT_MAX`].
pub fn merge(task_id: TaskId, named: Vec<TaskId>, referenced: impl Iterator<Item = TaskId>) -> Result<Vec<TaskId>, TaskError> {
    let mut merged = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for id in named.into_iter().chain(referenced) {
        if id == task_id {
            return Err(TaskError::invalid("depends_on", format!("task {task_id} depends on itself")));
        }
        if seen.insert(id) {
            merged.push(id);
        }
    }
    if merged.len() > DEPENDENCY_COUNT_MAX {
        return Err(TaskError::invalid("depends_on", format!("{} tasks, at most {DEPENDENCY_COUNT_MAX} are allowed", merged.len())));
    }
    Ok(merged)
}

/// Errors with `InvalidPayload` when the tasks of one submission wait for each other in a circle. Edges to tasks outside are ignored: those exist
/// already and can not wait for newer ones.
pub fn check_acyclic(tasks: &[(TaskId, &[TaskId])]) -> Result<(), TaskError> {
    let index: HashMap<TaskId, usize> = tasks.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut open_count = vec![0usize; tasks.len()];
    for (at, (_, depends_on)) in tasks.iter().enumerate() {
        for dependency in depends_on.iter().filter_map(|id| index.get(id)) {
            dependents[*dependency].push(at);
            open_count[at] += 1;
        }
    }
    let mut free: Vec<usize> = (0..tasks.len()).filter(|&at| open_count[at] == 0).collect();
    let mut settled = 0;
    while let Some(at) = free.pop() {
        settled += 1;
        for &dependent in &dependents[at] {
            open_count[dependent] -= 1;
            if open_count[dependent] == 0 {
                free.push(dependent);
            }
        }
    }
    if settled == tasks.len() {
        return Ok(());
    }
    let stuck = open_count.iter().position(|&count| count > 0).unwrap_or(0);
    Err(TaskError::invalid(format!("tasks[{stuck}].depends_on"), "the tasks wait for each other in a circle"))
}
