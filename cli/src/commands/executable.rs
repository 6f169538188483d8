// SPDX-License-Identifier: GPL-3.0-or-later
//! `executable ID|PATH`: everything known about one program.

use picosnitch_api::row::Executable;
use picosnitch_api::{Query, inert};

use crate::client;
use crate::failure::Failure;
use crate::out::{Out, Style};
use crate::size;
use crate::time;
use crate::view::{UNKNOWN, View, program};

/// Runs `executable`.
///
/// # Errors
/// As the daemon or the output says it; also if no program has the path.
pub async fn run(which: &str, out: &mut Out) -> Result<(), Failure> {
    let id = which.parse::<i64>().ok();
    if id.is_none() && !which.starts_with(['/', '[']) {
        return Err(Failure::usage(format!("{which:?} is neither a number nor a path"))
            .hint("picosnitch executables shows the numbers; a path begins with /"));
    }
    let client = client::connect().await?;
    let ids = match id {
        Some(id) => vec![id],
        None => {
            let query = Query { path: Some(which.to_owned()), ..Query::default() };
            let page = client.executables(&query).await?;
            page.rows.iter().filter_map(|row| row.id).collect()
        }
    };
    if ids.is_empty() {
        return Err(Failure::new(format!("no program {which:?} that you may see used the network"))
            .hint("picosnitch executables --search TEXT finds programs by a part of their path"));
    }
    let view = View::new(time::now());
    for (index, id) in ids.into_iter().enumerate() {
        let row = client.executable(id).await?;
        if out.json {
            out.json(&row)?;
            continue;
        }
        if index > 0 {
            out.line("")?;
        }
        for line in lines(&row, &view, out.style) {
            out.line(&line)?;
        }
    }
    out.flush()
}

fn lines(row: &Executable, view: &View, style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&inert(&program(row)))];
    let mut put = |label: &str, text: &str| lines.push(format!("  {label:<13}  {}", inert(text)));
    if let Some(id) = row.id {
        put("id", &id.to_string());
    }
    let names = row.names.clone().or_else(|| row.name.clone().map(|name| vec![name])).unwrap_or_default();
    put("names", &list(&names));
    put("first seen", &view.time(row.first_seen));
    put("last seen", &view.time(row.last_seen));
    if let Some(days) = row.days_seen {
        put("days seen", &size::count(days.into()));
    }
    put("sent", &row.sent.map_or(UNKNOWN.to_owned(), size::bytes));
    put("received", &row.received.map_or(UNKNOWN.to_owned(), size::bytes));
    put("connections", &row.connections.map_or(UNKNOWN.to_owned(), size::count));
    if let Some(domains) = &row.domains {
        put("domains", &list(domains));
    }
    if let Some(ports) = &row.ports {
        put("ports", &list(&ports.iter().map(u16::to_string).collect::<Vec<_>>()));
    }
    for (index, cmdline) in row.cmdlines.iter().flatten().enumerate() {
        put(if index == 0 { "command lines" } else { "" }, cmdline);
    }
    match (&row.hashes, &row.sha256, &row.sha256_unknown) {
        (Some(hashes), ..) if !hashes.is_empty() => {
            for (index, hash) in hashes.iter().enumerate() {
                put(if index == 0 { "contents" } else { "" }, hash);
                put("", &format!("  {}", period(row, index, view)));
            }
        }
        (_, Some(hash), _) => put("content", hash),
        (_, None, why) => put("content", &format!("unknown: {}", why.as_deref().unwrap_or("not hashed yet"))),
    }
    lines
}

/// When the content at `index` was seen, and what a scanner said.
fn period(row: &Executable, index: usize, view: &View) -> String {
    let at = |times: &Option<Vec<i64>>| view.time(times.as_ref().and_then(|times| times.get(index)).copied());
    let verdict =
        row.verdicts.as_ref().and_then(|verdicts| verdicts.get(index)).filter(|text| !text.is_empty());
    let period = format!("from {} to {}", at(&row.hashes_first_seen), at(&row.hashes_last_seen));
    verdict.map_or(period.clone(), |verdict| format!("{period}; scanner: {verdict}"))
}

fn list(values: &[String]) -> String {
    if values.is_empty() { UNKNOWN.to_owned() } else { values.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_two_contents() {
        let row = Executable {
            id: Some(7),
            path: Some("/usr/bin/curl".into()),
            names: Some(vec!["curl".into(), "evil\nname".into()]),
            first_seen: Some(0),
            last_seen: Some(60_000_000),
            days_seen: Some(3),
            sent: Some(1536),
            received: Some(0),
            connections: Some(1234),
            domains: Some(vec!["example.com".into(), "example.org".into()]),
            ports: Some(vec![443, 80]),
            cmdlines: Some(vec!["curl *".into(), "curl -O *".into()]),
            hashes: Some(vec!["ab".repeat(32), "cd".repeat(32)]),
            hashes_first_seen: Some(vec![30_000_000, 0]),
            hashes_last_seen: Some(vec![60_000_000, 30_000_000]),
            verdicts: Some(vec![String::new(), "clean (0/70)".into()]),
            ..Executable::default()
        };
        let text = lines(&row, &View::new(60_000_000), Style::default()).join("\n");
        for part in [
            "/usr/bin/curl\n  id             7\n",
            "  names          curl, evil\\nname\n",
            "  sent           1.50 KiB\n",
            "  connections    1,234\n",
            "  domains        example.com, example.org\n",
            "  ports          443, 80\n",
            "  command lines  curl *\n                 curl -O *\n",
            &format!("  contents       {}\n                   from ", "ab".repeat(32)),
            "; scanner: clean (0/70)",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn an_unknown_content_says_why() {
        let row = Executable { sha256_unknown: Some("unreadable".into()), ..Executable::default() };
        let text = lines(&row, &View::new(0), Style::default()).join("\n");
        assert!(text.contains("content        unknown: unreadable"), "{text}");
    }
}
