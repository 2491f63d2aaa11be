//! `POST /internal/v1/workflows/{id}/parcels`

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_platform::problem::problem;
use btrust_schemas::nodes::SealedParcel;

use super::{Core, answer, parse_workflow, refuse};
use crate::post::Brought;

/// The code of a parcel that no node of this database has sealed.
const PARCEL_FORBIDDEN: &str = "parcel_forbidden";

/// Takes what a workflow of another node has to say to one of this node, or what is done to it there.
///
/// No token: only a node with the keyring of this database can have sealed it.
#[handler]
pub async fn parcels(
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(sealed): Json<SealedParcel>,
) -> poem::Result<Response> {
    let to = parse_workflow(&id)?;
    let opened = core.engine.open_brought(to, &sealed).await;
    match opened.map_err(refuse)? {
        Some(Brought::Parcel(parcel)) => answer(core.engine.take_in(*parcel).await),
        Some(Brought::Act(command)) => {
            answer(core.engine.act_here(sealed.tenant, to, *command).await)
        }
        None => {
            let detail = "no node of this database has sealed this parcel";
            Err(problem(StatusCode::FORBIDDEN, PARCEL_FORBIDDEN, detail))
        }
    }
}
