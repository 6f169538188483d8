// SPDX-License-Identifier: GPL-3.0-or-later
//! `config`: settings by their keys, as the daemon has them. The file itself belongs to root; what is
//! changed here is changed by the daemon, which asks polkit, checks it, and keeps the file's comments.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use zbus::zvariant::{OwnedValue, Value};

use crate::args::ConfigCommand;
use crate::client;
use crate::failure::Failure;
use crate::out::Out;
use picosnitch_api::inert;

/// In the daemon's answer, the names of the secrets that have a value.
const SECRETS_SET: &str = "secrets-set";

/// The one list of numbers.
const PORTS: &str = "log.ignore.ports";

/// Settings by key; what is no setting is left out.
type Settings = BTreeMap<String, toml::Value>;

/// Runs `config`.
///
/// # Errors
/// As the daemon says it, and if a key is unknown or a value cannot be read.
pub async fn run(command: &ConfigCommand, out: &mut Out) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get { key } => get(key.as_deref(), out).await,
        ConfigCommand::Set { key, value } => set(key, value).await,
        ConfigCommand::Edit => edit(out).await,
        ConfigCommand::Check { file } => check(file, out),
    }
}

/// Asks the daemon's program itself: there is one opinion about what is right.
fn check(file: &Path, out: &mut Out) -> Result<(), Failure> {
    let daemon = daemon()?;
    let checked = Command::new(&daemon)
        .arg("--check")
        .arg("--config")
        .arg(file)
        .output()
        .map_err(|error| Failure::file(&daemon, "run", &error))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if checked.status.success() {
        out.line(&inert(&said(&checked.stdout)))?;
        return out.flush();
    }
    match checked.status.code() {
        Some(REFUSED) => Err(Failure::usage(said(&checked.stderr))),
        _ => Err(Failure::new(format!("{} did not end well: {}", daemon.display(), said(&checked.stderr)))),
    }
}

/// The daemon's exit status for settings with a mistake.
const REFUSED: i32 = 3;

/// Where the daemon's program is: beside this one, or where it is installed.
fn daemon() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let beside = beside.into_iter().flat_map(|folder| [folder.clone(), folder.join("../libexec")]);
    beside
        .chain(["/usr/libexec", "/usr/local/libexec"].map(PathBuf::from))
        .map(|folder| folder.join("picosnitchd"))
        .find(|path| path.is_file())
        .ok_or_else(|| Failure::new("picosnitchd is not installed here, and it is what checks its settings"))
}

async fn get(key: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    let answer = client::connect().await?.settings().await?;
    let secrets = secrets(&answer);
    let settings = settings(answer);
    let wanted = |name: &str| {
        key.is_none_or(|key| name == key || name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    };
    let shown: Settings = settings.into_iter().filter(|(name, _)| wanted(name)).collect();
    let secrets: Vec<_> = secrets.into_iter().filter(|name| wanted(name)).collect();
    if let (true, true, Some(key)) = (shown.is_empty(), secrets.is_empty(), key) {
        return Err(Failure::usage(format!("there is no setting {key:?} to show"))
            .hint("picosnitch config get shows all; a secret that has no value is not shown"));
    }
    if out.json {
        out.json(&shown)?;
    } else {
        for (name, value) in &shown {
            out.line(&inert(&format!("{name} = {}", one_line(value))))?;
        }
        for name in secrets {
            out.line(&inert(&format!("{name} = (has a value, which is never shown)")))?;
        }
    }
    out.flush()
}

async fn set(key: &str, text: &str) -> Result<(), Failure> {
    let asking = client::connect_asking(true).await?;
    let client = &asking.client;
    let text = if text == "-" { secret()? } else { text.to_owned() };
    let current = settings(client.settings().await?);
    let value = read(key, &text, current.get(key));
    let value = to_bus(&value).ok_or_else(|| {
        Failure::usage(format!("{key}: true or false, a whole number, a text or a list is accepted"))
    })?;
    client.set_settings(&HashMap::from([(key, value)])).await?;
    Ok(())
}

/// One line from standard input: what is typed there is in no process list and no shell's history.
fn secret() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new(format!("cannot read the value from standard input: {error}")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

async fn edit(out: &Out) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("config edit needs a terminal").hint("use picosnitch config set KEY VALUE")
        );
    }
    let asking = client::connect_asking(true).await?;
    let client = &asking.client;
    let before = settings(client.settings().await?);
    let fail = |error: nix::errno::Errno| Failure::new(format!("cannot make a temporary folder: {error}"));
    let folder = nix::unistd::mkdtemp(&std::env::temp_dir().join("picosnitch-XXXXXX")).map_err(fail)?;
    let file = folder.join("config.toml");
    let result: Result<(), Failure> = async {
        std::fs::write(&file, document(&before)).map_err(|error| Failure::file(&file, "write", &error))?;
        open_editor(&file)?;
        let text = std::fs::read_to_string(&file).map_err(|error| Failure::file(&file, "read", &error))?;
        let after = parse(&text).map_err(|error| {
            Failure::usage(format!("what you wrote is not TOML: {error}")).hint("nothing was changed")
        })?;
        let changes = changes(&before, &after)?;
        if changes.is_empty() {
            out.note("nothing was changed");
            return Ok(());
        }
        client
            .set_settings(&changes.iter().map(|(key, value)| (key.as_str(), value.try_clone())).try_fold(
                HashMap::new(),
                |mut all, (key, value)| {
                    all.insert(key, value.map_err(|error| Failure::new(error.to_string()))?);
                    Ok::<_, Failure>(all)
                },
            )?)
            .await?;
        let keys: Vec<_> = changes.keys().map(String::as_str).collect();
        out.note(&format!("changed: {}", keys.join(", ")));
        Ok(())
    }
    .await;
    if let Err(failure) = result {
        // What was written by hand is not thrown away for a slip.
        let changed = std::fs::read_to_string(&file).is_ok_and(|text| text != document(&before));
        if changed {
            return Err(failure.hint(format!("what you wrote is kept in {}", file.display())));
        }
        let _ = std::fs::remove_dir_all(&folder);
        return Err(failure);
    }
    // It holds nothing that the settings do not hold.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

fn open_editor(file: &Path) -> Result<(), Failure> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.trim().is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // As other programs do: the variable may have arguments, and is the caller's own.
    let status =
        Command::new("/bin/sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::new(format!("the editor {editor:?} did not end well; nothing was changed"))
            .hint("name another one in EDITOR")),
    }
}

/// The settings of the daemon's answer.
fn settings(answer: HashMap<String, OwnedValue>) -> Settings {
    answer
        .into_iter()
        .filter(|(key, _)| key != SECRETS_SET)
        .filter_map(|(key, value)| Some((key, from_bus(&value)?)))
        .collect()
}

fn secrets(answer: &HashMap<String, OwnedValue>) -> Vec<String> {
    let list = answer.get(SECRETS_SET).and_then(|value| value.try_clone().ok());
    let mut list: Vec<String> = list.and_then(|value| value.try_into().ok()).unwrap_or_default();
    list.sort();
    list
}

fn from_bus(value: &Value<'_>) -> Option<toml::Value> {
    Some(match value {
        Value::Bool(yes) => toml::Value::Boolean(*yes),
        Value::U8(n) => i64::from(*n).into(),
        Value::I16(n) => i64::from(*n).into(),
        Value::U16(n) => i64::from(*n).into(),
        Value::I32(n) => i64::from(*n).into(),
        Value::U32(n) => i64::from(*n).into(),
        Value::I64(n) => (*n).into(),
        Value::U64(n) => i64::try_from(*n).ok()?.into(),
        Value::Str(text) => toml::Value::String(text.to_string()),
        Value::Array(list) => toml::Value::Array(list.iter().filter_map(from_bus).collect()),
        Value::Value(inner) => from_bus(inner)?,
        _ => return None,
    })
}

fn to_bus(value: &toml::Value) -> Option<Value<'static>> {
    Some(match value {
        toml::Value::Boolean(yes) => Value::from(*yes),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::String(text) => Value::from(text.clone()),
        toml::Value::Array(list)
            if list.iter().all(|value| value.as_integer().is_some()) && !list.is_empty() =>
        {
            Value::from(list.iter().filter_map(toml::Value::as_integer).collect::<Vec<i64>>())
        }
        toml::Value::Array(list) => {
            let texts: Option<Vec<String>> =
                list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            Value::from(texts?)
        }
        _ => return None,
    })
}

/// Reads a value from the command line, with the present one for its type: a text needs no quotes, and
/// a list may be words with commas.
fn read(key: &str, text: &str, current: Option<&toml::Value>) -> toml::Value {
    let parsed = parse(&format!("value = {text}")).ok().and_then(|mut table| match table.len() {
        1 => table.remove("value"),
        _ => None,
    });
    match (current, parsed) {
        (Some(toml::Value::String(_)) | None, Some(value @ toml::Value::String(_))) => value,
        // A key that is not shown is a secret, and that is a text; the daemon refuses an unknown one.
        (Some(toml::Value::String(_)) | None, _) => toml::Value::String(text.to_owned()),
        (Some(toml::Value::Array(_)), Some(value @ toml::Value::Array(_))) => value,
        (Some(toml::Value::Array(_)), _) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            toml::Value::Array(
                words
                    .map(|word| match word.parse::<i64>() {
                        // A process may be named 1234, and a content begin with zeros.
                        Ok(number) if key == PORTS => toml::Value::Integer(number),
                        _ => toml::Value::String(word.to_owned()),
                    })
                    .collect(),
            )
        }
        (Some(_), Some(value)) => value,
        (Some(_), None) => toml::Value::String(text.to_owned()),
    }
}

fn one_line(value: &toml::Value) -> String {
    match value {
        toml::Value::Array(list) => format!("[{}]", list.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        // The form that is one line whatever is in it.
        toml::Value::String(text) => serde_json::to_string(text).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// Reads TOML into settings by key.
fn parse(text: &str) -> Result<Settings, String> {
    fn walk(prefix: &str, table: toml::Table, into: &mut Settings) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(table) => walk(&key, table, into),
                value => {
                    into.insert(key, value);
                }
            }
        }
    }
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut all = Settings::new();
    walk("", table, &mut all);
    Ok(all)
}

/// The file that is edited.
fn document(settings: &Settings) -> String {
    let mut text = String::from(
        "# The settings of picosnitchd as they are. Save and leave to change them; a line that is\n\
         # deleted stays as it is. What each one means stands in /etc/picosnitch/config.toml.\n",
    );
    // By section: `log.ports` comes after `log.ignore.names`, and a section that begins twice is no TOML.
    let mut entries: Vec<_> =
        settings.iter().map(|(key, value)| (key.rsplit_once('.').unwrap_or(("", key)), value)).collect();
    entries.sort_by_key(|(parts, _)| *parts);
    let mut section = "";
    for ((head, word), value) in entries {
        if head != section {
            text.push_str(&format!("\n[{head}]\n"));
            section = head;
        }
        text.push_str(&format!("{word} = {value}\n"));
    }
    text
}

fn changes(before: &Settings, after: &Settings) -> Result<BTreeMap<String, Value<'static>>, Failure> {
    after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| match to_bus(value) {
            Some(value) => Ok((key.clone(), value)),
            None => Err(Failure::usage(format!("{key}: no setting has a value of this kind"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn toml(text: &str) -> toml::Value {
        parse(&format!("v = {text}")).unwrap().remove("v").unwrap()
    }

    #[test]
    fn what_is_edited_is_what_is_set() {
        let text = "[log]\naddresses = true\nports = false\n[log.ignore]\nnames = [\"a b\"]\n[notify]\ndesktop = true\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.len(), 4);
        let edited = document(&settings);
        assert_eq!(parse(&edited), Ok(settings), "{edited}");
    }

    #[test]
    fn a_value_is_read_as_the_setting_has_it() {
        for (text, current, value) in [
            ("90", Some("365"), "90"),
            ("true", Some("false"), "true"),
            ("false", Some("\"\""), "\"false\""),
            ("123", Some("\"name\""), "\"123\""),
            ("\"quoted\"", Some("\"\""), "\"quoted\""),
            ("postgres://u:p@h/db", None, "\"postgres://u:p@h/db\""),
            ("a.example, b.example", Some("[]"), "[\"a.example\", \"b.example\"]"),
            ("[\"a.example\"]", Some("[]"), "[\"a.example\"]"),
            ("53,443", Some("[]"), "[53, 443]"),
            ("", Some("[\"x\"]"), "[]"),
            ("ninety", Some("365"), "\"ninety\""),
            ("1\nother = 2", Some("365"), "\"1\\nother = 2\""),
        ] {
            assert_eq!(read(PORTS, text, current.map(toml).as_ref()), toml(value), "{text}");
        }
        let names = read("log.ignore.names", "1234, sh", Some(&toml("[]")));
        assert_eq!(names, toml("[\"1234\", \"sh\"]"));
    }

    #[test]
    fn values_survive_the_bus() {
        for text in ["true", "365", "\"x\"", "[]", "[\"a\", \"b\"]", "[53, 443]"] {
            let value = toml(text);
            assert_eq!(from_bus(&to_bus(&value).unwrap()), Some(value), "{text}");
        }
        assert!(to_bus(&toml("1.5")).is_none() && to_bus(&toml("[1, \"a\"]")).is_none());
    }

    #[test]
    fn an_edit_sends_what_changed_and_nothing_else() {
        let before = parse(
            "database.retention_days = 365\nlog.addresses = true\n[log.ignore]\ndomains = [\"a.example\"]\n",
        )
        .unwrap();
        let text = document(&before);
        assert!(text.contains("[database]\nretention_days = 365\n\n[log]\naddresses = true\n"), "{text}");
        assert_eq!(parse(&text).unwrap(), before);
        assert!(changes(&before, &parse(&text).unwrap()).unwrap().is_empty());
        let edited = parse(&text.replace("365", "90").replace("addresses = true\n", "")).unwrap();
        let changed = changes(&before, &edited).unwrap();
        assert_eq!(
            changed.into_iter().collect::<Vec<_>>(),
            [("database.retention_days".to_owned(), Value::from(90_i64))]
        );
    }

    #[test]
    fn n05_a_setting_is_one_inert_line() {
        let line = inert(&one_line(&toml("\"a\\nb\\u001b\\u202E\""))).into_owned();
        assert!(!line.chars().any(picosnitch_api::inert::is_hidden), "{line}");
    }

    #[test]
    fn secrets_are_named_and_are_no_setting() {
        let list = OwnedValue::try_from(Value::from(vec!["virustotal.api_key"])).unwrap();
        let answer = HashMap::from([(SECRETS_SET.to_owned(), list)]);
        assert_eq!(secrets(&answer), ["virustotal.api_key"]);
        assert!(settings(answer).is_empty());
    }
}
