//! Messages as lines of a private file, for installations without a provider.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Channel, Delivery, Message, Messenger, SendError};
use crate::clock::{SharedClock, rfc3339};
use crate::files;

/// Appends every message to a JSON Lines file (mode 0600) instead of sending it.
pub struct Outbox {
    path: PathBuf,
    clock: SharedClock,
}

/// One line of the outbox. Serialised only into the file and to its reader.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// RFC 3339.
    pub sent_at: String,
    pub channel: Channel,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub reference: String,
}

impl Outbox {
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, clock: SharedClock) -> Self {
        Self {
            path: path.into(),
            clock,
        }
    }
}

#[async_trait]
impl Messenger for Outbox {
    async fn send(&self, message: Message) -> Result<Delivery, SendError> {
        let entry = OutboxEntry {
            sent_at: rfc3339(self.clock.now_ms()),
            channel: message.channel,
            to: message.to,
            subject: message.subject,
            text: message.text,
            reference: message.reference,
        };
        let mut line = serde_json::to_vec(&entry).expect("an entry is plain JSON");
        line.push(b'\n');
        let path = self.path.clone();
        files::blocking(move || {
            let mut file = files::open_to_append(&path)?;
            file.lock()?;
            file.write_all(&line)?;
            file.sync_data()
        })
        .await
        .map_err(|error| SendError::Unavailable(error.into()))?;
        Ok(Delivery {
            provider: "outbox",
            acknowledged: true,
        })
    }
}

/// The messages of an outbox, oldest first; none when the file is not there.
///
/// # Errors
///
/// What the file system says; `InvalidData` for a line that is no entry.
pub fn read_outbox(path: &Path) -> io::Result<Vec<OutboxEntry>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    text.lines()
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn the_outbox_conforms_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.jsonl");
        assert!(read_outbox(&path).unwrap().is_empty());

        let outbox = Outbox::new(&path, Arc::new(ManualClock::new(1_769_903_999_123)));
        let read = || async {
            read_outbox(&path)
                .unwrap()
                .into_iter()
                .map(|it| (it.to, it.text))
                .collect()
        };
        crate::conformance::messenger(&outbox, read).await;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            read_outbox(&path).unwrap()[0].sent_at,
            "2026-01-31T23:59:59.123Z"
        );
    }

    #[tokio::test]
    async fn many_writers_never_mix_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.jsonl");
        let clock: SharedClock = Arc::new(ManualClock::new(0));
        let outboxes: Vec<Outbox> = (0..8)
            .map(|_| Outbox::new(&path, Arc::clone(&clock)))
            .collect();
        let sends = outboxes.iter().enumerate().map(|(n, outbox)| {
            outbox.send(Message {
                channel: Channel::Sms,
                to: "+491701234567".to_owned(),
                subject: String::new(),
                text: n.to_string().repeat(20_000),
                reference: n.to_string(),
            })
        });
        for result in futures_util::future::join_all(sends).await {
            result.unwrap();
        }
        let mut references: Vec<String> = read_outbox(&path)
            .unwrap()
            .into_iter()
            .map(|it| it.reference)
            .collect();
        references.sort();
        assert_eq!(references, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }
}
