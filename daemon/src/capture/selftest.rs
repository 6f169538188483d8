// SPDX-License-Identifier: GPL-3.0-or-later
//! Proof at start-up that counts come out exact with the engine that runs: a few bytes over loopback, by
//! TCP and UDP, counted at both ends. Kernel updates have silently broken monitors of this kind before.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::{Degradation, Slots};
use crate::model::Protocol;

/// Bytes sent each way: odd sizes that nothing else has.
const TCP: (usize, usize) = (4321, 1237);
const UDP: (usize, usize) = (713, 311);
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends and receives, then looks at what was counted. Takes a millisecond; blocks for 2 s at the most.
///
/// # Errors
/// [`Degradation::SelfTest`] with expected and counted bytes, or why it could not be made (no loopback).
pub fn run(slots: &Slots) -> Result<(), Degradation> {
    let impossible = |error: io::Error| Degradation::SelfTestImpossible(error.to_string());
    let (client, server) = tcp().map_err(impossible)?;
    let sockets = udp().map_err(impossible)?;
    expect(slots, Protocol::Ip(6), client, TCP)?;
    expect(slots, Protocol::Ip(6), server, (TCP.1, TCP.0))?;
    expect(slots, Protocol::Ip(17), sockets.0, UDP)?;
    expect(slots, Protocol::Ip(17), sockets.1, (UDP.1, UDP.0))
}

/// Returns the local ports of client and server side.
fn tcp() -> io::Result<((u16, u16), (u16, u16))> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, peer) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let mut buffer = [7; 8192];
    client.write_all(&buffer[..TCP.0])?;
    server.read_exact(&mut buffer[..TCP.0])?;
    server.write_all(&buffer[..TCP.1])?;
    client.read_exact(&mut buffer[..TCP.1])?;
    let port = listener.local_addr()?.port();
    Ok(((peer.port(), port), (port, peer.port())))
}

fn udp() -> io::Result<((u16, u16), (u16, u16))> {
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    one.set_read_timeout(Some(PATIENCE))?;
    other.set_read_timeout(Some(PATIENCE))?;
    let (a, b) = (one.local_addr()?, other.local_addr()?);
    let mut buffer = [7; 2048];
    // One end connected, the other not: two ways through the kernel side.
    one.connect(b)?;
    one.send(&buffer[..UDP.0])?;
    other.recv_from(&mut buffer)?;
    other.send_to(&buffer[..UDP.1], a)?;
    one.recv(&mut buffer)?;
    Ok(((a.port(), b.port()), (b.port(), a.port())))
}

fn expect(
    slots: &Slots,
    protocol: Protocol,
    (local, remote): (u16, u16),
    (sent, received): (usize, usize),
) -> Result<(), Degradation> {
    let own = std::process::id();
    for slot in 0..slots.used() {
        let Some((_, at)) = slots.state(slot) else { continue };
        let Ok(Some(flow)) = slots.flow(at) else { continue };
        if flow.process.id.tgid != own
            || flow.protocol != protocol
            || flow.local_port != Some(local)
            || flow.remote_port != Some(remote)
        {
            continue;
        }
        let counted = slots.counted(at).unwrap_or_default();
        if (counted.sent, counted.received) == (sent as u64, received as u64) {
            return Ok(());
        }
        return Err(Degradation::SelfTest(format!(
            "{protocol}: {sent} bytes sent and {received} received were counted as {} and {}",
            counted.sent, counted.received
        )));
    }
    Err(Degradation::SelfTest(format!("{protocol} on port {local} was not seen at all")))
}

#[cfg(test)]
mod tests {
    use super::super::Engine;

    #[test]
    #[ignore = "needs root"]
    fn root_counts_are_exact() {
        let engine = Engine::start(1024).map_err(|error| error.to_string()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(engine.degradations, []);
        let slots = engine.slots().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(super::run(&slots), Ok(()));
        assert_eq!(slots.lost().unwrap_or_default(), super::super::Lost::default());
    }

    #[test]
    #[ignore = "needs root"]
    fn root_a_descriptor_is_identified() {
        use std::os::fd::AsFd as _;
        let engine = Engine::start(1024).unwrap_or_else(|e| panic!("{e}"));
        let identify = engine.identify().unwrap_or_else(|e| panic!("{e}"));
        let exe = || std::fs::File::open("/proc/self/exe").unwrap_or_else(|e| panic!("{e}"));
        let (one, other) = (exe(), exe());
        let id = identify.file(one.as_fd()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(id, identify.file(other.as_fd()).unwrap_or_else(|e| panic!("{e}")));
        let null = std::fs::File::open("/dev/null").unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(id, identify.file(null.as_fd()).unwrap_or_else(|e| panic!("{e}")));
        assert_ne!(id.inode, 0);
    }
}
