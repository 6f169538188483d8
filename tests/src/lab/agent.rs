// SPDX-License-Identifier: GPL-3.0-or-later
//! Somebody who has an administrator's password: an authentication agent of polkit for one process. polkitd is
//! the real one; it asks here as it would ask a desktop, and is answered as by the helper that checked a password
//! (which only root may do).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;
use zbus::zvariant::{OwnedValue, Value};

use super::Outcome;

const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";
const OWN: &str = "/org/picosnitch/tests/Agent";

/// As in polkit(8): its kind, and what tells it from others.
type Identity = (String, HashMap<String, OwnedValue>);

struct Desktop {
    asked: Arc<Mutex<Vec<String>>>,
    /// Of the process that it answers for.
    uid: u32,
}

#[zbus::interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Desktop {
    #[allow(clippy::too_many_arguments)]
    async fn begin_authentication(
        &self,
        #[zbus(connection)] connection: &zbus::Connection,
        action: String,
        _message: String,
        _icon: String,
        _details: HashMap<String, String>,
        cookie: String,
        identities: Vec<Identity>,
    ) -> zbus::fdo::Result<()> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(action);
        let identity = identities.into_iter().next().ok_or(zbus::fdo::Error::Failed("nobody".to_owned()))?;
        // Older versions know an agent by who registered it, newer ones (126) by whom it is for.
        let mut answer = Ok(());
        for uid in [nix::unistd::geteuid().as_raw(), self.uid] {
            let body = (uid, &cookie, &identity);
            let called = connection
                .call_method(Some(POLKIT), AUTHORITY, Some(INTERFACE), "AuthenticationAgentResponse2", &body)
                .await;
            answer = called.map(|_| ());
            if answer.is_ok() {
                break;
            }
        }
        Ok(answer?)
    }

    fn cancel_authentication(&self, _cookie: String) {}
}

/// See the module; as long as it is there.
pub struct Agent {
    asked: Arc<Mutex<Vec<String>>>,
    _connection: zbus::Connection,
    _runtime: Runtime,
}

impl Agent {
    /// Whoever this process asks polkit for is asked here.
    ///
    /// # Errors
    /// polkitd is missing or refuses.
    pub fn of(address: &str, pid: u32, uid: u32) -> Outcome<Agent> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let desktop = Desktop { asked: asked.clone(), uid };
        let connection = runtime.block_on(async {
            let connection =
                zbus::connection::Builder::address(address)?.serve_at(OWN, desktop)?.build().await?;
            let details = HashMap::from([
                ("pid", Value::from(pid)),
                ("start-time", Value::from(started(pid))),
                ("uid", Value::from(i32::try_from(uid).unwrap_or(-1))),
            ]);
            let body = (("unix-process", details), "C", OWN);
            connection
                .call_method(Some(POLKIT), AUTHORITY, Some(INTERFACE), "RegisterAuthenticationAgent", &body)
                .await?;
            Ok::<_, zbus::Error>(connection)
        })?;
        Ok(Agent { asked, _connection: connection, _runtime: runtime })
    }

    /// The actions that a person was asked about since the last call, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// In clock ticks since the machine started (proc_pid_stat(5), field 22).
fn started(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}
