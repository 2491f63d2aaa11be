//! `GET /internal/v1/nodes`

use std::sync::Arc;

use poem::web::Data;
use poem::{Response, handler};

use super::access::Gateway;
use super::{Core, answer};

/// The nodes that live, how many partitions each has, and the share of the one that answers.
#[handler]
pub fn nodes(_: Gateway, Data(core): Data<&Arc<Core>>) -> poem::Result<Response> {
    answer(Ok(core.engine.nodes()))
}
