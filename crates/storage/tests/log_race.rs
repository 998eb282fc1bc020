//! A truncation in the middle of a read, at exactly the worst moment.

use bytes::Bytes;
use quorate_base::Prng;
use quorate_protocol::batch::{batches, encode_data_batch};
use quorate_storage::{
    Disk, DiskFile, DiskLock, LogConfig, MemDisk, MetaProperties, NodeDirConfig, StorageError,
    open_node_dir,
};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Hook = Box<dyn FnOnce() + Send>;

/// A disk that runs a hook just before the next read of a file.
#[derive(Clone, Default)]
struct HookDisk {
    disk: MemDisk,
    before_read: Arc<Mutex<Option<Hook>>>,
}

impl fmt::Debug for HookDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookDisk")
    }
}

#[derive(Debug)]
struct HookFile {
    file: Arc<dyn DiskFile>,
    disk: HookDisk,
}

impl HookDisk {
    fn wrap(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HookFile { file: file?, disk: self.clone() }))
    }
}

impl DiskFile for HookFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let hook = self.disk.before_read.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        self.file.read_at(buf, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Disk for HookDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.len(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(self.disk.open_read(path))
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(self.disk.open_write(path))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.wrap(self.disk.create(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        self.disk.set_read_only(path)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
        self.disk.lock(path)
    }
}

fn batch(offset: i64, epoch: i32, value_len: usize) -> Bytes {
    encode_data_batch(offset, epoch, 0, &[Bytes::from(vec![epoch as u8; value_len])])
}

#[test]
fn a_read_across_a_truncation_answers_what_stands_in_the_log_afterwards() {
    let disk = HookDisk::default();
    let root = Path::new("/data");
    disk.create_dir_all(root).unwrap();
    let meta = MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: None };
    meta.save(&disk, root, 0).unwrap();
    let config = NodeDirConfig {
        root: root.to_owned(),
        other_roots: Vec::new(),
        node_id: 1,
        cluster_id: None,
        log: LogConfig::default(),
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut dir = open_node_dir(shared, &config, &mut Prng::new(1), 0).unwrap();
    for offset in 0..4 {
        dir.log.append(&batch(offset, 1, 10), 0).unwrap();
    }
    let reader = dir.reader.clone();
    // While the read stands between finding the place and reading it, offsets 1 to 3 give way to
    // longer batches of another epoch.
    let mut log = dir.log;
    *disk.before_read.lock().unwrap() = Some(Box::new(move || {
        log.truncate_to(1).unwrap();
        for offset in 1..3 {
            log.append(&batch(offset, 2, 500), 0).unwrap();
        }
    }));
    let read: Vec<_> = batches(reader.read(0, 10_000).unwrap()).map(Result::unwrap).collect();
    assert!(read.iter().all(|batch| batch.is_valid_crc()));
    let places: Vec<_> =
        read.iter().map(|b| (b.base_offset(), b.header.partition_leader_epoch)).collect();
    assert_eq!(places, [(0, 1), (1, 2), (2, 2)]);
}
