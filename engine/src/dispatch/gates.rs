//! Limits of what is handed out: turns a second and turns at once, of a step, a tenant, or both.
//!
//! A line that runs into a limit of its tenant is taken out of the order until the limit lets it go:
//! when a lease ends, or when the next token is there. So a line that waits for its limit costs nothing
//! and holds up nobody. Each node enforces its share, which is the limit divided by the live nodes.

use std::collections::{BTreeMap, BTreeSet};

use btrust_schemas::task_limits::{TaskLimits, TurnLimit};

use super::names::Names;
use super::queue::Place;

/// One token in the bucket's unit, so that the shares of nodes and milliseconds are whole numbers.
const TOKEN: i64 = 1_000_000;

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Step(u32),
    Tenant(u32),
    StepTenant(u32, u32),
}

/// Turns a second, with a burst.
#[derive(Debug)]
struct Bucket {
    /// [`TOKEN`]s a millisecond, in millionths.
    rate: i64,
    burst: i64,
    tokens: i64,
    at_ms: i64,
}

impl Bucket {
    fn new(per_second: u32, burst: Option<u32>, n_nodes: u32, now_ms: i64) -> Self {
        let n_nodes = i64::from(n_nodes.max(1));
        let rate = i64::from(per_second) * (TOKEN / 1_000) / n_nodes;
        let whole = i64::from(burst.unwrap_or(per_second)) * TOKEN / n_nodes;
        // Below one token nothing would ever pass; a rate of 0 means just that.
        let burst = if per_second == 0 { 0 } else { whole.max(TOKEN) };
        Self {
            rate,
            burst,
            tokens: burst,
            at_ms: now_ms,
        }
    }

    fn fill(&mut self, now_ms: i64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms).max(0);
        let gained = passed_ms.saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(gained).min(self.burst);
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// When there is a whole token; `None` for never.
    fn next_ms(&self) -> Option<i64> {
        let missing = TOKEN - self.tokens;
        if missing <= 0 {
            return Some(self.at_ms);
        }
        (0 < self.rate).then(|| {
            let wait_ms = missing / self.rate + i64::from(missing % self.rate != 0);
            self.at_ms.saturating_add(wait_ms)
        })
    }
}

#[derive(Debug, Default)]
struct Gate {
    concurrent_max: Option<u32>,
    n_leased: u32,
    bucket: Option<Bucket>,
    /// Lines that wait for it.
    held_back: BTreeSet<Place>,
    /// When it will be looked at again because of a token.
    timer_ms: Option<i64>,
}

impl Gate {
    fn has_room(&self) -> bool {
        self.concurrent_max.is_none_or(|it| self.n_leased < it)
    }
}

/// All limits of this node, and what else is configured for tenants.
#[derive(Debug, Default)]
pub struct Gates {
    by_scope: BTreeMap<Scope, Gate>,
    timers: BTreeSet<(i64, Scope)>,
    weights: BTreeMap<u32, u32>,
    labels: BTreeMap<u32, BTreeSet<String>>,
}

impl Gates {
    /// The limits of a configuration, as the share of one of `n_nodes`; nothing is leased yet.
    pub fn new(
        limits: &TaskLimits,
        n_nodes: u32,
        steps: &mut Names,
        tenants: &mut Names,
        now_ms: i64,
    ) -> Self {
        let mut it = Self::default();
        for (step, limit) in &limits.steps {
            it.add(Scope::Step(steps.number(step)), limit, n_nodes, now_ms);
        }
        for (tenant, limits) in &limits.tenants {
            let tenant = tenants.number(tenant);
            it.add(Scope::Tenant(tenant), &limits.turns, n_nodes, now_ms);
            if let Some(weight) = limits.weight {
                it.weights.insert(tenant, weight);
            }
            if !limits.labels.is_empty() {
                let labels = limits.labels.iter().cloned().collect();
                it.labels.insert(tenant, labels);
            }
        }
        for limit in &limits.step_tenants {
            let (step, tenant) = (steps.number(&limit.step), tenants.number(&limit.tenant));
            it.add(
                Scope::StepTenant(step, tenant),
                &limit.turns,
                n_nodes,
                now_ms,
            );
        }
        it
    }

    fn add(&mut self, scope: Scope, limit: &TurnLimit, n_nodes: u32, now_ms: i64) {
        let share = |max: u32| {
            if max == 0 {
                0
            } else {
                (max / n_nodes.max(1)).max(1)
            }
        };
        let per_second = limit.per_second;
        let bucket = per_second.map(|it| Bucket::new(it, limit.burst, n_nodes, now_ms));
        if bucket.is_none() && limit.concurrent.is_none() {
            return;
        }
        let gate = Gate {
            concurrent_max: limit.concurrent.map(share),
            bucket,
            ..Gate::default()
        };
        self.by_scope.insert(scope, gate);
    }

    /// Keeps the tokens of limits that were there before, so that a change is no new burst.
    pub fn keep_tokens_of(&mut self, before: &Self) {
        for (scope, gate) in &mut self.by_scope {
            let known = before.by_scope.get(scope).and_then(|it| it.bucket.as_ref());
            if let (Some(bucket), Some(known)) = (&mut gate.bucket, known) {
                bucket.tokens = known.tokens.min(bucket.burst);
                bucket.at_ms = known.at_ms;
            }
        }
    }

    /// How many turns the tenant gets where another gets one.
    pub fn weight(&self, tenant: u32) -> u32 {
        self.weights.get(&tenant).copied().unwrap_or(1)
    }

    /// Labels that all turns of the tenant ask for.
    pub fn labels(&self, tenant: u32) -> Option<&BTreeSet<String>> {
        self.labels.get(&tenant)
    }

    /// Whether a scope lets a turn pass now; if only a token is missing, a timer is set.
    pub fn is_open(&mut self, scope: Scope, now_ms: i64) -> bool {
        let Some(gate) = self.by_scope.get_mut(&scope) else {
            return true;
        };
        if !gate.has_room() {
            return false;
        }
        let Some(bucket) = &mut gate.bucket else {
            return true;
        };
        bucket.fill(now_ms);
        if TOKEN <= bucket.tokens {
            return true;
        }
        if gate.timer_ms.is_none()
            && let Some(at_ms) = bucket.next_ms()
        {
            gate.timer_ms = Some(at_ms);
            self.timers.insert((at_ms, scope));
        }
        false
    }

    /// The tenant's limit that keeps the line of this place from being served now.
    pub fn closed(&mut self, place: Place, now_ms: i64) -> Option<Scope> {
        if self.by_scope.is_empty() {
            return None;
        }
        let [_, tenant, both] = scopes(place);
        [tenant, both]
            .into_iter()
            .find(|it| !self.is_open(*it, now_ms))
    }

    /// Notes a line that waits for a limit.
    pub fn hold_back(&mut self, scope: Scope, place: Place) {
        if let Some(gate) = self.by_scope.get_mut(&scope) {
            gate.held_back.insert(place);
        }
    }

    /// A turn is handed out: it takes a token of each limit.
    pub fn pass(&mut self, place: Place) {
        for scope in scopes(place) {
            if let Some(bucket) = self
                .by_scope
                .get_mut(&scope)
                .and_then(|it| it.bucket.as_mut())
            {
                bucket.tokens = bucket.tokens.saturating_sub(TOKEN);
            }
        }
    }

    pub fn lease_begins(&mut self, place: Place) {
        for scope in scopes(place) {
            if let Some(gate) = self.by_scope.get_mut(&scope) {
                gate.n_leased = gate.n_leased.saturating_add(1);
            }
        }
    }

    /// Returns the limits that had no room before and have some now.
    pub fn lease_ends(&mut self, place: Place) -> Vec<Scope> {
        let mut opened = Vec::new();
        for scope in scopes(place) {
            if let Some(gate) = self.by_scope.get_mut(&scope) {
                let was_full = !gate.has_room();
                gate.n_leased = gate.n_leased.saturating_sub(1);
                if was_full && gate.has_room() {
                    opened.push(scope);
                }
            }
        }
        opened
    }

    /// Lines that waited for a limit.
    pub fn let_go(&mut self, scope: Scope) -> BTreeSet<Place> {
        let gate = self.by_scope.get_mut(&scope);
        gate.map(|it| std::mem::take(&mut it.held_back))
            .unwrap_or_default()
    }

    /// Every line that waits for a limit.
    pub fn let_all_go(&mut self) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for gate in self.by_scope.values_mut() {
            places.append(&mut gate.held_back);
        }
        places
    }

    /// When the next token that somebody waits for is there, ms.
    pub fn next_ms(&self) -> Option<i64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Limits whose token is there.
    pub fn due(&mut self, now_ms: i64) -> Vec<Scope> {
        let mut due = Vec::new();
        while let Some((at_ms, scope)) = self.timers.first().copied()
            && at_ms <= now_ms
        {
            self.timers.pop_first();
            if let Some(gate) = self.by_scope.get_mut(&scope) {
                gate.timer_ms = None;
            }
            due.push(scope);
        }
        due
    }
}

fn scopes(place: Place) -> [Scope; 3] {
    [
        Scope::Step(place.queue),
        Scope::Tenant(place.tenant),
        Scope::StepTenant(place.queue, place.tenant),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_burst_pass_and_then_its_rate() {
        let mut bucket = Bucket::new(10, Some(3), 1, 0);
        let mut pass = |now_ms| {
            bucket.fill(now_ms);
            let has = TOKEN <= bucket.tokens;
            if has {
                bucket.tokens -= TOKEN;
            }
            (has, bucket.next_ms())
        };
        assert_eq!([0, 0, 0, 0].map(|it| pass(it).0), [true, true, true, false]);
        assert_eq!(pass(99), (false, Some(100)));
        assert_eq!(pass(100), (true, Some(200)));
        // However long nothing came, no more than the burst has gathered.
        let n_passed = (0..10).filter(|_| pass(60_000).0).count();
        assert_eq!(n_passed, 3);
    }

    #[test]
    fn every_node_has_its_share_and_at_least_one_turn() {
        let bucket = Bucket::new(9, None, 3, 0);
        assert_eq!((bucket.rate, bucket.burst), (3_000, 3 * TOKEN));
        let mut gates = Gates::default();
        for (scope, max) in [(1, 9), (2, 2), (3, 0)] {
            let limit = TurnLimit {
                concurrent: Some(max),
                ..TurnLimit::default()
            };
            gates.add(Scope::Step(scope), &limit, 3, 0);
        }
        let shares: Vec<_> = gates
            .by_scope
            .values()
            .map(|it| it.concurrent_max)
            .collect();
        assert_eq!(shares, [Some(3), Some(1), Some(0)]);
    }

    #[test]
    fn a_rate_of_nothing_stops_a_step_for_good() {
        let mut bucket = Bucket::new(0, Some(5), 1, 0);
        bucket.fill(1_000_000);
        assert_eq!((bucket.tokens, bucket.next_ms()), (0, None));
    }
}
