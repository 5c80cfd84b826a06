//! How connections to an upstream are to be secured.
//!
//! Owns the words for TLS versions and cipher suites, and [`TlsSettings`]. It opens no file and no connection: what the
//! named files hold is judged in the room with the network.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A version of TLS that mirrorctl speaks. Ordered by age, the older one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::V1_2, Self::V1_3];

    /// `1.2` or `1.3`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// Text that is no version of TLS which mirrorctl speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsVersionError {
    /// A version that is broken, and that the TLS library does not have.
    #[error("TLS {0} cannot be negotiated by this program: it is broken, and only 1.2 and 1.3 are spoken")]
    Broken(String),
    /// No version at all.
    #[error("{0:?} is none of 1.2, 1.3")]
    Unknown(String),
}

impl FromStr for TlsVersion {
    type Err = TlsVersionError;

    fn from_str(text: &str) -> Result<Self, TlsVersionError> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            "1.0" | "1.1" => Err(TlsVersionError::Broken(text.to_owned())),
            _ => Err(TlsVersionError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! cipher_suites {
    ($($variant:ident = $name:literal, $code:literal, $version:ident;)+) => {
        /// A cipher suite that mirrorctl can offer: each has forward secrecy and authenticated encryption.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CipherSuite {
            $(#[doc = concat!("`", $name, "`")] $variant),+
        }

        impl CipherSuite {
            /// Every suite, the newest version's first.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in the IANA registry of TLS parameters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// Its number in that registry.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$variant => $code),+
                }
            }

            /// The version of TLS that has it.
            #[must_use]
            pub const fn version(self) -> TlsVersion {
                match self {
                    $(Self::$variant => TlsVersion::$version),+
                }
            }
        }
    };
}

cipher_suites! {
    Aes256GcmSha384 = "TLS_AES_256_GCM_SHA384", 0x1302, V1_3;
    Aes128GcmSha256 = "TLS_AES_128_GCM_SHA256", 0x1301, V1_3;
    Chacha20Poly1305Sha256 = "TLS_CHACHA20_POLY1305_SHA256", 0x1303, V1_3;
    EcdheEcdsaAes256GcmSha384 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c, V1_2;
    EcdheEcdsaAes128GcmSha256 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, V1_2;
    EcdheEcdsaChacha20Poly1305Sha256 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9, V1_2;
    EcdheRsaAes256GcmSha384 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030, V1_2;
    EcdheRsaAes128GcmSha256 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f, V1_2;
    EcdheRsaChacha20Poly1305Sha256 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8, V1_2;
}

/// Text that is no cipher suite which mirrorctl can offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CipherSuiteError {
    /// A suite that others have and that is too weak to be offered.
    #[error("{name:?} is not offered by this program: {why}")]
    Weak {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No suite that is known.
    #[error("{0:?} is no cipher suite that is known")]
    Unknown(String),
}

impl FromStr for CipherSuite {
    type Err = CipherSuiteError;

    fn from_str(text: &str) -> Result<Self, CipherSuiteError> {
        // Go has a second, older form of two names.
        let name = match text.strip_suffix("_WITH_CHACHA20_POLY1305") {
            Some(_) => &format!("{text}_SHA256"),
            None => text,
        };
        if let Some(suite) = Self::ALL.iter().find(|suite| suite.name() == name) {
            return Ok(*suite);
        }
        Err(match weakness(text) {
            Some(why) => CipherSuiteError::Weak {
                name: text.to_owned(),
                why,
            },
            None => CipherSuiteError::Unknown(text.to_owned()),
        })
    }
}

/// Why a suite of that name is not offered; `None` where nothing is known against it.
fn weakness(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.strip_prefix("TLS_")?.split('_').collect();
    let has = |part: &str| parts.contains(&part);
    if has("RC4") || has("3DES") || has("DES") || has("NULL") || has("EXPORT") {
        Some("its encryption is broken")
    } else if has("CBC") {
        Some("its encryption is not authenticated (CBC)")
    } else if has("RSA") && !has("ECDHE") && !has("DHE") {
        Some("it has no forward secrecy")
    } else if has("DHE") || has("CCM") || has("ARIA") || has("CAMELLIA") {
        Some("its TLS library does not have it")
    } else {
        None
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a host as it stands in a certificate: a DNS name, in lower case, no address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// Text that is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a host, such as mirror.example.org")]
pub struct HostNameError(String);

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits makes it an address, or a slip of one.
        let address = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && !address && text.split('.').all(label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(HostNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One of the files that TLS settings name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsFile {
    /// The authorities that are trusted (`ca_cert_file`).
    Authorities,
    /// The client's certificate (`client_cert_file`).
    Certificate,
    /// The client's key (`client_key_file`).
    Key,
}

/// What a client shows to an upstream that asks who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIdentity {
    /// File with its certificate, and those of the authorities between it and the one that upstream knows; PEM.
    pub certificate: PathBuf,
    /// File with the certificate's private key; PEM, not encrypted.
    pub key: PathBuf,
}

/// How connections to an upstream are secured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsSettings {
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The newest version that is spoken; not older than `min_version`.
    pub max_version: TlsVersion,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
    /// File with the authorities that are trusted, in place of the system's; PEM.
    pub ca_file: Option<PathBuf>,
    /// Who the client is, for upstreams that ask.
    pub identity: Option<ClientIdentity>,
    /// The only suites that are offered of each version that has one here. Of a version that has none here, all are.
    pub cipher_suites: Vec<CipherSuite>,
    /// The name that is asked for and that the certificate must have, in place of the one in the mirror's URL.
    pub server_name: Option<HostName>,
}

impl TlsSettings {
    /// What applies when nothing is configured.
    pub const DEFAULT: Self = Self {
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        insecure_skip_verify: false,
        ca_file: None,
        identity: None,
        cipher_suites: Vec::new(),
        server_name: None,
    };

    /// Whether `version` is spoken.
    #[must_use]
    pub fn speaks(&self, version: TlsVersion) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }

    /// Whether `suite` is offered.
    #[must_use]
    pub fn offers(&self, suite: CipherSuite) -> bool {
        let mut of_version = self
            .cipher_suites
            .iter()
            .filter(|named| named.version() == suite.version());
        let restricted = of_version.clone().next().is_some();
        self.speaks(suite.version()) && (!restricted || of_version.any(|named| *named == suite))
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_are_spoken() {
        for version in TlsVersion::ALL {
            assert_eq!(version.name().parse(), Ok(version));
        }
        for old in ["1.0", "1.1"] {
            assert_eq!(old.parse::<TlsVersion>(), Err(TlsVersionError::Broken(old.to_owned())));
        }
        for odd in ["", "1.4", "TLS1.2", " 1.2", "1,2", "13"] {
            assert_eq!(odd.parse::<TlsVersion>(), Err(TlsVersionError::Unknown(odd.to_owned())));
        }
    }

    #[test]
    fn suites_have_the_names_of_the_registry_and_those_of_go() {
        for suite in CipherSuite::ALL {
            assert_eq!(suite.name().parse(), Ok(*suite));
        }
        assert_eq!(
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305".parse(),
            Ok(CipherSuite::EcdheRsaChacha20Poly1305Sha256)
        );
        for (name, weak) in [
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", true),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", true),
            ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", true),
            ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", true),
            ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", true),
            ("ECDHE-RSA-AES128-GCM-SHA256", false),
            ("TLS_AES_128_GCM", false),
            ("", false),
        ] {
            match name.parse::<CipherSuite>() {
                Err(CipherSuiteError::Weak { .. }) => assert!(weak, "{name}"),
                Err(CipherSuiteError::Unknown(_)) => assert!(!weak, "{name}"),
                Ok(suite) => panic!("{name} is {suite}"),
            }
        }
    }

    #[test]
    fn names_of_hosts_are_no_addresses() {
        for name in ["mirror.example.org", "h", "a-b.c_d", "xn--mnchen-3ya.example"] {
            assert_eq!(name.parse::<HostName>().map(|name| name.to_string()), Ok(name.into()));
        }
        assert_eq!(
            "Mirror.EXAMPLE".parse::<HostName>().expect("a name").as_str(),
            "mirror.example"
        );
        for odd in [
            "", "10.0.0.1", "::1", "a..b", ".a", "a.", "-a", "a b", "a/b", "münchen", "h:443", "*.h",
        ] {
            assert!(odd.parse::<HostName>().is_err(), "{odd}");
        }
        assert!("a".repeat(64).parse::<HostName>().is_err());
    }

    #[test]
    fn a_list_of_suites_restricts_the_versions_it_names() {
        let offered = |settings: &TlsSettings| {
            let offered = CipherSuite::ALL.iter().copied().filter(|suite| settings.offers(*suite));
            offered.collect::<Vec<_>>()
        };
        assert_eq!(offered(&TlsSettings::DEFAULT), CipherSuite::ALL);
        let one = CipherSuite::EcdheRsaAes128GcmSha256;
        let mut settings = TlsSettings {
            cipher_suites: vec![one],
            ..TlsSettings::DEFAULT
        };
        assert_eq!(offered(&settings), [&CipherSuite::ALL[..3], &[one]].concat());
        settings.max_version = TlsVersion::V1_2;
        assert_eq!(offered(&settings), [one]);
        settings.cipher_suites.clear();
        settings.min_version = TlsVersion::V1_3;
        settings.max_version = TlsVersion::V1_3;
        assert_eq!(offered(&settings), CipherSuite::ALL[..3]);
    }
}
