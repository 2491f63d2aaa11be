//! `kyc:otp`: a one-time code to a phone or mailbox proves who holds it.
//!
//! A turn sends at most one message: it checkpoints, writes the code's digest,
//! sends, and asks. When the worker dies in between, the redelivered turn finds
//! the checkpoint, sends nothing, and asks with whatever was stored; the person,
//! or the failover after [`rules::FAILOVER_AFTER_MS`], gets the next code in a
//! turn of its own.

mod contact;
mod ledger;
pub mod rules;
mod secrets;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::SqlitePool;

use btrust_platform::clock::rfc3339;
use btrust_platform::contacts::{Contact, VerifiedContacts};
use btrust_platform::keys::Keys;
use btrust_platform::messages::{Message, Messenger, SendError};
use btrust_schemas::step::otp::{
    Arguments, Channel, EXPIRED, LOCKED, Output, Prompt, Submission, UNDELIVERABLE, VERIFIED,
};
use btrust_schemas::turn::{Ask, Audience, TurnInput, TurnReason, TurnResult};

use self::contact::{Route, channel_word, masked, routes};
use self::ledger::{Current, Delivery, Ledger, NewSend, SendVerdict, Session, Verdict, View};
use self::rules::{
    ATTEMPTS_MAX, CODE_DIGITS, EMAIL_TTL_MS, FAILOVER_AFTER_MS, Pause, SESSION_SENDS_MAX,
    SMS_TTL_MS, resend_at,
};
pub use self::secrets::{Code, CodeSource, random_codes};
use self::secrets::{MacKey, MacKeys};
use crate::runtime::step::{ERROR_INPUT_INVALID, submission};
use crate::runtime::{Context, Fault, Step, arguments, ask, complete, parked};

/// Turns at once; each waits for the message provider, not for the processor.
const IN_FLIGHT_MAX: u32 = 64;
/// What a code is for where the definition does not say.
const PURPOSE_DEFAULT: &str = "contact";
/// A message that the provider refused is followed by the next channel after this time, in milliseconds.
const FAILOVER_NOW_MS: i64 = 500;
/// Shortest life of a prompt, in milliseconds, so that it can be seen at all.
const PROMPT_MIN_MS: i64 = 1_000;

/// What is parked between turns; all that guards is in the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parked {
    v: u32,
    n_guesses: u32,
    provider: Option<String>,
}

pub struct Otp {
    ledger: Ledger,
    mac_keys: MacKeys,
    messenger: Arc<dyn Messenger>,
    contacts: Arc<dyn VerifiedContacts>,
    codes: CodeSource,
}

/// One turn with everything that was worked out for it.
struct Conversation<'a> {
    step: &'a Otp,
    context: &'a Context,
    input: &'a TurnInput,
    arguments: Arguments,
    routes: Vec<Route>,
    key: MacKey,
    session: Session,
    parked: Parked,
}

impl Otp {
    #[must_use]
    pub fn new(
        steps_db: SqlitePool,
        keys: Arc<dyn Keys>,
        messenger: Arc<dyn Messenger>,
        contacts: Arc<dyn VerifiedContacts>,
        codes: CodeSource,
    ) -> Self {
        let mac_keys = MacKeys::new(steps_db.clone(), keys);
        Self {
            ledger: Ledger::new(steps_db),
            mac_keys,
            messenger,
            contacts,
            codes,
        }
    }
}

#[async_trait]
impl Step for Otp {
    fn name(&self) -> &'static str {
        "otp"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let arguments: Arguments = arguments(&input)?;
        if arguments.channels.is_empty() {
            return Err(Fault::failed(ERROR_INPUT_INVALID, "there is no channel"));
        }
        let routes = routes(&arguments);
        let key = self.mac_keys.of(&context.tenant).await?;
        let addresses: Vec<&str> = routes.iter().map(|it| it.address.as_str()).collect();
        let session = Session {
            tenant: context.tenant.clone(),
            workflow: context.workflow.to_string(),
            subject: key.digest("subject", &[&input.subject]),
            purpose: arguments
                .purpose
                .clone()
                .unwrap_or_else(|| PURPOSE_DEFAULT.to_owned()),
            contact: key.digest("contact", &addresses),
            addresses: routes.iter().map(|it| it.digest(&key)).collect(),
        };
        let parked = parked(&input)?.unwrap_or(Parked {
            v: 1,
            ..Parked::default()
        });
        Conversation {
            step: self,
            context,
            input: &input,
            arguments,
            routes,
            key,
            session,
            parked,
        }
        .turn()
        .await
    }
}

impl Conversation<'_> {
    async fn turn(mut self) -> Result<TurnResult, Fault> {
        let view = self.view().await?;
        let now_ms = self.context.now_ms();
        let answer = submission::<Submission>(self.input);
        // A guess is left to the ledger, which knows what it said to this very turn before.
        let is_guess = matches!(answer, Some(Submission::Answer { .. }));
        if view.counter.is_locked(now_ms) && !is_guess {
            return self.locked(view.counter.locked_until_ms, &view);
        }
        match &self.input.reason {
            TurnReason::Expired { .. } => {
                let outcome = if view.may_have_arrived {
                    EXPIRED
                } else {
                    UNDELIVERABLE
                };
                self.end(outcome, &view, None)
            }
            TurnReason::Submission { .. } => match answer {
                Some(Submission::Answer { code }) => self.guess(&code, &view).await,
                Some(Submission::Resend) => {
                    let route = view
                        .current
                        .as_ref()
                        .and_then(|it| self.route_of(&it.channel))
                        .cloned();
                    self.send(
                        route.or_else(|| self.routes.first().cloned()),
                        Pause::Kept,
                        "resent",
                    )
                    .await
                }
                None => self.ask(Some("wrong_code"), &view),
            },
            TurnReason::Woken => match &view.current {
                None => {
                    self.send(self.routes.first().cloned(), Pause::Kept, "resent")
                        .await
                }
                Some(current) => match self.failover(current).cloned() {
                    Some(route) => self.send(Some(route), Pause::Waived, "failed_over").await,
                    None => self.ask(None, &view),
                },
            },
            TurnReason::First => {
                self.send(self.routes.first().cloned(), Pause::Kept, "")
                    .await
            }
        }
    }

    /// Sends a new code by `route` if the limits permit it, and asks for it.
    async fn send(
        &mut self,
        route: Option<Route>,
        pause: Pause,
        reason: &str,
    ) -> Result<TurnResult, Fault> {
        let Some(route) = route else {
            return self.end(UNDELIVERABLE, &self.view().await?, None);
        };
        let reason = (!reason.is_empty()).then_some(reason);
        if self.input.checkpoint.is_some() {
            // The message may have gone out before the worker died: once is enough.
            return self.ask(reason, &self.view().await?);
        }
        self.context
            .checkpoint(&json!({ "v": 1, "sending": channel_word(route.channel) }))
            .await?;
        let code = (self.step.codes)();
        let send = NewSend {
            id: self.context.idempotency_key(),
            channel: channel_word(route.channel).to_owned(),
            address: route.digest(&self.key),
            ip: self.ip(),
            code_mac: self
                .key
                .code_mac(&code, &self.session.workflow, &self.session.purpose),
            ttl_ms: self.ttl_ms(route.channel),
            pause,
        };
        let begun = self
            .step
            .ledger
            .begin_send(&self.session, &send, self.context.now_ms())
            .await;
        match begun.map_err(|error| Fault::store("the code store", &error))? {
            SendVerdict::Begun => {
                self.deliver(&route, &send, &code).await?;
                self.ask(reason, &self.view().await?)
            }
            SendVerdict::Repeated => self.ask(reason, &self.view().await?),
            SendVerdict::Refused(refusal) => {
                let view = self.view().await?;
                let is_answerable = self.is_live(view.current.as_ref());
                let is_wait = matches!(refusal, rules::SendRefusal::TooSoon { .. });
                match is_answerable || is_wait {
                    true if is_wait => self.ask(Some(refusal.code()), &view),
                    // Waking up again would only meet the same limit.
                    true => self.question(Some(refusal.code()), &view).map(|ask| {
                        TurnResult::Ask(Ask {
                            wake_in_ms: None,
                            ..ask
                        })
                    }),
                    false => self.end(UNDELIVERABLE, &view, None),
                }
            }
        }
    }

    /// Hands the message to the provider. A failure is noted, not raised: the
    /// person sees the same prompt, and the next channel has its turn.
    async fn deliver(&mut self, route: &Route, send: &NewSend, code: &Code) -> Result<(), Fault> {
        let (subject, text) = text::message(&self.input.locale, code, send.ttl_ms);
        let message = Message {
            channel: route.channel,
            to: route.address.clone(),
            subject,
            text,
            reference: send.id.clone(),
        };
        let delivery = match self.step.messenger.send(message).await {
            Ok(delivery) => {
                self.parked.provider = Some(delivery.provider.to_owned());
                if delivery.acknowledged {
                    Delivery::Acknowledged
                } else {
                    Delivery::Accepted
                }
            }
            Err(error) => {
                let delivery = match error {
                    SendError::Undeliverable { .. } => Delivery::Failed,
                    // It may have left: as if nobody had acknowledged it.
                    SendError::Unavailable(_) => Delivery::Accepted,
                };
                tracing::warn!(
                    error = &error as &dyn std::error::Error, channel = send.channel,
                    task.id = %self.context.key.task, "a code could not be sent"
                );
                delivery
            }
        };
        let noted = self
            .step
            .ledger
            .note_delivery(&self.session.tenant, &send.id, delivery)
            .await;
        noted.map_err(|error| Fault::store("the code store", &error))
    }

    async fn guess(&mut self, typed: &str, view: &View) -> Result<TurnResult, Fault> {
        let Some(code) = Code::typed(typed) else {
            return self.ask(Some("wrong_code"), view);
        };
        self.parked.n_guesses += 1;
        let mac = self
            .key
            .code_mac(&code, &self.session.workflow, &self.session.purpose);
        let id = self.context.idempotency_key();
        let now_ms = self.context.now_ms();
        let verdict = self
            .step
            .ledger
            .guess(&self.session, &id, &mac, self.attempts_max(), now_ms)
            .await;
        match verdict.map_err(|error| Fault::store("the code store", &error))? {
            Verdict::Right { channel } => self.verified(&channel, view).await,
            Verdict::Locked { until_ms } => self.locked(until_ms, view),
            Verdict::Wrong { .. } => self.ask(Some("wrong_code"), &self.view().await?),
            Verdict::NoCode if SESSION_SENDS_MAX <= view.sends.len() => {
                let outcome = if view.may_have_arrived {
                    EXPIRED
                } else {
                    UNDELIVERABLE
                };
                self.end(outcome, view, None)
            }
            Verdict::NoCode => self.ask(Some("code_expired"), view),
        }
    }

    async fn verified(&self, channel: &str, view: &View) -> Result<TurnResult, Fault> {
        let route = self
            .route_of(channel)
            .ok_or_else(|| Fault::worker("the verified channel is no route of the task"))?;
        let contact = Contact {
            channel: route.channel,
            address: route.address.clone(),
        };
        let put = self
            .step
            .contacts
            .put(&self.context.tenant, self.context.workflow, contact)
            .await;
        put.map_err(|error| Fault::store("the contact store", &error))?;
        let output = Output {
            channel: Some(route.channel),
            destination_masked: Some(masked(route)),
            verified_at: Some(rfc3339(self.context.now_ms())),
            ..self.output(view)
        };
        complete(VERIFIED, &output)
    }

    fn locked(&self, until_ms: i64, view: &View) -> Result<TurnResult, Fault> {
        self.end(LOCKED, view, Some(until_ms))
    }

    fn end(
        &self,
        outcome: &str,
        view: &View,
        locked_until_ms: Option<i64>,
    ) -> Result<TurnResult, Fault> {
        complete(
            outcome,
            &Output {
                locked_until: locked_until_ms.map(rfc3339),
                ..self.output(view)
            },
        )
    }

    fn output(&self, view: &View) -> Output {
        Output {
            channel: None,
            destination_masked: None,
            provider: self.parked.provider.clone(),
            n_sends: u32::try_from(view.sends.len()).unwrap_or(u32::MAX),
            n_guesses: self.parked.n_guesses,
            verified_at: None,
            locked_until: None,
        }
    }

    /// Asks for the code; the same whether or not anybody has the number.
    fn ask(&self, reason: Option<&str>, view: &View) -> Result<TurnResult, Fault> {
        if self.routes.is_empty() {
            return self.end(UNDELIVERABLE, view, None);
        }
        self.question(reason, view).map(TurnResult::Ask)
    }

    fn question(&self, reason: Option<&str>, view: &View) -> Result<Ask, Fault> {
        let now_ms = self.context.now_ms();
        let current = view.current.as_ref();
        let route = current
            .and_then(|it| self.route_of(&it.channel))
            .or(self.routes.first());
        let Some(route) = route else {
            return Err(Fault::worker("there is nobody to ask"));
        };
        let sends_left = SESSION_SENDS_MAX.saturating_sub(view.sends.len());
        let resend_at_ms = resend_at(&view.sends).unwrap_or(now_ms).max(now_ms);
        let prompt = Prompt {
            channel: route.channel,
            destination_masked: masked(route),
            code_length: CODE_DIGITS,
            attempts_left: view.counter.attempts_left(self.attempts_max()),
            reason: reason.map(str::to_owned),
            resend_after: (0 < sends_left).then(|| rfc3339(resend_at_ms)),
            sends_left: u32::try_from(sends_left).unwrap_or(u32::MAX),
        };
        // As long as the code, and as long again while another one can be asked for.
        let code_left_ms = current.map_or(0, |it| (it.expires_at_ms - now_ms).max(0));
        let grace_ms = if 0 < sends_left {
            self.ttl_ms(route.channel)
        } else {
            0
        };
        let expires_in_ms = (code_left_ms + grace_ms).max(PROMPT_MIN_MS);
        let mut ask = ask(
            Audience::Applicant,
            "otp-code",
            &prompt,
            &self.parked,
            expires_in_ms,
        )?;
        ask.wake_in_ms = match current {
            Some(current) if 0 < sends_left && self.failover(current).is_some() => {
                Some(match current.delivery {
                    Delivery::Failed => FAILOVER_NOW_MS,
                    _ => FAILOVER_AFTER_MS,
                })
            }
            // A send was announced and never begun: make up for it without the person.
            None if 0 < sends_left => Some((resend_at_ms - now_ms).max(FAILOVER_AFTER_MS)),
            _ => None,
        };
        Ok(ask)
    }

    /// The route after that of a code whose delivery nobody has confirmed.
    fn failover(&self, current: &Current) -> Option<&Route> {
        if current.delivery == Delivery::Acknowledged {
            return None;
        }
        let used = self
            .routes
            .iter()
            .position(|it| channel_word(it.channel) == current.channel)?;
        self.routes.get(used + 1)
    }

    fn route_of(&self, channel: &str) -> Option<&Route> {
        self.routes
            .iter()
            .find(|it| channel_word(it.channel) == channel)
    }

    fn is_live(&self, current: Option<&Current>) -> bool {
        current.is_some_and(|it| self.context.now_ms() < it.expires_at_ms)
    }

    fn attempts_max(&self) -> u32 {
        self.arguments
            .max_attempts
            .unwrap_or(ATTEMPTS_MAX)
            .clamp(1, ATTEMPTS_MAX)
    }

    fn ttl_ms(&self, channel: Channel) -> i64 {
        let most_ms = match channel {
            Channel::Sms => SMS_TTL_MS,
            Channel::Email => EMAIL_TTL_MS,
        };
        self.arguments
            .ttl_seconds
            .map_or(most_ms, |it| (i64::from(it) * 1_000).min(most_ms))
    }

    /// Digest of the submitter's network address; the first turn has none.
    fn ip(&self) -> Option<String> {
        let TurnReason::Submission { submitter, .. } = &self.input.reason else {
            return None;
        };
        submitter
            .address
            .as_ref()
            .map(|it| self.key.digest("ip", &[it]))
    }

    async fn view(&self) -> Result<View, Fault> {
        let view = self
            .step
            .ledger
            .view(&self.session, self.context.now_ms())
            .await;
        view.map_err(|error| Fault::store("the code store", &error))
    }
}
