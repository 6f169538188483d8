// SPDX-License-Identifier: GPL-3.0-or-later
//! What was changed and is not saved yet. Pure.

use std::collections::HashMap;

use picosnitch_api::inert_short;
use picosnitch_api::tongue::say;
use zbus::zvariant::Value;

/// Keys with their values, as the monitor takes them.
pub type Values = HashMap<&'static str, Value<'static>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Edits {
    /// What the monitor has.
    known: Values,
    edits: HashMap<&'static str, Result<Value<'static>, String>>,
}

impl Edits {
    /// The monitor has this value.
    pub fn know(&mut self, key: &'static str, value: Value<'static>) {
        self.known.insert(key, value);
    }

    /// What is written for a key: a value, or a sentence that says why it is none.
    pub fn set(&mut self, key: &'static str, edit: Result<Value<'static>, String>) {
        self.edits.insert(key, edit);
    }

    /// What the monitor does not have yet.
    fn open(&self) -> impl Iterator<Item = (&'static str, &Result<Value<'static>, String>)> {
        let open = |(key, edit): &(&&'static str, &Result<Value<'static>, String>)| match edit {
            Ok(value) => self.known.get(*key) != Some(value),
            Err(_) => true,
        };
        self.edits.iter().filter(open).map(|(key, edit)| (*key, edit))
    }

    /// There is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.open().next().is_none()
    }

    /// All values, or what is wrong with one: nothing is saved as if it were not there.
    pub fn wanted(&self) -> Result<Values, String> {
        self.open().map(|(key, edit)| Ok((key, edit.clone()?))).collect()
    }

    /// These were saved. What was changed since they were sent is still to be saved.
    pub fn saved(&mut self, sent: Values) {
        self.known.extend(sent);
    }
}

/// The values of a list with commas.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The ports of a list with commas.
///
/// # Errors
/// A sentence about the one that is none.
pub fn ports(text: &str) -> Result<Vec<u16>, String> {
    let port = |part: String| match part.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(say("{text} is no port: a number from 1 to 65535.", &[("text", &inert_short(&part, 40))])),
    };
    list(text).into_iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d08_what_is_no_port_is_refused_with_a_sentence() {
        assert_eq!(ports(" 80, 443,"), Ok(vec![80, 443]));
        assert_eq!(ports(""), Ok(vec![]));
        for text in ["80, https", "0", "65536", "-1", "80 443"] {
            assert!(
                ports(text).is_err_and(|why| why.ends_with("is no port: a number from 1 to 65535.")),
                "{text}"
            );
        }
        assert_eq!(list("a b, c,, "), ["a b", "c"]);
    }

    #[test]
    fn d08_what_changed_while_polkit_asked_is_still_to_be_saved() {
        let mut edits = Edits::default();
        for key in ["log.ports", "log.commands"] {
            edits.know(key, Value::from(true));
            edits.set(key, Ok(Value::from(false)));
        }
        let sent = edits.wanted().unwrap_or_default();
        // While a password is typed.
        edits.set("log.commands", Ok(Value::from(true)));
        edits.set("remote.table", Ok(Value::from("rows")));
        edits.saved(sent);
        let (rows, commands) = (("remote.table", Value::from("rows")), ("log.commands", Value::from(true)));
        assert_eq!(edits.wanted(), Ok(Values::from([rows.clone(), commands])));
        // As the monitor has it: nothing to save.
        edits.set("log.commands", Ok(Value::from(false)));
        assert_eq!(edits.wanted(), Ok(Values::from([rows])));
    }

    #[test]
    fn d08_with_a_mistake_nothing_is_saved() {
        let mut edits = Edits::default();
        edits.set("log.ports", Ok(Value::from(false)));
        edits.set("log.ignore.ports", Err("no".into()));
        assert_eq!(edits.wanted(), Err("no".into()));
    }
}
