//! The frame of signed files: the clear-signed message of `InRelease`, the plain text of `Release`, and the armored
//! signature of `Release.gpg`.
//!
//! Pure text handling that accepts exactly one shape of each. What a lenient reader would skip (text around the
//! block, line ends and blanks that the signature does not cover) is refused, so that every byte that is kept and
//! served was either signed or is part of the frame. It decides nothing about keys.

use std::str;

/// Longest line in bytes; the longest honest ones have a few hundred.
const LONGEST_LINE: usize = 1 << 20;

const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// Bytes that are not framed as a signed file. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// Markup: the answer of a portal or an error page, served as success.
    #[error("it is a web page, not a signed Release file")]
    WebPage,
    /// The bytes are not UTF-8 text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// No signed message starts on the first line or later.
    #[error("it is not a signed Release file: there is no \"{MESSAGE}\"")]
    NotSigned,
    /// A signed message starts, but not on the first line.
    #[error("there is text before the signed message, which starts at line {0}")]
    TextBefore(usize),
    /// Something follows the signature.
    #[error("line {0}: there is text after the signature")]
    TextAfter(usize),
    /// A second signed message starts.
    #[error("line {0}: a second signed message starts")]
    SecondMessage(usize),
    /// A header of the signed message is not `Hash:`.
    #[error("line {0}: a signed message may have no header but \"Hash\"")]
    Header(usize),
    /// A line ends in CR LF, which the signature does not tell from LF.
    #[error("line {0}: there is a carriage return")]
    CarriageReturn(usize),
    /// A control character.
    #[error("line {0}: there is a control character")]
    Control(usize),
    /// A signed line ends in blanks, which the signature does not cover.
    #[error("line {0}: there are blanks at the end, which no signature covers")]
    TrailingBlank(usize),
    /// A line is too long to be meant.
    #[error("line {0} is longer than {LONGEST_LINE} bytes")]
    LineTooLong(usize),
    /// A signed line starts with a dash that is not escaped, or with an escape that is not needed.
    #[error("line {0}: the line's first dash is not escaped as signed messages need it")]
    DashEscape(usize),
    /// The message or the signature does not end.
    #[error("it is cut off: there is no \"{0}\"")]
    Truncated(&'static str),
    /// A line of the signature block is neither a header nor base64.
    #[error("line {0}: this is no line of an armored signature")]
    Armor(usize),
    /// A file beside a detached signature is itself a signed message.
    #[error("it is a signed message where the plain text of one was expected")]
    NotPlain,
}

/// The text of the clear-signed message `file`, with dashes unescaped and without the line end before the signature,
/// which is not signed.
///
/// # Errors
/// The first thing that is not as it should be.
pub(super) fn signed_text(file: &[u8]) -> Result<String, FramingError> {
    let mut lines = text_lines(file)?;
    expect_message(&mut lines)?;
    for (number, line) in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        if !is_hash_header(line) {
            return Err(trailing_blank(number, line).unwrap_or(FramingError::Header(number)));
        }
    }
    let mut text = String::with_capacity(file.len());
    let mut ended = false;
    for (number, line) in lines.by_ref() {
        if line == SIGNATURE {
            ended = true;
            break;
        }
        text.push_str(unescaped(number, line)?);
        text.push('\n');
    }
    if !ended {
        return Err(FramingError::Truncated(SIGNATURE));
    }
    armor_body(&mut lines)?;
    if let Some((number, line)) = lines.next() {
        return Err(match line {
            MESSAGE => FramingError::SecondMessage(number),
            _ => FramingError::TextAfter(number),
        });
    }
    text.pop();
    Ok(text)
}

/// The text of a file that has its signature in another file, or none.
///
/// # Errors
/// The first thing that is not as it should be.
pub(super) fn plain_text(file: &[u8]) -> Result<&str, FramingError> {
    let lines = text_lines(file)?;
    for (number, line) in lines {
        if number == 1 && line == MESSAGE {
            return Err(FramingError::NotPlain);
        }
        check_characters(number, line)?;
    }
    str::from_utf8(file).map_err(|_| FramingError::NotText)
}

/// The armored blocks of the detached signature `file`; `None` when it is not armored and may be binary. Some
/// archives append the block of a further key.
///
/// # Errors
/// When it looks armored and is not framed as such.
pub(super) fn detached_blocks(file: &[u8]) -> Result<Option<Vec<&str>>, FramingError> {
    // The first bit of an OpenPGP packet is set, and no ASCII text starts so.
    if file.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(None);
    }
    let text = str::from_utf8(file).map_err(|_| FramingError::NotText)?;
    let mut lines = text_lines(file)?;
    let mut starts = Vec::new();
    while let Some((number, line)) = lines.next() {
        match line {
            MESSAGE => return Err(FramingError::NotPlain),
            SIGNATURE => starts.push(line.as_ptr().addr() - text.as_ptr().addr()),
            _ if starts.is_empty() => return Err(FramingError::Truncated(SIGNATURE)),
            _ => return Err(FramingError::TextAfter(number)),
        }
        armor_body(&mut lines)?;
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    Ok(Some(
        starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect(),
    ))
}

/// The numbered lines of `file`, which must be text and no web page. One line end at the end of the file starts no
/// further line.
fn text_lines(file: &[u8]) -> Result<impl Iterator<Item = (usize, &str)>, FramingError> {
    if file.is_empty() {
        return Err(FramingError::Empty);
    }
    let start = file.trim_ascii_start();
    if start.starts_with(b"<") || start.starts_with("\u{feff}<".as_bytes()) {
        return Err(FramingError::WebPage);
    }
    let text = str::from_utf8(file).map_err(|_| FramingError::NotText)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok((1..).zip(text.split('\n')))
}

fn expect_message<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(), FramingError> {
    let found = lines.find(|(_, line)| line.starts_with(MESSAGE));
    match found {
        None => Err(FramingError::NotSigned),
        Some((1, line)) if line == MESSAGE => Ok(()),
        Some((1, line)) => {
            check_characters(1, line)?;
            Err(trailing_blank(1, line).unwrap_or(FramingError::NotSigned))
        }
        Some((number, _)) => Err(FramingError::TextBefore(number)),
    }
}

/// Whether `line` is "Hash: SHA512" or a list of such names. Which algorithms are good enough is the verifier's rule.
fn is_hash_header(line: &str) -> bool {
    let Some(names) = line.strip_prefix("Hash: ") else {
        return false;
    };
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    names
        .split(',')
        .all(|name| is_name(name.strip_prefix(' ').unwrap_or(name)))
}

/// The signed content of `line`: without the escape that a line which starts with a dash or "From " has.
fn unescaped(number: usize, line: &str) -> Result<&str, FramingError> {
    check_characters(number, line)?;
    if let Some(error) = trailing_blank(number, line) {
        return Err(error);
    }
    match line.strip_prefix("- ") {
        Some(content) if content.starts_with('-') || content.starts_with("From ") => Ok(content),
        None if !line.starts_with('-') => Ok(line),
        None if line == MESSAGE => Err(FramingError::SecondMessage(number)),
        _ => Err(FramingError::DashEscape(number)),
    }
}

/// Reads an armored signature from behind its first line up to and including its last.
fn armor_body<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(), FramingError> {
    let mut in_headers = true;
    for (number, line) in lines {
        check_characters(number, line)?;
        match line {
            END if in_headers => return Err(FramingError::Armor(number)),
            END => return Ok(()),
            "" if in_headers => in_headers = false,
            _ if in_headers && is_armor_header(line) => {}
            _ if !in_headers && is_base64(line) => {}
            _ => return Err(FramingError::Armor(number)),
        }
    }
    Err(FramingError::Truncated(END))
}

fn is_armor_header(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric()))
}

fn is_base64(line: &str) -> bool {
    !line.is_empty()
        && line
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'='))
}

fn check_characters(number: usize, line: &str) -> Result<(), FramingError> {
    if line.len() > LONGEST_LINE {
        return Err(FramingError::LineTooLong(number));
    }
    match line.bytes().find(|byte| byte.is_ascii_control() && *byte != b'\t') {
        Some(b'\r') => Err(FramingError::CarriageReturn(number)),
        Some(_) => Err(FramingError::Control(number)),
        None => Ok(()),
    }
}

fn trailing_blank(number: usize, line: &str) -> Option<FramingError> {
    if line.ends_with('\r') {
        return Some(FramingError::CarriageReturn(number));
    }
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Some(FramingError::Control(number));
    }
    line.ends_with([' ', '\t'])
        .then_some(FramingError::TrailingBlank(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FramingError as E;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nA: 1\n- -dash\n- From me\nB: x y\n\
        -----BEGIN PGP SIGNATURE-----\nVersion: x\n\nab+/cd==\n=abcd\n-----END PGP SIGNATURE-----\n";

    fn signed(file: &str) -> Result<String, E> {
        signed_text(file.as_bytes())
    }

    #[test]
    fn the_one_shape_is_accepted() {
        let text = Ok("A: 1\n-dash\nFrom me\nB: x y".to_owned());
        assert_eq!(signed(GOOD), text);
        assert_eq!(signed(GOOD.trim_end()), text);
        assert_eq!(signed(&GOOD.replace("Hash: SHA256\n", "")), text);
        assert_eq!(
            signed(&GOOD.replace("Hash: SHA256\n", "Hash: SHA256, SHA512\nHash: SHA3-256\n")),
            text
        );
        assert_eq!(signed(&GOOD.replace("Version: x\n", "")), text);
        assert_eq!(
            signed(&GOOD.replace("B: x y", "\n\tü\n")),
            Ok("A: 1\n-dash\nFrom me\n\n\tü\n".to_owned())
        );
    }

    #[test]
    fn every_other_shape_is_refused_for_its_reason() {
        let change = |from: &str, to: &str| GOOD.replacen(from, to, 1);
        let long = format!("A: {}", "x".repeat(LONGEST_LINE));
        for (what, file, error) in [
            ("nothing", String::new(), E::Empty),
            ("a portal", "\n <!DOCTYPE html><html></html>".to_owned(), E::WebPage),
            ("unsigned", "Origin: x\n".to_owned(), E::NotSigned),
            (
                "a decorated marker",
                change("MESSAGE-----", "MESSAGE-----x"),
                E::NotSigned,
            ),
            ("text before", format!("Origin: evil\n\n{GOOD}"), E::TextBefore(3)),
            ("an empty line before", format!("\n{GOOD}"), E::TextBefore(2)),
            ("text after", format!("{GOOD}Origin: evil\n"), E::TextAfter(14)),
            ("an empty line after", format!("{GOOD}\n"), E::TextAfter(14)),
            ("two messages", format!("{GOOD}{GOOD}"), E::SecondMessage(14)),
            (
                "a message in the message",
                change("B: x y", MESSAGE),
                E::SecondMessage(7),
            ),
            (
                "unescaped dashes",
                change("Hash: SHA256", "NotDashEscaped: You need GnuPG"),
                E::Header(2),
            ),
            ("a comment", change("Hash: SHA256", "Comment: x"), E::Header(2)),
            (
                "text among the headers",
                change("Hash: SHA256\n", "Hash: SHA256\nOrigin: evil\n"),
                E::Header(3),
            ),
            (
                "an odd hash name",
                change("Hash: SHA256", "Hash: SHA256;"),
                E::Header(2),
            ),
            (
                "an empty hash name",
                change("Hash: SHA256", "Hash: SHA256,,SHA1"),
                E::Header(2),
            ),
            (
                "a form feed in a header",
                change("Hash: SHA256", "Hash: SHA256\u{c}"),
                E::Control(2),
            ),
            (
                "a blank in the empty line",
                change("SHA256\n\n", "SHA256\n \n"),
                E::TrailingBlank(3),
            ),
            ("carriage returns", GOOD.replace('\n', "\r\n"), E::CarriageReturn(1)),
            ("one carriage return", change("A: 1", "A: 1\r"), E::CarriageReturn(4)),
            (
                "a carriage return inside",
                change("A: 1", "A:\r1"),
                E::CarriageReturn(4),
            ),
            ("a form feed", change("A: 1", "A: \u{c}1"), E::Control(4)),
            ("a NUL", change("A: 1", "A: \u{0}1"), E::Control(4)),
            ("a trailing blank", change("A: 1", "A: 1 "), E::TrailingBlank(4)),
            ("a trailing tab", change("A: 1", "A: 1\t"), E::TrailingBlank(4)),
            (
                "a blank after the marker",
                change("MESSAGE-----", "MESSAGE----- "),
                E::TrailingBlank(1),
            ),
            ("a long line", change("A: 1", &long), E::LineTooLong(4)),
            ("a dash without escape", change("- -dash", "-dash"), E::DashEscape(5)),
            ("a needless escape", change("A: 1", "- A: 1"), E::DashEscape(4)),
            ("an escape of nothing", change("A: 1", "-"), E::DashEscape(4)),
            (
                "a nearly ended message",
                change("-----BEGIN PGP SIGNATURE", "----BEGIN PGP SIGNATURE"),
                E::DashEscape(8),
            ),
            (
                "no signature",
                GOOD[..GOOD.find(SIGNATURE).unwrap()].to_owned(),
                E::Truncated(SIGNATURE),
            ),
            ("no end", GOOD[..GOOD.find(END).unwrap()].to_owned(), E::Truncated(END)),
            ("half an end", GOOD[..GOOD.len() - 9].to_owned(), E::Armor(13)),
            ("an empty signature", change("\nab+/cd==\n=abcd\n", ""), E::Armor(10)),
            (
                "text in the signature",
                change("ab+/cd==", "Origin: evil"),
                E::Armor(11),
            ),
            (
                "an empty line in the signature",
                change("=abcd", "\n=abcd"),
                E::Armor(12),
            ),
            (
                "a control in the signature",
                change("=abcd", "=abcd\u{7}"),
                E::Control(12),
            ),
            ("only a marker", MESSAGE.to_owned(), E::Truncated(SIGNATURE)),
        ] {
            assert_eq!(signed(&file), Err(error), "{what}");
        }
        assert_eq!(signed_text(b"\xff\xfe"), Err(E::NotText));
    }

    #[test]
    fn plain_text_has_no_frame() {
        assert_eq!(plain_text("Origin: ü \n\n".as_bytes()), Ok("Origin: ü \n\n"));
        for (file, error) in [
            ("", E::Empty),
            ("<html>", E::WebPage),
            (GOOD, E::NotPlain),
            ("A: 1\r\n", E::CarriageReturn(1)),
            ("A: 1\nB: \u{1b}[2J\n", E::Control(2)),
        ] {
            assert_eq!(plain_text(file.as_bytes()), Err(error), "{file:?}");
        }
        assert_eq!(plain_text(b"A: \xff"), Err(E::NotText));
    }

    #[test]
    fn detached_signatures_are_blocks_or_binary() {
        let block = &GOOD[GOOD.find(SIGNATURE).unwrap()..];
        assert_eq!(detached_blocks(b"\xc2\x00"), Ok(None));
        assert_eq!(detached_blocks(block.as_bytes()), Ok(Some(vec![block])));
        let two = format!("{block}{block}");
        assert_eq!(detached_blocks(two.as_bytes()), Ok(Some(vec![block, block])));
        for (what, file, error) in [
            ("nothing", String::new(), E::Empty),
            ("a portal", "<html>".to_owned(), E::WebPage),
            ("text", "Origin: x\n".to_owned(), E::Truncated(SIGNATURE)),
            ("a payload", format!("{block}Origin: x\n"), E::TextAfter(7)),
            ("a message", GOOD.to_owned(), E::NotPlain),
            (
                "no end",
                block[..block.find(END).unwrap()].to_owned(),
                E::Truncated(END),
            ),
        ] {
            assert_eq!(detached_blocks(file.as_bytes()), Err(error), "{what}");
        }
    }
}
