//! Signatures that are cut off, reframed, weak, old, or in bad company, on an upstream whose metadata counts only as signed.
//!
//! Owns the table of tricks with the frame of a signed message, and that of signatures which match the text and still do
//! not count. What is merely unsigned or signed by somebody else is tested in `signatures`.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use mirrorctl_testkit::{Config, GpgHome, GpgKey, Signing};

use crate::attack::Attack;
use crate::site::{SUITE, Site, three};

/// The first line of a signed message.
const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
/// The line between a message and its signature.
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----\n";
const END: &str = "-----END PGP SIGNATURE-----";

fn attack() -> Attack {
    Attack::on(three().signing(Signing::InRelease))
}

fn path_of(attack: &Attack) -> PathBuf {
    attack.site.archive.root().join("dists").join(SUITE).join("InRelease")
}

fn genuine(attack: &Attack) -> String {
    fs::read_to_string(path_of(attack)).expect("an InRelease file")
}

fn put(attack: &Attack, bytes: impl AsRef<[u8]>) {
    fs::write(path_of(attack), bytes).expect("own directory");
}

/// The text that an `InRelease` signs.
fn text_of(file: &str) -> String {
    let text = file.split_once("\n\n").expect("a message").1;
    text.split_once(SIGNATURE).expect("a signature").0.to_owned()
}

/// Headers that hide text, lines that only look signed, and signatures that are not all there (U31 to U38).
#[test]
fn frames_that_can_be_read_in_two_ways_are_refused() {
    let attack = attack();
    let good = genuine(&attack);
    let header = |line: &str| good.replacen(MESSAGE, &format!("{MESSAGE}{line}\n"), 1);
    let in_text = |line: &str| good.replacen("\n\n", &format!("\n\n{line}\n"), 1);
    let (text, signature) = good.split_once(SIGNATURE).expect("a signature");
    let lines: Vec<&str> = signature.lines().collect();
    let without = |line: usize| {
        let mut lines = lines.clone();
        lines.remove(line);
        format!("{text}{SIGNATURE}{}\n", lines.join("\n"))
    };
    // The last line is the end; before it comes the checksum or the end of the base64 text.
    let last = lines.len() - 2;
    let base64 = lines.iter().position(|line| line.is_empty()).expect("an empty line") + 1;
    for (what, file, says) in [
        // Headers.
        (
            "not dash-escaped",
            header("NotDashEscaped: You need GnuPG to verify this message"),
            "no header but",
        ),
        ("a character set", header("Charset: utf-8"), "no header but"),
        ("a header in lower case", header("hash: SHA512"), "no header but"),
        ("a blank before the colon", header("Hash : SHA512"), "no header but"),
        ("a header that goes on", header("Hash: SHA512\n SHA1"), "no header but"),
        (
            "a form feed in a header",
            header("Hash: SHA512\u{c}"),
            "control character",
        ),
        (
            "a vertical tab in a header",
            header("Hash:\u{b}SHA512"),
            "control character",
        ),
        (
            "an escape in a header",
            header("\u{1b}[31mHash: SHA512"),
            "control character",
        ),
        (
            "a blank in place of the empty line",
            good.replacen("\n\n", "\n \n", 1),
            "blanks at the end",
        ),
        // Dashes.
        (
            "a dash that is not escaped",
            in_text("-Origin: Mallory"),
            "first dash is not escaped",
        ),
        (
            "a needless escape",
            in_text("- Origin: Mallory"),
            "first dash is not escaped",
        ),
        (
            "an escaped end",
            in_text("- -----END PGP SIGNATURE-----"),
            "does not match",
        ),
        ("an end in the text", in_text(END), "first dash is not escaped"),
        (
            "a message in the message",
            in_text(MESSAGE.trim_end()),
            "second signed message",
        ),
        (
            "another signature before",
            in_text(SIGNATURE.trim_end()),
            "armored signature",
        ),
        (
            "a signature's line that goes on",
            good.replacen(SIGNATURE, "-----BEGIN PGP SIGNATURE-----x\n", 1),
            "first dash",
        ),
        // Lines that a reader with a buffer takes for several.
        (
            "a line of 2 MiB",
            in_text(&format!("X: {}", "x".repeat(2 << 20))),
            "longer than 1048576 bytes",
        ),
        (
            "lines that end where buffers do",
            format!("{}\n{good}", "x".repeat(19_999)),
            "before the signed message",
        ),
        // Signatures that are not all there.
        (
            "no line of base64",
            good.replacen(&lines[base64..=last].join("\n"), "", 1),
            "signature",
        ),
        ("without the first line", without(base64), "damaged"),
        ("without a line amid", without(base64 + 1), "damaged"),
        ("without the empty line", without(base64 - 1), "armored signature"),
        (
            "half of the base64",
            format!("{text}{SIGNATURE}\n{}\n{END}\n", lines[base64]),
            "damaged",
        ),
        ("no end", good.replacen(END, "", 1).trim_end().to_owned(), "cut off"),
        ("half an end", good.replacen(END, &END[..20], 1), "armored signature"),
        (
            "another kind of armor",
            good.replace("PGP SIGNATURE", "PGP MESSAGE"),
            "first dash",
        ),
        (
            "no text",
            format!("{MESSAGE}\n{SIGNATURE}{signature}"),
            "does not match",
        ),
        ("a NUL at the end", good.clone() + "\0", "after the signature"),
    ] {
        put(&attack, file);
        attack.is_refused(what, 5, &["InRelease", says]);
    }
    put(&attack, [b"\xff\xfe", good.as_bytes()].concat());
    attack.is_refused("not UTF-8", 5, &["InRelease", "not UTF-8"]);
    put(&attack, good);
    attack.site.run("sync").success().stdout_has("unchanged");
    attack.ends();
}

/// Makes the mirror trust the archive's key and `keys`.
fn trust(attack: &Attack, gpg: &GpgHome, keys: &[&GpgKey]) {
    let mut keyring = attack.site.archive.key().public_armored().expect("a key");
    for key in keys {
        keyring.extend(gpg.public_armored(key));
    }
    let path = attack.site.env.key("trusted.asc", &keyring);
    attack.site.configure(|mirror| mirror.key(&path));
}

/// Signatures of the right text by a trusted key, made with forgeable hashes, a short key, or for a time that is over
/// (U46, U48).
#[test]
fn signatures_that_anybody_could_have_made_are_refused() {
    let attack = attack();
    let gpg = GpgHome::new();
    let (long, short) = (
        gpg.key("Long <long@example.org>"),
        gpg.key_of_kind("Short <short@example.org>", "rsa1024"),
    );
    trust(&attack, &gpg, &[&long, &short]);
    let text = text_of(&genuine(&attack));
    for (key, options, says) in [
        (
            &long,
            &["--digest-algo", "SHA1"][..],
            "SHA1, which is not safe any more",
        ),
        (&long, &["--digest-algo", "MD5"], "MD5, which is not safe any more"),
        (&long, &["--digest-algo", "RIPEMD160"], "which is not safe any more"),
        (&short, &["--digest-algo", "SHA512"], "is not acceptable"),
    ] {
        put(&attack, gpg.sign_inline_with(&[key], options, &text));
        attack.is_refused(&options.join(" "), 5, &["InRelease", &key.fingerprint, says]);
    }
    let for_a_second = ["--digest-algo", "SHA512", "--default-sig-expire", "seconds=1"];
    put(&attack, gpg.sign_inline_with(&[&long], &for_a_second, &text));
    thread::sleep(Duration::from_millis(2_100));
    attack.is_refused("expired", 5, &["InRelease", &long.fingerprint, "expired on"]);
    // Neither is what was taken once taken again when it has expired.
    put(
        &attack,
        gpg.sign_inline_with(&[&long], &["--digest-algo", "SHA512"], &text),
    );
    attack.site.run("sync").success();
    attack.ends();
}

/// One good signature by a trusted key is enough, whatever stands beside it; without one, each is told with its fault
/// (U49).
#[test]
fn of_several_signatures_one_has_to_be_good() {
    let attack = attack();
    let gpg = GpgHome::new();
    let (good, short, unknown, other) = (
        gpg.key("Good <good@example.org>"),
        gpg.key_of_kind("Short <short@example.org>", "rsa1024"),
        gpg.key("Unknown <unknown@example.org>"),
        gpg.key("Other <other@example.org>"),
    );
    trust(&attack, &gpg, &[&good, &short]);
    let text = text_of(&genuine(&attack));
    let strong = &["--digest-algo", "SHA512"];
    for (keys, faults) in [
        (&[&unknown, &other][..], &["not in the keyring"][..]),
        (&[&short, &unknown], &["not acceptable", "not in the keyring"]),
    ] {
        put(&attack, gpg.sign_inline_with(keys, strong, &text));
        let names = keys.iter().map(|key| key.fingerprint.as_str());
        let says: Vec<&str> = names.chain(faults.iter().copied()).collect();
        attack.is_refused("none good", 5, &says);
    }
    let signed = gpg.sign_inline_with(&[&unknown, &short, &good], strong, &text);
    // A fault of the text is one of every signature.
    let changed = String::from_utf8(signed.clone())
        .expect("text")
        .replace("Origin: Example", "Origin: Mallory");
    put(&attack, changed);
    attack.is_refused("changed", 5, &[&good.fingerprint, "does not match"]);
    put(&attack, signed);
    attack.site.sync();
    let snapshots = attack.site.json("snapshot list --detailed");
    let signers = snapshots["snapshots"][0]["suites"][0]["signers"].clone();
    assert_eq!(
        signers,
        serde_json::json!([good.fingerprint]),
        "only the good one counts"
    );
    attack.ends();
}

/// A key is good for the mirror that it is configured for, and for no other (U45).
#[test]
fn a_key_of_another_mirror_is_none() {
    let (first, second) = (Site::small(), Site::small());
    let key = |site: &Site| site.archive.key().public_armored().expect("a key");
    let keys = [&first, &second].map(|site| first.env.key(site.archive.key().fingerprint().as_str(), &key(site)));
    let of_second = first
        .mirror("second")
        .set("url", &format!("{:?}", second.upstream.url()));
    let configure = |keys: [&PathBuf; 2]| {
        let config = Config::new().mirror(first.mirror("first").key(keys[0]));
        first.configure_all(config.mirror(of_second.clone().key(keys[1])));
    };
    configure([&keys[1], &keys[0]]);
    let ran = first.run("sync").code(5);
    for site in [&first, &second] {
        assert!(ran.stderr.contains(&site.archive.key().fingerprint()), "{ran}");
    }
    ran.stderr_has("not in the keyring");
    configure([&keys[0], &keys[0]]);
    let report = first.run("--json sync").code(6).json();
    assert_eq!(report["error"]["problems"][0]["mirror"], "second");
    assert!(first.snapshots("second").is_empty());
    configure([&keys[0], &keys[1]]);
    first.json("sync");
    first.assert_whole();
}
