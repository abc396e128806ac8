//! Compiler messages for handlers that are written wrongly: each of `cases/` is one mistake.
//!
//! A case begins with lines `//~ text`: texts of this project that the compiler must say, in their order. All else is
//! the compiler's own, which changes from one version to the next, so whole outputs are not compared: without a file to
//! compare with, trybuild writes what the compiler said to `wip/`, where it is read from.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const CASES: &str = "tests/mistakes/cases";

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(CASES)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    cases.sort();
    cases
}

/// What the compiler says of each case.
fn compile(cases: &[PathBuf]) -> Vec<String> {
    let outputs: Vec<PathBuf> = cases
        .iter()
        .map(|case| {
            let name = Path::new(case.file_name().unwrap());
            Path::new("wip").join(name.with_extension("stderr"))
        })
        .collect();

    let tests = trybuild::TestCases::new();
    for case in cases {
        tests.compile_fail(case);
    }

    // It compiles them when it is dropped, and panics since there is nothing to compare with.
    let compared = catch_unwind(AssertUnwindSafe(|| drop(tests)));
    assert!(compared.is_err(), "there is nothing to compare with");

    let said = outputs.iter().map(|output| {
        let said = fs::read_to_string(output);
        said.unwrap_or_else(|error| panic!("{}: {error}: does the case compile?", output.display()))
    });
    let said = said.collect();
    fs::remove_dir_all("wip").unwrap();
    said
}

/// In one line, as a note may be broken into several.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_mistake_says_what_is_wrong_and_what_to_write() {
    let cases = cases();
    assert!(cases.len() >= 7, "{cases:?}");

    for (case, said) in cases.iter().zip(compile(&cases)) {
        let case = fs::read_to_string(case).unwrap();
        let expected = case.lines().map_while(|line| line.strip_prefix("//~ "));
        assert!(
            expected.clone().count() >= 2,
            "what is wrong and what to write: {case}"
        );

        let whole = flat(&said);
        let mut rest = whole.as_str();
        for text in expected {
            let at = rest.find(text);
            rest = &rest[at.unwrap_or_else(|| panic!("{text:?} is not in:\n{said}"))..];
        }

        assert!(
            !whole.contains("the following other types implement trait"),
            "a list of implementations is no help:\n{said}"
        );
    }
}
