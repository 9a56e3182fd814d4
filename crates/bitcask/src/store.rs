//! The store: what callers see, put together from the parts.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::backup::{self, BackupReport};
use crate::batch::{Appended, Batch, Prepared};
use crate::codec::{to_u32, to_usize};
use crate::commit_point;
use crate::config::{Config, SyncPolicy};
use crate::disk::{Disk, DiskLock, RealDisk};
use crate::durability::Durability;
use crate::error::{Context, Error, Result};
use crate::files::Files;
use crate::health::Health;
use crate::inner::{Counters, Inner, now_ms};
use crate::keydir::{CommitPoint, Entry, Keydir};
use crate::log::Log;
use crate::maintain::{self, Background};
use crate::manifest::Manifest;
use crate::merge::{self, MergeReport};
use crate::pace::Pace;
use crate::record::Head;
use crate::recovery::{self, Recovery};
use crate::stats::{SlotStats, Stats};
use crate::types::{Lsn, Op, Position, Request, SlotId, Write};
use crate::walk::{self, Page, Record, Records};

/// The name of the file that is locked while a store is open.
pub(crate) const LOCK_NAME: &str = "LOCK";
/// How often a record is looked up again because a merge moved it in between. Each merge moves a record once, so
/// this many in the time of one read cannot be.
pub(crate) const MOVED_COUNT_MAX: usize = 64;
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

/// An open store. Clones are handles to the same one.
///
/// When the last is dropped, background threads end; the file that grows stays unsealed, which the next opening puts
/// right. [`close`](Store::close) leaves nothing to put right.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
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
        let lock = lock(&*disk)?;
        let (manifest, _) = Manifest::open(&disk, backup::new_id())?;
        let keydir = Keydir::new();
        for (slot, state) in &manifest.state.slots {
            let mut slot = keydir.lock(*slot);
            slot.generation = state.is_live.then_some(state.generation);
            slot.tombstone_floor = state.tombstone_floor;
            slot.commit_point = state.commit_point.map(CommitPoint::kept);
            slot.requests.raise_floor(state.request_floor);
        }
        let inner = Arc::new(Inner {
            config,
            disk,
            id: manifest.store,
            server_id: manifest.state.server.unwrap_or(manifest.store),
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

    /// Returns the store's id, given at its creation and kept in its folder. A copy of the folder has the same.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.inner.id
    }

    /// Returns the id of the server that this store is: kept in its folder, and another one in each copy that
    /// [`backup`](Self::backup) makes or [`renew_server_id`](crate::renew_server_id) is called for.
    #[must_use]
    pub fn server_id(&self) -> u128 {
        self.inner.server_id
    }

    /// Returns the settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
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
                Op::Delete | Op::Request => 0,
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
            self.inner.publish(&hint, &appended.file);
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
    /// `Io`: the sync failed, and the store takes no more writes. `Poisoned`: it failed earlier. `Full`: a commit point
    /// that was to be [kept](Self::keep_commit_point) found no room; trying again may help.
    pub fn sync(&self) -> Result<Position> {
        self.inner.durability.sync(&self.inner)
    }

    /// Returns how far the log goes.
    #[must_use]
    pub fn appended(&self) -> Position {
        self.inner.durability.appended()
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
        self.inner.durability.wait(at, &self.inner)
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
        self.get_up_to(slot, key, usize::MAX, buf)
    }

    /// Reads the value of `key` as [`get`](Self::get) does, unless its record is longer than `len_max` bytes.
    ///
    /// # Errors
    /// As `get` does; [`Error::Limit`] when the record is longer.
    pub fn get_up_to<'b>(
        &self,
        slot: SlotId,
        key: &[u8],
        len_max: usize,
        buf: &'b mut Vec<u8>,
    ) -> Result<Option<Found<'b>>> {
        let read = self.read_newest(slot, key, len_max, buf)?;
        Ok(read.map(|read| read.found(buf)))
    }

    /// Reads the value of `key` as [`get`](Self::get) does if no file need be touched for it; the outer `None`: one must be.
    pub fn get_from_memory<'b>(
        &self,
        slot: SlotId,
        key: &[u8],
        buf: &'b mut Vec<u8>,
    ) -> Option<Option<Found<'b>>> {
        let hash = self.inner.keydir.hash(key);
        let locked = self.inner.keydir.lock(slot);
        locked.generation?;
        let Some(read) = locked.recent.find(hash).and_then(|record| copy(record, key, buf)) else {
            let found = locked.table.find(hash, key);
            return found.is_none_or(|entry| entry.is_tombstone).then_some(None);
        };
        drop(locked);
        Some((!read.is_expired()).then(|| read.found(buf)))
    }

    /// Reads the newest record of `key` into `buf`, from memory if it is there, or else checks it.
    fn read_newest(
        &self,
        slot: SlotId,
        key: &[u8],
        len_max: usize,
        buf: &mut Vec<u8>,
    ) -> Result<Option<Read>> {
        let hash = self.inner.keydir.hash(key);
        for _ in 0..MOVED_COUNT_MAX {
            let locked = self.inner.keydir.lock(slot);
            if locked.generation.is_none() {
                return Err(Error::NoSlot { slot });
            }
            let recent = locked.recent.find(hash);
            if let Some(read) = recent.and_then(|record| copy(record, key, buf)) {
                check_len(recent.map_or(0, <[u8]>::len), len_max)?;
                drop(locked);
                return Ok(Some(read).filter(|read| !read.is_expired()));
            }
            let found = locked.table.find(hash, key);
            drop(locked);
            let Some(entry) = found.filter(|entry| !entry.is_tombstone) else { return Ok(None) };
            check_len(entry.record_len as usize, len_max)?;
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
                Ok(self.read_newest(slot, key, usize::MAX, &mut Vec::new())?.is_some())
            }
            Some(entry) => Ok(!entry.is_tombstone),
        }
    }

    /// Reads the newest published record of `key` as it stands: a tombstone too, and a value whose time is over.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn record(&self, slot: SlotId, key: &[u8]) -> Result<Option<Record>> {
        walk::newest(&self.inner, slot, key)
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
        walk::page(&self.inner, slot, above, count_max, len_max)
    }

    /// Returns the highest lsn of all records published, pending or found at opening.
    #[must_use]
    pub fn highest_lsn(&self) -> Lsn {
        let highest = SlotId::all().map(|slot| self.inner.keydir.lock(slot).highest()).max();
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
        let kept = self.persist_commit_points();
        // A full disk that has no room for commit points needs its merges all the more.
        maintain::run(&self.inner).and(kept)
    }

    /// Makes a copy of the store, as it is now, in the new folder `to`, by hard links, while writes go on. The copy has
    /// another [server id](Self::server_id), and the commit points of now.
    ///
    /// # Errors
    /// As [`persist_commit_points`](Self::persist_commit_points); `Io`, when the folder is not empty or lies on another file system among others. What was begun is left there.
    pub fn backup(&self, to: &Path) -> Result<BackupReport> {
        self.persist_commit_points()?;
        backup::run(&self.inner, to)
    }

    /// Returns whether the last append that looked at the free space found too little for puts.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.log.is_full()
    }

    /// Returns whether the last look at the free space found not even half of the reserve: what others count on and is
    /// [written from it](Self::append_pending_from_reserve) is better refused now than failed later.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.inner.log.is_scarce()
    }

    /// Looks at the free space again if the last look found too little. Appends look by themselves; this is for a caller
    /// who appends nothing while [`is_full`](Self::is_full).
    ///
    /// # Errors
    /// `Io`: the free space cannot be told.
    pub fn look_for_room(&self) -> Result<()> {
        self.inner.log.look_for_room(&self.inner.around())
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
        if let Some(cause) = self.inner.health.cause() {
            return Err(Error::Poisoned { cause: cause.to_owned() });
        }
        let points = commit_point::changed(&self.inner);
        self.inner.log.seal(&self.inner.around())?;
        commit_point::keep(&self.inner, &points)
    }
}

/// Locks the folder of a store.
pub(crate) fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>> {
    match disk.lock(LOCK_NAME) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::Busy { folder: disk.path().to_owned() })
        }
        locked => locked.context("lock", || disk.path().join(LOCK_NAME)),
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

fn check_len(len: usize, len_max: usize) -> Result<()> {
    let (len, max) = (len as u64, len_max as u64);
    if len > max { Err(Error::Limit { what: "record", len, max }) } else { Ok(()) }
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

    /// Returns what was read into `buf`.
    fn found<'b>(&self, buf: &'b [u8]) -> Found<'b> {
        let bytes = buf.get(..to_usize(u64::from(self.record_len))).unwrap_or_default();
        let value = bytes.get(self.head_len..).unwrap_or_default();
        let Self { lsn, expires_at_ms, request, .. } = *self;
        Found { lsn, value, expires_at_ms, request }
    }

    /// Returns whether the value has ended by now. The clock is looked at only where there is an end.
    fn is_expired(&self) -> bool {
        self.expires_at_ms.is_some_and(|end_ms| end_ms <= now_ms())
    }
}
