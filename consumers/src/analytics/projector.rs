//! Counts the analytics stream, every event once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use btrust_platform::clock::SharedClock;
use btrust_platform::consumers::{EventHead, Marks, Progress, Sink, SinkError};
use btrust_platform::relational::{Relational, RelationalError, Transaction};
use btrust_platform::streams::ReadRecord;

use super::journey::{Cell, Counts, Data, Group, Journey};

const INSERT_GROUP: &str = "INSERT INTO funnel_group (id, tenant, definition, version, device, language) \
     VALUES (?, ?, ?, ?, ?, ?)";
const SELECT_GROUP: &str = "SELECT id FROM funnel_group WHERE id = ?";
const ADD: &str = "UPDATE funnel_count SET n = n + ? \
     WHERE funnel_group = ? AND hour_ms = ? AND state = ? AND measure = ?";
const INSERT: &str = "INSERT INTO funnel_count (n, funnel_group, hour_ms, state, measure) \
     VALUES (?, ?, ?, ?, ?)";
const REMOVE: &str = "DELETE FROM funnel_count WHERE n = 0 \
     AND funnel_group = ? AND hour_ms = ? AND state = ? AND measure = ?";

/// Groups that are remembered to be stored.
///
/// Source: ten definitions of ten versions on four devices in ten languages; when there are more, all are
/// asked for anew.
const GROUPS_MAX: usize = 4_000;

/// The sink of the analytics stream.
///
/// Counts, journeys of workflows and marks are one transaction, so that what is published, read or handed
/// over again changes nothing.
pub struct Projector {
    database: Relational,
    clock: SharedClock,
    stored_groups: Mutex<HashSet<i64>>,
}

/// An event of the stream.
struct Event {
    head: EventHead,
    data: Data,
}

impl Projector {
    #[must_use]
    pub fn new(database: Relational, clock: SharedClock) -> Self {
        Self {
            database,
            clock,
            stored_groups: Mutex::default(),
        }
    }

    async fn project(&self, events: &[Event]) -> Result<(), RelationalError> {
        let mut transaction = self.database.begin().await?;
        let subjects = events.iter().map(|it| it.head.subject.as_str());
        let mut marks = Marks::read(&mut transaction, self.name(), subjects).await?;
        let mut journeys: HashMap<&str, Journey> = HashMap::new();
        let mut counts = Counts::new();
        for Event { head, data } in events {
            if marks.advance(head) == Progress::Known {
                continue;
            }
            let journey = journeys.entry(&head.subject).or_insert_with(|| {
                let stored = marks.state(&head.subject);
                let stored = stored.and_then(|it| serde_json::from_str(it).ok());
                stored.unwrap_or_else(|| Journey::begin(&head.tenant, head.at_ms, data))
            });
            journey.take(&head.kind, data, &mut counts);
        }
        for (subject, journey) in journeys {
            let state = serde_json::to_string(&journey).expect("a journey is JSON");
            marks.set_state(subject, Some(state));
        }
        // In the order of their keys, so that nobody waits in a circle.
        for ((group, cell), n) in &counts {
            if *n != 0 {
                let id = self.store_group(&mut transaction, group).await?;
                add(&mut transaction, id, cell, *n).await?;
            }
        }
        marks.write(&mut transaction, self.clock.now_ms()).await?;
        transaction.commit().await?;
        let stored = counts.keys().map(|(group, _)| id(group));
        let mut groups = self.groups();
        if GROUPS_MAX < groups.len() {
            groups.clear();
        }
        groups.extend(stored);
        Ok(())
    }

    async fn store_group(
        &self,
        transaction: &mut Transaction,
        group: &Group,
    ) -> Result<i64, RelationalError> {
        let id = id(group);
        let is_known = self.groups().contains(&id);
        if is_known
            || !transaction
                .fetch(SELECT_GROUP, &[id.into()])
                .await?
                .is_empty()
        {
            return Ok(id);
        }
        let values = [
            id.into(),
            (&group.tenant).into(),
            (&group.definition).into(),
            group.version.into(),
            (&group.device).into(),
            (&group.language).into(),
        ];
        match transaction.execute(INSERT_GROUP, &values).await {
            // Another process was faster.
            Ok(_) | Err(RelationalError::Taken) => Ok(id),
            Err(error) => Err(error),
        }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        let groups = self.stored_groups.lock();
        groups.unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for Projector {
    fn name(&self) -> &'static str {
        "analytics"
    }

    async fn take(&self, _shard: &str, records: &[ReadRecord]) -> Result<(), SinkError> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            let Some(event) = read(record) else {
                tracing::error!(
                    position = record.position,
                    "a record of the analytics stream is no event and is passed over"
                );
                continue;
            };
            events.push(event);
        }
        Ok(self.project(&events).await?)
    }
}

fn read(record: &ReadRecord) -> Option<Event> {
    #[derive(Deserialize)]
    struct WithData {
        data: Data,
    }
    let head = EventHead::read(&record.bytes)?;
    let WithData { data } = serde_json::from_slice(&record.bytes).ok()?;
    Some(Event { head, data })
}

/// Adds to a cell. The row is new once in an hour, so it is looked for first.
async fn add(
    transaction: &mut Transaction,
    group: i64,
    cell: &Cell,
    n: i64,
) -> Result<(), RelationalError> {
    let values = [
        n.into(),
        group.into(),
        cell.hour_ms.into(),
        (&cell.state).into(),
        (&cell.measure).into(),
    ];
    if transaction.execute(ADD, &values).await? == 0 {
        match transaction.execute(INSERT, &values).await {
            Err(RelationalError::Taken) => transaction.execute(ADD, &values).await?,
            inserted => inserted?,
        };
    }
    if n < 0 {
        // What has moved to another device leaves nothing.
        transaction.execute(REMOVE, &values[1..]).await?;
    }
    Ok(())
}

/// The id of a group: the same in every process, without asking anybody.
fn id(group: &Group) -> i64 {
    let text = serde_json::to_vec(group).expect("a group is JSON");
    let digest = Sha256::digest(text);
    let first: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    i64::from_be_bytes(first) & i64::MAX
}
