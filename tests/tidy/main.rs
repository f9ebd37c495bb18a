//! The house rules as tests: who may import whom, how large a file or function may be, which words and calls are not for here.
//!
//! Each test lists every breach with file, line and what to do. Exceptions are short lists with reasons, beside the rule they bend.

mod imports;
mod lexer;
mod nevers;
mod planted;
mod size;
mod source;
mod words;

use source::{Breach, House};

/// Fails with all breaches at once.
fn expect_none(mut breaches: Vec<Breach>) {
    breaches.sort();
    breaches.dedup();
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} breaches of the house rules:\n{}\n", list.len(), list.join("\n"));
}

#[test]
fn the_house_is_found() {
    let house = House::read();
    for expected in ["src/lib.rs", "src/task/mod.rs", "kernels/src/lib.rs", "models/src/lib.rs", "tests/tidy/main.rs"] {
        assert!(house.sources.iter().any(|source| source.path == expected), "{expected} is not among the files read");
    }
}

#[test]
fn imports_follow_the_table() {
    expect_none(imports::breaches(&House::read()));
}

#[test]
fn the_imports_table_goes_down_and_has_no_circle() {
    expect_none(imports::table_breaches());
}

#[test]
fn files_and_functions_are_small() {
    expect_none(size::breaches(&House::read()));
}

#[test]
fn banned_words_and_calls_are_absent() {
    expect_none(words::breaches(&House::read()));
}

#[test]
fn every_file_begins_with_what_it_is() {
    expect_none(words::missing_docs(&House::read()));
}

#[test]
fn the_nevers_hold() {
    expect_none(nevers::breaches(&House::read()));
}
