//! Messages to people: an outbox file by default, SMTP where one is configured.

mod outbox;
mod smtp;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use btrust_schemas::step::otp::Channel;
pub use outbox::{Outbox, OutboxEntry, read_outbox};
pub use smtp::Smtp;

use crate::clock::SharedClock;
use crate::config::{ConfigError, Settings};
use crate::data_dir::DataDir;

/// One message to one person. It never prints: address and text are personal.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub channel: Channel,
    /// A telephone number in E.164, or an e-mail address.
    pub to: String,
    /// Only e-mail shows it.
    pub subject: String,
    pub text: String,
    /// The sender's name for this one message; the same message has the same reference.
    pub reference: String,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {})", self.channel, self.reference)
    }
}

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Who took it: `outbox`, `smtp`.
    pub provider: &'static str,
    /// Whether the provider has taken responsibility for it.
    pub acknowledged: bool,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// This message will never arrive this way; another channel may do.
    #[error("the message cannot be delivered: {reason}")]
    Undeliverable { reason: &'static str },
    /// The provider failed, and it is not known whether the message left.
    #[error("the provider of messages does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends messages, each exactly as often as it is asked to.
#[async_trait]
pub trait Messenger: Send + Sync {
    /// Hands the message to the provider.
    ///
    /// # Errors
    ///
    /// [`SendError`]. A caller that may not send twice treats
    /// [`SendError::Unavailable`] as sent.
    async fn send(&self, message: Message) -> Result<Delivery, SendError>;
}

/// The messenger that the settings ask for.
///
/// Without `SMTP_URL` everything goes to the outbox. With it, e-mail goes there
/// from `SMTP_FROM`, and a text message finds no provider.
///
/// # Errors
///
/// [`ConfigError`] for a URL or sender that is none.
pub fn messenger_from(
    settings: &Settings,
    data_dir: &DataDir,
    clock: SharedClock,
) -> Result<Arc<dyn Messenger>, ConfigError> {
    let Some(url) = settings.secret("SMTP_URL") else {
        return Ok(Arc::new(Outbox::new(data_dir.outbox(), clock)));
    };
    let from = settings.required("SMTP_FROM")?;
    Ok(Arc::new(Smtp::new(&url, &from)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn check(table: &[(&str, &str)]) -> Option<ConfigError> {
        let settings = Settings::from_table(table.iter().copied());
        let data_dir = DataDir::new("/nowhere");
        messenger_from(&settings, &data_dir, Arc::new(ManualClock::new(0))).err()
    }

    #[tokio::test]
    async fn the_settings_choose_the_messenger_and_name_what_is_wrong() {
        assert_eq!(check(&[]), None);
        let url = ("SMTP_URL", "smtps://me:hunter2@mail.example");
        assert_eq!(
            check(&[url, ("SMTP_FROM", "BTrust <no-reply@bank.example>")]),
            None
        );
        assert_eq!(
            check(&[url]),
            Some(ConfigError::Missing {
                name: "SMTP_FROM".to_owned()
            })
        );
        let error = check(&[("SMTP_URL", "hunter2"), ("SMTP_FROM", "a@b.example")]).unwrap();
        assert!(
            error
                .to_string()
                .starts_with("the setting SMTP_URL is not "),
            "{error}"
        );
        assert!(!error.to_string().contains("hunter2"));
        let error = check(&[url, ("SMTP_FROM", "nobody")]).unwrap();
        assert!(
            error
                .to_string()
                .starts_with("the setting SMTP_FROM is not "),
            "{error}"
        );
    }

    #[test]
    fn a_message_prints_neither_address_nor_text() {
        let message = Message {
            channel: Channel::Sms,
            to: "+491701234567".to_owned(),
            subject: String::new(),
            text: "your code is 123456".to_owned(),
            reference: "tsk_1/1/1".to_owned(),
        };
        assert_eq!(format!("{message:?}"), "Message(Sms, tsk_1/1/1)");
    }
}
