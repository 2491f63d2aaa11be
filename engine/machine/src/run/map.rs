//! `Map`: the same states for every item.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::evaluate::{cannot_run, limit_size, unexpected};
use super::{Failure, Move, Run, Seen, Trouble};
use crate::command::Refusal;
use crate::definition::{Batcher, Items, Kind, MapDef, StateDef, Template};
use crate::error_name::DATA_LIMIT_EXCEEDED;
use crate::event::EventKind;
use crate::limits::{
    HISTORY_EVENTS_MAX, HISTORY_EVENTS_RESERVED, MAP_BATCHED_ITEMS_MAX, MAP_BYTES_MAX,
    MAP_ITEMS_MAX, PAYLOAD_BYTES_MAX,
};
use crate::payload::Payload;
use crate::state::{Item, Mapping, Position, Role, Thread, Visit};

pub(super) const EXCEED_TOLERATED_FAILURE_THRESHOLD: &str =
    "States.ExceedToleratedFailureThreshold";
pub(super) const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
pub(super) const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";

impl<'a> Run<'a> {
    /// Enters a `Map`, or runs it again: its items come from the input, or from a reader.
    pub(super) fn enter_map(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        map: &'a MapDef,
        visit: Visit,
    ) -> Result<(), Refusal> {
        if map.reader.is_some() {
            return self.begin_task(thread, visit, Role::Read);
        }
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let items = self.items(thread, state_def, map, &visit);
        let outcome = items.and_then(|it| self.begin_items(thread, state_def, map, &visit, it));
        self.settle(thread, outcome)
    }

    /// The items that the definition selects.
    fn items(
        &self,
        thread: u32,
        state_def: &StateDef,
        map: &MapDef,
        visit: &Visit,
    ) -> Result<Vec<Payload>, Trouble> {
        let input = self.effective_input(state_def, thread, visit)?;
        let seen = Seen::of(thread, visit).with_data(&input);
        let items = match &map.items {
            Items::Input => input.clone(),
            Items::Path(path) => self.path(path, &seen)?,
            Items::Template(template) => self.template(template, "Items", &seen)?,
        };
        match (items.as_array(), &map.items) {
            (Some(items), _) => Ok(items.iter().cloned().map(Payload::from).collect()),
            (None, Items::Template(Template::Expression(expression))) => {
                Err(unexpected(expression, "Items", &seen, "array", &items))
            }
            (None, _) => Err(not_an_array(state_def, &seen, &items)),
        }
    }

    /// The reader of a `Map` has answered.
    pub(super) fn read_items(&mut self, thread: u32, output: &Payload) -> Result<(), Refusal> {
        let Some(visit) = self.thread(thread)?.position.visit().cloned() else {
            return Ok(());
        };
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let state_def = self.state_def(thread, &visit.state)?;
        let Kind::Map(map) = &state_def.kind else {
            return Err(super::mismatch(format!("`{}` is no `Map`", visit.state)));
        };
        let read = output.get("items").unwrap_or(output);
        let outcome = match read.as_array() {
            Some(items) => {
                let items = items.iter().cloned().map(Payload::from).collect();
                self.begin_items(thread, state_def, map, &visit, items)
            }
            None => Err(Failure::new(
                ITEM_READER_FAILED,
                "The ItemReader has not answered with an array of items.",
            )
            .into()),
        };
        self.settle(thread, outcome)
    }

    fn begin_items(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        map: &'a MapDef,
        visit: &Visit,
        items: Vec<Payload>,
    ) -> Result<(), Trouble> {
        let input = self.effective_input(state_def, thread, visit)?;
        let seen = Seen::of(thread, visit).with_data(&input);
        let concurrency = match self.count(&map.concurrency, "MaxConcurrency", &seen)? {
            0 => usize::MAX,
            concurrency => concurrency,
        };
        let (items, inputs) = match &map.batcher {
            None => {
                limit_items(items.len(), MAP_ITEMS_MAX)?;
                let inputs = self.item_inputs(map, &items, &seen)?;
                (items, inputs)
            }
            Some(batcher) => {
                limit_items(items.len(), MAP_BATCHED_ITEMS_MAX)?;
                let selected = self.item_inputs(map, &items, &seen)?.unwrap_or(items);
                (self.batches(batcher, selected, &seen)?, None)
            }
        };
        let (name, length) = (visit.state.clone(), items.len());
        self.emit(thread, EventKind::MapStateStarted { name, length });
        let tolerated = self.tolerated(map, length, &seen)?;
        if map.is_distributed {
            let name = visit.state.clone();
            self.emit(thread, EventKind::MapRunStarted { name, length });
        }
        let mapping = Mapping {
            visit: visit.clone(),
            items,
            inputs,
            next: 0,
            concurrency,
            tolerated,
            failed: 0,
            running: BTreeMap::new(),
            outputs: BTreeMap::new(),
            output_bytes: 0,
            evidence: None,
        };
        self.thread_mut(thread)?.position = Position::Mapping(Box::new(mapping));
        self.go_on_with_items(thread)?;
        Ok(())
    }

    /// What the runs get, when it is not the items themselves.
    fn item_inputs(
        &self,
        map: &MapDef,
        items: &[Payload],
        seen: &Seen<'_>,
    ) -> Result<Option<Vec<Payload>>, Trouble> {
        let Some(selector) = &map.selector else {
            return Ok(None);
        };
        let mut inputs = Vec::with_capacity(items.len());
        let mut bytes = 0;
        for (index, value) in items.iter().enumerate() {
            let item = Item {
                index,
                value: value.clone(),
            };
            let seen = Seen {
                item: Some(&item),
                ..*seen
            };
            let input = self.template(selector, "ItemSelector", &seen)?;
            limit_size(&input, "the value of ItemSelector", seen.visit)?;
            bytes += input.size_bytes();
            limit_bytes(bytes)?;
            inputs.push(input);
        }
        Ok(Some(inputs))
    }

    /// Groups items: each batch is `{"Items": [..]}`, with `BatchInput` where there is one.
    fn batches(
        &self,
        batcher: &Batcher,
        items: Vec<Payload>,
        seen: &Seen<'_>,
    ) -> Result<Vec<Payload>, Trouble> {
        let items_max = match &batcher.items_max {
            Some(number) => self.count(number, "MaxItemsPerBatch", seen)?.max(1),
            None => usize::MAX,
        };
        let bytes_max = match &batcher.bytes_max {
            Some(number) => self.count(number, "MaxInputBytesPerBatch", seen)?,
            None => PAYLOAD_BYTES_MAX,
        };
        let input = match &batcher.input {
            Some(template) => Some(self.template(template, "BatchInput", seen)?),
            None => None,
        };
        let whole = |items: Vec<Value>| -> Payload {
            let mut batch = Map::new();
            if let Some(input) = &input {
                batch.insert("BatchInput".to_owned(), input.to_value());
            }
            batch.insert("Items".to_owned(), Value::Array(items));
            Value::Object(batch).into()
        };
        let bytes_empty = whole(Vec::new()).size_bytes();
        let mut grouped = Vec::new();
        let (mut open, mut bytes, mut bytes_whole) = (Vec::new(), bytes_empty, bytes_empty);
        for item in items {
            let size = item.size_bytes() + 1;
            if !open.is_empty() && (items_max <= open.len() || bytes_max < bytes + size) {
                grouped.push(whole(std::mem::take(&mut open)));
                bytes = bytes_empty;
                bytes_whole += bytes_empty;
                limit_items(grouped.len() + 1, MAP_ITEMS_MAX)?;
            }
            bytes += size;
            bytes_whole += size;
            limit_bytes(bytes_whole)?;
            open.push(item.to_value());
        }
        if !open.is_empty() {
            grouped.push(whole(open));
        }
        Ok(grouped)
    }

    /// How many of `length` items may fail.
    fn tolerated(&self, map: &MapDef, length: usize, seen: &Seen<'_>) -> Result<usize, Trouble> {
        let percentage = match &map.tolerated_percentage {
            Some(number) => Some(self.percentage(number, "ToleratedFailurePercentage", seen)?),
            None => None,
        };
        let count = match &map.tolerated_count {
            Some(number) => Some(self.count(number, "ToleratedFailureCount", seen)?),
            None => None,
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most MAP_ITEMS_MAX, and not negative"
        )]
        let of_all = percentage.map(|it| (length as f64 * it / 100.0).floor() as usize);
        Ok(match (count, of_all) {
            (Some(count), Some(of_all)) => count.min(of_all),
            (Some(it), None) | (None, Some(it)) => it,
            (None, None) => 0,
        })
    }

    /// Begins as many items as may run, or ends the `Map` when none is left.
    fn go_on_with_items(&mut self, thread: u32) -> Result<(), Refusal> {
        loop {
            let Position::Mapping(mapping) = &mut self.thread_mut(thread)?.position else {
                return Ok(());
            };
            if mapping.running.is_empty() && mapping.next == mapping.items.len() {
                return self.end_items(thread);
            }
            if mapping.running.len() >= mapping.concurrency || mapping.next == mapping.items.len() {
                return Ok(());
            }
            let index = mapping.next;
            mapping.next += 1;
            let value = mapping.items[index].clone();
            let input = mapping
                .inputs
                .as_ref()
                .and_then(|it| it.get(index))
                .unwrap_or(&value)
                .clone();
            let state = mapping.visit.state.clone();
            self.begin_item(thread, &state, Item { index, value }, input)?;
        }
    }

    fn begin_item(
        &mut self,
        thread: u32,
        state: &str,
        item: Item,
        input: Payload,
    ) -> Result<(), Refusal> {
        let Kind::Map(map) = &self.state_def(thread, state)?.kind else {
            return Err(super::mismatch(format!("`{state}` is no `Map`")));
        };
        let index = item.index;
        let previous = self.thread(thread)?.previous;
        let id = self.add_branch(thread, (state, index), previous)?;
        let branch = self.thread_mut(id)?;
        branch.item = Some(item);
        if map.is_distributed {
            let name = format!("{state}/{index}");
            branch.child = Some(match branch.child.take() {
                Some(around) => format!("{around}/{name}"),
                None => name,
            });
        }
        if let Position::Mapping(mapping) = &mut self.thread_mut(thread)?.position {
            mapping.running.insert(id, index);
        }
        let name = state.to_owned();
        self.emit(id, EventKind::MapIterationStarted { name, index });
        self.moves.push_back(Move {
            thread: id,
            to: &map.processor.start_at,
            input,
        });
        Ok(())
    }

    /// An item has ended well.
    pub(super) fn finish_item(
        &mut self,
        parent: u32,
        thread: u32,
        branch: Thread,
        output: Payload,
    ) -> Result<(), Refusal> {
        let Position::Mapping(mapping) = &mut self.thread_mut(parent)?.position else {
            return Ok(());
        };
        let Some(index) = mapping.running.remove(&thread) else {
            return Ok(());
        };
        mapping.output_bytes += output.size_bytes();
        let fits = limit_bytes(mapping.output_bytes);
        mapping.outputs.insert(index, output);
        mapping.meet(&branch);
        let is_last = mapping.running.is_empty() && mapping.next == mapping.items.len();
        let name = mapping.visit.state.clone();
        let succeeded = EventKind::MapIterationSucceeded { name, index };
        let ended = self.emit_of(&branch, succeeded);
        self.follow(
            parent,
            &branch,
            if is_last { ended } else { branch.previous },
        )?;
        match fits {
            Ok(()) => self.go_on_with_items(parent),
            Err(failure) => self.fail_map(parent, failure),
        }
    }

    /// An item has failed: it is tolerated, or it fails the `Map`.
    pub(super) fn fail_item(
        &mut self,
        parent: u32,
        thread: u32,
        failure: Failure,
    ) -> Result<(), Refusal> {
        let visit = self.thread(parent)?.position.visit().cloned();
        let (Some(mut branch), Some(visit)) = (self.remove_branch(thread), visit) else {
            return Ok(());
        };
        branch.evidence = self.forfeit(parent, &visit, branch.evidence);
        let Position::Mapping(mapping) = &mut self.thread_mut(parent)?.position else {
            return Ok(());
        };
        let Some(index) = mapping.running.remove(&thread) else {
            return Ok(());
        };
        mapping.failed += 1;
        let output = json!({"Error": failure.error, "Cause": failure.cause});
        mapping.outputs.insert(index, output.into());
        mapping.meet(&branch);
        let is_tolerated = mapping.failed <= mapping.tolerated;
        let failed = EventKind::MapIterationFailed {
            name: visit.state.clone(),
            index,
            error: failure.error.clone(),
            cause: failure.cause.clone(),
        };
        self.emit_of(&branch, failed);
        self.follow(parent, &branch, branch.previous)?;
        if is_tolerated {
            return self.go_on_with_items(parent);
        }
        let failure = self.failure_of_map(parent, &visit, failure)?;
        self.fail_map(parent, failure)
    }

    /// The items that still run are aborted, and the `Map` has failed.
    fn fail_map(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        let visit = self.abandon(thread, crate::effect::CloseReason::Withdrawn)?;
        self.thread_mut(thread)?.position = Position::Visiting { visit };
        self.fail_state(thread, failure)
    }

    /// What a `Map` fails with when an item has: the item's error, or that too many have failed.
    fn failure_of_map(
        &mut self,
        thread: u32,
        visit: &Visit,
        failure: Failure,
    ) -> Result<Failure, Refusal> {
        let Kind::Map(map) = &self.state_def(thread, &visit.state)?.kind else {
            return Ok(failure);
        };
        if !map.is_distributed {
            return Ok(failure);
        }
        let failure = Failure::new(
            EXCEED_TOLERATED_FAILURE_THRESHOLD,
            "The specified tolerated failure threshold was exceeded",
        );
        let failed = EventKind::MapRunFailed {
            name: visit.state.clone(),
            error: failure.error.clone(),
            cause: failure.cause.clone(),
        };
        self.emit(thread, failed);
        Ok(failure)
    }

    /// Writes an event of a branch that is no more.
    fn emit_of(&mut self, branch: &Thread, kind: EventKind) -> u64 {
        let id = self.emit_after(branch.previous, kind);
        if let Some(event) = self.events.last_mut() {
            event.child.clone_from(&branch.child);
        }
        id
    }

    /// The next event of the `Map` follows the item, unless the item has a history of its own.
    fn follow(&mut self, parent: u32, branch: &Thread, previous: u64) -> Result<(), Refusal> {
        let parent = self.thread_mut(parent)?;
        if parent.child == branch.child {
            parent.previous = previous;
        }
        Ok(())
    }

    /// Writes which items are aborted, as far as the history has room for it.
    pub(super) fn note_aborted_items(&mut self, visit: &Visit, running: &BTreeMap<u32, usize>) {
        for (id, index) in running {
            if HISTORY_EVENTS_MAX - HISTORY_EVENTS_RESERVED <= self.state.n_events {
                return;
            }
            let (name, index) = (visit.state.clone(), *index);
            self.emit_aside(*id, EventKind::MapIterationAborted { name, index });
        }
    }

    /// Every item has ended: their outputs are the result, unless a writer takes them.
    fn end_items(&mut self, thread: u32) -> Result<(), Refusal> {
        let position = std::mem::replace(&mut self.thread_mut(thread)?.position, Position::Moving);
        let Position::Mapping(mapping) = position else {
            return Ok(());
        };
        let Mapping {
            visit,
            outputs,
            evidence,
            failed,
            ..
        } = *mapping;
        self.thread_mut(thread)?
            .evidence
            .join_items(evidence.iter());
        let state_def = self.state_def(thread, &visit.state)?;
        let Kind::Map(map) = &state_def.kind else {
            return Err(super::mismatch(format!("`{}` is no `Map`", visit.state)));
        };
        if map.is_distributed {
            let name = visit.state.clone();
            self.emit(thread, EventKind::MapRunSucceeded { name, failed });
        }
        let outputs = outputs.values().map(Payload::to_value).collect();
        let result: Payload = Value::Array(outputs).into();
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        if let Err(failure) = limit_size(&result, "the result", &visit) {
            return self.fail_state(thread, failure);
        }
        if map.writer.is_some() {
            return self.begin_writer(thread, visit, result);
        }
        self.leave_map(thread, state_def, &visit, &result)
    }

    /// Exits a `Map` with its result, or with what the writer says of it.
    pub(super) fn leave_map(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        visit: &Visit,
        result: &Payload,
    ) -> Result<(), Refusal> {
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let name = visit.state.clone();
        self.emit_aside(thread, EventKind::MapStateSucceeded { name });
        let seen = Seen::of(thread, visit).with_result(result);
        let outcome = self.leave(state_def.exit(), &seen, result);
        self.settle(thread, outcome)
    }
}

impl Mapping {
    /// Notes what an ended item has gained.
    fn meet(&mut self, branch: &Thread) {
        self.evidence = Some(match self.evidence.take() {
            Some(others) => others.meet(&branch.evidence),
            None => branch.evidence.clone(),
        });
    }
}

fn limit_items(count: usize, most: usize) -> Result<(), Failure> {
    if count <= most {
        return Ok(());
    }
    let cause = format!("{count} items are more than {most}.");
    Err(Failure::new(DATA_LIMIT_EXCEEDED, cause))
}

fn limit_bytes(bytes: usize) -> Result<(), Failure> {
    if bytes <= MAP_BYTES_MAX {
        return Ok(());
    }
    let cause = format!("The items of the Map have more than {MAP_BYTES_MAX} bytes together.");
    Err(Failure::new(DATA_LIMIT_EXCEEDED, cause))
}

fn not_an_array(state_def: &StateDef, seen: &Seen<'_>, items: &Value) -> Trouble {
    match state_def.language {
        crate::definition::Language::Jsonata => {
            let detail = format!("Map state input must be an array but was: {items}");
            super::evaluate::misread("", seen, &detail)
        }
        crate::definition::Language::JsonPath => cannot_run(
            seen,
            &format!("Reference path \"$\" must point to array. But it was: {items}"),
        ),
    }
}
