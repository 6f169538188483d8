// SPDX-License-Identifier: GPL-3.0-or-later
//! What accounts are called, for tray and window, as far as this machine's own list goes. A directory service is not asked:
//! it may be slow, and a notification that says a number is better than one that comes late.

use std::collections::HashMap;

/// Names by uid, read once.
#[derive(Debug, Clone, Default)]
pub struct People(HashMap<u32, String>);

impl People {
    /// Reads the machine's list of accounts; what cannot be read is not known.
    #[must_use]
    pub fn load() -> Self {
        Self::parse(&String::from_utf8_lossy(&std::fs::read("/etc/passwd").unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            Some((uid, name))
        };
        let mut names = HashMap::new();
        for (uid, name) in text.lines().filter_map(entry) {
            names.entry(uid).or_insert(name);
        }
        Self(names)
    }

    /// What the account is called.
    #[must_use]
    pub fn name(&self, uid: u32) -> Option<String> {
        self.0.get(&uid).cloned()
    }

    /// The number of the account that is called so, or that the text is the number of.
    #[must_use]
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| *known == name).map(|(uid, _)| *uid).or_else(|| name.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_names_holds() {
        let people =
            People::parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\n#x\nalice:x:1000:1000");
        assert_eq!(people.name(0).as_deref(), Some("root"));
        assert_eq!(people.name(1000).as_deref(), Some("alice"));
        assert_eq!(people.name(7), None);
        assert_eq!(people.uid("alice"), Some(1000));
        assert_eq!(people.uid("7"), Some(7));
        assert_eq!(people.uid("bob"), None);
    }
}
