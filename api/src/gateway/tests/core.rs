//! A core of a few lines: it keeps what it is told and refuses as core does. The
//! real one is met in `tests/it`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use poem::{
    EndpointExt as _, IntoResponse as _, Response, Route, get, handler, post,
    web::{Data, Json, Path, Query},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::core_definitions::{
    draft_it, get_definition, get_live, list_definitions, list_versions, migrate_it, move_live,
    publish_it, retire_it,
};
use super::core_operations::{act_it, act_on_many};
use super::core_operators::{
    get_incident, get_task_limits, list_incidents, put_task_limits, resolve_incident,
};
use super::core_schedules::{act_on_it, create_it, get_it, list_them, replace_it};
use btrust_platform::{clock::rfc3339, problem, token::Verifier};
use btrust_schemas::{
    children::Lineage,
    core::{
        Acknowledgement, CancelRequest, HistoryPage, ListQuery, ResultView, StartRequest,
        StartResponse, Status, SubmissionRequest, SubmissionResponse, WorkflowView,
    },
    definition::{DefinitionView, LiveView},
    events::{ReportedAct, ReportedActs},
    ids::{PromptId, WorkflowId},
    incidents::IncidentView,
    problem::Problem,
    prompt::{PromptView, PromptsView},
    schedules::ScheduleView,
    search::{
        AttributesRequest, CountQuery, CountsView, DeletionRequest, HoldRequest, ListPage,
        ListedWorkflow,
    },
    task_limits::TaskLimitsRequest,
    turn::Audience,
};

#[derive(Default)]
pub struct Tables {
    pub definitions: Vec<(String, DefinitionView)>,
    /// The moves of the alias of the one definition of a test, the earliest first.
    pub moves: Vec<LiveView>,
    /// Whether somebody else than the author has to publish.
    pub second_person: bool,
    pub workflows: Vec<(String, WorkflowView)>,
    keys: HashMap<(String, String), (String, WorkflowId)>,
    pub prompts: Vec<PromptView>,
    /// The digest of the answer that a prompt has taken.
    answers: HashMap<PromptId, String>,
    pub submissions: Vec<SubmissionRequest>,
    acknowledgements: Vec<(String, Acknowledgement)>,
    pub schedules: Vec<(String, ScheduleView)>,
    /// The token that a task waits for, and its tenant.
    pub token: Option<(String, String)>,
    pub incidents: Vec<(String, IncidentView)>,
    pub limits: Vec<TaskLimitsRequest>,
    /// Status, code and `Retry-After` of every start.
    pub busy: Option<(u16, &'static str, u64)>,
    /// What was sent back, and how.
    pub sent_back: Vec<(String, Value)>,
    /// What was done to workflows, and how it was asked for.
    pub acts: Vec<(String, Value)>,
    /// Acts that were reported, with their tenants.
    pub reported: Vec<(String, ReportedAct)>,
    /// Whether acts cannot be recorded now.
    pub takes_no_acts: bool,
    /// The act that is none.
    pub refused_act: Option<String>,
    /// Whether a workflow that is waited for has a result.
    pub ends_at_once: bool,
    /// Policies and waits of starts.
    pub asked_starts: Vec<Value>,
}

pub type Core = Arc<Mutex<Tables>>;

pub type Answer = Result<Response, poem::Error>;

pub fn routes(core: Core, verifier: Verifier) -> Route {
    let verifier = Arc::new(verifier);
    let api = Route::new()
        .at("/definitions", post(draft_it).get(list_definitions))
        .at("/definitions/:name", get(get_definition))
        .at("/definitions/:name/versions", get(list_versions))
        .at(
            "/definitions/:name/versions/:version/publication",
            post(publish_it),
        )
        .at(
            "/definitions/:name/versions/:version/retirement",
            post(retire_it),
        )
        .at("/definitions/:name/migrations", post(migrate_it))
        .at("/definitions/:name/live", get(get_live).put(move_live))
        .at("/workflows", post(start_it).get(list_workflows))
        .at("/workflows/counts", get(count_workflows))
        .at("/workflows/:id", get(get_workflow))
        .at("/workflows/:id/search-attributes", post(change_attributes))
        .at("/workflows/:id/legal-hold", post(hold_it))
        .at("/workflows/:id/deletion", post(delete_it))
        .at("/workflows/:id/result", get(get_result))
        .at("/workflows/:id/history", get(get_history))
        .at("/workflows/:id/prompts", get(list_prompts))
        .at("/workflows/:id/cancel", post(cancel_it))
        .at("/workflows/:id/signals", post(act_it))
        .at("/workflows/:id/pause", post(act_it))
        .at("/workflows/:id/resume", post(act_it))
        .at("/workflows/:id/terminate", post(act_it))
        .at("/workflows/:id/redrive", post(act_it))
        .at("/workflows/:id/restart", post(act_it))
        .at("/workflow-acts", post(act_on_many))
        .at("/prompts/:id/submissions", post(submit_it))
        .at("/task-tokens/:token/:how", post(send_back))
        .at("/incidents", get(list_incidents))
        .at("/incidents/:id", get(get_incident))
        .at("/incidents/:id/resolution", post(resolve_incident))
        .at("/task-limits", get(get_task_limits).put(put_task_limits))
        .at(
            "/tenants/:tenant/acknowledgements",
            post(acknowledge_it).get(list_acknowledgements),
        )
        .at("/tenants/:tenant/acts", post(record_acts))
        .at("/tenants/:tenant/schedules", get(list_them))
        .at(
            "/tenants/:tenant/schedules/:name",
            get(get_it).post(create_it).put(replace_it),
        )
        .at("/tenants/:tenant/schedules/:name/:how", post(act_on_it))
        .data(core)
        .around(move |api, request| {
            let verifier = Arc::clone(&verifier);
            async move {
                verifier
                    .authenticate(&request)
                    .await?
                    .require("core:call")?;
                poem::Endpoint::call(&api, request).await
            }
        });
    Route::new().nest("/internal/v1", api)
}

pub fn lock(core: &Core) -> MutexGuard<'_, Tables> {
    core.lock().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "what every handler here returns")]
pub fn ok(body: impl Serialize + Send) -> Answer {
    Ok(Json(body).into_response())
}

pub fn refuse<T>(status: u16, code: &str) -> Result<T, poem::Error> {
    Err(problem::error(&Problem::new(status, code, "as core says")))
}

impl Tables {
    pub fn find(&mut self, tenant: &str, id: &str) -> Result<&mut WorkflowView, poem::Error> {
        let is_it = |it: &(String, WorkflowView)| it.0 == tenant && it.1.id.to_string() == id;
        match self.workflows.iter_mut().find(|it| is_it(it)) {
            Some((_, workflow)) => Ok(workflow),
            None => refuse(404, "workflow_unknown"),
        }
    }
}

#[handler]
fn start_it(Data(core): Data<&Core>, Json(it): Json<StartRequest>) -> Answer {
    let mut tables = lock(core);
    if let Some((status, code, retry_after_s)) = tables.busy {
        let mut response = problem::response(&Problem::new(status, code, "as core says"));
        let headers = response.headers_mut();
        headers.insert("retry-after", retry_after_s.into());
        return Err(poem::Error::from_response(response));
    }
    let key = (it.tenant.clone(), it.idempotency_key.clone());
    tables
        .asked_starts
        .push(json!([it.reuse, it.conflict, it.wait_ms, it.request_id]));
    if let Some((digest, id)) = tables.keys.get(&key).cloned() {
        if digest != it.request_digest {
            return refuse(409, "idempotency_key_reused");
        }
        let workflow = tables.find(&it.tenant, &id.to_string())?.clone();
        return ok(StartResponse {
            created: false,
            workflow,
            result: None,
        });
    }
    if it.definition != "known" {
        return refuse(404, "definition_unknown");
    }
    if !it.input.is_object() {
        let errors = vec![json!({ "pointer": "", "message": "not an object" })];
        let problem = Problem::new(422, "input_invalid", "as core says").with_errors(errors);
        return Err(problem::error(&problem));
    }
    let n = u8::try_from(tables.workflows.len()).unwrap() + 1;
    let id = WorkflowId::new(n, [n; 15]);
    let workflow = WorkflowView {
        id,
        definition: it.definition,
        version: 1,
        status: Status::Running,
        waiting_for: Some(Audience::Applicant),
        decision: None,
        lineage: Lineage::default(),
        outcomes: BTreeMap::from([("VerifyPhone".to_owned(), "verified".to_owned())]),
        search_attributes: it.search_attributes,
        legal_hold: false,
        error: None,
        cause: None,
        started_at: rfc3339(i64::from(n)),
        closed_at: None,
        sequence: 3,
        running: Vec::new(),
        paused: false,
        cancelling: false,
        redrives: 0,
        restart_of: None,
        restarted_as: None,
    };
    tables.workflows.push((it.tenant, workflow.clone()));
    tables.keys.insert(key, (it.request_digest, id));
    let is_over = tables.ends_at_once && 0 < it.wait_ms;
    ok(StartResponse {
        created: true,
        result: is_over.then(|| ResultView {
            status: Status::Succeeded,
            decision: None,
            output: Some(json!({ "waitMs": it.wait_ms })),
            error: None,
            cause: None,
            continued_as: None,
        }),
        workflow,
    })
}

#[handler]
fn list_workflows(Data(core): Data<&Core>, Query(query): Query<ListQuery>) -> Answer {
    let tables = lock(core);
    let from: usize = query.cursor.as_deref().map_or(0, |it| it.parse().unwrap());
    let limit = query.limit.unwrap() as usize;
    let own = tables.workflows.iter().filter(|(tenant, it)| {
        *tenant == query.tenant && query.status.is_none_or(|status| status == it.status)
    });
    let own: Vec<WorkflowView> = own.map(|it| it.1.clone()).collect();
    let workflows: Vec<_> = own.iter().skip(from).take(limit).map(listed).collect();
    let next = (from + limit < own.len()).then(|| (from + limit).to_string());
    ok(ListPage { workflows, next })
}

fn listed(it: &WorkflowView) -> ListedWorkflow {
    ListedWorkflow {
        id: it.id,
        definition: it.definition.clone(),
        version: it.version,
        status: it.status,
        waiting_for: it.waiting_for,
        paused: it.paused,
        decision: it.decision.clone(),
        search_attributes: it.search_attributes.clone(),
        legal_hold: it.legal_hold,
        started_at: it.started_at.clone(),
        closed_at: it.closed_at.clone(),
    }
}

/// Answers with what it was asked, so that tests see what has reached core.
#[handler]
fn count_workflows(Data(core): Data<&Core>, Query(query): Query<CountQuery>) -> Answer {
    let tables = lock(core);
    let own = tables
        .workflows
        .iter()
        .filter(|(tenant, _)| *tenant == query.tenant);
    let count = u64::try_from(own.count()).unwrap();
    drop(tables);
    let is_exact = query.attributes.is_none();
    let groups = Vec::new();
    ok(CountsView {
        count,
        is_exact,
        groups,
    })
}

#[handler]
fn change_attributes(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Json(it): Json<AttributesRequest>,
) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&it.tenant, &id)?;
    if it.changes.contains_key("undeclared") {
        return refuse(422, "search_attribute_invalid");
    }
    workflow.search_attributes.extend(it.changes);
    ok(workflow.clone())
}

#[handler]
fn hold_it(Data(core): Data<&Core>, Path(id): Path<String>, Json(it): Json<HoldRequest>) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&it.tenant, &id)?;
    workflow.legal_hold = it.hold;
    ok(workflow.clone())
}

#[handler]
fn delete_it(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Json(it): Json<DeletionRequest>,
) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&it.tenant, &id)?;
    if workflow.legal_hold {
        return refuse(409, "legal_hold");
    }
    tables.workflows.retain(|(_, it)| it.id.to_string() != id);
    ok(())
}

#[handler]
fn get_workflow(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    ok(lock(core).find(&query["tenant"], &id)?)
}

#[handler]
fn get_result(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&query["tenant"], &id)?;
    ok(ResultView {
        status: workflow.status,
        decision: workflow.decision.clone(),
        output: Some(json!({ "waitMs": query["waitMs"] })),
        error: None,
        cause: None,
        continued_as: None,
    })
}

#[handler]
fn get_history(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    lock(core).find(&query["tenant"], &id)?;
    let events: Vec<Value> = vec![json!({ "id": 1, "type": "ExecutionStarted" })];
    ok(HistoryPage { events, next: None })
}

#[handler]
fn list_prompts(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&query["tenant"], &id)?.clone();
    let asked = |it: &&PromptView| {
        it.workflow == workflow.id && json!(it.audience) == query["audience"].as_str()
    };
    let open = tables
        .prompts
        .iter()
        .filter(|it| !tables.answers.contains_key(&it.id));
    ok(PromptsView {
        prompts: open.filter(asked).cloned().collect(),
        sequence: workflow.sequence,
        status: workflow.status,
        decision: None,
    })
}

#[handler]
fn cancel_it(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Json(it): Json<CancelRequest>,
) -> Answer {
    let mut tables = lock(core);
    let workflow = tables.find(&it.tenant, &id)?;
    if workflow.status != Status::Running {
        return refuse(409, "workflow_closed");
    }
    workflow.status = Status::Cancelled;
    workflow.closed_at = Some(rfc3339(9));
    ok(workflow)
}

#[handler]
fn submit_it(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Json(it): Json<SubmissionRequest>,
) -> Answer {
    let id: PromptId = id.parse().unwrap();
    let mut tables = lock(core);
    tables.find(&it.tenant, &id.workflow.to_string())?;
    let Some(prompt) = tables.prompts.iter().find(|it| it.id == id) else {
        return refuse(404, "prompt_unknown");
    };
    if prompt.audience != it.submitter.kind {
        return refuse(403, "audience_mismatch");
    }
    match tables.answers.get(&id) {
        Some(digest) if *digest == it.digest => ok(SubmissionResponse {
            prompt: id,
            created: false,
        }),
        Some(_) => refuse(409, "prompt_closed"),
        None => {
            tables.answers.insert(id, it.digest.clone());
            tables.submissions.push(it);
            ok(SubmissionResponse {
                prompt: id,
                created: true,
            })
        }
    }
}

#[handler]
fn send_back(
    Data(core): Data<&Core>,
    Path((token, how)): Path<(String, String)>,
    Json(it): Json<Value>,
) -> Answer {
    let mut tables = lock(core);
    let sent = (it["tenant"].as_str().unwrap().to_owned(), token);
    if tables.token.as_ref() != Some(&sent) {
        return refuse(404, "token_unknown");
    }
    if how != "heartbeat" {
        tables.token = None;
    }
    tables.sent_back.push((how, it));
    ok(Value::Null)
}

#[handler]
fn acknowledge_it(
    Data(core): Data<&Core>,
    Path(tenant): Path<String>,
    Json(it): Json<Acknowledgement>,
) -> Answer {
    lock(core).acknowledgements.push((tenant, it.clone()));
    ok(it)
}

#[handler]
fn list_acknowledgements(Data(core): Data<&Core>, Path(tenant): Path<String>) -> Answer {
    let tables = lock(core);
    let own = tables.acknowledgements.iter().filter(|it| it.0 == tenant);
    ok(own.map(|it| it.1.clone()).collect::<Vec<_>>())
}

#[handler]
fn record_acts(
    Data(core): Data<&Core>,
    Path(tenant): Path<String>,
    Json(reported): Json<ReportedActs>,
) -> Response {
    let mut core = core.lock().unwrap();
    let is_refused = |it: &ReportedAct| Some(&it.id) == core.refused_act.as_ref();
    if core.takes_no_acts {
        return problem::response(&Problem::new(503, "unavailable", "the disk is full"));
    }
    if reported.acts.iter().any(is_refused) {
        return problem::response(&Problem::new(422, "act_invalid", "that is none"));
    }
    let acts = reported.acts.into_iter().map(|it| (tenant.clone(), it));
    core.reported.extend(acts);
    Json(()).into_response()
}
