//! How an upstream secures its connections: a look from outside, for people.
//!
//! Owns [`inspect`]: one connection for each version of TLS to see whether it is taken (`hello`), and one as a sync would
//! make it, on which the certificates are read whatever is wrong with them. It connects directly, past any proxy, sends
//! no credentials, and waits for nothing longer than [`PATIENCE`].

mod hello;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use url::Url;

pub use hello::Protocol;

use super::certificate::Certificate;
use super::error::SetupError;
use super::tls::{Identity, SystemAuthorities, TlsFailure, Trust, builder, identity};
use crate::model::{BaseUrl, TlsSettings};
use hello::Answer;

/// Longest time for each connection: being established, and all that is said on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for what a first request is met with. A refusal takes one round trip; an answer need not be awaited.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// More than any answer to a hello has, in bytes.
const LONGEST_ANSWER: usize = 1 << 16;

/// Why an upstream could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Its URL is not https.
    #[error("{0} is fetched without TLS")]
    Plain(String),
    /// Its name leads nowhere.
    #[error("cannot find the address of {host}")]
    Address {
        /// The name.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// It takes no connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The program's side could not be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] SetupError),
}

/// What was seen of an upstream.
#[derive(Debug)]
pub struct Inspection {
    /// Where it answered.
    pub address: SocketAddr,
    /// The name that was asked for and that its certificate must have.
    pub name: String,
    /// For each version of TLS, the oldest first, what it said.
    pub versions: Vec<(Protocol, Offer)>,
    /// The connection as a sync would make it.
    pub connection: Connection,
}

/// What an upstream says to a version of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// It takes it, with this cipher suite.
    Taken(String),
    /// It does not, and says why.
    Refused(String),
    /// It goes or stays silent.
    Unanswered,
    /// What it says is not TLS.
    Foreign,
}

/// A connection as a sync would make it.
#[derive(Debug, Default)]
pub struct Connection {
    /// The version and the cipher suite that were agreed on; `None` when there was no agreement.
    pub agreed: Option<(&'static str, String)>,
    /// The certificates it showed, its own first; `None` for one that cannot be read.
    pub chain: Vec<Option<Certificate>>,
    /// What is wrong with them by the settings' authorities, be they heard or not; `None` too when none were shown.
    pub distrust: Option<TlsFailure>,
    /// Whether it asked who the client is.
    pub asks_for_client: bool,
    /// Why a sync could not use it, whatever its certificates are.
    pub failure: Option<ConnectionFailure>,
}

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFailure {
    /// TLS did not come about.
    #[error(transparent)]
    Tls(TlsFailure),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

impl ConnectionFailure {
    fn of(error: io::Error) -> Self {
        match TlsFailure::among_causes(&error) {
            Some(failure) => Self::Tls(failure),
            None => Self::Broken(error),
        }
    }
}

/// Looks at the upstream at `base` with the settings `tls`.
///
/// # Errors
/// When there is nothing to look at. What is wrong with what there is, is part of the [`Inspection`].
pub fn inspect(base: &BaseUrl, tls: &TlsSettings) -> Result<Inspection, InspectError> {
    let url = base.with_credentials();
    let (Some(host), "https") = (url.host_str(), url.scheme()) else {
        return Err(InspectError::Plain(base.to_string()));
    };
    let host = host.trim_matches(['[', ']']);
    let address = reachable(host, url.port_or_known_default().unwrap_or(443))?;
    let name = tls.server_name.as_ref().map_or(host, |name| name.as_str());
    let asked = ServerName::try_from(name.to_owned()).map_err(|_| InspectError::Address {
        host: host.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a host"),
    })?;
    // Addresses are not sent as names.
    let sent = matches!(asked, ServerName::DnsName(_)).then_some(name);
    let offers = Protocol::ALL.map(|version| (version, offer(address, version, sent)));
    Ok(Inspection {
        address,
        name: name.to_owned(),
        versions: offers.into(),
        connection: connect(address, asked, url, tls)?,
    })
}

/// The first of the host's addresses that takes a connection.
fn reachable(host: &str, port: u16) -> Result<SocketAddr, InspectError> {
    let unknown = |source| InspectError::Address {
        host: host.to_owned(),
        source,
    };
    let mut outcome = Err(unknown(io::Error::new(io::ErrorKind::NotFound, "it has none")));
    for address in (host, port).to_socket_addrs().map_err(unknown)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(address),
            Err(source) => outcome = Err(InspectError::Connect { address, source }),
        }
    }
    outcome
}

/// What the server says to a version.
fn offer(address: SocketAddr, version: Protocol, name: Option<&str>) -> Offer {
    match answer(address, version, name) {
        Ok(Some(answer @ Answer::Hello { suite, .. })) if answer.takes(version) => {
            Offer::Taken(hello::suite_name(suite))
        }
        Ok(Some(Answer::Hello { .. })) => Offer::Refused("offers another version".to_owned()),
        Ok(Some(Answer::Alert(description))) => Offer::Refused(hello::alert_name(description)),
        Ok(Some(Answer::Foreign)) => Offer::Foreign,
        Ok(None) | Err(_) => Offer::Unanswered,
    }
}

fn answer(address: SocketAddr, version: Protocol, name: Option<&str>) -> io::Result<Option<Answer>> {
    let mut stream = Timed::connect(address)?;
    stream.write_all(&hello::encode(version, name, &randomness()?))?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while bytes.len() < LONGEST_ANSWER {
        let count = stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        let answer = hello::decode(&bytes);
        if answer.is_some() || count == 0 {
            return Ok(answer);
        }
    }
    Ok(Some(Answer::Foreign))
}

fn randomness() -> io::Result<hello::Randomness> {
    let mut randomness = hello::Randomness::default();
    let source = aws_lc_rs::default_provider().secure_random;
    for bytes in &mut randomness {
        source
            .fill(bytes)
            .map_err(|_| io::Error::other("this system has no random numbers"))?;
    }
    Ok(randomness)
}

/// Connects as a sync would, and looks at the certificates.
fn connect(
    address: SocketAddr,
    name: ServerName<'static>,
    url: &Url,
    tls: &TlsSettings,
) -> Result<Connection, InspectError> {
    let witness = Arc::new(Witness {
        judge: Trust::strict(tls, &SystemAuthorities::default()),
        seen: Mutex::default(),
    });
    let own = tls.identity.as_ref().map(identity).transpose();
    let own = own.map_err(|error| InspectError::Setup(error.into()))?;
    let client = Arc::new(Asked {
        identity: own.map(|own| Identity(Arc::new(own))),
        asked: AtomicBool::new(false),
    });
    let config = builder(tls, Arc::clone(&witness) as Arc<dyn ServerCertVerifier>).map_err(InspectError::Setup)?;
    let config = config.with_client_cert_resolver(Arc::clone(&client) as Arc<dyn ResolvesClientCert>);
    let tls_connection = ClientConnection::new(Arc::new(config), name);
    let mut tls_connection = tls_connection.map_err(|error| InspectError::Setup(error.into()))?;

    let shaken = shake_hands(address, &mut tls_connection);
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap_or_else(PoisonError::into_inner));
    let agreed = tls_connection
        .protocol_version()
        .zip(tls_connection.negotiated_cipher_suite());
    let usable = tls.insecure_skip_verify || seen.distrust.is_none();
    let failure = match shaken {
        Err(error) => Some(match ConnectionFailure::of(error) {
            // Some just hang up on a client that shows nothing.
            ConnectionFailure::Broken(_) if client.turned_away() => {
                ConnectionFailure::Tls(TlsFailure::ClientCertificate)
            }
            failure => failure,
        }),
        // An unknown client may be turned away only at its first request. Nothing is said to a server that is not trusted.
        Ok(mut stream) if usable => first_request(&mut stream, &mut tls_connection, url).map(ConnectionFailure::Tls),
        Ok(_) => None,
    };
    Ok(Connection {
        agreed: agreed.map(|(version, suite)| (version_name(version), hello::suite_name(suite.suite().into()))),
        chain: seen.chain,
        distrust: seen.distrust,
        asks_for_client: client.asked.load(Ordering::Relaxed),
        failure,
    })
}

fn version_name(version: ProtocolVersion) -> &'static str {
    if version == ProtocolVersion::TLSv1_3 {
        "1.3"
    } else {
        "1.2"
    }
}

fn shake_hands(address: SocketAddr, tls: &mut ClientConnection) -> io::Result<Timed> {
    let mut stream = Timed::connect(address)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(stream)
}

/// Why TLS ends at a first request; `None` whatever is answered.
fn first_request(stream: &mut Timed, tls: &mut ClientConnection, url: &Url) -> Option<TlsFailure> {
    stream.until = stream.until.min(Instant::now() + FIRST_WORD);
    let mut exchange = || -> io::Result<()> {
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let agent = concat!("mirrorctl/", env!("CARGO_PKG_VERSION"));
        let mut stream = rustls::Stream::new(tls, stream);
        write!(
            stream,
            "HEAD {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n",
            url.path()
        )?;
        stream.flush()?;
        stream.read(&mut [0]).map(drop)
    };
    TlsFailure::among_causes(&exchange().err()?)
}

/// Sees certificates, has them judged, and lets them all pass: nothing is sent that needs a trusted server.
#[derive(Debug)]
struct Witness {
    judge: Arc<Trust>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<Option<Certificate>>,
    distrust: Option<TlsFailure>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self
            .judge
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
            chain: chain.map(|certificate| Certificate::parse(certificate)).collect(),
            distrust: verdict.err().map(|error| TlsFailure::of(&error)),
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// Shows the client's certificate, if it has one, and remembers that it was asked for.
#[derive(Debug)]
struct Asked {
    identity: Option<Identity>,
    asked: AtomicBool,
}

impl Asked {
    /// Whether it was asked for a certificate and had none.
    fn turned_away(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.identity.is_none()
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.identity.as_ref()?.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        // Asked either way, so that it is seen whether the server asks.
        true
    }
}

/// A connection that ends when its time is over, however much trickles in.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok(Self { stream, until })
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
