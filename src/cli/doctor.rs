//! `tallow doctor`: what this machine has, what the worker would pick, and why.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tallow_kernels::Isa;
use tallow_kernels::device::{BackendDevices, DeviceSurvey};
use tallow_models::precision::{PrecisionChoice, auto_rule};

use super::args::VERSION;
use super::exit::{CliError, Exit};
use super::session::{Session, env};
use crate::config::{WorkerLayer, default_config_path};
use crate::resource::{DeviceChoice, format_bytes};
use crate::security::TokenStore;
use crate::worker::{WorkerPlan, processor_features};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// One fact: where it belongs, what it is called, what it is.
struct Fact {
    group: &'static str,
    name: &'static str,
    value: Value,
    text: String,
}

/// Tells everything. Exit as the worker itself would: 4 for a device that is asked for and absent, 2 for a limit that cannot be kept.
pub(crate) fn run(args: &DoctorArgs, session: &mut Session) -> Result<Exit, CliError> {
    let settings = session.worker(&args.worker);
    let plan = WorkerPlan::make(&settings)?;
    let survey = DeviceSurvey::take();
    let choice: DeviceChoice = settings.device.parse::<DeviceChoice>()?;
    let chosen = choice.choose(&survey);
    let mut facts = host_facts(&plan);
    facts.extend(device_facts(&survey));
    let picked = chosen.as_ref().map_or_else(ToString::to_string, |device| device.reason.clone());
    facts.push(fact("picked", "device", json!(picked), picked.clone()));
    facts.push(fact(
        "picked",
        "memory limit",
        json!(plan.memory()),
        format!("{}: {}", format_bytes(plan.memory().bytes), plan.memory().reason),
    ));
    facts.extend(arithmetic_facts(&settings));
    let split = plan.memory_split();
    let (tasks, held) = (format_bytes(split.tasks_bytes), format_bytes(split.held_bytes()));
    let text = format!("{tasks} for tasks and models, {held} for payloads, results, events and bodies");
    facts.push(fact("picked", "memory split", json!(split), text));
    for reason in &plan.threads().reasons {
        facts.push(fact("picked", "threads", json!(reason), reason.clone()));
    }
    facts.extend(model_facts(&settings));
    facts.extend(file_facts(session, &settings));
    tell(&facts, session)?;
    for warning in &plan.probe().warnings {
        session.note(&format!("note: {warning}"));
    }
    chosen?;
    Ok(Exit::Ok)
}

fn fact(group: &'static str, name: &'static str, value: Value, text: impl Into<String>) -> Fact {
    Fact { group, name, value, text: text.into() }
}

fn host_facts(plan: &WorkerPlan) -> Vec<Fact> {
    let (cpus, memory) = (&plan.probe().cpus, &plan.probe().memory);
    let quota = cpus.quota.map_or_else(|| "no cgroup quota".into(), |quota| format!("cgroup quota {quota:.2}"));
    let isa = processor_features();
    vec![
        fact("host", "version", json!(VERSION.as_str()), VERSION.as_str()),
        fact(
            "host",
            "system",
            json!([std::env::consts::OS, std::env::consts::ARCH]),
            format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        ),
        fact("host", "instructions", json!(isa), isa.join(" ")),
        fact(
            "host",
            "processors",
            json!(cpus),
            format!("{} usable of {} ({} cores, {} allowed, {quota})", cpus.usable, cpus.online, cpus.cores, cpus.allowed),
        ),
        fact(
            "host",
            "memory",
            json!(memory),
            format!(
                "{} free of the {} that {}; {} in the machine",
                format_bytes(memory.available_bytes),
                format_bytes(memory.usable_bytes),
                memory.limited_by,
                format_bytes(memory.total_bytes)
            ),
        ),
    ]
}

/// Instructions in use, and the precision of encoders.
fn arithmetic_facts(settings: &crate::config::WorkerSettings) -> Vec<Fact> {
    let isa = Isa::active();
    let why = if settings.isa.is_some() { "asked for".to_owned() } else { format!("the best of {}", processor_features().join(", ")) };
    let amx = if matches!(isa, Isa::Amx(_)) { "with matrix tiles" } else { "without matrix tiles" };
    let choice = settings.precision;
    let rule = match choice {
        PrecisionChoice::Auto => auto_rule(isa),
        PrecisionChoice::Fixed(_) => "asked for; every encoder on the host computes so".to_owned(),
    };
    vec![
        fact("picked", "instructions", json!({ "isa": isa.name(), "reason": why }), format!("{isa} ({amx}): {why}")),
        fact("picked", "precision", json!({ "choice": choice.to_string(), "reason": rule }), format!("{choice}: {rule}")),
    ]
}

fn device_facts(survey: &DeviceSurvey) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (name, found) in [("cuda", &survey.cuda), ("metal", &survey.metal)] {
        match found {
            BackendDevices::NotBuilt => {
                let text = format!("not in this build; cargo install with --features {name}");
                facts.push(fact("devices", name, Value::Null, text));
            }
            BackendDevices::NoneFound(words) => facts.push(fact("devices", name, json!([]), format!("nothing answered: {words}"))),
            BackendDevices::Found(devices) => {
                for device in devices {
                    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".into(), format_bytes);
                    let text =
                        format!("{}: {}, {} free of {}", device.index, device.name, size(device.free_bytes), size(device.total_bytes));
                    let value = json!({ "index": device.index, "name": device.name, "free_bytes": device.free_bytes, "total_bytes": device.total_bytes });
                    facts.push(fact("devices", name, value, text));
                }
            }
        }
    }
    facts
}

fn model_facts(settings: &crate::config::WorkerSettings) -> Vec<Fact> {
    let source = crate::worker::model_source(settings);
    let cache = source.cache_dir.as_ref().map_or_else(|| "no home directory, no cache".into(), |path| existing(path));
    let model = settings.model.clone().unwrap_or_else(|| "the built-in one".into());
    vec![
        fact("models", "default", json!(settings.model), model),
        fact(
            "models",
            "directory",
            json!(settings.models_dir),
            settings.models_dir.as_ref().map_or_else(|| "none".into(), |path| existing(path)),
        ),
        fact("models", "cache", json!(source.cache_dir), cache),
        fact(
            "models",
            "hub",
            json!(source.endpoint),
            if source.offline { "never asked (offline)".to_owned() } else { source.endpoint.clone() },
        ),
    ]
}

fn file_facts(session: &Session, settings: &crate::config::WorkerSettings) -> Vec<Fact> {
    let config = default_config_path(env).unwrap_or_else(|| PathBuf::from("none"));
    let token = TokenStore::new(&session.data_dir).path();
    vec![
        fact("files", "settings", json!(config), existing(&config)),
        fact("files", "data", json!(session.data_dir), existing(&session.data_dir)),
        fact("files", "token", json!(token), existing(&token)),
        fact(
            "files",
            "vectors",
            json!(settings.vectors_dir),
            settings.vectors_dir.as_ref().map_or_else(|| "none".into(), |path| existing(path)),
        ),
    ]
}

fn existing(path: &std::path::Path) -> String {
    let state = if path.exists() { "" } else { " (not there yet)" };
    format!("{}{state}", path.display())
}

fn tell(facts: &[Fact], session: &mut Session) -> Result<(), CliError> {
    if session.out.json() {
        let mut groups = serde_json::Map::new();
        for fact in facts {
            let group = groups.entry(fact.group).or_insert_with(|| json!({}));
            let name = fact.name.replace(' ', "_");
            match group.get_mut(&name) {
                Some(Value::Array(values)) if fact.name == "threads" || fact.group == "devices" => values.push(fact.value.clone()),
                _ if fact.name == "threads" || fact.group == "devices" && fact.value.is_object() => group[&name] = json!([fact.value]),
                _ => group[&name] = fact.value.clone(),
            }
        }
        return session.out.json_pretty(&groups);
    }
    let mut last = "";
    for fact in facts {
        let group = if fact.group == last { "" } else { fact.group };
        last = fact.group;
        let line = format!("{group:<8} {:<13} {}", fact.name, fact.text);
        session.out.line(line.trim_end())?;
    }
    Ok(())
}
