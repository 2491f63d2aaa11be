//! One shard of workflows: who may write it, how far its journal is, and what time it has reached.

use btrust_schemas::ids::N_PARTITIONS;

use crate::store::{Fence, OwnedPartition};
use crate::timers::Timers;

/// A partition that this process owns.
#[derive(Debug)]
pub struct Partition {
    pub number: u8,
    pub epoch: i64,
    pub last_batch: i64,
    /// The latest recorded time; what a command sees as now never runs back behind it.
    now_ms: i64,
    pub timers: Timers,
}

impl Partition {
    pub fn new(owned: OwnedPartition) -> Self {
        Self {
            number: owned.partition,
            epoch: owned.epoch,
            last_batch: owned.last_batch,
            now_ms: owned.last_commit_ms,
            timers: Timers::default(),
        }
    }

    /// What every write of the partition names.
    pub fn fence(&self) -> Fence {
        Fence {
            partition: self.number,
            epoch: self.epoch,
        }
    }

    /// The time for the next command, ms since the epoch.
    pub fn now_ms(&mut self, clock_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(clock_ms);
        self.now_ms
    }
}

/// The partitions of a lane, by number.
#[derive(Debug)]
pub struct Partitions(Vec<Option<Partition>>);

impl Default for Partitions {
    fn default() -> Self {
        Self((0..N_PARTITIONS).map(|_| None).collect())
    }
}

impl Partitions {
    /// Serves a partition from now on.
    pub fn put(&mut self, partition: Partition) {
        let number = usize::from(partition.number);
        self.0[number] = Some(partition);
    }

    /// A partition, unless somebody else owns it.
    pub fn get(&mut self, number: u8) -> Option<&mut Partition> {
        self.0[usize::from(number)].as_mut()
    }

    /// Gives up a partition: somebody else owns it now.
    pub fn lose(&mut self, number: u8) {
        self.0[usize::from(number)] = None;
    }

    /// The lowest number of all: nobody else can have it.
    pub fn lowest(&self) -> u8 {
        self.0
            .iter()
            .flatten()
            .map(|it| it.number)
            .next()
            .unwrap_or_default()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.0.iter_mut().flatten()
    }

    /// The earliest timer of all.
    pub fn next_ms(&self) -> Option<i64> {
        self.0
            .iter()
            .flatten()
            .filter_map(|it| it.timers.next_ms())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back_in_a_partition() {
        let owned = OwnedPartition {
            partition: 7,
            epoch: 1,
            last_batch: 0,
            last_commit_ms: 500,
        };
        let mut partitions = Partitions::default();
        partitions.put(Partition::new(owned));
        let partition = partitions.get(7).unwrap();
        assert_eq!(
            [100, 900, 800].map(|it| partition.now_ms(it)),
            [500, 900, 900]
        );
        assert!(partitions.get(8).is_none());
        partitions.lose(7);
        assert!(partitions.get(7).is_none());
    }
}
