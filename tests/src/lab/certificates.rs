// SPDX-License-Identifier: GPL-3.0-or-later
//! An authority of the test's own and the certificates that it signs, by openssl.

use std::path::{Path, PathBuf};

use super::Outcome;
use super::tools::{open_to_all, run};

/// The authority; its files are in a folder of the stage.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, readable by its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// openssl is missing or refuses.
    pub fn new(dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        open_to_all(dir)?;
        let this = Self { dir: dir.to_path_buf() };
        this.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=picosnitch test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ])?;
        open_to_all(&this.certificate())?;
        Ok(this)
    }

    /// What those who trust it need.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for `names` (`IP:127.0.0.1`, `DNS:db.example`), signed by the authority.
    ///
    /// # Errors
    /// openssl refuses.
    pub fn sign(&self, name: &str, names: &str) -> Outcome<Identity> {
        let file = |suffix: &str| format!("{name}.{suffix}");
        std::fs::write(
            self.dir.join(file("ext")),
            format!("subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n"),
        )?;
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=test server",
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &file("ext"),
            "-out",
            &file("pem"),
        ])?;
        Ok(Identity { certificate: self.dir.join(file("pem")), key: self.dir.join(file("key")) })
    }

    /// A certificate for `names` that only vouches for itself.
    ///
    /// # Errors
    /// openssl refuses.
    pub fn self_signed(&self, name: &str, names: &str) -> Outcome<Identity> {
        let (key, pem, san) =
            (format!("{name}.key"), format!("{name}.pem"), format!("subjectAltName={names}"));
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=test server",
            "-addext",
            &san,
            "-keyout",
            &key,
            "-out",
            &pem,
        ])?;
        Ok(Identity { certificate: self.dir.join(pem), key: self.dir.join(key) })
    }

    fn openssl(&self, arguments: &[&str]) -> Outcome {
        let dir = self.dir.to_string_lossy();
        let mut all = vec!["-C", &*dir, "openssl"];
        all.extend_from_slice(arguments);
        run("env", &all).map(drop)
    }
}
