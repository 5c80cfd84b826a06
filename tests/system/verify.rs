//! Damage to files that are being served: from its detection on nobody is shown a byte of it, until it is repaired.
//!
//! Owns the proof with the files hot: read and held open before, served from the kernel's memory without the mount's process, and
//! nothing dropped from there by anybody but the mount. That mappings end likewise is shown in `mount/tests/data.rs`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mirrorctl::model::Digest;
use mirrorctl_testkit::{MountGuard, Nginx, fetch};

use crate::site::{COMMON, RELEASE, Site, comes_true, names, only, read, stat};

/// The exit code of damage.
const DAMAGED: i32 = 9;

/// The data paths in which the kernel's own memory serves files.
const DATA: [&str; 2] = ["no-open", "keep-cache"];

/// A file that is served, held open, and as it should be.
struct Hot {
    path: PathBuf,
    open: File,
    bytes: Vec<u8>,
}

impl Hot {
    /// Reads the file until the kernel has all of it.
    fn of(site: &Site, path: &str) -> Self {
        let path = site.served(path);
        let (open, bytes) = (File::open(&path).expect("listed"), read(&path));
        Self { path, open, bytes }
    }

    /// Reads it all through the descriptor that was opened before.
    fn held(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes.len()];
        self.open.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    #[track_caller]
    fn is_served(&self) {
        assert!(self.held().expect("readable") == self.bytes, "{}", self.path.display());
        assert!(read(&self.path) == self.bytes, "{}", self.path.display());
    }

    fn is_refused(&self) -> bool {
        let refused = |outcome: io::Result<Vec<u8>>| {
            let error = outcome.map(|_| ()).err().and_then(|error| error.raw_os_error());
            error == Some(5)
        };
        refused(self.held()) && refused(fs::read(&self.path))
    }
}

/// A site with one snapshot in production, mounted with this data path.
fn serving(data: &str) -> (Site, String, MountGuard) {
    let (site, snapshots) = Site::with_snapshots(1);
    site.publish("debian", &snapshots[0]);
    site.env
        .configure(site.config(1).set_in("mount", "data", &format!("\"{data}\"")));
    let mount = site.mount();
    (site, snapshots[0].clone(), mount)
}

/// Changes a byte of the blob of `bytes`, which keeps its length.
fn rot(site: &Site, bytes: &[u8]) {
    let digest = Digest::of(bytes).to_string();
    let blob = site.env.state_dir().join("blobs").join(&digest[..2]).join(&digest);
    let mut rotten = bytes.to_vec();
    rotten[bytes.len() / 2] ^= 1;
    let set_mode = |mode| fs::set_permissions(&blob, fs::Permissions::from_mode(mode)).expect("sets");
    set_mode(0o644);
    fs::write(&blob, rotten).expect("writes");
    set_mode(0o444);
}

fn verify(site: &Site, words: &[&str], code: i32) -> mirrorctl_testkit::Ran {
    site.env.mirrorctl(&[&["verify"], words].concat()).code(code)
}

#[test]
fn damage_ends_reading_of_hot_files_until_it_is_repaired() {
    for data in DATA {
        let (site, snapshot, mut mount) = serving(data);
        let nginx = Nginx::serve(&site.env.mount_dir());
        // Below the pointer, the Release file is another one of the same bytes.
        let damaged = [
            format!("debian/current/{COMMON}"),
            format!("debian/snapshots/{snapshot}/{COMMON}"),
            format!("debian/current/{RELEASE}"),
            format!("debian/snapshots/{snapshot}/{RELEASE}"),
        ];
        let damaged: Vec<Hot> = damaged.iter().map(|path| Hot::of(&site, path)).collect();
        let other = Hot::of(&site, &format!("debian/current/{}", only(1)));
        let url = |path: &str| format!("{}/debian/current/{path}", nginx.url());
        let answer = fetch(&url(COMMON)).expect("an answer");
        assert!(answer.complete && answer.body == damaged[0].bytes);
        // Hot: nobody is asked for the bytes.
        mount.freeze();
        for hot in damaged.iter().chain([&other]) {
            assert!(
                hot.held().expect("in memory") == hot.bytes,
                "{data} {}",
                hot.path.display()
            );
        }
        mount.thaw();

        rot(&site, &damaged[0].bytes);
        rot(&site, &damaged[2].bytes);
        damaged.iter().for_each(Hot::is_served);
        let ran = verify(&site, &["--deep"], DAMAGED);
        assert!(
            ran.stderr.contains("2 files of the cache are not as they should be"),
            "{ran}"
        );
        for hot in &damaged {
            assert!(hot.is_refused(), "{data} {}", hot.path.display());
            assert_eq!(stat(&hot.path).len(), hot.bytes.len() as u64, "it is listed");
            let directory = hot.path.parent().expect("has one");
            assert!(names(directory).contains(&name(&hot.path)), "{data}");
        }
        other.is_served();
        let answer = fetch(&url(COMMON));
        assert!(
            !answer.is_ok_and(|answer| answer.status == 200 && answer.complete),
            "{data}"
        );

        let ran = verify(&site, &["--repair"], 0);
        assert!(
            ran.stdout.contains(&format!("debian: {COMMON} is whole again")),
            "{ran}"
        );
        damaged.iter().for_each(Hot::is_served);
        let answer = fetch(&url(COMMON)).expect("an answer");
        assert!(answer.complete && answer.body == damaged[0].bytes, "{data}");
        drop(nginx);
        mount.stop().success();
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("has one").to_string_lossy().into_owned()
}

/// A mount started after the damage was found has never read a byte of it.
#[test]
fn a_mount_that_comes_later_knows_of_damage_and_a_sync_repairs_it() {
    let (site, _, mount) = serving("no-open");
    let hot = Hot::of(&site, &format!("debian/current/{COMMON}"));
    let bytes = hot.bytes.clone();
    drop(hot);
    mount.stop().success();
    rot(&site, &bytes);
    verify(&site, &["--deep"], DAMAGED);
    let _mount = site.mount();
    let path = site.served(&format!("debian/current/{COMMON}"));
    let refused = fs::read(&path).map(|_| ()).expect_err("damaged");
    assert_eq!(refused.raw_os_error(), Some(5));
    // Nothing is new upstream, and the file is fetched all the same.
    let ran = site.env.mirrorctl(&["--json", "sync", "debian"]).success();
    assert_eq!(ran.json()["mirrors"][0]["outcome"], "unchanged", "{ran}");
    assert!(read(&path) == bytes);
    verify(&site, &["--deep"], 0);
}

/// What nobody could tell it, the mount notices by itself.
#[test]
fn a_mount_that_does_not_answer_is_named_and_follows_when_it_can() {
    let (site, _, mut mount) = serving("no-open");
    let hot = Hot::of(&site, &format!("debian/current/{COMMON}"));
    rot(&site, &hot.bytes);
    mount.freeze();
    let ran = verify(&site, &["--deep"], DAMAGED);
    let mountpoint = site.env.mount_dir().display().to_string();
    assert!(
        ran.stderr.contains("may still show damaged bytes") && ran.stderr.contains(&mountpoint),
        "{ran}"
    );
    mount.thaw();
    assert!(comes_true(|| hot.is_refused()));
    verify(&site, &["--repair"], 0);
    hot.is_served();
}
