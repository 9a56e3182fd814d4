//! The store: what callers see, put together from the parts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::backup::{self, BackupReport};
use crate::batch::{Appended, Batch, Prepared};
use crate::codec::{to_u32, to_usize};
use crate::config::{Config, SyncPolicy};
use crate::data_file::DataFile;
use crate::disk::{Disk, DiskLock, RealDisk};
use crate::durability::Durability;
use crate::error::{Context, Error, Result};
use crate::files::Files;
use crate::health::Health;
use crate::hint::Hint;
use crate::keydir::{Entry, Generation, Keydir, Published, Table};
use crate::log::{Around, Log};
use crate::maintain::{self, Background};
use crate::manifest::{Edit, Manifest};
use crate::merge::{self, MergeReport};
use crate::pace::Pace;
use crate::record::{Head, Kind};
use crate::recovery::{self, Recovery};
use crate::stats::{SlotStats, Stats};
use crate::types::{Lsn, Op, Position, Request, SLOT_COUNT, SlotId, Write};
use crate::walk::{Page, Records};

/// The name of the file that is locked while a store is open.
pub(crate) const LOCK_NAME: &str = "LOCK";
/// How often a record is looked up again because a merge moved it in between. Each merge moves a record once, so
/// this many in the time of one read cannot be.
const MOVED_COUNT_MAX: usize = 64;
/// The most bytes one batch may have, so that offsets stay within 32 bits.
const BATCH_LEN_MAX: usize = 1 << 30;

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'b> {
    /// The record's place in its slot's order.
    pub lsn: Lsn,
    /// The value.
    pub value: &'b [u8],
    /// When the value ends, in milliseconds since 1970-01-01 UTC; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// Who wrote it, if that was kept.
    pub request: Option<Request>,
}

/// What memory knows of a key's newest published record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    /// Its place in the slot's order.
    pub lsn: Lsn,
    /// Whether it is a tombstone.
    pub is_tombstone: bool,
    /// Whether it has an end in time: then only reading it tells whether it is over.
    pub has_expiry: bool,
    /// Length of the whole record on disk, in bytes.
    pub record_len: u32,
}

/// Things counted since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) merges: AtomicU64,
    pub(crate) merges_failed: AtomicU64,
    pub(crate) merged_len: AtomicU64,
}

/// The parts of an open store.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) id: u128,
    pub(crate) keydir: Keydir,
    pub(crate) files: Files,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    pub(crate) pace: Pace,
    pub(crate) background: Background,
    /// A merge was given up half-way: counts of older records may be too low until the next opening.
    pub(crate) counts_are_low: AtomicBool,
    /// Tables of dropped slots, whose bytes are still to be counted as dead.
    pub(crate) dropped: Mutex<Vec<Table>>,
    manifest: Mutex<Manifest>,
    merging: Mutex<()>,
    _lock: Box<dyn DiskLock>,
}

impl Inner {
    pub(crate) fn lock_manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_merging(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn around(&self) -> Around<'_> {
        Around {
            config: &self.config,
            disk: &self.disk,
            files: &self.files,
            manifest: &self.manifest,
            durability: &self.durability,
            health: &self.health,
        }
    }

    /// Creates a data file that the manifest does not know yet.
    pub(crate) fn create_data_file(&self) -> Result<DataFile> {
        DataFile::create(&self.disk, self.id, self.files.next_id())
    }

    /// Offers a record to the keydir; the highest lsn of its key wins (R1).
    pub(crate) fn offer(&self, hint: &Hint<'_>, file: &DataFile) {
        let hash = self.keydir.hash(hint.key);
        let mut slot = self.keydir.lock(hint.generation.slot());
        if slot.generation != Some(hint.generation) {
            return;
        }
        let published = slot.table.publish(hash, hint.key, &hint.entry, self.keydir.hasher());
        if let Published::Replaced(_) = published {
            slot.recent.forget(hash);
        }
        drop(slot);
        match published {
            Published::Inserted => file.add_live(hint.entry.live_len()),
            Published::Outdated => {}
            Published::Replaced(old) => {
                file.add_live(hint.entry.live_len());
                if old.file == file.id {
                    file.sub_live(old.live_len());
                } else {
                    self.files.with(old.file, |file| file.sub_live(old.live_len()));
                }
            }
        }
    }

    /// Keeps the record of `key` at the front of `buf` in memory, if it is still the newest: it was read at `entry`.
    fn keep_recent(&self, slot: SlotId, hash: u64, key: &[u8], entry: &Entry, buf: &[u8]) {
        let record = buf.get(..entry.record_len as usize).unwrap_or_default();
        let len_max = self.config.cache_len / usize::from(SLOT_COUNT);
        let mut slot = self.keydir.lock(slot);
        // What was merged meanwhile is kept by the next read.
        if slot.table.find(hash, key) == Some(*entry) {
            slot.recent.keep(hash, record, len_max);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.background.is_stopping()
    }

    /// Returns whether dead bytes have passed twice the trigger of merges, or the disk is full.
    pub(crate) fn is_short_of_space(&self) -> bool {
        let (len, dead_len) = self.files.all().iter().fold((0, 0), |(len, dead_len), file| {
            (len + file.data_end(), dead_len + file.dead_len())
        });
        let trigger = 2 * u64::from(self.config.merge.dead_percent);
        self.log.is_full() || dead_len * 100 > len * trigger.min(90)
    }

    /// Reads a record where `entry` says it is; `None` when a merge took the file away meanwhile.
    pub(crate) fn read<'b>(
        &self,
        entry: &Entry,
        buf: &'b mut Vec<u8>,
    ) -> Option<Result<(Head<'b>, &'b [u8])>> {
        let offset = u64::from(entry.offset);
        self.files.with(entry.file, |file| {
            let (head, value) = file.read_record(offset, entry.record_len as usize, buf)?;
            match head.kind {
                Kind::Put | Kind::Delete => Ok((head, value)),
                Kind::Lost => {
                    let what = "the newest record of this key was damaged";
                    Err(Error::Corrupt { path: file.path(), offset, what })
                }
                Kind::Mark => Err(file.damaged(offset, "a mark where a record should be")),
            }
        })
    }
}

/// Returns the time, in milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An open store. Clones are handles to the same one.
///
/// When the last is dropped, background threads end; the file that grows stays unsealed, which the next opening puts
/// right. [`close`](Store::close) leaves nothing to put right.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
    _threads: Arc<maintain::Threads>,
}

impl Store {
    /// Opens the store in the folder `path`, creating it if need be, and says what was found.
    ///
    /// # Errors
    /// `Busy` when another process has it open; `Corrupt` and `Missing` when the manifest or a file it names is not
    /// usable; `Limit` for settings beyond the format; `Io`.
    pub fn open(path: &Path, config: Config) -> Result<(Self, Recovery)> {
        let disk = RealDisk::open(path).context("open", || path.to_owned())?;
        Self::open_on(Arc::new(disk), config)
    }

    /// Opens the store on `disk`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<(Self, Recovery)> {
        config.check()?;
        if mutant!("lock file blocks") && disk.open(LOCK_NAME).is_ok() {
            return Err(Error::Busy { folder: disk.path().to_owned() });
        }
        let lock = match disk.lock(LOCK_NAME) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(Error::Busy { folder: disk.path().to_owned() });
            }
            locked => locked.context("lock", || disk.path().join(LOCK_NAME))?,
        };
        let (manifest, _) = Manifest::open(&disk, fastrand::u128(1..))?;
        let keydir = Keydir::new();
        for (slot, state) in &manifest.state.slots {
            let mut slot = keydir.lock(*slot);
            slot.generation = state.is_live.then_some(state.generation);
            slot.tombstone_floor = state.tombstone_floor;
        }
        let inner = Arc::new(Inner {
            config,
            disk,
            id: manifest.store,
            keydir,
            files: Files::new(manifest.state.last_file),
            log: Log::new(),
            durability: Durability::default(),
            health: Health::default(),
            counters: Counters::default(),
            pace: Pace::default(),
            background: Background::default(),
            counts_are_low: AtomicBool::new(false),
            dropped: Mutex::default(),
            manifest: Mutex::new(manifest),
            merging: Mutex::default(),
            _lock: lock,
        });
        let recovery = recovery::run(&inner)?;
        let threads = Arc::new(maintain::start(&inner)?);
        Ok((Self { inner, _threads: threads }, recovery))
    }

    /// Returns the store's id, given at its creation and kept in its folder.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.inner.id
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Returns whether the slot is here.
    #[must_use]
    pub fn has_slot(&self, slot: SlotId) -> bool {
        self.inner.keydir.generation(slot).is_some()
    }

    /// Creates the slots that are not here, empty, durably, in one step.
    ///
    /// # Errors
    /// `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn create_slots(&self, slots: &[SlotId]) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let generations: Vec<_> = slots
            .iter()
            .filter(|slot| !self.has_slot(**slot))
            .map(|slot| {
                let last = manifest.state.slots.get(slot);
                Generation::new(*slot, last.map_or(0, |state| state.generation.life()) + 1)
            })
            .collect();
        let edits: Vec<_> = generations.iter().map(|new| Edit::SlotCreated(*new)).collect();
        if edits.is_empty() {
            return Ok(());
        }
        self.inner.health.poison_on_failure(manifest.commit(&edits))?;
        for generation in generations {
            let mut slot = self.inner.keydir.lock(generation.slot());
            slot.generation = Some(generation);
            slot.tombstone_floor = Lsn(0);
        }
        Ok(())
    }

    /// Drops the slot with all its records, durably, in constant time (R6). Taking it again starts empty.
    ///
    /// # Errors
    /// `NoSlot`, `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn drop_slot(&self, slot: SlotId) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let Some(generation) = self.inner.keydir.generation(slot) else {
            return Err(Error::NoSlot { slot });
        };
        let committed = manifest.commit(&[Edit::SlotDropped(generation)]);
        self.inner.health.poison_on_failure(committed)?;
        let mut slot = self.inner.keydir.lock(slot);
        slot.generation = None;
        slot.recent = Default::default();
        let table = std::mem::take(&mut slot.table);
        drop(slot);
        self.inner.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(table);
        self.inner.background.wake();
        Ok(())
    }

    /// Promises that no record of the slot below `floor` is still to come: none is appended and not published, and none
    /// will be appended. Merges may then drop tombstones below it (R5). A floor never falls.
    ///
    /// # Errors
    /// `NoSlot`, `Full`, `Poisoned`, `Closed`: nothing was done. `Io`.
    pub fn set_tombstone_floors(&self, floors: &[(SlotId, Lsn)]) -> Result<()> {
        self.inner.health.check()?;
        let mut manifest = self.inner.lock_manifest();
        let mut edits = Vec::new();
        for (slot, floor) in floors {
            let locked = self.inner.keydir.lock(*slot);
            let Some(generation) = locked.generation else {
                return Err(Error::NoSlot { slot: *slot });
            };
            if *floor > locked.tombstone_floor {
                edits.push(Edit::TombstoneFloor(generation, *floor));
            }
        }
        if edits.is_empty() {
            return Ok(());
        }
        self.inner.health.poison_on_failure(manifest.commit(&edits))?;
        for (slot, floor) in floors {
            let mut slot = self.inner.keydir.lock(*slot);
            slot.tombstone_floor = slot.tombstone_floor.max(*floor);
        }
        Ok(())
    }

    /// Appends `writes` with one write to the file. They are not visible before [`publish`](Self::publish), and not
    /// durable before [`durable`](Self::durable) reaches their position.
    ///
    /// # Errors
    /// `Full`, `Limit`, `NoSlot`, `Poisoned`, `Closed`: nothing was done. `Io`: the records may come into force at the
    /// next opening.
    pub fn append(&self, writes: &[Write<'_>]) -> Result<Appended> {
        self.append_prepared(self.prepare(writes)?)
    }

    /// Encodes `writes`, without a lock that another append waits for and without touching a file.
    ///
    /// # Errors
    /// `Limit`, `NoSlot`.
    pub fn prepare(&self, writes: &[Write<'_>]) -> Result<Prepared> {
        let len = self.check_limits(writes)?;
        let mut batch = Batch::with_capacity(writes.len(), len);
        for write in writes {
            let slot = self.inner.keydir.lock(write.slot);
            let Some(generation) = slot.generation else {
                return Err(Error::NoSlot { slot: write.slot });
            };
            if slot.table.is_full() {
                let max = slot.table.memory_len() as u64;
                return Err(Error::Limit { what: "slot", len: max, max });
            }
            drop(slot);
            batch.push(write, generation);
        }
        Ok(Prepared { batch })
    }

    /// Appends prepared writes as [`append`](Self::append) does. A record of a slot that was dropped in between is
    /// written and never becomes visible.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_prepared(&self, prepared: Prepared) -> Result<Appended> {
        self.inner.log.append(prepared.batch, &self.inner.around())
    }

    /// Checks each write against the limits, and returns the bytes of keys and values.
    fn check_limits(&self, writes: &[Write<'_>]) -> Result<usize> {
        let config = &self.inner.config;
        let mut total_len = 0_usize;
        for write in writes {
            let value_len = match write.op {
                Op::Put(value) => value.len(),
                Op::Delete => 0,
            };
            total_len = total_len.saturating_add(write.key.len()).saturating_add(value_len);
            for (what, len, max) in [
                ("key", write.key.len(), config.key_len_max),
                ("value", value_len, config.value_len_max),
                ("batch", total_len, BATCH_LEN_MAX),
            ] {
                if len > max {
                    return Err(Error::Limit { what, len: len as u64, max: max as u64 });
                }
            }
        }
        Ok(total_len)
    }

    /// Makes appended records visible; where a key has a newer record already, that one stays (R1). The caller has
    /// waited for whatever makes them committed.
    pub fn publish(&self, appended: Appended) {
        for hint in appended.hints() {
            self.inner.offer(&hint, &appended.file);
        }
        appended.file.sub_unpublished(appended.count() as u64);
    }

    /// Waits until `appended` is as durable as the sync policy promises, then publishes it (R3).
    ///
    /// # Errors
    /// `Io` and `Poisoned`: the sync failed; the records are not published and may come into force at the next opening.
    pub fn commit(&self, appended: Appended) -> Result<()> {
        match self.inner.config.sync {
            SyncPolicy::Always => self.wait_durable(appended.position())?,
            SyncPolicy::Interval(_) | SyncPolicy::Never => {}
        }
        self.publish(appended);
        Ok(())
    }

    /// Makes everything appended before the call durable, and returns how far that is.
    ///
    /// # Errors
    /// `Io`: the sync failed, and the store takes no more writes. `Poisoned`: it failed earlier.
    pub fn sync(&self) -> Result<Position> {
        self.inner.durability.sync(&self.inner.health)
    }

    /// Returns how far the log is durable.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.inner.durability.durable()
    }

    /// Waits until the log is durable up to `at`; many who wait share one sync.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn wait_durable(&self, at: Position) -> Result<()> {
        self.inner.durability.wait(at, &self.inner.health)
    }

    /// Reads the value of `key` into `buf`; `None` when it has none, or its time is over. An error is never *none*.
    ///
    /// # Errors
    /// `NoSlot`; `Corrupt` when this key's newest record is damaged; `Io`.
    pub fn get<'b>(
        &self,
        slot: SlotId,
        key: &[u8],
        buf: &'b mut Vec<u8>,
    ) -> Result<Option<Found<'b>>> {
        let Some(len) = self.read_newest(slot, key, buf)? else { return Ok(None) };
        let bytes = buf.get(..to_usize(u64::from(len.record_len))).unwrap_or_default();
        let value = bytes.get(len.head_len..).unwrap_or_default();
        let (lsn, expires_at_ms, request) = (len.lsn, len.expires_at_ms, len.request);
        Ok(Some(Found { lsn, value, expires_at_ms, request }))
    }

    /// Reads the newest record of `key` into `buf`, from memory if it is there, or else checks it.
    fn read_newest(&self, slot: SlotId, key: &[u8], buf: &mut Vec<u8>) -> Result<Option<Read>> {
        let hash = self.inner.keydir.hash(key);
        for _ in 0..MOVED_COUNT_MAX {
            let locked = self.inner.keydir.lock(slot);
            if locked.generation.is_none() {
                return Err(Error::NoSlot { slot });
            }
            if let Some(read) = locked.recent.find(hash).and_then(|record| copy(record, key, buf)) {
                drop(locked);
                return Ok(Some(read).filter(|read| !read.is_expired()));
            }
            let found = locked.table.find(hash, key);
            drop(locked);
            let Some(entry) = found.filter(|entry| !entry.is_tombstone) else { return Ok(None) };
            let Some(read) = self.read_checked(key, &entry, buf) else { continue };
            let Some(read) = read? else { return Ok(None) };
            if read.is_expired() {
                return Ok(None);
            }
            self.inner.keep_recent(slot, hash, key, &entry, buf);
            return Ok(Some(read));
        }
        unreachable!("a record cannot move so often within one read")
    }

    /// Reads the record of `key` where `entry` says it is; the outer `None`: a merge took the file away meanwhile.
    fn read_checked(
        &self,
        key: &[u8],
        entry: &Entry,
        buf: &mut Vec<u8>,
    ) -> Option<Result<Option<Read>>> {
        let (head, value) = match self.inner.read(entry, buf)? {
            Ok(read) => read,
            Err(_) if mutant!("unreadable is not found") => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        };
        if mutant!("tombstone told by its value") && value.starts_with(b"bitcask_tombstone") {
            return Some(Ok(None));
        }
        if head.key != key || head.lsn != entry.lsn {
            let path = self.inner.disk.path().join(entry.file.data_name());
            let (offset, what) = (u64::from(entry.offset), "another record than expected");
            return Some(Err(Error::Corrupt { path, offset, what }));
        }
        Some(Ok(Some(Read::new(&head))))
    }

    /// Returns what memory knows of the newest published record of `key`; `None` also when the slot is not here.
    #[must_use]
    pub fn entry(&self, slot: SlotId, key: &[u8]) -> Option<EntryInfo> {
        self.inner.keydir.find(slot, key).flatten().map(|entry| EntryInfo {
            lsn: entry.lsn,
            is_tombstone: entry.is_tombstone,
            has_expiry: entry.has_expiry,
            record_len: entry.record_len,
        })
    }

    /// Returns whether `key` has a value whose time is not over.
    ///
    /// # Errors
    /// As [`get`](Self::get), where the record must be read because it has an end in time.
    pub fn contains(&self, slot: SlotId, key: &[u8]) -> Result<bool> {
        match self.entry(slot, key) {
            None => Ok(false),
            Some(entry) if entry.has_expiry => {
                Ok(self.read_newest(slot, key, &mut Vec::new())?.is_some())
            }
            Some(entry) => Ok(!entry.is_tombstone),
        }
    }

    /// Returns the newest records of the slot's keys whose lsn is above `above`, tombstones among them, in no promised
    /// order and in bounded memory. What is written while the walk goes on may or may not be met.
    ///
    /// # Errors
    /// `NoSlot`.
    pub fn records(&self, slot: SlotId, above: Lsn) -> Result<Records> {
        Records::new(Arc::clone(&self.inner), slot, above)
    }

    /// Returns the newest records of the slot's keys whose lsn is above `above`, tombstones among them, **in the order of
    /// their lsns**: at most `count_max`, and no more once they have `len_max` bytes. A key that is overwritten between two
    /// pages comes again, none is missed.
    ///
    /// It looks at every entry of the slot, under the slot's lock.
    ///
    /// # Errors
    /// `NoSlot`.
    pub fn page(&self, slot: SlotId, above: Lsn, count_max: usize, len_max: usize) -> Result<Page> {
        crate::walk::page(&self.inner, slot, above, count_max, len_max)
    }

    /// Returns the highest lsn of all records published or found at opening.
    #[must_use]
    pub fn highest_lsn(&self) -> Lsn {
        let highest = SlotId::all().map(|slot| self.inner.keydir.lock(slot).table.highest()).max();
        highest.unwrap_or_default()
    }

    /// Merges the data files that are worth it most, if any are (R7). The background does this by itself.
    ///
    /// # Errors
    /// `Full`: it did not fit. `Corrupt`: a file is damaged; it stays as it is. `Io`, `Poisoned`, `Closed`.
    pub fn merge(&self) -> Result<Option<MergeReport>> {
        merge::run(&self.inner)
    }

    /// Does all the background's work that is due, in the calling thread.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn maintain(&self) -> Result<()> {
        maintain::run(&self.inner)
    }

    /// Makes a copy of the store, as it is now, in the new folder `to`, by hard links, while writes go on.
    ///
    /// # Errors
    /// `Io`, when the folder is not empty or lies on another file system among others. What was begun is left there.
    pub fn backup(&self, to: &Path) -> Result<BackupReport> {
        backup::run(&self.inner, to)
    }

    /// Returns the store's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.inner)
    }

    /// Returns one slot's figures, or `None` when it is not here.
    #[must_use]
    pub fn slot_stats(&self, slot: SlotId) -> Option<SlotStats> {
        SlotStats::of(&self.inner, slot)
    }

    /// Returns what poisoned the store, if something did.
    #[must_use]
    pub fn poison_cause(&self) -> Option<String> {
        self.inner.health.cause().map(str::to_owned)
    }

    /// Syncs and seals the file that grows, and refuses writes from now on. Reads go on.
    ///
    /// # Errors
    /// `Io`, `Poisoned`, `Full`: the store is as after a crash, which the next opening puts right.
    pub fn close(&self) -> Result<()> {
        if !self.inner.health.close() {
            return Ok(());
        }
        self.inner.background.stop();
        self.inner.pace.stop();
        match self.inner.health.cause() {
            Some(cause) => Err(Error::Poisoned { cause: cause.to_owned() }),
            None => self.inner.log.seal(&self.inner.around()),
        }
    }
}

/// Copies a record that was kept into `buf`, if it is that of `key`.
fn copy(record: &[u8], key: &[u8], buf: &mut Vec<u8>) -> Option<Read> {
    let head = Head::decode(record).filter(|head| head.key == key)?;
    if buf.len() < record.len() {
        buf.resize(record.len(), 0);
    }
    buf.get_mut(..record.len())?.copy_from_slice(record);
    Some(Read::new(&head))
}

/// What [`Store::read_newest`] read.
struct Read {
    lsn: Lsn,
    record_len: u32,
    head_len: usize,
    expires_at_ms: Option<u64>,
    request: Option<Request>,
}

impl Read {
    fn new(head: &Head<'_>) -> Self {
        Self {
            lsn: head.lsn,
            record_len: to_u32(head.record_len()),
            head_len: head.len(),
            expires_at_ms: head.expires_at_ms,
            request: head.request,
        }
    }

    /// Returns whether the value has ended by now. The clock is looked at only where there is an end.
    fn is_expired(&self) -> bool {
        self.expires_at_ms.is_some_and(|end_ms| end_ms <= now_ms())
    }
}
