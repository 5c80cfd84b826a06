//! The three ways in which the kernel can be told of a promote, under a web server, with a large warm tree below production.
//!
//! Owns their comparison in one run: what clients of nginx wait while the old door is moved aside, while the pointer's name is
//! dropped, and while it is left to expire; and a control without a promote. The tree is in memory behind the mount's port, so that what is seen is
//! the kernel's work. `cargo bench --bench telling -- 5000 3` takes fewer files and rounds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;
#[path = "../../mount/tests/common/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "what only the mount's tests need, and tests may fail"
)]
mod tree;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, settle, table};
use mirrorctl_mount::tree::MirrorNo;
use mirrorctl_mount::{Options, Session, ToldBy, mount};
use mirrorctl_testkit::{Nginx, Scratch};
use tree::{Files, MemoryTree};

/// Clients of the web server, each with a connection of its own.
const CLIENTS: usize = 2;
/// Files of one directory.
const DIRECTORY: usize = 100;
/// Bytes of a file, and how many contents there are.
const BYTES: usize = 2_048;
const CONTENTS: usize = 20;
/// How long requests are timed before the kernel is told, and on after it.
const BEFORE: Duration = Duration::from_millis(50);
const AFTER: Duration = Duration::from_millis(600);
/// Between two requests of a client: the other side needs the processor too.
const PAUSE: Duration = Duration::from_micros(200);

/// The file that clients ask for first of all, and one of those in the pool.
const RELEASE: &str = "dists/stable/InRelease";

/// One way, and what it took.
struct Way {
    what: &'static str,
    /// `None` for the control, in which nothing moves.
    told_by: Option<ToldBy>,
    tellings: Vec<Duration>,
    requests: Vec<Duration>,
    /// Of each round.
    slowest: Vec<Duration>,
}

fn main() {
    if !is_wanted() {
        return;
    }
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let (files, rounds) = match numbers[..] {
        [files, rounds] => (files, rounds),
        _ => (79_300, 15),
    };
    settle();
    println!("{}", machine(&Scratch::new()));
    let mut ways = [
        ("the old door is moved aside", Some(ToldBy::MovingAside)),
        ("the name is dropped (inval_entry)", Some(ToldBy::Forgetting)),
        ("the name expires (expire-only)", Some(ToldBy::Expiring)),
        ("control: nothing is told", None),
    ]
    .map(|(what, told_by)| Way {
        what,
        told_by,
        tellings: Vec::new(),
        requests: Vec::new(),
        slowest: Vec::new(),
    });
    let mut warm = 0;
    for way in &mut ways {
        // Each has the machine, and the kernel's memory of names, for itself.
        let place = Place::new(files, way.told_by);
        for round in 0..rounds {
            warm = place.warm();
            place.round(way, round);
        }
    }
    let title =
        format!("requests to nginx with {warm} warm names below current; {CLIENTS} clients, {rounds} promotes each");
    let head = [
        "",
        "telling",
        "slowest telling",
        "request",
        "slowest, median",
        "slowest of all",
        "aim: 20 ms",
    ];
    println!("{}", table(&title, &head, &ways.map(Way::row)));
}

impl Way {
    fn row(self) -> Vec<String> {
        let most = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        let held = most(&self.slowest) <= Duration::from_millis(20);
        vec![
            self.what.to_owned(),
            milliseconds(median(&self.tellings)),
            milliseconds(most(&self.tellings)),
            milliseconds(median(&self.requests)),
            milliseconds(median(&self.slowest)),
            milliseconds(most(&self.slowest)),
            if held { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// A mount of its own, with nginx before it.
struct Place {
    tree: Arc<MemoryTree>,
    mirror: MirrorNo,
    nginx: Nginx,
    // After nginx, which has it open.
    session: Session,
    scratch: Scratch,
}

impl Place {
    fn new(files: usize, told_by: Option<ToldBy>) -> Self {
        let (tree, scratch) = (MemoryTree::new(), Scratch::new());
        let mirror = tree.add_mirror("debian");
        for snapshot in ["one", "two"] {
            tree.add_snapshot(mirror, snapshot, archive(files, snapshot));
        }
        tree.point(mirror, "current", "one");
        let options = Options {
            told_by: told_by.unwrap_or(ToldBy::MovingAside),
            ..Options::new("memory", 1)
        };
        let session = mount(Arc::clone(&tree) as _, scratch.path(), &options).expect("root and /dev/fuse");
        let nginx = Nginx::serve(scratch.path());
        Self {
            tree,
            mirror,
            nginx,
            session,
            scratch,
        }
    }

    /// Looks at everything below production, and counts it.
    fn warm(&self) -> usize {
        fn below(directory: &Path) -> usize {
            let entries = fs::read_dir(directory).expect("a directory");
            let each = entries.map(|entry| {
                let path = entry.expect("readable").path();
                let is_directory = fs::symlink_metadata(&path).expect("was listed").is_dir();
                1 + if is_directory { below(&path) } else { 0 }
            });
            each.sum()
        }
        below(&self.scratch.path().join("debian/current"))
    }

    fn round(&self, way: &mut Way, round: usize) {
        let target = if round.is_multiple_of(2) { "two" } else { "one" };
        if way.told_by.is_some() {
            // The kernel goes by what it remembers until it is told.
            self.tree.point(self.mirror, "current", target);
        }
        let address = self.nginx.url().replace("http://", "");
        let over = AtomicBool::new(false);
        let mut requests = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (address, over) = (&address, &over);
                    scope.spawn(move || Client::new(address).ask_until(over, number))
                })
                .collect();
            thread::sleep(BEFORE);
            let begun = Instant::now();
            if way.told_by.is_some() {
                self.session.reconcile().expect("told");
            }
            way.tellings.push(begun.elapsed());
            thread::sleep(AFTER);
            over.store(true, Ordering::SeqCst);
            let each = clients
                .into_iter()
                .map(|client| client.join().expect("every request succeeds"));
            each.flatten().collect::<Vec<Duration>>()
        });
        if way.told_by.is_some() {
            let shown = fs::read(self.scratch.path().join("debian/current").join(RELEASE)).expect("a file");
            assert!(shown.starts_with(target.as_bytes()), "the move shows");
        }
        way.slowest.push(requests.iter().max().copied().unwrap_or_default());
        way.requests.append(&mut requests);
    }
}

/// The files of a snapshot: all but one the same in each.
fn archive(files: usize, snapshot: &str) -> Files {
    let pool = (0..files).map(|file| {
        (
            package(file),
            format!("{:04}", file % CONTENTS).repeat(BYTES / 4).into_bytes(),
        )
    });
    pool.chain([(RELEASE.to_owned(), snapshot.repeat(BYTES).into_bytes())])
        .collect()
}

fn package(file: usize) -> String {
    format!("pool/{:04}/package-{file:06}.deb", file / DIRECTORY)
}

/// A connection to the web server that stays.
struct Client(TcpStream);

impl Client {
    fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("nginx is there");
        stream.set_nodelay(true).expect("a connection");
        Self(stream)
    }

    /// Asks for one file after the other, and times each.
    fn ask_until(mut self, over: &AtomicBool, number: usize) -> Vec<Duration> {
        let paths = [RELEASE.to_owned(), package(number), package(DIRECTORY + number)];
        let mut times = Vec::new();
        for path in paths.iter().cycle() {
            if over.load(Ordering::SeqCst) {
                break;
            }
            let begun = Instant::now();
            self.get(path);
            times.push(begun.elapsed());
            thread::sleep(PAUSE);
        }
        times
    }

    fn get(&mut self, path: &str) {
        let request = format!("GET /debian/current/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).expect("nginx listens");
        let mut answer = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let received = self.0.read(&mut buffer).expect("nginx answers");
            assert!(received > 0, "nginx hung up");
            answer.extend(&buffer[..received]);
            let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n") else {
                continue;
            };
            let text = String::from_utf8_lossy(&answer[..head]);
            assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
            let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
            if answer.len() == head + 4 + length {
                return;
            }
        }
    }
}
