//! Disks that fail: how a process gets one, and what a power cut would have left of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

/// A disk writes or loses sectors, not whole writes.
///
/// Source: the smallest unit that disks have written atomically.
const SECTOR_BYTES: usize = 512;
/// Bytes of an entry before its path.
const HEAD_BYTES: usize = 15;

/// The library that stands in for the C library's file functions, beside the test's own binary.
///
/// # Panics
///
/// When it is not built: it is a dependency of the tests.
#[must_use]
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a binary is in a folder");
    let path = folder.join("libbtrust_disk_faults.so");
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// What happened to one file at one moment.
#[derive(Clone, Debug)]
enum Operation {
    Write { offset: usize, data: Vec<u8> },
    Resize { length: usize },
    Flush,
    Remove,
    Rename { to: PathBuf },
}

/// Everything that a process did to the files of a folder, in order.
pub struct Record {
    /// Where each entry ends in the record, and what it says.
    entries: Vec<(u64, PathBuf, Operation)>,
}

/// What a file would hold after a power cut, and what it had been given since its last flush.
#[derive(Clone, Default)]
struct File {
    flushed: Vec<u8>,
    pending: Vec<Operation>,
}

/// What becomes of bytes that were written and not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// None is on the disk.
    Lost,
    /// Any sector may be there or not.
    Scattered,
}

impl Record {
    /// Reads a record; an entry that was cut off ends it.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the process has recorded something");
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((head, after)) = rest.split_at_checked(HEAD_BYTES) {
            let n_path = usize::from(u16::from_le_bytes([head[1], head[2]]));
            let n_data = u32::from_le_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let offset = u64::from_le_bytes(head[7..].try_into().expect("eight bytes"));
            let offset = usize::try_from(offset).expect("files of tests fit into memory");
            let Some((text, after)) = after.split_at_checked(n_path) else {
                break;
            };
            let Some((data, after)) = after.split_at_checked(n_data) else {
                break;
            };
            rest = after;
            let path = |text: &[u8]| PathBuf::from(String::from_utf8_lossy(text).into_owned());
            let operation = match head[0] {
                b'W' => Operation::Write {
                    offset,
                    data: data.to_vec(),
                },
                b'T' => Operation::Resize { length: offset },
                b'S' => Operation::Flush,
                b'U' => Operation::Remove,
                b'R' => Operation::Rename { to: path(data) },
                other => panic!("an entry of kind {other}"),
            };
            let end = (bytes.len() - rest.len()) as u64;
            entries.push((end, path(text), operation));
        }
        Self { entries }
    }

    /// Where entries end in the record, from `since` on: the moments at which the power may go.
    #[must_use]
    pub fn moments(&self, since: u64) -> Vec<u64> {
        self.entries
            .iter()
            .map(|it| it.0)
            .filter(|it| since <= *it)
            .collect()
    }

    /// The same record as it would be if nothing flushed the files that `is_spared` names.
    #[must_use]
    pub fn without_flushes(mut self, is_spared: impl Fn(&Path) -> bool) -> Self {
        self.entries.retain(|(_, path, operation)| {
            !(matches!(operation, Operation::Flush) && is_spared(path))
        });
        self
    }

    /// The files as a power cut at `moment` leaves them.
    #[must_use]
    pub fn cut(
        &self,
        moment: u64,
        unflushed: Unflushed,
        random: &mut StdRng,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
        for (_, path, operation) in self.entries.iter().take_while(|it| it.0 <= moment) {
            match operation {
                Operation::Flush => {
                    let file = files.entry(path.clone()).or_default();
                    for pending in std::mem::take(&mut file.pending) {
                        carry_out(&mut file.flushed, &pending, |_| true);
                    }
                }
                Operation::Remove => {
                    files.remove(path);
                }
                Operation::Rename { to } => {
                    if let Some(file) = files.remove(path) {
                        files.insert(to.clone(), file);
                    }
                }
                Operation::Write { .. } | Operation::Resize { .. } => {
                    let file = files.entry(path.clone()).or_default();
                    file.pending.push(operation.clone());
                }
            }
        }
        let mut image = |mut file: File| {
            if unflushed == Unflushed::Scattered {
                for pending in std::mem::take(&mut file.pending) {
                    carry_out(&mut file.flushed, &pending, |_| random.random_bool(0.5));
                }
            }
            file.flushed
        };
        files
            .into_iter()
            .map(|(path, file)| (path, image(file)))
            .collect()
    }
}

/// Carries out an operation on the bytes of a file, sector by sector where `is_written` says so.
fn carry_out(
    bytes: &mut Vec<u8>,
    operation: &Operation,
    mut is_written: impl FnMut(usize) -> bool,
) {
    match operation {
        Operation::Resize { length } => {
            if is_written(0) {
                bytes.resize(*length, 0);
            }
        }
        Operation::Write { offset, data } => {
            for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if !is_written(number) {
                    continue;
                }
                let at = offset + number * SECTOR_BYTES;
                if bytes.len() < at + sector.len() {
                    bytes.resize(at + sector.len(), 0);
                }
                bytes[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        Operation::Flush | Operation::Remove | Operation::Rename { .. } => {}
    }
}
