//! The mount's side: takes requests from the socket and has them answered.
//!
//! Owns the threads that serve a [`Registration`]. A peer can make none of them wait longer than a limit, keep more
//! than a limit in memory, or end any but its own. What a request means is the handler's business.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::access::{self, Owner};
use super::line::{LineError, read_line, write_line};
use super::protocol::{self, Answer, LONGEST_REQUEST};
use super::{ControlError, Registration, Reply, Request, sys};

/// Does what a request asks; the error text is for the user of the command. Called from many threads at once.
pub type Handler = Arc<dyn Fn(Request) -> Result<Reply, String> + Send + Sync>;

/// How long a peer may take to send its request, and again to take its answer. Commands need far below a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests served at once; a host has few operators, and every one more is a thread.
const MOST_AT_ONCE: usize = 64;

/// How long the end of the server waits for answers in work: enough to send one that is ready, such as that to
/// [`Request::Stop`].
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pause after a failure to accept, which means that descriptors or memory are short.
const BREATH: Duration = Duration::from_millis(50);

/// Serves the requests of commands until it is dropped; then the mount's registration ends too.
#[derive(Debug)]
pub struct Server {
    // Shutting it down wakes the thread that accepts.
    waker: UnixStream,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    registration: Registration,
}

/// What the threads of one server have in common.
#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    in_work: Mutex<usize>,
    less_work: Condvar,
}

/// The right to serve one request; given back when dropped, also by a panic of the handler.
struct Slot(Arc<Shared>);

impl Server {
    /// Starts to serve what connects to `registration`.
    ///
    /// # Errors
    /// [`ControlError::Connection`] or [`ControlError::Thread`] when the system is out of descriptors or threads.
    pub fn serve(registration: Registration, handler: Handler) -> Result<Self, ControlError> {
        let clone = || registration.listener().try_clone().map_err(ControlError::Connection);
        let listener = clone()?;
        let waker = UnixStream::from(OwnedFd::from(clone()?));
        let shared = Arc::new(Shared::default());
        let accepting = {
            let (shared, owner) = (Arc::clone(&shared), registration.owner());
            thread::Builder::new()
                .name("control".into())
                .spawn(move || accept(&listener, owner, &shared, &handler))
                .map_err(ControlError::Thread)?
        };
        Ok(Self {
            waker,
            shared,
            accepting: Some(accepting),
            registration,
        })
    }

    /// The registration that is served.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Fails only if the socket is shut down already; then the thread has ended.
        let _ = self.waker.shutdown(Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            // A panic there has been reported by the panic hook; nothing is left to end.
            let _ = thread.join();
        }
        self.shared.wait_for_last_words();
    }
}

impl Shared {
    fn in_work(&self) -> MutexGuard<'_, usize> {
        // A count is never half changed.
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(self: &Arc<Self>) -> Option<Slot> {
        let mut in_work = self.in_work();
        (*in_work < MOST_AT_ONCE).then(|| {
            *in_work += 1;
            Slot(Arc::clone(self))
        })
    }

    fn wait_for_last_words(&self) {
        let idle = self
            .less_work
            .wait_timeout_while(self.in_work(), LAST_WORDS, |count| *count > 0);
        // Whether all of them came in time changes nothing.
        drop(idle);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.in_work() -= 1;
        self.0.less_work.notify_all();
    }
}

fn accept(listener: &UnixListener, owner: Owner, shared: &Arc<Shared>, handler: &Handler) {
    loop {
        let accepted = listener.accept();
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => start(stream, owner, shared, handler),
            Err(_) => thread::sleep(BREATH),
        }
    }
}

/// Serves one connection in a thread of its own.
fn start(stream: UnixStream, owner: Owner, shared: &Arc<Shared>, handler: &Handler) {
    let Some(slot) = shared.slot() else {
        // An empty socket takes so short a line at once.
        let _ = write_line(&stream, &protocol::answer_line(Answer::Busy), Instant::now() + BREATH);
        return;
    };
    let handler = Arc::clone(handler);
    // Without a thread the connection closes, which the command reports.
    let _ = thread::Builder::new().name("control-peer".into()).spawn(move || {
        serve_one(&stream, owner, &handler);
        // Closed first, so that who waits for the last words knows that they are out.
        drop(stream);
        drop(slot);
    });
}

fn serve_one(stream: &UnixStream, owner: Owner, handler: &Handler) {
    let answer = match read_line(stream, LONGEST_REQUEST, Instant::now() + PATIENCE) {
        Ok(line) => answer(stream, &line, owner, handler),
        Err(LineError::TooLong) => Answer::Malformed("the request is too long".into()),
        Err(LineError::Timeout) => Answer::Malformed("the request took too long to arrive".into()),
        Err(LineError::Closed | LineError::Socket(_)) => return,
    };
    // A peer that no longer listens has lost nothing that it still wants.
    let _ = write_line(stream, &protocol::answer_line(answer), Instant::now() + PATIENCE);
}

fn answer(stream: &UnixStream, line: &[u8], owner: Owner, handler: &Handler) -> Answer {
    let request = match protocol::parse_request(line) {
        Ok(request) => request,
        Err(reason) => return reason.into(),
    };
    match sys::peer(stream) {
        Ok(peer) if access::may(&peer, owner, request) => match handler(request) {
            Ok(reply) => Answer::Ok(reply),
            Err(why) => Answer::Failed(why),
        },
        Ok(_) => Answer::Refused,
        Err(error) => Answer::Failed(format!("cannot learn who asks: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::Path;

    use super::super::registration::tests::facts;
    use super::super::{DEADLINE, LiveMount, mounts_in, tell_all};
    use super::*;

    fn serve(run: &Path, state: &Path, pid: u32, handler: Handler) -> Server {
        let registration = Registration::announce(run, &facts("/srv/apt", state, pid)).expect("announced");
        Server::serve(registration, handler).expect("served")
    }

    fn done() -> Handler {
        Arc::new(|_| Ok(Reply::Done))
    }

    /// Sends `bytes` as they are and returns everything that comes back.
    fn send(mount: &LiveMount, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(mount.socket()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE * 2)).expect("set");
        stream.write_all(bytes).expect("sent");
        let mut answer = String::new();
        // A server that left bytes unread resets the connection after its answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn a_request_is_handled_and_answered() {
        let dir = tempfile::tempdir().expect("a directory");
        let handler: Handler = Arc::new(|request| match request {
            Request::HeldBlobs => Ok(Reply::HeldBlobs(vec![3, 1])),
            Request::Reconcile | Request::Damage => Err("the catalog is locked".into()),
            Request::Status | Request::Stop | Request::Upgrade => Ok(Reply::Done),
        });
        let _server = serve(dir.path(), dir.path(), 1, handler);
        let ask = |request| {
            let mut told = tell_all(dir.path(), dir.path(), request, DEADLINE).expect("readable");
            told.pop().expect("one mount").1
        };
        assert_eq!(ask(Request::HeldBlobs).expect("answered"), Reply::HeldBlobs(vec![3, 1]));
        let failed = ask(Request::Reconcile).expect_err("failed");
        assert_eq!(failed.to_string(), "the mount answered: the catalog is locked");
    }

    #[test]
    fn bad_peers_are_answered_and_harm_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let _server = serve(dir.path(), dir.path(), 1, done());
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        for (bytes, word) in [
            (&b"hello\n"[..], "malformed"),
            (b"\n", "malformed"),
            (b"\xff\xfe\0\n", "malformed"),
            (b"{\"protocol\":2,\"request\":\"stop\"}\n", "other_protocol"),
            (b"{\"protocol\":1,\"request\":\"stop\"}\nmore", "done"),
            (&vec![b'x'; LONGEST_REQUEST + 1], "too long"),
        ] {
            let answer = send(&mount, bytes);
            assert!(answer.contains(word), "{answer:?} has no {word:?}");
        }
        // Peers that say nothing, and one that leaves in the middle.
        let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(mount.socket())).collect();
        drop(silent.into_iter().take(2));
        let told = tell_all(dir.path(), dir.path(), Request::Reconcile, DEADLINE).expect("readable");
        assert!(matches!(told[..], [(_, Ok(Reply::Done))]));
    }

    #[test]
    fn a_slow_peer_is_sent_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let _server = serve(dir.path(), dir.path(), 1, done());
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        let start = Instant::now();
        assert!(send(&mount, b"{\"protocol\":1").contains("too long to arrive"));
        assert!((PATIENCE..PATIENCE * 2).contains(&start.elapsed()));
    }

    #[test]
    fn more_peers_than_places_are_told_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let server = serve(dir.path(), dir.path(), 1, done());
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        let silent: Vec<_> = (0..MOST_AT_ONCE)
            .map(|_| UnixStream::connect(mount.socket()).expect("connected"))
            .collect();
        let told = |word: fn(&Result<Reply, ControlError>) -> bool| {
            let told = tell_all(dir.path(), dir.path(), Request::Reconcile, DEADLINE).expect("readable");
            assert!(word(&told[0].1), "{told:?}");
        };
        told(|outcome| matches!(outcome, Err(ControlError::Busy)));
        drop(silent);
        let free = |count: &mut usize| *count > 0;
        let (shared, wait) = (&server.shared, PATIENCE);
        drop(
            shared
                .less_work
                .wait_timeout_while(shared.in_work(), wait, free)
                .expect("whole"),
        );
        told(|outcome| matches!(outcome, Ok(Reply::Done)));
    }

    #[test]
    fn a_panic_of_the_handler_ends_its_request_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let handler: Handler = Arc::new(|request| match request {
            Request::HeldBlobs => panic!("a bug"),
            _ => Ok(Reply::Done),
        });
        let _server = serve(dir.path(), dir.path(), 1, handler);
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        // As often as there are places: a panic that kept its place would leave none.
        for _ in 0..MOST_AT_ONCE {
            assert_eq!(send(&mount, &protocol::request_line(Request::HeldBlobs)), "");
        }
        let told = tell_all(dir.path(), dir.path(), Request::HeldBlobs, DEADLINE).expect("readable");
        assert!(matches!(told[..], [(_, Err(ControlError::Closed))]), "{told:?}");
        let told = tell_all(dir.path(), dir.path(), Request::Reconcile, DEADLINE).expect("readable");
        assert!(matches!(told[..], [(_, Ok(Reply::Done))]));
    }

    #[test]
    fn the_answer_to_stop_arrives_though_the_server_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let (stop, stopped) = std::sync::mpsc::channel();
        let stop = Mutex::new(stop);
        let handler: Handler = Arc::new(move |_| {
            stop.lock().expect("whole").send(()).expect("waited for");
            // Gives the main thread time to end first.
            thread::sleep(Duration::from_millis(100));
            Ok(Reply::Done)
        });
        let server = serve(dir.path(), dir.path(), 1, handler);
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        let main = thread::spawn(move || {
            stopped.recv().expect("sent");
            drop(server);
        });
        let line = protocol::request_line(Request::Stop);
        assert!(send(&mount, &line).contains("done"));
        assert!(mount.wait_until_gone(PATIENCE).expect("readable"));
        main.join().expect("no panic");
    }

    #[test]
    fn the_end_of_the_server_is_quick_and_complete() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let server = serve(&run, dir.path(), 1, done());
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < LAST_WORDS);
        assert_eq!(std::fs::read_dir(&run).expect("listable").count(), 0);
        assert!(
            tell_all(&run, dir.path(), Request::Reconcile, DEADLINE)
                .expect("readable")
                .is_empty()
        );
    }
}
