//! Private and durable files: what the embedded adapters share.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::RngExt;

/// Only the account that runs the platform may look into its folders.
pub(crate) const PRIVATE_DIR_MODE: u32 = 0o700;
/// Only the account that runs the platform may read its files.
pub(crate) const PRIVATE_FILE_MODE: u32 = 0o600;

/// Creates a folder and its parents, those that are new with mode 0700 and so
/// that they survive a power loss.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_private_dir(parent)?;
    match DirBuilder::new().mode(PRIVATE_DIR_MODE).create(path) {
        Ok(()) => sync_dir(parent),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a private file for appending, and creates it if it is not there.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(PRIVATE_FILE_MODE)
        .open(path)
}

/// Creates a private file that must not exist yet.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(PRIVATE_FILE_MODE)
        .open(path)
}

/// Makes the names in a folder survive a power loss.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A path beside `path` that nobody else uses.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let suffix = hex::encode(rand::rng().random::<[u8; 8]>());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}.tmp"));
    PathBuf::from(name)
}

/// Removes a file when it is dropped, unless it was kept: a half-written file
/// leaves nothing behind.
pub(crate) struct RemoveOnDrop(pub Option<PathBuf>);

impl RemoveOnDrop {
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed is a leftover of no meaning to anybody.
            let _ = fs::remove_file(path);
        }
    }
}

/// Runs file work where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
