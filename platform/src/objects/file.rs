//! Objects as sealed files under one folder.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{ByteStream, OBJECT_BYTES_MAX, ObjectError, ObjectKey, Objects, Stored};
use crate::files;
use crate::sealing::Sealer;

/// Hex digits of a tenant's digest that name its folder.
const TENANT_DIGITS: usize = 32;

/// One file an object: `<dir>/<digest of tenant>/<partition>/<workflow>/<object>`.
pub struct FileObjects {
    dir: PathBuf,
}

impl FileObjects {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        let tenant = hex::encode(Sha256::digest(key.tenant.as_bytes()));
        self.dir
            .join(&tenant[..TENANT_DIGITS])
            .join(format!("{:02x}", key.workflow.partition()))
            .join(key.workflow.to_string())
            .join(key.object.to_string())
    }
}

#[async_trait]
impl Objects for FileObjects {
    async fn put(
        &self,
        key: &ObjectKey,
        mut bytes: ByteStream,
        sealer: &Sealer,
    ) -> Result<Stored, ObjectError> {
        let path = self.path(key);
        let temporary = files::temporary_beside(&path);
        let remove = files::RemoveOnDrop(Some(temporary.clone()));
        let mut file = create(&temporary).await.map_err(unavailable)?;

        let mut sealing = sealer.seal_stream(&key.aad());
        let mut digest = Sha256::new();
        let mut n_bytes = 0_u64;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(ObjectError::Source)?;
            n_bytes += piece.len() as u64;
            if OBJECT_BYTES_MAX < n_bytes {
                return Err(ObjectError::TooLarge);
            }
            digest.update(&piece);
            file.write_all(&sealing.push(&piece))
                .await
                .map_err(unavailable)?;
        }
        file.write_all(&sealing.finish())
            .await
            .map_err(unavailable)?;
        file.flush().await.map_err(unavailable)?;
        file.sync_all().await.map_err(unavailable)?;
        publish(&temporary, &path).await.map_err(unavailable)?;
        remove.keep();
        Ok(Stored {
            bytes: n_bytes,
            sha256: hex::encode(digest.finalize()),
        })
    }

    async fn get(&self, key: &ObjectKey, sealer: &Sealer) -> Result<Bytes, ObjectError> {
        let (path, aad, sealer) = (self.path(key), key.aad(), sealer.clone());
        // Tens of milliseconds for a large picture: not on a thread that serves others.
        let opened = files::blocking(move || {
            let ciphertext = std::fs::read(path)?;
            Ok(sealer.open_stream(&aad, &ciphertext))
        });
        match opened.await {
            Ok(Ok(plain)) => Ok(Bytes::from(plain)),
            Ok(Err(error)) => Err(ObjectError::Tampered(error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ObjectError::Missing),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let path = self.path(key);
        let removed = files::blocking(move || {
            std::fs::remove_file(&path)?;
            files::sync_dir(parent(&path))
        });
        match removed.await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(error)),
            _ => Ok(()),
        }
    }
}

async fn create(path: &Path) -> io::Result<tokio::fs::File> {
    let path = path.to_owned();
    let created = files::blocking(move || {
        files::create_private_dir(parent(&path))?;
        files::create_new(&path)
    });
    Ok(tokio::fs::File::from_std(created.await?))
}

/// Gives a finished file its name, so that it survives a power loss.
async fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    let (temporary, path) = (temporary.to_owned(), path.to_owned());
    files::blocking(move || {
        std::fs::rename(&temporary, &path)?;
        files::sync_dir(parent(&path))
    })
    .await
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .expect("an object's path has four folders above it")
}

fn unavailable(error: io::Error) -> ObjectError {
    ObjectError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use btrust_schemas::ids::{ObjectId, WorkflowId};

    use super::*;
    use crate::keys::DataKey;
    use crate::objects::byte_stream;
    use crate::sealing::CHUNK_BYTES;

    fn sealer() -> Sealer {
        Sealer::new(DataKey::from_bytes([7; 32]), *b"key-0001")
    }

    fn key(n: u8) -> ObjectKey {
        let workflow = WorkflowId::new(0xab, [1; 15]);
        let object = ObjectId {
            workflow,
            random: [n; 8],
        };
        ObjectKey {
            tenant: "../../etc".to_owned(),
            workflow,
            object,
        }
    }

    fn files_below(dir: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(files_below(&path));
            } else {
                files.push(path);
            }
        }
        files
    }

    #[tokio::test]
    async fn the_file_objects_conform() {
        let dir = tempfile::tempdir().unwrap();
        crate::conformance::objects(&FileObjects::new(dir.path())).await;
    }

    #[tokio::test]
    async fn an_object_is_private_sealed_and_below_its_folder_whatever_the_tenant_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let objects = FileObjects::new(dir.path());
        let plain = b"a picture of a person".repeat(10);
        objects
            .put(&key(1), byte_stream(plain), &sealer())
            .await
            .unwrap();

        let files = files_below(dir.path());
        assert_eq!(files, [objects.path(&key(1))]);
        assert_eq!(
            files[0].metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        let stored = fs::read(&files[0]).unwrap();
        assert!(!stored.windows(9).any(|it| it == b"a picture"));
    }

    #[tokio::test]
    async fn an_upload_that_breaks_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let objects = FileObjects::new(dir.path());
        let pieces = [
            Ok(Bytes::from(vec![1; 2 * CHUNK_BYTES])),
            Err(io::Error::other("gone")),
        ];
        let broken = Box::pin(futures_util::stream::iter(pieces));
        let error = objects.put(&key(1), broken, &sealer()).await.unwrap_err();
        assert!(matches!(error, ObjectError::Source(_)), "{error:?}");
        assert_eq!(files_below(dir.path()), Vec::<PathBuf>::new());

        let piece = Bytes::from(vec![0; 1024 * 1024]);
        let endless = Box::pin(futures_util::stream::repeat_with(move || Ok(piece.clone())));
        let error = objects.put(&key(1), endless, &sealer()).await.unwrap_err();
        assert!(matches!(error, ObjectError::TooLarge), "{error:?}");
        assert_eq!(files_below(dir.path()), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn a_file_that_was_changed_cut_or_swapped_releases_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let objects = FileObjects::new(dir.path());
        for n in [1, 2] {
            let plain = vec![n; 2 * CHUNK_BYTES + 10];
            objects
                .put(&key(n), byte_stream(plain), &sealer())
                .await
                .unwrap();
        }
        let (path, other) = (objects.path(&key(1)), objects.path(&key(2)));
        let stored = fs::read(&path).unwrap();

        let mut changed = stored.clone();
        changed[CHUNK_BYTES] ^= 1;
        let cut_at_chunk = stored[..22 + CHUNK_BYTES + 16].to_vec();
        let cut = stored[..stored.len() - 1].to_vec();
        for bytes in [
            changed,
            cut_at_chunk,
            cut,
            Vec::new(),
            fs::read(&other).unwrap(),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = objects.get(&key(1), &sealer()).await.unwrap_err();
            assert!(matches!(error, ObjectError::Tampered(_)), "{error:?}");
        }
        fs::write(&path, stored).unwrap();
        assert_eq!(
            objects.get(&key(1), &sealer()).await.unwrap(),
            vec![1; 2 * CHUNK_BYTES + 10]
        );
    }
}
