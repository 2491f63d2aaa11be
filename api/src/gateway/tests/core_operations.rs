//! What operators do, at the core of a few lines: it is kept, and answered as core would.

use poem::http::Uri;
use poem::{
    handler,
    web::{Data, Json, Path},
};
use serde_json::{Value, json};

use super::core::{Answer, Core, lock, ok};
use btrust_schemas::commands::ManyView;

/// An act on one workflow.
#[handler]
pub fn act_it(
    Data(core): Data<&Core>,
    Path(id): Path<String>,
    uri: &Uri,
    Json(it): Json<Value>,
) -> Answer {
    let mut tables = lock(core);
    let act = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let tenant = it["tenant"].as_str().unwrap_or_default().to_owned();
    let mut workflow = tables.find(&tenant, &id)?.clone();
    let again = tables.acts.iter().any(|(_, known)| *known == it);
    tables.acts.push((act.clone(), it));
    match act.as_str() {
        "signals" => ok(json!({ "created": !again, "workflow": workflow })),
        "restart" => {
            workflow.restart_of = Some(workflow.id);
            ok(json!({ "created": !again, "workflow": workflow }))
        }
        "pause" => {
            workflow.paused = true;
            ok(workflow)
        }
        _ => ok(workflow),
    }
}

/// An act on many workflows.
#[handler]
pub fn act_on_many(Data(core): Data<&Core>, Json(it): Json<Value>) -> Answer {
    lock(core).acts.push(("many".to_owned(), it));
    ok(ManyView {
        done: 2,
        unchanged: 1,
        next: Some("there".to_owned()),
        ..ManyView::default()
    })
}
