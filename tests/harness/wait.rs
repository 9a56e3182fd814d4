//! Waiting for conditions, and saying that a test cannot be made here.

use std::env;
use std::io::{Write as _, stderr};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that takes milliseconds on an idle machine. Only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at: short beside what a test costs, long beside a look.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`DEADLINE`]; `what` says what was waited for.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `look` returns something, and returns it.
///
/// # Panics
/// When it does not within [`DEADLINE`]; `what` says what was waited for.
pub(crate) fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun_at = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun_at.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Says loudly that a test cannot be made on this machine, past the capture of test output. The caller returns.
///
/// # Panics
/// In continuous integration (`CI=true`), where everything a test needs is to be installed.
pub(crate) fn skip(reason: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "may not be skipped in CI: {reason}");
    let name = thread::current().name().unwrap_or("a test").to_owned();
    stderr().write_all(format!("SKIPPED: {name}: {reason}\n").as_bytes()).expect("stderr is open");
}

/// Returns whether `name` is a command that can be run here.
pub(crate) fn has_command(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path).chain(sbin).any(|folder| folder.join(name).is_file())
}

/// Returns whether the tests run as root, who may mount file systems.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
