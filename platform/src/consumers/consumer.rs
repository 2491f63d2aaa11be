//! One consumer of one stream in one process: takes its share of the shards and reads them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use tokio::task::JoinSet;

use super::leases::{Lease, Leases};
use super::{Sink, metrics, share};
use crate::clock::SharedClock;
use crate::health::Check;
use crate::http::Shutdown;
use crate::relational::{Relational, RelationalError};
use crate::streams::{Page, ReadError, Stream, StreamReader};
use crate::telemetry::causes;

/// How long a lease lasts that is not renewed, ms.
///
/// Source: the Kinesis Client Library's `failoverTimeMillis`, 10 s.
pub const LEASE_MS: i64 = 10_000;
/// How often leases are renewed and shares looked at: three times in the life of a lease.
const TEND_EVERY: Duration = Duration::from_secs(3);
/// Records that are read, taken and checkpointed at once.
///
/// Source: 2,000 events a second make four transactions a second.
const RECORDS_MAX: usize = 500;
/// The first pause after a failure; it doubles up to [`PAUSE_MAX`], and a part of it is drawn.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the records at hand may take at the end.
///
/// Source: as long as the requests of a server, which end before the consumers.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long a consumer may fail before its health says so, ms.
const FAILING_MS: i64 = 60_000;

/// How a consumer goes about it; shorter in tests.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub lease_ms: i64,
    pub tend_every: Duration,
    pub records_max: usize,
    pub pause_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease_ms: LEASE_MS,
            tend_every: TEND_EVERY,
            records_max: RECORDS_MAX,
            pause_max: PAUSE_MAX,
        }
    }
}

/// Reads a stream for a sink, together with the same consumer of other processes.
#[derive(Clone)]
pub struct Consumer {
    sink: Arc<dyn Sink>,
    stream: Stream,
    reader: Arc<dyn StreamReader>,
    leases: Leases,
    clock: SharedClock,
    /// This run of this process.
    owner: String,
    pace: Pace,
    status: Arc<Status>,
}

/// Since when nothing has gone well; 0 while it does.
pub struct Status {
    clock: SharedClock,
    failing_since_ms: AtomicI64,
}

impl Status {
    fn is_well(&self) {
        self.failing_since_ms.store(0, Ordering::Relaxed);
    }

    fn has_failed(&self) {
        let now_ms = self.clock.now_ms();
        // The first of a row of failures counts.
        let _ =
            self.failing_since_ms
                .compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[async_trait]
impl Check for Status {
    async fn check(&self) -> Result<(), String> {
        let since_ms = self.failing_since_ms.load(Ordering::Relaxed);
        let failing_ms = self.clock.now_ms() - since_ms;
        if since_ms == 0 || failing_ms < FAILING_MS {
            return Ok(());
        }
        Err(format!("nothing was taken for {} s", failing_ms / 1_000))
    }
}

/// Why a shard is no longer read here.
enum Ended {
    /// It was read to its end, and its children may begin.
    Read,
    /// Somebody else has it, or it was given back.
    GivenUp,
}

impl Consumer {
    /// A consumer that begins when it is [run](Self::run).
    pub fn new(
        sink: Arc<dyn Sink>,
        stream: Stream,
        reader: Arc<dyn StreamReader>,
        database: Relational,
        clock: SharedClock,
    ) -> Self {
        let leases = Leases::new(database, sink.name(), stream);
        let status = Arc::new(Status {
            clock: Arc::clone(&clock),
            failing_since_ms: AtomicI64::new(0),
        });
        Self {
            sink,
            stream,
            reader,
            leases,
            clock,
            owner: hex::encode(rand::rng().random::<[u8; 8]>()),
            pace: Pace::default(),
            status,
        }
    }

    /// The same at another pace.
    #[must_use]
    pub fn at(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Its leases, to look at and to disturb.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// For the health of the service.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Reads until `shutdown`; then what is at hand is taken, and every shard given back.
    pub async fn run(self, shutdown: Shutdown) {
        let mut held: BTreeMap<String, (Lease, Shutdown)> = BTreeMap::new();
        let mut reading: JoinSet<(String, Ended)> = JoinSet::new();
        while !shutdown.is_triggered() {
            if let Err(error) = self.tend(&mut held, &mut reading).await {
                self.failed("tend", &error);
            }
            self.held_metric(held.len());
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                Some(ended) = reading.join_next() => Self::forget(&mut held, ended),
                () = tokio::time::sleep(self.pace.tend_every) => {}
            }
        }
        for (_, stop) in held.values() {
            stop.trigger();
        }
        let drained = async { while reading.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::warn!(consumer = self.sink.name(), "records at hand were left");
        }
        self.held_metric(0);
    }

    fn forget(
        held: &mut BTreeMap<String, (Lease, Shutdown)>,
        ended: Result<(String, Ended), tokio::task::JoinError>,
    ) {
        match ended {
            Ok((shard, ended)) => {
                held.remove(&shard);
                if matches!(ended, Ended::Read) {
                    tracing::info!(shard, "a shard was read to its end");
                }
            }
            Err(error) => {
                // Which one it was is not known: all begin anew when their leases end.
                tracing::error!(%error, "a reader has failed");
                for (_, stop) in held.values() {
                    stop.trigger();
                }
                held.clear();
            }
        }
    }

    /// Renews what is held, and takes what is this process's share.
    async fn tend(
        &self,
        held: &mut BTreeMap<String, (Lease, Shutdown)>,
        reading: &mut JoinSet<(String, Ended)>,
    ) -> Result<(), TendError> {
        let until_ms = self.clock.now_ms() + self.pace.lease_ms;
        for (lease, stop) in held.values() {
            if !self.leases.renew(lease, until_ms).await? {
                stop.trigger();
            }
        }
        let shards = self.reader.shards(self.stream).await?;
        let mut leases = self.leases.list().await?;
        let mut has_new = false;
        for shard in &shards {
            if !leases.iter().any(|it| it.shard == shard.id) {
                self.leases.add(&shard.id).await?;
                has_new = true;
            }
        }
        if has_new {
            leases = self.leases.list().await?;
        }
        let now_ms = self.clock.now_ms();
        let readable = share::readable(&shards, &leases);
        for row in share::to_take(&readable, &leases, &self.owner, now_ms) {
            // Its reader has not yet seen that it is gone.
            if held.contains_key(&row.shard) {
                continue;
            }
            let until_ms = now_ms + self.pace.lease_ms;
            let taken = self
                .leases
                .take(&row.shard, row.epoch, &self.owner, until_ms)
                .await?;
            let Some(lease) = taken else { continue };
            let stop = Shutdown::new();
            held.insert(lease.shard.clone(), (lease.clone(), stop.clone()));
            let consumer = self.clone();
            reading.spawn(async move {
                let shard = lease.shard.clone();
                let ended = consumer.read_shard(lease, &stop).await;
                (shard, ended)
            });
        }
        Ok(())
    }

    /// Reads a shard until it ends, its lease is gone, or `stop`.
    async fn read_shard(&self, mut lease: Lease, stop: &Shutdown) -> Ended {
        let mut n_failures = 0;
        while !stop.is_triggered() {
            match self.read_page(&mut lease).await {
                Ok(Read::Something) => n_failures = 0,
                Ok(Read::Nothing) => {
                    n_failures = 0;
                    pause(self.reader.idle(), stop).await;
                }
                Ok(Read::Closed) => return Ended::Read,
                Ok(Read::Lost) => {
                    let labels = &[self.sink.name()];
                    metrics::LEASES_LOST.with_label_values(labels).inc();
                    return Ended::GivenUp;
                }
                Err((what, error)) => {
                    self.failed(what, &*error);
                    pause(self.backoff(n_failures), stop).await;
                    n_failures += 1;
                }
            }
        }
        if let Err(error) = self.leases.release(&lease).await {
            self.failed("release", &error);
        }
        Ended::GivenUp
    }

    /// Reads one page and hands it over, then moves the checkpoint.
    async fn read_page(&self, lease: &mut Lease) -> Result<Read, (&'static str, BoxError)> {
        let labels = &[self.sink.name(), self.stream.name(), &lease.shard];
        let page = match self.page(lease).await {
            Ok(page) => page,
            Err(ReadError::NoSuchShard { .. }) => {
                tracing::error!(
                    consumer = self.sink.name(),
                    shard = lease.shard,
                    "the stream no longer keeps this shard; what was not read is lost"
                );
                return self.finish(lease).await;
            }
            Err(error) => return Err(("read", error.into())),
        };
        metrics::LAG_MS
            .with_label_values(labels)
            .set(page.behind_ms);
        for trouble in &page.troubles {
            metrics::TROUBLES.with_label_values(labels).inc();
            tracing::error!(
                consumer = self.sink.name(),
                stream = self.stream.name(),
                shard = lease.shard,
                position = trouble.position,
                "{}",
                trouble.what
            );
        }
        if !page.records.is_empty() {
            let taken = self.sink.take(&lease.shard, &page.records).await;
            taken.map_err(|error| ("take", error.into()))?;
            let n_records = u64::try_from(page.records.len()).unwrap_or(u64::MAX);
            metrics::TAKEN.with_label_values(labels).inc_by(n_records);
        }
        self.status.is_well();
        if let Some(reached) = page.reached {
            let until_ms = self.clock.now_ms() + self.pace.lease_ms;
            let kept = self.leases.checkpoint(lease, &reached, until_ms).await;
            if !kept.map_err(|error| ("checkpoint", error.into()))? {
                return Ok(Read::Lost);
            }
            lease.position = Some(reached);
        }
        if page.is_closed {
            return self.finish(lease).await;
        }
        // A page of nothing may lie before one of something.
        Ok(if page.records.is_empty() && page.behind_ms == 0 {
            Read::Nothing
        } else {
            Read::Something
        })
    }

    async fn page(&self, lease: &Lease) -> Result<Page, ReadError> {
        let n_max = self.pace.records_max;
        let after = lease.position.as_deref();
        let read = self.reader.read(self.stream, &lease.shard, after, n_max);
        match read.await {
            Err(ReadError::NoPosition { position, .. }) => {
                tracing::error!(
                    consumer = self.sink.name(),
                    shard = lease.shard,
                    position,
                    "the stream does not know the position; the shard is read from its beginning"
                );
                self.reader
                    .read(self.stream, &lease.shard, None, n_max)
                    .await
            }
            read => read,
        }
    }

    async fn finish(&self, lease: &Lease) -> Result<Read, (&'static str, BoxError)> {
        let finished = self.leases.finish(lease).await;
        let is_ours = finished.map_err(|error| ("finish", error.into()))?;
        Ok(if is_ours { Read::Closed } else { Read::Lost })
    }

    /// Full jitter, so that those who fail together do not come back together.
    fn backoff(&self, n_failures: u32) -> Duration {
        let most = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(n_failures));
        most.min(self.pace.pause_max)
            .mul_f64(rand::rng().random_range(0.1..1.0))
    }

    fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) {
        let consumer = self.sink.name();
        metrics::FAILURES.with_label_values(&[consumer, what]).inc();
        self.status.has_failed();
        let causes = causes(error);
        tracing::warn!(consumer, what, %error, causes, "a consumer will try again");
    }

    fn held_metric(&self, n_held: usize) {
        let n_held = i64::try_from(n_held).unwrap_or(i64::MAX);
        metrics::LEASES_HELD
            .with_label_values(&[self.sink.name()])
            .set(n_held);
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

enum Read {
    Something,
    Nothing,
    Closed,
    Lost,
}

#[derive(Debug, thiserror::Error)]
enum TendError {
    #[error("the leases cannot be looked after")]
    Leases(#[from] RelationalError),
    #[error("the shards cannot be listed")]
    Shards(#[from] ReadError),
}

async fn pause(how_long: Duration, stop: &Shutdown) {
    tokio::select! {
        biased;
        () = stop.wait() => {}
        () = tokio::time::sleep(how_long) => {}
    }
}
