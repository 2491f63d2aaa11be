//! What the tests of this crate share: the fetched models and the pictures to
//! measure with.

use std::{path::PathBuf, sync::Arc};

use crate::{Picture, Vision};

/// The models that `btrust models fetch` stored; without them the tests of the
/// models fail, and say how to get them.
pub(crate) fn vision() -> Arc<Vision> {
    static VISION: std::sync::OnceLock<Arc<Vision>> = std::sync::OnceLock::new();
    VISION.get_or_init(|| Vision::open(models_dir())).clone()
}

pub(crate) fn models_dir() -> PathBuf {
    std::env::var_os("BTRUST_MODELS")
        .expect("BTRUST_MODELS names the folder of models; fill it with `btrust models fetch --models DIR`")
        .into()
}

/// A photograph of the measuring set, or `None` with a message where the
/// folder named by `BTRUST_FIXTURES` is absent: the set cannot be committed.
pub(crate) fn photograph(name: &str) -> Option<Picture> {
    let Some(dir) = std::env::var_os("BTRUST_FIXTURES") else {
        println!("skipped: BTRUST_FIXTURES names no folder of photographs");
        return None;
    };
    let path = PathBuf::from(dir).join("faces").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(Picture::decode(&bytes).expect("a fixture is a picture"))
}
