//! The tables of the gossip.

use std::time::Duration;

use crate::measure::{self, Pauses, Slow};
use crate::{Args, say};

/// Changes of the map in a row of the table.
const SPREAD_TRIAL_COUNT: usize = 1000;

/// Seeds of the slow server, an hour each.
const SLOW_SEED_COUNT: usize = 200;

const HOUR: Duration = Duration::from_secs(3600);

fn percentile(rising: &[f64], percent: usize) -> f64 {
    rising[(rising.len() * percent).div_ceil(100).max(1) - 1]
}

pub fn spread(args: &Args) {
    say(
        "| servers | lost lines | changes | p50 | p99 | longest (periods of 200 ms) | bytes a server sends for a change |",
    );
    say("|---|---|---|---|---|---|---|");
    let jobs: Vec<_> =
        args.counts().into_iter().flat_map(|count| [0, 50].map(|lost| (count, lost))).collect();
    let rows = args.each(&jobs, |(count, lost)| {
        // A thousand servers take a tenth of a second for each change.
        let trial_count =
            args.share(if *count >= 300 { SPREAD_TRIAL_COUNT / 5 } else { SPREAD_TRIAL_COUNT });
        let times = measure::spread(*count, trial_count, *lost, args.seed);
        let cost = (*lost == 0).then(|| measure::cost_of_a_change(*count, args.seed));
        let cost = cost.map_or_else(String::new, |cost| format!("{cost:.0}"));
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&times, percent));
        let lost = *lost as f64 / 10.0;
        format!("| {count} | {lost} % | {trial_count} | {p50:.2} | {p99:.2} | {max:.2} | {cost} |")
    });
    rows.iter().for_each(|row| say(row));
}

pub fn idle(args: &Args) {
    say("| servers | bytes sent a server and second | lines | age of the loads known of others |");
    say("|---|---|---|---|");
    let rows = args.each(&args.counts(), |count| {
        let seconds = args.share(if *count >= 300 { 60 } else { 600 }) as u64;
        let found = measure::idle(*count, Duration::from_secs(seconds), args.seed);
        let (bytes, lines, age) = (found.byte_rate, found.line_rate, found.load_age);
        format!("| {count} | {bytes:.0} | {lines:.1} | {age:.1} s |")
    });
    rows.iter().for_each(|row| say(row));
}

pub fn wrong(args: &Args) {
    let (least, most) = (Duration::from_millis(200), Duration::from_secs(2));
    let pauses = Pauses { every: Duration::from_secs(120), time: (least, most) };
    say(
        "| servers | lost lines | pauses | false suspicions an hour | false deaths an hour | simulated |",
    );
    say("|---|---|---|---|---|---|");
    let mixes = [(0, None), (10, None), (50, None), (0, Some(pauses)), (50, Some(pauses))];
    let jobs: Vec<_> = args
        .counts()
        .into_iter()
        .flat_map(|count| mixes.map(|(lost, pauses)| (count, lost, pauses)))
        .collect();
    let rows = args.each(&jobs, |(count, lost, pauses)| {
        // About as many server-hours in each row.
        let seconds = args.share((100 * 3600 / count).clamp(360, 10 * 3600)) as u64;
        let time = Duration::from_secs(seconds);
        let found = measure::wrong(*count, time, *lost, *pauses, args.seed);
        let hours = time.as_secs_f64() / HOUR.as_secs_f64();
        let [suspicions, deaths] =
            [found.suspicion_count, found.death_count].map(|n| format!("{:.1}", n as f64 / hours));
        let lost = *lost as f64 / 10.0;
        let mix = if pauses.is_some() { "one a minute and server" } else { "none" };
        format!("| {count} | {lost} % | {mix} | {suspicions} | {deaths} | {:.1} h |", hours)
    });
    rows.iter().for_each(|row| say(row));
}

pub fn slow(args: &Args) {
    let seed_count = args.share(SLOW_SEED_COUNT);
    let seeds: Vec<u64> = (args.seed..).take(seed_count).collect();
    let found = args.each(&seeds, |seed| measure::slow(8, HOUR, *seed));
    let sum = |part: fn(&Slow) -> usize| found.iter().map(part).sum::<usize>();
    say("| among 8, an hour each | | in all seeds |");
    say("|---|---|---|");
    say(&format!("| seeds | | {seed_count} |"));
    say(&format!("| healthy servers | taken for dead | {} |", sum(|f| f.healthy_deaths)));
    say(&format!("| | suspected | {} |", sum(|f| f.healthy_suspicions)));
    say(&format!("| the slow one | taken for dead | {} |", sum(|f| f.slow_deaths)));
    say(&format!("| | suspected | {} |", sum(|f| f.slow_suspicions)));
}

pub fn death(args: &Args) {
    say(
        "| servers | lost lines | first suspected after, p50 | longest | seen dead by all after, p50 | longest |",
    );
    say("|---|---|---|---|---|---|");
    let jobs: Vec<_> =
        args.counts().into_iter().flat_map(|count| [0, 50].map(|lost| (count, lost))).collect();
    let rows = args.each(&jobs, |(count, lost)| {
        let seed_count = args.share(if *count >= 300 { 10 } else { 100 }) as u64;
        let found: Vec<_> = (args.seed..args.seed + seed_count)
            .map(|seed| measure::death(*count, *lost, seed))
            .collect();
        let seconds = |part: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<_> = found.iter().map(|both| part(both).as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            format!("{:.2} s | {:.2} s", percentile(&times, 50), percentile(&times, 100))
        };
        let lost = *lost as f64 / 10.0;
        format!("| {count} | {lost} % | {} | {} |", seconds(|both| both.0), seconds(|both| both.1))
    });
    rows.iter().for_each(|row| say(row));
}
