//! The ECS is not on the path of data (P4).

use crate::harness::binaries::binary;
use crate::harness::copies::assert_equal;
use crate::harness::{
    Cluster, Crowd, Launch, Server, Setup, eventually, figure, has_command, run, skip,
};
use cluster::coordinator::WholeMap;
use std::fs;
use std::process::Command;
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

#[test]
fn an_ecs_that_comes_back_with_an_empty_folder_ends_nobody_p4() {
    let mut cluster = Cluster::of(3);
    let (folder, kept) = (cluster.ecs.dir().to_owned(), cluster.ecs.dir().with_extension("kept"));
    let mut crowd = Crowd::new(PATIENCE);
    crowd.run(&mut cluster, |cluster, progress| {
        progress.wait_for(100);
        cluster.ecs.kill();
        fs::rename(&folder, &kept).expect("a folder can be moved");
        fs::create_dir(&folder).expect("a folder can be made");
        cluster.ecs.start_again();
        for server in &cluster.servers {
            eventually("it sees a coordinator that is not its own", || {
                server.log().contains("that of another cluster")
            });
        }
        progress.wait_for(400);
        cluster.ecs.kill();
        fs::remove_dir_all(&folder).expect("a folder can be removed");
        fs::rename(&kept, &folder).expect("a folder can be moved");
        cluster.ecs.start_again();
        cluster.wait_until_level();
    });
    crowd.assert_all_done();
    crowd.judge(&cluster);
}

#[test]
fn an_ecs_made_anew_knows_what_servers_heard_and_could_not_write_yet() {
    if !has_command("strace") {
        return skip("making syncs hang needs strace");
    }
    let mut cluster = Cluster::of(3);
    let hung: Vec<_> = cluster.servers.iter().map(|server| server.hang("fdatasync")).collect();
    let heard = |server: &Server| {
        let reply = server.ask("map");
        let json = reply.strip_prefix("map_success ").unwrap_or_else(|| panic!("{reply}"));
        serde_json::from_str::<WholeMap>(json).expect("a map").delta.to
    };
    cluster.order("leave", cluster.servers[2].address());
    let decided = cluster.status().version;
    eventually("all heard of it", || cluster.servers.iter().all(|s| heard(s) >= decided));
    let said = cluster.servers[0].ask("info");
    assert!(figure(&said, "map_version") < decided.0, "it is not in force: {said}");

    let (address, home) = (cluster.ecs.address(), tempfile::tempdir().expect("a folder"));
    let (dir, from) = (home.path().join("made"), cluster.addresses().join(","));
    cluster.ecs.kill();
    let mut command = Command::new(binary("ecs"));
    command.args(["rebuild", "--from", &from, "--dir"]).arg(&dir);
    run(&mut command).succeeded();
    drop(hung);
    cluster.ecs = Launch::new(&[]).of("ecs").at(address).on(&dir).start();
    assert!(cluster.status().version >= decided);
    eventually("the order is carried out", || {
        let status = cluster.status();
        status.servers.iter().filter(|server| server.owned > 0).count() == 2
    });
}
