// SPDX-License-Identifier: GPL-3.0-or-later
//! `status`: whether the daemon is watching, what it may have lost, and what the caller may see.

use picosnitch_api::{Client, Permission, Status, inert, name};

use crate::client;
use crate::failure::Failure;
use crate::out::{Out, Style};
use crate::size::{self, plural};
use crate::time;
use crate::view::View;

/// Runs `status`.
///
/// # Errors
/// As the daemon or the output says it.
pub async fn run(out: &mut Out) -> Result<(), Failure> {
    let client: Client = client::connect().await?;
    let status = client.status().await?;
    let permissions = client.permissions().await?;
    if out.json {
        let mut object = serde_json::to_value(&status).map_err(|error| Failure::new(error.to_string()))?;
        if let Some(object) = object.as_object_mut() {
            let words =
                permissions.iter().map(|(action, answer)| ((*action).to_owned(), answer.word().into()));
            object.insert("permissions".to_owned(), serde_json::Value::Object(words.collect()));
        }
        out.json(&object)?;
    } else {
        for line in lines(&status, &permissions, &View::new(time::now()), out.style) {
            out.line(&line)?;
        }
    }
    out.flush()
}

fn lines(
    status: &Status,
    permissions: &[(&'static str, Permission)],
    view: &View,
    style: Style,
) -> Vec<String> {
    let mut lines = Vec::new();
    let state = status.state.as_deref().unwrap_or("in an unknown state");
    let paint = if state == "watching" { Style::green } else { Style::yellow };
    let version = inert(status.version.as_deref().unwrap_or_default()).into_owned();
    lines.push(format!("picosnitchd {version} is {}", paint(style, &inert(state))));
    let mut put = |label: &str, text: String| lines.push(format!("  {label:<10}  {}", inert(&text)));
    if let Some(since) = status.since {
        put("since", format!("{} ({})", view.time(Some(since)), view.ago(since)));
    }
    if let Some(until) = status.paused_until {
        put("paused", format!("until {}", view.time(Some(until))));
    }
    if let Some(engine) = &status.engine {
        put("engine", engine.clone());
    }
    if let Some(outcome) = &status.self_test {
        put("self-test", outcome.clone());
    }
    put("lost", lost(status));
    if let Some(flows) = status.live_flows {
        put("open now", plural(flows, "connection"));
    }
    if let Some(rows) = status.rows_written {
        let waiting = status.database_queued.unwrap_or(0);
        put("recorded", format!("{}, {} waiting", plural(rows, "row"), size::count(waiting)));
    }
    if status.recorded_through.is_some() {
        put("through", view.time(status.recorded_through));
    }
    if let Some(bytes) = status.database_bytes {
        put("database", size::bytes(bytes));
    }
    if let Some(waiting) = status.remote_queued {
        put("remote", remote(status, waiting, view));
    }
    if let Some(waiting) = status.scan_queued {
        put("scanner", scanner(status, waiting, view));
    }
    if let Some(times) = status.relay_restarts.filter(|times| *times > 0) {
        put("helper", format!("started again {}", plural(times, "time")));
    }
    put("you see", see(permissions));
    for sentence in status.degraded.iter().flatten() {
        lines.push(format!("  {}    {}", style.yellow("degraded"), inert(sentence)));
    }
    lines
}

/// How the remote database does: what waits, when it last took something, why it does not now.
fn remote(status: &Status, waiting: u64, view: &View) -> String {
    let mut text =
        format!("{} sent, {} waiting", plural(status.remote_sent.unwrap_or(0), "row"), size::count(waiting));
    if let Some(lost) = status.remote_lost.filter(|lost| *lost > 0) {
        text.push_str(&format!(", {} will not arrive", size::count(lost)));
    }
    if let Some(last) = status.remote_last {
        text.push_str(&format!("; last {}", view.time(Some(last))));
    }
    if let Some(error) = &status.remote_error {
        text.push_str(&format!("; {error}"));
    }
    text
}

/// How the scanner does.
fn scanner(status: &Status, waiting: u64, view: &View) -> String {
    let mut text = format!("{} waiting", plural(waiting, "program"));
    if let Some(last) = status.scan_last {
        text.push_str(&format!("; last answer {}", view.time(Some(last))));
    }
    if let Some(error) = &status.scan_error {
        text.push_str(&format!("; {error}"));
    }
    text
}

fn lost(status: &Status) -> String {
    if status.lost() == 0 {
        return "nothing".to_owned();
    }
    let parts = [
        (status.lost_flows, "connection"),
        (status.lost_bytes, "byte"),
        (status.lost_events, "event"),
        (status.lost_rows, "row"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter_map(|(count, noun)| count.filter(|count| *count > 0).map(|count| plural(count, noun)))
        .collect();
    parts.join(", ")
}

/// Whose programs the caller sees, in one sentence.
pub fn see(permissions: &[(&'static str, Permission)]) -> String {
    let may = |action| permissions.iter().find(|(known, _)| *known == action).map(|(_, answer)| *answer);
    let any = may(name::action::READ_ANY);
    match (any, may(name::action::READ_SYSTEM)) {
        (Some(Permission::Yes), _) => "everybody's programs".to_owned(),
        (any, system) => {
            let mut text = match system {
                Some(Permission::Yes) => "your own programs and the system's",
                Some(Permission::Challenge) => "your own programs; the system's after a password",
                _ => "your own programs",
            }
            .to_owned();
            if any == Some(Permission::Challenge) {
                text.push_str("; everybody's after a password (--scope any)");
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_healthy_daemon() {
        let status = Status {
            version: Some("0.1.0".into()),
            engine: Some("tracepoint".into()),
            state: Some("watching".into()),
            since: Some(0),
            self_test: Some("passed".into()),
            live_flows: Some(1),
            rows_written: Some(1234),
            database_queued: Some(0),
            database_bytes: Some(1 << 20),
            ..Status::default()
        };
        let lines = lines(&status, &[], &View::new(HOUR), Style::default());
        let text = lines.join("\n");
        assert!(text.starts_with("picosnitchd 0.1.0 is watching\n  since       "), "{text}");
        for part in [
            "(1 h)",
            "  engine      tracepoint\n",
            "  lost        nothing\n",
            "  open now    1 connection\n",
            "  recorded    1,234 rows, 0 waiting\n",
            "  database    1.00 MiB\n",
            "  you see     your own programs",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains("degraded"));
    }

    #[test]
    fn what_is_lost_or_degraded_is_said() {
        let status = Status {
            lost_flows: Some(1),
            lost_rows: Some(2000),
            degraded: Some(vec!["No bus.".into(), "Evil\x1b[2J.".into()]),
            ..Status::default()
        };
        let text = lines(&status, &[], &View::new(0), Style::default()).join("\n");
        assert!(text.contains("lost        1 connection, 2,000 rows\n"), "{text}");
        assert!(text.contains("degraded    No bus.\n  degraded    Evil\\x1b[2J."), "{text}");
    }

    #[test]
    fn what_one_sees_follows_the_permissions() {
        let given = |system, any| see(&[(name::action::READ_SYSTEM, system), (name::action::READ_ANY, any)]);
        assert_eq!(given(Permission::Yes, Permission::Yes), "everybody's programs");
        assert_eq!(given(Permission::Yes, Permission::No), "your own programs and the system's");
        assert_eq!(
            given(Permission::Yes, Permission::Challenge),
            "your own programs and the system's; everybody's after a password (--scope any)"
        );
        assert_eq!(given(Permission::No, Permission::No), "your own programs");
    }
}
