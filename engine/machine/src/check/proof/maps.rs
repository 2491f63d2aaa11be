//! What may follow a `Map`: any number of items, each with anything that one can come to.

use serde_json::Value;

use super::branches::{Combined, Reach, back, ended, failed, resting, unbegun};
use super::errors::ErrorName;
use super::steps::{Here, Onwards, step};
use super::trail::Trail;
use super::walk::{Kept, Onward, Standing, Walked};
use super::{Prover, TooLarge};
use crate::check::paths::of_path;
use crate::check::value::Abstract;
use crate::definition::{Items, MapDef, Number};

const EXCEED_TOLERATED_FAILURE_THRESHOLD: &str = "States.ExceedToleratedFailureThreshold";

/// Items that are followed one by one; more of them are followed as any number.
const ITEMS_MAX: usize = 4;

/// How many items a `Map` has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Exactly(usize),
    /// At least one.
    Some,
}

impl Prover<'_> {
    pub(super) fn map_steps(&mut self, here: Here<'_>, map: &MapDef) -> Result<Onwards, TooLarge> {
        let mut onwards = Vec::new();
        let Ok(n_items) = self.n_items(here, map, &mut onwards) else {
            return Ok(onwards);
        };
        let Some(level) = self.levels.all[here.level].inner[here.node.state]
            .first()
            .copied()
        else {
            return Ok(onwards);
        };
        if map.reader.is_some() {
            onwards.push((Onward::Resting(here.standing()), here.trail));
            for (error, trail) in self.broken_transfers(here, here.trail) {
                onwards.extend(self.fail(here, &error, here.standing(), trail));
            }
        }
        let input = match (&map.selector, &map.batcher) {
            (Some(template), None) => match self.given(here, template, &mut onwards) {
                Some(input) => input,
                None => return Ok(onwards),
            },
            _ => Abstract::Unknown,
        };
        let is_known = n_items.is_some_and(|it| it <= ITEMS_MAX) && map.batcher.is_none();
        if n_items.is_none_or(|it| it == 0) {
            let event = step(here.state, "has no items", n_items.is_none());
            let trail = self.trails.step(here.trail, event);
            let result = Abstract::Array(Vec::new());
            onwards.extend(self.hand_over(here, map, result, here.standing(), trail));
            if n_items == Some(0) {
                return Ok(onwards);
            }
        }
        let number = match n_items {
            Some(n_items) if is_known => Count::Exactly(n_items),
            _ => Count::Some,
        };
        let walked = self.walk(
            level,
            self.first_node(level, here, &input, !map.is_distributed),
        )?;
        let starts = step(here.state, "starts its items", !is_known);
        let here = Here {
            trail: self.trails.step(here.trail, starts),
            ..here
        };
        self.ending_items(here, map, level, &walked, number, &mut onwards)?;
        self.failing_items(here, map, level, &walked, number, &mut onwards)?;
        Ok(onwards)
    }

    /// How many items there are, if that is known; an error if the state surely fails.
    fn n_items(
        &mut self,
        here: Here<'_>,
        map: &MapDef,
        onwards: &mut Onwards,
    ) -> Result<Option<usize>, ()> {
        if map.reader.is_some() {
            return Ok(None);
        }
        let items = match &map.items {
            Items::Input => Some(here.data.clone()),
            Items::Path(path) => Some(of_path(path, &here.scope(&Abstract::Undefined))),
            Items::Template(template) => self.given(here, template, onwards),
        };
        match items {
            Some(Abstract::Array(items)) => Ok(Some(items.len())),
            Some(Abstract::Known(Value::Array(items))) => Ok(Some(items.len())),
            Some(Abstract::Unknown | Abstract::Not(_)) => {
                onwards.extend(self.fail_to_evaluate(here, here.standing(), here.trail, true));
                Ok(None)
            }
            // They are no array.
            Some(_) => {
                onwards.extend(self.fail_to_evaluate(here, here.standing(), here.trail, false));
                Err(())
            }
            None => Err(()),
        }
    }

    /// Every way in which a reader or a writer can fail.
    fn broken_transfers(&mut self, here: Here<'_>, trail: Trail) -> Vec<(ErrorName, Trail)> {
        let mut broken = Vec::new();
        for error in self.errors.all.clone() {
            let event = step(here.state, &format!("fails with {}", error.name), false);
            let trail = self.trails.wait(trail, event, false);
            broken.push((error, trail));
        }
        broken
    }

    /// The items have ended: their outputs are the result, unless a writer takes them.
    fn hand_over(
        &mut self,
        here: Here<'_>,
        map: &MapDef,
        result: Abstract,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        if map.writer.is_none() {
            return self.exit(here, &result, &result, standing, trail);
        }
        let mut onwards = vec![(Onward::Resting(standing.clone()), trail)];
        // What the items have gained is held by now. A `Retry` only writes again.
        for (error, trail) in self.broken_transfers(here, trail) {
            onwards.extend(self.fail_for_good(here, &error, standing.clone(), trail));
        }
        let written = step(here.state, "has its results written", false);
        let trail = self.trails.wait(trail, written, false);
        let result = Abstract::Unknown;
        onwards.extend(self.exit(here, &result, &result, standing, trail));
        onwards
    }

    /// Every item has ended, well or tolerated.
    fn ending_items(
        &mut self,
        here: Here<'_>,
        map: &MapDef,
        level: usize,
        walked: &Walked,
        number: Count,
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        let nameless = |mut reach: Reach| {
            reach.output = Abstract::Unknown;
            reach
        };
        let mut options: Vec<Reach> = ended(walked).into_iter().map(nameless).collect();
        if tolerates(map) {
            // How many failures are tolerated is not followed.
            let event = step(here.state, "tolerates a failed item", true);
            for mut failed in failed(walked) {
                failed.trail = self.trails.step(failed.trail, event.clone());
                options.push(failed);
            }
        }
        for combined in self.multiply(level, &options, number)? {
            let trail = self.trails.beside(here.trail, vec![combined.trail]);
            let trail = self
                .trails
                .step(trail, step(here.state, "joins its items", false));
            let mut standing = here.standing();
            let items = std::iter::once(&combined.standing.evidence);
            standing.evidence.join_items(items);
            standing.undoable.extend(&combined.standing.undoable);
            onwards.extend(self.hand_over(here, map, Abstract::Unknown, standing, trail));
        }
        Ok(())
    }

    /// One item fails for all, wherever the others are; and wherever they are while they wait.
    fn failing_items(
        &mut self,
        here: Here<'_>,
        map: &MapDef,
        level: usize,
        walked: &Walked,
        number: Count,
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        let may_be_unbegun = !matches!(map.concurrency, Number::Literal(0.0));
        let mut others = [resting(walked), self.ended_for_nothing(level, walked)].concat();
        if tolerates(map) {
            others.extend(failed(walked));
        }
        let with_unbegun: Vec<Reach> = std::iter::once(unbegun(walked))
            .chain(others.clone())
            .collect();
        for (failure, trail) in &walked.failed.all {
            let takes_time = self.trails.summary(*trail).takes_time;
            let last = Combined {
                outputs: Vec::new(),
                standing: failure.standing.clone(),
                trail: *trail,
            };
            let is_open = may_be_unbegun || !takes_time;
            let options = if is_open { &with_unbegun } else { &others };
            let around = self.others(level, options, number)?;
            let all = self.add_last(level, &around, last, number)?;
            for combined in all {
                let is_doubtful = is_open && combined.standing != failure.standing;
                let trail = self.trails.beside(here.trail, vec![combined.trail]);
                let assumed = is_doubtful
                    || tolerates(map)
                    || (number != Count::Exactly(1) && self.trails.summary(trail).depends_on_time);
                let event = step(here.state, "ends its items", assumed);
                let trail = self.trails.step(trail, event);
                let error = if map.is_distributed {
                    self.errors.find(EXCEED_TOLERATED_FAILURE_THRESHOLD)
                } else {
                    Some(failure.error.clone())
                };
                if let Some(error) = error {
                    onwards.extend(self.fail(here, &error, back(here, &combined.standing), trail));
                }
            }
        }
        if here.level != 0 {
            let around = self.others(level, &with_unbegun, number)?;
            for rests in resting(walked) {
                let last = Combined {
                    outputs: Vec::new(),
                    standing: rests.standing,
                    trail: rests.trail,
                };
                for combined in self.add_last(level, &around, last, number)? {
                    let trail = self.trails.beside(here.trail, vec![combined.trail]);
                    onwards.push((Onward::Resting(back(here, &combined.standing)), trail));
                }
            }
        }
        Ok(())
    }

    /// Everything that all items but one can come to together.
    fn others(
        &mut self,
        level: usize,
        options: &[Reach],
        number: Count,
    ) -> Result<Vec<Combined>, TooLarge> {
        match number {
            Count::Exactly(1) => Ok(Vec::new()),
            Count::Exactly(n_items) => self.multiply(level, options, Count::Exactly(n_items - 1)),
            Count::Some => self.multiply(level, options, Count::Some),
        }
    }

    /// One more item beside the others, or without any where it may be the only one.
    fn add_last(
        &mut self,
        level: usize,
        around: &[Combined],
        last: Combined,
        number: Count,
    ) -> Result<Vec<Combined>, TooLarge> {
        let mut all = Vec::with_capacity(around.len() + 1);
        for combined in around {
            self.count()?;
            all.push(Combined {
                outputs: Vec::new(),
                standing: self.meet(level, &combined.standing, &last.standing),
                trail: self.trails.beside(combined.trail, vec![last.trail]),
            });
        }
        if !matches!(number, Count::Exactly(2..)) {
            all.insert(0, last);
        }
        Ok(all)
    }

    /// Everything that this number of items can come to together, when each has one of the options.
    fn multiply(
        &mut self,
        level: usize,
        options: &[Reach],
        number: Count,
    ) -> Result<Vec<Combined>, TooLarge> {
        let mut latest: Kept<Standing> = Kept::new();
        for option in options {
            let n_steps = |trail| self.trails.n_steps(trail);
            latest.insert(option.standing.clone(), option.trail, n_steps);
        }
        let mut all: Kept<Standing> = Kept::new();
        let mut n_items = 1;
        while Count::Exactly(n_items) != number && !latest.all.is_empty() {
            let mut next: Kept<Standing> = Kept::new();
            for (standing, trail) in &latest.all {
                let n_steps = |trail| self.trails.n_steps(trail);
                let is_new = all.insert(standing.clone(), *trail, n_steps);
                if number == Count::Some && !is_new {
                    continue;
                }
                for option in options {
                    self.count()?;
                    let both = self.meet(level, standing, &option.standing);
                    let trail = self.trails.beside(*trail, vec![option.trail]);
                    next.insert(both, trail, |trail| self.trails.n_steps(trail));
                }
            }
            latest = next;
            n_items += 1;
        }
        let found: Vec<(Standing, Trail)> = match number {
            Count::Exactly(_) => latest.all,
            Count::Some => all.all,
        };
        let combined = found.into_iter().map(|(standing, trail)| Combined {
            outputs: Vec::new(),
            standing,
            trail,
        });
        Ok(combined.collect())
    }

    fn meet(&self, level: usize, one: &Standing, other: &Standing) -> Standing {
        let can_run = &self.levels.all[level].can_run_after;
        let mut evidence = one.evidence.meet(&other.evidence);
        evidence.settle(|it| can_run[usize::from(*it)]);
        Standing {
            evidence,
            undoable: one.undoable.union(&other.undoable).copied().collect(),
        }
    }
}

/// Whether items may fail without failing the `Map`.
fn tolerates(map: &MapDef) -> bool {
    let tolerates = |number: &Number| !matches!(number, Number::Literal(0.0));
    map.tolerated_count.as_ref().is_some_and(tolerates)
        || map.tolerated_percentage.as_ref().is_some_and(tolerates)
}
