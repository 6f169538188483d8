// SPDX-License-Identifier: GPL-3.0-or-later
//! x

use super::Case;

/// The cases.
pub const CASES: &[Case] = &[];
