// SPDX-License-Identifier: GPL-3.0-or-later
//! VirusTotal, version 3 of its interface: what is known of a content, and the content itself. A verdict is
//! an answer with status 200 and the numbers in it. A content is unknown by status 404 and by nothing else.
//! Everything else is trouble that may pass.

use std::fs::File;
use std::io::Read as _;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use picosnitch_relay_wire::{Answer, Ask, MAX_ENGINES, MAX_UPLOAD};
use serde::Deserialize;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

use crate::certificates::Trusted;
use crate::text::plain;
use crate::{Asked, Reply};

/// How long an answer may take, and an upload of the largest file.
const LOOKUP: Duration = Duration::from_secs(30);
const UPLOAD: Duration = Duration::from_secs(300);
/// Bytes of an answer that are read: a report of a file has some tens of thousands.
const LARGEST: u64 = 4 << 20;

/// Whom to ask.
struct Scanner {
    agent: Agent,
    url: String,
    key: String,
}

/// The thread. Ends with the daemon.
pub fn run(reply: &Reply, inbox: &Receiver<Asked>) {
    let mut scanner = Err("no scanner was named".to_owned());
    while let Ok(Asked { ask, descriptor, .. }) = inbox.recv() {
        let (number, outcome) = match ask {
            Ask::Scanner { url, key } => {
                scanner = Trusted::read(descriptor).map(|trusted| Scanner::new(url, key, &trusted));
                continue;
            }
            Ask::Lookup { number, sha256 } => (number, scanner.as_ref().map(|s| s.lookup(number, &sha256))),
            Ask::Upload { number, sha256 } => {
                let outcome = scanner.as_ref().map(|scanner| match descriptor {
                    Some(file) => scanner.upload(number, &sha256, File::from(file)),
                    None => failed(number, "no file came with the question", None),
                });
                (number, outcome)
            }
            Ask::Database { .. } | Ask::Rows { .. } => continue,
        };
        reply.send(&outcome.unwrap_or_else(|why| failed(number, why, None)));
    }
}

fn failed(number: u64, why: &str, wait: Option<u64>) -> Answer {
    Answer::Failed { number, why: plain(why), wait, unwanted: false }
}

impl Scanner {
    fn new(url: String, key: String, trusted: &Trusted) -> Self {
        let roots: Vec<_> = trusted.der.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder().root_certs(RootCerts::from(roots)).build();
        let agent = Agent::config_builder()
            .https_only(true)
            .tls_config(tls)
            .proxy(None)
            // The key goes to the address that was named and nowhere else.
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .max_response_header_size(64 << 10)
            .max_idle_connections(0)
            .user_agent(concat!("picosnitch/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, url, key }
    }

    fn lookup(&self, number: u64, sha256: &str) -> Answer {
        let response = self
            .agent
            .get(format!("{}/files/{sha256}", self.url))
            .header("x-apikey", &self.key)
            .header("accept", "application/json")
            .config()
            .timeout_global(Some(LOOKUP))
            .build()
            .call();
        match response {
            Ok(response) if response.status() == 200 => report(number, sha256, response),
            Ok(response) if response.status() == 404 => Answer::Unknown { number },
            Ok(response) => refusal(number, &response),
            Err(error) => unreachable(number, &error),
        }
    }

    /// The daemon made the file for this, sealed, with exactly this content.
    fn upload(&self, number: u64, sha256: &str, file: File) -> Answer {
        // No content has its own hash in it, so it can part the form. The name says nothing about this machine.
        let mut form = format!(
            "--{sha256}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{sha256}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        match file.take(MAX_UPLOAD + 1).read_to_end(&mut form) {
            Ok(length) if length as u64 <= MAX_UPLOAD => {}
            Ok(_) => return failed(number, "the file is too large to be sent", None),
            Err(error) => return failed(number, &format!("the file cannot be read: {error}"), None),
        }
        form.extend_from_slice(format!("\r\n--{sha256}--\r\n").as_bytes());
        let response = self
            .agent
            .post(format!("{}/files", self.url))
            .header("x-apikey", &self.key)
            .header("accept", "application/json")
            .header("content-type", format!("multipart/form-data; boundary={sha256}"))
            .config()
            .timeout_global(Some(UPLOAD))
            .build()
            .send(&form[..]);
        match response {
            Ok(response) if response.status() == 200 => Answer::Pending { number },
            // It has the file already, perhaps since a moment ago.
            Ok(response) if response.status() == 409 => Answer::Pending { number },
            Ok(response) => unwanted(response.status().as_u16(), refusal(number, &response)),
            Err(error) => unreachable(number, &error),
        }
    }
}

#[derive(Deserialize)]
struct Report {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    sha256: String,
    last_analysis_stats: Option<Stats>,
    last_analysis_date: Option<i64>,
}

#[derive(Deserialize)]
struct Stats {
    malicious: u32,
    suspicious: u32,
    undetected: u32,
    harmless: u32,
}

fn report(number: u64, sha256: &str, mut response: http::Response<Body>) -> Answer {
    let body = match response.body_mut().with_config().limit(LARGEST).read_to_vec() {
        Ok(body) => body,
        Err(error) => return unreachable(number, &error),
    };
    judge(number, sha256, &body)
}

/// What a report says, if it is one about this content.
fn judge(number: u64, sha256: &str, body: &[u8]) -> Answer {
    let Ok(Report { data: Data { attributes } }) = serde_json::from_slice(body) else {
        return failed(number, "the scanner's answer is not understood", None);
    };
    if !attributes.sha256.eq_ignore_ascii_case(sha256) {
        return failed(number, "the scanner answers about another content", None);
    }
    let Some(stats) = attributes.last_analysis_stats else { return Answer::Pending { number } };
    let Stats { malicious, suspicious, undetected, harmless } = stats;
    let total = [malicious, suspicious, undetected, harmless].into_iter().fold(0, u32::saturating_add);
    if total == 0 {
        return Answer::Pending { number };
    }
    if total > MAX_ENGINES {
        return failed(number, "the scanner's answer is not understood", None);
    }
    let analysed = attributes.last_analysis_date.unwrap_or(0);
    Answer::Verdict { number, malicious, suspicious, total, analysed }
}

fn refusal(number: u64, response: &http::Response<Body>) -> Answer {
    let wait =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let why = match response.status().as_u16() {
        401 | 403 => "the scanner does not accept the key (virustotal.api_key)".to_owned(),
        429 => "the scanner's quota is used up for now".to_owned(),
        status => format!("the scanner answers with status {status}"),
    };
    failed(number, &why, wait)
}

/// Whether a status to an upload is about the file: what the form, its size or its kind is refused for. All else (the
/// key, the quota, the server) is trouble that says nothing about it.
fn unwanted(status: u16, answer: Answer) -> Answer {
    match answer {
        Answer::Failed { number, why, wait, .. } => {
            Answer::Failed { number, why, wait, unwanted: matches!(status, 400 | 413 | 415 | 422) }
        }
        answer => answer,
    }
}

fn unreachable(number: u64, error: &ureq::Error) -> Answer {
    failed(number, &format!("the scanner cannot be asked: {error}"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Answer {
        judge(1, "aa", body.as_bytes())
    }

    #[test]
    fn numbers_of_engines_are_a_verdict() {
        let body = r#"{"data":{"attributes":{"sha256":"AA","last_analysis_date":7,"last_analysis_stats":
            {"malicious":3,"suspicious":1,"undetected":60,"harmless":2,"timeout":4,"failure":1}}}}"#;
        let verdict = Answer::Verdict { number: 1, malicious: 3, suspicious: 1, total: 66, analysed: 7 };
        assert_eq!(asked(body), verdict);
    }

    #[test]
    fn only_what_is_said_of_the_file_is_about_the_file() {
        for (status, about) in
            [(400, true), (413, true), (415, true), (422, true), (401, false), (403, false), (404, false)]
                .into_iter()
                .chain([408, 429, 500, 502, 503, 504].map(|status| (status, false)))
        {
            let response = http::Response::builder().status(status).body(Body::builder().data(""));
            let Ok(response) = response else { panic!("{status}") };
            let answer = unwanted(status, refusal(1, &response));
            assert!(
                matches!(answer, Answer::Failed { unwanted, .. } if unwanted == about),
                "{status}: {answer:?}"
            );
        }
    }

    #[test]
    fn nothing_else_is() {
        let stats = r#"{"malicious":0,"suspicious":0,"undetected":0,"harmless":0}"#;
        let none = format!(r#"{{"data":{{"attributes":{{"sha256":"aa","last_analysis_stats":{stats}}}}}}}"#);
        assert_eq!(asked(&none), Answer::Pending { number: 1 });
        assert_eq!(asked(r#"{"data":{"attributes":{"sha256":"aa"}}}"#), Answer::Pending { number: 1 });
        for rubbish in [
            "",
            "<html>welcome</html>",
            "[]",
            r#"{"data":{"attributes":{"sha256":"bb","last_analysis_stats":
                {"malicious":0,"suspicious":0,"undetected":9,"harmless":0}}}}"#,
            r#"{"data":{"attributes":{"sha256":"aa","last_analysis_stats":
                {"malicious":-1,"suspicious":0,"undetected":9,"harmless":0}}}}"#,
            r#"{"data":{"attributes":{"sha256":"aa","last_analysis_stats":{"undetected":9}}}}"#,
            r#"{"data":{"attributes":{"sha256":"aa","last_analysis_stats":
                {"malicious":1,"suspicious":0,"undetected":10000,"harmless":0}}}}"#,
            r#"{"data":{"attributes":{"sha256":"aa","last_analysis_stats":
                {"malicious":4294967295,"suspicious":4294967295,"undetected":9,"harmless":0}}}}"#,
        ] {
            assert!(matches!(asked(rubbish), Answer::Failed { .. }), "{rubbish}");
        }
    }
}
