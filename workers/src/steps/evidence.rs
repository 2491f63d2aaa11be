//! What the steps that look at pictures share.

use btrust_schemas::step::ModelUse;
use btrust_vision::{Role, Vision, VisionError};

use crate::runtime::Fault;

/// A model is missing or does not run; nothing that the person could mend.
pub const ERROR_MODEL_UNAVAILABLE: &str = "BTrust.ModelUnavailable";

/// The fault of a model that gave no answer.
pub fn model_fault(error: &VisionError) -> Fault {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a model gave no answer"
    );
    Fault::failed(ERROR_MODEL_UNAVAILABLE, error.to_string())
}

/// The models that took part in a result, by the hashes of the files that ran.
pub fn models_used(vision: &Vision, roles: &[Role]) -> Result<Vec<ModelUse>, VisionError> {
    let used = |role: &Role| {
        let model = vision.model(*role)?;
        Ok(ModelUse {
            role: role.to_string(),
            name: role.file_name(),
            sha256: model.sha256().to_owned(),
        })
    };
    roles.iter().map(used).collect()
}
