//! What of the command line needs no process.

use std::path::PathBuf;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use super::args::Cli;
use super::exit::{CliError, Exit, exit_of_code};
use super::input::{Lines, record_text};
use super::npy::{self, RowWriter};
use super::output::{align, clip};
use super::show::{ShowLimits, lines};
use crate::task::{Part, TaskError};

#[test]
fn the_command_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_its_own_variable() {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for flag in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
            if !variable.as_deref().is_some_and(|name| name.starts_with("TALLOW_")) {
                found.push(format!("{path} --{}: {variable:?}", flag.get_id()));
            }
        }
        for inner in command.get_subcommands() {
            walk(inner, &format!("{path} {}", inner.get_name()), found);
        }
    }
    let mut without = Vec::new();
    walk(&Cli::command(), "tallow", &mut without);
    assert!(without.is_empty(), "flags without a TALLOW_ variable: {without:?}");
}

#[test]
fn errors_of_tasks_map_to_exit_codes() {
    let model = |make: fn(String, String) -> TaskError| make("m".into(), "r".into());
    let cases = [
        (TaskError::invalid("f", "r"), Exit::Usage),
        (TaskError::UnsupportedTaskType, Exit::Usage),
        (model(|model, reason| TaskError::ModelMissing { model, reason }), Exit::Missing),
        (model(|model, reason| TaskError::ModelCorrupt { model, reason }), Exit::Runtime),
        (model(|device, reason| TaskError::DeviceUnavailable { device, reason }), Exit::NoDevice),
        (TaskError::DoesNotFit { resource: "host memory".into(), needed_bytes: 2, available_bytes: 1 }, Exit::DoesNotFit),
        (TaskError::internal("m", "d"), Exit::Runtime),
    ];
    for (error, exit) in cases {
        assert_eq!(exit_of_code(error.code()), exit, "{error}");
        assert_eq!(CliError::from(error).exit(), exit);
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let error = CliError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_eq!((error.exit(), error), (Exit::Ok, CliError::PipeClosed));
}

#[test]
fn text_is_clipped_to_one_line_and_says_so() {
    let cases = [
        ("short", 10, "short"),
        ("a\nb\t c", 10, "a b c"),
        ("abcdefgh", 5, "abcd…"),
        ("", 3, ""),
        ("\u{1b}[31mred", 9, "[31mred"),
        ("ééééé", 3, "éé…"),
    ];
    for (text, width, expected) in cases {
        assert_eq!(clip(text, width), expected, "{text:?} at {width}");
    }
}

#[test]
fn tables_align_numbers_to_the_right() {
    let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "-20".into()]];
    assert_eq!(align(&["x", "count"], &rows), ["x    count", "a        1", "bcd    -20"]);
}

#[test]
fn results_are_shown_with_counts_of_what_is_left_out() {
    let limits = ShowLimits { width: 60, rows: 2 };
    let shown = |value: Value| lines(&value, limits).join("\n");
    assert_eq!(shown(json!({ "count": 3, "mean": 0.123_456 })), "count  3\nmean   0.1235");
    assert_eq!(shown(json!({ "v": (0..100).collect::<Vec<u32>>() })), "v  [0, 1, 2, 3, … 100 numbers]");
    assert_eq!(shown(json!({ "items": [{ "a": 1 }, { "a": 2 }, { "a": 3 }] })), "items (3)\n  a\n  1\n  2\n  … 1 more");
    assert_eq!(shown(json!("plain")), "plain");
    assert_eq!(shown(json!([])), "[]");
}

#[test]
fn lines_are_numbered_blank_ones_skipped_and_bad_ones_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("lines.txt");
    std::fs::write(&path, b"\xef\xbb\xbfone\r\n\n  \nfour\n\xff\xfe\nsix").expect("a file");
    let mut source = Lines::open(&path).expect("the file");
    let mut found = Vec::new();
    while let Some(line) = source.next().expect("readable") {
        found.push((line.number, line.text));
    }
    let expected = [(1, Ok("one")), (4, Ok("four")), (5, Err("not UTF-8 at byte 0")), (6, Ok("six"))];
    assert_eq!(found, expected.map(|(number, text)| (number, text.map(ToOwned::to_owned).map_err(ToOwned::to_owned))));
    assert_eq!(Lines::open(&dir.path().join("absent")).err().map(|error| error.exit()), Some(Exit::Missing));
}

#[test]
fn records_of_jsonl_are_strings_or_objects_with_text() {
    assert_eq!(record_text("{\"text\": \"a\", \"id\": 1}", true), Ok("a".into()));
    assert_eq!(record_text("\"a\"", true), Ok("a".into()));
    assert_eq!(record_text("{\"x\"}", false), Ok("{\"x\"}".into()));
    for wrong in ["{", "5", "{\"text\": 5}", "{}", "[\"a\"]"] {
        assert!(record_text(wrong, true).is_err(), "{wrong}");
    }
}

#[test]
fn arrays_written_row_by_row_equal_those_written_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (whole, rows): (PathBuf, PathBuf) = (dir.path().join("whole.npy"), dir.path().join("rows.npy"));
    let part = Part::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN]).expect("a part");
    npy::write(&whole, &part).expect("written");
    let mut writer = RowWriter::create(&rows).expect("created");
    writer.begin("<f4", &[2, 3]).expect("begun");
    writer.append(&part.bytes()[..12]).expect("written");
    writer.append(&part.bytes()[12..]).expect("written");
    assert!(!rows.exists(), "a reader never sees half a file");
    writer.finish().expect("finished");
    assert_eq!(npy::read(&whole).expect("read"), part);
    assert_eq!(npy::read(&rows).expect("read"), part);
    drop(RowWriter::create(&rows).expect("created"));
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 2, "an abandoned draft is removed");
}

#[test]
fn server_sent_events_are_put_together_from_lines() {
    use super::task::watch::{Assembler, ServerEvent, missed};
    assert_eq!(missed(&json!({ "event": "missed", "count": 7 })), "7 events are no longer held by the worker");
    let restarted = missed(&json!({ "event": "missed", "count": null, "reason": "the worker restarted" }));
    assert!(restarted.contains("nobody knows") && restarted.ends_with("the worker restarted"), "{restarted}");
    let mut assembler = Assembler::default();
    let text = ": keep-alive\n\nid: 7\nevent: task_started\ndata: {\"a\":\ndata: 1}\n\nevent:x\ndata:y\n\n";
    let events: Vec<ServerEvent> = text.lines().filter_map(|line| assembler.line(line)).collect();
    let event = |id: Option<&str>, event: &str, data: &str| ServerEvent { id: id.map(Into::into), event: event.into(), data: data.into() };
    assert_eq!(events, [event(Some("7"), "task_started", "{\"a\":\n1}"), event(None, "x", "y")]);
}
