//! HTTP/1.1 on loopback: the protocol, without any idea of what is served.
//!
//! Owns [`WebServer`] (a thread per connection, keep-alive, pipelining), [`Request`] and [`Response`]. What is answered
//! is the business of a [`Service`], which gets the bare connection, so that a test can break the protocol on purpose.
//! Listens on 127.0.0.1 only; it is no server for the public.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Longest request head that is read, in bytes. Real clients stay below 2 KiB.
const LONGEST_HEAD: u64 = 64 * 1024;

/// Bodies up to this many bytes are sent in one write with the head.
const ONE_WRITE: u64 = 64 * 1024;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD` …
    pub method: String,
    /// The target as it was sent: `/dists/sid/InRelease`.
    pub target: String,
    /// The target decoded, without query and leading `/`. Not checked: it may hold `..`.
    pub path: String,
    /// Names in lower case, values as sent, in order.
    pub headers: Vec<(String, String)>,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
}

impl Request {
    /// The value of the first header called `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the request asks for the file only if it has changed.
    pub fn is_conditional(&self) -> bool {
        self.header("if-modified-since").is_some() || self.header("if-none-match").is_some()
    }

    /// Reads the next head; `None` at the end of the connection.
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut limited = reader.take(LONGEST_HEAD);
        let mut line = || -> io::Result<String> {
            let mut line = String::new();
            limited.read_line(&mut line)?;
            Ok(line.trim_end_matches(['\r', '\n']).to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Ok(None);
        };
        let mut headers = Vec::new();
        while let Some((name, value)) = line()?.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            path: decode(target),
            headers,
            keep_alive: false,
        };
        let asked = request.header("connection").unwrap_or_default().to_ascii_lowercase();
        // A request with a body is answered without reading the body, so the connection cannot be used again.
        let bodiless = request.header("content-length").is_none() && request.header("transfer-encoding").is_none();
        request.keep_alive =
            bodiless && (asked.contains("keep-alive") || version == "HTTP/1.1" && !asked.contains("close"));
        Ok(Some(request))
    }
}

/// The path of a request target: without query and leading `/`, `%` escapes resolved, invalid UTF-8 replaced.
fn decode(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.strip_prefix('/').unwrap_or(path).as_bytes();
    while let [byte, tail @ ..] = rest {
        let escape = tail
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(decoded) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(decoded);
            rest = &tail[2..];
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is sent after a head.
#[derive(Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes of a file, from its present position on.
    File(File, u64),
}

impl Body {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole body in memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(file, length) => {
                let mut bytes = Vec::new();
                file.take(length).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

/// An answer with a body of known length.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers other than `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body; a `HEAD` request is told its length only.
    pub body: Body,
}

/// Whether a connection can go on after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request may follow.
    KeepAlive,
    /// The connection is at its end.
    Close,
}

impl Response {
    /// An answer that consists of a status and its name.
    pub fn status(status: u16) -> Self {
        let text = format!("{status} {}\n", reason(status));
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
            body: Body::Bytes(text.into_bytes()),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The status line and the headers, `Content-Length` among them where there is one, up to the empty line.
    pub fn head(&self, length: Option<u64>, after: After) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect(TEXT);
        }
        if let Some(length) = length {
            write!(head, "Content-Length: {length}\r\n").expect(TEXT);
        }
        if after == After::Close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// Sends the answer to `request`.
    ///
    /// # Errors
    /// When the client has gone or the file cannot be read.
    pub fn send(self, request: &Request, stream: &mut TcpStream) -> io::Result<After> {
        let after = if request.keep_alive {
            After::KeepAlive
        } else {
            After::Close
        };
        let length = (self.status != 304).then(|| self.body.len());
        let mut head = self.head(length, after).into_bytes();
        if request.method == "HEAD" || length.is_none() {
            stream.write_all(&head)?;
            return Ok(after);
        }
        match self.body {
            Body::Bytes(bytes) => {
                head.extend_from_slice(&bytes);
                stream.write_all(&head)?;
            }
            Body::File(file, length) if length <= ONE_WRITE => {
                file.take(length).read_to_end(&mut head)?;
                stream.write_all(&head)?;
            }
            Body::File(file, length) => {
                stream.write_all(&head)?;
                io::copy(&mut file.take(length), stream)?;
            }
        }
        Ok(after)
    }
}

const TEXT: &str = "a string takes all that is written";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// What a [`WebServer`] answers with. Called by many threads at once.
pub trait Service: Send + Sync + 'static {
    /// Answers one request on the client's connection.
    ///
    /// # Errors
    /// Any error ends the connection and is not reported: it means that the client has gone.
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<After>;
}

/// A running server. Stops when it is dropped.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    open: Arc<Open>,
    acceptor: Option<JoinHandle<()>>,
}

/// The connections that are open, so that stopping can end them.
#[derive(Debug, Default)]
struct Open {
    stopping: AtomicBool,
    streams: Mutex<HashMap<u64, TcpStream>>,
}

impl WebServer {
    /// Listens on a free port of 127.0.0.1 and answers with `service`.
    ///
    /// # Errors
    /// When no socket or thread can be had.
    pub fn start(service: Arc<impl Service>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let open = Arc::new(Open::default());
        let shared = Arc::clone(&open);
        let acceptor = thread::Builder::new()
            .name("web-accept".to_owned())
            .spawn(move || accept(&listener, &service, &shared))?;
        Ok(Self {
            address,
            open,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a `/` at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends every connection and waits until no thread is left.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.open.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; should the connection fail, the acceptor has ended already.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            // The acceptor does not panic; there is nobody to tell if it did.
            drop(acceptor.join());
        }
    }
}

impl Open {
    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, service: &Arc<impl Service>, open: &Arc<Open>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for (number, connection) in (0..).zip(listener.incoming()) {
        if open.stopping.load(Ordering::SeqCst) {
            break;
        }
        // Out of descriptors, or a client that went away while it waited: the next one may do better.
        let Ok((stream, kept)) = connection.and_then(|stream| Ok((stream.try_clone()?, stream))) else {
            continue;
        };
        open.streams().insert(number, kept);
        threads.retain(|thread| !thread.is_finished());
        let (service, shared) = (Arc::clone(service), Arc::clone(open));
        let started = thread::Builder::new().name("web".to_owned()).spawn(move || {
            // An error is the client's going away.
            drop(converse(stream, &*service));
            shared.streams().remove(&number);
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(open.streams().remove(&number)),
        }
    }
    for stream in open.streams().values() {
        // Fails when the client has gone, which is as good.
        drop(stream.shutdown(Shutdown::Both));
    }
    for thread in threads {
        // A service that panicked has ended its own connection only.
        drop(thread.join());
    }
}

fn converse(mut stream: TcpStream, service: &impl Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        if service.answer(&request, &mut stream)? == After::Close {
            break;
        }
    }
    // The kept clone would hold the connection open for the client.
    stream.shutdown(Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Service for Echo {
        fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<After> {
            let body = Body::Bytes(format!("{} {}", request.method, request.path).into_bytes());
            Response {
                status: 200,
                headers: Vec::new(),
                body,
            }
            .send(request, stream)
        }
    }

    fn ask(server: &WebServer, requests: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).expect("connects");
        stream.write_all(requests.as_bytes()).expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer
    }

    #[test]
    fn pipelined_requests_are_answered_in_order() {
        let server = WebServer::start(Arc::new(Echo)).expect("starts");
        let answer = ask(
            &server,
            "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c%2Bd?x HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nGET a\
             HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nGET c+d"
        );
    }

    #[test]
    fn an_old_client_and_a_request_with_a_body_get_one_answer() {
        let server = WebServer::start(Arc::new(Echo)).expect("starts");
        for request in [
            "GET /a HTTP/1.0\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        ] {
            assert_eq!(ask(&server, request).matches("HTTP/1.1 200").count(), 1, "{request}");
        }
    }

    #[test]
    fn stopping_ends_idle_connections() {
        let server = WebServer::start(Arc::new(Echo)).expect("starts");
        let mut idle = TcpStream::connect(server.address()).expect("connects");
        idle.write_all(b"GET /a HTTP/1.1\r\n\r\n").expect("sends");
        let mut answer = [0; 16];
        idle.read_exact(&mut answer).expect("answers");
        let address = server.address();
        server.stop();
        assert_eq!(idle.read_to_end(&mut Vec::new()).ok().map(|_| ()), Some(()));
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn targets_are_decoded() {
        for (target, path) in [
            ("/dists/sid/InRelease", "dists/sid/InRelease"),
            ("/a%2Fb%zz%4", "a/b%zz%4"),
            ("/x?y#z", "x"),
            ("/", ""),
            ("/%2e%2e/x", "../x"),
        ] {
            assert_eq!(decode(target), path);
        }
    }
}
