//! One audit record: a line of JSON that ends with its own hash.
//!
//! The hash is SHA-256 of the record's bytes before `,"hash"`; those name the hash of the record before.
//! What a reader of JSON could understand in two ways is refused, whatever its hash.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::json::{Distinct, Name, Names};

/// Largest record that is read, in bytes: Kinesis takes no larger one.
///
/// Source: the quotas of Kinesis Data Streams.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// The type of the record that tells of the deletion of a workflow.
pub const DELETED: &str = "com.btrust.workflow.deleted";
/// What every record begins with, to the letter.
const BEGIN: &[u8] = b"{\"specversion\":\"1.0\",\"id\":\"";
/// What stands before the hash, and after it.
const HASH_BEGIN: &[u8] = b",\"hash\":\"";
const HASH_END: &[u8] = b"\"}}";
/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;
/// Longest subject, in bytes.
///
/// Source: an id of a workflow has 35; columns have no room for more than this.
const SUBJECT_BYTES_MAX: usize = 64;

/// A hash of the chain of a workflow.
pub type ChainHash = [u8; 32];
/// The head of a chain before its first record.
pub const CHAIN_START: ChainHash = [0; 32];

/// Why a line is not a record that the platform has written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("it is not an audit record: {why}")]
    NotARecord { why: String },
    #[error("its bytes do not have the hash that it ends with")]
    Hash,
}

/// What a record says about its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'r> {
    pub id: Cow<'r, str>,
    pub tenant: Cow<'r, str>,
    /// The workflow, or the log of a tenant's acts.
    pub subject: Cow<'r, str>,
    pub incarnation: u64,
    /// From 1 without gaps in a subject.
    pub sequence: u64,
    pub kind: Cow<'r, str>,
    /// RFC 3339.
    pub time: Cow<'r, str>,
    /// Name and version of the definition, where the record is of a workflow.
    pub definition: Option<(Cow<'r, str>, u64)>,
    pub previous: ChainHash,
    pub hash: ChainHash,
}

/// The members of the envelope, in any order but each once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'r> {
    #[serde(borrow)]
    specversion: Cow<'r, str>,
    #[serde(borrow)]
    id: Cow<'r, str>,
    #[serde(borrow)]
    source: Cow<'r, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'r, str>,
    #[serde(borrow)]
    subject: Cow<'r, str>,
    #[serde(borrow)]
    time: Cow<'r, str>,
    /// Which schema the data has is nothing that this crate judges.
    #[serde(borrow, default, rename = "dataschema")]
    _dataschema: Option<Cow<'r, str>>,
    #[serde(borrow)]
    partitionkey: Cow<'r, str>,
    #[serde(borrow)]
    sequence: Cow<'r, str>,
    #[serde(borrow)]
    data: Data<'r>,
}

/// What is looked at of the data; the rest may be anything that has no name twice.
#[derive(Default)]
struct Data<'r> {
    previous: Option<Cow<'r, str>>,
    sealed: Option<Cow<'r, str>>,
    hash: Option<Cow<'r, str>>,
    definition: Option<Cow<'r, str>>,
    version: Option<u64>,
}

impl<'de: 'r, 'r> Deserialize<'de> for Data<'r> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;

        impl<'de> Visitor<'de> for DataVisitor {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Data<'de>, A::Error> {
                let mut data = Data::default();
                let mut names = Names::default();
                while let Some(Name(name)) = members.next_key()? {
                    // The hash covers what is before it, so nothing is behind it.
                    if data.hash.is_some() {
                        return Err(A::Error::custom("something follows the hash"));
                    }
                    match &*name {
                        "previousHash" => data.previous = Some(members.next_value::<Name>()?.0),
                        "sealedSha256" => data.sealed = Some(members.next_value::<Name>()?.0),
                        "hash" => data.hash = Some(members.next_value::<Name>()?.0),
                        "definition" => data.definition = Some(members.next_value::<Name>()?.0),
                        "version" => data.version = Some(members.next_value()?),
                        _ => {
                            members.next_value::<Distinct>()?;
                        }
                    }
                    names.add::<A::Error>(name)?;
                }
                Ok(data)
            }
        }

        deserializer.deserialize_map(DataVisitor)
    }
}

impl<'r> Record<'r> {
    /// Reads a line and checks its hash.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn parse(line: &'r [u8]) -> Result<Self, RecordError> {
        if RECORD_BYTES_MAX < line.len() {
            return Err(not("it is too long"));
        }
        if !line.starts_with(BEGIN) {
            return Err(not("it does not begin as one"));
        }
        let (hashed, digits) =
            split_hash(line).ok_or_else(|| not("it does not end with its hash"))?;
        let hash = chain_hash(digits).ok_or_else(|| not("its hash is not 64 hex digits"))?;
        if ChainHash::from(Sha256::digest(hashed)) != hash {
            return Err(RecordError::Hash);
        }
        let text = std::str::from_utf8(line).map_err(|_| not("it is not UTF-8"))?;
        let envelope: Envelope<'r> =
            serde_json::from_str(text).map_err(|error| RecordError::NotARecord {
                why: error.to_string(),
            })?;
        let record = Self::of(envelope, hash)?;
        let id = format!(
            "{}.{}.{}.audit",
            record.subject, record.incarnation, record.sequence
        );
        if id != record.id {
            return Err(not(
                "its id is not made of its subject, incarnation and sequence",
            ));
        }
        Ok(record)
    }

    fn of(envelope: Envelope<'r>, hash: ChainHash) -> Result<Self, RecordError> {
        let data = envelope.data;
        let of = |digits: Option<&Cow<'r, str>>| chain_hash(digits?.as_bytes());
        if envelope.specversion != "1.0" || of(data.hash.as_ref()) != Some(hash) {
            return Err(not("its members are not those of a record"));
        }
        let previous = of(data.previous.as_ref());
        let previous = previous.ok_or_else(|| not("it does not name the hash before it"))?;
        of(data.sealed.as_ref()).ok_or_else(|| not("it does not name the digest of its events"))?;
        if envelope.subject != envelope.partitionkey || !is_subject(&envelope.subject) {
            return Err(not("its subject is none"));
        }
        let tenant = envelope
            .source
            .strip_prefix("/tenants/")
            .filter(|it| !it.is_empty());
        let tenant = tenant
            .ok_or_else(|| not("its source is no tenant"))?
            .to_owned();
        let sequence =
            number(&envelope.sequence).ok_or_else(|| not("its sequence is no number"))?;
        let mut id = envelope.id.split('.').skip(1);
        let incarnation = id.next().and_then(number);
        let incarnation = incarnation.ok_or_else(|| not("its id names no incarnation"))?;
        Ok(Self {
            tenant: Cow::Owned(tenant),
            subject: envelope.subject,
            incarnation,
            sequence,
            kind: envelope.kind,
            time: envelope.time,
            definition: data.definition.zip(data.version),
            previous,
            hash,
            id: envelope.id,
        })
    }
}

/// Whose record it is, for who trusts its bytes: taken from its beginning without reading the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading<'r> {
    pub id: Cow<'r, str>,
    pub tenant: Cow<'r, str>,
}

impl<'r> Heading<'r> {
    /// Reads the beginning of a record as the platform writes it; any other spelling is read as a whole.
    #[must_use]
    pub fn of(line: &'r [u8]) -> Option<Self> {
        let quick = || {
            let text = std::str::from_utf8(line.strip_prefix(BEGIN)?).ok()?;
            let (id, rest) = text.split_once('"')?;
            let rest = rest.strip_prefix(",\"source\":\"/tenants/")?;
            let (tenant, rest) = rest.split_once('"')?;
            let is_plain = !id.contains('\\') && !tenant.contains('\\') && !tenant.is_empty();
            (is_plain && rest.starts_with(",\"type\":")).then_some((id, tenant))
        };
        if let Some((id, tenant)) = quick() {
            let (id, tenant) = (Cow::Borrowed(id), Cow::Borrowed(tenant));
            return Some(Self { id, tenant });
        }
        let Record { id, tenant, .. } = Record::parse(line).ok()?;
        Some(Self { id, tenant })
    }
}

/// The bytes that are hashed, and the digits of the hash.
fn split_hash(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(HASH_END)?;
    let at = line.len().checked_sub(HASH_DIGITS)?;
    let (before, digits) = line.split_at(at);
    Some((before.strip_suffix(HASH_BEGIN)?, digits))
}

/// 64 lower-case hex digits.
fn chain_hash(digits: &[u8]) -> Option<ChainHash> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut hash = ChainHash::default();
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

/// A whole number from 1 in its one spelling.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (0 < number && !text.starts_with(['0', '+'])).then_some(number)
}

fn is_subject(text: &str) -> bool {
    let is_good = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good)
}

fn not(why: &str) -> RecordError {
    RecordError::NotARecord {
        why: why.to_owned(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A record as the engine writes it, after `previous`.
    pub fn line(
        tenant: &str,
        subject: &str,
        place: (u64, u64),
        previous: ChainHash,
        more: &str,
    ) -> String {
        let (incarnation, sequence) = place;
        let sealed = hex::encode(Sha256::digest(more));
        let previous = hex::encode(previous);
        closed(&format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{subject}.{incarnation}.{sequence}.audit\",\
             \"source\":\"/tenants/{tenant}\",\"type\":\"com.btrust.workflow.changed\",\
             \"subject\":\"{subject}\",\"time\":\"2026-01-31T23:59:59.123Z\",\
             \"partitionkey\":\"{subject}\",\"sequence\":\"{sequence}\",\"data\":{{\
             \"definition\":\"kyc\",\"version\":3,\"events\":[{{\"id\":1,\"state\":\"{more}\"}}],\
             \"sealedSha256\":\"{sealed}\",\"previousHash\":\"{previous}\""
        ))
    }

    /// Adds the hash and the ends of a record.
    pub fn closed(hashed: &str) -> String {
        format!(
            "{hashed},\"hash\":\"{}\"}}}}",
            hex::encode(Sha256::digest(hashed))
        )
    }

    #[test]
    fn a_record_says_where_it_belongs() {
        let line = line("acme", "wf_1", (2, 7), [9; 32], "Söke");
        let record = Record::parse(line.as_bytes()).unwrap();
        assert_eq!((&*record.tenant, &*record.subject), ("acme", "wf_1"));
        assert_eq!((record.incarnation, record.sequence), (2, 7));
        assert_eq!(record.previous, [9; 32]);
        assert_eq!(record.definition, Some(("kyc".into(), 3)));
        for tenant in ["acme", "a\\\"b", "a\\u0041"] {
            let line = super::tests::line(tenant, "wf_1", (2, 7), [9; 32], "x");
            let record = Record::parse(line.as_bytes()).unwrap();
            let heading = Heading::of(line.as_bytes()).unwrap();
            assert_eq!((heading.id, heading.tenant), (record.id, record.tenant));
        }
        assert_eq!(Heading::of(b"{}"), None);
    }

    #[test]
    fn any_byte_that_is_changed_is_noticed() {
        let line = line("acme", "wf_1", (1, 1), CHAIN_START, "state");
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Record::parse(&bytes).is_err(), "byte {at}");
        }
        for bytes in [
            format!("{line} "),
            format!(" {line}"),
            format!("{line}\r"),
            format!("{line}{line}"),
        ] {
            assert!(Record::parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    /// Whoever can hash can write what has a right hash; it still has to have one meaning.
    #[test]
    fn what_could_be_read_in_two_ways_is_refused_whatever_its_hash() {
        let good = line("acme", "wf_1", (1, 1), CHAIN_START, "state");
        let (hashed, _) = good.split_once(",\"hash\"").unwrap();
        assert_eq!(closed(hashed), good);
        for (from, to) in [
            // The same member twice, in the envelope, in the data, further down, or spelt with an escape.
            ("\"time\"", "\"subject\":\"wf_2\",\"time\""),
            ("\"events\"", "\"version\":4,\"events\""),
            ("\"events\"", "\"previousHash\":\"00\",\"events\""),
            ("\"id\":1", "\"id\":1,\"id\":2"),
            ("\"events\"", "\"v\\u0065rsion\":4,\"events\""),
            ("\"id\":1", "\"id\":1,\"\\u0069d\":2"),
            // Numbers in another spelling.
            ("\"sequence\":\"1\"", "\"sequence\":\"01\""),
            ("\"sequence\":\"1\"", "\"sequence\":\"+1\""),
            ("\"sequence\":\"1\"", "\"sequence\":1"),
            ("\"sequence\":\"1\"", "\"sequence\":\"2\""),
            ("\"version\":3", "\"version\":3.0"),
            ("\"version\":3", "\"version\":-3"),
            // A place that contradicts itself.
            ("\"subject\":\"wf_1\"", "\"subject\":\"wf_2\""),
            ("wf_1.1.1.audit", "wf_1.1.1"),
            ("wf_1.1.1.audit", "wf_1.1.1.analytics"),
            ("wf_1.1.1.audit", "wf_1.01.1.audit"),
            ("/tenants/acme", "/tenants/"),
            ("/tenants/acme", "acme"),
            ("\"specversion\":\"1.0\",", ""),
            ("\"partitionkey\":\"wf_1\"", "\"partitionkey\":\"wf_2\""),
            ("{\"spec", "{ \"spec"),
            // A hash that is not the last thing, or none before it.
            ("\"sealedSha256\"", "\"hash\":\"00\",\"sealedSha256\""),
            ("previousHash", "previous"),
            ("sealedSha256", "sealed"),
            ("\"data\":{", "\"more\":1,\"data\":{"),
        ] {
            let other = closed(&hashed.replacen(from, to, 1));
            assert_ne!(other, good, "{from}");
            let error = Record::parse(other.as_bytes()).unwrap_err();
            assert!(
                matches!(error, RecordError::NotARecord { .. }),
                "{from} -> {to}: {error}"
            );
        }
        let upper = good.replace(&hex::encode(CHAIN_START), &"A".repeat(64));
        let (hashed, _) = upper.split_once(",\"hash\"").unwrap();
        assert!(Record::parse(closed(hashed).as_bytes()).is_err());
    }
}
