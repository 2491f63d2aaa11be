//! `kyc:consent`: the person accepts or declines texts, each by id and version.

use async_trait::async_trait;

use btrust_platform::clock::rfc3339;
use btrust_schemas::step::consent::{
    Arguments, DECLINED, EXPIRED, GIVEN, Output, Prompt, Submission,
};
use btrust_schemas::turn::{Audience, TurnInput, TurnReason, TurnResult};

use super::{DAY_SECONDS, ttl_ms};
use crate::runtime::step::submission;
use crate::runtime::{Context, Fault, Step, arguments, ask, complete};

/// Turns at once; they only shuffle small JSON.
const IN_FLIGHT_MAX: u32 = 64;

pub struct Consent;

#[async_trait]
impl Step for Consent {
    fn name(&self) -> &'static str {
        "consent"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, _: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let Arguments { texts, ttl_seconds } = arguments(&input)?;
        // The answer counts from when it was taken, which a redelivery does not move.
        let at = Some(rfc3339(input.scheduled_ms));
        match (&input.reason, submission(&input)) {
            (TurnReason::Expired { .. }, _) => complete(EXPIRED, &Output { texts, at: None }),
            (_, Some(Submission::Decline)) => complete(DECLINED, &Output { texts, at }),
            (_, Some(Submission::Accept { texts: accepted })) if accepted == texts => {
                complete(GIVEN, &Output { texts, at })
            }
            // Nobody accepts a text that was not shown, or part of what was.
            _ => {
                let ttl_ms = ttl_ms(ttl_seconds, DAY_SECONDS);
                let ask = ask(
                    Audience::Applicant,
                    "consent",
                    &Prompt { texts },
                    &(),
                    ttl_ms,
                )?;
                Ok(TurnResult::Ask(ask))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Bench, asked, completed};

    fn texts() -> Value {
        json!([{ "id": "terms", "version": "3" }, { "id": "biometrics", "version": "1" }])
    }

    async fn check(answer: Value, expected: &str) {
        let bench = Bench::new().await;
        let first = bench.first(&Consent, json!({ "texts": texts() })).await;
        assert_eq!(asked(&first).body, json!({ "texts": texts() }));
        let (outcome, output) = completed(bench.answer(&Consent, &first, answer).await);
        assert_eq!(outcome, expected);
        assert_eq!(output["texts"], texts());
        assert_eq!(output["at"], rfc3339(bench.now_ms()));
    }

    #[tokio::test]
    async fn accepting_every_text_gives_consent() {
        check(json!({ "action": "accept", "texts": texts() }), GIVEN).await;
    }

    #[tokio::test]
    async fn declining_is_an_outcome_and_no_error() {
        check(json!({ "action": "decline" }), DECLINED).await;
    }

    #[tokio::test]
    async fn accepting_other_texts_than_those_shown_asks_again() {
        let bench = Bench::new().await;
        let first = bench.first(&Consent, json!({ "texts": texts() })).await;
        let other = json!({ "action": "accept", "texts": [{ "id": "terms", "version": "2" }] });
        let again = bench.answer(&Consent, &first, other).await;
        assert_eq!(asked(&again).kind, "consent");
    }

    #[tokio::test]
    async fn silence_expires() {
        let bench = Bench::new().await;
        let first = bench
            .first(&Consent, json!({ "texts": texts(), "ttlSeconds": 60 }))
            .await;
        assert_eq!(asked(&first).expires_in_ms, 60_000);
        let (outcome, output) = completed(bench.expire(&Consent, &first).await);
        assert_eq!((outcome.as_str(), &output["at"]), (EXPIRED, &Value::Null));
    }
}
