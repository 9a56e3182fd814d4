//! `scripts/cluster.sh`, from up to down, and on what is not its own.

use crate::harness::binaries::{binary, scratch, top};
use crate::harness::keeper::{self, Item};
use crate::harness::tool::Group;
use crate::harness::{Ended, eventually_some, has_command, run};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder for the script, which is told to stop what it started there when the test ends.
#[derive(Debug)]
struct Cluster {
    home: TempDir,
}

impl Cluster {
    fn new() -> Self {
        Self { home: TempDir::new_in(scratch()).expect("a folder can be made") }
    }

    fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Runs the script from some other folder, with the binaries of this test run.
    fn run(&self, command: &str, options: &[&str]) -> Ended {
        let mut script = Command::new(top().join("scripts/cluster.sh"));
        script.arg(command).arg("--dir").arg(self.dir()).args(options).current_dir("/");
        script.env("RINGCASK_BINARIES", binary("kvserver").parent().expect("it is in a folder"));
        let ended = run(&mut script);
        // Should the test run be killed, the server is to go with it.
        if let Some(pid) = self.pid() {
            keeper::keep(Item::Group(pid));
        }
        ended
    }

    fn up(&self) -> String {
        self.run("up", &["--port", "0"]).succeeded().stdout
    }

    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.dir().join("kvserver.pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = self.pid();
        let _ended = self.run("down", &[]);
        pid.into_iter().for_each(|pid| keeper::forget(Item::Group(pid)));
    }
}

/// Returns the address in the script's `… one server at <ip:port> …`.
fn address(said: &str) -> String {
    let rest = said.split("one server at ").nth(1).unwrap_or_else(|| panic!("no address: {said}"));
    rest.split([' ', '\n']).next().expect("split gives one piece").to_owned()
}

fn ask(address: &str, request: &str) -> String {
    let address = address.parse().unwrap_or_else(|e| panic!("`{address}` is no address: {e}"));
    crate::harness::Line::connect(address).ask(request)
}

#[test]
fn a_cluster_goes_up_and_down_and_keeps_its_data() {
    let cluster = Cluster::new();
    assert_eq!(cluster.run("status", &[]).code(), 1);
    assert_eq!(cluster.run("down", &[]).succeeded().stdout, "not running\n");

    let at = address(&cluster.up());
    assert_eq!(ask(&at, "put k v"), "put_success k");
    let again = cluster.up();
    assert!(again.starts_with("already running"), "{again}");
    assert_eq!(address(&again), at);
    let status = cluster.run("status", &[]).succeeded().stdout;
    assert!(status.contains(&at), "{status}");
    let keys = status.lines().find_map(|line| line.trim().strip_prefix("keys "));
    assert_eq!(keys.map(str::trim), Some("1"), "{status}");
    assert!(cluster.run("logs", &[]).succeeded().stdout.contains("listening"));

    let down = cluster.run("down", &[]).succeeded().stdout;
    assert!(down.starts_with("stopped"), "{down}");
    assert_eq!(cluster.run("status", &[]).stdout, "not running\n");
    let at = address(&cluster.up());
    assert_eq!(ask(&at, "get k"), "get_success k v");
}

#[test]
fn the_commands_it_offers_work_as_they_stand() {
    if !has_command("nc") {
        return crate::harness::skip("one of the commands is nc");
    }
    let cluster = Cluster::new();
    let said = cluster.up();
    let commands: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(commands.len(), 3, "{said}");
    let replies = commands
        .iter()
        .filter(|command| !command.contains("kvbench"))
        .map(|command| run(Command::new("sh").args(["-c", command])).succeeded().stdout);
    let replies: Vec<_> = replies.collect();
    assert_eq!(replies[0], "stored greeting\n");
    assert_eq!(replies[1], "get_success greeting Hello, ring!\r\n");
}

#[test]
fn what_a_reboot_leaves_behind_does_no_harm() {
    let cluster = Cluster::new();
    let at = address(&cluster.up());
    assert_eq!(ask(&at, "put k v"), "put_success k");
    let pid = cluster.pid().expect("it runs");
    run(Command::new("kill").args(["-9", &pid.to_string()])).succeeded();
    eventually_some("the process is gone", || {
        (cluster.run("status", &[]).code() == 1).then_some(())
    });

    // Since the boot another process may have got the number that was written down.
    let stranger = Group::spawn(Command::new("sleep").arg("1000"));
    let number = stranger.pid().as_raw_pid().to_string();
    fs::write(cluster.dir().join("kvserver.pid"), &number).expect("it can be written");
    assert_eq!(cluster.run("down", &[]).succeeded().stdout, "not running\n");
    fs::write(cluster.dir().join("kvserver.pid"), &number).expect("it can be written");
    let at = address(&cluster.up());
    assert_eq!(ask(&at, "get k"), "get_success k v");
    run(Command::new("kill").args(["-0", &number])).succeeded();
}

#[test]
fn a_port_that_is_taken_is_refused_with_a_reason() {
    let cluster = Cluster::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let ended = cluster.run("up", &["--port", &port]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains(&port) && ended.stderr.contains("did not start"), "{ended:?}");
    assert_eq!(cluster.run("status", &[]).code(), 1);
}

#[test]
fn flags_after_two_dashes_reach_the_server() {
    let cluster = Cluster::new();
    let said = cluster.run("up", &["--port", "0", "--", "--dialect", "toronto"]).succeeded().stdout;
    assert_eq!(ask(&address(&said), "get k"), "GET_ERROR k");
    let status = cluster.run("status", &[]).succeeded().stdout;
    assert!(status.contains("toronto"), "it reads upper case too: {status}");
}

#[test]
fn wrong_usage_is_said_and_nothing_is_started() {
    for wrong in [&["up", "--port", "70000"][..], &["up", "--dir"], &["dance"], &["up", "--what"]] {
        let ended = run(Command::new(top().join("scripts/cluster.sh")).args(wrong));
        assert_eq!(ended.code(), 2, "{wrong:?}");
        assert!(ended.stderr.contains("cluster.sh help"), "{ended:?}");
    }
}
