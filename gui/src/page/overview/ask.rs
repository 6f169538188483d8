// SPDX-License-Identifier: GPL-3.0-or-later
//! What the first screen asks the monitor.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use picosnitch_api::row::{Event, Executable, Page, Series, Total};
use picosnitch_api::{Client, Dimension, Error, Query};

use crate::chart::scale::{Data, LINES};
use crate::msg::{Got, Totals, Whom};
use crate::page::program_name;

/// Destinations of one program that are counted; more are said as more.
const MAX_NAMES: usize = picosnitch_api::query::MAX_PAGE as usize;
/// Programs with a small chart.
const SPARKS: u32 = 40;
/// Notices that are looked at for the markers of the chart.
const NOTICES: usize = 5_000;
/// How long it is asked with whom programs talked, each time that their totals come.
const WHOM_TIME: Duration = Duration::from_secs(1);

fn sum(totals: &[Total]) -> (u64, u64) {
    totals.iter().fold((0, 0), |sum, total| {
        (u64::saturating_add(sum.0, total.sent), u64::saturating_add(sum.1, total.received))
    })
}

/// Everything in sum, of this time and of the one before.
pub async fn totals(client: Client, query: Query, before: Option<Query>) -> Result<Got, Error> {
    let many = Query { limit: Some(picosnitch_api::query::MAX_PAGE), ..query.clone() };
    let earlier = async {
        match before {
            Some(before) => Ok(Some(sum(&client.summary(Dimension::Protocol, &before).await?.0))),
            None => Ok(None),
        }
    };
    // Of all time as well they are summed up as the rest is: what is kept with each program may be of more.
    let programs = Query { sort: Some("total".into()), since: query.since.or(Some(0)), ..many.clone() };
    // By protocol: everything, also what is beyond the largest programs.
    let (programs, (all, hidden), before, (domains, _)) = tokio::try_join!(
        client.executables(&programs),
        client.summary(Dimension::Protocol, &query),
        earlier,
        client.summary(Dimension::Domain, &many),
    )?;
    // Some were only seen in that time; they come last.
    let used = |row: &Executable| [row.sent, row.received, row.connections].iter().any(|sum| *sum > Some(0));
    let more = !programs.cursor.is_empty() && programs.rows.last().is_some_and(used);
    let programs = programs.rows.into_iter().filter(used).collect();
    let named = domains.iter().filter(|total| !total.key.is_empty()).count();
    let more_domains = domains.len() >= picosnitch_api::query::MAX_PAGE as usize;
    let (now, unnamed, domains) = (sum(&all), named < domains.len(), (named, more_domains));
    Ok(Got::Totals(Box::new(Totals { programs, more, now, before, domains, unnamed, hidden })))
}

/// With whom these programs talked: what [`gather`] gets of them.
pub async fn whom(client: Client, query: Query, programs: Vec<Total>) -> Result<Got, Error> {
    let ask = |of: Total| {
        let limit = Some(picosnitch_api::query::MAX_PAGE);
        let query = Query { executable: of.key.parse().ok(), path: None, limit, ..query.clone() };
        let client = &client;
        async move {
            let domains = client.summary(Dimension::Domain, &query).await?.0;
            if domains.iter().any(|total| !total.key.is_empty()) {
                return Ok(counted(of, &domains));
            }
            // What has no name is one destination for each address.
            Ok(counted(of, &client.summary(Dimension::Address, &query).await?.0))
        }
    };
    let (all, vain) = gather(programs, WHOM_TIME, ask).await;
    Ok(Got::Whom(all, vain))
}

/// Asks for one after the other until the time is over or one fails, and gives what there is, with the program that
/// was asked for in vain: the page does without the rest, which has its turn the next time.
async fn gather<F>(
    programs: Vec<Total>,
    time: Duration,
    ask: impl Fn(Total) -> F,
) -> (Vec<Whom>, Option<String>)
where
    F: Future<Output = Result<Whom, Error>>,
{
    let (end, mut all) = (tokio::time::Instant::now() + time, Vec::new());
    for of in programs {
        let key = of.key.clone();
        match tokio::time::timeout_at(end, ask(of)).await {
            Ok(Ok(whom)) => all.push(whom),
            Ok(Err(_)) | Err(_) => return (all, Some(key)),
        }
    }
    (all, None)
}

/// Those that have a name, largest first as answered. There are more where the answer is a whole page, and where some
/// have none: nobody counted how many those are.
pub fn counted(of: Total, answer: &[Total]) -> Whom {
    let names = || answer.iter().map(|total| &total.key).filter(|key| !key.is_empty());
    let count = names().count();
    let more = answer.len() >= MAX_NAMES || count < answer.len();
    Whom { of, largest: names().next().cloned().unwrap_or_default(), count, more }
}

/// The chart of a query; also on the page of a program.
pub async fn chart(client: Client, query: Query, by: Dimension) -> Result<Got, Error> {
    let top = Query { limit: Some(LINES as u32), ..query.clone() };
    let ((top, _), (all, _), markers) =
        tokio::try_join!(client.series(by, &top), client.series(Dimension::Protocol, &query), async {
            Ok(markers(&query, |query| {
                let client = &client;
                async move { client.events(&query).await }
            })
            .await)
        },)?;
    Ok(Got::Chart(Box::new(Data::new(top, &all, markers)), by))
}

/// What was new and what changed, the latest first: all of the time that is shown, unless that is more than
/// [`NOTICES`] with what else was told in it.
async fn markers<F>(query: &Query, ask: impl Fn(Query) -> F) -> Vec<(i64, bool, String)>
where
    F: Future<Output = Result<Page<Event>, Error>>,
{
    let marker = |row: Event| {
        let changed = match row.kind.as_deref()? {
            "new-executable" => false,
            "hash-changed" => true,
            _ => return None,
        };
        Some((row.time?, changed, program_name(row.path.as_deref()?, row.foreign_root)))
    };
    let (mut all, mut read, mut cursor) = (Vec::new(), 0, None);
    while read < NOTICES {
        let limit = Some(picosnitch_api::query::MAX_PAGE);
        // Filters that notices do not have leave the chart without markers.
        let Ok(page) = ask(Query { limit, cursor: cursor.take(), ..query.clone() }).await else { break };
        read += page.rows.len();
        all.extend(page.rows.into_iter().filter_map(marker));
        if page.cursor.is_empty() {
            break;
        }
        cursor = Some(page.cursor);
    }
    all
}

/// When these programs talked. Those that share a path are one line of a chart by path: each of them is asked for.
pub async fn sparks(
    client: Client,
    query: Query,
    programs: Vec<Executable>,
    shared: HashSet<String>,
) -> Result<Got, Error> {
    let top = Query { limit: Some(SPARKS), ..query.clone() };
    let (top, _) = client.series(Dimension::Path, &top).await?;
    let mut by_path: HashMap<String, Series> =
        top.into_iter().map(|series| (series.key.clone(), series)).collect();
    let mut sparks = Vec::new();
    for row in programs {
        let (Some(id), Some(path)) = (row.id, row.path) else { continue };
        let series = if shared.contains(&path) {
            let one = Query { executable: Some(id), path: None, limit: Some(1), ..query.clone() };
            client.series(Dimension::Path, &one).await?.0.pop()
        } else {
            by_path.remove(&path)
        };
        sparks.extend(series.map(|series| (id, series)));
    }
    Ok(Got::Sparks(sparks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(key: &str, sent: u64) -> Total {
        Total { key: key.into(), sent, received: 0, connections: 1 }
    }

    #[test]
    fn d05_the_chart_marks_what_was_new_behind_pages_of_errors() {
        let event = |id: i64, kind: &str| Event {
            id: Some(id),
            time: Some(id),
            kind: Some(kind.into()),
            path: Some("/a".into()),
            ..Event::default()
        };
        let asked = std::cell::Cell::new(0);
        let ask = |query: Query| {
            asked.set(asked.get() + 1);
            let (page, last) = (asked.get(), asked.get() == 3);
            assert_eq!(query.cursor, (page > 1).then(|| (page - 1).to_string()));
            let rows = match last {
                true => vec![event(2, "new-executable"), event(1, "hash-changed")],
                false => vec![event(page + 2, "error"); 1000],
            };
            let cursor = if last { String::new() } else { page.to_string() };
            async move { Ok(Page { rows, cursor, hidden: 0 }) }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let found = runtime.ok().map(|runtime| runtime.block_on(markers(&Query::default(), ask)));
        assert_eq!(found, Some(vec![(2, false, "a".into()), (1, true, "a".into())]));
        let endless =
            |_| async { Ok(Page { rows: vec![event(1, "error"); 1000], cursor: "x".into(), hidden: 0 }) };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let found = runtime.ok().map(|runtime| runtime.block_on(markers(&Query::default(), endless)));
        assert_eq!(found, Some(Vec::new()), "it ends");
    }

    #[test]
    fn d05_destinations_without_a_name_are_more() {
        let says = |keys: &[&str]| {
            let whom = counted(total("/a", 1), &keys.iter().map(|key| total(key, 1)).collect::<Vec<_>>());
            (whom.largest, whom.count, whom.more)
        };
        assert_eq!(says(&["example.org", "b"]), ("example.org".into(), 2, false));
        assert_eq!(says(&["", "example.org"]), ("example.org".into(), 1, true));
        assert_eq!(says(&[""]), (String::new(), 0, true));
        let names: Vec<String> = (1..MAX_NAMES).map(|n| n.to_string()).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(!says(&names).2);
        names.push("");
        assert_eq!(
            says(&names),
            ("1".into(), MAX_NAMES - 1, true),
            "a whole page, one of them without a name"
        );
        names[MAX_NAMES - 1] = "last";
        assert_eq!(says(&names), ("1".into(), MAX_NAMES, true), "a whole page");
    }

    #[test]
    fn d05_what_is_known_of_destinations_is_shown_when_one_hangs_or_fails() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let programs = || ["/a", "/b", "/c"].map(|key| total(key, 1)).to_vec();
        let answer = |fails: bool| async move {
            let ask = |of: Total| async move {
                match of.key.as_str() {
                    "/b" if fails => Err(Error::Unavailable("no".into())),
                    "/b" => std::future::pending().await,
                    _ => Ok(counted(of, &[])),
                }
            };
            let got = gather(programs(), Duration::from_millis(20), ask);
            tokio::time::timeout(Duration::from_secs(5), got).await.ok()
        };
        for fails in [false, true] {
            let got = runtime.as_ref().ok().and_then(|runtime| runtime.block_on(answer(fails)));
            let got =
                got.map(|(all, vain)| (all.into_iter().map(|whom| whom.of.key).collect::<Vec<_>>(), vain));
            assert_eq!(got, Some((vec!["/a".to_owned()], Some("/b".to_owned()))));
        }
    }
}
