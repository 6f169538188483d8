// SPDX-License-Identifier: GPL-3.0-or-later
//! What `[remote]` and `[virustotal]` may say. Secrets stay out of the messages.

use super::{Problem, Remote, VirusTotal};

pub(super) fn check(remote: &Remote, virustotal: &VirusTotal) -> Result<(), Problem> {
    let Remote { url, host_name, ca_file, tls: _, table, outbox_mib: _ } = remote;
    if url.contains(['?', '#']) || url.contains(char::is_whitespace) {
        let mut problem = Problem::of("remote.url", "has no parameters and no spaces");
        problem.hint = Some(
            "remote.tls and remote.ca_file protect it; in a password write ? as %3F and # as %23".to_owned(),
        );
        return Err(problem);
    }
    if host_name.len() > 255 || host_name.chars().any(char::is_control) {
        return Err(Problem::of("remote.host_name", "has at most 255 bytes and no control characters"));
    }
    let word = |word: &str| {
        let mut letters = word.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    if table.len() > 127 || table.split('.').count() > 2 || !table.split('.').all(word) {
        return Err(Problem::of(
            "remote.table",
            "is a name of letters, digits and _, or two of them with a point between",
        ));
    }
    for (key, path) in [("remote.ca_file", ca_file), ("virustotal.ca_file", &virustotal.ca_file)] {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(Problem::of(key, "is a path that begins with /"));
        }
    }
    let VirusTotal { api_key, url, .. } = virustotal;
    if api_key.len() > 256 || !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::of("virustotal.api_key", "has letters and digits only"));
    }
    let host = url.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains(['?', '#', '@']) {
        return Err(Problem::of("virustotal.url", "begins with https:// and has no parameters"));
    }
    Ok(())
}
