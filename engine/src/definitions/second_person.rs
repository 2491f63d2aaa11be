//! Which tenants want two people for a publication.

use std::collections::BTreeSet;

/// The tenants whose versions somebody else than the author publishes.
///
/// The operator says so and not the tenant: whoever could turn it off alone would need no second person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecondPerson {
    #[default]
    Nowhere,
    Of(BTreeSet<String>),
    Everywhere,
}

impl SecondPerson {
    /// Reads `*` for every tenant, or tenants with commas between them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let tenants: BTreeSet<String> = text
            .split(',')
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        if tenants.is_empty() {
            Self::Nowhere
        } else if tenants.contains("*") {
            Self::Everywhere
        } else {
            Self::Of(tenants)
        }
    }

    /// Whether this tenant wants a second person.
    #[must_use]
    pub fn is_asked_by(&self, tenant: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Of(tenants) => tenants.contains(tenant),
            Self::Everywhere => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_person_is_asked_for_by_name_or_by_everybody() {
        let some = SecondPerson::parse("bank, other ,");
        for (setting, asked) in [
            (SecondPerson::default(), [false, false]),
            (SecondPerson::parse(" , "), [false, false]),
            (some, [true, false]),
            (SecondPerson::parse("*"), [true, true]),
        ] {
            let found = ["bank", "third"].map(|it| setting.is_asked_by(it));
            assert_eq!(found, asked, "{setting:?}");
        }
    }
}
