//! `/internal/v1/tenants/{tenant}/schedules` and what is below it

use std::sync::Arc;

use poem::web::{Data, Json, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use btrust_schemas::schedules::{NewScheduleRequest, ScheduleAct, ScheduleRequest, TriggerRequest};

use super::access::Gateway;
use super::{Core, answer};

#[derive(Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

/// The schedules of a tenant.
#[handler]
pub async fn list(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(tenant): Path<String>,
    Query(page): Query<Page>,
) -> poem::Result<Response> {
    let schedules = core.engine.schedules();
    let listed = schedules.list(&tenant, page.after.as_deref(), page.limit);
    answer(listed.await)
}

/// One schedule.
#[handler]
pub async fn get(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
) -> poem::Result<Response> {
    answer(core.engine.schedules().get(&tenant, &name).await)
}

/// Adds a schedule.
#[handler]
pub async fn create(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(request): Json<NewScheduleRequest>,
) -> poem::Result<Response> {
    let request = NewScheduleRequest { tenant, ..request };
    answer(core.engine.create_schedule(&name, request).await)
}

/// Replaces what a schedule starts and when.
#[handler]
pub async fn replace(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(request): Json<ScheduleRequest>,
) -> poem::Result<Response> {
    let request = ScheduleRequest { tenant, ..request };
    answer(core.engine.replace_schedule(&name, request).await)
}

/// Lets a schedule rest.
#[handler]
pub async fn pause(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(act): Json<ScheduleAct>,
) -> poem::Result<Response> {
    let act = ScheduleAct { tenant, ..act };
    answer(core.engine.schedules().pause(&name, &act).await)
}

/// Lets a schedule go on.
#[handler]
pub async fn resume(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(act): Json<ScheduleAct>,
) -> poem::Result<Response> {
    let act = ScheduleAct { tenant, ..act };
    answer(core.engine.schedules().resume(&name, &act).await)
}

/// Deletes a schedule.
#[handler]
pub async fn delete(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(act): Json<ScheduleAct>,
) -> poem::Result<Response> {
    let act = ScheduleAct { tenant, ..act };
    answer(core.engine.schedules().delete(&name, &act).await)
}

/// Starts what a schedule starts, now.
#[handler]
pub async fn trigger(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((tenant, name)): Path<(String, String)>,
    Json(request): Json<TriggerRequest>,
) -> poem::Result<Response> {
    let request = TriggerRequest { tenant, ..request };
    answer(core.engine.trigger_schedule(&name, request).await)
}
