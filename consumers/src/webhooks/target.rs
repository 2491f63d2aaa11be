//! The URL of an endpoint, checked when it is written down; its addresses are checked at every call.

use url::Url;

use super::address::Reach;

/// Longest URL, in bytes.
///
/// Source: what every server and proxy takes.
pub const URL_BYTES_MAX: usize = 2_048;

/// Where calls go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    url: Url,
}

/// Why a URL cannot be an endpoint's; each says what would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`url` is an https URL of at most 2,048 bytes")]
    Malformed,
    #[error("`url` begins with `https://`")]
    NotHttps,
    #[error("`url` has no user, no password and no fragment")]
    Extra,
    #[error("the host of `url` is not on the public internet: name one that is")]
    Private,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`TargetError`]
    pub fn parse(text: &str, reach: Reach) -> Result<Self, TargetError> {
        if URL_BYTES_MAX < text.len() {
            return Err(TargetError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        let host = url.host_str().filter(|it| !it.is_empty());
        let host = host.ok_or(TargetError::Malformed)?;
        let is_here = reach == Reach::Loopback && is_loopback_name(&url, host);
        match url.scheme() {
            "https" => {}
            "http" if is_here => {}
            _ => return Err(TargetError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(TargetError::Extra);
        }
        // Names that are never public; whatever else a name may hide is seen when it is called.
        let is_private = match literal(&url) {
            Some(address) => !reach.includes(address),
            None => !is_here && (host.eq_ignore_ascii_case("localhost") || !host.contains('.')),
        };
        if is_private {
            return Err(TargetError::Private);
        }
        Ok(Self { url })
    }

    /// The URL, with the spelling of its host made uniform.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host without brackets, as resolvers and certificates want it.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> String {
        let path = self.url.path();
        self.url
            .query()
            .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }
}

/// The address that stands in place of a name, in whatever spelling it was written.
fn literal(url: &Url) -> Option<std::net::IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn is_loopback_name(url: &Url, host: &str) -> bool {
    literal(url).map_or(host == "localhost", |it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, reach: Reach, expected: Result<&str, TargetError>) {
        let target = Target::parse(text, reach);
        assert_eq!(
            target.as_ref().map(Target::as_str),
            expected.as_ref().copied(),
            "{text}"
        );
    }

    #[test]
    fn an_https_url_of_a_public_host_is_an_endpoint() {
        check(
            "https://Bank.Example/hook?a=1",
            Reach::Public,
            Ok("https://bank.example/hook?a=1"),
        );
        check(
            "https://bank.example:8443",
            Reach::Public,
            Ok("https://bank.example:8443/"),
        );
        check("https://1.1.1.1/x", Reach::Public, Ok("https://1.1.1.1/x"));
        let target = Target::parse("https://bank.example:8443/a/b?c=d", Reach::Public).unwrap();
        let parts = (
            target.host(),
            target.port(),
            target.authority(),
            target.path(),
        );
        assert_eq!(
            parts,
            (
                "bank.example",
                8443,
                "bank.example:8443".to_owned(),
                "/a/b?c=d".to_owned()
            )
        );
        let target = Target::parse("https://[2606:4700::1]/", Reach::Public).unwrap();
        assert_eq!((target.host(), target.port()), ("2606:4700::1", 443));
    }

    #[test]
    fn addresses_inside_are_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:169.254.169.254]",
            "10.1.2.3",
            "169.254.169.254",
            "localhost",
            "LOCALHOST",
            "intranet",
            "0.0.0.0",
            "0",
            "[fd00:ec2::254]",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
        ] {
            check(
                &format!("https://{host}/"),
                Reach::Public,
                Err(TargetError::Private),
            );
        }
    }

    #[test]
    fn what_is_not_https_or_carries_more_is_refused() {
        check(
            "http://bank.example/",
            Reach::Public,
            Err(TargetError::NotHttps),
        );
        check(
            "http://bank.example/",
            Reach::Loopback,
            Err(TargetError::NotHttps),
        );
        check(
            "ftp://bank.example/",
            Reach::Public,
            Err(TargetError::NotHttps),
        );
        check(
            "https://user:secret@bank.example/",
            Reach::Public,
            Err(TargetError::Extra),
        );
        check(
            "https://bank.example/#part",
            Reach::Public,
            Err(TargetError::Extra),
        );
        check("bank.example", Reach::Public, Err(TargetError::Malformed));
        check("https://", Reach::Public, Err(TargetError::Malformed));
        let long = format!("https://bank.example/{}", "a".repeat(URL_BYTES_MAX));
        check(&long, Reach::Public, Err(TargetError::Malformed));
    }

    #[test]
    fn development_may_call_the_machine_itself_by_http() {
        for url in [
            "http://127.0.0.1:9000/",
            "http://localhost:9000/",
            "http://[::1]:9000/",
        ] {
            check(url, Reach::Loopback, Ok(url));
            check(url, Reach::Public, Err(TargetError::NotHttps));
        }
        check(
            "https://10.0.0.1/",
            Reach::Loopback,
            Err(TargetError::Private),
        );
    }
}
