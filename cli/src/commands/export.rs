// SPDX-License-Identifier: GPL-3.0-or-later
//! `export`: the daemon writes into a descriptor of ours; nothing is paged and nothing passes through
//! here, unless a person would see it on a terminal.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use picosnitch_api::{Part, Query, Scope, inert};

use crate::args::{ExportArgs, Format, What};
use crate::client;
use crate::commands::list::say_hidden;
use crate::failure::Failure;
use crate::out::Out;
use crate::time;

/// Runs `export`.
///
/// # Errors
/// As the daemon or the file says it. A file that could not be written whole is not left behind.
pub async fn run(args: &ExportArgs, out: &mut Out) -> Result<(), Failure> {
    let query = args.filters.query(time::now())?;
    let format = args.format.unwrap_or(if out.json { Format::Jsonl } else { Format::Csv });
    let asking = client::connect_asking(query.scope.is_some()).await?;
    let export = async |into: OwnedFd| {
        asking.client.export(args.what.into(), format.into(), &query, into).await.map_err(Failure::from)
    };
    let exported = match &args.output {
        Some(path) => {
            let fail = |error: io::Error| Failure::file(path, "write", &error);
            let part = Part::create(path, false).map_err(fail)?;
            export(part.file.as_fd().try_clone_to_owned().map_err(fail)?).await?;
            part.keep().map_err(fail)
        }
        // What a row holds was chosen by others: a person's terminal gets it inert, anything else as it is.
        None if io::stdout().is_terminal() => {
            let (read, write) = io::pipe()?;
            let show = std::thread::spawn(move || show(read));
            let result = export(write.into()).await;
            match show.join() {
                Ok(shown) => result.and(shown),
                Err(_) => Err(Failure::new("the output ended early")),
            }
        }
        None => {
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            match export(stdout).await {
                Err(failure) if reader_gone() => Err(Failure { quiet: true, ..failure }),
                result => result,
            }
        }
    };
    exported?;
    if query.scope == Some(Scope::Any) {
        return Ok(());
    }
    // The rows say nothing of those that are not among them.
    let one = Query { limit: Some(1), ..query.clone() };
    let hidden = match args.what {
        What::Connections => asking.client.connections(&one).await.map(|page| page.hidden),
        What::Executables => asking.client.executables(&one).await.map(|page| page.hidden),
        What::Events => asking.client.events(&one).await.map(|page| page.hidden),
    };
    say_hidden(out, hidden.unwrap_or(0), query.scope);
    Ok(())
}

/// Whether nobody reads our standard output any more (`export | head`): the service met it, not this process.
fn reader_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let broken = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|found| found.intersects(broken))
}

fn show(read: io::PipeReader) -> Result<(), Failure> {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut out = io::stdout().lock();
    while read.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        writeln!(out, "{}", inert(text.trim_end_matches('\n')))?;
        line.clear();
    }
    Ok(())
}
