//! The sealed segments of an installation.

use std::sync::Arc;

use anyhow::Context as _;
use btrust_consumers::archive::Sealer;
use btrust_platform::clock::SystemClock;
use btrust_platform::config::Settings;
use btrust_platform::consumers;
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::DatabaseUrl;
use btrust_platform::keys::Keys;
use btrust_platform::objects::{EvidenceStore, FileObjects};
use btrust_platform::workflow_keys;

use crate::Folders;

/// What knows the segments and opens them.
pub async fn open(folders: &Folders) -> anyhow::Result<Sealer> {
    let settings = Settings::from_env();
    let data = DataDir::new(&folders.data);
    let location = consumers::location(&settings, &data)?;
    if let DatabaseUrl::Sqlite(path) = &location {
        anyhow::ensure!(
            path.exists(),
            "{} is not there: the streams service has archived nothing here; say --data DIR or DATABASE_URL",
            path.display()
        );
    }
    let database = consumers::open(&location)
        .await
        .context("cannot open the database of the archive")?;
    let keys: Arc<dyn Keys> = Arc::new(super::keyring(folders)?);
    let workflow_keys = workflow_keys::open(&settings, &data, keys)
        .await
        .context("cannot open the keys of the archive")?;
    let objects = Arc::new(FileObjects::new(data.objects()));
    let objects = EvidenceStore::new(objects, Arc::clone(&workflow_keys));
    let clock = Arc::new(SystemClock);
    Ok(Sealer::new(database, objects, workflow_keys, clock))
}
