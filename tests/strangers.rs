//! Servers and coordinators that do not belong together.

use crate::harness::binaries::scratch;
use crate::harness::{Cluster, Launch, Setup, eventually};
use std::fs;
use tempfile::TempDir;

#[test]
fn a_server_with_another_secret_is_refused_and_the_others_do_not_notice() {
    let home = TempDir::new_in(scratch()).expect("a folder can be made");
    let file = |name: &str, secret: &str| {
        let path = home.path().join(name);
        fs::write(&path, secret).expect("a file can be written");
        path.to_string_lossy().into_owned()
    };
    let (right, wrong) = (file("right", "open sesame\n"), file("wrong", "open barley\n"));
    let cluster = Setup::of(3)
        .with_ecs(&["--secret-file", &right])
        .with_servers(&["--secret-file", &right])
        .start();
    let address = cluster.ecs.address().to_string();
    let flags = ["--bootstrap", &address, "--stay", "--secret-file", &wrong];
    let stranger = Launch::new(&flags).start_refused();
    eventually("it is refused", || stranger.log().contains("secret"));
    assert_eq!(cluster.status().servers.len(), 3, "it is not registered");
    assert!(cluster.client(std::time::Duration::from_secs(10)).put(b"k", b"v").is_done());
}

#[test]
fn a_server_of_one_cluster_takes_nothing_from_the_ecs_of_another() {
    let mut one = Cluster::of(1);
    let other = Cluster::of(1);
    assert_eq!(one.servers[0].ask("put k mine"), "put_success k");
    assert_eq!(one.servers[0].terminate().code(), Some(0));
    let address = other.ecs.address().to_string();
    let flags = ["--bootstrap", &address, "--stay"];
    let lost = Launch::new(&flags).on(one.servers[0].dir()).start();
    eventually("it says why", || lost.log().contains("that of another cluster"));
    assert_eq!(other.status().servers.len(), 1, "it is not registered");
    drop(lost);
    one.servers[0].start_again();
    one.wait_until_level();
    one.wait_for(0, "get k", |said| said == "get_success k mine");
}
