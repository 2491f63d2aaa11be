//! What every `OpenAPI` document of ours gets after poem-openapi has written it.

use std::collections::HashMap;
use std::marker::PhantomData;

use poem::{
    Endpoint, Response,
    endpoint::{BoxEndpoint, make_sync},
    http::{Method, header},
};
use poem_openapi::{
    OpenApi, OpenApiService,
    registry::{MetaApi, MetaPath, Registry},
};
use serde_json::{Map, Value, json};

use crate::refusal::{self, Refusals as _};

/// The command that brings the committed documents up to date.
pub const REGENERATE: &str = "make schemas";

/// Operations that are described and not run: what the document needs of them.
struct Described<T>(PhantomData<fn() -> T>);

impl<T: OpenApi> OpenApi for Described<T> {
    /// One entry a path, although each operation is an API of its own: a JSON
    /// object has each key once.
    fn meta() -> Vec<MetaApi> {
        let mut merged: Vec<MetaPath> = Vec::new();
        for path in T::meta().into_iter().flat_map(|it| it.paths) {
            match merged.iter_mut().find(|it| it.path == path.path) {
                Some(known) => known.operations.extend(path.operations),
                None => merged.push(path),
            }
        }
        vec![MetaApi { paths: merged }]
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// The `OpenAPI` document of the operations `T`. It ends with a newline, as committed.
#[must_use]
pub(crate) fn document<T: OpenApi>(title: &str, description: &str) -> String {
    let described = Described::<T>(PhantomData);
    let service = OpenApiService::new(described, title, env!("CARGO_PKG_VERSION"));
    finish(&service.description(description).spec())
}

/// Answers with a document.
pub(crate) fn endpoint(document: String) -> impl Endpoint<Output = Response> + 'static {
    make_sync(move |_| {
        Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(document.clone())
    })
}

/// Unfolds `bearer#<scope>` into the spelling of `OpenAPI`, and documents the refusals
/// that every operation shares.
fn finish(spec: &str) -> String {
    let mut document: Value = serde_json::from_str(spec).expect("poem-openapi writes JSON");
    let paths = document["paths"]
        .as_object_mut()
        .expect("there are operations");
    for operations in paths.values_mut().filter_map(Value::as_object_mut) {
        for operation in operations.values_mut().filter_map(Value::as_object_mut) {
            unfold_security(operation);
            document_shared_refusals(operation);
        }
    }
    let mut text = serde_json::to_string_pretty(&document).expect("JSON can be written");
    text.push('\n');
    text
}

fn unfold_security(operation: &mut Map<String, Value>) {
    let Some(alternatives) = operation.get_mut("security").and_then(Value::as_array_mut) else {
        return;
    };
    for alternative in alternatives {
        let folded = alternative
            .as_object()
            .and_then(|it| it.keys().next())
            .cloned();
        if let Some((scheme, scope)) = folded.as_deref().and_then(|it| it.split_once('#')) {
            *alternative = json!({ scheme: [scope] });
        }
    }
}

fn document_shared_refusals(operation: &mut Map<String, Value>) {
    let mut shared = refusal::Anywhere::ALL.to_vec();
    if operation.contains_key("requestBody") {
        shared.extend_from_slice(refusal::WithBody::ALL);
    }
    if operation.contains_key("security") {
        shared.extend_from_slice(refusal::WithToken::ALL);
    }
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for status in refusal::statuses(&shared) {
        let description = refusal::describe(&shared, status);
        let own = responses.get_mut(&status.to_string());
        if let Some(own) = own.and_then(|it| it.get_mut("description")) {
            *own = json!(format!(
                "{} {description}",
                own.as_str().unwrap_or_default()
            ));
            continue;
        }
        let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        let content = json!({ btrust_schemas::problem::MEDIA_TYPE: schema });
        let response = json!({ "description": description, "content": content });
        responses.insert(status.to_string(), response);
    }
    responses.sort_keys();
}

/// Compares a document with its committed file; the message says what to run.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_committed(document: &str, file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(file);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == document, "{file} is stale: run `{REGENERATE}`");
}
