//! Over every command: a flag or an argument wins over the variable of anything that it conflicts with.

use std::ffi::{OsStr, OsString};

use clap::builder::ValueRange;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::{COMPANIONS, are_in_conflict, left_out, look, without_variables};
use crate::cli::args::Cli;

/// Every command with the names that lead to it.
fn commands() -> Vec<(Vec<String>, Command)> {
    fn walk(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
        found.push((path.to_vec(), command.clone()));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(inner, &[path, &[inner.get_name().to_owned()]].concat(), found);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    walk(&command, &[], &mut found);
    found.into_iter().filter(|(_, command)| !command.has_subcommands()).collect()
}

/// A value that the argument takes, as it stands on a command line.
fn words(arg: &Arg) -> Vec<String> {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && arg.get_num_args() != Some(ValueRange::EMPTY);
    let listed = arg.get_possible_values().first().map(|value| value.get_name().to_owned());
    let typed = ["1", "x", "127.0.0.1:1", "1s", "1MiB", "cpu", "http://h", "info"].into_iter().find(|text| {
        let alone = Arg::new("value").action(ArgAction::Set).value_parser(arg.get_value_parser().clone());
        Command::new("lone").arg(alone).try_get_matches_from(["lone", *text]).is_ok()
    });
    let value = listed.or_else(|| typed.map(str::to_owned)).unwrap_or_default();
    match (arg.get_long(), takes_value) {
        (None, _) => vec![value],
        (Some(long), true) => vec![format!("--{long}={value}")],
        (Some(long), false) => vec![format!("--{long}")],
    }
}

/// A command line with `given`, and with what is required and conflicts with neither that nor `unsaid`, which stays away.
fn line((path, command): (&[String], &Command), given: &[&Arg], unsaid: Option<&Arg>) -> Vec<OsString> {
    let is_one_of = |arg: &Arg, of: &[&Arg]| of.iter().any(|one| one.get_id() == arg.get_id());
    let spoken: Vec<&Arg> = given.iter().copied().chain(unsaid).collect();
    let fits = |arg: &Arg| !is_one_of(arg, &spoken) && !spoken.iter().any(|one| are_in_conflict(command, one, arg));
    // Behind a positional that may not be there, a later one would be taken for it.
    let in_order: Vec<&Arg> = command.get_positionals().take_while(|arg| is_one_of(arg, given) || fits(arg)).collect();
    let needed = |arg: &&Arg| is_one_of(arg, given) || (fits(arg) && arg.is_required_set()) || is_one_of(arg, &in_order);
    // Flags first: a positional that takes many would swallow nothing after them.
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) = command.get_arguments().filter(needed).partition(|arg| arg.is_positional());
    let own = flags.into_iter().chain(positional).flat_map(words);
    ["tallow".to_owned()].into_iter().chain(path.iter().cloned()).chain(own).map(OsString::from).collect()
}

/// What `left_out` says of the deepest command of a line when only `variable` is set.
fn left(args: &[OsString], (path, command): (&[String], &Command), variable: &OsStr) -> Vec<String> {
    let explicit = look(&Cli::command(), args).expect("a command line that is understood");
    let deepest =
        path.iter().try_fold(&explicit, |matches, name| matches.subcommand().filter(|(found, _)| found == name).map(|(_, inner)| inner));
    let look_up = |name: &OsStr| (name == variable).then(|| OsString::from("1"));
    left_out(command, deepest.expect("the command"), &look_up).into_iter().collect()
}

#[test]
fn what_is_given_wins_over_the_variable_of_what_it_conflicts_with() {
    let mut checked = Vec::new();
    for (path, command) in &commands() {
        for variable in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            for given in command.get_arguments().filter(|given| are_in_conflict(command, variable, given)) {
                let args = line((path, command), &[given], None);
                let parsed = without_variables(Cli::command()).try_get_matches_from(&args);
                assert!(parsed.is_ok(), "{args:?}: {}", parsed.expect_err("refused"));
                let name = variable.get_env().expect("a variable");
                let left = left(&args, (path, command), name);
                assert_eq!(left, [variable.get_id().to_string()], "{args:?} with {name:?} set");
                checked.push(name.to_string_lossy().into_owned());
            }
        }
    }
    for known in
        ["TALLOW_EMBED_FILE", "TALLOW_TASK_FILE", "TALLOW_TEXT_FILE", "TALLOW_TEXT_LIST", "TALLOW_TEXTS_FILE", "TALLOW_VECTOR_LIST"]
    {
        assert!(checked.iter().any(|name| name == known), "{known} conflicts with nothing: {checked:?}");
    }
}

#[test]
fn a_variable_counts_where_nothing_speaks_against_it_and_not_when_it_is_empty() {
    for (path, command) in &commands() {
        for variable in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            let is_companion = |arg: &&Arg| COMPANIONS.contains(&(variable.get_id().as_str(), arg.get_id().as_str()));
            let companions: Vec<&Arg> = command.get_arguments().filter(is_companion).collect();
            let args = line((path, command), &companions, Some(variable));
            let name = variable.get_env().expect("a variable");
            assert!(left(&args, (path, command), name).is_empty(), "{args:?} with {name:?} set");
            let explicit = look(&Cli::command(), &args).expect("understood");
            let deepest = path.iter().try_fold(&explicit, |matches, _| matches.subcommand().map(|(_, inner)| inner)).expect("the command");
            let empty = |asked: &OsStr| (asked == name).then(OsString::new);
            assert_eq!(left_out(command, deepest, &empty).into_iter().collect::<Vec<_>>(), [variable.get_id().to_string()]);
        }
    }
}

#[test]
fn every_flag_that_needs_another_is_listed_with_it() {
    for (path, command) in &commands() {
        for flag in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            let args = line((path, command), &[flag], None);
            let Err(error) = without_variables(Cli::command()).try_get_matches_from(&args) else { continue };
            if error.kind() == ErrorKind::MissingRequiredArgument {
                let listed = COMPANIONS.iter().any(|(id, _)| flag.get_id() == id);
                assert!(listed, "{args:?}: {error}");
            }
        }
    }
}
