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
