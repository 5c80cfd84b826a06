//! The command's side: tells every live mount of a state directory the same thing at once.
//!
//! Owns the connections to mounts and the one deadline over all of them. A mount that is stopped, overloaded or of
//! another version costs the deadline at most and keeps no answer of another one back.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::line::{LineError, read_line, write_line};
use super::protocol::{self, LONGEST_ANSWER};
use super::roster::POLL;
use super::{ControlError, LiveMount, Reply, Request, mounts_of};

/// How long a command waits for the mounts in all: far more than one needs that works (milliseconds), and no longer
/// than a person at a prompt bears before being told which one does not.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How long a lost connection may come before the news that its mount has died: the kernel closes what a dying process
/// had open one by one, which takes milliseconds.
const DYING: Duration = Duration::from_millis(200);

/// A mount, and what it answered.
pub type Told = (LiveMount, Result<Reply, ControlError>);

/// Sends `request` to all live mounts of the state directory `state` that registered in `run`, in parallel, and
/// returns what each answered, sorted as by [`mounts_of`], after at most about `patience`. A mount that ended before
/// it answered is left out: it shows nothing any more.
///
/// # Errors
/// When it is unknown which mounts live ([`mounts_of`]), or [`ControlError::Thread`]. What became of a single mount
/// stands beside it.
pub fn tell_all(run: &Path, state: &Path, request: Request, patience: Duration) -> Result<Vec<Told>, ControlError> {
    tell_each(mounts_of(run, state)?, request, patience)
}

/// As [`tell_all`], for these `mounts` and no other.
///
/// # Errors
/// [`ControlError::Thread`].
pub fn tell_each(mounts: Vec<LiveMount>, request: Request, patience: Duration) -> Result<Vec<Told>, ControlError> {
    let until = Instant::now() + patience;
    let (sender, outcomes) = mpsc::channel();
    for (index, mount) in mounts.iter().enumerate() {
        let (sender, mount) = (sender.clone(), mount.clone());
        // Not joined: connecting to a stopped process whose queue is full has no time limit of its own.
        thread::Builder::new()
            .name("tell".into())
            .spawn(move || {
                let outcome = ask_twice(&mount, request, until);
                if matches!(outcome, Err(ControlError::Closed | ControlError::Connection(_))) {
                    // Whether it is gone is asked below, for all.
                    let _ = mount.wait_until_gone(DYING.min(until.saturating_duration_since(Instant::now())));
                }
                // Nobody listens any more once the deadline has passed.
                let _ = sender.send((index, outcome));
            })
            .map_err(ControlError::Thread)?;
    }
    drop(sender);
    let mut told: Vec<_> = mounts
        .into_iter()
        .map(|mount| (mount, Err(ControlError::Timeout)))
        .collect();
    // Ends when all have answered, or with the deadline.
    while let Ok((index, outcome)) = outcomes.recv_timeout(until.saturating_duration_since(Instant::now())) {
        told[index].1 = outcome;
    }
    // Unreadable is not gone.
    told.retain(|(mount, outcome)| outcome.is_ok() || !mount.is_gone().unwrap_or(false));
    Ok(told)
}

/// As [`ask`]; but where the process that took the request dies, its successor is asked. Every request can be repeated
/// without harm but one, which wishes for a successor.
fn ask_twice(mount: &LiveMount, request: Request, until: Instant) -> Result<Reply, ControlError> {
    match ask(mount, request, until) {
        Err(ControlError::Closed | ControlError::Connection(_)) if request != Request::Upgrade => {
            if mount.wait_until_gone(DYING.min(until.saturating_duration_since(Instant::now())))? {
                return Err(ControlError::Closed);
            }
            ask(mount, request, until)
        }
        answered => answered,
    }
}

/// Sends `request` to one mount and waits for its answer.
fn ask(mount: &LiveMount, request: Request, until: Instant) -> Result<Reply, ControlError> {
    let stream = connect(mount, until)?;
    write_line(&stream, &protocol::request_line(request), until)?;
    protocol::parse_answer(&read_line(&stream, LONGEST_ANSWER, until)?)
}

fn connect(mount: &LiveMount, until: Instant) -> Result<UnixStream, ControlError> {
    loop {
        let error = match UnixStream::connect(mount.socket()) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::PermissionDenied => return Err(ControlError::Refused),
            // Its lock is held, so it is about to listen, or about to end.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
            _ => return Err(ControlError::Connection(error)),
        }
        if Instant::now() >= until {
            return Err(ControlError::Timeout);
        }
        if mount.is_gone()? {
            return Err(ControlError::Closed);
        }
        thread::sleep(POLL);
    }
}

impl From<LineError> for ControlError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Timeout => Self::Timeout,
            LineError::TooLong => Self::TooLong,
            LineError::Closed => Self::Closed,
            LineError::Socket(source) => Self::Connection(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::registration::tests::facts;
    use super::super::{Handler, Registration, Server};
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    fn announce(run: &Path, state: &Path, pid: u32) -> Registration {
        Registration::announce(run, &facts("/srv/apt", state, pid)).expect("announced")
    }

    fn serve(run: &Path, state: &Path, pid: u32, handler: Handler) -> Server {
        Server::serve(announce(run, state, pid), handler).expect("served")
    }

    #[test]
    fn without_mounts_there_is_nothing_to_tell() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = tell_all(&dir.path().join("run"), dir.path(), Request::Reconcile, SHORT);
        assert!(told.expect("readable").is_empty());
    }

    #[test]
    fn every_mount_of_the_state_is_told_and_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("a directory");
        let count = Arc::new(AtomicUsize::new(0));
        let handler: Handler = {
            let count = Arc::clone(&count);
            Arc::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(Reply::Done)
            })
        };
        let run = dir.path().join("run");
        let _first = serve(&run, dir.path(), 1, Arc::clone(&handler));
        let _second = serve(&run, dir.path(), 2, handler);
        let _third = serve(&run, other.path(), 3, Arc::new(|_| panic!("not its state")));
        let told = tell_all(&run, dir.path(), Request::Reconcile, DEADLINE).expect("readable");
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|(_, outcome)| matches!(outcome, Ok(Reply::Done))));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_mount_can_be_told_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let _first = serve(&run, dir.path(), 1, Arc::new(|_| panic!("not the one")));
        let _second = serve(&run, dir.path(), 2, Arc::new(|_| Ok(Reply::Done)));
        let mut mounts = mounts_of(&run, dir.path()).expect("readable");
        mounts.retain(|mount| mount.pid == 2);
        let told = tell_each(mounts, Request::Stop, DEADLINE).expect("told");
        assert!(matches!(told[..], [(_, Ok(Reply::Done))]), "{told:?}");
    }

    #[test]
    fn mounts_that_do_not_answer_cost_one_deadline_and_no_other_answer() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let patience = Duration::from_secs(1);
        // A stopped process looks like this: connections are taken by the kernel, and nothing follows.
        let _stopped = announce(&run, dir.path(), 1);
        let _slow = serve(
            &run,
            dir.path(),
            2,
            Arc::new(move |_| {
                thread::sleep(patience * 2);
                Ok(Reply::Done)
            }),
        );
        let _quick = serve(&run, dir.path(), 3, Arc::new(|_| Ok(Reply::Done)));
        let start = Instant::now();
        let told = tell_all(&run, dir.path(), Request::Reconcile, patience).expect("readable");
        assert!(
            (patience..patience * 2).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
        let [
            (first, Err(ControlError::Timeout)),
            (_, Err(ControlError::Timeout)),
            (_, Ok(Reply::Done)),
        ] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!(first.to_string(), "/srv/apt (pid 1)");
    }

    #[test]
    fn a_full_queue_of_a_stopped_mount_costs_the_deadline_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let stopped = announce(&run, dir.path(), 1);
        let socket = mounts_of(&run, dir.path()).expect("readable")[0].socket();
        // Fills the queue, however long it is, from a thread that stays blocked in the first connect that waits.
        let (sender, connected) = mpsc::channel();
        thread::spawn(move || {
            let mut all = Vec::new();
            while let Ok(stream) = UnixStream::connect(&socket) {
                all.push(stream);
                if sender.send(()).is_err() {
                    break;
                }
            }
        });
        while connected.recv_timeout(SHORT).is_ok() {}
        let start = Instant::now();
        let told = tell_all(&run, dir.path(), Request::Reconcile, SHORT).expect("readable");
        assert!(start.elapsed() < DEADLINE);
        assert!(matches!(told[..], [(_, Err(ControlError::Timeout))]), "{told:?}");
        drop(stopped);
    }

    #[test]
    fn a_mount_that_ends_meanwhile_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let ending = announce(&run, dir.path(), 1);
        let end = thread::spawn(move || {
            thread::sleep(SHORT / 2);
            drop(ending);
        });
        let told = tell_all(&run, dir.path(), Request::Reconcile, DEADLINE).expect("readable");
        assert!(told.is_empty(), "{told:?}");
        end.join().expect("no panic");
    }

    #[test]
    fn a_mount_of_another_version_is_reported() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let registration = announce(&run, dir.path(), 1);
        let listener = registration.listener().try_clone().expect("cloned");
        let later = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a command");
            let until = Instant::now() + DEADLINE;
            read_line(&stream, 999, until).expect("its request");
            write_line(&stream, b"{\"protocol\":2,\"answer\":[]}\n", until).expect("sent");
        });
        let told = tell_all(&run, dir.path(), Request::Reconcile, DEADLINE).expect("readable");
        assert!(matches!(
            told[..],
            [(_, Err(ControlError::OtherProtocol { theirs: 2 }))]
        ));
        later.join().expect("no panic");
    }
}
