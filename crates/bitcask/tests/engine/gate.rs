//! A disk that holds a thread up while it creates a file, so that a test can look at what others can do meanwhile.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bitcask::{Disk, DiskFile, DiskLock, SimDisk};

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    is_somebody_waiting: bool,
}

/// The gate and the disk behind it.
#[derive(Clone, Debug)]
pub(crate) struct GateDisk {
    disk: SimDisk,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl GateDisk {
    pub(crate) fn new(disk: SimDisk) -> Self {
        Self { disk, state: Arc::default() }
    }

    pub(crate) fn close(&self) {
        self.state.0.lock().unwrap().is_closed = true;
    }

    pub(crate) fn open_up(&self) {
        self.state.0.lock().unwrap().is_closed = false;
        self.state.1.notify_all();
    }

    /// Returns once somebody stands at the gate.
    pub(crate) fn wait_for_somebody(&self) {
        let state = self.state.0.lock().unwrap();
        drop(self.state.1.wait_while(state, |state| !state.is_somebody_waiting).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.is_somebody_waiting = state.is_closed;
        self.state.1.notify_all();
        drop(self.state.1.wait_while(state, |state| state.is_closed).unwrap());
    }
}

impl Disk for GateDisk {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.pass();
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(name)
    }

    fn create_folder(&self, path: &Path) -> io::Result<Arc<dyn Disk>> {
        self.disk.create_folder(path)
    }

    fn link(&self, name: &str, to: &Path) -> io::Result<()> {
        self.disk.link(name, to)
    }

    fn free_len(&self) -> io::Result<u64> {
        self.disk.free_len()
    }
}
