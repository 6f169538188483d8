// SPDX-License-Identifier: GPL-3.0-or-later
//! Command lines with their changing parts folded to `*`, so that a thousand runs of one script are one
//! line in the list of a program's command lines and one line in a ranking.

/// Longest folded command line, bytes.
const MAX: usize = 256;

/// Folds one command line. Stays as it is: the first word, options and plain words. Becomes `*`: what looks
/// made for one run (long numbers, hexadecimal ids, anything longer than 64 bytes), and the value of an option
/// that looks so. Words beyond 256 bytes in all become one last `*`.
pub(super) fn fold(cmdline: &[u8]) -> Vec<u8> {
    let mut folded: Vec<u8> = Vec::with_capacity(cmdline.len().min(MAX));
    for (index, word) in cmdline.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).enumerate() {
        let word: &[u8] = if index == 0 {
            word.get(..MAX / 2).unwrap_or(word)
        } else {
            match word.iter().position(|byte| *byte == b'=') {
                _ if !changing(word) => word,
                Some(equals) if !changing(&word[..equals]) => {
                    push(&mut folded, &[&word[..=equals], b"*"].concat());
                    continue;
                }
                _ => b"*",
            }
        };
        if folded.len() + word.len() + 3 > MAX {
            push(&mut folded, b"*");
            break;
        }
        push(&mut folded, word);
    }
    folded
}

/// What a program's further command lines are folded to once it has had too many different ones.
pub(super) fn rest(cmdline: &[u8]) -> Vec<u8> {
    let first = cmdline.split(|byte| *byte == b' ').next().unwrap_or_default();
    [first.get(..MAX / 2).unwrap_or(first), b" *"].concat()
}

fn push(folded: &mut Vec<u8>, word: &[u8]) {
    if word == b"*" && folded.ends_with(b" *") {
        return;
    }
    if !folded.is_empty() {
        folded.push(b' ');
    }
    folded.extend_from_slice(word);
}

/// A run of four digits or more, a run of eight hexadecimal digits with a digit among them, or very long.
fn changing(word: &[u8]) -> bool {
    if word.len() > 64 {
        return true;
    }
    let runs = |test: fn(u8) -> bool, at_least: usize, digit: bool| {
        word.split(|byte| !test(*byte))
            .any(|run| run.len() >= at_least && (!digit || run.iter().any(u8::is_ascii_digit)))
    };
    runs(|byte| byte.is_ascii_digit(), 4, false) || runs(|byte| byte.is_ascii_hexdigit(), 8, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn text(cmdline: &str) -> String {
        String::from_utf8(fold(cmdline.as_bytes())).unwrap()
    }

    #[test]
    fn changing_parts_become_a_star() {
        assert_eq!(text("curl -s https://example.org/index.html"), "curl -s https://example.org/index.html");
        assert_eq!(text("ssh -p 22 host"), "ssh -p 22 host");
        assert_eq!(text("worker --id=8f14e45fceea167a --n 3"), "worker --id=* --n 3");
        assert_eq!(text("tool /tmp/123456 /tmp/99999 end"), "tool * end");
        assert_eq!(text(""), "");
    }

    #[test]
    fn it_is_bounded() {
        let long = format!("prog {}", "word ".repeat(2000));
        assert!(fold(long.as_bytes()).len() <= MAX);
        assert!(fold(&[b'x'; 5000]).len() <= MAX);
        assert_eq!(rest(b"prog a b"), b"prog *");
    }
}
