//! `kyc:read-items` and `kyc:write-results`: what a distributed `Map` reads its items from and writes
//! its results to, in the object store.

mod parse;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::ReadItems;
pub use write::WriteResults;

use crate::runtime::Fault;

/// Files at once in one process: each may take tens of megabytes while it is parsed.
const IN_FLIGHT_MAX: u32 = 8;

/// Gives a fault the one name that a `Map` catches for its file.
fn renamed(fault: Fault, error: &'static str) -> Fault {
    match fault {
        Fault::Failed { cause, .. } => Fault::failed(error, cause),
        Fault::Superseded => Fault::Superseded,
    }
}
