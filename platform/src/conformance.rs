//! What every adapter of a trait must do; nothing else defines "correct".
//!
//! Each function is called once per adapter, with an empty store, from the tests
//! of the crate that has the adapter. It panics at the first deviation.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is what these functions are for"
)]

use std::future::Future;

use btrust_schemas::ids::{ObjectId, WorkflowId};
use bytes::Bytes;
use serde_json::json;

use crate::contacts::{Contact, VerifiedContacts};
use crate::documents::{DocumentError, Documents};
use crate::keys::{DataKey, KeyError, Keys, WrappedKey};
use crate::messages::{Channel, Message, Messenger};
use crate::objects::{ObjectError, ObjectKey, Objects, byte_stream};
use crate::sealing::{CHUNK_BYTES, Sealer};
use crate::streams::{Stream, StreamError, StreamRecord, Streams};
use crate::workflow_keys::WorkflowKeys;

fn workflow(n: u8) -> WorkflowId {
    WorkflowId::new(n, [n; 15])
}

/// What every [`Keys`] must do.
pub async fn keys(keys: &dyn Keys) {
    let data_key = DataKey::generate();
    let wrapped = keys
        .wrap("tenant-a", &data_key)
        .await
        .expect("a key is wrapped");
    let unwrapped = keys
        .unwrap("tenant-a", &wrapped)
        .await
        .expect("and unwrapped");
    assert_eq!(unwrapped, data_key);
    assert!(
        !wrapped.0.windows(32).any(|it| it == data_key.expose()),
        "it hides the key"
    );

    let again = keys
        .wrap("tenant-a", &data_key)
        .await
        .expect("a key is wrapped again");
    assert_ne!(again, wrapped, "a wrapped key says nothing about equality");

    // Another tenant, a changed byte, a missing byte: nothing opens.
    let refused = |result: Result<DataKey, KeyError>| {
        assert!(matches!(result, Err(KeyError::Refused)), "{result:?}");
    };
    refused(keys.unwrap("tenant-b", &wrapped).await);
    for at in 0..wrapped.0.len() {
        let mut changed = wrapped.clone();
        changed.0[at] ^= 1;
        refused(keys.unwrap("tenant-a", &changed).await);
    }
    refused(
        keys.unwrap("tenant-a", &WrappedKey(wrapped.0[1..].to_vec()))
            .await,
    );
    refused(keys.unwrap("tenant-a", &WrappedKey(Vec::new())).await);
}

/// What every [`WorkflowKeys`] must do.
pub async fn workflow_keys(keys: &dyn WorkflowKeys) {
    let get = async |tenant, n| {
        keys.sealer(tenant, workflow(n))
            .await
            .expect("the store answers")
    };
    assert!(
        get("a", 1).await.is_none(),
        "nothing is there before it is made"
    );

    let owners = [("a".to_owned(), workflow(1)), ("a".to_owned(), workflow(2))];
    keys.create_many(&owners).await.expect("keys are made");
    let sealed = get("a", 1).await.expect("a key").seal(b"here", b"plain");
    let other = get("a", 2).await.expect("a key");
    assert!(
        other.open(b"here", &sealed).is_err(),
        "each workflow has its own key"
    );
    assert!(
        get("b", 1).await.is_none(),
        "another tenant has no key for it"
    );

    // Making a key again keeps it; an empty call does nothing.
    keys.create_many(&owners)
        .await
        .expect("making keys is idempotent");
    keys.create_many(&[]).await.expect("an empty list is fine");
    let opened = get("a", 1).await.expect("a key").open(b"here", &sealed);
    assert_eq!(opened.as_deref(), Ok(b"plain".as_slice()));

    // What is destroyed stays so, even when somebody makes it again.
    keys.destroy("a", workflow(1))
        .await
        .expect("a key is destroyed");
    keys.destroy("a", workflow(1))
        .await
        .expect("destroying is idempotent");
    assert!(get("a", 1).await.is_none());
    keys.create_many(&owners)
        .await
        .expect("making keys is idempotent");
    assert!(get("a", 1).await.is_none(), "a destroyed key came back");
    assert!(get("a", 2).await.is_some(), "the neighbour keeps its key");

    // A key that is destroyed before it is made is never made.
    keys.destroy("a", workflow(3))
        .await
        .expect("a key is destroyed");
    keys.create_many(&[("a".to_owned(), workflow(3))])
        .await
        .expect("the store answers");
    assert!(get("a", 3).await.is_none());
}

/// What every [`Objects`] must do.
pub async fn objects(objects: &dyn Objects) {
    let sealer = Sealer::new(DataKey::generate(), *b"key-0001");
    let key = |tenant: &str, n| ObjectKey {
        tenant: tenant.to_owned(),
        workflow: workflow(1),
        object: ObjectId {
            workflow: workflow(1),
            random: [n; 8],
        },
    };
    let missing = |result: Result<Bytes, ObjectError>| {
        assert!(matches!(result, Err(ObjectError::Missing)), "{result:?}");
    };
    missing(objects.get(&key("a", 1), &sealer).await);

    for n_bytes in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 17] {
        let plain: Bytes = (0..=250).cycle().take(n_bytes).collect();
        let put = objects
            .put(&key("a", 1), byte_stream(plain.clone()), &sealer)
            .await;
        let stored = put.expect("an object is stored");
        assert_eq!(stored.bytes, n_bytes as u64);
        assert_eq!(stored.sha256.len(), 64);
        let got = objects
            .get(&key("a", 1), &sealer)
            .await
            .expect("an object is read");
        assert_eq!(got, plain, "{n_bytes} bytes");
    }

    missing(objects.get(&key("b", 1), &sealer).await);
    missing(objects.get(&key("a", 2), &sealer).await);
    let other = Sealer::new(DataKey::generate(), *b"key-0001");
    let result = objects.get(&key("a", 1), &other).await;
    assert!(
        matches!(result, Err(ObjectError::Tampered(_))),
        "{result:?}"
    );

    // An upload that breaks changes nothing.
    let broken = futures_util::stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(std::io::Error::other("the caller went away")),
    ]);
    let result = objects.put(&key("a", 2), Box::pin(broken), &sealer).await;
    assert!(matches!(result, Err(ObjectError::Source(_))), "{result:?}");
    missing(objects.get(&key("a", 2), &sealer).await);

    objects
        .delete(&key("a", 1))
        .await
        .expect("an object is removed");
    objects
        .delete(&key("a", 1))
        .await
        .expect("removing is idempotent");
    objects
        .delete(&key("a", 9))
        .await
        .expect("what never was is removed already");
    missing(objects.get(&key("a", 1), &sealer).await);
}

/// What every [`Documents`] must do; `workflow_keys` are those that it seals with.
pub async fn documents(documents: &dyn Documents, workflow_keys: &dyn WorkflowKeys) {
    let owners = [("a".to_owned(), workflow(1)), ("a".to_owned(), workflow(2))];
    workflow_keys
        .create_many(&owners)
        .await
        .expect("keys are made");
    let get = async |tenant, n, kind| {
        documents
            .get(tenant, workflow(n), kind)
            .await
            .expect("the store answers")
    };
    assert_eq!(get("a", 1, "ocr").await, None);

    let first = json!({ "fields": { "surname": "ERIKSSON" }, "n": 1.5, "none": null });
    documents
        .put("a", workflow(1), "ocr", &first)
        .await
        .expect("a document is written");
    assert_eq!(get("a", 1, "ocr").await, Some(first));
    let second = json!(["another", 2]);
    documents
        .put("a", workflow(1), "ocr", &second)
        .await
        .expect("a document is replaced");
    assert_eq!(get("a", 1, "ocr").await, Some(second));

    // Kind, workflow and tenant are apart.
    assert_eq!(get("a", 1, "form").await, None);
    assert_eq!(get("a", 2, "ocr").await, None);
    assert_eq!(get("b", 1, "ocr").await, None);

    let erased = |result: Result<(), DocumentError>| {
        assert!(matches!(result, Err(DocumentError::Erased)), "{result:?}");
    };
    erased(documents.put("a", workflow(3), "ocr", &json!(1)).await);
    workflow_keys
        .destroy("a", workflow(1))
        .await
        .expect("a key is destroyed");
    assert_eq!(get("a", 1, "ocr").await, None, "an erased document is gone");
    erased(documents.put("a", workflow(1), "ocr", &json!(1)).await);
}

/// What every [`VerifiedContacts`] must do; `workflow_keys` are those that it seals with.
pub async fn contacts(contacts: &dyn VerifiedContacts, workflow_keys: &dyn WorkflowKeys) {
    let owners = [("a".to_owned(), workflow(1)), ("a".to_owned(), workflow(2))];
    workflow_keys
        .create_many(&owners)
        .await
        .expect("keys are made");
    let get = async |tenant, n| {
        contacts
            .get(tenant, workflow(n))
            .await
            .expect("the store answers")
    };
    assert_eq!(get("a", 1).await, None);

    let phone = Contact {
        channel: Channel::Sms,
        address: "+491701234567".to_owned(),
    };
    let mail = Contact {
        channel: Channel::Email,
        address: "erika@bank.example".to_owned(),
    };
    for contact in [phone, mail] {
        let put = contacts.put("a", workflow(1), contact.clone()).await;
        put.expect("a contact is written");
        assert_eq!(get("a", 1).await, Some(contact), "the last one counts");
    }
    assert_eq!(get("a", 2).await, None);
    assert_eq!(get("b", 1).await, None);

    workflow_keys
        .destroy("a", workflow(1))
        .await
        .expect("a key is destroyed");
    assert_eq!(get("a", 1).await, None, "an erased contact is gone");
}

/// What every [`Streams`] must do; `read` gives everything that a stream has.
pub async fn streams<F, A>(streams: &dyn Streams, read: F)
where
    F: Fn(Stream) -> A,
    A: Future<Output = Vec<Bytes>>,
{
    let record = |text: &'static str| StreamRecord {
        partition_key: "wf".to_owned(),
        bytes: Bytes::from_static(text.as_bytes()),
    };
    streams
        .append(Stream::Audit, &[])
        .await
        .expect("nothing is published");
    assert!(read(Stream::Audit).await.is_empty());

    let records = [record(r#"{"n":1}"#), record(r#"{"n":2,"ä":"é"}"#)];
    streams
        .append(Stream::Audit, &records)
        .await
        .expect("records are published");
    streams
        .append(Stream::Audit, &[record("{}")])
        .await
        .expect("a record is published");
    let expected = [
        &records[0].bytes,
        &records[1].bytes,
        &Bytes::from_static(b"{}"),
    ];
    assert!(
        read(Stream::Audit).await.iter().eq(expected),
        "in order, byte for byte"
    );
    assert!(
        read(Stream::Analytics).await.is_empty(),
        "the streams are apart"
    );

    let result = streams
        .append(Stream::Audit, &[record("{}"), record("{\n}")])
        .await;
    assert!(
        matches!(result, Err(StreamError::NotOneLine { index: 1 })),
        "{result:?}"
    );
    assert_eq!(
        read(Stream::Audit).await.len(),
        3,
        "a refused batch publishes nothing"
    );
}

/// What every [`Messenger`] for e-mail must do; `read` gives (address, text) of what arrived.
pub async fn messenger<F, A>(messenger: &dyn Messenger, read: F)
where
    F: Fn() -> A,
    A: Future<Output = Vec<(String, String)>>,
{
    for text in ["your code is 123456", "second"] {
        let message = Message {
            channel: Channel::Email,
            to: "erika@bank.example".to_owned(),
            subject: "Your code".to_owned(),
            text: text.to_owned(),
            reference: text.to_owned(),
        };
        let delivery = messenger.send(message).await.expect("a message is taken");
        assert!(delivery.acknowledged);
        assert!(!delivery.provider.is_empty());
    }
    let arrived = read().await;
    let arrived: Vec<_> = arrived
        .iter()
        .map(|(to, text)| (to.as_str(), text.trim()))
        .collect();
    let to = "erika@bank.example";
    assert_eq!(arrived, [(to, "your code is 123456"), (to, "second")]);
}
