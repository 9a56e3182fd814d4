//! A cluster that grows and shrinks by itself while clients write and read.

use crate::harness::binaries::binary;
use crate::harness::cluster::SLOT_COUNT;
use crate::harness::keeper::{self, Item};
use crate::harness::{Cluster, Crowd, Server, Setup, eventually};
use cluster::Standing;
use cluster::coordinator::Status;
use cluster::coordinator::spawn::Spawned;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Values that fill the store, and the bytes of each: 6 MiB on each of three servers, 4.5 MiB on each of four.
const VALUE_COUNT: usize = 96;
const VALUE_LEN: usize = 64 << 10;

/// Settings of the ECS: 5 MiB are too much for a server.
const ELASTIC: [&str; 6] = ["--elastic", "on", "--scale-up-bytes", "5242880", "--cool-down-s", "1"];

/// Waits until so many servers share the slots; no slot may have fewer copies than it shall meanwhile.
fn wait_until_serving(cluster: &Cluster, count: usize) -> Status {
    let mut status = cluster.status();
    eventually(&format!("{count} servers share the slots"), || {
        status = cluster.status();
        assert_eq!(status.slots.short_of_copies, 0, "a slot has too few copies: {status:?}");
        let servers = status.servers.iter();
        servers.filter(|server| server.standing == Standing::Serving).count() == count
            && status.slots.complete == usize::from(status.slot_count)
            && status.moves.is_empty()
    });
    status
}

#[test]
fn a_cluster_grows_onto_a_standby_and_back_without_an_error_p6() {
    let mut cluster = Setup::of(3).with_ecs(&ELASTIC).start();
    let launch = cluster.launch().with_flags(["--standby".to_owned()]);
    cluster.servers.push(launch.start());
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(100);
        eventually("one waits", || cluster.status().servers.len() == 4);
        wait_until_serving(cluster, 3);
        let mut client = cluster.client(PATIENCE);
        let key = |n: usize| format!("large{n}").into_bytes();
        for n in 0..VALUE_COUNT {
            assert!(client.put(&key(n), &[b'v'; VALUE_LEN]).is_done());
        }
        let grown = wait_until_serving(cluster, 4);
        assert!(grown.servers.iter().all(|server| server.primary >= 2), "{grown:?}");
        let decided = grown.decided.expect("it says what it did");
        assert!(decided.why.starts_with("add"), "{decided:?}");
        progress.wait_for(100);
        for n in 0..VALUE_COUNT {
            assert!(client.delete(&key(n)).is_done());
        }
        let shrunk = wait_until_serving(cluster, 3);
        let waits = shrunk.servers.iter().find(|server| server.standing == Standing::Standby);
        let waits = waits.expect("one is on standby again");
        assert_eq!(waits.owned + waits.primary + waits.backup + waits.learner, 0);
        progress.wait_for(100);
    });
    assert_eq!(cluster.running().count(), 4, "the drained one's process stays");
    crowd.assert_all_done();
    crowd.judge(&cluster);
}

/// A cluster whose ECS starts servers by a command.
fn spawning(command: &str) -> Setup {
    let more = ["--spawn-command", command, "--spawn-max", "1", "--spawn-timeout-s", "20"];
    Setup::of(3).with_ecs(&ELASTIC).with_ecs(&more)
}

/// What an ECS started, which is killed when the test ends, however it does.
struct Left(PathBuf);

impl Left {
    fn of(cluster: &Cluster) -> Self {
        Self(cluster.ecs.dir().join("spawned"))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        for folder in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
            let pid =
                text.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process_group(pid, Signal::KILL).unwrap_or_default();
            }
        }
    }
}

/// Returns what the ECS started, and sees to it that none outlives the test run.
fn spawned(cluster: &Cluster, seen: &mut BTreeSet<u32>) -> Spawned {
    let spawned = cluster.status().spawned.expect("it may start some");
    let pids = spawned.processes.iter().map(|process| process.pid);
    for pid in pids.filter(|pid| *pid > 0) {
        if seen.insert(pid) {
            keeper::keep(Item::Group(pid));
        }
    }
    spawned
}

fn fill(cluster: &Cluster, count: usize) {
    let mut client = cluster.client(PATIENCE);
    for n in 0..count {
        assert!(client.put(format!("large{n}").as_bytes(), &[b'v'; VALUE_LEN]).is_done());
    }
}

#[test]
fn an_ecs_that_lacks_a_server_starts_one_and_ends_it_when_it_was_drained() {
    let binary = binary("kvserver");
    let command = format!("'{}' -b {{ecs}} --standby -p 0 --dir {{dir}}/data", binary.display());
    let mut cluster = spawning(&command).start();
    let _left = Left::of(&cluster);
    let mut seen = BTreeSet::new();
    assert_eq!(spawned(&cluster, &mut seen).processes, [], "nobody is wanted");
    fill(&cluster, VALUE_COUNT);
    eventually("it starts one", || !spawned(&cluster, &mut seen).processes.is_empty());
    wait_until_serving(&cluster, 4);
    eventually("the plan tells it", || cluster.ecs.ask("plan").contains("\"state\":\"working\""));

    // One that dies with slots is started again, on its folder.
    let died = *seen.first().expect("it was started");
    let pid = Pid::from_raw(i32::try_from(died).unwrap()).unwrap();
    kill_process_group(pid, Signal::KILL).unwrap();
    eventually("it is started again", || {
        let processes = spawned(&cluster, &mut seen).processes;
        matches!(&processes[..], [one] if one.pid != died && one.state == "working")
    });
    keeper::forget(Item::Group(died));
    seen.remove(&died);
    eventually("it has its slots again", || {
        let slots = cluster.status().slots;
        slots.complete == usize::from(SLOT_COUNT)
    });

    // The next ECS knows it again, and lets it go when it is not wanted.
    cluster.ecs.kill();
    cluster.ecs.start_again();
    let mut client = cluster.client(PATIENCE);
    eventually("it is known again", || {
        let processes = spawned(&cluster, &mut seen).processes;
        matches!(&processes[..], [one] if one.state == "working" && one.server.is_some())
    });
    assert_eq!(seen.len(), 1, "the same process");
    for n in 0..VALUE_COUNT {
        assert!(client.delete(format!("large{n}").as_bytes()).is_done());
    }
    eventually("its process has ended", || spawned(&cluster, &mut seen).processes.is_empty());
    let status = wait_until_serving(&cluster, 3);
    let gone = status.servers.iter().find(|server| server.owned == 0).expect("it was registered");
    let left: Vec<_> = status.servers.iter().filter(|server| server.owned > 0).collect();
    assert!(left.iter().all(|server| cluster.addresses().contains(&server.address)), "{gone:?}");
    seen.into_iter().for_each(|pid| keeper::forget(Item::Group(pid)));
    let log = cluster.ecs.log();
    assert!(log.contains("elastic: retire"), "{log}");
}

#[test]
fn a_command_that_fails_is_told_and_tried_again_later_and_the_ecs_minds_its_work() {
    for (command, why) in [
        ("no-such-program {n}", "cannot start `no-such-program`: "),
        ("sh -c 'echo this will not do >&2; exit 3'", "exit status: 3"),
    ] {
        let cluster = spawning(command).start();
        let _left = Left::of(&cluster);
        let mut seen = BTreeSet::new();
        fill(&cluster, VALUE_COUNT);
        let has_failed = |spawned: &Spawned| {
            spawned.failure.as_ref().is_some_and(|failure| failure.contains(why))
        };
        eventually("the failure is told", || has_failed(&spawned(&cluster, &mut seen)));
        let log = || cluster.ecs.log();
        eventually("it waits longer", || log().contains("the next start waits 2 s"));
        wait_until_serving(&cluster, 3);
        let is_early = log().contains("--spawn-command cannot be run");
        assert_eq!(is_early, command.starts_with("no-"), "what can be known early is: {}", log());
        assert_eq!(cluster.ecs.ask("ping"), "pong");
        seen.into_iter().for_each(|pid| keeper::forget(Item::Group(pid)));
    }
}

/// Requests that are sent together.
const AT_ONCE: usize = 50;

/// Has a server asked for keys that it leads, so often and for no longer than it takes.
fn ask_for(server: &Server, keys: &[String], count: usize) {
    let mut line = server.connect();
    for key in keys {
        for _ in 0..count / AT_ONCE {
            line.send(format!("get {key}\r\n").repeat(AT_ONCE));
            // It may not serve for a moment, when what it leads has just changed.
            (0..AT_ONCE).for_each(|_| assert!(!line.line().is_empty()));
        }
    }
}

#[test]
fn an_arc_that_is_asked_for_much_is_split_and_a_single_hot_key_is_told_and_stays() {
    let cluster = Setup::of(3).start();
    let owner = |key: &str| cluster.primary(key);
    let slot_of = |key: &str| hashring::Token::of_key(key.as_bytes()).0 >> 124;
    // Keys of one server, each in a slot of its own.
    let mut slots = BTreeSet::new();
    let names = (0..100).map(|n| format!("hot{n}"));
    let keys: Vec<_> = names.filter(|key| owner(key) == 0 && slots.insert(slot_of(key))).collect();
    assert!(keys.len() >= 4, "it leads several slots: {keys:?}");
    let operations = |status: &Status, server: &Server| {
        let address = server.address().to_string();
        let found = status.servers.iter().find(|server| server.address == address);
        found.expect("it is registered").operations_a_second
    };
    eventually("the ECS knows who is asked", || {
        ask_for(&cluster.servers[0], &keys, 500);
        operations(&cluster.status(), &cluster.servers[0]) >= 40
    });
    assert_eq!(cluster.ecs.ask("rebalance keys"), "error usage: rebalance [bytes | ops]");
    let plan = cluster.ecs.ask("plan rebalance ops");
    assert!(!plan.contains("\"moves\":[]"), "{plan}");
    assert_eq!(cluster.ecs.ask("rebalance ops"), "rebalance_success");
    cluster.wait_until_level();
    let left = keys.iter().filter(|key| owner(key) == 0).count();
    assert!(left <= keys.len().div_ceil(2), "{left} of {} are there still", keys.len());

    let hot = &keys[..1];
    let ring = cluster.ecs.ask("ring");
    eventually("a hot key is told", || {
        ask_for(&cluster.servers[owner(&hot[0])], hot, 10_000);
        let hints = cluster.status().hints;
        hints.iter().any(|hint| hint.contains("operations a second") && hint.contains("a hot key"))
    });
    assert_eq!(cluster.ecs.ask("ring"), ring, "nothing moved for it");
}
