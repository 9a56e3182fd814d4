//! A new folder of the newest map that the servers kept.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use cluster::coordinator::WholeMap;
use cluster::{Map, Version};

use crate::common::run;
use crate::played::{Played, settle, start, whole_map};

/// Listens as a server does, for as many questions as `answers` has.
fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Answers `map` from now on with this text.
fn answer(listener: TcpListener, text: String) {
    answer_each(listener, move |_| text.clone());
}

/// Answers `map` from now on, each time with the text for how often that was done before.
fn answer_each(listener: TcpListener, text: impl Fn(usize) -> String + Send + 'static) {
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "map\n");
            // Who asks may have gone.
            writeln!(reader.get_mut(), "{}\r", text(count)).unwrap_or_default();
        }
    });
}

fn told(whole: &WholeMap) -> String {
    format!("map_success {}", serde_json::to_string(whole).unwrap())
}

/// Runs a rebuild; returns its exit code, and what it said.
fn rebuild(from: &[&str], dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let from = from.join(",");
    let arguments = ["rebuild", "--from", &from, "--dir", dir.to_str().unwrap()];
    let output = run(&[&arguments[..], more].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Three servers that know maps of different ages, the last of which listens nowhere; and the newest map.
struct Lost {
    newest: WholeMap,
    servers: Vec<Played>,
    addresses: Vec<String>,
    listeners: Vec<TcpListener>,
}

/// Returns what is left when the folder of an ECS is lost.
fn lose() -> Lost {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let (listeners, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| listen()).unzip();
    let mut servers = Vec::new();
    for (name, address) in (1..).zip(&addresses) {
        let mut played = Played::welcomed(&ecs, name);
        played.address.clone_from(address);
        played.register();
        servers.push(played);
    }
    settle(&ecs, &mut servers);
    for server in &mut servers {
        server.ask(Vec::new(), Vec::new());
    }
    let newest = whole_map(&ecs);
    ecs.kill();
    Lost { newest, servers, addresses, listeners }
}

impl Lost {
    /// Returns the map as it was some versions before.
    fn older(&self) -> WholeMap {
        let mut map = Map::new(16, 3);
        let mut delta = self.newest.delta.clone();
        delta.to = Version(delta.to.0 - 1);
        let servers = delta.servers.iter_mut().map(|(_, server)| &mut server.changed);
        let slots = delta.slots.iter_mut().map(|(_, slot)| &mut slot.changed);
        let ring = delta.ring.iter_mut().map(|(changed, _)| changed);
        for changed in servers.chain(slots).chain(ring) {
            *changed = delta.to.min(*changed);
        }
        map.apply(&delta).unwrap();
        WholeMap { delta: map.since(Version(0)), ..self.newest.clone() }
    }
}

#[test]
fn the_newest_map_of_all_servers_makes_a_folder_that_the_cluster_goes_on_with() {
    let mut lost = lose();
    let texts = [told(&lost.older()), told(&lost.newest), told(&lost.older())];
    for (listener, text) in std::mem::take(&mut lost.listeners).into_iter().zip(texts) {
        answer(listener, text);
    }
    let folder = tempfile::tempdir().unwrap();
    let from: Vec<_> = lost.addresses.iter().map(String::as_str).collect();
    let (code, said) = rebuild(&from, folder.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&lost.newest.cluster) && said.contains("3 servers"), "{said}");
    let ecs = start(folder.path());
    assert_eq!(whole_map(&ecs), lost.newest);
    for server in &mut lost.servers {
        server.reconnect(&ecs);
        server.register();
        assert_eq!(server.map.since(Version(0)), lost.newest.delta);
    }
    let mut fourth = Played::start(&ecs, 4);
    fourth.ask(Vec::new(), Vec::new());
    assert!(fourth.map.version() > lost.newest.delta.to, "and it decides");
    ecs.kill();
    let (code, said) = rebuild(&from, folder.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has a cluster in it already"), "{said}");
}

#[test]
fn servers_that_cannot_or_were_not_asked_are_left_out_only_by_order() {
    let mut lost = lose();
    let text = told(&lost.newest);
    let gone = lost.listeners.pop();
    for listener in std::mem::take(&mut lost.listeners) {
        answer(listener, text.clone());
    }
    drop(gone);
    let parent = tempfile::tempdir().unwrap();
    let all: Vec<_> = lost.addresses.iter().map(String::as_str).collect();
    for (from, reason) in [(&all[..], "start that server"), (&all[..2], "were not asked")] {
        let dir = parent.path().join("refused");
        let (code, said) = rebuild(from, &dir, &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason) && said.contains(all[2]), "{said}");
        assert!(said.contains("--accept-loss"), "{said}");
        assert!(!dir.join("snapshot").exists());
    }
    for (index, from) in [&all[..], &all[..2]].into_iter().enumerate() {
        let dir = parent.path().join(index.to_string());
        let (code, said) = rebuild(from, &dir, &["--accept-loss"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(whole_map(&start(&dir)), lost.newest);
    }
}

#[test]
fn maps_of_two_clusters_and_answers_that_are_none_are_refused() {
    let lost = lose();
    let other = WholeMap { cluster: format!("{:032x}", 5), ..lost.newest.clone() };
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new");
    let ask = |texts: &[String]| {
        let (listeners, addresses): (Vec<_>, Vec<_>) = texts.iter().map(|_| listen()).unzip();
        for (listener, text) in listeners.into_iter().zip(texts) {
            answer(listener, text.clone());
        }
        let from: Vec<_> = addresses.iter().map(String::as_str).collect();
        let (code, said) = rebuild(&from, &dir, &["--accept-loss"]);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let said = ask(&[told(&lost.newest), told(&other)]);
    assert!(said.contains("different clusters"), "{said}");
    for text in ["error unknown verb", "map_success {}", "map_success ", ""] {
        let said = ask(&[text.to_owned()]);
        assert!(said.contains("no server could be asked"), "{text}: {said}");
    }
    let empty = WholeMap::new(5, &Map::new(16, 3));
    let said = ask(&[told(&empty)]);
    assert!(said.contains("start a new cluster"), "{said}");
    let mut partial = lost.newest.clone();
    partial.delta.from = Version(1);
    assert!(ask(&[told(&partial)]).contains("not whole"));
    let none = WholeMap { replica_count: 0, ..lost.newest };
    assert!(ask(&[told(&none)]).contains("not whole"));
}

#[test]
fn a_server_that_still_hears_an_ecs_is_waited_for_and_nothing_is_made_if_that_does_not_end() {
    let mut lost = lose();
    let hearing = WholeMap { has_ecs: true, ..lost.older() };
    let parent = tempfile::tempdir().unwrap();
    let from = lost.addresses.clone();
    let from: Vec<_> = from.iter().map(String::as_str).collect();
    let mut listeners = std::mem::take(&mut lost.listeners).into_iter();
    // The first reads on before it notices, and has a newer map by then.
    let (first, later) = (listeners.next().unwrap(), told(&lost.newest));
    let early = told(&hearing);
    answer_each(first, move |count| if count < 3 { early.clone() } else { later.clone() });
    for listener in listeners {
        answer(listener, told(&lost.older()));
    }
    let dir = parent.path().join("made");
    let (code, said) = rebuild(&from, &dir, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(whole_map(&start(&dir)), lost.newest);

    let (listener, address) = listen();
    answer(listener, told(&hearing));
    let dir = parent.path().join("refused");
    let (code, said) = rebuild(&[&address], &dir, &["--accept-loss"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("still connected to an ECS"), "{said}");
    assert!(!dir.join("snapshot").exists());
}
