//! One slot's clients: the newest request of each that was published (R24).
//!
//! ```text
//! entries   sorted by client, 40 bytes each: client 8 | number 8 | lsn 8 | file 4 | offset 4 | outcome, form
//! floor     entries below this lsn are gone
//! ```
//!
//! Of two requests of a client the one with the **higher lsn** stays, whatever their numbers: an orphan may carry the number
//! of a request that was never done, and what overrides it, the client's newest request proposed again, has a higher lsn and
//! perhaps a lower number. The table is rebuilt at every opening from all records that are
//! still in data files, overwritten ones too. The record that an entry came from is its *carrier*. When a merge drops
//! a carrier, because its key was overwritten, it leaves a record of the request alone in its place, and the
//! entry points to that.
//!
//! No clock is kept with a record. Whoever knows the time notes now and then the newest lsn of the slot, and an hour later
//! makes it the slot's *request floor*: what was silent for so long has a lower lsn. Above
//! [`REQUEST_COUNT_MAX`] entries the one with the **lowest lsn** goes: the client that has been silent longest,
//! and the same one on every copy of the slot, since lsns are.

use crate::data_file::FileId;
use crate::record::REQUEST_RECORD_LEN;
use crate::types::{Lsn, Request};

/// Clients that a slot remembers, at most: 40 KiB of memory. A client whose entry was crowded out has a retry of an
/// *unknown* write applied anew, so the limit lies far above the writers that a slot has within the time of a retry.
pub(crate) const REQUEST_COUNT_MAX: usize = 1024;

/// The newest request of a client, and where its carrier is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    client: u64,
    number: u64,
    lsn: Lsn,
    file: FileId,
    offset: u32,
    outcome: u8,
    /// The carrier holds nothing but the request, so it is alive only for this entry.
    is_alone: bool,
}

impl Entry {
    fn new(request: &Request, lsn: Lsn, place: Place) -> Self {
        let Request { client, number, outcome } = *request;
        let Place { file, offset, is_alone } = place;
        Self { client, number, lsn, file, offset, outcome, is_alone }
    }

    fn request(&self) -> Request {
        Request { client: self.client, number: self.number, outcome: self.outcome }
    }

    /// Returns the file that lost a live record with this entry, if it did.
    fn died_in(&self) -> Option<FileId> {
        self.is_alone.then_some(self.file)
    }
}

/// Where a record that carries a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    pub(crate) offset: u32,
    /// Nothing but the request is in it.
    pub(crate) is_alone: bool,
}

/// What became of a request that was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// It is in the table.
    pub(crate) is_kept: bool,
    /// The file in which a record of a request alone died for it.
    pub(crate) died_in: Option<FileId>,
}

/// One slot's newest requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    entries: Vec<Entry>,
    floor: Lsn,
    alone_count: usize,
}

impl Requests {
    fn find(&self, client: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&client, |entry| entry.client)
    }

    /// Notes the request of a published record, which stands at `place`.
    pub(crate) fn note(&mut self, request: &Request, lsn: Lsn, place: Place) -> Noted {
        if lsn < self.floor && !mutant!("request below the floor") {
            return Noted::default();
        }
        let new = Entry::new(request, lsn, place);
        match self.find(request.client) {
            Ok(at) => self.replace(at, new),
            Err(at) => {
                self.entries.insert(at, new);
                self.alone_count += usize::from(new.is_alone);
                self.crowd_out(new.client)
            }
        }
    }

    fn replace(&mut self, at: usize, new: Entry) -> Noted {
        let Some(entry) = self.entries.get_mut(at) else { return Noted::default() };
        let is_newer = (new.lsn, new.number) > (entry.lsn, entry.number);
        if !is_newer && !mutant!("lower request lsn wins") {
            return Noted::default();
        }
        let old = std::mem::replace(entry, new);
        self.alone_count += usize::from(new.is_alone);
        self.alone_count -= usize::from(old.is_alone);
        Noted { is_kept: true, died_in: old.died_in() }
    }

    /// Removes the entry with the lowest lsn when there is one too many; `client` is the one that came.
    fn crowd_out(&mut self, client: u64) -> Noted {
        if self.entries.len() <= REQUEST_COUNT_MAX {
            return Noted { is_kept: true, died_in: None };
        }
        let oldest = (0..).zip(&self.entries).min_by_key(|(_, entry)| (entry.lsn, entry.client));
        let Some((at, _)) = oldest else { unreachable!("the table is full") };
        let gone = self.entries.remove(at);
        self.alone_count -= usize::from(gone.is_alone);
        match gone.client == client {
            true => Noted { is_kept: false, died_in: None },
            false => Noted { is_kept: true, died_in: gone.died_in() },
        }
    }

    /// Returns the newest request of a client, and its lsn.
    pub(crate) fn get(&self, client: u64) -> Option<(Request, Lsn)> {
        let entry = self.entries.get(self.find(client).ok()?)?;
        Some((entry.request(), entry.lsn))
    }

    /// Returns all entries, by client.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Request, Lsn)> {
        self.entries.iter().map(|entry| (entry.request(), entry.lsn))
    }

    /// Returns whether the record at `place` is the carrier of its client's newest request.
    pub(crate) fn is_carrier(
        &self,
        request: &Request,
        lsn: Lsn,
        file: FileId,
        offset: u32,
    ) -> bool {
        let entry = self.find(request.client).ok().and_then(|at| self.entries.get(at));
        entry.is_some_and(|entry| {
            (entry.number, entry.lsn) == (request.number, lsn)
                && (entry.file, entry.offset) == (file, offset)
        })
    }

    /// Points the entry of `request` from its carrier in one of the files `from` to `place`; returns where it pointed,
    /// `None` when it has moved on meanwhile.
    pub(crate) fn relocate(
        &mut self,
        request: &Request,
        lsn: Lsn,
        from: &[FileId],
        place: Place,
    ) -> Option<Place> {
        let at = self.find(request.client).ok()?;
        let entry = self.entries.get_mut(at).filter(|entry| {
            (entry.number, entry.lsn) == (request.number, lsn) && from.contains(&entry.file)
        })?;
        let Entry { file, offset, is_alone, .. } = *entry;
        (entry.file, entry.offset, entry.is_alone) = (place.file, place.offset, place.is_alone);
        self.alone_count += usize::from(place.is_alone);
        self.alone_count -= usize::from(is_alone);
        Some(Place { file, offset, is_alone })
    }

    /// Removes the entry of a client; returns the file in which a record of a request alone died with it.
    pub(crate) fn forget(&mut self, client: u64) -> Option<FileId> {
        let gone = self.entries.remove(self.find(client).ok()?);
        self.alone_count -= usize::from(gone.is_alone);
        gone.died_in()
    }

    pub(crate) fn floor(&self) -> Lsn {
        self.floor
    }

    /// Raises the floor and removes what is below; returns the files in which records died.
    pub(crate) fn raise_floor(&mut self, floor: Lsn) -> Vec<FileId> {
        self.floor = self.floor.max(floor);
        let (floor, mut died_in) = (self.floor, Vec::new());
        self.entries.retain(|entry| {
            let is_kept = entry.lsn >= floor;
            if !is_kept {
                died_in.extend(entry.died_in());
            }
            is_kept
        });
        self.alone_count -= died_in.len();
        died_in
    }

    /// Returns the files of all records of requests alone that entries point to.
    pub(crate) fn alone(&self) -> impl Iterator<Item = FileId> {
        self.entries.iter().filter_map(Entry::died_in)
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of the records of requests alone that entries point to.
    pub(crate) fn record_len(&self) -> u64 {
        (self.alone_count * REQUEST_RECORD_LEN) as u64
    }

    /// Returns the bytes of memory the table holds.
    pub(crate) fn memory_len(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u64, number: u64) -> Request {
        Request { client, number, outcome: 1 }
    }

    fn place(file: u32, is_alone: bool) -> Place {
        Place { file: FileId(file), offset: 32, is_alone }
    }

    #[test]
    fn an_entry_takes_forty_bytes() {
        assert_eq!(size_of::<Entry>(), 40);
    }

    #[test]
    fn the_request_of_the_highest_lsn_stays_in_any_order_r24() {
        for lsns in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 3, 1]] {
            let mut requests = Requests::default();
            for lsn in lsns {
                // The newest has the lowest number: it overrides an orphan.
                requests.note(&request(7, 3 - lsn), Lsn(lsn), place(1, false));
            }
            assert_eq!(requests.get(7), Some((request(7, 0), Lsn(3))));
        }
        let mut requests = Requests::default();
        requests.note(&request(7, 3), Lsn(30), place(1, false));
        requests.note(&request(7, 3), Lsn(40), place(1, false));
        assert_eq!(requests.get(7), Some((request(7, 3), Lsn(40))), "proposed again");
    }

    #[test]
    fn one_client_above_the_limit_costs_the_one_with_the_lowest_lsn_its_entry() {
        let mut requests = Requests::default();
        let count = REQUEST_COUNT_MAX as u64;
        for client in 0..count {
            requests.note(&request(client, 1), Lsn(1000 + client), place(1, client == 0));
        }
        assert_eq!(requests.count(), REQUEST_COUNT_MAX);
        let late = requests.note(&request(9999, 1), Lsn(5), place(1, true));
        assert_eq!(late, Noted { is_kept: false, died_in: None });
        let noted = requests.note(&request(9999, 1), Lsn(1 << 20), place(2, false));
        assert_eq!(noted, Noted { is_kept: true, died_in: Some(FileId(1)) });
        assert_eq!((requests.count(), requests.get(0)), (REQUEST_COUNT_MAX, None));
        assert_eq!(requests.record_len(), 0);
    }

    #[test]
    fn what_is_below_the_floor_goes_and_does_not_come_back() {
        let mut requests = Requests::default();
        requests.note(&request(1, 1), Lsn(9), place(3, true));
        requests.note(&request(2, 1), Lsn(10), place(3, true));
        assert_eq!(requests.raise_floor(Lsn(10)), [FileId(3)]);
        assert_eq!(requests.note(&request(1, 1), Lsn(9), place(3, true)), Noted::default());
        assert_eq!(requests.raise_floor(Lsn(5)), []);
        assert_eq!(requests.floor(), Lsn(10));
        let left: Vec<_> = requests.iter().collect();
        assert_eq!(left, [(request(2, 1), Lsn(10))]);
        assert_eq!(requests.forget(2), Some(FileId(3)));
        assert_eq!(requests.forget(2), None);
        assert_eq!((requests.count(), requests.record_len()), (0, 0));
    }

    #[test]
    fn a_carrier_is_told_by_its_place_and_moves_with_a_merge() {
        let mut requests = Requests::default();
        requests.note(&request(1, 4), Lsn(9), place(3, false));
        assert!(requests.is_carrier(&request(1, 4), Lsn(9), FileId(3), 32));
        assert!(!requests.is_carrier(&request(1, 4), Lsn(9), FileId(3), 33));
        assert!(!requests.is_carrier(&request(1, 3), Lsn(9), FileId(3), 32));
        let moved = requests.relocate(&request(1, 4), Lsn(9), &[FileId(3)], place(5, true));
        assert_eq!(moved, Some(place(3, false)));
        assert_eq!(requests.relocate(&request(1, 4), Lsn(9), &[FileId(3)], place(6, true)), None);
        assert_eq!(requests.alone().collect::<Vec<_>>(), [FileId(5)]);
    }
}
