//! Comparisons as people read them.

use std::fmt;

use super::ChoiceRule;
use super::choice::{Operand, Relation, Test};

impl fmt::Display for ChoiceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(rules) => joined(f, rules, " and "),
            Self::Any(rules) => joined(f, rules, " or "),
            Self::Not(rule) => write!(f, "not ({rule})"),
            Self::Test { variable, test } => write!(f, "{} {test}", variable.source()),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, rules: &[ChoiceRule], word: &str) -> fmt::Result {
    for (index, rule) in rules.iter().enumerate() {
        if 0 < index {
            f.write_str(word)?;
        }
        match rule {
            ChoiceRule::All(_) | ChoiceRule::Any(_) => write!(f, "({rule})")?,
            _ => write!(f, "{rule}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |holds: bool| if holds { "is" } else { "is not" };
        match self {
            Self::IsPresent(holds) => write!(f, "{} present", verb(*holds)),
            Self::Is(sort, holds) => {
                let sort = format!("{sort:?}").to_lowercase();
                write!(f, "{} {sort}", verb(*holds))
            }
            Self::Matches(pattern) => write!(f, "matches '{pattern}'"),
            Self::Compare(_, relation, operand) => {
                let sign = match relation {
                    Relation::Equals => "=",
                    Relation::LessThan => "<",
                    Relation::LessThanEquals => "<=",
                    Relation::GreaterThan => ">",
                    Relation::GreaterThanEquals => ">=",
                };
                match operand {
                    Operand::Literal(value) => write!(f, "{sign} {value}"),
                    Operand::Path(path) => write!(f, "{sign} {}", path.source()),
                }
            }
        }
    }
}
