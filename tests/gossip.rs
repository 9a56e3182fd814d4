//! Gossip between real servers: who lives, and who is seen without the ECS.

use crate::harness::{Cluster, Server, eventually};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

/// Returns how a server sees all servers: the address of each, and a word.
fn seen(by: &Server) -> Vec<(String, String)> {
    let reply = by.ask("members");
    let json = reply.strip_prefix("members_success ").expect("it tells what it sees");
    let all: Vec<Value> = serde_json::from_str(json).expect("it is JSON");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    all.iter().map(|member| (word(&member["address"]), word(&member["seen"]))).collect()
}

/// Returns what a server that is opened to with a line answers.
fn answer_to(cluster: &Cluster, opening: &str) -> String {
    let mut stream = TcpStream::connect(cluster.servers[0].address()).expect("it listens");
    stream.write_all(opening.as_bytes()).expect("it takes lines");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("it answers");
    line
}

#[test]
fn all_servers_see_who_is_dead_and_who_came_back_also_while_the_ecs_is_away() {
    let mut cluster = Cluster::of(3);
    let addresses: Vec<_> = cluster.servers.iter().map(Server::address).collect();
    let is_seen = |cluster: &Cluster, other: usize, how: &str| {
        let running = cluster.servers.iter().filter(|server| server.is_running());
        let wanted = (addresses[other].to_string(), how.to_owned());
        running.into_iter().all(|by| seen(by).contains(&wanted))
    };
    eventually("all see all", || (0..3).all(|other| is_seen(&cluster, other, "alive")));
    cluster.ecs.kill();
    cluster.servers[1].kill();
    eventually("it is seen dead", || is_seen(&cluster, 1, "dead"));
    assert!(is_seen(&cluster, 0, "alive") && is_seen(&cluster, 2, "alive"));
    cluster.ecs.start_again();
    cluster.servers[1].start_again();
    cluster.wait_until_level();
    eventually("it is seen again", || {
        let all = cluster.servers.iter().map(seen);
        all.flatten().filter(|(_, how)| how == "alive").count() == 9
    });
}

#[test]
fn a_stranger_who_gossips_nonsense_is_cut_off_and_nobody_minds() {
    let cluster = Cluster::of(1);
    let id = cluster.status().servers[0].id;
    let nonsense = format!("gossip 1 {:032x} {id}\nping 1 nonsense\n", 7);
    assert!(answer_to(&cluster, &nonsense).starts_with("error "), "it says why");
    let stranger = format!("gossip 1 {:032x} {:032x}\n", 7, 8);
    assert_eq!(answer_to(&cluster, &stranger), "error another server listens here now\n");
    cluster.wait_for(0, "put k v", |said| said == "put_success k");
}
