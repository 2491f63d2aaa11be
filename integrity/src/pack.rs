//! The evidence pack of a workflow: its records with the proof that each is in the signed log.
//!
//! One JSON file that is checked offline, without the rest of the log and without anybody else's records.
//!
//! Its records are vouched for by the log. What is not in the log (the definitions, model hashes, thresholds)
//! is vouched for by the seal: a note over every byte before it, signed when the pack was made.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::archive::{Options, wrong_of};
use crate::chain::{Beginning, ChainError, Chains};
use crate::checkpoint::Checkpoint;
use crate::finding::{Covered, Finding, Report, Wrong};
use crate::json;
use crate::keys::KeyRing;
use crate::note::{self, Note, NoteSigner};
use crate::record::Record;
use crate::tree::{self, Hash};

/// The form of packs.
pub const PACK_VERSION: u32 = 1;
/// The first line of a seal; no checkpoint and no statement begins so.
const SEAL: &str = "btrust.evidence-pack/1";
/// What stands between the sealed bytes and the seal.
const SEAL_BEGIN: &str = ",\n  \"seal\": ";
/// The end of a pack.
const END: &str = "\n}";

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
    /// Model hashes, thresholds and what else the platform knew of how it decides.
    pub settings: Value,
    /// The note over everything before it; comes last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seal: String,
}

impl Pack {
    /// The file, sealed.
    ///
    /// # Panics
    ///
    /// Never: a pack is plain JSON, and an object with members ends so.
    #[must_use]
    pub fn sealed(mut self, signer: &NoteSigner, at_ms: i64) -> String {
        self.seal.clear();
        let text = serde_json::to_string_pretty(&self).expect("a pack is plain JSON");
        let sealed = text.strip_suffix(END).expect("a pack is an object");
        let seal = note::sign(&seal_text(sealed, at_ms), &[signer]);
        let seal = serde_json::to_string(&seal).expect("a text is JSON");
        format!("{sealed}{SEAL_BEGIN}{seal}{END}\n")
    }
}

fn seal_text(sealed: &str, at_ms: i64) -> String {
    let digest = hex::encode(Sha256::digest(sealed));
    format!("{SEAL}\nsha256 {digest}\ntime {at_ms}\n")
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
    check_seal(text, &options.ring).map_err(|(wrong, detail)| file(wrong, detail))?;
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
        let of =
            |wrong, detail: String, sequence| found(wrong, detail).of(&record.subject, sequence);
        let found = |wrong, detail: String| of(wrong, detail, record.sequence);
        if record.subject != pack.workflow || record.tenant != pack.tenant {
            let detail = format!("it belongs to {} of {}", record.subject, record.tenant);
            return Err(found(Wrong::OtherLog, detail));
        }
        chains.take(&record).map_err(|error| match error {
            ChainError::Gap { expected } => of(Wrong::Missing, error.to_string(), expected),
            ChainError::Repeated | ChainError::Replaced { .. } => {
                found(Wrong::Inserted, error.to_string())
            }
            _ => found(Wrong::Edited, error.to_string()),
        })?;
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

/// Whether every byte before the seal is as it was when the pack was made.
fn check_seal(text: &str, ring: &KeyRing) -> Result<(), (Wrong, String)> {
    let edited = |detail: &str| (Wrong::Edited, detail.to_owned());
    let cut = || {
        let (sealed, seal) = text.trim_end().rsplit_once(SEAL_BEGIN)?;
        let seal: String = serde_json::from_str(seal.strip_suffix(END)?).ok()?;
        Some((sealed, Note::parse(&seal).ok()?))
    };
    let (sealed, note) = cut().ok_or_else(|| edited("the pack does not end with its seal"))?;
    let signer = note.signer(ring.keys()).map_err(|error| {
        (
            wrong_of(&error.clone().into()),
            format!("its seal: {error}"),
        )
    })?;
    let mut lines = note.unverified_text().lines().skip(2);
    let time = lines.next().and_then(|it| it.strip_prefix("time "));
    let at_ms = time.and_then(|it| it.parse().ok());
    let at_ms = at_ms.ok_or_else(|| edited("its seal is none of a pack"))?;
    if note.unverified_text() != seal_text(sealed, at_ms) {
        return Err(edited("something in it is other than what was sealed"));
    }
    if ring.had_ended(signer, at_ms) {
        let detail = format!(
            "the key {} had ended when it sealed the pack",
            signer.short()
        );
        return Err((Wrong::UnknownKey, detail));
    }
    Ok(())
}

/// Definitions are not in the log; beside the seal, what ties them to it is that the records name them.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Origin;
    use crate::keys::{KEY_NAME, Rotation};
    use crate::record::CHAIN_START;
    use crate::record::tests::line;
    use crate::tree::{Tree, prove_inclusion};

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::from_seed(KEY_NAME, &[seed; 32])
    }

    /// Two records of a workflow in a log with another one's between them.
    fn pack() -> Pack {
        let first = line("acme", "wf_1", (1, 1), CHAIN_START, "a");
        let hash = Record::parse(first.as_bytes()).unwrap().hash;
        let second = line("acme", "wf_1", (1, 2), hash, "b");
        let other = line("acme", "wf_2", (1, 1), CHAIN_START, "c");
        let leaves = [&first, &other, &second].map(|it| Hash::of_leaf(it.as_bytes()));
        let mut tree = Tree::default();
        for leaf in &leaves {
            tree.push(*leaf);
        }
        // Of three leaves, the first two have a node of their own.
        let node_of = |node: tree::Node| match node.level {
            0 => leaves.get(usize::try_from(node.index).unwrap()).copied(),
            _ => Some(Hash::of_children(&leaves[0], &leaves[1])),
        };
        let packed = |record: &String, leaf| {
            let proof = prove_inclusion(leaf, 3, node_of).unwrap();
            let proof = proof.iter().map(Hash::base64).collect();
            let record = record.clone();
            PackedRecord {
                record,
                leaf,
                proof,
            }
        };
        let checkpoint = Checkpoint {
            origin: Origin {
                tenant: "acme".to_owned(),
                incarnation: 1,
            },
            size: 3,
            root: tree.root(),
            number: 1,
            at_ms: 1_000,
            cursors: "c".repeat(64),
            rotations: Vec::new(),
        };
        Pack {
            btrust_evidence_pack: PACK_VERSION,
            tenant: "acme".to_owned(),
            workflow: "wf_1".to_owned(),
            checkpoint: checkpoint.sign(&signer(1)),
            keys: vec![signer(1).verifier().to_string()],
            records: vec![packed(&first, 0), packed(&second, 2)],
            definitions: vec![PackedDefinition::of(
                "kyc",
                3,
                "{\"threshold\": 0.85}".to_owned(),
            )],
            settings: serde_json::json!({"models": {"face": "00"}, "note": ",\n  \"seal\": \"x\"\n}"}),
            ..Pack::default()
        }
    }

    fn found(text: &str) -> Option<Finding> {
        verify(text, Options::of(KeyRing::of(signer(1).verifier().clone()))).finding
    }

    #[test]
    fn a_pack_verifies_with_the_public_key_alone_and_altered_it_does_not() {
        let good = pack().sealed(&signer(1), 2_000);
        assert!(is_pack(&good));
        assert_eq!(found(&good), None);
        let mut n_altered = 0;
        let bytes = good
            .bytes()
            .enumerate()
            .filter(|it| it.1.is_ascii_alphanumeric());
        for (at, byte) in bytes.step_by(7) {
            let mut altered = good.clone().into_bytes();
            altered[at] = if byte == b'7' { b'8' } else { b'7' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(found(&altered).is_some(), "{at}: {altered}");
            n_altered += 1;
        }
        assert!(200 < n_altered, "{n_altered}");
        // Who knows how digests are made, and has no key.
        let mut forged = pack();
        let document = "{\"threshold\": 0.15}".to_owned();
        forged.definitions = vec![PackedDefinition::of("kyc", 3, document)];
        let text = forged.clone().sealed(&signer(2), 2_000);
        assert_eq!(found(&text).unwrap().wrong, Wrong::UnknownKey);
        let (_, seal) = good.rsplit_once(SEAL_BEGIN).unwrap();
        let (sealed, _) = text.rsplit_once(SEAL_BEGIN).unwrap();
        let finding = found(&format!("{sealed}{SEAL_BEGIN}{seal}")).unwrap();
        assert_eq!(
            finding.detail,
            "something in it is other than what was sealed"
        );
        let unsealed = serde_json::to_string_pretty(&pack()).unwrap();
        assert_eq!(
            found(&unsealed).unwrap().detail,
            "the pack does not end with its seal"
        );
    }

    #[test]
    fn a_pack_that_an_ended_key_has_sealed_is_refused() {
        let mut later = pack();
        later.rotations = vec![Rotation::sign(&signer(1), &signer(2), 1_500)];
        assert_eq!(found(&later.clone().sealed(&signer(2), 2_000)), None);
        let ended = found(&later.clone().sealed(&signer(1), 2_000)).unwrap();
        assert_eq!(ended.wrong, Wrong::UnknownKey);
        assert_eq!(found(&later.sealed(&signer(1), 1_500)), None);
    }

    #[test]
    fn a_record_that_is_missing_or_altered_is_named() {
        let mut missing = pack();
        missing.records.remove(0);
        let finding = found(&missing.sealed(&signer(1), 2_000)).unwrap();
        assert_eq!(
            (finding.wrong, finding.line, finding.sequence),
            (Wrong::Missing, 1, Some(1))
        );
        let mut moved = pack();
        moved.records[1].leaf = 1;
        let finding = found(&moved.sealed(&signer(1), 2_000)).unwrap();
        assert_eq!(
            (finding.wrong, finding.line, finding.sequence),
            (Wrong::Edited, 2, Some(2))
        );
    }
}
