// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;

use zbus::zvariant::{OwnedValue, Value};

use super::*;

fn parse(text: &str) -> Result<Settings, Error> {
    Settings::parse(text, Path::new("config.toml"))
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

fn dict(changes: &[(&str, Value<'_>)]) -> HashMap<String, OwnedValue> {
    changes.iter().map(|(key, value)| ((*key).to_owned(), value.try_to_owned().unwrap())).collect()
}

#[test]
fn the_shipped_file_has_every_key_with_its_default_and_a_comment() {
    assert_eq!(parse(SHIPPED).unwrap(), Settings::default());
    assert_eq!(parse("").unwrap(), Settings::default());
    let shipped: toml::Table = SHIPPED.parse().unwrap();
    for key in convert::flat(&Settings::default()).keys() {
        let mut value = &toml::Value::Table(shipped.clone());
        for word in key.split('.') {
            value = value.get(word).unwrap_or_else(|| panic!("{key} is not in the shipped file"));
        }
    }
    let lines: Vec<_> = SHIPPED.lines().collect();
    for pair in lines.windows(2) {
        if pair[1].contains(" = ") && !pair[1].starts_with('#') {
            assert!(pair[0].starts_with('#'), "no comment above {:?}", pair[1]);
        }
    }
}

#[test]
fn s07_errors_say_where_what_and_what_to_do() {
    for (text, wanted) in [
        (
            "[database]\nretention_day = 3\n",
            "config.toml:2:1: database.retention_day: there is no such setting (did you mean retention_days in [database]?)",
        ),
        (
            "[monitor]\nretention_days = 3\n",
            "config.toml:2:1: monitor.retention_days: there is no such setting (did you mean retention_days in [database]?)",
        ),
        ("[data]\n", "config.toml:1:2: data: there is no such setting"),
        (
            "[databse]\nretention_days = 3\n",
            "config.toml:1:2: databse: there is no such setting (did you mean [database]?)",
        ),
        (
            "[log.ingore]\nports = [1]\n",
            "config.toml:1:6: log.ingore: there is no such setting (did you mean [log.ignore]?)",
        ),
        (
            "retention_days = 3\n",
            "config.toml:1:1: retention_days: there is no such setting (did you mean retention_days in [database]?)",
        ),
        (
            "notfy = { desktop = false }\n",
            "config.toml:1:1: notfy: there is no such setting (did you mean [notify]?)",
        ),
        (
            "[database]\nretention_days = 0\n",
            "config.toml:2:18: database.retention_days: 0 is out of range; 1 to 36500 is accepted",
        ),
        (
            "[monitor]\nring_buffer_kib = 1000\n",
            "config.toml:2:19: monitor.ring_buffer_kib: a power of two is accepted: 64, 128, 256, …",
        ),
        (
            "[log.ignore]\ndomains = [\"*.example.org\"]\n",
            "config.toml:2:11: log.ignore.domains: \"*.example.org\" is not a domain name (a name stands for its subdomains too: leave out the *)",
        ),
        (
            "[log]\nignore = { ports = [0] }\n",
            "config.toml:2:20: log.ignore.ports: 0 is no port; 1 to 65535 is accepted",
        ),
    ] {
        assert_eq!(refused(text), wanted);
    }
    for (text, place, words) in [
        ("[database]\nretention_days = -1\n", "config.toml:2:18: database.retention_days: ", "not negative"),
        (
            "[database]\nenabled = \"yes\"\n",
            "config.toml:2:11: database.enabled: wrong type",
            "true or false",
        ),
        ("[log.ignore]\nports = 80\n", "config.toml:2:9: log.ignore.ports: wrong type", "a list"),
        ("[log.ignore]\nnetworks = [\"10.0.0.0/33\"]\n", "config.toml:2:", "192.0.2.0/24"),
        ("[log.ignore]\nports = [70000]\n", "config.toml:2:", "1 to 65535"),
        ("a = \n", "config.toml:1:", ""),
        ("[monitor]\nbandwidth = true\nbandwidth = true\n", "config.toml:3:1: ", "duplicate"),
        ("[database\n", "config.toml:1:", ""),
        ("monitor = 3\n", "config.toml:1:11: monitor: wrong type", ""),
    ] {
        let message = refused(text);
        assert!(message.starts_with(place) && message.contains(words), "{text:?} gave {message:?}");
        assert!(!message.contains('\n'), "{message:?}");
    }
}

#[test]
fn s07_bytes_that_are_not_text_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, b"[log]\n# caf\xe9\n").unwrap();
    let message = Settings::load(&path).unwrap_err().to_string();
    assert!(message.ends_with("config.toml:2:6: the file is not UTF-8 text (save it as UTF-8)"), "{message}");
}

#[test]
fn s07_what_is_no_file_of_settings_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    for (path, why) in [
        (fifo.as_path(), "it is not a regular file"),
        (folder.path(), "it is not a regular file"),
        (Path::new("/dev/zero"), "it is not a regular file"),
        (large.as_path(), "it is larger than 1 MiB, which no settings are"),
    ] {
        let message = Settings::load(path).unwrap_err().to_string();
        assert_eq!(message, format!("{}: cannot be read: {why}", path.display()));
        assert!(Store::open(path).is_err());
    }
    std::fs::write(&large, vec![b'\n'; 1024 * 1024]).unwrap();
    assert_eq!(Settings::load(&large).unwrap(), Settings::default());
}

#[test]
fn s05_absurd_values_are_refused_and_a_short_history_is_not() {
    for text in [
        "retention_days = 36501",
        "retention_days = 99999999999999",
        "detail_days = 400",
        "write_interval_seconds = 0",
    ] {
        refused(&format!("[database]\n{text}\n"));
    }
    let week = parse("[database]\nretention_days = 7\n").unwrap();
    assert_eq!(week.detail_days(), 7);
    // The default is no mistake either where the file says it, as the shipped one does; another number is.
    let shipped = parse(&SHIPPED.replace("retention_days = 365", "retention_days = 7")).unwrap();
    assert_eq!((shipped.database.retention_days, shipped.detail_days()), (7, 7));
    for days in [29, 31] {
        refused(&format!("[database]\nretention_days = 7\ndetail_days = {days}\n"));
    }
}

#[test]
fn ignored_names_are_kept_in_one_form() {
    let settings =
        parse("[log.ignore]\ndomains = [\"Example.ORG.\"]\nnetworks = [\"192.0.2.9/24\"]\n").unwrap();
    assert_eq!(settings.log.ignore.domains, ["example.org"]);
    assert_eq!(settings.log.ignore.networks[0].to_string(), "192.0.2.0/24");
}

#[test]
fn s07_a_running_daemon_keeps_its_last_good_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "[database]\nretention_days = 9\n").unwrap();
    let store = Store::open(&path).unwrap();
    let mut seen = store.subscribe();
    std::fs::write(&path, "[database]\nretention_days = \n").unwrap();
    assert!(store.reload().is_err());
    assert_eq!(store.current().database.retention_days, 9);
    assert!(!seen.has_changed().unwrap());
    std::fs::write(&path, "[database]\nretention_days = 10\n").unwrap();
    assert_eq!(store.reload().unwrap(), ["database.retention_days"]);
    assert_eq!(seen.borrow_and_update().database.retention_days, 10);
    assert!(Store::open(&folder.path().join("none")).unwrap().current().database.enabled);
}

#[test]
fn s08_a_change_keeps_comments_and_is_whole_private_and_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text = "# mine\n[database]\n# a week\nretention_days = 7 # not more\n\n[log]\nports = true\n";
    std::fs::write(&path, text).unwrap();
    let store = Store::open(&path).unwrap();
    let changed = store
        .set(
            &dict(&[
                ("database.retention_days", 14u32.into()),
                ("log.ignore.ports", vec![53u16, 123].into()),
                ("log.ignore.domains", vec!["example.org"].into()),
                ("virustotal.api_key", "secret".into()),
            ]),
            |_, _| true,
        )
        .unwrap();
    assert_eq!(
        changed,
        ["database.retention_days", "log.ignore.domains", "log.ignore.ports", "virustotal.api_key"]
    );
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(
        now.starts_with(
            "# mine\n[database]\n# a week\nretention_days = 14 # not more\n\n[log]\nports = true\n"
        ),
        "{now}"
    );
    assert_eq!(Settings::load(&path).unwrap(), *store.current());
    assert_eq!(store.current().log.ignore.ports, [53, 123]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn s08_a_change_that_is_not_accepted_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "[database]\nretention_days = 7\n").unwrap();
    let store = Store::open(&path).unwrap();
    for (changes, wanted) in [
        (dict(&[("database.retention_day", 3u32.into())]), "did you mean database.retention_days?"),
        (dict(&[("database.retention_days", 0u32.into()), ("log.ports", false.into())]), "out of range"),
        (dict(&[("database.retention_days", "seven".into())]), "wrong type"),
        (dict(&[("database.retention_days", 7.5f64.into())]), "accepted"),
        (dict(&[("database", true.into())]), "no such setting"),
        (dict(&[("log.ignore.names", vec![""].into())]), "1 to 15 bytes"),
        (dict(&[("log.ignore.names", vec!["sixteen-letters-"].into())]), "\"sixteen-letters\""),
        (dict(&[("remote.url", "sqlite://password@x".into())]), "postgresql://"),
    ] {
        let message = store.set(&changes, |_, _| true).unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
        assert!(!message.contains("password@"), "{message}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[database]\nretention_days = 7\n");
    assert_eq!(store.current().database.retention_days, 7);
}

#[test]
fn a_first_change_writes_the_shipped_file_with_its_comments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/config.toml");
    let store = Store::open(&path).unwrap();
    store.set(&dict(&[("notify.desktop", false.into())]), |_, _| true).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, SHIPPED.replace("desktop = true", "desktop = false"));
}

#[test]
fn secrets_never_leave() {
    let settings =
        parse("[remote]\nurl = \"mysql://u:hunter2@h/d\"\n[virustotal]\napi_key = \"hunter2\"\n").unwrap();
    let dict = settings.to_dict();
    assert!(!format!("{dict:?}{settings:?}").contains("hunter2"));
    let set: Vec<String> = dict["secrets-set"].try_clone().unwrap().try_into().unwrap();
    assert_eq!(set, ["remote.url", "virustotal.api_key"]);
    assert_eq!(i64::try_from(dict["database.retention_days"].try_clone().unwrap()).unwrap(), 365);
    let none: Vec<String> = dict["log.ignore.domains"].try_clone().unwrap().try_into().unwrap();
    assert!(none.is_empty());
    // Everything that Get gives, Set takes back.
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("config.toml")).unwrap();
    let mut dict = store.current().to_dict();
    dict.remove("secrets-set");
    assert_eq!(store.set(&dict, |_, _| true).unwrap(), Vec::<String>::new());
}

#[test]
fn s07_no_message_has_a_value_that_may_be_a_secret() {
    for text in [
        "remote = \"mysql://u:hunter2@h/d\"",
        "virustotal = \"hunter2\"",
        "[remote]\nurl = [\"mysql://u:hunter2@h/d\"]",
        "[remote]\nurl = { password = \"hunter2\" }",
        "[remote]\ntls = \"hunter2\"",
        "[remote]\ntls = \"x, expected hunter2\"",
        "[remote]\noutbox_mib = \"hunter2\"",
        "[remote]\nurl = mysql://u:hunter2@h/d",
        "[remote]\nurl = \"mysql://u:hunter2@h/d",
        "[remote]\nurl = \"mysql://u:hunter2\\q@h/d\"",
        "[remote]\nurl = \"a\" hunter2",
        "[virustotal]\napi_key = 0xhunter2",
        "[virustotal]\nupload = \"hunter2\"",
        "[virustotal]\nca_file = \"hunter2\"",
        "[virustotal]\nurl = \"http://hunter2\"",
        "[database]\nenabled = \"mysql://u:hunter2@h/d\"",
        "[monitor]\nopen_files = \"hunter2\"",
    ] {
        let message = refused(text);
        assert!(!message.contains("hunter2"), "{text:?} gave {message:?}");
        assert!(message.contains("config.toml:"), "{message}");
    }
    let number = refused("[virustotal]\napi_key = 4711471147114711\n");
    assert!(!number.contains("4711") && number.contains("virustotal.api_key: wrong type"), "{number}");
    let tls = refused("[remote]\ntls = \"of\"\n");
    assert!(tls.contains("`off`") && tls.contains("config.toml:2:7: remote.tls: "), "{tls}");
}

#[test]
fn s08_comments_in_a_list_stay_with_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text = "[log.ignore]\n# all of them\nports = [\n    # names\n    53, # of names\n    123, # time\n    # the last\n    443, # web\n    # no more\n] # end\nnames = ['a', \"b\", 'c'] # few\n";
    std::fs::write(&path, text).unwrap();
    let store = Store::open(&path).unwrap();
    let set = |changes: &[(&str, Value<'_>)]| {
        store.set(&dict(changes), |_, _| true).unwrap();
        assert_eq!(Settings::load(&path).unwrap(), *store.current());
        std::fs::read_to_string(&path).unwrap()
    };
    assert_eq!(set(&[("log.ignore.ports", vec![53u16, 123, 443].into())]), text);
    let added = set(&[
        ("log.ignore.ports", vec![53u16, 123, 443, 80, 81].into()),
        ("log.ignore.names", vec!["a", "b", "c", "d"].into()),
    ]);
    let wanted =
        text.replace("    # no more\n", "    80,\n    81,\n    # no more\n").replace("'c']", "'c', \"d\"]");
    assert_eq!(added, wanted);
    let fewer =
        set(&[("log.ignore.ports", vec![53u16, 443].into()), ("log.ignore.names", vec!["a", "c"].into())]);
    assert_eq!(fewer, text.replace("    123, # time\n", "").replace("'a', \"b\", 'c'", "'a', 'c'"));
    let last = set(&[("log.ignore.ports", vec![53u16].into()), ("log.ignore.names", vec!["c"].into())]);
    assert!(last.contains("    53, # of names\n    # no more\n] # end\nnames = ['c'] # few\n"), "{last}");
    let none = set(&[("log.ignore.ports", Vec::<u16>::new().into())]);
    assert!(
        store.current().log.ignore.ports.is_empty() && none.contains("# all of them\nports = ["),
        "{none}"
    );
}

#[test]
fn s08_a_link_that_leads_nowhere_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::os::unix::fs::symlink("elsewhere.toml", &path).unwrap();
    let store = Store::open(&path).unwrap();
    store.set(&dict(&[("notify.desktop", false.into())]), |_, _| true).unwrap();
    assert!(path.is_symlink());
    assert!(!Settings::load(&folder.path().join("elsewhere.toml")).unwrap().notify.desktop);
}
