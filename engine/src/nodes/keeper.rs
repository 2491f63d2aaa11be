//! Keeps this node in the registry, and its partitions to its fair share.
//!
//! Two loops: one renews the lease and does nothing else, so that nothing delays it; one looks at the
//! registry, gives up what is too much, takes what is free, and recovers it before anybody is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use btrust_platform::http::Shutdown;

use super::{Membership, share};
use crate::mailbox::Mailbox;
use crate::metrics;
use crate::recovery;
use crate::shared::Shared;
use crate::store::nodes::{NodeEntry, Survey};
use crate::store::{Fence, OwnedPartition, StoreError};

/// How long a node lives in the registry after its last renewal, ms.
///
/// Source: the hand-over has to be done within 5 s of a node's death; this, a look and the recovery of
/// its partitions fit in.
pub const LEASE_MS: i64 = 3_500;
/// How much earlier than the database a node takes its lease for ended.
///
/// Source: covers two clocks that run at different speeds, and an answer that is on its way.
pub const LEASE_MARGIN: Duration = Duration::from_millis(500);
/// How often the lease is renewed: twice may fail.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long one renewal may take before it is given up and tried again.
const RENEW_MAX: Duration = Duration::from_millis(900);
/// How often the registry is looked at, and no more often than [`LOOK_PAUSE`].
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How long a look, a take or a give-back may take.
const STORE_MAX: Duration = Duration::from_secs(3);
/// The pause before the registry is entered again.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// Partitions that are recovered at the same time; each reads a page at a time.
const RECOVERED_AT_ONCE: usize = 4;

/// The task that keeps a node's partitions.
pub struct Keeper {
    shared: Arc<Shared>,
    mailbox: Mailbox,
    membership: Membership,
    /// The name under which the node is in the registry.
    node: String,
    /// Ends when nobody writes or publishes any more.
    working: mpsc::Receiver<()>,
}

impl Keeper {
    /// Enters the registry; returns the keeper, which owns nothing yet, with the store's incarnation.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn join(
        shared: Arc<Shared>,
        mailbox: Mailbox,
        membership: Membership,
        working: mpsc::Receiver<()>,
    ) -> Result<(Self, i64), StoreError> {
        let mut keeper = Self {
            shared,
            mailbox,
            membership,
            node: String::new(),
            working,
        };
        let incarnation = keeper.enter().await?;
        Ok((keeper, incarnation))
    }

    /// Keeps until `shutdown`, and gives everything back when the last commit has been made.
    pub async fn run(mut self, shutdown: Shutdown) {
        let renewals = Renewals::of(&self);
        let mut renewing = tokio::spawn(renewals.run());
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                () = shared.ownership.lease_ended() => {
                    renewing.abort();
                    tokio::select! {
                        () = shutdown.wait() => break,
                        () = self.start_anew() => {}
                    }
                    renewing = tokio::spawn(Renewals::of(&self).run());
                }
                () = self.keep() => {}
            }
        }
        // Everybody who writes has heard of the shutdown too; the lease is kept until they have ended.
        while self.working.recv().await.is_some() {}
        renewing.abort();
        self.leave().await;
    }

    /// Looks at the registry again and again.
    async fn keep(&self) {
        loop {
            let is_more = match timeout(STORE_MAX, self.membership.store.survey()).await {
                Ok(Ok(survey)) => self.adjust(&survey).await,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot look at the registry of nodes"
                    );
                    false
                }
                Err(_) => {
                    tracing::warn!("the registry of nodes does not answer");
                    false
                }
            };
            sleep(LOOK_PAUSE).await;
            if !is_more {
                tokio::select! {
                    biased;
                    () = self.shared.routes.wanted() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        }
    }

    /// Does what a look at the registry asks for; returns whether there is more to take.
    async fn adjust(&self, survey: &Survey) -> bool {
        self.shared.routes.learn(survey, &self.node);
        let n_live_nodes = self.shared.routes.n_nodes().max(1);
        self.shared
            .n_live_nodes
            .store(n_live_nodes, Ordering::Relaxed);
        self.drop_lost(survey).await;
        let unserved = self.unserved(survey);
        if !unserved.is_empty() {
            tracing::warn!(
                n_partitions = unserved.len(),
                "partitions of this node are served by nobody; giving them back"
            );
            self.give_back(&unserved).await;
            return true;
        }
        let plan = share::plan(survey, &self.node);
        self.shared.ownership.want(plan.n_wanted);
        if !plan.give_up.is_empty() {
            self.give_up(&plan.give_up, survey).await;
        }
        if plan.take.is_empty() {
            return false;
        }
        self.take(&plan.take).await
    }

    /// Forgets partitions that the database gives to somebody else.
    async fn drop_lost(&self, survey: &Survey) {
        let is_ours = |fence: &Fence| {
            survey.leases.iter().any(|it| {
                it.partition == fence.partition && it.owner == self.node && it.epoch == fence.epoch
            })
        };
        let owned = self.shared.ownership.fences();
        let lost: Vec<u8> = owned
            .iter()
            .filter(|it| !is_ours(it))
            .map(|it| it.partition)
            .collect();
        if !lost.is_empty() {
            tracing::warn!(
                n_lost = lost.len(),
                "other nodes own partitions of this one"
            );
            self.mailbox.give_up(&lost).await;
        }
    }

    /// What the database gives to this node and its lanes do not serve: taking, recovering or giving back has
    /// gone wrong half way. Nothing is on its way there, for a look begins when the last one has ended.
    fn unserved(&self, survey: &Survey) -> Vec<Fence> {
        let ownership = &self.shared.ownership;
        self.leases(survey)
            .filter(|it| ownership.epoch(it.partition) != Some(it.epoch))
            .collect()
    }

    /// The partitions of this node as the database has them.
    fn leases(&self, survey: &Survey) -> impl Iterator<Item = Fence> {
        let ours = survey.leases.iter().filter(|it| it.owner == self.node);
        ours.map(|it| Fence {
            partition: it.partition,
            epoch: it.epoch,
        })
    }

    /// Stops serving partitions, and makes them free once the last round on them has been committed.
    async fn give_up(&self, partitions: &[u8], survey: &Survey) {
        let fences: Vec<Fence> = self
            .leases(survey)
            .filter(|it| partitions.contains(&it.partition))
            .collect();
        // From here on nobody is answered; whoever asks is sent to the next owner as soon as there is one.
        for fence in &fences {
            self.shared.ownership.drop_one(fence.partition);
        }
        self.give_back(&fences).await;
    }

    /// Makes partitions free that nobody is answered about any more.
    async fn give_back(&self, fences: &[Fence]) {
        let partitions: Vec<u8> = fences.iter().map(|it| it.partition).collect();
        self.mailbox.give_up(&partitions).await;
        let given = self.membership.store.give_back(&self.node, fences);
        match timeout(STORE_MAX, given).await {
            Ok(Ok(())) => tracing::info!(
                n_partitions = fences.len(),
                "gave partitions up for another node"
            ),
            // The next look finds them unserved, and tries again.
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot give partitions back"
            ),
            Err(_) => tracing::warn!("the store does not take partitions back"),
        }
    }

    /// Takes partitions, recovers each and begins to serve it; returns whether any was taken.
    async fn take(&self, partitions: &[u8]) -> bool {
        let taken = self.membership.store.take(&self.node, partitions);
        let acquired = match timeout(STORE_MAX, taken).await {
            Ok(Ok(acquired)) => acquired,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot take partitions"
                );
                return false;
            }
            Err(_) => {
                tracing::warn!("the store does not give partitions");
                return false;
            }
        };
        let n_taken = acquired.partitions.len();
        let recovered = stream::iter(acquired.partitions)
            .map(|it| self.begin_to_serve(it))
            .buffer_unordered(RECOVERED_AT_ONCE);
        recovered.for_each(|()| async {}).await;
        if 0 < n_taken {
            tracing::info!(
                n_taken,
                n_owned = self.shared.ownership.n_owned(),
                "took partitions"
            );
        }
        0 < n_taken
    }

    async fn begin_to_serve(&self, owned: OwnedPartition) {
        match recovery::recover_partition(&self.shared, owned).await {
            Ok(recovered) => self.mailbox.adopt(recovered).await,
            Err(error) => {
                tracing::error!(
                    partition = owned.partition,
                    error = &error as &dyn std::error::Error,
                    "cannot recover a partition"
                );
                self.shared.forget(owned.partition);
                let fence = Fence {
                    partition: owned.partition,
                    epoch: owned.epoch,
                };
                let fences = [fence];
                let given = self.membership.store.give_back(&self.node, &fences);
                if !matches!(timeout(STORE_MAX, given).await, Ok(Ok(()))) {
                    tracing::warn!(partition = owned.partition, "cannot give a partition back");
                }
            }
        }
    }

    /// After the end of the lease: forgets everything, and enters the registry under another name.
    async fn start_anew(&mut self) {
        metrics::LEASES_ENDED.inc();
        tracing::error!(
            n_owned = self.shared.ownership.n_owned(),
            "the lease of this node has ended"
        );
        for fence in self.shared.ownership.fences() {
            self.shared.ownership.drop_one(fence.partition);
        }
        let all: Vec<u8> = (0..=u8::MAX).collect();
        self.mailbox.give_up(&all).await;
        // Also what a recovery that this has interrupted had put there.
        for partition in all {
            self.shared.forget(partition);
        }
        while let Err(error) = self.enter().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot enter the registry of nodes"
            );
            sleep(JOIN_PAUSE).await;
        }
    }

    async fn enter(&mut self) -> Result<i64, StoreError> {
        let entry = NodeEntry {
            node: crate::engine::random_name(&*self.shared.random),
            url: self.membership.url.clone(),
        };
        let earlier = Some(self.node.as_str()).filter(|it| !it.is_empty());
        let sent = Instant::now();
        let joined = self.membership.store.join(&entry, earlier, LEASE_MS);
        let incarnation = timeout(STORE_MAX, joined)
            .await
            .map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))??;
        self.node = entry.node;
        self.shared.ownership.begin_lease(lease_end(sent));
        tracing::info!(node = self.node, "entered the registry of nodes");
        Ok(incarnation)
    }

    async fn leave(&self) {
        self.shared.ownership.end_lease();
        let left = timeout(STORE_MAX, self.membership.store.leave(&self.node)).await;
        if matches!(left, Ok(Ok(()))) {
            tracing::info!(node = self.node, "left the registry of nodes");
        } else {
            tracing::warn!("cannot leave the registry; the others wait for the end of the lease");
        }
    }
}

/// When a node stops answering if the renewal sent then is its last.
fn lease_end(sent: Instant) -> Instant {
    let lease = Duration::from_millis(LEASE_MS.unsigned_abs());
    sent + lease.saturating_sub(LEASE_MARGIN)
}

/// Renews one entry of the registry.
struct Renewals {
    shared: Arc<Shared>,
    membership: Membership,
    node: String,
}

impl Renewals {
    fn of(keeper: &Keeper) -> Self {
        Self {
            shared: Arc::clone(&keeper.shared),
            membership: keeper.membership.clone(),
            node: keeper.node.clone(),
        }
    }

    /// Renews until the lease has ended.
    async fn run(self) {
        let mut next = Instant::now() + RENEW_EVERY;
        loop {
            tokio::time::sleep_until(next).await;
            let sent = Instant::now();
            next = sent + RENEW_EVERY;
            match timeout(RENEW_MAX, self.membership.store.renew(&self.node, LEASE_MS)).await {
                Ok(Ok(true)) => {
                    // Measured from before the request: the database cannot have counted from earlier.
                    if !self.shared.ownership.renew_lease(lease_end(sent)) {
                        return;
                    }
                }
                Ok(Ok(false)) => {
                    tracing::error!("the registry has no place for this node any more");
                    return self.shared.ownership.end_lease();
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot renew the lease"
                    );
                }
                Err(_) => tracing::warn!("a renewal of the lease was not answered"),
            }
        }
    }
}
