//! Real clients of a mirror that keeps a part of its archive.
//!
//! Owns the proof that apt takes a reindexed archive for a whole one: it trusts the mirror's key and no other, installs
//! what is there with everything it needs, is told of nothing that is not, and follows every change. Versions are
//! ordered as dpkg orders them.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mirrorctl::apt::version::compare;
use mirrorctl_testkit::{
    AptRoot, Config, DpkgArchive, GpgHome, GpgKey, Mirror, MountGuard, Nginx, Package, Program, TestEnv, Upstream,
};

const SUITE: &str = "stable";

/// An archive made by Debian's tools, its upstream, and a mounted mirror of it with filters and a key of its own.
struct Site {
    archive: DpkgArchive,
    upstream: Upstream,
    gpg: GpgHome,
    key: GpgKey,
    env: TestEnv,
    nginx: Nginx,
    _mount: MountGuard,
}

impl Site {
    fn new(packages: &[Package], filters: &[(&str, &str)]) -> Self {
        let mut archive = DpkgArchive::new(SUITE, &["amd64"]);
        for package in packages {
            archive.add(package);
        }
        archive.publish();
        let upstream = Upstream::serve(&archive.root());
        let gpg = GpgHome::new();
        let key = gpg.key("Mirror <mirror@example.org>");
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        configure(&env, &archive, &upstream, &secret(&env, &gpg, &key), filters);
        let mount = MountGuard::mount(&env);
        let nginx = Nginx::serve(&env.mount_dir());
        Self {
            archive,
            upstream,
            gpg,
            key,
            env,
            nginx,
            _mount: mount,
        }
    }

    fn sync(&self) {
        self.env.mirrorctl(&["sync"]).success();
    }

    fn refilter(&self, filters: &[(&str, &str)]) {
        let secret = secret(&self.env, &self.gpg, &self.key);
        configure(&self.env, &self.archive, &self.upstream, &secret, filters);
    }

    /// The certificate that clients trust, in the form that the check of the configuration gives it.
    fn certificate(&self) -> PathBuf {
        let checked = self.env.mirrorctl(&["--json", "check", "config"]).success().json();
        let certificate = &checked["mirrors"][0]["filters"]["signing"]["certificate"];
        self.env
            .key("mirror.asc", certificate.as_str().expect("a certificate").as_bytes())
    }

    /// A new machine whose apt trusts `key`.
    fn client(&self, key: &Path) -> AptRoot {
        let apt = AptRoot::new();
        apt.source(&format!("{}/site/current", self.nginx.url()), SUITE, &["main"], key);
        apt
    }
}

/// The file with the mirror's secret key.
fn secret(env: &TestEnv, gpg: &GpgHome, key: &GpgKey) -> PathBuf {
    let path = env.key("secret.asc", &gpg.secret_armored(key));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
    path
}

fn configure(env: &TestEnv, archive: &DpkgArchive, upstream: &Upstream, secret: &Path, filters: &[(&str, &str)]) {
    let mirror = Mirror::new("site", &upstream.url())
        .suites(&[SUITE])
        .key(&archive.key_file())
        .publish_to_production(true);
    let table = "mirrors.site.filters";
    let config = Config::new().mirror(mirror).set_in(table, "reindex", "true").set_in(
        table,
        "signing_key_path",
        &format!("{:?}", secret.display().to_string()),
    );
    env.configure(
        filters
            .iter()
            .fold(config, |config, (key, value)| config.set_in(table, key, value)),
    );
}

fn package(name: &str, version: &str) -> Package {
    Package::new(name, version, "amd64").file(&format!("usr/share/{name}/version"), version)
}

#[test]
fn apt_takes_a_reindexed_archive_for_a_whole_one() {
    let packages = [
        package("app", "1").depends("lib (>= 1)"),
        package("app-dbg", "1"),
        package("lib", "1"),
        package("other", "1"),
    ];
    let mut site = Site::new(&packages, &[("exclude_patterns", "[\"-dbg$\"]")]);
    site.sync();
    let certificate = site.certificate();
    let apt = site.client(&certificate);
    apt.update().success();
    apt.install(&["app"]).success();
    assert_eq!(
        (apt.installed("app").as_deref(), apt.installed("lib").as_deref()),
        (Some("1"), Some("1"))
    );
    assert_eq!(apt.policy("other").candidate.as_deref(), Some("1"));
    assert_eq!(apt.policy("app-dbg").candidate, None, "it is not there, and not listed");

    // Who trusts upstream alone is not deceived.
    let stranger = site.client(&site.archive.key_file());
    stranger.update().failure().stderr_has(&site.key.fingerprint[24..]);

    // Another filter over the same upstream, with the same Date.
    site.refilter(&[("exclude_patterns", "[\"^other$\"]")]);
    site.sync();
    apt.update().success();
    assert_eq!(apt.policy("app-dbg").candidate.as_deref(), Some("1"));
    assert_eq!(apt.policy("other").candidate, None);

    // And another upstream.
    site.archive.add(&package("app", "2").depends("lib (>= 1)"));
    site.archive.publish();
    site.sync();
    apt.update().success();
    apt.upgrade().success();
    assert_eq!(apt.installed("app").as_deref(), Some("2"));
}

#[test]
fn a_closure_of_packages_installs_without_anything_else() {
    let packages = [
        package("app", "1").depends("lib (>= 1), mta | mail-agent, gone | tool, data"),
        package("lib", "1.5").depends("libc (>> 1~)"),
        package("libc", "1"),
        Package::new("data", "1", "all").file("usr/share/data/x", "x"),
        package("postbox", "3"),
        package("tool", "1"),
        package("unneeded", "1"),
        package("mta", "1"),
    ];
    let site = Site::new(&packages, &[("packages", "[\"app\"]")]);
    site.sync();
    let apt = site.client(&site.certificate());
    apt.update().success();
    apt.install(&["app"]).success();
    for name in ["app", "lib", "libc", "data", "mta", "tool"] {
        assert!(apt.installed(name).is_some(), "{name}");
    }
    for name in ["unneeded", "postbox"] {
        assert_eq!(apt.policy(name).candidate, None, "{name}");
    }
    // Everything that the archive lists can be had.
    apt.download(&["app", "lib", "libc", "data", "mta", "tool"]).success();
}

/// Versions that differ in the ways that matter, by a generator that always gives the same.
fn versions() -> Vec<String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % limit
    };
    let parts = [
        "0",
        "1",
        "00",
        "10",
        "9",
        ".",
        "+",
        "~",
        "~~",
        "a",
        "rc",
        "z",
        "+b1",
        ".0",
        "-1",
        "-0",
        "~1",
        "20250101123456",
    ];
    let mut versions = Vec::new();
    for _ in 0..40 {
        let mut version = ["", "0:", "1:"][below(3)].to_owned() + ["0", "1", "1.0"][below(3)];
        for _ in 0..below(4) {
            version += parts[below(parts.len())];
        }
        versions.push(version);
    }
    versions
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let versions = versions();
    let compared_by_dpkg = |a: &str, relation: &str, b: &str| {
        let dpkg = Program::new("dpkg", "dpkg")
            .args(["--compare-versions", a, relation, b])
            .run();
        dpkg.status.success()
    };
    for (n, a) in versions.iter().enumerate() {
        for b in versions[n..].iter().take(8) {
            let ordering = compare(a, b);
            let relation = match ordering {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            assert!(compared_by_dpkg(a, relation, b), "{a} {ordering:?} {b}");
        }
    }
}
