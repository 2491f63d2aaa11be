//! Plays an applicant, and the bank's backend, against a running platform.
//!
//! Everything goes through the public API: the library renders what a person
//! would hold before a camera (a passport, a face that turns and blinks) and
//! answers the prompts that the platform sends. It is never part of what a bank
//! deploys.
//!
//! **Architecture invariant:** of ours, this crate depends on the wire types
//! (`btrust-schemas`) and on the models (`btrust-vision`) only, so that it
//! cannot take a short cut into the platform it examines.

pub mod camera;
pub mod client;
pub mod clock;
pub mod delaunay;
pub mod face;
pub mod geometry;
pub mod head;
pub mod mrz;
pub mod outbox;
pub mod passport;
pub mod picture;
pub mod platform;
pub mod play;
pub mod print;
pub mod props;
pub mod selfie;
pub mod timeline;
