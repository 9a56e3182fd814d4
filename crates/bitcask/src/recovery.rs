//! Opening: from the files of a folder to a keydir.
//!
//! * The manifest says which files are alive. One that is missing stops the opening. Others are leftovers of a
//!   merge and are removed, after everything else went well.
//! * Sealed files are read through their hint files, or record by record.
//! * A file without a footer was growing when its process ended. What is whole in it is copied to a new file, synced
//!   and sealed, before anything is served. Damage before an offset that a mark proves durable is
//!   corruption: the records behind it are kept, it is reported, the old file is set aside as `….damaged`,
//!   and a key whose newest value it hit answers *damaged*, never an older value. Damage behind every such
//!   offset is where the log tore: it ends there, because a hole in what was never promised is worse than its
//!   loss. Zeros, which ext4 leaves behind a cut, are damage like any other. Where there is no room for a copy
//!   and nothing is corrupt, the same bytes are written again in place: a full disk must not keep a store
//!   from opening.
//! * The order in which records are met does not matter: the highest lsn wins (R1).
//! * Where a slot has a commit point, records above it become pending instead of visible (R2).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::data_file::{DataFile, FILE_HEADER_LEN, FileId, Footer};
use crate::error::{Context, Error, Result};
use crate::hint::{self, Hint};
use crate::inner::Inner;
use crate::keydir;
use crate::manifest::Edit;
use crate::output::{Output, remove_file};
use crate::record::{Head, Kind};
use crate::scan::{Item, Scan};

/// Threads that read data files at opening, at most; more only wait for the same disk.
const THREAD_COUNT_MAX: usize = 4;

/// Bytes written again in one go when a file is sealed in place.
const REWRITE_LEN: usize = 1 << 20;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes from its start.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// What opening a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Data files read.
    pub file_count: usize,
    /// Of these, read through their hint files.
    pub hint_count: usize,
    /// Records met, dead ones among them.
    pub record_count: u64,
    /// Bytes of a torn tail that were cut off: writes that were never acknowledged as durable.
    pub torn_len: u64,
    /// Damage in what was durable.
    pub damage: Vec<Damage>,
    /// Leftover files that were removed.
    pub leftover_count: usize,
}

impl Recovery {
    fn add(&mut self, other: Self) {
        self.file_count += other.file_count;
        self.hint_count += other.hint_count;
        self.record_count += other.record_count;
        self.torn_len += other.torn_len;
        self.damage.extend(other.damage);
        self.leftover_count += other.leftover_count;
    }
}

/// Fills the keydir and the file table of `store` from its folder.
pub(crate) fn run(store: &Inner) -> Result<Recovery> {
    let mut recovery = Recovery::default();
    let (leftovers, adopted) = sort_names(store)?;
    if !adopted.is_empty() {
        store.lock_manifest().commit(&adopted)?;
    }
    let (ids, growing) = {
        let manifest = store.lock_manifest();
        (manifest.state.files.clone(), manifest.state.growing.clone())
    };
    let (mut sealed, mut unsealed) = (Vec::new(), Vec::new());
    for id in ids {
        let file = Arc::new(DataFile::open(&store.disk, store.id, id)?);
        match file.read_footer()? {
            Some(footer) => {
                if growing.contains(&id) {
                    // Its last sync may have failed: the footer is perhaps in the page cache only, and once another
                    // file has begun, a missing footer is damage.
                    file.seal(&footer)?;
                }
                sealed.push((file, footer));
            }
            None => unsealed.push(file),
        }
    }
    let files: Vec<_> = sealed.iter().map(|(file, _)| Arc::clone(file)).collect();
    store.files.change(&[], &files);
    make_room(store, &sealed);
    recovery.add(load_all(store, &sealed)?);
    store.keydir.shrink();
    for file in unsealed {
        recovery.add(salvage(store, &file)?);
    }
    recovery.leftover_count = leftovers.len();
    for name in leftovers {
        let path = || store.disk.path().join(&name);
        store.disk.remove(&name).context("remove", path)?;
    }
    Ok(recovery)
}

/// Sorts the folder's names: leftovers to remove, and data files that the manifest does not know yet.
///
/// Those have higher ids than any it knows. They hold nothing that was acknowledged, or copies of what other files
/// hold too, so taking them in is always right; removing them would not be, if the manifest's last edit
/// was lost to damage.
fn sort_names(store: &Inner) -> Result<(Vec<String>, Vec<Edit>)> {
    let mut names = store.disk.list().context("list", || store.disk.path().to_owned())?;
    names.sort();
    let state = store.lock_manifest().state.clone();
    for id in &state.files {
        if names.binary_search(&id.data_name()).is_err() {
            let path = store.disk.path().join(id.data_name());
            let what = "missing, although the manifest names it: restore it from a backup";
            return Err(Error::Missing { path, what });
        }
    }
    let (mut leftovers, mut adopted) = (Vec::new(), Vec::new());
    for name in names {
        let data = FileId::from_name(&name, ".data");
        let hint = FileId::from_name(&name, ".hint");
        match data.or(hint) {
            Some(id) if state.files.contains(&id) => {}
            Some(id) if id > state.last_file => {
                adopted.extend(data.map(Edit::Found));
                store.files.note_used(id);
            }
            Some(_) => leftovers.push(name),
            None if name.ends_with(".hint.new") => leftovers.push(name),
            // Not the engine's: somebody's notes, or damaged files that were set aside.
            None => {}
        }
    }
    Ok((leftovers, adopted))
}

/// Makes room in the keydir for what the hint files hold, so that it need not grow step by step. How long they are tells how
/// long the keys are, of which there are no more bytes than of the data; where one is missing, its keys find room
/// as they come.
fn make_room(store: &Inner, sealed: &[(Arc<DataFile>, Footer)]) {
    let (mut count, mut len) = (0, 0);
    for (file, footer) in sealed {
        let Some(hint_len) = hint::len(&store.disk, file.id) else { continue };
        let hint_len = hint_len.min(footer.data_end);
        let hint_count = footer.record_count.min(hint_len / hint::ENTRY_LEN);
        count += hint_count;
        len += hint_len + hint_count * (keydir::ENTRY_LEN as u64 - hint::ENTRY_LEN);
    }
    store.keydir.reserve(count, len);
}

/// Loads all sealed files, on several threads where the store has threads.
fn load_all(store: &Inner, sealed: &[(Arc<DataFile>, Footer)]) -> Result<Recovery> {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Ok(Recovery::default()));
    let work = || {
        while let Some((file, footer)) = sealed.get(next.fetch_add(1, Ordering::Relaxed)) {
            let loaded = load(store, file, footer);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *total, loaded) {
                (Ok(total), Ok(loaded)) => total.add(loaded),
                (Ok(_), Err(error)) => *total = Err(error),
                (Err(_), _) => return,
            }
        }
    };
    let thread_count = match store.config.has_background {
        true => {
            thread::available_parallelism().map_or(1, |count| count.get().min(THREAD_COUNT_MAX))
        }
        false => 1,
    };
    thread::scope(|scope| {
        for _ in 1..thread_count.min(sealed.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut recovery = total.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    recovery.damage.sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
    Ok(recovery)
}

/// Loads one sealed file.
fn load(store: &Inner, file: &Arc<DataFile>, footer: &Footer) -> Result<Recovery> {
    let mut recovery = Recovery { file_count: 1, ..Recovery::default() };
    if file.is_damaged() {
        recovery.damage.push(damage(file, 0, FILE_HEADER_LEN, "file header"));
    }
    let mut count = 0;
    let visit = &mut |hint: &Hint<'_>| {
        store.load(hint, file);
        count += 1;
    };
    if hint::read(&store.disk, store.id, file, footer, visit).is_ok() {
        (recovery.hint_count, recovery.record_count) = (1, count);
        return Ok(recovery);
    }
    let mut scan = Scan::new(file, footer.data_end);
    while let Some((at, item)) = scan.next()? {
        match item {
            Item::Record(head) => {
                recovery.record_count += 1;
                if let Some(hint) = Hint::of_head(&head, file.id, at) {
                    store.load(&hint, file);
                }
            }
            Item::Damage(_) if mutant!("twenty errors a file") && recovery.damage.len() >= 20 => {
                break;
            }
            Item::Damage(len) => {
                file.note_damage();
                recovery.damage.push(damage(file, at, len, "record header"));
            }
        }
    }
    Ok(recovery)
}

fn damage(file: &DataFile, offset: u64, len: u64, what: &'static str) -> Damage {
    Damage { path: file.path(), offset, len, what }
}

/// What a look at every record of a file tells.
pub(crate) struct Survey {
    /// Where the log ends: at its tear, or at the file's end.
    pub(crate) end: u64,
    /// Records with good checksums, those behind a tear among them.
    pub(crate) record_count: u64,
    pub(crate) torn_len: u64,
    pub(crate) corruption: Vec<Damage>,
}

/// Checks every record of `file`, which is known to have been durable up to `durable_min`.
pub(crate) fn survey(file: &DataFile, durable_min: u64) -> Result<Survey> {
    let file_end = file.data_end();
    let mut scan = Scan::new(file, file_end);
    let (mut durable_upto, mut bad) = (durable_min, Vec::new());
    let mut record_count = 0;
    while let Some((at, item)) = scan.next()? {
        match item {
            Item::Record(head) if head.kind == Kind::Mark => {
                durable_upto = durable_upto.max(head.lsn.0);
            }
            Item::Record(head) => {
                let (len, head_len, crc) = (head.record_len(), head.len(), head.value_crc);
                let record = scan.record_bytes(at, len)?;
                let value = record.get(head_len..).unwrap_or_default();
                if record.len() < len || crc32fast::hash(value) != crc {
                    bad.push(damage(file, at, len as u64, "value checksum"));
                } else {
                    record_count += 1;
                }
            }
            Item::Damage(len) => bad.push(damage(file, at, len, "record header")),
        }
    }
    if mutant!("corruption taken for a tear") {
        durable_upto = 0;
    }
    if mutant!("zeros taken for corruption") {
        durable_upto = file_end;
    }
    let tear = bad.iter().position(|bad| bad.offset >= durable_upto);
    let end = tear.and_then(|index| bad.get(index)).map_or(file_end, |tear| tear.offset);
    bad.truncate(tear.unwrap_or(bad.len()));
    if file.is_damaged() && durable_upto > 0 {
        bad.insert(0, damage(file, 0, FILE_HEADER_LEN, "file header"));
    }
    Ok(Survey { end, record_count, torn_len: file_end - end, corruption: bad })
}

/// Checks every record of `file`, which was sealed once and has no footer any more: something is wrong with its end,
/// if nowhere else.
pub(crate) fn survey_once_sealed(file: &DataFile) -> Result<Survey> {
    let mut found = survey(file, file.data_end())?;
    if found.corruption.is_empty() {
        found.corruption.push(damage(file, found.end, 0, "cut off"));
    }
    Ok(found)
}

/// Takes an unsealed file in: what is whole in it is copied to a new one, which takes its place.
///
/// A file that was sealed once, and whose footer is damaged now, cannot have torn: all damage in it is corruption.
fn salvage(store: &Inner, file: &Arc<DataFile>) -> Result<Recovery> {
    let may_be_torn = store.lock_manifest().state.growing.contains(&file.id);
    let surveyed = if may_be_torn { survey(file, 0)? } else { survey_once_sealed(file)? };
    let Survey { end, torn_len, corruption, .. } = surveyed;
    let mut recovery =
        Recovery { file_count: 1, torn_len, damage: corruption, ..Recovery::default() };
    let is_room = has_space(store, end) && !mutant!("recovered in place");
    if recovery.damage.is_empty() && !is_room {
        let sealed = seal_in_place(file, store.id, end)?;
        store.files.change(&[], &[Arc::clone(file)]);
        recovery.record_count = load(store, file, &sealed)?.record_count;
        return Ok(recovery);
    }
    // One file, however long: of two, a power cut could keep the second alone, which the next opening would take in,
    // and there would be a hole in the log.
    let mut output = Output::new(store, u64::MAX);
    let mut scan = Scan::new(file, end);
    while let Some((at, item)) = scan.next()? {
        let Item::Record(head) = item else { continue };
        recovery.record_count += 1;
        if head.kind == Kind::Mark {
            continue;
        }
        let is_lost = recovery.damage.iter().any(|damage| damage.offset == at);
        if is_lost && mutant!("fresh checksum for damage") {
            let (len, head_len, lsn) = (head.record_len(), head.len(), head.lsn);
            let mut record = scan.record_bytes(at, len)?.to_vec();
            let crc = record.get(head_len..).map_or(0, crc32fast::hash);
            crate::codec::put_at(&mut record, 4, &crc.to_le_bytes());
            output.copy(&record, head_len, lsn)?;
        } else if is_lost {
            write_lost(file, at, &head, &mut output)?;
        } else {
            let (len, head_len, lsn) = (head.record_len(), head.len(), head.lsn);
            output.copy(scan.record_bytes(at, len)?, head_len, lsn)?;
        }
    }
    let outputs = output.finish()?;
    let added = outputs.iter().map(|file| file.id).collect();
    store.lock_manifest().commit(&[Edit::Merged { removed: vec![file.id], added }])?;
    store.files.change(&[], &outputs);
    for output in &outputs {
        if let Some(footer) = output.read_footer()? {
            load(store, output, &footer)?;
        }
    }
    set_aside(store, file, !recovery.damage.is_empty())?;
    Ok(recovery)
}

/// Returns whether `len` bytes can be copied without touching the reserve.
fn has_space(store: &Inner, len: u64) -> bool {
    let needed_len = len.saturating_add(store.config.reserve_len);
    store.disk.free_len().is_ok_and(|free_len| free_len > needed_len)
}

/// Makes a sealed file of an unsealed one that is whole up to `end`, for want of space for a copy: every byte is
/// written again as it stands, so that the sync that follows really writes it, whatever an earlier sync
/// failed to do; then the tail is cut off. Broken off at any moment, it can be done again.
fn seal_in_place(file: &DataFile, store: u128, end: u64) -> Result<Footer> {
    let mut chunk = vec![0; REWRITE_LEN];
    // A header that nothing durable stood behind may have torn with the rest.
    file.write_header(store)?;
    let mut at = FILE_HEADER_LEN;
    while at < end && !mutant!("recovered in place") {
        let left_len = crate::codec::to_usize(end - at).min(REWRITE_LEN);
        let place = chunk.get_mut(..left_len).unwrap_or_default();
        file.read(place, at)?;
        file.write(place, at)?;
        at += left_len as u64;
    }
    file.set_len(end)?;
    let mut footer = Footer::empty();
    let mut scan = Scan::new(file, end);
    while let Some((_, item)) = scan.next()? {
        if let Item::Record(head) = item
            && head.kind != Kind::Mark
        {
            footer.count(head.lsn, 0);
        }
    }
    footer.data_end = end;
    file.seal(&footer)?;
    Ok(footer)
}

/// Leaves word that the newest record of a key was damaged.
fn write_lost(file: &DataFile, at: u64, head: &Head<'_>, output: &mut Output<'_>) -> Result<()> {
    let note = format!("{}@{at}", file.path().display());
    let lost = Head {
        kind: Kind::Lost,
        expires_at_ms: None,
        value_len: crate::codec::to_u32(note.len()),
        value_crc: crc32fast::hash(note.as_bytes()),
        ..*head
    };
    output.write(&lost, note.as_bytes())
}

/// Takes an unsealed file's name away: for good, or to `….damaged` when there is something in it to look at.
fn set_aside(store: &Inner, file: &DataFile, is_kept: bool) -> Result<()> {
    if !is_kept {
        return remove_file(&*store.disk, file.id);
    }
    let name = file.id.data_name();
    let renamed = store.disk.rename(&name, &format!("{name}.damaged"));
    renamed.context("rename", || file.path())?;
    store.disk.sync_folder().context("sync", || store.disk.path().to_owned())
}
