//! The first words of TLS, for each of its versions.
//!
//! Owns a client's hello that offers exactly one version, and the reading of what comes back. The TLS library has only 1.2
//! and 1.3, so an upstream cannot be asked by it whether it takes older ones. Pure: bytes in, bytes out. A connection that
//! was begun like this is never continued.

/// A version of TLS that a hello can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TLS 1.0, of 1999, broken
    V1_0,
    /// TLS 1.1, of 2006, broken
    V1_1,
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

impl Protocol {
    /// Every version, the oldest first.
    pub const ALL: [Self; 4] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3];

    /// `1.0`, `1.1` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }

    /// Whether nobody should speak it any more (RFC 8996).
    #[must_use]
    pub const fn is_broken(self) -> bool {
        match self {
            Self::V1_0 | Self::V1_1 => true,
            Self::V1_2 | Self::V1_3 => false,
        }
    }

    /// Its number on the wire.
    const fn code(self) -> u16 {
        match self {
            Self::V1_0 => 0x0301,
            Self::V1_1 => 0x0302,
            Self::V1_2 => 0x0303,
            Self::V1_3 => 0x0304,
        }
    }

    /// The suites that are offered with it.
    fn suites(self) -> Vec<u16> {
        let (new, aead, cbc) = (&SUITES[..NEW], &SUITES[NEW..NEW + AEAD], &SUITES[NEW + AEAD..]);
        let offered = match self {
            Self::V1_0 | Self::V1_1 => cbc.to_vec(),
            Self::V1_2 => [aead, cbc].concat(),
            Self::V1_3 => new.to_vec(),
        };
        offered.into_iter().map(|(code, _)| code).collect()
    }
}

/// How many of [`SUITES`] belong to TLS 1.3.
const NEW: usize = 3;
/// How many of the next ones belong to TLS 1.2 only.
const AEAD: usize = 16;

/// Suites by number and name in the IANA registry: all that servers of the last twenty years have in common with anybody.
const SUITES: [(u16, &str); 30] = [
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
    (0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
    (0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    (0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0xc012, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x0005, "TLS_RSA_WITH_RC4_128_SHA"),
];

/// "No renegotiation": some servers refuse older versions without it (RFC 5746).
const NO_RENEGOTIATION: u16 = 0x00ff;

/// Curves: X25519, P-256, P-384, P-521.
const GROUPS: [u16; 4] = [0x001d, 0x0017, 0x0018, 0x0019];

/// Signatures: ECDSA, Ed25519, RSA-PSS, RSA, and with SHA-1 for who has nothing else.
const SIGNATURES: [u16; 12] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
];

/// Bytes nobody can foresee: for the random, the session and the key share of a hello.
pub(super) type Randomness = [[u8; 32]; 3];

/// The name of a cipher suite; its number where it has none here.
pub(super) fn suite_name(code: u16) -> String {
    let known = SUITES.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| format!("0x{code:04x}"), |(_, name)| (*name).to_owned())
}

/// A hello that offers `version` and no other, to the server called `name`.
pub(super) fn encode(version: Protocol, name: Option<&str>, randomness: &Randomness) -> Vec<u8> {
    let [random, session, share] = randomness;
    let newest = version == Protocol::V1_3;
    let mut suites = version.suites();
    if !newest {
        suites.push(NO_RENEGOTIATION);
    }
    let mut body = Vec::new();
    // 1.3 poses as 1.2 here, and says what it is in an extension.
    body.extend(version.code().min(Protocol::V1_2.code()).to_be_bytes());
    body.extend(random);
    body.extend(short(if newest { session } else { &[] }));
    body.extend(long(&numbers(&suites)));
    body.extend(short(&[0]));
    body.extend(long(&extensions(newest, name, share)));

    let mut message = vec![CLIENT_HELLO];
    message.extend(&length(body.len())[1..]);
    message.extend(body);
    let mut record = vec![HANDSHAKE];
    // What every server has taken for the first record since 1999.
    record.extend(Protocol::V1_0.code().to_be_bytes());
    record.extend(long(&message));
    record
}

fn extensions(newest: bool, name: Option<&str>, share: &[u8; 32]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut add = |kind: u16, contents: &[u8]| {
        all.extend(kind.to_be_bytes());
        all.extend(long(contents));
    };
    if let Some(name) = name {
        let host = [&[0][..], &long(name.as_bytes())].concat();
        add(0, &long(&host));
    }
    add(10, &long(&numbers(&GROUPS)));
    add(13, &long(&numbers(&SIGNATURES)));
    if newest {
        add(SUPPORTED_VERSIONS, &short(&numbers(&[Protocol::V1_3.code()])));
        add(45, &short(&[1]));
        let entry = [&numbers(&GROUPS[..1])[..], &long(share)].concat();
        add(51, &long(&entry));
    } else {
        // Points of curves are not compressed.
        add(11, &short(&[0]));
    }
    all
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// `bytes` behind their length in one byte.
fn short(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes.len())[3..], bytes].concat()
}

/// `bytes` behind their length in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes.len())[2..], bytes].concat()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a hello is short").to_be_bytes()
}

/// What a server says to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes the offer, with a version and a suite.
    Hello {
        /// The version's number.
        version: u16,
        /// The suite's number.
        suite: u16,
    },
    /// It refuses, with an alert of this number.
    Alert(u8),
    /// Something that is not TLS.
    Foreign,
}

impl Answer {
    /// Whether it takes the offer of `version`.
    pub(super) fn takes(self, version: Protocol) -> bool {
        matches!(self, Self::Hello { version: taken, .. } if taken == version.code())
    }
}

/// Types of records, and of messages of a handshake.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The level of an alert that does not end the connection.
const WARNING: u8 = 1;
/// The extension with the version of TLS 1.3.
const SUPPORTED_VERSIONS: u16 = 43;
/// Longest record that the protocol allows.
const LONGEST_RECORD: usize = (1 << 14) + 2048;

/// Reads an answer from all bytes that came so far; `None` while they are too few.
pub(super) fn decode(bytes: &[u8]) -> Option<Answer> {
    let mut handshake = Vec::new();
    let mut rest = bytes;
    loop {
        match rest.first() {
            Some(&(ALERT | HANDSHAKE)) | None => {}
            Some(_) => return Some(Answer::Foreign),
        }
        if rest.get(1).is_some_and(|major| *major != 3) {
            return Some(Answer::Foreign);
        }
        let &[kind, _, _, high, low] = rest.first_chunk::<5>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > LONGEST_RECORD {
            return Some(Answer::Foreign);
        }
        let record = rest.get(5..5 + length)?;
        rest = &rest[5 + length..];
        match (kind, record) {
            (ALERT, [WARNING, _]) => {}
            (ALERT, [_, description]) => return Some(Answer::Alert(*description)),
            (HANDSHAKE, more) => {
                handshake.extend_from_slice(more);
                if let Some(answer) = server_hello(&handshake) {
                    return Some(answer);
                }
            }
            _ => return Some(Answer::Foreign),
        }
    }
}

/// Reads the message of a server's hello; `None` while it is too short.
fn server_hello(message: &[u8]) -> Option<Answer> {
    if message.first().is_some_and(|kind| *kind != SERVER_HELLO) {
        return Some(Answer::Foreign);
    }
    let &[_, a, b, c] = message.first_chunk::<4>()?;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > LONGEST_RECORD {
        return Some(Answer::Foreign);
    }
    let body = message.get(4..4 + length)?;
    Some(hello_body(body).unwrap_or(Answer::Foreign))
}

/// Reads a server's hello; `None` when it is not whole.
fn hello_body(body: &[u8]) -> Option<Answer> {
    let mut rest = body;
    let mut version = number(&mut rest)?;
    take(&mut rest, 32)?;
    let session = take(&mut rest, 1)?[0];
    take(&mut rest, usize::from(session))?;
    let suite = number(&mut rest)?;
    take(&mut rest, 1)?;
    if !rest.is_empty() {
        let length = number(&mut rest)?;
        let mut extensions = take(&mut rest, usize::from(length))?;
        while !extensions.is_empty() {
            let kind = number(&mut extensions)?;
            let length = number(&mut extensions)?;
            let mut contents = take(&mut extensions, usize::from(length))?;
            if kind == SUPPORTED_VERSIONS {
                version = number(&mut contents)?;
            }
        }
    }
    Some(Answer::Hello { version, suite })
}

fn number(bytes: &mut &[u8]) -> Option<u16> {
    let taken = take(bytes, 2)?;
    Some(u16::from_be_bytes([taken[0], taken[1]]))
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// The name of an alert, where it is one that answers a hello.
pub(super) fn alert_name(description: u8) -> String {
    let name = match description {
        0 => "close_notify",
        40 => "handshake_failure",
        47 => "illegal_parameter",
        50 => "decode_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        112 => "unrecognized_name",
        other => return format!("alert {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOMNESS: Randomness = [[1; 32], [2; 32], [3; 32]];

    /// The answer of the TLS library's server to a hello of ours, which it must be able to read.
    fn hello_is_read(version: Protocol, name: Option<&str>) -> rustls::server::Accepted {
        let hello = encode(version, name, &RANDOMNESS);
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut hello.as_slice()).expect("reads");
        acceptor.accept().expect("a well-formed hello").expect("a whole hello")
    }

    #[test]
    fn hellos_are_well_formed_and_name_the_server() {
        for version in [Protocol::V1_2, Protocol::V1_3] {
            let accepted = hello_is_read(version, Some("mirror.example"));
            let hello = accepted.client_hello();
            assert_eq!(hello.server_name(), Some("mirror.example"));
            let suites: Vec<u16> = hello.cipher_suites().iter().map(|suite| u16::from(*suite)).collect();
            assert!(version.suites().iter().all(|suite| suites.contains(suite)));
            assert_eq!(hello_is_read(version, None).client_hello().server_name(), None);
        }
    }

    #[test]
    fn each_hello_offers_one_version() {
        for (version, legacy) in [
            (Protocol::V1_0, [3, 1]),
            (Protocol::V1_1, [3, 2]),
            (Protocol::V1_2, [3, 3]),
            (Protocol::V1_3, [3, 3]),
        ] {
            let hello = encode(version, Some("h"), &RANDOMNESS);
            assert_eq!(hello[..3], [22, 3, 1], "the first record");
            assert_eq!(hello.len(), 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])));
            assert_eq!(hello[9..11], legacy, "{version:?}");
            let newest = [0, 43, 0, 3, 2, 3, 4];
            assert_eq!(
                hello.windows(newest.len()).any(|window| window == newest),
                version == Protocol::V1_3
            );
        }
    }

    /// A server's hello in records of at most `piece` bytes.
    fn answer(version: u16, suite: u16, extensions: &[u8], piece: usize) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.extend([4, 9, 9, 9, 9]);
        body.extend(suite.to_be_bytes());
        body.push(0);
        if !extensions.is_empty() {
            body.extend(long(extensions));
        }
        let message = [&[2, 0][..], &long(&body)].concat();
        let record = |part: &[u8]| [&[22, 3, 3][..], &long(part)].concat();
        message.chunks(piece).flat_map(record).collect()
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let newest = [0, 51, 0, 1, 0, 0, 43, 0, 2, 3, 4];
        for (extensions, version) in [(&[][..], 0x0302), (&newest, 0x0304)] {
            for piece in [1, 7, 1000] {
                let bytes = answer(0x0302, 0xc02f, extensions, piece);
                for end in 0..bytes.len() {
                    assert_eq!(decode(&bytes[..end]), None, "{end}");
                }
                let read = decode(&bytes);
                assert_eq!(read, Some(Answer::Hello { version, suite: 0xc02f }));
            }
        }
        let more = [answer(0x0303, 1, &[], 1000), vec![23, 3, 3, 0, 1, 0]].concat();
        assert_eq!(
            decode(&more),
            Some(Answer::Hello {
                version: 0x0303,
                suite: 1
            })
        );
    }

    #[test]
    fn refusals_are_read_and_warnings_are_not_refusals() {
        let alert = |level, description| vec![21, 3, 1, 0, 2, level, description];
        assert_eq!(decode(&alert(2, 70)), Some(Answer::Alert(70)));
        assert_eq!(decode(&alert(1, 112)), None);
        let warned = [alert(1, 112), answer(0x0303, 1, &[], 1000)].concat();
        assert!(decode(&warned).is_some_and(|answer| answer.takes(Protocol::V1_2)));
        assert!(!decode(&warned).is_some_and(|answer| answer.takes(Protocol::V1_1)));
    }

    #[test]
    fn what_is_not_tls_is_known_at_once() {
        let too_long = [&[22, 3, 3, 0xff, 0xff][..], &[2]].concat();
        let huge = [22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff];
        let cut_short = [&[22, 3, 3, 0, 6, 2, 0, 0, 2][..], &[3, 3]].concat();
        for bytes in [
            &b"HTTP/1.1 400 Bad Request"[..],
            &[0x80, 1],
            &[22, 2],
            &[22, 3, 3, 0, 0],
            &[22, 3, 3, 0, 1, 1],
            &[21, 3, 3, 0, 1, 2],
            &too_long,
            &huge,
            &cut_short,
        ] {
            assert_eq!(decode(bytes), Some(Answer::Foreign), "{bytes:?}");
        }
    }

    #[test]
    fn every_answer_can_be_decoded() {
        proptest::proptest!(|(bytes: Vec<u8>, start in 20_u8..24)| {
            let framed = [&[start, 3, 3][..], &long(&bytes)].concat();
            let (_, _) = (decode(&bytes), decode(&framed));
        });
    }

    #[test]
    fn suites_have_names() {
        assert_eq!(suite_name(0x1301), "TLS_AES_128_GCM_SHA256");
        assert_eq!(suite_name(0xfefe), "0xfefe");
        for suite in crate::model::CipherSuite::ALL {
            assert_eq!(suite_name(suite.code()), suite.name());
        }
    }
}
