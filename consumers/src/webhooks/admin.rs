//! What owners do with their endpoints and deliveries.

use btrust_platform::clock::{parse_rfc3339, rfc3339};
use btrust_platform::random;
use btrust_schemas::webhooks::{
    AttemptView, DeliveryDetailView, DeliveryPage, DeliveryQuery, DeliveryView, EndpointRequest,
    EndpointSpec, EndpointView, EndpointsView, NewEndpointView, NewSecretView, ReplayRequest,
    ReplayView, RotationRequest,
};

use super::delivery::DUE;
use super::event::{Happening, Topic};
use super::secrets::SecretError;
use super::signature::SigningSecret;
use super::store::{
    AttemptRecord, DeliveryRecord, ENDPOINTS_MAX, EndpointRecord, Replay, SECRETS_MAX, Status,
    StoreError,
};
use super::target::{Target, TargetError};
use super::{Webhooks, ids};

/// Longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 200;
/// Longest time that an old secret signs beside a new one, s.
///
/// Source: a week is longer than any release of a receiver takes.
pub const OVERLAP_SECONDS_MAX: u32 = 7 * 24 * 3_600;
/// Deliveries of one page, unless it is said, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

/// Why something was not done, as its caller hears it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the tenant has no endpoint `{0}`")]
    Unknown(String),
    #[error("the endpoint has no delivery `{0}`")]
    DeliveryUnknown(String),
    #[error("the endpoint was changed by somebody else: read it again")]
    Changed,
    #[error("a tenant has at most {ENDPOINTS_MAX} endpoints: delete one first")]
    TooMany,
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The host has no address, or one that is not called; which of them is not told.
    #[error(
        "the host of `url` is not found, or not all of its addresses are on the public internet: \
         correct it, or try again when its name is served"
    )]
    Host,
    #[error(
        "`topics` names one or more of `workflow.closed`, `workflow.waiting`, `workflow.failed`"
    )]
    Topics,
    #[error("`description` has at most {DESCRIPTION_CHARS_MAX} characters")]
    Description,
    #[error("`overlapSeconds` is at most {OVERLAP_SECONDS_MAX}")]
    Overlap,
    #[error(
        "{SECRETS_MAX} secrets sign already: wait until one has ended, or say `overlapSeconds` 0"
    )]
    TooManySecrets,
    #[error("the endpoint is not enabled: enable it first")]
    NotEnabled,
    #[error("`since` is a time as RFC 3339 has it")]
    Since,
    #[error("`state` is `due`, `delivered` or `failed`")]
    State,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Webhooks {
    /// Adds an endpoint; its secret is shown here and nowhere else.
    pub async fn create(
        &self,
        tenant: &str,
        request: EndpointRequest,
    ) -> Result<NewEndpointView, AdminError> {
        let now_ms = self.clock.now_ms();
        let id = ids::endpoint(&*self.random);
        let endpoint = EndpointRecord {
            id: id.clone(),
            tenant: tenant.to_owned(),
            url: String::new(),
            topics: Vec::new(),
            description: String::new(),
            status: Status::Disabled,
            revision: 1,
            sequence: 0,
            failing_since_ms: None,
            created_by: request.actor.clone(),
            created_ms: now_ms,
            changed_by: request.actor,
            changed_ms: now_ms,
        };
        let endpoint = self.with(endpoint, request.spec).await?;
        let (secret, record) = self.secrets.make(tenant, &id, 1, now_ms).await?;
        if !self.store.insert_endpoint(&endpoint, &record).await? {
            return Err(AdminError::TooMany);
        }
        tracing::info!(
            endpoint = id,
            tenant,
            by = endpoint.created_by,
            "made a webhook endpoint"
        );
        Ok(NewEndpointView {
            endpoint: endpoint_view(endpoint),
            secret: secret.text().expose().to_owned(),
        })
    }

    /// The endpoints of a tenant.
    pub async fn list(&self, tenant: &str) -> Result<EndpointsView, AdminError> {
        let endpoints = self.store.endpoints(tenant).await?;
        let endpoints = endpoints.into_iter().map(endpoint_view).collect();
        Ok(EndpointsView { endpoints })
    }

    /// One endpoint.
    pub async fn get(&self, tenant: &str, id: &str) -> Result<EndpointView, AdminError> {
        Ok(endpoint_view(self.known(tenant, id).await?))
    }

    /// Replaces what the owner says of an endpoint.
    pub async fn replace(
        &self,
        tenant: &str,
        id: &str,
        request: EndpointRequest,
    ) -> Result<EndpointView, AdminError> {
        let before = self.known(tenant, id).await?;
        if request.revision.is_some_and(|it| it != before.revision) {
            return Err(AdminError::Changed);
        }
        let endpoint = EndpointRecord {
            revision: before.revision + 1,
            changed_by: request.actor,
            changed_ms: self.clock.now_ms(),
            ..before
        };
        let endpoint = self.with(endpoint, request.spec).await?;
        if !self.store.replace_endpoint(&endpoint).await? {
            return Err(AdminError::Changed);
        }
        tracing::info!(
            endpoint = id,
            tenant,
            by = endpoint.changed_by,
            "changed a webhook endpoint"
        );
        Ok(endpoint_view(endpoint))
    }

    /// Removes an endpoint and all it had.
    pub async fn delete(&self, tenant: &str, id: &str, actor: &str) -> Result<(), AdminError> {
        if !self.store.delete_endpoint(tenant, id).await? {
            return Err(AdminError::Unknown(id.to_owned()));
        }
        tracing::info!(
            endpoint = id,
            tenant,
            by = actor,
            "deleted a webhook endpoint"
        );
        Ok(())
    }

    /// Gives an endpoint a new secret; those before sign beside it for a while.
    pub async fn rotate(
        &self,
        tenant: &str,
        id: &str,
        request: &RotationRequest,
    ) -> Result<NewSecretView, AdminError> {
        if OVERLAP_SECONDS_MAX < request.overlap_seconds {
            return Err(AdminError::Overlap);
        }
        self.known(tenant, id).await?;
        let now_ms = self.clock.now_ms();
        let signing = self.store.secrets(id, now_ms).await?;
        let number = signing.first().map_or(1, |it| it.number + 1);
        let (secret, record) = self.secrets.make(tenant, id, number, now_ms).await?;
        let until_ms = now_ms + i64::from(request.overlap_seconds) * 1_000;
        if !self.store.rotate_secret(&record, until_ms).await? {
            return Err(AdminError::TooManySecrets);
        }
        tracing::info!(
            endpoint = id,
            tenant,
            by = request.actor,
            "rotated the secret of a webhook endpoint"
        );
        Ok(NewSecretView {
            secret: secret.text().expose().to_owned(),
            others_until: rfc3339(until_ms),
        })
    }

    /// Deliveries of an endpoint, the latest first.
    pub async fn deliveries(
        &self,
        tenant: &str,
        id: &str,
        query: &DeliveryQuery,
    ) -> Result<DeliveryPage, AdminError> {
        let state = query.state.as_deref();
        if state.is_some_and(|it| !super::store::is_state(it)) {
            return Err(AdminError::State);
        }
        self.known(tenant, id).await?;
        let limit = i64::from(query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX));
        let found = self
            .store
            .deliveries(id, state, query.before, limit + 1)
            .await?;
        let n_shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let shown = &found[..n_shown.min(found.len())];
        let next = (n_shown < found.len())
            .then(|| shown.last().map(|it| it.sequence))
            .flatten();
        Ok(DeliveryPage {
            deliveries: shown.iter().cloned().map(delivery_view).collect(),
            next,
        })
    }

    /// One delivery with its attempts.
    pub async fn delivery(
        &self,
        tenant: &str,
        endpoint: &str,
        id: &str,
    ) -> Result<DeliveryDetailView, AdminError> {
        self.known(tenant, endpoint).await?;
        let found = self.store.delivery(endpoint, id).await?;
        let (delivery, attempts) =
            found.ok_or_else(|| AdminError::DeliveryUnknown(id.to_owned()))?;
        Ok(DeliveryDetailView {
            delivery: delivery_view(delivery),
            attempts: attempts.into_iter().map(attempt_view).collect(),
        })
    }

    /// Sends one delivery again, under its id.
    pub async fn replay_one(
        &self,
        tenant: &str,
        endpoint: &str,
        id: &str,
    ) -> Result<DeliveryView, AdminError> {
        self.delivery(tenant, endpoint, id).await?;
        self.due_again(endpoint, Replay::One(id)).await?;
        Ok(self.delivery(tenant, endpoint, id).await?.delivery)
    }

    /// Sends what happened since a time again.
    pub async fn replay_since(
        &self,
        tenant: &str,
        endpoint: &str,
        request: &ReplayRequest,
    ) -> Result<ReplayView, AdminError> {
        let since_ms = parse_rfc3339(&request.since).ok_or(AdminError::Since)?;
        self.known(tenant, endpoint).await?;
        let which = if request.failed_only {
            Replay::Failed { since_ms }
        } else {
            Replay::All { since_ms }
        };
        let n_deliveries = self.due_again(endpoint, which).await?;
        tracing::info!(
            endpoint,
            tenant,
            by = request.actor,
            n_deliveries,
            "replayed deliveries"
        );
        Ok(ReplayView { n_deliveries })
    }

    /// Sends a call that says nothing but that it arrives.
    pub async fn test(&self, tenant: &str, endpoint: &str) -> Result<DeliveryView, AdminError> {
        self.known(tenant, endpoint).await?;
        let now_ms = self.clock.now_ms();
        let name = hex::encode(random::bytes::<16>(&*self.random));
        let happening = Happening::test(tenant, format!("test/{name}"), now_ms);
        if !self.store.enqueue_one(endpoint, &happening, now_ms).await? {
            return Err(AdminError::NotEnabled);
        }
        self.due.notify_one();
        let id = ids::delivery(endpoint, &happening.source_id);
        Ok(self.delivery(tenant, endpoint, &id).await?.delivery)
    }

    /// The secrets that sign the calls of an endpoint at a time, the current one first.
    pub(super) async fn signing_secrets(
        &self,
        tenant: &str,
        endpoint: &str,
        now_ms: i64,
    ) -> Result<Vec<SigningSecret>, AdminError> {
        let mut secrets = Vec::new();
        for record in self.store.secrets(endpoint, now_ms).await? {
            secrets.push(self.secrets.open(tenant, &record).await?);
        }
        Ok(secrets)
    }

    async fn due_again(&self, endpoint: &str, which: Replay<'_>) -> Result<u64, AdminError> {
        let now_ms = self.clock.now_ms();
        let replayed = self.store.replay(endpoint, which, now_ms).await?;
        let n_due = replayed.ok_or(AdminError::NotEnabled)?;
        self.due.notify_one();
        Ok(n_due)
    }

    async fn known(&self, tenant: &str, id: &str) -> Result<EndpointRecord, AdminError> {
        let found = self.store.endpoint(tenant, id).await?;
        found.ok_or_else(|| AdminError::Unknown(id.to_owned()))
    }

    /// The endpoint with what its owner says of it, checked.
    async fn with(
        &self,
        before: EndpointRecord,
        spec: EndpointSpec,
    ) -> Result<EndpointRecord, AdminError> {
        let target = Target::parse(&spec.url, self.sender.reach())?;
        // It is looked up at every call too; what was right once may be disabled whatever its name means now.
        if target.as_str() != before.url && self.sender.addresses(&target).await.is_err() {
            return Err(AdminError::Host);
        }
        if DESCRIPTION_CHARS_MAX < spec.description.chars().count() {
            return Err(AdminError::Description);
        }
        let topics = spec
            .topics
            .iter()
            .map(|it| Topic::of(it))
            .collect::<Option<Vec<_>>>();
        let mut topics = topics
            .filter(|it| !it.is_empty())
            .ok_or(AdminError::Topics)?;
        topics.sort_unstable();
        topics.dedup();
        let status = if spec.enabled {
            Status::Enabled
        } else {
            Status::Disabled
        };
        let failing_since_ms = before.failing_since_ms.filter(|_| before.status == status);
        Ok(EndpointRecord {
            url: target.as_str().to_owned(),
            topics,
            description: spec.description,
            status,
            failing_since_ms,
            ..before
        })
    }
}

fn endpoint_view(it: EndpointRecord) -> EndpointView {
    EndpointView {
        id: it.id,
        url: it.url,
        topics: it.topics.iter().map(|it| it.as_str().to_owned()).collect(),
        description: it.description,
        status: it.status.as_str().to_owned(),
        revision: it.revision,
        sequence: it.sequence,
        failing_since: it.failing_since_ms.map(rfc3339),
        created_by: it.created_by,
        created_at: rfc3339(it.created_ms),
        changed_by: it.changed_by,
        changed_at: rfc3339(it.changed_ms),
    }
}

fn delivery_view(it: DeliveryRecord) -> DeliveryView {
    DeliveryView {
        id: it.id,
        sequence: it.sequence,
        topic: it.topic,
        workflow: it.workflow,
        at: rfc3339(it.at_ms),
        due_at: (it.state == DUE).then(|| rfc3339(it.due_ms)),
        state: it.state,
        n_attempts: it.n_attempts,
        created_at: rfc3339(it.created_ms),
        finished_at: it.finished_ms.map(rfc3339),
    }
}

fn attempt_view(it: AttemptRecord) -> AttemptView {
    AttemptView {
        number: it.number,
        at: rfc3339(it.at_ms),
        duration_ms: it.duration_ms,
        status: it.status,
        fault: it.fault,
    }
}
