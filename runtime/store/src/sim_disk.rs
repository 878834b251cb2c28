//! A disk in memory that forgets, as disks do: what was not synced may be lost at a crash, sector by sector.
//!
//! The model: bytes are durable after `sync_data`, else each changed sector of 512 bytes keeps its old or its new
//! content, as the seed says; likewise the length. Changes of names are durable in the order in which they were made
//! (the file systems we run on keep a journal), up to some point after the last `sync_dir`. Sectors are never torn.
//!
//! Faults to order: a power cut after so many changes, failing syncs, a full disk, flipped bits. After a failed sync
//! the operating system takes what was written for clean, as Linux does: it can be read, later syncs succeed, and the
//! next crash loses it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ, perhaps.
    changed: BTreeSet<usize>,
}

impl Inode {
    fn touch(&mut self, from: usize, to: usize) {
        self.changed.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn resize(&mut self, bytes: usize) {
        let (from, to) = (self.live.len().min(bytes), self.live.len().max(bytes));
        self.live.resize(bytes, 0);
        self.touch(from, to);
    }

    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.changed) {
            let from = (sector * SECTOR).min(self.live.len());
            let to = (from + SECTOR).min(self.live.len());
            self.durable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    fn crash(&mut self, random: &mut Random) {
        if self.live.len() != self.durable.len() && random.chance(2) {
            let bytes = self.live.len();
            self.durable.resize(bytes, 0);
        }
        let mode = random.below(4);
        for sector in std::mem::take(&mut self.changed) {
            // All, none, or each on its own.
            let kept = match mode {
                0 => false,
                1 => true,
                _ => random.chance(2),
            };
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.live.len()).min(self.durable.len());
            if kept && from < to {
                self.durable[from..to].copy_from_slice(&self.live[from..to]);
            }
        }
        self.live = self.durable.clone();
    }
}

/// A change of names.
#[derive(Clone, Debug)]
enum Change {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    AddDir(PathBuf),
    RemoveDir(PathBuf),
}

impl Change {
    fn touches(&self, dir: &Path) -> bool {
        let in_dir = |path: &Path| path.parent() == Some(dir);
        match self {
            Change::Add(path, _) | Change::Remove(path) | Change::AddDir(path) | Change::RemoveDir(path) => {
                in_dir(path)
            }
            Change::Rename(from, to) => in_dir(from) || in_dir(to),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Add(path, inode) => {
                self.files.insert(path, inode);
            }
            Change::Remove(path) => {
                self.files.remove(&path);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = self.files.remove(&from) {
                    self.files.insert(to, inode);
                }
            }
            Change::AddDir(path) => {
                self.dirs.insert(path);
            }
            Change::RemoveDir(path) => {
                self.dirs.remove(&path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct World {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    live: Names,
    durable: Names,
    pending: VecDeque<Change>,
    /// Files opened before the last crash are gone.
    boot: u64,
    changes: u64,
    syncs: u64,
    cut_after: Option<u64>,
    failing_syncs: bool,
    failing_sync: Option<u64>,
    space: Option<u64>,
}

/// xorshift: the same seed, the same crash.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same content and the same faults ordered. Files that are open are this one's alone.
    #[must_use]
    pub fn fork(&self) -> Self {
        SimDisk(Arc::new(Mutex::new(self.world().clone())))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes and comes back: what was not synced is lost in part, as `seed` says. Open files are gone, and
    /// faults that were ordered are over.
    pub fn crash(&self, seed: u64) {
        let mut random = Random::new(seed);
        let world = &mut *self.world();
        let kept = random.below(world.pending.len() as u64 + 1);
        for change in std::mem::take(&mut world.pending).into_iter().take(kept as usize) {
            world.durable.apply(&change);
        }
        world.live = world.durable.clone();
        world.inodes.values_mut().for_each(|inode| inode.crash(&mut random));
        let named: BTreeSet<u64> = world.live.files.values().copied().collect();
        world.inodes.retain(|id, _| named.contains(id));
        world.boot += 1;
        (world.cut_after, world.failing_syncs, world.failing_sync, world.space) = (None, false, None, None);
    }

    /// The process is killed, the machine goes on: everything written is there, and faults stay ordered. Open files
    /// are gone.
    pub fn kill(&self) {
        self.world().boot += 1;
    }

    /// How many changes and syncs there were so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.world().changes
    }

    /// How many syncs there were so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// From the change or sync number `changes` on (see [`changes`](Self::changes)) nothing works any more, until
    /// [`crash`](Self::crash).
    pub fn cut_after(&self, changes: u64) {
        self.world().cut_after = Some(changes);
    }

    /// Syncs fail from here on, or work again.
    pub fn fail_syncs(&self, fail: bool) {
        self.world().failing_syncs = fail;
    }

    /// The sync number `sync` fails, once (see [`syncs`](Self::syncs)).
    pub fn fail_sync(&self, sync: u64) {
        self.world().failing_sync = Some(sync);
    }

    /// No more than `bytes` can be written beyond what there is; `None`: as much as one likes.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.world().space = bytes;
    }

    /// Flips one bit of a file, on the disk itself.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, bit: u64) {
        let world = &mut *self.world();
        let inode = world.live.files[path];
        let inode = world.inodes.get_mut(&inode).expect("a name leads to a file");
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        inode.live[byte] ^= mask;
        inode.durable[byte] ^= mask;
    }

    /// The content of a file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.inodes[&world.live.files[path]].live.clone()
    }

    /// Puts `content` in place of a file's, durably.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn put(&self, path: &Path, content: Vec<u8>) {
        let world = &mut *self.world();
        let inode = world.live.files[path];
        world
            .inodes
            .insert(inode, Inode { durable: content.clone(), live: content, changed: BTreeSet::new() });
    }

    /// All files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().live.files.keys().cloned().collect()
    }
}

fn failed_sync() -> io::Error {
    io::Error::other("the sync failed")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display()))
}

impl World {
    /// One more change; an error once the power is off.
    fn changes(&mut self) -> io::Result<()> {
        if self.cut_after.is_some_and(|cut| self.changes >= cut) {
            return Err(io::Error::other("the power is off"));
        }
        self.changes += 1;
        Ok(())
    }

    /// One more sync; says whether it fails.
    fn syncs(&mut self) -> io::Result<bool> {
        self.changes()?;
        self.syncs += 1;
        Ok(self.failing_syncs || self.failing_sync == Some(self.syncs - 1))
    }

    fn rename_or(&mut self, change: Change) -> io::Result<()> {
        self.changes()?;
        self.live.apply(&change);
        self.pending.push_back(change);
        Ok(())
    }

    fn take_space(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(space) = &mut self.space {
            *space = space.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let mut above: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        above.reverse();
        for dir in above {
            if !world.live.dirs.contains(dir) {
                world.rename_or(Change::AddDir(dir.into()))?;
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        if world.live.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_none_or(|parent| !world.live.dirs.contains(parent)) {
            return Err(not_found(path));
        }
        let inode = world.next_inode;
        world.rename_or(Change::Add(path.into(), inode))?;
        world.next_inode += 1;
        world.inodes.insert(inode, Inode::default());
        Ok(Box::new(SimFile { disk: self.clone(), inode, boot: world.boot, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = self.world();
        let inode = *world.live.files.get(path).ok_or_else(|| not_found(path))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, boot: world.boot, writable: true }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = self.world();
        let inode = *world.live.files.get(path).ok_or_else(|| not_found(path))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, boot: world.boot, writable: false }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        if !world.live.dirs.contains(path) {
            return Err(not_found(path));
        }
        let names =
            world.live.files.keys().chain(&world.live.dirs).filter(|name| name.parent() == Some(path));
        let mut names: Vec<String> =
            names.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.live.files.contains_key(from) {
            return Err(not_found(from));
        }
        world.rename_or(Change::Rename(from.into(), to.into()))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let inode = *world.live.files.get(from).ok_or_else(|| not_found(from))?;
        if world.live.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.rename_or(Change::Add(to.into(), inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.live.files.contains_key(path) {
            return Err(not_found(path));
        }
        world.rename_or(Change::Remove(path.into()))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.live.dirs.contains(path) {
            return Err(not_found(path));
        }
        if world.live.files.keys().chain(&world.live.dirs).any(|name| name.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.rename_or(Change::RemoveDir(path.into()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let world = &mut *self.world();
        if world.syncs()? {
            return Err(failed_sync());
        }
        // The journal goes out in order.
        let upto = world.pending.iter().rposition(|change| change.touches(path)).map_or(0, |last| last + 1);
        for change in world.pending.drain(..upto) {
            world.durable.apply(&change);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    boot: u64,
    writable: bool,
}

impl SimFile {
    fn with<T>(&self, what: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.disk.world();
        if world.boot != self.boot {
            return Err(io::Error::other("the file was opened before the power went off"));
        }
        what(&mut world)
    }

    fn change<T>(&self, what: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(what)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|world| {
            let offset = offset as usize;
            let bytes = world.inodes[&self.inode].live.get(offset..offset + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|world| {
            world.changes()?;
            let offset = offset as usize;
            let end = offset + bytes.len();
            let more = end.saturating_sub(world.inodes[&self.inode].live.len());
            world.take_space(more as u64)?;
            let inode = world.inodes.get_mut(&self.inode).expect("an open file");
            if more > 0 {
                inode.resize(end);
            }
            inode.live[offset..end].copy_from_slice(bytes);
            inode.touch(offset, end);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|world| {
            let fails = world.syncs()?;
            let inode = world.inodes.get_mut(&self.inode).expect("an open file");
            if fails {
                inode.changed.clear();
                return Err(failed_sync());
            }
            inode.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|world| Ok(world.inodes[&self.inode].live.len() as u64))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.change(|world| {
            world.changes()?;
            world.inodes.get_mut(&self.inode).expect("an open file").resize(bytes as usize);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.change(|world| {
            world.changes()?;
            world.take_space(bytes.saturating_sub(world.inodes[&self.inode].live.len() as u64))?;
            let inode = world.inodes.get_mut(&self.inode).expect("an open file");
            let bytes = inode.live.len().max(bytes as usize);
            inode.resize(bytes);
            Ok(())
        })
    }
}
