// SPDX-License-Identifier: GPL-3.0-or-later
//! AF_PACKET: frames written to and read from an interface.

use std::io;

use nix::libc;

use super::{Flow, Options, Report, pattern, sys};

/// EtherType for experiments (IEEE 802, local experimental 1): nobody else's frames.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// T12: writes `count` broadcast frames to `interface` with one socket and reads them back as a
/// sniffer with another, which gets whatever else passes there as well.
///
/// # Errors
/// A call fails or frames are missing.
pub fn inject_and_sniff(options: &Options) -> io::Result<Report> {
    let interface = options.text("interface").ok_or_else(|| io::Error::other("interface=NAME is missing"))?;
    let count: usize = options.get("count", 20)?;
    let index = sys::interface_index(interface)?;
    let open = || -> io::Result<_> {
        // Protocol 0: no frame of any interface arrives before bind.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        sys::set_timeout(&fd, libc::SO_RCVTIMEO, 5_000)?;
        Ok(fd)
    };
    let flow = |direction: &str| Flow {
        protocol: "packet".to_owned(),
        direction: direction.to_owned(),
        interface: Some(interface.to_owned()),
        ..Flow::default()
    };
    let sniffer = open()?;
    sys::bind_packet(&sniffer, index)?;
    let injector = open()?;
    sys::bind_packet(&injector, index)?;
    let started = sys::now_us();
    let (mut read, mut written) = (flow("in"), flow("out"));
    for number in 0..count {
        let mut frame = vec![0xff_u8; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(EXPERIMENTAL);
        frame.extend(pattern(46 + number));
        written.add_sent(sys::send(&injector, &frame, 0)?);
    }
    let mut seen = 0;
    let mut buffer = vec![0_u8; 65_536];
    while seen < count {
        let bytes = sys::recv(&sniffer, &mut buffer, 0)?;
        read.add_received(bytes);
        if buffer[12..14] == EXPERIMENTAL {
            seen += 1;
        }
    }
    Ok(Report { started, ..Report::of(vec![read, written]) })
}
