//! The schedules of the core of a few lines.

use poem::{
    handler,
    web::{Data, Json, Path, Query},
};
use serde_json::{Value, json};
use std::collections::HashMap;

use btrust_platform::clock::rfc3339;
use btrust_schemas::schedules::{
    NewScheduleRequest, ScheduleAct, SchedulePage, ScheduleRequest, ScheduleView, TriggerRequest,
};

use super::core::{Answer, Core, Tables, lock, ok, refuse};

/// A schedule after its change number `n`.
fn changed(name: &str, it: ScheduleView, by: &str, n: usize) -> ScheduleView {
    ScheduleView {
        name: name.to_owned(),
        tag: format!("a-{n}"),
        changed_by: by.to_owned(),
        ..it
    }
}

impl Tables {
    fn schedule(
        &mut self,
        tenant: &str,
        name: &str,
        tag: Option<&String>,
    ) -> Result<&mut ScheduleView, poem::Error> {
        let mut schedules = self.schedules.iter_mut();
        match schedules.find(|it| it.0 == tenant && it.1.name == name) {
            Some((_, view)) if tag.is_none_or(|it| *it == view.tag) => Ok(view),
            Some(_) => refuse(412, "schedule_changed"),
            None => refuse(404, "schedule_unknown"),
        }
    }
}

#[handler]
pub fn create_it(
    Data(core): Data<&Core>,
    Path((tenant, name)): Path<(String, String)>,
    Json(it): Json<NewScheduleRequest>,
) -> Answer {
    let mut tables = lock(core);
    if tables.schedule(&tenant, &name, None).is_ok() {
        return refuse(409, "schedule_exists");
    }
    if it.spec.cron.starts_with('x') {
        return refuse(422, "cron_invalid");
    }
    let view = ScheduleView {
        name: name.clone(),
        spec: it.spec,
        paused: false,
        next: vec![rfc3339(5)],
        last: None,
        tag: "a-1".to_owned(),
        created_by: it.actor.clone(),
        created_at: rfc3339(1),
        changed_by: it.actor,
        changed_at: rfc3339(1),
    };
    tables.schedules.push((tenant, view.clone()));
    ok(view)
}

#[handler]
pub fn list_them(
    Data(core): Data<&Core>,
    Path(tenant): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let tables = lock(core);
    let of_tenant = tables.schedules.iter().filter(|it| it.0 == tenant);
    let schedules: Vec<_> = of_tenant.map(|it| it.1.clone()).collect();
    ok(SchedulePage {
        schedules,
        next: query.get("after").cloned(),
    })
}

#[handler]
pub fn get_it(Data(core): Data<&Core>, Path((tenant, name)): Path<(String, String)>) -> Answer {
    let mut tables = lock(core);
    ok(tables.schedule(&tenant, &name, None)?.clone())
}

#[handler]
pub fn replace_it(
    Data(core): Data<&Core>,
    Path((tenant, name)): Path<(String, String)>,
    Json(it): Json<ScheduleRequest>,
) -> Answer {
    let mut tables = lock(core);
    let view = tables.schedule(&tenant, &name, it.tag.as_ref())?;
    let spec = it.spec;
    *view = changed(
        &name,
        ScheduleView {
            spec,
            ..view.clone()
        },
        &it.actor,
        2,
    );
    ok(view.clone())
}

#[handler]
pub fn act_on_it(
    Data(core): Data<&Core>,
    Path((tenant, name, how)): Path<(String, String, String)>,
    Json(it): Json<Value>,
) -> Answer {
    let mut tables = lock(core);
    if how == "trigger" {
        let it: TriggerRequest = serde_json::from_value(it).unwrap();
        tables.schedule(&tenant, &name, None)?;
        let workflow = tables.workflows.first().map(|it| it.1.clone());
        assert_eq!(it.idempotency_key, "key");
        return match workflow {
            Some(workflow) => ok(json!({ "workflow": workflow })),
            None => refuse(409, "schedule_not_started"),
        };
    }
    let it: ScheduleAct = serde_json::from_value(it).unwrap();
    let view = tables.schedule(&tenant, &name, it.tag.as_ref())?;
    if how == "deletion" {
        tables.schedules.retain(|it| it.1.name != name);
        return ok(());
    }
    let paused = how == "pause";
    *view = changed(
        &name,
        ScheduleView {
            paused,
            ..view.clone()
        },
        &it.actor,
        3,
    );
    ok(view.clone())
}
