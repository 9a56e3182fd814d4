//! One simulated file: its bytes as the process sees them, and what a power cut may leave of them.
//!
//! ```text
//!  volatile  what reads return: every write so far
//!  durable   what a power cut leaves at the least: every write up to the last good sync
//!  pending   the writes between the two, oldest first, of which a power cut keeps any part
//! ```
//!
//! A good sync copies whole pages, as a page cache does: bytes that a *failed* sync marked clean become durable
//! after all when a later write dirties their page again. A failed sync makes a random part of the pending
//! writes durable and forgets the rest: they stay readable, and no later sync brings them to the disk
//! (Rebello et al., ATC 2020, the behaviour of ext4 and XFS).

use fastrand::Rng;

use super::CrashMode;

/// Bytes of a page: what a disk is taken to write at once, and no more.
pub(super) const PAGE_LEN: usize = 4096;

/// A change of a file that no sync has covered yet.
#[derive(Clone, Debug)]
enum Effect {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A file's contents, without its names.
#[derive(Debug, Default)]
pub(super) struct Inode {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Effect>,
    /// Handles on it; an unlinked file lives as long as there are any.
    pub(super) open_count: u32,
}

impl Inode {
    /// Returns a file that holds `bytes`, all durable.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), volatile: bytes, pending: Vec::new(), open_count: 0 }
    }

    /// Returns the bytes as the process sees them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.volatile
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let effect = Effect::Write { offset, bytes: bytes.to_vec() };
        effect.apply(&mut self.volatile);
        self.pending.push(effect);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let effect = Effect::SetLen(len);
        effect.apply(&mut self.volatile);
        self.pending.push(effect);
    }

    /// Makes everything written so far durable, page by page.
    pub(super) fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        for effect in &pending {
            effect.apply(&mut self.durable);
        }
        self.durable.resize(self.volatile.len(), 0);
        for effect in &pending {
            copy_pages(effect, &self.volatile, &mut self.durable);
        }
    }

    /// Does what a sync that fails does: some of the writes reach the disk, none is ever tried again.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for piece in self.pages() {
            if rng.bool() {
                piece.apply(&mut self.durable);
            }
        }
        // The length is kept elsewhere than the bytes and may get through without them.
        if self.durable.len() < self.volatile.len() && rng.bool() {
            self.durable.resize(self.volatile.len(), 0);
        }
        self.pending.clear();
    }

    /// Changes the bytes behind the process's back, in memory and on the disk.
    pub(super) fn tamper(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(&mut self.volatile);
        change(&mut self.durable);
    }

    /// Puts the file into the state in which a crash of this mode leaves it.
    pub(super) fn crash(&mut self, mode: CrashMode, rng: &mut Rng) {
        self.open_count = 0;
        let mut image = std::mem::take(&mut self.durable);
        match mode.or_any(rng) {
            CrashMode::Kept => {
                self.durable = image;
                return;
            }
            CrashMode::Lost | CrashMode::Any => {}
            // A file that was synced is as it was.
            _ if self.pending.is_empty() => {}
            CrashMode::Cut => self.apply_prefix(&mut image, rng),
            CrashMode::Zeroed => {
                self.apply_prefix(&mut image, rng);
                let page_end = image.len().next_multiple_of(PAGE_LEN);
                let grown_len = if rng.bool() { self.volatile.len() } else { page_end };
                image.resize(grown_len.max(image.len()), 0);
            }
            CrashMode::Reordered => self.apply_some(&mut image, rng),
        }
        *self = Self::new(image);
    }

    /// Applies the oldest pending writes, the last of them in part.
    fn apply_prefix(&self, image: &mut Vec<u8>, rng: &mut Rng) {
        let whole_count = rng.usize(..=self.pending.len());
        for effect in self.pending.iter().take(whole_count) {
            effect.apply(image);
        }
        if let Some(Effect::Write { offset, bytes }) = self.pending.get(whole_count) {
            let cut_at = rng.usize(..=bytes.len());
            let kept = bytes.iter().take(cut_at).copied().collect();
            Effect::Write { offset: *offset, bytes: kept }.apply(image);
        }
    }

    /// Applies any of the pending pages, whatever their order; skipped bytes below a kept page are zeros.
    fn apply_some(&self, image: &mut Vec<u8>, rng: &mut Rng) {
        let kept_of_8 = rng.u8(1..8);
        for piece in self.pages() {
            if rng.u8(..8) < kept_of_8 {
                piece.apply(image);
            }
        }
        if image.len() < self.volatile.len() && rng.bool() {
            image.resize(self.volatile.len(), 0);
        }
    }

    /// Returns the pending writes split where pages end.
    fn pages(&self) -> Vec<Effect> {
        let mut pieces = Vec::new();
        for effect in &self.pending {
            match effect {
                Effect::SetLen(len) => pieces.push(Effect::SetLen(*len)),
                Effect::Write { offset, bytes } => split(*offset, bytes, &mut pieces),
            }
        }
        pieces
    }
}

impl Effect {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => image.resize(*len, 0),
            Self::Write { bytes, .. } if bytes.is_empty() => {}
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                if let Some(place) = image.get_mut(*offset..end) {
                    place.copy_from_slice(bytes);
                }
            }
        }
    }
}

fn split(mut offset: usize, mut bytes: &[u8], pieces: &mut Vec<Effect>) {
    while !bytes.is_empty() {
        let (page, rest) = bytes.split_at((PAGE_LEN - offset % PAGE_LEN).min(bytes.len()));
        pieces.push(Effect::Write { offset, bytes: page.to_vec() });
        offset += page.len();
        bytes = rest;
    }
}

/// Copies the pages that `effect` dirtied, whole.
fn copy_pages(effect: &Effect, from: &[u8], to: &mut [u8]) {
    let Effect::Write { offset, bytes } = effect else { return };
    let start = offset - offset % PAGE_LEN;
    let end = (offset + bytes.len()).next_multiple_of(PAGE_LEN).min(from.len());
    if let (Some(source), Some(target)) = (from.get(start..end), to.get_mut(start..end)) {
        target.copy_from_slice(source);
    }
}
