//! What people do to a version: store it as a draft, publish it, make it live, retire it.
//!
//! Every act is idempotent: done again, it changes nothing and answers what it answered. The store
//! changes a row only if it still is as the act needs it; where it is not, the act looks again.

use btrust_machine::Definition;
use btrust_schemas::definition::{
    DefinitionView, DraftRequest, DraftResponse, LiveRequest, LiveView, PublicationRequest,
    Publish, RetirementRequest, VersionStatus,
};

use super::views::{live_view, view};
use super::{Definitions, number};
use crate::error::{EngineError, VersionRefusal};
use crate::store::definitions::{Act, NewVersion, VersionKey, VersionRecord};

/// How often an act looks again when others have changed the version meanwhile.
///
/// Source: a version changes its status at most twice, and nobody moves an alias many times a second.
const TRIES_MAX: usize = 5;

impl Definitions {
    /// Stores the next version of a definition, or finds the version with the same digest; and
    /// publishes it where the request asks for that and the tenant leaves it to one person.
    ///
    /// # Errors
    ///
    /// `definition_refused` for an envelope that does not parse: the gateway checks before it asks.
    /// `retention_unknown` for a policy that the operator does not know.
    /// [`VersionRefusal::SecondPerson`] and [`VersionRefusal::Retired`] where it is to be published.
    pub async fn draft(&self, request: DraftRequest) -> Result<DraftResponse, EngineError> {
        let _acting = self.acting();
        let compiled = Definition::parse(&request.envelope)
            .map_err(|findings| refused(format!("the envelope has {} faults", findings.len())))?;
        if compiled.name() != request.name {
            return Err(refused("the envelope names another definition".to_owned()));
        }
        self.retention.check(compiled.retention())?;
        let publishes = match request.publish {
            Publish::No => false,
            Publish::IfAllowed => !self.second_person.is_asked_by(&request.tenant),
            Publish::Yes if self.second_person.is_asked_by(&request.tenant) => {
                return Err(VersionRefusal::SecondPerson.into());
            }
            Publish::Yes => true,
        };
        let act = self.act(&request.actor);
        let new = NewVersion {
            title: compiled.title().to_owned(),
            tenant: request.tenant,
            name: request.name,
            digest: request.digest,
            envelope: request.envelope.to_string(),
            act: act.clone(),
        };
        let (mut record, created) = self.store.draft(&new).await?;
        if created {
            log(&record, &act, "stored a draft of a definition");
        }
        if publishes && record.status == VersionStatus::Draft {
            let key = key(&new.tenant, &new.name, number(&record));
            if self.store.publish(key, &act, true).await? {
                log(&record, &act, "published a version and made it live");
            }
            let version = Some(number(&record));
            record = self.record(&new.tenant, &new.name, version).await?;
        }
        if request.publish == Publish::Yes && record.status == VersionStatus::Retired {
            let version = number(&record);
            return Err(VersionRefusal::Retired { version }.into());
        }
        Ok(DraftResponse {
            created,
            definition: view(&record),
        })
    }

    /// Publishes a draft. A version that is published already is answered as it is.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`]; [`VersionRefusal::SecondPerson`] for the author, where the
    /// tenant asks for somebody else; [`VersionRefusal::Retired`].
    pub async fn publish(
        &self,
        name: &str,
        version: u32,
        request: &PublicationRequest,
    ) -> Result<DefinitionView, EngineError> {
        let _acting = self.acting();
        let tenant = request.tenant.as_str();
        for _ in 0..TRIES_MAX {
            let record = self.record(tenant, name, Some(version)).await?;
            match record.status {
                VersionStatus::Published => return Ok(view(&record)),
                VersionStatus::Retired => return Err(VersionRefusal::Retired { version }.into()),
                VersionStatus::Draft => {}
            }
            let is_author = record
                .created_by
                .as_ref()
                .is_none_or(|it| *it == request.actor);
            if is_author && self.second_person.is_asked_by(tenant) {
                return Err(VersionRefusal::SecondPerson.into());
            }
            // The operator may have taken the policy away since the draft was stored.
            let compiled = self.compiled(tenant, name, version).await?;
            self.retention.check(compiled.retention())?;
            let act = self.act(&request.actor);
            let key = key(tenant, name, version);
            if self.store.publish(key, &act, request.live).await? {
                log(&record, &act, "published a version of a definition");
            }
        }
        Err(EngineError::Unavailable)
    }

    /// Lets nothing start on a version any more. What is retired already is answered as it is.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`]; [`VersionRefusal::Live`]; [`VersionRefusal::NotPublished`].
    pub async fn retire(
        &self,
        name: &str,
        version: u32,
        request: &RetirementRequest,
    ) -> Result<DefinitionView, EngineError> {
        let _acting = self.acting();
        let tenant = request.tenant.as_str();
        for _ in 0..TRIES_MAX {
            let record = self.record(tenant, name, Some(version)).await?;
            match record.status {
                VersionStatus::Retired => return Ok(view(&record)),
                VersionStatus::Draft => return Err(VersionRefusal::NotPublished { version }.into()),
                VersionStatus::Published if record.is_live => {
                    return Err(VersionRefusal::Live { version }.into());
                }
                VersionStatus::Published => {}
            }
            let act = self.act(&request.actor);
            if self.store.retire(key(tenant, name, version), &act).await? {
                log(&record, &act, "retired a version of a definition");
            }
        }
        Err(EngineError::Unavailable)
    }

    /// Makes a published version the one that new workflows get. Where it is that already, nothing moves.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`]; [`VersionRefusal::LiveMoved`] when the caller has seen another
    /// revision; [`VersionRefusal::NotPublished`]; [`VersionRefusal::Retired`].
    pub async fn move_live(
        &self,
        name: &str,
        request: &LiveRequest,
    ) -> Result<LiveView, EngineError> {
        let _acting = self.acting();
        let (tenant, version) = (request.tenant.as_str(), request.version);
        for _ in 0..TRIES_MAX {
            let record = self.record(tenant, name, Some(version)).await?;
            let live = self.live_now(tenant, name).await?;
            if let Some(live) = live.as_ref().filter(|it| it.version == record.version) {
                return Ok(live_view(live));
            }
            match record.status {
                VersionStatus::Draft => return Err(VersionRefusal::NotPublished { version }.into()),
                VersionStatus::Retired => return Err(VersionRefusal::Retired { version }.into()),
                VersionStatus::Published => {}
            }
            let revision = live.map_or(0, |it| it.revision);
            let is_seen = |seen: u64| i64::try_from(seen).is_ok_and(|it| it == revision);
            if request.revision.is_some_and(|it| !is_seen(it)) {
                return Err(VersionRefusal::LiveMoved.into());
            }
            let act = self.act(&request.actor);
            let key = key(tenant, name, version);
            if self.store.move_live(key, revision, &act).await? {
                log(&record, &act, "made a version of a definition live");
            }
        }
        Err(EngineError::Unavailable)
    }

    fn act(&self, by: &str) -> Act {
        Act {
            by: by.to_owned(),
            at_ms: self.clock.now_ms(),
        }
    }
}

fn key<'k>(tenant: &'k str, name: &'k str, version: u32) -> VersionKey<'k> {
    VersionKey {
        tenant,
        name,
        version: i64::from(version),
    }
}

fn refused(detail: String) -> EngineError {
    EngineError::Invalid {
        code: "definition_refused",
        detail,
    }
}

fn log(record: &VersionRecord, act: &Act, what: &'static str) {
    tracing::info!(
        definition.name = record.name,
        definition.version = record.version,
        actor = act.by,
        "{what}"
    );
}
