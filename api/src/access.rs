//! Who calls, and what the token lets them do.
//!
//! An operation takes a [`Caller`] of the access it needs as its first argument;
//! the check happens while the request is taken apart, so that no handler can
//! forget it, and the same type writes the operation's security into the `OpenAPI`
//! document.

use std::marker::PhantomData;
use std::sync::Arc;

use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use btrust_platform::token::{Claims, Kind, Verifier};
use btrust_schemas::events::Device;
use btrust_schemas::ids::WorkflowId;

use crate::acts::Ongoing;
use crate::refusal;

pub mod scope {
    //! The words of a token's `scope`.

    /// Funnels: numbers only.
    pub const ANALYTICS_READ: &str = "analytics:read";
    /// Checkpoints, keys and proofs of the tenant's audit log, and the records that are proved.
    pub const AUDIT_READ: &str = "audit:read";
    pub const DEFINITIONS_READ: &str = "definitions:read";
    /// Store drafts of definitions.
    pub const DEFINITIONS_WRITE: &str = "definitions:write";
    /// Publish versions, name the live one, retire the others. Where a tenant wants a
    /// second person for that, it rests on who holds this and `clients:write` together:
    /// who can make clients that publish can be both people.
    pub const DEFINITIONS_PUBLISH: &str = "definitions:publish";
    pub const WORKFLOWS_READ: &str = "workflows:read";
    pub const WORKFLOWS_WRITE: &str = "workflows:write";
    /// What operators do to workflows: terminate and redrive them, resolve incidents, act on many at once,
    /// hold and delete them.
    pub const WORKFLOWS_OPERATE: &str = "workflows:operate";
    /// Endpoints that are told what happens to workflows, and the calls to them.
    pub const WEBHOOKS_READ: &str = "webhooks:read";
    pub const WEBHOOKS_WRITE: &str = "webhooks:write";
    /// Send back the tokens of tasks that wait for them.
    pub const TASKS_WRITE: &str = "tasks:write";
    pub const APPLICANT_TOKENS_WRITE: &str = "applicant-tokens:write";
    pub const REVIEWS_WRITE: &str = "reviews:write";
    pub const TENANT_READ: &str = "tenant:read";
    pub const TENANT_WRITE: &str = "tenant:write";
    pub const CLIENTS_WRITE: &str = "clients:write";
    /// Make reviewers. That two pairs of eyes belong to two people rests on who
    /// holds this: who can make reviewers can be both of them.
    pub const REVIEWERS_WRITE: &str = "reviewers:write";
    /// Applicants only: answer the prompts of one workflow.
    pub const PROMPTS_ANSWER: &str = "prompts:answer";
    /// Applicants only: upload pictures for one workflow.
    pub const OBJECTS_WRITE: &str = "objects:write";
    /// The platform's operator only, whatever the tenant: no client of a bank is given it.
    pub const PLATFORM_OPERATE: &str = "platform:operate";
    /// Services only: call the internal API of core.
    pub const CORE_CALL: &str = "core:call";
    /// Services only: report acts to core.
    pub const ACTS_WRITE: &str = "acts:write";
    /// Services only: take tasks of `queue:<step>`.
    pub const QUEUE_PREFIX: &str = "queue:";

    /// What a bank's own client may be given.
    pub const OF_CLIENTS: &[&str] = &[
        ANALYTICS_READ,
        AUDIT_READ,
        DEFINITIONS_READ,
        DEFINITIONS_WRITE,
        DEFINITIONS_PUBLISH,
        WORKFLOWS_READ,
        WORKFLOWS_WRITE,
        WORKFLOWS_OPERATE,
        TASKS_WRITE,
        APPLICANT_TOKENS_WRITE,
        TENANT_READ,
        TENANT_WRITE,
        CLIENTS_WRITE,
        REVIEWERS_WRITE,
        WEBHOOKS_READ,
        WEBHOOKS_WRITE,
    ];
    /// What an administrator gives without having it: setting up the bank's own
    /// backend is what the role is for. Everything else is given by who has it.
    pub const OF_BACKENDS: &[&str] = &[
        DEFINITIONS_READ,
        WORKFLOWS_READ,
        WORKFLOWS_WRITE,
        TASKS_WRITE,
        APPLICANT_TOKENS_WRITE,
    ];
    /// What a reviewer may be given.
    pub const OF_REVIEWERS: &[&str] = &[DEFINITIONS_READ, WORKFLOWS_READ, REVIEWS_WRITE];
    /// What every applicant's token carries.
    pub const OF_APPLICANTS: &[&str] = &[PROMPTS_ANSWER, OBJECTS_WRITE];
}

/// Name of the one security scheme in the `OpenAPI` documents.
pub const SCHEME: &str = "bearer";

/// Which tokens an operation takes.
pub trait Access: Send + Sync + 'static {
    /// Scopes any one of which opens the operation. Written as `bearer#<scope>`,
    /// which [`crate::openapi`] unfolds into the spelling of `OpenAPI`.
    const ANY_OF: &'static [&'static str];
}

/// Declares accesses: `Name = "scope" | "scope";`.
macro_rules! accesses {
    ($($(#[$doc:meta])* $name:ident = $($scope:literal)|+;)+) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Access for $name {
            const ANY_OF: &'static [&'static str] = &[$(concat!("bearer#", $scope)),+];
        }
    )+};
}

accesses! {
    AnalyticsRead = "analytics:read";
    AuditRead = "audit:read";
    DefinitionsRead = "definitions:read";
    DefinitionsWrite = "definitions:write";
    DefinitionsPublish = "definitions:publish";
    WebhooksRead = "webhooks:read" | "webhooks:write";
    WebhooksWrite = "webhooks:write";
    WorkflowsRead = "workflows:read";
    /// A client that may look, or the applicant whose workflow it is.
    WorkflowsReadOrOwn = "workflows:read" | "prompts:answer";
    WorkflowsWrite = "workflows:write";
    WorkflowsOperate = "workflows:operate";
    /// What concerns all tenants.
    PlatformOperate = "platform:operate";
    TasksWrite = "tasks:write";
    /// Who may be asked something: applicants, reviewers, and clients on behalf of the portal.
    PromptsRead = "prompts:answer" | "reviews:write" | "workflows:read";
    PromptsAnswer = "prompts:answer" | "reviews:write" | "workflows:write";
    /// The applicant for pictures, a client for files.
    ObjectsWrite = "objects:write" | "workflows:write";
    TenantRead = "tenant:read" | "tenant:write";
    TenantWrite = "tenant:write";
    ClientsWrite = "clients:write";
    ApplicantTokensWrite = "applicant-tokens:write";
    /// The applicant of one workflow.
    Applicant = "prompts:answer";
    /// The applicant for their own workflow, or a client for one of its tenant's.
    ResumeLinksWrite = "prompts:answer" | "applicant-tokens:write";
}

/// A caller whose token was verified and has the access `A`.
pub struct Caller<A> {
    pub claims: Claims,
    /// Network address of the caller, for limits only.
    pub address: Option<String>,
    /// What kind of device an applicant uses.
    pub device: Option<Device>,
    /// The act that the operation is, where it is one.
    pub act: Option<Arc<Ongoing>>,
    own_workflow: Option<WorkflowId>,
    access: PhantomData<A>,
}

impl<A: Access> Caller<A> {
    /// The workflow that an applicant's token opens; `None` for everybody else.
    pub fn own_workflow(&self) -> Option<WorkflowId> {
        self.own_workflow
    }

    /// Whether the caller may see `workflow` as far as the token alone says: an
    /// applicant's token opens exactly one.
    pub fn opens(&self, workflow: WorkflowId) -> bool {
        self.own_workflow.is_none_or(|own| own == workflow)
    }

    pub fn tenant(&self) -> &str {
        &self.claims.tenant
    }
}

impl<'a, A: Access> ApiExtractor<'a> for Caller<A> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "An EdDSA JWT from `POST /oauth2/token` of the auth service (clients), or one \
                     minted for an applicant; an applicant's token opens exactly one workflow.",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        A::ANY_OF.to_vec()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let verifier = request.data::<Arc<Verifier>>().ok_or_else(|| {
            refusal::INTERNAL
                .detail("no token verifier is set up")
                .into_error()
        })?;
        let claims = verifier.authenticate(request).await?;
        let act = Ongoing::of(request).cloned();
        if let Some(act) = &act {
            act.seen(&claims);
        }

        let scopes = || {
            A::ANY_OF
                .iter()
                .filter_map(|it| it.split_once('#'))
                .map(|(_, scope)| scope)
        };
        if !scopes().any(|scope| claims.has_scope(scope)) {
            let needed = scopes().collect::<Vec<_>>().join("` or `");
            return Err(refusal::SCOPE_MISSING
                .detail(format!("the token needs the scope `{needed}`"))
                .into_error());
        }
        // An applicant's token that names no workflow would open all of them.
        let own_workflow = match (claims.kind, claims.workflow.as_deref()) {
            (Kind::Applicant, Some(workflow)) => workflow.parse().ok(),
            _ => None,
        };
        if claims.kind == Kind::Applicant && own_workflow.is_none() {
            return Err(refusal::SCOPE_MISSING
                .detail("the token names no workflow")
                .into_error());
        }
        if let Some(act) = &act {
            act.begin().await?;
        }
        let address = crate::address::of(request);
        let agent = request.header(header::USER_AGENT).unwrap_or_default();
        let device = (claims.kind == Kind::Applicant).then(|| Device::of_user_agent(agent));
        Ok(Self {
            address,
            device,
            act,
            claims,
            own_workflow,
            access: PhantomData,
        })
    }
}
