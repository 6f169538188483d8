// SPDX-License-Identifier: GPL-3.0-or-later
//! Traffic generators: every client and server of the T cases, each counting its own bytes by what
//! the socket calls returned. `picosnitch-traffic MODE key=value…` runs one and prints a [`Report`]
//! as one line of JSON at its end.
//!
//! Every mode takes `wait=1` (start only after a line on standard input), `unlink=1` (then remove its
//! own file first) and `hold=1` (after the report, stay until standard input ends).

pub mod chain;
pub mod datagram;
pub mod many;
pub mod odd;
pub mod packet;
pub mod report;
pub mod resolve;
pub mod serve;
pub mod stream;
pub mod sys;
pub mod uring;
pub mod zero_copy;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

pub use report::{Flow, Report};

/// Ports of the services that `serve` offers.
pub mod port {
    /// TCP and UDP: sends back what it gets.
    pub const ECHO: u16 = 7001;
    /// TCP: reads to the end, answers with the count as 8 bytes.
    pub const SINK: u16 = 7002;
    /// TCP: reads a count as 8 bytes, sends that many.
    pub const SOURCE: u16 = 7003;
    /// TCP: reads a count as 8 bytes, sends that many while it reads to the end.
    pub const BOTH: u16 = 7004;
    /// TCP, first of [`SHORTS`] ports: 16 bytes each way, then the end.
    pub const SHORT: u16 = 7010;
    /// Number of ports from [`SHORT`] on.
    pub const SHORTS: u16 = 4;
    /// UDP: reads and answers nothing.
    pub const DNS: u16 = 53;
    /// Nobody listens here.
    pub const CLOSED: u16 = 7098;
    /// The peer drops what comes here.
    pub const FILTERED: u16 = 7099;
}

/// `key=value` arguments.
#[derive(Debug, Clone, Default)]
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    /// Reads arguments; those without `=` count as `key=1`.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let values = arguments
            .map(|argument| match argument.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (argument, "1".to_owned()),
            })
            .collect();
        Options { values }
    }

    /// A value, if it was given.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether a switch was given.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| value != "0")
    }

    /// A value, parsed, or its default.
    ///
    /// # Errors
    /// It was given and cannot be parsed.
    pub fn get<T: std::str::FromStr>(&self, key: &str, default: T) -> io::Result<T> {
        match self.text(key) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| io::Error::other(format!("{key}={text} cannot be understood")))
            }
        }
    }

    /// The address in `to`.
    ///
    /// # Errors
    /// It is missing or not an address.
    pub fn to(&self) -> io::Result<IpAddr> {
        let text = self.text("to").ok_or_else(|| io::Error::other("to=ADDRESS is missing"))?;
        text.parse().map_err(|_| io::Error::other(format!("to={text} is not an address")))
    }

    /// The address in `to` with the port in `port`, or with this one.
    ///
    /// # Errors
    /// As [`Self::to`] and [`Self::get`].
    pub fn target(&self, default_port: u16) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(self.to()?, self.get("port", default_port)?))
    }
}

/// Bytes to send: not all alike, so that a mix-up would show.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Waits for one line on standard input; `false` at its end.
///
/// # Errors
/// It cannot be read.
pub fn wait_line(line: &mut String) -> io::Result<bool> {
    line.clear();
    Ok(io::stdin().lock().read_line(line)? > 0)
}

/// Prints one line of JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Runs one mode to its end.
///
/// # Errors
/// The mode is unknown, or a call failed that the mode needs.
pub fn run(mode: &str, options: &Options) -> io::Result<()> {
    if options.is_set("wait") {
        wait_line(&mut String::new())?;
    }
    if options.is_set("unlink") {
        std::fs::remove_file(std::env::current_exe()?)?;
    }
    let parent: u32 = options.get("orphan-of", 0)?;
    if parent != 0 {
        chain::wait_orphaned(parent);
    }
    let report = match mode {
        "tcp-down" => stream::down(options)?,
        "tcp-up" => stream::up(options)?,
        "tcp-both" => stream::both(options)?,
        "tcp-echo" => stream::echo(options)?,
        "tcp-steps" => stream::steps(options)?,
        "tcp-drip" => stream::drip(options)?,
        "tcp-peek" => stream::peek(options)?,
        "tcp-fail" => stream::fail(options)?,
        "tcp-sequence" => many::sequence(options)?,
        "tcp-parallel" => many::parallel(options)?,
        "tcp-accept" => many::accept(options)?,
        "loopback" => stream::loopback(options)?,
        "ping-pong" => stream::ping_pong(options)?,
        "connections" => many::connections(options)?,
        "processes" => many::processes(options)?,
        "one-to-many" => many::one_to_many(options)?,
        "flows" => many::flows(options)?,
        "udp" => datagram::connected(options)?,
        "udp-peers" => datagram::peers(options)?,
        "udp-elsewhere" => datagram::elsewhere(options)?,
        "udp-plain" => datagram::plain(options)?,
        "udp-scatter" => datagram::scatter(options)?,
        "udp-many" => datagram::many_messages(options)?,
        "udp-flood" => datagram::flood(options)?,
        "udp-flags" => datagram::flags(options)?,
        "icmp-raw" => datagram::icmp(options, true)?,
        "icmp-datagram" => datagram::icmp(options, false)?,
        "raw" => datagram::raw(options)?,
        "packet" => packet::inject_and_sniff(options)?,
        "uring" => uring::echo(options)?,
        "sendfile" => zero_copy::send_file(options)?,
        "splice" => zero_copy::splice_down(options)?,
        "raw-transport" => odd::raw_transport(options)?,
        "udp-queued" => odd::queued(options)?,
        "udp-another-port" => odd::another_port(options)?,
        "mptcp" => odd::multipath(options)?,
        "dns-serve" => resolve::serve(options)?,
        "dns-ask" => resolve::by_itself(options)?,
        "resolve" => resolve::by_libc(options)?,
        "unnamed" => resolve::unnamed(options)?,
        "chain" => chain::chain(options)?,
        "shared" => chain::shared(options)?,
        "memory" => chain::from_memory(options)?,
        "disguise" => chain::disguise(options)?,
        "orphan" => chain::orphan(options)?,
        "serve" => return serve::serve(options),
        _ => return Err(io::Error::other(format!("no mode {mode:?}"))),
    };
    print(&report)?;
    if options.is_set("hold") {
        io::stdin().lock().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
