// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings in force, and the one place that changes them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use picosnitch_api::row::Dict;
use tokio::sync::watch;

use super::{Error, Problem, SHIPPED, Settings, convert, read};

/// Cheap to clone. Reading never blocks; `reload` and `set` do file I/O and are called from a blocking
/// thread.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    current: watch::Sender<Arc<Settings>>,
    /// One change at a time, from reading the file to having its settings in force.
    changing: Mutex<()>,
}

impl Store {
    /// Reads the file. A daemon that starts refuses to with a file that has a mistake.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let settings = Settings::load(path)?;
        warn_if_readable(path);
        if !path.exists() {
            tracing::info!("there is no settings file {}: the defaults hold", path.display());
        }
        let current = watch::Sender::new(Arc::new(settings));
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), current, changing: Mutex::new(()) }) })
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Arc<Settings> {
        self.inner.current.borrow().clone()
    }

    /// Tells of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Settings>> {
        self.inner.current.subscribe()
    }

    /// Reads the file again (SIGHUP, or somebody edited it). With an error everything stays as it is. Returns the keys that
    /// changed.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::File`].
    pub fn reload(&self) -> Result<Vec<String>, Error> {
        let _one = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = Settings::load(&self.inner.path)?;
        warn_if_readable(&self.inner.path);
        Ok(self.put(settings))
    }

    /// What the file says, and what it would say after these changes. Nothing is changed.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn plan(&self, changes: &Dict) -> Result<(Settings, Settings), Error> {
        let (_, before, after) = self.edited(changes)?;
        Ok((before, after))
    }

    /// The file's text with these changes, what it said before and what it says then.
    fn edited(&self, changes: &Dict) -> Result<(String, Settings, Settings), Error> {
        let path = &self.inner.path;
        let text = read(path)?.unwrap_or_else(|| SHIPPED.to_owned());
        let before = Settings::parse(&text, path)?;
        // Parsed a moment ago.
        let mut document: toml_edit::DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            Error::Change(Problem { key: None, message: error.message().to_owned(), hint: None })
        })?;
        convert::edit(&mut document, changes).map_err(Error::Change)?;
        let text = document.to_string();
        // A place in a text that nobody sees helps nobody.
        let after = Settings::parse(&text, path).map_err(|error| match error {
            Error::File { problem, .. } => Error::Change(problem),
            other => other,
        })?;
        Ok((text, before, after))
    }

    /// Changes keys, all or none, in the file and in force; comments and the order of the file stay.
    /// Returns the keys that changed. `allowed` is asked about what the file says now and will say.
    ///
    /// # Errors
    /// [`Error::Change`] if a key or a value is not accepted, [`Error::File`] if somebody left a mistake
    /// in the file meanwhile, [`Error::Meanwhile`] if it is not allowed, [`Error::Write`].
    pub fn set(
        &self,
        changes: &Dict,
        allowed: impl FnOnce(&Settings, &Settings) -> bool,
    ) -> Result<Vec<String>, Error> {
        let _one = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.inner.path;
        let (text, before, after) = self.edited(changes)?;
        if !allowed(&before, &after) {
            return Err(Error::Meanwhile);
        }
        replace(path, text.as_bytes()).map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(self.put(after))
    }

    fn put(&self, settings: Settings) -> Vec<String> {
        let changed = settings.changed(&self.current());
        if !changed.is_empty() {
            self.inner.current.send_replace(Arc::new(settings));
        }
        changed
    }
}

/// Puts a new file in place of the old one: whoever looks sees all of one or all of the other.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Where /etc is made of links, the link stays and what it leads to is replaced.
    let path = match std::fs::canonicalize(path) {
        Ok(path) => path,
        // There is none yet, or the link leads to none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match std::fs::read_link(path) {
            Ok(target) => path.parent().unwrap_or(Path::new(".")).join(target),
            Err(_) => path.to_owned(),
        },
        Err(error) => return Err(error),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    // Left by a crash; `create_new` below follows no link that somebody put there.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
        return written;
    }
    // The new file is in place: what it says must be in force, whether or not a power cut would undo it.
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::warn!("{} was changed, and may not outlast a power cut: {error}", path.display());
    }
    Ok(())
}

/// The file may have passwords in it.
fn warn_if_readable(path: &Path) {
    if let Ok(meta) = std::fs::metadata(path)
        && meta.permissions().mode() & 0o077 != 0
    {
        tracing::warn!("{} can be read by others than root: chmod 600 it", path.display());
    }
}
