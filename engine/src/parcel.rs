//! A message between two workflows on its way, and what its receiver makes of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use btrust_machine::{
    ChildEnd, Command, Message, Origin, Owed, PRIORITY_DEFAULT, Payload, Refusal,
};
use btrust_schemas::commands::{Conflict, Reuse};
use btrust_schemas::ids::WorkflowId;

use crate::definitions::Published;
use crate::engine::{Engine, LOCALE_DEFAULT};
use crate::error::EngineError;
use crate::mailbox::{Request, Start};
use crate::nodes::Destination;
use crate::search::{self, Attributes};
use crate::store::StartKey;
use crate::store::schedules::ScheduleRecord;
use crate::workflow::Workflow;

/// The definition of a child is not there, or nothing starts on it.
const DEFINITION_UNKNOWN: &str = "BTrust.DefinitionUnknown";
/// The input of a child does not fit its definition.
const INPUT_INVALID: &str = "BTrust.InputInvalid";

/// Everything that the receiver's node needs to take a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parcel {
    pub tenant: String,
    pub to: WorkflowId,
    message: Message,
    /// How the sender has ended, where the message says that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<ChildEnd>,
    /// What a workflow that starts takes over from the sender.
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    locale: String,
    priority: u8,
    /// Search attributes of the run before, as its row has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes: Option<String>,
}

/// What the receiver has made of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Taken {
    /// It has it, or it is gone and needs it no more.
    Taken,
    /// The workflow that should start cannot.
    NotStarted { error: String, cause: String },
}

impl Parcel {
    /// Packs a message; `None` for one that nobody has to hear any more.
    pub fn of(sender: &Workflow, owed: &Owed) -> Option<Self> {
        let end = match &owed.message {
            // Somebody has let it go on: it will end again.
            Message::Ended { .. } => Some(sender.state.end_as_child()?),
            _ => None,
        };
        let is_next_run = matches!(&owed.message, Message::Start { origin, .. } if origin.continued_from.is_some());
        let attributes = sender.columns.attributes.clone();
        Some(Self {
            attributes: attributes.filter(|_| is_next_run),
            tenant: sender.columns.tenant.clone(),
            to: owed.to.parse().ok()?,
            message: owed.message.clone(),
            end,
            version: u32::try_from(sender.columns.version).unwrap_or(u32::MAX),
            subject: sender.columns.subject.clone(),
            locale: sender.columns.locale.clone(),
            priority: sender.state.priority(),
        })
    }
}

impl Parcel {
    /// What a schedule starts.
    pub fn of_schedule(record: &ScheduleRecord, to: WorkflowId, input: Value) -> Self {
        let origin = Origin {
            schedule: Some(record.name.clone()),
            ..Origin::default()
        };
        Self {
            tenant: record.tenant.clone(),
            to,
            message: Message::Start {
                definition: record.definition.clone(),
                version: record.version.and_then(|it| u32::try_from(it).ok()),
                input: input.into(),
                origin: Box::new(origin),
            },
            end: None,
            version: 0,
            subject: None,
            locale: LOCALE_DEFAULT.to_owned(),
            priority: PRIORITY_DEFAULT,
            attributes: None,
        }
    }
}

impl Engine {
    /// Hands a message to its receiver, as often as somebody asks: only the first time changes anything.
    ///
    /// # Errors
    ///
    /// Whatever may be otherwise later; the sender keeps the message.
    pub async fn deliver(&self, parcel: Parcel) -> Result<Taken, EngineError> {
        match self.destination(parcel.to.partition()) {
            Destination::There(url) => self.bring_parcel(&url, parcel).await,
            // Of what is with nobody now, the mailbox says so.
            Destination::Here | Destination::Nobody => self.take_in(parcel).await,
        }
    }

    /// Hands a message to its receiver, which is this node's.
    ///
    /// # Errors
    ///
    /// [`EngineError::Elsewhere`] where it is not, and whatever else may be otherwise later.
    pub(crate) async fn take_in(&self, parcel: Parcel) -> Result<Taken, EngineError> {
        let Parcel {
            tenant,
            to,
            message,
            end,
            version: of_sender,
            subject,
            locale,
            priority,
            attributes,
        } = parcel;
        let command = match message {
            Message::Start {
                definition,
                version,
                input,
                origin,
            } => {
                let wanted = Wanted {
                    definition,
                    version,
                    of_sender,
                    subject,
                    locale,
                    priority,
                    attributes: search::of_column(attributes.as_deref()),
                };
                return self.start_owed(tenant, to, wanted, input, *origin).await;
            }
            Message::Ended { task, attempt } => match end {
                Some(end) => Command::ChildEnded { task, attempt, end },
                None => return Ok(Taken::Taken),
            },
            Message::Continued {
                task,
                attempt,
                next,
                run,
                on_close,
            } => Command::ChildContinued {
                task,
                attempt,
                next,
                run,
                on_close,
            },
            Message::Close { terminate } => let_go(terminate),
        };
        match self.command(tenant, to, command).await {
            Ok(_) => Ok(Taken::Taken),
            // It has ended, or was deleted: there is nobody to be told.
            Err(
                EngineError::Unknown
                | EngineError::Erased
                | EngineError::Refused(Refusal::WorkflowClosed | Refusal::WorkflowUnknown),
            ) => Ok(Taken::Taken),
            Err(error) => Err(error),
        }
    }

    /// Starts a child or a next run, once.
    async fn start_owed(
        &self,
        tenant: String,
        to: WorkflowId,
        wanted: Wanted,
        input: Payload,
        origin: Origin,
    ) -> Result<Taken, EngineError> {
        let key = start_key(&tenant, to);
        let key_again = std::slice::from_ref(&key);
        // It may have begun on a version that is not live any more.
        if !self.shared.store.find_starts(key_again).await?.is_empty() {
            return Ok(Taken::Taken);
        }
        let published = match self.startable(&tenant, &wanted, &origin).await {
            Ok(published) => published,
            Err(error @ (EngineError::DefinitionUnknown { .. } | EngineError::Version(_)))
                if origin.continued_from.is_none() =>
            {
                return Ok(Taken::not_started(DEFINITION_UNKNOWN, error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if let Err(findings) = published.compiled.check_input(&input) {
            let places: Vec<&str> = findings.iter().map(|it| it.pointer.as_str()).collect();
            let cause = format!(
                "The input does not fit `inputSchema` at {}.",
                places.join(", ")
            );
            if origin.continued_from.is_none() {
                return Ok(Taken::not_started(INPUT_INVALID, cause));
            }
            return Err(EngineError::InputInvalid {
                findings: Vec::new(),
            });
        }
        let declared = published.compiled.search_attributes();
        let start = Start {
            attributes: search::owed_values(declared, &wanted.attributes, &input),
            digest: key.key_hash.clone(),
            key,
            id: Some(to),
            tenant,
            definition: published.compiled,
            version: published.version,
            input,
            subject: wanted.subject,
            locale: wanted.locale,
            priority: wanted.priority,
            origin,
            actor: String::new(),
            reuse: Reuse::default(),
            conflict: Conflict::default(),
            request: None,
            restart_of: None,
        };
        self.mailbox.ask(Request::Start(Box::new(start))).await?;
        Ok(Taken::Taken)
    }

    /// The version to start on. A next run may stay on the version of its sender, whatever became of it.
    async fn startable(
        &self,
        tenant: &str,
        wanted: &Wanted,
        origin: &Origin,
    ) -> Result<Published, EngineError> {
        let definitions = &self.shared.definitions;
        let stays = origin.continued_from.is_some() && wanted.version == Some(wanted.of_sender);
        if stays {
            let version = wanted.of_sender;
            let compiled = definitions
                .compiled(tenant, &wanted.definition, version)
                .await?;
            return Ok(Published { version, compiled });
        }
        definitions
            .startable(tenant, &wanted.definition, wanted.version)
            .await
    }
}

/// What a message wants to be started.
struct Wanted {
    definition: String,
    version: Option<u32>,
    of_sender: u32,
    subject: Option<String>,
    locale: String,
    priority: u8,
    /// Those of the run before.
    attributes: Attributes,
}

impl Taken {
    fn not_started(error: &str, cause: String) -> Self {
        Self::NotStarted {
            error: error.to_owned(),
            cause,
        }
    }
}

/// What a workflow is told that nobody waits for any more.
fn let_go(terminate: bool) -> Command {
    let reason = Some("its parent waits for it no longer".to_owned());
    if terminate {
        return Command::Terminate { reason, by: None };
    }
    Command::Cancel {
        reason,
        grace_seconds: 0,
        by: None,
    }
}

/// The key of a start that another workflow asks for: the id says it all, and lies in the same partition.
fn start_key(tenant: &str, id: WorkflowId) -> StartKey {
    StartKey {
        tenant: tenant.to_owned(),
        key_hash: owed_key_hash(id),
    }
}

/// The hash of the key of a start that somebody owes: it follows from the id, as the id does from who owes it.
pub fn owed_key_hash(id: WorkflowId) -> String {
    let mut hash = Sha256::new();
    hash.update(b"owed start\0");
    hash.update(id.to_string());
    let digest = hex::encode(hash.finalize());
    format!("{:02x}{}", id.partition(), &digest[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_is_owed_is_kept_where_its_workflow_is() {
        let (a, b) = (WorkflowId::new(200, [1; 15]), WorkflowId::new(200, [2; 15]));
        let keys = [a, b].map(|it| start_key("acme", it));
        assert_ne!(keys[0], keys[1]);
        assert_eq!(keys[0], start_key("acme", a));
        for key in keys {
            assert_eq!((key.key_hash.len(), &key.key_hash[..2]), (64, "c8"));
        }
    }
}
