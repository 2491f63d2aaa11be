//! What makes the audit stream tamper-evident, and how anybody checks it offline.
//!
//! Three layers. A record carries its own hash and the hash of the record before it of the same workflow
//! ([`record`], [`chain`]). The exact bytes of the records are the leaves of an RFC 9162 Merkle tree of each
//! tenant ([`tree`]). The size and root of that tree are signed ([`checkpoint`], [`note`]) with a key whose
//! successors are introduced by itself ([`keys`]). Who can edit everything but cannot sign is found by the
//! third layer; the first two say where.
//!
//! **Architecture invariant:** nothing here performs I/O, reads a clock or draws randomness.

pub mod archive;
pub mod chain;
pub mod checkpoint;
pub mod events;
pub mod finding;
mod json;
pub mod keys;
pub mod note;
pub mod pack;
pub mod record;
pub mod stream;
pub mod tree;
