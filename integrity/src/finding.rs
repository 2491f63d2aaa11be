//! What a verification has found, for people and for programs.

use serde::Serialize;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// Bytes are others than were signed for.
    Edited,
    /// A record or a checkpoint that was signed for is not there.
    Missing,
    /// Something is there that nobody has signed for at this place.
    Inserted,
    /// It is there, at another place than it was signed for.
    OutOfOrder,
    /// The end is missing, as a trusted checkpoint knows.
    Truncated,
    /// It ends with an earlier checkpoint than a trusted one.
    RolledBack,
    /// It has another past than a trusted checkpoint: the same number of records, and others.
    Forked,
    /// A signature is not over what it stands below.
    ForgedSignature,
    /// A checkpoint is signed by nobody who is trusted, or by a key that had ended.
    UnknownKey,
    /// A record or a checkpoint of another tenant or log.
    OtherLog,
}

/// The first thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub wrong: Wrong,
    /// Line of the file, from 1: the bad one, or the first of `line..=last_line`.
    pub line: u64,
    /// Where what is wrong is only known to be among several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Index of the leaf in the tenant's log, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// One sentence for people.
    pub detail: String,
}

impl Finding {
    #[must_use]
    pub fn new(wrong: Wrong, line: u64, detail: impl Into<String>) -> Self {
        Self {
            wrong,
            line,
            last_line: None,
            workflow: None,
            sequence: None,
            leaf: None,
            detail: detail.into(),
        }
    }

    /// The same about a record.
    #[must_use]
    pub fn of(self, workflow: &str, sequence: u64) -> Self {
        Self {
            workflow: Some(workflow.to_owned()),
            sequence: Some(sequence),
            ..self
        }
    }

    /// The same about a leaf.
    #[must_use]
    pub fn at_leaf(self, leaf: u64) -> Self {
        Self {
            leaf: Some(leaf),
            ..self
        }
    }

    /// The same about one of the lines up to `last_line`.
    #[must_use]
    pub fn up_to(self, last_line: u64) -> Self {
        Self {
            last_line: Some(last_line),
            ..self
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wrong = serde_json::to_value(self.wrong).unwrap_or_default();
        write!(
            f,
            "{}",
            wrong.as_str().unwrap_or_default().replace('_', " ")
        )?;
        match self.last_line {
            Some(last_line) => write!(f, ": lines {} to {last_line}", self.line)?,
            None => write!(f, ": line {}", self.line)?,
        }
        if let (Some(workflow), Some(sequence)) = (&self.workflow, self.sequence) {
            write!(f, ", workflow {workflow}, sequence {sequence}")?;
        }
        if let Some(leaf) = self.leaf {
            write!(f, ", leaf {leaf}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// How far a verified log is covered by a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Covered {
    pub tenant: String,
    pub incarnation: u64,
    /// Records that the last checkpoint covers.
    pub size: u64,
    /// Hex.
    pub root: String,
    /// Number of the last checkpoint.
    pub number: u64,
    /// When it was made, ms since the epoch.
    pub at_ms: i64,
    /// Who has signed it, as `name+hash`.
    pub key: String,
    /// Whether a trusted checkpoint says that nothing is missing up to it.
    pub is_trusted: bool,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub n_records: u64,
    pub n_workflows: u64,
    pub n_checkpoints: u64,
    /// Records that came again with the same bytes, in a raw stream.
    pub n_repeated: u64,
    /// Records behind the last checkpoint: their chains hold, and no signature covers them yet.
    pub n_uncovered: u64,
    /// Records of deleted workflows that are there as hashes only.
    pub n_withheld: u64,
    /// Each log's last checkpoint.
    pub covered: Vec<Covered>,
    /// The first thing that is wrong.
    pub finding: Option<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.finding.is_none()
    }
}
