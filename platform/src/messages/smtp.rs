//! E-mail by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Channel, Delivery, Message, Messenger, SendError};
use crate::config::{ConfigError, Secret};

/// How long one command of the conversation may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends e-mail through one server; text messages are refused.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    /// Sends through `url` (`smtps://user:password@host:465`, or `smtp://` with
    /// `?tls=required` for STARTTLS) from the mailbox `from`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] naming `SMTP_URL` or `SMTP_FROM`.
    pub fn new(url: &Secret, from: &str) -> Result<Self, ConfigError> {
        let invalid = |name: &str, expected: &str| ConfigError::Invalid {
            name: name.to_owned(),
            expected: expected.to_owned(),
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose())
            .map_err(|_| invalid("SMTP_URL", "a URL like smtps://user:password@host:465"))?
            .timeout(Some(COMMAND_TIMEOUT))
            .build();
        let from = from
            .parse()
            .map_err(|_| invalid("SMTP_FROM", "an e-mail address"))?;
        Ok(Self { transport, from })
    }
}

#[async_trait]
impl Messenger for Smtp {
    async fn send(&self, message: Message) -> Result<Delivery, SendError> {
        if message.channel != Channel::Email {
            return Err(SendError::Undeliverable {
                reason: "there is no provider of text messages",
            });
        }
        let to: Mailbox = message.to.parse().map_err(|_| SendError::Undeliverable {
            reason: "this is no e-mail address",
        })?;
        let email = lettre::Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(message.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(message.text)
            .map_err(|error| SendError::Unavailable(error.into()))?;
        match self.transport.send(email).await {
            Ok(answer) => Ok(Delivery {
                provider: "smtp",
                acknowledged: answer.is_positive(),
            }),
            Err(error) if error.is_permanent() => Err(SendError::Undeliverable {
                reason: "the mail server refused it",
            }),
            Err(error) => Err(SendError::Unavailable(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    type Received = Arc<Mutex<Vec<(String, String)>>>;

    /// A mail server that takes every message but those to `refused@`.
    async fn mail_server() -> (String, Received) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let received = Received::default();
        let shared = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
        });
        (url, received)
    }

    async fn converse(stream: TcpStream, received: Received) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut to = String::new();
        writer.write_all(b"220 test\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = if let Some(rest) = line.strip_prefix("RCPT TO:<") {
                to = rest.split('>').next().unwrap().to_owned();
                if to.starts_with("refused@") {
                    "550 no such user"
                } else {
                    "250 ok"
                }
            } else if line == "DATA" {
                writer.write_all(b"354 go on\r\n").await.unwrap();
                let mut content = Vec::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    content.push(line);
                }
                let body = content.iter().skip_while(|it| !it.is_empty()).skip(1);
                let text = body.map(String::as_str).collect::<Vec<_>>().join("\n");
                received.lock().unwrap().push((to.clone(), text));
                "250 taken"
            } else if line == "QUIT" {
                "221 bye"
            } else {
                "250 ok"
            };
            writer
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .unwrap();
        }
    }

    fn message(channel: Channel, to: &str) -> Message {
        Message {
            channel,
            to: to.to_owned(),
            subject: "Your code".to_owned(),
            text: "123456".to_owned(),
            reference: "1".to_owned(),
        }
    }

    #[tokio::test]
    async fn smtp_conforms() {
        let (url, received) = mail_server().await;
        let smtp = Smtp::new(&Secret::new(url), "BTrust <no-reply@bank.example>").unwrap();
        let read = || async { received.lock().unwrap().clone() };
        crate::conformance::messenger(&smtp, read).await;
    }

    #[tokio::test]
    async fn what_can_never_arrive_is_told_apart_from_a_server_that_is_away() {
        let (url, received) = mail_server().await;
        let smtp = Smtp::new(&Secret::new(url), "no-reply@bank.example").unwrap();
        for message in [
            message(Channel::Sms, "+491701234567"),
            message(Channel::Email, "nobody"),
            message(Channel::Email, "a@b.example\r\nBcc: c@d.example"),
            message(Channel::Email, "refused@bank.example"),
        ] {
            let error = smtp.send(message).await.unwrap_err();
            assert!(
                matches!(error, SendError::Undeliverable { .. }),
                "{error:?}"
            );
        }
        assert!(received.lock().unwrap().is_empty());

        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let away = Smtp::new(&Secret::new(format!("smtp://{closed}")), "a@b.example").unwrap();
        let error = away
            .send(message(Channel::Email, "a@b.example"))
            .await
            .unwrap_err();
        assert!(matches!(error, SendError::Unavailable(_)), "{error:?}");
    }
}
