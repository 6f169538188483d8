// SPDX-License-Identifier: GPL-3.0-or-later
//! picosnitchd: see ARCHITECTURE.md for the way of one event, and for the order in which things start.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use picosnitch_api::Incident;
use picosnitchd::exit::Trouble;
use picosnitchd::model::End;
use picosnitchd::pipeline::{self, Command, Control, Tell};
use picosnitchd::serve::{self, Deps, Outgoing, Server};
use picosnitchd::settings::{self, Store};
use picosnitchd::{ending, memory, record, relay, status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// The picosnitch service: which program talks to whom, since when and how much.
///
/// Watches and never blocks. Needs root. Serves org.picosnitch.Monitor on the system bus, or on the bus that
/// DBUS_SYSTEM_BUS_ADDRESS names. SIGTERM writes what waits and ends; SIGHUP reads the settings again.
///
/// Exit status: 0 ended when asked, 1 other trouble, 2 wrong arguments, 3 a mistake in the settings, 4 the
/// kernel does not offer what it captures by, 5 the history cannot be kept, 6 no bus, 7 no BTF, 8 it is not root,
/// or a capability is missing, 9 the bus does not allow it its name, 10 another picosnitchd is there, 11 it is in a PID namespace,
/// 70 a bug.
#[derive(Debug, Parser)]
#[command(name = "picosnitchd", version)]
struct Arguments {
    /// Settings
    #[arg(long, value_name = "FILE", default_value = "/etc/picosnitch/config.toml")]
    config: PathBuf,
    /// Directory of the history
    #[arg(long, value_name = "DIR", default_value = "/var/lib/picosnitch")]
    state_dir: PathBuf,
    /// Directory of the text logs
    #[arg(long, value_name = "DIR", default_value = "/var/log/picosnitch")]
    log_dir: PathBuf,
    /// Socket on which systemd starts picosnitch-relay; without it the service starts that itself, from
    /// its own directory
    #[arg(long, value_name = "SOCKET")]
    relay_socket: Option<PathBuf>,
    /// How much to say: error, warn, info, debug or trace; who changed what is said at each
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
    /// Read the settings, say whether they are right, and end
    #[arg(long)]
    check: bool,
    /// Print the description of the bus interfaces and end
    #[arg(long, hide = true)]
    introspection: bool,
}

fn main() -> ExitCode {
    memory::few_heaps();
    let arguments = Arguments::parse();
    if arguments.introspection {
        print!("{}", serve::introspection());
        return ExitCode::SUCCESS;
    }
    if arguments.check {
        return check(&arguments.config);
    }
    let journal = to_journal().then(|| tracing_journald::layer().ok()).flatten();
    let plain = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).without_time()
    });
    // Who changed what is said at every level.
    let said = Targets::new().with_default(arguments.log_level).with_target("audit", LevelFilter::INFO);
    tracing_subscriber::registry().with(said).with(journal).with(plain).init();
    // A panic in any thread ends the daemon: half alive it would hide things.
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        tracing::error!("{} {panic}", Trouble::Died);
        std::process::exit(70);
    }));
    if !nix::unistd::geteuid().is_root() {
        return fail(&Trouble::NotRoot);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime.block_on(run(arguments));
    // All is written: who is still asked or read for, and takes nothing, holds up nobody.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => fail(&trouble),
    }
}

/// What the daemon would say of this file at its start.
fn check(path: &Path) -> ExitCode {
    match settings::check(path) {
        Ok(()) => {
            println!("{}: right", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            Trouble::from(error).code()
        }
    }
}

fn fail(trouble: &Trouble) -> ExitCode {
    tracing::error!("{trouble}");
    trouble.code()
}

/// Start order: settings, record, kernel side, bus objects, bus name, readiness. A client that sees the name
/// sees a monitor that captures. The kernel side is loaded while the record is opened, and attached after that.
async fn run(arguments: Arguments) -> Result<(), Trouble> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Before the file is read: what is saved after that is noticed.
    let mut edited = watch(&arguments.config);
    let settings = Store::open(&arguments.config)?;
    let loading = pipeline::Loading::begin(settings.current().monitor.ring_buffer_kib)?;
    let (troubles, mut troubled) = mpsc::unbounded_channel();
    let (recorder, known) = record::Recorder::open(
        &arguments.state_dir,
        &arguments.log_dir,
        pipeline::record_settings(&settings.current()),
        move |trouble| drop(troubles.send(trouble)),
    )?;
    let (outgoing, notices) = mpsc::channel(4096);
    // Weak: the end of the pipeline is the end of what the bus is told.
    let written = outgoing.downgrade();
    recorder.on_written(move |through| {
        // A hint; when the bus has too much to do, the next one says as much.
        drop(written.upgrade().map(|bus| bus.try_send(Outgoing::Recorded(through))));
    });
    let pipeline = loading.start(pipeline::Config {
        settings: settings.current(),
        known,
        recorder: recorder.clone(),
        tell: Box::new(move |tell| tell_bus(&outgoing, tell)),
    })?;
    let (control, facts) = (pipeline.control(), pipeline.facts());
    let relay = match start_relay(arguments.relay_socket, &settings, &recorder, &control) {
        Ok(relay) => relay,
        Err(error) => {
            let _ = pipeline.stop();
            recorder.ends(End::Unknown);
            let _ = recorder.stop();
            return Err(error.into());
        }
    };
    let (orders, mut ordered) = mpsc::channel(16);
    let served = async {
        let status = {
            let (recorder, relay) = (recorder.clone(), relay.facts());
            Arc::new(move || status::status(&facts, &recorder, &relay))
        };
        let deps = Deps {
            reader: recorder.reader(),
            status,
            settings: settings.clone(),
            control: orders,
            relay: relay.control(),
        };
        let mut server = Server::connect(deps).await?;
        server.own_name().await?;
        Ok::<_, Trouble>(server)
    }
    .await;
    let server = match served {
        Ok(server) => server,
        Err(trouble) => {
            relay.stop();
            let _ = pipeline.stop();
            recorder.ends(End::Unknown);
            let _ = recorder.stop();
            return Err(trouble);
        }
    };
    let serving = tokio::spawn(server.run(notices));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!("watching");
    // What the start alone needed: programs to load, a history to read.
    memory::give_back();
    let mut changes = settings.subscribe();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Some(edited) = &mut edited {
                    let _ = edited.read();
                }
                reload(&settings, &control);
            }
            noticed = next(&mut edited) => {
                if let Err(error) = noticed {
                    tracing::warn!("edits of the settings file were not noticed: {error}");
                }
                // Its folder may be another one now, or its link lead elsewhere.
                edited = watch(&arguments.config);
                // One that is gone is no edit.
                if edited.is_some() && arguments.config.exists() {
                    reload(&settings, &control);
                }
            }
            Ok(()) = changes.changed() => {
                let now = changes.borrow_and_update().clone();
                relay.control().settings(now.clone());
                let _ = control.send(Command::Settings(now));
            }
            Some(order) = ordered.recv() => obey(&control, &order),
            Some(trouble) = troubled.recv() => {
                match trouble.kind() {
                    Some(kind) => drop(control.send(Command::Error(kind, trouble.to_string()))),
                    None => tracing::warn!("{trouble}"),
                }
            }
        }
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    recorder.ends(ending::why().await);
    tokio::task::spawn_blocking(move || relay.stop()).await.map_err(std::io::Error::other)?;
    let alive = tokio::task::spawn_blocking(move || pipeline.stop()).await.unwrap_or(false);
    let _ = serving.await;
    tokio::task::spawn_blocking(move || recorder.stop()).await.map_err(std::io::Error::other)??;
    if alive { Ok(()) } else { Err(Trouble::Died) }
}

/// Whether what is said goes to the journal: the variable alone is inherited by programs whose output does not
/// (systemd.exec(5)).
fn to_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    nix::sys::stat::fstat(std::io::stderr())
        .is_ok_and(|about| stream == format!("{}:{}", about.st_dev, about.st_ino))
}

fn start_relay(
    socket: Option<PathBuf>,
    settings: &Store,
    recorder: &record::Recorder,
    control: &Control,
) -> std::io::Result<relay::Handle> {
    let way = match socket {
        Some(socket) => relay::Way::Socket(socket),
        None => relay::Way::Program(std::env::current_exe()?.with_file_name("picosnitch-relay")),
    };
    let control = control.clone();
    relay::Handle::start(relay::Config {
        settings: settings.current(),
        recorder: recorder.clone(),
        way,
        tell: Box::new(move |tell| {
            let _ = control.send(match tell {
                relay::Tell::Error(kind, message) => Command::Error(kind, message),
                relay::Tell::Alarm(suspect, verdict) => Command::Verdict(suspect, verdict),
            });
        }),
    })
}

/// Called on the pipeline's thread: never waits. A bus that takes nothing for thousands of notices loses
/// them, and this is false; the record has them all the same.
fn tell_bus(bus: &mpsc::Sender<Outgoing>, tell: Tell) -> bool {
    let outgoing = match tell {
        Tell::Notice(notice) => Outgoing::Notice(notice),
        Tell::Degraded(_) => Outgoing::Degraded,
    };
    !matches!(bus.try_send(outgoing), Err(mpsc::error::TrySendError::Full(Outgoing::Notice(_))))
}

fn watch(config: &Path) -> Option<settings::Edited> {
    settings::Edited::watch(config)
        .inspect_err(|error| {
            tracing::warn!("edits of {} are read when asked to (SIGHUP): {error}", config.display());
        })
        .ok()
}

/// Never, if there is no watch.
async fn next(edited: &mut Option<settings::Edited>) -> std::io::Result<()> {
    match edited {
        Some(edited) => edited.wait().await,
        None => std::future::pending().await,
    }
}

fn reload(settings: &Store, control: &Control) {
    match settings.reload() {
        Ok(keys) if keys.is_empty() => tracing::debug!("settings read again, nothing changed"),
        Ok(keys) => tracing::info!("settings changed: {}", keys.join(", ")),
        Err(error) => {
            let _ = control
                .send(Command::Error(Incident::Settings, format!("the old settings stay in force: {error}")));
        }
    }
}

fn obey(control: &Control, order: &serve::Control) {
    let command = match order {
        serve::Control::Pause { seconds, uid } => {
            Command::Pause(Duration::from_secs(u64::from(*seconds)), *uid)
        }
        serve::Control::Resume { uid } => Command::Resume(*uid),
        serve::Control::Unsignalled(number) => Command::Unsignalled(*number),
    };
    let _ = control.send(command);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    /// What `--help` lists, the manual page explains.
    #[test]
    fn the_manual_page_has_every_option() {
        let page = include_str!("../../data/man/picosnitchd.8").replace("\\-", "-");
        for option in Arguments::command().get_arguments().filter(|option| !option.is_hide_set()) {
            let long = option.get_long().unwrap_or_default();
            assert!(page.contains(&format!("\\fB--{long}\\fR")), "{long}");
        }
    }
}
