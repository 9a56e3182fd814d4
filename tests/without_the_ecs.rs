//! The ECS is not on the path of data (P4).

use crate::harness::copies::assert_equal;
use crate::harness::{Cluster, Crowd, Setup};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn reads_and_writes_go_on_while_the_ecs_is_dead_and_it_decides_again_when_it_is_back_p4() {
    let mut cluster = Cluster::of(3);
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(100);
        cluster.ecs.kill();
        progress.wait_for(600);
        cluster.ecs.start_again();
        cluster.wait_until_level();
        // Only it can put somebody else in the place of a dead primary.
        let primary = cluster.primary("c1.counter");
        cluster.servers[primary].kill();
        progress.wait_for(600);
        cluster.servers[primary].start_again();
        cluster.wait_until_level();
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
    assert_equal(&mut cluster);
}

#[test]
fn a_server_that_is_restarted_while_the_ecs_is_dead_serves_once_the_ecs_is_back() {
    let mut cluster = Cluster::of(3);
    let key = cluster.keys().remove(2);
    let done = format!("put_success {key}");
    cluster.wait_for(2, &format!("put {key} v"), |said| said == done);
    cluster.ecs.kill();
    cluster.servers[2].kill();
    cluster.ecs.start_again();
    cluster.servers[2].start_again();
    cluster.wait_until_level();
    let found = format!("get_success {key} v");
    cluster.wait_for(2, &format!("get {key}"), |said| said == found);
}

#[test]
fn a_paused_ecs_is_no_harm() {
    let mut cluster = Setup::of(3).start();
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        cluster.ecs.pause();
        progress.wait_for(400);
        cluster.ecs.signal(rustix::process::Signal::CONT);
        progress.wait_for(100);
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
}
