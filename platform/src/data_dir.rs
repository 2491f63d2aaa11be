//! The folder that holds everything an embedded installation keeps.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// The paths of an embedded installation, all under one root (default `var/`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Names the paths under `root` without touching the disk.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Names the paths under `root` and creates the folder (mode 0700) if it is not there.
    ///
    /// # Errors
    ///
    /// What the file system says when the folder cannot be created.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let data_dir = Self::new(root);
        files::create_private_dir(&data_dir.root)?;
        Ok(data_dir)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Workflow state and history; owned by core.
    #[must_use]
    pub fn state_db(&self) -> PathBuf {
        self.root.join("state.sqlite")
    }

    /// Wrapped data keys, apart from what they open so that backups of both can age differently.
    #[must_use]
    pub fn keys_db(&self) -> PathBuf {
        self.root.join("keys.sqlite")
    }

    /// Clients, signing keys, resume links; owned by auth.
    #[must_use]
    pub fn auth_db(&self) -> PathBuf {
        self.root.join("auth.sqlite")
    }

    /// What steps keep: documents, verified contacts, code sessions and counters.
    #[must_use]
    pub fn steps_db(&self) -> PathBuf {
        self.root.join("steps.sqlite")
    }

    /// Leases and checkpoints of the consumers of the streams, and what they make of events.
    #[must_use]
    pub fn consumers_db(&self) -> PathBuf {
        self.root.join("consumers.sqlite")
    }

    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    #[must_use]
    pub fn streams(&self) -> PathBuf {
        self.root.join("streams")
    }

    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    #[must_use]
    pub fn keyring(&self) -> PathBuf {
        self.root.join("keyring.json")
    }

    #[must_use]
    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::PRIVATE_DIR_MODE;

    #[test]
    fn the_folder_is_private_and_may_exist_already() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/var");
        let data_dir = DataDir::open(&root).unwrap();
        assert_eq!(DataDir::open(&root).unwrap(), data_dir);
        assert_eq!(
            root.metadata().unwrap().permissions().mode() & 0o777,
            PRIVATE_DIR_MODE
        );
        assert_eq!(data_dir.state_db(), root.join("state.sqlite"));
    }
}
