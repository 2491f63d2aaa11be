//! Filters by search attribute, which are query parameters named after the attribute:
//! `attribute.branch=NORTH`, `attribute.amount.from=100`, `attribute.amount.to=500`.

use poem::{FromRequest, Request, RequestBody, web::Query};

use btrust_schemas::search::AttributeQuery;

use crate::refusal;

/// What every name of such a parameter begins with.
const PREFIX: &str = "attribute.";

/// The filters by attribute of a request, in the order of its parameters.
pub struct AttributeParameters(pub Vec<AttributeQuery>);

impl AttributeParameters {
    /// The filters as core takes them; `None` where there are none.
    pub fn as_json(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        Some(serde_json::to_string(&self.0).expect("texts are plain JSON"))
    }

    fn read(pairs: Vec<(String, String)>) -> Result<Self, &'static str> {
        let mut queries: Vec<AttributeQuery> = Vec::new();
        for (parameter, text) in pairs {
            let Some(rest) = parameter.strip_prefix(PREFIX) else {
                continue;
            };
            let (name, end) = rest.split_once('.').unwrap_or((rest, ""));
            let known = queries.iter().position(|it| it.name == name);
            let index = known.unwrap_or(queries.len());
            if known.is_none() {
                queries.push(AttributeQuery {
                    name: name.to_owned(),
                    ..AttributeQuery::default()
                });
            }
            let query = &mut queries[index];
            let place = match end {
                "" => &mut query.equals,
                "from" => &mut query.from,
                "to" => &mut query.to,
                _ => return Err("a filter by attribute ends with its name, `.from` or `.to`"),
            };
            if place.replace(text).is_some() {
                return Err("a filter by attribute is given once");
            }
        }
        Ok(Self(queries))
    }
}

impl<'a> FromRequest<'a> for AttributeParameters {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let malformed = |detail| refusal::MALFORMED_REQUEST.detail(detail).into_error();
        let pairs = Query::<Vec<(String, String)>>::from_request_without_body(request).await;
        let Query(pairs) = pairs.map_err(|_| malformed("the query cannot be read"))?;
        Self::read(pairs).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<AttributeQuery>, &'static str> {
        let owned = pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        AttributeParameters::read(owned.collect()).map(|it| it.0)
    }

    #[test]
    fn values_and_ranges_are_read_by_attribute() {
        let read = read(&[
            ("status", "running"),
            ("attribute.branch", "NORTH"),
            ("attribute.amount.from", "100"),
            ("attribute.amount.to", "500"),
        ]);
        let text = |it: &str| Some(it.to_owned());
        let branch = AttributeQuery {
            name: "branch".to_owned(),
            equals: text("NORTH"),
            ..AttributeQuery::default()
        };
        let amount = AttributeQuery {
            name: "amount".to_owned(),
            equals: None,
            from: text("100"),
            to: text("500"),
        };
        assert_eq!(read, Ok(vec![branch, amount]));
    }

    #[test]
    fn what_is_no_such_filter_is_refused() {
        read(&[("attribute.a", "1"), ("attribute.a", "2")]).unwrap_err();
        read(&[("attribute.a.about", "1")]).unwrap_err();
        assert_eq!(AttributeParameters(Vec::new()).as_json(), None);
    }
}
