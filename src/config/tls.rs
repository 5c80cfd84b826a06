//! The tables `[tls]` and `[mirrors.ID.tls]`.
//!
//! Owns the rule of each key in them, and how a mirror's keys go over the global ones: each by itself. A value that
//! breaks a rule is an error and never replaced by a default, which would secure connections less than was asked for.

use std::path::PathBuf;

use super::error::{Located, Notes};
use super::file::RawTls;
use super::resolve::absolute;
use super::{Surroundings, TlsFiles, nearest};
use crate::model::{
    CipherSuite, CipherSuiteError, ClientIdentity, HostName, TlsFile, TlsSettings, TlsVersion, TlsVersionError,
};

/// The table `[tls]`.
pub(super) struct Global<'r> {
    raw: &'r RawTls,
    settings: TlsSettings,
}

impl<'r> Global<'r> {
    /// Reads the table, which has to be good by itself.
    pub(super) fn new(raw: &'r RawTls, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Self {
        let keys = Keys::over(raw, raw);
        let settings = keys.settings(surroundings, notes);
        keys.judge_files(&settings, surroundings, notes);
        Self { raw, settings }
    }

    /// The settings of a mirror with the table `own`.
    pub(super) fn of_mirror(&self, own: &RawTls, surroundings: &Surroundings<'_>, notes: &mut Notes) -> TlsSettings {
        let keys = Keys::over(own, self.raw);
        let settings = keys.settings(surroundings, notes);
        if (&settings.ca_file, &settings.identity) != (&self.settings.ca_file, &self.settings.identity) {
            keys.judge_files(&settings, surroundings, notes);
        }
        settings
    }
}

/// The keys that count: a mirror's own where it has them, else the global ones.
struct Keys<'r> {
    min_version: Option<&'r Located<String>>,
    max_version: Option<&'r Located<String>>,
    insecure_skip_verify: Option<&'r Located<bool>>,
    ca_cert_file: Option<&'r Located<String>>,
    client_cert_file: Option<&'r Located<String>>,
    client_key_file: Option<&'r Located<String>>,
    cipher_suites: Option<&'r Located<Vec<Located<String>>>>,
    server_name: Option<&'r Located<String>>,
    /// The version key that is the mirror's own, for contradictions between the two.
    own_version: Option<&'r Located<String>>,
}

impl<'r> Keys<'r> {
    fn over(own: &'r RawTls, global: &'r RawTls) -> Self {
        Self {
            min_version: own.min_version.as_ref().or(global.min_version.as_ref()),
            max_version: own.max_version.as_ref().or(global.max_version.as_ref()),
            insecure_skip_verify: own
                .insecure_skip_verify
                .as_ref()
                .or(global.insecure_skip_verify.as_ref()),
            ca_cert_file: own.ca_cert_file.as_ref().or(global.ca_cert_file.as_ref()),
            client_cert_file: own.client_cert_file.as_ref().or(global.client_cert_file.as_ref()),
            client_key_file: own.client_key_file.as_ref().or(global.client_key_file.as_ref()),
            cipher_suites: own.cipher_suites.as_ref().or(global.cipher_suites.as_ref()),
            server_name: own.server_name.as_ref().or(global.server_name.as_ref()),
            own_version: own.max_version.as_ref().or(own.min_version.as_ref()),
        }
    }

    fn settings(&self, surroundings: &Surroundings<'_>, notes: &mut Notes) -> TlsSettings {
        let min_version = version(self.min_version, notes).unwrap_or(TlsSettings::DEFAULT.min_version);
        let max_version = version(self.max_version, notes).unwrap_or(TlsSettings::DEFAULT.max_version);
        let settings = TlsSettings {
            min_version,
            max_version,
            insecure_skip_verify: self.insecure_skip_verify.is_some_and(|flag| flag.value),
            ca_file: path(self.ca_cert_file, surroundings, notes),
            identity: self.identity(surroundings, notes),
            cipher_suites: Vec::new(),
            server_name: self.server_name(notes),
        };
        if min_version > max_version
            && let Some(told) = self.own_version.or(self.max_version).or(self.min_version)
        {
            let message = format!("min_version {min_version} is newer than max_version {max_version}");
            notes.fault(told, message);
        }
        let cipher_suites = self.cipher_suites(&settings, notes);
        TlsSettings {
            cipher_suites,
            ..settings
        }
    }

    fn identity(&self, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<ClientIdentity> {
        match (self.client_cert_file, self.client_key_file) {
            (Some(alone), None) => notes.fault(alone, "is nothing without client_key_file"),
            (None, Some(alone)) => notes.fault(alone, "is nothing without client_cert_file"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let certificate = path(self.client_cert_file, surroundings, notes);
        let key = path(self.client_key_file, surroundings, notes);
        Some(ClientIdentity {
            certificate: certificate?,
            key: key?,
        })
    }

    fn server_name(&self, notes: &mut Notes) -> Option<HostName> {
        let raw = self.server_name?;
        let name = raw.value.parse();
        name.map_err(|error| notes.fault(raw, format!("{error}"))).ok()
    }

    fn cipher_suites(&self, settings: &TlsSettings, notes: &mut Notes) -> Vec<CipherSuite> {
        let mut suites = Vec::new();
        for raw in self.cipher_suites.map_or(&[][..], |suites| &suites.value) {
            match raw.value.parse::<CipherSuite>() {
                Ok(suite) if suites.contains(&suite) => notes.fault(raw, format!("names {:?} twice", raw.value)),
                Ok(suite) if !settings.speaks(suite.version()) => {
                    let message = format!(
                        "{suite} belongs to TLS {}, which min_version and max_version leave out",
                        suite.version()
                    );
                    notes.fault(raw, message);
                }
                Ok(suite) => suites.push(suite),
                Err(error @ CipherSuiteError::Weak { .. }) => notes.fault(raw, error.to_string()),
                Err(error @ CipherSuiteError::Unknown(_)) => {
                    notes.fault_with_hint(raw, error.to_string(), &suggestion(&raw.value));
                }
            }
        }
        suites
    }

    /// Notes what is wrong with the files that the settings name, each at the key that names it.
    fn judge_files(&self, settings: &TlsSettings, surroundings: &Surroundings<'_>, notes: &mut Notes) {
        let TlsFiles::JudgedBy(judge) = surroundings.tls_files else {
            return;
        };
        for (file, fault) in judge(settings) {
            let key = match file {
                TlsFile::Authorities => self.ca_cert_file,
                TlsFile::Certificate => self.client_cert_file,
                TlsFile::Key => self.client_key_file,
            };
            if let Some(key) = key {
                notes.fault(key, fault);
            }
        }
    }
}

fn version(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<TlsVersion> {
    let raw = raw?;
    match raw.value.parse() {
        Ok(version) => Some(version),
        Err(error @ TlsVersionError::Broken(_)) => {
            let hint = "mirrorctl check tls says which versions upstream has";
            notes.fault_with_hint(raw, error.to_string(), hint);
            None
        }
        Err(error @ TlsVersionError::Unknown(_)) => {
            notes.fault(raw, error.to_string());
            None
        }
    }
}

fn path(raw: Option<&Located<String>>, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<PathBuf> {
    raw.and_then(|raw| absolute(raw, surroundings, notes))
}

/// What was probably meant by a name that is no suite's.
fn suggestion(name: &str) -> String {
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let registered = if upper.starts_with("TLS_") || !upper.contains('_') {
        upper
    } else {
        // As OpenSSL writes them: ECDHE-RSA-AES256-GCM-SHA384.
        let spelled = upper.replace("AES", "AES_").replace("RSA_", "RSA_WITH_");
        format!("TLS_{}", spelled.replace("ECDSA_", "ECDSA_WITH_"))
    };
    let names = || CipherSuite::ALL.iter().map(|suite| suite.name());
    match nearest(&registered, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Keyrings, Settings, parse};

    const MIRROR: &str =
        "[mirrors.x]\nurl = \"https://h/\"\nsuites = [\"s\"]\nsections = [\"m\"]\narchitectures = [\"a\"]\n";

    /// Reads a configuration with these lines in its table `tls`, and those in that of the mirror.
    fn read(global: &str, own: &str, tls_files: TlsFiles<'_>) -> Result<Settings, Vec<String>> {
        let text = format!("dir = \"/d\"\n[tls]\n{global}\n{MIRROR}[mirrors.x.tls]\n{own}\n");
        let surroundings = Surroundings {
            variable: &|_| None,
            home: None,
            keyrings: Keyrings::NotLookedAt,
            tls_files,
        };
        parse(text.as_bytes(), Path::new("m"), &surroundings)
            .map_err(|errors| errors.errors.iter().map(ToString::to_string).collect())
    }

    fn of_mirror(global: &str, own: &str) -> TlsSettings {
        let settings = read(global, own, TlsFiles::NotLookedAt);
        let mut settings = settings.unwrap_or_else(|errors| panic!("{global} {own}: {errors:#?}"));
        settings.mirrors.pop_first().expect("one mirror").1.tls
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(of_mirror("", ""), TlsSettings::DEFAULT);
        let said = "min_version = \"1.2\"\nmax_version = \"1.3\"\ninsecure_skip_verify = false\ncipher_suites = []";
        assert_eq!(of_mirror(said, said), TlsSettings::DEFAULT);
    }

    #[test]
    fn keys_of_the_mirror_go_over_the_global_ones_one_by_one() {
        let global = "min_version = \"1.3\"\ninsecure_skip_verify = true\nca_cert_file = \"/ca\"\n\
                      client_cert_file = \"/c\"\nclient_key_file = \"/k\"\nserver_name = \"Name.example\"\n\
                      cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]";
        let inherited = TlsSettings {
            min_version: TlsVersion::V1_3,
            max_version: TlsVersion::V1_3,
            insecure_skip_verify: true,
            ca_file: Some("/ca".into()),
            identity: Some(ClientIdentity {
                certificate: "/c".into(),
                key: "/k".into(),
            }),
            cipher_suites: vec![CipherSuite::Aes128GcmSha256],
            server_name: Some("name.example".parse().expect("a name")),
        };
        assert_eq!(of_mirror(global, ""), inherited);
        let own = "insecure_skip_verify = false\nclient_cert_file = \"/c2\"\ncipher_suites = []";
        let expected = TlsSettings {
            insecure_skip_verify: false,
            identity: Some(ClientIdentity {
                certificate: "/c2".into(),
                key: "/k".into(),
            }),
            cipher_suites: Vec::new(),
            ..inherited
        };
        assert_eq!(of_mirror(global, own), expected);
    }

    #[test]
    fn bad_values_are_errors_where_they_stand() {
        for (line, error) in [
            (
                "min_version = \"1.1\"",
                "m:3:15: tls.min_version: TLS 1.1 cannot be negotiated by this program",
            ),
            (
                "max_version = \"1.0\"",
                "m:3:15: tls.max_version: TLS 1.0 cannot be negotiated by this program",
            ),
            (
                "min_version = \"2\"",
                "m:3:15: tls.min_version: \"2\" is none of 1.2, 1.3",
            ),
            (
                "ca_cert_file = \"ca\"",
                "m:3:16: tls.ca_cert_file: must be an absolute path, but is \"ca\"",
            ),
            (
                "ca_cert_file = \"\"",
                "m:3:16: tls.ca_cert_file: must be an absolute path, but is \"\"",
            ),
            (
                "server_name = \"\"",
                "m:3:15: tls.server_name: \"\" is no name of a host",
            ),
            (
                "cipher_suites = [\"TLS_AES_128_GCM_SHA25\"]",
                "m:3:18: tls.cipher_suites: \"TLS_AES_128_GCM_SHA25\" is no cipher suite that is known; did you mean \
                 \"TLS_AES_128_GCM_SHA256\"?",
            ),
            (
                "cipher_suites = [\"ECDHE-RSA-AES256-GCM-SHA384\"]",
                "m:3:18: tls.cipher_suites: \"ECDHE-RSA-AES256-GCM-SHA384\" is no cipher suite that is known; did you \
                 mean \"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"?",
            ),
            (
                "cipher_suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]",
                "m:3:18: tls.cipher_suites: \"TLS_RSA_WITH_AES_128_CBC_SHA\" is not offered by this program: its \
                 encryption is not authenticated (CBC)",
            ),
            (
                "cipher_suites = [\"x\"]",
                "m:3:18: tls.cipher_suites: \"x\" is no cipher suite that is known; known are TLS_AES_256_GCM_SHA384, ",
            ),
            (
                "cipher_suites = [\"\"]",
                "m:3:18: tls.cipher_suites: \"\" is no cipher suite that is known; known are TLS_AES_256_GCM_SHA384, ",
            ),
        ] {
            let errors = read(line, "", TlsFiles::NotLookedAt).expect_err(line);
            assert_eq!(errors.len(), 1, "{errors:#?}");
            assert!(errors[0].starts_with(error), "{errors:#?}");
            let errors = read("", line, TlsFiles::NotLookedAt).expect_err(line);
            let of_mirror = error
                .replacen("m:3:", "m:10:", 1)
                .replacen(": tls.", ": mirrors.x.tls.", 1);
            assert!(
                errors.len() == 1 && errors[0].starts_with(&of_mirror),
                "{errors:#?}\n{of_mirror}"
            );
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_errors() {
        for (global, own, error) in [
            (
                "min_version = \"1.3\"\nmax_version = \"1.2\"",
                "",
                "m:4:15: tls.max_version: min_version 1.3 is newer than max_version 1.2",
            ),
            (
                "min_version = \"1.3\"",
                "max_version = \"1.2\"",
                "m:10:15: mirrors.x.tls.max_version: min_version 1.3 is newer than max_version 1.2",
            ),
            (
                "max_version = \"1.2\"",
                "min_version = \"1.3\"",
                "m:10:15: mirrors.x.tls.min_version: min_version 1.3 is newer than max_version 1.2",
            ),
            (
                "cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]",
                "max_version = \"1.2\"",
                "m:3:18: tls.cipher_suites: TLS_AES_128_GCM_SHA256 belongs to TLS 1.3, which min_version and \
                 max_version leave out",
            ),
            (
                "",
                "client_key_file = \"/k\"",
                "m:10:19: mirrors.x.tls.client_key_file: is nothing without client_cert_file",
            ),
        ] {
            let errors = read(global, own, TlsFiles::NotLookedAt).expect_err(own);
            assert_eq!(errors, [error]);
        }
    }

    #[test]
    fn faults_of_files_are_told_at_their_keys_once() {
        let judge = |tls: &TlsSettings| {
            let authorities = tls.ca_file.iter().map(|_| (TlsFile::Authorities, "bad".to_owned()));
            let key = tls.identity.iter().map(|_| (TlsFile::Key, "worse".to_owned()));
            authorities.chain(key).collect()
        };
        let files = "ca_cert_file = \"/a\"\nclient_cert_file = \"/c\"\nclient_key_file = \"/k\"";
        let told = |global, own| read(global, own, TlsFiles::JudgedBy(&judge)).expect_err(own);
        assert_eq!(
            told(files, ""),
            ["m:3:16: tls.ca_cert_file: bad", "m:5:19: tls.client_key_file: worse"]
        );
        assert_eq!(
            told(files, "client_cert_file = \"/c2\""),
            ["m:3:16: tls.ca_cert_file: bad", "m:5:19: tls.client_key_file: worse"]
        );
        assert_eq!(
            told("", files),
            [
                "m:10:16: mirrors.x.tls.ca_cert_file: bad",
                "m:12:19: mirrors.x.tls.client_key_file: worse"
            ]
        );
    }
}
