// SPDX-License-Identifier: GPL-3.0-or-later
//! Filters: chips that stand for one value of one dimension, and the search words that make them
//! (`domain:example.org port:443 user:alice hash:… curl`). Pure.

use picosnitch_api::query::{MAX_TEXT, Network};
use picosnitch_api::tongue::{mark, say, tr};
use picosnitch_api::{Dimension, People, Query, inert_short};

/// One value of one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// What it filters.
    pub by: Dimension,
    /// The value, as `Summary` gives it.
    pub value: String,
    /// Of a path: which of the programs that have it, where that is known.
    pub program: Option<Which>,
}

/// One of the programs that share a path: that of this machine, or that of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// See [`Query::executable`].
    pub id: i64,
    /// It is that of containers.
    pub foreign: bool,
}

/// What a dimension is called.
pub fn title(by: Dimension) -> &'static str {
    tr(match by {
        Dimension::Path => mark("Program"),
        Dimension::Name => mark("Process name"),
        Dimension::Sha256 => mark("Content (sha256)"),
        Dimension::Cmdline => mark("Command line"),
        Dimension::Parent => mark("Started by"),
        Dimension::Grandparent => mark("Grandparent"),
        Dimension::Uid => mark("User"),
        Dimension::Domain => mark("Domain"),
        Dimension::Address => mark("Address"),
        Dimension::LocalPort => mark("Local port"),
        Dimension::RemotePort => mark("Port"),
        Dimension::Protocol => mark("Protocol"),
        Dimension::Direction => mark("Direction"),
        Dimension::Netns => mark("Network namespace"),
        Dimension::Unit => mark("Unit"),
        Dimension::Container => mark("Container"),
    })
}

/// Words before a colon, with what they filter.
const WORDS: [(&str, Dimension); 22] = [
    ("program", Dimension::Path),
    ("path", Dimension::Path),
    ("name", Dimension::Name),
    ("hash", Dimension::Sha256),
    ("sha256", Dimension::Sha256),
    ("cmd", Dimension::Cmdline),
    ("cmdline", Dimension::Cmdline),
    ("parent", Dimension::Parent),
    ("grandparent", Dimension::Grandparent),
    ("user", Dimension::Uid),
    ("uid", Dimension::Uid),
    ("domain", Dimension::Domain),
    ("host", Dimension::Domain),
    ("address", Dimension::Address),
    ("ip", Dimension::Address),
    ("port", Dimension::RemotePort),
    ("local-port", Dimension::LocalPort),
    ("protocol", Dimension::Protocol),
    ("direction", Dimension::Direction),
    ("netns", Dimension::Netns),
    ("unit", Dimension::Unit),
    ("container", Dimension::Container),
];

/// What a search means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// From words with a colon.
    pub chips: Vec<Chip>,
    /// The other words.
    pub text: String,
    /// What is not understood, one sentence.
    pub problem: Option<String>,
}

/// Reads a search. A value with spaces stands in quotes: `cmd:"a b"`.
pub fn parse(text: &str, people: &People) -> Search {
    let mut search = Search::default();
    let mut plain = Vec::new();
    for word in split(text) {
        let known = word.split_once(':').and_then(|(key, value)| {
            Some((WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(key))?.1, value))
        });
        match known {
            // Somebody is still typing.
            Some((_, "")) => {}
            Some((by, value)) => match chip(by, value, people) {
                Ok(chip) => search.chips.push(chip),
                Err(problem) => search.problem = Some(problem),
            },
            None => plain.push(word),
        }
    }
    search.text = plain.join(" ");
    search
}

/// The search without its words for this dimension.
pub fn without(text: &str, by: Dimension) -> String {
    let is = |word: &str| {
        let (key, value) = word.split_once(':')?;
        let (_, known) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(key))?;
        Some(named(*known, value) == by)
    };
    let words = split(text);
    if !words.iter().any(|word| is(word) == Some(true)) {
        return text.to_owned();
    }
    let kept = words.into_iter().filter(|word| is(word) != Some(true));
    let quoted =
        kept.map(|word| if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A name alone is no path.
fn named(by: Dimension, value: &str) -> Dimension {
    match by {
        Dimension::Path if !value.starts_with(['/', '[']) => Dimension::Name,
        by => by,
    }
}

fn chip(by: Dimension, value: &str, people: &People) -> Result<Chip, String> {
    let by = named(by, value);
    let value = match by {
        Dimension::Uid => match people.uid(value) {
            Some(uid) => uid.to_string(),
            None => return Err(say("There is no user {name} here.", &[("name", &inert_short(value, 40))])),
        },
        _ => value.to_owned(),
    };
    let chip = Chip { by, value, program: None };
    chip.apply(&mut Query::default())?;
    Ok(chip)
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

impl Chip {
    /// One for a value, unless it is unknown: there is no filter for that.
    pub fn of(by: Dimension, value: impl Into<String>) -> Option<Chip> {
        let value = value.into();
        (!value.is_empty()).then_some(Chip { by, value, program: None })
    }

    /// One for a program: without its number for all that have its path.
    pub fn program(path: Option<&str>, id: Option<i64>, foreign: Option<bool>) -> Option<Chip> {
        let program = id.map(|id| Which { id, foreign: foreign == Some(true) });
        Some(Chip { program, ..Chip::of(Dimension::Path, path?)? })
    }

    /// Those of a row, of which something may be unknown.
    pub fn all(
        program: Option<Chip>,
        values: impl IntoIterator<Item = (Dimension, Option<String>)>,
    ) -> Vec<Chip> {
        program.into_iter().chain(values.into_iter().filter_map(|(by, value)| Chip::of(by, value?))).collect()
    }

    /// Puts it into a query.
    ///
    /// # Errors
    /// One sentence: the value cannot be one of that dimension.
    pub fn apply(&self, query: &mut Query) -> Result<(), String> {
        if self.value.len() > MAX_TEXT {
            return Err(tr("That is too long.").into());
        }
        let value = || Some(self.value.clone());
        let wants = |what: &'static str| {
            say("{filter} wants {what}.", &[("filter", &title(self.by)), ("what", &tr(what))])
        };
        match self.by {
            Dimension::Path => match self.program {
                Some(which) => query.executable = Some(which.id),
                None => query.path = value(),
            },
            Dimension::Name => query.name = value(),
            Dimension::Sha256 => {
                let hash = self.value.to_ascii_lowercase();
                if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(wants(mark("64 hexadecimal digits")));
                }
                query.sha256 = Some(hash);
            }
            Dimension::Cmdline => query.cmdline = value(),
            Dimension::Parent => query.parent = value(),
            Dimension::Grandparent => query.grandparent = value(),
            Dimension::Uid => query.uid = Some(self.value.parse().map_err(|_| wants(mark("a number")))?),
            Dimension::Domain => query.domain = value(),
            Dimension::Address => {
                let network: Network =
                    self.value.parse().map_err(|_| wants(mark("an address like 192.0.2.0/24")))?;
                query.address = Some(network);
            }
            Dimension::LocalPort => {
                query.local_port = Some(self.value.parse().map_err(|_| wants(mark("a number up to 65535")))?);
            }
            Dimension::RemotePort => {
                query.remote_port =
                    Some(self.value.parse().map_err(|_| wants(mark("a number up to 65535")))?);
            }
            Dimension::Protocol => query.protocol = value(),
            Dimension::Direction => match self.value.as_str() {
                "in" | "out" => query.direction = value(),
                _ => return Err(wants(mark("in or out"))),
            },
            Dimension::Netns => query.netns = Some(self.value.parse().map_err(|_| wants(mark("a number")))?),
            Dimension::Unit => query.unit = value(),
            Dimension::Container => query.container = value(),
        }
        Ok(())
    }

    /// What it says on the screen.
    pub fn label(&self, people: &People) -> String {
        let says = format!("{}: {}", title(self.by), shown(self.by, &self.value, people, 40));
        let foreign = self.program.is_some_and(|program| program.foreign);
        if foreign { format!("{says} ({})", tr("in a container")) } else { says }
    }
}

/// A value of a dimension as people read it; an empty one is unknown.
pub fn shown(by: Dimension, value: &str, people: &People, columns: usize) -> String {
    if value.is_empty() {
        return tr("unknown").into();
    }
    match by {
        Dimension::Uid => value
            .parse()
            .ok()
            .and_then(|uid| people.name(uid))
            .map_or_else(|| inert_short(value, columns), |name| inert_short(&name, columns)),
        Dimension::Direction if value == "in" => tr("incoming").into(),
        Dimension::Direction if value == "out" => tr("outgoing").into(),
        Dimension::Sha256 => inert_short(value, columns.min(20)),
        _ => inert_short(value, columns),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn chips(text: &str) -> Vec<(Dimension, String)> {
        parse(text, &People::load()).chips.into_iter().map(|chip| (chip.by, chip.value)).collect()
    }

    #[test]
    fn d05_words_of_one_dimension_are_taken_out_of_a_search() {
        assert_eq!(without("port:80 a  b", Dimension::Uid), "port:80 a  b");
        assert_eq!(without("port:80 backup cmd:\"a b\"", Dimension::RemotePort), "backup \"cmd:a b\"");
        assert_eq!(
            parse("backup \"cmd:a b\"", &People::default()),
            parse("backup cmd:\"a b\"", &People::default())
        );
        assert_eq!(without("program:curl PATH:/bin/x", Dimension::Path), "program:curl");
    }

    #[test]
    fn d05_plain_words_search_and_words_with_a_colon_filter() {
        let search = parse("curl domain:example.org  port:443 user:root backup", &People::load());
        assert_eq!(search.text, "curl backup");
        assert_eq!(search.problem, None);
        assert_eq!(
            chips("curl domain:example.org  port:443 user:root"),
            [
                (Dimension::Domain, "example.org".into()),
                (Dimension::RemotePort, "443".into()),
                (Dimension::Uid, "0".into())
            ]
        );
        assert_eq!(chips("cmd:\"a b\""), [(Dimension::Cmdline, "a b".into())]);
        assert_eq!(chips("program:/usr/bin/curl"), [(Dimension::Path, "/usr/bin/curl".into())]);
        assert_eq!(chips("program:curl"), [(Dimension::Name, "curl".into())]);
    }

    #[test]
    fn what_cannot_be_is_said_and_not_asked_for() {
        for text in [
            "port:https",
            "port:70000",
            "user:nobody-is-called-so",
            "hash:12",
            "ip:300.1.1.1",
            "direction:up",
        ] {
            let search = parse(text, &People::load());
            assert!(search.problem.is_some() && search.chips.is_empty(), "{text}: {search:?}");
        }
        assert_eq!(parse("domain:", &People::load()), Search::default(), "still typing");
        assert_eq!(parse("2001:db8::1", &People::load()).text, "2001:db8::1");
    }

    #[test]
    fn every_dimension_can_become_a_filter() {
        let value = |by| match by {
            Dimension::Sha256 => "ab".repeat(32),
            Dimension::Uid | Dimension::LocalPort | Dimension::RemotePort | Dimension::Netns => "7".into(),
            Dimension::Address => "2001:db8::/32".into(),
            Dimension::Direction => "in".into(),
            _ => "x".to_owned(),
        };
        for (by, word) in Dimension::ALL {
            let mut query = Query::default();
            Chip::of(by, value(by)).unwrap().apply(&mut query).unwrap();
            assert_eq!(query.to_dict().keys().collect::<Vec<_>>(), [&word]);
            assert_eq!(Chip::of(by, ""), None);
        }
    }

    #[test]
    fn d05_programs_that_share_a_path_have_filters_of_their_own() {
        let chip = Chip::program(Some("/usr/bin/curl"), Some(7), Some(true)).unwrap();
        assert_eq!(chip.label(&People::default()), "Program: /usr/bin/curl (in a container)");
        let mut query = Query::default();
        chip.apply(&mut query).unwrap();
        assert_eq!(query, Query { executable: Some(7), ..Query::default() });
        let of_both = Chip::program(Some("/usr/bin/curl"), None, None);
        assert_eq!(of_both, Chip::of(Dimension::Path, "/usr/bin/curl"));
    }

    #[test]
    fn n05_a_chip_shows_its_value_inert() {
        let chip = Chip::of(Dimension::Path, "/tmp/\u{202e}x\n").unwrap();
        assert_eq!(chip.label(&People::default()), "Program: /tmp/\\u{202e}x\\n");
    }
}
