//! Small numbers for what many tasks have in common: submitters, task types, demand classes. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::admission::Load;
use super::histogram::Histogram;
use super::queue::{ClassFacts, Queue, Short};
use crate::resource::Shortage;
use crate::task::{DeviceClass, ModelDemand, ResourceDemand, TaskType};

/// Types with statistics of their own; further ones share the last entry.
const TYPE_COUNT_MAX: usize = 1024;
/// Demand classes; further demands share the last one.
const CLASS_COUNT_MAX: usize = 4096;

/// One submitter with tasks in the table.
pub(super) struct Submitter {
    pub name: Arc<str>,
    /// Its open tasks.
    pub open: Load,
    /// Its runs, including those that are ending.
    pub running: usize,
    /// Entries and runs that name it; at 0 its number is used again.
    known: usize,
}

/// Submitters by name and number.
#[derive(Default)]
pub(super) struct Submitters {
    by_name: HashMap<Arc<str>, u32>,
    all: Vec<Submitter>,
    free: Vec<u32>,
    /// The one that submitted last: most submissions come in runs, and need no look-up.
    last: Option<u32>,
}

impl Submitters {
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        match self.last {
            Some(idx) if *self.all[idx as usize].name == *name => Some(idx),
            _ => self.by_name.get(name).copied(),
        }
    }

    /// The number of a submitter, with one more use counted.
    pub(super) fn enter(&mut self, name: &str) -> u32 {
        if let Some(idx) = self.find(name) {
            self.all[idx as usize].known += 1;
            self.last = Some(idx);
            return idx;
        }
        let name: Arc<str> = name.into();
        let submitter = Submitter { name: name.clone(), open: Load::default(), running: 0, known: 1 };
        let idx = match self.free.pop() {
            Some(idx) => {
                self.all[idx as usize] = submitter;
                idx
            }
            None => {
                self.all.push(submitter);
                (self.all.len() - 1) as u32
            }
        };
        self.by_name.insert(name, idx);
        idx
    }

    /// Counts one more use of a known submitter.
    pub(super) fn use_again(&mut self, idx: u32) {
        self.all[idx as usize].known += 1;
    }

    /// Counts one use less and forgets a submitter that has none. Returns true when it was forgotten.
    pub(super) fn leave(&mut self, idx: u32) -> bool {
        let submitter = &mut self.all[idx as usize];
        submitter.known = submitter.known.saturating_sub(1);
        if submitter.known > 0 {
            return false;
        }
        self.by_name.remove(&submitter.name);
        self.free.push(idx);
        if self.last == Some(idx) {
            self.last = None;
        }
        true
    }

    pub(super) fn get(&self, idx: u32) -> &Submitter {
        &self.all[idx as usize]
    }

    pub(super) fn get_mut(&mut self, idx: u32) -> &mut Submitter {
        &mut self.all[idx as usize]
    }
}

/// One task type with its counts.
pub(super) struct TypeCount {
    pub task_type: Arc<TaskType>,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub queue_seconds: Histogram,
    pub compute_seconds: Histogram,
}

/// Task types by number.
#[derive(Default)]
pub(super) struct Types {
    by_type: HashMap<TaskType, u16>,
    pub all: Vec<TypeCount>,
    last: Option<(TaskType, u16)>,
}

impl Types {
    pub(super) fn enter(&mut self, task_type: &TaskType) -> u16 {
        if let Some((last, idx)) = &self.last
            && last == task_type
        {
            return *idx;
        }
        let idx = match self.by_type.get(task_type) {
            Some(&idx) => idx,
            None if self.all.len() >= TYPE_COUNT_MAX => return (self.all.len() - 1) as u16,
            None => {
                self.all.push(TypeCount {
                    task_type: Arc::new(task_type.clone()),
                    completed: 0,
                    failed: 0,
                    cancelled: 0,
                    queue_seconds: Histogram::default(),
                    compute_seconds: Histogram::default(),
                });
                let idx = (self.all.len() - 1) as u16;
                self.by_type.insert(task_type.clone(), idx);
                idx
            }
        };
        self.last = Some((task_type.clone(), idx));
        idx
    }
}

/// Demands that differ in their own bytes alone: same threads, device and model, same share under the same bound.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClassKey {
    threads: u32,
    device: DeviceClass,
    share: Option<(Arc<str>, u64)>,
    /// What a task lacks depends on whether its model's bytes are booked already, so tasks of different models are not alike.
    model: Option<ModelDemand>,
}

/// Demand classes by number.
#[derive(Default)]
pub(super) struct Classes {
    by_key: HashMap<ClassKey, u16>,
    facts: Vec<ClassFacts>,
    shares: HashMap<Arc<str>, u32>,
    devices: HashMap<DeviceClass, u32>,
    last: Option<(ClassKey, u16)>,
}

impl Classes {
    /// Which account a task of this class is short of, in the queue's numbers, and how many bytes of it are free for what tasks of the class ask for
    /// themselves: what is missing of their model comes first.
    pub(super) fn short(&self, class: u16, demand: &ResourceDemand, shortage: &Shortage) -> Short {
        let ClassFacts { share, device, .. } = self.facts.get(usize::from(class)).copied().unwrap_or_default();
        let is_share = demand.share.as_ref().is_some_and(|share| shortage.resource.contains(&*share.account));
        let ResourceDemand { host_bytes, device_bytes, .. } = *demand;
        let free_beside_model = |own: u64| shortage.free.saturating_sub(shortage.needed.saturating_sub(own));
        match (shortage.resource.as_str(), share, device) {
            ("compute threads", ..) => Short::Threads,
            ("host memory", ..) => Short::Host(free_beside_model(host_bytes)),
            (_, Some(share), _) if is_share => Short::Share(share, free_beside_model(host_bytes.saturating_add(device_bytes))),
            (_, _, Some(device)) => Short::Device(device, free_beside_model(device_bytes)),
            _ => Short::Host(free_beside_model(host_bytes)),
        }
    }

    pub(super) fn enter(&mut self, demand: &ResourceDemand, queue: &mut Queue) -> u16 {
        let share = demand.share.as_ref().map(|share| (&*share.account, share.limit_bytes));
        let same = |key: &ClassKey| {
            key.threads == demand.threads
                && key.device == demand.device
                && key.share.as_ref().map(|(account, limit_bytes)| (&**account, *limit_bytes)) == share
                && key.model == demand.model
        };
        if let Some((last, class)) = &self.last
            && same(last)
        {
            return *class;
        }
        let key = ClassKey {
            threads: demand.threads,
            device: demand.device,
            share: demand.share.as_ref().map(|share| (share.account.clone(), share.limit_bytes)),
            model: demand.model.clone(),
        };
        let class = match self.by_key.get(&key) {
            Some(&class) => class,
            None if self.facts.len() >= CLASS_COUNT_MAX => (self.facts.len() - 1) as u16,
            None => {
                let facts = self.facts_of(&key);
                self.facts.push(facts);
                let class = queue.add_class(facts);
                self.by_key.insert(key.clone(), class);
                class
            }
        };
        self.last = Some((key, class));
        class
    }

    fn facts_of(&mut self, key: &ClassKey) -> ClassFacts {
        let shares = &mut self.shares;
        let share = key.share.clone().map(|(account, _)| {
            let next = shares.len() as u32;
            *shares.entry(account).or_insert(next)
        });
        let devices = &mut self.devices;
        let device = (key.device != DeviceClass::Host).then(|| {
            let next = devices.len() as u32;
            *devices.entry(key.device).or_insert(next)
        });
        ClassFacts { threads: key.threads > 0, share, device }
    }
}
