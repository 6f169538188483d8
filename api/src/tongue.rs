// SPDX-License-Identifier: GPL-3.0-or-later
//! The language of the desktop clients: texts from the catalogue of the session's language, by the C
//! library's own gettext, and its decimal mark. Without a catalogue the English text stands.
//!
//! The texts are in `data/po`; `make translations` compiles them.
#![allow(unsafe_code)] // Calls of the C library; no crate offers them without a regex engine.

use std::ffi::{CStr, CString, c_char, c_ulong};
use std::fmt::Display;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;

const DOMAIN: &CStr = c"picosnitch";

unsafe extern "C" {
    // libintl.h; part of glibc and of musl.
    fn bindtextdomain(domain: *const c_char, dir: *const c_char) -> *mut c_char;
    fn bind_textdomain_codeset(domain: *const c_char, codeset: *const c_char) -> *mut c_char;
    fn dgettext(domain: *const c_char, id: *const c_char) -> *mut c_char;
    fn dngettext(domain: *const c_char, id: *const c_char, plural: *const c_char, n: c_ulong) -> *mut c_char;
}

/// Takes the session's language. To be called first in `main`, before there are threads. Catalogues are
/// where the program is installed: `bin/../share/locale`.
pub fn start() {
    let dir = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.parent()?.join("share/locale")))
        .and_then(|dir| CString::new(dir.into_os_string().into_vec()).ok());
    // SAFETY: all arguments are C strings that live until after the calls; the library copies them. No other
    // thread runs yet, which setlocale wants.
    unsafe {
        libc::setlocale(libc::LC_ALL, c"".as_ptr());
        if let Some(dir) = dir {
            bindtextdomain(DOMAIN.as_ptr(), dir.as_ptr());
        }
        bind_textdomain_codeset(DOMAIN.as_ptr(), c"UTF-8".as_ptr());
    }
}

/// What the catalogue has, unless it is what was asked for.
///
/// # Safety
/// `found` is an answer of gettext: one of the `asked` pointers, or a string of a catalogue, which stays
/// mapped for as long as the process lives.
unsafe fn found(found: *const c_char, asked: &[*const c_char]) -> Option<&'static str> {
    if found.is_null() || asked.contains(&found) {
        return None;
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(found) }.to_str().ok()
}

/// A text in the session's language.
#[must_use]
pub fn tr(text: &'static str) -> &'static str {
    let Ok(id) = CString::new(text) else { return text };
    // The empty text is the catalogue's header.
    if text.is_empty() {
        return text;
    }
    // SAFETY: both are C strings that live until after the calls; see `found`.
    unsafe { found(dgettext(DOMAIN.as_ptr(), id.as_ptr()), &[id.as_ptr()]) }.unwrap_or(text)
}

/// The form for this number. `{n}` stands for it in both.
#[must_use]
pub fn tr_n(one: &'static str, many: &'static str, n: u64) -> &'static str {
    let english = if n == 1 { one } else { many };
    let (Ok(id), Ok(plural)) = (CString::new(one), CString::new(many)) else { return english };
    // SAFETY: all are C strings that live until after the calls; see `found`.
    unsafe {
        let text = dngettext(DOMAIN.as_ptr(), id.as_ptr(), plural.as_ptr(), n as c_ulong);
        found(text, &[id.as_ptr(), plural.as_ptr()])
    }
    .unwrap_or(english)
}

/// A text in the session's language with values in the place of `{names}`.
#[must_use]
pub fn say(text: &'static str, values: &[(&str, &dyn Display)]) -> String {
    fill(tr(text), values)
}

/// [`tr_n`], with the number in the place of `{n}`.
#[must_use]
pub fn say_n(one: &'static str, many: &'static str, n: u64) -> String {
    fill(tr_n(one, many, n), &[("n", &n)])
}

/// Puts values in the place of `{names}`; braces in a value are left as they are.
#[must_use]
pub fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let known = inside.find('}').and_then(|close| {
            let (_, value) = values.iter().find(|(name, _)| *name == &inside[..close])?;
            Some((value, close))
        });
        rest = match known {
            Some((value, close)) => {
                out.push_str(&value.to_string());
                &inside[close + 1..]
            }
            None => {
                out.push('{');
                inside
            }
        };
    }
    out + rest
}

/// Marks a text for the catalogue that is translated where it is shown.
#[must_use]
pub const fn mark(text: &'static str) -> &'static str {
    text
}

/// The mark between whole and part of a number, as the session writes it.
#[must_use]
pub fn decimal() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        // SAFETY: the answer is a C string, valid until the next call; it is copied at once.
        let mark = unsafe {
            let mark = libc::nl_langinfo(libc::RADIXCHAR);
            if mark.is_null() { String::new() } else { CStr::from_ptr(mark).to_string_lossy().into_owned() }
        };
        if mark.is_empty() { ".".to_owned() } else { mark }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_place_of_their_names_once() {
        assert_eq!(fill("{a} and {b}", &[("a", &"{b}"), ("b", &2)]), "{b} and 2");
        assert_eq!(fill("{unknown} {a", &[("a", &1)]), "{unknown} {a");
        assert_eq!(say_n("{n} row", "{n} rows", 1), "1 row");
        assert_eq!(say_n("{n} row", "{n} rows", 0), "0 rows");
    }

    #[test]
    fn without_a_catalogue_the_text_stands() {
        assert_eq!(tr("no such text"), "no such text");
        assert_eq!(tr(""), "");
        assert_eq!(decimal(), ".");
    }
}
