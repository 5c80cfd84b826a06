//! A gate before a web server, which stops chosen requests until a test lets them go.
//!
//! Owns [`Gate`] and [`Held`]: a client is caught between two of its requests, or in the middle of an answer, for exactly
//! as long as the test needs to change the world. Nothing here waits for a time; everything waits for an event.

use std::fmt;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::upstream::matches;

/// How long a request that a test expects may take to come. Generous: two slow cores may run many tests at once.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running gate on 127.0.0.1, which passes every request on to one server. It ends with the process of the test.
///
/// Patterns are paths without leading `/`, in which `*` stands for any text, `/` included.
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    rules: Mutex<Vec<Rule>>,
    passed: Mutex<Vec<Passed>>,
}

/// One request that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The path as it was asked for, without the leading `/`.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
}

/// Where in an exchange the gate closes.
#[derive(Debug, Clone, Copy)]
enum Place {
    Request,
    /// After so many bytes of the body.
    Body(u64),
}

struct Rule {
    pattern: String,
    place: Place,
    latch: Arc<Latch>,
}

/// The closed gate for one request. Dropping it lets the request go.
pub struct Held {
    pattern: String,
    latch: Arc<Latch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Awaited,
    Caught,
    Free,
}

struct Latch {
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl Gate {
    /// A gate before the server at `url`, which is `http://HOST:PORT`.
    pub fn before(url: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            server: url.trim_start_matches("http://").to_owned(),
            rules: Mutex::default(),
            passed: Mutex::default(),
        });
        let gate = Self {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // An error is the client's or the server's going away.
                thread::spawn(move || drop(shared.pass(&client)));
            }
        });
        gate
    }

    /// The URL that leads through it, without `/` at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the next request that matches before the server hears of it.
    pub fn hold(&self, pattern: &str) -> Held {
        self.close(pattern, Place::Request)
    }

    /// Stops the next answer that matches when the client has got its head and so many bytes of its body.
    pub fn hold_answer(&self, pattern: &str, bytes: u64) -> Held {
        self.close(pattern, Place::Body(bytes))
    }

    fn close(&self, pattern: &str, place: Place) -> Held {
        let latch = Arc::new(Latch {
            phase: Mutex::new(Phase::Awaited),
            changed: Condvar::new(),
        });
        lock(&self.shared.rules).push(Rule {
            pattern: pattern.to_owned(),
            place,
            latch: Arc::clone(&latch),
        });
        Held {
            pattern: pattern.to_owned(),
            latch,
        }
    }

    /// The requests that went through since the last call, in order. Only those whose answer has begun.
    pub fn take_passed(&self) -> Vec<Passed> {
        std::mem::take(&mut lock(&self.shared.passed))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} before {})", self.url(), self.shared.server)
    }
}

impl Held {
    /// Waits until a request stands at the gate.
    ///
    /// # Panics
    /// When none comes for two minutes.
    #[track_caller]
    pub fn arrived(&self) {
        let phase = lock(&self.latch.phase);
        let waited = self
            .latch
            .changed
            .wait_timeout_while(phase, PATIENCE, |phase| *phase == Phase::Awaited);
        let (phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*phase, Phase::Caught, "nobody asked for {}", self.pattern);
    }

    /// Lets the request go.
    pub fn let_go(self) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.latch.turn(Phase::Free);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.pattern)
    }
}

impl Latch {
    fn turn(&self, phase: Phase) {
        *lock(&self.phase) = phase;
        self.changed.notify_all();
    }

    /// Says that a request is here, and waits to be let go. Whoever was let go beforehand passes.
    fn stand(&self) {
        let mut phase = lock(&self.phase);
        if *phase == Phase::Awaited {
            *phase = Phase::Caught;
            self.changed.notify_all();
        }
        let free = self.changed.wait_while(phase, |phase| *phase != Phase::Free);
        drop(free.unwrap_or_else(PoisonError::into_inner));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Passes on the requests of one connection, one after the other, until the client has no more.
    fn pass(&self, client: &TcpStream) -> io::Result<()> {
        let (mut from_client, mut to_client) = (BufReader::new(client), client);
        while let Some(request) = Head::read(&mut from_client)? {
            let path = request.word(1).trim_start_matches('/').to_owned();
            let rule = self.rule_for(&path);
            if let Some((Place::Request, latch)) = &rule {
                latch.stand();
            }
            let server = TcpStream::connect(&self.server)?;
            (&server).write_all(&request.with_end_of_connection())?;
            let mut from_server = BufReader::new(&server);
            let answer = Head::read(&mut from_server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = answer.word(1).parse().unwrap_or(0);
            lock(&self.passed).push(Passed { path, status });
            to_client.write_all(&answer.without_connection())?;
            let bodiless = request.word(0) == "HEAD" || matches!(status, 204 | 304);
            let length = if bodiless { Some(0) } else { answer.length() };
            let mut body = from_server.take(length.unwrap_or(u64::MAX));
            if let Some((Place::Body(bytes), latch)) = &rule {
                io::copy(&mut (&mut body).take(*bytes), &mut to_client)?;
                latch.stand();
            }
            io::copy(&mut body, &mut to_client)?;
            // An answer that is cut short, or has no length, ends with its connection.
            if body.limit() > 0 || request.ends_connection() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The rule for `path`, which is used up.
    fn rule_for(&self, path: &str) -> Option<(Place, Arc<Latch>)> {
        let mut rules = lock(&self.rules);
        let at = rules.iter().position(|rule| matches(&rule.pattern, path))?;
        let rule = rules.remove(at);
        Some((rule.place, rule.latch))
    }
}

/// The lines before a body, without their ends.
struct Head(Vec<String>);

impl Head {
    /// `None` when the other side has ended before its first byte.
    fn read(from: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return if lines.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(Some(Self(lines)));
            }
            lines.push(line.to_owned());
        }
    }

    /// A word of the first line.
    fn word(&self, number: usize) -> &str {
        let first = self.0.first().map_or("", String::as_str);
        first.split(' ').nth(number).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.trim())
    }

    fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    fn ends_connection(&self) -> bool {
        self.field("connection") == Some("close")
    }

    fn without_connection(&self) -> Vec<u8> {
        self.text("")
    }

    fn with_end_of_connection(&self) -> Vec<u8> {
        self.text("Connection: close\r\n")
    }

    fn text(&self, further: &str) -> Vec<u8> {
        let own = |line: &&String| !line.to_ascii_lowercase().starts_with("connection:");
        let mut text: String = self.0.iter().filter(own).flat_map(|line| [line, "\r\n"]).collect();
        text.push_str(further);
        text.push_str("\r\n");
        text.into_bytes()
    }
}
