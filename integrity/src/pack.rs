//! The evidence pack of a workflow: its records with the proof that each is in the signed log.
//!
//! One JSON file that is checked offline, without the rest of the log and without anybody else's records.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::archive::{Options, wrong_of};
use crate::chain::{Beginning, Chains};
use crate::checkpoint::Checkpoint;
use crate::finding::{Covered, Finding, Report, Wrong};
use crate::json;
use crate::record::Record;
use crate::tree::{self, Hash};

/// The form of packs.
pub const PACK_VERSION: u32 = 1;

/// Everything about one workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pack {
    /// [`PACK_VERSION`].
    pub btrust_evidence_pack: u32,
    pub tenant: String,
    pub workflow: String,
    /// The note to whose tree the proofs lead.
    pub checkpoint: String,
    /// Statements of keys that have ended.
    pub rotations: Vec<String>,
    /// The keys that the platform says are its own; a reader trusts keys that came another way.
    pub keys: Vec<String>,
    /// In the order of their sequence.
    pub records: Vec<PackedRecord>,
    /// The versions of the definition that the workflow ran on.
    pub definitions: Vec<PackedDefinition>,
    /// Model hashes, thresholds and what else the platform knew of how it decided; signed by nobody.
    pub settings: Value,
}

/// A record and its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedRecord {
    /// The exact bytes.
    pub record: String,
    /// Index of the leaf.
    pub leaf: u64,
    /// The inclusion proof, base64.
    pub proof: Vec<String>,
}

/// A version of a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedDefinition {
    pub name: String,
    pub version: u64,
    /// SHA-256 of the document as it is spelt here, hex.
    pub sha256: String,
    /// The document, as JSON in a text, so that its bytes are kept.
    pub document: String,
}

impl PackedDefinition {
    #[must_use]
    pub fn of(name: &str, version: u64, document: String) -> Self {
        Self {
            name: name.to_owned(),
            version,
            sha256: hex::encode(Sha256::digest(&document)),
            document,
        }
    }
}

/// Whether a file is a pack, and not lines of records.
#[must_use]
pub fn is_pack(text: &str) -> bool {
    let begin = text.trim_start().strip_prefix('{').unwrap_or_default();
    begin.trim_start().starts_with("\"btrustEvidencePack\"")
}

/// Checks a pack. Lines of findings count its records from 1.
#[must_use]
pub fn verify(text: &str, options: Options) -> Report {
    let mut report = Report::default();
    report.finding = check(text, options, &mut report).err();
    report
}

fn check(text: &str, mut options: Options, report: &mut Report) -> Result<(), Finding> {
    let file = |wrong, detail: String| Finding::new(wrong, 0, detail);
    // A name that comes twice would let two readers see two packs.
    json::check_distinct(text).map_err(|it| file(Wrong::Edited, it.to_string()))?;
    let pack: Pack =
        serde_json::from_str(text).map_err(|it| file(Wrong::Edited, it.to_string()))?;
    if pack.btrust_evidence_pack != PACK_VERSION {
        let detail = format!("this reads packs of version {PACK_VERSION}");
        return Err(file(Wrong::Edited, detail));
    }
    if options.tenant.as_ref().is_some_and(|it| *it != pack.tenant) {
        return Err(file(
            Wrong::OtherLog,
            format!("the pack is of the tenant {}", pack.tenant),
        ));
    }
    for _ in &pack.rotations {
        for statement in &pack.rotations {
            let learnt = options.ring.learn(statement);
            learnt.map_err(|it| file(Wrong::ForgedSignature, it.to_string()))?;
        }
    }
    let signed = Checkpoint::open(&pack.checkpoint, &mut options.ring)
        .map_err(|error| file(wrong_of(&error), error.to_string()))?;
    let checkpoint = signed.checkpoint;
    if checkpoint.origin.tenant != pack.tenant {
        let detail = format!("the checkpoint is of {}", checkpoint.origin);
        return Err(file(Wrong::OtherLog, detail));
    }
    check_records(&pack, &checkpoint, report)?;
    check_definitions(&pack)?;
    for trusted in options
        .trusted
        .iter()
        .filter(|it| it.origin == checkpoint.origin)
    {
        if trusted.size == checkpoint.size && trusted.root != checkpoint.root {
            let detail = "the trusted checkpoint of this size has another root".to_owned();
            return Err(file(Wrong::Forked, detail));
        }
    }
    report.n_checkpoints = 1;
    report.n_workflows = 1;
    report.covered.push(Covered {
        tenant: pack.tenant,
        incarnation: checkpoint.origin.incarnation,
        size: checkpoint.size,
        root: hex::encode(checkpoint.root.0),
        number: checkpoint.number,
        at_ms: checkpoint.at_ms,
        key: signed.key,
        // It shows that its records are in the log, and not that there are no later ones.
        is_trusted: false,
    });
    Ok(())
}

fn check_records(pack: &Pack, checkpoint: &Checkpoint, report: &mut Report) -> Result<(), Finding> {
    let mut chains = Chains::new(Beginning::Complete);
    if pack.records.is_empty() {
        return Err(Finding::new(Wrong::Missing, 0, "the pack has no records"));
    }
    for (line, packed) in (1..).zip(&pack.records) {
        let found = |wrong, detail: String| Finding::new(wrong, line, detail).at_leaf(packed.leaf);
        let record = Record::parse(packed.record.as_bytes())
            .map_err(|error| found(Wrong::Edited, error.to_string()))?;
        let found =
            |wrong, detail: String| found(wrong, detail).of(&record.subject, record.sequence);
        if record.subject != pack.workflow || record.tenant != pack.tenant {
            let detail = format!("it belongs to {} of {}", record.subject, record.tenant);
            return Err(found(Wrong::OtherLog, detail));
        }
        chains
            .take(&record)
            .map_err(|error| found(Wrong::Missing, error.to_string()))?;
        let proof: Option<Vec<Hash>> = packed
            .proof
            .iter()
            .map(|it| Hash::from_base64(it))
            .collect();
        let proof = proof.ok_or_else(|| found(Wrong::Edited, "its proof is damaged".to_owned()))?;
        let leaf = Hash::of_leaf(packed.record.as_bytes());
        tree::verify_inclusion(
            &leaf,
            packed.leaf,
            checkpoint.size,
            &proof,
            &checkpoint.root,
        )
        .map_err(|error| found(Wrong::Edited, error.to_string()))?;
        report.n_records += 1;
    }
    Ok(())
}

/// Definitions are not in the log; what ties them to it is that the records name them.
fn check_definitions(pack: &Pack) -> Result<(), Finding> {
    for it in &pack.definitions {
        let found = |detail: &str| {
            let detail = format!("definition {} version {}: {detail}", it.name, it.version);
            Finding::new(Wrong::Edited, 0, detail)
        };
        if hex::encode(Sha256::digest(&it.document)) != it.sha256 {
            return Err(found("its document does not have its digest"));
        }
        let names = |packed: &PackedRecord| {
            let record = Record::parse(packed.record.as_bytes()).ok();
            let definition = record.and_then(|it| it.definition);
            definition.is_some_and(|(name, version)| name == it.name && version == it.version)
        };
        if !pack.records.iter().any(names) {
            return Err(found("no record names it"));
        }
    }
    Ok(())
}
