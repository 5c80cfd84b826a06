//! The staging-to-production workflow, command by command.
//!
//! Owns one long test: what an operator types from the first configuration to a rollback, with every look at the
//! result that the workflow recommends, in its order. Shell lines stand here as they would be typed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use mirrorctl_testkit::{
    AptRoot, Config, DpkgArchive, Mirror, MountGuard, Nginx, Package, Program, Ran, TestEnv, Upstream, fetch,
};

const MIRROR: &str = "ubuntu-noble";
const SUITE: &str = "noble";

/// What the operator has: an upstream, a mirror of it, and a web server before the mount.
struct Operator {
    nginx: Arc<Nginx>,
    mount: MountGuard,
    env: TestEnv,
    upstream: Upstream,
    archive: DpkgArchive,
}

impl Operator {
    fn new() -> Self {
        let mut archive = DpkgArchive::new(SUITE, &["amd64"]);
        archive.add(&Package::new("some-library", "1", "all"));
        archive.add(&some_package("1.0"));
        archive.publish();
        let upstream = Upstream::serve(&archive.root());
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        configure(&env, &upstream, &archive, true);
        let mount = MountGuard::mount(&env);
        let nginx = Arc::new(Nginx::serve(&env.mount_dir()));
        Self {
            nginx,
            mount,
            env,
            upstream,
            archive,
        }
    }

    /// Upstream has another version of some-package, and one package more.
    fn upstream_publishes(&mut self, version: &str) {
        self.archive.add(&some_package(version));
        self.archive
            .add(&Package::new(&format!("addition-{version}"), "1", "amd64"));
        self.archive.publish();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.env.mirrorctl(arguments).success()
    }

    /// A line of shell on the mirror's own machine; `$url` is the web server, `$dir` the mount point.
    fn shell(&self, script: &str) -> Ran {
        Program::new("bash", "bash")
            .args(["-o", "pipefail", "-c", script])
            .env("url", self.nginx.url())
            .env("dir", self.mount.directory())
            .env("key", self.archive.key_file())
            .env("GNUPGHOME", self.archive.signer().0.path())
            .run()
    }

    fn pointer(&self, name: &str) -> PathBuf {
        self.mount.directory().join(MIRROR).join(name)
    }

    /// The snapshot that a pointer names, by its attribute; and it shows the very files of that snapshot.
    fn pointed(&self, name: &str) -> String {
        let script = format!("getfattr --only-values -n user.mirrorctl.snapshot \"$dir/{MIRROR}/{name}\"");
        let snapshot = self.shell(&script).success().stdout;
        let same = format!("diff -r \"$dir/{MIRROR}/{name}\" \"$dir/{MIRROR}/snapshots/{snapshot}\"");
        self.shell(&same).success();
        snapshot
    }

    /// The rows of `snapshot list`, newest first: name and status.
    fn listed(&self) -> Vec<(String, String)> {
        let table = self.run(&["snapshot", "list", MIRROR]).stdout;
        let mut lines = table.lines();
        let headings: Vec<&str> = lines.next().expect("headings").split("  ").map(str::trim).collect();
        let headings: Vec<&str> = headings.into_iter().filter(|heading| !heading.is_empty()).collect();
        assert_eq!(
            headings,
            ["MIRROR", "SNAPSHOT NAME", "CREATED", "SIZE", "FILES", "STATUS"],
            "{table}"
        );
        lines.map(row).collect()
    }

    /// A machine that uses `pointer` as its archive.
    fn machine(&self, pointer: &str) -> AptRoot {
        let apt = AptRoot::new();
        let url = format!("{}/{MIRROR}/{pointer}", self.nginx.url());
        apt.source(&url, SUITE, &["main"], &self.archive.key_file());
        apt
    }

    /// The checks of a staged snapshot before production gets it: installing, metadata, signatures, counting.
    fn test_staging(&self, version: &str, packages: usize) {
        let test_system = self.machine("staging");
        test_system.update().success();
        test_system.install(&["some-package"]).success();
        assert_eq!(test_system.installed("some-package").as_deref(), Some(version));
        assert_eq!(test_system.installed("some-library").as_deref(), Some("1"));
        let file = test_system.path().join("usr/share/some-package/version");
        assert_eq!(fs::read_to_string(file).expect("installed"), version);

        let staging = format!("$url/{MIRROR}/staging/dists/{SUITE}");
        let release = self.shell(&format!("curl -sSf {staging}/Release")).success();
        release
            .stdout_has(&format!("\nSuite: {SUITE}\n"))
            .stdout_has("\nSHA256:\n");
        let index = self.shell(&format!(
            "curl -sSf {staging}/main/binary-amd64/Packages.gz | gunzip | cat"
        ));
        let index = index.success().stdout_has(&format!("Version: {version}\n"));
        assert_eq!(packages_in(&index.stdout), packages);

        self.signatures_hold("staging");
        self.count_gate("staging", packages).success();
        let stopped = self.count_gate("staging", packages + 1).code(1);
        stopped.stdout_has("Package count too low");
    }

    /// gpg and gpgv accept the signed files where a pointer leads, as read through the mount.
    fn signatures_hold(&self, pointer: &str) {
        let at = format!("\"$dir/{MIRROR}/{pointer}/dists/{SUITE}\"");
        let good = "Good signature from \"Vendor <vendor@example.org>\"";
        self.shell(&format!("cd {at} && gpg --verify Release.gpg Release"))
            .success()
            .stderr_has(good);
        self.shell(&format!("cd {at} && gpg --verify InRelease"))
            .success()
            .stderr_has(good);
        self.shell(&format!("cd {at} && gpgv --keyring \"$key\" Release.gpg Release"))
            .success()
            .stderr_has(good);
        // The text that InRelease frames is that of Release.
        let framed = self.shell(&format!(
            "cd {at} && gpgv --keyring \"$key\" --output - InRelease | cmp - Release"
        ));
        framed.success();
        // Another text under the same signature is refused, so the checks above mean something.
        self.shell(&format!(
            "cd {at} && (cat Release; echo) | gpgv --keyring \"$key\" Release.gpg -"
        ))
        .failure()
        .stderr_has("BAD signature");
    }

    /// The gate of an automated test: at least so many packages, or exit code 1.
    fn count_gate(&self, pointer: &str, expected: usize) -> Ran {
        self.shell(&format!(
            "expected={expected}
             actual=$(curl -sSf $url/{MIRROR}/{pointer}/dists/{SUITE}/main/binary-amd64/Packages.gz | gunzip | grep -c '^Package:')
             if [ \"$actual\" -lt \"$expected\" ]; then echo 'Package count too low'; exit 1; fi"
        ))
    }
}

/// The mirror as the operator configures it.
fn configure(env: &TestEnv, upstream: &Upstream, archive: &DpkgArchive, publish_to_staging: bool) {
    let mirror = Mirror::new(MIRROR, &upstream.url())
        .suites(&[SUITE])
        .key(&archive.key_file())
        .publish_to_staging(publish_to_staging);
    let config = Config::new()
        .set_in("snapshot", "default_name_format", "\"2006-01-02T15-04-05Z\"")
        .set_in("snapshot.prune", "keep_last", "5")
        .mirror(mirror);
    env.configure(config);
    let checked = env.mirrorctl(&["check", "config"]).success();
    let goes = if publish_to_staging {
        "staging"
    } else {
        "nothing by itself"
    };
    checked
        .stdout_has("is good")
        .stdout_has(&format!("new snapshots go to  {goes}\n"));
}

fn some_package(version: &str) -> Package {
    Package::new("some-package", version, "amd64")
        .depends("some-library")
        .file("usr/share/some-package/version", version)
}

fn packages_in(index: &str) -> usize {
    index.lines().filter(|line| line.starts_with("Package:")).count()
}

/// Name and status of a row of the table, whose columns are two spaces or more apart.
fn row(line: &str) -> (String, String) {
    let columns: Vec<&str> = line
        .split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .collect();
    assert_eq!(columns[0], MIRROR, "{line}");
    assert!(matches!(columns.len(), 5 | 6), "{line}");
    (
        columns[1].to_owned(),
        columns.get(5).copied().unwrap_or_default().to_owned(),
    )
}

fn rows(expected: &[(&String, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|&(name, status)| (name.clone(), status.to_owned()))
        .collect()
}

/// The events of a log, in their order: each of `events` stands on a line of its own after the one before.
fn in_order(log: &str, events: &[&str]) {
    let mut lines = log.lines();
    for event in events {
        assert!(
            lines.any(|line| line == *event),
            "{event:?} is missing or out of order in\n{log}"
        );
    }
}

/// `YYYY-MM-DDTHH-MM-SSZ`, perhaps with the number of a second snapshot in that second.
fn is_time_name(name: &str) -> bool {
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape.starts_with("0000-00-00T00-00-00Z") && shape.len() <= "0000-00-00T00-00-00Z-0".len()
}

/// Somebody who reads production all the time, and what was ever wrong with the answers.
struct Reader {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Reader {
    fn start(nginx: &Arc<Nginx>) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let (stop, nginx) = (Arc::clone(&ending), Arc::clone(nginx));
        let thread = thread::spawn(move || {
            let url = format!("{}/{MIRROR}/current/dists/{SUITE}/InRelease", nginx.url());
            let (mut answers, mut wrong) = (0, Vec::new());
            while !stop.load(Ordering::SeqCst) {
                match fetch(&url) {
                    Ok(answer) if answer.status == 200 && answer.complete => {}
                    other => wrong.push(format!("{other:?}")),
                }
                answers += 1;
                thread::sleep(std::time::Duration::from_millis(2));
            }
            (answers, wrong)
        });
        Self { ending, thread }
    }

    /// Not one answer was missing, and there were some.
    fn end(self) {
        self.ending.store(true, Ordering::SeqCst);
        let (answers, wrong) = self.thread.join().expect("no panic");
        assert!(
            answers > 50 && wrong.is_empty(),
            "{} of {answers}: {wrong:?}",
            wrong.len()
        );
    }
}

fn exists(path: &Path) -> bool {
    path.try_exists().expect("can be looked at")
}

#[test]
fn an_operator_stages_tests_promotes_and_rolls_back() {
    let mut operator = Operator::new();
    let production_url = format!("$url/{MIRROR}/current/dists/{SUITE}/Release");

    // The first sync makes a snapshot and stages it; production stays as it is, which is absent.
    let synced = operator.run(&["sync", MIRROR]);
    let first = operator.pointed("staging");
    assert!(is_time_name(&first), "{first}");
    in_order(
        &synced.stderr,
        &[
            &format!("INFO  Starting sync for mirror: {MIRROR}"),
            &format!("INFO  Snapshot created: {MIRROR} {first}"),
            &format!("INFO  Staging updated: {MIRROR} -> {first}"),
            &format!("INFO  Sync completed successfully for {MIRROR}"),
        ],
    );
    synced
        .stderr_lacks("Production")
        .stderr_lacks("WARN")
        .stderr_lacks("ERROR");
    let looked = operator.shell(&format!("ls -la \"$dir/{MIRROR}/\"")).success();
    looked
        .stdout_has(" staging\n")
        .stdout_has(" snapshots\n")
        .stdout_lacks(" current\n");
    assert!(
        operator.pointer("staging").join("pool").is_dir(),
        "staging is a whole archive"
    );
    assert!(!exists(&operator.pointer("current")));
    operator
        .shell(&format!("curl -sSf {production_url}"))
        .failure()
        .stderr_has("404");
    assert_eq!(operator.listed(), rows(&[(&first, "staging")]));

    operator.test_staging("1.0", 2);

    // Promote: both pointers name the tested snapshot.
    let promoted = operator.run(&["snapshot", "promote", MIRROR]);
    in_order(
        &promoted.stderr,
        &[
            &format!("INFO  Promoting staging snapshot to production for {MIRROR}"),
            &format!("INFO  Production updated: {MIRROR} -> {first}"),
        ],
    );
    let looked = operator.shell(&format!("ls -la \"$dir/{MIRROR}/\"")).success();
    looked.stdout_has(" staging\n").stdout_has(" current\n");
    assert_eq!(
        (operator.pointed("current"), operator.pointed("staging")),
        (first.clone(), first.clone())
    );
    assert_eq!(operator.listed(), rows(&[(&first, "current,staging")]));
    operator.signatures_hold("current");
    let production = operator.machine("current");
    production.update().success();
    production.install(&["some-package"]).success();
    assert_eq!(production.installed("some-package").as_deref(), Some("1.0"));

    // From here on production is read without a pause.
    let reader = Reader::start(&operator.nginx);

    // The whole workflow once more, with a new upstream: sync, review, test, promote, verify.
    let before = operator.shell(&format!("curl -sSf {production_url}")).success().stdout;
    let unchanged = operator.run(&["sync", MIRROR]);
    unchanged.stderr_has("no snapshot was made");
    assert_eq!(operator.listed(), rows(&[(&first, "current,staging")]));
    operator.upstream_publishes("2.0");
    operator.run(&["sync", MIRROR]).stderr_lacks("Production");
    let second = operator.pointed("staging");
    assert_ne!(first, second);
    assert_eq!(operator.listed(), rows(&[(&second, "staging"), (&first, "current")]));
    operator.test_staging("2.0", 3);
    assert_eq!(operator.pointed("current"), first, "production waits to be told");
    let now = operator.shell(&format!("curl -sSf {production_url}")).success().stdout;
    assert_eq!(before, now, "production waits to be told");
    production.update().success();
    assert_eq!(production.policy("some-package").candidate.as_deref(), Some("1.0"));
    operator.run(&["snapshot", "promote", MIRROR]);
    assert_eq!(
        (operator.pointed("current"), operator.pointed("staging")),
        (second.clone(), second.clone())
    );
    let staged = operator.shell(&format!("curl -sSf $url/{MIRROR}/staging/dists/{SUITE}/Release"));
    let now = operator.shell(&format!("curl -sSf {production_url}")).success().stdout;
    assert_eq!(now, staged.success().stdout);
    assert_ne!(now, before);
    production.update().success();
    production.upgrade().success();
    assert_eq!(production.installed("some-package").as_deref(), Some("2.0"));

    // Staging by hand.
    configure(&operator.env, &operator.upstream, &operator.archive, false);
    operator.upstream_publishes("3.0");
    operator
        .run(&["sync", MIRROR])
        .stderr_lacks("Staging")
        .stderr_lacks("Production");
    let listed = operator.listed();
    let third = listed[0].0.clone();
    assert_eq!(
        listed,
        rows(&[(&third, ""), (&second, "current,staging"), (&first, "")])
    );
    assert_eq!(operator.pointed("staging"), second, "nothing is staged by itself");
    let staged = operator.run(&["snapshot", "stage", MIRROR, &third]);
    in_order(
        &staged.stderr,
        &[&format!("INFO  Staging updated: {MIRROR} -> {third}")],
    );
    assert_eq!(
        (operator.pointed("staging"), operator.pointed("current")),
        (third.clone(), second.clone())
    );
    operator.test_staging("3.0", 4);
    operator.run(&["snapshot", "promote", MIRROR]);
    assert_eq!(
        (operator.pointed("staging"), operator.pointed("current")),
        (third.clone(), third.clone())
    );

    // Straight to production, past staging.
    operator.upstream_publishes("4.0");
    operator.run(&["sync", MIRROR]);
    let fourth = operator.listed()[0].0.clone();
    let published = operator.run(&["snapshot", "publish", MIRROR, &fourth]);
    in_order(
        &published.stderr,
        &[&format!("INFO  Production updated: {MIRROR} -> {fourth}")],
    );
    assert_eq!(
        (operator.pointed("staging"), operator.pointed("current")),
        (third.clone(), fourth.clone())
    );
    production.update().success();
    production.upgrade().success();
    assert_eq!(production.installed("some-package").as_deref(), Some("4.0"));

    // Roll back: find a snapshot known to be good, and publish it.
    let listed = operator.listed();
    assert_eq!(
        listed,
        rows(&[(&fourth, "current"), (&third, "staging"), (&second, ""), (&first, "")]),
        "older ones are kept for this"
    );
    let good = &listed[2].0;
    operator
        .run(&["snapshot", "publish", MIRROR, good])
        .stderr_has(&format!("Production updated: {MIRROR} -> {second}"));
    assert_eq!(
        (operator.pointed("staging"), operator.pointed("current")),
        (third.clone(), second.clone())
    );
    assert_eq!(operator.listed()[2], (second.clone(), "current".to_owned()));
    let now_again = operator.shell(&format!("curl -sSf {production_url}")).success().stdout;
    assert_eq!(now_again, now, "byte for byte what production was then");
    operator.signatures_hold("current");
    let repaired = operator.machine("current");
    repaired.update().success();
    repaired.install(&["some-package"]).success();
    assert_eq!(repaired.installed("some-package").as_deref(), Some("2.0"));

    // Nobody who read production has noticed any of it but for the contents.
    reader.end();
    let history = operator.run(&["snapshot", "history", MIRROR]).stdout;
    let moves: Vec<Vec<&str>> = history
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let moves: Vec<(&str, &str, &str, &str)> = moves
        .iter()
        .map(|columns| (columns[2], columns[3], columns[4], columns[5]))
        .collect();
    let expected = [
        ("current", fourth.as_str(), second.as_str(), "publish"),
        ("current", &third, &fourth, "publish"),
        ("current", &second, &third, "promote"),
        ("staging", &second, &third, "stage"),
        ("current", &first, &second, "promote"),
        ("staging", &first, &second, "sync"),
        ("current", "-", &first, "promote"),
        ("staging", "-", &first, "sync"),
    ];
    assert_eq!(moves, expected);
}
