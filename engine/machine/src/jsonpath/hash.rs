//! The digests of `States.Hash`.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The digest of `text` in hex, or `None` for an algorithm that does not exist.
///
/// MD5 and SHA-1 are part of the language; they prove nothing and are only there for compatibility.
pub(super) fn digest(algorithm: &str, text: &str) -> Option<String> {
    Some(match algorithm {
        "MD5" => {
            use md5::Digest as _;
            hex::encode(md5::Md5::digest(text))
        }
        "SHA-1" => {
            use sha1::Digest as _;
            hex::encode(sha1::Sha1::digest(text))
        }
        "SHA-256" => hex::encode(Sha256::digest(text)),
        "SHA-384" => hex::encode(Sha384::digest(text)),
        "SHA-512" => hex::encode(Sha512::digest(text)),
        _ => return None,
    })
}
