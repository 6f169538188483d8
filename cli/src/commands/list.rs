// SPDX-License-Identifier: GPL-3.0-or-later
//! `executables`, `connections`, `events` and `summary`: rows in a table or as JSON, a page at a time.

use picosnitch_api::query::MAX_PAGE;
use picosnitch_api::row::{Connection, Event, Executable};
use picosnitch_api::{Client, Dimension, Error, Page, Query, Scope, Status, name};
use serde_json::json;

use crate::args::{ListArgs, PageArgs, SummaryArgs};
use crate::client;
use crate::failure::Failure;
use crate::out::Out;
use crate::size::plural;
use crate::table::{Fit, Table, column};
use crate::view::{Listed, UNKNOWN, View};
use crate::{size, time};

/// Rows shown if nothing is said.
const USUAL: u64 = 100;

/// A row that the daemon serves in pages.
pub trait Paged: Listed + serde::Serialize + Sized {
    /// Asks for one page.
    ///
    /// # Errors
    /// As the daemon says it.
    async fn page(client: &Client, query: &Query) -> Result<Page<Self>, Error>;
}

impl Paged for Connection {
    async fn page(client: &Client, query: &Query) -> Result<Page<Self>, Error> {
        client.connections(query).await
    }
}

impl Paged for Executable {
    async fn page(client: &Client, query: &Query) -> Result<Page<Self>, Error> {
        client.executables(query).await
    }
}

impl Paged for Event {
    async fn page(client: &Client, query: &Query) -> Result<Page<Self>, Error> {
        client.events(query).await
    }
}

/// Runs a command that lists rows.
///
/// # Errors
/// As the daemon or the output says it.
pub async fn list<T: Paged>(args: &ListArgs, out: &mut Out) -> Result<(), Failure> {
    let now = time::now();
    let query = args.page.order(args.filters.query(now)?);
    let scope = query.scope;
    let asking = client::connect_asking(scope.is_some()).await?;
    let mut view = View::new(now);
    let mut table = Table::new(T::COLUMNS, out.style);
    let mut left = wanted(&args.page);
    let mut query = query;
    let (mut shown, mut hidden) = (0_u64, 0_u64);
    let more = loop {
        query.limit = Some(u32::try_from(left.min(u64::from(MAX_PAGE))).unwrap_or(MAX_PAGE));
        let page = T::page(&asking.client, &query).await?;
        let count = page.rows.len() as u64;
        if out.json {
            for row in &page.rows {
                out.json(row)?;
            }
        } else {
            let cells: Vec<_> = page.rows.iter().map(|row| row.cells(&mut view)).collect();
            table.print(&mut out.data, &cells)?;
        }
        out.flush()?;
        shown += count;
        hidden = hidden.max(page.hidden);
        left = left.saturating_sub(count);
        if page.cursor.is_empty() {
            break false;
        }
        if left == 0 {
            break true;
        }
        if query.cursor.as_ref() == Some(&page.cursor) {
            return Err(Failure::new("the service sent the same page again; the rest is left out"));
        }
        query.cursor = Some(page.cursor);
    };
    if shown == 0 && !out.json {
        out.note(&format!("no {} matches", T::NOUN));
        say_not_yet(out, &asking.client, now).await;
    }
    if more {
        out.note(&format!(
            "{} shown, there are more: --limit NUMBER or --all shows them",
            plural(shown, T::NOUN)
        ));
    }
    say_hidden(out, hidden, scope);
    Ok(())
}

fn wanted(page: &PageArgs) -> u64 {
    if page.all { u64::MAX } else { page.limit.unwrap_or(USUAL) }
}

/// Says that a service that has just begun has written nothing yet, which is why there is nothing to show.
async fn say_not_yet(out: &Out, client: &Client, now: i64) {
    // The question was answered; a service that goes away now is not this command's failure.
    if let Some(text) = client.status().await.ok().and_then(|status| not_yet(&status, now)) {
        out.note(&text);
    }
}

/// A service that began less than this before has just begun, µs.
const JUST: i64 = 120_000_000;

fn not_yet(status: &Status, now: i64) -> Option<String> {
    let began = status.since.filter(|began| now.saturating_sub(*began) < JUST)?;
    if status.rows_written != Some(0) || status.state.as_deref() != Some("watching") {
        return None;
    }
    Some(format!(
        "the service began to watch {} ago and has written no connection since; it writes every few seconds \
         (database.write_interval_seconds)",
        View::new(now).ago(began)
    ))
}

/// Says how many rows the caller may not see, and what would show them.
pub(super) fn say_hidden(out: &Out, hidden: u64, scope: Option<Scope>) {
    if let Some(text) = hidden_note(hidden, scope) {
        out.note(&text);
    }
}

fn hidden_note(hidden: u64, scope: Option<Scope>) -> Option<String> {
    if hidden == 0 {
        return None;
    }
    let rows =
        format!("{} of others {} hidden", plural(hidden, "row"), if hidden == 1 { "is" } else { "are" });
    Some(match scope {
        Some(Scope::Any) => {
            format!("{rows}: you lack the permission {}; root has it", name::action::READ_ANY)
        }
        _ => format!("{rows}; --scope any shows them, if need be after a password"),
    })
}

/// Runs `summary`.
///
/// # Errors
/// As the daemon or the output says it.
pub async fn summary(args: &SummaryArgs, out: &mut Out) -> Result<(), Failure> {
    let now = time::now();
    let by: Dimension = args.by.parse()?;
    let query = Query {
        limit: Some(args.limit),
        sort: Some(args.sort.clone()),
        descending: Some(!args.ascending),
        ..args.filters.query(now)?
    };
    let asking = client::connect_asking(query.scope.is_some()).await?;
    let (totals, hidden) = asking.client.summary(by, &query).await?;
    let mut view = View::new(now);
    if out.json {
        for total in &totals {
            let mut object = json!({
                "by": by.word(),
                "key": total.key,
                "sent": total.sent,
                "received": total.received,
                "connections": total.connections,
            });
            // What is unknown is absent, in every row that this program prints.
            if let (true, Some(object)) = (total.key.is_empty(), object.as_object_mut()) {
                object.remove("key");
            }
            out.json(&object)?;
        }
    } else {
        let head = HEADS.iter().find(|(dimension, _)| *dimension == by).map_or("KEY", |(_, head)| head);
        let columns = [
            column("SENT", Fit::Right),
            column("RECEIVED", Fit::Right),
            column("CONNECTIONS", Fit::Right),
            column(head, Fit::Middle),
        ];
        let rows: Vec<_> = totals
            .iter()
            .map(|total| {
                vec![
                    size::bytes(total.sent),
                    size::bytes(total.received),
                    size::count(total.connections),
                    key(by, &total.key, &mut view),
                ]
            })
            .collect();
        Table::new(&columns, out.style).print(&mut out.data, &rows)?;
    }
    out.flush()?;
    if totals.is_empty() && !out.json {
        out.note("nothing matches");
        say_not_yet(out, &asking.client, now).await;
    }
    if totals.len() as u64 >= u64::from(args.limit) {
        out.note(&format!("{} are shown; there may be more (--limit, up to 1000)", args.limit));
    }
    say_hidden(out, hidden, query.scope);
    Ok(())
}

/// Headings for `--by`.
const HEADS: [(Dimension, &str); 16] = [
    (Dimension::Path, "PROGRAM"),
    (Dimension::Name, "NAME"),
    (Dimension::Sha256, "SHA256"),
    (Dimension::Cmdline, "COMMAND LINE"),
    (Dimension::Parent, "PARENT"),
    (Dimension::Grandparent, "GRANDPARENT"),
    (Dimension::Uid, "USER"),
    (Dimension::Domain, "DOMAIN"),
    (Dimension::Address, "ADDRESS"),
    (Dimension::LocalPort, "LOCAL PORT"),
    (Dimension::RemotePort, "REMOTE PORT"),
    (Dimension::Protocol, "PROTOCOL"),
    (Dimension::Direction, "DIRECTION"),
    (Dimension::Netns, "NETWORK NAMESPACE"),
    (Dimension::Unit, "UNIT"),
    (Dimension::Container, "CONTAINER"),
];

fn key(by: Dimension, key: &str, view: &mut View) -> String {
    match (by, key) {
        (_, "") => UNKNOWN.to_owned(),
        (Dimension::Uid, key) => match key.parse() {
            Ok(uid) => view.user(Some(uid)),
            Err(_) => key.to_owned(),
        },
        (_, key) => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_heading() {
        for (dimension, word) in Dimension::ALL {
            assert!(HEADS.iter().any(|(known, _)| *known == dimension), "{word}");
        }
    }

    #[test]
    fn keys_are_shown_as_people_name_them() {
        let mut view = View::new(0);
        assert_eq!(key(Dimension::Uid, "0", &mut view), "root");
        assert_eq!(key(Dimension::Domain, "", &mut view), UNKNOWN);
        assert_eq!(key(Dimension::Path, "/usr/bin/curl", &mut view), "/usr/bin/curl");
    }

    #[test]
    fn a_service_that_has_just_begun_says_so() {
        let began = Status {
            since: Some(1),
            rows_written: Some(0),
            state: Some("watching".to_owned()),
            ..Status::default()
        };
        let note = not_yet(&began, 3_000_001).unwrap_or_default();
        assert!(note.contains("3 s") && note.contains("write_interval_seconds"), "{note}");
        assert_eq!(not_yet(&began, 1 + JUST), None);
        assert_eq!(not_yet(&Status { rows_written: Some(1), ..began }, 3_000_001), None);
    }

    #[test]
    fn b04_hidden_rows_are_counted_and_the_way_to_see_them_is_said() {
        assert_eq!(hidden_note(0, None), None);
        let note = hidden_note(12, None).unwrap_or_default();
        assert_eq!(note, "12 rows of others are hidden; --scope any shows them, if need be after a password");
        let note = hidden_note(1, Some(Scope::Any)).unwrap_or_default();
        assert!(note.starts_with("1 row of others is hidden") && note.contains("read-any"), "{note}");
    }
}
