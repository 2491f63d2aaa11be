//! Small cases by hand, and every small sequence of events against a model that keeps the whole past.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::Evidence;

fn gained(names: &[(&'static str, &'static str)]) -> Evidence<&'static str> {
    let mut evidence = Evidence::default();
    for (state, name) in names {
        evidence.begin(state);
        evidence.gain(*name);
    }
    evidence
}

fn ran(
    parent: &Evidence<&'static str>,
    names: &[(&'static str, &'static str)],
) -> Evidence<&'static str> {
    let mut branch = parent.fork();
    for (state, name) in names {
        branch.begin(state);
        branch.gain(*name);
    }
    branch
}

#[test]
fn what_the_first_builds_have_stored_is_read_as_it_was_meant() {
    let stored = r#"{"held":["phone","document"],"runs":[["Phone",0],["Doc",1],["Faces",2]],
        "inherited_held":0,"inherited_runs":0}"#;
    let mut evidence: Evidence<String> = serde_json::from_str(stored).unwrap();
    assert_eq!(evidence.held(), ["phone", "document"]);
    assert!(evidence.begin(&"Faces".to_owned()).is_empty());
    assert_eq!(evidence.begin(&"Phone".to_owned()), ["phone", "document"]);
}

#[test]
fn running_a_state_again_retracts_its_own_evidence_and_all_gained_since() {
    let mut evidence = gained(&[("Phone", "phone"), ("Doc", "document"), ("Faces", "match")]);
    assert_eq!(evidence.begin(&"Doc"), ["document", "match"]);
    assert_eq!(evidence.held(), ["phone"]);
    evidence.gain("document");
    assert_eq!(evidence.begin(&"Faces"), [] as [&str; 0]);
    assert_eq!(evidence.held(), ["phone", "document"]);
}

#[test]
fn a_join_is_the_union_of_the_branches() {
    let mut parent = gained(&[("Phone", "phone")]);
    let left = ran(&parent, &[("Doc", "document")]);
    let right = ran(&parent, &[("Live", "live")]);
    parent.join([&left, &right].into_iter());
    assert_eq!(parent.held(), ["phone", "document", "live"]);
}

#[test]
fn a_match_against_a_document_that_a_branch_replaces_is_retracted_for_all() {
    let mut parent = gained(&[]);
    let left = ran(&parent, &[("Doc", "document")]);
    let right = ran(&parent, &[("Live", "live")]);
    parent.join([&left, &right].into_iter());
    parent.begin(&"Faces");
    parent.gain("match");
    let left = ran(&parent, &[("Doc", "document")]);
    for branches in [[&left, &parent.fork()], [&parent.fork(), &left]] {
        let mut parent = parent.clone();
        parent.join(branches.into_iter());
        assert_eq!(parent.held(), ["document"]);
    }
}

#[test]
fn within_a_branch_only_what_followed_is_retracted_and_what_was_beside() {
    let mut parent = gained(&[("Phone", "phone")]);
    let left = ran(&parent, &[("Doc", "document"), ("Faces", "match")]);
    let right = ran(&parent, &[("Live", "live")]);
    parent.join([&left, &right].into_iter());
    assert_eq!(parent.held(), ["phone", "document", "match", "live"]);
    assert_eq!(parent.begin(&"Faces"), ["match", "live"]);
    assert_eq!(parent.held(), ["phone", "document"]);
}

#[test]
fn abandoned_branches_contribute_nothing_and_give_nothing_back() {
    let mut parent = gained(&[("Doc", "document"), ("Faces", "match")]);
    let left = ran(&parent, &[("Doc", "document"), ("Live", "live")]);
    parent.abandon([&left, &parent.fork()].into_iter());
    assert_eq!(parent.held(), [] as [&str; 0]);
}

#[test]
fn the_losers_of_a_race_contribute_nothing() {
    let mut parent = gained(&[("Phone", "phone")]);
    let winner = ran(&parent, &[("Doc", "document")]);
    let mut loser = ran(&parent, &[("Live", "live")]);
    assert_eq!(loser.forfeit(), ["live"]);
    parent.join([&winner, &loser].into_iter());
    assert_eq!(parent.held(), ["phone", "document"]);
}

#[test]
fn an_entry_of_a_map_holds_when_every_item_has_gained_it() {
    let parent = gained(&[("Phone", "phone")]);
    let one = ran(&parent, &[("Doc", "document"), ("Live", "live")]);
    let two = ran(&parent, &[("Doc", "document")]);
    let failed = {
        let mut failed = one.clone();
        failed.forfeit();
        failed
    };
    let items = |items: &[&Evidence<&'static str>]| {
        let mut parent = parent.clone();
        parent.join_items(items.iter().copied());
        parent.held().to_vec()
    };
    assert_eq!(items(&[]), ["phone"]);
    assert_eq!(items(&[&one]), ["phone", "document", "live"]);
    assert_eq!(items(&[&one, &two]), ["phone", "document"]);
    assert_eq!(items(&[&two, &one, &two]), ["phone", "document"]);
    assert_eq!(items(&[&one, &failed]), ["phone"]);
}

#[test]
fn what_was_compensated_is_void() {
    let mut evidence = gained(&[("Phone", "phone"), ("Doc", "document"), ("Faces", "match")]);
    assert_eq!(evidence.undo(&"Doc"), ["document", "match"]);
    assert_eq!(evidence.held(), ["phone"]);
    evidence.begin(&"Live");
    evidence.gain("live");
    // The run was void, so nothing was gained since.
    assert_eq!(evidence.begin(&"Doc"), [] as [&str; 0]);
}

#[test]
fn it_survives_being_stored() {
    let mut parent = gained(&[("Phone", "phone")]);
    let left = ran(&parent, &[("Doc", "document")]);
    let text = serde_json::to_string(&left).unwrap();
    assert_eq!(serde_json::from_str::<Evidence<&str>>(&text).unwrap(), left);
    parent.join([&left].into_iter());
    assert!(
        !serde_json::to_string(&parent)
            .unwrap()
            .contains("inherited")
    );
}

/// What happens in one branch.
#[derive(Clone, Debug)]
enum Event {
    /// A state runs; whether it gains the evidence of the same number.
    Run(u8, bool),
    Undo(u8),
    Branches(Vec<Vec<Event>>, End),
}

/// How branches come together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Join,
    /// Won by the branch of this index.
    Race(usize),
    Abandon,
    Items,
}

/// The model: every run that ever was, with all that came before it.
#[derive(Default)]
struct Past {
    /// State, and the runs that came before.
    runs: Vec<(u8, BTreeSet<usize>)>,
}

/// What one branch of the model knows.
#[derive(Clone, Default)]
struct View {
    seen: BTreeSet<usize>,
    alive: BTreeSet<usize>,
    /// Evidence, and the run that gained it.
    held: BTreeSet<(u8, usize)>,
}

impl View {
    fn undo(&mut self, past: &Past, state: u8) {
        let of = |state: u8, alive: &BTreeSet<usize>| -> Vec<usize> {
            alive
                .iter()
                .copied()
                .filter(|it| past.runs[*it].0 == state)
                .collect()
        };
        let again = of(state, &self.alive);
        if again.is_empty() {
            return;
        }
        // All runs of one state that items have had are one run: before it is what was before each.
        let surely_before = |these: &[usize], those: &[usize]| {
            these
                .iter()
                .all(|it| those.iter().all(|other| past.runs[*other].1.contains(it)))
        };
        let names: BTreeSet<u8> = self.held.iter().map(|(name, _)| *name).collect();
        for name in names {
            let by: Vec<usize> = self
                .held
                .iter()
                .filter(|it| it.0 == name)
                .map(|it| it.1)
                .collect();
            if !surely_before(&by, &again) {
                self.held.retain(|it| it.0 != name);
            }
        }
        let states: BTreeSet<u8> = self.alive.iter().map(|it| past.runs[*it].0).collect();
        for other in states {
            let runs = of(other, &self.alive);
            if other == state || surely_before(&again, &runs) {
                self.alive.retain(|it| past.runs[*it].0 != other);
            }
        }
    }

    fn play(&mut self, past: &mut Past, events: &[Event]) {
        for event in events {
            match event {
                Event::Undo(state) => self.undo(past, *state),
                Event::Run(state, gains) => {
                    self.undo(past, *state);
                    let run = past.runs.len();
                    past.runs.push((*state, self.seen.clone()));
                    self.seen.insert(run);
                    self.alive.insert(run);
                    if *gains {
                        self.held.insert((*state, run));
                    }
                }
                Event::Branches(branches, end) => {
                    let views: Vec<View> = branches
                        .iter()
                        .map(|events| {
                            let mut view = self.clone();
                            view.play(past, events);
                            view
                        })
                        .collect();
                    self.come_together(&views, *end);
                }
            }
        }
    }

    fn come_together(&mut self, views: &[View], end: End) {
        let before = self.clone();
        let own = |view: &View| -> BTreeSet<(u8, usize)> {
            view.held.difference(&before.held).copied().collect()
        };
        let names = |view: &View| -> BTreeSet<u8> { own(view).iter().map(|it| it.0).collect() };
        for view in views {
            self.seen.extend(&view.seen);
            self.alive.retain(|it| view.alive.contains(it));
            self.held.retain(|it| view.held.contains(it));
        }
        for (index, view) in views.iter().enumerate() {
            self.alive.extend(view.alive.difference(&before.alive));
            let counts = |name: u8| match end {
                End::Join => true,
                End::Race(winner) => winner == index,
                End::Abandon => false,
                End::Items => views.iter().all(|it| names(it).contains(&name)),
            };
            self.held
                .extend(own(view).into_iter().filter(|it| counts(it.0)));
        }
    }
}

fn play(evidence: &mut Evidence<u8>, events: &[Event]) {
    for event in events {
        match event {
            Event::Undo(state) => {
                evidence.undo(state);
            }
            Event::Run(state, gains) => {
                evidence.begin(state);
                if *gains {
                    evidence.gain(*state);
                }
            }
            Event::Branches(branches, end) => {
                let mut ended: Vec<Evidence<u8>> = branches
                    .iter()
                    .map(|events| {
                        let mut branch = evidence.fork();
                        play(&mut branch, events);
                        branch
                    })
                    .collect();
                match end {
                    End::Join => evidence.join(ended.iter()),
                    End::Abandon => evidence.abandon(ended.iter()),
                    End::Items => evidence.join_items(ended.iter()),
                    End::Race(winner) => {
                        for (index, loser) in ended.iter_mut().enumerate() {
                            if index != *winner {
                                loser.forfeit();
                            }
                        }
                        evidence.join(ended.iter());
                    }
                }
            }
        }
    }
}

/// Compares with the model after every prefix of the events, and with the branches the other way round.
fn compare(events: &[Event]) {
    for n in 1..=events.len() {
        let (mut evidence, mut view) = (Evidence::default(), View::default());
        play(&mut evidence, &events[..n]);
        view.play(&mut Past::default(), &events[..n]);
        let held: BTreeSet<u8> = evidence.held().iter().copied().collect();
        let expected: BTreeSet<u8> = view.held.iter().map(|it| it.0).collect();
        assert_eq!(held, expected, "{:?}", &events[..n]);
        assert_eq!(held.len(), evidence.held().len());
        assert_eq!(
            held,
            held_when_settled(&events[..n]),
            "settling matters in {:?}",
            &events[..n]
        );
        let mut turned = Evidence::default();
        play(
            &mut turned,
            &events[..n].iter().map(turn).collect::<Vec<_>>(),
        );
        let turned: BTreeSet<u8> = turned.held().iter().copied().collect();
        assert_eq!(
            turned,
            held,
            "the order of the branches matters in {:?}",
            &events[..n]
        );
    }
}

/// What is held when everything is forgotten at once that cannot matter any more.
fn held_when_settled(events: &[Event]) -> BTreeSet<u8> {
    let mut evidence = Evidence::default();
    for (index, event) in events.iter().enumerate() {
        let mut later = BTreeSet::new();
        events[index..]
            .iter()
            .for_each(|it| note_states(it, &mut later));
        evidence.settle(|it| later.contains(it));
        play(&mut evidence, std::slice::from_ref(event));
    }
    evidence.held().iter().copied().collect()
}

fn note_states(event: &Event, states: &mut BTreeSet<u8>) {
    match event {
        Event::Run(state, _) | Event::Undo(state) => {
            states.insert(*state);
        }
        Event::Branches(branches, _) => branches
            .iter()
            .flatten()
            .for_each(|it| note_states(it, states)),
    }
}

fn turn(event: &Event) -> Event {
    let Event::Branches(branches, end) = event else {
        return event.clone();
    };
    let end = match *end {
        End::Race(winner) => End::Race(branches.len() - 1 - winner),
        end => end,
    };
    let turned = branches
        .iter()
        .rev()
        .map(|it| it.iter().map(turn).collect());
    Event::Branches(turned.collect(), end)
}

/// Every sequence of at most two runs of these states.
fn sequences(states: &[u8]) -> Vec<Vec<Event>> {
    let runs: Vec<Event> = states
        .iter()
        .flat_map(|it| [Event::Run(*it, true), Event::Run(*it, false)])
        .collect();
    let mut found = vec![Vec::new()];
    for first in &runs {
        found.push(vec![first.clone()]);
        found.extend(
            runs.iter()
                .map(|second| vec![first.clone(), second.clone()]),
        );
    }
    found
}

/// Every visit to a `Parallel` with two branches, and to a `Map` with up to two items.
fn visits() -> Vec<Event> {
    let (left, right) = (sequences(&[0, 1]), sequences(&[2]));
    let mut found = vec![Event::Branches(Vec::new(), End::Items)];
    for left in &left {
        for right in &right {
            for end in [End::Join, End::Race(0), End::Race(1), End::Abandon] {
                found.push(Event::Branches(vec![left.clone(), right.clone()], end));
            }
        }
    }
    let items = sequences(&[4, 5]);
    for first in &items {
        found.push(Event::Branches(vec![first.clone()], End::Items));
        for second in items.iter().step_by(3) {
            found.push(Event::Branches(
                vec![first.clone(), second.clone()],
                End::Items,
            ));
        }
    }
    found
}

#[test]
fn every_two_visits_with_a_state_between_agree_with_the_model() {
    let visits = visits();
    let mut n_compared = 0;
    for (index, first) in visits.iter().enumerate() {
        // Each pair of neighbours in seven different strides: a fixed tenth of all pairs.
        for second in visits.iter().skip(index % 7).step_by(7) {
            let events = [
                Event::Run(3, true),
                first.clone(),
                Event::Run(3, index % 2 == 0),
                second.clone(),
                Event::Run(4, true),
            ];
            compare(&events);
            n_compared += 1;
        }
    }
    assert!(30_000 < n_compared, "{n_compared}");
}

/// A branch at `level` whose states are its own; a `Parallel` and a `Map` may nest in it.
fn any_events(first_state: u8, level: u32) -> BoxedStrategy<Vec<Event>> {
    let run = (first_state..first_state + 2, any::<bool>())
        .prop_map(|(state, gains)| Event::Run(state, gains));
    let undo = (first_state..first_state + 2).prop_map(Event::Undo);
    if level == 0 {
        return prop::collection::vec(prop_oneof![6 => run, 1 => undo], 0..4).boxed();
    }
    // Every branch has a range of state numbers of its own; the items of a `Map` share theirs.
    let room = 10_u8.pow(level);
    let below = |index: u8| any_events(first_state + 2 + index * (room / 5), level - 1);
    let end = prop_oneof![3 => Just(End::Join), 1 => Just(End::Race(0)), 1 => Just(End::Race(1)), 1 => Just(End::Abandon)];
    let parallel = (below(0), below(1), end)
        .prop_map(|(left, right, end)| Event::Branches(vec![left, right], end));
    let map =
        prop::collection::vec(below(2), 0..4).prop_map(|items| Event::Branches(items, End::Items));
    prop::collection::vec(
        prop_oneof![3 => run, 1 => undo, 2 => parallel, 2 => map],
        0..5,
    )
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nested_branches_agree_with_the_model(events in any_events(0, 2)) {
        compare(&events);
    }
}
