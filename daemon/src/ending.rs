// SPDX-License-Identifier: GPL-3.0-or-later
//! Why the daemon is stopped: the next one says what was not watched in between.

use std::time::Duration;

use zbus::zvariant::OwnedValue;

use crate::model::End;

/// How long systemd may take to say.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks systemd whether the machine goes down (`SystemState`, org.freedesktop.systemd1(5)).
pub async fn why() -> End {
    match tokio::time::timeout(PATIENCE, state()).await {
        Ok(Ok(state)) if state == "stopping" => End::WithMachine,
        Ok(Ok(_)) => End::Alone,
        // No systemd, or no bus any more.
        Ok(Err(_)) | Err(_) => End::Unknown,
    }
}

async fn state() -> zbus::Result<String> {
    let bus = zbus::Connection::system().await?;
    let name = "org.freedesktop.systemd1";
    let of = (format!("{name}.Manager"), "SystemState");
    let face = Some("org.freedesktop.DBus.Properties");
    let reply = bus.call_method(Some(name), "/org/freedesktop/systemd1", face, "Get", &of).await?;
    Ok(String::try_from(reply.body().deserialize::<OwnedValue>()?)?)
}
