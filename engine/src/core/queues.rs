//! `GET /internal/v1/queues`

use std::sync::Arc;

use poem::web::Data;
use poem::{Response, handler};

use btrust_schemas::queues::QueuesView;

use super::access::Gateway;
use super::{Core, answer};

/// What waits for workers on this node; scalers add up the nodes.
#[handler]
pub fn queues(_: Gateway, Data(core): Data<&Arc<Core>>) -> poem::Result<Response> {
    let queues = core.engine.queues();
    answer(Ok(QueuesView { queues }))
}
