//! The command `mirrorctl check tls`.
//!
//! Owns the report of how each https URL of a mirror secures its connections, what of it is dubious, and the exit code: that
//! of a sync which meets the same, and of the first URL with which something is wrong.

use std::path::Path;

use serde::Serialize;

use super::each;
use super::sync::proxies;
use crate::cli::args::CheckTlsArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::security;
use crate::cli::text::utc;
use crate::config::MirrorSettings;
use crate::model::{BaseUrl, ProxyUrl, Timestamp, TlsSettings};
use crate::upstream::{
    Certificate, Connection, ConnectionFailure, InspectError, Inspection, Offer, Protocol, TlsFailure, inspect,
};

/// Certificates that expire in fewer days are worth a warning: whoever renews them in time has done so by then.
const SOON_DAYS: i64 = 30;

#[derive(Serialize)]
struct Report {
    mirror: String,
    /// What was seen of each https URL that could be looked at.
    urls: Vec<Seen>,
    /// The URLs that are fetched without TLS.
    without_tls: Vec<String>,
    /// What is dubious of the mirror's settings.
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Seen {
    url: String,
    address: String,
    /// The proxy that a sync goes through, and this command did not.
    looked_past_proxy: Option<String>,
    server_name: String,
    versions: Vec<Version>,
    negotiated: Option<Negotiated>,
    trusting: String,
    verified: Option<bool>,
    not_verified_because: Option<String>,
    asks_for_client_certificate: bool,
    shows_client_certificate: bool,
    chain: Vec<Option<Link>>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    accepted: bool,
    cipher_suite: Option<String>,
    why_not: Option<String>,
}

#[derive(Serialize)]
struct Negotiated {
    version: &'static str,
    cipher_suite: String,
}

#[derive(Serialize)]
struct Link {
    subject: String,
    issuer: String,
    hosts: Vec<String>,
    not_before: String,
    not_after: String,
    days_left: i64,
}

/// Prints how the upstream of a mirror, or of each in a group, secures its connections.
pub(in crate::cli) fn run(arguments: &CheckTlsArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    each::answer(&arguments.mirror, context, output, |mirror| check(mirror, context.now))
}

fn check(mirror: &MirrorSettings, now: Timestamp) -> (Option<Report>, Result<(), Failure>) {
    let (secured, plain): (Vec<_>, Vec<_>) = mirror.urls.iter().partition(|url| is_https(url));
    if secured.is_empty()
        && let Err(error) = inspect(&mirror.urls[0], &mirror.tls)
    {
        return (None, Err(unseen(&error, None)));
    }
    let (mut seen, mut failures) = (Vec::new(), Vec::new());
    let proxies = proxies(mirror);
    for url in secured {
        let proxy = proxies.before(url);
        match inspect(url, &mirror.tls) {
            Ok(inspection) => {
                seen.push(Seen::of(mirror, (url, proxy), &inspection, now));
                failures.extend(conclude(mirror, url, inspection.connection).err());
            }
            Err(error) => failures.push(unseen(&error, proxy)),
        }
    }
    let report = (!seen.is_empty()).then(|| Report {
        mirror: mirror.id.to_string(),
        urls: seen,
        without_tls: plain.into_iter().map(ToString::to_string).collect(),
        warnings: security::warnings(mirror),
    });
    (report, Failure::of_several(failures))
}

fn is_https(url: &BaseUrl) -> bool {
    url.with_credentials().scheme() == "https"
}

/// Why an upstream that a sync reaches through `proxy`, or directly, could not be looked at.
fn unseen(error: &InspectError, proxy: Option<&ProxyUrl>) -> Failure {
    match error {
        InspectError::Plain(_) => Failure::caused(Kind::Usage, error).hint("there is no TLS to check"),
        InspectError::Address { .. } | InspectError::Connect { .. } => {
            let way = proxy.map_or_else(
                || "where only a proxy leads out, it cannot look".to_owned(),
                |proxy| format!("a sync goes through the proxy {proxy}, past which it cannot look here"),
            );
            Failure::caused(Kind::Failed, error).hint(format!("this command connects directly; {way}"))
        }
        InspectError::Setup(_) => Failure::caused(Kind::Failed, error),
    }
}

/// What a sync would make of the connection.
fn conclude(mirror: &MirrorSettings, url: &BaseUrl, connection: Connection) -> Result<(), Failure> {
    match (connection.failure, connection.distrust) {
        (Some(failure), _) => {
            let message = format!(
                "a sync of {} would get no secure connection to {url}: {failure}",
                mirror.id
            );
            let told = Failure::new(Kind::Failed, message);
            Err(match failure {
                ConnectionFailure::Tls(TlsFailure::ClientCertificate) => {
                    told.hint("set client_cert_file and client_key_file to what upstream has given you")
                }
                ConnectionFailure::Tls(TlsFailure::Version) => told.hint("see min_version and max_version"),
                ConnectionFailure::Tls(TlsFailure::CipherSuite) => told.hint("see cipher_suites"),
                ConnectionFailure::Tls(TlsFailure::Certificate(_) | TlsFailure::Other(_))
                | ConnectionFailure::Broken(_) => told,
            })
        }
        (None, Some(failure)) if !mirror.tls.insecure_skip_verify => {
            let message = format!("the certificate of {url} cannot be trusted: {}", reason(&failure));
            let hint = "a sync refuses it; if it is right, name its authority with ca_cert_file";
            Err(Failure::new(Kind::Unverifiable, message).hint(hint))
        }
        (None, _) => Ok(()),
    }
}

/// What is wrong with a certificate, without repeating that it is the certificate.
fn reason(failure: &TlsFailure) -> String {
    match failure {
        TlsFailure::Certificate(fault) => fault.to_string(),
        TlsFailure::Other(error) => error.to_string(),
        TlsFailure::ClientCertificate | TlsFailure::Version | TlsFailure::CipherSuite => failure.to_string(),
    }
}

impl Seen {
    fn of(
        mirror: &MirrorSettings,
        (url, proxy): (&BaseUrl, Option<&ProxyUrl>),
        seen: &Inspection,
        now: Timestamp,
    ) -> Self {
        let connection = &seen.connection;
        let shown = !connection.chain.is_empty();
        Self {
            url: url.to_string(),
            address: seen.address.to_string(),
            looked_past_proxy: proxy.map(ToString::to_string),
            server_name: seen.name.clone(),
            versions: seen.versions.iter().map(Version::of).collect(),
            negotiated: connection.agreed.as_ref().map(|(version, suite)| Negotiated {
                version,
                cipher_suite: suite.clone(),
            }),
            trusting: trusting(&mirror.tls),
            verified: shown.then_some(connection.distrust.is_none()),
            not_verified_because: connection.distrust.as_ref().map(reason),
            asks_for_client_certificate: connection.asks_for_client,
            shows_client_certificate: connection.asks_for_client && mirror.tls.identity.is_some(),
            chain: connection
                .chain
                .iter()
                .map(|link| link.as_ref().map(|link| Link::of(link, now)))
                .collect(),
            warnings: warnings(seen, now),
        }
    }
}

fn trusting(tls: &TlsSettings) -> String {
    let file = |path: &Path| format!("the authorities in {}", path.display());
    tls.ca_file
        .as_deref()
        .map_or_else(|| "the system's authorities".to_owned(), file)
}

/// Everything that should be looked at, though a sync would go on.
fn warnings(seen: &Inspection, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    for (version, offer) in &seen.versions {
        if version.is_broken() && matches!(offer, Offer::Taken(_)) {
            warnings.push(format!("Upstream accepts TLS {}, which is broken", version.name()));
        }
    }
    for certificate in seen.connection.chain.iter().flatten() {
        let days = certificate.days_left(now);
        if (0..SOON_DAYS).contains(&days) {
            warnings.push(format!(
                "The certificate of {} expires in {days} days",
                certificate.holder()
            ));
        }
    }
    warnings
}

impl Version {
    fn of((version, offer): &(Protocol, Offer)) -> Self {
        let (cipher_suite, why_not) = match offer {
            Offer::Taken(suite) => (Some(suite.clone()), None),
            Offer::Refused(why) => (None, Some(why.clone())),
            Offer::Unanswered => (None, Some("no answer".to_owned())),
            Offer::Foreign => (None, Some("the answer is not TLS".to_owned())),
        };
        Self {
            version: version.name(),
            accepted: cipher_suite.is_some(),
            cipher_suite,
            why_not,
        }
    }

    fn row(&self) -> [String; 3] {
        let (word, detail) = if self.accepted {
            ("accepted", &self.cipher_suite)
        } else {
            ("refused", &self.why_not)
        };
        let detail = detail.clone().unwrap_or_default();
        [format!("TLS {}", self.version), word.to_owned(), detail]
    }
}

impl Link {
    fn of(certificate: &Certificate, now: Timestamp) -> Self {
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            hosts: certificate.hosts.clone(),
            not_before: utc(certificate.not_before),
            not_after: utc(certificate.not_after),
            days_left: certificate.days_left(now),
        }
    }

    fn lines(&self, number: usize, page: &mut Page) {
        page.line(format!("  {number}. {}", self.subject));
        if !self.hosts.is_empty() {
            page.line(format!("     for {}", self.hosts.join(", ")));
        }
        page.line(format!("     issued by {}", self.issuer));
        let left = match self.days_left {
            left if left < 0 => "EXPIRED".to_owned(),
            1 => "1 day left".to_owned(),
            left => format!("{left} days left"),
        };
        page.line(format!(
            "     valid from {} to {}: {left}",
            self.not_before, self.not_after
        ));
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        for (number, seen) in self.urls.iter().enumerate() {
            if number > 0 {
                page.line("");
            }
            seen.tell(&self.mirror, page);
        }
        for url in &self.without_tls {
            page.line(format!("{}: {url} is fetched without TLS", self.mirror));
        }
        for warning in &self.warnings {
            page.line(format!("warning: {warning}"));
        }
    }
}

impl Seen {
    fn tell(&self, mirror: &str, page: &mut Page) {
        page.line(format!(
            "{mirror}: {} at {}, as {}",
            self.url, self.address, self.server_name
        ));
        if let Some(proxy) = &self.looked_past_proxy {
            page.line(format!(
                "A sync goes through the proxy {proxy}. This is what is seen past it, on a direct connection."
            ));
        }
        page.line("");
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Left]);
        self.versions.iter().for_each(|version| table.row(version.row()));
        page.table(&table);
        page.line("");
        if let Some(Negotiated { version, cipher_suite }) = &self.negotiated {
            page.line(format!("A sync speaks TLS {version} with {cipher_suite}."));
        }
        match (self.verified, &self.not_verified_because) {
            (Some(true), _) => page.line(format!("The certificate is verified by {}.", self.trusting)),
            (Some(false), Some(why)) => {
                page.line(format!("The certificate is NOT verified by {}: {why}.", self.trusting));
            }
            (Some(false), None) | (None, _) => page.line("No certificate was shown."),
        }
        match (self.asks_for_client_certificate, self.shows_client_certificate) {
            (true, true) => page.line("Upstream asks for a client certificate, and is shown that of the settings."),
            (true, false) => page.line("Upstream asks for a client certificate, and none is configured."),
            (false, _) => {}
        }
        for (number, link) in (1..).zip(&self.chain) {
            match link {
                Some(link) => link.lines(number, page),
                None => page.line(format!("  {number}. cannot be read")),
            }
        }
        for warning in &self.warnings {
            page.line(format!("warning: {warning}"));
        }
    }
}
