//! Cursors of lists: opaque, and good only for the list that they came from.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical;

/// Longest cursor that is looked at, in bytes; ours have about 150.
pub const CURSOR_BYTES_MAX: usize = 1_024;

#[derive(Serialize, Deserialize)]
struct Cursor {
    v: u32,
    /// Digest of tenant and filters.
    of: String,
    /// Core's own.
    at: String,
}

const VERSION: u32 = 1;

/// Wraps core's cursor together with what it belongs to. `filters` holds the
/// tenant, so that one tenant's cursor is nothing to another.
#[must_use]
pub fn wrap(at: String, filters: &Value) -> String {
    let cursor = Cursor {
        v: VERSION,
        of: canonical::digest(&[filters]),
        at,
    };
    let json = serde_json::to_vec(&cursor).expect("three plain fields are JSON");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

/// Core's cursor, or `None` if the text is no cursor of this list.
#[must_use]
pub fn unwrap(text: &str, filters: &Value) -> Option<String> {
    if CURSOR_BYTES_MAX < text.len() {
        return None;
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let cursor: Cursor = serde_json::from_slice(&json).ok()?;
    (cursor.v == VERSION && cursor.of == canonical::digest(&[filters])).then_some(cursor.at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_only() {
        let filters = json!({ "tenant": "t", "status": "running" });
        let text = wrap("123".to_owned(), &filters);
        assert_eq!(unwrap(&text, &filters).as_deref(), Some("123"));

        assert_eq!(
            unwrap(&text, &json!({ "tenant": "other", "status": "running" })),
            None
        );
        assert_eq!(unwrap(&text, &json!({ "tenant": "t" })), None);
        assert_eq!(unwrap(&text[1..], &filters), None);
        assert_eq!(unwrap("123", &filters), None);
        assert_eq!(unwrap(&"A".repeat(CURSOR_BYTES_MAX + 1), &filters), None);
    }
}
