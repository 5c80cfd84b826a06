//! What the whole room promises: every key, every error with its line, and the documentation that lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::model::{Content, Pointer, SelinuxLabel, Suite, Translations};

/// The smallest configuration.
const MINIMAL: &str = "dir = \"/srv/apt\"\n";

/// A good mirror; lines 2 to 6 of a file that starts with [`MINIMAL`].
const MIRROR: &str = "[mirrors.debian]\n\
                      url = \"http://deb.example/debian\"\n\
                      suites = [\"sid\"]\n\
                      sections = [\"main\"]\n\
                      architectures = [\"amd64\"]\n";

fn parse_with(text: &[u8], variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(OsString::from);
    let surroundings = Surroundings {
        variable: &variable,
        home: Some(Path::new("/home/op")),
        keyrings: Keyrings::MustBeReadable,
        tls_files: TlsFiles::NotLookedAt,
    };
    parse(text, Path::new("m"), &surroundings).map_err(|errors| errors.errors.iter().map(ToString::to_string).collect())
}

fn good(text: &str) -> Settings {
    parse_with(text.as_bytes(), &[]).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

fn bad(text: &str) -> Vec<String> {
    parse_with(text.as_bytes(), &[]).expect_err(text)
}

/// The one error of a mirror to which `line` was added.
#[track_caller]
fn assert_mirror_error(line: &str, error: &str) {
    assert_eq!(bad(&format!("{MINIMAL}{MIRROR}{line}\n")), [error], "{line}");
}

/// The settings of a mirror to which `lines` were added.
fn mirror_with(lines: &str) -> MirrorSettings {
    let mut settings = good(&format!("{MINIMAL}{MIRROR}{lines}\n"));
    settings.mirrors.pop_first().expect("one mirror").1
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn defaults_are_those_of_the_documentation() {
    let settings = good(MINIMAL);
    assert_eq!(settings.dir, Path::new("/srv/apt"));
    assert_eq!(settings.state, Path::new("/var/lib/mirrorctl/snapshots"));
    assert!(!settings.any_file_system);
    assert_eq!(settings.max_conns, 10);
    assert_eq!(
        (settings.log.level, settings.log.format),
        (LogLevel::Info, LogFormat::Text)
    );
    assert_eq!(settings.name_format.as_str(), "2006-01-02T15-04-05Z");
    assert_eq!((settings.prune.keep_last, settings.prune.keep_within), (5, 30 * DAY));
    assert_eq!(
        settings.gc,
        GcSettings {
            auto: true,
            keep_partial: 14 * DAY,
            grace: DAY
        }
    );
    assert_eq!(settings.backup, BackupSettings { every: DAY, keep: 7 });
    assert_eq!(
        (
            settings.mount.data,
            settings.mount.memory,
            settings.mount.watchdog.as_secs()
        ),
        (MountData::Auto, 24 << 20, 20)
    );
    assert!(settings.mirrors.is_empty() && settings.overrides.is_empty());

    let mirror = mirror_with("");
    assert_eq!(mirror.id.as_str(), "debian");
    assert_eq!(mirror.urls[0].to_string(), "http://deb.example/debian");
    assert_eq!(mirror.suites, ["sid".parse().expect("valid")]);
    assert_eq!(mirror.components, ["main".parse().expect("valid")]);
    assert_eq!(mirror.architectures, ["amd64".parse().expect("valid")]);
    assert_eq!(mirror.keyring, None);
    assert!(!mirror.no_pgp_check && !mirror.publish_to_staging && !mirror.publish_to_production);
    assert_eq!(mirror.name_format, NameFormat::default());
    assert_eq!(mirror.prune, PruneSettings::DEFAULT);
}

#[test]
fn every_key_of_the_file_is_obeyed() {
    let settings = good(
        r#"
        dir = "~/apt/"
        max_conns = 3
        [log]
        level = "debug"
        format = "json"
        [snapshot]
        path = "/state/./here/"
        any_file_system = true
        default_name_format = "20060102"
        prune.keep_last = 7
        prune.keep_within = "2w"
        prune.keep_daily = 7
        prune.keep_monthly = 12
        [gc]
        auto = false
        keep_partial = "1d"
        grace = "48h"
        [backup]
        every = "12h"
        keep = 0
        [mount]
        context = "system_u:object_r:httpd_sys_content_t:s0"
        data = "keep-cache"
        memory = "100MB"
        watchdog = "1m"
        "#,
    );
    assert_eq!(settings.dir, Path::new("/home/op/apt"));
    assert_eq!(
        (
            settings.mount.data,
            settings.mount.memory,
            settings.mount.watchdog.as_secs()
        ),
        (MountData::KeepCache, 100_000_000, 60)
    );
    let label = settings.mount.context.as_ref().map(SelinuxLabel::as_str);
    assert_eq!(label, Some("system_u:object_r:httpd_sys_content_t:s0"));
    assert_eq!(settings.state, Path::new("/state/here"));
    assert!(settings.any_file_system);
    assert_eq!(settings.max_conns, 3);
    assert_eq!(
        (settings.log.level, settings.log.format),
        (LogLevel::Debug, LogFormat::Json)
    );
    assert_eq!(settings.name_format.as_str(), "20060102");
    let prune = PruneSettings {
        keep_last: 7,
        keep_within: 14 * DAY,
        keep_daily: 7,
        keep_weekly: 0,
        keep_monthly: 12,
    };
    assert_eq!(settings.prune, prune);
    assert_eq!(
        settings.gc,
        GcSettings {
            auto: false,
            keep_partial: DAY,
            grace: 2 * DAY
        }
    );
    let backup = BackupSettings {
        every: DAY / 2,
        keep: 0,
    };
    assert_eq!(settings.backup, backup);
}

#[test]
fn every_key_of_a_mirror_is_obeyed() {
    let keyring = tempfile::NamedTempFile::new().expect("temporary file");
    let mirror = mirror_with(&format!(
        "pgp_key_path = {:?}\n\
         no_pgp_check = true\n\
         publish_to_staging = true\n\
         publish_to_production = true\n\
         [mirrors.debian.snapshot]\n\
         path = \"/var/lib/mirrorctl/snapshots/\"\n\
         default_name_format = \"Mon2006\"\n\
         [mirrors.debian.snapshot.prune]\n\
         keep_last = 1\n\
         keep_within = \"0\"",
        keyring.path()
    ));
    assert_eq!(mirror.keyring.as_deref(), Some(keyring.path()));
    assert!(mirror.no_pgp_check && mirror.publish_to_staging && mirror.publish_to_production);
    assert_eq!(mirror.name_format.as_str(), "Mon2006");
    assert_eq!((mirror.prune.keep_last, mirror.prune.keep_within), (1, Duration::ZERO));
}

#[test]
fn mirrors_inherit_what_they_do_not_say() {
    let text = format!(
        "{MINIMAL}snapshot = {{ default_name_format = \"2006\", prune = {{ keep_last = 9, keep_within = \"1d\", keep_daily = 7, keep_weekly = 4 }} }}\n\
         {MIRROR}snapshot.prune.keep_last = 2\nsnapshot.prune.keep_weekly = 0\n"
    );
    let settings = good(&text);
    let mirror = settings.mirrors.values().next().expect("one mirror");
    assert_eq!(mirror.name_format.as_str(), "2006");
    assert_eq!((mirror.prune.keep_last, mirror.prune.keep_within), (2, DAY));
    assert_eq!((mirror.prune.keep_daily, mirror.prune.keep_weekly), (7, 0));
    assert_eq!((settings.prune.keep_last, settings.prune.keep_within), (9, DAY));
}

#[test]
fn flat_repositories_have_neither_sections_nor_architectures_and_are_among_themselves() {
    let mirror = |suites: &str| format!("dir = \"/a\"\n[mirrors.x]\nurl = \"http://h/\"\nsuites = {suites}\n");
    let settings = good(&mirror("[\"./\", \"stable/\"]"));
    let flat = settings.mirrors.values().next().expect("a mirror");
    assert_eq!(
        flat.suites.iter().map(Suite::as_str).collect::<Vec<_>>(),
        ["./", "stable/"]
    );
    assert!(flat.components.is_empty() && flat.architectures.is_empty());
    assert_eq!(
        bad(&mirror("[\"./\", \"/\"]")),
        ["m:4:17: mirrors.x.suites: names \"/\" twice"]
    );
    assert_eq!(
        bad(&mirror("[\"./\", \"sid\"]")),
        [
            "m:4:10: mirrors.x.suites: mixes flat repositories (ending in \"/\") with suites below dists/; make them two \
             mirrors"
        ]
    );
    assert_eq!(
        bad(&(mirror("[\"./\"]") + "sections = [\"main\"]\narchitectures = [\"amd64\"]\n")),
        [
            "m:5:12: mirrors.x.sections: flat repositories (suites that end in \"/\") have no sections; leave the key out",
            "m:6:17: mirrors.x.architectures: flat repositories (suites that end in \"/\") have no architectures; leave the \
             key out",
        ]
    );
}

#[test]
fn what_is_mirrored_besides_packages_can_be_chosen() {
    let content = |keys: &str| {
        let settings = good(&format!("{MINIMAL}{MIRROR}{keys}"));
        settings.mirrors.values().next().expect("a mirror").content.clone()
    };
    assert_eq!(content(""), Content::default());
    let all = content(
        "mirror_source = true\n[mirrors.debian.content]\ntranslations = [\"*\"]\nappstream = false\n\
         command_not_found = false\ncontents = true\ninstaller = true\npdiffs = false\n",
    );
    let expected = Content {
        sources: true,
        translations: Translations::All,
        contents: true,
        appstream: false,
        command_not_found: false,
        installer: true,
    };
    assert_eq!(all, expected);
    assert_eq!(
        content("content.translations = []").translations,
        Translations::Of(Vec::new())
    );
    let languages = content("content.translations = [\"de\", \"pt_BR\"]").translations;
    assert!(languages.include("pt_BR") && !languages.include("en"));
    assert_mirror_error(
        "content.translations = [\"*\", \"de\"]",
        "m:7:25: mirrors.debian.content.translations: \"*\" cannot be: a language is written as in the names of \
         Translation files, such as \"en\", \"pt_BR\" or \"sr@latin\"",
    );
    assert_mirror_error(
        "content.pdiffs = true",
        "m:7:18: mirrors.debian.content.pdiffs: is not supported yet",
    );
    assert_mirror_error(
        "content.dep11 = false",
        "m:7:9: mirrors.debian.content.dep11: unknown key; did you mean \"appstream\"?",
    );
}

#[test]
fn every_rule_of_a_value_names_its_line() {
    for (text, error) in [
        ("dir = \"apt\"", "m:1:7: dir: must be an absolute path, but is \"apt\""),
        (
            "dir = \"/a/../b\"",
            "m:1:7: dir: must not have a \"..\" part, but is \"/a/../b\"",
        ),
        ("dir = \"/a\\u0000\"", "m:1:7: dir: must not have control characters"),
        ("\n", "m:1:1: dir: is required"),
        (
            "dir = \"/a\"\nmax_conns = 0",
            "m:2:13: max_conns: must be at least 1, but is 0",
        ),
        (
            "dir = \"/a\"\nmax_conns = -3",
            "m:2:13: max_conns: must be at least 1, but is -3",
        ),
        (
            "dir = \"/a\"\nmax_conns = 99999999999999999999",
            "m:2:13: max_conns: is too large a number",
        ),
        (
            "dir = \"/a\"\n[log]\nlevel = \"trace\"",
            "m:3:9: log.level: \"trace\" is none of debug, info, warn, error",
        ),
        (
            "dir = \"/a\"\n[log]\nformat = \"xml\"",
            "m:3:10: log.format: \"xml\" is none of text, plain, json",
        ),
        (
            "dir = \"/a\"\n[snapshot]\ndefault_name_format = \"15:04\"",
            "m:3:23: snapshot.default_name_format: makes names such as \"03:04\", but a snapshot name starts with a \
             letter or digit and goes on with letters, digits, \".\", \"_\" and \"-\", 128 characters at most",
        ),
        (
            "dir = \"/a\"\n[snapshot.prune]\nkeep_last = 0",
            "m:3:13: snapshot.prune.keep_last: must be at least 1, but is 0",
        ),
        (
            "dir = \"/a\"\n[snapshot.prune]\nkeep_daily = -1",
            "m:3:14: snapshot.prune.keep_daily: must be 0 or more, but is -1",
        ),
        (
            "dir = \"/a\"\n[snapshot.prune]\nkeep_within = \"30\"",
            "m:3:15: snapshot.prune.keep_within: a duration needs a unit (w, d, h, m, s), as in \"30d\", but is \"30\"",
        ),
        (
            "dir = \"/a\"\n[mount]\ncontext = \"httpd_sys_content_t\"",
            "m:3:11: mount.context: must be an SELinux label: user:role:type:level, such as system_u:object_r:httpd_sys_content_t:s0",
        ),
        (
            "dir = \"/a\"\n[mount]\ndata = \"direct\"",
            "m:3:8: mount.data: \"direct\" is none of auto, no-open, keep-cache, passthrough",
        ),
        (
            "dir = \"/a\"\n[mount]\nmemory = \"1000KiB\"",
            "m:3:10: mount.memory: must be at least 1MiB, but is \"1000KiB\"",
        ),
        (
            "dir = \"/a\"\n[gc]\nkeep_partial = \"-1d\"",
            "m:3:16: gc.keep_partial: a duration cannot be negative, but is \"-1d\"",
        ),
        (
            "dir = \"/a\"\n[gc]\ngrace = \"23h\"",
            "m:3:9: gc.grace: must be at least 24h, but is \"23h\"; to free space at once, run gc --now",
        ),
    ] {
        assert_eq!(bad(text), [error], "{text}");
    }
}

#[test]
fn every_rule_of_a_mirror_names_its_line() {
    let replaced = |line: &str, by: &str| bad(&format!("{MINIMAL}{MIRROR}").replace(line, by));
    for (line, by, error) in [
        (
            "[mirrors.debian]",
            "[mirrors.Debian]",
            "m:2:10: mirrors.Debian: a mirror id starts with a-z or 0-9 and goes on with a-z, 0-9, \"_\" and \"-\", \
             128 characters at most",
        ),
        (
            "[mirrors.debian]",
            "[mirrors.current]",
            "m:2:10: mirrors.current: \"current\" is a name the served tree uses itself (current, staging, \
             snapshots, at, .doors)",
        ),
        (
            "url = \"http://deb.example/debian\"\n",
            "",
            "m:2:10: mirrors.debian.url: is required",
        ),
        ("suites = [\"sid\"]\n", "", "m:2:10: mirrors.debian.suites: is required"),
        (
            "sections = [\"main\"]\n",
            "",
            "m:2:10: mirrors.debian.sections: is required",
        ),
        (
            "architectures = [\"amd64\"]\n",
            "",
            "m:2:10: mirrors.debian.architectures: is required",
        ),
        (
            "[\"sid\"]",
            "[]",
            "m:4:10: mirrors.debian.suites: must name at least one",
        ),
        (
            "[\"main\"]",
            "[]",
            "m:5:12: mirrors.debian.sections: must name at least one",
        ),
        (
            "[\"amd64\"]",
            "[]",
            "m:6:17: mirrors.debian.architectures: must name at least one",
        ),
        (
            "[\"sid\"]",
            "[\"sid\", \"sid\"]",
            "m:4:18: mirrors.debian.suites: names \"sid\" twice",
        ),
        (
            "[\"main\"]",
            "[\n\"main\",\n\"main\"]",
            "m:7:1: mirrors.debian.sections: names \"main\" twice",
        ),
        (
            "[\"amd64\"]",
            "[\"i386\", \"i386\"]",
            "m:6:26: mirrors.debian.architectures: names \"i386\" twice",
        ),
        (
            "[\"sid\"]",
            "[\"../sid\"]",
            "m:4:11: mirrors.debian.suites: \"../sid\" cannot be: a suite is a distribution path such as \"bookworm\" \
             or \"bookworm/updates\", or the directory of a flat repository, which ends in \"/\", such as \"./\" or \
             \"stable/\"",
        ),
        (
            "[\"amd64\"]",
            "[\"AMD64\"]",
            "m:6:18: mirrors.debian.architectures: \"AMD64\" cannot be: an architecture consists of a-z, 0-9 and \
             \"-\", such as \"amd64\"",
        ),
        (
            "http://deb.example/debian",
            "deb.example/debian",
            "m:3:7: mirrors.debian.url: is not a URL (relative URL without a base)",
        ),
        (
            "http://deb.example/debian",
            "ftp://deb.example/",
            "m:3:7: mirrors.debian.url: the scheme \"ftp\" is not one of http, https, file",
        ),
        (
            "http://deb.example/debian",
            "http://u:secret@deb.example/?x",
            "m:3:7: mirrors.debian.url: an archive root has no \"?\" or \"#\" part",
        ),
    ] {
        assert_eq!(replaced(line, by), [error], "{by}");
    }
    assert_mirror_error(
        "snapshot.path = \"/elsewhere\"",
        "m:7:17: mirrors.debian.snapshot.path: a state directory of its own is not possible for a mirror; all mirrors \
         share the one of the table [snapshot]",
    );
}

#[test]
fn a_keyring_must_be_a_readable_file_where_it_is_needed() {
    assert_mirror_error(
        "pgp_key_path = \"/no/such/file\"",
        "m:7:16: mirrors.debian.pgp_key_path: cannot read the keyring /no/such/file: No such file or directory (os \
         error 2)",
    );
    assert_mirror_error(
        "pgp_key_path = \"/dev\"",
        "m:7:16: mirrors.debian.pgp_key_path: cannot read the keyring /dev: it is not a regular file",
    );
    assert_mirror_error(
        "pgp_key_path = \"key.asc\"",
        "m:7:16: mirrors.debian.pgp_key_path: must be an absolute path, but is \"key.asc\"",
    );
    let text = format!("{MINIMAL}{MIRROR}pgp_key_path = \"/no/such/file\"\n");
    let surroundings = Surroundings {
        variable: &|_| None,
        home: None,
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    let settings = parse(text.as_bytes(), Path::new("m"), &surroundings).expect("not looked at");
    assert_eq!(settings.mirrors.len(), 1);
}

#[test]
fn mount_point_and_state_keep_apart() {
    for (dir, state, message) in [
        ("/a", "/a/", "the mount point and the state directory are the same"),
        (
            "/a",
            "/a/b",
            "the state directory is inside the mount point, which would hide it",
        ),
        (
            "/",
            "/b",
            "the state directory is inside the mount point, which would hide it",
        ),
        ("/a/b", "/a", "the mount point is inside the state directory"),
    ] {
        let errors = bad(&format!("dir = {dir:?}\n[snapshot]\npath = {state:?}\n"));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with(&format!("m:3:8: snapshot.path: {message}; dir is ")),
            "{errors:?}"
        );
    }
    assert_eq!(
        bad("dir = \"/var/lib/mirrorctl\"")[0],
        "m:1:7: dir: the state directory is inside the mount point, which would hide it; dir is /var/lib/mirrorctl, \
         [snapshot] path is /var/lib/mirrorctl/snapshots"
    );
    good("dir = \"/a/bc\"\n[snapshot]\npath = \"/a/b\"\n");
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (text, error) in [
        (
            "max_con = 3",
            "m:2:1: max_con: unknown key; did you mean \"max_conns\"?",
        ),
        ("[logs]", "m:2:2: logs: unknown key; did you mean \"log\"?"),
        (
            "[mirror.debian]\nurl = 3",
            "m:2:2: mirror: unknown key; write [mirrors.debian]",
        ),
        ("level = \"info\"", "m:2:1: level: unknown key; it belongs in [log]"),
        (
            "[log]\nmax_conns = 3",
            "m:3:1: log.max_conns: unknown key; it belongs at the top, before the first [table]",
        ),
        (
            "[snapshot]\nkeep_last = 3",
            "m:3:1: snapshot.keep_last: unknown key; it belongs in [snapshot.prune]",
        ),
        (
            "[log]\nxyzzy = 3",
            "m:3:1: log.xyzzy: unknown key; known here: level, format",
        ),
        (
            "\"a b\" = 1",
            "m:2:1: \"a b\": unknown key; known here: dir, max_conns, log, http, tls, snapshot, publish, gc, backup, mount, hooks, groups, mirrors",
        ),
    ] {
        assert_eq!(bad(&format!("{MINIMAL}{text}\n")), [error], "{text}");
    }
    for (line, hint) in [
        ("suits = []", "did you mean \"suites\"?"),
        ("arch = []", "did you mean \"architectures\"?"),
        ("components = []", "did you mean \"sections\"?"),
        ("publish_to_prod = true", "did you mean \"publish_to_production\"?"),
        ("keyring = \"/x\"", "did you mean \"pgp_key_path\"?"),
    ] {
        let (key, _) = line.split_once(" = ").expect("a value");
        assert_mirror_error(line, &format!("m:7:1: mirrors.debian.{key}: unknown key; {hint}"));
    }
}

#[test]
fn wrong_types_are_named() {
    for (text, error) in [
        ("dir = 3", "m:1:7: dir: must be text in quotes, but is a whole number"),
        ("dir = [\"/a\"]", "m:1:7: dir: must be text in quotes, but is a list"),
        (
            "dir = \"/a\"\nmax_conns = \"10\"",
            "m:2:13: max_conns: must be a whole number, but is text",
        ),
        (
            "dir = \"/a\"\nmax_conns = 1.5",
            "m:2:13: max_conns: must be a whole number, but is a number with a fraction",
        ),
        (
            "dir = \"/a\"\nlog = \"info\"",
            "m:2:7: log: must be a table, written [log], but is text",
        ),
        (
            "dir = \"/a\"\nmirrors = []",
            "m:2:11: mirrors: must be a table, written [mirrors], but is a list",
        ),
        (
            "dir = \"/a\"\nmirrors.x = 2020-01-01",
            "m:2:9: mirrors.x: must be a table, written [mirrors.x], but is a date or time",
        ),
        (
            "dir = \"/a\"\n[tls]\nmin_version = 1.2",
            "m:3:15: tls.min_version: must be text in quotes, but is a number with a fraction",
        ),
        (
            "dir = \"/a\"\n[backup]\nkeep = -1",
            "m:3:8: backup.keep: must be 0 or more, but is -1",
        ),
        (
            "dir = \"/a\"\n[gc]\nauto = \"yes\"",
            "m:3:8: gc.auto: must be true or false, without quotes, but is text",
        ),
    ] {
        assert_eq!(bad(text), [error], "{text}");
    }
    let text = format!("{MINIMAL}{MIRROR}");
    assert_eq!(
        bad(&text.replace("[\"sid\"]", "\"sid\"")),
        ["m:4:10: mirrors.debian.suites: must be a list, such as [\"one\", \"two\"], but is text"]
    );
    assert_eq!(
        bad(&text.replace("[\"sid\"]", "[\"sid\", 3]")),
        ["m:4:18: mirrors.debian.suites: must be text in quotes, but is a whole number"]
    );
}

#[test]
fn keys_and_tables_that_occur_twice_are_errors_among_the_others() {
    assert_eq!(
        bad("dir = \"/a\"\ndir = \"/b\"\n[log]\n[mirrors.x]\n[log]\nlevle = 1\n[mirrors.x]\n"),
        [
            "m:2:1: the key dir is set a second time",
            "m:5:2: the key log is set a second time",
            "m:6:1: log.levle: unknown key; did you mean \"level\"?",
            "m:7:10: the key x is set a second time",
        ]
    );
}

#[test]
fn syntax_errors_come_alone_one_a_line() {
    let errors = bad("dir = /srv/apt\nwhatever = 3\n[mirrors.x\n[log]\nlevel = \"a\n");
    let places: Vec<_> = errors.iter().map(|error| error.split(": ").next()).collect();
    assert_eq!(places, [Some("m:1:7"), Some("m:3:11"), Some("m:5:11")], "{errors:#?}");
}

#[test]
fn a_file_that_is_not_utf8_says_where() {
    let errors = parse_with(b"dir = \"/a\"\nx = \"\xff\"\n", &[]).expect_err("not UTF-8");
    assert_eq!(errors, ["m:2:6: the file is not UTF-8 text"]);
    let errors = parse_with("\u{feff}dir = \"/a\"".as_bytes(), &[]).expect_err("byte order mark");
    assert_eq!(
        errors,
        ["m:1:1: the file starts with a byte order mark; save it as UTF-8 without one"]
    );
}

#[test]
fn all_errors_come_at_once() {
    let errors =
        bad("max_conns = 0\nfoo = 1\n[mirrors.a]\nurl = \"x\"\nsuits = []\n[mirrors.b]\nsections = [\"a b\"]\n");
    assert_eq!(errors.len(), 12, "{errors:#?}");
}

#[test]
fn the_environment_goes_over_the_file() {
    let text = b"dir = \"/a\"\nmax_conns = 3\n[log]\nlevel = \"info\"\n";
    let settings = parse_with(
        text,
        &[
            ("MIRRORCTL_DIR", "~/b"),
            ("MIRRORCTL_MAX_CONNS", "4"),
            ("MIRRORCTL_LOG_LEVEL", "warn"),
            ("MIRRORCTL_LOG_FORMAT", "plain"),
            ("MIRRORCTL_TLS_MIN_VERSION", "1.2"),
            ("MIRRORCTL_TLS_INSECURE_SKIP_VERIFY", "false"),
            ("MIRRORCTL_TLS_CA_CERT_FILE", ""),
        ],
    )
    .expect("valid");
    assert_eq!(settings.dir, Path::new("/home/op/b"));
    assert_eq!(settings.max_conns, 4);
    assert_eq!(
        (settings.log.level, settings.log.format),
        (LogLevel::Warn, LogFormat::Plain)
    );
    assert_eq!(settings.overrides.len(), 6);
    let from_nothing = parse_with(b"", &[("MIRRORCTL_DIR", "/b")]).expect("dir is not required then");
    assert_eq!(from_nothing.dir, Path::new("/b"));
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (variable, value, error) in [
        ("MIRRORCTL_DIR", "b", "dir: must be an absolute path, but is \"b\""),
        (
            "MIRRORCTL_MAX_CONNS",
            "many",
            "max_conns: must be a whole number, but is \"many\"",
        ),
        ("MIRRORCTL_MAX_CONNS", "0", "max_conns: must be at least 1, but is 0"),
        (
            "MIRRORCTL_LOG_LEVEL",
            "loud",
            "log.level: \"loud\" is none of debug, info, warn, error",
        ),
        (
            "MIRRORCTL_LOG_FORMAT",
            "xml",
            "log.format: \"xml\" is none of text, plain, json",
        ),
        (
            "MIRRORCTL_TLS_MIN_VERSION",
            "1.4",
            "tls.min_version: \"1.4\" is none of 1.2, 1.3",
        ),
        (
            "MIRRORCTL_TLS_MAX_VERSION",
            "1.1",
            "tls.max_version: TLS 1.1 cannot be negotiated by this program: it is broken, and only 1.2 and 1.3 are \
             spoken; mirrorctl check tls says which versions upstream has",
        ),
        (
            "MIRRORCTL_TLS_INSECURE_SKIP_VERIFY",
            "1",
            "tls.insecure_skip_verify: must be true or false, but is \"1\"",
        ),
        (
            "MIRRORCTL_TLS_CA_CERT_FILE",
            "x",
            "tls.ca_cert_file: must be an absolute path, but is \"x\"",
        ),
        (
            "MIRRORCTL_TLS_CLIENT_CERT_FILE",
            "/x",
            "tls.client_cert_file: is nothing without client_key_file",
        ),
        (
            "MIRRORCTL_TLS_CLIENT_KEY_FILE",
            "/x",
            "tls.client_key_file: is nothing without client_cert_file",
        ),
        (
            "MIRRORCTL_TLS_CIPHER_SUITES",
            "TLS_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256",
            "tls.cipher_suites: names \"TLS_AES_128_GCM_SHA256\" twice",
        ),
        (
            "MIRRORCTL_TLS_SERVER_NAME",
            "10.0.0.1",
            "tls.server_name: \"10.0.0.1\" is no name of a host, such as mirror.example.org",
        ),
    ] {
        let errors = parse_with(MINIMAL.as_bytes(), &[(variable, value)]).expect_err(variable);
        assert_eq!(errors, [format!("{variable}: {error}")]);
    }
    let surroundings = Surroundings {
        variable: &|_| Some(OsString::from_vec(vec![0xff])),
        home: None,
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    let errors = parse(MINIMAL.as_bytes(), Path::new("m"), &surroundings).expect_err("not UTF-8");
    assert_eq!(errors.errors.len(), 12);
    assert_eq!(errors.errors[0].message, "is not UTF-8 text");
}

#[test]
fn home_must_be_known_to_be_used() {
    let surroundings = Surroundings {
        variable: &|_| None,
        home: None,
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    let errors = parse(b"dir = \"~/a\"", Path::new("m"), &surroundings).expect_err("no home");
    assert_eq!(errors.errors[0].message, "starts with \"~/\", but HOME is not set");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let surroundings = Surroundings {
        variable: &|_| None,
        home: None,
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    let missing = PathBuf::from("/no/such/mirror.toml");
    let error = load(&missing, &surroundings).expect_err("no file");
    assert_eq!(error.to_string(), "cannot read the configuration /no/such/mirror.toml");
    let large = tempfile::NamedTempFile::new().expect("temporary file");
    large.as_file().set_len(LARGEST_FILE + 1).expect("sparse file");
    let error = load(large.path(), &surroundings).expect_err("too large");
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    std::fs::write(large.path(), MINIMAL).expect("written");
    assert!(load(large.path(), &surroundings).is_ok());
}

/// The configuration of the walk-through that operators of the earlier program know.
#[test]
fn a_configuration_of_the_earlier_program_loads_unchanged() {
    let settings = good(
        r#"# Base directory for all mirrored repositories
dir = "/var/www/apt/"

# Snapshot configuration
[snapshot]
path = "/var/lib/mirrorctl/snapshots"
default_name_format = "2006-01-02T15-04-05Z"

[snapshot.prune]
keep_last = 5

# Mirror configuration
[mirrors.ubuntu-noble]
url = "https://archive.ubuntu.com/ubuntu/"
suites = ["noble"]
sections = ["main"]
architectures = ["amd64"]
publish_to_staging = true  # Automatically publish new snapshots to staging
"#,
    );
    assert_eq!(settings.dir, Path::new("/var/www/apt"));
    let mirror = settings.mirrors.values().next().expect("one mirror");
    assert!(mirror.publish_to_staging && !mirror.publish_to_production);
}

proptest::proptest! {
    /// Whatever a file says, it gives settings or at least one error, and never a panic.
    #[test]
    fn no_text_is_too_strange(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        let text = pieces.concat();
        if let Err(errors) = parse_with(text.as_bytes(), &[]) {
            proptest::prop_assert!(!errors.is_empty());
        }
    }
}

#[test]
fn mirrors_inherit_how_files_are_fetched_except_for_the_rate() {
    let settings = good(&format!(
        "{MINIMAL}[http]\nretries = 3\nread_timeout = \"5s\"\nmax_rate = \"10MB/s\"\nproxy = \"p:3128\"\n\
         {MIRROR}[mirrors.debian.http]\nretries = 0\nproxy = \"none\"\nauth_conf = \"/a/b\"\n\
         [mirrors.other]\nurls = [\"http://a/\", \"http://b/\"]\nsuites = [\"s\"]\nsections = [\"m\"]\n\
         architectures = [\"a\"]\n[mirrors.other.http]\nmax_rate = \"1MiB\"\nmin_rate = \"0\"\n",
    ));
    let http = |id: &str| settings.mirrors[&id.parse().expect("valid")].http.clone();
    let (debian, other) = (http("debian"), http("other"));
    assert_eq!(settings.http.max_rate.map(u64::from), Some(10_000_000));
    assert_eq!((debian.retries, debian.read_timeout.as_secs()), (0, 5));
    assert_eq!((debian.proxy, debian.max_rate), (ProxySettings::default(), None));
    assert_eq!(debian.auth_conf.as_deref(), Some(Path::new("/a/b")));
    assert_eq!((other.retries, other.min_rate), (3, 0));
    assert_eq!(other.max_rate.map(u64::from), Some(1 << 20));
    assert_eq!(
        other.proxy.https.map(|proxy| proxy.to_string()).as_deref(),
        Some("http://p:3128")
    );
    assert_eq!(settings.mirrors[&"other".parse().expect("valid")].urls.len(), 2);
}

#[test]
fn what_cannot_be_of_fetching_is_refused_without_secrets() {
    for (text, error) in [
        ("retries = -1", "retries: must be between 0 and 100, but is -1"),
        ("retries = 101", "retries: must be between 0 and 100, but is 101"),
        ("read_timeout = \"0\"", "read_timeout: must be longer than 0"),
        ("connect_timeout = \"30\"", "connect_timeout: a duration needs a unit"),
        ("max_rate = \"fast\"", "max_rate: must be a size"),
        ("proxy = \"ftp://bob:secret@h\"", "proxy: has the scheme \"ftp\""),
        ("proxy = \"bob:secret@\"", "proxy: is not the URL of a proxy"),
        ("auth_conf = \"a\"", "auth_conf: must be an absolute path"),
    ] {
        let errors = bad(&format!("{MINIMAL}[http]\n{text}\n"));
        assert!(errors[0].contains(&format!("http.{error}")), "{errors:?}");
        assert!(!errors[0].contains("secret"), "{errors:?}");
    }
    for (line, error) in [
        ("urls = [\"http://h/\"]", "urls: stands beside url"),
        ("urls = []", "urls: stands beside url"),
    ] {
        let errors = bad(&format!("{MINIMAL}{MIRROR}{line}\n"));
        assert!(errors[0].contains(error), "{errors:?}");
    }
    let without_url = MIRROR.replace("url = \"http://deb.example/debian\"\n", "");
    for (line, error) in [
        ("urls = []", "urls: must name at least one"),
        (
            "urls = [\"http://a/\", \"http://bob:secret@a/\", \"http://a/\"]",
            "urls: names http://a/ twice",
        ),
        ("urls = [\"http://a/\", \"ftp://b/\"]", "urls: the scheme \"ftp\""),
    ] {
        let errors = bad(&format!("{MINIMAL}{without_url}{line}\n"));
        assert!(errors[0].contains(error), "{errors:?}");
    }
}

const PIECES: &[&str] = &[
    "dir",
    "log",
    "mirrors",
    "debian",
    "snapshot",
    "prune",
    "keep_last",
    "suites",
    "url",
    "tls",
    "ä",
    " = ",
    "\n",
    "\n[",
    "\n[[",
    "]\n",
    "]]",
    "{",
    "}",
    "[",
    "]",
    ",",
    ".",
    "\"",
    "'",
    "\"/a\"",
    "\"http://h/\"",
    "-3",
    "0x10",
    "1.5",
    "true",
    "2020-01-01",
    "#",
    "\"\"\"",
    "\\",
    "\u{1b}",
    "\r\n",
    "\r",
];

const DOCUMENTATION: &str = include_str!("../../docs/configuration.md");

/// The first words in backticks of the rows of the documentation's tables that have three columns.
fn documented_keys() -> BTreeSet<String> {
    let rows = DOCUMENTATION.lines().filter(|line| line.matches(" | ").count() >= 2);
    let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

#[test]
fn the_documentation_lists_exactly_the_known_keys() {
    assert_eq!(documented_keys(), file::known_keys());
}

#[test]
fn the_documentation_lists_exactly_the_variables() {
    let asked = std::cell::RefCell::new(BTreeSet::new());
    let variable = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    let surroundings = Surroundings {
        variable: &variable,
        home: None,
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    parse(MINIMAL.as_bytes(), Path::new("m"), &surroundings).expect("valid");
    let rows = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("| `MIRRORCTL_"));
    let documented: BTreeSet<_> = rows
        .filter_map(|row| Some(format!("MIRRORCTL_{}", row.split('`').next()?)))
        .collect();
    assert_eq!(documented, asked.into_inner());
}

#[test]
fn the_example_of_the_documentation_loads() {
    let (_, rest) = DOCUMENTATION.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    assert_eq!(good(example).mirrors.len(), 1);
}

#[test]
fn tests_and_hooks_are_obeyed() {
    let text = format!(
        "{MINIMAL}\
         [hooks]\nafter_promote = [\"purge\", \"notify\"]\non_failure = [\"mail\"]\ntimeout = \"5s\"\n\
         {MIRROR}max_shrink = 20\n\
         [mirrors.debian.hooks]\nafter_promote = []\nafter_sync = [\"own\"]\n\
         [mirrors.debian.test]\nrequired = true\ncommands = [\"a b\", \"c\"]\ntimeout = \"2h\"\nmin_packages = 0\n\
         min_validity = \"3d\"\ncompanions = [\"other\"]\n{}",
        MIRROR.replace("debian]", "other]")
    );
    let settings = good(&text);
    assert_eq!(settings.hooks.after_promote, ["purge", "notify"]);
    let mirror = settings.mirrors.values().next().expect("debian");
    let hooks = HookSettings {
        after_sync: vec!["own".to_owned()],
        on_failure: vec!["mail".to_owned()],
        timeout: Duration::from_secs(5),
        ..HookSettings::NONE
    };
    assert_eq!(mirror.hooks, hooks);
    let test = TestSettings {
        required: true,
        commands: vec!["a b".to_owned(), "c".to_owned()],
        timeout: Duration::from_hours(2),
        min_packages: 0,
        max_shrink: crate::model::Percent::new(20).expect("a percentage"),
        min_validity: 3 * DAY,
        companions: vec!["other".parse().expect("valid")],
    };
    assert_eq!(mirror.test, test);
    assert!(mirror.terms(&Pointer::Current).must_have_passed && !mirror.terms(&Pointer::Staging).must_have_passed);

    let plain = mirror_with("");
    assert_eq!(
        (plain.hooks, plain.test.timeout),
        (HookSettings::NONE, Duration::from_mins(10))
    );
    assert!(!plain.test.required);
    assert!(!mirror_with("").terms(&Pointer::Current).must_have_passed);
}

#[test]
fn tests_and_hooks_that_cannot_be_are_refused() {
    for (line, error) in [
        (
            "test.commands = [\" \"]",
            "m:7:18: mirrors.debian.test.commands: must not be empty",
        ),
        (
            "test.timeout = \"0\"",
            "m:7:16: mirrors.debian.test.timeout: must be longer than 0",
        ),
        (
            "test.min_packages = -1",
            "m:7:21: mirrors.debian.test.min_packages: must be 0 or more, but is -1",
        ),
        (
            "test.max_shrink = 101",
            "m:7:19: mirrors.debian.test.max_shrink: must be a percentage from 0 to 100, but is 101",
        ),
        (
            "test.companions = [\"debian\"]",
            "m:7:20: mirrors.debian.test.companions: is the mirror itself",
        ),
        (
            "test.companions = [\"debain\"]",
            "m:7:20: mirrors.debian.test.companions: \"debain\" is no mirror; companions are ids of mirrors, as in [mirrors.ID], or groups",
        ),
        (
            "hooks.after_sync = [\"a\\u0000\"]",
            "m:7:21: mirrors.debian.hooks.after_sync: must not have a NUL character",
        ),
        (
            "hooks.before_sync = []",
            "m:7:7: mirrors.debian.hooks.before_sync: unknown key; did you mean \"after_sync\"?",
        ),
        (
            "test.required = true\npublish_to_production = true",
            "m:7:17: mirrors.debian.test.required: cannot be together with publish_to_production = true, which moves \
             production before anything is tested; leave publish_to_production out, and run mirrorctl sync --promote-if-tested",
        ),
    ] {
        assert_mirror_error(line, error);
    }
}

#[test]
fn groups_environments_and_lending_that_cannot_be_are_refused() {
    const OWN: &str = "is a name the served tree uses itself (current, staging, snapshots, at, .doors)";
    const ENVIRONMENTS: &str = "mirrors.debian.environments";
    const NO_MIRROR: &str = "is no mirror; a group has the ids of mirrors, as in [mirrors.ID]";
    let rule =
        "an environment starts with a-z or 0-9 and goes on with a-z, 0-9, \"_\" and \"-\", 128 characters at most";
    for (line, error) in [
        ("environments = []", format!("m:7:16: {ENVIRONMENTS}: must name at least one")),
        (
            "environments = [\"qa\", \"qa\", \"current\"]",
            format!("m:7:23: {ENVIRONMENTS}: names \"qa\" twice"),
        ),
        (
            "environments = [\"at\", \"current\"]",
            format!("m:7:17: {ENVIRONMENTS}: \"at\" cannot be: \"at\" {OWN}"),
        ),
        (
            "environments = [\"snapshots\"]",
            format!("m:7:17: {ENVIRONMENTS}: \"snapshots\" cannot be: \"snapshots\" {OWN}"),
        ),
        (
            "environments = [\"QA\", \"current\"]",
            format!("m:7:17: {ENVIRONMENTS}: \"QA\" cannot be: {rule}"),
        ),
        (
            "publish.keep_generations = -1",
            "m:7:28: mirrors.debian.publish.keep_generations: must be 0 or more, but is -1".to_owned(),
        ),
        (
            "publish.keep_for = \"soon\"",
            "m:7:20: mirrors.debian.publish.keep_for: not a duration such as \"30d\", \"2w\", \"168h\" or \"2h30m\", but is \"soon\"".to_owned(),
        ),
        (
            "[groups]\ndebian = [\"debian\"]",
            "m:8:1: groups.debian: is a mirror already: a group needs a name of its own".to_owned(),
        ),
        ("[groups]\nall = [\"debain\"]", format!("m:8:8: groups.all: \"debain\" {NO_MIRROR}")),
        (
            "[groups]\nsome = [\"debian\"]\nall = [\"some\"]",
            format!("m:9:8: groups.all: \"some\" {NO_MIRROR}"),
        ),
        ("[groups]\nall = []", "m:8:7: groups.all: must name at least one".to_owned()),
        (
            "[groups]\nall = [\"debian\", \"debian\"]",
            "m:8:18: groups.all: names \"debian\" twice".to_owned(),
        ),
        (
            "[groups]\nsnapshots = [\"debian\"]",
            format!("m:8:1: groups.snapshots: cannot be the name of a group: \"snapshots\" {OWN}"),
        ),
        (
            "[groups]\nall = \"debian\"",
            "m:8:7: groups.all: must be a list, such as [\"one\", \"two\"], but is text".to_owned(),
        ),
    ] {
        assert_mirror_error(line, &error);
    }
    for (line, error) in [
        (
            "publish.keep_generations = -1\n",
            "m:2:28: publish.keep_generations: must be 0 or more, but is -1".to_owned(),
        ),
        (
            "publish.keep_for = \"-2h\"\n",
            "m:2:20: publish.keep_for: a duration cannot be negative, but is \"-2h\"".to_owned(),
        ),
    ] {
        assert_eq!(bad(&format!("{MINIMAL}{line}{MIRROR}")), [error], "{line}");
    }
    // Both exist whether they are named or not.
    let pointers = mirror_with("environments = [\"qa\"]").pointers();
    let names: Vec<&str> = pointers.iter().map(Pointer::name).collect();
    assert_eq!(names, ["qa", "staging", "current"]);
}

#[test]
fn companions_may_be_named_by_their_group() {
    let other = |id: &str| MIRROR.replace("debian]", &format!("{id}]"));
    let config = |companions: &str, groups: &str| {
        let test = format!("test.companions = {companions}\n");
        format!("{MINIMAL}{MIRROR}{test}{}{}[groups]\n{groups}", other("b"), other("c"))
    };
    let mut settings = good(&config("[\"c\", \"all\"]", "all = [\"debian\", \"b\", \"c\"]\n"));
    let companions = settings.mirrors.remove(&"debian".parse().expect("valid"));
    let companions = companions.expect("the first mirror").test.companions;
    let names: Vec<&str> = companions.iter().map(crate::model::MirrorId::as_str).collect();
    assert_eq!(names, ["c", "b"], "each once, and never the mirror itself");
    assert_eq!(
        bad(&config("[\"own\"]", "own = [\"debian\"]\n")),
        ["m:7:20: mirrors.debian.test.companions: is a group of no other mirror"]
    );
}
