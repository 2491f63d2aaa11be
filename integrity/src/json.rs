//! JSON in which no object names a member twice: two readers must never see two different things.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Members among which a name is looked for one by one.
const FEW: usize = 32;

/// Any JSON value whose objects have no name twice; the value itself is not kept.
pub struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DistinctVisitor)
    }
}

struct DistinctVisitor;

impl<'de> Visitor<'de> for DistinctVisitor {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_str<E>(self, _: &str) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_unit<E>(self) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Distinct, A::Error> {
        while items.next_element::<Distinct>()?.is_some() {}
        Ok(Distinct)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Distinct, A::Error> {
        let mut names = Names::default();
        while let Some(Name(name)) = members.next_key()? {
            names.add::<A::Error>(name)?;
            members.next_value::<Distinct>()?;
        }
        Ok(Distinct)
    }
}

/// The name of a member, without a copy where it has no escapes.
pub struct Name<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// The names that an object has used so far.
#[derive(Default)]
pub struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: BTreeSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Notes a name.
    ///
    /// # Errors
    ///
    /// When the object has it already.
    pub fn add<E: serde::de::Error>(&mut self, name: Cow<'de, str>) -> Result<(), E> {
        let is_new = if self.few.len() < FEW {
            let is_new = !self.few.contains(&name);
            self.few.push(name);
            is_new
        } else {
            !self.few.contains(&name) && self.many.insert(name)
        };
        if is_new {
            Ok(())
        } else {
            Err(E::custom("an object names a member twice"))
        }
    }
}

/// Refuses a text that is not one JSON value whose objects have no name twice.
pub fn check_distinct(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Distinct>(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_named_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for good in [
            "null",
            "[1,-2,3.5,true,\"x\"]",
            r#"{"a":{"b":1},"b":[{"a":1},{"a":1}]}"#,
        ] {
            check_distinct(good).unwrap();
        }
        let many: Vec<String> = (0..100).map(|it| format!("\"{}\":0", it % 99)).collect();
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"a":1,"\u0061":1}]"#,
            &format!("{{{}}}", many.join(",")),
            "{}{}",
            "{",
            "",
        ] {
            assert!(check_distinct(bad).is_err(), "{bad}");
        }
    }
}
