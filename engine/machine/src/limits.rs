//! Every limit of the machine, in one place.

/// Largest JSON document that a state, variable, prompt or result may hold, in bytes of UTF-8.
///
/// Source: the payload quota of AWS Step Functions.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting of such a document.
///
/// Source: `serde_json` reads 128 levels, and a snapshot puts some around every document.
pub const PAYLOAD_DEPTH_MAX: usize = 100;

/// Longest name of an error, in bytes; longer ones are cut.
///
/// Source: `SendTaskFailure` of AWS Step Functions takes 256 characters.
pub const ERROR_BYTES_MAX: usize = 256;

/// Longest cause of an error, in bytes; longer ones are cut.
///
/// Source: `SendTaskFailure` of AWS Step Functions takes 32,768 characters.
pub const CAUSE_BYTES_MAX: usize = 32 * 1024;

/// Most events that one workflow may have.
///
/// Source: the history quota of AWS Step Functions.
pub const HISTORY_EVENTS_MAX: u64 = 25_000;

/// Events kept free below [`HISTORY_EVENTS_MAX`] so that closing a workflow always fits.
pub const HISTORY_EVENTS_RESERVED: u64 = 100;

/// Events below [`HISTORY_EVENTS_MAX`] at which the state that is entered next fails with
/// `BTrust.HistoryLimitExceeded`, once: room for a `Catch` to bring the workflow to a good end.
pub const HISTORY_EVENTS_CATCHABLE: u64 = 1_000;

/// Events above which no search attribute is changed any more.
///
/// Source: however often callers change them, more events stay free for the workflow itself than any
/// shipped definition has.
pub const HISTORY_EVENTS_NOTED_MAX: u64 = HISTORY_EVENTS_MAX - 5 * HISTORY_EVENTS_CATCHABLE;

/// Items (or batches) of one `Map`.
///
/// Source: they are branches of the same workflow and part of its snapshot; 1,000 of 64 bytes are a
/// quarter of what a snapshot may hold.
pub const MAP_ITEMS_MAX: usize = 1_000;

/// Items of one `Map` before they are grouped into batches.
pub const MAP_BATCHED_ITEMS_MAX: usize = 10_000;

/// Bytes of everything that the runs of one `Map` are given, and of everything that they return.
///
/// It is part of every snapshot while the `Map` runs.
pub const MAP_BYTES_MAX: usize = 1024 * 1024;

/// Compensations that one workflow may have registered.
pub const COMPENSATIONS_MAX: usize = 1_000;

/// Workflows above a child.
///
/// Source: a tree of processes that people can still follow; it ends recursion.
pub const CHILD_DEPTH_MAX: u32 = 8;

/// Children that one workflow may wait for at once: as many as a `Map` has items.
pub const CHILDREN_OPEN_MAX: usize = MAP_ITEMS_MAX;

/// Longest cause of a child's end in the cause of its task, in bytes; longer ones are cut.
pub const CHILD_CAUSE_BYTES_MAX: usize = 8 * 1024;

/// Messages to other workflows that may wait before no child is started any more.
///
/// Each child has one that starts it and one that ends it.
pub const OWED_MAX: usize = 4 * CHILDREN_OPEN_MAX;

/// Bytes of the inputs of all children that have not been started yet; they are part of the snapshot.
pub const OWED_BYTES_MAX: usize = 4 * MAP_BYTES_MAX;

/// Shortest time from the start of a run to the start of the one that goes on from it, in milliseconds.
///
/// Source: a run is a row, a key and an id for ever; one a second is 31 million a year.
pub const CONTINUE_INTERVAL_MIN_MS: i64 = 1_000;

/// Closed turns whose digests are remembered, so that a repeated result gets the same answer.
///
/// A worker repeats a result within seconds; a workflow has a handful of turns in that time. They are
/// part of every snapshot, so they must be few.
pub const CLOSED_TURNS_MAX: usize = 16;

/// Closed prompts whose digests are remembered, so that a repeated submission gets the same answer.
pub const CLOSED_PROMPTS_MAX: usize = 16;

/// Hex digits of a digest that are remembered: 128 bits.
pub const DIGEST_DIGITS: usize = 32;

/// Signals that came before a state waited for them and are kept until one does.
///
/// They are part of every snapshot until they are taken.
pub const SIGNALS_MAX: usize = 100;

/// Bytes of the payloads of those signals together.
pub const SIGNALS_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// Longest name of a signal, in characters; as long as the name of a state.
pub const SIGNAL_NAME_CHARS_MAX: usize = STATE_NAME_CHARS_MAX;

/// Latest signals whose idempotency keys are remembered, so that a repeated one gets the same answer.
///
/// Whoever sends a signal repeats it within seconds; they are part of every snapshot.
pub const SIGNAL_KEYS_MAX: usize = 32;

/// Longest time that tasks under way may be given when a workflow is cancelled, in seconds.
///
/// A task that needs longer than an hour waits for a person; those are not waited for.
pub const CANCEL_GRACE_SECONDS_MAX: i64 = 3_600;

/// How often one workflow may go on from where it failed.
///
/// Source: AWS Step Functions allows 1,000; [`HISTORY_EVENTS_MAX`] ends most workflows before 100.
pub const REDRIVES_MAX: u32 = 100;

/// Latest redrives whose idempotency keys are remembered, so that a repeated one gets the same answer.
///
/// Whoever redrives repeats it within minutes; they are part of every snapshot.
pub const REDRIVE_KEYS_MAX: usize = 16;

/// Branches of one `Parallel` state.
pub const BRANCHES_MAX: usize = 40;

/// States of one definition, branches included.
pub const STATES_MAX: usize = 1_000;

/// Longest name of a state, in characters. Source: states-language.net.
pub const STATE_NAME_CHARS_MAX: usize = 80;

/// Longest `JSONata` expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Deepest nesting of a parsed expression; a chain of operators nests once for each of them.
pub const EXPRESSION_NESTING_MAX: usize = 250;

/// Deepest evaluation of an expression, in nested levels of the evaluator.
///
/// A call of a function takes about six of them.
pub const EXPRESSION_DEPTH_MAX: usize = 2_000;

/// Steps that one evaluation may take; a step is about a tenth of a microsecond of work.
///
/// Counted, not timed: the same expression over the same data ends at the same step everywhere. It
/// keeps every evaluation of `tests/hostile.rs` below 100 ms, and is about 20,000 calls of a small
/// function.
pub const EXPRESSION_STEPS_MAX: u64 = 400_000;

/// Longest text that an expression may build on the way to its result, in bytes.
pub const EXPRESSION_TEXT_BYTES_MAX: usize = 4 * PAYLOAD_BYTES_MAX;

/// Deepest nesting of the result of an expression.
///
/// A document nested deeper than 128 cannot be read back from a history: `serde_json` refuses it. A
/// template (see [`TEMPLATE_DEPTH_MAX`]) may nest the result further.
pub const EXPRESSION_RESULT_DEPTH_MAX: usize = 50;

/// Longest sequence that an expression may build, in items.
pub const EXPRESSION_SEQUENCE_MAX: usize = 10_000;

/// Wall-clock guard above the deterministic limits, in milliseconds for one expression.
///
/// Reaching it aborts the command uncommitted; it is never an outcome of the workflow.
pub const EXPRESSION_TIMEOUT_MS: u64 = 1_000;

/// Deepest nesting of a definition's JSON.
pub const TEMPLATE_DEPTH_MAX: usize = 64;

/// Longest time that a timeout, wait, interval or expiry may last, in seconds.
///
/// Source: `TimeoutSeconds` of AWS Step Functions is at most 99,999,999.
pub const SECONDS_MAX: i64 = 99_999_999;

/// Most abstract states that the proof explores before it refuses a definition as `proof_too_large`.
pub const PROOF_STATES_MAX: usize = 1_000_000;

/// Counterexamples that a report carries; the shortest come first.
pub const COUNTEREXAMPLES_MAX: usize = 10;

/// Deepest object that the proof follows exactly; below it a value is unknown.
pub const PROOF_VALUE_DEPTH_MAX: usize = 6;

/// Longest path that a counterexample prints, in steps; of a longer one only the end.
///
/// The shortest way through a definition of a thousand states is hardly ever longer.
pub const PROOF_PATH_STEPS_MAX: usize = 2_000;

/// Commands after which a simulation is abandoned.
///
/// Every command of a simulation writes an event or more, and [`HISTORY_EVENTS_MAX`] ends a workflow.
pub const SIMULATION_COMMANDS_MAX: usize = 25_000;

/// Most steps of one `JSONPath`.
pub const JSONPATH_SEGMENTS_MAX: usize = 100;

/// Deepest nesting of filters, of parentheses in them and of arrays of literals in a `JSONPath`.
pub const JSONPATH_NESTING_MAX: usize = 16;

/// Work of one evaluation of a `JSONPath`, in values looked at (and four times the values copied).
///
/// A payload of [`PAYLOAD_BYTES_MAX`] has at most half as many values as bytes, so every path that
/// goes through the whole of it once or twice fits; a chain of `..` that multiplies does not.
pub const JSONPATH_WORK_MAX: usize = 1_000_000;

/// Deepest nesting of intrinsic functions.
///
/// Source: the Step Functions developer guide allows ten in one field.
pub const INTRINSIC_NESTING_MAX: usize = 10;

/// Bytes of all arguments and results within one intrinsic call.
///
/// A path may bring a whole payload and a call may name several; more is not usable, because the
/// result must fit [`PAYLOAD_BYTES_MAX`].
pub const INTRINSIC_BYTES_MAX: usize = 16 * PAYLOAD_BYTES_MAX;

/// Most numbers of `States.ArrayRange`. Source: the Step Functions developer guide.
pub const INTRINSIC_RANGE_ITEMS_MAX: usize = 1_000;

/// Longest text of `States.Hash` and `States.Base64...`, in UTF-16 units.
///
/// Source: the Step Functions developer guide.
pub const INTRINSIC_TEXT_CHARS_MAX: usize = 10_000;

/// Leases of one turn that may be lost without a result; then it is an incident and not handed out again.
///
/// Source: a deployment or a machine that dies costs one or two; five in a row are the turn's own doing.
pub const LEASES_LOST_MAX: u32 = 5;

/// Search attributes of one definition.
///
/// Source: each is a row and an entry of an index for every workflow.
pub const SEARCH_ATTRIBUTES_MAX: usize = 10;

/// Longest name of a search attribute, in bytes; part of every entry of its index.
pub const SEARCH_ATTRIBUTE_NAME_BYTES_MAX: usize = 32;

/// Schemas looked at for one field that a search attribute is taken from: references may go in circles.
pub const SCHEMA_REFERENCES_MAX: usize = 1_000;
