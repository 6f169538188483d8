// SPDX-License-Identifier: GPL-3.0-or-later
//! Maps by numbers, for the writer's hot path: two multiplications for each number instead of the twenty steps of
//! the standard hash. What is hashed are numbers that we gave, or places in memory, or addresses of peers; the
//! seed is a secret of this process, so that nobody can choose those to fall into one place.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by numbers.
pub(super) type Map<K, V> = HashMap<K, V, Quick>;

/// Makes hashers that begin with the same secret.
#[derive(Clone)]
pub(super) struct Quick(u64);

impl Default for Quick {
    fn default() -> Self {
        Quick(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Quick {
    type Hasher = Numbers;

    fn build_hasher(&self) -> Numbers {
        Numbers(self.0)
    }
}

/// See the module.
pub(super) struct Numbers(u64);

/// Both halves of a product: every bit of both factors has its part in it.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // The fraction of the golden ratio; the rotation tells (a, b) from (b, a).
        self.0 = mixed(self.0.rotate_left(23) ^ number, 0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        mixed(self.0, 0xd6e8_feb8_6659_fd93)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in a row, and numbers that differ in their high bits alone, fall into different places.
    #[test]
    fn numbers_are_spread() {
        let quick = Quick::default();
        for shift in [0, 10, 20, 40] {
            let mut low = std::collections::HashSet::new();
            let mut high = std::collections::HashSet::new();
            for n in 0..4096_u64 {
                let hash = quick.hash_one((n << shift, 7_u32));
                low.insert(hash & 0xffff);
                high.insert(hash >> 48);
            }
            // 4096 at random into 65536 leave about 3970 different ones.
            assert!(low.len() > 3800 && high.len() > 3800, "{shift}: {} {}", low.len(), high.len());
        }
    }

    #[test]
    fn order_matters() {
        let quick = Quick::default();
        assert_ne!(quick.hash_one((1_u64, 2_u64)), quick.hash_one((2_u64, 1_u64)));
        assert_ne!(quick.hash_one([1_u8, 2]), quick.hash_one([2_u8, 1]));
    }
}
