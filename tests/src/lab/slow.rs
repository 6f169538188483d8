// SPDX-License-Identifier: GPL-3.0-or-later
//! A long way to a server: what is said arrives later, on both ways.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::{Outcome, Trouble};

/// Listens on loopback and passes everything on to this port of it, each piece so much later. Ends with the lab.
///
/// # Errors
/// No port is left.
pub fn way_to(port: u16, later: Duration) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?.port();
    std::thread::Builder::new()
        .name("long way".to_owned())
        .spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (Ok(from), Ok(to)) = (near.try_clone(), far.try_clone()) else { continue };
                std::thread::spawn(move || pass(near, far, later));
                std::thread::spawn(move || pass(to, from, later));
            }
        })
        .map_err(Trouble::from)?;
    Ok(own)
}

fn pass(mut from: TcpStream, mut to: TcpStream, later: Duration) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        std::thread::sleep(later);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Both ways end, as the other end may wait for ever.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
