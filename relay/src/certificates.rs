// SPDX-License-Identifier: GPL-3.0-or-later
//! The certificates that the daemon hands over.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Largest file, bytes: the largest system's store is a quarter of a megabyte.
const LARGEST: u64 = 8 << 20;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Certificates that can be used as a root of trust: as they are, and as text.
#[derive(Debug, Default)]
pub struct Trusted {
    /// DER, each.
    pub der: Vec<CertificateDer<'static>>,
    /// PEM, all.
    pub pem: Vec<u8>,
}

impl Trusted {
    /// Reads them; those that cannot be roots are left out, as a system's store may have some.
    pub fn read(file: Option<OwnedFd>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::default()) };
        let mut text = Vec::new();
        File::from(file)
            .take(LARGEST)
            .read_to_end(&mut text)
            .map_err(|error| format!("the certificates to trust cannot be read: {error}"))?;
        let trusted = Self::parse(&text);
        if trusted.der.is_empty() {
            return Err("there is no certificate among those to trust".to_owned());
        }
        Ok(trusted)
    }

    fn parse(text: &[u8]) -> Self {
        let mut trusted = Self::default();
        let mut store = rustls::RootCertStore::empty();
        let mut rest = text;
        while let Some(begin) = find(rest, BEGIN) {
            let Some(end) = find(&rest[begin..], END) else { break };
            let section = &rest[begin..begin + end + END.len()];
            rest = &rest[begin + end + END.len()..];
            if let Ok(certificate) = CertificateDer::from_pem_slice(section)
                && store.add(certificate.clone()).is_ok()
            {
                trusted.der.push(certificate);
                trusted.pem.extend_from_slice(section);
                trusted.pem.push(b'\n');
            }
        }
        trusted
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_left_out() {
        let rubbish =
            b"x\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----";
        let trusted = Trusted::parse(rubbish);
        assert!(trusted.der.is_empty() && trusted.pem.is_empty());
    }
}
