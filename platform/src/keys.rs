//! Keys that wrap data keys: a local keyring file here, a KMS elsewhere.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::files;
use crate::sealing::aad;

/// Wraps and unwraps data keys under a tenant's key, which never leaves the adapter.
#[async_trait]
pub trait Keys: Send + Sync {
    /// The data key, readable only by [`Keys::unwrap`] for the same tenant.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unavailable`] when the adapter's own store does not answer.
    async fn wrap(&self, tenant: &str, data_key: &DataKey) -> Result<WrappedKey, KeyError>;

    /// The data key that [`Keys::wrap`] was given.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`] for bytes that were changed, or wrapped for another
    /// tenant or under another master key.
    async fn unwrap(&self, tenant: &str, wrapped: &WrappedKey) -> Result<DataKey, KeyError>;
}

/// Why a key could not be wrapped, unwrapped, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Trying again will not help.
    #[error("the wrapped key is not this tenant's, or was changed")]
    Refused,
    /// The keyring is there and is not usable as it is.
    #[error("the keyring {path} {problem}")]
    Keyring {
        path: PathBuf,
        problem: &'static str,
    },
    /// The same call may succeed later.
    #[error("the key store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<io::Error> for KeyError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// 256 bits that seal data; wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A new key from the process's cryptographic random source.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::rng().random())
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Every call is a place to review.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose below this key; different purposes give unrelated keys.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Self {
        let mut mac =
            <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose);
        Self(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(***)")
    }
}

/// A data key that only [`Keys::unwrap`] can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKey(pub Vec<u8>);

/// Tenant keys that are derived from one master key in a private file.
///
/// Whoever holds the file holds everything; it belongs on an encrypted disk and
/// in no backup that also has the data.
pub struct LocalKeyring {
    master: DataKey,
}

#[derive(Serialize, Deserialize)]
struct KeyringFile {
    version: u8,
    /// 64 hex digits.
    master: String,
}

impl Drop for KeyringFile {
    fn drop(&mut self) {
        self.master.zeroize();
    }
}

const KEYRING_VERSION: u8 = 1;
/// First byte of a wrapped key: how it was wrapped.
const WRAP_VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

impl LocalKeyring {
    /// Opens the keyring, and creates it (mode 0600) if it is not there.
    ///
    /// Several processes may open a new keyring at once; all get the same key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Keyring`] for a file that others may read or that is no
    /// keyring; [`KeyError::Unavailable`] when the file system fails.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            found => {
                found?;
            }
        }
        read(path)
    }

    fn tenant_cipher(&self, tenant: &str) -> Aes256Gcm {
        let tenant_key = self.master.derive(&aad(&["btrust tenant key 1", tenant]));
        Aes256Gcm::new(tenant_key.expose().into())
    }
}

/// Writes a new keyring so that it appears complete or not at all, and never
/// replaces one that another process has just created.
fn create(path: &Path) -> Result<(), KeyError> {
    if let Some(parent) = path.parent() {
        files::create_private_dir(parent)?;
    }
    let master = hex::encode(DataKey::generate().expose());
    let content = KeyringFile {
        version: KEYRING_VERSION,
        master,
    };
    let text = Zeroizing::new(serde_json::to_vec(&content).expect("a keyring is plain JSON"));

    let temporary = files::temporary_beside(path);
    let _remove = files::RemoveOnDrop(Some(temporary.clone()));
    let mut file = files::create_new(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    match fs::hard_link(&temporary, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => files::sync_dir(parent)?,
        _ => files::sync_dir(Path::new("."))?,
    }
    Ok(())
}

fn read(path: &Path) -> Result<LocalKeyring, KeyError> {
    let refuse = |problem| KeyError::Keyring {
        path: path.to_owned(),
        problem,
    };
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(refuse("may be read by others; its mode must be 0600"));
    }
    let text = Zeroizing::new(fs::read(path)?);
    let content: KeyringFile =
        serde_json::from_slice(&text).map_err(|_| refuse("is not a keyring"))?;
    if content.version != KEYRING_VERSION {
        return Err(refuse("has a version that this program does not know"));
    }
    let mut master = [0; 32];
    hex::decode_to_slice(content.master.as_bytes(), &mut master)
        .map_err(|_| refuse("is not a keyring"))?;
    Ok(LocalKeyring {
        master: DataKey::from_bytes(master),
    })
}

#[async_trait]
impl Keys for LocalKeyring {
    async fn wrap(&self, tenant: &str, data_key: &DataKey) -> Result<WrappedKey, KeyError> {
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let aad = aad(&["btrust wrapped key 1", tenant]);
        let payload = Payload {
            msg: data_key.expose(),
            aad: &aad,
        };
        let sealed = self
            .tenant_cipher(tenant)
            .encrypt(Nonce::from_slice(&nonce), payload)
            .expect("32 bytes are far below the cipher's limit");
        let mut wrapped = vec![WRAP_VERSION];
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        Ok(WrappedKey(wrapped))
    }

    async fn unwrap(&self, tenant: &str, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        let (&version, rest) = wrapped.0.split_first().ok_or(KeyError::Refused)?;
        let (nonce, sealed) = rest
            .split_at_checked(NONCE_BYTES)
            .ok_or(KeyError::Refused)?;
        if version != WRAP_VERSION {
            return Err(KeyError::Refused);
        }
        let aad = aad(&["btrust wrapped key 1", tenant]);
        let opened = self
            .tenant_cipher(tenant)
            .decrypt(
                Nonce::from_slice(nonce),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .map_err(|_| KeyError::Refused)?;
        let opened = Zeroizing::new(opened);
        let bytes = opened
            .as_slice()
            .try_into()
            .map_err(|_| KeyError::Refused)?;
        Ok(DataKey::from_bytes(bytes))
    }
}

impl fmt::Debug for LocalKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKeyring(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        (dir, path)
    }

    #[tokio::test]
    async fn the_local_keyring_conforms() {
        let (_dir, path) = keyring();
        crate::conformance::keys(&LocalKeyring::open(&path).unwrap()).await;
    }

    #[tokio::test]
    async fn a_keyring_is_private_and_opens_again_to_the_same_key() {
        let (_dir, path) = keyring();
        let data_key = DataKey::generate();
        let wrapped = LocalKeyring::open(&path)
            .unwrap()
            .wrap("t", &data_key)
            .await
            .unwrap();

        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, files::PRIVATE_FILE_MODE);
        let again = LocalKeyring::open(&path).unwrap();
        assert_eq!(again.unwrap("t", &wrapped).await.unwrap(), data_key);
    }

    #[test]
    fn processes_that_create_a_keyring_at_once_agree_on_its_key() {
        let (dir, path) = keyring();
        let masters: Vec<DataKey> = std::thread::scope(|scope| {
            let openers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| LocalKeyring::open(&path).unwrap().master.clone()))
                .collect();
            openers.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(masters.iter().all(|it| *it == masters[0]));
        let files: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(files, ["keyring.json"]);
    }

    #[test]
    fn a_keyring_that_others_may_read_is_refused() {
        let (_dir, path) = keyring();
        LocalKeyring::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = LocalKeyring::open(&path).unwrap_err();
        assert!(
            error.to_string().contains("may be read by others"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_no_keyring_is_refused_and_not_replaced() {
        for content in [
            "",
            "{}",
            r#"{"version":2,"master":""}"#,
            r#"{"version":1,"master":"00"}"#,
        ] {
            let (_dir, path) = keyring();
            files::create_new(&path)
                .unwrap()
                .write_all(content.as_bytes())
                .unwrap();
            let error = LocalKeyring::open(&path).unwrap_err();
            assert!(matches!(error, KeyError::Keyring { .. }), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn keys_never_print() {
        let (_dir, path) = keyring();
        let keyring = LocalKeyring::open(&path).unwrap();
        let printed = format!("{keyring:?} {:?}", keyring.master);
        assert_eq!(printed, "LocalKeyring(***) DataKey(***)");
    }
}
