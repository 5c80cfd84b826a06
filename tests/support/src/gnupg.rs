//! Keys and signatures made by GnuPG.
//!
//! Owns [`GpgHome`], a keyring of its own with keys that are good, expired or revoked, for archives that must not look
//! as if our own library had made them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{Program, Scratch};

/// A private GnuPG home. Its agent ends when it is dropped.
#[derive(Debug)]
pub struct GpgHome {
    scratch: Scratch,
}

/// A key in a [`GpgHome`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpgKey {
    /// The fingerprint, in upper-case hexadecimal.
    pub fingerprint: String,
    /// The time that GnuPG is made to believe in for this key, if not the present one.
    at: Option<&'static str>,
}

/// When expired keys were made and used: they lived for a year from here.
const LONG_AGO: &str = "20200101T000000";

/// GnuPG's own default, and the usual kind of archive key.
const USUAL: &str = "rsa3072";

impl GpgHome {
    /// A home without keys.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o700)).expect("own directory");
        Self { scratch }
    }

    /// The directory, for `GNUPGHOME`.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A good RSA key of `owner` (`Name <address>`).
    pub fn key(&self, owner: &str) -> GpgKey {
        self.generate(owner, USUAL, "never", None)
    }

    /// As [`GpgHome::key`], of another kind, in the words of GnuPG: `rsa1024`.
    pub fn key_of_kind(&self, owner: &str, kind: &str) -> GpgKey {
        self.generate(owner, kind, "never", None)
    }

    /// A key that expired in 2021. What it signs is dated 2020.
    pub fn expired_key(&self, owner: &str) -> GpgKey {
        self.generate(owner, USUAL, "1y", Some(LONG_AGO))
    }

    fn generate(&self, owner: &str, kind: &str, expires: &str, at: Option<&'static str>) -> GpgKey {
        let made = self
            .gpg(at)
            .args(["--quick-generate-key", owner, kind, "sign", expires])
            .run()
            .success();
        let created = made
            .stderr
            .split("revocs.d/")
            .nth(1)
            .and_then(|rest| rest.split(".rev").next());
        let fingerprint = created.unwrap_or_else(|| panic!("no fingerprint: {made}")).to_owned();
        GpgKey { fingerprint, at }
    }

    /// Revokes a key; what is exported from now on says so. It can sign no more.
    pub fn revoke(&self, key: &GpgKey) {
        let certificate = self.path().join(format!("openpgp-revocs.d/{}.rev", key.fingerprint));
        let text = fs::read_to_string(&certificate).expect("GnuPG makes one for each key");
        // GnuPG puts a colon before the armour, against accidents.
        self.gpg(None)
            .arg("--import")
            .input(text.replace(":-----BEGIN", "-----BEGIN"))
            .run()
            .success();
    }

    /// The public half in ASCII armour.
    pub fn public_armored(&self, key: &GpgKey) -> Vec<u8> {
        self.gpg(None)
            .args(["--armor", "--export", &key.fingerprint])
            .run()
            .success()
            .stdout
            .into_bytes()
    }

    /// The secret half in ASCII armour, without a passphrase.
    pub fn secret_armored(&self, key: &GpgKey) -> Vec<u8> {
        self.gpg(None)
            .args(["--armor", "--export-secret-keys", &key.fingerprint])
            .run()
            .success()
            .stdout
            .into_bytes()
    }

    /// Writes the public half as bare packets, as `apt` reads it from `.gpg` files.
    pub fn export(&self, key: &GpgKey, path: &Path) {
        self.gpg(None)
            .arg("--output")
            .arg(path)
            .args(["--export", &key.fingerprint])
            .run()
            .success();
    }

    /// An armored signature apart from the text, as in `Release.gpg`.
    pub fn sign_detached(&self, key: &GpgKey, text: &str) -> Vec<u8> {
        self.sign(key, "--detach-sign", text)
    }

    /// The text framed by its signature, as in `InRelease`.
    pub fn sign_inline(&self, key: &GpgKey, text: &str) -> Vec<u8> {
        self.sign(key, "--clear-sign", text)
    }

    /// As [`GpgHome::sign_inline`], by all of `keys`, and with further options of GnuPG's: `--digest-algo SHA1`.
    pub fn sign_inline_with(&self, keys: &[&GpgKey], options: &[&str], text: &str) -> Vec<u8> {
        let keys = keys.iter().flat_map(|key| ["--local-user", key.fingerprint.as_str()]);
        let gpg = self.gpg(None).arg("--armor").args(keys).args(options);
        gpg.arg("--clear-sign").input(text).run().success().stdout.into_bytes()
    }

    fn sign(&self, key: &GpgKey, form: &str, text: &str) -> Vec<u8> {
        let gpg = self.gpg(key.at).args([
            "--digest-algo",
            "SHA512",
            "--armor",
            "--local-user",
            &key.fingerprint,
            form,
        ]);
        gpg.input(text).run().success().stdout.into_bytes()
    }

    /// Signs the `Release` file of a directory anew, and gives the directory the other two: `InRelease`, `Release.gpg`.
    ///
    /// # Panics
    /// When there is no `Release` file.
    pub fn sign_release(&self, key: &GpgKey, directory: &Path) {
        let text = fs::read_to_string(directory.join("Release")).expect("a Release file");
        fs::write(directory.join("Release.gpg"), self.sign_detached(key, &text)).expect("own directory");
        fs::write(directory.join("InRelease"), self.sign_inline(key, &text)).expect("own directory");
    }

    fn gpg(&self, at: Option<&str>) -> Program {
        let gpg = Program::new("gpg", "gnupg").env("GNUPGHOME", self.path());
        let gpg = gpg.args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]);
        match at {
            Some(time) => gpg.args(["--faked-system-time", &format!("{time}!")]),
            None => gpg,
        }
    }
}

impl Default for GpgHome {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        // Without it, an agent per test would stay behind until its directory is found missing.
        drop(
            Program::new("gpgconf", "gnupg")
                .env("GNUPGHOME", self.path())
                .args(["--kill", "all"])
                .run(),
        );
    }
}
