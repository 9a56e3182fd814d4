//! Hint files: what the keydir needs of a sealed data file, so that opening need not read the values.
//!
//! ```text
//! | header 32 | block | block | … | end block |
//!
//! header     0 magic "RCHINT2\n" | 8 store id 16 | 24 file id 4 | 28 crc of bytes 0..28
//! block      0 payload length 4 | 4 crc of length and payload, seeded by store, file and offset | 8 payload
//! payload    entries: lsn 8 | generation 4 | offset 4 | record length and flags 4 | key length 2 | extensions | key
//! flags      bits 31 tombstone, 30 expiry, 29 request id, 28 a request alone, 28 and 31 a remembered one
//! extensions expiry 8 and request id 17, each as in the record
//! end block  payload: zero 8 | generation "none" 4 | entry count 8 | crc of the data file's footer 4
//! ```
//!
//! Version 1 had no extensions; its files are taken for broken and built anew.
//!
//! A hint file is only a cache. It is used when every block's checksum holds, the end block is there and the end
//! block names the footer that the data file has; else it is built again from the data file. It is
//! written to a temporary name, synced and renamed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::{Reader, put_at, to_u32, to_usize};
use crate::data_file::{DataFile, FileId, Footer};
use crate::disk::{Disk, DiskFile};
use crate::error::{Context, Result};
use crate::keydir::{Entry, Generation, Place};
use crate::record::{Head, Kind, Seed};
use crate::scan::{Item, Scan};
use crate::types::{Lsn, Request};

const MAGIC: &[u8; 8] = b"RCHINT2\n";
const HEADER_SIZE: usize = 32;
const HEADER_LEN: u64 = HEADER_SIZE as u64;
const BLOCK_HEADER_LEN: usize = 8;
/// Length of an entry before its key, in bytes.
pub(crate) const ENTRY_LEN: u64 = 22;
/// A block is written when its payload has this many bytes.
const BLOCK_LEN: usize = 64 * 1024;
/// The longest payload that is read: a block and one entry with the longest key.
const PAYLOAD_LEN_MAX: usize = BLOCK_LEN + 128 * 1024;
const TOMBSTONE: u32 = 1 << 31;
const EXPIRY: u32 = 1 << 30;
const REQUEST: u32 = 1 << 29;
const ALONE: u32 = 1 << 28;
const RECORD_LEN: u32 = (1 << 28) - 1;
/// The generation no slot has, which tells the end block.
const NO_GENERATION: u32 = 0;

/// What a record is to the keydir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A key's record.
    Record,
    /// A request id alone.
    Request,
    /// A request id alone, of a record that was published and is gone.
    Remembered,
}

/// One record of a data file, as a hint file and recovery tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint<'a> {
    pub(crate) generation: Generation,
    pub(crate) form: Form,
    pub(crate) entry: Entry,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) request: Option<Request>,
    pub(crate) key: &'a [u8],
}

impl<'a> Hint<'a> {
    /// Returns the hint of a record at `offset`, or `None` for a mark.
    pub(crate) fn of_head(head: &Head<'a>, file: FileId, offset: u64) -> Option<Self> {
        let (form, is_tombstone) = match head.kind {
            Kind::Put | Kind::Lost => (Form::Record, false),
            Kind::Delete => (Form::Record, true),
            Kind::Request => (Form::Request, false),
            Kind::Remembered => (Form::Remembered, false),
            Kind::Mark => return None,
        };
        let entry = Entry {
            lsn: head.lsn,
            file,
            offset: to_u32(to_usize(offset)),
            record_len: to_u32(head.record_len()),
            is_tombstone,
            has_expiry: head.expires_at_ms.is_some(),
        };
        let (expires_at_ms, request) = (head.expires_at_ms, head.request);
        Some(Self {
            generation: head.generation,
            form,
            entry,
            expires_at_ms,
            request,
            key: head.key,
        })
    }

    /// Returns where the record stands, as the carrier of its request.
    pub(crate) fn place(&self) -> Place {
        let Entry { file, offset, .. } = self.entry;
        Place { file, offset, is_alone: self.form != Form::Record }
    }

    fn flags(&self) -> u32 {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let form = match self.form {
            Form::Record => flag(self.entry.is_tombstone, TOMBSTONE),
            Form::Request => ALONE,
            Form::Remembered => ALONE | TOMBSTONE,
        };
        form | flag(self.expires_at_ms.is_some(), EXPIRY) | flag(self.request.is_some(), REQUEST)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let flags = (self.entry.record_len & RECORD_LEN) | self.flags();
        out.extend_from_slice(&self.entry.lsn.0.to_le_bytes());
        out.extend_from_slice(&self.generation.0.to_le_bytes());
        out.extend_from_slice(&self.entry.offset.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        let key_len = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&key_len.to_le_bytes());
        if let Some(end_ms) = self.expires_at_ms {
            out.extend_from_slice(&end_ms.to_le_bytes());
        }
        if let Some(request) = self.request {
            out.extend_from_slice(&request.encode());
        }
        out.extend_from_slice(self.key);
    }

    fn parse(reader: &mut Reader<'a>, file: FileId) -> Option<Self> {
        let lsn = Lsn(reader.u64()?);
        let generation = Generation(reader.u32()?);
        let offset = reader.u32()?;
        let flags = reader.u32()?;
        let key_len = reader.u16()?;
        let has = |flag| flags & flag != 0;
        let expires_at_ms = if has(EXPIRY) { Some(reader.u64()?) } else { None };
        let request = if has(REQUEST) { Some(Request::read(reader)?) } else { None };
        let key = reader.bytes(usize::from(key_len))?;
        let form = match (has(ALONE), has(TOMBSTONE)) {
            (false, _) => Form::Record,
            (true, false) => Form::Request,
            (true, true) => Form::Remembered,
        };
        // A request alone has a request, and nothing else.
        if form != Form::Record && (request.is_none() || has(EXPIRY) || !key.is_empty()) {
            return None;
        }
        let is_tombstone = form == Form::Record && has(TOMBSTONE);
        let (record_len, has_expiry) = (flags & RECORD_LEN, has(EXPIRY));
        let entry = Entry { lsn, file, offset, record_len, is_tombstone, has_expiry };
        Some(Self { generation, form, entry, expires_at_ms, request, key })
    }
}

/// What can be wrong with a hint file; it is then built anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable;

fn header(store: u128, id: FileId) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    put_at(&mut bytes, 0, MAGIC);
    put_at(&mut bytes, 8, &store.to_le_bytes());
    put_at(&mut bytes, 24, &id.0.to_le_bytes());
    let crc = bytes.get(..28).map_or(0, crc32fast::hash);
    put_at(&mut bytes, 28, &crc.to_le_bytes());
    bytes
}

fn footer_crc(footer: &Footer, seed: Seed) -> u32 {
    crc32fast::hash(&footer.encode(seed))
}

/// Writes blocks of entries to a file under a temporary name.
struct Writer<'f> {
    data: &'f DataFile,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    block: Vec<u8>,
    count: u64,
}

impl Writer<'_> {
    fn add(&mut self, hint: &Hint<'_>) -> Result<()> {
        hint.encode(&mut self.block);
        self.count += 1;
        if self.block.len() < BLOCK_LEN { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let payload_len = self.block.len() - BLOCK_HEADER_LEN;
        put_at(&mut self.block, 0, &to_u32(payload_len).to_le_bytes());
        let crc = block_crc(&self.block, self.data.seed, self.offset);
        put_at(&mut self.block, 4, &crc.to_le_bytes());
        self.file.write_at(&self.block, self.offset).context("write", || self.path.clone())?;
        self.offset += self.block.len() as u64;
        self.block.truncate(BLOCK_HEADER_LEN);
        Ok(())
    }

    fn finish(mut self, footer: &Footer) -> Result<()> {
        if self.block.len() > BLOCK_HEADER_LEN {
            self.flush()?;
        }
        self.block.extend_from_slice(&0_u64.to_le_bytes());
        self.block.extend_from_slice(&NO_GENERATION.to_le_bytes());
        self.block.extend_from_slice(&self.count.to_le_bytes());
        self.block.extend_from_slice(&footer_crc(footer, self.data.seed).to_le_bytes());
        self.flush()?;
        self.file.sync().context("sync", || self.path.clone())
    }
}

/// Returns the checksum of a block: over its length field and its payload.
fn block_crc(block: &[u8], seed: Seed, offset: u64) -> u32 {
    let payload = block.get(BLOCK_HEADER_LEN..).unwrap_or_default();
    let len_crc = block.get(..4).map_or(0, |len| seed.crc(offset, len));
    let mut hasher = crc32fast::Hasher::new_with_initial(len_crc);
    hasher.update(payload);
    hasher.finalize()
}

/// Builds the hint file of a sealed data file from the file itself. `pace` is told the bytes read and written.
///
/// A file with damage gets none, so that each opening looks at the damage itself and reports it.
pub(crate) fn write(
    folder: &Arc<dyn Disk>,
    store: u128,
    data: &DataFile,
    footer: &Footer,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let name = data.id.hint_name();
    let temporary = format!("{name}.new");
    let path = folder.path().join(&temporary);
    if folder.list().context("list", || folder.path().to_owned())?.contains(&temporary) {
        folder.remove(&temporary).context("remove", || path.clone())?;
    }
    let file = folder.create(&temporary).context("create", || path.clone())?;
    file.write_at(&header(store, data.id), 0).context("write", || path.clone())?;
    let block = vec![0; BLOCK_HEADER_LEN];
    let mut writer = Writer { data, file, path: path.clone(), offset: HEADER_LEN, block, count: 0 };
    let mut scan = Scan::new(data, footer.data_end);
    let mut paced_at = 0;
    while let Some((at, item)) = scan.next()? {
        match item {
            Item::Record(head) => {
                if let Some(hint) = Hint::of_head(&head, data.id, at) {
                    writer.add(&hint)?;
                }
            }
            Item::Damage(_) => {
                drop(writer);
                let removed = folder.remove(&temporary).context("remove", || path);
                return removed.and(Err(data.damaged(at, "record header")));
            }
        }
        if at - paced_at > BLOCK_LEN as u64 {
            pace(at - paced_at)?;
            paced_at = at;
        }
    }
    writer.finish(footer)?;
    folder.rename(&temporary, &name).context("rename", || path.clone())?;
    folder.sync_folder().context("sync", || folder.path().to_owned())?;
    data.note_hint();
    Ok(())
}

/// Returns a hint file of these payloads, with right checksums and an end that counts `footer`'s records.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn compose(
    data: &DataFile,
    store: u128,
    footer: &Footer,
    payloads: &[&[u8]],
) -> Vec<u8> {
    let mut end = vec![0; 12];
    end.extend_from_slice(&footer.record_count.to_le_bytes());
    end.extend_from_slice(&footer_crc(footer, data.seed).to_le_bytes());
    let mut bytes = header(store, data.id).to_vec();
    for payload in payloads.iter().copied().chain([&end[..]]) {
        let mut block = to_u32(payload.len()).to_le_bytes().to_vec();
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(payload);
        let crc = block_crc(&block, data.seed, bytes.len() as u64);
        put_at(&mut block, 4, &crc.to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    bytes
}

/// A hint file being read, block by block.
struct Blocks<'f> {
    data: &'f DataFile,
    file: Arc<dyn DiskFile>,
    offset: u64,
    payload: Vec<u8>,
}

impl Blocks<'_> {
    /// Reads the next block's payload.
    fn next(&mut self) -> std::result::Result<&[u8], Unusable> {
        let mut fixed = [0; BLOCK_HEADER_LEN];
        self.read(&mut fixed, self.offset)?;
        let mut reader = Reader::new(&fixed);
        let payload_len = reader.u32().map(|len| len as usize);
        let payload_len = payload_len.filter(|len| *len <= PAYLOAD_LEN_MAX).ok_or(Unusable)?;
        let crc = reader.u32().ok_or(Unusable)?;
        let mut block = std::mem::take(&mut self.payload);
        block.clear();
        block.extend_from_slice(&fixed);
        block.resize(BLOCK_HEADER_LEN + payload_len, 0);
        let place = block.get_mut(BLOCK_HEADER_LEN..).unwrap_or_default();
        self.read(place, self.offset + BLOCK_HEADER_LEN as u64)?;
        let is_whole = block_crc(&block, self.data.seed, self.offset) == crc;
        if !is_whole && !mutant!("hint taken unchecked") {
            return Err(Unusable);
        }
        self.offset += block.len() as u64;
        self.payload = block;
        Ok(self.payload.get(BLOCK_HEADER_LEN..).unwrap_or_default())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> std::result::Result<(), Unusable> {
        let is_whole = matches!(self.file.read_at(buf, offset), Ok(len) if len == buf.len());
        if is_whole { Ok(()) } else { Err(Unusable) }
    }
}

/// Returns the count and footer crc of `payload` if it is the end block's.
fn parse_end(payload: &[u8]) -> Option<(u64, u32)> {
    let mut reader = Reader::new(payload);
    reader.u64().filter(|zero| *zero == 0)?;
    reader.u32().filter(|generation| *generation == NO_GENERATION)?;
    let end = (reader.u64()?, reader.u32()?);
    reader.is_empty().then_some(end)
}

/// Returns the length of a file's hint file; `None` when it has none that can be opened.
pub(crate) fn len(folder: &Arc<dyn Disk>, id: FileId) -> Option<u64> {
    folder.open(&id.hint_name()).and_then(|file| file.file_len()).ok()
}

/// Shows `visit` every entry of the hint file of `data`, whose footer is `footer`, after all of it was found whole.
///
/// The file is read twice, first for its checksums, so that no entry of a broken one is ever used.
pub(crate) fn read(
    folder: &Arc<dyn Disk>,
    store: u128,
    data: &DataFile,
    footer: &Footer,
    visit: &mut dyn FnMut(&Hint<'_>),
) -> std::result::Result<(), Unusable> {
    let Ok(file) = folder.open(&data.id.hint_name()) else { return Err(Unusable) };
    let mut found = [0; HEADER_SIZE];
    let mut blocks = Blocks { data, file, offset: HEADER_LEN, payload: Vec::new() };
    blocks.read(&mut found, 0)?;
    if found != header(store, data.id) {
        return Err(Unusable);
    }
    let (count, crc) = each_entry(&mut blocks, &mut |hint| is_inside(hint, footer))?;
    if crc != footer_crc(footer, data.seed) || count > footer.record_count {
        return Err(Unusable);
    }
    blocks.offset = HEADER_LEN;
    let visit_all = &mut |hint: &Hint<'_>| {
        visit(hint);
        true
    };
    each_entry(&mut blocks, visit_all)?;
    data.note_hint();
    Ok(())
}

fn is_inside(hint: &Hint<'_>, footer: &Footer) -> bool {
    let end = u64::from(hint.entry.offset) + u64::from(hint.entry.record_len);
    end <= footer.data_end && hint.entry.lsn <= footer.lsn_max
}

/// Shows `visit` each entry up to the end block, of which it returns count and footer crc.
fn each_entry(
    blocks: &mut Blocks<'_>,
    visit: &mut dyn FnMut(&Hint<'_>) -> bool,
) -> std::result::Result<(u64, u32), Unusable> {
    let id = blocks.data.id;
    let mut count = 0;
    loop {
        let payload = blocks.next()?;
        if let Some((end_count, crc)) = parse_end(payload) {
            return if end_count == count { Ok((count, crc)) } else { Err(Unusable) };
        }
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let hint = Hint::parse(&mut reader, id).ok_or(Unusable)?;
            if !visit(&hint) {
                return Err(Unusable);
            }
            count += 1;
        }
    }
}
