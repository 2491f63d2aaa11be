//! What was uploaded and by what reference a submission may name it.

use serde_json::Value;
use sqlx::{Row as _, SqlitePool, migrate::Migrator};

use btrust_platform::objects::{ObjectKey, Stored};
use btrust_schemas::{
    ids::{ObjectId, WorkflowId},
    object::ObjectRef,
};

/// The schema of `gateway.sqlite`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite/gateway");

/// How long an upload waits for a submission that names it, in milliseconds.
/// Source: design.md, section 5.
pub const UNNAMED_TTL_MS: i64 = 24 * 60 * 60 * 1_000;

/// Uploads of one workflow that no submission has named: some retakes of
/// everything that the longest step asks for.
pub const UNNAMED_OF_WORKFLOW_MAX: i64 = 64;

/// How many unnamed uploads one round of deletion takes.
pub const SWEEP_BATCH: i64 = 500;

/// How many references one submission may hold; the longest step takes 16 frames.
pub const REFERENCES_MAX: usize = 64;

/// The uploads of the gateway.
#[derive(Clone)]
pub struct Uploads {
    pool: SqlitePool,
}

/// The database did not answer, or holds what this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the upload store did not answer")]
pub struct UploadsError(#[from] sqlx::Error);

/// A reference of a submission that is not what was uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrongReference {
    /// JSON pointer into the submission.
    pub pointer: String,
    pub message: &'static str,
}

impl Uploads {
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Whether the database answers; what health asks.
    pub async fn ping(&self) -> Result<(), UploadsError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Notes an upload before its first byte is stored, so that none is ever
    /// forgotten. `false` if the workflow has too many that nobody named.
    pub async fn begin(
        &self,
        key: &ObjectKey,
        media_type: &str,
        now_ms: i64,
    ) -> Result<bool, UploadsError> {
        let inserted = sqlx::query(
            "INSERT INTO upload (object, tenant, workflow, media_type, uploaded_at) \
             SELECT ?, ?, ?, ?, ? FROM (SELECT 1) AS one WHERE \
             (SELECT COUNT(*) FROM upload WHERE workflow = ? AND named_at IS NULL) < ?",
        )
        .bind(key.object.to_string())
        .bind(&key.tenant)
        .bind(key.workflow.to_string())
        .bind(media_type)
        .bind(now_ms)
        .bind(key.workflow.to_string())
        .bind(UNNAMED_OF_WORKFLOW_MAX)
        .execute(&self.pool)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Notes what was stored: from now on a submission may name it. `false` if the
    /// bytes came so slowly that the sweep was faster: they have to go.
    pub async fn finish(&self, object: ObjectId, stored: &Stored) -> Result<bool, UploadsError> {
        let finished = sqlx::query(
            "UPDATE upload SET sha256 = ?, bytes = ? WHERE object = ? AND deleting_at IS NULL",
        )
        .bind(&stored.sha256)
        .bind(i64::try_from(stored.bytes).unwrap_or(i64::MAX))
        .bind(object.to_string())
        .execute(&self.pool)
        .await?;
        Ok(finished.rows_affected() == 1)
    }

    /// Forgets an upload whose bytes are gone.
    pub async fn forget(&self, object: ObjectId) -> Result<(), UploadsError> {
        sqlx::query("DELETE FROM upload WHERE object = ?")
            .bind(object.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Marks what a submission names, so that it stays. Before core hears of the
    /// submission: an object must not be deleted between the two. Namings are
    /// counted, so that [`Self::unname`] takes back this one and no other.
    ///
    /// Nothing is marked unless every reference is one that was uploaded for this
    /// workflow, with this content.
    pub async fn name(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        references: &[(String, ObjectRef)],
        now_ms: i64,
    ) -> Result<Result<(), WrongReference>, UploadsError> {
        for (pointer, reference) in references {
            let row = sqlx::query(
                "SELECT media_type, sha256, bytes FROM upload \
                 WHERE object = ? AND tenant = ? AND workflow = ?",
            )
            .bind(reference.object.to_string())
            .bind(tenant)
            .bind(workflow.to_string())
            .fetch_optional(&self.pool)
            .await?;
            let wrong = |message| {
                Ok(Err(WrongReference {
                    pointer: pointer.clone(),
                    message,
                }))
            };
            let Some(row) = row else {
                return wrong("nothing was uploaded for this workflow under that name");
            };
            let media_type: String = row.try_get("media_type")?;
            let sha256: Option<String> = row.try_get("sha256")?;
            let bytes: Option<i64> = row.try_get("bytes")?;
            let is_same = media_type == reference.media_type
                && sha256.as_ref() == Some(&reference.sha256)
                && bytes.and_then(|it| u64::try_from(it).ok()) == Some(reference.bytes);
            if !is_same {
                return wrong("the reference is not the one that the upload answered with");
            }
        }
        let mut transaction = self.pool.begin().await?;
        for (pointer, reference) in references {
            // Deleted since it was read: the transaction is dropped and marks nothing.
            let marked = sqlx::query(
                "UPDATE upload SET named_at = COALESCE(named_at, ?), n_namings = n_namings + 1 \
                 WHERE object = ? AND deleting_at IS NULL",
            )
            .bind(now_ms)
            .bind(reference.object.to_string())
            .execute(&mut *transaction)
            .await?;
            if marked.rows_affected() == 0 {
                let message = "the upload was not used in time and is deleted";
                return Ok(Err(WrongReference {
                    pointer: pointer.clone(),
                    message,
                }));
            }
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Takes one naming of each reference back: core has refused the submission.
    /// What another submission names as well stays named.
    pub async fn unname(&self, references: &[(String, ObjectRef)]) -> Result<(), UploadsError> {
        let mut transaction = self.pool.begin().await?;
        for (_, reference) in references {
            // `named_at` first: MySQL sees the new value of what was set before.
            sqlx::query(
                "UPDATE upload SET named_at = CASE WHEN n_namings <= 1 THEN NULL ELSE named_at END, \
                 n_namings = n_namings - 1 WHERE object = ? AND 0 < n_namings",
            )
            .bind(reference.object.to_string())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Some uploads that nobody named in time; those whose deletion has failed
    /// before come last.
    pub async fn unnamed(&self, now_ms: i64) -> Result<Vec<ObjectKey>, UploadsError> {
        let rows = sqlx::query(
            "SELECT object, tenant, workflow FROM upload \
             WHERE named_at IS NULL AND uploaded_at <= ? \
             ORDER BY COALESCE(deleting_at, 0), uploaded_at LIMIT ?",
        )
        .bind(now_ms - UNNAMED_TTL_MS)
        .bind(SWEEP_BATCH)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let object: String = row.try_get("object")?;
                let object: ObjectId = object
                    .parse()
                    .map_err(|it| sqlx::Error::Decode(Box::new(it)))?;
                let tenant = row.try_get("tenant")?;
                Ok(ObjectKey {
                    tenant,
                    workflow: object.workflow,
                    object,
                })
            })
            .collect()
    }

    /// Marks an upload that nobody named: its bytes are about to go, and no
    /// submission can name it any more. `false` if a submission was faster.
    pub async fn mark_deleting(&self, object: ObjectId, now_ms: i64) -> Result<bool, UploadsError> {
        let marked =
            sqlx::query("UPDATE upload SET deleting_at = ? WHERE object = ? AND named_at IS NULL")
                .bind(now_ms)
                .bind(object.to_string())
                .execute(&self.pool)
                .await?;
        Ok(marked.rows_affected() == 1)
    }
}

/// Every reference to an object in a submission, each with its JSON pointer.
///
/// # Errors
///
/// Something that names an object and is not a whole reference, or too many of them.
pub fn references(body: &Value) -> Result<Vec<(String, ObjectRef)>, WrongReference> {
    let mut found = Vec::new();
    collect(body, &mut String::new(), &mut found)?;
    Ok(found)
}

fn collect(
    value: &Value,
    pointer: &mut String,
    found: &mut Vec<(String, ObjectRef)>,
) -> Result<(), WrongReference> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) if names_an_object(value) => {
            let wrong = |message| WrongReference {
                pointer: pointer.clone(),
                message,
            };
            let reference =
                serde_json::from_value(Value::Object(fields.clone())).map_err(|_| {
                    wrong("a reference has `object`, `sha256`, `mediaType` and `bytes`")
                })?;
            if REFERENCES_MAX <= found.len() {
                return Err(wrong("a submission cannot name that many objects"));
            }
            found.push((pointer.clone(), reference));
            return Ok(());
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (escape(key), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, value)| (i.to_string(), value))
            .collect(),
        _ => return Ok(()),
    };
    let length = pointer.len();
    for (token, child) in children {
        pointer.push('/');
        pointer.push_str(&token);
        collect(child, pointer, found)?;
        pointer.truncate(length);
    }
    Ok(())
}

fn names_an_object(value: &Value) -> bool {
    value["object"]
        .as_str()
        .is_some_and(|it| it.starts_with("obj_"))
}

/// One token of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WORKFLOW: &str = "wf_ab070707070707070707070707070707";

    fn key(n: u8) -> ObjectKey {
        let workflow = WORKFLOW.parse().unwrap();
        let object = ObjectId {
            workflow,
            random: [n; 8],
        };
        ObjectKey {
            tenant: "bank".to_owned(),
            workflow,
            object,
        }
    }

    fn reference(n: u8) -> (String, ObjectRef) {
        let reference = ObjectRef {
            object: key(n).object,
            sha256: "a".repeat(64),
            media_type: "image/png".to_owned(),
            bytes: 7,
        };
        (format!("/{n}"), reference)
    }

    async fn uploads() -> (tempfile::TempDir, Uploads) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sqlite");
        let pool = btrust_platform::sqlite::open(&path, &MIGRATIONS)
            .await
            .unwrap();
        (folder, Uploads::new(pool))
    }

    async fn upload(uploads: &Uploads, n: u8, now_ms: i64) {
        assert!(uploads.begin(&key(n), "image/png", now_ms).await.unwrap());
        let stored = Stored {
            bytes: 7,
            sha256: "a".repeat(64),
        };
        assert!(uploads.finish(key(n).object, &stored).await.unwrap());
    }

    async fn name(uploads: &Uploads, tenant: &str, references: &[(String, ObjectRef)]) -> bool {
        let workflow = WORKFLOW.parse().unwrap();
        uploads
            .name(tenant, workflow, references, 5)
            .await
            .unwrap()
            .is_ok()
    }

    #[tokio::test]
    async fn only_what_was_uploaded_for_the_workflow_can_be_named() {
        let (_folder, uploads) = uploads().await;
        upload(&uploads, 1, 0).await;
        assert!(uploads.begin(&key(2), "image/png", 0).await.unwrap());

        assert!(name(&uploads, "bank", &[reference(1)]).await);
        assert!(!name(&uploads, "other bank", &[reference(1)]).await);
        assert!(
            !name(&uploads, "bank", &[reference(2)]).await,
            "its bytes still come"
        );
        assert!(!name(&uploads, "bank", &[reference(3)]).await);
        let mut changed = reference(1);
        changed.1.sha256 = "b".repeat(64);
        assert!(!name(&uploads, "bank", &[changed]).await);
    }

    #[tokio::test]
    async fn an_upload_that_nobody_named_goes_after_a_day_and_a_named_one_stays() {
        let (_folder, uploads) = uploads().await;
        upload(&uploads, 1, 0).await;
        upload(&uploads, 2, 0).await;
        assert!(name(&uploads, "bank", &[reference(1)]).await);

        assert_eq!(uploads.unnamed(UNNAMED_TTL_MS - 1).await.unwrap(), []);
        assert_eq!(uploads.unnamed(UNNAMED_TTL_MS).await.unwrap(), [key(2)]);
        assert!(uploads.mark_deleting(key(2).object, 5).await.unwrap());
        assert!(!uploads.mark_deleting(key(1).object, 5).await.unwrap());
        assert!(!name(&uploads, "bank", &[reference(2)]).await);
    }

    #[tokio::test]
    async fn a_naming_that_is_taken_back_leaves_those_of_others() {
        let (_folder, uploads) = uploads().await;
        upload(&uploads, 1, 0).await;
        upload(&uploads, 2, 0).await;
        assert!(name(&uploads, "bank", &[reference(1)]).await);
        assert!(name(&uploads, "bank", &[reference(1), reference(2)]).await);
        uploads.unname(&[reference(1), reference(2)]).await.unwrap();
        assert_eq!(uploads.unnamed(UNNAMED_TTL_MS).await.unwrap(), [key(2)]);
        uploads.unname(&[reference(1)]).await.unwrap();
        assert_eq!(uploads.unnamed(UNNAMED_TTL_MS).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_upload_that_is_being_deleted_is_not_finished() {
        let (_folder, uploads) = uploads().await;
        assert!(uploads.begin(&key(1), "image/png", 0).await.unwrap());
        assert!(uploads.mark_deleting(key(1).object, 5).await.unwrap());
        let (bytes, sha256) = (7, "a".repeat(64));
        let stored = Stored { bytes, sha256 };
        assert!(!uploads.finish(key(1).object, &stored).await.unwrap());
        assert!(!name(&uploads, "bank", &[reference(1)]).await);
    }

    #[tokio::test]
    async fn a_workflow_cannot_hoard_uploads() {
        let (_folder, uploads) = uploads().await;
        for n in 0..u8::try_from(UNNAMED_OF_WORKFLOW_MAX).unwrap() {
            assert!(uploads.begin(&key(n), "image/png", 0).await.unwrap());
        }
        assert!(!uploads.begin(&key(200), "image/png", 0).await.unwrap());
        uploads.forget(key(0).object).await.unwrap();
        assert!(uploads.begin(&key(200), "image/png", 0).await.unwrap());
    }

    #[test]
    fn references_are_found_wherever_they_are() {
        let (_, one) = reference(1);
        let (_, two) = reference(2);
        let body = json!({ "a/b": [{ "picture": one }], "c": two, "d": { "object": "thing" } });
        let found = references(&body).unwrap();
        let pointers: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(pointers, ["/a~1b/0/picture", "/c"]);
    }

    #[test]
    fn half_a_reference_and_too_many_are_refused() {
        let half = json!({ "picture": { "object": key(1).object } });
        assert_eq!(references(&half).unwrap_err().pointer, "/picture");
        let (_, one) = reference(1);
        let many = json!({ "pictures": vec![one; REFERENCES_MAX + 1] });
        assert_eq!(
            references(&many).unwrap_err().pointer,
            format!("/pictures/{REFERENCES_MAX}")
        );
    }
}
