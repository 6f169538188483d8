// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading fields out of bytes at the offsets that bindgen found, without `unsafe` and without trust in
//! the length.

/// Bytes of one struct of `wire.h`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'bytes>(pub(super) &'bytes [u8]);

impl<'bytes> Fields<'bytes> {
    pub(super) fn bytes(self, at: usize, length: usize) -> Option<&'bytes [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes(at, N)?.try_into().ok()
    }

    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_ne_bytes)
    }
}
