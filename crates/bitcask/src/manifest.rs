//! The manifest: which data files and which slots are alive.
//!
//! A log of edits, each with its own checksum, synced before it counts:
//!
//! ```text
//! | header 28: magic "RCMANI2\n" 8 | store id 16 | crc 4 | edit | edit | …
//!
//! edit  0 payload length 4 | 4 crc of length and payload, seeded by store and offset | 8 payload
//!
//! payload   1 begun file:      id 4; all files named before are sealed
//!           2 merged files:    removed count 4, added count 4, the ids 4 each, removed ones first
//!           3 slot created:    generation 4
//!           4 slot dropped:    generation 4
//!           5 tombstone floor: generation 4, lsn 8
//!           6 last file id:    id 4
//!           7 found file:      id 4; not known to be sealed
//!           8 together:        any number of: length 4, payload of another kind
//!           9 end:             nothing; written behind the edits once they are durable
//!          10 commit points:   any number of: generation 4, lsn 8
//!          11 request floors:  any number of: generation 4, lsn 8
//!          12 server:          server id 16; without one it is the store id
//! ```
//!
//! Version 1 lacks the kinds from 10 on and is else the same. It is read as such and written as version 2.
//!
//! An edit takes effect as a whole or not at all: a merge's inputs go and its outputs come in one, and what is
//! committed together is one edit under one checksum. Were it several, a power cut could keep a later one and lose an
//! earlier, since a disk writes pages in any order, and that would look like damage. At every
//! opening, and when the log has grown long, the state is written as one short log to a
//! temporary name, synced and renamed. An edit that is cut off or damaged at the very end was never told
//! to anyone and is left out; damage anywhere before stops the opening, because a manifest that
//! is wrong by one line can bring deleted data back. So that the last durable edit is told from one that tore, an
//! end stands behind it, which the next edit overwrites. The end needs no sync of its own: without it the last
//! edit is merely less protected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::{Reader, put_at, to_u32, to_usize};
use crate::data_file::FileId;
use crate::disk::{Disk, DiskFile};
use crate::error::{Context, Error, Result, is_out_of_space};
use crate::keydir::Generation;
use crate::record::Seed;
use crate::types::{Lsn, SlotId};

/// The manifest's file name.
pub(crate) const NAME: &str = "MANIFEST";
/// The name under which a new one is written.
pub(crate) const TEMPORARY_NAME: &str = "MANIFEST.new";
const MAGIC: &[u8; 8] = b"RCMANI2\n";
/// The magic of version 1.
const OLD_MAGIC: &[u8; 8] = b"RCMANI1\n";
const HEADER_LEN: usize = 28;
const EDIT_HEADER_LEN: usize = 8;
/// The longest edit that is read, in bytes: a merge of a hundred thousand files.
const PAYLOAD_LEN_MAX: usize = 1 << 20;
/// A log longer than this, in bytes, is written anew.
const LOG_LEN_MAX: u64 = 1 << 20;
/// The longest manifest that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 30;
/// The kind of an edit that holds others.
const TOGETHER: u8 = 8;
/// The file id that seeds the manifest's checksums: data files begin at 1.
const SEED_ID: u32 = 0;

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Begun(FileId),
    Found(FileId),
    Merged {
        removed: Vec<FileId>,
        added: Vec<FileId>,
    },
    SlotCreated(Generation),
    SlotDropped(Generation),
    TombstoneFloor(Generation, Lsn),
    LastFile(FileId),
    CommitPoints(Vec<(Generation, Lsn)>),
    RequestFloors(Vec<(Generation, Lsn)>),
    Server(u128),
    /// Several of the others, none within another.
    Together(Vec<Edit>),
    End,
}

impl Edit {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Begun(id) => put_u32s(out, 1, [id.0]),
            Self::Found(id) => put_u32s(out, 7, [id.0]),
            Self::Merged { removed, added } => {
                put_u32s(out, 2, [to_u32(removed.len()), to_u32(added.len())]);
                out.extend(removed.iter().chain(added).flat_map(|id| id.0.to_le_bytes()));
            }
            Self::SlotCreated(generation) => put_u32s(out, 3, [generation.0]),
            Self::SlotDropped(generation) => put_u32s(out, 4, [generation.0]),
            Self::TombstoneFloor(generation, lsn) => {
                put_u32s(out, 5, [generation.0]);
                out.extend_from_slice(&lsn.0.to_le_bytes());
            }
            Self::LastFile(id) => put_u32s(out, 6, [id.0]),
            Self::End => out.push(9),
            Self::CommitPoints(points) => put_points(out, 10, points),
            Self::RequestFloors(floors) => put_points(out, 11, floors),
            Self::Server(server) => {
                out.push(12);
                out.extend_from_slice(&server.to_le_bytes());
            }
            Self::Together(edits) => {
                out.push(TOGETHER);
                for edit in edits {
                    let start = out.len();
                    out.extend_from_slice(&[0; 4]);
                    edit.encode(out);
                    let len = to_u32(out.len() - start - 4);
                    put_at(out, start, &len.to_le_bytes());
                }
            }
        }
    }

    /// Reads an edit's payload.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        if payload.first() != Some(&TOGETHER) {
            return Self::parse_one(payload);
        }
        reader.u8()?;
        let mut edits = Vec::new();
        while !reader.is_empty() {
            let len = reader.u32()? as usize;
            edits.push(Self::parse_one(reader.bytes(len)?)?);
        }
        Some(Self::Together(edits))
    }

    fn parse_one(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let edit = match reader.u8()? {
            1 => Self::Begun(FileId(reader.u32()?)),
            7 => Self::Found(FileId(reader.u32()?)),
            2 => {
                let (removed_count, added_count) = (reader.u32()?, reader.u32()?);
                let mut ids = |count| (0..count).map(|_| reader.u32().map(FileId)).collect();
                let removed: Option<Vec<FileId>> = ids(removed_count);
                let added: Option<Vec<FileId>> = ids(added_count);
                Self::Merged { removed: removed?, added: added? }
            }
            3 => Self::SlotCreated(Generation(reader.u32()?)),
            4 => Self::SlotDropped(Generation(reader.u32()?)),
            5 => Self::TombstoneFloor(Generation(reader.u32()?), Lsn(reader.u64()?)),
            6 => Self::LastFile(FileId(reader.u32()?)),
            9 => Self::End,
            10 => Self::CommitPoints(read_points(&mut reader)?),
            11 => Self::RequestFloors(read_points(&mut reader)?),
            12 => Self::Server(reader.u128()?),
            _ => return None,
        };
        reader.is_empty().then_some(edit)
    }
}

fn put_u32s<const N: usize>(out: &mut Vec<u8>, tag: u8, numbers: [u32; N]) {
    out.push(tag);
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_points(out: &mut Vec<u8>, tag: u8, points: &[(Generation, Lsn)]) {
    out.push(tag);
    for (generation, lsn) in points {
        out.extend_from_slice(&generation.0.to_le_bytes());
        out.extend_from_slice(&lsn.0.to_le_bytes());
    }
}

fn read_points(reader: &mut Reader<'_>) -> Option<Vec<(Generation, Lsn)>> {
    let mut points = Vec::new();
    while !reader.is_empty() {
        points.push((Generation(reader.u32()?), Lsn(reader.u64()?)));
    }
    Some(points)
}

/// One slot, as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotState {
    /// The latest generation.
    pub(crate) generation: Generation,
    pub(crate) is_live: bool,
    pub(crate) tombstone_floor: Lsn,
    /// How far records are known to be committed; `None`: the slot is kept by this server alone.
    pub(crate) commit_point: Option<Lsn>,
    pub(crate) request_floor: Lsn,
}

impl SlotState {
    /// Returns the slot as it begins, or ends.
    fn new(generation: Generation, is_live: bool) -> Self {
        let (tombstone_floor, commit_point, request_floor) = (Lsn(0), None, Lsn(0));
        Self { generation, is_live, tombstone_floor, commit_point, request_floor }
    }
}

/// What is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) files: BTreeSet<FileId>,
    /// Of these, the ones that may rightly end in a torn record: all others were sealed before a later one began.
    pub(crate) growing: BTreeSet<FileId>,
    pub(crate) slots: BTreeMap<SlotId, SlotState>,
    pub(crate) last_file: FileId,
    /// The id of the server that this store is; `None`: the store's own.
    pub(crate) server: Option<u128>,
}

impl State {
    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Begun(id) => {
                self.add(*id);
                self.growing = [*id].into();
            }
            Edit::Found(id) => {
                self.add(*id);
                self.growing.insert(*id);
            }
            Edit::Merged { removed, added } => {
                for id in removed {
                    self.files.remove(id);
                    self.growing.remove(id);
                }
                for id in added {
                    self.add(*id);
                }
            }
            Edit::SlotCreated(generation) => {
                self.slots.insert(generation.slot(), SlotState::new(*generation, true));
            }
            Edit::SlotDropped(generation) => {
                self.slots.insert(generation.slot(), SlotState::new(*generation, false));
            }
            Edit::TombstoneFloor(generation, lsn) => {
                self.of(*generation, |slot| slot.tombstone_floor = slot.tombstone_floor.max(*lsn));
            }
            Edit::CommitPoints(points) => {
                for (generation, lsn) in points {
                    self.of(*generation, |slot| {
                        slot.commit_point = slot.commit_point.max(Some(*lsn));
                    });
                }
            }
            Edit::RequestFloors(floors) => {
                for (generation, lsn) in floors {
                    self.of(*generation, |slot| slot.request_floor = slot.request_floor.max(*lsn));
                }
            }
            Edit::Server(server) => self.server = Some(*server),
            Edit::LastFile(id) => self.last_file = self.last_file.max(*id),
            Edit::End => {}
            Edit::Together(edits) => edits.iter().for_each(|edit| self.apply(edit)),
        }
    }

    /// Changes the slot of a living generation; an edit that names another comes too late and changes nothing.
    fn of(&mut self, generation: Generation, change: impl FnOnce(&mut SlotState)) {
        let slot = self.slots.get_mut(&generation.slot());
        if let Some(slot) = slot.filter(|slot| slot.generation == generation && slot.is_live) {
            change(slot);
        }
    }

    fn add(&mut self, id: FileId) {
        self.files.insert(id);
        self.last_file = self.last_file.max(id);
    }

    /// Returns the edits that make this state from nothing.
    fn edits(&self) -> Vec<Edit> {
        let mut edits = vec![Edit::LastFile(self.last_file)];
        let added = self.files.difference(&self.growing).copied().collect();
        edits.push(Edit::Merged { removed: Vec::new(), added });
        edits.extend(self.growing.iter().map(|id| Edit::Found(*id)));
        for slot in self.slots.values() {
            let generation = slot.generation;
            if slot.is_live {
                edits.push(Edit::SlotCreated(generation));
                if slot.tombstone_floor > Lsn(0) {
                    edits.push(Edit::TombstoneFloor(generation, slot.tombstone_floor));
                }
            } else {
                edits.push(Edit::SlotDropped(generation));
            }
        }
        let points = self.points(|slot| slot.commit_point);
        let floors = self.points(|slot| Some(slot.request_floor).filter(|floor| *floor > Lsn(0)));
        edits.extend(Some(points).filter(|all| !all.is_empty()).map(Edit::CommitPoints));
        edits.extend(Some(floors).filter(|all| !all.is_empty()).map(Edit::RequestFloors));
        edits.extend(self.server.map(Edit::Server));
        edits
    }

    fn points(&self, of: impl Fn(&SlotState) -> Option<Lsn>) -> Vec<(Generation, Lsn)> {
        self.slots.values().filter_map(|slot| Some((slot.generation, of(slot)?))).collect()
    }
}

/// The open manifest: the state, and the log that it is read from.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) store: u128,
    pub(crate) state: State,
    folder: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    len: u64,
}

fn path(folder: &Arc<dyn Disk>) -> PathBuf {
    folder.path().join(NAME)
}

fn push_edit(edit: &Edit, seed: Seed, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; EDIT_HEADER_LEN]);
    edit.encode(out);
    let payload_len = out.len() - start - EDIT_HEADER_LEN;
    assert!(payload_len <= PAYLOAD_LEN_MAX, "an edit that could not be read again");
    put_at(out, start, &to_u32(payload_len).to_le_bytes());
    let crc = edit_crc(out.get(start..).unwrap_or_default(), seed, offset);
    put_at(out, start + 4, &crc.to_le_bytes());
}

/// Returns the checksum of an edit: over its length field and its payload.
fn edit_crc(edit: &[u8], seed: Seed, offset: u64) -> u32 {
    let payload = edit.get(EDIT_HEADER_LEN..).unwrap_or_default();
    let mut hasher = crc32fast::Hasher::new_with_initial(seed.crc(offset, payload));
    hasher.update(edit.get(..4).unwrap_or_default());
    hasher.finalize()
}

fn encode_header(magic: &[u8; 8], store: u128) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    put_at(&mut bytes, 0, magic);
    put_at(&mut bytes, 8, &store.to_le_bytes());
    let crc = bytes.get(..24).map_or(0, crc32fast::hash);
    put_at(&mut bytes, 24, &crc.to_le_bytes());
    bytes
}

/// What the bytes of a manifest say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) store: u128,
    pub(crate) state: State,
    /// Bytes at the end that are no whole edit.
    pub(crate) tail_len: usize,
}

/// Reads the bytes of a manifest; the error is the offset and kind of damage.
pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Parsed, (usize, &'static str)> {
    let mut reader = Reader::new(bytes);
    let store = (|| {
        let magic = reader.array::<8>().filter(|magic| [MAGIC, OLD_MAGIC].contains(&magic))?;
        let store = reader.u128()?;
        reader.u32().filter(|_| bytes.starts_with(&encode_header(&magic, store)))?;
        Some(store)
    })();
    let store = store.ok_or((0, "not a manifest of this version"))?;
    let seed = Seed::new(store, SEED_ID);
    let mut state = State::default();
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((edit, len)) = parse_edit(rest, seed, at as u64) else {
            return match has_edit_after(rest, seed, at) {
                true => Err((at, "edit checksum")),
                false => Ok(Parsed { store, state, tail_len: rest.len() }),
            };
        };
        state.apply(&edit);
        at += len;
    }
    Ok(Parsed { store, state, tail_len: 0 })
}

fn parse_edit(bytes: &[u8], seed: Seed, offset: u64) -> Option<(Edit, usize)> {
    let mut reader = Reader::new(bytes);
    let payload_len = reader.u32()? as usize;
    let crc = reader.u32()?;
    let len = EDIT_HEADER_LEN + payload_len;
    let edit = bytes.get(..len).filter(|_| payload_len <= PAYLOAD_LEN_MAX)?;
    let is_whole = edit_crc(edit, seed, offset) == crc;
    let payload = edit.get(EDIT_HEADER_LEN..).filter(|_| is_whole)?;
    Some((Edit::parse(payload)?, len))
}

/// Returns whether a whole edit stands somewhere behind the broken one at the start of `bytes`: edits are
/// synced one by one, so only the last can be torn, and anything else is corruption.
fn has_edit_after(bytes: &[u8], seed: Seed, offset: usize) -> bool {
    (1..bytes.len()).any(|skip| {
        let rest = bytes.get(skip..).unwrap_or_default();
        parse_edit(rest, seed, (offset + skip) as u64).is_some()
    })
}

impl Manifest {
    /// Reads the folder's manifest, or begins one for the store `new_store` when there is none and no data file either.
    /// Returns it and the bytes of a torn edit that were cut off.
    pub(crate) fn open(folder: &Arc<dyn Disk>, new_store: u128) -> Result<(Self, usize)> {
        let names = folder.list().context("list", || folder.path().to_owned())?;
        let parsed = if names.iter().any(|name| name == NAME) {
            load(folder)?
        } else if names.iter().any(|name| FileId::from_name(name, ".data").is_some()) {
            let what = "missing, although there are data files: restore it from a backup";
            return Err(Error::Missing { path: path(folder), what });
        } else {
            Parsed { store: new_store, state: State::default(), tail_len: 0 }
        };
        let (file, len) = write_anew(folder, parsed.store, &parsed.state)?;
        let folder = Arc::clone(folder);
        let this = Self { store: parsed.store, state: parsed.state, folder, file, len };
        Ok((this, parsed.tail_len))
    }

    /// Makes `edits` durable, then true. Refused as a whole when the disk is full.
    ///
    /// # Errors
    /// `Full`: nothing happened. `Io`: it may have happened, and the store must be poisoned.
    pub(crate) fn commit(&mut self, edits: &[Edit]) -> Result<()> {
        let seed = Seed::new(self.store, SEED_ID);
        let mut bytes = Vec::new();
        let edit = match edits {
            [edit] => edit.clone(),
            edits => Edit::Together(edits.to_vec()),
        };
        push_edit(&edit, seed, self.len, &mut bytes);
        if let Err(error) = self.file.write_at(&bytes, self.len) {
            // The cut must be durable too, or a power cut brings back what was refused.
            let is_undone = is_out_of_space(&error)
                && self.file.set_len(self.len).and_then(|()| self.file.sync()).is_ok();
            return if is_undone {
                Err(Error::Full { folder: self.folder.path().to_owned(), free_len: 0 })
            } else {
                Err(error).context("write", || path(&self.folder))
            };
        }
        self.file.sync().context("sync", || path(&self.folder))?;
        self.len += bytes.len() as u64;
        self.state.apply(&edit);
        let mut end = Vec::new();
        push_edit(&Edit::End, seed, self.len, &mut end);
        // Nothing depends on it, and a disk that is failing will say so at the next edit.
        drop(self.file.write_at(&end, self.len));
        if self.len > LOG_LEN_MAX {
            (self.file, self.len) = write_anew(&self.folder, self.store, &self.state)?;
        }
        Ok(())
    }
}

/// Reads and checks the manifest of `folder`.
pub(crate) fn load(folder: &Arc<dyn Disk>) -> Result<Parsed> {
    let file = folder.open(NAME).context("open", || path(folder))?;
    let len = file.file_len().context("read the length of", || path(folder))?;
    if len > FILE_LEN_MAX {
        return Err(Error::Limit { what: "manifest", len, max: FILE_LEN_MAX });
    }
    let mut bytes = vec![0; to_usize(len)];
    let read_len = file.read_at(&mut bytes, 0).context("read", || path(folder))?;
    bytes.truncate(read_len);
    parse(&bytes).map_err(|(at, what)| Error::Corrupt {
        path: path(folder),
        offset: at as u64,
        what,
    })
}

/// Returns the manifest that says `state`, and where its next edit goes.
pub(crate) fn encode(store: u128, state: &State) -> (Vec<u8>, u64) {
    let seed = Seed::new(store, SEED_ID);
    let mut bytes = encode_header(MAGIC, store).to_vec();
    for edit in state.edits() {
        let offset = bytes.len() as u64;
        push_edit(&edit, seed, offset, &mut bytes);
    }
    let len = bytes.len() as u64;
    push_edit(&Edit::End, seed, len, &mut bytes);
    (bytes, len)
}

/// Returns a manifest of these payloads, with right checksums.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn compose(store: u128, payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = encode_header(MAGIC, store).to_vec();
    for payload in payloads {
        let offset = bytes.len() as u64;
        let mut edit = to_u32(payload.len()).to_le_bytes().to_vec();
        edit.extend_from_slice(&[0; 4]);
        edit.extend_from_slice(payload);
        let crc = edit_crc(&edit, Seed::new(store, SEED_ID), offset);
        put_at(&mut edit, 4, &crc.to_le_bytes());
        bytes.extend_from_slice(&edit);
    }
    bytes
}

/// Writes `state` as a new manifest into `folder`, in place of an old one; returns the file and where its
/// next edit goes.
pub(crate) fn write_anew(
    folder: &Arc<dyn Disk>,
    store: u128,
    state: &State,
) -> Result<(Arc<dyn DiskFile>, u64)> {
    let (bytes, len) = encode(store, state);
    let names = folder.list().context("list", || folder.path().to_owned())?;
    let temporary = || folder.path().join(TEMPORARY_NAME);
    if names.iter().any(|name| name == TEMPORARY_NAME) {
        folder.remove(TEMPORARY_NAME).context("remove", temporary)?;
    }
    let file = folder.create(TEMPORARY_NAME).context("create", temporary)?;
    file.write_at(&bytes, 0).context("write", temporary)?;
    file.sync().context("sync", temporary)?;
    folder.rename(TEMPORARY_NAME, NAME).context("rename", temporary)?;
    folder.sync_folder().context("sync", || folder.path().to_owned())?;
    Ok((file, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (State, Vec<u8>) {
        let mut state = State::default();
        let slot = |index, life| Generation::new(SlotId::new(index).unwrap(), life);
        for edit in [
            Edit::Begun(FileId(1)),
            Edit::Begun(FileId(2)),
            Edit::Found(FileId(4)),
            Edit::SlotCreated(slot(0, 1)),
            Edit::SlotCreated(slot(7, 1)),
            Edit::SlotDropped(slot(7, 1)),
            Edit::TombstoneFloor(slot(0, 1), Lsn(5)),
            Edit::CommitPoints(vec![(slot(0, 1), Lsn(7)), (slot(7, 1), Lsn(8))]),
            Edit::CommitPoints(vec![(slot(0, 1), Lsn(6))]),
            Edit::RequestFloors(vec![(slot(0, 1), Lsn(4)), (slot(0, 2), Lsn(9))]),
            Edit::Server(11),
            Edit::Merged { removed: vec![FileId(1)], added: vec![FileId(3)] },
        ] {
            state.apply(&edit);
        }
        let mut bytes = encode_header(MAGIC, 9).to_vec();
        for edit in state.edits() {
            let offset = bytes.len() as u64;
            push_edit(&edit, Seed::new(9, SEED_ID), offset, &mut bytes);
        }
        (state, bytes)
    }

    #[test]
    fn a_state_comes_back_from_its_edits() {
        let (state, bytes) = sample();
        assert_eq!(state.files, [FileId(2), FileId(3), FileId(4)].into());
        assert_eq!(state.growing, [FileId(2), FileId(4)].into());
        assert_eq!(state.last_file, FileId(4));
        let slot = state.slots.get(&SlotId::new(0).unwrap()).unwrap();
        assert_eq!((slot.commit_point, slot.request_floor), (Some(Lsn(7)), Lsn(4)));
        let dropped = state.slots.get(&SlotId::new(7).unwrap()).unwrap();
        assert_eq!((dropped.commit_point, state.server), (None, Some(11)));
        assert_eq!(parse(&bytes), Ok(Parsed { store: 9, state, tail_len: 0 }));
    }

    #[test]
    fn the_bytes_of_commit_points_request_floors_and_a_server_are_fixed() {
        let points = vec![(Generation(0x0010_0002), Lsn::new(1, 3))];
        let table: [(Edit, &str); 3] = [
            (Edit::CommitPoints(points.clone()), "0a020010000300000000010000"),
            (Edit::RequestFloors(points), "0b020010000300000000010000"),
            (Edit::Server(5), "0c05000000000000000000000000000000"),
        ];
        for (edit, expected) in table {
            let mut bytes = Vec::new();
            edit.encode(&mut bytes);
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, expected);
            assert_eq!(Edit::parse(&bytes), Some(edit));
        }
    }

    #[test]
    fn a_manifest_of_version_1_is_read_and_one_of_an_unknown_version_refused() {
        let edit = Edit::Begun(FileId(3));
        for (magic, is_read) in [(MAGIC, true), (OLD_MAGIC, true), (b"RCMANI3\n", false)] {
            let mut bytes = encode_header(magic, 9).to_vec();
            push_edit(&edit, Seed::new(9, SEED_ID), HEADER_LEN as u64, &mut bytes);
            let parsed = parse(&bytes).map(|parsed| parsed.state.last_file);
            let refused = Err((0, "not a manifest of this version"));
            assert_eq!(parsed, if is_read { Ok(FileId(3)) } else { refused });
        }
    }

    #[test]
    fn a_cut_manifest_is_the_state_before_the_torn_edit() {
        let (_, bytes) = sample();
        for len in HEADER_LEN..bytes.len() {
            let parsed = parse(&bytes[..len]).unwrap();
            assert_eq!(parsed.store, 9);
            assert!(parsed.tail_len < len);
        }
        assert!(parse(&bytes[..HEADER_LEN - 1]).is_err());
    }

    #[test]
    fn damage_before_the_last_edit_is_an_error_with_its_place() {
        let (_, bytes) = sample();
        let last_edit_len = EDIT_HEADER_LEN + 17;
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            match parse(&flipped) {
                Ok(parsed) => assert!(at >= bytes.len() - last_edit_len && parsed.tail_len > 0),
                Err((offset, _)) => assert!(offset <= at),
            }
        }
    }
}
