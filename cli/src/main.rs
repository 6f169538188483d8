// SPDX-License-Identifier: GPL-3.0-or-later
//! `picosnitch`: the command line of the monitor. Data goes to standard output, everything else to
//! standard error; it knows only the bus.

mod agent;
mod args;
mod client;
mod commands;
mod failure;
mod filters;
mod json;
mod out;
mod size;
mod table;
mod time;
mod view;

use std::process::ExitCode;

use clap::Parser as _;
use picosnitch_api::row::{Connection, Event, Executable};

use crate::args::{Cli, Command};
use crate::commands::{config, executable, export, list, manual, status, watch};
use crate::failure::Failure;
use crate::out::Out;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Out::new(cli.json, cli.color);
    match run(cli.command, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.quiet => ExitCode::SUCCESS,
        Err(failure) => {
            // What was asked for before the failure is still worth having.
            let _ = out.flush();
            out::complain(&failure, cli.color);
            ExitCode::from(failure.status)
        }
    }
}

fn run(command: Command, out: &mut Out) -> Result<(), Failure> {
    match command {
        Command::Man => {
            manual::page(&mut out.data)?;
            return out.flush();
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            manual::completions(shell, &mut script);
            std::io::Write::write_all(&mut out.data, &script)?;
            return out.flush();
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Watch(args) => watch::run(&args, out).await,
            Command::Status => status::run(out).await,
            Command::Executables(args) => list::list::<Executable>(&args, out).await,
            Command::Executable(args) => executable::run(&args.which, out).await,
            Command::Connections(args) => list::list::<Connection>(&args, out).await,
            Command::Summary(args) => list::summary(&args, out).await,
            Command::Events(args) => list::list::<Event>(&args, out).await,
            Command::Export(args) => export::run(&args, out).await,
            Command::Config(command) => config::run(&command, out).await,
            Command::Completions { .. } | Command::Man => Ok(()),
        }
    });
    // A helper thread may still wait for something that no longer matters.
    runtime.shutdown_background();
    result
}
