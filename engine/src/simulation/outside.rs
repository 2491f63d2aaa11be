//! The world outside of the engine: keys, streams, and the effects that steps cause there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use btrust_platform::keys::{DataKey, KeyError, Keys, WrappedKey};
use btrust_platform::random::{self, SharedRandom};
use btrust_platform::sealing::Sealer;
use btrust_platform::streams::{Stream, StreamError, StreamRecord, Streams};
use btrust_platform::workflow_keys::WorkflowKeys;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::TurnKey;

use super::chance::Chance;
use super::node::Process;
use super::world::World;

/// What somebody outside has been made to do, and what came of its being begun.
#[derive(Clone, Debug, Default)]
pub struct Caused {
    /// How often it has happened.
    pub n_times: usize,
    /// Whether somebody who meant to cause it has died, or was told not to.
    pub may_be_lost: bool,
    pub state_name: String,
}

/// Everything outside that remembers.
#[derive(Default)]
pub struct Outside {
    ledger: Mutex<BTreeMap<TurnKey, Caused>>,
    published: Mutex<Published>,
}

#[derive(Default)]
pub struct Published {
    /// By partition key and stream, in the order of their first coming.
    pub records: BTreeMap<(String, &'static str), Vec<String>>,
    /// By event id.
    pub by_id: BTreeMap<String, String>,
}

impl Outside {
    pub fn ledger(&self) -> MutexGuard<'_, BTreeMap<TurnKey, Caused>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of workflows, in a store that every node reaches.
pub struct SimulatedKeys {
    random: Arc<Chance>,
    sealers: Mutex<BTreeMap<(String, WorkflowId), Arc<Sealer>>>,
}

impl SimulatedKeys {
    pub fn new(random: Arc<Chance>) -> Self {
        Self {
            random,
            sealers: Mutex::default(),
        }
    }

    pub fn find(&self, tenant: &str, workflow: WorkflowId) -> Option<Arc<Sealer>> {
        let sealers = self.sealers.lock().unwrap_or_else(PoisonError::into_inner);
        sealers.get(&(tenant.to_owned(), workflow)).map(Arc::clone)
    }

    fn create(&self, owner: &(String, WorkflowId)) {
        let mut sealers = self.sealers.lock().unwrap_or_else(PoisonError::into_inner);
        sealers.entry(owner.clone()).or_insert_with(|| {
            let key = DataKey::from_bytes(random::bytes(&*self.random));
            let key_id = random::bytes(&*self.random);
            let nonces: SharedRandom = self.random.clone();
            Arc::new(Sealer::with_random(key, key_id, nonces))
        });
    }

    fn destroy(&self, tenant: &str, workflow: WorkflowId) {
        let mut sealers = self.sealers.lock().unwrap_or_else(PoisonError::into_inner);
        sealers.remove(&(tenant.to_owned(), workflow));
    }
}

/// A node's way to the keys of workflows.
pub struct SimulatedWorkflowKeys {
    world: Arc<World>,
    process: Arc<Process>,
}

impl SimulatedWorkflowKeys {
    pub fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    async fn reach(&self) -> Result<(), KeyError> {
        self.process.runs().await;
        self.world.pause_a_little().await;
        self.process.runs().await;
        if self.world.strikes(self.world.weather.store / 4) {
            self.world.note(format_args!("keys do not answer"));
            return Err(KeyError::Unavailable("the keys do not answer".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl WorkflowKeys for SimulatedWorkflowKeys {
    async fn create_many(&self, workflows: &[(String, WorkflowId)]) -> Result<(), KeyError> {
        self.reach().await?;
        for owner in workflows {
            self.world.keys.create(owner);
        }
        Ok(())
    }

    async fn sealer(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Arc<Sealer>>, KeyError> {
        self.reach().await?;
        Ok(self.world.keys.find(tenant, workflow))
    }

    async fn destroy(&self, tenant: &str, workflow: WorkflowId) -> Result<(), KeyError> {
        self.reach().await?;
        self.world.keys.destroy(tenant, workflow);
        Ok(())
    }
}

/// A master key that hides nothing: nobody looks at a simulation's wrapped keys.
pub struct SimulatedMasterKeys;

#[async_trait]
impl Keys for SimulatedMasterKeys {
    async fn wrap(&self, _: &str, data_key: &DataKey) -> Result<WrappedKey, KeyError> {
        Ok(WrappedKey(data_key.expose().to_vec()))
    }

    async fn unwrap(&self, _: &str, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        let bytes = wrapped.0.as_slice().try_into();
        bytes
            .map(DataKey::from_bytes)
            .map_err(|_| KeyError::Refused)
    }
}

/// A node's way to the streams.
pub struct SimulatedStreams {
    world: Arc<World>,
    process: Arc<Process>,
}

impl SimulatedStreams {
    pub fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    fn take(&self, stream: Stream, record: &StreamRecord) {
        let text = String::from_utf8_lossy(&record.bytes).into_owned();
        let event: serde_json::Value = serde_json::from_str(&text).expect("an event is JSON");
        let id = event["id"].as_str().expect("an event has an id").to_owned();
        let mut published = self.world.outside.published();
        match published.by_id.get(&id) {
            Some(known) if *known == text => {}
            Some(_) => {
                drop(published);
                self.world.violated(
                    "an event is published again as it was",
                    format_args!("{id}"),
                );
            }
            None => {
                published.by_id.insert(id, text.clone());
                let place = (record.partition_key.clone(), stream.name());
                published.records.entry(place).or_default().push(text);
            }
        }
    }
}

#[async_trait]
impl Streams for SimulatedStreams {
    async fn append(&self, stream: Stream, records: &[StreamRecord]) -> Result<(), StreamError> {
        self.process.runs().await;
        self.world.pause_a_little().await;
        self.process.runs().await;
        let fails = self.world.strikes(self.world.weather.store);
        let n_taken = if fails {
            // Any first part of them arrives.
            let n = u64::try_from(records.len()).unwrap_or_default();
            usize::try_from(self.world.chance.between(0, n)).unwrap_or_default()
        } else {
            records.len()
        };
        for record in &records[..n_taken] {
            self.take(stream, record);
        }
        self.world.note(format_args!(
            "{} publishes {n_taken} of {} to {}",
            self.process.name,
            records.len(),
            stream.name()
        ));
        self.process.runs().await;
        if fails {
            let source = "the stream does not answer".into();
            return Err(StreamError::Unavailable { stream, source });
        }
        Ok(())
    }
}
