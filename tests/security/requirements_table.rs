//! Holds `docs/requirements.md` to what is there: each requirement once, each with tests that exist
//! or with a reason why there are none yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows that have to name a test.
const FEWEST_SHOWN: usize = 30;
const SHORTEST_REASON: usize = 10;
const NOT_YET: &str = "not yet:";

fn required() -> Vec<u32> {
    (1..=50).collect()
}

struct Row {
    number: u32,
    /// As written, between backticks.
    tests: Vec<String>,
    /// What is not shown, and why.
    not_yet: Option<String>,
}

fn rows(table: &str) -> Result<Vec<Row>, String> {
    let cells = |line: &str| line.trim().trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let [number, what, shown_by] =
                <[String; 3]>::try_from(cells(line)).map_err(|_| format!("3 cells: {line}"))?;
            let number = number.parse().map_err(|_| format!("no number: {line}"))?;
            if what.is_empty() {
                return Err(format!("{number} says nothing"));
            }
            let (tests, not_yet) = match shown_by.split_once(NOT_YET) {
                Some((tests, reason)) => (tests, Some(reason.trim().to_owned())),
                None => (shown_by.as_str(), None),
            };
            let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Ok(Row { number, tests, not_yet })
        })
        .collect()
}

/// Where `src/path.rs::test` or `target::module::test` has to be.
fn place(name: &str) -> Option<(PathBuf, &str)> {
    let (module, test) = name.rsplit_once("::")?;
    let file =
        if module.starts_with("src/") { module.into() } else { format!("tests/{}.rs", module.replace("::", "/")) };
    Some((Path::new(env!("CARGO_MANIFEST_DIR")).join(file), test))
}

/// Whether the source has a function of that name that is run as a test.
fn has_test(source: &str, test: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let function = line.strip_prefix("async ").unwrap_or(line);
        let named = function
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(test))
            .is_some_and(|rest| rest.starts_with('('));
        let mut attributes =
            lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
        named && attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

fn exists(name: &str) -> bool {
    place(name).is_some_and(|(file, test)| fs::read_to_string(file).is_ok_and(|text| has_test(&text, test)))
}

/// Rows of the threat model's attacks that name no test, or one that does not exist.
fn unshown(threat_model: &str) -> Vec<&str> {
    let attacks = threat_model.split("\n## ").find(|section| section.starts_with("Attacks\n")).unwrap_or_default();
    let rows = attacks.lines().filter(|line| line.starts_with('|')).skip(2);
    let is_shown = |row: &&str| {
        let shown_by = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let mut tests = shown_by.split('`').skip(1).step_by(2).peekable();
        tests.peek().is_some() && tests.all(exists)
    };
    rows.filter(|row| !is_shown(row)).collect()
}

/// Everything that is wrong with the table.
fn problems(table: &str) -> Vec<String> {
    let rows = match rows(table) {
        Ok(rows) => rows,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    let mut times = BTreeMap::<u32, usize>::new();
    for row in &rows {
        *times.entry(row.number).or_default() += 1;
    }
    let required = required();
    for number in &required {
        match times.get(number) {
            Some(1) => {}
            Some(times) => problems.push(format!("{number} is there {times} times")),
            None => problems.push(format!("{number} is missing")),
        }
    }
    problems
        .extend(times.keys().filter(|number| !required.contains(number)).map(|number| format!("{number} is unknown")));
    for Row { number, tests, not_yet } in &rows {
        if tests.is_empty() && not_yet.is_none() {
            problems.push(format!("{number} names no test and no reason"));
        }
        if not_yet.as_ref().is_some_and(|reason| reason.len() < SHORTEST_REASON) {
            problems.push(format!("{number} gives no reason"));
        }
        for name in tests {
            if !exists(name) {
                problems.push(format!("{number}: there is no test {name}"));
            }
        }
    }
    let shown = rows.iter().filter(|row| !row.tests.is_empty()).count();
    if shown < FEWEST_SHOWN {
        problems.push(format!("only {shown} are shown"));
    }
    problems
}

fn table() -> String {
    document("requirements.md")
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn each_attack_of_the_threat_model_is_shown_by_tests_that_exist() {
    const NEXT: &str = "\n\nSecrets are told";
    let model = document("threat-model.md");
    assert_eq!(unshown(&model), [""; 0]);
    for wrong in ["| x | y | `security::vectors::nowhere` |", "| x | y | somewhere |"] {
        assert_eq!(unshown(&model.replacen(NEXT, &format!("\n{wrong}{NEXT}"), 1)), [wrong]);
    }
}

#[test]
fn each_requirement_is_shown_by_tests_that_exist() {
    let problems = problems(&table());
    assert!(problems.is_empty(), "docs/requirements.md:\n{}", problems.join("\n"));
}

#[test]
fn a_wrong_row_is_caught() {
    let good = table();
    let row = |number: u32| good.lines().find(|line| line.starts_with(&format!("| {number} |"))).unwrap();
    let instead = |number: u32, shown_by: &str| good.replace(row(number), &format!("| {number} | x | {shown_by} |"));
    let planted = [
        (good.replace(row(7), ""), "7 is missing"),
        (format!("{good}{}\n", row(7)), "7 is there 2 times"),
        (format!("{good}| 99 | x | not yet: it is planted |\n"), "99 is unknown"),
        (format!("{good}| x | x | x |\n"), "no number: | x | x | x |"),
        (format!("{good}| 7 | x |\n"), "3 cells: | 7 | x |"),
        (format!("{good}| 7 | | x |\n"), "7 says nothing"),
        (instead(7, ""), "7 names no test and no reason"),
        (instead(7, "surely somewhere"), "7 names no test and no reason"),
        (instead(7, "not yet: ?"), "7 gives no reason"),
        (instead(7, "`security::vectors::nowhere`"), "7: there is no test security::vectors::nowhere"),
        (instead(7, "`security::no_file::headers`"), "7: there is no test security::no_file::headers"),
        (instead(7, "`headers`"), "7: there is no test headers"),
        (instead(7, "`src/lib.rs::headers`"), "7: there is no test src/lib.rs::headers"),
        (instead(7, "`security::forge::new_key`"), "7: there is no test security::forge::new_key"),
        (instead(7, "`security::attack_table::header`"), "7: there is no test security::attack_table::header"),
    ];
    for (table, expected) in planted {
        assert_eq!(problems(&table), [expected]);
    }
    let none = good.lines().map(|line| match line.split('|').nth(1) {
        Some(number) if number.trim().parse::<u32>().is_ok() => format!("|{number}| x | not yet: nothing is shown |\n"),
        _ => format!("{line}\n"),
    });
    assert_eq!(problems(&none.collect::<String>()), ["only 0 are shown"]);
}
