//! The archiver: the audit stream as sealed segments in the object store.
//!
//! A segment is JSON Lines: records of one tenant's log, byte for byte and in the order of its leaves, and
//! the checkpoints that cover them; it ends with one. Records come in any order of workflows and
//! partitions, so they wait in the database until a checkpoint names them ([`Archiver`]); the segment is
//! stored before they are forgotten ([`Sealer`]), and the same segment is stored under the same name after
//! a crash in between. The segments of a log, one after the other, are its archive.

mod archiver;
mod sealer;

pub use archiver::Archiver;
pub use sealer::{ArchiveError, SEGMENT_EVERY_MS, Sealer, Segment};
