//! Room for long computations: as many at once as the machine has cores.

use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;

use super::step::{Fault, joined};

/// Runs computations beside the network threads, each on a core of its own.
///
/// Turns that find every core taken wait in order; how many can wait is bounded
/// by the in-flight limits of the steps.
#[derive(Clone, Debug)]
pub struct CpuPool {
    cores: Arc<Semaphore>,
}

impl CpuPool {
    /// A pool as wide as the machine.
    #[must_use]
    pub fn sized_to_machine() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }

    /// A pool for `n_cores` computations at once.
    #[must_use]
    pub fn new(n_cores: usize) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(n_cores.max(1))),
        }
    }

    /// Runs `work` when a core is free; a panic in it is the caller's panic.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let Ok(core) = Arc::clone(&self.cores).acquire_owned().await else {
            return Err(Fault::worker("the cores are gone"));
        };
        joined(
            tokio::task::spawn_blocking(move || {
                let result = work();
                drop(core);
                result
            })
            .await,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_computations_run_at_once_than_there_are_cores() {
        let pool = CpuPool::new(2);
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let works = (0..32).map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for result in futures_util::future::join_all(works).await {
            result.unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
