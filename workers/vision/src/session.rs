//! ONNX models, loaded when first needed and shared by everyone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use sha2::{Digest, Sha256};

use crate::models::Role;

/// Threads inside one inference. One, because the workers run several
/// applicants at once and the CPU of an applicant is what is budgeted; more
/// threads spend more CPU in all.
pub const INTRA_THREADS: usize = 1;

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum VisionError {
    #[error("the model `{role}` is missing at {path}; run `btrust models fetch`")]
    Missing {
        role: Role,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("ONNX Runtime cannot be loaded from {path}; run `btrust models fetch`")]
    Runtime {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the model `{role}` cannot be used")]
    Model {
        role: Role,
        #[source]
        source: ort::Error,
    },
    #[error("the model `{role}` does not have the shape that its role asks for: {expected}")]
    Shape { role: Role, expected: &'static str },
}

/// Numbers with a shape, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// The models of one folder.
///
/// Opening reads nothing; a model is read, hashed and compiled at its first
/// use, or by [`Vision::warm_up`] on a thread of its own.
pub struct Vision {
    dir: PathBuf,
    models: [OnceLock<Arc<Model>>; Role::MODELS.len()],
    /// Two first users of a model wait for one loading instead of loading twice.
    loading: Mutex<()>,
}

/// One loaded model.
pub struct Model {
    role: Role,
    sha256: String,
    session: Mutex<Session>,
}

impl Vision {
    /// Names the folder that `btrust models fetch` filled.
    #[must_use]
    pub fn open(dir: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.into(),
            models: std::array::from_fn(|_| OnceLock::new()),
            loading: Mutex::new(()),
        })
    }

    /// The folder of the models.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model of a role, loaded if this is its first use.
    ///
    /// # Errors
    ///
    /// The file or the runtime is missing (fetch it), or the runtime refuses
    /// the model.
    pub fn model(&self, role: Role) -> Result<Arc<Model>, VisionError> {
        let index = Role::MODELS
            .iter()
            .position(|it| *it == role)
            .ok_or(VisionError::Shape {
                role,
                expected: "a role that is run as a model",
            })?;
        if let Some(model) = self.models[index].get() {
            return Ok(model.clone());
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = self.models[index].get() {
            return Ok(model.clone());
        }
        let model = Arc::new(self.load(role)?);
        Ok(self.models[index].get_or_init(|| model).clone())
    }

    /// Loads models ahead of their first use; meant for a background thread at
    /// start-up.
    ///
    /// # Errors
    ///
    /// The first model that cannot be loaded.
    pub fn warm_up(&self, roles: &[Role]) -> Result<(), VisionError> {
        roles
            .iter()
            .try_for_each(|role| self.model(*role).map(|_| ()))
    }

    fn load(&self, role: Role) -> Result<Model, VisionError> {
        let environment = environment(&self.dir)?;
        let path = self.dir.join(role.file_name());
        let bytes =
            std::fs::read(&path).map_err(|source| VisionError::Missing { role, path, source })?;
        let refused = |source| VisionError::Model { role, source };
        let session = Session::builder(environment)
            .map_err(refused)?
            .with_intra_threads(INTRA_THREADS)
            .map_err(|error| refused(error.into()))?
            .with_inter_threads(1)
            .map_err(|error| refused(error.into()))?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(|error| refused(error.into()))?
            .commit_from_memory(&bytes)
            .map_err(refused)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        tracing::debug!(model = %role, sha256, "loaded a model");
        Ok(Model {
            role,
            sha256,
            session: Mutex::new(session),
        })
    }
}

impl Model {
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Lower-case hex SHA-256 of the model file; belongs in every decision.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// A text of the model's own metadata, such as the alphabet of a reader.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<String> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.metadata().ok()?.custom(key)
    }

    /// Runs the model: inputs and outputs in the order that the model declares.
    ///
    /// One run at a time per model; the runtime does not promise more.
    ///
    /// # Errors
    ///
    /// The runtime refuses the shapes, or an output is not 32-bit float.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, VisionError> {
        let failed = |source| VisionError::Model {
            role: self.role,
            source,
        };
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = session
            .inputs()
            .iter()
            .map(|it| it.name().to_owned())
            .collect();
        let values = names
            .into_iter()
            .zip(inputs)
            .map(|(name, it)| {
                Ok((
                    name,
                    TensorRef::from_array_view((it.shape.clone(), it.data.as_slice()))?,
                ))
            })
            .collect::<Result<Vec<_>, ort::Error>>()
            .map_err(failed)?;
        let outputs = session.run(values).map_err(failed)?;
        outputs
            .values()
            .map(|value| {
                let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
                let shape = shape
                    .iter()
                    .map(|it| usize::try_from(*it).unwrap_or(0))
                    .collect();
                Ok(Tensor {
                    shape,
                    data: data.to_vec(),
                })
            })
            .collect()
    }
}

/// The runtime of this process: the library is loaded once, from the folder of
/// whoever comes first.
fn environment(dir: &Path) -> Result<&'static ort::environment::Environment, VisionError> {
    static ENVIRONMENT: OnceLock<ort::environment::Environment> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let path = dir.join(Role::Runtime.file_name());
    let environment = match ort::init_from(&path) {
        Ok(builder) => builder.with_name("btrust").with_telemetry(false).build(),
        Err(error) => {
            return Err(VisionError::Runtime {
                path,
                source: error.into(),
            });
        }
    }
    .map_err(|error| VisionError::Runtime {
        path,
        source: error.into(),
    })?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_missing_model_is_named_with_the_command_that_fetches_it() {
        // The runtime comes from the fetched models; only the model is missing.
        testing::vision().model(Role::EyeState).unwrap();
        let empty = tempfile::tempdir().unwrap();
        let Err(error) = Vision::open(empty.path()).model(Role::FaceMesh) else {
            panic!("a model came out of an empty folder");
        };
        let text = error.to_string();
        assert!(
            text.contains("face-mesh") && text.contains("btrust models fetch"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        testing::vision().model(Role::EyeState).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(Role::Pad.file_name()), b"not a model").unwrap();
        let loaded = Vision::open(dir.path()).model(Role::Pad);
        assert!(matches!(
            loaded,
            Err(VisionError::Model {
                role: Role::Pad,
                ..
            })
        ));
    }

    #[test]
    fn the_runtime_itself_is_no_model() {
        let loaded = testing::vision().model(Role::Runtime);
        assert!(matches!(
            loaded,
            Err(VisionError::Shape {
                role: Role::Runtime,
                ..
            })
        ));
    }

    #[test]
    fn users_of_one_model_at_once_share_it() {
        let vision = testing::vision();
        let loaded: Vec<Arc<Model>> = std::thread::scope(|scope| {
            let users: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| vision.model(Role::EyeState).unwrap()))
                .collect();
            users.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(loaded.iter().all(|it| Arc::ptr_eq(it, &loaded[0])));
        assert_eq!(loaded[0].sha256().len(), 64);
    }

    #[test]
    fn a_tensor_of_another_shape_is_an_error() {
        let model = testing::vision().model(Role::EyeState).unwrap();
        let tensor = Tensor {
            shape: vec![1, 1, 3, 3],
            data: vec![0.0; 9],
        };
        assert!(matches!(
            model.run(&[tensor]),
            Err(VisionError::Model { .. })
        ));
        let torn = Tensor {
            shape: vec![1, 1, 24, 24],
            data: vec![0.0; 9],
        };
        assert!(matches!(model.run(&[torn]), Err(VisionError::Model { .. })));
    }
}
