//! The gateway as a whole: its parts and its routes.

use std::sync::Arc;

use poem::{
    Endpoint, EndpointExt as _, IntoEndpoint as _, IntoResponse as _, Request, Response, Route,
};
use poem_openapi::OpenApiService;
use reqwest::Url;
use tokio::net::TcpListener;

use btrust_machine::{Catalogue, Contract};
use btrust_platform::{
    clock::SharedClock,
    config::{ConfigError, Secret, Settings},
    data_dir::DataDir,
    health::{CheckFn, Health, ServiceCheck},
    http::{BodyLimit, Shutdown},
    objects::Objects,
    sqlite,
    token::{TokenSource, Verifier},
    workflow_keys::WorkflowKeys,
};
use btrust_schemas::step;

use super::{
    acknowledge::Acknowledge,
    act_on_workflows::ActOnWorkflows,
    acts::ROUTES,
    audit_log::AuditLog,
    cancel_workflow::CancelWorkflow,
    change_search_attributes::ChangeSearchAttributes,
    core_client::CoreClient,
    count_workflows::CountWorkflows,
    create_schedule::CreateSchedule,
    delete_schedule::DeleteSchedule,
    delete_workflow::DeleteWorkflow,
    diff_versions::DiffVersions,
    fail_task::FailTask,
    gates::{PROOFS_AT_ONCE_MAX, PROOFS_PLACES},
    get_definition::GetDefinition,
    get_definition_version::GetDefinitionVersion,
    get_funnels::GetFunnels,
    get_history::GetHistory,
    get_incident::GetIncident,
    get_live_version::GetLiveVersion,
    get_result::GetResult,
    get_schedule::GetSchedule,
    get_workflow::GetWorkflow,
    hold_workflow::HoldWorkflow,
    keep_task::KeepTask,
    list_acknowledgements::ListAcknowledgements,
    list_definitions::ListDefinitions,
    list_incidents::ListIncidents,
    list_prompts::ListPrompts,
    list_schedules::ListSchedules,
    list_workflows::ListWorkflows,
    migrate_workflows::MigrateWorkflows,
    move_live_version::MoveLiveVersion,
    pause_schedule::PauseSchedule,
    pause_workflow::PauseWorkflow,
    publish_definition::PublishDefinition,
    publish_version::PublishVersion,
    redrive_workflow::RedriveWorkflow,
    replace_schedule::ReplaceSchedule,
    resolve_incident::ResolveIncident,
    restart_workflow::RestartWorkflow,
    resume_schedule::ResumeSchedule,
    resume_workflow::ResumeWorkflow,
    retire_version::RetireVersion,
    signal_workflow::SignalWorkflow,
    start_workflow::StartWorkflow,
    streams_client::StreamsClient,
    submission_schemas::SubmissionSchemas,
    submit::Submit,
    succeed_task::SucceedTask,
    task_limits::TaskLimitsOfPlatform,
    terminate_workflow::TerminateWorkflow,
    trigger_schedule::TriggerSchedule,
    upload_object::UploadObject,
    uploads::{MIGRATIONS, Uploads, UploadsError},
    webhooks::{self, WebhookEndpoints},
};
use crate::{
    acts::{Desk, Outbox, OutboxError, Recorder, Reported, deliver},
    brake::Brake,
    openapi,
    refusal::{self, Refused},
};

/// Name of the service in logs, metrics, health and acts.
const SERVICE: &str = "gateway";

/// Largest JSON body, in bytes: a definition with all of its schemas.
pub const JSON_BYTES_MAX: u64 = 1024 * 1024;

/// What the gateway is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AUTH_URL`
    pub auth_url: String,
    /// `CORE_URL`
    pub core_url: Url,
    /// `STREAMS_URL`: the service that has counted what happens.
    pub streams_url: Url,
    /// `CLIENT_ID`: the gateway's own service client, with the scope `core:call`.
    pub client_id: String,
    /// `CLIENT_SECRET`
    pub client_secret: Secret,
}

impl Config {
    /// # Errors
    ///
    /// The first setting that is missing or cannot be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let auth_url = settings.get("AUTH_URL");
        let url = |name: &str, default: &str| {
            let url = settings.get(name).unwrap_or_else(|| default.to_owned());
            match Url::parse(&url) {
                Ok(url) if url.has_host() => Ok(url),
                _ => {
                    let (name, expected) = (name.to_owned(), "an http URL".to_owned());
                    Err(ConfigError::Invalid { name, expected })
                }
            }
        };
        Ok(Self {
            auth_url: auth_url.unwrap_or_else(|| "http://localhost:5800".to_owned()),
            core_url: url("CORE_URL", "http://localhost:5002")?,
            streams_url: url("STREAMS_URL", "http://localhost:5090")?,
            client_id: settings.required("CLIENT_ID")?,
            client_secret: settings.required_secret("CLIENT_SECRET")?,
        })
    }
}

/// What the gateway uses of the outside world, beside its own store.
#[derive(Clone)]
pub struct Outside {
    pub objects: Arc<dyn Objects>,
    pub workflow_keys: Arc<dyn WorkflowKeys>,
    pub clock: SharedClock,
}

/// Why the gateway cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway's database cannot be opened")]
    Open(#[from] sqlite::DbError),
    #[error("the queue of acts cannot be read")]
    Acts(#[from] OutboxError),
    #[error("the listener is not usable")]
    Listen(#[from] std::io::Error),
}

impl<R> From<UploadsError> for Refused<R> {
    fn from(error: UploadsError) -> Self {
        Self::failed(refusal::INTERNAL, &error)
    }
}

/// The gateway.
pub struct Gateway {
    pub(super) core: CoreClient,
    pub(super) streams: StreamsClient,
    pub(super) uploads: Uploads,
    pub(super) objects: Arc<dyn Objects>,
    pub(super) workflow_keys: Arc<dyn WorkflowKeys>,
    pub(super) submissions: SubmissionSchemas,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) proofs: Brake,
    pub(super) clock: SharedClock,
    verifier: Arc<Verifier>,
    pub(super) recorder: Recorder,
    config: Config,
}

impl Gateway {
    /// Opens the store; calls nobody yet.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Open`]
    pub async fn open(
        config: Config,
        data_dir: &DataDir,
        outside: Outside,
    ) -> Result<Arc<Self>, GatewayError> {
        let path = data_dir.root().join("gateway.sqlite");
        let pool = sqlite::open(&path, &MIGRATIONS).await?;
        let outbox = Outbox::open(pool.clone(), SERVICE).await?;
        let uploads = Uploads::new(pool);
        let (client_id, client_secret) = (config.client_id.clone(), config.client_secret.clone());
        let tokens = Arc::new(TokenSource::new(&config.auth_url, client_id, client_secret));
        let Outside {
            objects,
            workflow_keys,
            clock,
        } = outside;
        Ok(Arc::new(Self {
            core: CoreClient::new(config.core_url.clone(), Arc::clone(&tokens)),
            streams: StreamsClient::new(config.streams_url.clone(), Arc::clone(&tokens)),
            recorder: Recorder {
                desk: Desk {
                    service: SERVICE,
                    outbox,
                    clock: Arc::clone(&clock),
                },
                core: Arc::new(CoreClient::new(config.core_url.clone(), tokens)),
            },
            uploads,
            objects,
            workflow_keys,
            submissions: SubmissionSchemas::new(),
            catalogue: Arc::new(catalogue()),
            proofs: Brake::new(PROOFS_AT_ONCE_MAX, PROOFS_PLACES),
            verifier: Arc::new(Verifier::new(&config.auth_url, Arc::clone(&clock))),
            clock,
            config,
        }))
    }
}

/// The steps of this version of the platform, as the gates want them.
#[must_use]
pub fn catalogue() -> Catalogue {
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
}

/// Operations on definitions.
type DefinitionEndpoints = (
    PublishDefinition,
    ListDefinitions,
    GetDefinition,
    GetDefinitionVersion,
    PublishVersion,
    RetireVersion,
    GetLiveVersion,
    MoveLiveVersion,
    MigrateWorkflows,
    DiffVersions,
);
/// Operations on workflows.
type WorkflowEndpoints = (
    StartWorkflow,
    ListWorkflows,
    GetWorkflow,
    GetResult,
    GetHistory,
    CancelWorkflow,
    SignalWorkflow,
    RestartWorkflow,
);
/// Operations of operators on workflows.
type OperatorEndpoints = (
    PauseWorkflow,
    ResumeWorkflow,
    TerminateWorkflow,
    RedriveWorkflow,
    ActOnWorkflows,
);
/// Operations on how workflows are found and kept, and on what is proved of them.
type KeepingEndpoints = (
    CountWorkflows,
    GetFunnels,
    ChangeSearchAttributes,
    HoldWorkflow,
    DeleteWorkflow,
    AuditLog,
);
/// Operations of people, and of the tenant as a whole.
type PeopleEndpoints = (
    ListPrompts,
    Submit,
    UploadObject,
    Acknowledge,
    ListAcknowledgements,
);
/// Operations on schedules.
type ScheduleEndpoints = (
    CreateSchedule,
    ListSchedules,
    GetSchedule,
    ReplaceSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
);
/// Operations on the tokens of tasks.
type TaskEndpoints = (SucceedTask, FailTask, KeepTask);
/// Operations of operators.
type IncidentEndpoints = (
    ListIncidents,
    GetIncident,
    ResolveIncident,
    TaskLimitsOfPlatform,
);
type Endpoints = (
    DefinitionEndpoints,
    WorkflowEndpoints,
    OperatorEndpoints,
    KeepingEndpoints,
    PeopleEndpoints,
    ScheduleEndpoints,
    TaskEndpoints,
    IncidentEndpoints,
    WebhookEndpoints,
);

fn endpoints(gateway: &Arc<Gateway>) -> Endpoints {
    let webhooks = webhooks::endpoints(gateway);
    let gateway = || Arc::clone(gateway);
    let definitions = (
        PublishDefinition(gateway()),
        ListDefinitions(gateway()),
        GetDefinition(gateway()),
        GetDefinitionVersion(gateway()),
        PublishVersion(gateway()),
        RetireVersion(gateway()),
        GetLiveVersion(gateway()),
        MoveLiveVersion(gateway()),
        MigrateWorkflows(gateway()),
        DiffVersions(gateway()),
    );
    let workflows = (
        StartWorkflow(gateway()),
        ListWorkflows(gateway()),
        GetWorkflow(gateway()),
        GetResult(gateway()),
        GetHistory(gateway()),
        CancelWorkflow(gateway()),
        SignalWorkflow(gateway()),
        RestartWorkflow(gateway()),
    );
    let operators = (
        PauseWorkflow(gateway()),
        ResumeWorkflow(gateway()),
        TerminateWorkflow(gateway()),
        RedriveWorkflow(gateway()),
        ActOnWorkflows(gateway()),
    );
    let keeping = (
        CountWorkflows(gateway()),
        GetFunnels(gateway()),
        ChangeSearchAttributes(gateway()),
        HoldWorkflow(gateway()),
        DeleteWorkflow(gateway()),
        AuditLog(gateway()),
    );
    let people = (
        ListPrompts(gateway()),
        Submit(gateway()),
        UploadObject(gateway()),
        Acknowledge(gateway()),
        ListAcknowledgements(gateway()),
    );
    let schedules = (
        CreateSchedule(gateway()),
        ListSchedules(gateway()),
        GetSchedule(gateway()),
        ReplaceSchedule(gateway()),
        DeleteSchedule(gateway()),
        PauseSchedule(gateway()),
        ResumeSchedule(gateway()),
        TriggerSchedule(gateway()),
    );
    let tasks = (
        SucceedTask(gateway()),
        FailTask(gateway()),
        KeepTask(gateway()),
    );
    let incidents = (
        ListIncidents(gateway()),
        GetIncident(gateway()),
        ResolveIncident(gateway()),
        TaskLimitsOfPlatform(gateway()),
    );
    (
        definitions,
        workflows,
        operators,
        keeping,
        people,
        schedules,
        tasks,
        incidents,
        webhooks,
    )
}

/// The `OpenAPI` document of the gateway, as committed in `schemas/openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    openapi::document::<Endpoints>(
        "BTrust gateway",
        "Identity verification: definitions, workflows, prompts and evidence.",
    )
}

/// Every route of the gateway.
#[must_use]
pub fn routes(gateway: &Arc<Gateway>) -> Route {
    let api = OpenApiService::new(
        endpoints(gateway),
        "BTrust gateway",
        env!("CARGO_PKG_VERSION"),
    );
    let api = Arc::new(api.into_endpoint());
    let limited = Limited {
        uploads: Arc::clone(&api),
        others: api.with(BodyLimit::new(JSON_BYTES_MAX)),
    };
    let reported = limited.with(Reported::new(ROUTES, gateway.recorder.clone()));
    let uploads = gateway.uploads.clone();
    let db = CheckFn(move || {
        let uploads = uploads.clone();
        async move { uploads.ping().await.map_err(|error| error.to_string()) }
    });
    let http = btrust_platform::http::client();
    let routes = Route::new()
        .nest("/", reported.data(Arc::clone(&gateway.verifier)))
        .at("/openapi.json", openapi::endpoint(openapi_json()));
    Health::new(SERVICE)
        .own("db", db)
        .neighbour(
            "core",
            ServiceCheck::new(http.clone(), gateway.config.core_url.as_str()),
        )
        .neighbour(
            "streams",
            ServiceCheck::new(http.clone(), gateway.config.streams_url.as_str()),
        )
        .neighbour("auth", ServiceCheck::new(http, &gateway.config.auth_url))
        .neighbour("acts", gateway.recorder.desk.outbox.clone())
        .install(routes)
}

/// Bodies of JSON are limited here; an upload limits its own while it streams.
struct Limited<U, O> {
    uploads: U,
    others: O,
}

impl<U: Endpoint, O: Endpoint> Endpoint for Limited<U, O> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if request.uri().path().ends_with("/objects") {
            return Ok(self.uploads.call(request).await?.into_response());
        }
        Ok(self.others.call(request).await?.into_response())
    }
}

/// Serves until `shutdown`.
///
/// # Errors
///
/// [`GatewayError::Listen`] when the listener is not usable; [`GatewayError::Acts`].
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), GatewayError> {
    gateway.recorder.desk.outbox.take_up().await?;
    let sweeper = Arc::clone(&gateway);
    let sweeping = tokio::spawn(async move { sweeper.sweep_for_ever().await });
    let routes = routes(&gateway);
    let Recorder { desk, core } = gateway.recorder.clone();
    // What the last requests have noted is brought by the next run.
    let until = shutdown.clone();
    let delivering = tokio::spawn(async move { deliver(desk.outbox, &*core, until).await });
    let served = btrust_platform::http::serve(SERVICE, listener, routes, shutdown).await;
    delivering.abort();
    sweeping.abort();
    Ok(served?)
}
