// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

/// Writes a value into bytes at an offset, as the kernel side would.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn tcp_slot() -> Vec<u8> {
    use abi::{ps_flow as F, ps_process as P};
    let mut bytes = vec![0; size_of::<F>()];
    let process = std::mem::offset_of!(F, process);
    put(&mut bytes, process + std::mem::offset_of!(P, tgid), &7_u32.to_ne_bytes());
    put(&mut bytes, process + std::mem::offset_of!(P, comm), b"curl\0junk");
    put(&mut bytes, std::mem::offset_of!(F, family), &2_u16.to_ne_bytes());
    put(&mut bytes, std::mem::offset_of!(F, type_), &1_u16.to_ne_bytes());
    put(&mut bytes, std::mem::offset_of!(F, protocol), &6_u16.to_ne_bytes());
    put(&mut bytes, std::mem::offset_of!(F, direction), &[1]);
    put(&mut bytes, std::mem::offset_of!(F, peer_known), &[1]);
    put(&mut bytes, std::mem::offset_of!(F, remote_port), &443_u16.to_be_bytes());
    put(&mut bytes, std::mem::offset_of!(F, remote), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7]);
    bytes
}

#[test]
fn t07_mapped_addresses_are_shown_as_ipv4() {
    let flow = flow(&tcp_slot()).unwrap();
    assert_eq!(flow.remote, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(flow.remote_port, Some(443));
    assert_eq!(flow.local, None);
    assert_eq!(flow.local_port, None);
    assert_eq!(flow.process.comm, b"curl");
    assert_eq!(flow.parent, None);
    assert_eq!(flow.protocol.to_string(), "tcp");
}

#[test]
fn t06_raw_sockets_have_no_ports() {
    let mut bytes = tcp_slot();
    put(&mut bytes, std::mem::offset_of!(abi::ps_flow, type_), &3_u16.to_ne_bytes());
    put(&mut bytes, std::mem::offset_of!(abi::ps_flow, protocol), &1_u16.to_ne_bytes());
    let flow = flow(&bytes).unwrap();
    assert_eq!((flow.remote_port, flow.protocol), (None, Protocol::Ip(1)));
}

#[test]
fn a_short_message_is_no_event() {
    let mut bytes = vec![0; size_of::<abi::ps_exit_event>()];
    put(&mut bytes, 0, &abi::PS_EVENT_EXIT.to_ne_bytes());
    assert!(event(&bytes).is_some());
    bytes.pop();
    assert_eq!(event(&bytes), None);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(kind in 0_u32..9, mut bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        }
        let _ = event(&bytes);
        let _ = flow(&bytes);
    }
}
