//! Faults of earlier mirror programs that must never come back.
//!
//! One test for each, by the number it has in the list of what such a program got wrong. One belongs to filters and
//! stands with them, one to kinds of index that are not mirrored yet. Where a fault shows in the served tree, its other
//! half is tested with a mount.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mirrorctl::model::{Digest, Pointer};
use mirrorctl_testkit::{ArchiveBuilder, Config, Fault, Program, Signal, Signing, SuiteSpec, TestEnv, now};

use crate::site::{SUITE, Site, below, deb, id, three};

/// Keeps one of Release and `InRelease` and never Release.gpg, so that clients see an unsigned archive.
#[test]
fn fault_1_all_release_files_are_kept_as_upstream_has_them() {
    for (signing, names) in [
        (Signing::All, &["InRelease", "Release", "Release.gpg"][..]),
        (Signing::InRelease, &["InRelease"]),
        (Signing::Detached, &["Release", "Release.gpg"]),
    ] {
        let mut site = Site::new([three().signing(signing)]);
        for version in ["2", "3"] {
            site.sync();
            let files = site.newest();
            let kept: Vec<&str> = files
                .keys()
                .filter_map(|path| path.strip_prefix(&format!("dists/{SUITE}/")))
                .filter(|name| !name.contains('/'))
                .collect();
            assert_eq!(kept, names);
            for name in names {
                let path = format!("dists/{SUITE}/{name}");
                let genuine = fs::read(site.archive.root().join(&path)).expect("a Release file");
                assert_eq!(files[&path], (Digest::of(&genuine), genuine.len() as u64));
                assert_eq!(fs::read(site.blob(files[&path].0)).expect("a blob"), genuine);
            }
            site.add(&deb("aa", version, 10));
        }
    }
}

/// Changes the Release files in a directory; the text is that of an evil one.
type Attack = fn(&Path, &str);

/// Takes metadata from a document other than the one whose signature it checked.
#[test]
fn fault_2_metadata_comes_from_verified_text_alone() {
    let evil = Site::new([SuiteSpec::new(SUITE).package("main", deb("evil", "6.6.6", 10))]);
    let evil_release = evil.archive.root().join("dists").join(SUITE).join("Release");
    let evil_release = fs::read_to_string(evil_release).expect("a Release file");
    // Upstream has the evil packages and indices. Only the signed text does not list them.
    let smuggle = |site: &Site| {
        for path in below(evil.archive.root()) {
            let name = path.strip_prefix(evil.archive.root()).expect("below");
            let to = site.archive.root().join(name);
            if !name.to_string_lossy().contains("Release") && !to.exists() {
                fs::create_dir_all(to.parent().expect("below the archive")).expect("own directory");
                fs::copy(&path, to).expect("own file");
            }
        }
    };
    let attacks: [(&str, Attack); 4] = [
        ("Release beside a good InRelease", |dists, evil| {
            fs::write(dists.join("Release"), evil).expect("own directory");
            fs::remove_file(dists.join("Release.gpg")).expect("own directory");
        }),
        ("Release with the genuine Release.gpg", |dists, evil| {
            fs::write(dists.join("Release"), evil).expect("own directory");
            fs::remove_file(dists.join("InRelease")).expect("own directory");
        }),
        ("text before the signed message", |dists, evil| {
            let genuine = fs::read_to_string(dists.join("InRelease")).expect("an InRelease file");
            fs::write(dists.join("InRelease"), format!("{evil}\n{genuine}")).expect("own directory");
        }),
        ("text after the signed message", |dists, evil| {
            let genuine = fs::read_to_string(dists.join("InRelease")).expect("an InRelease file");
            fs::write(dists.join("InRelease"), format!("{genuine}\n{evil}")).expect("own directory");
        }),
    ];
    for (what, attack) in attacks {
        let site = Site::small();
        smuggle(&site);
        attack(&site.archive.root().join("dists").join(SUITE), &evil_release);
        let ran = site.run("sync");
        assert_eq!(ran.status.code(), Some(5), "{what}: {ran}");
        assert!(site.snapshots("debian").is_empty(), "{what}");
        assert_eq!(site.upstream.hits("pool/*"), 0, "{what}");
    }
}

/// Switches by removing the link, so that readers see nothing for a moment.
#[test]
fn fault_3_a_pointer_leads_somewhere_at_every_moment() {
    let mut site = Site::small();
    let first = site.sync()["snapshot"]["name"].as_str().expect("a name").to_owned();
    site.add(&deb("aa", "2", 10));
    let second = site.sync()["snapshot"]["name"].as_str().expect("a name").to_owned();
    site.run(&format!("snapshot publish debian {first}")).success();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let catalog = site.catalog();
            let row = catalog.mirror(&id("debian")).expect("a synced mirror");
            let mut seen = BTreeMap::new();
            while !done.load(Ordering::SeqCst) {
                let target = catalog
                    .pointer(row, &Pointer::Current)
                    .expect("readable")
                    .expect("it leads somewhere");
                *seen.entry(target.snapshot.to_string()).or_insert(0) += 1;
            }
            seen
        });
        for name in [&second, &first].into_iter().cycle().take(20) {
            site.run(&format!("snapshot publish debian {name}")).success();
        }
        done.store(true, Ordering::SeqCst);
        let seen = reader.join().expect("the pointer was there at every moment");
        assert_eq!(seen.keys().collect::<Vec<_>>(), [&first, &second]);
    });
}

/// A sync moves production by itself; after a promote the next sync downloads everything again.
#[test]
fn fault_4_production_moves_when_told_and_a_promote_costs_no_download() {
    let mut site = Site::small();
    site.configure(|mirror| mirror.publish_to_staging(true));
    site.sync();
    assert_eq!(site.pointer("debian", "current"), None);
    site.run("snapshot promote debian").success();
    let production = site.pointer("debian", "current");
    site.upstream.take_requests();
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert_eq!(site.upstream.take_requests().len(), 1);
    site.add(&deb("aa", "2", 10));
    let report = site.sync();
    let fetched = Site::fetched(&site.upstream.requests(), "pool/");
    assert_eq!(fetched.keys().collect::<Vec<_>>(), [&site.pool("aa")], "{report}");
    assert_eq!(site.pointer("debian", "current"), production);
    assert_ne!(site.pointer("debian", "staging"), production);
}

/// Prune deletes all old snapshots when there are at most `keep_last` of them.
#[test]
fn fault_5_few_snapshots_are_never_pruned() {
    let mut site = Site::small();
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("snapshot.prune", "keep_last", "3")
        .set_in("snapshot.prune", "keep_within", "\"0\"");
    site.configure_all(config);
    for version in ["2", "3", "4"] {
        site.sync();
        site.add(&deb("aa", version, 10));
        let before = site.snapshots("debian");
        site.run("snapshot prune debian").success();
        site.run("snapshot prune debian --keep-last 9 --keep-within 1s")
            .success();
        assert_eq!(site.snapshots("debian"), before);
    }
    assert_eq!(site.snapshots("debian").len(), 3);
    let dry = site.json("snapshot prune debian --keep-last 1 --keep-within 0s --dry-run");
    assert_eq!(site.snapshots("debian").len(), 3);
    site.run("snapshot prune debian --keep-last 1 --keep-within 0s")
        .success();
    let expected = &dry["mirrors"][0]["snapshots"];
    assert_eq!(
        site.snapshots("debian"),
        [expected[0]["name"].as_str().expect("a name")]
    );
    assert_eq!(expected[1]["deleted"], true, "{dry}");
    site.run("snapshot prune debian --keep-last 0").code(2);
    site.assert_whole();
}

/// `snapshot create X --force` on the published X empties it, with exit code 0.
#[test]
fn fault_6_what_is_published_is_not_replaced() {
    let mut site = Site::small();
    site.sync();
    site.run("snapshot create debian release").success();
    site.run("snapshot publish debian release").success();
    let (files, visible) = (site.files("debian", "release"), site.visible());
    site.add(&deb("aa", "2", 10));
    site.run("snapshot create debian release --force")
        .code(4)
        .stderr_has("current");
    site.run("snapshot create debian release --force --stage").code(4);
    assert_eq!((site.files("debian", "release"), site.visible()), (files, visible));
    site.assert_whole();
}

/// Two suites that share a pool file abort the sync.
#[test]
fn fault_8_suites_may_share_files() {
    let shared = deb("shared", "1", 5_000);
    let suites = ["sid", "trixie", "forky"].map(|name| SuiteSpec::new(name).package("main", shared.clone()));
    let mut site = Site::new(suites);
    assert_eq!(site.sync()["outcome"], "recorded");
    let pool = site.pool("shared");
    assert!(site.newest().contains_key(&pool));
    assert_eq!(Site::fetched(&site.upstream.requests(), "pool/")[&pool], 1);
    // It is there as long as one of them has it.
    site.archive.remove("sid", "shared").expect("a suite");
    site.publish();
    site.sync();
    assert!(site.newest().contains_key(&pool));
    site.assert_whole();
}

/// A 404 for a listed package is a warning, and the sync "succeeds" with a hole.
#[test]
fn fault_9_a_missing_package_is_a_failure() {
    let mut site = Site::small();
    site.configure(|mirror| mirror.publish_to_production(true));
    site.sync();
    site.add(&deb("aa", "2", 10));
    let visible = site.visible();
    for status in [404, 410] {
        site.upstream.fault("pool/*/aa_2_*", Fault::Status(status));
        site.run("sync").code(1).stderr_has(&site.pool("aa"));
        assert_eq!(site.visible(), visible);
        site.upstream.clear_faults();
    }
    site.sync();
    site.assert_whole();
}

/// A failed or interrupted run keeps nothing, and a stalled peer hangs it for ever.
#[test]
fn fault_10_what_was_fetched_is_kept_and_a_stalled_peer_holds_nobody() {
    let site = Site::small();
    let config = Config::new().mirror(site.mirror("debian")).set("max_conns", "1");
    site.configure_all(config);
    site.upstream.fault_times("pool/*/bb_*", 1, Fault::Stalled(50));
    site.upstream.fault_times("pool/*/cc_*", 1, Fault::Status(404));
    let mut sync = site.env.spawn(&["sync"]);
    site.upstream.wait_for("pool/*/bb_*");
    sync.signal(Signal::Interrupt);
    assert!(sync.ends_within(Duration::from_secs(5)));
    sync.wait().code(130);
    site.run("sync").code(1);
    site.sync();
    let asked = |package: &str| site.upstream.hits(&format!("pool/*/{package}_*"));
    assert_eq!((asked("aa"), asked("bb"), asked("cc")), (1, 2, 2));
    site.assert_whole();
}

/// No by-hash tree though Release promises one; an upstream change in mid-sync loses all work.
#[test]
fn fault_11_by_hash_is_there_and_a_change_in_mid_sync_loses_nothing() {
    let site = Site::small();
    site.sync();
    let files = site.newest();
    for suffix in [".gz", ".xz"] {
        let plain = files[&format!("dists/{SUITE}/main/binary-amd64/Packages{suffix}")];
        let by_hash = files
            .iter()
            .filter(|(path, file)| path.contains("/by-hash/") && **file == plain);
        assert_eq!(by_hash.count(), 4, "{files:?}");
    }

    // Upstream publishes between its Release file and its indices. By hash, the old ones are still there.
    for (by_hash, pattern) in [(true, "*/by-hash/*"), (false, "*/Packages*")] {
        let site = Site::new([three().by_hash(by_hash)]);
        let (old, next) = (site.archive.root().to_owned(), site.env.root().join("next"));
        let changed = three().by_hash(by_hash).package("main", deb("aa", "2", 10));
        ArchiveBuilder::new()
            .key(site.archive.key().clone())
            .suite(changed)
            .create(&next, now())
            .expect("an archive");
        for path in below(&old)
            .iter()
            .filter(|path| path.to_string_lossy().contains("/by-hash/"))
        {
            fs::copy(path, next.join(path.strip_prefix(&old).expect("below"))).expect("own file");
        }
        let aside = site.env.root().join("aside");
        site.upstream.before(pattern, move || {
            fs::rename(&old, aside).expect("own directory");
            fs::rename(next, old).expect("own directory");
        });
        site.run("sync").success().stderr_has("starting again");
        let fetched = Site::fetched(&site.upstream.requests(), "pool/");
        assert_eq!(fetched.values().collect::<Vec<_>>(), [&1; 3], "{fetched:?}");
        assert!(fetched.keys().any(|path| path.contains("/aa_2_")), "{fetched:?}");
        site.assert_whole();
    }
}

/// Files 0600 and directories 0750: the web server cannot read them.
#[test]
fn fault_13_everybody_can_read_what_is_served() {
    let site = Site::small();
    // Whatever the umask of whoever syncs.
    Program::new("sh", "dash")
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(site.env.binary())
        .arg("--config")
        .arg(site.env.config_path())
        .arg("sync")
        .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
        .env("HOME", site.env.root().join("home"))
        .run()
        .success();
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    let blobs = site.blobs();
    assert!(blobs.len() >= 8);
    for blob in blobs {
        assert_eq!(mode(&blob), 0o444, "{}", blob.display());
        for directory in blob.ancestors().skip(1).take(3) {
            assert_eq!(mode(directory) & 0o005, 0o005, "{}", directory.display());
        }
    }
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        assert_eq!(mode(&site.env.state_dir().join(name)) & 0o444, 0o444, "{name}");
    }
    site.assert_whole();
}

/// Garbage collection deletes files that it did not create; failing commands exit with 0.
#[test]
fn fault_14_only_own_files_are_deleted_and_failures_show() {
    let mut site = Site::small();
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("snapshot.prune", "keep_last", "1")
        .set_in("snapshot.prune", "keep_within", "\"0\"");
    site.configure_all(config);
    site.sync();
    let state = site.env.state_dir();
    let digest = Digest::of(b"foreign").to_string();
    let foreign = [
        "README".to_owned(),
        "blobs/notes.txt".to_owned(),
        format!("blobs/{}/{digest}", &digest[..2]),
        format!("blobs/{}/notes.txt", &digest[..2]),
        "tmp/notes.txt".to_owned(),
        "tmp/other/notes.txt".to_owned(),
        "locks/notes.txt".to_owned(),
        "debian/current/Release".to_owned(),
    ];
    for name in &foreign {
        let path = state.join(name);
        fs::create_dir_all(path.parent().expect("below the state")).expect("own directory");
        fs::write(path, "foreign").expect("own directory");
    }
    let outside = site.env.root().join("srv/debian/pool/precious.deb");
    fs::create_dir_all(outside.parent().expect("below the root")).expect("own directory");
    fs::write(&outside, "foreign").expect("own directory");
    for version in ["2", "3"] {
        site.add(&deb("aa", version, 10));
        site.sync();
        site.run("snapshot prune").success();
        site.run("gc --now").success();
    }
    for name in &foreign {
        assert_eq!(fs::read_to_string(state.join(name)).expect(name), "foreign");
    }
    assert!(outside.exists());
    site.assert_whole();

    let nothing = TestEnv::new(site.env.binary());
    let missing = nothing.mirrorctl(&["sync"]);
    assert_eq!(missing.status.code(), Some(1), "{missing}");
    for (line, code) in [
        ("snapshot delete debian nosuch", 1),
        ("snapshot stage debian nosuch", 1),
        ("snapshot publish debian nosuch", 1),
        ("snapshot promote debian", 4),
        ("snapshot create nosuch x", 2),
        ("sync nosuch", 2),
        ("unmount", 1),
    ] {
        let ran = site.run(line);
        assert_eq!(ran.status.code(), Some(code), "{ran}");
        assert!(ran.stderr.contains("error: "), "{ran}");
    }
}
