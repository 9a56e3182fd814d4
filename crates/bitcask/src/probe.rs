//! What must hold of the readers of records, hint files and manifests for any bytes: for fuzzers, and for the tests
//! that replay what they found. Built with the feature `sim` only.
//!
//! A checksum turns nearly every random input away at the door. So each check tries its input twice: as it is, and
//! with the checksums put right, so that what lies behind them is reached.
//!
//! | input of | first byte | the rest |
//! |---|---|---|
//! | [`record`] | the record's place, from the file's first one on | the bytes of a data file |
//! | [`hint`] | the number of entries that the end claims | blocks: length 1, payload |
//! | [`manifest`] | – | edits: length 1, payload |
//!
//! # Panics
//! Each panics when a promise is broken: that is its purpose.

use std::sync::Arc;

use crate::data_file::{DataFile, FILE_HEADER_LEN, FileId, Footer};
use crate::disk::{Disk, SimDisk};
use crate::hint;
use crate::manifest;
use crate::record::{HEADER_LEN, Head, Seed, head_len, stamp};
use crate::scan::{Item, Scan};
use crate::types::Lsn;

const STORE: u128 = 7;
const FILE: FileId = FileId(1);

/// Checks the readers of records and of whole data files.
///
/// 1. A head that is read is written again as the same bytes, and is read in no other place.
/// 2. A scan covers the file from its first record to its end, without gap or overlap.
pub fn record(data: &[u8]) {
    let Some((&place, bytes)) = data.split_first() else { return };
    let (seed, offset) = (Seed::new(STORE, FILE.0), FILE_HEADER_LEN + u64::from(place));
    check_head(bytes, seed, offset);
    let mut stamped = bytes.to_vec();
    if let Some(len) = claimed_head_len(bytes) {
        stamp(&mut stamped, len, seed, offset);
        check_head(&stamped, seed, offset);
    }
    let mut body = vec![0; usize::from(place)];
    body.extend_from_slice(&stamped);
    check_scan(&body);
}

/// Returns the length of the head that `bytes` claim to begin with, if they have that many.
fn claimed_head_len(bytes: &[u8]) -> Option<usize> {
    let fixed = bytes.first_chunk::<HEADER_LEN>()?;
    let [.., key_low, key_high, _, flags] = *fixed;
    let len = head_len(flags, usize::from(u16::from_le_bytes([key_low, key_high])));
    (len <= bytes.len()).then_some(len)
}

fn check_head(bytes: &[u8], seed: Seed, offset: u64) {
    let Some(head) = Head::parse(bytes, seed, offset) else { return };
    let mut again = Vec::new();
    head.encode(&[], &mut again);
    stamp(&mut again, head.len(), seed, offset);
    assert_eq!(bytes.get(..head.len()), Some(&again[..]), "written differently");
    assert_eq!(head.record_len(), head.len() + head.value_len as usize);
    assert!(Head::parse(bytes, seed, offset + 1).is_none(), "read in another place");
}

/// Returns a folder with a data file of these records, if they are any.
fn folder_with(body: &[u8]) -> (Arc<dyn Disk>, Option<DataFile>) {
    let folder: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let file = DataFile::create(&folder, STORE, FILE).ok();
    let file = file.filter(|file| file.write(body, FILE_HEADER_LEN).is_ok());
    if let Some(file) = &file {
        file.set_data_end(FILE_HEADER_LEN + body.len() as u64);
    }
    (folder, file)
}

fn check_scan(body: &[u8]) {
    let (_folder, file) = folder_with(body);
    let Some(file) = file else { unreachable!("this disk does not fail") };
    let mut scan = Scan::new(&file, file.data_end());
    let mut next_at = FILE_HEADER_LEN;
    loop {
        let len = match scan.next() {
            Ok(Some((at, item))) => {
                assert_eq!(at, next_at, "a gap or an overlap");
                match item {
                    Item::Record(head) => head.record_len() as u64,
                    Item::Damage(len) => len,
                }
            }
            Ok(None) => break,
            Err(error) => unreachable!("this disk does not fail: {error}"),
        };
        assert!(len > 0, "no progress");
        next_at = (next_at + len).min(file.data_end());
        assert_eq!(scan.offset(), next_at);
    }
    assert_eq!(next_at, file.data_end());
}

/// Checks the reader of hint files: what it shows lies inside the data file, and of a broken file it shows nothing.
pub fn hint(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (folder, file) = folder_with(&[]);
    let Some(file) = file else { unreachable!("this disk does not fail") };
    let footer = Footer {
        record_count: u64::from(count),
        lsn_min: Lsn(0),
        lsn_max: Lsn(1 << 41),
        data_end: 1 << 16,
    };
    check_hint(&folder, &file, &footer, rest.to_vec());
    check_hint(&folder, &file, &footer, hint::compose(&file, STORE, &footer, &chunks(rest)));
}

fn check_hint(folder: &Arc<dyn Disk>, file: &DataFile, footer: &Footer, bytes: Vec<u8>) {
    let name = FILE.hint_name();
    drop(folder.remove(&name));
    let written = folder.create(&name).and_then(|file| file.write_at(&bytes, 0));
    assert!(written.is_ok(), "this disk does not fail");
    let mut seen_count = 0;
    let read = hint::read(folder, STORE, file, footer, &mut |hint| {
        let end = u64::from(hint.entry.offset) + u64::from(hint.entry.record_len);
        assert!(end <= footer.data_end && hint.entry.lsn <= footer.lsn_max, "outside of the file");
        seen_count += 1;
    });
    match read {
        Ok(()) => assert!(seen_count <= footer.record_count, "more entries than records"),
        Err(hint::Unusable) => assert_eq!(seen_count, 0, "an entry of a broken file was used"),
    }
}

/// Checks the reader of manifests: a state that is read is written so that it is read again as the same.
pub fn manifest(data: &[u8]) {
    check_manifest(data);
    check_manifest(&manifest::compose(STORE, &chunks(data)));
}

fn check_manifest(bytes: &[u8]) {
    let Ok(parsed) = manifest::parse(bytes) else { return };
    assert!(parsed.tail_len <= bytes.len());
    let again = manifest::parse(&manifest::encode(parsed.store, &parsed.state).0);
    assert_eq!(again.map(|again| again.state), Ok(parsed.state), "written differently");
}

/// Splits `data` into pieces, each behind a byte that says its length.
fn chunks(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((&len, rest)) = data.split_first() {
        let (piece, rest) = rest.split_at(usize::from(len).min(rest.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}
