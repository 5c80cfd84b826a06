//! Whether the TLS library is told what the settings ask for.

use super::*;

fn config(tls: &TlsSettings) -> ClientConfig {
    client_config(tls, &SystemAuthorities::default()).expect("settings without files")
}

fn suites(tls: &TlsSettings) -> Vec<u16> {
    let config = config(tls);
    let suites = config.crypto_provider().cipher_suites.iter();
    suites.map(|suite| suite.suite().into()).collect()
}

#[test]
fn every_suite_that_can_be_named_can_be_offered() {
    let mut offered = suites(&TlsSettings::DEFAULT);
    let mut known: Vec<u16> = CipherSuite::ALL.iter().map(|suite| suite.code()).collect();
    offered.sort_unstable();
    known.sort_unstable();
    assert_eq!(offered, known);
}

#[test]
fn only_named_suites_of_spoken_versions_are_offered() {
    let one = CipherSuite::EcdheRsaAes128GcmSha256;
    let tls = TlsSettings {
        max_version: TlsVersion::V1_2,
        cipher_suites: vec![one],
        ..TlsSettings::DEFAULT
    };
    assert_eq!(suites(&tls), [one.code()]);
    let tls = TlsSettings {
        min_version: TlsVersion::V1_3,
        ..TlsSettings::DEFAULT
    };
    assert_eq!(suites(&tls).len(), 3);
}

#[test]
fn nobodys_authorities_are_read_before_a_certificate_has_to_be_judged() {
    let missing = TlsSettings {
        ca_file: Some("/no/such".into()),
        ..TlsSettings::DEFAULT
    };
    config(&missing);
    let faults = check_tls_files(&missing);
    assert!(matches!(faults[..], [TlsFileError::Unreadable { .. }]), "{faults:?}");
    assert!(check_tls_files(&TlsSettings::DEFAULT).is_empty());
}
