//! The project's binaries, built once for each run of the tests.
//!
//! The package `integration` contains no binaries, so cargo tells it no `CARGO_BIN_EXE_…`. Instead the first
//! test to need one asks cargo to build them all, in the profile and target folder of the tests themselves, and
//! takes the paths from cargo's own messages. When nothing has changed this costs a tenth of a second.

use serde_json::Value;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();

/// Returns the path of the binary `name`.
pub(crate) fn binary(name: &str) -> &'static Path {
    let built = BUILT.get_or_init(build);
    built.get(name).unwrap_or_else(|| panic!("cargo built no `{name}`, only {:?}", built.keys()))
}

/// Returns the top folder of the workspace.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`tests` lies in the workspace")
}

/// Returns a folder on a real disk, below the target folder, that tests may fill.
pub(crate) fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn build() -> BTreeMap<String, PathBuf> {
    let target = scratch().parent().expect("cargo's scratch folder lies in the target folder");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins", "--quiet", "--message-format=json"]);
    cargo.arg("--target-dir").arg(target).current_dir(top());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo can be run");
    assert!(output.status.success(), "the binaries do not build: {}", output.status);
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    messages.lines().filter_map(executable).collect()
}

/// Returns name and path of the executable that one of cargo's messages announces.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
}
