// SPDX-License-Identifier: GPL-3.0-or-later
//! Who calls, and what they may see and do. The caller's uid comes from the bus; everything else is
//! polkit's answer about the caller's bus name. Without an answer it is no, but for root.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use picosnitch_api::name::action;
use picosnitch_api::{Error, Permission, Scope};
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header};
use zbus::names::OwnedUniqueName;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::limits::{Limits, Slot};
use crate::accounts::Accounts;
use crate::model::Viewer;

/// A yes about reading is taken for this long, so that a page with ten queries asks once. A yes about
/// changing anything is taken once.
const TAKEN_FOR: Duration = Duration::from_secs(5);
/// polkit answers about what it knows at once; what it asks a person may take minutes.
const AT_ONCE: Duration = Duration::from_secs(5);
const A_PERSON: Duration = Duration::from_secs(300);
/// A grant of `read-any` that goes on without a gap longer than this is one line in the audit log.
const SAME_GRANT: Duration = Duration::from_secs(60);
/// Largest call that is read, bytes.
const MAX_BODY: u32 = 128 * 1024;

/// One caller of one method, for as long as the call is under way.
#[derive(Debug)]
pub struct Caller {
    /// Bus name; never used again after it disconnects.
    pub name: OwnedUniqueName,
    /// Real uid of the process that connected.
    pub uid: u32,
    /// The caller allows polkit to ask a person.
    pub interactive: bool,
    _slot: Slot,
}

impl Caller {
    /// Root needs no polkit.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

#[derive(Debug, Default)]
struct Client {
    /// `None` until the bus has said.
    uid: Option<u32>,
    /// Positive answers and their time.
    grants: HashMap<&'static str, Instant>,
    /// Last time that `read-any` was granted.
    audited: Option<Instant>,
}

/// See the module. One for each connection to the bus.
#[derive(Debug)]
pub struct Authority {
    bus: DBusProxy<'static>,
    polkit: AuthorityProxy<'static>,
    accounts: Mutex<Arc<Accounts>>,
    /// Those that called and are still connected.
    clients: Mutex<HashMap<OwnedUniqueName, Client>>,
    /// What is under way.
    pub limits: Limits,
}

impl Authority {
    /// Asks on this connection.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn new(connection: &zbus::Connection) -> zbus::Result<Self> {
        let polkit = AuthorityProxy::builder(connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        let accounts = tokio::task::spawn_blocking(Accounts::load).await.unwrap_or_default();
        Ok(Self {
            bus: DBusProxy::new(connection).await?,
            polkit,
            accounts: Mutex::new(Arc::new(accounts)),
            clients: Mutex::default(),
            limits: Limits::default(),
        })
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<OwnedUniqueName, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accounts as the files have them now.
    pub async fn accounts(&self) -> Arc<Accounts> {
        let known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !known.stale() {
            return known;
        }
        match tokio::task::spawn_blocking(Accounts::load).await {
            Ok(read) => {
                let read = Arc::new(read);
                *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = read.clone();
                read
            }
            Err(_) => known,
        }
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if too much is under way or the call is too large,
    /// [`Error::NotAuthorized`] if the caller is gone.
    pub async fn caller(&self, header: &Header<'_>) -> Result<Caller, Error> {
        if header.primary().body_len() > MAX_BODY {
            return Err(Error::LimitExceeded(format!("A call has at most {MAX_BODY} bytes.")));
        }
        let unknown = || Error::NotAuthorized("The bus does not know who calls.".to_owned());
        let name = OwnedUniqueName::from(header.sender().ok_or_else(unknown)?.to_owned());
        let slot = self.limits.client(&name)?;
        // Entered before the bus is asked: if the client goes meanwhile, `gone` takes it out.
        let known = self.clients().entry(name.clone()).or_default().uid;
        let uid = match known {
            Some(uid) => uid,
            None => {
                let asked = self.bus.get_connection_unix_user(name.as_ref().into()).await;
                let mut clients = self.clients();
                match (asked, clients.get_mut(&name)) {
                    (Ok(uid), Some(client)) => {
                        client.uid = Some(uid);
                        uid
                    }
                    _ => {
                        clients.remove(&name);
                        return Err(unknown());
                    }
                }
            }
        };
        let interactive = header.primary().flags().contains(Flags::AllowInteractiveAuth);
        Ok(Caller { name, uid, interactive, _slot: slot })
    }

    /// A client disconnected.
    pub fn gone(&self, name: &OwnedUniqueName) {
        self.clients().remove(name);
    }

    /// A client called before and is still connected.
    #[must_use]
    pub fn is_here(&self, name: &OwnedUniqueName) -> bool {
        self.clients().contains_key(name)
    }

    /// What polkit says; every trouble is a no.
    async fn ask(&self, name: &OwnedUniqueName, action: &'static str, interactive: bool) -> Permission {
        let subject = Subject {
            subject_kind: "system-bus-name".to_owned(),
            subject_details: HashMap::from([(
                "name".to_owned(),
                zbus::zvariant::Str::from(name.as_str().to_owned()).into(),
            )]),
        };
        let (flags, patience) = if interactive {
            (CheckAuthorizationFlags::AllowUserInteraction.into(), A_PERSON)
        } else {
            (Default::default(), AT_ONCE)
        };
        let nothing = HashMap::new();
        let asked = self.polkit.check_authorization(&subject, action, &nothing, flags, "");
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(answer)) if answer.is_authorized => Permission::Yes,
            Ok(Ok(answer)) if answer.is_challenge => Permission::Challenge,
            Ok(Ok(_)) => Permission::No,
            Ok(Err(error)) => {
                tracing::debug!("polkit did not answer about {action}: {error}");
                Permission::No
            }
            Err(_) => {
                tracing::warn!("polkit did not answer about {action} within {} s", patience.as_secs());
                Permission::No
            }
        }
    }

    /// Whether a client may read what this action is about. A yes is remembered for a moment.
    pub async fn may_read(
        &self,
        name: &OwnedUniqueName,
        uid: u32,
        action: &'static str,
        interactive: bool,
    ) -> bool {
        if uid == 0 {
            return true;
        }
        let fresh = |client: &Client| client.grants.get(action).is_some_and(|at| at.elapsed() < TAKEN_FOR);
        if self.clients().get(name).is_some_and(fresh) {
            return true;
        }
        if self.ask(name, action, interactive).await != Permission::Yes {
            return false;
        }
        let mut clients = self.clients();
        // Gone while polkit was asked.
        let Some(client) = clients.get_mut(name) else { return false };
        let now = Instant::now();
        client.grants.insert(action, now);
        if action == action::READ_ANY
            && client.audited.replace(now).is_none_or(|before| now.duration_since(before) > SAME_GRANT)
        {
            tracing::info!(target: "audit", "uid {uid} ({name}) was granted {action}");
        }
        true
    }

    /// Passes only a caller that may do this.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`] with a sentence that says what would help.
    pub async fn require(&self, caller: &Caller, action: &'static str) -> Result<(), Error> {
        if caller.is_root() {
            return Ok(());
        }
        let answer = self.ask(&caller.name, action, caller.interactive).await;
        if answer == Permission::Yes && self.is_here(&caller.name) {
            return Ok(());
        }
        Err(self.refusal(caller, action, answer))
    }

    /// Passes only a caller that may do all of these, the strictest first. Nobody types a password for what one
    /// of them refuses in the end: all are looked at before a person is asked. And nobody types a second one for
    /// `configure` after the first: polkit has no question about two actions, and each of the others is about
    /// more. It must be one that a password opens all the same.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`].
    pub async fn require_all(&self, caller: &Caller, actions: &[&'static str]) -> Result<(), Error> {
        if let [action] = actions {
            return self.require(caller, action).await;
        }
        let mut ask = Vec::new();
        for action in actions {
            if caller.is_root() {
                break;
            }
            match self.ask(&caller.name, action, false).await {
                Permission::Yes => {}
                Permission::Challenge if caller.interactive => ask.push(*action),
                answer => return Err(self.refusal(caller, action, answer)),
            }
        }
        if ask.len() > 1 {
            ask.retain(|action| *action != action::CONFIGURE);
        }
        for action in ask {
            self.require(caller, action).await?;
        }
        if caller.is_root() || self.is_here(&caller.name) {
            return Ok(());
        }
        Err(self.refusal(caller, actions.first().copied().unwrap_or_default(), Permission::No))
    }

    fn refusal(&self, caller: &Caller, action: &'static str, answer: Permission) -> Error {
        tracing::info!(target: "audit", "uid {} ({}) was refused {action}", caller.uid, caller.name);
        let short = action.rsplit('.').next().unwrap_or(action);
        Error::NotAuthorized(match answer {
            Permission::Challenge if !caller.interactive => {
                format!("Permission {short} needs a password; call again and allow to be asked for it.")
            }
            _ => format!("Permission {short} was not given."),
        })
    }

    /// What the caller may do, for each action.
    pub async fn permissions(&self, caller: &Caller) -> HashMap<String, String> {
        let mut answers = HashMap::new();
        for action in action::ALL {
            let answer =
                if caller.is_root() { Permission::Yes } else { self.ask(&caller.name, action, false).await };
            answers.insert(action.to_owned(), answer.word().to_owned());
        }
        answers
    }

    /// What the caller may see of what it asks for. Without a scope it is what can be had without asking
    /// a person; with one, a person is asked if the caller allows that.
    pub async fn viewer(&self, caller: &Caller, scope: Option<Scope>) -> Viewer {
        let accounts = self.accounts().await;
        let own = accounts.own(caller.uid);
        let may = |action, wanted: Scope| {
            let interactive = caller.interactive && scope == Some(wanted);
            self.may_read(&caller.name, caller.uid, action, interactive)
        };
        let wide = scope.is_none_or(|scope| scope == Scope::Any);
        if wide && may(action::READ_ANY, Scope::Any).await {
            return Viewer::everything();
        }
        let mut rows = own.clone();
        if scope != Some(Scope::Own) && may(action::READ_SYSTEM, Scope::System).await {
            rows.extend(accounts.system());
        }
        // Root sees every command line of the rows it asked for.
        let cmdlines = if caller.is_root() { rows.clone() } else { own };
        Viewer { rows, cmdlines }
    }
}
