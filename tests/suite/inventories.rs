//! The inventories of indices: made by syncs and comparisons, believed only when they are whole, and never needed.
//!
//! Owns the proof that a difference is the same whatever lies where inventories are stored, or cannot be written there, and that
//! they go with their indices.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Program, Ran};
use serde_json::Value;

use crate::site::{SUITE, Site, below, deb, three};

/// A site whose mirror has the snapshots `one` and `two`.
fn two_states() -> Site {
    let mut site = Site::small();
    for (name, version) in [("one", "1"), ("two", "2")] {
        site.add(&deb("aa", version, 10));
        site.sync();
        site.run(&format!("snapshot create debian {name}")).success();
    }
    site
}

fn place(site: &Site) -> PathBuf {
    site.env.state_dir().join("inventories")
}

/// The files with inventories, by what they are called.
fn names(site: &Site) -> BTreeSet<String> {
    let files = below(&place(site)).into_iter();
    files
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect()
}

/// The digest of the index that comparisons read.
fn index(site: &Site, snapshot: &str) -> Digest {
    let path = format!("dists/{SUITE}/main/binary-amd64/Packages.gz");
    site.files("debian", snapshot)[&path].0
}

fn stored(site: &Site, snapshot: &str) -> PathBuf {
    place(site).join(index(site, snapshot).to_string())
}

/// The difference, which must be told.
#[track_caller]
fn diff(site: &Site) -> Value {
    site.json("snapshot diff debian one two --files")
}

/// Runs the comparison with `setup` done before in the shell that becomes it.
fn diff_after(site: &Site, setup: &str) -> Ran {
    Program::new("sh", "dash")
        .args([
            "-c",
            &format!("{setup}; exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_mirrorctl"),
        ])
        .args(["--config".as_ref(), site.env.config_path().as_os_str()])
        .args(["--json", "snapshot", "diff", "debian", "one", "two", "--files"])
        .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
        .env("HOME", site.env.root().join("home"))
        .run()
}

#[test]
fn a_sync_leaves_what_comparisons_read() {
    let site = two_states();
    let both: BTreeSet<_> = ["one", "two"].map(|name| index(&site, name).to_string()).into();
    assert_eq!(
        names(&site),
        both,
        "one for each index, of the form that is cheapest to read"
    );
    let told = diff(&site);
    assert_eq!(names(&site), both);
    // The index is not read: what is wrong with it now is nobody's business here.
    for name in ["one", "two"] {
        let blob = site.blob(index(&site, name));
        let bytes = vec![0; fs::read(&blob).expect("a blob").len()];
        fs::remove_file(&blob).expect("removes");
        fs::write(&blob, bytes).expect("writes");
    }
    assert_eq!(diff(&site), told);
    fs::remove_file(stored(&site, "two")).expect("removes");
    site.run("snapshot diff debian one two")
        .code(1)
        .stderr_has("cannot be read");
    assert!(!stored(&site, "two").exists(), "nothing is made of what is damaged");
}

#[test]
fn what_is_stored_may_be_anything_and_is_made_again() {
    let site = two_states();
    let told = diff(&site);
    assert_eq!(told["packages"]["upgraded"], 1);
    let (path, other) = (stored(&site, "two"), stored(&site, "one"));
    let whole = fs::read(&path).expect("stored");
    let header = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let (mut flipped, mut older, mut zeroed) = (whole.clone(), whole.clone(), whole.clone());
    flipped[header + (whole.len() - header) / 2] ^= 4;
    let version = older.iter().position(|byte| *byte == b' ').expect("a blank") + 1;
    older[version] = b'0';
    zeroed[header..].fill(0);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("the first line", whole[..header].to_vec()),
        ("a part", whole[..whole.len() - 1].to_vec()),
        ("a flipped bit", flipped),
        ("another version", older),
        ("zeros, as a power cut leaves", zeroed),
        ("that of another index", fs::read(&other).expect("stored")),
        ("noise", vec![b'x'; 5_000]),
    ] {
        fs::remove_file(&path).expect("removes");
        fs::write(&path, bytes).expect("writes");
        assert_eq!(diff(&site), told, "{what}");
        assert_eq!(fs::read(&path).expect("stored"), whole, "{what}");
    }
    // What stands in its place is no file, or leads elsewhere.
    let precious = site.env.root().join("precious");
    fs::write(&precious, "precious").expect("writes");
    fs::remove_file(&path).expect("removes");
    std::os::unix::fs::symlink(&precious, &path).expect("links");
    assert_eq!(diff(&site), told);
    assert_eq!(fs::read(&path).expect("stored"), whole);
    assert_eq!(fs::read(&precious).expect("reads"), b"precious");
    fs::remove_file(&path).expect("removes");
    fs::create_dir(&path).expect("makes");
    assert_eq!(diff(&site), told, "a directory cannot be replaced");
}

#[test]
fn where_nothing_can_be_kept_everything_works() {
    let site = two_states();
    let told = diff(&site);
    let elsewhere = site.env.root().join("elsewhere");
    fs::create_dir(&elsewhere).expect("makes");
    let place = place(&site);
    fs::remove_dir_all(&place).expect("removes");
    assert_eq!(diff(&site), told, "no directory");
    assert!(!place.exists(), "who reads makes none");
    std::os::unix::fs::symlink(&elsewhere, &place).expect("links");
    assert_eq!(diff(&site), told, "a link");
    assert!(below(&elsewhere).is_empty());
    fs::remove_file(&place).expect("removes");
    fs::write(&place, "").expect("writes");
    assert_eq!(diff(&site), told, "a file");
    fs::remove_file(&place).expect("removes");
    // The next sync makes the directory, and the next comparison the inventories.
    site.sync();
    assert_eq!(diff(&site), told);
    assert_eq!(names(&site).len(), 2);
}

/// Bytes of a file up to which a process may write in the next test: those of the index of SQLite's log, and some.
const LIMIT: usize = 36_864;

/// A site whose states differ in a source package, the inventory of which is longer than that.
fn two_long_states() -> Site {
    let sources = |state: u32| {
        let noise: Vec<String> = (0..1_500_u32)
            .map(|n| Digest::of(&[state.to_le_bytes(), n.to_le_bytes()].concat()).to_string())
            .collect();
        let digest = Digest::of(b"content");
        format!(
            "Package: s\nVersion: 1{}\nDirectory: src/s\nChecksums-Sha256:\n {digest} 7 s.tar\n",
            noise.concat()
        )
    };
    let mut site = Site::new([three().index("main/source/Sources", sources(1))]);
    site.configure(|mirror| mirror.set("mirror_source", "true"));
    let pool = site.archive.root().join("src/s");
    fs::create_dir_all(&pool).expect("makes");
    fs::write(pool.join("s.tar"), "content").expect("writes");
    for (state, name) in [(1, "one"), (2, "two")] {
        let index = sources(state);
        site.archive
            .alter(SUITE, |suite| suite.index("main/source/Sources", index))
            .expect("a suite");
        site.publish();
        site.sync();
        site.run(&format!("snapshot create debian {name}")).success();
    }
    site
}

#[test]
fn a_write_that_fails_or_is_killed_leaves_nothing_that_counts() {
    let site = two_long_states();
    let told = diff(&site);
    assert_eq!(told["suites"][0]["packages"][0]["source"], true);
    let before = names(&site);
    let long = |path: &PathBuf| fs::metadata(path).expect("stored").len() > LIMIT as u64;
    let removed: Vec<PathBuf> = below(&place(&site)).into_iter().filter(long).collect();
    assert_eq!(removed.len(), 2);
    for path in removed {
        fs::remove_file(path).expect("removes");
    }
    let short = names(&site);
    // No file becomes longer, and the program is told.
    let limit = format!("ulimit -f {}", LIMIT / 512);
    let ran = diff_after(&site, &format!("trap '' XFSZ; {limit}"));
    assert_eq!(ran.success().json(), told);
    assert_eq!(names(&site), short);
    // The same, and the program dies of it: in the middle of writing.
    let killed = diff_after(&site, &limit);
    assert_eq!(killed.status.code(), None, "{killed}");
    let left = names(&site).len() - short.len();
    assert!(left > 0 && names(&site).iter().filter(|name| name.contains('.')).count() == left);
    assert_eq!(diff(&site), told);
    // What it left goes, what there is of indices that are still there stays.
    let planned = site.json("gc --dry-run");
    assert_eq!(planned["removed"]["files"], left);
    assert_eq!(site.json("gc")["removed"], planned["removed"]);
    assert_eq!(names(&site), before);
}

#[test]
fn they_go_with_their_indices() {
    let site = two_states();
    let (one, two) = (stored(&site, "one"), stored(&site, "two"));
    let bytes = |path: &PathBuf| fs::metadata(path).expect("stored").len();
    let cache = &site.json("status")["cache"];
    assert_eq!(cache["inventory_files"], 2);
    assert_eq!(cache["inventory_bytes"], bytes(&one) + bytes(&two));
    let foreign = place(&site).join("notes");
    fs::write(&foreign, "the operator's").expect("own directory");
    let names: Vec<String> = site.snapshots("debian").into_iter().collect();
    // Everything but the last state.
    let old: Vec<&str> = names[2..].iter().map(String::as_str).collect();
    site.run(&format!("snapshot delete debian {}", old.join(" "))).success();
    let kept = site.json("gc")["removed"].clone();
    assert_eq!(kept["files"], 0, "the time of grace is not over: {kept}");
    let planned = site.json("gc --now --dry-run");
    let blobs = site.blobs().len();
    let size: u64 = bytes(&one);
    let freed = site.json("gc --now");
    assert_eq!(planned["removed"], freed["removed"]);
    let gone = blobs - site.blobs().len();
    assert_eq!(freed["removed"]["files"], gone + 1, "{freed}");
    assert!(freed["removed"]["bytes"].as_u64() > Some(size));
    assert!(!one.exists() && two.exists() && foreign.exists());
    assert_eq!(site.json("status")["cache"]["inventory_files"], 1);
    // One whose index went without it, as a killed collection leaves it.
    fs::copy(&two, &one).expect("copies");
    assert_eq!(site.json("gc --dry-run")["removed"]["files"], 1);
    assert!(one.exists());
    assert_eq!(site.json("gc")["removed"]["files"], 1);
    assert!(!one.exists() && two.exists());
}
