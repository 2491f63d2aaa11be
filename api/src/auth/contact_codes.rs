//! Codes to a workflow's verified contact: they bring a person back after days.
//!
//! The rules are those of the step `otp`. Source of the bounds: NIST SP 800-63B-4.

use std::sync::Arc;

use rand::RngExt as _;
use subtle::ConstantTimeEq as _;

use btrust_platform::{
    clock::SharedClock,
    contacts::{Contact, VerifiedContacts},
    messages::{Channel, Message, Messenger},
};

use super::{
    AuthError,
    signing::{Signing, digest, random_hex},
    store::{
        Store,
        counters::Allowance,
        handoffs::Destination,
        resume_links::{OpenCode, Sends},
    },
};

/// Digits of a code.
pub const CODE_DIGITS: usize = 6;

/// How long a code by text message is good for, in milliseconds.
const SMS_TTL_MS: i64 = 5 * 60 * 1_000;
/// How long a code by e-mail is good for, in milliseconds.
const EMAIL_TTL_MS: i64 = 10 * 60 * 1_000;

/// Codes that are sent to one contact, over whatever links, before one is redeemed.
const SENDS_MAX: i64 = 3;
/// How long the next code has to wait after the first, second and third, in
/// milliseconds.
const RESEND_AFTER_MS: [i64; 3] = [30_000, 60_000, 120_000];
/// After this pause the sends to a contact count from the start, in milliseconds.
pub const SESSION_MS: i64 = 60 * 60 * 1_000;

/// Wrong codes for one contact before it is locked for the rest of the window.
/// They belong to the contact: a new link or code brings no new guesses.
const GUESSES: Allowance = Allowance {
    purpose: "resume-guess",
    n_max: 5,
    window_ms: 24 * 60 * 60 * 1_000,
};
/// Codes for one contact.
const SENDS_OF_CONTACT: Allowance = Allowance {
    purpose: "resume-send",
    n_max: 5,
    window_ms: 24 * 60 * 60 * 1_000,
};
/// Codes that one network address may ask for.
const SENDS_OF_ADDRESS: Allowance = Allowance {
    purpose: "resume-send-address",
    n_max: 20,
    window_ms: 60 * 60 * 1_000,
};

/// Sends and redeems codes.
pub struct ContactCodes {
    pub store: Store,
    pub signing: Arc<Signing>,
    pub contacts: Arc<dyn VerifiedContacts>,
    pub messenger: Arc<dyn Messenger>,
    pub clock: SharedClock,
}

impl ContactCodes {
    /// Sends a new code over `link`, if there is such a link, its workflow has a
    /// verified contact and no limit forbids it. Whether it did is for the log
    /// and for tests, never for the caller.
    pub async fn send(&self, link: &str, address: &str) -> Result<bool, AuthError> {
        let now_ms = self.clock.now_ms();
        let link_digest = digest(link);
        let Some(row) = self.store.resume_link(&link_digest, now_ms).await? else {
            return Ok(false);
        };
        let Destination { tenant, workflow } = &row.destination;
        let Some(contact) = self.contacts.get(tenant, *workflow).await? else {
            return Ok(false);
        };
        // Only what leads to somebody counts: an address is shared by strangers.
        let from = hex::encode(self.signing.mac("address", &[address]));
        if !self.store.count(&from, SENDS_OF_ADDRESS, now_ms).await? {
            tracing::warn!("an address has used up its resume codes");
            return Ok(false);
        }
        let subject = self.subject(tenant, &contact);
        if !self.may_send(&subject, now_ms).await? {
            return Ok(false);
        }

        let code = format!("{:06}", rand::rng().random_range(0..1_000_000_u32));
        let open_code = OpenCode {
            mac: self.code_mac(&link_digest, &code).to_vec(),
            contact: subject,
            expires_at: now_ms + ttl_ms(&contact),
        };
        self.store.put_code(&link_digest, &open_code).await?;
        self.deliver(contact, &code).await?;
        Ok(true)
    }

    /// Uses a code up. `None` for a wrong, used or late one, a locked contact and
    /// an unknown link alike.
    pub async fn redeem(&self, link: &str, code: &str) -> Result<Option<Destination>, AuthError> {
        let now_ms = self.clock.now_ms();
        let link_digest = digest(link);
        let Some(row) = self.store.resume_link(&link_digest, now_ms).await? else {
            return Ok(None);
        };
        let Some(open_code) = row.open_code else {
            return Ok(None);
        };
        // Counted before it is judged: guesses that come at once count as well.
        if !self
            .store
            .count(&open_code.contact, GUESSES, now_ms)
            .await?
        {
            self.store.void_code(&link_digest).await?;
            return Ok(None);
        }
        let mac = self.code_mac(&link_digest, code);
        if !bool::from(mac.ct_eq(open_code.mac.as_slice())) {
            return Ok(None);
        }
        if !self.store.take_code(&link_digest, &mac).await? {
            return Ok(None);
        }
        self.store.forget(&open_code.contact, GUESSES).await?;
        self.store.forget_sends(&open_code.contact).await?;
        Ok(Some(row.destination))
    }

    /// Whether the contact may be sent a code now; if so, it is noted.
    async fn may_send(&self, subject: &str, now_ms: i64) -> Result<bool, AuthError> {
        if GUESSES.n_max <= self.store.counted(subject, GUESSES, now_ms).await? {
            return Ok(false);
        }
        let before = self.store.sends(subject).await?;
        let in_session = before.filter(|it| now_ms < it.latest_at + SESSION_MS);
        let n_before = in_session.map_or(0, |it| it.n);
        if SENDS_MAX <= n_before {
            return Ok(false);
        }
        let wait_ms = usize::try_from(n_before - 1)
            .ok()
            .and_then(|it| RESEND_AFTER_MS.get(it));
        if let (Some(sends), Some(wait_ms)) = (in_session, wait_ms)
            && now_ms < sends.latest_at + wait_ms
        {
            return Ok(false);
        }
        if !self.store.count(subject, SENDS_OF_CONTACT, now_ms).await? {
            return Ok(false);
        }
        let (n, latest_at) = (n_before + 1, now_ms);
        let after = Sends { n, latest_at };
        Ok(self.store.note_send(subject, before, after).await?)
    }

    async fn deliver(&self, contact: Contact, code: &str) -> Result<(), AuthError> {
        let minutes = ttl_ms(&contact) / 60_000;
        let message = Message {
            channel: contact.channel,
            to: contact.address,
            subject: "Your code".to_owned(),
            text: format!(
                "{code} is your code to continue. It is good for {minutes} minutes. \
                 Nobody of us will ever ask you for it."
            ),
            reference: format!("resume:{}", random_hex()),
        };
        self.messenger.send(message).await?;
        Ok(())
    }

    /// Whose guesses and sends are counted, without saying who it is.
    fn subject(&self, tenant: &str, contact: &Contact) -> String {
        let channel = match contact.channel {
            Channel::Sms => "sms",
            Channel::Email => "email",
        };
        hex::encode(
            self.signing
                .mac("contact", &[tenant, channel, &contact.address]),
        )
    }

    fn code_mac(&self, link_digest: &str, code: &str) -> [u8; 32] {
        self.signing.mac("resume-code", &[link_digest, code])
    }
}

fn ttl_ms(contact: &Contact) -> i64 {
    match contact.channel {
        Channel::Sms => SMS_TTL_MS,
        Channel::Email => EMAIL_TTL_MS,
    }
}
