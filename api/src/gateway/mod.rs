//! The gateway (5008).
