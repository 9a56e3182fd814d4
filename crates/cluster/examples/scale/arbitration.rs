//! The tables of the coordinator and the ring.

use std::time::Duration;

use cluster::Action;
use cluster::lines::write_to_ecs;

use crate::host::Host;
use crate::{Args, arbiter, say};

/// Keys whose slots' loads are balanced.
const KEY_COUNT: u64 = 10_000_000;

/// Joins and leaves in a row of the table.
const STEP_COUNT: usize = 200;

/// Bytes that each server holds before one is lost: all its copies.
const HELD_LEN: u64 = 24 << 30;

/// For how long a server is listened to.
const SIGNS_TIME: Duration = Duration::from_secs(1000);

pub fn told(args: &Args) {
    say("| servers | told are 3 and the asker | told are all |");
    say("|---|---|---|");
    for count in args.counts() {
        // Telling all takes minutes for many servers: most of it to bring them there.
        let all = (count <= 100).then(|| arbiter::told(count, None).to_string());
        let (few, all) = (arbiter::told(count, Some(3)), all.unwrap_or_else(|| count.to_string()));
        say(&format!("| {count} | {few} | {all} |"));
    }
}

pub fn signs(args: &Args) {
    say("| servers | one says something every | all together, a second | bytes a second |");
    say("|---|---|---|---|");
    for count in args.counts() {
        let mut host = Host::among(count);
        host.actions.clear();
        for _ in 0..SIGNS_TIME.as_millis() / 100 {
            host.wait(Duration::from_millis(100));
            host.settle();
        }
        let lens = host.actions.iter().filter_map(|action| match action {
            Action::ToEcs(message) => {
                let mut line = Vec::new();
                write_to_ecs(&mut line, message);
                Some(line.len())
            }
            _ => None,
        });
        let seconds = SIGNS_TIME.as_secs_f64();
        let (all, len) = (count as f64 / seconds, lens.sum::<usize>() as f64);
        let signs = host.signs() as f64;
        let (every, a_second, len) = (seconds / signs, signs * all, len * all);
        say(&format!("| {count} | {every:.1} s | {a_second:.0} | {len:.0} |"));
    }
}

pub fn balance(args: &Args) {
    say("| servers | slots of each | joins and leaves | busiest share, p50 | longest |");
    say("|---|---|---|---|---|");
    let rows = args.each(&args.counts(), |count| {
        let step_count = args.share(STEP_COUNT);
        let found = arbiter::balance(*count, KEY_COUNT, step_count, args.seed);
        let slots = usize::from(hashring::SLOT_COUNT) / count;
        let (p50, max) = (found[found.len() / 2], found[found.len() - 1]);
        format!("| {count} | {slots} | {step_count} | {p50:.3} | {max:.3} |")
    });
    rows.iter().for_each(|row| say(row));
}

pub fn restore(args: &Args) {
    say(
        "| servers | lost (GiB) | time after the grace | servers that sent | alone it would take | slot (MiB) |",
    );
    say("|---|---|---|---|---|---|");
    let counts: Vec<_> =
        [4, 7, 10, 30, 100, 300, 1000].into_iter().filter(|n| *n <= args.servers_max).collect();
    let rows = args.each(&counts, |count| {
        let found = arbiter::restore(*count, HELD_LEN, args.seed);
        let gib = |len: u64| len as f64 / (1 << 30) as f64;
        let (lost, time) = (gib(HELD_LEN), found.time.as_secs_f64());
        let alone = HELD_LEN as f64 / cluster::Config::default().move_rate as f64;
        let slot = HELD_LEN * *count as u64 / 3 / u64::from(hashring::SLOT_COUNT) / (1 << 20);
        let senders = found.sender_count;
        format!("| {count} | {lost:.0} | {time:.0} s | {senders} | {alone:.0} s | {slot} |")
    });
    rows.iter().for_each(|row| say(row));
}
