// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket calls that std does not offer, one thin safe function each. What a call returned is
//! what the generators count, so nothing here retries, loops or adds up.
#![allow(unsafe_code)] // system calls with raw pointers; each block says why it holds

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn check_int(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A socket address in the kernel's form.
struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

fn empty() -> Address {
    // SAFETY: all zero bytes are a valid sockaddr_storage.
    let storage: libc::sockaddr_storage = unsafe { zeroed() };
    Address { storage, length: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
}

fn encode(address: SocketAddr) -> Address {
    let mut out = empty();
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as large and as aligned as sockaddr_in.
            unsafe { std::ptr::write((&raw mut out.storage).cast(), raw) };
            out.length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: sockaddr_storage is at least as large and as aligned as sockaddr_in6.
            unsafe { std::ptr::write((&raw mut out.storage).cast(), raw) };
            out.length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        }
    }
    out
}

fn decode(address: &Address) -> io::Result<SocketAddr> {
    match i32::from(address.storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in into this larger storage.
            let raw: libc::sockaddr_in = unsafe { std::ptr::read((&raw const address.storage).cast()) };
            let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            Ok(SocketAddr::new(IpAddr::V4(ip), u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6 into this larger storage.
            let raw: libc::sockaddr_in6 = unsafe { std::ptr::read((&raw const address.storage).cast()) };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Ok(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
        }
        family => Err(io::Error::other(format!("address of family {family}"))),
    }
}

/// `socket(2)`, closed on exec.
///
/// # Errors
/// What the call says.
pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a descriptor that was returned is ours alone.
    let fd = check_int(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bind(2)`.
///
/// # Errors
/// What the call says.
pub fn bind(fd: &impl AsRawFd, address: SocketAddr) -> io::Result<()> {
    let address = encode(address);
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address.storage).cast(), address.length) };
    check_int(result).map(drop)
}

/// `connect(2)`.
///
/// # Errors
/// What the call says; `EINPROGRESS` on a socket that does not block.
pub fn connect(fd: &impl AsRawFd, address: SocketAddr) -> io::Result<()> {
    let address = encode(address);
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result =
        unsafe { libc::connect(fd.as_raw_fd(), (&raw const address.storage).cast(), address.length) };
    check_int(result).map(drop)
}

/// `connect(2)` to nobody.
///
/// # Errors
/// What the call says.
pub fn disconnect(fd: &impl AsRawFd) -> io::Result<()> {
    let address =
        libc::sockaddr { sa_family: u16::try_from(libc::AF_UNSPEC).unwrap_or_default(), sa_data: [0; 14] };
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::connect(fd.as_raw_fd(), &raw const address, length) };
    check_int(result).map(drop)
}

/// `getsockname(2)`.
///
/// # Errors
/// What the call says, or a family that is not IP.
pub fn local(fd: &impl AsRawFd) -> io::Result<SocketAddr> {
    let mut address = empty();
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut address.storage).cast(), &raw mut address.length)
    };
    check_int(result)?;
    decode(&address)
}

/// `getpeername(2)`.
///
/// # Errors
/// What the call says, or a family that is not IP.
pub fn peer(fd: &impl AsRawFd) -> io::Result<SocketAddr> {
    let mut address = empty();
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe {
        libc::getpeername(fd.as_raw_fd(), (&raw mut address.storage).cast(), &raw mut address.length)
    };
    check_int(result)?;
    decode(&address)
}

/// `send(2)`; never raises SIGPIPE.
///
/// # Errors
/// What the call says.
pub fn send(fd: &impl AsRawFd, bytes: &[u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe {
        libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags | libc::MSG_NOSIGNAL)
    })
}

/// `recv(2)`.
///
/// # Errors
/// What the call says.
pub fn recv(fd: &impl AsRawFd, bytes: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { libc::recv(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) })
}

/// `sendto(2)`.
///
/// # Errors
/// What the call says.
pub fn send_to(fd: &impl AsRawFd, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
    let to = encode(to);
    // SAFETY: pointers and lengths are those of a live slice and of `to`.
    check(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            (&raw const to.storage).cast(),
            to.length,
        )
    })
}

/// `recvfrom(2)`.
///
/// # Errors
/// What the call says, or a sender that is not IP.
pub fn recv_from(fd: &impl AsRawFd, bytes: &mut [u8], flags: i32) -> io::Result<(usize, SocketAddr)> {
    let mut from = empty();
    // SAFETY: pointers and lengths are those of a live slice and of `from`.
    let count = check(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            flags,
            (&raw mut from.storage).cast(),
            &raw mut from.length,
        )
    })?;
    Ok((count, decode(&from)?))
}

/// Takes one message off the error queue of a socket with `IP_RECVERR`; the length of the payload
/// that came back.
///
/// # Errors
/// What the call says; `EAGAIN` when the queue is empty.
pub fn recv_error(fd: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<usize> {
    let mut control = [0_u8; 512];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    // SAFETY: every pointer in `message` refers to a live buffer of the length beside it.
    check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) })
}

/// `setsockopt(2)` with an integer.
///
/// # Errors
/// What the call says.
pub fn set(fd: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    check_int(result).map(drop)
}

/// Makes `close` reset the connection, so that it leaves no TIME_WAIT.
///
/// # Errors
/// What the call says.
pub fn reset_on_close(fd: &impl AsRawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length describe `linger`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    check_int(result).map(drop)
}

/// Limits how long `recv` (and `send`) wait.
///
/// # Errors
/// What the call says.
pub fn set_timeout(fd: &impl AsRawFd, name: i32, milliseconds: i64) -> io::Result<()> {
    let time = libc::timeval { tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000 };
    // SAFETY: the pointer and the length describe `time`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const time).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    check_int(result).map(drop)
}

/// Waits until the socket can be written (a connect has ended) or the time is over.
///
/// # Errors
/// What the call says.
pub fn wait_writable(fd: &impl AsRawFd, milliseconds: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, as said.
    Ok(check_int(unsafe { libc::poll(&raw mut poll, 1, milliseconds) })? > 0)
}

/// The error that waits on a socket, taken off it (`SO_ERROR`); 0 for none.
///
/// # Errors
/// What the call says.
pub fn take_error(fd: &impl AsRawFd) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers describe `value` and its length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    check_int(result).map(|_| value)
}

/// Index of a network interface.
///
/// # Errors
/// There is no such interface.
pub fn interface_index(name: &str) -> io::Result<i32> {
    let name = CString::new(name)?;
    // SAFETY: the pointer is that of a live C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => i32::try_from(index).map_err(io::Error::other),
    }
}

fn link_address(interface: i32) -> libc::sockaddr_ll {
    // SAFETY: all zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface;
    address
}

/// Binds a packet socket to one interface, all protocols.
///
/// # Errors
/// What the call says.
pub fn bind_packet(fd: &impl AsRawFd, interface: i32) -> io::Result<()> {
    let address = link_address(interface);
    // SAFETY: the pointer and the length describe `address`.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check_int(result).map(drop)
}

/// `sendfile(2)` from the file's current offset.
///
/// # Errors
/// What the call says.
pub fn sendfile(to: &impl AsRawFd, from: &impl AsRawFd, count: usize) -> io::Result<usize> {
    // SAFETY: no offset pointer is given.
    check(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), std::ptr::null_mut(), count) })
}

/// `splice(2)` without offsets.
///
/// # Errors
/// What the call says.
pub fn splice(from: &impl AsRawFd, to: &impl AsRawFd, count: usize) -> io::Result<usize> {
    // SAFETY: no offset pointers are given.
    check(unsafe {
        libc::splice(
            from.as_raw_fd(),
            std::ptr::null_mut(),
            to.as_raw_fd(),
            std::ptr::null_mut(),
            count,
            libc::SPLICE_F_MOVE,
        )
    })
}

/// A pipe: its reading end, its writing end.
///
/// # Errors
/// What the call says.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0_i32; 2];
    // SAFETY: the pointer is that of two ints.
    check_int(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call succeeded, both descriptors are ours alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// `sendmmsg(2)`; the length the kernel reports for each message it took.
///
/// # Errors
/// What the call says.
pub fn send_many(fd: &impl AsRawFd, messages: &[(Vec<u8>, SocketAddr)]) -> io::Result<Vec<usize>> {
    let mut addresses: Vec<Address> = messages.iter().map(|(_, to)| encode(*to)).collect();
    let mut vectors: Vec<libc::iovec> = messages
        .iter()
        .map(|(bytes, _)| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = addresses
        .iter_mut()
        .zip(&mut vectors)
        .map(|(address, vector)| {
            // SAFETY: all zero bytes are a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut address.storage).cast();
            header.msg_hdr.msg_namelen = address.length;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    // SAFETY: every pointer in `headers` refers to `addresses`, `vectors` and `messages`, all alive;
    // the kernel only reads the bytes that were cast to mutable.
    let count = check_int(unsafe {
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_NOSIGNAL)
    })?;
    Ok(headers.iter().take(count.unsigned_abs() as usize).map(|header| header.msg_len as usize).collect())
}

/// `recvmmsg(2)`: waits for the first of at most `count` messages of at most 2 KiB; length and sender
/// of each.
///
/// # Errors
/// What the call says, or a sender that is not IP.
pub fn recv_many(fd: &impl AsRawFd, count: usize) -> io::Result<Vec<(usize, SocketAddr)>> {
    let mut buffers = vec![[0_u8; 2048]; count];
    let mut addresses: Vec<Address> = (0..count).map(|_| empty()).collect();
    let mut vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = addresses
        .iter_mut()
        .zip(&mut vectors)
        .map(|(address, vector)| {
            // SAFETY: all zero bytes are a valid mmsghdr.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut address.storage).cast();
            header.msg_hdr.msg_namelen = address.length;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    // SAFETY: every pointer in `headers` refers to `addresses`, `vectors` and `buffers`, all alive.
    let got = check_int(unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as u32,
            libc::MSG_WAITFORONE,
            std::ptr::null_mut(),
        )
    })?;
    let lengths: Vec<usize> =
        headers.iter().take(got.unsigned_abs() as usize).map(|header| header.msg_len as usize).collect();
    lengths.into_iter().zip(&addresses).map(|(length, from)| Ok((length, decode(from)?))).collect()
}

/// Wall clock, µs since the epoch.
#[must_use]
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Real uid, effective uid.
#[must_use]
pub fn uids() -> (u32, u32) {
    (nix::unistd::getuid().as_raw(), nix::unistd::geteuid().as_raw())
}

/// Ends this process when its parent ends.
pub fn die_with_parent() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Renames the calling thread.
pub fn rename_thread(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the pointer is that of a live C string; the kernel copies 16 bytes at most.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// Writes `text` over this process's own command line, as daemons do that show their state in `ps`.
///
/// # Errors
/// The process's memory cannot be written.
pub fn overwrite_arguments(text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Fields 48 and 49 (proc_pid_stat(5)): arg_start, arg_end; after the name the first is field 3.
    let at = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let (Some(start), Some(end)) = (at(48), at(49)) else {
        return Err(io::Error::other("no arg_start in /proc/self/stat"));
    };
    let mut bytes = vec![0_u8; usize::try_from(end - start).unwrap_or(0)];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text[..length]);
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&bytes, start)
}

/// Lets a descriptor pass `exec`.
///
/// # Errors
/// What the call says.
pub fn keep_on_exec(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

/// Takes over a descriptor that was inherited through `exec`.
///
/// # Errors
/// The number is not that of an open descriptor.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check_int(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, was given to this process for this use, and is taken over once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts this program's own bytes and `tail` into a memfd and runs that with `arguments`.
///
/// # Errors
/// Only returns if that failed.
pub fn exec_from_memory(name: &str, tail: &[u8], arguments: &[String]) -> io::Result<()> {
    use std::io::Write as _;
    let name = CString::new(name)?;
    // SAFETY: the pointer is that of a live C string; the descriptor is ours alone.
    let fd =
        unsafe { OwnedFd::from_raw_fd(check_int(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC))?) };
    let mut file = std::fs::File::from(fd);
    file.write_all(&std::fs::read("/proc/self/exe")?)?;
    file.write_all(tail)?;
    let arguments: Vec<CString> =
        arguments.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?;
    // Opened anew for reading: the kernel refuses to run a file that is open for writing.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let readable = std::fs::File::open(path)?;
    drop(file);
    let environment: [CString; 0] = [];
    // SAFETY: the descriptor is open for the length of the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(readable.as_raw_fd()) };
    Err(nix::unistd::fexecve(borrowed, &arguments, &environment)
        .err()
        .map_or_else(|| io::Error::other("fexecve came back"), io::Error::from))
}
