//! Servers register, are told maps, ask for changes, come back, and are told apart.

use cluster::lines::write_to_ecs;
use cluster::{Change, FromEcs, Incarnation, Number, ServerId, Standing, Version};

use crate::common::Ecs;
use crate::played::{Played, json, open, settle, start, status, whole_map};

#[test]
fn servers_register_and_everybody_is_told_the_same_map() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut servers: Vec<_> = (1..=3).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    let whole = whole_map(&ecs);
    for server in &mut servers {
        while server.map.version() < whole.delta.to {
            server.hear();
        }
        assert_eq!(server.map.since(Version(0)), whole.delta);
        assert_eq!(server.incarnation, Incarnation(1));
    }
    let status = status(&ecs);
    assert_eq!((status.slots.complete, status.moves.len()), (16, 0), "{status:?}");
    let backups: Vec<_> =
        status.servers.iter().map(|server| server.primary + server.backup).collect();
    assert_eq!(backups, [16, 16, 16], "three copies on three servers");
}

#[test]
fn a_join_and_a_leave_move_every_slot_to_its_ideal_members() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut servers: Vec<_> = (1..=3).map(|name| Played::start(&ecs, name)).collect();
    settle(&ecs, &mut servers);
    servers.push(Played::start(&ecs, 4));
    settle(&ecs, &mut servers);
    let owned = |ecs: &Ecs| status(ecs).servers.iter().map(|s| s.owned).collect::<Vec<_>>();
    assert_eq!(owned(&ecs), [4, 4, 4, 4]);
    assert_eq!(ecs.ask("leave 127.0.0.1:7001"), format!("leave_success {:032x}", 1));
    settle(&ecs, &mut servers);
    assert_eq!(owned(&ecs)[0], 0);
    let left = &status(&ecs).servers[0];
    assert_eq!((left.standing, left.primary, left.backup), (Standing::Leaving, 0, 0));
}

#[test]
fn a_server_that_comes_back_is_a_new_life_and_a_registration_said_twice_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut server = Played::start(&ecs, 1);
    server.register();
    assert_eq!(server.incarnation, Incarnation(1));
    server.reconnect(&ecs);
    server.life = 2;
    server.register();
    assert_eq!(server.incarnation, Incarnation(2));
    // A request of the life before is told that it is over.
    let mut late = Played::welcomed(&ecs, 1);
    late.say(&cluster::ToEcs::Request {
        server: ServerId(1),
        incarnation: Incarnation(1),
        number: Number(1),
        version: Version(0),
        is_full: false,
        changes: vec![Change::Fail],
        loads: Vec::new(),
    });
    assert_eq!(late.hear(), FromEcs::Superseded);
    assert_eq!(late.rest(), "");
}

#[test]
fn bytes_that_primaries_tell_are_shown_and_planned_with() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    let mut server = Played::start(&ecs, 1);
    let loads =
        server.map.slots().map(|(slot, _)| (slot, cluster::SlotLoad::of_len(1000))).collect();
    server.ask(Vec::new(), loads);
    assert_eq!(status(&ecs).servers[0].bytes, 16_000);
    let mut second = Played::welcomed(&ecs, 2);
    second.is_standby = true;
    second.register();
    let plan: cluster::coordinator::Plan =
        json(&ecs.ask("plan join 00000000000000000000000000000002"), "plan_success ");
    assert_eq!((plan.slots, plan.bytes, plan.refusal), (16, 16_000, None));
    assert_eq!(plan.shares.iter().map(|share| share.after).collect::<Vec<_>>(), [8, 8]);
}

#[test]
fn a_secret_is_demanded_of_servers_and_of_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "open sesame\r\n").unwrap();
    let dir = folder.path().join("ecs");
    let arguments = ["--secret-file", secret.to_str().unwrap(), "-a", "0.0.0.0"];
    let ecs = Ecs::start(&dir, &arguments);
    let port = ecs.address.rsplit_once(':').unwrap().1;
    let mut right = crate::common::Line::to(&format!("127.0.0.1:{port}"));
    right.send("server 1 00000000000000000000000000000001 open\\ssesame");
    assert!(right.line().starts_with("welcome "));
    for wrong in ["", " open", " open\\ssesame!", " OPEN\\sSESAME"] {
        let mut line = crate::common::Line::to(&format!("127.0.0.1:{port}"));
        line.send(&format!("server 1 00000000000000000000000000000001{wrong}"));
        assert_eq!(line.rest(), "error wrong secret\n", "{wrong:?}");
    }
    let mut operator = crate::common::Line::to(&format!("127.0.0.1:{port}"));
    operator.send("ping");
    assert_eq!(operator.line(), "pong");
}

#[test]
fn what_no_server_says_is_refused_and_the_connection_closes() {
    let folder = tempfile::tempdir().unwrap();
    let ecs = start(folder.path());
    for (first, answer) in [
        ("server 2 00000000000000000000000000000001", "error version 2 of the protocol not spoken"),
        ("server 1 1", "error server not 32 hexadecimal digits"),
        ("server", "error version of the protocol missing"),
        (
            "peer 1 00000000000000000000000000000001 00000000000000000000000000000002",
            "error this is the ECS, not a server",
        ),
    ] {
        let mut line = ecs.connect();
        line.send(first);
        let rest = line.rest();
        assert!(rest.starts_with(answer), "{first}: {rest}");
    }
    let (mut line, _) = open(&ecs, 1, None);
    line.send("register nonsense");
    assert!(line.line().starts_with("error server not 32"));
    assert_eq!(line.line(), "");
    // Who speaks for another server is nobody.
    let other = Played::welcomed(&ecs, 2).registration();
    let mut said = Vec::new();
    write_to_ecs(&mut said, &other);
    let (mut line, _) = open(&ecs, 1, None);
    line.write(&said);
    assert_eq!(line.rest(), "error you opened this connection as another server\n");
    assert_eq!(status(&ecs).servers.len(), 0);
}
