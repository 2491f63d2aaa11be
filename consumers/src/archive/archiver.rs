//! Keeps the records of the audit stream until checkpoints say their order.

use async_trait::async_trait;

use btrust_platform::clock::SharedClock;
use btrust_platform::consumers::{EventHead, Marks, Progress, Sink, SinkError};
use btrust_platform::relational::{Relational, RelationalError, Transaction, Value};
use btrust_platform::streams::ReadRecord;

use btrust_integrity::events::{self, CHECKPOINT};

const INSERT_RECORD: &str = "INSERT INTO archive_record (tenant, id, bytes) VALUES (?, ?, ?)";
const INSERT_CHECKPOINT: &str = "INSERT INTO archive_checkpoint (tenant, incarnation, number, chunk, n_chunks, size, \
     root, note, leaves, told_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The sink of the audit stream.
pub struct Archiver {
    database: Relational,
    clock: SharedClock,
}

impl Archiver {
    #[must_use]
    pub fn new(database: Relational, clock: SharedClock) -> Self {
        Self { database, clock }
    }

    async fn keep(&self, records: &[(EventHead, &ReadRecord)]) -> Result<(), RelationalError> {
        let mut transaction = self.database.begin().await?;
        let subjects = records.iter().map(|(head, _)| head.subject.as_str());
        let mut marks = Marks::read(&mut transaction, self.name(), subjects).await?;
        for (head, record) in records {
            if marks.advance(head) == Progress::Known {
                continue;
            }
            if head.kind == CHECKPOINT {
                self.keep_chunk(&mut transaction, head, record).await?;
            } else {
                let bytes: &[u8] = &record.bytes;
                let values = [(&head.tenant).into(), (&head.id).into(), bytes.into()];
                transaction.execute(INSERT_RECORD, &values).await?;
            }
        }
        let now_ms = self.clock.now_ms();
        marks.write(&mut transaction, now_ms).await?;
        transaction.commit().await
    }

    async fn keep_chunk(
        &self,
        transaction: &mut Transaction,
        head: &EventHead,
        record: &ReadRecord,
    ) -> Result<(), RelationalError> {
        let Some(Some(data)) = events::parse(&record.bytes) else {
            tracing::error!(
                event = head.id,
                "a checkpoint cannot be read; the archive of its tenant stands still"
            );
            return Ok(());
        };
        let leaves = serde_json::to_string(&data.leaves).expect("a list of texts is JSON");
        let values = [
            (&head.tenant).into(),
            int(data.incarnation),
            int(data.number),
            int(data.chunk),
            int(data.n_chunks),
            int(data.size),
            (&data.root).into(),
            (&data.note).into(),
            (&leaves).into(),
            self.clock.now_ms().into(),
        ];
        match transaction.execute(INSERT_CHECKPOINT, &values).await {
            // Told again by a sequencer that did not know that it had been.
            Ok(_) | Err(RelationalError::Taken) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn int(it: u64) -> Value<'static> {
    i64::try_from(it).unwrap_or(i64::MAX).into()
}

#[async_trait]
impl Sink for Archiver {
    fn name(&self) -> &'static str {
        "archive"
    }

    async fn take(&self, _shard: &str, records: &[ReadRecord]) -> Result<(), SinkError> {
        let mut known = Vec::with_capacity(records.len());
        for record in records {
            let Some(head) = EventHead::read(&record.bytes) else {
                tracing::error!(
                    position = record.position,
                    "a record of the audit stream is no event and is passed over"
                );
                continue;
            };
            known.push((head, record));
        }
        Ok(self.keep(&known).await?)
    }
}
