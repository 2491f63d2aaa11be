//! Moves running workflows to another version of their definition, or says why they cannot.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use btrust_machine::{Applied, Definition, Env, State};
use btrust_schemas::core::Status;
use btrust_schemas::definition::{MigrationReason, MigrationRequest, MigrationView};
use btrust_schemas::ids::WorkflowId;

use crate::definitions::Published;
use crate::engine::{Engine, cursor, parse_cursor};
use crate::error::EngineError;
use crate::mailbox::{Migration, Request};
use crate::round::{contained, env};
use crate::store::ListFilter;

/// Most workflows that one call looks at.
///
/// Source: each is opened and judged again from where it stands, some ms in all; a call ends within seconds.
pub const MIGRATION_LIMIT_MAX: u32 = 500;
/// Workflows that a call looks at when the caller does not say.
pub const MIGRATION_LIMIT_DEFAULT: u32 = 200;
/// Workflows named for each reason; the count has all of them.
const EXAMPLES_MAX: usize = 5;

/// Where one workflow would stand on the other version. The one place that asks the machine.
pub fn moved(
    state: State,
    from: &Definition,
    to: &Published,
    env: &Env,
) -> Result<Applied, EngineError> {
    let moved = contained(|| btrust_machine::migrate(state, from, &to.compiled, to.version, env))?;
    moved.map_err(|findings| EngineError::CannotMigrate { findings })
}

impl Engine {
    /// Moves a page of the running workflows of a version, or tries it where the request says so.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`], and [`EngineError::Version`] for one that nothing starts on.
    /// What one workflow is refused for is in the answer.
    pub async fn migrate(
        &self,
        name: &str,
        request: MigrationRequest,
    ) -> Result<MigrationView, EngineError> {
        let definitions = self.definitions();
        let tenant = request.tenant.as_str();
        let to = definitions
            .startable(tenant, name, Some(request.to))
            .await?;
        definitions.compiled(tenant, name, request.from).await?;
        let limit = request
            .limit
            .unwrap_or(MIGRATION_LIMIT_DEFAULT)
            .clamp(1, MIGRATION_LIMIT_MAX);
        let filter = ListFilter {
            tenant: tenant.to_owned(),
            status: Some(Status::Running.as_str().to_owned()),
            definition: Some(name.to_owned()),
            version: Some(i64::from(request.from)),
            after: request.cursor.as_deref().map(parse_cursor).transpose()?,
            limit: limit + 1,
            ..ListFilter::default()
        };
        let mut listed = self.shared.store.list(&filter).await?;
        let page_size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = page_size < listed.len();
        listed.truncate(page_size);
        let judged = listed.iter().map(|it| async {
            let judged = if request.dry_run {
                self.try_to_move(tenant, it.workflow, request.from, &to)
                    .await
            } else {
                self.move_one(tenant, it.workflow, request.from, &to).await
            };
            (it.workflow, judged)
        });
        let mut tally = Tally::default();
        for (workflow, judged) in join_all(judged).await {
            tally.add(workflow, judged)?;
        }
        tracing::info!(
            definition.name = name,
            from = request.from,
            to = request.to,
            dry_run = request.dry_run,
            n_moved = tally.n_moved,
            actor = request.actor,
            "moved running workflows to another version"
        );
        let next = listed.last().filter(|_| has_next).map(|it| cursor(*it));
        Ok(tally.view(next))
    }

    async fn try_to_move(
        &self,
        tenant: &str,
        id: WorkflowId,
        from: u32,
        to: &Published,
    ) -> Result<(), EngineError> {
        let workflow = self.shared.read(tenant, id).await?;
        if workflow.columns.version != i64::from(from) || workflow.state.status().is_closed() {
            return Err(EngineError::Unknown);
        }
        let env = env(self.shared.clock.now_ms());
        moved(workflow.state.clone(), &workflow.definition, to, &env)?;
        Ok(())
    }

    async fn move_one(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        from: u32,
        to: &Published,
    ) -> Result<(), EngineError> {
        let migration = Migration {
            workflow,
            tenant: tenant.to_owned(),
            from,
            to: to.clone(),
        };
        self.mailbox
            .ask(Request::Migrate(Box::new(migration)))
            .await?;
        Ok(())
    }
}

#[derive(Default)]
struct Tally {
    n_moved: u64,
    n_refused: u64,
    /// By code and message.
    reasons: BTreeMap<(String, String), (u64, Vec<WorkflowId>)>,
}

impl Tally {
    fn add(
        &mut self,
        workflow: WorkflowId,
        judged: Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let findings = match judged {
            Ok(()) => {
                self.n_moved += 1;
                return Ok(());
            }
            // It has ended, or somebody else has moved it, since the page was read.
            Err(EngineError::Unknown) => return Ok(()),
            Err(error) if error.is_transient() => return Err(error),
            Err(EngineError::CannotMigrate { findings }) => findings,
            Err(error) => {
                self.refuse(error.code(), &error.to_string(), workflow);
                self.n_refused += 1;
                return Ok(());
            }
        };
        self.n_refused += 1;
        let mut reasons: Vec<(&str, &str)> = findings
            .iter()
            .map(|it| (it.code, it.message.as_str()))
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        for (code, message) in reasons {
            self.refuse(code, message, workflow);
        }
        Ok(())
    }

    fn refuse(&mut self, code: &str, message: &str, workflow: WorkflowId) {
        let key = (code.to_owned(), message.to_owned());
        let (count, examples) = self.reasons.entry(key).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(workflow);
        }
    }

    fn view(self, next: Option<String>) -> MigrationView {
        let reason = |((code, message), (count, examples))| MigrationReason {
            code,
            message,
            count,
            examples,
        };
        MigrationView {
            moved: self.n_moved,
            cannot: self.n_refused,
            reasons: self.reasons.into_iter().map(reason).collect(),
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use btrust_machine::{Finding, Gate, Severity};

    use super::*;

    fn finding(code: &'static str) -> Finding {
        Finding {
            gate: Gate::Proof,
            severity: Severity::Error,
            code,
            pointer: String::new(),
            message: format!("because of {code}"),
            fix: String::new(),
        }
    }

    #[test]
    fn reasons_are_counted_and_named_by_a_few_examples() {
        let mut tally = Tally::default();
        let ids: Vec<_> = (0..8).map(|n| WorkflowId::new(1, [n; 15])).collect();
        for id in &ids[..7] {
            let findings = vec![finding("b"), finding("a"), finding("b")];
            let refused = Err(EngineError::CannotMigrate { findings });
            tally.add(*id, refused).unwrap();
        }
        tally.add(ids[7], Ok(())).unwrap();
        // It has ended meanwhile.
        tally.add(ids[7], Err(EngineError::Unknown)).unwrap();
        assert_eq!(
            tally.add(ids[7], Err(EngineError::Overloaded)),
            Err(EngineError::Overloaded)
        );
        let view = tally.view(None);
        assert_eq!((view.moved, view.cannot), (1, 7));
        let reasons: Vec<_> = view
            .reasons
            .iter()
            .map(|it| (it.code.as_str(), it.count))
            .collect();
        assert_eq!(reasons, [("a", 7), ("b", 7)]);
        assert_eq!(view.reasons[0].examples, ids[..EXAMPLES_MAX]);
    }
}
