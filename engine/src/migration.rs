//! Moves running workflows to another version of their definition, or says why they cannot.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

use btrust_machine::{Applied, Catalogue, Contract, Env};
use btrust_schemas::core::Status;
use btrust_schemas::definition::{
    MigrateSomeRequest, MigrateSomeView, MigrationReason, MigrationRequest, MigrationView,
};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::step;

use crate::definitions::Published;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::lists::{cursor, parse_cursor};
use crate::mailbox::{Migration, Request};
use crate::nodes::Destination;
use crate::round::{contained, env};
use crate::store::lists::{ListFilter, ListedPage};
use crate::workflow::Workflow;

/// Most workflows that one call looks at.
///
/// Source: each is opened and judged again from where it stands, some ms in all; a call ends within seconds.
pub const MIGRATION_LIMIT_MAX: u32 = 500;
/// Workflows that a call looks at when the caller does not say.
pub const MIGRATION_LIMIT_DEFAULT: u32 = 200;
/// After this time a call judges no further workflow, and says where to go on.
///
/// Source: well below the 30 s idle limits common to load balancers, with the commit still to come.
const JUDGING_MAX: Duration = Duration::from_secs(10);
/// How often a workflow is judged anew that has changed between its judgement and its commit.
const TRIES_MAX: usize = 3;
/// Pages of the list that one call goes through to find those of the version.
///
/// Source: fifty thousand running workflows, about half a second.
const PAGES_MAX: usize = 50;
/// Workflows named for each reason; the count has all of them.
const EXAMPLES_MAX: usize = 5;
/// Reasons with a message of their own; what comes after them is counted by its code.
const REASONS_MAX: usize = 50;

/// The steps of this version of the platform, as the proof wants them.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let contracts = step::catalogue().into_iter().map(|it| {
        let contract = Contract {
            step: it.step.to_owned(),
            major: it.major,
            outcomes: it.outcomes.iter().map(|&it| it.to_owned()).collect(),
            hash: it.hash(),
            arguments_schema: it.arguments,
            output_schema: it.output,
        };
        (it.step.to_owned(), contract)
    });
    Catalogue {
        steps: contracts.collect(),
    }
});

/// Where one workflow would stand on the other version. The one place that asks the machine.
fn moved(workflow: &Workflow, to: &Published, env: &Env) -> Result<Applied, EngineError> {
    let Workflow {
        definition, state, ..
    } = workflow;
    let (target, version) = (&to.compiled, to.version);
    let moved =
        contained(|| btrust_machine::migrate(definition, target, version, &CATALOGUE, state, env))?;
    moved.map_err(|findings| EngineError::CannotMigrate { findings })
}

/// From which version to which one workflow after the other is moved.
struct Way<'w> {
    tenant: &'w str,
    from: u32,
    to: Published,
}

/// The other nodes, as the caller may call them.
#[async_trait]
pub(crate) trait Movers: Send + Sync {
    /// Has the node at `url` move workflows of its own.
    async fn move_some(
        &self,
        url: &str,
        name: &str,
        request: &MigrateSomeRequest,
    ) -> Result<MigrateSomeView, EngineError>;
}

impl Engine {
    /// Moves a page of the running workflows of a version, or tries it where the request says so.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`], and [`EngineError::Version`] for one that nothing starts on;
    /// [`EngineError::Overloaded`] while another call judges. What one workflow is refused for is in the answer.
    pub async fn migrate(
        &self,
        name: &str,
        request: MigrationRequest,
    ) -> Result<MigrationView, EngineError> {
        self.migrate_anywhere(name, request, None).await
    }

    /// The same, also for workflows of other nodes: each judges and moves its own.
    pub(crate) async fn migrate_anywhere(
        &self,
        name: &str,
        request: MigrationRequest,
        others: Option<&dyn Movers>,
    ) -> Result<MigrationView, EngineError> {
        // A proof may take a core for seconds and much memory: one at a time.
        let Ok(_alone) = self.migrating.try_acquire() else {
            return Err(EngineError::Overloaded);
        };
        let tenant = request.tenant.as_str();
        let way = self.way(name, tenant, (request.from, request.to)).await?;
        let ListedPage { rows, mut next } = self.page(name, &request).await?;
        // What would happen is read from the store, by any node.
        let others = others.filter(|_| !request.dry_run);
        let mut by_node: BTreeMap<Option<Arc<str>>, Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let node = match self.destination(row.workflow.partition()) {
                Destination::There(url) if others.is_some() => Some(url),
                _ => None,
            };
            by_node.entry(node).or_default().push(index);
        }
        let moved = by_node.iter().map(|(node, indexes)| {
            let way = &way;
            let workflows = indexes.iter().map(|it| rows[*it].workflow).collect();
            let some = MigrateSomeRequest {
                tenant: tenant.to_owned(),
                from: request.from,
                to: request.to,
                workflows,
                actor: request.actor.clone(),
            };
            async move {
                match (node, others) {
                    (Some(url), Some(others)) => others.move_some(url, name, &some).await,
                    _ => self.move_here(way, &some.workflows, request.dry_run).await,
                }
            }
        });
        let mut tally = Tally::default();
        let mut first_left = None;
        for (indexes, moved) in by_node.values().zip(join_all(moved).await) {
            let moved = moved?;
            let left = indexes.get(moved.n_judged).copied();
            first_left = first_left.into_iter().chain(left).min();
            tally.merge(moved);
        }
        if let Some(first_left) = first_left {
            // Every node looks at one workflow at least, and the first of all is the first of one.
            let before = first_left.checked_sub(1).ok_or(EngineError::Overloaded)?;
            next = Some(rows[before].key());
        }
        tracing::info!(
            definition.name = name,
            from = request.from,
            to = request.to,
            dry_run = request.dry_run,
            n_moved = tally.n_moved,
            n_refused = tally.n_refused,
            actor = request.actor,
            "moved running workflows to another version"
        );
        Ok(tally.view(next.as_ref().map(cursor)))
    }

    /// Moves workflows of this node for another one.
    ///
    /// # Errors
    ///
    /// As [`Self::migrate`]; [`EngineError::Elsewhere`] for one that is not this node's any more.
    pub(crate) async fn migrate_some(
        &self,
        name: &str,
        request: &MigrateSomeRequest,
    ) -> Result<MigrateSomeView, EngineError> {
        let Ok(_alone) = self.migrating.try_acquire() else {
            return Err(EngineError::Overloaded);
        };
        let versions = (request.from, request.to);
        let way = self.way(name, &request.tenant, versions).await?;
        let limit = usize::try_from(MIGRATION_LIMIT_MAX).unwrap_or(usize::MAX);
        let workflows = &request.workflows[..request.workflows.len().min(limit)];
        self.move_here(&way, workflows, false).await
    }

    async fn way<'w>(
        &self,
        name: &str,
        tenant: &'w str,
        (from, to): (u32, u32),
    ) -> Result<Way<'w>, EngineError> {
        let definitions = self.definitions();
        let to = definitions.startable(tenant, name, Some(to)).await?;
        definitions.compiled(tenant, name, from).await?;
        Ok(Way { tenant, from, to })
    }

    /// Judges workflows until the time is over, and commits what may be.
    async fn move_here(
        &self,
        way: &Way<'_>,
        workflows: &[WorkflowId],
        dry_run: bool,
    ) -> Result<MigrateSomeView, EngineError> {
        let until = Instant::now() + JUDGING_MAX;
        let mut judged = Vec::with_capacity(workflows.len());
        for it in workflows {
            if !judged.is_empty() && until <= Instant::now() {
                break;
            }
            judged.push((*it, self.judge(way, *it).await));
        }
        let n_judged = judged.len();
        let carried_out = judged.into_iter().map(|(it, judged)| async move {
            let done = match judged {
                Ok(migration) if !dry_run => self.carry_out(way, migration).await,
                judged => judged.map(drop),
            };
            (it, done)
        });
        let mut tally = Tally::default();
        // All are in the mailbox before the first is waited for, so they share a commit.
        for (workflow, done) in join_all(carried_out).await {
            tally.add(workflow, done)?;
        }
        Ok(tally.some(n_judged))
    }

    /// The running workflows of the version to leave, and where there are more.
    async fn page(
        &self,
        name: &str,
        request: &MigrationRequest,
    ) -> Result<ListedPage, EngineError> {
        let limit = request
            .limit
            .unwrap_or(MIGRATION_LIMIT_DEFAULT)
            .clamp(1, MIGRATION_LIMIT_MAX);
        let mut filter = ListFilter {
            tenant: request.tenant.clone(),
            status: Some(Status::Running.as_str().to_owned()),
            definition: Some(name.to_owned()),
            version: Some(i64::from(request.from)),
            after: request.cursor.as_deref().map(parse_cursor).transpose()?,
            limit,
            ..ListFilter::default()
        };
        let mut found = ListedPage::default();
        // Running ones of other versions are passed over, many at a time.
        for _ in 0..PAGES_MAX {
            let page = self.shared.lists.page(&filter).await?;
            let n_rows = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
            filter.limit = filter.limit.saturating_sub(n_rows);
            found.rows.extend(page.rows);
            found.next = page.next;
            filter.after.clone_from(&found.next);
            if filter.limit == 0 || found.next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Where a workflow would stand; nothing has changed yet.
    async fn judge(&self, way: &Way<'_>, id: WorkflowId) -> Result<Migration, EngineError> {
        let before = self.shared.read(way.tenant, id).await?;
        let is_there = before.columns.version == i64::from(way.from);
        if !is_there || before.state.status().is_closed() {
            return Err(EngineError::Unknown);
        }
        let env = env(&*self.shared.random, self.shared.clock.now_ms());
        let (workflow, to) = (Arc::clone(&before), way.to.clone());
        // The proof explores up to a million states: neither on a thread that serves nor in the committer.
        let judged = tokio::task::spawn_blocking(move || moved(&workflow, &to, &env)).await;
        // Only a runtime that shuts down loses it: a panic is contained.
        let moved = judged.unwrap_or(Err(EngineError::Unavailable))?;
        Ok(Migration {
            before,
            to: way.to.clone(),
            moved,
        })
    }

    /// Commits what was judged, or judges anew what has changed meanwhile.
    async fn carry_out(&self, way: &Way<'_>, judged: Migration) -> Result<(), EngineError> {
        let id = judged.before.id;
        let mut judged = Ok(judged);
        for _ in 0..TRIES_MAX {
            let request = Request::Migrate(Box::new(judged?));
            match self.mailbox.ask(request).await {
                Err(EngineError::Changed) => judged = self.judge(way, id).await,
                answer => return answer.map(drop),
            }
        }
        Err(EngineError::Changed)
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
        let (count, examples) = self.reason(code, message);
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(workflow);
        }
    }

    /// A reason, or that of others like it where there are too many.
    fn reason(&mut self, code: &str, message: &str) -> &mut (u64, Vec<WorkflowId>) {
        let mut key = (code.to_owned(), message.to_owned());
        if REASONS_MAX <= self.reasons.len() && !self.reasons.contains_key(&key) {
            "and others like it".clone_into(&mut key.1);
        }
        self.reasons.entry(key).or_default()
    }

    /// Adds what has come of some of the workflows.
    fn merge(&mut self, some: MigrateSomeView) {
        self.n_moved += some.moved;
        self.n_refused += some.cannot;
        for MigrationReason {
            code,
            message,
            count,
            examples: more,
        } in some.reasons
        {
            let (counted, examples) = self.reason(&code, &message);
            *counted += count;
            let n_free = EXAMPLES_MAX.saturating_sub(examples.len());
            examples.extend(more.into_iter().take(n_free));
        }
    }

    fn some(self, n_judged: usize) -> MigrateSomeView {
        let (moved, cannot) = (self.n_moved, self.n_refused);
        MigrateSomeView {
            moved,
            cannot,
            reasons: self.reasons(),
            n_judged,
        }
    }

    fn view(self, next: Option<String>) -> MigrationView {
        let (moved, cannot) = (self.n_moved, self.n_refused);
        MigrationView {
            moved,
            cannot,
            reasons: self.reasons(),
            next,
        }
    }

    fn reasons(self) -> Vec<MigrationReason> {
        let reason = |((code, message), (count, examples))| MigrationReason {
            code,
            message,
            count,
            examples,
        };
        self.reasons.into_iter().map(reason).collect()
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
        // Another node has had as many, and they are counted together.
        let mut all = Tally::default();
        let mut of_another = Tally::default();
        let findings = vec![finding("a")];
        let refused = Err(EngineError::CannotMigrate { findings });
        of_another.add(ids[7], refused).unwrap();
        all.merge(of_another.some(1));
        all.merge(Tally::default().some(0));
        assert_eq!(all.reasons.len(), 1);
        let view = tally.view(None);
        assert_eq!((view.moved, view.cannot), (1, 7));
        all.merge(MigrateSomeView {
            moved: view.moved,
            cannot: view.cannot,
            reasons: view.reasons.clone(),
            n_judged: 8,
        });
        let merged = all.view(None);
        assert_eq!((merged.moved, merged.cannot), (1, 8));
        assert_eq!((merged.reasons[0].count, merged.reasons[1].count), (8, 7));
        assert_eq!(merged.reasons[0].examples.len(), EXAMPLES_MAX);
        let reasons: Vec<_> = view
            .reasons
            .iter()
            .map(|it| (it.code.as_str(), it.count))
            .collect();
        assert_eq!(reasons, [("a", 7), ("b", 7)]);
        assert_eq!(view.reasons[0].examples, ids[..EXAMPLES_MAX]);
    }
}
