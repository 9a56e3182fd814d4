//! What operators ask: each verb, how servers are named, and what is said to nonsense.

use cluster::Standing;
use cluster::coordinator::Plan;

use crate::played::{Played, json, settle, start, status, whole_map};

#[test]
fn each_verb_is_answered_in_any_case_and_with_any_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut servers: Vec<_> = (1..=2).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    let mut line = ecs.connect();
    let asked = ["ping", "PING", "Status", "ring", "plan", "map", "keyrange", "keyrange_read"];
    for (verb, end) in asked.iter().zip(["\n", "\r\n", "\n\r", "\n", "\r\n", "\n\r", "\n", "\n"]) {
        line.write(format!("{verb}{end}").as_bytes());
        let reply = line.line();
        let begin = match *verb {
            "ping" | "PING" => "pong".to_owned(),
            verb => format!("{}_success ", verb.to_ascii_lowercase()),
        };
        assert!(reply.starts_with(&begin), "{verb}: {reply}");
    }
    // Pipelined, with the replies in order.
    line.write(b"ping\nkeyrange\nping\nquit\nping\n");
    let rest = line.rest();
    let replies: Vec<_> = rest.split_inclusive("\r\n").collect();
    assert_eq!((replies[0], replies[2], replies.len()), ("pong\r\n", "pong\r\n", 3), "{rest}");
}

#[test]
fn key_ranges_name_the_primary_of_each_arc_and_all_who_may_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    assert_eq!(ecs.ask("keyrange"), "keyrange_success", "nobody serves anything yet");
    let mut servers: Vec<_> = (1..=2).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    let text = ecs.ask("keyrange");
    let ranges = protocol::parse_ranges(text.strip_prefix("keyrange_success ").unwrap()).unwrap();
    let text = ecs.ask("keyrange_read");
    let readers = text.strip_prefix("keyrange_read_success ").unwrap();
    let readers = protocol::parse_ranges(readers).unwrap();
    assert_eq!(readers.len(), ranges.len() * 2);
    for range in &ranges {
        let of_arc: Vec<_> = readers.iter().filter(|reader| reader.arc == range.arc).collect();
        assert_eq!((of_arc.len(), of_arc[0]), (2, range), "the primary comes first");
    }
}

#[test]
fn a_server_is_named_by_its_id_a_beginning_of_it_or_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let (first, second) = (0xab << 120, 0xac << 120);
    let mut servers = Vec::new();
    for name in [first, second] {
        let mut played = Played::welcomed(&ecs, name + 1);
        played.is_standby = true;
        played.register();
        servers.push(played);
    }
    let id = |name: u128| format!("{:032x}", name + 1);
    assert_eq!(ecs.ask("join ab"), format!("join_success {}", id(first)));
    assert_eq!(ecs.ask("join a"), "join_error a more than one server is called so");
    assert_eq!(ecs.ask("join b"), "join_error b no such server");
    assert_eq!(ecs.ask("join "), "join_error  no such server");
    assert_eq!(ecs.ask(&format!("join {}", id(second))), format!("join_success {}", id(second)));
    let address = crate::played::address(servers[0].id);
    let answer = ecs.ask(&format!("leave {address}"));
    assert_eq!(answer, format!("leave_success {}", id(first)));
    let standings: Vec<_> = status(&ecs).servers.iter().map(|server| server.standing).collect();
    assert_eq!(standings, [Standing::Leaving, Standing::Serving]);
}

#[test]
fn commands_may_be_said_twice_and_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut servers: Vec<_> = (1..=2).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    let [one, two] = [1, 2].map(|name| format!("{name:032x}"));
    for _ in 0..2 {
        assert_eq!(ecs.ask("rebalance"), "rebalance_success");
        assert_eq!(ecs.ask(&format!("leave {one}")), format!("leave_success {one}"));
    }
    let refused = format!("leave_error {two} nobody who is there would be left on the ring");
    assert_eq!(ecs.ask(&format!("leave {two}")), refused);
    let plan: Plan = json(&ecs.ask(&format!("plan leave {two}")), "plan_success ");
    assert_eq!(plan.refusal.as_deref(), Some("nobody else is on the ring"));
    assert_eq!(ecs.ask("plan leave x"), "plan_error no such server");
    let forced = format!("force_complete_success {one}");
    assert_eq!(ecs.ask(&format!("force_complete {one} lose_data")), forced, "nothing is refused");
}

#[test]
fn a_slot_without_a_complete_copy_is_told_of_and_served_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut server = Played::start(&ecs, 1);
    server.reconnect(&ecs);
    server.life = 2;
    let cluster::ToEcs::Register { server: id, address, life, version, .. } = server.registration()
    else {
        unreachable!()
    };
    let (is_complete, is_standby) = (false, false);
    let lost =
        cluster::ToEcs::Register { server: id, address, life, version, is_complete, is_standby };
    server.say(&lost);
    server.hear();
    let refused = status(&ecs);
    assert_eq!(refused.slots.without_primary, 16);
    let hint = refused.hints.iter().find(|hint| hint.contains("force_complete")).unwrap();
    assert!(hint.contains("16 slots") && hint.contains("may be lost"), "{hint}");
    let name = format!("{:032x}", 1);
    assert!(ecs.ask(&format!("force_complete {name}")).starts_with("error usage: force_complete"));
    let answer = ecs.ask(&format!("force_complete {name} lose_data"));
    assert_eq!(answer, format!("force_complete_success {name}"));
    assert_eq!(status(&ecs).slots.without_primary, 0);
}

#[test]
fn nonsense_gets_an_error_and_the_connection_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut line = ecs.connect();
    for (request, reply) in [
        (&b"bogus\n"[..], "error unknown verb bogus: status, ring, "),
        (b"\n", "error unknown verb : status, "),
        (b"get k\n", "error this is the ECS: ask a server"),
        (b"put k v\n", "error this is the ECS"),
        (b"join\n", "error usage: join <server>"),
        (b"status now\n", "error usage: status"),
        (b"plan dinner\n", "error usage: plan [join <server>"),
        (b"\xff\xfe\x00\x01\n", "error unknown verb "),
        (b"GET / HTTP/1.1\n", "error this is the ECS"),
    ] {
        line.write(request);
        let answer = line.line();
        assert!(answer.starts_with(reply), "{request:?}: {answer}");
    }
    line.send(&"x".repeat(4096));
    let echoed = line.line();
    assert!(echoed.len() < 300, "a long word is not repeated: {echoed}");
    line.send(&"x".repeat(4097));
    assert_eq!(line.rest(), "error line too long (limit 4096 bytes)\n");
    assert_eq!(whole_map(&ecs).delta.to, cluster::Version(0));
}
