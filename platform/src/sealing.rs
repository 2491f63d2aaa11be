//! The one codec that seals payloads: AES-256-GCM under a workflow's data key.
//!
//! A sealed payload is `version (1) | algorithm (1) | key id (8) | nonce (12) |
//! ciphertext and tag`. The header is authenticated together with the caller's
//! associated data, which binds tenant, workflow and what the payload is.

use std::fmt;

use aes_gcm::aead::{Aead, AeadInPlace, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use crate::keys::DataKey;
use crate::random::{SharedRandom, SystemRandom};

/// Bytes that sealing adds to a payload: the header and the tag.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Plain bytes of one chunk of a sealed object.
///
/// Source: design decision; large enough for AES to be the cost, small enough to hold in memory.
pub const CHUNK_BYTES: usize = 64 * 1024;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const HEADER_BYTES: usize = 2 + KEY_ID_BYTES + NONCE_BYTES;
const TAG_BYTES: usize = 16;
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// How the bytes after a header are sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Algorithm {
    /// One AES-256-GCM message.
    Whole = 1,
    /// AES-256-GCM messages of [`CHUNK_BYTES`], under a key of their own.
    Chunked = 2,
}

/// Why sealed bytes cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    #[error("the bytes are not sealed in a way that this program knows")]
    Unknown,
    #[error("the bytes are sealed with another key")]
    OtherKey,
    #[error("the sealed bytes were changed, cut, or belong somewhere else")]
    Tampered,
}

/// Associated data of several parts, so that no two lists of parts look alike.
///
/// Use a word for what the payload is first, then tenant, workflow and the rest:
/// `aad(&["snapshot", tenant, workflow, "17"])`.
#[must_use]
pub fn aad(parts: &[&str]) -> Vec<u8> {
    let n_bytes: usize = parts.iter().map(|part| part.len() + 8).sum();
    let mut bytes = Vec::with_capacity(n_bytes);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// Seals and opens with one data key; cheap to share, safe from many threads.
///
/// Nonces are random: a key is good for 2^32 payloads (NIST SP 800-38D, 8.3),
/// far more than one workflow makes.
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256Gcm,
    data_key: DataKey,
    key_id: [u8; KEY_ID_BYTES],
    random: SharedRandom,
}

impl Sealer {
    #[must_use]
    pub fn new(data_key: DataKey, key_id: [u8; 8]) -> Self {
        Self::with_random(data_key, key_id, SystemRandom::shared())
    }

    /// A sealer whose nonces come from `random`, which must never repeat itself under one key.
    #[must_use]
    pub fn with_random(data_key: DataKey, key_id: [u8; 8], random: SharedRandom) -> Self {
        Self {
            cipher: Aes256Gcm::new(data_key.expose().into()),
            data_key,
            key_id,
            random,
        }
    }

    #[must_use]
    pub const fn key_id(&self) -> [u8; 8] {
        self.key_id
    }

    /// The payload, readable only with this key and the same associated data.
    ///
    /// # Panics
    ///
    /// For a payload above 64 GiB, the cipher's limit.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let header = self.new_header(Algorithm::Whole);
        let bound = bind(&header, aad);
        let nonce = Nonce::from_slice(&header[HEADER_BYTES - NONCE_BYTES..]);
        let mut bytes = Vec::with_capacity(OVERHEAD_BYTES + plain.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(plain);
        let tag = self
            .cipher
            .encrypt_in_place_detached(nonce, &bound, &mut bytes[HEADER_BYTES..])
            .expect("a payload is far below the cipher's limit of 64 GiB");
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// The payload that [`Sealer::seal`] was given.
    ///
    /// # Errors
    ///
    /// [`SealError`]; none of its cases goes away by trying again.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (header, ciphertext) = self.check_header(Algorithm::Whole, sealed)?;
        let nonce = Nonce::from_slice(&header[HEADER_BYTES - NONCE_BYTES..]);
        self.cipher
            .decrypt(
                nonce,
                Payload {
                    msg: ciphertext,
                    aad: &bind(header, aad),
                },
            )
            .map_err(|_| SealError::Tampered)
    }

    /// Starts to seal a long payload chunk by chunk.
    #[must_use]
    pub fn seal_stream(&self, aad: &[u8]) -> StreamSealer {
        let header = self.new_header(Algorithm::Chunked);
        let chunks = Chunks::new(&self.data_key, &header, aad);
        StreamSealer {
            chunks,
            pending: Vec::new(),
            header: Some(header),
        }
    }

    /// The long payload that [`Sealer::seal_stream`] was given, once all of it is authenticated.
    ///
    /// # Errors
    ///
    /// [`SealError`]; nothing is released unless every chunk is in its place.
    pub fn open_stream(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (header, mut rest) = self.check_header(Algorithm::Chunked, sealed)?;
        let mut chunks = Chunks::new(&self.data_key, header, aad);
        let mut plain = Vec::with_capacity(rest.len());
        while SEALED_CHUNK_BYTES < rest.len() {
            let (chunk, after) = rest.split_at(SEALED_CHUNK_BYTES);
            plain.extend_from_slice(&chunks.open(chunk, IsLast::No)?);
            rest = after;
        }
        plain.extend_from_slice(&chunks.open(rest, IsLast::Yes)?);
        Ok(plain)
    }

    fn new_header(&self, algorithm: Algorithm) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[0] = VERSION;
        header[1] = algorithm as u8;
        header[2..2 + KEY_ID_BYTES].copy_from_slice(&self.key_id);
        self.random.fill(&mut header[2 + KEY_ID_BYTES..]);
        header
    }

    fn check_header<'a>(
        &self,
        algorithm: Algorithm,
        sealed: &'a [u8],
    ) -> Result<(&'a [u8], &'a [u8]), SealError> {
        let (header, rest) = sealed
            .split_at_checked(HEADER_BYTES)
            .ok_or(SealError::Unknown)?;
        if header[0] != VERSION || header[1] != algorithm as u8 {
            return Err(SealError::Unknown);
        }
        if header[2..2 + KEY_ID_BYTES] != self.key_id {
            return Err(SealError::OtherKey);
        }
        Ok((header, rest))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", hex::encode(self.key_id))
    }
}

/// The key id of a sealed payload, to find the key that opens it.
///
/// # Errors
///
/// [`SealError::Unknown`] if it is too short or of another version.
pub fn key_id(sealed: &[u8]) -> Result<[u8; 8], SealError> {
    let header = sealed.get(..HEADER_BYTES).ok_or(SealError::Unknown)?;
    if header[0] != VERSION {
        return Err(SealError::Unknown);
    }
    header[2..2 + KEY_ID_BYTES]
        .try_into()
        .map_err(|_| SealError::Unknown)
}

fn bind(header: &[u8], aad: &[u8]) -> Vec<u8> {
    [header, aad].concat()
}

/// Seals a long payload that arrives in pieces.
pub struct StreamSealer {
    chunks: Chunks,
    pending: Vec<u8>,
    /// Until it has been written.
    header: Option<[u8; HEADER_BYTES]>,
}

impl StreamSealer {
    /// Takes the next piece, and gives the sealed bytes that are ready to be written.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut sealed = self.take_header();
        self.pending.extend_from_slice(piece);
        // The last chunk is never empty unless it is the only one, so a full
        // chunk waits until a byte follows it.
        let mut n_sealed = 0;
        while CHUNK_BYTES < self.pending.len() - n_sealed {
            let chunk = &self.pending[n_sealed..n_sealed + CHUNK_BYTES];
            sealed.extend_from_slice(&self.chunks.seal(chunk, IsLast::No));
            n_sealed += CHUNK_BYTES;
        }
        self.pending.drain(..n_sealed);
        sealed
    }

    /// The sealed bytes that end the payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut sealed = self.take_header();
        sealed.extend_from_slice(&self.chunks.seal(&self.pending, IsLast::Yes));
        sealed
    }

    fn take_header(&mut self) -> Vec<u8> {
        self.header.take().map(Vec::from).unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
enum IsLast {
    No = 0,
    Yes = 1,
}

/// The chunks of one object in their order: the nonce is index and last flag,
/// under a key that is derived for this object alone.
struct Chunks {
    cipher: Aes256Gcm,
    bound: Vec<u8>,
    next_index: u64,
}

impl Chunks {
    fn new(data_key: &DataKey, header: &[u8], aad: &[u8]) -> Self {
        let bound = bind(header, aad);
        let object_key = data_key.derive(&[b"btrust object key 1", bound.as_slice()].concat());
        Self {
            cipher: Aes256Gcm::new(object_key.expose().into()),
            bound,
            next_index: 0,
        }
    }

    fn next_nonce(&mut self, is_last: IsLast) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&self.next_index.to_be_bytes());
        nonce[NONCE_BYTES - 1] = is_last as u8;
        self.next_index += 1;
        nonce
    }

    fn seal(&mut self, chunk: &[u8], is_last: IsLast) -> Vec<u8> {
        let nonce = self.next_nonce(is_last);
        self.cipher
            .encrypt(
                Nonce::from_slice(&nonce),
                Payload {
                    msg: chunk,
                    aad: &self.bound,
                },
            )
            .expect("a chunk is far below the cipher's limit")
    }

    fn open(&mut self, sealed: &[u8], is_last: IsLast) -> Result<Vec<u8>, SealError> {
        let nonce = self.next_nonce(is_last);
        self.cipher
            .decrypt(
                Nonce::from_slice(&nonce),
                Payload {
                    msg: sealed,
                    aad: &self.bound,
                },
            )
            .map_err(|_| SealError::Tampered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(DataKey::from_bytes([7; 32]), *b"key-0001")
    }

    fn seal_stream(aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut stream = sealer().seal_stream(aad);
        let mut sealed = Vec::new();
        for piece in plain.chunks(10_007) {
            sealed.extend(stream.push(piece));
        }
        sealed.extend(stream.finish());
        sealed
    }

    #[test]
    fn a_payload_opens_to_itself_and_never_seals_twice_alike() {
        let sealed = sealer().seal(b"here", b"payload");
        assert_eq!(sealed.len(), "payload".len() + OVERHEAD_BYTES);
        assert_eq!(sealer().open(b"here", &sealed).unwrap(), b"payload");
        assert_eq!(key_id(&sealed).unwrap(), *b"key-0001");
        assert_ne!(sealed, sealer().seal(b"here", b"payload"));
    }

    #[test]
    fn a_payload_opens_nowhere_else_and_with_no_other_key() {
        let sealed = sealer().seal(b"here", b"payload");
        assert_eq!(sealer().open(b"there", &sealed), Err(SealError::Tampered));
        let other = Sealer::new(DataKey::from_bytes([7; 32]), *b"key-0002");
        assert_eq!(other.open(b"here", &sealed), Err(SealError::OtherKey));
        let impostor = Sealer::new(DataKey::from_bytes([8; 32]), *b"key-0001");
        assert_eq!(impostor.open(b"here", &sealed), Err(SealError::Tampered));
    }

    #[test]
    fn no_bit_of_a_payload_can_be_flipped_and_no_byte_cut() {
        let sealed = sealer().seal(b"here", b"payload");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer().open(b"here", &changed).is_err(), "byte {at}");
            assert!(
                sealer().open(b"here", &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn parts_of_associated_data_do_not_run_into_each_other() {
        assert_ne!(aad(&["ab", "c"]), aad(&["a", "bc"]));
        assert_ne!(aad(&["a"]), aad(&["a", ""]));
    }

    #[test]
    fn an_object_of_any_length_opens_to_itself() {
        for n_bytes in [
            0,
            1,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3 * CHUNK_BYTES + 5,
        ] {
            let plain: Vec<u8> = (0..=250).cycle().take(n_bytes).collect();
            let sealed = seal_stream(b"obj", &plain);
            assert_eq!(
                sealer().open_stream(b"obj", &sealed).unwrap(),
                plain,
                "{n_bytes}"
            );
        }
    }

    /// The header and the sealed chunks of an object of three and a half chunks.
    fn chunked(aad: &[u8], fill: u8) -> (Vec<u8>, Vec<Vec<u8>>) {
        let sealed = seal_stream(aad, &vec![fill; 3 * CHUNK_BYTES + CHUNK_BYTES / 2]);
        let (header, rest) = sealed.split_at(HEADER_BYTES);
        (
            header.to_vec(),
            rest.chunks(SEALED_CHUNK_BYTES)
                .map(<[u8]>::to_vec)
                .collect(),
        )
    }

    #[track_caller]
    fn check_refused(header: &[u8], chunks: &[Vec<u8>]) {
        let sealed = [header, &chunks.concat()].concat();
        assert_eq!(
            sealer().open_stream(b"obj", &sealed),
            Err(SealError::Tampered)
        );
    }

    #[test]
    fn chunks_cannot_be_dropped_reordered_repeated_or_cut() {
        let (header, chunks) = chunked(b"obj", 1);
        for n_kept in 0..chunks.len() {
            check_refused(&header, &chunks[..n_kept]);
        }
        check_refused(&header, &chunks[1..]);

        let mut swapped = chunks.clone();
        swapped.swap(0, 1);
        check_refused(&header, &swapped);

        let mut repeated = chunks.clone();
        repeated.insert(1, chunks[0].clone());
        check_refused(&header, &repeated);

        let mut cut = chunks.clone();
        cut[3].truncate(100);
        check_refused(&header, &cut);

        let mut longer = chunks;
        longer[3].push(0);
        check_refused(&header, &longer);
    }

    #[test]
    fn chunks_of_two_objects_cannot_be_mixed() {
        let (header, chunks) = chunked(b"obj", 1);
        let (_, others) = chunked(b"obj", 2);
        let mut mixed = chunks;
        mixed[1].clone_from(&others[1]);
        check_refused(&header, &mixed);

        let (header, chunks) = chunked(b"other", 1);
        check_refused(&header, &chunks);
    }

    #[test]
    fn a_sealed_payload_is_no_sealed_object() {
        let sealed = sealer().seal(b"obj", b"payload");
        assert_eq!(
            sealer().open_stream(b"obj", &sealed),
            Err(SealError::Unknown)
        );
        assert_eq!(format!("{:?}", sealer()), "Sealer(6b65792d30303031)");
    }
}
