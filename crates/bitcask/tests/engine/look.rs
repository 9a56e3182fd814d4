//! Looks at a store in all the ways there are, and sees that they agree.

use bitcask::{Error, Lsn, Op, SlotId, Store, Write};

use crate::oracle::{Oracle, Rec, State};

/// Why a look at the whole store ended early.
pub(crate) enum Trip {
    Error(Error),
    Wrong(String),
}

impl Trip {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Error(error) => error.to_string(),
            Self::Wrong(text) => text,
        }
    }
}

/// Returns everything `store` shows, after checking that it says the same in all its ways.
pub(crate) fn observe(store: &Store, oracle: &Oracle) -> Result<State, Trip> {
    let mut state = State::new();
    for slot in oracle.present_slots() {
        for record in store.records(slot, Lsn(0)).map_err(Trip::Error)? {
            let record = record.map_err(Trip::Error)?;
            let rec = Rec {
                slot,
                key: record.key.clone(),
                lsn: record.lsn,
                value: record.value,
                expires_at_ms: record.expires_at_ms,
                request: record.request,
            };
            if state.insert((slot, rec.key.clone()), rec).is_some() {
                return Err(Trip::Wrong("a key twice among a slot's records".to_owned()));
            }
        }
        for key in oracle.keys_of(slot) {
            let listed = state.get(&(slot, key.to_vec()));
            check_ways(store, slot, key, listed)?;
        }
    }
    Ok(state)
}

/// Checks that a get, and what memory knows, agree with the record that the walk listed.
fn check_ways(store: &Store, slot: SlotId, key: &[u8], listed: Option<&Rec>) -> Result<(), Trip> {
    let wrong = |what: &str| Err(Trip::Wrong(format!("{what}: {listed:?}")));
    let live = listed.filter(|rec| !rec.is_hidden());
    let found = get(store, slot, key).map_err(Trip::Error)?;
    if found.as_ref() != live {
        return wrong(&format!("get says {found:?}, the walk says"));
    }
    if store.contains(slot, key).map_err(Trip::Error)? != live.is_some() {
        return wrong("contains disagrees with");
    }
    let entry = store.entry(slot, key);
    let known = entry.map(|entry| (entry.lsn, entry.is_tombstone));
    if known != listed.map(|rec| (rec.lsn, rec.value.is_none())) {
        return wrong(&format!("the keydir has {known:?}, the walk"));
    }
    Ok(())
}

pub(crate) fn get(store: &Store, slot: SlotId, key: &[u8]) -> bitcask::Result<Option<Rec>> {
    let mut buf = Vec::new();
    let found = store.get(slot, key, &mut buf)?;
    Ok(found.map(|found| Rec {
        slot,
        key: key.to_vec(),
        lsn: found.lsn,
        value: Some(found.value.to_vec()),
        expires_at_ms: found.expires_at_ms,
        request: found.request,
    }))
}

pub(crate) fn as_write(rec: &Rec) -> Write<'_> {
    Write {
        slot: rec.slot,
        lsn: rec.lsn,
        key: &rec.key,
        op: rec.value.as_ref().map_or(Op::Delete, |value| Op::Put(value)),
        expires_at_ms: rec.expires_at_ms,
        request: rec.request,
    }
}
