//! Time travel: real apt and nginx at `<mirror>/at/<time>`.
//!
//! Owns the proof that clients get the tree of a time and no other, by its URL and, where the installed apt can, by apt's
//! own option; and that what changes shows at once through the real mount.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mirrorctl::model::Timestamp;
use mirrorctl_testkit::{
    AptRoot, ArchiveBuilder, Config, Deb, Mirror, MountGuard, Nginx, Ran, SuiteSpec, TestEnv, fetch, now,
};

use crate::site::{SUITE, Site, comes_true};

/// 2024-03-01T00:00:00Z.
const MARCH: i64 = 1_709_251_200;
/// 2024-04-01T12:30:00Z.
const APRIL: i64 = 1_711_974_600;

const ORIGIN: &str = "Example";

/// A mirror `debian` with a snapshot `march`, in which the package hello has version 1, and one `april`, in which it has
/// version 2 and which is published.
struct Place {
    nginx: Nginx,
    _mount: MountGuard,
    key: PathBuf,
    env: TestEnv,
}

impl Place {
    fn new() -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let root = env.root().join("upstream");
        let suite = SuiteSpec::new(SUITE)
            .origin(ORIGIN, "Everything")
            .package("main", hello("1"));
        let archive = ArchiveBuilder::new().suite(suite);
        let mut archive = archive.create(&root, Timestamp::from_unix(MARCH)).expect("an archive");
        let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
        let mirror = Mirror::new("debian", "http://upstream.invalid")
            .suites(&[SUITE])
            .key(&key);
        env.configure(Config::new().mirror(mirror));
        let mount = MountGuard::mount(&env);
        let place = Self {
            nginx: Nginx::serve(&env.mount_dir()),
            _mount: mount,
            key,
            env,
        };
        place.import(&root, "march");
        archive.add(SUITE, "main", &hello("2")).expect("a package");
        archive.publish(Timestamp::from_unix(APRIL)).expect("published");
        place.import(&root, "april");
        place.run("snapshot publish debian april").success();
        place
    }

    /// Makes a snapshot of the archive at `root`, as of the date of its Release file.
    fn import(&self, root: &Path, name: &str) {
        let line = format!("import debian {} --copy --name {name}", root.display());
        self.run(&line).success();
    }

    fn run(&self, line: &str) -> Ran {
        self.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The snapshot to which a time leads; `None` when there is no such link.
    fn led_to(&self, time: &str) -> Option<String> {
        led_to(&self.env.served(&format!("debian/at/{time}")))
    }

    /// What nginx answers for the Release file of a time.
    fn status(&self, time: &str) -> u16 {
        let url = format!("{}/debian/at/{time}/dists/{SUITE}/InRelease", self.nginx.url());
        fetch(&url).expect("an answer").status
    }

    /// A machine that uses what is at `path` of the mount.
    fn client(&self, path: &str) -> AptRoot {
        let apt = AptRoot::new();
        apt.source(&format!("{}/{path}", self.nginx.url()), SUITE, &["main"], &self.key);
        apt
    }

    /// The version of hello that a new machine installs from a source at `path`. With `options`, it has updated without
    /// them before: apt knows from an archive's Release file where its snapshots are.
    fn installed_from(&self, path: &str, options: &[&str]) -> Option<String> {
        let apt = self.client(path);
        let run = |words: &[&str]| apt.apt_get(words).args(options).run().success();
        if !options.is_empty() {
            apt.update().success();
        }
        run(&["update", "--error-on=any"]);
        run(&["install", "--yes", "hello"]);
        apt.installed("hello")
    }
}

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "all").file("usr/share/hello/version", version)
}

/// The name at the end of a link's target, which must be a snapshot.
fn led_to(link: &Path) -> Option<String> {
    let target = match fs::read_link(link) {
        Ok(target) => target.to_str().expect("text").to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("{}: {error}", link.display()),
    };
    let name = target.strip_prefix("../snapshots/");
    Some(name.unwrap_or_else(|| panic!("{target}")).to_owned())
}

/// The canonical spelling of a time as commands print it.
fn spelling(time: &str) -> String {
    time.replace(['-', ':'], "")
}

#[test]
fn apt_gets_what_was_there_at_a_time() {
    let place = Place::new();
    for (time, expected) in [
        ("20240301T000000Z", Some("march")),
        ("2024-03-01", Some("march")),
        ("2024-03-01T00:00:00Z", Some("march")),
        ("20240401T122959Z", Some("march")),
        ("2024-04-01", Some("march")),
        ("20240401T123000Z", Some("april")),
        ("2024-04-02", Some("april")),
        ("20240229T235959Z", None),
        ("1970-01-01", None),
        ("99991201T000000Z", None),
        ("20240301", None),
        ("2024-02-30", None),
        ("current", None),
        ("march", None),
    ] {
        assert_eq!(place.led_to(time).as_deref(), expected, "{time}");
        assert_eq!(place.status(time), if expected.is_some() { 200 } else { 404 }, "{time}");
    }
    assert_eq!(
        fs::read_dir(place.env.served("debian/at"))
            .expect("a directory")
            .count(),
        0
    );
    assert_eq!(
        place.installed_from("debian/at/20240301T000000Z/", &[]).as_deref(),
        Some("1")
    );
    assert_eq!(place.installed_from("debian/at/2024-03-31", &[]).as_deref(), Some("1"));
    assert_eq!(
        place.installed_from("debian/at/20240401T123000Z", &[]).as_deref(),
        Some("2")
    );
    assert_eq!(place.installed_from("debian/current", &[]).as_deref(), Some("2"));

    let client = place.client("debian/at/20240301T000000Z");
    client.update().success();
    place.run("snapshot delete debian march").success();
    for time in ["20240301T000000Z", "2024-04-01"] {
        assert_eq!(
            (place.led_to(time), place.status(time)),
            (None, 404),
            "{time}: gone, at once"
        );
    }
    assert_eq!(place.led_to("2024-04-02").as_deref(), Some("april"));
    client
        .update()
        .code(100)
        .stdout_has("404")
        .stderr_has("no longer has a Release file");
}

/// The two ways in which a client can ask for a time.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// `apt-get --snapshot ID`, which maps the id to a URL by itself.
    Option,
    /// The URL in `sources.list`.
    Url,
}

#[test]
fn apt_asks_for_a_time_by_its_own_option_where_it_has_one() {
    let place = Place::new();
    let mapping = format!(
        "Acquire::Snapshots::URI::Override::Origin::{ORIGIN}={}/debian/at/@SNAPSHOTID@/",
        place.nginx.url()
    );
    let id = "20240301T000000Z";
    let asked = AptRoot::new().apt_get(&["--snapshot", id, "check"]).run();
    let way = if asked
        .stderr
        .contains("Command line option --snapshot is not understood")
    {
        Way::Url
    } else {
        asked.success();
        Way::Option
    };
    let version = AptRoot::new().apt_get(&["--version"]).run().success().stdout;
    let number = version.split(' ').nth(1).and_then(|number| number.split('.').next());
    let major: u32 = number.and_then(|major| major.parse().ok()).expect("a version");
    // Between, apt learnt it.
    if major != 2 || version.starts_with("apt 2.6.") {
        let expected = if major > 2 { Way::Option } else { Way::Url };
        assert_eq!(way, expected, "{version}");
    }
    let installed = match way {
        Way::Option => place.installed_from("debian/current", &["--snapshot", id, "-o", &mapping]),
        Way::Url => place.installed_from(&format!("debian/at/{id}/"), &[]),
    };
    assert_eq!(installed.as_deref(), Some("1"), "{way:?}");
    let package = format!("200 GET /debian/at/{id}/pool/main/h/hello/hello_1_all.deb");
    let log = place.nginx.access_log();
    // It logs a request after its answer, so that the last one may be missing for a moment.
    assert!(
        comes_true(|| place.nginx.access_log().contains(&package)),
        "{way:?}: {log}"
    );
    assert_eq!(place.installed_from("debian/current", &[]).as_deref(), Some("2"));
}

#[test]
fn what_is_made_renamed_and_deleted_shows_at_once() {
    let mut site = Site::new(&["debian"]);
    let _mount = site.mount();
    let link = |site: &Site, time: &str| led_to(&site.served(&format!("debian/at/{}", spelling(time))));
    let before = now().to_string();
    assert_eq!(link(&site, &before), None);
    let created = |env: &TestEnv, name: &str| {
        let list = env.mirrorctl(&["--json", "snapshot", "list"]).success().json();
        let mut snapshots = list["snapshots"].as_array().expect("a list").iter();
        let found = snapshots.find(|snapshot| snapshot["name"] == name).expect("listed");
        found["created"].as_str().expect("a time").to_owned()
    };
    let first = site.next_snapshot("debian");
    let at_first = created(&site.env, &first);
    assert_eq!(link(&site, &at_first).as_deref(), Some(first.as_str()));
    // From here on, another snapshot is of another second.
    assert!(comes_true(|| now().to_string() > at_first));
    site.env
        .mirrorctl(&["snapshot", "create", "debian", "second"])
        .success();
    let at_second = created(&site.env, "second");
    assert_eq!(link(&site, &at_second).as_deref(), Some("second"));
    assert_eq!(link(&site, &at_first).as_deref(), Some(first.as_str()));
    site.env
        .mirrorctl(&["snapshot", "rename", "debian", "second", "renamed"])
        .success();
    assert_eq!(link(&site, &at_second).as_deref(), Some("renamed"));
    site.env
        .mirrorctl(&["snapshot", "delete", "debian", "renamed"])
        .success();
    assert_eq!(link(&site, &at_second), None, "never the older one");
    assert_eq!(link(&site, &at_first).as_deref(), Some(first.as_str()));
    let third = site.next_snapshot("debian");
    assert_eq!(
        link(&site, &created(&site.env, &third)).as_deref(),
        Some(third.as_str())
    );
    assert!(comes_true(|| now().to_string() > at_second));
    assert_eq!(link(&site, &now().to_string()).as_deref(), Some(third.as_str()));
}

#[test]
fn while_the_catalog_cannot_be_read_a_time_is_an_error() {
    let place = Place::new();
    assert_eq!(place.status("20240301T000000Z"), 200);
    for name in ["catalog.db", "catalog.db-wal"] {
        fs::write(place.env.state_dir().join(name), "").expect("damaged");
    }
    // What connections remember of the catalog holds while this says that nothing was written since. It is mapped into
    // the mount's memory, so its length must stay.
    let index = fs::OpenOptions::new()
        .write(true)
        .open(place.env.state_dir().join("catalog.db-shm"))
        .expect("the index of the log");
    let length = index.metadata().expect("a file").len();
    let zeros = vec![0; usize::try_from(length).expect("small")];
    index.write_all_at(&zeros, 0).expect("damaged");
    assert!(comes_true(|| place.status("20240301T000000Z") == 500));
    let link = place.env.served("debian/at/20240301T000000Z");
    let error = fs::symlink_metadata(link).expect_err("unknown");
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    assert_eq!(place.status("20240228T000000Z"), 500, "what was before is unknown too");
    for known in ["99991201T000000Z", "nonsense"] {
        assert_eq!(place.status(known), 404, "{known}");
    }
    assert_eq!(place.installed_from("debian/current", &[]).as_deref(), Some("2"));
}
