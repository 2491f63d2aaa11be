//! The limits of tasks: from a setting, then from what an operator has stored; every node looks again
//! every few seconds and enforces its share.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use btrust_platform::clock::rfc3339;
use btrust_platform::http::Shutdown;
use btrust_schemas::task_limits::{TaskLimits, TaskLimitsRequest, TaskLimitsView};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::shared::Shared;
use crate::store::operations::LimitsRow;

/// How often a node looks whether the limits, or the number of live nodes, have changed.
///
/// Source: "within seconds"; one row by its key.
const LIMITS_LOOK: Duration = Duration::from_secs(2);
/// The longest sleep, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// The limits that this node knows.
pub struct LimitsInForce {
    /// What holds until somebody has stored others.
    setting: TaskLimits,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    row: Option<LimitsRow>,
    limits: TaskLimits,
    n_nodes: u32,
}

impl LimitsInForce {
    pub fn new(setting: TaskLimits) -> Self {
        Self {
            setting,
            known: Mutex::default(),
        }
    }

    /// The limits as they are known here.
    pub fn limits(&self) -> TaskLimits {
        self.lock().limits.clone()
    }

    fn view(&self) -> TaskLimitsView {
        let known = self.lock();
        let row = known.row.as_ref();
        TaskLimitsView {
            revision: row.map_or(0, |it| u64::try_from(it.revision).unwrap_or_default()),
            limits: known.limits.clone(),
            changed_by: row.map(|it| it.changed_by.clone()),
            changed_at: row.map(|it| rfc3339(it.changed_ms)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Reads the limits and enforces them, if they or the number of nodes have changed.
    pub async fn look_at_limits(&self) -> Result<(), EngineError> {
        let row = self.operations.task_limits().await?;
        let n_nodes = self.n_live_nodes.load(Ordering::Relaxed).max(1);
        {
            let mut known = self.limits.lock();
            let same = known.row == row && known.n_nodes == n_nodes;
            if same {
                return Ok(());
            }
            let limits = match &row {
                None => self.limits.setting.clone(),
                Some(row) => serde_json::from_str(&row.document).map_err(|error| {
                    tracing::error!(%error, "the stored limits of tasks cannot be read");
                    EngineError::Unavailable
                })?,
            };
            *known = Known {
                row,
                limits,
                n_nodes,
            };
        }
        let limits = self.limits.limits();
        self.dispatch
            .set_limits(&limits, n_nodes, self.clock.now_ms());
        self.admission.set_limits(&limits, n_nodes);
        tracing::info!(n_nodes, "limits of tasks are in force");
        Ok(())
    }
}

impl Engine {
    /// The limits as this node enforces its share of them.
    pub fn task_limits(&self) -> TaskLimitsView {
        self.shared.limits.view()
    }

    /// Replaces the limits, on this node at once and on the others within seconds.
    ///
    /// # Errors
    ///
    /// `task_limits_invalid`; `task_limits_changed` when they are not those that the caller has seen.
    ///
    /// # Panics
    ///
    /// Never: limits are plain JSON.
    pub async fn put_task_limits(
        &self,
        request: TaskLimitsRequest,
    ) -> Result<TaskLimitsView, EngineError> {
        let invalid = |detail| EngineError::Invalid {
            code: "task_limits_invalid",
            detail,
        };
        request.limits.check().map_err(invalid)?;
        let operations = &self.shared.operations;
        let stored = operations.task_limits().await?;
        let revision = stored.map_or(0, |it| it.revision);
        let seen = request.expected.map(crate::workflow::column);
        let row = LimitsRow {
            revision: revision + 1,
            document: serde_json::to_string(&request.limits).expect("limits are plain JSON"),
            changed_by: request.actor,
            changed_ms: self.shared.clock.now_ms(),
        };
        let is_put =
            seen.is_none_or(|it| it == revision) && operations.put_task_limits(&row).await?;
        if !is_put {
            return Err(EngineError::LimitsChanged);
        }
        tracing::info!(
            actor = row.changed_by,
            revision = row.revision,
            "somebody has changed the limits of tasks"
        );
        self.shared.look_at_limits().await?;
        Ok(self.task_limits())
    }
}

/// Looks for changed limits until `shutdown`.
pub async fn look_for_limits(shared: Arc<Shared>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LIMITS_LOOK) => {}
        }
        if let Err(error) = shared.look_at_limits().await {
            tracing::warn!(code = error.code(), "cannot look at the limits of tasks");
        }
    }
}

/// Wakes workers when the token is there that their turns have waited for, until `shutdown`.
pub async fn hand_out_tokens(shared: Arc<Shared>, shutdown: Shutdown) {
    loop {
        let now_ms = shared.clock.now_ms();
        shared.dispatch.tokens(now_ms);
        let wait_ms = shared
            .dispatch
            .next_token_ms()
            .map(|it| it.saturating_sub(now_ms).max(1));
        let wait_ms = wait_ms.and_then(|it| u64::try_from(it).ok());
        let sleep = wait_ms.map_or(SLEEP_MAX, |it| Duration::from_millis(it).min(SLEEP_MAX));
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = shared.dispatch.token_sooner.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}
