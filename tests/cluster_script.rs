//! `scripts/cluster.sh`, from up to down, and on what is not its own.
//!
//! The ring has few slots, for a cluster of binaries with debug assertions takes a minute to make copies of 4,096.

use crate::harness::binaries::{binary, scratch, top};
use crate::harness::keeper::{self, Item};
use crate::harness::tool::Group;
use crate::harness::{Ended, eventually_some, run};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What the first server that the ECS starts is called.
const SPAWNED: &str = "ecs/data/spawned/1";

/// A folder for the script, which is told to stop what it started there when the test ends.
#[derive(Debug)]
struct Cluster {
    home: TempDir,
    /// Flags for the ECS besides.
    ecs_flags: &'static str,
}

impl Cluster {
    fn new() -> Self {
        Self::with_ecs("")
    }

    fn with_ecs(ecs_flags: &'static str) -> Self {
        Self { home: TempDir::new_in(scratch()).expect("a folder can be made"), ecs_flags }
    }

    fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Runs the script from some other folder, with the binaries of this test run.
    fn run(&self, words: &[&str]) -> Ended {
        let mut script = Command::new(top().join("scripts/cluster.sh"));
        script.args(&words[..1]).arg("--dir").arg(self.dir()).args(&words[1..]).current_dir("/");
        script.env("RINGCASK_BINARIES", binary("kvserver").parent().expect("it is in a folder"));
        script.env("RINGCASK_ECS_FLAGS", format!("--slots 64 {}", self.ecs_flags));
        let ended = run(&mut script);
        // Should the test run be killed, the processes are to go with it.
        self.pids().into_iter().for_each(|pid| keeper::keep(Item::Group(pid)));
        ended
    }

    /// Runs the script, which must succeed, and returns what it said.
    fn said(&self, words: &[&str]) -> String {
        self.run(words).succeeded().stdout
    }

    /// Returns the process id that is written down for `name`.
    fn pid(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.dir().join(name).join("pid")).ok()?;
        text.lines().next()?.parse().ok()
    }

    fn pids(&self) -> Vec<u32> {
        ["ecs", "1", "2", "3", "4", "5", "6", SPAWNED]
            .into_iter()
            .filter_map(|name| self.pid(name))
            .collect()
    }

    /// Runs a command of `kvclient` in the cluster.
    fn client(&self, words: &[&str]) -> Ended {
        let address = |number: &str| {
            let out = fs::read_to_string(self.dir().join(number).join("out")).unwrap_or_default();
            out.trim().strip_prefix("listening ").map(str::to_owned)
        };
        let servers: Vec<_> = ["1", "2", "3"].into_iter().filter_map(address).collect();
        run(Command::new(binary("kvclient")).args(["-s", &servers.join(",")]).args(words))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pids = self.pids();
        let _ended = self.run(&["down"]);
        pids.into_iter().for_each(|pid| keeper::forget(Item::Group(pid)));
    }
}

/// Returns the line of the table in `said` that is about `name`, as words.
fn row<'a>(said: &'a str, name: &str) -> Vec<&'a str> {
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = rows.filter(|words| words.first() == Some(&name) && words.len() > 3);
    rows.next().unwrap_or_else(|| panic!("no row of {name} in:\n{said}"))
}

#[test]
fn a_cluster_goes_up_lives_through_what_befalls_it_and_keeps_its_data() {
    let cluster = Cluster::new();
    assert_eq!(cluster.run(&["status"]).code(), 1);
    assert_eq!(cluster.said(&["down"]), "not running\n");

    let up = cluster.said(&["up", "--port", "0"]);
    assert!(up.contains("3 servers and the ECS at 127.0.0.1:"), "{up}");
    assert!(up.contains("the ring: 00 "), "{up}");
    for number in ["1", "2", "3"] {
        assert_eq!(row(&up, number)[3], "running", "{up}");
    }
    // What it says to try works as it stands.
    let tries: Vec<_> = up.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let tries = tries.iter().filter(|line| line.contains("kvclient") && line.contains(" greeting"));
    let replies = tries.map(|line| run(Command::new("sh").args(["-c", line])).succeeded().stdout);
    assert_eq!(replies.collect::<Vec<_>>(), ["stored greeting\n", "Hello, ring!"]);

    let again = cluster.said(&["up"]);
    assert!(again.starts_with("already running"), "{again}");
    assert!(again.contains("all 64 slots have their 3 copies"), "{again}");

    cluster.said(&["kill", "2"]);
    assert_eq!(cluster.run(&["kill", "2"]).code(), 1, "it is dead already");
    assert_eq!(row(&cluster.said(&["status"]), "2")[3], "not");
    assert_eq!(cluster.client(&["get", "greeting"]).succeeded().stdout, "Hello, ring!");
    cluster.said(&["restart", "2"]);
    cluster.said(&["pause", "3"]);
    assert_eq!(row(&cluster.said(&["status"]), "3")[3], "paused");
    cluster.said(&["resume", "3"]);
    assert!(cluster.said(&["logs", "1"]).contains("listening"));

    let down = cluster.said(&["down"]);
    assert!(down.starts_with("stopped 4 processes"), "{down}");
    assert_eq!(cluster.run(&["status"]).stdout, "not running\n");
    cluster.said(&["up"]);
    assert_eq!(cluster.client(&["get", "greeting"]).succeeded().stdout, "Hello, ring!");
}

#[test]
fn servers_are_added_and_removed_and_the_ecs_may_be_away() {
    let cluster = Cluster::new();
    cluster.said(&["up", "1", "--port", "0", "--", "--sync", "never"]);
    assert_eq!(cluster.client(&["put", "k", "v"]).code(), 0);
    let added = cluster.said(&["add", "--port", "0"]);
    assert_eq!(row(&added, "2")[3], "running", "{added}");
    let info = cluster.client(&["info"]).succeeded().stdout;
    assert!(info.contains("never"), "flags hold for those that are added, too: {info}");

    cluster.said(&["kill", "ecs"]);
    assert_eq!(cluster.client(&["get", "k"]).succeeded().stdout, "v");
    assert!(cluster.said(&["status"]).contains("the ECS does not run"));
    cluster.said(&["restart", "ecs"]);

    let removed = cluster.said(&["remove", "1"]);
    assert!(removed.contains("server 1 has left"), "{removed}");
    assert_eq!(cluster.client(&["get", "k"]).succeeded().stdout, "v");
    let back = cluster.said(&["add"]);
    assert_eq!(row(&back, "1")[3], "running", "the one that left comes back: {back}");
    assert_eq!(cluster.client(&["get", "k"]).succeeded().stdout, "v");
}

#[test]
#[ignore = "heavy: half a minute of kills, a join, a leave, and a client that writes on"]
fn the_demonstration_loses_nothing_and_leaves_nothing_behind() {
    let cluster = Cluster::new();
    let said = cluster.said(&["demo"]);
    assert!(said.contains("1000 of 1000 keys"), "{said}");
    assert_eq!(said.matches(" 0 failed").count(), 3, "{said}");
    assert!(!cluster.dir().exists(), "its data is gone: {said}");
}

#[test]
fn servers_on_standby_wait_and_come_up_again_on_standby() {
    let cluster = Cluster::new();
    for _ in 0..2 {
        let up = cluster.said(&["up", "1", "--standby", "1", "--elastic", "--port", "0"]);
        assert!(up.contains("2 servers"), "{up}");
        let shares: Vec<_> = ["1", "2"].iter().map(|number| row(&up, number)[4]).collect();
        assert_eq!(shares, ["100.0", "0.0"], "{up}");
        let status = cluster.said(&["status"]);
        assert!(status.contains("standby"), "{status}");
        cluster.said(&["down"]);
    }
}

#[test]
fn servers_that_the_ecs_starts_are_shown_and_stopped_with_the_others_and_come_up_again() {
    // Anything is too much for one server.
    let cluster =
        Cluster::with_ecs("--scale-up-bytes 2 --scale-down-bytes 1 --cool-down-s 1 --spawn-max 1");
    cluster.said(&["up", "1", "--spawn", "--port", "0"]);
    cluster.client(&["put", "key", "value"]).succeeded();
    let shown = || {
        let status = cluster.said(&["status"]);
        let row = status.lines().map(str::trim).find(|line| line.starts_with("+1 "));
        row.is_some_and(|row| row.contains("running") && !row.contains("100.0")).then_some(status)
    };
    let status = eventually_some("the ECS starts one", shown);
    assert!(status.contains("1 ...: started by the ECS"), "{status}");
    assert!(status.contains("spawned: 1 of at most 1"), "{status}");
    let first = cluster.pid(SPAWNED);
    assert!(cluster.said(&["down"]).contains("stopped 3 processes"), "{status}");
    cluster.said(&["up"]);
    let status = eventually_some("the ECS starts it again", shown);
    assert_ne!(cluster.pid(SPAWNED), first, "{status}");
    assert_eq!(cluster.client(&["get", "key"]).succeeded().stdout.trim(), "value");
    cluster.said(&["down"]);
}

#[test]
#[ignore = "heavy: a minute in which a cluster fills, grows, is emptied, and shrinks, while a client writes on"]
fn the_demonstration_of_growing_loses_nothing_and_leaves_nothing_behind() {
    let cluster = Cluster::new();
    let said = cluster.said(&["demo", "elastic"]);
    for count in ["4", "5", "6", "3"] {
        assert!(said.contains(&format!("{count} servers on the ring")), "{said}");
    }
    assert!(said.contains(" 0 failed"), "{said}");
    assert!(!cluster.dir().exists(), "its data is gone: {said}");
}

#[test]
fn what_a_reboot_leaves_behind_does_no_harm() {
    let cluster = Cluster::new();
    cluster.said(&["up", "1", "--port", "0"]);
    assert_eq!(cluster.client(&["put", "k", "v"]).code(), 0);
    for name in ["ecs", "1"] {
        let pid = cluster.pid(name).expect("it runs").to_string();
        run(Command::new("kill").args(["-9", &pid])).succeeded();
    }
    eventually_some("the processes are gone", || {
        (cluster.run(&["status"]).code() == 1).then_some(())
    });

    // Since the boot another process may have got the numbers that were written down.
    let stranger = Group::spawn(Command::new("sleep").arg("1000"));
    let number = stranger.pid().as_raw_pid().to_string();
    let write = || {
        for name in ["ecs", "1"] {
            fs::write(cluster.dir().join(name).join("pid"), &number).expect("it can be written");
        }
    };
    write();
    assert_eq!(cluster.said(&["down"]), "not running\n");
    write();
    assert_eq!(cluster.run(&["kill", "1"]).code(), 1);
    cluster.said(&["up"]);
    assert_eq!(cluster.client(&["get", "k"]).succeeded().stdout, "v");
    run(Command::new("kill").args(["-0", &number])).succeeded();
}

#[test]
fn a_port_that_is_taken_is_refused_with_a_reason() {
    let cluster = Cluster::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    // The ECS is to be one below the servers.
    let port = taken.local_addr().expect("it is bound").port();
    let ended = cluster.run(&["up", "1", "--port", &(port + 1).to_string()]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains(&port.to_string()), "{ended:?}");
    assert!(ended.stderr.contains("did not start"), "{ended:?}");
    assert_eq!(cluster.run(&["status"]).code(), 1);
}

#[test]
fn wrong_usage_is_said_and_nothing_is_started() {
    for wrong in [
        &["up", "--port", "70000"][..],
        &["up", "0"],
        &["up", "three"],
        &["up", "--dir"],
        &["up", "--standby", "many"],
        &["demo", "rubber"],
        &["dance"],
        &["up", "--what"],
        &["kill"],
        &["status", "1"],
    ] {
        let ended = run(Command::new(top().join("scripts/cluster.sh")).args(wrong));
        assert_eq!(ended.code(), 2, "{wrong:?}");
        assert!(ended.stderr.contains("cluster.sh help"), "{ended:?}");
    }
}
