//! A catalog that is damaged, lost, or of another program's time.
//!
//! Owns the tests of `mirrorctl repair` without a mount, of what commands say until then, and of changes of the format.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mirrorctl::catalog::CatalogReader;
use mirrorctl_testkit::{Config, Program, Ran};
use serde_json::Value;

use crate::site::{Files, Site, deb, history};

/// The size of the database's pages.
const PAGE: usize = 4096;

/// A site in whose life most things have happened.
fn site() -> Site {
    let mut site = Site::small();
    let config = Config::new()
        .mirror(site.mirror("debian").publish_to_staging(true))
        .mirror(site.mirror("other"))
        .mirror(site.mirror("gone"));
    site.configure_all(config);
    site.sync();
    for version in ["2", "3"] {
        site.add(&deb("aa", version, 2_000));
        site.sync();
        site.run("snapshot promote debian -m because").success();
    }
    let names = site.snapshots("debian");
    site.run(&format!("snapshot rename debian {} first", names[2]))
        .success();
    site.run("snapshot tag debian first x y").success();
    site.run("snapshot note debian first with-a-note").success();
    site.run("snapshot protect debian first").success();
    site.run(&format!("snapshot delete debian {} --force", names[1]))
        .success();
    let others = site.snapshots("other");
    site.run(&format!("snapshot publish other {}", others[1])).success();
    site.run(&format!("snapshot publish other {}", others[0])).success();
    site.run("snapshot rollback other").success();
    let config = Config::new()
        .mirror(site.mirror("debian").publish_to_staging(true))
        .mirror(site.mirror("other"));
    site.configure_all(config);
    site.run("forget gone").success();
    site
}

/// All that a catalog has to say: snapshots, moves, and every file.
fn everything(site: &Site) -> (Value, Vec<Value>, Vec<(String, Files)>) {
    let mut files = Vec::new();
    for mirror in ["debian", "other"] {
        for name in site.snapshots(mirror) {
            files.push((format!("{mirror} {name}"), site.files(mirror, &name)));
        }
    }
    (site.json("snapshot list --detailed"), history(site), files)
}

fn path(site: &Site, name: &str) -> PathBuf {
    site.env.state_dir().join(name)
}

fn generation(site: &Site) -> String {
    site.catalog().generation().expect("readable")
}

/// Writes over a file in place, as a broken disk does.
fn write_over(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    change(&mut bytes);
    let file = OpenOptions::new().write(true).open(path).expect("writable");
    file.write_all_at(&bytes, 0).expect("writes");
    file.set_len(bytes.len() as u64).expect("cuts");
}

/// What is wrong with a catalog, and how to make it so.
type Damage = (&'static str, fn(&Site));

/// The ways in which a catalog is lost or damaged that need nobody to have it open.
const DAMAGES: [Damage; 7] = [
    ("zeros", |site| {
        write_over(&path(site, "catalog.db"), |bytes| bytes.fill(0));
    }),
    ("flipped pages", |site| {
        write_over(&path(site, "catalog.db"), |bytes| {
            bytes.chunks_mut(PAGE).skip(1).for_each(|page| page[0] ^= 0x55);
        });
    }),
    ("a few flipped pages", |site| {
        write_over(&path(site, "catalog.db"), |bytes| {
            let pages = bytes.chunks_mut(PAGE).skip(3).step_by(5);
            pages.for_each(|page| page.iter_mut().for_each(|byte| *byte ^= 0xa5));
        });
    }),
    ("truncated", |site| {
        write_over(&path(site, "catalog.db"), |bytes| {
            bytes.truncate(bytes.len() / 2 / PAGE * PAGE);
        });
    }),
    ("cut in the middle of a page", |site| {
        write_over(&path(site, "catalog.db"), |bytes| bytes.truncate(3 * PAGE + 100));
    }),
    ("empty", |site| write_over(&path(site, "catalog.db"), Vec::clear)),
    ("missing", |site| {
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            fs::remove_file(path(site, name)).expect("removes");
        }
    }),
];

/// Asserts that commands which write refuse to, say what to do, and leave the catalog as it is.
#[track_caller]
fn refused(site: &Site, how: &str) {
    let before = fs::read(path(site, "catalog.db")).unwrap_or_default();
    let ledger = fs::read(path(site, "ledger.log")).expect("readable");
    for line in [
        "snapshot promote debian",
        "sync debian",
        "snapshot tag debian first z",
        "gc",
        "snapshot prune",
    ] {
        let ran = site.run(line).code(1);
        assert!(ran.stderr.contains("mirrorctl repair --rebuild"), "{how}: {ran}");
    }
    assert!(
        fs::read(path(site, "catalog.db")).unwrap_or_default() == before,
        "{how}: something was written"
    );
    assert_eq!(fs::read(path(site, "ledger.log")).expect("readable"), ledger, "{how}");
}

/// Rebuilds, and asserts that all is as it was, and goes on.
#[track_caller]
fn rebuilt(site: &mut Site, how: &str, before: &(Value, Vec<Value>, Vec<(String, Files)>), old: &str) {
    let plan = site.json("repair --rebuild --dry-run");
    assert_eq!(
        (&plan["rebuilt"], &plan["complete"]),
        (&true.into(), &true.into()),
        "{how}: {plan}"
    );
    let mut done = site.json("repair --rebuild");
    assert_eq!(done["missing"]["files"], 0, "{how}: {done}");
    done["dry_run"] = true.into();
    done["moved_aside"] = Value::Null;
    assert_eq!(done, plan, "{how}");
    assert_eq!(&everything(site), before, "{how}");
    assert_ne!(generation(site), old, "{how}");
    site.assert_whole();
    site.run("repair --rebuild")
        .success()
        .stdout_has("nothing needs rebuilding");

    site.upstream.take_requests();
    assert_eq!(site.sync()["outcome"], "unchanged", "{how}");
    site.run("sync debian --force").success();
    let fetched = Site::fetched(&site.upstream.take_requests(), "/pool/");
    assert!(fetched.is_empty(), "{how}: {fetched:?}");
    site.add(&deb("bb", how.len().to_string().as_str(), 2_000));
    assert_eq!(site.sync()["outcome"], "recorded", "{how}");
    let fetched = Site::fetched(&site.upstream.take_requests(), "/pool/");
    assert!(
        fetched.values().all(|times| *times == 1) && fetched.keys().all(|path| path.contains("bb_")),
        "{how}: {fetched:?}"
    );
    site.run("snapshot promote debian").success();
    site.run("gc --now").success();
    site.assert_whole();
}

#[test]
fn a_catalog_that_is_lost_in_any_way_is_made_anew() {
    let mut site = site();
    for (how, damage) in DAMAGES {
        let (before, old) = (everything(&site), generation(&site));
        damage(&site);
        refused(&site, how);
        rebuilt(&mut site, how, &before, &old);
    }
}

#[test]
fn a_catalog_without_its_log_or_with_an_old_index_of_it_is_refused_and_made_anew() {
    let mut site = site();
    for how in ["without its log", "with an old index"] {
        // As long as somebody reads, nothing is moved from the log into the database.
        let reader = CatalogReader::open(&path(&site, "catalog.db")).expect("opens");
        reader.generation().expect("reads");
        site.run("snapshot tag debian first z").success();
        let (index, copied) = (path(&site, "catalog.db-shm"), site.env.root().join("index"));
        // By other processes: to close a file gives up all the locks on it that this one has.
        let copy = |from: &Path, to: &Path| {
            let words = [
                format!("if={}", from.display()),
                format!("of={}", to.display()),
                "conv=notrunc".to_owned(),
            ];
            Program::new("dd", "coreutils").args(words).run().success();
        };
        copy(&index, &copied);
        site.run("snapshot tag debian first z --remove").success();
        site.run("snapshot rollback debian --to first").success();
        let (before, old) = (everything(&site), generation(&site));
        let reader = if how == "without its log" {
            drop(reader);
            fs::remove_file(path(&site, "catalog.db-wal")).expect("removes");
            None
        } else {
            copy(&copied, &index);
            Some(reader)
        };
        refused(&site, how);
        site.run("snapshot list")
            .code(1)
            .stderr_has("of an earlier time")
            .stderr_has("repair --rebuild");
        rebuilt(&mut site, how, &before, &old);
        drop(reader);
    }
}

#[test]
fn what_cannot_be_restored_is_told_by_name() {
    let site = site();
    let names = site.snapshots("debian");
    let newest = site.files("debian", &names[0]);
    let (missing, _) = newest[&site.pool("cc")];
    let size = fs::metadata(site.blob(missing)).expect("exists").len();
    fs::remove_file(site.blob(missing)).expect("removes");
    write_over(&path(&site, "catalog.db"), Vec::clear);
    let ran = site.run("--json repair --rebuild").code(6).json();
    assert_eq!(
        (&ran["missing"]["files"], &ran["missing"]["bytes"]),
        (&1.into(), &size.into()),
        "{ran}"
    );
    let incomplete = ran["incomplete"].as_array().expect("a list");
    assert!(
        incomplete.iter().any(|item| item["snapshot"] == names[0].as_str()),
        "{ran}"
    );
    assert_eq!(
        site.snapshots("debian"),
        names,
        "a hole is no reason to drop a snapshot"
    );
    assert_eq!(site.files("debian", &names[0]), newest);

    // A manifest that is gone takes its listing with it, and says so.
    let catalog = site.catalog();
    let row = catalog.mirror(&"debian".parse().expect("valid")).expect("synced");
    let record = catalog.snapshots(row).expect("readable").remove(0);
    let manifest = catalog.manifest_chain(row, record.seq).expect("readable")[0];
    drop(catalog);
    fs::remove_file(site.blob(manifest)).expect("removes");
    write_over(&path(&site, "catalog.db"), Vec::clear);
    let ran = site.run("repair --rebuild").code(6);
    assert!(
        ran.stdout.contains(&format!(
            "debian: snapshot {} is lost: its manifest {manifest}",
            names[0]
        )),
        "{ran}"
    );
    assert!(
        ran.stdout.contains("debian/current is left without its snapshot"),
        "{ran}"
    );
    assert_eq!(site.snapshots("debian"), names[1..]);
    assert!(!site.snapshots("other").is_empty());
}

#[test]
fn nothing_is_made_from_nothing() {
    let site = site();
    let good = fs::read(path(&site, "catalog.db")).expect("readable");
    site.run("repair --rebuild")
        .success()
        .stdout_has("nothing needs rebuilding");
    assert!(fs::read(path(&site, "catalog.db")).expect("readable") == good);
    let plan = site.json("repair --rebuild --force --dry-run");
    assert_eq!(plan["damage"], Value::Null);
    assert!(
        fs::read(path(&site, "catalog.db")).expect("readable") == good,
        "a dry run changes nothing"
    );
    let before = everything(&site);
    site.run("repair --rebuild --force --deep")
        .success()
        .stdout_has("the old catalog was moved to");
    assert_eq!(everything(&site), before);
    fs::remove_file(path(&site, "ledger.log")).expect("removes");
    write_over(&path(&site, "catalog.db"), |bytes| bytes.fill(0));
    site.run("repair --rebuild")
        .code(1)
        .stderr_has("no ledger")
        .stderr_has("repair --restore");
    let empty = Site::small();
    empty.run("repair --rebuild").code(1);
}

#[test]
fn nobody_works_in_a_state_that_is_repaired() {
    let site = site();
    site.upstream.fault("dists/*Release*", mirrorctl_testkit::Fault::Silent);
    site.upstream.take_requests();
    let running = site.env.spawn(&["sync", "other"]);
    site.upstream.wait_for("dists/*Release*");
    let pid = running.pid().to_string();
    site.run("repair --rebuild --force").code(3).stderr_has(&pid);
    running.kill();
}

/// Sets the number of migrations in the header of a database that nobody has open.
fn set_version(site: &Site, version: u32) {
    write_over(&path(site, "catalog.db"), |bytes| {
        bytes[60..64].copy_from_slice(&version.to_be_bytes());
    });
}

#[test]
fn a_newer_catalog_is_refused_by_every_command_and_left_as_it_is() {
    let site = site();
    let names = ["catalog.db", "catalog.db-wal", "ledger.log"].map(|name| path(&site, name));
    set_version(&site, 99);
    let before = names.each_ref().map(|name| fs::read(name).expect("readable"));
    for line in [
        "sync",
        "snapshot promote debian",
        "snapshot list",
        "gc",
        "repair --rebuild",
        "repair --rebuild --force",
        "status",
    ] {
        site.run(line).code(1).stderr_has("format 99");
    }
    assert!(names.each_ref().map(|name| fs::read(name).expect("readable")) == before);
}

fn sql(site: &Site, statements: &str) {
    let catalog = path(site, "catalog.db");
    Program::new("sqlite3", "sqlite3")
        .arg(catalog)
        .arg(statements)
        .run()
        .success();
}

/// Takes the catalog back to the format before it had a ledger.
fn take_back(site: &Site) {
    let triggers = [
        "mirror",
        "pointer",
        "listing",
        "release",
        "snapshot",
        "snapshot_tag",
        "snapshot_gone",
        "move",
        "test_run",
        "test_company",
    ]
    .iter()
    .flat_map(|table| ["begins", "changes", "ends"].map(|end| format!("DROP TRIGGER ledger_{table}_{end};")))
    .collect::<String>();
    sql(site, &format!("{triggers} DROP TABLE ledger; DROP TABLE damaged; DROP TABLE rehashed; DROP TABLE rehash_run; DROP TABLE commit_mark;
         PRAGMA user_version = 5;"));
    fs::remove_file(path(site, "ledger.log")).expect("removes");
}

/// Runs the binary so that it is killed when it makes the call `call` for the `nth` time.
fn killed_at(site: &Site, line: &str, call: &str, nth: u32) -> Ran {
    Program::new("strace", "strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")])
        .arg(site.env.binary())
        .arg("--config")
        .arg(site.env.config_path())
        .args(line.split_whitespace())
        .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
        .env("HOME", site.env.root().join("home"))
        .run()
}

#[test]
fn a_migration_that_is_killed_at_any_call_is_done_by_the_next_command() {
    let site = site();
    let before = everything(&site);
    for call in ["pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "unlink"] {
        for nth in (1..).step_by(3) {
            take_back(&site);
            let ran = killed_at(&site, "snapshot note debian first with-a-note", call, nth);
            site.run("snapshot note debian first with-a-note").success();
            assert_eq!(everything(&site), before, "{call} {nth}: {ran}");
            assert!(path(&site, "catalog-v5.db").exists());
            if ran.status.code() == Some(0) {
                break;
            }
        }
    }
    // What went back and forth gives its numbers another meaning.
    let old = generation(&site);
    let ledger = fs::read(path(&site, "ledger.log")).expect("readable");
    take_back(&site);
    fs::write(path(&site, "ledger.log"), ledger).expect("writes");
    site.run("snapshot note debian first with-a-note").success();
    assert_ne!(generation(&site), old);
    assert_eq!(everything(&site), before);
}

#[test]
fn a_repair_that_is_killed_at_any_call_is_done_by_the_next_one() {
    let site = site();
    let before = everything(&site);
    let mut kills = 0;
    for call in [
        "rename",
        "link",
        "unlink",
        "fsync",
        "fdatasync",
        "ftruncate",
        "pwrite64",
    ] {
        let step = if call == "pwrite64" { 7 } else { 1 };
        for nth in (1..).step_by(step) {
            write_over(&path(&site, "catalog.db"), |bytes| {
                bytes.chunks_mut(PAGE).skip(1).for_each(|page| page[0] ^= 0x55);
            });
            let ran = killed_at(&site, "repair --rebuild", call, nth);
            let ended = ran.status.code() == Some(0);
            kills += u32::from(!ended);
            let again = site.run("repair --rebuild").success();
            assert_eq!(everything(&site), before, "{call} {nth}: {ran} {again}");
            if ended {
                break;
            }
        }
    }
    assert!(kills > 10, "{kills}");
    site.assert_whole();
    site.run("snapshot rollback debian --to first").success();
}

#[test]
fn a_copy_of_yesterday_is_put_back() {
    let mut site = site();
    let before = everything(&site);
    let old = generation(&site);
    let copy = site.env.root().join("copy.db");
    sql(&site, &format!("VACUUM INTO '{}'", copy.display()));
    site.add(&deb("cc", "7", 2_000));
    site.sync();
    site.run("snapshot promote debian").success();
    let newest = site.newest();
    site.run(&format!("repair --restore {}", copy.display()))
        .success()
        .stdout_has("that no snapshot has");
    assert_eq!(everything(&site), before);
    assert_ne!(generation(&site), old);
    // What came since is in the cache, and not fetched again.
    site.upstream.take_requests();
    assert_eq!(site.sync()["outcome"], "recorded");
    let fetched = Site::fetched(&site.upstream.take_requests(), "/pool/");
    assert!(fetched.is_empty(), "{fetched:?}");
    assert_eq!(site.newest(), newest);
    site.run("repair --rebuild")
        .success()
        .stdout_has("nothing needs rebuilding");
    site.run("repair --restore /nowhere").code(1);
    site.run(&format!("repair --restore {}", site.env.config_path().display()))
        .code(1);
}
