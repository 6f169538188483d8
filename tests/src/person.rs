// SPDX-License-Identifier: GPL-3.0-or-later
//! A person at the bus: a process that runs as an ordinary user, calls the daemon and tells what it
//! answered, one line of JSON for each line of commands. The cases start it under other uids.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use picosnitch_api::listen::{Event, Listener};
use picosnitch_api::{Client, Error, Query, name};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use zbus::zvariant;

/// Longer than polkit thinks in any case.
pub const STAY: Duration = Duration::from_secs(5);

fn query(words: &[&str]) -> Result<Query, Error> {
    let mut dict = HashMap::new();
    for word in words {
        if let Some((key, value)) = word.split_once('=') {
            let value = zvariant::OwnedValue::try_from(zvariant::Value::from(value.to_owned()));
            dict.insert(key.to_owned(), value.map_err(zbus::Error::from)?);
        }
    }
    Query::from_dict(&dict, crate::traffic::sys::now_us())
}

/// `true`, `12`, a text, or texts and numbers in `[]`.
fn setting(text: &str) -> zvariant::Value<'static> {
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let words: Vec<&str> = list.split(',').filter(|word| !word.is_empty()).collect();
        let numbers: Result<Vec<u16>, _> = words.iter().map(|word| word.parse()).collect();
        return match numbers {
            Ok(numbers) if !numbers.is_empty() => zvariant::Value::from(numbers),
            _ => zvariant::Value::from(words.into_iter().map(str::to_owned).collect::<Vec<_>>()),
        };
    }
    match (text.parse::<bool>(), text.parse::<i64>()) {
        (Ok(yes), _) => zvariant::Value::from(yes),
        (_, Ok(number)) => zvariant::Value::from(number),
        _ => zvariant::Value::from(text.to_owned()),
    }
}

async fn answer(client: &Client, words: &[&str]) -> Result<Value, Error> {
    let (method, rest) = words.split_first().unwrap_or((&"", &[]));
    let id = || rest.first().and_then(|text| text.parse().ok()).unwrap_or(0);
    macro_rules! page {
        ($page:expr) => {{
            let page = $page;
            json!({"rows": page.rows, "cursor": page.cursor, "hidden": page.hidden})
        }};
    }
    Ok(match *method {
        "connections" => page!(client.connections(&query(rest)?).await?),
        "executables" => page!(client.executables(&query(rest)?).await?),
        "events" => page!(client.events(&query(rest)?).await?),
        "executable" => json!(client.executable(id()).await?),
        "event" => json!(client.event(id()).await?),
        "status" => json!(client.status().await?),
        "permissions" => {
            let all = client.permissions().await?;
            json!(all.iter().map(|(action, word)| (*action, word.word())).collect::<HashMap<_, _>>())
        }
        "summary" => {
            let by = rest.first().unwrap_or(&"path").parse()?;
            let (lines, hidden) = client.summary(by, &query(rest)?).await?;
            json!({"lines": lines, "hidden": hidden})
        }
        "series" => {
            let by = rest.first().unwrap_or(&"path").parse()?;
            let (lines, hidden) = client.series(by, &query(rest)?).await?;
            json!({"lines": lines, "hidden": hidden})
        }
        "acknowledge" => json!(client.acknowledge(&[id()]).await?),
        "set" => {
            let pairs = rest.iter().filter_map(|word| word.split_once('='));
            json!(client.set_settings(&pairs.map(|(key, text)| (key, setting(text))).collect()).await?)
        }
        "delete" => json!(client.delete_history(&query(rest)?).await?),
        "pause" => json!(client.pause(u32::try_from(id()).unwrap_or(1)).await?),
        "resume" => json!(client.resume().await?),
        "fuzz" => json!(crate::fuzz::changes(client, usize::try_from(id()).unwrap_or(0)).await?),
        "scan" => json!(client.scan(rest.first().unwrap_or(&"")).await?),
        other => return Err(Error::InvalidQuery(format!("no command {other:?}"))),
    })
}

/// Calls `Pause`, says so, and after a line on standard input leaves its connection to somebody else: to `program`,
/// which this process becomes (`exec`), or to a child that outlives it (`fork`).
///
/// # Errors
/// There is no bus, or nobody takes it over.
pub async fn change_hands(how: &str, program: &str) -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS")?;
    let stream = UnixStream::connect(address.trim_start_matches("unix:path="))?;
    let kept = stream.try_clone()?;
    fcntl(&kept, FcntlArg::F_SETFD(FdFlag::empty()))?;
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let connection = zbus::connection::Builder::unix_stream(stream).build().await?;
    let call = zbus::Message::method_call(name::PATH, "Pause")?
        .destination(name::BUS)?
        .interface(name::ADMIN)?
        .build(&60_u32)?;
    connection.send(&call).await?;
    say(&json!({"ok": "asked"}))?;
    io::stdin().read_line(&mut String::new())?;
    let mut next = Command::new(program);
    if how == "exec" {
        return Err(next.arg("rooted").exec().into());
    }
    next.arg("stay").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(())
}

/// Becomes root altogether, as a setuid program can, says what it is now, and stays for some seconds.
///
/// # Errors
/// It is not setuid.
pub fn rooted() -> Result<(), Box<dyn std::error::Error>> {
    let root = nix::unistd::Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root)?;
    say(&json!({"ok": "root"}))?;
    std::thread::sleep(STAY);
    Ok(())
}

fn say(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn signal(event: Event) -> Value {
    match event {
        Event::Notice(notice) => json!({"signal": "notice", "notice": *notice}),
        Event::Appeared => json!({"signal": "appeared"}),
        Event::Gone => json!({"signal": "gone"}),
        Event::Recorded(through) => json!({"signal": "recorded", "through": through}),
        Event::Settings(keys) => json!({"signal": "settings", "keys": keys}),
        Event::Degraded(reasons) => json!({"signal": "degraded", "reasons": reasons}),
        Event::Refused(why) => json!({"signal": "refused", "why": why}),
    }
}

/// Listens (with `watch` as the first argument) or answers commands, until standard input ends.
///
/// # Errors
/// There is no bus, or standard output is closed.
pub async fn run(listen: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    if listen {
        let mut listener = Listener::connect().await?;
        loop {
            tokio::select! {
                line = lines.next_line() => if line?.is_none() { return Ok(()) },
                event = listener.next() => match event {
                    Some(event) => say(&signal(event))?,
                    None => return Ok(()),
                },
            }
        }
    }
    let client = Client::connect().await?;
    while let Some(line) = lines.next_line().await? {
        let mut words: Vec<&str> = line.split(' ').collect();
        // polkit may ask the person.
        let asking = words.first() == Some(&"asking");
        let client = if asking { client.asking() } else { client.clone() };
        let reply = match answer(&client, words.split_off(usize::from(asking)).as_slice()).await {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": kind(&error), "message": error.to_string()}),
        };
        say(&reply)?;
    }
    Ok(())
}

fn kind(error: &Error) -> String {
    match error {
        Error::ZBus(zbus::Error::MethodError(name, _, _)) => name.to_string(),
        Error::ZBus(_) => "transport".to_owned(),
        Error::NotAuthorized(_) => "NotAuthorized".to_owned(),
        Error::InvalidQuery(_) => "InvalidQuery".to_owned(),
        Error::NotFound(_) => "NotFound".to_owned(),
        Error::InvalidSetting(_) => "InvalidSetting".to_owned(),
        Error::Unavailable(_) => "Unavailable".to_owned(),
        Error::LimitExceeded(_) => "LimitExceeded".to_owned(),
    }
}
