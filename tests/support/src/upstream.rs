//! An upstream that can misbehave.
//!
//! Owns [`Upstream`]: a web server over a directory, with faults as data ([`Fault`]) that can be set and cleared while
//! it runs, and a record of every request. Without faults it is a well-behaved server with conditional requests.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mirrorctl::demo::{After, Body, FileService, Request, Response, Service, WebServer};

use crate::{Dice, sys};

/// How a request is answered instead of properly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status and a short text.
    Status(u16),
    /// This status with further headers, such as `Retry-After`.
    StatusWith(u16, Vec<(String, String)>),
    /// Another URL, with status 302.
    Redirect(String),
    /// Status 200 and these bytes, whatever the file holds and the client asked.
    Body(Vec<u8>),
    /// As many bytes as the file has, the last one changed.
    WrongByte,
    /// The file, and these bytes after it; `Content-Length` covers both.
    Extra(Vec<u8>),
    /// The bytes of the file up to `after`, then `rest`: what a server sends whose file changes under it.
    Changed {
        /// How many bytes of the file come first.
        after: usize,
        /// What comes then.
        rest: Vec<u8>,
    },
    /// A head that promises the file, so many bytes of it, and an orderly end.
    Truncated(usize),
    /// A head that promises the file, so many bytes of it, and a reset.
    Reset(usize),
    /// A head that promises the file, so many bytes of it, and silence until the client goes.
    Stalled(usize),
    /// Not even a head, until the client goes.
    Silent,
    /// The file without `Content-Length`, followed by zeros until the client goes.
    Endless,
    /// The file in pieces of so many bytes, with a pause before each.
    Slow {
        /// Bytes at a time.
        piece: usize,
        /// Before each piece.
        pause: Duration,
    },
    /// The proper answer, but only after so long.
    Delayed(Duration),
    /// The whole file with status 200, also to conditional requests.
    Unconditional,
    /// These very bytes, head and all, and the end of the connection.
    Raw(Vec<u8>),
    /// These very bytes, then others again and again, with a pause before each time, until the client goes.
    RawForever {
        /// What comes first.
        head: Vec<u8>,
        /// What comes again and again.
        piece: Vec<u8>,
        /// Before each of them.
        pause: Duration,
    },
    /// The whole file with status 200, also to requests for a part.
    NoRanges,
    /// To requests for a part, another part than was asked for; the proper answer to others.
    WrongRange,
    /// The proper answer, but without anything that tells versions apart.
    Unmarked,
    /// The fault for so many of a hundred requests, spread without any order; the proper answer to the others.
    Sometimes(u32, Box<Fault>),
}

/// One request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// `GET`, `HEAD` …
    pub method: String,
    /// The decoded path, without the leading `/`.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it asked for the file only if it has changed.
    pub conditional: bool,
    /// The status that the answer began with; 0 where no head was sent.
    pub status: u16,
}

type Hook = Box<dyn FnOnce() + Send>;

/// A hook, and what it waits for.
struct Waiting {
    pattern: String,
    /// How many requests that match go by before.
    passing: usize,
    hook: Hook,
}

struct Rule {
    pattern: String,
    fault: Fault,
    /// How many more requests it is for; `None` means all.
    left: Option<usize>,
}

#[derive(Default)]
struct State {
    /// Decides about [`Fault::Sometimes`]; the same in every run.
    chance: Dice,
    rules: Vec<Rule>,
    hooks: Vec<Waiting>,
    requests: Vec<Recorded>,
}

struct Hostile {
    files: Mutex<Arc<FileService>>,
    state: Mutex<State>,
    recorded: Condvar,
}

/// The choice of the directory that an upstream serves.
pub struct Switch(Arc<Hostile>);

impl Switch {
    /// Serves another directory from the next request on.
    pub fn to(&self, root: &Path) {
        *lock(&self.0.files) = Arc::new(FileService::new(root));
    }
}

/// A running upstream on 127.0.0.1. Stops when it is dropped.
///
/// Patterns are paths without leading `/`, in which `*` stands for any text, `/` included.
pub struct Upstream {
    server: WebServer,
    hostile: Arc<Hostile>,
}

impl Upstream {
    /// Serves the files below `root`.
    pub fn serve(root: &Path) -> Self {
        let hostile = Arc::new(Hostile {
            files: Mutex::new(Arc::new(FileService::new(root))),
            state: Mutex::default(),
            recorded: Condvar::new(),
        });
        let server = WebServer::start(Arc::clone(&hostile)).expect("a port of 127.0.0.1");
        Self { server, hostile }
    }

    /// The URL of the archive root, without `/` at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Serves another directory from the next request on.
    pub fn switch_to(&self, root: &Path) {
        self.switch().to(root);
    }

    /// What [`Upstream::before`] needs to serve another directory in the middle of a sync.
    pub fn switch(&self) -> Switch {
        Switch(Arc::clone(&self.hostile))
    }

    /// Answers every request that matches with `fault`. The rule set last goes first.
    pub fn fault(&self, pattern: &str, fault: Fault) {
        self.add(pattern, fault, None);
    }

    /// Answers the next `times` requests that match with `fault`.
    pub fn fault_times(&self, pattern: &str, times: usize, fault: Fault) {
        self.add(pattern, fault, Some(times));
    }

    fn add(&self, pattern: &str, fault: Fault, left: Option<usize>) {
        lock(&self.hostile.state).rules.push(Rule {
            pattern: pattern.to_owned(),
            fault,
            left,
        });
    }

    /// Behaves well again.
    pub fn clear_faults(&self) {
        lock(&self.hostile.state).rules.clear();
    }

    /// Runs `hook` once, just before the first request that matches is answered: to change the archive in the middle
    /// of a sync.
    pub fn before(&self, pattern: &str, hook: impl FnOnce() + Send + 'static) {
        self.before_nth(pattern, 1, hook);
    }

    /// As [`Upstream::before`], with the first request as number 1.
    pub fn before_nth(&self, pattern: &str, number: usize, hook: impl FnOnce() + Send + 'static) {
        lock(&self.hostile.state).hooks.push(Waiting {
            pattern: pattern.to_owned(),
            passing: number.saturating_sub(1),
            hook: Box::new(hook),
        });
    }

    /// The requests so far, in the order in which they were answered.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.hostile.state).requests.clone()
    }

    /// The requests so far, which are forgotten.
    pub fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut lock(&self.hostile.state).requests)
    }

    /// How many requests so far match.
    pub fn hits(&self, pattern: &str) -> usize {
        lock(&self.hostile.state)
            .requests
            .iter()
            .filter(|request| matches(pattern, &request.path))
            .count()
    }

    /// Waits until a request that matches has arrived: its answer has begun, or is about to.
    ///
    /// # Panics
    /// After a minute.
    pub fn wait_for(&self, pattern: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut state = lock(&self.hostile.state);
        while !state.requests.iter().any(|request| matches(pattern, &request.path)) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody asked for {pattern}");
            let waited = self.hostile.recorded.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.url())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            let ends = (0..=tail.len()).filter(|&at| tail.is_char_boundary(at));
            ends.into_iter().any(|at| matches(rest, &tail[at..]))
        }),
    }
}

impl Hostile {
    /// The fault for `path`, which uses it up by one.
    fn fault_for(&self, path: &str) -> Option<Fault> {
        let mut state = lock(&self.state);
        let applies = |rule: &&mut Rule| rule.left != Some(0) && matches(&rule.pattern, path);
        let rule = state.rules.iter_mut().rev().find(applies)?;
        rule.left = rule.left.map(|left| left - 1);
        let fault = rule.fault.clone();
        let Fault::Sometimes(percent, fault) = fault else {
            return Some(fault);
        };
        ((state.chance.roll(100) as u64) < percent.into()).then_some(*fault)
    }

    fn hooks_for(&self, path: &str) -> Vec<Hook> {
        let mut state = lock(&self.state);
        let (mut due, mut waiting) = (Vec::new(), Vec::new());
        for mut hook in std::mem::take(&mut state.hooks) {
            match (matches(&hook.pattern, path), hook.passing) {
                (true, 0) => due.push(hook.hook),
                (matched, passing) => {
                    hook.passing = passing - usize::from(matched);
                    waiting.push(hook);
                }
            }
        }
        state.hooks = waiting;
        due
    }

    fn record(&self, request: &Request, status: u16) {
        let recorded = Recorded {
            method: request.method.clone(),
            path: request.path.clone(),
            headers: request.headers.clone(),
            conditional: request.is_conditional(),
            status,
        };
        lock(&self.state).requests.push(recorded);
        self.recorded.notify_all();
    }
}

impl Service for Hostile {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<After> {
        // Hooks run without any lock: they may well use this upstream.
        for hook in self.hooks_for(&request.path) {
            hook();
        }
        let files = Arc::clone(&lock(&self.files));
        let fault = self.fault_for(&request.path);
        let reply = misbehave(fault, request, &files)?;
        self.record(request, reply.response.as_ref().map_or(0, |response| response.status));
        thread::sleep(reply.delay);
        match reply {
            Reply { response: None, .. } => wait_for_end(stream),
            Reply {
                response: Some(response),
                sending: None,
                ..
            } => response.send(request, stream),
            Reply {
                response: Some(response),
                sending: Some(sending),
                ..
            } => send_badly(response, &sending, stream),
        }
    }
}

/// An answer, possibly one that is sent in a way no decent server would.
struct Reply {
    /// `None`: no answer at all.
    response: Option<Response>,
    sending: Option<Sending>,
    delay: Duration,
}

/// A way of sending that breaks what the head promises.
enum Sending {
    Cut {
        after: usize,
        end: CutEnd,
    },
    Endless,
    Slow {
        piece: usize,
        pause: Duration,
    },
    Raw(Vec<u8>),
    RawForever {
        head: Vec<u8>,
        piece: Vec<u8>,
        pause: Duration,
    },
}

enum CutEnd {
    Orderly,
    Reset,
    Silence,
}

fn misbehave(fault: Option<Fault>, request: &Request, files: &FileService) -> io::Result<Reply> {
    let good = || files.respond(request);
    let without = |unwanted: &dyn Fn(&str) -> bool| {
        let mut plain = request.clone();
        plain.headers.retain(|(name, _)| !unwanted(name));
        files.respond(&plain)
    };
    let whole = || without(&|name| name.starts_with("if-") || name == "range");
    let rewritten = |change: &dyn Fn(&mut Vec<u8>)| -> io::Result<Response> {
        let Response { status, headers, body } = whole();
        let mut bytes = body.into_bytes()?;
        change(&mut bytes);
        Ok(Response {
            status,
            headers,
            body: Body::Bytes(bytes),
        })
    };
    let (response, sending) = match fault {
        // Of the second kind are none: they were decided where the fault was looked up.
        None | Some(Fault::Sometimes(..)) => (good(), None),
        Some(Fault::Silent) => {
            return Ok(Reply {
                response: None,
                sending: None,
                delay: Duration::ZERO,
            });
        }
        Some(Fault::Delayed(delay)) => {
            return Ok(Reply {
                response: Some(good()),
                sending: None,
                delay,
            });
        }
        Some(Fault::Status(status)) => (Response::status(status), None),
        Some(Fault::StatusWith(status, headers)) => {
            let mut response = Response::status(status);
            response.headers.extend(headers);
            (response, None)
        }
        Some(Fault::Redirect(to)) => (Response::status(302).header("Location", to), None),
        Some(Fault::Body(bytes)) => (
            Response {
                status: 200,
                headers: Vec::new(),
                body: Body::Bytes(bytes),
            },
            None,
        ),
        Some(Fault::WrongByte) => {
            let flip = |bytes: &mut Vec<u8>| {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
            };
            (rewritten(&flip)?, None)
        }
        Some(Fault::Extra(extra)) => (rewritten(&|bytes| bytes.extend_from_slice(&extra))?, None),
        Some(Fault::Changed { after, rest }) => {
            let change = |bytes: &mut Vec<u8>| {
                bytes.truncate(after);
                bytes.extend_from_slice(&rest);
            };
            (rewritten(&change)?, None)
        }
        Some(Fault::Truncated(after)) => (
            whole(),
            Some(Sending::Cut {
                after,
                end: CutEnd::Orderly,
            }),
        ),
        Some(Fault::Reset(after)) => (
            whole(),
            Some(Sending::Cut {
                after,
                end: CutEnd::Reset,
            }),
        ),
        Some(Fault::Stalled(after)) => (
            whole(),
            Some(Sending::Cut {
                after,
                end: CutEnd::Silence,
            }),
        ),
        Some(Fault::Endless) => (whole(), Some(Sending::Endless)),
        Some(Fault::Slow { piece, pause }) => (whole(), Some(Sending::Slow { piece, pause })),
        Some(Fault::Unconditional) => (without(&|name| name.starts_with("if-")), None),
        Some(Fault::Raw(bytes)) => (whole(), Some(Sending::Raw(bytes))),
        Some(Fault::RawForever { head, piece, pause }) => (whole(), Some(Sending::RawForever { head, piece, pause })),
        Some(Fault::NoRanges) => (without(&|name| name == "range"), None),
        Some(Fault::WrongRange) => (wrong_range(good()), None),
        Some(Fault::Unmarked) => {
            let mut response = good();
            response
                .headers
                .retain(|(name, _)| !matches!(name.as_str(), "ETag" | "Last-Modified"));
            (response, None)
        }
    };
    Ok(Reply {
        response: Some(response),
        sending,
        delay: Duration::ZERO,
    })
}

/// The answer with a part that begins a byte late, as its head says.
fn wrong_range(mut response: Response) -> Response {
    for (name, value) in &mut response.headers {
        let numbers = value.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
        if let (206, "Content-Range", Some((start, rest))) = (response.status, name.as_str(), numbers) {
            let start: u64 = start.parse().expect("our own server counts right");
            *value = format!("bytes {}-{rest}", start + 1);
        }
    }
    response
}

fn send_badly(mut response: Response, sending: &Sending, stream: &mut TcpStream) -> io::Result<After> {
    let body = std::mem::replace(&mut response.body, Body::Bytes(Vec::new())).into_bytes()?;
    match sending {
        Sending::Raw(bytes) => {
            stream.write_all(bytes)?;
            return Ok(After::Close);
        }
        Sending::RawForever { head, piece, pause } => {
            stream.write_all(head)?;
            loop {
                thread::sleep(*pause);
                stream.write_all(piece)?;
            }
        }
        Sending::Cut { .. } | Sending::Endless | Sending::Slow { .. } => {}
    }
    let length = (!matches!(sending, Sending::Endless)).then_some(body.len() as u64);
    stream.write_all(response.head(length, After::Close).as_bytes())?;
    match *sending {
        Sending::Cut { after, ref end } => {
            stream.write_all(&body[..after.min(body.len())])?;
            match end {
                CutEnd::Orderly => Ok(After::Close),
                CutEnd::Silence => wait_for_end(stream),
                CutEnd::Reset => {
                    // What was sent shall arrive: a reset that overtakes it would make the client's view a matter of luck.
                    thread::sleep(Duration::from_millis(20));
                    sys::reset_on_close(stream)?;
                    Err(io::ErrorKind::ConnectionReset.into())
                }
            }
        }
        Sending::Endless => {
            stream.write_all(&body)?;
            loop {
                stream.write_all(&[0; 16 * 1024])?;
            }
        }
        Sending::Slow { piece, pause } => {
            for chunk in body.chunks(piece.max(1)) {
                thread::sleep(pause);
                stream.write_all(chunk)?;
            }
            Ok(After::Close)
        }
        Sending::Raw(_) | Sending::RawForever { .. } => unreachable!("sent above, without a head of ours"),
    }
}

/// Sends nothing until the client goes away or the server stops.
fn wait_for_end(stream: &mut TcpStream) -> io::Result<After> {
    let mut scrap = [0; 1024];
    while stream.read(&mut scrap)? > 0 {}
    Ok(After::Close)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_globs() {
        for (pattern, text, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("*", "", true),
            ("dists/*/Packages.xz", "dists/sid/main/binary-amd64/Packages.xz", true),
            ("dists/*/Packages.xz", "dists/sid/main/binary-amd64/Packages.gz", false),
            ("pool/*_1_*.deb", "pool/main/ä/ä_1_amd64.deb", true),
            ("*ä", "ää", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
