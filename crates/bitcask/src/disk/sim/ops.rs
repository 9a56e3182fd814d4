//! The operations of the two traits, each one [`State::step`] of the simulated world.

use std::io;
use std::path::Path;

use super::fault::{FaultKind, Operation};
use super::folder::{InodeId, Step};
use super::inode::Inode;
use super::state::{Extent, Handle, State};

impl State {
    pub(super) fn create(&mut self, life: u64, path: &Path, name: &str) -> io::Result<InodeId> {
        let id = self.step(life, Operation::Create, (name, 0), |state, _| {
            if state.find(path, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.insert_new(path, name)
        })?;
        self.hold(id)
    }

    fn insert_new(&mut self, path: &Path, name: &str) -> io::Result<InodeId> {
        let id = self.add_inode(Inode::default());
        self.folder(path)?.change(Step::Insert { name: name.to_owned(), inode: id });
        Ok(id)
    }

    pub(super) fn open(&mut self, life: u64, path: &Path, name: &str) -> io::Result<InodeId> {
        let id = self.step(life, Operation::Open, (name, 0), |state, _| state.find(path, name))?;
        self.hold(id)
    }

    fn hold(&mut self, id: InodeId) -> io::Result<InodeId> {
        self.inode(id)?.open_count += 1;
        Ok(id)
    }

    pub(super) fn rename(
        &mut self,
        life: u64,
        path: &Path,
        from: &str,
        to: &str,
    ) -> io::Result<()> {
        self.step(life, Operation::Rename, (from, 0), |state, _| {
            let inode = state.find(path, from)?;
            let (from, to) = (from.to_owned(), to.to_owned());
            state.folder(path)?.change(Step::Rename { from, to, inode });
            Ok(())
        })
    }

    pub(super) fn remove(&mut self, life: u64, path: &Path, name: &str) -> io::Result<()> {
        self.step(life, Operation::Remove, (name, 0), |state, _| {
            state.find(path, name)?;
            state.folder(path)?.change(Step::Remove { name: name.to_owned() });
            Ok(())
        })
    }

    pub(super) fn list(&mut self, life: u64, path: &Path) -> io::Result<Vec<String>> {
        self.step(life, Operation::List, ("", 0), |state, _| {
            let mut names: Vec<_> = state.folder(path)?.volatile.keys().cloned().collect();
            state.rng.shuffle(&mut names);
            Ok(names)
        })
    }

    pub(super) fn sync_folder(&mut self, life: u64, path: &Path) -> io::Result<()> {
        let done = self.step(life, Operation::SyncFolder, ("", 0), |state, extent| {
            match extent {
                Extent::Whole => state.folder(path)?.sync(),
                // The power went off in mid-sync: the crash itself decides what is left.
                Extent::Part if state.is_down => {}
                Extent::Part => {
                    let mut rng = state.rng.fork();
                    state.folder(path)?.fail_sync(&mut rng);
                }
            }
            Ok(())
        });
        self.forget_lost_inodes();
        done
    }

    pub(super) fn lock(&mut self, life: u64, path: &Path, name: &str) -> io::Result<()> {
        self.step(life, Operation::Lock, (name, 0), |state, extent| {
            if state.find(path, name).is_err() {
                state.insert_new(path, name)?;
            }
            let is_free = match extent {
                Extent::Whole => state.locks.insert((path.to_owned(), name.to_owned())),
                Extent::Part => false,
            };
            if is_free { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        })
    }

    pub(super) fn unlock(&mut self, life: u64, path: &Path, name: &str) {
        if life == self.life {
            self.locks.remove(&(path.to_owned(), name.to_owned()));
        }
    }

    pub(super) fn create_folder(&mut self, life: u64, path: &Path) -> io::Result<()> {
        self.step(life, Operation::CreateFolder, ("", 0), |state, _| {
            if state.folders.get(path).is_some_and(|folder| !folder.volatile.is_empty()) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.ensure_folder(path);
            Ok(())
        })
    }

    pub(super) fn link(&mut self, life: u64, path: &Path, name: &str, to: &Path) -> io::Result<()> {
        self.step(life, Operation::Link, (name, 0), |state, _| {
            let inode = state.find(path, name)?;
            if state.find(to, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.folder(to)?.change(Step::Insert { name: name.to_owned(), inode });
            Ok(())
        })
    }

    pub(super) fn free_len(&mut self, life: u64) -> io::Result<u64> {
        self.step(life, Operation::FreeLen, ("", 0), |state, _| Ok(state.room()))
    }

    pub(super) fn release(&mut self, life: u64, id: InodeId) {
        if life == self.life
            && let Some(inode) = self.inodes.get_mut(&id)
        {
            inode.open_count = inode.open_count.saturating_sub(1);
        }
    }

    pub(super) fn write(&mut self, file: &Handle, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.step(file.life, Operation::Write, file.at(offset), |state, extent| {
            let wanted_len = match extent {
                Extent::Whole => bytes.len(),
                Extent::Part => state.rng.usize(..=bytes.len()),
            };
            let room = usize::try_from(state.room()).unwrap_or(usize::MAX);
            let inode = state.inode(file.inode)?;
            let old_len = inode.bytes().len();
            let fitting_len = (old_len + room).saturating_sub(offset).min(wanted_len);
            inode.write(offset, bytes.get(..fitting_len).unwrap_or(bytes));
            if fitting_len < wanted_len { Err(FaultKind::Enospc.error()) } else { Ok(()) }
        })
    }

    pub(super) fn read(
        &mut self,
        file: &Handle,
        buf: &mut [u8],
        offset: usize,
    ) -> io::Result<usize> {
        self.step(file.life, Operation::Read, file.at(offset), |state, _| {
            let bytes = state.inode(file.inode)?.bytes();
            let from = bytes.get(offset..).unwrap_or_default();
            let read_len = from.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..read_len), from.get(..read_len)) {
                to.copy_from_slice(from);
            }
            Ok(read_len)
        })
    }

    pub(super) fn sync(&mut self, file: &Handle) -> io::Result<()> {
        self.step(file.life, Operation::Sync, file.at(0), |state, extent| {
            match extent {
                Extent::Whole => state.inode(file.inode)?.sync(),
                Extent::Part if state.is_down => {}
                Extent::Part => {
                    let mut rng = state.rng.fork();
                    state.inode(file.inode)?.fail_sync(&mut rng);
                }
            }
            Ok(())
        })
    }

    pub(super) fn set_len(&mut self, file: &Handle, len: usize) -> io::Result<()> {
        self.step(file.life, Operation::SetLen, file.at(len), |state, _| {
            state.inode(file.inode)?.set_len(len);
            Ok(())
        })
    }

    pub(super) fn file_len(&mut self, file: &Handle) -> io::Result<u64> {
        self.step(file.life, Operation::FileLen, file.at(0), |state, _| {
            Ok(state.inode(file.inode)?.bytes().len() as u64)
        })
    }
}
