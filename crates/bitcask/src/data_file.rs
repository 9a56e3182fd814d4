//! A data file: header, records, and a footer once it is sealed.
//!
//! ```text
//! | header 32 | record | record | … | footer 48 |
//!
//! header  0 magic "RCDATA1\n" | 8 store id 16 | 24 file id 4 | 28 crc of bytes 0..28
//! footer  0 magic "RCSEALED"  | 8 records 8 | 16 lowest lsn 8 | 24 highest lsn 8 | 32 offset of the footer 8
//!         40 zero 4 | 44 crc of bytes 0..44, seeded by store, file and offset
//! ```
//!
//! Names are `<id>.data`, the id in ten decimal digits; ids rise and are never used twice. Only the newest file
//! grows. It is synced and sealed before the next one takes a write, so a later file never survives a
//! power cut that an earlier one did not. A file without a footer was the growing one when its process
//! ended; the next opening copies what is whole in it to a new, synced and sealed file, because after a
//! failed sync the page cache may show bytes that the disk does not have.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::{Reader, put_at};
use crate::disk::{Disk, DiskFile};
use crate::ends::Ends;
use crate::error::{Context, Error, Result};
use crate::keydir::Entry;
use crate::record::{Head, Seed};
use crate::types::Lsn;

const HEADER_MAGIC: &[u8; 8] = b"RCDATA1\n";
const FOOTER_MAGIC: &[u8; 8] = b"RCSEALED";
/// Length of the file header, in bytes; the first record's offset.
pub(crate) const FILE_HEADER_LEN: u64 = HEADER_SIZE as u64;
/// Length of the footer, in bytes.
pub(crate) const FOOTER_LEN: u64 = FOOTER_SIZE as u64;
const HEADER_SIZE: usize = 32;
const FOOTER_SIZE: usize = 48;

/// How long a value that has ended is kept, in milliseconds: the clocks of servers that have copies of it differ a little.
const ENDED_GRACE_MS: u64 = 60_000;

/// Returns whether what ends at `end_ms` is over for everybody.
pub(crate) fn has_ended(end_ms: u64, now_ms: u64) -> bool {
    end_ms.saturating_add(ENDED_GRACE_MS) <= now_ms
}

/// The number of a data file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

impl FileId {
    pub(crate) fn data_name(self) -> String {
        format!("{:010}.data", self.0)
    }

    pub(crate) fn hint_name(self) -> String {
        format!("{:010}.hint", self.0)
    }

    /// Returns the id in the file name `name`, if it ends with `suffix` and is one of ours.
    pub(crate) fn from_name(name: &str, suffix: &str) -> Option<Self> {
        let digits = name.strip_suffix(suffix)?;
        let is_ours = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_ours).map(Self)
    }
}

/// What a footer says of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) record_count: u64,
    pub(crate) lsn_min: Lsn,
    pub(crate) lsn_max: Lsn,
    /// Where the records end and the footer begins.
    pub(crate) data_end: u64,
}

impl Footer {
    /// Returns the footer of a file without records that begins at `data_end`.
    pub(crate) fn empty() -> Self {
        Self { record_count: 0, lsn_min: Lsn(u64::MAX), lsn_max: Lsn(0), data_end: FILE_HEADER_LEN }
    }

    /// Counts a record of `len` bytes.
    pub(crate) fn count(&mut self, lsn: Lsn, len: usize) {
        self.record_count += 1;
        self.lsn_min = self.lsn_min.min(lsn);
        self.lsn_max = self.lsn_max.max(lsn);
        self.data_end += len as u64;
    }

    pub(crate) fn encode(&self, seed: Seed) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        put_at(&mut bytes, 0, FOOTER_MAGIC);
        put_at(&mut bytes, 8, &self.record_count.to_le_bytes());
        put_at(&mut bytes, 16, &self.lsn_min.0.to_le_bytes());
        put_at(&mut bytes, 24, &self.lsn_max.0.to_le_bytes());
        put_at(&mut bytes, 32, &self.data_end.to_le_bytes());
        let crc = bytes.get(..44).map_or(0, |covered| seed.crc(self.data_end, covered));
        put_at(&mut bytes, 44, &crc.to_le_bytes());
        bytes
    }

    /// Reads a footer that stands at `offset`.
    pub(crate) fn parse(bytes: &[u8], seed: Seed, offset: u64) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.array::<8>().filter(|magic| magic == FOOTER_MAGIC)?;
        let record_count = reader.u64()?;
        let (lsn_min, lsn_max) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
        let data_end = reader.u64().filter(|end| *end == offset)?;
        reader.u32()?;
        let crc = reader.u32()?;
        let is_whole = reader.is_empty() && crc == seed.crc(offset, bytes.get(..44)?);
        is_whole.then_some(Self { record_count, lsn_min, lsn_max, data_end })
    }
}

/// Returns the header of the file `id` of the store `store`.
fn header(store: u128, id: FileId) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    put_at(&mut bytes, 0, HEADER_MAGIC);
    put_at(&mut bytes, 8, &store.to_le_bytes());
    put_at(&mut bytes, 24, &id.0.to_le_bytes());
    let crc = bytes.get(..28).map_or(0, crc32fast::hash);
    put_at(&mut bytes, 28, &crc.to_le_bytes());
    bytes
}

/// An open data file and what is known of it.
pub(crate) struct DataFile {
    pub(crate) id: FileId,
    pub(crate) seed: Seed,
    file: Arc<dyn DiskFile>,
    folder: Arc<dyn Disk>,
    /// Where its records end.
    data_end: AtomicU64,
    /// Bytes of the records that the keydir points to.
    live_len: AtomicU64,
    /// Of these, the records that end in time.
    ends: Mutex<Ends>,
    /// Records appended and not yet published: while there are any, a merge must leave the file alone.
    unpublished_count: AtomicU64,
    is_sealed: AtomicBool,
    /// Some of its bytes cannot be read: a merge must not delete it.
    is_damaged: AtomicBool,
    has_hint: AtomicBool,
}

impl fmt::Debug for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFile").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl DataFile {
    /// Creates the file and writes its header; nothing is synced.
    pub(crate) fn create(folder: &Arc<dyn Disk>, store: u128, id: FileId) -> Result<Self> {
        let name = id.data_name();
        let file = folder.create(&name).context("create", || folder.path().join(&name))?;
        let this = Self::new(folder, store, id, file);
        this.write_header(store)?;
        Ok(this)
    }

    /// Writes the header, which says nothing that the name and the manifest do not.
    pub(crate) fn write_header(&self, store: u128) -> Result<()> {
        self.write(&header(store, self.id), 0)?;
        self.is_damaged.store(false, Ordering::Release);
        Ok(())
    }

    /// Opens the file. A damaged header does no harm, since store and file id are known: it is noted.
    pub(crate) fn open(folder: &Arc<dyn Disk>, store: u128, id: FileId) -> Result<Self> {
        let name = id.data_name();
        let file = folder.open(&name).context("open", || folder.path().join(&name))?;
        let this = Self::new(folder, store, id, file);
        let mut found = [0; HEADER_SIZE];
        this.file.read_at(&mut found, 0).context("read", || this.path())?;
        let len = this.file.file_len().context("read the length of", || this.path())?;
        this.data_end.store(len.max(FILE_HEADER_LEN), Ordering::Release);
        if found != header(store, id) && len > FILE_HEADER_LEN {
            this.note_damage();
        }
        Ok(this)
    }

    fn new(folder: &Arc<dyn Disk>, store: u128, id: FileId, file: Arc<dyn DiskFile>) -> Self {
        Self {
            id,
            seed: Seed::new(store, id.0),
            file,
            folder: Arc::clone(folder),
            data_end: AtomicU64::new(FILE_HEADER_LEN),
            live_len: AtomicU64::new(0),
            ends: Mutex::default(),
            unpublished_count: AtomicU64::new(0),
            is_sealed: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
            has_hint: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(self.id.data_name())
    }

    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.try_write(bytes, offset).context("write", || self.path())
    }

    /// Has the disk begin to write what was written.
    pub(crate) fn begin_write_back(&self, offset: u64, len: u64) {
        self.file.begin_write_back(offset, len);
    }

    pub(crate) fn try_write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buf, offset).context("read", || self.path())
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().context("sync", || self.path())
    }

    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).context("cut", || self.path())
    }

    /// Reads the footer, if the file has one, and takes it for sealed.
    pub(crate) fn read_footer(&self) -> Result<Option<Footer>> {
        let len = self.file.file_len().context("read the length of", || self.path())?;
        let Some(offset) = len.checked_sub(FOOTER_LEN).filter(|at| *at >= FILE_HEADER_LEN) else {
            return Ok(None);
        };
        let mut bytes = [0; FOOTER_SIZE];
        self.read(&mut bytes, offset)?;
        let footer = Footer::parse(&bytes, self.seed, offset);
        if let Some(footer) = footer {
            self.note_sealed(footer.data_end);
        }
        Ok(footer)
    }

    /// Appends the footer and syncs: the file's bytes are final.
    ///
    /// The records are synced before the footer is written: a footer that a power cut or a failed sync left behind
    /// alone would vouch for records that are not there.
    pub(crate) fn seal(&self, footer: &Footer) -> Result<()> {
        if mutant!("no sync at rotation") {
            self.write(&footer.encode(self.seed), footer.data_end)?;
            self.note_sealed(footer.data_end);
            return Ok(());
        }
        self.sync()?;
        self.write(&footer.encode(self.seed), footer.data_end)?;
        self.sync()?;
        self.note_sealed(footer.data_end);
        Ok(())
    }

    fn note_sealed(&self, data_end: u64) {
        self.data_end.store(data_end, Ordering::Release);
        self.is_sealed.store(true, Ordering::Release);
    }

    pub(crate) fn data_end(&self) -> u64 {
        self.data_end.load(Ordering::Acquire)
    }

    pub(crate) fn set_data_end(&self, end: u64) {
        self.data_end.store(end, Ordering::Release);
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    pub(crate) fn note_damage(&self) {
        self.is_damaged.store(true, Ordering::Release);
    }

    pub(crate) fn has_hint(&self) -> bool {
        self.has_hint.load(Ordering::Acquire)
    }

    pub(crate) fn note_hint(&self) {
        self.has_hint.store(true, Ordering::Release);
    }

    pub(crate) fn live_len(&self) -> u64 {
        self.live_len.load(Ordering::Relaxed)
    }

    pub(crate) fn add_live(&self, len: u64) {
        self.live_len.fetch_add(len, Ordering::Relaxed);
    }

    pub(crate) fn sub_live(&self, len: u64) {
        self.live_len.fetch_sub(len, Ordering::Relaxed);
    }

    /// Counts a record to which the table points now.
    pub(crate) fn count_newest(&self, entry: &Entry, expires_at_ms: Option<u64>) {
        self.add_live(entry.live_len());
        self.count_ending(entry, expires_at_ms);
    }

    /// Counts a record that was counted as live already and is now one to which the table points.
    pub(crate) fn count_ending(&self, entry: &Entry, expires_at_ms: Option<u64>) {
        if let Some(end_ms) = expires_at_ms.filter(|_| entry.has_expiry) {
            self.ends().add(end_ms, entry.live_len());
        }
    }

    /// Counts a record to which the table no longer points.
    pub(crate) fn uncount_newest(&self, entry: &Entry) {
        self.sub_live(entry.live_len());
        if entry.has_expiry {
            self.ends().remove(entry.live_len());
        }
    }

    /// Returns the bytes of live records that have certainly ended by `now_ms`.
    pub(crate) fn ended_len(&self, now_ms: u64) -> u64 {
        self.ends().ended_len(now_ms)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        // Its changes are sums that cannot be left half done.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes of records that the keydir does not point to.
    pub(crate) fn dead_len(&self) -> u64 {
        (self.data_end() - FILE_HEADER_LEN).saturating_sub(self.live_len())
    }

    pub(crate) fn has_unpublished(&self) -> bool {
        self.unpublished_count.load(Ordering::Acquire) > 0
    }

    pub(crate) fn add_unpublished(&self, count: u64) {
        self.unpublished_count.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn sub_unpublished(&self, count: u64) {
        self.unpublished_count.fetch_sub(count, Ordering::AcqRel);
    }

    /// Returns the error for damage at `offset`, and notes it.
    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> Error {
        self.note_damage();
        Error::Corrupt { path: self.path(), offset, what }
    }

    /// Reads the record of `len` bytes at `offset` into the front of `buf` and checks all of it.
    pub(crate) fn read_record<'b>(
        &self,
        offset: u64,
        len: usize,
        buf: &'b mut Vec<u8>,
    ) -> Result<(Head<'b>, &'b [u8])> {
        if buf.len() < len {
            buf.resize(len, 0);
        }
        let read_len = buf.get_mut(..len).map_or(Ok(0), |place| self.read(place, offset))?;
        let bytes = buf.get(..read_len).unwrap_or_default();
        let Some(head) = Head::parse(bytes, self.seed, offset) else {
            return Err(self.damaged(offset, "record header"));
        };
        let value = bytes.get(head.len()..).unwrap_or_default();
        if head.record_len() != len || value.len() != head.value_len as usize {
            return Err(self.damaged(offset, "record cut off"));
        }
        if !head.is_value_whole(value) {
            return Err(self.damaged(offset, "value checksum"));
        }
        Ok((head, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_ten_digits_and_a_suffix() {
        assert_eq!(FileId(42).data_name(), "0000000042.data");
        assert_eq!(FileId::from_name("0000000042.data", ".data"), Some(FileId(42)));
        for name in ["42.data", "000000004x.data", "0000000042.hint", "9999999999.data", ".data"] {
            assert_eq!(FileId::from_name(name, ".data"), None, "{name}");
        }
    }

    #[test]
    fn a_value_is_over_for_everybody_a_minute_after_its_end() {
        for (end_ms, now_ms, is_over) in
            [(0, 59_999, false), (0, 60_000, true), (5, 60_004, false), (u64::MAX, 1 << 50, false)]
        {
            assert_eq!(has_ended(end_ms, now_ms), is_over, "{end_ms} at {now_ms}");
        }
    }

    #[test]
    fn a_footer_is_taken_only_whole_and_in_its_place() {
        let seed = Seed::new(1, 2);
        let footer = Footer { record_count: 3, lsn_min: Lsn(4), lsn_max: Lsn(9), data_end: 1_000 };
        let bytes = footer.encode(seed);
        assert_eq!(Footer::parse(&bytes, seed, 1_000), Some(footer));
        assert_eq!(Footer::parse(&bytes, seed, 1_001), None);
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(Footer::parse(&flipped, seed, 1_000), None, "byte {at}");
            assert_eq!(Footer::parse(&bytes[..at], seed, 1_000), None, "cut at {at}");
        }
    }
}
