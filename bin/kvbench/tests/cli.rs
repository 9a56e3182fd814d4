//! The program as a person or a script meets it: flags, figures, failures, exit codes; against a small server
//! in the test process that tells the truth or does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may panic, in its helpers too"
)]

mod fake;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use fake::{Cluster, Manner};
use serde_json::Value;

const PROTOCOLS: [&str; 3] = ["ringcask", "redis", "memcached"];

/// A key space so small that a fake server answers for all of it at once, and no warm-up.
const SMALL: &str = "--keys 500 --warmup 0";

fn kvbench(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvbench")).args(args.split_whitespace()).output().unwrap()
}

fn bench(protocol: &str, address: SocketAddr, args: &str) -> Output {
    let connections = if args.contains("-c ") { "" } else { "-c 4" };
    kvbench(&format!("-s {address} --proto {protocol} {SMALL} {connections} {args}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        assert_eq!(text(&output.stdout), "", "no JSON: {error}");
        Value::Null
    })
}

/// Checks the exit code and that standard error is one line with all `words` in it.
#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn help_names_every_flag_with_its_default() {
    let output = kvbench("--help");
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for flag in [
        "--server",
        "--proto",
        "--compare",
        "--connections",
        "--depth",
        "--mix",
        "--dist",
        "--keys",
        "--key-bytes",
        "--value-bytes",
        "--load",
        "--rate",
        "--warmup",
        "--duration",
        "--ops",
        "--runs",
        "--json",
        "--row",
        "[default: 50]",
        "[default: 1m]",
        "YCSB",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn nonsense_on_the_command_line_is_refused_with_exit_code_2() {
    for args in [
        "get",
        "-s here",
        "-s 127.0.0.1",
        "-s 127.0.0.1:1 --proto mysql",
        "-s 127.0.0.1:1 --mix e",
        "-s 127.0.0.1:1 --mix mixed=101",
        "-s 127.0.0.1:1 -c 0",
        "-s 127.0.0.1:1 --depth many",
        "-s 127.0.0.1:1 --keys 100k --key-bytes 4",
        "-s 127.0.0.1:1 --value-bytes 9-8",
        "-s 127.0.0.1:1 --value-bytes 1g",
        "-s 127.0.0.1:1 --ops 5 --duration 5",
        "-s 127.0.0.1:1 --json --row x",
        "-s 127.0.0.1:1 --duration 0",
        "-s 127.0.0.1:1 --rate 0",
        "-s 127.0.0.1:1 --compare redis",
        "-s 127.0.0.1:1 --frobnicate",
    ] {
        let output = kvbench(args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(!output.stderr.is_empty(), "{args}");
        assert!(output.stdout.is_empty(), "{args}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_so() {
    // A port that was just free; nobody listens on it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_fails(&bench("redis", address, ""), 1, &["cannot connect", &address.to_string()]);
}

#[test]
fn an_honest_server_of_each_protocol_gets_a_clean_report() {
    for protocol in PROTOCOLS {
        for mix in ["get", "set", "mixed=80", "a", "b", "c", "d", "f"] {
            let server = fake::start(protocol, Manner::Honest);
            let args =
                format!("--load --json --ops 2000 --depth 7 --mix {mix} --value-bytes 1-300");
            let output = bench(protocol, server, &args);
            assert_eq!(output.status.code(), Some(0), "{protocol} {mix}: {}", text(&output.stderr));
            let run = &json(&output)["targets"][0]["runs"][0];
            for count in ["wrong", "refused", "unknown", "not_found"] {
                assert_eq!(run[count], 0, "{protocol} {mix}: {count}");
            }
            let ops = run["gets"].as_u64().unwrap() + run["sets"].as_u64().unwrap();
            // Sets of read-modify-writes may go beyond the count by less than a batch a connection.
            assert!((2000..2000 + 4 * 7).contains(&ops), "{protocol} {mix}: {ops}");
            assert!(run["ops_per_second"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn a_wrong_value_is_noticed_in_each_protocol() {
    for protocol in PROTOCOLS {
        for manner in [Manner::Lies, Manner::Mixes] {
            let server = fake::start(protocol, manner);
            let output = bench(protocol, server, "--load --json --ops 1000");
            assert_fails(&output, 1, &["wrong value", "ringcask0000"]);
            assert_eq!(
                json(&output)["targets"][0]["runs"][0]["wrong"],
                1000,
                "{protocol} {manner:?}"
            );
        }
    }
}

#[test]
fn refusals_and_unknown_outcomes_are_counted_apart_and_fail_the_run() {
    for protocol in PROTOCOLS {
        let server = fake::start(protocol, Manner::Refuses);
        let output = bench(protocol, server, "--json --mix set --ops 100");
        assert_fails(&output, 1, &["100 refused", "disk full"]);
        assert_eq!(json(&output)["targets"][0]["runs"][0]["refused"], 100, "{protocol}");
    }
    let server = fake::start("ringcask", Manner::Doubts);
    let output = bench("ringcask", server, "--json --mix set --ops 100");
    assert_fails(&output, 1, &["100 unknown", "lost its backup"]);
    assert_eq!(json(&output)["targets"][0]["runs"][0]["unknown"], 100);
}

#[test]
fn keys_that_are_not_there_are_counted_and_explained() {
    for protocol in PROTOCOLS {
        let server = fake::start(protocol, Manner::Honest);
        let output = bench(protocol, server, "--ops 100");
        assert_eq!(output.status.code(), Some(0));
        let report = text(&output.stdout);
        assert!(report.contains("100.0 % of the gets found nothing: --load"), "{report}");
        let row = bench(protocol, server, "--ops 100 --row title");
        let note = text(&row.stderr);
        assert!(note.contains(protocol) && note.contains("found nothing: --load"), "{note}");
    }
}

#[test]
fn a_server_that_goes_away_ends_the_run_with_one_line() {
    for protocol in PROTOCOLS {
        let server = fake::start(protocol, Manner::HangsUp(2_000));
        let output = bench(protocol, server, "--mix set --duration 60 --depth 3");
        assert_fails(&output, 1, &["closed the connection", &server.to_string()]);
    }
}

#[test]
fn a_server_of_another_protocol_is_recognised() {
    for (speaks, asked) in [("ringcask", "memcached"), ("memcached", "ringcask")] {
        let server = fake::start(speaks, Manner::Honest);
        assert_fails(&bench(asked, server, "--ops 10"), 1, &["does not speak", asked, "answered"]);
    }
    let server = fake::start("ringcask", Manner::Greets);
    let output = bench("ringcask", server, "--ops 10");
    assert_fails(&output, 1, &["does not speak ringcask", "Connection to KVServer"]);
}

#[test]
fn at_a_fixed_rate_a_stall_counts_for_every_request_it_kept_waiting() {
    let stall = Duration::from_millis(500);
    let p90 = |args: &str| {
        let server = fake::start("ringcask", Manner::Stalls(500, stall));
        let output = bench("ringcask", server, &format!("-c 1 --json --mix set {args}"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let latency = &json(&output)["targets"][0]["runs"][0]["latency_us"];
        assert!(latency["max"].as_f64().unwrap() >= 490_000.0, "{latency}");
        latency["p90"].as_f64().unwrap()
    };
    // In half a second of a thousand a second, 500 of 1,500 requests fall due and wait 250 ms at the median.
    let paced = p90("--rate 1000 --duration 1500ms");
    assert!(paced > 200_000.0, "{paced}");
    // A closed loop has only the one that it waited for, out of thousands.
    let closed = p90("--ops 5000");
    assert!(closed < 200_000.0, "{closed}");
}

#[test]
fn runs_are_taken_in_turn_and_ratios_are_shown_for_each_round() {
    let servers = PROTOCOLS.map(|protocol| fake::start(protocol, Manner::Honest));
    let args = format!(
        "--load --ops 200 --runs 3 --compare redis@{} --compare memcached@{}",
        servers[1], servers[2]
    );
    let output = bench("ringcask", servers[0], &format!("{args} --json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = json(&output);
    assert_eq!(report["targets"].as_array().unwrap().len(), 3);
    for ratio in report["ratios"].as_array().unwrap() {
        assert_eq!(ratio["rounds"].as_array().unwrap().len(), 3);
        assert!(ratio["median"].as_f64().unwrap() > 0.0);
    }
    let table = bench("ringcask", servers[0], &args);
    let table = text(&table.stdout);
    for words in ["p99.9 µs", "median", "ringcask / redis", "ringcask / memcached", "(median of 3"]
    {
        assert!(table.contains(words), "{words:?} is not in {table}");
    }
    let row = bench("ringcask", servers[0], &format!("{args} --row GET,50×1"));
    let row = text(&row.stdout);
    assert!(row.starts_with("| GET,50×1 | "), "{row}");
    assert_eq!(row.matches(" × |").count(), 2, "{row}");
}

#[test]
fn in_a_cluster_each_request_goes_to_the_server_of_its_key() {
    for protocol in ["ringcask", "redis"] {
        let cluster = Cluster::start(protocol, Manner::Honest);
        let [low, high] = cluster.addresses;
        let args = "--load --mix mixed=50 --depth 8 --ops 4000 --json -c 3";
        let output = kvbench(&format!("-s {low},{high} --proto {protocol} {SMALL} {args}"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let run = &json(&output)["targets"][0]["runs"][0];
        assert_eq!(run["gets"].as_u64().unwrap() + run["sets"].as_u64().unwrap(), 4000);
        assert_eq!((run["not_found"].as_u64(), run["refused"].as_u64()), (Some(0), Some(0)));
        let counts = cluster.counts();
        assert_eq!(counts.iter().sum::<usize>(), 500, "no key is on two servers: {counts:?}");
        assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
    }
}

#[test]
fn a_cluster_that_cannot_be_learned_is_an_error() {
    let [first, second] = [0, 1].map(|_| fake::start("ringcask", Manner::Honest));
    let output = kvbench(&format!("-s {first},{second} {SMALL} --ops 10"));
    assert_fails(&output, 1, &["which server", "has which keys"]);
    let output = kvbench(&format!("-s {first},{second} --proto memcached {SMALL} --ops 10"));
    assert_fails(&output, 2, &["memcached has no cluster"]);
}

#[test]
fn a_redis_batch_is_answered_when_its_copies_are_there() {
    let address = fake::replicated(2);
    let args = "--mix mixed=50 --load --ops 500 --depth 4 --redis-wait 2 --json";
    let output = bench("redis", address, args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run = &json(&output)["targets"][0]["runs"][0];
    assert_eq!(run["gets"].as_u64().unwrap() + run["sets"].as_u64().unwrap(), 500);
    let output = bench("redis", address, "--mix set --ops 500 --redis-wait 3");
    assert_fails(&output, 1, &["an unknown outcome of WAIT", ":2"]);
}

#[test]
fn an_outage_run_finds_all_that_was_acknowledged_or_says_what_is_lost() {
    let cluster = Cluster::start("ringcask", Manner::Honest);
    let [low, high] = cluster.addresses;
    for wanted in ["", "--strict"] {
        let output = kvbench(&format!(
            "outage -s {low},{high} --writers 3 --readers 1 --duration 300ms --json {wanted}"
        ));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let found = json(&output);
        assert!(found["acknowledged"].as_u64().unwrap() > 10, "{found}");
        assert_eq!((found["lost"].as_u64(), found["reads_stale"].as_u64()), (Some(0), Some(0)));
        assert!(found["outage_ms"].as_f64().unwrap() <= 300.0, "{found}");
        assert_eq!(found["by_primary"].as_array().unwrap().len(), 2);
    }
    let [liar, _] = Cluster::start("ringcask", Manner::Lies).addresses;
    let output = kvbench(&format!("outage -s {liar} --writers 1 --duration 100ms"));
    assert_fails(&output, 1, &["acknowledged writes lost"]);
    let output = kvbench("outage --duration 61m");
    assert_fails(&output, 2, &["--duration"]);
}
