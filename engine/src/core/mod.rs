//! Core's HTTP server (port 5002): the internal API for the gateway and the workers.
//!
//! One file an endpoint; a new one is a file and a line in [`routes`].

mod access;
mod acknowledge;
mod acknowledgements;
mod act_log;
mod acts;
mod audit;
mod cancel;
mod config;
mod counts;
mod deletion;
mod draft;
mod exchange;
mod fail_task;
mod forward;
mod get_definition;
mod history;
mod incident;
mod incidents;
mod keep_task;
mod legal_hold;
mod list_definitions;
mod list_workflows;
mod live;
mod migrations;
mod nodes;
mod parcels;
mod pause;
mod prompts;
mod publication;
mod queues;
mod redrive;
mod restart;
mod result;
mod resume;
mod retirement;
mod schedules;
mod search_attributes;
mod signals;
mod start;
mod submit;
mod succeed_task;
mod task_limits;
mod terminate;
mod versions;
mod workflow;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use poem::http::{HeaderValue, header};
use poem::web::Json;
use poem::{EndpointExt, IntoResponse, Response, Route, get, post};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use btrust_machine::Refusal;
use btrust_platform::health::{Check, Health, ServiceCheck};
use btrust_platform::http::Shutdown;
use btrust_platform::keys::{KeyError, LocalKeyring};
use btrust_platform::problem;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::{JsonlStreams, Streams};
use btrust_platform::token::Verifier;
use btrust_platform::workflow_keys;
use btrust_schemas::ids::TaskToken;

use crate::engine::{Engine, Ports};
use crate::error::EngineError;
use crate::nodes::Membership;
use crate::restore::{self, RestoreError};
use crate::sequencer::{AuditReader, Sequencer, SequencerPorts};
use crate::store::{self, Stores};

pub use config::CoreConfig;
pub(crate) use forward::{ELSEWHERE, FORWARDED};

/// Name of the service in logs, metrics and health.
const SERVICE: &str = "core";

/// What the endpoints share.
pub struct Core {
    pub engine: Arc<Engine>,
    verifier: Verifier,
    /// For calls to other nodes.
    client: reqwest::Client,
    shutdown: Shutdown,
}

/// Why core could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the database of core cannot be opened")]
    Database(#[from] store::OpenError),
    #[error("the database of the keys cannot be opened")]
    WorkflowKeys(#[from] workflow_keys::OpenError),
    #[error("the keyring cannot be opened")]
    Keyring(#[source] KeyError),
    #[error("the database is not served")]
    Restored(#[from] RestoreError),
    #[error("the streams cannot be opened")]
    Streams(#[source] io::Error),
    #[error("the engine cannot start")]
    Engine(#[from] EngineError),
    /// Nothing could be committed any more, so a restart is better than an answer.
    #[error("a task of the engine has ended before its shutdown")]
    EngineEnded,
    #[error("the listener cannot be served")]
    Listener(#[source] io::Error),
}

/// Checks that the process may answer for its partitions.
///
/// Alone, it must have kept what it has taken at its start; among others it must be in the registry, and
/// how many it has is a matter of its share.
struct PartitionsCheck(Arc<Engine>);

#[async_trait]
impl Check for PartitionsCheck {
    async fn check(&self) -> Result<(), String> {
        if self.0.has_neighbours() {
            let is_registered = self.0.is_registered();
            return is_registered
                .then_some(())
                .ok_or_else(|| "the lease has ended".to_owned());
        }
        match self.0.n_lost_partitions() {
            0 => Ok(()),
            n_lost => Err(format!("{n_lost} partitions are lost until a restart")),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let nodes = self.0.nodes();
        let counts = [("owned", nodes.n_owned), ("wanted", nodes.n_wanted)];
        counts
            .map(|(name, n)| (name.to_owned(), n.into()))
            .into_iter()
            .collect()
    }
}

/// Checks that the disk had room for the latest write; a full one is not a reason to send readers away.
struct StorageCheck(Arc<Engine>);

#[async_trait]
impl Check for StorageCheck {
    async fn check(&self) -> Result<(), String> {
        if self.0.is_storage_full() {
            return Err("the disk is full: nothing can be written until there is room".to_owned());
        }
        Ok(())
    }
}

/// How long turns wait without a worker that may take them before health says so, ms.
///
/// Source: a fleet that is deployed anew is back within it.
const NO_WORKER_MS: i64 = 60_000;

/// Checks that every turn that waits has a worker that may take it. For people: a node without workers
/// is as good as another one.
struct WorkersCheck(Arc<Engine>);

#[async_trait]
impl Check for WorkersCheck {
    async fn check(&self) -> Result<(), String> {
        for queue in self.0.queues() {
            let mut groups = queue.groups.iter();
            if let Some(group) = groups.find(|it| !it.has_worker && NO_WORKER_MS <= it.oldest_ms) {
                let (step, labels) = (&queue.step, &group.labels);
                return Err(format!(
                    "no worker for the step `{step}` with the labels `{labels}`"
                ));
            }
        }
        Ok(())
    }
}

/// Serves core until `shutdown`; what was accepted is committed and relayed first.
pub async fn serve(
    config: CoreConfig,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let stores = Stores::open(&config.state).await?;
    let folder = config.data_dir.root().to_owned();
    restore::refuse_restored(&*stores.store, &*stores.restore, &folder).await?;
    let incarnation = stores
        .restore
        .incarnation()
        .await
        .map_err(EngineError::from)?;
    let keys = LocalKeyring::open(&config.keyring).map_err(ServeError::Keyring)?;
    let keys = Arc::new(keys);
    let workflow_keys = workflow_keys::open_at(&config.keys, Arc::clone(&keys) as _).await?;
    let streams = JsonlStreams::open(config.data_dir.streams()).map_err(ServeError::Streams)?;
    let streams: Arc<dyn Streams> = Arc::new(streams);
    let audit = AuditReader::new(Arc::clone(&stores.store), Arc::clone(&stores.audit_log));
    let sequencer = SequencerPorts {
        store: Arc::clone(&stores.store),
        log: stores.audit_log,
        restore: Arc::clone(&stores.restore),
        keys: Arc::clone(&keys) as _,
        streams: Arc::clone(&streams),
        clock: Arc::clone(&config.clock),
        random: SystemRandom::shared(),
        is_shared: stores.is_shared,
    };
    let sequencer = Sequencer::new(sequencer, config.checkpoints);
    let troubles = sequencer.troubles();
    let ports = Ports {
        store: stores.store,
        lists: stores.lists,
        definitions: stores.definitions,
        schedules: stores.schedules,
        tenants: stores.tenants,
        operations: stores.operations,
        task_limits: config.task_limits,
        keys,
        workflow_keys,
        streams,
        clock: Arc::clone(&config.clock),
        random: SystemRandom::shared(),
        nodes: vec![config.core_url],
        membership: stores.is_shared.then_some(Membership {
            store: stores.nodes,
            url: config.node_url,
        }),
        second_person: config.second_person,
        retention: config.retention,
    };
    // The engine stops after the last request has been answered.
    let engine_shutdown = Shutdown::new();
    // The mark is written after the relay's last look.
    let marked = Shutdown::new();
    let (engine, mut running) = Engine::start(ports, &engine_shutdown).await?;
    engine.has_audit_log(audit);
    // Its last round is after the relay's last look too.
    let sequencing = tokio::spawn(sequencer.run(marked.clone()));
    let marking = tokio::spawn(restore::keep_mark(
        folder,
        incarnation,
        engine.published(),
        marked.clone(),
    ));
    let health = Health::new(SERVICE)
        .own("db", stores.check)
        .own("partitions", PartitionsCheck(Arc::clone(&engine)))
        .neighbour("workers", WorkersCheck(Arc::clone(&engine)))
        .neighbour("storage", StorageCheck(Arc::clone(&engine)))
        .neighbour("audit", troubles)
        .neighbour(
            "auth",
            ServiceCheck::new(btrust_platform::http::client(), &config.auth_url),
        );
    let verifier = Verifier::new(&config.auth_url, config.clock);
    let routes = health.install(routes(engine, verifier, shutdown.clone()));
    let served = tokio::select! {
        served = btrust_platform::http::serve(SERVICE, listener, routes, shutdown) => {
            served.map_err(ServeError::Listener)
        }
        () = running.ended() => Err(ServeError::EngineEnded),
    };
    engine_shutdown.trigger();
    running.stopped().await;
    marked.trigger();
    for ended in [marking.await, sequencing.await] {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the engine has failed");
        }
    }
    served
}

/// The endpoints of core, without health.
pub fn routes(engine: Arc<Engine>, verifier: Verifier, shutdown: Shutdown) -> Route {
    let core = Arc::new(Core {
        engine,
        verifier,
        client: btrust_platform::http::client(),
        shutdown,
    });
    let api = of_audit(of_definitions(Route::new()))
        .at(
            "/workflows",
            post(start::start).get(list_workflows::list_workflows),
        )
        .at("/workflows/counts", get(counts::counts))
        .at("/workflows/:id", get(workflow::workflow))
        .at(
            "/workflows/:id/search-attributes",
            post(search_attributes::search_attributes),
        )
        .at("/workflows/:id/legal-hold", post(legal_hold::legal_hold))
        .at("/workflows/:id/deletion", post(deletion::deletion))
        .at("/workflows/:id/result", get(result::result))
        .at("/workflows/:id/history", get(history::history))
        .at("/workflows/:id/prompts", get(prompts::prompts))
        .at("/workflow-acts", post(acts::acts))
        .at("/workflows/:id/cancel", post(cancel::cancel))
        .at("/workflows/:id/parcels", post(parcels::parcels))
        .at("/workflows/:id/signals", post(signals::signals))
        .at("/workflows/:id/pause", post(pause::pause))
        .at("/workflows/:id/resume", post(resume::resume))
        .at("/workflows/:id/terminate", post(terminate::terminate))
        .at("/workflows/:id/redrive", post(redrive::redrive))
        .at("/workflows/:id/restart", post(restart::restart))
        .at("/prompts/:id/submissions", post(submit::submit))
        .at(
            "/task-tokens/:token/success",
            post(succeed_task::succeed_task),
        )
        .at("/task-tokens/:token/failure", post(fail_task::fail_task))
        .at("/task-tokens/:token/heartbeat", post(keep_task::keep_task))
        .at(
            "/tenants/:tenant/acknowledgements",
            post(acknowledge::acknowledge).get(acknowledgements::acknowledgements),
        )
        .at("/tenants/:tenant/acts", post(act_log::acts))
        .at("/incidents", get(incidents::incidents))
        .at("/incidents/:id", get(incident::incident))
        .at("/incidents/:id/resolution", post(incident::resolution))
        .at(
            "/task-limits",
            get(task_limits::task_limits).put(task_limits::put_task_limits),
        )
        .at("/queues", get(queues::queues))
        .at("/tenants/:tenant/schedules", get(schedules::list))
        .at(
            "/tenants/:tenant/schedules/:name",
            get(schedules::get)
                .post(schedules::create)
                .put(schedules::replace),
        )
        .at(
            "/tenants/:tenant/schedules/:name/pause",
            post(schedules::pause),
        )
        .at(
            "/tenants/:tenant/schedules/:name/resume",
            post(schedules::resume),
        )
        .at(
            "/tenants/:tenant/schedules/:name/deletion",
            post(schedules::delete),
        )
        .at(
            "/tenants/:tenant/schedules/:name/trigger",
            post(schedules::trigger),
        )
        .at("/tasks/exchange", post(exchange::exchange))
        .at("/nodes", get(nodes::nodes));
    let forward = forward::Forward::new(Arc::clone(&core.engine), core.client.clone());
    Route::new().nest("/internal/v1", api.data(core).with(forward))
}

/// The endpoints of the logs of audit records.
fn of_audit(routes: Route) -> Route {
    routes
        .at("/audit/checkpoint", get(audit::latest_checkpoint))
        .at("/audit/checkpoints", get(audit::checkpoints))
        .at("/audit/keys", get(audit::keys))
        .at("/audit/proofs/inclusion", get(audit::inclusion))
        .at("/audit/proofs/consistency", get(audit::consistency))
        .at("/audit/archive", get(audit::archive_lines))
}

/// The endpoints of versions of definitions.
fn of_definitions(routes: Route) -> Route {
    routes
        .at(
            "/definitions",
            post(draft::draft).get(list_definitions::list_definitions),
        )
        .at("/definitions/:name", get(get_definition::get_definition))
        .at("/definitions/:name/versions", get(versions::versions))
        .at(
            "/definitions/:name/versions/:version/publication",
            post(publication::publication),
        )
        .at(
            "/definitions/:name/versions/:version/retirement",
            post(retirement::retirement),
        )
        .at(
            "/definitions/:name/migrations",
            post(migrations::migrations),
        )
        .at(
            "/definitions/:name/migrations/some",
            post(migrations::some_migrations),
        )
        .at(
            "/definitions/:name/live",
            get(live::live).put(live::move_live),
        )
}

impl Core {
    /// Waits for `work`, but not beyond the beginning of a shutdown: a parked call must not delay it.
    async fn park<T>(
        &self,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        tokio::select! {
            done = work => done,
            () = self.shutdown.wait() => Err(EngineError::Unavailable),
        }
    }
}

/// An answer of the engine as a response; the only place where its errors become problems.
fn answer<T: Serialize + Send>(result: Result<T, EngineError>) -> poem::Result<Response> {
    result.map(|it| Json(it).into_response()).map_err(refuse)
}

fn refuse(error: EngineError) -> poem::Error {
    let mut response = problem::response(&error.problem());
    if let Some(retry_after_s) = error.retry_after_s() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    if error == EngineError::Elsewhere {
        let yes = HeaderValue::from_static("1");
        response.headers_mut().insert(ELSEWHERE, yes);
    }
    poem::Error::from_response(response)
}

/// 404 for an id that is not spelt like one: there can be no such thing.
fn parse_workflow(id: &str) -> poem::Result<btrust_schemas::ids::WorkflowId> {
    id.parse().map_err(|_| refuse(EngineError::Unknown))
}

/// 404 for a token that is not spelt like one: nothing can wait for it.
fn parse_token(token: &str) -> poem::Result<TaskToken> {
    let unknown = || refuse(EngineError::Refused(Refusal::TokenUnknown));
    token.parse().map_err(|_| unknown())
}
