// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: flags, help, man page and completions come from here alone.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use picosnitch_api::{Dimension, Scope};

use crate::out::Color;

macro_rules! exit_status {
    () => {
        "  0  Done.
  1  Something else went wrong; the message says what.
  2  The command line, a filter or a setting is not understood.
  3  The picosnitch service cannot be reached: it is not running, or there is no bus.
  4  Not permitted."
    };
}

macro_rules! examples {
    () => {
        "  picosnitch watch                              Say what uses the network for the first time
  picosnitch summary --by domain --since -24h   Who was talked to since yesterday, and how much
  picosnitch connections --path /usr/bin/curl   What one program did
  picosnitch connections --domain example.com --json
                                                The same for scripts, one object a line
  picosnitch export connections --since -7d --output week.csv"
    };
}

/// What the exit status says, for the man page.
pub const EXIT_STATUS: &str = exit_status!();
/// Examples, for the man page.
pub const EXAMPLES: &str = examples!();

/// Shows which program talks to whom over the network, since when and how much.
///
/// picosnitch asks the picosnitch service, which watches and records but never blocks anything. You
/// see your own programs and those of system services; other people's need permission (--scope any).
#[derive(Debug, Parser)]
#[command(name = "picosnitch", version, after_help = concat!("Exit status:\n", exit_status!(), "\n\nExamples:\n", examples!()), max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, subcommand_value_name = "COMMAND")]
pub struct Cli {
    /// Print JSON: one object a line, exact bytes, times in µs since the epoch
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colour; auto is on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say at once when a program uses the network for the first time or has changed
    ///
    /// Goes on until Ctrl-C, also when the service is restarted.
    Watch(WatchArgs),
    /// Show whether the service is watching, what it may have lost, and what you may see
    Status,
    /// List programs that used the network, latest first
    Executables(ListArgs),
    /// Show everything known about one program
    Executable(ExecutableArgs),
    /// List connections, latest first
    ///
    /// A connection that lasts has a row for each interval (10 seconds unless set otherwise) in which
    /// bytes moved.
    Connections(ListArgs),
    /// Add up bytes and connections by program, domain, user or another field, largest first
    Summary(SummaryArgs),
    /// List notices: programs that were new, that changed or that are suspicious, errors
    Events(ListArgs),
    /// Write the history as CSV or JSON lines, without a limit
    Export(ExportArgs),
    /// Show or change the settings of the service
    #[command(subcommand, subcommand_value_name = "ACTION")]
    Config(ConfigCommand),
    /// Print the script that completes this command in a shell
    ///
    /// For bash, put it into ~/.local/share/bash-completion/completions/picosnitch.
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page (picosnitch man | man -l -)
    Man,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Begin with the notices since then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
}

/// Arguments of `executable`.
#[derive(Debug, Args)]
pub struct ExecutableArgs {
    /// Number of the program (ID in picosnitch executables) or its path
    #[arg(value_name = "ID|PATH")]
    pub which: String,
}

/// Arguments of commands that list rows.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub filters: Filters,
}

/// Arguments of `summary`.
#[derive(Debug, Args)]
pub struct SummaryArgs {
    /// What to add up by
    #[arg(long, value_name = "FIELD", default_value = "path", value_parser = dimensions())]
    pub by: String,
    /// Show the largest NUMBER only
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// What counts as large: bytes both ways, bytes of one way, or connections
    #[arg(long, value_name = "FIELD", default_value = "total", value_parser = PossibleValuesParser::new(["total", "sent", "received", "connections"]))]
    pub sort: String,
    /// Smallest first
    #[arg(long)]
    pub ascending: bool,
    #[command(flatten)]
    pub filters: Filters,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to write
    #[arg(value_enum)]
    pub what: What,
    /// How to write it: csv has a heading line, jsonl has one JSON object a line [default: csv, with
    /// --json jsonl]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write to FILE, which only you can read, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub filters: Filters,
}

/// What `export` writes: rows of the command of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    Connections,
    Executables,
    Events,
}

/// How `export` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Csv,
    Jsonl,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings; secrets are never shown
    Get {
        /// A setting (database.retention_days) or a section (database); all of them if left out
        key: Option<String>,
    },
    /// Change a setting; it holds at once, and config.toml keeps its comments
    Set {
        /// The setting: database.retention_days
        key: String,
        /// Its new value: true, 90, a text, or a,b for a list; - reads it from standard input, where
        /// a secret is in no process list
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Change settings in your editor ($VISUAL, $EDITOR)
    Edit,
    /// Say whether picosnitchd would take a settings file, and if not, in which line it has a mistake
    Check {
        /// The file
        #[arg(default_value = "/etc/picosnitch/config.toml")]
        file: std::path::PathBuf,
    },
}

/// How many rows, in which order.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// Show at most NUMBER rows [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Show all rows, however many there are
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Sort by FIELD: for executables last-seen, first-seen, name, path, total, sent, received or connections;
    /// connections and events have their time alone
    #[arg(long, value_name = "FIELD")]
    pub sort: Option<String>,
    /// Oldest or smallest first
    #[arg(long)]
    pub ascending: bool,
}

/// Which rows.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Filters (a row is shown if all of them hold)")]
pub struct Filters {
    /// From this time on: -24h, -7d, today, yesterday, 14:30, 2026-01-31, "2026-01-31 14:30"
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Before this time; written in the same ways
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Whose programs: your own, also those of system accounts, or anybody's; you may be asked for a
    /// password [default: all that you may see without being asked]
    #[arg(long, value_name = "WHOSE", value_parser = PossibleValuesParser::new(["own", "system", "any"]))]
    pub scope: Option<String>,
    /// Number of the program, as executables shows it: a path may be that of several, on the host and in containers
    #[arg(long, value_name = "NUMBER")]
    pub executable: Option<i64>,
    /// Path of the program
    #[arg(long)]
    pub path: Option<String>,
    /// Name of the process
    #[arg(long)]
    pub name: Option<String>,
    /// Content of the program, 64 hexadecimal digits
    #[arg(long, value_name = "HASH")]
    pub sha256: Option<String>,
    /// Part of the command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// Path of the program that started it
    #[arg(long, value_name = "PATH")]
    pub parent: Option<String>,
    /// Path of the program that started its parent
    #[arg(long, value_name = "PATH")]
    pub grandparent: Option<String>,
    /// Number of the user
    #[arg(long, conflicts_with = "user")]
    pub uid: Option<u32>,
    /// Name of the user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A domain and its subdomains
    #[arg(long)]
    pub domain: Option<String>,
    /// Remote address or network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    pub address: Option<String>,
    /// Port on this machine
    #[arg(long, value_name = "PORT")]
    pub local_port: Option<u16>,
    /// Port on the other machine
    #[arg(long, value_name = "PORT")]
    pub remote_port: Option<u16>,
    /// tcp, mptcp, udp, udplite, sctp, icmp, icmpv6, packet, exec or ip-NUMBER
    #[arg(long)]
    pub protocol: Option<String>,
    /// Who began: in (the other side) or out (this machine)
    #[arg(long, value_parser = PossibleValuesParser::new(["in", "out"]))]
    pub direction: Option<String>,
    /// Network namespace (the number in ls -l /proc/PID/ns/net); not for events
    #[arg(long, value_name = "INODE")]
    pub netns: Option<u32>,
    /// systemd unit
    #[arg(long)]
    pub unit: Option<String>,
    /// Container
    #[arg(long)]
    pub container: Option<String>,
    /// Part of a path, name, domain, address or command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub search: Option<String>,
}

/// The fields that `--by` takes, from the contract.
fn dimensions() -> PossibleValuesParser {
    PossibleValuesParser::new(Dimension::ALL.map(|(_, word)| word))
}

/// Reads the word of `--scope`, which clap has checked.
pub fn scope(word: &str) -> Option<Scope> {
    word.parse().ok()
}

impl From<What> for picosnitch_api::What {
    fn from(what: What) -> Self {
        match what {
            What::Connections => Self::Connections,
            What::Executables => Self::Executables,
            What::Events => Self::Events,
        }
    }
}

impl From<Format> for picosnitch_api::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Jsonl => Self::JsonLines,
        }
    }
}
