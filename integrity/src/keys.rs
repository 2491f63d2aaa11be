//! Who may sign: the keys that the reader trusts, and those that these have introduced.
//!
//! A key ends by a statement that names its successor and that both of them have signed. Who trusts one
//! of them so learns the other: the earlier, to read what was signed before; the later, for what came
//! since. What an ended key signs as of a later time is refused.
//!
//! A file of keys has a key on each line, and the statements beside them: a reader who has only the keys
//! cannot know which of them have ended, and would believe whoever holds an old one.

use crate::note::{self, Note, NoteError, NoteSigner, VerifierKey};

/// The name under which the platform signs.
pub const KEY_NAME: &str = "btrust.audit";
/// The first line of a statement; no checkpoint begins so.
const STATEMENT: &str = "btrust.key-rotation/1";
/// What the line of a statement begins with, in files of keys and in checkpoints.
const ROTATION: &str = "rotation ";
/// Most keys that a ring takes: a rotation every week for twenty years.
pub const KEYS_MAX: usize = 1_024;

/// Why keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("line {line} is no public key of the form `name+hash+key`")]
    NotAKey { line: usize },
    #[error("line {line} is no statement of a key that has ended, signed by it and its successor")]
    NotAStatement { line: usize },
    #[error("line {line} names another successor of a key than a line before it")]
    SecondSuccessor { line: usize },
    #[error("there is no public key")]
    Empty,
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
}

/// A key that gives way to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub old: VerifierKey,
    pub new: VerifierKey,
    /// When, ms since the epoch.
    pub at_ms: i64,
}

impl Rotation {
    /// The statement, signed by both keys.
    #[must_use]
    pub fn sign(old: &NoteSigner, new: &NoteSigner, at_ms: i64) -> String {
        let rotation = Self {
            old: old.verifier().clone(),
            new: new.verifier().clone(),
            at_ms,
        };
        note::sign(&rotation.text(), &[old, new])
    }

    fn text(&self) -> String {
        let Self { old, new, at_ms } = self;
        format!("{STATEMENT}\nold {old}\nnew {new}\ntime {at_ms}\n")
    }

    /// Reads a statement that both of its keys have signed; whether one of them is trusted is another matter.
    ///
    /// # Errors
    ///
    /// [`NoteError`].
    pub fn open(note: &str) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        let rotation = Self::parse(note.unverified_text()).ok_or(NoteError::Malformed)?;
        for key in [&rotation.old, &rotation.new] {
            if note.is_signed_by(key) != Some(true) {
                return Err(NoteError::Forged { key: key.short() });
            }
        }
        Ok(rotation)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut line = |name: &str| lines.next()?.strip_prefix(name);
        line(STATEMENT)?;
        let rotation = Self {
            old: VerifierKey::parse(line("old ")?).ok()?,
            new: VerifierKey::parse(line("new ")?).ok()?,
            at_ms: line("time ")?.parse().ok()?,
        };
        // One statement has one spelling.
        let is_good = rotation.old != rotation.new && rotation.text() == text;
        is_good.then_some(rotation)
    }
}

/// A statement as one line.
#[must_use]
pub fn rotation_line(statement: &str) -> String {
    format!("{ROTATION}{}", hex::encode(statement))
}

/// The statement of such a line, which nobody has looked at yet.
#[must_use]
pub fn statement_of(line: &str) -> Option<String> {
    String::from_utf8(hex::decode(line.strip_prefix(ROTATION)?).ok()?).ok()
}

/// The keys that are trusted.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

#[derive(Clone, Debug)]
struct RingKey {
    key: VerifierKey,
    ended: Option<Ended>,
}

/// A key has one successor: whoever has stolen it afterwards introduces nobody.
#[derive(Clone, Debug)]
struct Ended {
    successor: VerifierKey,
    at_ms: i64,
}

impl KeyRing {
    /// The ring of a single key.
    #[must_use]
    pub fn of(key: VerifierKey) -> Self {
        let ended = None;
        Self {
            keys: vec![RingKey { key, ended }],
        }
    }

    /// Reads keys, one a line, and the statements of those that have ended; empty lines and lines that begin
    /// with `#` are passed over.
    ///
    /// # Errors
    ///
    /// [`RingError`].
    pub fn parse(text: &str) -> Result<Self, RingError> {
        let mut ring = Self::default();
        let mut statements = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if text.starts_with(ROTATION) {
                let statement = statement_of(text).ok_or(RingError::NotAStatement { line })?;
                statements.push((line, statement));
                continue;
            }
            let key = VerifierKey::parse(text).map_err(|_| RingError::NotAKey { line })?;
            ring.add(key).ok_or(RingError::TooMany)?;
        }
        if ring.keys.is_empty() {
            return Err(RingError::Empty);
        }
        ring.learn_all(statements)?;
        Ok(ring)
    }

    /// Learns statements, each of which may make another one known; the rest concern nobody here.
    fn learn_all(&mut self, mut statements: Vec<(usize, String)>) -> Result<(), RingError> {
        loop {
            let n_before = statements.len();
            let mut unknown = Vec::new();
            for (line, statement) in statements {
                let learnt = self.learn(&statement).map_err(|error| match error {
                    NoteError::SecondSuccessor { .. } => RingError::SecondSuccessor { line },
                    _ => RingError::NotAStatement { line },
                })?;
                if !learnt {
                    unknown.push((line, statement));
                }
            }
            if unknown.is_empty() || unknown.len() == n_before {
                return Ok(());
            }
            statements = unknown;
        }
    }

    fn add(&mut self, key: VerifierKey) -> Option<()> {
        if self.keys.iter().any(|it| it.key == key) {
            return Some(());
        }
        let ended = None;
        (self.keys.len() < KEYS_MAX).then(|| self.keys.push(RingKey { key, ended }))
    }

    /// Takes a statement in; whether it concerns a key that is trusted.
    ///
    /// # Errors
    ///
    /// [`NoteError`] for what is no statement, is not signed by both of its keys, or names a second
    /// successor of a key.
    pub fn learn(&mut self, statement: &str) -> Result<bool, NoteError> {
        let rotation = Rotation::open(statement)?;
        let is_known = |key: &VerifierKey| self.keys.iter().any(|it| it.key == *key);
        if !is_known(&rotation.old) && !is_known(&rotation.new) {
            return Ok(false);
        }
        let old = self.keys.iter().find(|it| it.key == rotation.old);
        let ended = old.and_then(|it| it.ended.as_ref());
        if ended.is_some_and(|it| it.successor != rotation.new) {
            let key = rotation.old.short();
            return Err(NoteError::SecondSuccessor { key });
        }
        for key in [&rotation.old, &rotation.new] {
            self.add(key.clone()).ok_or(NoteError::Malformed)?;
        }
        let Rotation { old, new, at_ms } = rotation;
        if let Some(it) = self.keys.iter_mut().find(|it| it.key == old) {
            let at_ms = it.ended.as_ref().map_or(at_ms, |it| it.at_ms.min(at_ms));
            let successor = new;
            it.ended = Some(Ended { successor, at_ms });
        }
        Ok(true)
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.keys.iter().map(|it| &it.key)
    }

    /// Whether a key had ended by then: it, or any that came after it. A key that has ended can so not bring
    /// in another one as its own predecessor.
    #[must_use]
    pub fn had_ended(&self, key: &VerifierKey, at_ms: i64) -> bool {
        let mut key = key;
        for _ in 0..self.keys.len() {
            let found = self.keys.iter().find(|it| it.key == *key);
            let Some(ended) = found.and_then(|it| it.ended.as_ref()) else {
                return false;
            };
            if ended.at_ms < at_ms {
                return true;
            }
            key = &ended.successor;
        }
        // Keys that come after each other in a circle are nobody's.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::from_seed(KEY_NAME, &[seed; 32])
    }

    #[test]
    fn a_key_introduces_the_next_and_is_refused_afterwards() {
        let (old, new) = (signer(1), signer(2));
        let statement = Rotation::sign(&old, &new, 1_000);
        for trusted in [&old, &new] {
            let mut ring = KeyRing::of(trusted.verifier().clone());
            assert!(ring.learn(&statement).unwrap());
            assert!(ring.keys().any(|it| it == new.verifier()));
            assert!(ring.keys().any(|it| it == old.verifier()));
            assert!(!ring.had_ended(old.verifier(), 1_000));
            assert!(ring.had_ended(old.verifier(), 1_001));
            assert!(!ring.had_ended(new.verifier(), 9_999));
        }
        let mut stranger = KeyRing::of(signer(3).verifier().clone());
        assert!(!stranger.learn(&statement).unwrap());
        assert_eq!(stranger.keys().count(), 1);
    }

    #[test]
    fn a_key_that_has_ended_introduces_nobody_else() {
        let (old, new, thief) = (signer(1), signer(2), signer(3));
        let genuine = Rotation::sign(&old, &new, 1_000);
        let stolen = Rotation::sign(&old, &thief, 500);
        for trusted in [&old, &new] {
            let mut ring = KeyRing::of(trusted.verifier().clone());
            assert!(ring.learn(&genuine).unwrap());
            assert!(ring.learn(&genuine).unwrap());
            let error = ring.learn(&stolen).unwrap_err();
            assert!(matches!(error, NoteError::SecondSuccessor { .. }));
            assert!(!ring.keys().any(|it| it == thief.verifier()));
        }
    }

    #[test]
    fn a_key_that_has_ended_brings_in_nobody_as_its_predecessor() {
        let (old, new, thief) = (signer(1), signer(2), signer(3));
        let genuine = Rotation::sign(&old, &new, 1_000);
        let stolen = Rotation::sign(&thief, &old, i64::MAX);
        for trusted in [&old, &new] {
            let mut ring = KeyRing::of(trusted.verifier().clone());
            for statement in [&genuine, &stolen] {
                assert!(ring.learn(statement).unwrap());
            }
            let had_ended = |key: &VerifierKey, at_ms| ring.had_ended(key, at_ms);
            assert!(had_ended(thief.verifier(), 1_001) && had_ended(old.verifier(), 1_001));
            assert!(!had_ended(old.verifier(), 1_000) && !had_ended(new.verifier(), i64::MAX));
        }
        // In a circle nobody is left to sign.
        let mut ring = KeyRing::of(old.verifier().clone());
        for statement in [&genuine, &Rotation::sign(&new, &old, i64::MAX)] {
            ring.learn(statement).unwrap();
        }
        assert!(ring.had_ended(new.verifier(), 0));
    }

    #[test]
    fn a_statement_that_one_of_its_keys_has_not_signed_is_forged() {
        let (old, new, thief) = (signer(1), signer(2), signer(3));
        let text = Rotation {
            old: old.verifier().clone(),
            new: thief.verifier().clone(),
            at_ms: 1,
        }
        .text();
        let mut ring = KeyRing::of(old.verifier().clone());
        for signers in [vec![&thief], vec![&new, &thief], vec![&old]] {
            let error = ring.learn(&note::sign(&text, &signers)).unwrap_err();
            assert!(matches!(error, NoteError::Forged { .. }), "{error}");
        }
        assert_eq!(ring.keys().count(), 1);
        let twice = Rotation::sign(&old, &new, 5).replace("time 5", "time 05");
        assert!(ring.learn(&twice).is_err());
    }

    #[test]
    fn keys_are_read_from_lines_and_a_wrong_one_is_named() {
        let (one, two) = (signer(1), signer(2));
        let text = format!("# ours\n{}\n\n{}\n", one.verifier(), two.verifier());
        assert_eq!(KeyRing::parse(&text).unwrap().keys().count(), 2);
        assert_eq!(KeyRing::parse("# none\n").err(), Some(RingError::Empty));
        assert_eq!(
            KeyRing::parse("\nkey").err(),
            Some(RingError::NotAKey { line: 2 })
        );
    }

    #[test]
    fn a_file_of_keys_says_which_of_them_have_ended() {
        let (first, second, third) = (signer(1), signer(2), signer(3));
        let rotations = [
            Rotation::sign(&first, &second, 1_000),
            Rotation::sign(&second, &third, 2_000),
        ];
        let [one, two] = rotations.each_ref().map(|it| rotation_line(it));
        let keys = [&first, &second, &third].map(|it| it.verifier().to_string());
        let all = format!("# all\n{}\n{one}\n{two}\n", keys.join("\n"));
        // Who has kept only the latest key learns the others backwards, in whatever order they are told.
        for text in [all, format!("{}\n{one}\n{two}\n", keys[2])] {
            let ring = KeyRing::parse(&text).unwrap();
            assert_eq!(ring.keys().count(), 3);
            assert!(ring.had_ended(first.verifier(), 1_001));
            assert!(ring.had_ended(second.verifier(), 2_001));
            assert!(!ring.had_ended(second.verifier(), 2_000));
            assert!(!ring.had_ended(third.verifier(), 9_999));
        }
        let forged = rotation_line(&rotations[0].replace("time 1000", "time 1001"));
        for (bad, error) in [
            ("rotation 00ff", RingError::NotAStatement { line: 2 }),
            (forged.as_str(), RingError::NotAStatement { line: 2 }),
        ] {
            let read = KeyRing::parse(&format!("{}\n{bad}\n", keys[0]));
            assert_eq!(read.err(), Some(error));
        }
        let stolen = rotation_line(&Rotation::sign(&first, &third, 500));
        let read = KeyRing::parse(&format!("{}\n{one}\n{stolen}\n", keys[0]));
        assert_eq!(read.err(), Some(RingError::SecondSuccessor { line: 3 }));
    }
}
