//! The auth service as a whole: its parts, its clients, its routes.

use std::sync::Arc;
use std::time::Duration;

use poem::{EndpointExt as _, IntoEndpoint as _, Route};
use poem_openapi::OpenApiService;
use tokio::{net::TcpListener, sync::mpsc};

use btrust_platform::{
    clock::SharedClock,
    config::{ConfigError, Secret, Settings},
    contacts::VerifiedContacts,
    data_dir::DataDir,
    documents::DocumentError,
    health::{CheckFn, Health},
    http::{BodyLimit, Shutdown},
    keys::{KeyError, Keys},
    messages::{Messenger, SendError},
    sqlite,
    token::Verifier,
};
use btrust_schemas::events::{ActKind, ActTarget};

use super::{
    acts::{ROUTES, Reports},
    applicant_tokens::CreateApplicantToken,
    clients::CreateClient,
    contact_codes::ContactCodes,
    delete_client::DeleteClient,
    failures::Failures,
    handoff_redemptions::RedeemHandoff,
    handoffs::CreateHandoff,
    jwks::GetJwks,
    resume_codes::RequestResumeCode,
    resume_links::CreateResumeLink,
    resume_redemptions::RedeemResumeCode,
    secrets::{SecretCheck, SecretError, generate_secret},
    signing::Signing,
    store::{
        MIGRATIONS, Store, StoreError,
        clients::{ClientKind, ClientRow, put_client},
    },
    token::CreateToken,
};
use crate::{
    access::scope,
    acts::{Desk, Outbox, OutboxError, Recorder, Reported, deliver},
    openapi,
    refusal::{self, Refused},
    refusals,
};

/// Name of the service in logs, metrics, health and acts.
const SERVICE: &str = "auth";

/// Largest request body of every operation, in bytes; the largest of ours, a client
/// with all scopes, has less than one KiB.
pub const BODY_BYTES_MAX: u64 = 16 * 1024;

/// Requests for codes that wait to be worked on; more are told to come later.
const CODE_REQUESTS_MAX: usize = 1_024;

/// Codes that are sent at once. A slow message provider holds up no more.
const CODE_SENDS_AT_ONCE_MAX: usize = 8;

/// How often links, codes and counters whose time is over are deleted.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// What the auth service is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AUTH_URL`: where the service is reached, and the issuer of its tokens.
    pub auth_url: String,
    /// `ONBOARDING_URL`: where the links that it mints lead.
    pub onboarding_url: String,
    /// `CORE_URL`: where acts are recorded.
    pub core_url: String,
}

impl Config {
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let url = |name: &str, port: u16| {
            let url = settings
                .get(name)
                .unwrap_or_else(|| format!("http://localhost:{port}"));
            url.trim_end_matches('/').to_owned()
        };
        Ok(Self {
            auth_url: url("AUTH_URL", 5800),
            onboarding_url: url("ONBOARDING_URL", 8050),
            core_url: url("CORE_URL", 5002),
        })
    }
}

/// What the auth service uses of the outside world, beside its own store.
#[derive(Clone)]
pub struct Outside {
    pub keys: Arc<dyn Keys>,
    pub contacts: Arc<dyn VerifiedContacts>,
    pub messenger: Arc<dyn Messenger>,
    pub clock: SharedClock,
}

/// Why the auth service could not do something. All of it is our fault or the
/// environment's; refusals of a caller are answers, not errors.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the auth database cannot be opened")]
    Open(#[from] sqlite::DbError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the keyring does not answer")]
    Keyring(#[from] KeyError),
    #[error("a key of the auth service cannot be used")]
    KeyUnusable,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the verified contacts cannot be read")]
    Contacts(#[from] DocumentError),
    #[error("a code could not be sent")]
    Send(#[from] SendError),
    #[error("an act cannot be noted")]
    Acts(#[from] OutboxError),
    #[error("the listener is not usable")]
    Listen(#[from] std::io::Error),
}

impl<R> From<AuthError> for Refused<R> {
    fn from(error: AuthError) -> Self {
        let refusal = match &error {
            AuthError::Secret(SecretError::Busy) => BUSY,
            _ => refusal::INTERNAL,
        };
        Self::failed(refusal, &error)
    }
}

impl<R> From<StoreError> for Refused<R> {
    fn from(error: StoreError) -> Self {
        AuthError::from(error).into()
    }
}

impl<R> From<SecretError> for Refused<R> {
    fn from(error: SecretError) -> Self {
        AuthError::from(error).into()
    }
}

refusals! {
    /// Operations whose work is bounded.
    Bounded {
        BUSY = 503 "busy" "too many callers wait already; try again";
    }
}

/// A client that [`Auth::bootstrap`] made; the only time its secret is seen.
#[derive(Clone, Debug)]
pub struct DevelopmentClient {
    pub id: &'static str,
    pub secret: Secret,
    pub scopes: Vec<&'static str>,
}

/// What [`Auth::ensure_client`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ensured {
    /// There was no such client.
    Created,
    /// Its tenant, scopes or secret were others.
    Changed,
    /// Everything was as asked.
    Unchanged,
}

/// The auth service.
pub struct Auth {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) signing: Arc<Signing>,
    pub(super) secrets: SecretCheck,
    pub(super) failures: Failures,
    pub(super) codes: Arc<ContactCodes>,
    pub(super) code_requests: mpsc::Sender<CodeRequest>,
    pub(super) clock: SharedClock,
    recorder: Recorder,
}

/// Somebody asks for a code; worked on after they were answered, so that neither
/// the answer nor its time says whether there is anybody to send it to.
pub(super) struct CodeRequest {
    pub link: String,
    pub address: String,
}

impl Auth {
    /// Opens the store, and makes the keys on the first start.
    ///
    /// # Errors
    ///
    /// [`AuthError`]; the service cannot start.
    pub async fn open(
        config: Config,
        data_dir: &DataDir,
        outside: Outside,
    ) -> Result<Arc<Self>, AuthError> {
        let Outside {
            keys,
            contacts,
            messenger,
            clock,
        } = outside;
        let pool = sqlite::open(&data_dir.auth_db(), &MIGRATIONS).await?;
        let outbox = Outbox::open(pool.clone(), SERVICE).await?;
        let store = Store::new(pool);
        let signing = Signing::open(&store, &keys, config.auth_url.clone(), clock.clone()).await?;
        let signing = Arc::new(signing);
        let codes = Arc::new(ContactCodes {
            store: store.clone(),
            signing: Arc::clone(&signing),
            contacts,
            messenger,
            clock: clock.clone(),
        });
        let (code_requests, requested) = mpsc::channel(CODE_REQUESTS_MAX);
        tokio::spawn(send_codes(Arc::clone(&codes), requested));
        let desk = Desk {
            service: SERVICE,
            outbox,
            clock: clock.clone(),
        };
        let core = Reports::to(&config.core_url, Arc::clone(&signing));
        Ok(Arc::new(Self {
            recorder: Recorder {
                desk,
                core: Arc::new(core),
            },
            config,
            store,
            signing,
            secrets: SecretCheck::new().await?,
            failures: Failures::default(),
            codes,
            code_requests,
            clock,
        }))
    }

    /// Acts that wait for core.
    #[cfg(test)]
    pub(super) fn outbox(&self) -> &Outbox {
        &self.recorder.desk.outbox
    }

    /// Makes sure that a client is as asked, with this very secret.
    ///
    /// # Errors
    ///
    /// [`AuthError`]
    pub async fn ensure_client(
        &self,
        id: &str,
        kind: ClientKind,
        tenant: &str,
        scopes: &[&str],
        secret: &Secret,
    ) -> Result<Ensured, AuthError> {
        let now_ms = self.clock.now_ms();
        let scopes = sorted_scopes(scopes);
        let before = self.store.client(id).await?;
        if let Some(before) = &before {
            let is_same = before.kind == kind && before.tenant == tenant && before.scopes == scopes;
            let hash = Some(before.secret_hash.as_str());
            if is_same && self.secrets.verify(id, hash, secret, now_ms).await? {
                return Ok(Ensured::Unchanged);
            }
        }
        let secret_hash = self.secrets.hash(secret).await?;
        self.secrets.trust(id, &secret_hash, secret, now_ms);
        let row = ClientRow {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            name: id.to_owned(),
            kind,
            scopes,
            secret_hash,
            created_at: before.as_ref().map_or(now_ms, |it| it.created_at),
        };
        let (kind, ensured) = match before {
            Some(_) => (ActKind::ClientChanged, Ensured::Changed),
            None => (ActKind::ClientCreated, Ensured::Created),
        };
        let target = ActTarget {
            client: Some(row.id.clone()),
            scope: Some(row.scopes.clone()),
            ..ActTarget::default()
        };
        let desk = &self.recorder.desk;
        let act = desk.by_operator(kind, target);
        // With the client, or a crash between the two would leave a client that nobody has made.
        let mut transaction = self.store.begin().await?;
        put_client(&mut transaction, &row).await?;
        let put = desk.outbox.put_within(&mut transaction, tenant, &act);
        put.await?;
        transaction.commit().await.map_err(StoreError::from)?;
        desk.outbox.has_put();
        Ok(ensured)
    }

    /// Makes the clients of a development tenant that are not there yet and
    /// returns them with their secrets, to be shown once.
    ///
    /// # Errors
    ///
    /// [`AuthError`]
    pub async fn bootstrap(&self, tenant: &str) -> Result<Vec<DevelopmentClient>, AuthError> {
        let mut created = Vec::new();
        for (id, kind, scopes) in development_clients() {
            if self.store.client(id).await?.is_some() {
                continue;
            }
            let secret = generate_secret();
            self.ensure_client(id, kind, tenant, &scopes, &secret)
                .await?;
            created.push(DevelopmentClient { id, secret, scopes });
        }
        Ok(created)
    }
}

/// The people and systems of a bank, one client each.
fn development_clients() -> Vec<(&'static str, ClientKind, Vec<&'static str>)> {
    let bank = vec![
        scope::ANALYTICS_READ,
        scope::DEFINITIONS_READ,
        scope::WORKFLOWS_READ,
        scope::WORKFLOWS_WRITE,
        scope::TASKS_WRITE,
        scope::APPLICANT_TOKENS_WRITE,
        scope::TENANT_READ,
    ];
    let admin = vec![
        scope::ANALYTICS_READ,
        scope::AUDIT_READ,
        scope::DEFINITIONS_READ,
        scope::DEFINITIONS_WRITE,
        scope::DEFINITIONS_PUBLISH,
        scope::WORKFLOWS_READ,
        scope::WORKFLOWS_OPERATE,
        scope::TENANT_READ,
        scope::TENANT_WRITE,
        scope::CLIENTS_WRITE,
        scope::REVIEWERS_WRITE,
        scope::PLATFORM_OPERATE,
        scope::WEBHOOKS_READ,
        scope::WEBHOOKS_WRITE,
    ];
    let reviewer = scope::OF_REVIEWERS.to_vec();
    vec![
        ("dev-bank", ClientKind::Client, bank),
        ("dev-admin", ClientKind::Client, admin),
        ("dev-reviewer", ClientKind::Reviewer, reviewer.clone()),
        // Four eyes need a second person.
        ("dev-reviewer-2", ClientKind::Reviewer, reviewer),
    ]
}

/// Scopes as they are stored and put into tokens.
pub(super) fn sorted_scopes(scopes: &[&str]) -> String {
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.join(" ")
}

async fn send_codes(codes: Arc<ContactCodes>, mut requested: mpsc::Receiver<CodeRequest>) {
    let mut sends = tokio::task::JoinSet::new();
    while let Some(CodeRequest { link, address }) = requested.recv().await {
        while CODE_SENDS_AT_ONCE_MAX <= sends.len() {
            sends.join_next().await;
        }
        let codes = Arc::clone(&codes);
        sends.spawn(async move {
            if let Err(error) = codes.send(&link, &address).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "cannot send a resume code");
            }
        });
    }
}

type Endpoints = (
    CreateToken,
    GetJwks,
    CreateClient,
    DeleteClient,
    CreateApplicantToken,
    CreateHandoff,
    RedeemHandoff,
    CreateResumeLink,
    RequestResumeCode,
    RedeemResumeCode,
);

fn endpoints(auth: &Arc<Auth>) -> Endpoints {
    let auth = || Arc::clone(auth);
    (
        CreateToken(auth()),
        GetJwks(auth()),
        CreateClient(auth()),
        DeleteClient(auth()),
        CreateApplicantToken(auth()),
        CreateHandoff(auth()),
        RedeemHandoff(auth()),
        CreateResumeLink(auth()),
        RequestResumeCode(auth()),
        RedeemResumeCode(auth()),
    )
}

/// The `OpenAPI` document of the auth service, as committed in
/// `schemas/openapi-auth.json`.
#[must_use]
pub fn openapi_json() -> String {
    openapi::document::<Endpoints>(
        "BTrust auth",
        "Tokens, and the links that bring people back.",
    )
}

/// Every route of the auth service.
#[must_use]
pub fn routes(auth: &Arc<Auth>) -> Route {
    let verifier = Arc::new(Verifier::with_keys(auth.signing.jwks(), auth.clock.clone()));
    let api = OpenApiService::new(endpoints(auth), "BTrust auth", env!("CARGO_PKG_VERSION"));
    let api = api.into_endpoint();
    let store = auth.store.clone();
    let db = CheckFn(move || {
        let store = store.clone();
        async move { store.ping().await.map_err(|error| error.to_string()) }
    });
    let api = api.with(BodyLimit::new(BODY_BYTES_MAX));
    let api = api.with(Reported::new(ROUTES, auth.recorder.clone()));
    let routes = Route::new()
        .nest("/", api.data(verifier))
        .at("/openapi.json", openapi::endpoint(openapi_json()));
    Health::new(SERVICE)
        .own("db", db)
        .neighbour("acts", auth.recorder.desk.outbox.clone())
        .install(routes)
}

/// Serves until `shutdown`.
///
/// # Errors
///
/// [`AuthError::Listen`] when the listener is not usable.
pub async fn serve(
    auth: Arc<Auth>,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), AuthError> {
    auth.recorder.desk.outbox.take_up().await?;
    let sweeping = tokio::spawn(sweep(Arc::clone(&auth), shutdown.clone()));
    let Recorder { desk, core } = auth.recorder.clone();
    // What the last requests have noted is brought by the next run.
    let until = shutdown.clone();
    let delivering = tokio::spawn(async move { deliver(desk.outbox, &*core, until).await });
    let served = btrust_platform::http::serve(SERVICE, listener, routes(&auth), shutdown).await;
    delivering.abort();
    sweeping.abort();
    Ok(served?)
}

async fn sweep(auth: Arc<Auth>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    while !shutdown.is_triggered() {
        ticks.tick().await;
        if let Err(error) = auth.store.sweep(auth.clock.now_ms()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot sweep the auth store"
            );
        }
    }
}
