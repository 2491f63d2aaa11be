//! The auth service (5800): who may ask, and the tokens that say so.
//!
//! Tokens are EdDSA JWTs; `/.well-known/jwks.json` holds what verifies them, so
//! that no other service asks auth about a request. A client's token lives
//! [`CLIENT_TOKEN_TTL_MS`], an applicant's [`APPLICANT_TOKEN_TTL_MS`] and opens
//! exactly one workflow; hand-off codes and resume links bring it back.

mod acts;
mod applicant_tokens;
mod clients;
mod contact_codes;
mod delete_client;
mod failures;
mod handoff_redemptions;
mod handoffs;
mod jwks;
mod resume_codes;
mod resume_links;
mod resume_redemptions;
mod secrets;
mod server;
mod signing;
mod store;
mod token;

#[cfg(test)]
mod tests;

pub use self::{
    secrets::generate_secret,
    server::{
        Auth, AuthError, Config, DevelopmentClient, Ensured, Outside, openapi_json, routes, serve,
    },
    store::clients::ClientKind,
};

/// How long a client's, reviewer's or service's token is good for, in
/// milliseconds. There is no revocation list, so this bounds how long a
/// withdrawn client can go on.
pub const CLIENT_TOKEN_TTL_MS: i64 = 15 * 60 * 1_000;

/// How long an applicant's token is good for, in milliseconds: one sitting.
/// Longer waits come back by a resume link.
pub const APPLICANT_TOKEN_TTL_MS: i64 = 60 * 60 * 1_000;

/// How long an applicant's sitting may last in all, in milliseconds, however often
/// it is handed to another device. Then the bank or a resume code starts another.
pub const APPLICANT_SESSION_MAX_MS: i64 = 4 * 60 * 60 * 1_000;

/// How long a hand-off code is good for, in milliseconds. Source: design.md,
/// section 5 (a single-use five-minute QR).
pub const HANDOFF_TTL_MS: i64 = 5 * 60 * 1_000;

/// How long a resume link is good for, in milliseconds: the longest that the
/// shipped onboarding waits for its applicant.
pub const RESUME_LINK_TTL_MS: i64 = 14 * 24 * 60 * 60 * 1_000;
