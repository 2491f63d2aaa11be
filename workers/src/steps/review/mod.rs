//! `kyc:review`: the bank's own people look and decide, two of them where it says so.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use btrust_schemas::step::review::{
    APPROVED, Arguments, Decision, EXPIRED, Output, Prompt, REJECTED, RESUBMIT, Submission,
};
use btrust_schemas::turn::{Audience, Submitter, TurnInput, TurnReason, TurnResult};

use super::{DAY_SECONDS, ttl_ms};
use crate::runtime::step::submission;
use crate::runtime::{Context, Fault, Step, arguments, ask, complete, parked};

/// Turns at once; they only shuffle small JSON.
const IN_FLIGHT_MAX: u32 = 64;
/// How long a case waits for each person where the definition does not say, in seconds: a week.
const TTL_SECONDS: u32 = 7 * DAY_SECONDS;

/// What is parked between two people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parked {
    v: u32,
    first: Option<Approval>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Approval {
    reviewer: String,
    reason_codes: Vec<String>,
}

pub struct Review;

#[async_trait]
impl Step for Review {
    fn name(&self) -> &'static str {
        "review"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, _: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let arguments: Arguments = arguments(&input)?;
        let parked: Parked = parked(&input)?.unwrap_or(Parked { v: 1, first: None });
        match (&input.reason, submission::<Submission>(&input)) {
            (TurnReason::Expired { .. }, _) => end(EXPIRED, parked.first, None),
            (TurnReason::Submission { submitter, .. }, Some(answer)) => {
                judge(arguments, parked, submitter, answer)
            }
            _ => seat(arguments, parked, None),
        }
    }
}

/// Weighs one person's answer.
fn judge(
    arguments: Arguments,
    parked: Parked,
    by: &Submitter,
    answer: Submission,
) -> Result<TurnResult, Fault> {
    if by.kind != Audience::Reviewer {
        // Only a reviewer's token passes the gateway; whoever else it is, is the person being judged.
        return seat(arguments, parked, Some("own_case"));
    }
    if parked
        .first
        .as_ref()
        .is_some_and(|first| first.reviewer == by.id)
    {
        return seat(arguments, parked, Some("same_reviewer"));
    }
    let approval = Approval {
        reviewer: by.id.clone(),
        reason_codes: answer.reason_codes,
    };
    match answer.decision {
        Decision::Rejected => end(REJECTED, parked.first, Some(approval)),
        Decision::Resubmit => end(RESUBMIT, parked.first, Some(approval)),
        Decision::Approved if arguments.four_eyes == Some(true) && parked.first.is_none() => seat(
            arguments,
            Parked {
                v: 1,
                first: Some(approval),
            },
            None,
        ),
        Decision::Approved => end(APPROVED, parked.first, Some(approval)),
    }
}

/// Asks for the next person.
fn seat(arguments: Arguments, parked: Parked, refused: Option<&str>) -> Result<TurnResult, Fault> {
    let prompt = Prompt {
        reasons: arguments.reasons,
        context: arguments.context,
        seat: if parked.first.is_some() { 2 } else { 1 },
        refused: refused.map(str::to_owned),
    };
    let ttl_ms = ttl_ms(arguments.ttl_seconds, TTL_SECONDS);
    Ok(TurnResult::Ask(ask(
        Audience::Reviewer,
        "review",
        &prompt,
        &parked,
        ttl_ms,
    )?))
}

fn end(
    outcome: &str,
    first: Option<Approval>,
    last: Option<Approval>,
) -> Result<TurnResult, Fault> {
    let four_eyes = outcome == APPROVED && first.is_some() && last.is_some();
    let mut output = Output {
        four_eyes,
        reviewers: Vec::new(),
        reason_codes: Vec::new(),
    };
    for approval in first.into_iter().chain(last) {
        output.reviewers.push(approval.reviewer);
        output.reason_codes.extend(approval.reason_codes);
    }
    complete(outcome, &output)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Bench, asked, completed, reviewer};

    fn decision(word: &str) -> Value {
        json!({ "decision": word, "reasonCodes": ["looked"] })
    }

    async fn begun(four_eyes: bool) -> (Bench, Result<TurnResult, Fault>) {
        let bench = Bench::new().await;
        let arguments = json!({ "reasons": ["face_doubtful"], "fourEyes": four_eyes });
        let first = bench.first(&Review, arguments).await;
        assert_eq!(asked(&first).audience, Audience::Reviewer);
        (bench, first)
    }

    #[tokio::test]
    async fn one_reviewer_approves_where_two_are_not_asked_for() {
        let (bench, first) = begun(false).await;
        let end = bench
            .answer_as(&Review, &first, decision("approved"), reviewer("ada"))
            .await;
        let (outcome, output) = completed(end);
        assert_eq!(outcome, APPROVED);
        assert_eq!(
            output,
            json!({ "fourEyes": false, "reviewers": ["ada"], "reasonCodes": ["looked"] })
        );
    }

    #[tokio::test]
    async fn four_eyes_take_two_different_reviewers() {
        let (bench, first) = begun(true).await;
        let second = bench
            .answer_as(&Review, &first, decision("approved"), reviewer("ada"))
            .await;
        assert_eq!(asked(&second).body["seat"], 2);

        let again = bench
            .answer_as(&Review, &second, decision("approved"), reviewer("ada"))
            .await;
        assert_eq!(asked(&again).body["refused"], "same_reviewer");
        assert_eq!(asked(&again).body["seat"], 2);

        let end = bench
            .answer_as(&Review, &again, decision("approved"), reviewer("bob"))
            .await;
        let (outcome, output) = completed(end);
        assert_eq!(
            (outcome.as_str(), &output["fourEyes"]),
            (APPROVED, &json!(true))
        );
        assert_eq!(output["reviewers"], json!(["ada", "bob"]));
    }

    #[tokio::test]
    async fn the_second_reviewer_may_reject_what_the_first_approved() {
        let (bench, first) = begun(true).await;
        let second = bench
            .answer_as(&Review, &first, decision("approved"), reviewer("ada"))
            .await;
        let end = bench
            .answer_as(&Review, &second, decision("rejected"), reviewer("bob"))
            .await;
        let (outcome, output) = completed(end);
        assert_eq!(
            (outcome.as_str(), &output["fourEyes"]),
            (REJECTED, &json!(false))
        );
    }

    #[tokio::test]
    async fn one_reviewer_is_enough_to_reject_or_to_send_back() {
        for word in [REJECTED, RESUBMIT] {
            let (bench, first) = begun(true).await;
            let end = bench
                .answer_as(&Review, &first, decision(word), reviewer("ada"))
                .await;
            assert_eq!(completed(end).0, word);
        }
    }

    #[tokio::test]
    async fn nobody_judges_their_own_case() {
        let (bench, first) = begun(false).await;
        let again = bench.answer(&Review, &first, decision("approved")).await;
        assert_eq!(asked(&again).body["refused"], "own_case");
    }

    #[tokio::test]
    async fn a_case_nobody_looked_at_expires() {
        let (bench, first) = begun(true).await;
        assert_eq!(completed(bench.expire(&Review, &first).await).0, EXPIRED);
    }
}
