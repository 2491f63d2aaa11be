//! What one node brings to the node that owns a workflow: parcels, and what the engine does by itself.
//!
//! It is sealed under a key of the tenant. Whoever can do that has the keyring that the nodes of one
//! database share, so it needs no other proof of where it comes from. A parcel or an act that is done again
//! changes nothing, so neither does one that somebody else sends again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use btrust_machine::Command;
use btrust_platform::sealing::aad;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::nodes::SealedParcel;
use btrust_schemas::problem::Problem;

use crate::core::{ELSEWHERE, FORWARDED};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::nodes::Destination;
use crate::parcel::{Parcel, Taken};
use crate::shared::unavailable;

/// What it is sealed for.
const PURPOSE: &str = "parcels 1";
/// How long another node may take before it is asked again.
///
/// Source: longer than a call to the store may take, so that a slow database is not asked twice.
const BRING_MAX: Duration = Duration::from_secs(15);

/// What one node asks of another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Brought {
    Parcel(Box<Parcel>),
    /// What the engine itself does to a workflow.
    Act(Box<Command>),
}

impl Engine {
    /// Does something to a workflow, whichever node it is with; to one that has ended, nothing.
    ///
    /// # Errors
    ///
    /// Whatever may be otherwise later.
    pub(crate) async fn act_anywhere(
        &self,
        tenant: String,
        workflow: WorkflowId,
        command: Command,
    ) -> Result<Taken, EngineError> {
        match self.destination(workflow.partition()) {
            Destination::There(url) => {
                let act = Brought::Act(Box::new(command));
                self.bring(&url, &tenant, workflow, &act).await
            }
            // Of what is with nobody now, the mailbox says so.
            Destination::Here | Destination::Nobody => {
                self.act_here(tenant, workflow, command).await
            }
        }
    }

    /// Does something to a workflow of this node.
    ///
    /// # Errors
    ///
    /// Whatever may be otherwise later.
    pub(crate) async fn act_here(
        &self,
        tenant: String,
        workflow: WorkflowId,
        command: Command,
    ) -> Result<Taken, EngineError> {
        match self.command(tenant, workflow, command).await {
            Err(error) if error.is_transient() => Err(error),
            // It has ended meanwhile, or stands still until somebody has looked at it.
            _ => Ok(Taken::Taken),
        }
    }

    /// Brings a parcel to the node at `url`.
    ///
    /// # Errors
    ///
    /// Whatever may be otherwise later; the sender keeps the message.
    pub(crate) async fn bring_parcel(
        &self,
        url: &str,
        parcel: Parcel,
    ) -> Result<Taken, EngineError> {
        let (tenant, to) = (parcel.tenant.clone(), parcel.to);
        let brought = Brought::Parcel(Box::new(parcel));
        self.bring(url, &tenant, to, &brought).await
    }

    async fn bring<T: DeserializeOwned>(
        &self,
        url: &str,
        tenant: &str,
        to: WorkflowId,
        brought: &Brought,
    ) -> Result<T, EngineError> {
        let Some(client) = &self.neighbours else {
            return Err(EngineError::Elsewhere);
        };
        let body = self.seal(tenant, to, brought).await?;
        let url = url.trim_end_matches('/');
        let answer = client
            .post(format!("{url}/internal/v1/workflows/{to}/parcels"))
            .header(FORWARDED, "1")
            .timeout(BRING_MAX)
            .json(&body)
            .send()
            .await
            .map_err(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a node does not answer"
                );
                EngineError::Elsewhere
            })?;
        if answer.headers().contains_key(ELSEWHERE) {
            return Err(EngineError::Elsewhere);
        }
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(unavailable);
        }
        let problem = answer.json::<Problem>().await;
        let code = problem.map_or_else(|_| "no code".to_owned(), |it| it.code);
        tracing::warn!(
            workflow.id = %to, status = status.as_u16(), code,
            "a node has refused what was brought to it"
        );
        Err(EngineError::Unavailable)
    }

    async fn seal(
        &self,
        tenant: &str,
        to: WorkflowId,
        brought: &Brought,
    ) -> Result<SealedParcel, EngineError> {
        let sealer = self.subjects.sealer(tenant, PURPOSE).await?;
        let text = serde_json::to_vec(brought).expect("it is plain data");
        let bytes = sealer.seal(&binding(tenant, to), &text);
        Ok(SealedParcel {
            tenant: tenant.to_owned(),
            sealed: STANDARD.encode(bytes),
        })
    }

    /// What another node has sealed for `to`; `None` where no node of this database can have done so.
    ///
    /// # Errors
    ///
    /// When the tenant's key cannot be read now.
    pub(crate) async fn open_brought(
        &self,
        to: WorkflowId,
        parcel: &SealedParcel,
    ) -> Result<Option<Brought>, EngineError> {
        let tenant = parcel.tenant.as_str();
        let Some(sealer) = self.subjects.find_sealer(tenant, PURPOSE).await? else {
            return Ok(None);
        };
        let Ok(bytes) = STANDARD.decode(&parcel.sealed) else {
            return Ok(None);
        };
        let Ok(text) = sealer.open(&binding(tenant, to), &bytes) else {
            return Ok(None);
        };
        let brought = serde_json::from_slice(&text).ok();
        let is_theirs = |it: &Brought| match it {
            Brought::Parcel(parcel) => parcel.to == to && parcel.tenant == tenant,
            Brought::Act(_) => true,
        };
        Ok(brought.filter(is_theirs))
    }
}

/// What it is bound to.
fn binding(tenant: &str, to: WorkflowId) -> Vec<u8> {
    aad(&["btrust parcel 1", tenant, &to.to_string()])
}
