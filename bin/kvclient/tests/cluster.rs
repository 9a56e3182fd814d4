//! `cluster …` against a coordinator that says what a test has it say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use support::ecs::FakeEcs;
use support::fake::{FakeServer, nobody};
use support::terminal::Terminal;
use support::{run, run_with_input};

const ID: &str = "111d1b1be9d89649ff4fda5d9032821e";

/// Returns the status of a cluster of one server, so many of whose slots are complete.
fn status(complete: u16) -> String {
    format!(
        "status_success {{\"cluster\":\"d2da397110548b55e43d97bcee850f7a\",\"version\":14,\"slot_count\":4096,\
         \"replica_count\":3,\"servers\":[{{\"id\":\"{ID}\",\"address\":\"10.0.0.1:5153\",\"standing\":\"serving\",\
         \"is_seen\":true,\"silent_ms\":1,\"has_failed\":false,\"incarnation\":1,\"owned\":4096,\"primary\":4096,\
         \"backup\":0,\"learner\":0,\"bytes\":0}}],\"slots\":{{\"complete\":{complete},\"without_primary\":{},\
         \"with_learner\":0,\"short\":0,\"moving\":0,\"without_backup\":0,\"short_of_copies\":0}},\"moves\":[],\
         \"is_stopped\":false,\"hints\":[]}}",
        4096 - complete
    )
}

const ALL_IS_WELL: &str = "all 4,096 slots have their 1 copy";

#[test]
fn the_coordinator_is_found_through_a_server_or_named() {
    let ecs = FakeEcs::start(&[("status", &status(4096))]);
    let server = FakeServer::start();
    server.set_ecs(&ecs.address);
    let nobody = nobody();
    for args in [
        &["-s", &server.address, "cluster", "status"][..],
        &["-s", &nobody.address, "cluster", "status", "--ecs", &ecs.address],
        &["-s", &nobody.address, "cluster", "--ecs", &ecs.address, "status"],
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        assert!(ran.stdout.ends_with(&format!("\n{ALL_IS_WELL}\n")), "{}", ran.stdout);
        assert!(ran.stdout.contains("111d1b1b  10.0.0.1:5153  serving  100.0 %"), "{}", ran.stdout);
    }
}

#[test]
fn json_is_passed_on_as_it_came() {
    let plan =
        "{\"refusal\":null,\"moves\":[],\"slots\":0,\"bytes\":0,\"shares\":[],\"later\":[1]}";
    let ring = "{\"version\":1,\"slot_count\":4096,\"tokens\":[]}";
    let ecs = FakeEcs::start(&[
        ("status", &status(4096)),
        ("plan leave 111d", &format!("plan_success {plan}")),
        ("ring", &format!("ring_success {ring}")),
    ]);
    let whole = status(4096);
    let status = whole.strip_prefix("status_success ").unwrap();
    for (args, expected) in [
        (&["status", "--json"][..], status),
        (&["plan", "leave", "111d", "--json"], plan),
        (&["ring", "--json"], ring),
        (&["plan", "leave", "111d"], "nothing would move"),
        (&["ring"], "nobody is on the ring"),
    ] {
        let ran = run(&[&["cluster", "--ecs", &ecs.address], args].concat());
        assert_eq!((ran.code, ran.stdout), (0, format!("{expected}\n")), "{args:?}");
    }
    // In a pipe an answer is one line.
    let input = format!("cluster ring --ecs {}\n", ecs.address);
    assert_eq!(run_with_input(&[], input.as_bytes()).stdout, format!("{ring}\n"));
}

#[test]
fn orders_are_given_and_refusals_told() {
    let ecs = FakeEcs::start(&[
        ("join 111d", &format!("join_success {ID}")),
        (
            "leave 10.0.0.1:5153",
            &format!("leave_error {ID} nobody who is there would be left on the ring"),
        ),
        ("rebalance", "rebalance_success"),
        ("rebalance ops", "rebalance_success"),
        ("status", "put_success k"),
    ]);
    let ask = |args: &[&str]| run(&[&["cluster", "--ecs", &ecs.address], args].concat());
    let joined = ask(&["join", "111d"]);
    assert!(
        joined.code == 0 && joined.stdout.starts_with(&format!("{ID} joins the ring")),
        "{joined:?}"
    );
    assert_eq!(ask(&["rebalance"]).code, 0);
    assert_eq!(ask(&["rebalance", "--by", "ops"]).code, 0);
    let refused = ask(&["leave", "10.0.0.1:5153"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("nobody who is there would be left"), "{refused:?}");
    let nonsense = ask(&["status"]);
    assert!(nonsense.code == 1 && nonsense.stderr.contains("is it an ECS?"), "{nonsense:?}");
    assert_eq!(ask(&["plan", "join"]).code, 2);
    assert_eq!(ask(&["grow"]).code, 2);
}

#[test]
fn without_a_cluster_or_its_coordinator_it_says_so() {
    let server = FakeServer::start();
    let ran = run(&["-s", &server.address, "cluster", "status"]);
    assert!(ran.code == 1 && ran.stderr.contains("a server by itself"), "{ran:?}");
    let nobody = nobody();
    server.set_ecs(&nobody.address);
    let ran = run(&["-s", &server.address, "cluster", "status"]);
    assert!(ran.code == 1 && ran.stderr.contains("reads and writes need no ECS"), "{ran:?}");
}

#[test]
fn a_watch_shows_what_changes_until_q_and_gives_the_terminal_back() {
    let ecs = FakeEcs::start(&[("status", &status(4000))]);
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::start();
    server.set_ecs(&ecs.address);
    let mut terminal =
        Terminal::start(&["-s", &server.address, "cluster", "watch"], home.path(), &[]);
    terminal.expect("96 of 4,096 slots can be neither read nor written");
    ecs.set("status", &status(4096));
    terminal.expect(ALL_IS_WELL);
    ecs.set("status", "status_error why not");
    terminal.expect("why not");
    terminal.press("q");
    terminal.expect("\x1b[?1049l");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn the_prompt_has_the_same_commands() {
    let ecs = FakeEcs::start(&[("status", &status(4096))]);
    let (server, home) = (FakeServer::start(), tempfile::tempdir().unwrap());
    server.set_ecs(&ecs.address);
    let mut terminal = Terminal::start(&["-s", &server.address], home.path(), &[("NO_COLOR", "1")]);
    terminal.expect("> ");
    terminal.type_line("cluster status");
    terminal.expect(ALL_IS_WELL);
    terminal.type_line("cluster shrink");
    terminal.expect("usage: cluster <command>");
    terminal.type_line("cluster watch");
    terminal.expect(ALL_IS_WELL);
    // Ctrl-C, which gives no signal here.
    terminal.press("\x03");
    terminal.expect("\x1b[?1049l");
    terminal.type_line("get k");
    terminal.expect("not found: k");
    terminal.type_line("quit");
    assert_eq!(terminal.exit_code(), 0);
}
