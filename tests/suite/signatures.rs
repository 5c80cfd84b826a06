//! What a sync believes, and what it refuses.

use std::fs;
use std::path::PathBuf;

use mirrorctl_testkit::{Config, GpgHome, Signing, SigningKey, SuiteSpec, now, sign};

use crate::site::{SUITE, Site, deb, three};

/// A site with a good snapshot in production, whose upstream has something new.
struct Attacked {
    site: Site,
    version: usize,
}

impl Attacked {
    fn new(suite: SuiteSpec) -> Self {
        let mut site = Site::new([suite]);
        site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true));
        site.sync();
        site.add(&deb("aa", "2.0", 100));
        Self { site, version: 0 }
    }

    fn dists(&self, name: &str) -> PathBuf {
        self.site.archive.root().join("dists").join(SUITE).join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dists(name)).expect("a Release file")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dists(name), bytes).expect("own directory");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dists(name)).expect("a Release file");
    }

    /// Asserts that the upstream as it is now is refused for `reason`, that nothing of it is visible, and that the
    /// next good one is taken.
    #[track_caller]
    fn is_refused(&mut self, what: &str, reason: &str) {
        let (visible, files, blobs) = (self.site.visible(), self.site.newest(), self.site.blobs());
        let ran = self.site.run("sync");
        assert_eq!(ran.status.code(), Some(5), "{what}: {ran}");
        let ran = ran.stderr_has(SUITE).stderr_has(reason).stderr_has("debian");
        let report = self.site.run("--json sync").code(5).json();
        let error = &report["error"];
        assert_eq!(
            (&error["kind"], &error["exit_code"]),
            (&"unverifiable".into(), &5.into()),
            "{what}"
        );
        assert!(
            error["message"].as_str().is_some_and(|message| message.contains(SUITE)),
            "{what}: {report}"
        );
        assert!(error.to_string().contains(reason), "{what}: {report}");
        assert_eq!(report["mirrors"][0]["outcome"], "failed", "{what}: {report}");
        assert_eq!(self.site.visible(), visible, "{what}: {ran}");
        assert_eq!(self.site.newest(), files, "{what}");
        // It was refused before anything that it lists was asked for.
        assert_eq!(self.site.blobs(), blobs, "{what}");
        self.is_taken(what);
    }

    /// Publishes something new and good, which must be taken, and then something new again.
    #[track_caller]
    fn is_taken(&mut self, what: &str) {
        let snapshots = self.site.snapshots("debian").len();
        self.publish();
        assert_eq!(self.site.sync()["outcome"], "recorded", "{what}");
        assert_eq!(self.site.snapshots("debian").len(), snapshots + 1, "{what}");
        self.publish();
    }

    fn publish(&mut self) {
        self.version += 1;
        self.site.add(&deb("aa", &format!("3.{}", self.version), 100));
    }
}

fn stranger() -> SigningKey {
    SigningKey::generate("Stranger <stranger@example.org>", now().plus(-86_400)).expect("a key")
}

/// Configures the keyring with these bytes.
fn trust(site: &Site, name: &str, keyring: &[u8]) {
    let path = site.env.key(name, keyring);
    site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true).key(&path));
}

/// What is done to an `InRelease` file.
type Change = fn(String) -> String;

/// The start of a signed message, which only the first line may be.
const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";

#[test]
fn a_signed_message_counts_only_as_it_was_signed() {
    let mut attacked = Attacked::new(three().signing(Signing::InRelease));
    let cases: [(&str, Change, &str); 14] = [
        (
            "a field changed",
            |text| text.replacen("Origin: Example", "Origin: Exbmple", 1),
            "does not match",
        ),
        ("a digest changed", |text| swap_last_digit(&text), "does not match"),
        (
            "a field added",
            |text| text.replacen("Suite:", "Version: 1\nSuite:", 1),
            "does not match",
        ),
        (
            "text before",
            |text| format!("Origin: Mallory\n\n{text}"),
            "before the signed message",
        ),
        (
            "a blank line before",
            |text| format!("\n{text}"),
            "before the signed message",
        ),
        (
            "text after",
            |text| format!("{text}Origin: Mallory\n"),
            "after the signature",
        ),
        (
            "a second message",
            |text| format!("{text}{text}"),
            "second signed message",
        ),
        (
            "a header",
            |text| text.replacen(MESSAGE, &format!("{MESSAGE}Comment: x\n"), 1),
            "no header but",
        ),
        (
            "a header that hides text",
            |text| text.replacen("\n\n", "\nOrigin: Mallory\n\n", 1),
            "no header but",
        ),
        ("carriage returns", |text| text.replace('\n', "\r\n"), "carriage return"),
        (
            "trailing blanks",
            |text| text.replacen("Example\n", "Example  \n", 1),
            "blanks at the end",
        ),
        (
            "cut off in the text",
            |text| text[..text.len() / 2].to_owned(),
            "cut off",
        ),
        (
            "cut off in the signature",
            |text| text[..text.len() - 40].to_owned(),
            "cut off",
        ),
        (
            "no signature at all",
            |text| text.split("-----").last().unwrap_or_default().to_owned() + "Origin: x\n",
            "not a signed",
        ),
    ];
    for (what, change, reason) in cases {
        let text = attacked.read("InRelease");
        attacked.write("InRelease", change(text));
        attacked.is_refused(what, reason);
    }
}

/// `text` with the last digit of a listed SHA-256 changed.
fn swap_last_digit(text: &str) -> String {
    let at = text.find("SHA256:\n").expect("a list of digests") + "SHA256:\n ".len() + 63;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[test]
fn a_detached_signature_counts_only_for_its_text() {
    let mut attacked = Attacked::new(three().signing(Signing::Detached));
    let genuine = attacked.read("Release.gpg");
    attacked.write("Release", attacked.read("Release") + "Version: 1\n");
    attacked.is_refused("a field added", "does not match");

    // That of the publication before.
    attacked.write("Release.gpg", genuine);
    attacked.is_refused("the signature of another Release", "does not match");

    for (what, signature, reason) in [
        ("a web page", "<html></html>", "web page"),
        ("nothing", "", "empty"),
        ("garbage", "garbage\n", "unusable"),
        (
            "an empty block",
            "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
            "(Release.gpg)",
        ),
    ] {
        attacked.write("Release.gpg", signature);
        attacked.is_refused(what, reason);
    }

    attacked.write(
        "Release.gpg",
        stranger()
            .sign_detached(&attacked.read("Release"), now())
            .expect("signs"),
    );
    attacked.is_refused("an unknown key", "not in the keyring");

    // A signed message with a text of its own is no detached signature.
    let inline = attacked
        .site
        .archive
        .key()
        .sign_inline("Suite: bookworm\n", now())
        .expect("signs");
    attacked.write("Release.gpg", inline);
    attacked.is_refused("a signed message as the signature", "(Release.gpg)");

    attacked.remove("Release.gpg");
    attacked.is_refused("no signature", "not signed");
}

#[test]
fn all_files_of_a_suite_say_the_same() {
    let mut attacked = Attacked::new(three());
    // The genuine InRelease does not make other files beside it good.
    attacked.write(
        "Release",
        attacked.read("Release").replace("Origin: Example", "Origin: Mallory"),
    );
    attacked.is_refused("a tampered Release", "Release");

    attacked.write(
        "Release",
        attacked.read("Release").replace("Origin: Example", "Origin: Mallory"),
    );
    attacked.remove("Release.gpg");
    attacked.is_refused("a tampered Release without a signature", "do not say the same");

    let text = attacked.read("Release").replace("Origin: Example", "Origin: Mallory");
    attacked.write("Release.gpg", stranger().sign_detached(&text, now()).expect("signs"));
    attacked.write("Release", text);
    attacked.is_refused("a tampered Release, signed by a stranger", "not in the keyring");

    // Both are genuine, and not of one publication.
    let (text, signature) = (attacked.read("Release"), attacked.read("Release.gpg"));
    attacked.publish();
    attacked.write("Release", text);
    attacked.write("Release.gpg", signature);
    attacked.is_refused("an older Release", "do not say the same");

    let text = attacked.read("Release");
    attacked.write("InRelease", stranger().sign_inline(&text, now()).expect("signs"));
    attacked.is_refused("an InRelease by a stranger beside a good Release", "not in the keyring");
}

#[test]
fn only_good_keys_of_the_keyring_count() {
    let gpg = GpgHome::new();
    let expired = gpg.expired_key("Expired <expired@example.org>");
    let revoked = gpg.key("Revoked <revoked@example.org>");
    let mut attacked = Attacked::new(three());
    let text = attacked.read("Release");
    let by_revoked = (gpg.sign_inline(&revoked, &text), gpg.sign_detached(&revoked, &text));
    let archive_key = attacked.site.archive.key().public_armored().expect("a key");
    let keyring = |attacked: &Attacked| {
        let keys = [
            archive_key.clone(),
            gpg.public_armored(&expired),
            gpg.public_armored(&revoked),
        ];
        trust(&attacked.site, "many.asc", &keys.concat());
    };

    // While the key is good, what it signed is.
    keyring(&attacked);
    attacked.write("InRelease", &by_revoked.0);
    attacked.write("Release.gpg", &by_revoked.1);
    assert_eq!(attacked.site.sync()["outcome"], "recorded");
    assert_eq!(attacked.site.sync()["outcome"], "unchanged");
    // Then it is revoked, and what was taken before is no longer good, unchanged or not.
    gpg.revoke(&revoked);
    keyring(&attacked);
    attacked.is_refused("a key revoked meanwhile", "revoked");
    let text = attacked.read("Release");
    attacked.write("InRelease", stranger().sign_inline(&text, now()).expect("signs"));
    attacked.is_refused("an unknown key", "not in the keyring");
    gpg.sign_release(&expired, &attacked.dists(""));
    attacked.is_refused("an expired key", "expired on 20");
    let tomorrow = attacked
        .site
        .archive
        .key()
        .sign_inline(&attacked.read("Release"), now().plus(86_400));
    attacked.write("InRelease", tomorrow.expect("signs"));
    attacked.is_refused("a signature of tomorrow", "in the future");

    // The archive changes its key: nothing is taken until the keyring does.
    let new = stranger();
    attacked.site.archive.set_key(new.clone());
    attacked.site.publish();
    let (visible, old) = (attacked.site.visible(), archive_key.clone());
    attacked.site.run("sync").code(5).stderr_has("not in the keyring");
    assert_eq!(attacked.site.visible(), visible);
    trust(
        &attacked.site,
        "both.asc",
        &[old, new.public_armored().expect("a key")].concat(),
    );
    attacked.is_taken("a new key");
}

#[test]
fn keyrings_come_in_every_form() {
    let (first, second) = (stranger(), stranger());
    let gpg = GpgHome::new();
    let third = gpg.key("Third <third@example.org>");
    let mut site = Site::small();
    site.archive.set_key(second.clone());
    site.publish();
    let armored = |key: &SigningKey| key.public_armored().expect("a key");
    let binary = |key: &SigningKey| key.public_binary().expect("a key");
    let exported = site.env.root().join("third.gpg");
    gpg.export(&third, &exported);
    let exported = fs::read(exported).expect("a key");
    for (what, keyring) in [
        ("armored", armored(&second)),
        ("binary", binary(&second)),
        ("two armored blocks", [armored(&first), armored(&second)].concat()),
        (
            "text around",
            [b"# The archive's\n", &armored(&second)[..], b"\n"].concat(),
        ),
        ("two binary keys", [binary(&first), binary(&second)].concat()),
        (
            "a key of GnuPG's before ours",
            [exported.clone(), binary(&second)].concat(),
        ),
    ] {
        trust(&site, "keyring", &keyring);
        site.archive.refresh(SUITE).expect("a suite");
        site.publish();
        let report = site.json("sync");
        assert_eq!(report["mirrors"][0]["outcome"], "recorded", "{what}");
        let snapshots = site.json("snapshot list --detailed");
        let signers = &snapshots["snapshots"][0]["suites"][0]["signers"];
        assert_eq!(signers[0], second.fingerprint(), "{what}: {snapshots}");
    }
    // And GnuPG's signatures are as good as ours.
    trust(&site, "keyring", &[binary(&first), exported].concat());
    gpg.sign_release(&third, &site.archive.root().join("dists").join(SUITE));
    site.sync();
    assert_eq!(
        site.json("snapshot list --detailed")["snapshots"][0]["suites"][0]["signers"][0],
        third.fingerprint
    );
}

#[test]
fn a_keyring_that_is_none_is_said_so() {
    let site = Site::small();
    for (keyring, reason) in [
        (&b""[..], "no key"),
        (b"not a key", "not a file of OpenPGP public keys"),
        (
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----\n",
            "private key",
        ),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd",
            "not a file of OpenPGP public keys",
        ),
    ] {
        trust(&site, "keyring", keyring);
        site.run("sync")
            .code(1)
            .stderr_has(reason)
            .stderr_has("keyring")
            .stderr_has("pgp_key_path");
        assert_eq!(site.upstream.hits("*"), 0);
    }
    site.configure(|mirror| mirror.key(&site.env.root().join("missing.asc")));
    site.run("sync")
        .code(1)
        .stderr_has("missing.asc")
        .stderr_has("pgp_key_path");
    // One bad keyring is no reason to leave the other mirrors alone.
    let config = Config::new()
        .mirror(site.mirror("bad").key(&site.env.key("empty", b"")))
        .mirror(site.mirror("good"));
    site.configure_all(config);
    let report = site.run("--json sync").code(6).json();
    assert_eq!(
        (&report["mirrors"][0]["outcome"], &report["mirrors"][1]["outcome"]),
        (&"failed".into(), &"recorded".into())
    );
}

#[test]
fn who_switches_the_check_off_is_warned() {
    const WARNING: &str = "WARN  Signatures of debian are not checked";
    for signing in [Signing::Unsigned, Signing::All, Signing::Detached] {
        let mut site = Site::new([three().signing(signing)]);
        site.archive.set_key(stranger());
        site.publish();
        site.run("sync").code(5).stderr_has(SUITE).stderr_lacks(WARNING);
        site.run("sync --no-pgp-check").success().stderr_has(WARNING);
        // It was meant for that time only: what is recorded is no better than before.
        site.run("sync").code(5);
        site.configure(|mirror| mirror.set("no_pgp_check", "true"));
        site.run("sync").success().stderr_has(WARNING).stdout_has("unchanged");
        let signers = site.json("snapshot list --detailed")["snapshots"][0]["suites"][0]["signers"].take();
        assert_eq!(signers.as_array().map(Vec::len), Some(0));
        site.assert_whole();
    }
    // Digests are checked all the same, and so is the frame, and that the files agree.
    let site = Site::new([three()]);
    site.configure(|mirror| mirror.set("no_pgp_check", "true"));
    let dists = site.archive.root().join("dists").join(SUITE);
    let genuine = fs::read_to_string(dists.join("InRelease")).expect("a Release file");
    fs::write(dists.join("InRelease"), format!("Origin: Mallory\n{genuine}")).expect("own directory");
    site.run("sync").code(5).stderr_has("before the signed message");
    fs::write(dists.join("InRelease"), &genuine).expect("own directory");
    let other = genuine_text(&genuine).replace("Origin: Example", "Origin: Mallory");
    fs::write(dists.join("Release"), other).expect("own directory");
    site.run("sync").code(5).stderr_has("do not say the same");
    sign(&site.archive, SUITE, &swap_last_digit(&genuine_text(&genuine)));
    site.run("sync").code(5).stderr_has("Packages");
    assert!(site.snapshots("debian").is_empty());
}

/// The signed text of an `InRelease`.
fn genuine_text(inline: &str) -> String {
    let text = inline.split("\n\n").nth(1).expect("a body");
    text.split("-----BEGIN PGP SIGNATURE")
        .next()
        .expect("a text")
        .to_owned()
}
