//! Small numbers for names that come up with every turn: steps and tenants.

use std::collections::HashMap;
use std::sync::Arc;

/// Most names of one kind that a process numbers; those above it are not served by name.
///
/// Source: ten times the steps, or tenants, that one platform is meant for. It only bounds what a
/// worker with a wrong configuration could make the server remember.
pub const NAMES_MAX: usize = 100_000;

/// Numbers count from 0 in the order in which names came up.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The number of `name`, which gets one if it has none.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    /// The number of a name that nobody vouches for; `None` when there are too many already.
    pub fn number_if_room(&mut self, name: &str) -> Option<u32> {
        if NAMES_MAX <= self.names.len() && !self.numbers.contains_key(name) {
            return None;
        }
        Some(self.number(name))
    }

    /// The name of a number that this gave out.
    pub fn name(&self, number: u32) -> Arc<str> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.names
            .get(index)
            .cloned()
            .unwrap_or_else(|| Arc::from(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::default();
        assert_eq!(["otp", "ocr", "otp"].map(|it| names.number(it)), [0, 1, 0]);
        assert_eq!(&*names.name(1), "ocr");
    }
}
