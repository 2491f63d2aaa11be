//! A disk that fails on command: loaded into a process with `LD_PRELOAD`, never part of the product.
//!
//! It stands in for the functions of the C library that change files, does what they do, and beside that,
//! for files below one folder and from the moment at which it is armed,
//!
//! - kills the process in the middle of the n-th change or flush ([`plan::Plan::kill_at`]);
//! - refuses to let files grow while a certain file exists, as a full disk does ([`plan::Plan::full`]);
//! - writes every change and flush to a record, from which a test rebuilds what a power cut would have left
//!   ([`plan::Plan::record`]).

pub mod plan;
mod record;
mod stand_in;
