//! Properties of the lines between commands and mounts, over real sockets: a line of any bytes costs its sender an
//! answer, and no one else anything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mirrorctl::control::{
    ControlError, Facts, Handler, LiveMount, PROTOCOL, Registration, Reply, Request, Server, mounts_in, tell_each,
};
use mirrorctl::model::Timestamp;
use serde_json::Value;

use super::pieces;
use crate::Scratch;

/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mount that does all that it is asked.
struct Willing {
    socket: PathBuf,
    _server: Server,
    _scratch: Scratch,
}

static WILLING: LazyLock<Willing> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let handler: Handler = Arc::new(|request| match request {
        Request::Reconcile | Request::Damage | Request::Status | Request::Stop | Request::Upgrade => Ok(Reply::Done),
        Request::HeldBlobs => Ok(Reply::HeldBlobs(vec![0, u32::MAX])),
    });
    let server = Server::serve(announce(scratch.path()), handler).expect("a server");
    Willing {
        socket: socket_in(scratch.path()),
        _server: server,
        _scratch: scratch,
    }
});

fn announce(run: &Path) -> Registration {
    let facts = Facts {
        pid: std::process::id(),
        mountpoint: "/srv/apt".into(),
        state: run.to_owned(),
        generation: "0".to_owned(),
        version: "0".to_owned(),
        started: Timestamp::from_unix(0),
    };
    Registration::announce(run, &facts).expect("announced")
}

fn socket_in(run: &Path) -> PathBuf {
    let entries = run.read_dir().expect("own directory");
    let mut paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .find(|path| path.extension().is_some_and(|end| end == "sock"))
        .expect("a socket")
}

/// A request: a mount answers each line with one line of the protocol, and does what the line asks or nothing.
pub(super) fn request(data: &[u8]) {
    let mut stream = UnixStream::connect(&WILLING.socket).expect("the mount listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    for piece in pieces(data).chain([&b"\n"[..]]) {
        // The mount may have answered before all of it is sent.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    // What was sent behind the line and not read resets the connection after the answer.
    let _ = stream.read_to_end(&mut answer);
    let line = answer.strip_suffix(b"\n").expect("one line");
    let answer: Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(answer["protocol"], PROTOCOL);
    let asked = data.split(|byte| *byte == b'\n').next().and_then(asked);
    let done = match asked {
        Some(Request::Reconcile | Request::Damage | Request::Status | Request::Stop | Request::Upgrade) => {
            Some(serde_json::json!("done"))
        }
        Some(Request::HeldBlobs) => Some(serde_json::json!({ "held_blobs": [0, u32::MAX] })),
        None => None,
    };
    let answer = &answer["answer"];
    match answer.get("ok") {
        // A field that stands there twice is refused; the simple reading takes the last.
        None if done.is_some() => assert!(answer.get("malformed").is_some(), "{answer}"),
        ok => assert_eq!(ok, done.as_ref(), "{answer}"),
    }
}

/// What `line` asks, read without regard to who is answered how.
fn asked(line: &[u8]) -> Option<Request> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let is_ours = line.get("protocol")? == PROTOCOL;
    is_ours.then(|| serde_json::from_value(line.get("request")?.clone()).ok())?
}

/// A mount that answers every request with the same bytes.
struct Strange {
    answer: Arc<Mutex<Vec<u8>>>,
    mount: LiveMount,
    _registration: Registration,
    _scratch: Scratch,
}

static STRANGE: LazyLock<Mutex<Strange>> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let registration = announce(scratch.path());
    let socket = socket_in(scratch.path());
    std::fs::remove_file(&socket).expect("own file");
    let listener = UnixListener::bind(&socket).expect("bound");
    let answer = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("connected");
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let _ = BufReader::new(&stream).read_line(&mut String::new());
            // A command that has read enough goes.
            let _ = pieces(&said).try_for_each(|piece| stream.write_all(piece));
        }
    });
    let mount = mounts_in(scratch.path()).expect("readable").remove(0);
    Mutex::new(Strange {
        answer,
        mount,
        _registration: registration,
        _scratch: scratch,
    })
});

/// An answer: a command takes a reply for what it says, and anything else for a failure of that mount.
pub(super) fn answer(data: &[u8]) {
    let strange = STRANGE.lock().unwrap_or_else(PoisonError::into_inner);
    *strange.answer.lock().unwrap_or_else(PoisonError::into_inner) = [data, b"\n"].concat();
    let told = tell_each(vec![strange.mount.clone()], Request::Status, PATIENCE).expect("a thread");
    let [(_, outcome)] = &told[..] else {
        panic!("the mount lives: {told:?}");
    };
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match outcome {
        Ok(reply) => {
            let line: Value = serde_json::from_slice(line).expect("a reply is JSON");
            assert_eq!(line["protocol"], PROTOCOL);
            let said: Reply = serde_json::from_value(line["answer"]["ok"].clone()).expect("a reply");
            assert_eq!(said, *reply);
        }
        Err(ControlError::Timeout | ControlError::Closed) => panic!("it answered: {outcome:?}"),
        Err(error) => drop(error.to_string()),
    }
}
