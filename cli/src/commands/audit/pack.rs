//! `btrust audit pack`: the evidence pack of a workflow.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;
use btrust_engine::sequencer::{AuditReader, SigningKeys};
use btrust_engine::store::Stores;
use btrust_engine::store::definitions::VersionKey;
use btrust_integrity::pack::{PACK_VERSION, Pack as EvidencePack, PackedDefinition, PackedRecord};
use btrust_integrity::record::Record;
use btrust_platform::clock::{Clock as _, SystemClock};
use btrust_platform::random::SystemRandom;
use btrust_schemas::audit::InclusionView;
use btrust_schemas::ids::WorkflowId;
use btrust_vision::models::Manifest;
use clap::Args;
use serde_json::json;

use crate::Folders;
use crate::output;

/// How often the records are read again because a checkpoint came in between.
const TRIES: usize = 5;

#[derive(Args)]
#[command(after_help = "\
The pack is checked by `btrust audit verify --keys KEYS FILE`, offline. Its records are proved to be in the
signed log; its definitions and settings are sealed with the key that signs checkpoints now.")]
pub struct Pack {
    /// The workflow
    #[arg(value_name = "WORKFLOW")]
    workflow: WorkflowId,
    /// Whose workflow it is
    #[arg(long, value_name = "ID")]
    tenant: String,
}

impl Pack {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.pack(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn pack(self, folders: &Folders) -> anyhow::Result<()> {
        let (stores, reader) = super::open(folders).await?;
        let views = self.views(&reader).await?;
        let keyring = super::keyring(folders)?;
        let (log, random) = (&*stores.audit_log, SystemRandom::shared());
        let signing = SigningKeys::open(log, &keyring, &random, &SystemClock)
            .await
            .context("cannot open the key that signs")?;
        let keys = reader.keys().await?;
        let checkpoint = views
            .first()
            .context("the workflow has no records")?
            .checkpoint
            .note
            .clone();
        let definitions = self.definitions(&stores, &views).await?;
        let record = |it: InclusionView| PackedRecord {
            record: it.record.unwrap_or_default(),
            leaf: it.leaf.cast_unsigned(),
            proof: it.proof,
        };
        let pack = EvidencePack {
            btrust_evidence_pack: PACK_VERSION,
            tenant: self.tenant,
            workflow: self.workflow.to_string(),
            checkpoint,
            rotations: keys.rotations,
            keys: keys.keys.into_iter().map(|it| it.key).collect(),
            records: views.into_iter().map(record).collect(),
            definitions,
            settings: json!({
                "program": env!("CARGO_PKG_VERSION"),
                "models": serde_json::to_value(Manifest::shipped())?,
            }),
            seal: String::new(),
        };
        let sealed = pack.sealed(&signing.signer, SystemClock.now_ms());
        output::bytes(sealed.as_bytes());
        Ok(())
    }

    /// Every record with its proof, all of them to one checkpoint.
    async fn views(&self, reader: &AuditReader) -> anyhow::Result<Vec<InclusionView>> {
        for _ in 0..TRIES {
            let views = reader.all_included(&self.tenant, self.workflow).await.context(
                "the tenant has no such workflow, or its latest records wait for their checkpoint, which \
                 comes within AUDIT_CHECKPOINT_SECONDS (60)",
            )?;
            let notes: BTreeSet<&str> =
                views.iter().map(|it| it.checkpoint.note.as_str()).collect();
            let logs: BTreeSet<i64> = views.iter().map(|it| it.incarnation).collect();
            anyhow::ensure!(
                logs.len() == 1,
                "the workflow has records from before and after a restore, in two logs: export both instead"
            );
            if notes.len() == 1 {
                return Ok(views);
            }
        }
        anyhow::bail!("checkpoints come faster than the records of the workflow can be read")
    }

    /// The versions that the records name.
    async fn definitions(
        &self,
        stores: &Stores,
        views: &[InclusionView],
    ) -> anyhow::Result<Vec<PackedDefinition>> {
        let named = views.iter().filter_map(|it| {
            let record = Record::parse(it.record.as_ref()?.as_bytes()).ok()?;
            let (name, version) = record.definition?;
            Some((name.into_owned(), version))
        });
        let named: BTreeSet<(String, u64)> = named.collect();
        let mut definitions = Vec::with_capacity(named.len());
        for (name, version) in named {
            let key = VersionKey {
                tenant: &self.tenant,
                name: &name,
                version: i64::try_from(version)?,
            };
            let envelope = stores.definitions.envelope(key).await?;
            let envelope =
                envelope.with_context(|| format!("there is no version {version} of {name}"))?;
            definitions.push(PackedDefinition::of(&name, version, envelope));
        }
        Ok(definitions)
    }
}
