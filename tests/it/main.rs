//! Every test that needs more than one crate, in one binary so that it links once.

mod architecture;
mod audit_commands;
mod audit_proofs;
mod auditor;
mod bench;
mod canary;
mod crash;
mod demo;
mod disk;
mod funnels;
mod maps;
mod nodes;
mod phone;
mod refusals;
mod samples;
mod storm;
mod up;
mod webhooks;
