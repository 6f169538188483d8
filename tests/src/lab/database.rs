// SPDX-License-Identifier: GPL-3.0-or-later
//! Real database servers: started on loopback with a data directory of the test's own, as a
//! person, with the table that the project ships and an account that may INSERT and SELECT.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::certificates::Identity;
use super::tools::{open_to_all, run, run_with, spawn, tail, until};
use super::{Outcome, Trouble, User, project, slow};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A server, running or not.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    dir: PathBuf,
    user: User,
    bin: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// The account's password, with characters that an address must escape.
const PASSWORD: &str = "p@ss/w0rd";
const ESCAPED: &str = "p%40ss%2Fw0rd";

impl Database {
    /// Makes the data directory, starts the server and prepares it as its administrator would.
    ///
    /// # Errors
    /// Skipped if it is not installed; else what it said last.
    pub fn new(kind: Kind, dir: &Path, identity: &Identity) -> Outcome<Self> {
        let bin = match kind {
            Kind::Postgres => postgres_bin(),
            Kind::MariaDb => Some(PathBuf::from("/usr/sbin")).filter(|dir| dir.join("mariadbd").exists()),
        };
        let bin = bin.ok_or_else(|| {
            Trouble::Skipped(
                "the database server is not installed (tests/setup.sh test installs it)".to_owned(),
            )
        })?;
        // Both refuse to run as root, and want no account of their own.
        let user = User::get("alice")?;
        open_to_all(dir)?;
        let mut this = Self { kind, dir: dir.join("server"), user, bin, port: free_port()?, child: None };
        std::fs::create_dir_all(&this.dir)?;
        this.own(&this.dir)?;
        match kind {
            Kind::Postgres => {
                let mut initdb = this.user.command(this.bin.join("initdb"));
                initdb.arg("-D").arg(this.data()).args([
                    "-U",
                    "postgres",
                    "--auth-local=trust",
                    "--auth-host=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ]);
                done(&mut initdb)?;
            }
            Kind::MariaDb => {
                let mut install = this.user.command("mariadb-install-db");
                install
                    .arg("--no-defaults")
                    .arg(format!("--datadir={}", this.data().display()))
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                done(&mut install)?;
            }
        }
        this.start(Some(identity))?;
        this.prepare()?;
        Ok(this)
    }

    fn prepare(&self) -> Outcome {
        match self.kind {
            Kind::Postgres => {
                let table = std::fs::read_to_string(project().join("data/sql/postgresql.sql"))?;
                self.run(
                    &format!("CREATE ROLE picosnitch LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE net;"),
                    "postgres",
                )?;
                self.run(&table, "net")?;
                self.run("GRANT INSERT, SELECT ON picosnitch_connections TO picosnitch;", "net")
            }
            Kind::MariaDb => {
                let table = std::fs::read_to_string(project().join("data/sql/mysql.sql"))?;
                self.run("CREATE DATABASE net;", "")?;
                self.run(&table, "net")?;
                self.run(
                    &format!(
                        "CREATE USER picosnitch IDENTIFIED BY '{PASSWORD}';
                         GRANT INSERT, SELECT ON net.picosnitch_connections TO picosnitch;"
                    ),
                    "net",
                )
            }
        }
    }

    fn run(&self, sql: &str, database: &str) -> Outcome {
        let dir = self.dir.to_string_lossy();
        let port = self.port.to_string();
        match self.kind {
            Kind::Postgres => run_with(
                "psql",
                &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", &dir, "-p", &port, "-U", "postgres", database],
                sql,
            ),
            Kind::MariaDb => {
                let socket = format!("--socket={dir}/socket");
                // Newer clients want TLS even here, where the socket is enough.
                run_with("mariadb", &["--no-defaults", "--skip-ssl", &socket, "-u", "root", database], sql)
            }
        }
    }

    /// Makes the table one that cannot take every row: no number above 32 767 in `received`, and no text but that
    /// of Western Europe.
    ///
    /// # Errors
    /// As the server says it.
    pub fn narrow(&self) -> Outcome {
        match self.kind {
            Kind::Postgres => {
                self.run(
                    "ALTER DATABASE net RENAME TO wide;
                     CREATE DATABASE net TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';",
                    "postgres",
                )?;
                self.run(&std::fs::read_to_string(project().join("data/sql/postgresql.sql"))?, "net")?;
                self.run(
                    "GRANT INSERT, SELECT ON picosnitch_connections TO picosnitch;
                     ALTER TABLE picosnitch_connections ALTER COLUMN received TYPE SMALLINT;",
                    "net",
                )
            }
            Kind::MariaDb => self.run(
                "ALTER TABLE picosnitch_connections MODIFY received SMALLINT,
                   MODIFY executable TEXT CHARACTER SET latin1;",
                "net",
            ),
        }
    }

    /// A second table like the first, with the same rights.
    ///
    /// # Errors
    /// As the server says it.
    pub fn another_table(&self, name: &str) -> Outcome {
        let (schema, like) = match self.kind {
            Kind::Postgres => ("", "(LIKE picosnitch_connections INCLUDING ALL)"),
            Kind::MariaDb => ("net.", "LIKE picosnitch_connections"),
        };
        let sql =
            format!("CREATE TABLE {name} {like}; GRANT INSERT, SELECT ON {schema}{name} TO picosnitch;");
        self.run(&sql, "net")
    }

    /// Starts it, with TLS if it is somebody.
    ///
    /// # Errors
    /// It does not start; the text has its last words.
    pub fn start(&mut self, identity: Option<&Identity>) -> Outcome {
        let log = std::fs::File::create(self.dir.join("log"))?;
        let (certificate, key) = (self.dir.join("server.pem"), self.dir.join("server.key"));
        if let Some(identity) = identity {
            for (from, to) in [(&identity.certificate, &certificate), (&identity.key, &key)] {
                std::fs::copy(from, to)?;
                std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                self.own(to)?;
            }
        }
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = self.user.command(self.bin.join("postgres"));
                let set = |name: &str, value: String| format!("{name}={value}");
                command.arg("-D").arg(self.data());
                for setting in [
                    set("port", self.port.to_string()),
                    set("listen_addresses", "127.0.0.1".to_owned()),
                    set("unix_socket_directories", self.dir.to_string_lossy().into_owned()),
                    set("ssl", if identity.is_some() { "on" } else { "off" }.to_owned()),
                    set("ssl_cert_file", certificate.to_string_lossy().into_owned()),
                    set("ssl_key_file", key.to_string_lossy().into_owned()),
                    set("fsync", "off".to_owned()),
                ] {
                    command.arg("-c").arg(setting);
                }
                command
            }
            Kind::MariaDb => {
                let mut command = self.user.command(self.bin.join("mariadbd"));
                command.arg("--no-defaults").arg(format!("--datadir={}", self.data().display())).args([
                    &format!("--port={}", self.port),
                    "--bind-address=127.0.0.1",
                    &format!("--socket={}/socket", self.dir.display()),
                    &format!("--pid-file={}/pid", self.dir.display()),
                    "--innodb-buffer-pool-size=32M",
                ]);
                if identity.is_some() {
                    command.arg(format!("--ssl-cert={}", certificate.display()));
                    command.arg(format!("--ssl-key={}", key.display()));
                }
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = spawn(&mut command)?;
        let probe = if self.kind == Kind::Postgres { "postgres" } else { "" };
        let up = until(Duration::from_secs(60), || {
            !matches!(child.try_wait(), Ok(None)) || self.run("SELECT 1;", probe).is_ok()
        });
        if !up || !matches!(child.try_wait(), Ok(None)) {
            return Err(format!("the server does not start:\n{}", tail(&self.dir.join("log"), 10)).into());
        }
        self.child = Some(child);
        Ok(())
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // PostgreSQL waits for its clients on SIGTERM, not on SIGINT; MariaDB knows SIGTERM.
            let signal = match self.kind {
                Kind::Postgres => nix::sys::signal::Signal::SIGINT,
                Kind::MariaDb => nix::sys::signal::Signal::SIGTERM,
            };
            let _ = super::tools::signal(&child, signal);
            if !until(Duration::from_secs(20), || matches!(child.try_wait(), Ok(Some(_)))) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// What `remote.url` says.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.kind == Kind::Postgres { "postgresql" } else { "mariadb" };
        format!("{scheme}://picosnitch:{ESCAPED}@127.0.0.1:{}/net", self.port)
    }

    /// The same over a long way: what is said arrives so much later, both ways.
    ///
    /// # Errors
    /// No port is left.
    pub fn url_far(&self, later: Duration) -> Outcome<String> {
        let port = slow::way_to(self.port, later)?;
        Ok(self.url().replace(&format!(":{}/", self.port), &format!(":{port}/")))
    }

    /// What its administrator reads, tab-separated.
    ///
    /// # Errors
    /// As the server says it.
    pub fn read(&self, sql: &str) -> Outcome<Vec<Vec<String>>> {
        let dir = self.dir.to_string_lossy();
        let port = self.port.to_string();
        let text = match self.kind {
            Kind::Postgres => run(
                "psql",
                &["-X", "-At", "-F", "\t", "-h", &dir, "-p", &port, "-U", "postgres", "-c", sql, "net"],
            ),
            Kind::MariaDb => {
                let socket = format!("--socket={dir}/socket");
                run(
                    "mariadb",
                    &[
                        "--no-defaults",
                        "--skip-ssl",
                        &socket,
                        "-u",
                        "root",
                        "-N",
                        "-B",
                        "-r",
                        "-e",
                        sql,
                        "net",
                    ],
                )
            }
        }?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// What the account of the daemon may do with a statement of its own.
    ///
    /// # Errors
    /// As the server says it.
    pub fn as_picosnitch(&self, sql: &str) -> Outcome {
        let port = self.port.to_string();
        match self.kind {
            Kind::Postgres => {
                let url = format!("{}?sslmode=require", self.url());
                run("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-c", sql, &url]).map(drop)
            }
            Kind::MariaDb => {
                let password = format!("--password={PASSWORD}");
                run(
                    "mariadb",
                    &[
                        "--no-defaults",
                        "-h",
                        "127.0.0.1",
                        "-P",
                        &port,
                        "-u",
                        "picosnitch",
                        &password,
                        "-e",
                        sql,
                        "net",
                    ],
                )
                .map(drop)
            }
        }
    }

    /// A time as µs since the epoch, in SQL.
    #[must_use]
    pub fn micros(&self, column: &str) -> String {
        match self.kind {
            Kind::Postgres => format!("(extract(epoch FROM {column}) * 1000000)::bigint"),
            Kind::MariaDb => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})"),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn own(&self, path: &Path) -> Outcome {
        std::os::unix::fs::chown(path, Some(self.user.uid), None).map_err(Trouble::from)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

fn postgres_bin() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().or_else(|| Some(PathBuf::from("/usr/bin")).filter(|bin| bin.join("initdb").exists()))
}

/// A port that nobody listens on now.
fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn done(command: &mut Command) -> Outcome {
    let output = command.current_dir("/").stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
