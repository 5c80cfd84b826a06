//! TLS in front of an upstream.
//!
//! Owns [`TlsFront`], which takes https requests and passes them to a plain server, one to a connection. It is as strict
//! or as old-fashioned as its options say.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};

use crate::{Authority, Certified, Upstream};

/// Longest wait for a client, so that no thread stays for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a [`TlsFront`] differs from an ordinary server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// It speaks 1.2 and 1.3.
    Both,
    /// It speaks 1.2 only.
    Only12,
    /// It speaks 1.3 only.
    Only13,
}

/// A server that secures connections to another one. Stops when it is dropped.
pub struct TlsFront {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    config: Arc<ServerConfig>,
    upstream: SocketAddr,
    stopping: AtomicBool,
    /// What clients of completed handshakes asked for: the name, and the header `Host`.
    asked: Mutex<Vec<(Option<String>, String)>>,
    /// Whether each of them showed a certificate.
    shown: Mutex<Vec<bool>>,
}

impl TlsFront {
    /// Secures `upstream` with a certificate.
    pub fn new(upstream: &Upstream, certified: &Certified) -> Self {
        Self::start(upstream, certified, TlsVersions::Both, None)
    }

    /// As [`TlsFront::new`], with versions of TLS, and letting in only clients that `clients` vouches for.
    pub fn start(
        upstream: &Upstream,
        certified: &Certified,
        versions: TlsVersions,
        clients: Option<&Authority>,
    ) -> Self {
        let judge = clients.map(|clients| client_judge(clients).build().expect("an authority"));
        Self::run(upstream, config(certified, versions, judge))
    }

    /// As [`TlsFront::new`], asking every client for a certificate that `clients` vouches for, and letting in also those
    /// that show none.
    pub fn curious(upstream: &Upstream, certified: &Certified, clients: &Authority) -> Self {
        let judge = client_judge(clients).allow_unauthenticated().build();
        let judge = judge.expect("an authority");
        Self::run(upstream, config(certified, TlsVersions::Both, Some(judge)))
    }

    fn run(upstream: &Upstream, config: ServerConfig) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket");
        let plain = upstream.url();
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            upstream: plain.trim_start_matches("http://").parse().expect("an address"),
            stopping: AtomicBool::new(false),
            asked: Mutex::default(),
            shown: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &own));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The URL of the root, without `/` at the end.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// As [`TlsFront::url`], with another name for 127.0.0.1.
    pub fn url_of(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// For each request so far: the name that the client gave for TLS, and the header `Host`.
    pub fn asked(&self) -> Vec<(Option<String>, String)> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For each request so far, whether the client showed a certificate.
    pub fn shown(&self) -> Vec<bool> {
        self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; should the connection fail, it has ended already.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn config(certified: &Certified, versions: TlsVersions, judge: Option<Arc<dyn ClientCertVerifier>>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[&SupportedProtocolVersion] = match versions {
        TlsVersions::Both => &[&version::TLS12, &version::TLS13],
        TlsVersions::Only12 => &[&version::TLS12],
        TlsVersions::Only13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that the provider has");
    let builder = match judge {
        None => builder.with_no_client_auth(),
        Some(judge) => builder.with_client_cert_verifier(judge),
    };
    let chain = CertificateDer::pem_slice_iter(certified.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("PEM");
    builder.with_single_cert(chain, key).expect("a certificate and its key")
}

fn client_judge(authority: &Authority) -> ClientCertVerifierBuilder {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(certificate).expect("an authority");
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // A client that goes, or that TLS keeps out, is what many tests are about.
        thread::spawn(move || drop(serve(stream, &shared)));
    }
}

fn read_head(client: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Passes one request and its answer on.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(Arc::clone(&shared.config)).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let head = match read_head(&mut client) {
        Ok(head) => head,
        Err(error) => {
            // What the client still sends is read, so that it gets the alert instead of a reset.
            client.sock.shutdown(Shutdown::Write)?;
            io::copy(&mut client.sock, &mut io::sink())?;
            return Err(error);
        }
    };
    let host = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    });
    let name = client.conn.server_name().map(ToString::to_string);
    let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.push((name, host.unwrap_or_default()));
    drop(asked);
    let shown = client.conn.peer_certificates().is_some();
    let mut known = shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
    known.push(shown);
    drop(known);

    let mut upstream = TcpStream::connect(shared.upstream)?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    upstream.write_all(head.as_bytes())?;
    io::copy(&mut upstream, &mut client)?;
    client.conn.send_close_notify();
    client.flush()
}
