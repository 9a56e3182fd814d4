//! Merges: live records of files with many dead bytes are copied to new files, and the old files go.
//!
//! 1. **Choose** sealed files whose dead bytes make it worth while ([`choose`], a pure function).
//! 2. **Copy** each living record into new files; which those are, [`living`](crate::living) says. Nothing points to
//!    the copies yet. A failure here throws the copies away and has changed nothing.
//! 3. **Commit**: the new files are sealed and synced, so is the log, whose records made the inputs' dead ones dead;
//!    then one manifest edit takes the old files out and the new ones in.
//! 4. **Relocate**: each key that still points to an old record is pointed to its copy, one short lock each; a key that
//!    was written meanwhile is left alone. Tombstones that were not copied leave the keydir. A failure here
//!    poisons the store: the next merge would take copies for dead that the keydir does not point to yet.
//! 5. The old files lose their names; readers that have them open read on.
//!
//! A crash before 3 leaves the old files, after it the new ones. Readers and writers are never stopped.
//!
//! Which files to take: Rosenblum and Ousterhout, *The Design and Implementation of a Log-Structured File System*,
//! SOSP 1991, section 3.6 (greedy cleaning; the keys of a hash ring have no locality to exploit).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::MergeConfig;
use crate::data_file::{DataFile, FILE_HEADER_LEN, FileId};
use crate::error::{Error, Result};
use crate::inner::{Inner, now_ms};
use crate::living::{Copying, relocate};
use crate::manifest::Edit;
use crate::output::remove_file;

/// Files merged at once, at most, so that a merge ends within sensible time.
const INPUT_COUNT_MAX: usize = 16;
/// The share of dead bytes, in percent, from which a file is worth a merge by itself.
pub(crate) const INPUT_DEAD_PERCENT: u64 = 20;
/// A file below this part of a full one counts as small.
const SMALL_PART: u64 = 8;
/// A merge takes at most this part of all live bytes, since its copies lie on the disk beside its inputs; and the file
/// that grows is sealed at this length when dead bytes have passed the trigger.
const LIVE_PART: u64 = 8;
/// But never less than this many bytes: a sync and an edit of the manifest for each 4 MiB are little.
const PART_LEN_MIN: u64 = 4 << 20;

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Data files merged away.
    pub removed_count: usize,
    /// Data files written.
    pub added_count: usize,
    /// Bytes of data files won back.
    pub freed_len: u64,
    /// Bytes copied.
    pub copied_len: u64,
}

/// A data file, as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: FileId,
    pub(crate) len: u64,
    pub(crate) live_len: u64,
}

impl Candidate {
    fn dead_len(&self) -> u64 {
        self.len.saturating_sub(self.live_len)
    }
}

/// Returns how long files are to be, and how many live bytes one merge takes, in a store with `live_len` live bytes whose
/// dead bytes have passed the trigger.
pub(crate) fn part_len(live_len: u64, file_len_max: u64) -> u64 {
    (live_len / LIVE_PART).max(PART_LEN_MIN).min(file_len_max)
}

/// Returns the files to merge, or none when it would gain too little.
///
/// Files with nothing live always go. Else, when the dead bytes of all pass the trigger, the files with the largest
/// dead share go, up to [`part_len`] of live bytes. Else, when there are many small files, those do.
pub(crate) fn choose(
    candidates: &[Candidate],
    file_len_max: u64,
    config: &MergeConfig,
) -> Vec<FileId> {
    let mut sorted = candidates.to_vec();
    // dead/len of a against b, without division; ids settle ties so that the choice is deterministic. A file without
    // records has no share, and a zero for its length would make it the equal of all others.
    let share = |a: &Candidate, b: &Candidate| {
        let left = u128::from(a.dead_len()) * u128::from(b.len.max(1));
        let right = u128::from(b.dead_len()) * u128::from(a.len.max(1));
        right.cmp(&left).then(a.id.cmp(&b.id))
    };
    sorted.sort_by(share);
    let (len, dead_len) =
        sorted.iter().fold((0, 0), |(len, dead), file| (len + file.len, dead + file.dead_len()));
    if mutant!("merge without gain") {
        return sorted.iter().map(|file| file.id).collect();
    }
    let live_len_max = part_len(len.saturating_sub(dead_len), file_len_max);
    let is_over = dead_len * 100 >= len * u64::from(config.dead_percent) && dead_len > 0;
    let mut worth = sorted.iter().filter(|file| {
        let is_worth = is_over && file.dead_len() * 100 >= file.len * INPUT_DEAD_PERCENT;
        file.live_len == 0 || is_worth
    });
    let chosen = take_up_to(&mut worth, live_len_max);
    if !chosen.is_empty() {
        return chosen;
    }
    let small_len = live_len_max / SMALL_PART;
    let small: Vec<_> = sorted.iter().filter(|file| file.len < small_len).collect();
    if small.len() < config.small_file_count.max(2) {
        return Vec::new();
    }
    take_up_to(&mut small.into_iter(), live_len_max)
}

fn take_up_to(files: &mut dyn Iterator<Item = &Candidate>, live_len_max: u64) -> Vec<FileId> {
    let (mut live_len, mut chosen) = (0, Vec::new());
    for file in files.take(INPUT_COUNT_MAX) {
        live_len += file.live_len;
        // The first is taken whatever its size: one long record can make a file longer than a full one.
        if live_len > live_len_max && !chosen.is_empty() {
            break;
        }
        chosen.push(file.id);
    }
    chosen
}

/// Merges the files that are worth it most, if any are.
pub(crate) fn run(store: &Inner) -> Result<Option<MergeReport>> {
    let _one_at_a_time = store.lock_merging();
    let _no_appends = mutant!("merge stops writes").then(|| store.log.hold());
    let files = store.files.all();
    let now_ms = now_ms();
    let candidates = files.iter().filter(|file| is_free(file)).map(|file| candidate(file, now_ms));
    let candidates: Vec<_> = candidates.collect();
    if store.config.has_background {
        store.background.note_appended(store.durability.appended().0);
    }
    let dead_percent = store.config.merge.trigger(store.background.is_busy());
    let config = MergeConfig { dead_percent, ..store.config.merge };
    let chosen = choose(&candidates, store.config.file_len_max, &config);
    let inputs: Vec<_> = files.into_iter().filter(|file| chosen.contains(&file.id)).collect();
    if inputs.is_empty() || !has_space(store, &inputs) {
        return Ok(None);
    }
    store.health.check()?;
    let merged = merge(store, &inputs);
    if merged.is_err() {
        store.counters.merges_failed.fetch_add(1, Ordering::Relaxed);
        store.counts_are_low.store(true, Ordering::Release);
    }
    merged.map(Some)
}

fn is_free(file: &Arc<DataFile>) -> bool {
    file.is_sealed() && !file.is_damaged() && !file.has_unpublished()
}

fn candidate(file: &Arc<DataFile>, now_ms: u64) -> Candidate {
    let len = file.data_end() - FILE_HEADER_LEN;
    let live_len = file.live_len().saturating_sub(file.ended_len(now_ms));
    Candidate { id: file.id, len, live_len }
}

/// Returns whether the copies fit on the disk, the reserve included.
fn has_space(store: &Inner, inputs: &[Arc<DataFile>]) -> bool {
    let live_len: u64 = inputs.iter().map(|file| file.live_len()).sum();
    live_len == 0 || store.disk.free_len().is_ok_and(|free_len| free_len > live_len)
}

fn merge(store: &Inner, inputs: &[Arc<DataFile>]) -> Result<MergeReport> {
    let mut copying = Copying::new(store);
    let copied = inputs
        .iter()
        .try_for_each(|input| copying.copy_living(input))
        .and_then(|()| copying.output.finish());
    let Copying { output, free, copied_len, .. } = copying;
    let outputs = match copied {
        Ok(outputs) => outputs,
        Err(error) => {
            output.discard();
            return Err(error);
        }
    };
    let mut report = MergeReport { copied_len, ..MergeReport::default() };
    // What dead records were overwritten with must survive a power cut before they go: under the policies that
    // do not wait for a sync it may not be durable yet.
    if !mutant!("inputs removed before the log is durable") {
        store.durability.sync(store)?;
    }
    commit(store, inputs, &outputs)?;
    let ids: Vec<_> = inputs.iter().map(|file| file.id).collect();
    store.files.change(&[], &outputs);
    let relocated = outputs.iter().try_for_each(|file| relocate(store, file, &ids));
    store.health.poison_on_failure(relocated)?;
    free.iter().for_each(|record| record.forget(store));
    store.files.change(&ids, &[]);
    for id in &ids {
        remove_file(&*store.disk, *id)?;
    }
    report.removed_count = inputs.len();
    report.added_count = outputs.len();
    let len = |files: &[Arc<DataFile>]| files.iter().map(|file| file.data_end()).sum::<u64>();
    report.freed_len = len(inputs).saturating_sub(len(&outputs));
    store.counters.merges.fetch_add(1, Ordering::Relaxed);
    store.counters.merged_len.fetch_add(report.copied_len, Ordering::Relaxed);
    Ok(report)
}

fn commit(store: &Inner, inputs: &[Arc<DataFile>], outputs: &[Arc<DataFile>]) -> Result<()> {
    let ids = |files: &[Arc<DataFile>]| files.iter().map(|file| file.id).collect();
    let edit = Edit::Merged { removed: ids(inputs), added: ids(outputs) };
    let committed = store.lock_manifest().commit(&[edit]);
    if committed.as_ref().is_err_and(Error::is_refusal) {
        for file in outputs {
            drop(remove_file(&*store.disk, file.id));
        }
    }
    store.health.poison_on_failure(committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 1_000;

    /// What is tried, the files' lengths and live bytes, and the ids chosen.
    type Row = (&'static str, &'static [(u64, u64)], &'static [u32]);

    fn files(rows: &[(u64, u64)]) -> Vec<Candidate> {
        let file = |(index, row): (usize, &(u64, u64))| Candidate {
            id: FileId(u32::try_from(index).unwrap() + 1),
            len: row.0,
            live_len: row.1,
        };
        rows.iter().enumerate().map(file).collect()
    }

    #[test]
    fn the_files_with_the_largest_dead_share_are_chosen_once_it_gains_enough() {
        let table: [Row; 8] = [
            ("one that is over-long", &[(5000, 2500)], &[1]),
            ("no files", &[], &[]),
            ("nothing dead", &[(1000, 1000), (1000, 1000)], &[]),
            ("below the trigger", &[(1000, 800), (1000, 900)], &[]),
            ("over it", &[(1000, 700), (1000, 300)], &[2, 1]),
            ("a full file at most", &[(1000, 500), (1000, 400), (1000, 600)], &[2, 1]),
            ("little gain in one", &[(1000, 100), (1000, 850)], &[1]),
            ("nothing live goes at once", &[(1000, 0), (1000, 1000), (1000, 1000), (9, 9)], &[1]),
        ];
        for (what, rows, expected) in table {
            let chosen = choose(&files(rows), FULL, &MergeConfig::default());
            let ids: Vec<_> = chosen.iter().map(|id| id.0).collect();
            assert_eq!(ids, expected, "{what}");
        }
    }

    #[test]
    fn files_without_records_are_chosen_and_do_not_upset_the_order() {
        let rows: Vec<_> =
            (0..64).map(|index| if index % 3 == 0 { (0, 0) } else { (100, index) }).collect();
        let chosen = choose(&files(&rows), FULL, &MergeConfig::default());
        assert_eq!(chosen.len(), INPUT_COUNT_MAX);
        let empty = choose(&files(&[(100, 100), (0, 0)]), FULL, &MergeConfig::default());
        assert_eq!(empty, [FileId(2)]);
    }

    #[test]
    fn a_merge_takes_an_eighth_of_what_lives_within_four_mebibytes_and_a_full_file() {
        let full = 128 << 20;
        let table = [(0, 4 << 20), (32 << 20, 4 << 20), (80 << 20, 10 << 20), (1 << 40, full)];
        for (live_len, len) in table {
            assert_eq!(part_len(live_len, full), len);
        }
        assert_eq!(part_len(1 << 40, 1000), 1000);
        let rows = [(20 << 20, 8 << 20); 5];
        let chosen = choose(&files(&rows), full, &MergeConfig::default());
        assert_eq!(chosen, [FileId(1)], "a second one would be too much");
    }

    #[test]
    fn many_small_files_become_one_and_then_there_is_nothing_to_gain() {
        let config = MergeConfig::default();
        let small: Vec<_> = (0..8).map(|_| (10, 10)).collect();
        assert_eq!(choose(&files(&small), FULL, &config).len(), 8);
        assert_eq!(choose(&files(&small[1..]), FULL, &config), []);
        assert_eq!(choose(&files(&[(80, 80)]), FULL, &config), []);
    }
}
