//! Names, keys and the answers file, without a worker.

use std::collections::BTreeMap;

use super::feed::parse;
use super::journal::{AnswersFile, Kept, Key};
use super::names::{Names, mentions};
use crate::cli::exit::Exit;
use crate::task::TaskId;

const SPEC: &str = r#"{"type": "text_processing", "data": {"operation": "x", "a": [{"$from": "one", "path": "/y"}], "b": {"c": {"$from": "two"}}}, "depends_on": ["three"]}"#;

#[test]
fn a_task_mentions_names_anywhere_but_not_ids() {
    let mut spec = parse(SPEC).expect("a task");
    spec.depends_on.push(TaskId::new().to_string());
    assert_eq!(mentions(&spec).into_iter().collect::<Vec<_>>(), ["one", "three", "two"]);
}

#[test]
fn what_is_no_task_is_told_with_its_place() {
    let cases = [
        ("{", "EOF"),
        ("[]", "not a task"),
        (r#"{"type": "text_processing"}"#, "data"),
        (r#"{"type": "text_processing", "data": {}, "priority": "asap"}"#, "`priority`"),
        (r#"{"type": "text_processing", "data": {}} {}"#, "one JSON object"),
    ];
    for (text, part) in cases {
        let reason = parse(text).expect_err(text);
        assert!(reason.contains(part), "{text}: {reason}");
    }
}

#[test]
fn a_key_changes_with_the_line_and_with_what_it_takes_values_from() {
    let none = BTreeMap::new();
    let one = BTreeMap::from([("one".to_owned(), Key::of("1", &none))]);
    let other = BTreeMap::from([("one".to_owned(), Key::of("2", &none))]);
    assert_eq!(Key::of("line", &none), Key::of("  line\r", &none));
    let keys = [Key::of("line", &none), Key::of("line ", &one), Key::of("line", &other), Key::of("line2", &none)];
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn skipped_lines_are_revived_with_all_they_need_in_the_order_of_the_lines() {
    let key = Key::of("", &BTreeMap::new());
    let line = |from: &str| format!(r#"{{"type": "storage", "data": {{"x": {{"$from": "{from}"}}}}}}"#);
    let mut names = Names::default();
    names.skipped("root", 1, key, r#"{"type": "storage", "data": {}}"#.into()).expect("room");
    names.skipped("middle", 2, key, line("root")).expect("room");
    names.skipped("other", 3, key, line("root")).expect("room");
    let wanted = names.to_revive(&["middle".to_owned()].into());
    assert_eq!(wanted.iter().map(|revived| revived.name.as_str()).collect::<Vec<_>>(), ["root", "middle"]);
    let id = TaskId::new();
    names.submitted("root", 1, key, id);
    assert_eq!(names.to_revive(&["middle".to_owned()].into()).len(), 1);
    let mut spec = parse(&line("root")).expect("a task");
    names.substitute(&mut spec);
    assert_eq!(spec.data["x"]["$from"], id.to_string());
    assert!(names.check_free("root").is_err() && names.check_free("new").is_ok());
    assert!(names.keys(&["absent".to_owned()].into()).is_err());
}

#[test]
fn an_answers_file_keeps_what_is_answered_and_drops_what_failed_or_is_torn() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("answers.jsonl");
    let none = BTreeMap::new();
    let (a, b) = (Key::of("a", &none), Key::of("b", &none));
    let line = |number: u32, key: Key, status: &str| format!("{{\"line\":{number},\"key\":\"{}\",\"status\":\"{status}\"}}\n", key.text());
    let text = format!("{}{}{}{{\"line\":4,\"key", line(1, a, "completed"), line(2, b, "failed"), line(3, a, "completed"));
    std::fs::write(&path, text).expect("a file");
    let mut file = AnswersFile::open(&path, false).expect("resumed");
    assert_eq!(file.kept(), Kept { answered: 2, dropped: 2 });
    assert_eq!([file.take_answered(a), file.take_answered(a), file.take_answered(a), file.take_answered(b)], [true, true, false, false]);
    drop(file);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), line(1, a, "completed") + &line(3, a, "completed"));
    std::fs::write(&path, "{\"line\": \"of something else\"}\n").expect("a file");
    assert_eq!(AnswersFile::open(&path, false).err().map(|error| error.exit()), Some(Exit::Usage));
    let file = AnswersFile::open(&path, true).expect("started over");
    assert_eq!(file.kept(), Kept::default());
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1, "no draft is left");
}
