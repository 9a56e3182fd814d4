//! Each server's own copy of each slot, read from its own files, and compared.
//!
//! A server is paused while its folder is copied, and the engine opens the copy: what it finds is what this one server would have
//! after a crash, and nobody else has a say. What is compared is said in [`records`](crate::records).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitcask::{SlotId, Store};
use cluster::ServerId;

use crate::cluster::{Cluster, number_of};
use crate::records::{self, copy_files};

/// Compares all copies; returns how many records were compared.
///
/// # Errors
/// What differs.
pub(crate) fn compare(cluster: &Cluster, scratch: &Path) -> Result<usize, String> {
    let status = cluster.status().ok_or("the ECS does not answer")?;
    let map = cluster.map().ok_or("the ECS does not tell its map")?;
    let (mut stores, mut numbers) = (BTreeMap::new(), BTreeMap::<ServerId, u8>::new());
    for server in status.servers.iter().filter(|server| server.owned > 0) {
        let number = number_of(server).ok_or("a server without an address")?;
        stores.insert(number, open_copy(cluster, number, scratch)?);
        numbers.insert(server.id, number);
    }
    let mut slots = Vec::new();
    for (slot, members) in &map.delta.slots {
        let slot = SlotId::new(slot.index()).ok_or("a slot beyond the ring")?;
        let members = members.members().map(|member| numbers.get(&member).copied());
        let members: Option<Vec<u8>> = members.collect();
        slots.push((slot, members.ok_or("a member that nobody knows")?));
    }
    let compared = records::compare(&stores, &slots);
    drop(stores);
    fs::remove_dir_all(scratch).map_err(|error| error.to_string())?;
    compared
}

fn open_copy(cluster: &Cluster, number: u8, scratch: &Path) -> Result<Store, String> {
    let server = &cluster.servers[usize::from(number) - 1];
    let copy = scratch.join(number.to_string());
    // One that differed may be left from the last look.
    fs::remove_dir_all(&copy).unwrap_or_default();
    fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
    server.pause();
    let copied = copy_files(&server.data(), &copy);
    server.resume();
    copied.map_err(|error| format!("the folder of s{number} cannot be copied: {error}"))?;
    records::open(&copy).map_err(|error| format!("s{number}: {error}"))
}
