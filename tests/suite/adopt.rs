//! Archives that are on this machine already: `file:` upstreams, dry runs, imports, and the earlier mirrorctl.
//!
//! Owns the proof that nothing is taken that is not what upstream signed, that a tree with holes saves the downloads of
//! what it has, that what only looks changes nothing, and that a migration can be repeated.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Program, Signal};
use serde_json::Value;

use crate::site::{SUITE, Site, below, deb, text};

/// A site whose mirror has the archive's directory for its upstream.
fn on_disk() -> Site {
    let site = Site::small();
    use_directory(&site);
    site
}

fn use_directory(site: &Site) {
    let url = format!("\"file://{}\"", site.archive.root().display());
    site.configure(|mirror| mirror.set("url", &url));
}

/// A copy of the archive at `name` in the site.
fn copy(site: &Site, name: &str) -> PathBuf {
    let place = site.env.root().join(name);
    fs::create_dir_all(place.parent().expect("has a parent")).expect("makes");
    let cp = Program::new("cp", "coreutils")
        .arg("--archive")
        .arg(site.archive.root());
    cp.arg(&place).run().success();
    place
}

/// Everything below `directory`: paths, kinds, modes, times and digests of what is there.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, Option<Digest>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let facts = fs::symlink_metadata(&path).expect("is there");
        let digest = facts.is_file().then(|| Digest::of(&fs::read(&path).expect("readable")));
        if facts.is_dir() {
            found.append(&mut tree(&path));
        }
        found.insert(path, (facts.mode(), facts.mtime(), digest));
    }
    found
}

/// The only mirror of a report.
fn first(mut report: Value) -> Value {
    report["mirrors"][0].take()
}

// ---- file: upstreams ------------------------------------------------------------------------------------------------

#[test]
fn a_directory_is_mirrored_like_any_upstream() {
    let mut site = on_disk();
    assert_eq!(site.sync()["outcome"], "recorded");
    assert_eq!(site.sync()["outcome"], "unchanged");
    let served = site.newest();
    for path in below(site.archive.root()) {
        let name = path
            .strip_prefix(site.archive.root())
            .expect("below")
            .display()
            .to_string();
        let digest = Digest::of(&fs::read(&path).expect("readable"));
        assert_eq!(served.get(&name).map(|(digest, _)| *digest), Some(digest), "{name}");
        assert_eq!(
            fs::metadata(&path).expect("is there").nlink(),
            1,
            "{name} is upstream's own"
        );
    }
    site.assert_whole();
    assert_eq!(site.upstream.requests(), []);

    site.add(&deb("dd", "1", 500));
    let synced = site.sync();
    assert_eq!(
        (
            &synced["outcome"],
            synced["snapshot"]["fetched_files"].as_u64() > Some(4)
        ),
        (&"recorded".into(), true)
    );
    site.assert_whole();

    // The same files over the network are the same state.
    site.configure(|mirror| mirror);
    assert_eq!(site.sync()["outcome"], "unchanged");
}

#[test]
fn links_are_followed_within_the_directory_only() {
    let site = on_disk();
    let pool = site.archive.root().join("pool");
    fs::rename(&pool, site.archive.root().join("disk2")).expect("moves");
    symlink("disk2", &pool).expect("links");
    assert_eq!(site.sync()["outcome"], "recorded");

    let site = on_disk();
    let pool = site.archive.root().join("pool");
    fs::rename(&pool, site.env.root().join("elsewhere")).expect("moves");
    symlink(site.env.root().join("elsewhere"), &pool).expect("links");
    site.run("sync")
        .code(1)
        .stderr_has("leads out of the archive's directory");
    assert_eq!(site.snapshots("debian"), Vec::<String>::new());
}

#[test]
fn what_is_no_file_and_what_is_not_there_are_told() {
    let site = on_disk();
    let victim = site.archive.root().join(site.pool("bb"));
    fs::remove_file(&victim).expect("removes");
    site.run("sync")
        .code(1)
        .stderr_has("upstream lists it but does not have it");
    Program::new("mkfifo", "coreutils").arg(&victim).run().success();
    site.run("sync").code(1).stderr_has("is not a regular file");
    fs::remove_dir_all(site.archive.root()).expect("removes");
    site.run("sync").code(1).stderr_has("cannot be found");
}

// ---- Dry runs, and limits -------------------------------------------------------------------------------------------

#[test]
fn a_dry_run_tells_what_a_sync_then_fetches_and_changes_nothing() {
    let mut site = Site::small();
    let told = site.json("sync --dry-run");
    assert!(
        !site.env.state_dir().exists(),
        "there is no state yet, and that stays so"
    );
    let synced = site.sync();
    for (told_as, is) in [("fetch_files", "fetched_files"), ("fetch_bytes", "fetched_bytes")] {
        assert_eq!(told["mirrors"][0][told_as], synced["snapshot"][is], "{told}\n{synced}");
        assert_eq!(told[told_as], synced["snapshot"][is]);
    }
    assert_eq!(
        (&told["fits"], &told["mirrors"][0]["outcome"]),
        (&true.into(), &"changed".into())
    );
    let (free, after) = (told["free_bytes"].as_u64(), told["free_bytes_after"].as_u64());
    assert!(free > after && after.is_some(), "{told}");

    let before = tree(&site.env.state_dir());
    let told = first(site.json("sync --dry-run"));
    assert_eq!(
        (&told["outcome"], &told["fetch_files"]),
        (&"unchanged".into(), &0.into())
    );
    assert_eq!(tree(&site.env.state_dir()), before);

    site.add(&deb("dd", "1", 500));
    let told = first(site.json("sync --dry-run"));
    assert_eq!(tree(&site.env.state_dir()), before);
    let synced = site.sync();
    assert_eq!(
        told["fetch_files"], synced["snapshot"]["fetched_files"],
        "{told}\n{synced}"
    );
    assert_eq!(told["fetch_bytes"], synced["snapshot"]["fetched_bytes"]);
    site.run("sync --dry-run")
        .success()
        .stdout_has("debian: unchanged")
        .stdout_has("free: ");
}

#[test]
fn a_dry_run_fails_as_the_sync_would() {
    let site = Site::small();
    site.sync();
    let before = tree(&site.env.state_dir());
    fs::remove_dir_all(site.archive.root().join("dists")).expect("removes");
    let told = site.run("--json sync --dry-run").code(1).json();
    assert_eq!(told["mirrors"][0]["outcome"], "failed");
    assert_eq!(tree(&site.env.state_dir()), before);
}

#[test]
fn a_mirror_beyond_its_size_is_refused_before_any_package_is_fetched() {
    let site = Site::small();
    site.configure(|mirror| mirror.set("max_size", "\"2kB\""));
    site.run("sync").code(4).stderr_has("max_size allows 2.0 KiB");
    site.run("sync --dry-run").code(4);
    assert_eq!(site.upstream.hits("pool/*"), 0);
    site.configure(|mirror| mirror.set("max_size", "\"1 GiB\""));
    assert_eq!(site.sync()["outcome"], "recorded");
    site.configure(|mirror| mirror.set("max_size", "\"much\""));
    site.run("check config")
        .code(1)
        .stderr_has("mirrors.debian.max_size: must be a size such as 500GiB");
}

// ---- import ---------------------------------------------------------------------------------------------------------

#[test]
fn a_complete_tree_becomes_a_snapshot_without_a_download() {
    let site = Site::small();
    let tree = copy(&site, "old");
    let report = site.json(&format!("import debian {}", tree.display()));
    assert_eq!(
        (&report["outcome"], &report["missing"]),
        (&"recorded".into(), &Value::Array(Vec::new()))
    );
    site.assert_whole();
    assert_eq!(site.upstream.requests(), []);

    // Its name and date are those of the Release file.
    let listed = site.json("snapshot list");
    let (snapshot, date) = (&listed["snapshots"][0], text(&report["releases"][0]["date"]));
    assert_eq!(snapshot["created"], date.as_str());
    assert_eq!(text(&snapshot["name"]), date.replace(':', "-"));

    // It is what a sync would have made, and what is shared has become read-only.
    assert_eq!(site.sync()["outcome"], "unchanged");
    let package = fs::metadata(tree.join(site.pool("aa"))).expect("is there");
    assert!(package.nlink() == 1 || package.permissions().mode() & 0o7777 == 0o444);
    let index = fs::metadata(tree.join("dists").join(SUITE).join("Release")).expect("is there");
    assert_eq!(index.nlink(), 1, "index files are not shared");

    let again = site.json(&format!("import debian {}", tree.display()));
    assert_eq!(again["outcome"], "unchanged");
    let named = site.json(&format!("import debian {} --name mine", tree.display()));
    assert_eq!(named["snapshot"]["name"], "mine");
    site.run(&format!("import debian {} --name mine", tree.display()))
        .code(4);

    // The old tree can go.
    fs::remove_dir_all(&tree).expect("removes");
    site.assert_whole();
}

#[test]
fn a_tree_can_be_copied_instead() {
    let site = Site::small();
    let old = copy(&site, "old");
    let before = tree(&old);
    site.json(&format!("import debian {} --copy", old.display()));
    assert_eq!(tree(&old), before, "modes, times and bytes");
    for path in below(&old) {
        assert_eq!(fs::metadata(&path).expect("is there").nlink(), 1);
        fs::write(&path, "overwritten").expect("writes");
    }
    site.assert_whole();
}

#[test]
fn a_tree_with_holes_saves_the_downloads_of_what_it_has() {
    let site = Site::small();
    let old = copy(&site, "old");
    let (missing, damaged) = (site.pool("aa"), site.pool("bb"));
    fs::remove_file(old.join(&missing)).expect("removes");
    let line = format!("--json import debian {} --copy", old.display());
    let report = site.run(&line).code(6).json();
    assert_eq!(
        (&report["outcome"], &report["error"]["kind"]),
        (&"incomplete".into(), &"partial".into())
    );
    assert_eq!(text(&report["missing"][0]["path"]), missing);
    assert_eq!(report["missing"].as_array().map(Vec::len), Some(1));

    let mut bytes = fs::read(old.join(&damaged)).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(old.join(&damaged), bytes).expect("writes");
    // What was found before is kept, so the damage is not even looked at.
    assert_eq!(
        site.run(&line).code(6).json()["missing"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(site.snapshots("debian"), Vec::<String>::new());

    assert_eq!(site.sync()["outcome"], "recorded");
    let fetched = Site::fetched(&site.upstream.requests(), "pool/");
    assert_eq!(fetched.into_keys().collect::<Vec<_>>(), [missing]);
    site.assert_whole();
}

#[test]
fn nothing_of_a_tampered_tree_is_believed() {
    let site = Site::small();
    let old = copy(&site, "old");
    let victim = old.join(site.pool("bb"));
    let mut bytes = fs::read(&victim).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&victim, &bytes).expect("writes");
    let line = format!("import debian {}", old.display());
    let report = site.run(&format!("--json {line}")).code(5).json();
    assert!(text(&report["missing"][0]["damage"]).contains("SHA-256"), "{report}");
    site.run(&line)
        .code(5)
        .stdout_has("bb_1_amd64.deb")
        .stderr_has("1 are damaged");
    assert_eq!(fs::read(&victim).expect("readable"), bytes, "it is the owner's");
    assert_eq!(fs::metadata(&victim).expect("is there").nlink(), 1);

    // An index that is not what is signed, and a Release file that nobody signed; where nothing is known yet.
    let site = Site::small();
    let old = copy(&site, "index");
    for index in below(&old.join("dists")) {
        if index.to_string_lossy().contains("by-hash") {
            fs::remove_file(&index).expect("removes");
        } else if index.to_string_lossy().contains("Packages") {
            let mut bytes = fs::read(&index).expect("readable");
            bytes.reverse();
            fs::write(&index, bytes).expect("writes");
        }
    }
    site.run(&format!("import debian {}", old.display())).code(5);
    let old = copy(&site, "release");
    let dists = old.join("dists").join(SUITE);
    let release = fs::read_to_string(dists.join("Release")).expect("readable");
    fs::write(dists.join("Release"), release.replace("Origin:", "Origin: not")).expect("writes");
    fs::remove_file(dists.join("InRelease")).expect("removes");
    site.run(&format!("import debian {}", old.display())).code(5);
    assert_eq!(site.snapshots("debian"), Vec::<String>::new());
    site.assert_whole();
}

#[test]
fn what_is_no_tree_of_the_mirror_is_refused_with_the_way_out() {
    let site = Site::small();
    let old = copy(&site, "old");
    site.run(&format!("import debian {}/dists", old.display()))
        .code(1)
        .stderr_has("the directory that holds dists/");
    site.run("import debian /no/such/tree")
        .code(1)
        .stderr_has("cannot read /no/such/tree");
    site.run(&format!("import other {}", old.display())).code(2);
}

#[test]
fn a_tree_whose_release_file_expired_can_be_imported() {
    let mut site = Site::small();
    site.archive.alter(SUITE, |suite| suite.valid_for(60)).expect("alters");
    site.publish();
    site.run("sync").code(5).stderr_has("expired");
    let old = copy(&site, "old");
    assert_eq!(
        site.json(&format!("import debian {}", old.display()))["outcome"],
        "recorded"
    );
}

#[test]
fn an_older_tree_than_the_last_state_is_taken_on_demand_only() {
    let mut site = Site::small();
    let old = copy(&site, "old");
    site.add(&deb("dd", "1", 500));
    site.sync();
    let line = format!("import debian {}", old.display());
    site.run(&line).code(5).stderr_has("--accept-rollback");
    let report = site.json(&format!("{line} --accept-rollback"));
    assert_eq!(
        (&report["outcome"], &report["taken_files"]),
        (&"recorded".into(), &5.into()),
        "the packages are there already"
    );
    site.assert_whole();
    assert_eq!(
        site.sync()["outcome"],
        "recorded",
        "and upstream's newest state is taken again"
    );
}

#[test]
fn an_interrupted_import_keeps_what_it_took() {
    let site = Site::new([crate::site::three().package("main", deb("zz", "1", 40_000_000))]);
    let old = copy(&site, "old");
    let path = old.to_string_lossy().into_owned();
    let mut import = site.env.spawn(&["import", "debian", &path, "--copy"]);
    import.wait_until("work", |import| import.stderr().contains("Starting import"));
    import.signal(Signal::Interrupt);
    let ended = import.wait();
    // It may have been quicker than the signal.
    assert!(matches!(ended.status.code(), Some(130 | 0)), "{ended}");
    site.json(&format!("import debian {path}"));
    site.assert_whole();
    assert_eq!(site.leftovers(), Vec::<PathBuf>::new());
}

// ---- migrate --------------------------------------------------------------------------------------------------------

/// What the earlier program would have left of three syncs: three snapshots with hard links, one of them staged and one
/// published. The newest has no signature that a keyring could check, as was usual with it.
fn old_installation() -> Site {
    let mut site = Site::small();
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        let made = 1_700_000_000 + 1_000 * number as u64;
        let place = copy(&site, &format!(".snapshots/debian/{name}"));
        let dists = place.join("dists").join(SUITE);
        if name == "third" {
            fs::remove_file(dists.join("InRelease")).expect("removes");
        } else {
            fs::remove_file(dists.join("Release")).expect("removes");
        }
        fs::remove_file(dists.join("Release.gpg")).expect("removes");
        for by_hash in below(&place)
            .into_iter()
            .filter(|path| path.to_string_lossy().contains("by-hash"))
        {
            fs::remove_file(by_hash).expect("removes");
        }
        let time = UNIX_EPOCH + Duration::from_secs(made);
        fs::File::open(&place)
            .and_then(|place| place.set_modified(time))
            .expect("dates");
        site.add(&deb(&format!("new{number}"), "1", 700));
    }
    let snapshot = |name: &str| site.env.root().join(".snapshots/debian").join(name);
    symlink(snapshot("first"), site.env.mount_dir().join("debian")).expect("links");
    symlink(snapshot("second"), site.env.mount_dir().join("debian-staging")).expect("links");
    site
}

/// Name, date and outcome of every snapshot that a migration tells of.
fn told(report: &Value) -> Vec<(String, String, String)> {
    let snapshots = report["mirrors"][0]["snapshots"].as_array().expect("a list");
    let each = |found: &Value| (text(&found["name"]), text(&found["created"]), text(&found["outcome"]));
    snapshots.iter().map(each).collect()
}

#[test]
fn an_earlier_installation_is_taken_over_with_names_dates_and_pointers() {
    let site = old_installation();
    let old = tree(&site.env.root().join(".snapshots"));

    let report = site.run("--json migrate --dry-run").code(6).json();
    let outcomes: Vec<_> = told(&report)
        .into_iter()
        .map(|(name, _, outcome)| (name, outcome))
        .collect();
    let expected = [
        ("first", "would be taken"),
        ("second", "would be taken"),
        ("third", "refused"),
    ];
    assert_eq!(
        outcomes,
        expected.map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
    );
    assert!(!site.env.state_dir().exists());
    assert_eq!(tree(&site.env.root().join(".snapshots")), old);

    let ran = site.run("--json migrate").code(6);
    let report = ran.json();
    let dates = ["2023-11-14T22:13:20Z", "2023-11-14T22:30:00Z", "2023-11-14T22:46:40Z"];
    let expected = [("first", "taken"), ("second", "taken"), ("third", "refused")];
    for ((told, (name, outcome)), date) in told(&report).into_iter().zip(expected).zip(dates) {
        assert_eq!(told, (name.to_owned(), date.to_owned(), outcome.to_owned()));
    }
    assert_eq!(report["error"]["problems"][0]["snapshot"], "debian/third");
    assert_eq!(report["error"]["problems"][0]["kind"], "unverifiable");
    let dir = site.env.mount_dir();
    assert_eq!(
        text(&report["paths"][0]["old"]),
        format!("{}/debian/dists", dir.display())
    );
    assert_eq!(
        text(&report["paths"][0]["new"]),
        format!("{}/debian/current/dists", dir.display())
    );
    assert_eq!(site.snapshots("debian"), ["second", "first"]);
    let listed = site.json("snapshot list");
    assert_eq!(listed["snapshots"][0]["created"], dates[1]);
    assert_eq!(site.pointer("debian", "current").as_deref(), Some("first"));
    assert_eq!(site.pointer("debian", "staging").as_deref(), Some("second"));
    let history = site.json("snapshot history");
    assert_eq!(history["moves"][0]["command"], "migrate");
    site.assert_whole();
    assert!(
        site.env.root().join(".snapshots/debian/first/dists").exists(),
        "nothing was removed"
    );
    assert_eq!(site.upstream.requests(), []);
}

#[test]
fn a_migration_can_be_repeated_and_undoes_nothing() {
    let site = old_installation();
    site.run("migrate")
        .code(6)
        .stdout_has("debian/current -> first")
        .stdout_has("rm -r ");
    site.run("snapshot promote debian").success();
    let (before, visible) = (site.blobs(), site.visible());
    let report = site.run("--json migrate").code(6).json();
    let outcomes: Vec<_> = told(&report).into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(outcomes, ["present", "present", "refused"]);
    assert_eq!((site.blobs(), site.visible()), (before, visible));
    assert_eq!(
        site.pointer("debian", "current").as_deref(),
        Some("second"),
        "it was moved since"
    );

    // Without the check, the last one comes too.
    site.run("migrate --no-pgp-check").success().stdout_has("third");
    assert_eq!(site.snapshots("debian"), ["third", "second", "first"]);
    // A snapshot of that name which is not the old one is never taken for it.
    site.run("snapshot delete debian first --force").success();
    site.run("snapshot create debian first").success();
    let report = site.run("--json migrate --no-pgp-check").code(6).json();
    assert_eq!(report["mirrors"][0]["snapshots"][0]["outcome"], "refused");
    site.assert_whole();
}

#[test]
fn what_the_last_sync_fetched_is_taken_over_when_it_is_published() {
    let site = old_installation();
    let live = copy(&site, "srv/.debian.20251014_154530/debian");
    let link = site.env.mount_dir().join("debian");
    fs::remove_file(&link).expect("removes");
    symlink(&live, &link).expect("links");
    let report = site.run("--json migrate").code(6).json();
    let current = text(&report["mirrors"][0]["current"]);
    assert_eq!(site.pointer("debian", "current"), Some(current.clone()));
    assert!(site.snapshots("debian").contains(&current));
    let again = site.run("--json migrate").code(6).json();
    assert_eq!(text(&again["mirrors"][0]["current"]), current);
    assert_eq!(site.snapshots("debian").len(), 3);
}

/// The commands that a report ends with.
fn next(report: &Value) -> Vec<String> {
    report["next"].as_array().expect("a list").iter().map(text).collect()
}

#[test]
fn no_command_removes_what_was_not_taken_over() {
    let site = old_installation();
    let snapshots = site.env.root().join(".snapshots/debian");
    let (first, staged) = (snapshots.join("first"), snapshots.join("second"));
    // What another tree has would be taken from there.
    fs::remove_file(staged.join(site.pool("new0"))).expect("removes");
    fs::rename(snapshots.join("third"), snapshots.join("a bad name")).expect("renames");

    let ran = site.run("--json migrate --dry-run").code(6);
    let report = ran.json();
    assert_eq!((&report["files_checked"], next(&report)), (&false.into(), Vec::new()));
    site.run("migrate --dry-run")
        .code(6)
        .stdout_has("Only the Release files were checked.")
        .stderr_has("the others would be");

    let report = site.run("--json migrate").code(6).json();
    let removals: Vec<_> = next(&report)
        .into_iter()
        .filter(|command| command.starts_with("rm"))
        .collect();
    assert_eq!(removals, [format!("rm -r {}", first.display())]);
    assert_eq!(report["not_set"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["not_set"][0]["pointer"], "staging");
    assert_eq!(text(&report["not_set"][0]["old"]), staged.display().to_string());
    let hints = report["error"]["hints"].to_string();
    assert!(
        !hints.contains("--no-pgp-check")
            && hints.contains("rename the old directory")
            && hints.contains("lacks files"),
        "{hints}"
    );
    site.run("migrate")
        .code(6)
        .stdout_has("debian/staging is not set to ")
        .stdout_has("its snapshot was not taken over");

    // What is told is followed: the trees that are nowhere else stay.
    for removal in removals {
        Program::new("sh", "dash").args(["-c", &removal]).run().success();
    }
    assert!(!first.exists() && staged.join("dists").exists() && snapshots.join("a bad name/dists").exists());
    site.assert_whole();
}

#[test]
fn the_old_tree_stays_in_its_place_when_production_cannot_be_taken_over() {
    let site = old_installation();
    let first = site.env.root().join(".snapshots/debian/first/dists").join(SUITE);
    fs::remove_file(first.join("InRelease")).expect("removes");
    let report = site.run("--json migrate").code(6).json();
    assert_eq!(report["not_set"][0]["pointer"], "current");
    assert_eq!(next(&report), Vec::<String>::new());
    site.run("migrate").code(6).stdout_has("mirrorctl snapshot publish");
    site.run("snapshot publish debian second").success();
    let report = site.run("--json migrate").code(6).json();
    assert_eq!(report["not_set"][0]["leads"], "second");
    let second = site.env.root().join(".snapshots/debian/second");
    assert_eq!(
        next(&report).last().map(String::as_str),
        Some(format!("rm -r {}", second.display()).as_str())
    );
}

#[test]
fn a_place_without_an_earlier_installation_is_told() {
    let site = Site::small();
    site.run("migrate")
        .code(1)
        .stderr_has("no mirrors of an earlier mirrorctl are at");
    assert!(!site.env.state_dir().exists());
}

// ---- check config ---------------------------------------------------------------------------------------------------

#[test]
fn check_config_renders_a_name_of_each_format() {
    let site = Site::small();
    site.configure(|mirror| mirror.set("snapshot.default_name_format", "\"nightly-2006\""));
    let report = first(site.json("check config"));
    let name = text(&report["example_name"]);
    assert!(name.starts_with("nightly-2") && name.len() == 12, "{name}");
    site.run("check config")
        .success()
        .stdout_has(&format!("nightly-2006, such as {name}"));
}
