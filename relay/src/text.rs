// SPDX-License-Identifier: GPL-3.0-or-later
//! Sentences of other people's, short and without control characters.

use picosnitch_relay_wire::MAX_WHY;

/// What may be put into an answer.
pub fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_WHY)
        .collect();
    plain.truncate(plain.trim_end().len());
    plain
}
