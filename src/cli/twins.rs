//! Flags and their twins in the environment: what stands on the command line wins, also over a variable that only conflicts with it.
//!
//! clap knows one source of a value from another but treats all of them alike when it looks for conflicts. So the command line is looked at
//! alone first; variables that contradict it, or that say nothing without a companion that is absent, are left out before it is parsed in earnest.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// Flags that say nothing without another one; without it a variable of theirs is left out, while the flag itself is refused.
const COMPANIONS: [(&str, &str); 4] = [("overwrite", "output"), ("part", "output"), ("lines", "file"), ("any_dimensions", "dimensions")];

/// Looks a variable of the environment up.
type Lookup<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;

/// Arguments of the chosen command whose value comes from a variable. Where one of them does not fit what is asked for, it is left out instead
/// of refused: whoever set it did not mean this command.
pub(super) fn from_variables(matches: &ArgMatches) -> BTreeSet<String> {
    let deepest = std::iter::successors(Some(matches), |matches| matches.subcommand().map(|(_, inner)| inner)).last().unwrap_or(matches);
    let ids = deepest.ids().map(|id| id.as_str());
    ids.filter(|id| deepest.value_source(id) == Some(ValueSource::EnvVariable)).map(ToOwned::to_owned).collect()
}

/// Parses a command line.
///
/// Errors: clap's own; one that a variable causes names the variable.
pub(super) fn parse(command: Command, args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let look_up = |name: &OsStr| std::env::var_os(name);
    let explicit = look(&command, args);
    let mut settled = command;
    let mut path: Vec<String> = Vec::new();
    let mut level = explicit.as_ref();
    while let Some(matches) = level {
        settled = at(settled, &path, &mut |inner| {
            let ids = left_out(&inner, matches, &look_up);
            ids.into_iter().fold(inner, |inner, id| inner.mut_arg(id, |arg| arg.env(Resettable::Reset)))
        });
        let inner = matches.subcommand();
        path.extend(inner.map(|(name, _)| name.to_owned()));
        level = inner.map(|(_, matches)| matches);
    }
    let parsed = settled.try_get_matches_from_mut(args);
    parsed.map_err(|error| with_variable(error, &settled, &path))
}

/// What stands on the command line alone. `None` when it asks for help or is beyond understanding: then it is parsed as it is.
fn look(command: &Command, args: &[OsString]) -> Option<ArgMatches> {
    without_variables(command.clone()).ignore_errors(true).try_get_matches_from(args).ok()
}

fn without_variables(command: Command) -> Command {
    command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_variables)
}

/// The command with `change` applied to the subcommand at `path`.
fn at(command: Command, path: &[String], change: &mut dyn FnMut(Command) -> Command) -> Command {
    match path.split_first() {
        None => change(command),
        Some((name, rest)) => command.mut_subcommands(|inner| if inner.get_name() == name { at(inner, rest, change) } else { inner }),
    }
}

/// Arguments of one command whose variable does not count: it is empty, contradicts what is given, or lacks its companion.
fn left_out(command: &Command, matches: &ArgMatches, look_up: Lookup<'_>) -> BTreeSet<String> {
    let given: BTreeSet<&str> = command.get_arguments().map(|arg| arg.get_id().as_str()).filter(|id| is_given(matches, id)).collect();
    let value = |arg: &Arg| arg.get_env().and_then(look_up);
    let has_value = |arg: &Arg| value(arg).is_some_and(|value| !value.is_empty());
    let lacks_companion = |arg: &Arg| {
        let needed = COMPANIONS.iter().find(|(id, _)| arg.get_id() == id).map(|(_, needed)| *needed);
        let companion = needed.and_then(|needed| command.get_arguments().find(|other| other.get_id() == needed));
        companion.is_some_and(|other| !given.contains(other.get_id().as_str()) && !has_value(other))
    };
    let contradicts = |arg: &Arg| {
        let mut others = command.get_arguments().filter(|other| given.contains(other.get_id().as_str()));
        others.any(|other| are_in_conflict(command, arg, other))
    };
    let counts = |arg: &Arg| has_value(arg) && !contradicts(arg) && !lacks_companion(arg);
    let set = command.get_arguments().filter(|arg| value(arg).is_some() && !given.contains(arg.get_id().as_str()));
    set.filter(|arg| !counts(arg)).map(|arg| arg.get_id().to_string()).collect()
}

fn are_in_conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    let names = |from: &Arg, to: &Arg| command.get_arg_conflicts_with(from).iter().any(|named| named.get_id() == to.get_id());
    one.get_id() != other.get_id() && (names(one, other) || names(other, one))
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Names the variable behind a value that is wrong: the message of clap speaks of the flag, which the user never wrote.
fn with_variable(mut error: clap::Error, command: &Command, path: &[String]) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (Some(flag), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) else { return error };
    let deepest = path.iter().try_fold(command, |command, name| command.find_subcommand(name));
    let found = deepest.and_then(|command| command.get_arguments().find(|known| known.to_string() == flag));
    let Some(variable) = found.and_then(Arg::get_env).filter(|name| says(name, &value)) else { return error };
    let named = format!("{} (the environment's {flag})", variable.to_string_lossy());
    error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    error
}

/// True when the variable holds the value, alone or in a list.
fn says(variable: &OsStr, value: &str) -> bool {
    let Some(held) = std::env::var_os(variable) else { return false };
    let held = held.to_string_lossy();
    held == value || held.split(',').any(|one| one == value)
}

#[cfg(test)]
mod tests;
