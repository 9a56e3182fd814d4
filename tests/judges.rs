//! Whether the judges of the fault suite can find anything: defects are planted, and each must be found.
//!
//! ```text
//! clients of the fault suite ──▶ a cluster of three servers ──▶ a history, and three folders
//!                                                                  │ right, and alike
//!                       planted: a read that lost its write … ─────┤ wrong
//!                       planted: disks that forgot some writes ────┤ wrong
//!                       planted: one record of one copy altered ───┘ unlike
//! ```
//!
//! A program of its own because it is made of the fault suite's files, which find each other from the root, and needs neither root nor
//! namespaces. That each check finds the smallest of wrong histories is tried beside the checks (`crates/cluster/tests/sim/check`), and
//! that they find the mistakes of a machine by the simulator's planted defects; here they stand before what real processes say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code,
    unused_imports,
    reason = "the whole program is a test, and reads files of the simulator and the fault suite"
)]

#[path = "faults/asks.rs"]
mod asks;
#[path = "../crates/cluster/tests/sim/check/mod.rs"]
mod check;
mod harness;
#[path = "../crates/cluster/tests/sim/history.rs"]
mod history;
#[path = "faults/load.rs"]
mod load;
#[path = "judges/plants.rs"]
mod plants;
#[path = "faults/records.rs"]
mod records;
#[path = "../crates/cluster/tests/sim/wishes.rs"]
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use bitcask::{Lsn, SlotId, Store, Write};
use harness::cluster::SLOT_COUNT;
use harness::{Cluster, eventually};
use history::{History, Operation};
use load::{Load, Plan};
use tempfile::TempDir;

/// Operations that are done before and after something befalls the cluster.
const OK_COUNT: u64 = 1500;

/// Clients of the fault suite at a cluster.
struct Crowd {
    plan: Plan,
    load: Load,
}

impl Crowd {
    fn start(cluster: &Cluster) -> Self {
        // Servers that start again listen elsewhere; the ECS knows where.
        let mut addresses = cluster.addresses();
        addresses.push(cluster.ecs.address().to_string());
        let (seed, began_at) = (fastrand::u64(..), Instant::now());
        let plan = Plan { round: 0, count: 4, rate: 4000, seed, began_at, addresses };
        let load = plan.start();
        Self { plan, load }
    }

    fn work(&self) {
        let enough = self.load.ok_count() + OK_COUNT;
        eventually("operations are done", || self.load.ok_count() >= enough);
    }

    /// Stops the clients and reads every key; returns all that they noted.
    fn stop(self) -> Vec<Operation> {
        let mut operations = self.load.stop();
        let keys: BTreeSet<String> =
            operations.iter().map(|o| String::from_utf8_lossy(&o.key).into_owned()).collect();
        operations.extend(self.plan.read_all(&keys.into_iter().collect::<Vec<_>>()));
        operations
    }
}

/// Judges as the fault suite does.
fn judge(operations: Vec<Operation>) -> Result<(), String> {
    match check::check(&operations.into_iter().collect::<History>())?.unread_count {
        0 => Ok(()),
        count => Err(format!("{count} keys that were written once were not read at the end")),
    }
}

#[test]
fn each_lie_that_is_planted_into_a_true_history_is_found() {
    let cluster = Cluster::of(3);
    let crowd = Crowd::start(&cluster);
    crowd.work();
    let truth = crowd.stop();
    judge(truth.clone()).expect("what a cluster says that nothing befalls is right");
    for (name, plant) in plants::ALL {
        let lie = plant(truth.clone());
        let lie = lie.unwrap_or_else(|| panic!("{name}: nowhere to plant it"));
        assert!(judge(lie).is_err(), "{name}: not found");
    }
}

#[test]
fn writes_that_all_disks_forgot_are_found() {
    let mut cluster = Cluster::of(3);
    let crowd = Crowd::start(&cluster);
    crowd.work();
    let kept = TempDir::new_in(harness::binaries::scratch()).unwrap();
    let kept = |index: usize| kept.path().join(index.to_string());
    cluster.servers.iter().for_each(harness::Server::pause);
    for (index, server) in cluster.servers.iter().enumerate() {
        copy_server(server.dir(), &kept(index));
    }
    cluster.servers.iter().for_each(|server| server.signal(rustix::process::Signal::CONT));
    crowd.work();
    cluster.servers.iter_mut().for_each(harness::Server::kill);
    for (index, server) in cluster.servers.iter_mut().enumerate() {
        fs::remove_dir_all(server.dir()).unwrap();
        copy_server(&kept(index), server.dir());
        server.start_again();
    }
    cluster.wait_until_level();
    let found = judge(crowd.stop());
    assert!(found.is_err(), "nobody missed what was written between the copy and the kill");
}

#[test]
fn a_record_of_one_copy_that_is_altered_missing_or_too_much_is_found() {
    let mut cluster = Cluster::of(3);
    let crowd = Crowd::start(&cluster);
    crowd.work();
    crowd.stop();
    cluster.servers.iter_mut().for_each(|server| _ = server.terminate());
    let slots: Vec<(SlotId, Vec<u8>)> =
        (0..SLOT_COUNT).map(|slot| (SlotId::new(slot).unwrap(), vec![1, 2, 3])).collect();
    let compare = |alter: &dyn Fn(&Path)| -> Result<usize, String> {
        let scratch = TempDir::new_in(harness::binaries::scratch()).unwrap();
        let mut stores = BTreeMap::new();
        for (number, server) in (1..).zip(&cluster.servers) {
            let folder = scratch.path().join(number.to_string());
            fs::create_dir(&folder).unwrap();
            records::copy_files(server.dir(), &folder).unwrap();
            if number == 2 {
                alter(&folder);
            }
            stores.insert(number, records::open(&folder)?);
        }
        records::compare(&stores, &slots)
    };
    let record_count = compare(&|_| {}).expect("copies are alike");
    assert!(record_count > 300, "{record_count}");
    let alterations: [(&str, Alter); 3] = [
        ("altered", |slot, key, lsn| Write::put(slot, lsn, key, b"altered")),
        ("missing", |slot, key, lsn| Write::delete(slot, lsn, key)),
        ("too much", |slot, _, lsn| Write::put(slot, lsn, b"nobody wrote this", b"")),
    ];
    for (name, alter) in alterations {
        let found = compare(&|folder: &Path| write(folder, alter)).expect_err(name);
        assert!(found.contains("s1 and s2 differ"), "{name}: {found}");
    }
    compare(&flip).expect_err("a record is not what was written");
}

/// Copies the whole folder of a server: its records, and what it keeps of the cluster.
fn copy_server(from: &Path, to: &Path) {
    for part in ["", "cluster"] {
        fs::create_dir(to.join(part)).unwrap();
        records::copy_files(&from.join(part), &to.join(part)).unwrap();
    }
}

/// What is written instead of a record, with the lsn after its own.
type Alter = for<'a> fn(SlotId, &'a [u8], Lsn) -> Write<'a>;

/// Writes instead of some record.
fn write(folder: &Path, alter: Alter) {
    let store = records::open(folder).unwrap();
    let (slot, key) = longest_key(&store);
    let lsn = Lsn(store.highest_lsn().0 + 1);
    store.commit(store.append(&[alter(slot, &key, lsn)]).unwrap()).unwrap();
    store.close().unwrap();
}

/// Flips a bit of some record in its file.
fn flip(folder: &Path) {
    let (_, key) = longest_key(&records::open(folder).unwrap());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let found = bytes.windows(key.len()).position(|window| window == key);
        if path.extension().is_some_and(|end| end == "data")
            && let Some(at) = found
        {
            bytes[at] ^= 1;
            return fs::write(&path, bytes).unwrap();
        }
    }
    panic!("a record is in a file");
}

/// Returns the longest live key that was written once, with its slot: no other key begins with it.
fn longest_key(store: &Store) -> (SlotId, Vec<u8>) {
    let slots = (0..SLOT_COUNT).map(|slot| SlotId::new(slot).unwrap());
    let records = slots.flat_map(|slot| {
        let records = store.records(slot, Lsn(0)).unwrap().map(Result::unwrap);
        records.map(move |record| (slot, record))
    });
    let live = records.filter(|(_, r)| r.value.is_some() && r.key.starts_with(b"u"));
    let keys = live.map(|(slot, record)| (slot, record.key));
    keys.max_by_key(|(_, key)| (key.len(), key.clone())).expect("something is stored")
}
