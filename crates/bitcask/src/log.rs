//! The growing end of the store: one data file at a time takes every append.
//!
//! The append lock is the only one under which the engine makes a system call, one write for a whole batch.
//! Under it the order of events at the end of a file is: seal and sync the old file, create the
//! new one, sync the folder, note it in the manifest, write. A failed write leaves a piece of a record
//! behind; it is cut off when the disk was only full, and anything else poisons the store: nothing is ever
//! appended behind it.

use std::hint;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use crate::batch::{Appended, Batch};
use crate::config::Config;
use crate::data_file::{DataFile, FILE_HEADER_LEN, Footer};
use crate::disk::Disk;
use crate::durability::Durability;
use crate::error::{Context, Error, Result, is_out_of_space};
use crate::files::Files;
use crate::health::Health;
use crate::keydir::Generation;
use crate::maintain::Background;
use crate::manifest::{Edit, Manifest};
use crate::merge::part_len;
use crate::types::{Lsn, Position};

/// Bytes appended between two looks at the free space.
const SPACE_CHECK_LEN: u64 = 1 << 20;

/// The share of dead bytes in the file that grows from which it is worth sealing early, in percent.
const EARLY_DEAD_PERCENT: u64 = 20;

/// How often a thread looks again for the append lock before it lets others run; about 3 µs.
const SPIN_COUNT: u32 = 60;
/// How often it lets others run, among them a holder that was taken off its processor, before it sleeps.
const YIELD_COUNT: u32 = 8;

/// The append lock and what it guards.
#[derive(Debug)]
pub(crate) struct Log {
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    active: Option<Active>,
    position: u64,
    /// Bytes appended since the free space was looked at.
    unchecked_len: u64,
    is_full: bool,
    /// Not even half of the reserve was free.
    is_scarce: bool,
    /// Length at which the file that grows is sealed before it is full, so that merges get at the dead bytes in it.
    early_len: Option<u64>,
}

/// The file that grows.
#[derive(Debug)]
struct Active {
    file: Arc<DataFile>,
    /// What the footer will say.
    footer: Footer,
    /// The log's position at the file's first record.
    first_position: u64,
    /// How far the last mark says that the file is durable.
    marked_upto: u64,
}

impl Active {
    /// Returns how far the file is durable, if that is more than its last mark says.
    fn mark(&self, durable: Position) -> Option<u64> {
        let upto = durable.0.checked_sub(self.first_position)? + FILE_HEADER_LEN;
        Some(upto).filter(|upto| *upto > self.marked_upto)
    }
}

/// What the log works with.
pub(crate) struct Around<'a> {
    pub(crate) config: &'a Config,
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) files: &'a Files,
    pub(crate) manifest: &'a Mutex<Manifest>,
    pub(crate) durability: &'a Durability,
    pub(crate) health: &'a Health,
    pub(crate) background: &'a Background,
}

impl Around<'_> {
    fn folder(&self) -> PathBuf {
        self.disk.path().to_owned()
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        let tail = Tail {
            active: None,
            position: 0,
            unchecked_len: SPACE_CHECK_LEN,
            is_full: false,
            is_scarce: false,
            early_len: None,
        };
        Self { tail: Mutex::new(tail) }
    }

    /// Takes the append lock. Its holder is a microsecond or two in one system call, which is less than a thread
    /// takes to fall asleep and be woken, so it is worth a short wait awake; asleep, one waiter brings the next,
    /// and every append then costs two wake-ups.
    fn lock(&self) -> MutexGuard<'_, Tail> {
        for round in 0..SPIN_COUNT + YIELD_COUNT {
            match self.tail.try_lock() {
                Ok(tail) => return tail,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if round < SPIN_COUNT => hint::spin_loop(),
                Err(TryLockError::WouldBlock) => thread::yield_now(),
            }
        }
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `batch` to the end of the log.
    pub(crate) fn append(&self, mut batch: Batch, around: &Around<'_>) -> Result<Appended> {
        let mut tail = self.lock();
        around.health.check()?;
        let len = batch.len_max() as u64;
        check_space(&mut tail, &batch, around)?;
        around.health.poison_on_failure(make_room(&mut tail, len, around))?;
        let Some(active) = tail.active.as_mut() else { unreachable!("room was just made") };
        let mark = active.mark(around.durability.durable());
        let (start, mut footer) = (active.footer.data_end, active.footer);
        let bytes = batch.place(&active.file, mark, &mut footer);
        let written_len = bytes.len() as u64;
        let written = match active.file.try_write(bytes, start) {
            Err(error) if is_out_of_space(&error) && mutant!("append behind a partial record") => {
                active.footer.data_end += written_len / 2;
                full(around)
            }
            Err(error) if is_out_of_space(&error) => cut_off(&active.file, start, around),
            written => written.context("write", || active.file.path()),
        };
        around.health.poison_on_failure(written)?;
        active.footer = footer;
        active.marked_upto = mark.unwrap_or(active.marked_upto);
        active.file.set_data_end(footer.data_end);
        let file = Arc::clone(&active.file);
        tail.position += written_len;
        let position = Position(tail.position);
        around.durability.note_appended(tail.position);
        let appended = Appended::new(file, position, footer.data_end, batch);
        appended.file.add_unpublished(appended.count() as u64);
        Ok(appended)
    }

    /// Keeps appends out while the value lives: only a planted defect does.
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.lock()
    }

    /// Raises the log's position by one without a byte in a file, for a commit point that is owed there, and returns it.
    pub(crate) fn owe(&self, point: (Generation, Lsn), around: &Around<'_>) -> Position {
        let mut tail = self.lock();
        tail.position += 1;
        // Offsets in the file are told from positions. Until the log is durable up to here, what is durable is one byte too low.
        if let Some(active) = tail.active.as_mut() {
            active.first_position += 1;
        }
        around.durability.owe(tail.position, point);
        around.durability.note_appended(tail.position);
        Position(tail.position)
    }

    /// Seals the file that grows, if there is one; the next append begins another.
    pub(crate) fn seal(&self, around: &Around<'_>) -> Result<()> {
        let mut tail = self.lock();
        around.health.poison_on_failure(seal_active(&mut tail, around))
    }

    /// Returns whether the last look at the free space found too little.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().is_full
    }

    /// Returns whether the last look found not even half of the reserve.
    pub(crate) fn is_scarce(&self) -> bool {
        self.lock().is_scarce
    }

    /// Looks at the free space again if the last look found too little.
    pub(crate) fn look_for_room(&self, around: &Around<'_>) -> Result<()> {
        let mut tail = self.lock();
        match tail.is_full {
            true => look(&mut tail, 0, around).map(drop),
            false => Ok(()),
        }
    }
}

/// Takes back a write that lacked space. The cut is synced before the refusal is told: a power cut would else bring
/// back those records of the batch that fitted.
fn cut_off(file: &Arc<DataFile>, end: u64, around: &Around<'_>) -> Result<()> {
    around.durability.replace_file(|| {
        file.set_len(end)?;
        file.sync()?;
        Ok(Some(Arc::clone(file)))
    })?;
    full(around)
}

/// Returns whether `error` is a lack of space that a write met, so that what it wrote can be cut off again. A sync
/// that lacks space has failed like any other: the pages it gave up on are marked clean (R3).
fn is_undoable(error: &Error) -> bool {
    matches!(error, Error::Io { op: "create" | "write", source, .. } if is_out_of_space(source))
}

/// Returns the refusal for want of space.
fn full<T>(around: &Around<'_>) -> Result<T> {
    let free_len = around.disk.free_len().unwrap_or(0);
    Err(Error::Full { folder: around.folder(), free_len })
}

/// Looks whether `len` bytes fit beside the reserve, and returns how much is free.
fn look(tail: &mut Tail, len: u64, around: &Around<'_>) -> Result<u64> {
    let free_len = around.disk.free_len().context("read the free space of", || around.folder())?;
    let reserve_len = around.config.reserve_len;
    tail.unchecked_len = 0;
    tail.early_len = early_len(tail, around);
    tail.is_full = free_len < reserve_len.saturating_add(len);
    tail.is_scarce = free_len < (reserve_len / 2).saturating_add(len);
    Ok(free_len)
}

/// Refuses puts when less than the reserve is free (R8). Deletes may use the reserve: they are how space is won.
fn check_space(tail: &mut Tail, batch: &Batch, around: &Around<'_>) -> Result<()> {
    let len = batch.len_max() as u64;
    tail.unchecked_len = tail.unchecked_len.saturating_add(len);
    if !tail.is_full && tail.unchecked_len < SPACE_CHECK_LEN {
        return Ok(());
    }
    let free_len = look(tail, len, around)?;
    if tail.is_full && batch.is_refused_when_full() {
        return Err(Error::Full { folder: around.folder(), free_len });
    }
    Ok(())
}

/// Wakes the merges when dead bytes have passed their trigger, and returns the length at which the file that grows is
/// sealed then: merges cannot take it before, and where little lives, most of what is dead may be in it.
fn early_len(tail: &Tail, around: &Around<'_>) -> Option<u64> {
    let balance = around.files.balance();
    if !balance.is_over(around.config.merge.trigger(around.background.is_busy())) {
        return None;
    }
    around.background.wake();
    let active = tail.active.as_ref()?;
    let is_worth = active.file.dead_len() * 100 >= active.file.data_end() * EARLY_DEAD_PERCENT;
    is_worth.then(|| part_len(balance.live_len(), around.config.file_len_max))
}

/// Makes sure that there is a file that can take `len` bytes.
fn make_room(tail: &mut Tail, len: u64, around: &Around<'_>) -> Result<()> {
    let len_max = around.config.file_len_max.min(tail.early_len.unwrap_or(u64::MAX));
    let is_over = tail.active.as_ref().is_some_and(|active| {
        active.footer.record_count > 0 && active.footer.data_end + len > len_max
    });
    if is_over {
        tail.early_len = None;
        seal_active(tail, around)?;
        around.background.wake();
    }
    if tail.active.is_none() {
        tail.active = Some(begin(tail.position, around)?);
    }
    Ok(())
}

fn seal_active(tail: &mut Tail, around: &Around<'_>) -> Result<()> {
    let Some(active) = &tail.active else { return Ok(()) };
    let (file, footer) = (&active.file, &active.footer);
    around.durability.replace_file(|| match file.seal(footer) {
        Ok(()) => Ok(None),
        Err(error) if is_undoable(&error) => {
            file.set_len(footer.data_end).and_then(|()| full(around)).map(|()| None)
        }
        Err(error) => Err(error),
    })?;
    tail.active = None;
    Ok(())
}

/// Begins a new data file: on disk, in its folder and in the manifest before the first record is in it.
fn begin(position: u64, around: &Around<'_>) -> Result<Active> {
    let mut manifest = around.manifest.lock().unwrap_or_else(PoisonError::into_inner);
    let id = around.files.next_id();
    let created = DataFile::create(around.disk, manifest.store, id)
        .or_else(|error| if is_undoable(&error) { full(around) } else { Err(error) })
        .and_then(|file| {
            if !mutant!("name never synced") {
                around.disk.sync_folder().context("sync", || around.folder())?;
            }
            manifest.commit(&[Edit::Begun(id)])?;
            Ok(Arc::new(file))
        });
    let file = match created {
        Ok(file) => file,
        Err(error @ Error::Full { .. }) => {
            // Perhaps the name was not even made; the manifest does not know it, and the file is empty.
            drop(around.disk.remove(&id.data_name()));
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    around.files.change(&[], &[Arc::clone(&file)]);
    drop(manifest);
    around.durability.replace_file(|| Ok(Some(Arc::clone(&file))))?;
    Ok(Active {
        file,
        footer: Footer::empty(),
        first_position: position,
        marked_upto: FILE_HEADER_LEN,
    })
}
