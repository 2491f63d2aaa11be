//! Reference paths: where `ResultPath` puts a result.

use serde_json::{Map, Value};

use super::PathError;
use super::path::{Path, Segment, Selector};

/// A path to exactly one place: names and indexes only.
#[derive(Debug)]
pub(crate) struct ReferencePath(Path);

impl ReferencePath {
    /// Parses a whole text.
    ///
    /// # Errors
    ///
    /// A sentence for a finding.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = Path::parse(text)?;
        let is_single = path.segments().iter().all(|it| match it.selector {
            Selector::Name(_) => !it.deep,
            Selector::Index(index) => !it.deep && 0 <= index,
            _ => false,
        });
        if !path.reads_data() {
            return Err("the path must begin at `$`".to_owned());
        }
        if !is_single {
            return Err("the path must name a single place, by names and indexes only".to_owned());
        }
        Ok(Self(path))
    }

    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// Puts `value` at its place; objects that are missing on the way are made.
    ///
    /// # Errors
    ///
    /// [`PathError::NoMatch`] where something else than an object, or an array that is too short,
    /// is on the way; `into` is then as it was.
    pub fn set(&self, into: &mut Value, value: Value) -> Result<(), PathError> {
        let segments = self.0.segments();
        if !fits(segments, into) {
            return Err(PathError::NoMatch(format!(
                "Unable to apply ReferencePath {} to input {into}",
                self.source()
            )));
        }
        let mut place = into;
        for segment in segments {
            place = match (&segment.selector, place) {
                (Selector::Name(name), Value::Object(fields)) => fields
                    .entry(name.clone())
                    .or_insert_with(|| Value::Object(Map::new())),
                (Selector::Index(index), Value::Array(items)) => {
                    let item = usize::try_from(*index)
                        .ok()
                        .and_then(|it| items.get_mut(it));
                    item.ok_or_else(|| PathError::NoMatch(self.source().to_owned()))?
                }
                _ => return Err(PathError::NoMatch(self.source().to_owned())),
            };
        }
        *place = value;
        Ok(())
    }
}

/// Whether the way is open: what is missing may be made, what is there must be of the right kind.
fn fits(segments: &[Segment], into: &Value) -> bool {
    let mut place = into;
    for (index, segment) in segments.iter().enumerate() {
        let next = match (&segment.selector, place) {
            (Selector::Name(name), Value::Object(fields)) => fields.get(name),
            (Selector::Index(at), Value::Array(items)) => {
                match usize::try_from(*at).ok().and_then(|at| items.get(at)) {
                    Some(item) => Some(item),
                    None => return false,
                }
            }
            _ => return false,
        };
        match next {
            Some(next) => place = next,
            None => {
                return segments[index + 1..]
                    .iter()
                    .all(|it| matches!(it.selector, Selector::Name(_)));
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &str, mut into: Value, expected: Value) {
        let path = ReferencePath::parse(path).unwrap();
        assert_eq!(
            path.set(&mut into, json!("new")),
            Ok(()),
            "{}",
            path.source()
        );
        assert_eq!(into, expected);
    }

    #[test]
    fn a_result_is_put_at_its_place() {
        check("$", json!({"a": 1}), json!("new"));
        check("$.a", json!({"a": 1, "b": 2}), json!({"a": "new", "b": 2}));
        check("$['a b']", json!({}), json!({"a b": "new"}));
        check(
            "$.list[1]",
            json!({"list": [1, 2]}),
            json!({"list": [1, "new"]}),
        );
        check(
            "$.list[0].x",
            json!({"list": [{}]}),
            json!({"list": [{"x": "new"}]}),
        );
    }

    #[test]
    fn missing_objects_on_the_way_are_made() {
        check(
            "$.a.b.c",
            json!({"x": 1}),
            json!({"x": 1, "a": {"b": {"c": "new"}}}),
        );
    }

    #[test]
    fn what_is_in_the_way_stays_as_it_is() {
        for (path, input) in [
            ("$.a", json!("text")),
            ("$.a", json!(null)),
            ("$.a.b", json!({"a": 1})),
            ("$.a[0]", json!({"a": []})),
            ("$.a[0]", json!({})),
            ("$.b.c[0]", json!({"a": 1})),
        ] {
            let mut into = input.clone();
            let answer = ReferencePath::parse(path).unwrap().set(&mut into, json!(1));
            assert!(matches!(answer, Err(PathError::NoMatch(_))), "{path}");
            assert_eq!(into, input, "{path}");
        }
    }

    #[test]
    fn only_a_path_to_a_single_place_of_the_data_is_a_reference() {
        for text in [
            "$$",
            "$$.a",
            "$v.a",
            "$..a",
            "$.a[*]",
            "$.a[0:1]",
            "$.a[-1]",
            "$['a','b']",
        ] {
            assert!(ReferencePath::parse(text).is_err(), "{text}");
        }
    }
}
