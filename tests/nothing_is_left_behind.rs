//! The harness itself: a test run that dies takes its processes along.

use crate::harness::tool::Group;
use crate::harness::{eventually, eventually_some};
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the file in which the inner run says which process it started.
const REPORT: &str = "RINGCASK_TEST_SLEEPER";

/// The test run that is killed: starts a process and waits for its own end. Does nothing unless asked.
#[test]
#[ignore = "the inner half of another test"]
fn a_run_that_hangs() {
    let Some(report) = env::var_os(REPORT) else { return };
    let sleeper = Group::spawn(Command::new("sleep").arg("1000"));
    fs::write(report, format!("{}\n", sleeper.pid().as_raw_pid())).unwrap();
    Command::new("sleep").arg("1000").status().expect("it is killed before this");
}

#[test]
fn a_test_run_that_is_killed_takes_its_processes_along() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("pid");
    let mut inner = Command::new(env::current_exe().unwrap());
    inner.args(["--ignored", "--exact", "nothing_is_left_behind::a_run_that_hangs"]);
    inner.env(REPORT, &report).stdout(Stdio::null()).stderr(Stdio::null());
    let mut inner = Group::spawn(&mut inner);

    let sleeper = eventually_some("the inner run starts its process", || {
        fs::read_to_string(&report).ok()?.strip_suffix('\n')?.parse().ok()
    });
    assert!(is_alive(sleeper));
    inner.kill();
    eventually("the process is gone", || !is_alive(sleeper));
}

#[test]
fn a_handle_that_is_dropped_ends_its_process_and_what_that_started() {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
    let group = Group::spawn(&mut command);
    let leader = group.pid().as_raw_pid();
    assert!(is_alive(leader));
    drop(group);
    eventually("nothing of the group is alive", || !is_group_alive(leader));
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn is_group_alive(group: i32) -> bool {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|&pid: &i32| is_alive(pid)).any(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        fields.split(' ').nth(2) == Some(&group.to_string())
    })
}
