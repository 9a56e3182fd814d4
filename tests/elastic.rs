//! A cluster that grows and shrinks by itself while clients write and read.

use crate::harness::{Cluster, Crowd, Setup, eventually};
use cluster::Standing;
use cluster::coordinator::Status;
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
