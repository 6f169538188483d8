// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls with whatever fits into a message, for the cases and for a person who may not do what he asks for.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

use picosnitch_api::query::KEYS;
use picosnitch_api::{Client, Error, name};
use zbus::zvariant;

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn number(&mut self) -> u64 {
        // xorshift64 (Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below that.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit.max(1) as u64) as usize
    }

    /// A value of any type.
    pub fn value(&mut self) -> zvariant::Value<'static> {
        const TEXTS: [&str; 14] = [
            "",
            "'",
            "' OR 1=1 --",
            "%",
            "_",
            "\u{0}",
            "\u{202e}",
            "-24h",
            "now",
            "10.0.0.0/8",
            "::/0",
            "any",
            "x) UNION SELECT * FROM sqlite_master --",
            "999999999999999999999999",
        ];
        match self.below(12) {
            0 => zvariant::Value::from(self.number() as i64),
            1 => zvariant::Value::from(self.number()),
            2 => zvariant::Value::from(self.number() as u32),
            3 => zvariant::Value::from(self.number() as u8),
            4 => zvariant::Value::from(self.number().is_multiple_of(2)),
            5 => zvariant::Value::from(f64::from_bits(self.number())),
            6 => zvariant::Value::from(vec![self.number(); self.below(50)]),
            7 => zvariant::Value::from("x".repeat(self.below(70_000))),
            8 => zvariant::Value::from(vec!["a", "b"]),
            // A NUL cannot travel in a D-Bus string.
            _ => zvariant::Value::from(TEXTS[self.below(TEXTS.len())].replace('\0', "0")),
        }
    }

    /// A key of a query, or none.
    pub fn key(&mut self) -> &'static str {
        let at = self.below(KEYS.len() + NO_KEYS.len());
        KEYS.iter().chain(&NO_KEYS).nth(at).copied().unwrap_or_default()
    }

    /// A query of up to four keys, right or wrong.
    pub fn query(&mut self) -> HashMap<&'static str, zvariant::Value<'static>> {
        (0..self.below(5)).map(|_| (self.key(), self.value())).collect()
    }
}

/// These are none of [`KEYS`].
const NO_KEYS: [&str; 3] = ["", "no-such", "path\"; --"];

/// What an answer is counted as.
pub fn word<T>(result: Result<T, zbus::Error>) -> String {
    match result {
        Ok(_) => "reply".to_owned(),
        Err(zbus::Error::MethodError(name, _, _)) => name.to_string(),
        Err(error) => format!("transport: {error}"),
    }
}

/// Answers of one method, by what they are.
pub type Answers = BTreeMap<&'static str, BTreeMap<String, usize>>;

/// So many calls of the methods that change or give away something, with settings that there are and values of any kind.
///
/// # Errors
/// There is no daemon.
pub async fn changes(client: &Client, calls: usize) -> Result<Answers, Error> {
    let proxy =
        async |interface| zbus::Proxy::<'_>::new(client.connection(), name::BUS, name::PATH, interface).await;
    let (monitor, settings, admin) =
        (proxy(name::MONITOR).await?, proxy(name::SETTINGS).await?, proxy(name::ADMIN).await?);
    let mut keys: Vec<String> = client.settings().await?.into_keys().collect();
    keys.extend(["remote.url", "virustotal.api_key"].map(str::to_owned));
    keys.sort();
    let mut random = Random(0x0dd5_eed5_1234_5678);
    let mut answers = Answers::new();
    for call in 0..calls {
        let (method, result) = match call % 5 {
            0 => {
                let what = ["connections", "executables", "events", "", "' --"][random.below(5)];
                let format = ["csv", "jsonl", "", "xml"][random.below(4)];
                let body = (what, format, random.query(), zvariant::Fd::from(outlet(random.below(3))?));
                ("Export", monitor.call_method("Export", &body).await)
            }
            1 => ("DeleteHistory", admin.call_method("DeleteHistory", &(random.query(),)).await),
            2 => {
                let seconds = [0, 1, 60, u32::MAX, random.number() as u32][random.below(5)];
                ("Pause", admin.call_method("Pause", &(seconds,)).await)
            }
            3 => {
                let hexadecimal = format!("{:016x}", random.number()).repeat(4);
                let content = [hexadecimal, "x".repeat(64), String::new(), "é".repeat(32)];
                ("Scan", admin.call_method("Scan", &(&content[random.below(4)],)).await)
            }
            _ => {
                let changes: HashMap<&str, zvariant::Value<'_>> = (0..=random.below(3))
                    .map(|_| (keys[random.below(keys.len())].as_str(), random.value()))
                    .collect();
                ("Set", settings.call_method("Set", &(changes,)).await)
            }
        };
        *answers.entry(method).or_default().entry(word(result)).or_default() += 1;
    }
    Ok(answers)
}

/// What an export is written to: what takes everything, what takes nothing, what is for reading only.
fn outlet(which: usize) -> Result<OwnedFd, Error> {
    let failed = |error: std::io::Error| Error::Unavailable(error.to_string());
    match which {
        0 => std::fs::File::create("/dev/null").map(OwnedFd::from).map_err(failed),
        1 => std::io::pipe().map(|(_, writer)| OwnedFd::from(writer)).map_err(failed),
        _ => std::fs::File::open("/dev/null").map(OwnedFd::from).map_err(failed),
    }
}
