// SPDX-License-Identifier: GPL-3.0-or-later
//! An array of the kernel side as memory of ours, mapped piece by piece as it is looked at: a mapped page
//! counts as ours, and most slots are never used.

// Mapping memory that is shared with the kernel, and pointing into it, is all that is unsafe here.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;

use libbpf_rs::MapHandle;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A BPF array with `BPF_F_MMAPABLE`. `T` is a twin of its values, made of atomics alone: all of it changes
/// behind our back.
pub(super) struct Pieces<T> {
    /// The array.
    pub(super) map: MapHandle,
    /// Values in a piece.
    each: u32,
    rights: ProtFlags,
    mapped: Box<[OnceCell<NonNull<T>>]>,
    values: PhantomData<T>,
}

impl<T> Pieces<T> {
    /// Of the first `most` values, `each` are mapped together. A piece that is no whole number of pages can
    /// only be the first.
    pub(super) fn new(map: MapHandle, each: u32, most: u32, rights: ProtFlags) -> Self {
        let mapped = (0..most.div_ceil(each)).map(|_| OnceCell::new()).collect();
        Pieces { map, each, rights, mapped, values: PhantomData }
    }

    fn bytes(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.each as usize * size_of::<T>()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Maps a piece, if it is not.
    ///
    /// # Errors
    /// The kernel's refusal: also for pieces that do not begin with a page.
    pub(super) fn map_piece(&self, index: usize) -> Result<NonNull<T>, libbpf_rs::Error> {
        let piece = self
            .mapped
            .get(index)
            .ok_or_else(|| libbpf_rs::Error::from_raw_os_error(Errno::EINVAL as i32))?;
        if let Some(start) = piece.get() {
            return Ok(*start);
        }
        let offset = (index * self.bytes().get()) as nix::libc::off_t;
        // SAFETY: a fresh shared mapping of a part of a BPF array; nothing else of this process points into it.
        let memory =
            unsafe { mmap(None, self.bytes(), self.rights, MapFlags::MAP_SHARED, self.map.as_fd(), offset) };
        let start = memory.map_err(|errno| libbpf_rs::Error::from_raw_os_error(errno as i32))?.cast();
        Ok(*piece.get_or_init(|| start))
    }

    /// A value; `None` if it is not one of those that are mapped, or cannot be now.
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let index = (at / self.each) as usize;
        let start = match self.mapped.get(index)?.get() {
            Some(start) => *start,
            None => match self.map_piece(index) {
                Ok(start) => start,
                Err(error) => {
                    tracing::debug!("mapping an array of the kernel side: {error}");
                    return None;
                }
            },
        };
        // SAFETY: the mapping holds `each` values, of which this is one, and lives as long as `self`.
        Some(unsafe { start.add((at % self.each) as usize).as_ref() })
    }
}

impl<T> Pieces<T> {
    /// Unmaps all. What is looked at again is mapped again.
    pub(super) fn unmap(&mut self) {
        let bytes = self.bytes().get();
        for start in self.mapped.iter_mut().filter_map(OnceCell::take) {
            // SAFETY: exactly the mapping made in `map_piece`; references into it borrow `self`.
            let _ = unsafe { munmap(start.cast(), bytes) };
        }
    }
}

impl<T> Drop for Pieces<T> {
    fn drop(&mut self) {
        self.unmap();
    }
}
