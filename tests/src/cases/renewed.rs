// SPDX-License-Identifier: GPL-3.0-or-later
//! D: what the window shows is renewed by itself.

use picosnitch_api::Query;

use super::Case;
use super::expect::PATIENCE;
use super::window::{rows, title};
use crate::lab::client::settle;
use crate::lab::desktop::Desktop;
use crate::lab::program::report;
use crate::lab::{Lab, Outcome, Tree, ensure};

/// The cases.
pub const CASES: &[Case] =
    &[Case { id: "D05", title: "the page of a program is renewed by itself", run: d05_program }];

fn d05_program(lab: &mut Lab) -> Outcome {
    let stage = lab.stage("d05-program", "")?;
    let program = lab.programs.make("d05-again")?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    let mut id = 0;
    settle(PATIENCE, || {
        let query = Query { path: Some(program.to_string_lossy().into_owned()), ..Query::default() };
        let of = query.clone();
        let page = stage.client.call(|client| async move { client.executables(&of).await })?;
        id = page.rows.first().and_then(|row| row.id).ok_or("not yet known")?;
        ensure(!stage.client.connections(&query)?.is_empty(), || "not yet on record".into())
    })?;
    let mut desktop = Desktop::start(&lab.new_dir("d05-program")?, &stage.bus.address, false)?;
    // Who points at it keeps it as it is.
    desktop.input(&["mousemove", "1199", "799"])?;
    desktop.window(&["--program", &id.to_string()], &[])?;
    let access = desktop.access()?;
    let connections = |count: usize| {
        move |tree: &Tree| {
            let ports = rows(tree, "Connections of this program");
            title(tree) == "Program" && ports.iter().filter(|text| text.ends_with(":7001")).count() == count
        }
    };
    desktop.seen(&access, "one connection", connections(1))?;
    report(&program, &["tcp-echo", &lab.net.to()])?;
    desktop.seen(&access, "the second one, by itself", connections(2))?;
    desktop.picture("program");
    Ok(())
}
