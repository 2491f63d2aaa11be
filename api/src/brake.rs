//! Computations on blocking threads: few at a time, and few callers that wait.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Why a computation has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BrakeError {
    /// Too many callers wait already; the same call may succeed later.
    #[error("too many callers wait already")]
    Busy,
    /// The computation has panicked.
    #[error("the computation was lost")]
    Lost,
}

/// Bounds the work that callers can cause.
pub(crate) struct Brake {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Brake {
    /// At most `at_once` computations run, and `places` callers run or wait.
    pub(crate) fn new(at_once: usize, places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            turns: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Runs a computation on a blocking thread. A caller that goes away gives its
    /// place back when the computation has ended, not before: it cannot be stopped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BrakeError> {
        let busy = |_| BrakeError::Busy;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| BrakeError::Busy)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(busy)?;
        let held = (place, turn);
        let computed = tokio::task::spawn_blocking(move || {
            let _held = held;
            compute()
        });
        computed.await.map_err(|_| BrakeError::Lost)
    }

    /// Lets nothing be computed from here on.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.turns.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_free_its_place_while_its_work_runs() {
        let brake = Brake::new(1, 1);
        let (finish, until) = mpsc::channel::<()>();
        let mut first = Box::pin(brake.run(move || until.recv()));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        assert_eq!(brake.run(|| 1).await, Err(BrakeError::Busy));

        drop(finish);
        let given_back = brake.places.acquire().await.unwrap();
        drop(given_back);
        assert_eq!(brake.run(|| 2).await, Ok(2));
    }

    #[tokio::test]
    async fn a_computation_that_panics_is_lost_and_gives_its_place_back() {
        let brake = Brake::new(1, 1);
        let lost: Result<(), _> = brake.run(|| panic!("on purpose")).await;
        assert_eq!(lost, Err(BrakeError::Lost));
        assert_eq!(brake.run(|| 3).await, Ok(3));
    }
}
