//! Checks of the sources themselves, so that nobody need argue about them in a review.
//!
//! | what | where |
//! |---|---|
//! | length of files and functions; how files open | `tidy/shape.rs` |
//! | leftovers, banners and switched-off code in comments | `tidy/remarks.rs` |
//! | giving up in shipped code; names, ports and sleeps in tests | `tidy/habits.rs` |
//! | which package may use which | `tidy/floors.rs` |
//! | links between documents | `tidy/links.rs` |
//!
//! `tidy/lex.rs` tells code from text, `tidy/source.rs` what is shipped from what is a test. Each check is a
//! function from text to complaints, and is itself tested on planted text: one that cannot fail is worth
//! nothing. What rustfmt, clippy and the compiler can say is left to them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "the whole file is a test, and a test says what it expects by failing"
)]

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/habits.rs"]
mod habits;
#[path = "tidy/lex.rs"]
mod lex;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/remarks.rs"]
mod remarks;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, find, read_workspace};
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Fails with every complaint on a line of its own.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

fn each(check: fn(&Source) -> Vec<String>) -> Vec<String> {
    let sources = read_workspace(&top());
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    sources.iter().flat_map(check).collect()
}

/// Returns each file of the workspace below `folders` that ends so, as (path, text).
fn texts(folders: &[&str], extension: &str) -> Vec<(String, String)> {
    let top = top();
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| find(&top.join(folder), extension, &mut paths));
    let inside = |path: &PathBuf| path.strip_prefix(&top).unwrap().display().to_string();
    paths.iter().map(|path| (inside(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    assert_none(&each(shape::without_head));
}

#[test]
fn no_file_and_no_shipped_function_is_too_long() {
    assert_none(&each(shape::too_long));
}

#[test]
fn the_shipped_sources_as_a_whole_are_of_small_pieces() {
    let measures = shape::measures(&read_workspace(&top()));
    // For whoever asks with `-- --nocapture`.
    measures.iter().for_each(|(what, found, most)| eprintln!("{what}: {found} (at most {most})"));
    assert_none(&shape::over(measures));
}

#[test]
fn no_leftovers_stand_in_the_sources() {
    assert_none(&each(remarks::leftovers));
}

#[test]
fn shipped_code_gives_up_less_than_once_in_2000_lines() {
    assert_none(&habits::giving_up(&read_workspace(&top())));
}

#[test]
fn names_of_tests_are_sentences() {
    assert_none(&each(habits::names_that_say_nothing));
}

#[test]
fn each_rule_of_the_design_is_named_by_a_test() {
    assert_none(&habits::rules_without_a_test(&read_workspace(&top())));
}

#[test]
fn tests_wait_for_conditions_and_never_for_a_time() {
    assert_none(&each(habits::sleeping_tests));
}

#[test]
fn tests_use_no_fixed_ports() {
    assert_none(&each(habits::fixed_ports));
}

#[test]
fn packages_use_lower_floors_only() {
    let mut manifests = texts(&["crates", "bin", "tests"], "toml");
    manifests.retain(|(path, _)| is_member(path));
    assert!(manifests.len() > 8, "only {} manifests found", manifests.len());
    let manifests = manifests.into_iter().map(|(path, text)| floors::Manifest { path, text });
    let complaints: Vec<_> = manifests.flat_map(|manifest| floors::misplaced(&manifest)).collect();
    assert_none(&complaints);
}

#[test]
fn each_package_from_outside_has_its_reason_written_down() {
    let read = |path: &str| fs::read_to_string(top().join(path)).unwrap();
    let (workspace, reasons) = (read("Cargo.toml"), read("docs/ARCHITECTURE.md"));
    assert_none(&floors::without_reason(&workspace, &reasons));
}

/// Whether a TOML file is the manifest of a member of the workspace, and not of a package set apart.
fn is_member(path: &str) -> bool {
    let folder = path.strip_suffix("/Cargo.toml");
    let members = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    folder.is_some_and(|folder| members.contains(&format!("    \"{folder}\",\n")))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = texts(&["docs"], "md");
    for name in ["README.md", "CHANGELOG.md"] {
        documents.push((name.to_owned(), fs::read_to_string(top().join(name)).unwrap()));
    }
    let dead = |(path, text): &(String, String)| links::dead(&top(), path, text);
    assert_none(&documents.iter().flat_map(dead).collect::<Vec<_>>());
}
