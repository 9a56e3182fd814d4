//! Namespaces around the whole run: of network, mounts and processes.
//!
//! ```text
//! this program ──pipe──▶ unshare ──▶ this program again, as process 1 of its namespaces ──▶ ecs, kvservers, strace …
//! ```
//!
//! When process 1 ends, for whatever reason, the kernel kills all others of its namespace; then the last user of the network and
//! mount namespaces is gone, and with it every bridge, cut, mount and file of the run, which all lie on a file system in
//! memory that only the run sees. The inner program ends when the pipe from the outer one closes: so nothing is
//! left after Ctrl-C or `kill -9` of the outer one either. What is to be kept goes below `target/tmp`.

use std::env;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use crate::args::Args;
use crate::binaries::binary;
use crate::wait::{has_command, is_root, skip};

/// Commands that the run stands on.
const NEEDED: [&str; 5] = ["unshare", "nsenter", "ip", "mount", "strace"];

/// What makes network devices whose other end is a program.
const TUN: &str = "/dev/net/tun";

/// Builds what is needed, and runs this program again inside.
pub(crate) fn enter(args: &Args) -> ExitCode {
    if !is_root() {
        skip("faults: namespaces need root");
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = NEEDED.iter().find(|name| !has_command(name)) {
        skip(&format!("faults: `{missing}` is not installed"));
        return ExitCode::SUCCESS;
    }
    if !Path::new(TUN).exists() {
        skip(&format!("faults: there is no {TUN}"));
        return ExitCode::SUCCESS;
    }
    if !unshared().arg("true").status().is_ok_and(|status| status.success()) {
        skip("faults: this machine lets nobody make namespaces");
        return ExitCode::SUCCESS;
    }
    let folder = binary("kvserver").parent().expect("a binary lies in a folder");
    let mut inside = unshared();
    inside.arg(env::current_exe().expect("a program knows itself"));
    inside.args(env::args().skip(1)).arg("--inside").arg(folder);
    if args.seed.is_none() {
        inside.args(["--seed", &fastrand::u32(..).to_string()]);
    }
    let mut child = inside.stdin(Stdio::piped()).spawn().expect("unshare can be run");
    // Held until the end: it closes when this program ends.
    let _pipe = child.stdin.take();
    let status = child.wait().expect("a child can be waited for");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn unshared() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// Ends this program when the outer one has ended.
pub(crate) fn end_with_the_outer_one() {
    thread::spawn(|| {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|len| len > 0) {}
        std::process::exit(130);
    });
}
