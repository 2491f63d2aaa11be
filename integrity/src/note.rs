//! Signed notes: a text, and below it lines with signatures.
//!
//! Source: <https://c2sp.org/signed-note>, with Ed25519 signatures only.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Largest note that is read, in bytes: a checkpoint with a thousand rotations of keys.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// Most signatures of a note that are looked at.
///
/// Source: the specification asks for a limit of at least 16.
pub const SIGNATURES_MAX: usize = 16;
/// Says that a key and its signatures are Ed25519.
///
/// Source: <https://c2sp.org/signed-note#signature-types>.
const ED25519: u8 = 1;
/// What a line with a signature begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";
const ID_BYTES: usize = 4;

/// Why a note or a key cannot be read, or does not say who has signed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    Malformed,
    #[error("it is signed by nobody who is trusted, but by {signers}")]
    UnknownKey { signers: String },
    #[error("the signature of {key} is not over this text")]
    Forged { key: String },
    #[error("the key {key} has introduced another successor before")]
    SecondSuccessor { key: String },
}

/// Why a text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a public key as `name+hash+key`, on a line of its own")]
pub struct KeyParseError;

/// The first bytes of a digest of name and key: which key has signed.
pub type KeyId = [u8; ID_BYTES];

/// A public key with the name of whoever signs with it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Self {
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        Self {
            name: name.to_owned(),
            id: *digest.first_chunk().expect("a digest has 32 bytes"),
            key,
        }
    }

    /// Reads `name+hash+key`; the hash has to be the one of name and key.
    ///
    /// # Errors
    ///
    /// [`KeyParseError`], also for a key that everybody's signature would fit (a point of small order).
    pub fn parse(text: &str) -> Result<Self, KeyParseError> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(KeyParseError);
        let (name, id, key) = (part()?, part()?, part()?);
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| KeyParseError)?;
        let Some((&ED25519, bytes)) = bytes.split_first() else {
            return Err(KeyParseError);
        };
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyParseError)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyParseError)?;
        let parsed = Self::new(name, key);
        let is_good = is_name(name) && hex::encode(parsed.id) == id && !key.is_weak();
        if is_good {
            Ok(parsed)
        } else {
            Err(KeyParseError)
        }
    }

    /// Who signs with it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// `name+hash`, enough for a person to tell keys apart.
    #[must_use]
    pub fn short(&self) -> String {
        short(&self.name, self.id)
    }
}

fn short(name: &str, id: KeyId) -> String {
    format!("{name}+{}", hex::encode(id))
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let typed = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}", self.short(), BASE64_STANDARD.encode(typed))
    }
}

impl std::fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// Whoever signs notes; the private half is wiped when dropped and never printed.
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// The signer with the private key that grows from `seed`.
    ///
    /// # Panics
    ///
    /// For a name that a note cannot carry: empty, or with a space or a `+`. Names are constants.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        assert!(is_name(name), "a key's name has neither spaces nor `+`");
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key());
        Self { key, verifier }
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The line that signs `text`.
    fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [self.verifier.id.as_slice(), &signature].concat();
        let (name, signature) = (&self.verifier.name, BASE64_STANDARD.encode(bytes));
        format!("{SIGNATURE_MARK}{name} {signature}\n")
    }
}

impl std::fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteSigner({})", self.verifier.short())
    }
}

fn is_name(name: &str) -> bool {
    let is_bad = |it: char| it.is_whitespace() || it.is_control() || it == '+';
    !name.is_empty() && !name.contains(is_bad)
}

/// The note that carries `text` signed by everybody in `signers`.
///
/// `text` ends with a line break and has no other control character.
#[must_use]
pub fn sign(text: &str, signers: &[&NoteSigner]) -> String {
    let lines: String = signers.iter().map(|it| it.line(text)).collect();
    format!("{text}\n{lines}")
}

/// A note whose signatures nobody has looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    ///
    /// [`NoteError::Malformed`].
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let is_text = |it: char| it == '\n' || !it.is_control();
        if NOTE_BYTES_MAX < note.len() || !note.chars().all(is_text) {
            return Err(NoteError::Malformed);
        }
        // The signatures are below the last empty line.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let signatures: Option<Vec<NoteSignature>> = lines
            .split('\n')
            .take(SIGNATURES_MAX + 1)
            .map(signature)
            .collect();
        match signatures {
            Some(signatures) if signatures.len() <= SIGNATURES_MAX && 1 < text.len() => Ok(Self {
                text: text.to_owned(),
                signatures,
            }),
            _ => Err(NoteError::Malformed),
        }
    }

    /// The text, with the line break that it ends with, before anybody has vouched for it.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// Whether `key` has signed: `None` if it does not say so, `false` if it lies.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifierKey) -> Option<bool> {
        let is_of_key = |it: &&NoteSignature| it.name == key.name && it.id == key.id;
        let signature = self.signatures.iter().find(is_of_key)?;
        let Ok(signature) = Signature::from_slice(&signature.bytes) else {
            return Some(false);
        };
        // Strict: one message has one signature, and keys of small order sign nothing.
        Some(
            key.key
                .verify_strict(self.text.as_bytes(), &signature)
                .is_ok(),
        )
    }

    /// The first of `keys` that has signed the text.
    ///
    /// # Errors
    ///
    /// [`NoteError::Forged`] if the signature of any of them is wrong; [`NoteError::UnknownKey`].
    pub fn signer<'k>(
        &self,
        keys: impl Iterator<Item = &'k VerifierKey>,
    ) -> Result<&'k VerifierKey, NoteError> {
        let mut signer = None;
        for key in keys {
            match self.is_signed_by(key) {
                Some(true) => signer = signer.or(Some(key)),
                Some(false) => return Err(NoteError::Forged { key: key.short() }),
                None => {}
            }
        }
        let all = self.signatures.iter().map(|it| short(&it.name, it.id));
        signer.ok_or_else(|| NoteError::UnknownKey {
            signers: all.collect::<Vec<_>>().join(", "),
        })
    }
}

fn signature(line: &str) -> Option<NoteSignature> {
    let (name, signature) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(signature).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    (is_name(name) && !bytes.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        id: *id,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the example key and note of Go's `golang.org/x/mod/sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_published_example_verifies() {
        let key = VerifierKey::parse(PETER).unwrap();
        assert_eq!(key.to_string(), PETER);
        let note = Note::parse(PETERS_NOTE).unwrap();
        assert_eq!(note.signer([&key].into_iter()).unwrap(), &key);
        let edited = Note::parse(&PETERS_NOTE.replace("your problem,", "our problem,")).unwrap();
        let forged = NoteError::Forged {
            key: "PeterNeumann+c74f20a3".to_owned(),
        };
        assert_eq!(edited.signer([&key].into_iter()), Err(forged));
    }

    #[test]
    fn what_is_signed_here_is_read_here_and_by_nobody_elses_key() {
        let signer = NoteSigner::from_seed("log", &[7; 32]);
        let other = NoteSigner::from_seed("log", &[8; 32]);
        let note = Note::parse(&sign("text\n", &[&signer])).unwrap();
        assert_eq!(note.unverified_text(), "text\n");
        assert_eq!(note.is_signed_by(signer.verifier()), Some(true));
        assert_eq!(note.is_signed_by(other.verifier()), None);
        let unknown = note.signer([other.verifier()].into_iter());
        assert!(matches!(unknown, Err(NoteError::UnknownKey { .. })));
        assert!(!format!("{signer:?}").contains("07"));
    }

    #[test]
    fn a_note_with_an_empty_line_in_its_text_is_signed_as_a_whole() {
        let signer = NoteSigner::from_seed("log", &[7; 32]);
        let note = Note::parse(&sign("a\n\nb\n", &[&signer])).unwrap();
        assert_eq!(note.unverified_text(), "a\n\nb\n");
        assert_eq!(note.is_signed_by(signer.verifier()), Some(true));
    }

    #[test]
    fn what_is_no_note_or_no_key_is_refused() {
        let good = sign("text\n", &[&NoteSigner::from_seed("log", &[7; 32])]);
        let (_, line) = good.split_once("\n\n").unwrap();
        for bad in [
            "",
            "\n",
            "\n\n",
            "text\n",
            "text\n\n",
            &good[..good.len() - 1],
            &format!("\n{line}"),
            &good.replace('\u{2014}', "-"),
            &good.replace("text", "te\rxt"),
            &format!("{good}more\n"),
            &format!("{good}\n"),
            &good.replace("log ", "lo g "),
            &format!("text\n\n{}", line.repeat(17)),
        ] {
            assert_eq!(Note::parse(bad), Err(NoteError::Malformed), "{bad:?}");
        }
        let zero = BASE64_STANDARD.encode([[1].as_slice(), &[0; 32]].concat());
        for bad in [
            "",
            "a+b",
            "a+00000000+AA==",
            &PETER.replace("c74f", "c74e"),
            &PETER[4..],
            &format!("a+00000000+{zero}"),
        ] {
            assert_eq!(VerifierKey::parse(bad), Err(KeyParseError), "{bad:?}");
        }
    }
}
