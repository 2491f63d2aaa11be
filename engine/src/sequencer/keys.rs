//! The keys that sign checkpoints: in the database, sealed under the platform's keyring.

use btrust_integrity::keys::{KEY_NAME, Rotation};
use btrust_integrity::note::NoteSigner;
use btrust_platform::clock::Clock;
use btrust_platform::keys::{DataKey, Keys, WrappedKey};
use btrust_platform::random::{self, RandomSource, SharedRandom};
use btrust_platform::sealing::{Sealer, aad};

use super::SequencerError;
use crate::store::audit_log::{AuditKey, AuditLogStore};

/// The owner of these keys in the keyring: no tenant's, the platform's.
const KEYRING_OWNER: &str = "btrust:audit";
/// Key id in the header of what is sealed here: each data key seals one thing.
const SEALING_KEY_ID: [u8; 8] = *b"audit-k1";
/// How often a key is put before somebody is told that others do so all the time.
const TRIES: usize = 5;

/// The key that signs now, with the ones before it.
pub struct SigningKeys {
    pub number: i64,
    pub signer: NoteSigner,
    /// Statements of keys that have ended, with the number of the key that each has introduced.
    pub statements: Vec<(i64, String)>,
}

impl SigningKeys {
    /// Opens the key that signs; makes the first one where there is none.
    ///
    /// # Errors
    ///
    /// [`SequencerError`].
    pub async fn open(
        log: &dyn AuditLogStore,
        keys: &dyn Keys,
        random: &SharedRandom,
        clock: &dyn Clock,
    ) -> Result<Self, SequencerError> {
        let mut stored = log.audit_keys().await?;
        if stored.is_empty() {
            let (key, _) = fresh(1, None, keys, random, clock.now_ms()).await?;
            // Somebody else may have been faster.
            log.put_audit_key(&key).await?;
            stored = log.audit_keys().await?;
        }
        let statements = stored
            .iter()
            .filter_map(|it| Some((it.number, it.statement.clone()?)))
            .collect();
        let last = stored.last().ok_or(SequencerError::KeyDamaged)?;
        Ok(Self {
            number: last.number,
            signer: unsealed(last, keys).await?,
            statements,
        })
    }
}

/// Ends the key that signs and begins the next one, which it introduces; gives the new public key.
///
/// # Errors
///
/// [`SequencerError`]; the key before still signs.
pub async fn rotate(
    log: &dyn AuditLogStore,
    keys: &dyn Keys,
    random: &SharedRandom,
    clock: &dyn Clock,
) -> Result<String, SequencerError> {
    let mut at_ms = clock.now_ms();
    for _ in 0..TRIES {
        let current = SigningKeys::open(log, keys, random, clock).await?;
        at_ms = at_ms.max(clock.now_ms());
        let next = current.number + 1;
        let (key, signer) = fresh(next, Some(&current.signer), keys, random, at_ms).await?;
        if log.put_audit_key(&key).await? {
            return Ok(signer.verifier().to_string());
        }
        // A checkpoint was made by a clock that is ahead of this one, or just now.
        at_ms += 60_000;
    }
    Err(SequencerError::KeyDamaged)
}

/// A new key, introduced by the one before where there is one.
async fn fresh(
    number: i64,
    before: Option<&NoteSigner>,
    keys: &dyn Keys,
    random: &SharedRandom,
    at_ms: i64,
) -> Result<(AuditKey, NoteSigner), SequencerError> {
    let seed: [u8; 32] = random::bytes(&**random as &dyn RandomSource);
    let signer = NoteSigner::from_seed(KEY_NAME, &seed);
    let public_key = signer.verifier().to_string();
    let data_key = DataKey::from_bytes(random::bytes(&**random));
    let wrapped = keys.wrap(KEYRING_OWNER, &data_key).await?.0;
    let sealer = Sealer::with_random(data_key, SEALING_KEY_ID, SharedRandom::clone(random));
    let key = AuditKey {
        number,
        sealed: sealer.seal(&aad(&[KEYRING_OWNER, &public_key]), &seed),
        wrapped,
        statement: before.map(|it| Rotation::sign(it, &signer, at_ms)),
        public_key,
        created_ms: at_ms,
    };
    Ok((key, signer))
}

async fn unsealed(key: &AuditKey, keys: &dyn Keys) -> Result<NoteSigner, SequencerError> {
    let wrapped = WrappedKey(key.wrapped.clone());
    let data_key = keys.unwrap(KEYRING_OWNER, &wrapped).await?;
    let sealer = Sealer::new(data_key, SEALING_KEY_ID);
    let seed = sealer
        .open(&aad(&[KEYRING_OWNER, &key.public_key]), &key.sealed)
        .map_err(|_| SequencerError::KeyDamaged)?;
    let seed = seed.try_into().map_err(|_| SequencerError::KeyDamaged)?;
    let signer = NoteSigner::from_seed(KEY_NAME, &seed);
    if signer.verifier().to_string() != key.public_key {
        return Err(SequencerError::KeyDamaged);
    }
    Ok(signer)
}
