//! Properties of signed files and keyrings. Nobody has the private half of the key in `tests/fuzz/signed`, so any text
//! that passes for signed and is not the one beside it is a forgery.

use std::sync::LazyLock;

use mirrorctl::model::{Timestamp, VerifiedText};
use mirrorctl::signature::{
    Keyring, SignatureError, verify_detached, verify_inline, without_check, without_check_inline,
};

use super::assert_harmless;

const IN_RELEASE: &[u8] = include_bytes!("../../../fuzz/signed/InRelease");
const RELEASE: &str = include_str!("../../../fuzz/signed/Release");
const RELEASE_GPG: &[u8] = include_bytes!("../../../fuzz/signed/Release.gpg");
const KEY: &[u8] = include_bytes!("../../../fuzz/signed/key.asc");
const FINGERPRINT: &str = include_str!("../../../fuzz/signed/fingerprint");

/// Some time after the files were signed; the key does not expire.
const LATER: Timestamp = Timestamp::from_unix(1_760_000_000);

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::parse(KEY).expect("a keyring"));

const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----\n";
const END: &str = "-----END PGP SIGNATURE-----";

/// A clear-signed file: only what lies between the markers comes out, nothing lies around them, and only the signed
/// text is ever verified.
pub(super) fn in_release(data: &[u8]) {
    let unchecked = without_check_inline(data);
    let verified = verify_inline(data, &KEYRING, LATER);
    assert_genuine(verified.as_ref(), RELEASE.trim_end_matches('\n'));
    let text = match &unchecked {
        Ok(text) => text,
        Err(error) => {
            assert_harmless(error);
            assert_eq!(verified, Err(error.clone()), "the frame is wrong for both");
            return;
        }
    };
    if let Ok(verified) = &verified {
        assert_eq!(verified.text(), text.text(), "what is signed and what is framed");
    }
    assert!(text.signers().is_empty());
    assert_visible(text.text());
    assert_eq!(between_markers(data), text.text());
    let framed = framed(text.text());
    assert_eq!(
        without_check_inline(framed.as_bytes()).as_ref(),
        Ok(text),
        "framed again"
    );
    assert!(without_check(data).is_err(), "a signed message passes for plain text");
}

/// The text between the markers of `file`, found in another way than the product finds it.
fn between_markers(file: &[u8]) -> String {
    let file = std::str::from_utf8(file).expect("accepted, so it is text");
    let file = file.strip_prefix(MESSAGE).expect("begins with the marker");
    // A file without headers has the empty line at once.
    let (headers, rest) = match file.strip_prefix('\n') {
        Some(rest) => ("", rest),
        None => file.split_once("\n\n").expect("an empty line ends the headers"),
    };
    assert!(headers.lines().all(|line| line.starts_with("Hash: ")), "{headers:?}");
    let (body, armor) = match rest.strip_prefix(SIGNATURE) {
        Some(armor) => ("", armor),
        None => rest.split_once(&format!("\n{SIGNATURE}")).expect("a signature follows"),
    };
    let armor = armor.strip_suffix('\n').unwrap_or(armor);
    let armor = armor.strip_suffix(END).expect("nothing follows the signature");
    assert!(!armor.contains("-----"), "one signature block: {armor:?}");
    let lines = body.split('\n').map(|line| line.strip_prefix("- ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// A frame around `text`, with a block that has the form of a signature.
fn framed(text: &str) -> String {
    let escaped = |line: &str| {
        if line.starts_with('-') {
            format!("- {line}")
        } else {
            line.to_owned()
        }
    };
    let text = text.split('\n').map(escaped).collect::<Vec<_>>().join("\n");
    format!("{MESSAGE}\n{text}\n{SIGNATURE}\nabcd\n{END}\n")
}

/// Asserts that `data`, when it passes for a text that has its signature elsewhere, is itself that text.
fn assert_plain(data: &[u8]) {
    match without_check(data) {
        Ok(text) => {
            assert_eq!(text.text().as_bytes(), data);
            assert!(!text.text().starts_with(MESSAGE));
            assert!(
                !text
                    .text()
                    .contains(|c: char| c.is_ascii_control() && !matches!(c, '\n' | '\t'))
            );
        }
        Err(error) => assert_harmless(&error),
    }
}

fn assert_visible(text: &str) {
    for line in text.split('\n') {
        assert!(!line.contains(|c: char| c.is_ascii_control() && c != '\t'), "{line:?}");
        assert!(
            !line.ends_with([' ', '\t']),
            "{line:?} ends in what no signature covers"
        );
    }
}

/// A detached signature: no bytes but good signatures of the signed text verify it, and never another text.
pub(super) fn release_gpg(data: &[u8]) {
    let verified = verify_detached(RELEASE.as_bytes(), data, &KEYRING, LATER);
    assert_genuine(verified.as_ref(), RELEASE);
    let other = RELEASE.replacen("amd64", "i386", 1);
    let forged = verify_detached(other.as_bytes(), data, &KEYRING, LATER);
    assert!(forged.is_err(), "it verifies a text that nobody signed");
    assert_plain(data);
    // The input as the signed file, beside a signature of another.
    let verified = verify_detached(data, RELEASE_GPG, &KEYRING, LATER);
    assert_genuine(verified.as_ref(), RELEASE);
}

/// Asserts that a verdict is a refusal, or about `signed` and by the key.
fn assert_genuine(verdict: Result<&VerifiedText, &SignatureError>, signed: &str) {
    match verdict {
        Ok(text) => {
            assert_eq!(text.text(), signed, "a forgery");
            assert_eq!(text.signers(), [FINGERPRINT.trim_end()]);
        }
        // The reason is partly the OpenPGP library's; whoever shows it escapes it.
        Err(error) => drop(error.to_string()),
    }
}

/// A keyring: whatever keys it has, the signed text is the only one that they can vouch for.
pub(super) fn keyring(data: &[u8]) {
    let keyring = match Keyring::parse(data) {
        Ok(keyring) => keyring,
        Err(error) => return drop(error.to_string()),
    };
    assert_genuine(
        verify_inline(IN_RELEASE, &keyring, LATER).as_ref(),
        RELEASE.trim_end_matches('\n'),
    );
    // Keys that stand there twice are the same keys.
    let twice: Vec<u8> = [data, b"\n", data].concat();
    if data.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n") {
        assert!(Keyring::parse(&twice).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_files_are_good_and_others_are_forgeries() {
        assert!(verify_inline(IN_RELEASE, &KEYRING, LATER).is_ok());
        assert!(verify_detached(RELEASE.as_bytes(), RELEASE_GPG, &KEYRING, LATER).is_ok());
        let genuine = verify_inline(IN_RELEASE, &KEYRING, LATER);
        let caught = std::panic::catch_unwind(|| assert_genuine(genuine.as_ref(), "another text"));
        assert!(caught.is_err());
    }

    #[test]
    fn text_around_the_markers_is_caught() {
        let good = framed("A: 1\n-x");
        assert_eq!(between_markers(good.as_bytes()), "A: 1\n-x");
        for bad in [format!("x{good}"), format!("{good}x"), format!("{good}{good}")] {
            assert!(
                std::panic::catch_unwind(|| between_markers(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
    }
}
