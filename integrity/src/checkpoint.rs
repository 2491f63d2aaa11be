//! Signed checkpoints: how large a tenant's log was, what its root was, and when.
//!
//! Source: <https://c2sp.org/tlog-checkpoint>. The lines after the root are ours.

use crate::keys::{KEY_NAME, KeyRing, RingError, rotation_line, statement_of};
use crate::note::{self, Note, NoteError, NoteSigner};
use crate::tree::Hash;

/// Longest name of a tenant in an origin, in bytes.
///
/// Source: the column of the database.
pub const TENANT_BYTES_MAX: usize = 64;

/// Which log: one of a tenant, begun anew by each restore of the database.
///
/// A restored database has forgotten leaves that were signed, so it must never go on with that log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub tenant: String,
    /// From 1.
    pub incarnation: u64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{KEY_NAME}/{}/{}", self.tenant, self.incarnation)
    }
}

impl Origin {
    /// Reads the first line of a checkpoint.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (tenant, incarnation) = text
            .strip_prefix(KEY_NAME)?
            .strip_prefix('/')?
            .rsplit_once('/')?;
        let origin = Self {
            tenant: tenant.to_owned(),
            incarnation: incarnation.parse().ok()?,
        };
        let is_good =
            !tenant.is_empty() && tenant.len() <= TENANT_BYTES_MAX && origin.to_string() == text;
        is_good.then_some(origin)
    }
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: Origin,
    /// Leaves.
    pub size: u64,
    pub root: Hash,
    /// Counts the checkpoints of the log, from 1 without gaps.
    pub number: u64,
    /// When it was made, ms since the epoch.
    pub at_ms: i64,
    /// SHA-256 of how far each partition was read, hex.
    pub cursors: String,
    /// The statements of keys that have ended since the checkpoint before.
    pub rotations: Vec<String>,
}

/// Why a checkpoint vouches for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("the note is no checkpoint of an audit log")]
    NotACheckpoint,
    #[error("the key {key} had ended when it signed")]
    KeyEnded { key: String },
    #[error(transparent)]
    Keys(#[from] RingError),
}

/// A checkpoint that a trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub checkpoint: Checkpoint,
    /// `name+hash` of the key.
    pub key: String,
}

impl Checkpoint {
    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        note::sign(&self.text(), &[signer])
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let Self {
            origin,
            size,
            root,
            number,
            at_ms,
            cursors,
            rotations,
        } = self;
        let root = root.base64();
        let mut text =
            format!("{origin}\n{size}\n{root}\nnumber {number}\ntime {at_ms}\ncursors {cursors}\n");
        for statement in rotations {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", rotation_line(statement));
        }
        text
    }

    /// Reads what a note says before anybody has vouched for it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotACheckpoint`]; only the one spelling of [`Checkpoint::sign`] is taken.
    pub fn parse_unverified(note: &str) -> Result<(Self, Note), CheckpointError> {
        let note = Note::parse(note)?;
        let text = note.unverified_text();
        let checkpoint = Self::parse(text).filter(|it| it.text() == text);
        Ok((checkpoint.ok_or(CheckpointError::NotACheckpoint)?, note))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let origin = Origin::parse(lines.next()?)?;
        let size = lines.next()?.parse().ok()?;
        let root = Hash::from_base64(lines.next()?)?;
        let mut named = |name: &str| lines.next()?.strip_prefix(name);
        let number = named("number ")?.parse().ok()?;
        let at_ms = named("time ")?.parse().ok()?;
        let cursors = named("cursors ")?.to_owned();
        let rotations = lines.map(statement_of).collect::<Option<_>>()?;
        Some(Self {
            origin,
            size,
            root,
            number,
            at_ms,
            cursors,
            rotations,
        })
    }

    /// Reads a note and checks who has signed it; learns the keys that its statements introduce.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn open(note: &str, ring: &mut KeyRing) -> Result<Signed, CheckpointError> {
        let (checkpoint, note) = Self::parse_unverified(note)?;
        // Each statement vouches for itself. Who trusts a later key learns the earlier ones backwards.
        let mut n_known = 0;
        while n_known < ring.keys().count() {
            n_known = ring.keys().count();
            for statement in &checkpoint.rotations {
                ring.learn(statement)?;
            }
        }
        let key = note.signer(ring.keys())?;
        let short = key.short();
        if ring.had_ended(key, checkpoint.at_ms) {
            return Err(CheckpointError::KeyEnded { key: short });
        }
        Ok(Signed {
            checkpoint,
            key: short,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Rotation;

    pub fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: Origin {
                tenant: "acme".to_owned(),
                incarnation: 1,
            },
            size: 0,
            root: Hash::of_nothing(),
            number: 1,
            at_ms: 1_000,
            cursors: "c".repeat(64),
            rotations: Vec::new(),
        }
    }

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::from_seed(KEY_NAME, &[seed; 32])
    }

    #[test]
    fn a_checkpoint_is_a_note_as_the_specification_spells_it() {
        let note = checkpoint().sign(&signer(1));
        let begin =
            "btrust.audit/acme/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nnumber 1\n";
        assert!(note.starts_with(begin), "{note}");
        let mut ring = KeyRing::of(signer(1).verifier().clone());
        assert_eq!(
            Checkpoint::open(&note, &mut ring).unwrap().checkpoint,
            checkpoint()
        );
    }

    #[test]
    fn a_checkpoint_in_another_spelling_or_of_another_log_is_none() {
        let signer = signer(1);
        let text = checkpoint().text();
        let mut ring = KeyRing::of(signer.verifier().clone());
        for (from, to) in [
            ("\n0\n", "\n00\n"),
            ("\n0\n", "\n+0\n"),
            ("\n0\n", "\n-1\n"),
            ("\n0\n", "\n0x0\n"),
            ("=\n", "\n"),
            ("number 1", "number 01"),
            ("acme/1", "/1"),
            ("acme/1", "acme/01"),
            ("acme/1", "acme"),
            ("btrust.audit", "go.sum"),
            ("time 1000", "time 1e3"),
            ("\ncursors", "\nmore\ncursors"),
            ("\n0\n", "\n18446744073709551616\n"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text);
            let refused = Checkpoint::open(&note::sign(&other, &[&signer]), &mut ring);
            assert_eq!(refused, Err(CheckpointError::NotACheckpoint), "{other}");
        }
    }

    #[test]
    fn keys_may_have_changed_more_than_once_since_the_checkpoint_before() {
        let signers = [signer(1), signer(2), signer(3)];
        let rotations = vec![
            Rotation::sign(&signers[0], &signers[1], 500),
            Rotation::sign(&signers[1], &signers[2], 600),
        ];
        let note = Checkpoint {
            rotations,
            ..checkpoint()
        }
        .sign(&signers[2]);
        for trusted in &signers {
            let mut ring = KeyRing::of(trusted.verifier().clone());
            Checkpoint::open(&note, &mut ring).unwrap();
            let late = checkpoint().sign(&signers[0]);
            let error = Checkpoint::open(&late, &mut ring).unwrap_err();
            assert!(matches!(error, CheckpointError::KeyEnded { .. }), "{error}");
        }
    }
}
