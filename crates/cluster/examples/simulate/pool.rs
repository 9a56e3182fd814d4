//! Work shared by threads: each takes the next piece; one takes the results, as they come.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Results that may wait to be taken; a run that fails is a megabyte of story.
const WAITING_COUNT_MAX: usize = 64;

/// Works through the jobs on `thread_count` threads. `take` gets each result with its job, in no order, and says whether to go on;
/// what is under way then is still finished, and dropped.
pub fn each<J: Sync, R: Send>(
    jobs: &[J],
    thread_count: usize,
    work: impl Fn(&J) -> R + Sync,
    mut take: impl FnMut(&J, R) -> bool,
) {
    let next = AtomicUsize::new(0);
    let (to, results) = mpsc::sync_channel::<(usize, R)>(WAITING_COUNT_MAX);
    thread::scope(|scope| {
        for _ in 0..thread_count {
            let (to, next, work) = (to.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    if to.send((index, work(job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(to);
        for (index, result) in &results {
            if !take(&jobs[index], result) {
                break;
            }
        }
        drop(results);
    });
}
