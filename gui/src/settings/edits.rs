// SPDX-License-Identifier: GPL-3.0-or-later
//! What was changed and is not saved yet. Pure.

use std::collections::HashMap;

use picosnitch_api::inert::is_hidden;
use picosnitch_api::tongue::say;
use picosnitch_api::{inert, inert_short};
use zbus::zvariant::Value;

/// Keys with their values, as the monitor takes them.
pub type Values = HashMap<&'static str, Value<'static>>;

/// What is written for a key: a value, or a sentence that says why it is none. `None` leaves it as it is, whatever
/// that is: of a secret nobody is told.
pub type Edit = Option<Result<Value<'static>, String>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Edits {
    /// What the monitor has.
    known: Values,
    edits: HashMap<&'static str, Result<Value<'static>, String>>,
}

impl Edits {
    /// The monitor has this value by now, or says none. True if the row may show it: nothing else is written there.
    pub fn learn(&mut self, key: &'static str, value: Option<Value<'static>>) -> bool {
        let written = self.open().any(|(open, _)| open == key);
        match value {
            Some(value) => self.known.insert(key, value),
            None => self.known.remove(key),
        };
        if !written {
            self.edits.remove(key);
        }
        !written
    }

    /// Nothing that is written is to be saved.
    pub fn discard(&mut self) {
        self.edits.clear();
    }

    /// What is written for a key.
    pub fn set(&mut self, key: &'static str, edit: Edit) {
        match edit {
            Some(edit) => self.edits.insert(key, edit),
            None => self.edits.remove(key),
        };
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

/// A list as it is edited: commas between its values. One that would not be itself again that way stands in quotation
/// marks, in which a backslash begins an escape as [`inert`] writes it.
pub fn text<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let one = |value: &'a str| {
        let plain = !value.is_empty() && value.trim() == value && !value.starts_with('"');
        if plain && !value.contains(|c| c == ',' || is_hidden(c)) {
            return value.to_owned();
        }
        format!("\"{}\"", inert(&value.replace('\\', "\\\\").replace('"', "\\\"")))
    };
    values.map(one).collect::<Vec<_>>().join(", ")
}

/// The values of a list with commas.
///
/// # Errors
/// A sentence about a value in quotation marks that does not end or has an escape that is none.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c != ',' && !c.is_whitespace()) {
        rest = &rest[begin..];
        if let Some(quoted) = rest.strip_prefix('"') {
            let wrong = || {
                let text = inert_short(rest, 40);
                say(
                    "{text} is no text in quotation marks: \\\\ and \\\" stand for these two in it.",
                    &[("text", &text)],
                )
            };
            let (value, after) = quotation(quoted).ok_or_else(wrong)?;
            values.push(value);
            rest = after;
        } else {
            let (value, after) = rest.split_once(',').unwrap_or((rest, ""));
            values.push(value.trim().to_owned());
            rest = after;
        }
    }
    Ok(values)
}

/// What stands before the closing mark, and what after the comma that follows it.
fn quotation(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => value.push(escape(&mut rest)?),
            c => value.push(c),
        }
    }
    let after = rest.as_str().trim_start();
    Some((value, if after.is_empty() { after } else { after.strip_prefix(',')? }))
}

/// The character that is meant by what follows a backslash.
fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let code = match rest.next()? {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        c @ ('\\' | '"') => return Some(c),
        'x' => rest.by_ref().take(2).collect::<String>(),
        'u' => {
            rest.next().filter(|c| *c == '{').map(|_| rest.by_ref().take_while(|c| *c != '}').collect())?
        }
        _ => return None,
    };
    char::from_u32(u32::from_str_radix(&code, 16).ok()?)
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
    list(text)?.into_iter().map(port).collect()
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
        assert_eq!(list("a b, c,, "), Ok(vec!["a b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn d08_a_value_survives_being_edited() {
        let odd = [
            "a",
            "b,c",
            "\"d\"",
            " e ",
            "",
            "f\ng\u{1b}\u{202e}",
            "\\,\"",
            "h\\x41",
            "i \"j\"",
            "k\\",
            ",",
            "\u{e9}",
        ];
        let shown = text(odd.into_iter());
        assert!(!shown.contains(is_hidden), "{shown:?}");
        assert!(shown.starts_with("a, \"b,c\", "), "{shown}");
        assert_eq!(list(&shown), Ok(odd.map(str::to_owned).into()), "{shown}");
        assert_eq!(list(&format!("{shown}, z")).map(|list| list.len()), Ok(odd.len() + 1));
        // As it is typed, and by which sign it is seen that something is missing.
        for text in ["\"a", "a, \"", "\"a\" b", "\"\\q\"", "\"\\u{110000}\"", "\"\\u41\""] {
            assert!(list(text).is_err_and(|why| why.contains("quotation marks")), "{text}");
        }
    }

    #[test]
    fn d08_a_secret_is_forgotten_only_if_that_is_asked_for() {
        let mut edits = Edits::default();
        let key = "virustotal.api_key";
        let value = |text: &str| Some(Ok(Value::from(text.to_owned())));
        edits.set(key, value("typed"));
        edits.set(key, None);
        assert!(edits.is_empty(), "nothing typed is nothing to save");
        edits.set(key, value(""));
        assert_eq!(edits.wanted(), Ok(Values::from([(key, Value::from(""))])));
        edits.saved(edits.wanted().unwrap_or_default());
        assert!(edits.is_empty());
    }

    #[test]
    fn d08_what_changed_while_polkit_asked_is_still_to_be_saved() {
        let mut edits = Edits::default();
        for key in ["log.ports", "log.commands"] {
            edits.learn(key, Some(Value::from(true)));
            edits.set(key, Some(Ok(Value::from(false))));
        }
        let sent = edits.wanted().unwrap_or_default();
        // While a password is typed.
        edits.set("log.commands", Some(Ok(Value::from(true))));
        edits.set("remote.table", Some(Ok(Value::from("rows"))));
        edits.saved(sent);
        let (rows, commands) = (("remote.table", Value::from("rows")), ("log.commands", Value::from(true)));
        assert_eq!(edits.wanted(), Ok(Values::from([rows.clone(), commands])));
        // As the monitor has it: nothing to save.
        edits.set("log.commands", Some(Ok(Value::from(false))));
        assert_eq!(edits.wanted(), Ok(Values::from([rows])));
    }

    #[test]
    fn d08_what_others_change_does_not_take_away_what_is_written() {
        let mut edits = Edits::default();
        for key in ["log.ports", "log.commands", "log.addresses"] {
            edits.learn(key, Some(Value::from(true)));
        }
        edits.set("log.commands", Some(Ok(Value::from(false))));
        // Written, and back again.
        edits.set("log.addresses", Some(Ok(Value::from(true))));
        edits.set("remote.url", Some(Ok(Value::from("typed"))));
        edits.set("log.ignore.ports", Some(Err("no".into())));
        let no = || Some(Value::from(false));
        assert!(edits.learn("log.ports", no()) && edits.learn("log.addresses", no()));
        assert!(
            !edits.learn("log.ignore.ports", Some(Value::from(vec![80_u16]))),
            "a mistake is written, too"
        );
        assert!(!edits.learn("remote.url", None));
        assert!(edits.wanted().is_err());
        edits.set("log.ignore.ports", None);
        let typed = ("remote.url", Value::from("typed"));
        assert_eq!(edits.wanted(), Ok(Values::from([("log.commands", Value::from(false)), typed.clone()])));
        // Somebody else changed it in the same way: there is nothing to save.
        assert!(!edits.learn("log.commands", no()));
        assert_eq!(edits.wanted(), Ok(Values::from([typed])));
        assert!(edits.learn("log.commands", Some(Value::from(true))), "and then back");
        // A secret that was saved is not said: it can be written once more.
        edits.saved(edits.wanted().unwrap_or_default());
        assert!(edits.learn("remote.url", None) && edits.is_empty());
        edits.set("remote.url", Some(Ok(Value::from("typed"))));
        assert!(!edits.is_empty());
        edits.discard();
        assert!(edits.is_empty());
    }

    #[test]
    fn d08_with_a_mistake_nothing_is_saved() {
        let mut edits = Edits::default();
        edits.set("log.ports", Some(Ok(Value::from(false))));
        edits.set("log.ignore.ports", Some(Err("no".into())));
        assert_eq!(edits.wanted(), Err("no".into()));
    }
}
