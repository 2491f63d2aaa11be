//! One shard of workflows: who may write it, how far its journal is, and what time it has reached.

use btrust_schemas::ids::N_PARTITIONS;

use crate::mailbox::lane_of;
use crate::store::OwnedPartition;
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
    /// The time for the next command, ms since the epoch.
    pub fn now_ms(&mut self, clock_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(clock_ms);
        self.now_ms
    }
}

/// The partitions of this process, by number.
#[derive(Debug)]
pub struct Partitions(Vec<Option<Partition>>);

impl Partitions {
    pub fn new(owned: &[OwnedPartition]) -> Self {
        let mut partitions: Vec<Option<Partition>> = (0..N_PARTITIONS).map(|_| None).collect();
        for it in owned {
            partitions[usize::from(it.partition)] = Some(Partition {
                number: it.partition,
                epoch: it.epoch,
                last_batch: it.last_batch,
                now_ms: it.last_commit_ms,
                timers: Timers::default(),
            });
        }
        Self(partitions)
    }

    /// Deals the partitions out, each to one lane.
    pub fn into_lanes(self, n_lanes: usize) -> Vec<Self> {
        let none = || (0..N_PARTITIONS).map(|_| None).collect();
        let mut lanes: Vec<Self> = (0..n_lanes.max(1)).map(|_| Self(none())).collect();
        for partition in self.0.into_iter().flatten() {
            let lane = lane_of(partition.number, n_lanes);
            let number = usize::from(partition.number);
            lanes[lane].0[number] = Some(partition);
        }
        lanes
    }

    /// A partition, unless somebody else owns it.
    pub fn get(&mut self, number: u8) -> Option<&mut Partition> {
        self.0[usize::from(number)].as_mut()
    }

    /// Gives up a partition: somebody else owns it now.
    pub fn lose(&mut self, number: u8) {
        self.0[usize::from(number)] = None;
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
        let mut partitions = Partitions::new(&[owned]);
        let partition = partitions.get(7).unwrap();
        assert_eq!(
            [100, 900, 800].map(|it| partition.now_ms(it)),
            [500, 900, 900]
        );
        assert!(partitions.get(8).is_none());
        partitions.lose(7);
        assert!(partitions.get(7).is_none());
    }

    #[test]
    fn a_partition_is_dealt_to_one_lane() {
        let owned = [3, 4, 8].map(|partition| OwnedPartition {
            partition,
            epoch: 1,
            last_batch: 0,
            last_commit_ms: 0,
        });
        let mut lanes = Partitions::new(&owned).into_lanes(4);
        let mut held = Vec::new();
        for (lane, partitions) in lanes.iter_mut().enumerate() {
            held.extend(partitions.iter_mut().map(|it| (lane, it.number)));
        }
        assert_eq!(held, [(0, 4), (0, 8), (3, 3)]);
    }
}
