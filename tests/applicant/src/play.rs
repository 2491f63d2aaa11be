//! The script: the bank starts a workflow, the applicant answers until nothing is asked any more.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, NaiveDate};
use serde::Serialize;
use serde_json::{Value, json};

use btrust_schemas::core::{Status, WorkflowView};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::prompt::PromptView;
use btrust_schemas::step::{consent, liveness, ocr, otp};
use btrust_schemas::turn::Audience;

use crate::client::Client;
use crate::clock;
use crate::outbox::latest_code;
use crate::platform::Platform;
use crate::props::{Applicant, Props};
use crate::timeline::Timeline;

/// Whom the invented applicant can be reached as. Source: numbers 555-01xx and
/// the domain example.com are reserved for examples (NANP; RFC 2606).
const PHONE: &str = "+12025550143";
const EMAIL: &str = "specimen@example.com";
/// Answers after which an applicant gives up: more than every limit of the steps together.
const ANSWERS_MAX: u32 = 40;

/// How long an applicant waits for another code: the longest pause between two, and some.
const WAIT_MAX: Duration = Duration::from_secs(150);
/// By how much the applicant's clock may be ahead of the platform's.
const CLOCK_MARGIN: Duration = Duration::from_millis(250);

/// What is played.
pub struct Script {
    pub applicant: Applicant,
    pub definition: String,
    pub models: PathBuf,
    pub today: NaiveDate,
    pub seed: u64,
    /// Makes the start idempotent; another key starts another workflow.
    pub key: String,
}

/// How the play ended; the last line on standard output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    pub workflow: WorkflowId,
    /// `closed`, `waiting` or `failed`.
    pub status: &'static str,
    pub decision: Option<String>,
    pub open_prompt: Option<&'static str>,
    /// Latest outcome of each state.
    pub outcomes: BTreeMap<String, String>,
    pub duration_ms: u64,
    /// CPU time of the platform while the play lasted; `None` for one that somebody else runs.
    pub cpu_ms: Option<u64>,
}

/// Plays the script to its end.
///
/// # Errors
///
/// When the platform cannot be reached, refuses what a well-behaved client
/// sends, or asks something that this applicant does not know.
pub async fn play(platform: &Platform, script: Script) -> Result<Ending> {
    let client = Client::new(platform.urls.clone(), platform.bank.clone())?;
    let started = Instant::now();
    let cpu_before_ms = platform.cpu_ms();
    let input = json!({ "applicant": { "phone": PHONE, "email": EMAIL } });
    let workflow = client
        .start(&script.definition, &input, &script.key)
        .await?;
    let mut timeline = Timeline::begin(workflow.id);
    let mut person = Person {
        platform,
        client: &client,
        workflow: workflow.id,
        script,
        props: None,
        n_answers: 0,
        used_codes: HashSet::new(),
    };
    let view = person.answer_all(&mut timeline).await?;
    let cpu_after_ms = platform.cpu_ms();
    let cpu_ms = cpu_before_ms
        .zip(cpu_after_ms)
        .map(|(before, after)| after.saturating_sub(before));
    let (status, open_prompt) = match view.status {
        Status::Succeeded => ("closed", None),
        Status::Running => ("waiting", Some("review")),
        Status::Failed
        | Status::TimedOut
        | Status::Cancelled
        | Status::Continued
        | Status::Terminated => ("failed", None),
    };
    timeline.end(status, view.decision.as_deref(), cpu_ms);
    Ok(Ending {
        workflow: view.id,
        status,
        decision: view.decision,
        open_prompt,
        outcomes: view.outcomes,
        duration_ms: u64::try_from(started.elapsed().as_millis())
            .context("the play lasted too long")?,
        cpu_ms,
    })
}

/// The applicant before their device.
struct Person<'a> {
    platform: &'a Platform,
    client: &'a Client,
    workflow: WorkflowId,
    script: Script,
    /// Prepared when a camera is first needed.
    props: Option<Props>,
    n_answers: u32,
    used_codes: HashSet<String>,
}

impl Person<'_> {
    /// Answers every prompt until the workflow is closed or waits for a reviewer.
    async fn answer_all(&mut self, timeline: &mut Timeline) -> Result<WorkflowView> {
        let mut answered = HashSet::new();
        let mut after = 0;
        loop {
            let view = self.client.workflow(self.workflow).await?;
            timeline.show(&view.outcomes);
            if view.status != Status::Running || view.waiting_for == Some(Audience::Reviewer) {
                return Ok(view);
            }
            let open = self.client.prompts(self.workflow, after).await?;
            for prompt in open.prompts {
                if prompt.audience != Audience::Applicant || !answered.insert(prompt.id) {
                    continue;
                }
                self.n_answers += 1;
                ensure!(
                    self.n_answers <= ANSWERS_MAX,
                    "the platform keeps asking: {ANSWERS_MAX} answers were not enough"
                );
                self.answer(&prompt, timeline).await?;
            }
            after = open.sequence;
        }
    }

    async fn answer(&mut self, prompt: &PromptView, timeline: &mut Timeline) -> Result<()> {
        timeline.asked(&prompt.state_name, &reasons(&prompt.body));
        let body = match prompt.kind.as_str() {
            "consent" => {
                let asked: consent::Prompt = read(prompt)?;
                serde_json::to_value(consent::Submission::Accept { texts: asked.texts })?
            }
            "otp-code" => self.code(prompt).await?,
            "document-front" => self.document().await?,
            "liveness-challenge" => self.liveness(prompt).await?,
            other => bail!("the platform asks for `{other}`, which this applicant does not know"),
        };
        match self.client.submit(prompt.id, &body).await {
            // It expired under our hands; what comes next is the platform's to say.
            Err(error) if error.code() == Some("prompt_closed") => Ok(()),
            answered => Ok(answered?),
        }
    }

    /// The code that was sent, or a wrong one; asks for another message when none has come.
    async fn code(&mut self, prompt: &PromptView) -> Result<Value> {
        let asked: otp::Prompt = read(prompt)?;
        let to = match asked.channel {
            otp::Channel::Sms => PHONE,
            otp::Channel::Email => EMAIL,
        };
        let sent = latest_code(
            &self.platform.outbox().await?,
            to,
            asked.code_length as usize,
        )?;
        let answer = match sent {
            Some(code) if self.script.applicant == Applicant::WrongOtp => otp::Submission::Answer {
                code: guess(&code, self.n_answers),
            },
            Some(code) if self.used_codes.insert(code.clone()) => otp::Submission::Answer { code },
            // A platform that died while it was sending never sends that code again.
            _ => {
                let resend_after = asked
                    .resend_after
                    .context("no code has come and none will be sent")?;
                wait_until(&resend_after).await?;
                otp::Submission::Resend
            }
        };
        Ok(serde_json::to_value(answer)?)
    }

    async fn document(&mut self) -> Result<Value> {
        let take = u64::from(self.n_answers);
        let shot = self.props().await?.document(take)?;
        let picture = self.client.upload(self.workflow, &shot).await?;
        Ok(serde_json::to_value(ocr::Submission { picture })?)
    }

    /// One frame for each action of the challenge.
    async fn liveness(&mut self, prompt: &PromptView) -> Result<Value> {
        let asked: liveness::Prompt = read(prompt)?;
        let mut frames = Vec::new();
        for (i, &action) in (0_u64..).zip(&asked.actions) {
            let take = 100 * u64::from(self.n_answers) + i;
            let shot = self.props().await?.frame(action, take)?;
            let picture = self.client.upload(self.workflow, &shot).await?;
            frames.push(liveness::Frame { action, picture });
        }
        Ok(serde_json::to_value(liveness::Submission::Frames {
            nonce: asked.nonce,
            frames,
        })?)
    }

    async fn props(&mut self) -> Result<&Props> {
        if self.props.is_none() {
            let Script {
                applicant,
                ref models,
                today,
                seed,
                ..
            } = self.script;
            let models = models.clone();
            let prepared = tokio::task::spawn_blocking(move || {
                Props::prepare(applicant, &models, today, seed)
            });
            self.props = Some(
                prepared
                    .await
                    .context("the pictures could not be prepared")??,
            );
        }
        self.props
            .as_ref()
            .context("the pictures were just prepared")
    }
}

/// Waits until a moment in RFC 3339, and a little longer, because two clocks never agree.
async fn wait_until(moment: &str) -> Result<()> {
    let moment =
        DateTime::parse_from_rfc3339(moment).context("the platform sent a malformed time")?;
    let wait = (moment.to_utc() - clock::now())
        .to_std()
        .unwrap_or_default();
    ensure!(
        wait <= WAIT_MAX,
        "the platform asks for a wait of {} s",
        wait.as_secs()
    );
    tokio::time::sleep(wait + CLOCK_MARGIN).await;
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(prompt: &PromptView) -> Result<T> {
    serde_json::from_value(prompt.body.clone())
        .with_context(|| format!("the prompt of {} is malformed", prompt.state_name))
}

/// Why a prompt asks again, in the words of its step.
fn reasons(body: &Value) -> Vec<String> {
    let several = body["reasons"].as_array().into_iter().flatten();
    let one = Some(&body["reason"]);
    several
        .chain(one)
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

/// A code that differs from the one sent, another one for each `n`.
fn guess(sent: &str, n: u32) -> String {
    let step = 1 + n % 9;
    let last = sent
        .chars()
        .last()
        .and_then(|it| it.to_digit(10))
        .unwrap_or(0);
    let wrong = (last + step) % 10;
    format!("{}{wrong}", &sent[..sent.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_never_the_code() {
        for n in 0..30 {
            for code in ["123450", "999999", "000005"] {
                let guess = guess(code, n);
                assert_ne!(guess, code, "guess {n}");
                assert_eq!(guess.len(), code.len());
            }
        }
    }

    #[test]
    fn the_reasons_of_every_step_are_found() {
        assert_eq!(
            reasons(&json!({ "reasons": ["glare", "too_dark"] })),
            ["glare", "too_dark"]
        );
        assert_eq!(reasons(&json!({ "reason": "wrong_code" })), ["wrong_code"]);
        assert!(reasons(&json!({ "texts": [], "reason": null })).is_empty());
    }
}
