//! The kinds of lines of an archive. All but records have exactly one spelling.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Origin;
use crate::tree::{Hash, Tree};

/// One line.
pub enum Line {
    /// A record, or what is left of one.
    Record,
    Checkpoint(CheckpointLine),
    Withheld(Hash),
    Start(ArchiveStart),
    /// It begins as a line of ours and is none.
    Damaged(&'static str),
}

/// A checkpoint and what it covers.
pub struct CheckpointLine {
    pub note: String,
    /// The leaves since the checkpoint before.
    pub leaves: Option<Vec<Hash>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointJson {
    checkpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaves: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithheldJson {
    withheld: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartJson {
    archive: ArchiveStart,
}

/// What an archive that is a part of a log goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveStart {
    pub origin: String,
    /// Leaves before it.
    pub size: u64,
    /// Base64 of the peaks of the tree of these leaves, the largest first.
    pub peaks: String,
    /// Number of the checkpoint before it.
    pub number: u64,
}

impl ArchiveStart {
    #[must_use]
    pub fn of(origin: &Origin, tree: &Tree, number: u64) -> Self {
        Self {
            origin: origin.to_string(),
            size: tree.size(),
            peaks: BASE64_STANDARD.encode(Hash::joined(tree.peaks())),
            number,
        }
    }

    /// The line of an archive.
    #[must_use]
    pub fn line(&self) -> String {
        text(&StartJson {
            archive: self.clone(),
        })
    }

    pub(super) fn open(&self) -> Option<(Origin, Tree)> {
        let peaks = Hash::many(&BASE64_STANDARD.decode(&self.peaks).ok()?)?;
        Some((
            Origin::parse(&self.origin)?,
            Tree::from_peaks(self.size, peaks)?,
        ))
    }
}

/// The line of a checkpoint with the leaves since the one before.
#[must_use]
pub fn checkpoint_line(note: &str, leaves: Option<&[Hash]>) -> String {
    text(&CheckpointJson {
        checkpoint: note.to_owned(),
        leaves: leaves.map(|it| BASE64_STANDARD.encode(Hash::joined(it))),
    })
}

/// The line of a record of which only the hash is left.
#[must_use]
pub fn withheld_line(leaf: &Hash) -> String {
    text(&WithheldJson {
        withheld: leaf.base64(),
    })
}

fn text(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line is plain JSON")
}

/// Says what a line is. Of ours only the one spelling is taken, so that nobody can hide anything in another.
pub fn parse(line: &[u8]) -> Line {
    if line.starts_with(b"{\"checkpoint\"") {
        return match exactly::<CheckpointJson>(line) {
            Some(it) => checkpoint(it),
            None => Line::Damaged("it is no checkpoint line as they are written"),
        };
    }
    if line.starts_with(b"{\"withheld\"") {
        let leaf = exactly::<WithheldJson>(line).and_then(|it| Hash::from_base64(&it.withheld));
        return leaf.map_or(
            Line::Damaged("it is no hash of a withheld record"),
            Line::Withheld,
        );
    }
    if line.starts_with(b"{\"archive\"") {
        return match exactly::<StartJson>(line) {
            Some(it) => Line::Start(it.archive),
            None => Line::Damaged("it does not say what the archive goes on from"),
        };
    }
    Line::Record
}

fn checkpoint(line: CheckpointJson) -> Line {
    let note = line.checkpoint;
    let Some(leaves) = line.leaves else {
        return Line::Checkpoint(CheckpointLine { note, leaves: None });
    };
    let bytes = BASE64_STANDARD.decode(leaves);
    match bytes.ok().and_then(|it| Hash::many(&it)) {
        Some(leaves) => Line::Checkpoint(CheckpointLine {
            note,
            leaves: Some(leaves),
        }),
        None => Line::Damaged("its list of leaves is damaged"),
    }
}

fn exactly<'l, T: Deserialize<'l> + Serialize>(line: &'l [u8]) -> Option<T> {
    let value: T = serde_json::from_slice(line).ok()?;
    (text(&value).as_bytes() == line).then_some(value)
}

/// Workflow and sequence as a line that is no good record says.
pub fn glimpse(line: &[u8]) -> Option<(Box<str>, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let member = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let (subject, sequence) = (member("\"subject\":\"")?, member("\"sequence\":\"")?);
    Some((subject.into(), sequence.parse().ok()?))
}
