//! One spelling of a JSON value, so that equal content has equal digests.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 in hex of the values in canonical form: keys sorted, no white space.
#[must_use]
pub fn digest(values: &[&Value]) -> String {
    let mut hash = Sha256::new();
    for value in values {
        let mut sorted = (*value).clone();
        sorted.sort_all_objects();
        let text = sorted.to_string();
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_white_space_do_not_count_and_content_does() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = digest(&[&read(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#)]);
        let same = digest(&[&read(r#"{ "b": {"d":null, "c":[1, 2]}, "a":1 }"#)]);
        let other = digest(&[&read(r#"{"a":1,"b":{"c":[2,1],"d":null}}"#)]);
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_ne!(
            digest(&[&json!("ab"), &json!("c")]),
            digest(&[&json!("a"), &json!("bc")])
        );
    }
}
