//! The stanza format that Release files and indices share ("deb822").
//!
//! Owns [`Scanner`], which is fed text in pieces of any size and calls a [`Sink`] for each field, so that an index of
//! any length is read in constant memory. It knows no field by name. Text that upstream sends is bounded here: long
//! lines, endless stanzas and repeated fields are refused.

use memchr::memchr;

use super::error::{ParseError, SyntaxFault, excerpt};

/// Longest line in bytes. The longest honest ones are dependency lists of some ten kilobytes.
pub(super) const LONGEST_LINE: usize = 1 << 20;

/// Most fields in a stanza. Packages have about 25, Release files about 15.
pub(super) const MOST_FIELDS: usize = 512;

/// Most stanzas in a text: fifteen times those of Debian's largest index. Whoever reads one remembers something of each.
pub(super) const MOST_STANZAS: u64 = 1 << 20;

/// What the field `name` is among `fields`; the case of its letters does not matter.
pub(super) fn field_named<F: Copy>(fields: &[(&str, F)], name: &[u8]) -> Option<F> {
    let is_named = |(text, _): &&(&str, F)| text.len() == name.len() && name.eq_ignore_ascii_case(text.as_bytes());
    fields.iter().find(is_named).map(|(_, field)| *field)
}

/// What takes in the parts of stanzas. Line numbers count from 1.
pub(super) trait Sink {
    /// A field starts: its name, and the value on its first line without blanks around it.
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError>;
    /// The latest field goes on with `text`, which still has its blank at the front.
    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError>;
    /// A stanza with at least one field is complete.
    fn end(&mut self, line: u64) -> Result<(), ParseError>;
}

/// Splits text into stanzas, fields and continuation lines.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The start of a line whose end has not arrived yet.
    carry: Vec<u8>,
    /// Lines completed so far.
    line: u64,
    /// A fingerprint of each field name of the stanza so far; empty between stanzas.
    seen: Vec<u64>,
    /// Stanzas completed so far.
    stanzas: u64,
}

impl Scanner {
    /// Takes the next piece of text in.
    ///
    /// # Errors
    /// What is wrong with the text, or what the sink refuses. The scanner is of no use afterwards.
    pub(super) fn push(&mut self, text: &[u8], sink: &mut impl Sink) -> Result<(), ParseError> {
        let mut rest = text;
        if !self.carry.is_empty() {
            let Some(end) = memchr(b'\n', rest) else {
                return self.keep(rest);
            };
            self.keep(&rest[..end])?;
            let mut line = std::mem::take(&mut self.carry);
            self.line(&line, sink)?;
            line.clear();
            self.carry = line;
            rest = &rest[end + 1..];
        }
        while let Some(end) = memchr(b'\n', rest) {
            self.line(&rest[..end], sink)?;
            rest = &rest[end + 1..];
        }
        self.keep(rest)
    }

    /// States that the text is complete. A final newline is not required.
    ///
    /// # Errors
    /// As [`Scanner::push`].
    pub(super) fn finish(mut self, sink: &mut impl Sink) -> Result<(), ParseError> {
        if !self.carry.is_empty() {
            let line = std::mem::take(&mut self.carry);
            self.line(&line, sink)?;
        }
        self.end_stanza(sink)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), ParseError> {
        if self.carry.len() + part.len() > LONGEST_LINE {
            self.line += 1;
            return Err(self.fault(SyntaxFault::LineTooLong { limit: LONGEST_LINE }));
        }
        self.carry.extend_from_slice(part);
        Ok(())
    }

    fn line(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<(), ParseError> {
        self.line += 1;
        if line.len() > LONGEST_LINE {
            return Err(self.fault(SyntaxFault::LineTooLong { limit: LONGEST_LINE }));
        }
        match line {
            // Lines that end like those of Windows are read as APT reads them; values lose their blanks anyway.
            [] | [b'\r'] => self.end_stanza(sink),
            [b' ' | b'\t', ..] if self.seen.is_empty() => Err(self.fault(SyntaxFault::ContinuationFirst)),
            [b' ' | b'\t', ..] => sink.continuation(self.line, line),
            [_, ..] => self.field(line, sink),
        }
    }

    fn field(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<(), ParseError> {
        let Some(length) = name_length(line) else {
            return Err(self.fault(SyntaxFault::NotAField(excerpt(line))));
        };
        let (name, value) = (&line[..length], &line[length + 1..]);
        let fingerprint = fingerprint(line, length);
        if self.seen.contains(&fingerprint) {
            return Err(self.fault(SyntaxFault::DuplicateField(excerpt(name))));
        }
        if self.seen.len() == MOST_FIELDS {
            return Err(self.fault(SyntaxFault::TooManyFields { limit: MOST_FIELDS }));
        }
        self.seen.push(fingerprint);
        sink.field(self.line, name, value.trim_ascii())
    }

    fn end_stanza(&mut self, sink: &mut impl Sink) -> Result<(), ParseError> {
        if self.seen.is_empty() {
            return Ok(());
        }
        self.seen.clear();
        if self.stanzas == MOST_STANZAS {
            return Err(self.fault(SyntaxFault::TooManyStanzas { limit: MOST_STANZAS }));
        }
        self.stanzas += 1;
        sink.end(self.line)
    }

    fn fault(&self, fault: SyntaxFault) -> ParseError {
        ParseError::Syntax { line: self.line, fault }
    }
}

/// Length of the field name that `line` starts with and a colon ends. Names are printable ASCII without blanks, and
/// start with neither a comment's `#` nor an armor's `-`.
fn name_length(line: &[u8]) -> Option<usize> {
    let length = line.iter().position(|c| *c == b':' || !c.is_ascii_graphic())?;
    let is_name = length > 0 && line[length] == b':' && !matches!(line[0], b'#' | b'-');
    is_name.then_some(length)
}

/// A number that equal names share, whatever their case, and that different names practically never do: of the
/// first `length` bytes of `line`. Taken instead of the names because comparing 25 numbers costs less than copying
/// one name; and taken from the line because eight bytes are read faster than some.
fn fingerprint(line: &[u8], length: usize) -> u64 {
    // Multiplication spreads each byte to the bits above it, and the rotation brings them back down; the constant is
    // the golden ratio's 64 bits.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = length as u64;
    for start in (0..length).step_by(8) {
        let word = match line[start..].first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => line[start..]
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let beyond = (start + 8).saturating_sub(length) * 8;
        let word = lower_case(word) & (u64::MAX >> beyond);
        sum = (sum ^ word).wrapping_mul(SPREAD).rotate_left(29);
    }
    sum
}

/// The eight bytes of `word` with A to Z in lower case, where they are ASCII.
fn lower_case(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Bit 7 of each byte takes the result of a comparison: seven bits never carry beyond it.
    let low = word & (0x7f * EACH);
    let from_a = low + (0x80 - u64::from(b'A')) * EACH;
    let beyond_z = low + (0x7f - u64::from(b'Z')) * EACH;
    let upper = (from_a ^ beyond_z) & (0x80 * EACH);
    // Bit 5 is the only difference between the cases of a letter.
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told, one text per call.
    #[derive(Default)]
    struct Record(Vec<String>);

    impl Sink for Record {
        fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            self.0.push(format!("{line} {name}={value}"));
            Ok(())
        }
        fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
            self.0.push(format!("{line} +{}", String::from_utf8_lossy(text)));
            Ok(())
        }
        fn end(&mut self, line: u64) -> Result<(), ParseError> {
            self.0.push(format!("{line} end"));
            Ok(())
        }
    }

    fn scan(text: &[u8], piece: usize) -> Result<String, ParseError> {
        let (mut scanner, mut record) = (Scanner::default(), Record::default());
        for piece in text.chunks(piece) {
            scanner.push(piece, &mut record)?;
        }
        scanner.finish(&mut record)?;
        Ok(record.0.join("\n"))
    }

    fn fault_of(text: &[u8]) -> (u64, SyntaxFault) {
        match scan(text, 100_000) {
            Err(ParseError::Syntax { line, fault }) => (line, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let text = b"\n\nA: 1\nB:2\n more\n\tyet\n\n\nA:\t x y \nLong-Field-Name: z";
        let expected = "3 A=1\n4 B=2\n5 + more\n6 +\tyet\n7 end\n9 A=x y\n10 Long-Field-Name=z\n10 end";
        for piece in 1..=text.len() {
            assert_eq!(scan(text, piece).as_deref(), Ok(expected), "{piece}");
        }
    }

    #[test]
    fn lines_may_end_like_those_of_windows() {
        let text = b"A: 1\r\nB: 2\r\n more\r\n\r\n\r\nA: 3\r\n\r";
        let expected = "1 A=1\n2 B=2\n3 + more\r\n4 end\n6 A=3\n7 end";
        for piece in 1..=text.len() {
            assert_eq!(scan(text, piece).as_deref(), Ok(expected), "{piece}");
        }
    }

    #[test]
    fn empty_text_has_no_stanzas() {
        assert_eq!(scan(b"", 1).as_deref(), Ok(""));
        assert_eq!(scan(b"\n\n\n", 1).as_deref(), Ok(""));
    }

    #[test]
    fn endless_stanzas_are_refused() {
        struct Count(u64);
        impl Sink for Count {
            fn field(&mut self, _: u64, _: &[u8], _: &[u8]) -> Result<(), ParseError> {
                Ok(())
            }
            fn continuation(&mut self, _: u64, _: &[u8]) -> Result<(), ParseError> {
                Ok(())
            }
            fn end(&mut self, _: u64) -> Result<(), ParseError> {
                self.0 += 1;
                Ok(())
            }
        }
        let (mut scanner, mut count) = (Scanner::default(), Count(0));
        let some = "A:\n\n".repeat(1 << 10);
        for _ in 0..MOST_STANZAS >> 10 {
            scanner.push(some.as_bytes(), &mut count).expect("so many may be");
        }
        let fault = SyntaxFault::TooManyStanzas { limit: MOST_STANZAS };
        let refused = scanner.push(some.as_bytes(), &mut count);
        assert!(matches!(refused, Err(ParseError::Syntax { fault: said, .. }) if said == fault));
        assert_eq!(count.0, MOST_STANZAS);
    }

    #[test]
    fn what_is_no_stanza_is_refused() {
        use SyntaxFault as F;
        let not_a_field = |text: &str| F::NotAField(text.to_owned());
        for (text, line, fault) in [
            (" x\n", 1, F::ContinuationFirst),
            ("A: 1\n\n x\n", 3, F::ContinuationFirst),
            ("A: 1\nB\n", 2, not_a_field("B")),
            ("A: 1\n: x\n", 2, not_a_field(": x")),
            ("A b: x\n", 1, not_a_field("A b: x")),
            ("#A: x\n", 1, not_a_field("#A: x")),
            ("-A: x\n", 1, not_a_field("-A: x")),
            ("A: 1\n\rB: 2\n", 2, not_a_field("\\rB: 2")),
            ("Ä: 1\n", 1, not_a_field("Ä: 1")),
            ("A\0: 1\n", 1, not_a_field("A\\0: 1")),
            ("Size: 1\nName: x\nsIZE: 2\n", 3, F::DuplicateField("sIZE".to_owned())),
        ] {
            assert_eq!(fault_of(text.as_bytes()), (line, fault), "{text:?}");
        }
    }

    #[test]
    fn lines_and_stanzas_are_bounded() {
        let long = [b"A: ".as_slice(), &vec![b'x'; LONGEST_LINE]].concat();
        let too_long = SyntaxFault::LineTooLong { limit: LONGEST_LINE };
        assert_eq!(fault_of(&long), (1, too_long.clone()));
        assert_eq!(fault_of(&[&long[..], b"\n"].concat()), (1, too_long.clone()));
        let pieces = scan(&long, 4096);
        assert_eq!(
            pieces,
            Err(ParseError::Syntax {
                line: 1,
                fault: too_long
            })
        );
        assert!(scan(&long[..LONGEST_LINE], 4096).is_ok());

        let fields = |n: usize| (0..n).map(|n| format!("F{n}: x")).collect::<Vec<_>>().join("\n");
        assert!(scan(fields(MOST_FIELDS).as_bytes(), 4096).is_ok());
        let (_, fault) = fault_of(fields(MOST_FIELDS + 1).as_bytes());
        assert_eq!(fault, SyntaxFault::TooManyFields { limit: MOST_FIELDS });
    }

    #[test]
    fn fingerprints_tell_names_apart() {
        let mut names: Vec<String> = (0..20_000).map(|n| format!("Original-Field-{n}")).collect();
        names.extend(["Description", "Description-md5", "MD5sum", "SHA1", "SHA256", "X", "Y"].map(String::from));
        let mut all: Vec<u64> = names
            .iter()
            .map(|name| fingerprint(name.as_bytes(), name.len()))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), names.len());
        assert_eq!(
            fingerprint(b"Description-MD5: x", 15),
            fingerprint(b"description-md5", 15)
        );
        assert_eq!(fingerprint(b"Size:", 4), fingerprint(b"size: 1234567890", 4));
    }

    #[test]
    fn only_letters_have_cases() {
        for byte in (0_u8..128).filter(u8::is_ascii_graphic) {
            let (line, lower) = ([byte; 11], [byte.to_ascii_lowercase(); 11]);
            assert_eq!(fingerprint(&line, 11), fingerprint(&lower, 11), "{byte}");
            let flipped = [byte ^ 0x20; 11];
            let same = fingerprint(&line, 11) == fingerprint(&flipped, 11);
            assert_eq!(same, byte.is_ascii_alphabetic(), "{byte}");
        }
    }
}
