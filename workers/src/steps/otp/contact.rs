//! Where a code may be sent, and what of it may be shown.

use btrust_schemas::step::otp::{Arguments, Channel};

use super::secrets::MacKey;

/// Digits of a telephone number with its calling code.
///
/// Source: ITU-T E.164 (at most 15); below 7 no subscriber number exists.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longest mailbox address.
///
/// Source: RFC 5321, 4.5.3.1 (256 with the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// Digits of a number that its holder is shown.
const PHONE_DIGITS_SHOWN: usize = 3;

/// One way to reach the person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub channel: Channel,
    pub address: String,
}

impl Route {
    /// By which the limits know the address: one mailbox however its letters are written.
    pub fn digest(&self, key: &MacKey) -> String {
        key.digest("address", &[&self.address.to_lowercase()])
    }
}

/// The routes of a task in the order in which they are tried.
///
/// A channel without an address, with an address that cannot be one, or with a
/// number outside of the allowed countries is no route: nothing is ever sent there.
pub fn routes(arguments: &Arguments) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for &channel in &arguments.channels {
        let address = match channel {
            Channel::Sms => arguments
                .phone
                .as_deref()
                .and_then(phone)
                .filter(|it| is_allowed(it, arguments)),
            Channel::Email => arguments.email.as_deref().and_then(email),
        };
        if let Some(address) = address
            && routes.iter().all(|it| it.channel != channel)
        {
            routes.push(Route { channel, address });
        }
    }
    routes
}

/// The number in its one spelling: `+` and digits.
fn phone(text: &str) -> Option<String> {
    let number: String = text
        .chars()
        .filter(|it| !matches!(it, ' ' | '-' | '(' | ')'))
        .collect();
    let digits = number.strip_prefix('+')?;
    let fits = PHONE_DIGITS.contains(&digits.len())
        && digits.bytes().all(|it| it.is_ascii_digit())
        && !digits.starts_with('0');
    fits.then_some(number)
}

fn is_allowed(number: &str, arguments: &Arguments) -> bool {
    let Some(countries) = &arguments.countries else {
        return true;
    };
    countries
        .iter()
        .any(|it| it.starts_with('+') && 1 < it.len() && number.starts_with(it.as_str()))
}

/// The address with its domain in lower case; no line break can enter a mail header by it.
fn email(text: &str) -> Option<String> {
    let (user, domain) = text.rsplit_once('@')?;
    let fits = text.len() <= EMAIL_BYTES_MAX
        && !user.is_empty()
        && !domain.is_empty()
        && !text
            .chars()
            .any(|it| it.is_whitespace() || it.is_control() || matches!(it, ',' | ';' | '<' | '>'));
    fits.then(|| format!("{user}@{}", domain.to_ascii_lowercase()))
}

/// Enough of the address to recognise one's own, not more.
pub fn masked(route: &Route) -> String {
    if let (Channel::Email, Some((user, domain))) = (route.channel, route.address.rsplit_once('@'))
    {
        let first: String = user.chars().take(1).collect();
        return format!("{first}•••@{domain}");
    }
    let shown = route.address.len().saturating_sub(PHONE_DIGITS_SHOWN);
    format!("•••{}", &route.address[shown..])
}

/// The stored and logged word of a channel.
pub const fn channel_word(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "sms",
        Channel::Email => "email",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(phone: Option<&str>, email: Option<&str>) -> Arguments {
        Arguments {
            channels: vec![Channel::Sms, Channel::Email],
            phone: phone.map(str::to_owned),
            email: email.map(str::to_owned),
            purpose: None,
            max_attempts: None,
            ttl_seconds: None,
            countries: None,
        }
    }

    #[track_caller]
    fn check(phone: &str, expected: Option<&str>) {
        let routes = routes(&arguments(Some(phone), None));
        assert_eq!(routes.first().map(|it| it.address.as_str()), expected);
    }

    #[test]
    fn a_number_is_taken_in_one_spelling_or_not_at_all() {
        check("+972 50-000 0000", Some("+972500000000"));
        for text in [
            "0500000000",
            "+0500000000",
            "+12345",
            "+1234567890123456",
            "+97250000000a",
            "",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_number_outside_of_the_allowed_countries_is_no_route() {
        let mut it = arguments(Some("+972500000000"), Some("a@b.example"));
        it.countries = Some(vec!["+44".to_owned(), "+".to_owned(), String::new()]);
        assert_eq!(
            routes(&it),
            vec![Route {
                channel: Channel::Email,
                address: "a@b.example".to_owned()
            }]
        );
        it.countries = Some(vec!["+44".to_owned(), "+972".to_owned()]);
        assert_eq!(routes(&it).len(), 2);
    }

    #[test]
    fn a_mailbox_cannot_smuggle_a_header() {
        for text in ["a@b\r\nBcc: c@d", "a@", "@b", "a b@c", "a@b,c@d", "nobody"] {
            assert!(routes(&arguments(None, Some(text))).is_empty(), "{text}");
        }
        let routes = routes(&arguments(None, Some("Ada.L@Example.COM")));
        assert_eq!(routes[0].address, "Ada.L@example.com");
    }

    #[test]
    fn a_masked_address_shows_little() {
        let routes = routes(&arguments(Some("+972500000123"), Some("ada@b.example")));
        assert_eq!(masked(&routes[0]), "•••123");
        assert_eq!(masked(&routes[1]), "a•••@b.example");
    }
}
