//! The operators' part of the small core: incidents and limits.

use poem::{
    handler,
    web::{Data, Json, Path, Query},
};
use serde::Deserialize;

use btrust_platform::clock::rfc3339;
use btrust_schemas::{
    incidents::{IncidentPage, IncidentQuery, IncidentView, ResolutionRequest, ResolutionView},
    task_limits::{TaskLimitsRequest, TaskLimitsView},
};

use super::core::{Answer, Core, Tables, lock, ok, refuse};

#[derive(Deserialize)]
struct Whose {
    tenant: String,
}

impl Tables {
    fn incident(&mut self, tenant: &str, id: &str) -> Result<&mut IncidentView, poem::Error> {
        let is_it = |it: &(String, IncidentView)| it.0 == tenant && it.1.id.to_string() == id;
        match self.incidents.iter_mut().find(|it| is_it(it)) {
            Some((_, incident)) => Ok(incident),
            None => refuse(404, "incident_unknown"),
        }
    }
}

#[handler]
pub fn list_incidents(Data(core): Data<&Core>, Query(query): Query<IncidentQuery>) -> Answer {
    let tables = lock(core);
    let is_asked = |it: &&(String, IncidentView)| {
        it.0 == query.tenant
            && it.1.resolution.is_some() == query.resolved
            && query.code.as_ref().is_none_or(|code| *code == it.1.code)
    };
    let found = tables.incidents.iter().filter(is_asked);
    ok(IncidentPage {
        incidents: found.map(|it| it.1.clone()).collect(),
        next: None,
    })
}

#[handler]
pub fn get_incident(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Query(whose): Query<Whose>,
) -> Answer {
    ok(lock(core).incident(&whose.tenant, &id)?.clone())
}

#[handler]
pub fn resolve_incident(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    Json(it): Json<ResolutionRequest>,
) -> Answer {
    let mut tables = lock(core);
    let incident = tables.incident(&it.tenant, &id)?;
    if incident.resolution.is_some() {
        return refuse(409, "incident_closed");
    }
    incident.resolution = Some(ResolutionView {
        action: it.action.as_str().to_owned(),
        by: it.actor,
        note: it.note,
        at: rfc3339(0),
    });
    ok(incident.clone())
}

#[handler]
pub fn get_task_limits(Data(core): Data<&Core>) -> Answer {
    ok(view(&lock(core).limits))
}

#[handler]
pub fn put_task_limits(Data(core): Data<&Core>, Json(it): Json<TaskLimitsRequest>) -> Answer {
    let mut tables = lock(core);
    let revision = view(&tables.limits).revision;
    if it.expected.is_some_and(|it| it != revision) {
        return refuse(412, "task_limits_changed");
    }
    tables.limits.push(it);
    ok(view(&tables.limits))
}

fn view(limits: &[TaskLimitsRequest]) -> TaskLimitsView {
    let last = limits.last();
    TaskLimitsView {
        revision: limits.len() as u64,
        limits: last.map(|it| it.limits.clone()).unwrap_or_default(),
        changed_by: last.map(|it| it.actor.clone()),
        changed_at: last.map(|_| rfc3339(0)),
    }
}
