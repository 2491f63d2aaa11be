//! Which operation is which act.

use percent_encoding::percent_decode_str;
use poem::http::Method;

use btrust_schemas::events::{ActKind, ActTarget};

/// What has to be durable of an act, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Noted on this service's disk before it begins: it changes something elsewhere.
    Before,
    /// Noted on this service's disk before the answer leaves: without the answer nobody has anything of it.
    Answer,
    /// Recorded by core before the answer leaves: it shows evidence.
    Committed,
}

/// An operation that is an act.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub method: &'static str,
    /// As the `OpenAPI` document spells it.
    pub path: &'static str,
    pub kind: ActKind,
    pub proof: Proof,
}

/// The acts of a service.
#[derive(Clone, Copy, Debug)]
pub struct Routes(pub &'static [Route]);

impl Routes {
    /// The act that a request is, and what its path says about it.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<(&'static Route, ActTarget)> {
        let mut routes = self.0.iter().filter(|it| it.method == method.as_str());
        routes.find_map(|it| Some((it, target(it.path, path)?)))
    }
}

/// What a path names, if it is one of this pattern.
fn target(pattern: &str, path: &str) -> Option<ActTarget> {
    let mut target = ActTarget::default();
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    let is_of_schedules = pattern.starts_with("/v1/schedules/");
    let is_of_incidents = pattern.starts_with("/v1/incidents/");
    loop {
        let (pattern, segment) = match (patterns.next(), segments.next()) {
            (None, None) => return Some(target),
            (Some(pattern), Some(segment)) => (pattern, segment),
            _ => return None,
        };
        if !pattern.starts_with('{') {
            if pattern != segment {
                return None;
            }
            continue;
        }
        // The handler is given the parameter decoded; whoever spells it otherwise escapes no record.
        let segment = percent_decode_str(segment).decode_utf8_lossy();
        match pattern {
            "{id}" if is_of_incidents => {
                target.incident = segment.parse().ok();
                target.workflow = target.incident.map(|it| it.workflow);
            }
            // What is no id is no workflow: another operation, or a refusal.
            "{id}" => target.workflow = Some(segment.parse().ok()?),
            "{name}" if is_of_schedules => target.schedule = Some(segment.into_owned()),
            "{name}" => target.definition = Some(segment.into_owned()),
            "{version}" => target.version = segment.parse().ok(),
            "{endpointId}" => target.endpoint = id_of("whe_", &segment),
            "{deliveryId}" => target.delivery = id_of("msg_", &segment),
            "{clientId}" => target.client = Some(segment.into_owned()),
            // Secrets of people.
            "{link}" => {}
            _ => return None,
        }
    }
}

/// An id of ours, and nothing else that somebody might write there.
fn id_of(prefix: &str, segment: &str) -> Option<String> {
    let digits = segment.strip_prefix(prefix)?;
    let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() == 32 && digits.bytes().all(is_digit)).then(|| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_an_act_is_about_and_secrets_stay_out() {
        let workflow = format!("wf_{}", "07".repeat(16));
        let found = target(
            "/v1/workflows/{id}/history",
            &format!("/v1/workflows/{workflow}/history"),
        );
        assert_eq!(found.unwrap().workflow.unwrap().to_string(), workflow);
        let encoded = workflow.replacen('0', "%30", 1);
        let found = target(
            "/v1/workflows/{id}/history",
            &format!("/v1/workflows/{encoded}/history"),
        );
        assert_eq!(found.unwrap().workflow.unwrap().to_string(), workflow);
        assert_eq!(
            target("/v1/workflows/{id}/pause", "/v1/workflows/nonsense/pause"),
            None
        );
        assert_eq!(
            target("/v1/workflows/pause", "/v1/workflows/pause"),
            Some(ActTarget::default())
        );
        let link = target(
            "/v1/resume-links/{link}/redemptions",
            "/v1/resume-links/5ec7e7/redemptions",
        );
        assert_eq!(link, Some(ActTarget::default()));
        let (endpoint, delivery) = (
            format!("whe_{}", "5".repeat(32)),
            format!("msg_{}", "6".repeat(32)),
        );
        let pattern = "/v1/webhook-endpoints/{endpointId}/deliveries/{deliveryId}/replay";
        let replayed = |endpoint: &str| {
            let path = format!("/v1/webhook-endpoints/{endpoint}/deliveries/{delivery}/replay");
            target(pattern, &path).unwrap()
        };
        let found = replayed(&endpoint);
        assert_eq!(
            (found.endpoint, found.delivery),
            (Some(endpoint), Some(delivery.clone()))
        );
        assert_eq!(replayed("Erika").endpoint, None);
        let version = target(
            "/v1/definitions/{name}/versions/{version}/retirement",
            "/v1/definitions/kyc/versions/3/retirement",
        );
        let expected = ActTarget {
            definition: Some("kyc".to_owned()),
            version: Some(3),
            ..ActTarget::default()
        };
        assert_eq!(version, Some(expected));
    }
}
