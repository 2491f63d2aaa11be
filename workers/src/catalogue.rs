//! Every step and the service that runs it: the one list a new step joins.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use btrust_vision::Role;

use crate::runtime::Step;
use crate::service::Ports;
use crate::steps::consent::Consent;
use crate::steps::face_match::{self, FaceMatch};
use crate::steps::form::Form;
use crate::steps::items::{ReadItems, WriteResults};
use crate::steps::liveness::{self, Liveness, random_challenges};
use crate::steps::ocr::{self, Ocr};
use crate::steps::otp::{Otp, random_codes};
use crate::steps::review::Review;

type Make = fn(&Ports) -> Arc<dyn Step>;

/// A new step is one line here and one folder under `steps/`.
const STEPS: &[(Service, Make)] = &[
    (Service::Steps, |_| Arc::new(Consent)),
    (Service::Steps, |_| Arc::new(Form)),
    (Service::Steps, |_| Arc::new(Review)),
    (Service::Steps, |_| Arc::new(ReadItems)),
    (Service::Steps, |_| Arc::new(WriteResults)),
    (Service::Otp, otp),
    (Service::Ocr, |ports| {
        Arc::new(Ocr::new(Arc::clone(&ports.vision)))
    }),
    (Service::FaceMatch, |ports| {
        Arc::new(FaceMatch::new(Arc::clone(&ports.vision)))
    }),
    (Service::Liveness, |ports| {
        Arc::new(Liveness::new(
            Arc::clone(&ports.vision),
            random_challenges(),
        ))
    }),
];

fn otp(ports: &Ports) -> Arc<dyn Step> {
    let Ports {
        steps_db,
        keys,
        messenger,
        contacts,
        ..
    } = ports.clone();
    Arc::new(Otp::new(
        steps_db,
        keys,
        messenger,
        contacts,
        random_codes(),
    ))
}

/// A fleet of workers: one process serves one of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// The steps that only shuffle small JSON.
    Steps,
    Otp,
    Ocr,
    FaceMatch,
    Liveness,
}

impl Service {
    /// Every service, in the order in which they are started.
    pub const ALL: [Self; 5] = [
        Self::Steps,
        Self::Otp,
        Self::Ocr,
        Self::FaceMatch,
        Self::Liveness,
    ];

    /// The name of the service: `btrust serve <name>`, and the id of its client at the auth service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Otp => "otp",
            Self::Ocr => "ocr",
            Self::FaceMatch => "face-match",
            Self::Liveness => "liveness",
        }
    }

    /// The port for health, metrics and direct calls.
    ///
    /// Source: the deployment guide; it knows no `steps`, which takes a free port beside.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Steps => 5060,
            Self::Otp => 5000,
            Self::Ocr => 5040,
            Self::FaceMatch => 3000,
            Self::Liveness => 5050,
        }
    }

    /// The queues that the service polls; its token's scopes are `queue:<name>` of each.
    #[must_use]
    pub fn queues(self) -> &'static [&'static str] {
        match self {
            Self::Steps => &["consent", "form", "review", "read-items", "write-results"],
            Self::Otp => &["otp"],
            Self::Ocr => &["ocr"],
            Self::FaceMatch => &["face-match"],
            Self::Liveness => &["liveness"],
        }
    }

    /// The models that the service runs.
    #[must_use]
    pub fn models(self) -> &'static [Role] {
        match self {
            Self::Steps | Self::Otp => &[],
            Self::Ocr => ocr::ROLES,
            Self::FaceMatch => face_match::ROLES,
            Self::Liveness => liveness::ROLES,
        }
    }

    /// The steps of the service.
    #[must_use]
    pub fn steps(self, ports: &Ports) -> Vec<Arc<dyn Step>> {
        STEPS
            .iter()
            .filter(|(service, _)| *service == self)
            .map(|(_, make)| make(ports))
            .collect()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no service of that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "there is no worker service of that name; there are steps, otp, ocr, face-match and liveness"
)]
pub struct UnknownService;

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Self::ALL
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or(UnknownService)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::ports;

    #[tokio::test]
    async fn every_published_step_is_run_by_exactly_one_service() {
        let dir = tempfile::tempdir().unwrap();
        let ports = ports(&dir).await;
        let mut run = Vec::new();
        for service in Service::ALL {
            let steps: Vec<_> = service.steps(&ports).iter().map(|it| it.name()).collect();
            assert_eq!(steps, service.queues(), "{service}");
            run.extend(steps);
        }
        let published: BTreeSet<_> = btrust_schemas::step::catalogue()
            .iter()
            .map(|it| it.step)
            .collect();
        assert_eq!(run.len(), published.len());
        assert_eq!(run.into_iter().collect::<BTreeSet<_>>(), published);
    }

    #[test]
    fn a_service_is_found_by_its_name() {
        for service in Service::ALL {
            assert_eq!(service.to_string().parse(), Ok(service));
        }
        assert_eq!("nothing".parse::<Service>(), Err(UnknownService));
    }
}
