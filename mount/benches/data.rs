//! What each way to the bytes costs, beside the file system below.
//!
//! Owns the figures of docs/adr/0028: a hot small file, many small files, a large one cold and warm, in interleaved rounds. Each mount
//! is served by a process of its own, as in life; this program reads, and starts itself once more for each. `cargo bench -p
//! mirrorctl-mount --bench data -- 21` does 21 rounds. It changes nothing of the system: what is to be cold is given up file by file.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail where it stands")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "each mount is served by a process of its own, which is told what to serve"
)]

#[path = "../tests/common/reading/sys.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod reading;

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirrorctl_mount::tree::{
    BlobNo, Child as Entry, DirNo, Door, DoorFacts, FileId, FileNode, Found, MirrorNo, NamedDoor, Node, Parent, Totals,
    Tree,
};
use mirrorctl_mount::{DataPath, Options, mount};

/// Tells the serving process what to do: where, of what, how, and how far to read ahead.
const SERVE: &str = "MIRRORCTL_BENCH_DATA";

const SMALL_FILES: usize = 2000;
const SMALL: usize = 2048;
const LARGE: usize = 128 << 20;
/// As much as a web server reads at once.
const PIECE: usize = 128 << 10;
/// How long the hot file is read again and again in a round.
const HOT: Duration = Duration::from_millis(150);
const ROUNDS: usize = 15;
/// The read-ahead of a disk, as a rule.
const DISK_READ_AHEAD: u32 = 128;

fn main() {
    if let Ok(orders) = env::var(SERVE) {
        return serve(&orders);
    }
    // `cargo test --benches` only wants to see it start.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = env::args().filter_map(|argument| argument.parse().ok()).next_back();
    let scratch = tempfile::tempdir().unwrap();
    let files = scratch.path().join("files");
    fill(&files);
    let plain = scratch.path().join("plain");
    fill(&plain);
    let places = places(&files, plain);
    let mut figures = vec![[const { Vec::new() }; 4]; places.len()];
    let rounds = rounds.unwrap_or(ROUNDS);
    for round in 0..rounds {
        // Another one begins each time, so that none always comes first.
        for turn in 0..places.len() {
            let index = (round + turn) % places.len();
            for (all, figure) in figures[index].iter_mut().zip(measure(&places[index], &files, round)) {
                all.push(figure);
            }
        }
    }
    report(rounds, &places, &figures);
}

/// One side of the comparison.
struct Place {
    name: &'static str,
    directory: PathBuf,
    server: Option<Server>,
}

/// The process that serves a mount, told to end when dropped.
struct Server {
    process: Child,
    _mountpoint: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input is the order; it unmounts.
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// The file system below, and a mount for each way.
fn places(files: &Path, plain: PathBuf) -> Vec<Place> {
    let mut places = vec![Place {
        name: "the file system below",
        directory: plain,
        server: None,
    }];
    let far = Options::new("", 0).read_ahead_kib;
    for (name, data, read_ahead) in [
        ("no-open", DataPath::NoOpen, far),
        ("no-open, read-ahead 1 MiB", DataPath::NoOpen, 1024),
        ("no-open, read-ahead 128 KiB", DataPath::NoOpen, DISK_READ_AHEAD),
        ("keep-cache", DataPath::KeepCache, far),
        ("passthrough", DataPath::Passthrough, far),
    ] {
        let mountpoint = tempfile::tempdir().unwrap();
        let orders = [
            mountpoint.path().to_str().unwrap(),
            files.to_str().unwrap(),
            data.name(),
            &read_ahead.to_string(),
        ]
        .join("\n");
        let mut process = Command::new(env::current_exe().unwrap())
            .env(SERVE, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n");
        places.push(Place {
            name,
            directory: mountpoint.path().join("m/snapshots/s"),
            server: Some(Server {
                process,
                _mountpoint: mountpoint,
            }),
        });
    }
    places
}

fn serve(orders: &str) {
    let mut orders = orders.lines();
    let (place, files) = (orders.next().unwrap(), orders.next().unwrap());
    let options = Options {
        data: Some(orders.next().unwrap().parse().unwrap()),
        read_ahead_kib: orders.next().unwrap().parse().unwrap(),
        ..Options::new("bench", 0)
    };
    let session = mount(Arc::new(Flat::new(Path::new(files))), Path::new(place), &options).unwrap();
    println!("ready");
    io::stdin().lines().for_each(drop);
    session.unmount().unwrap();
}

fn small(number: usize) -> String {
    format!("small-{number:04}")
}

fn fill(directory: &Path) {
    fs::create_dir(directory).unwrap();
    for number in 0..SMALL_FILES {
        fs::write(directory.join(small(number)), vec![b's'; SMALL]).unwrap();
    }
    let large: Vec<u8> = (0..LARGE / 8).flat_map(usize::to_le_bytes).collect();
    fs::write(directory.join("large"), large).unwrap();
    File::open(directory.join("large")).unwrap().sync_all().unwrap();
}

/// Seconds for one reading of the hot file, for one of a small file, and for the large file cold and warm.
fn measure(place: &Place, files: &Path, round: usize) -> [f64; 4] {
    let mut piece = vec![0; PIECE];
    let mut read = |path: &Path| {
        let mut file = File::open(path).unwrap();
        while file.read(&mut piece).unwrap() > 0 {}
    };
    let hot = place.directory.join(small(0));
    read(&hot);
    let (begun, mut times) = (Instant::now(), 0_u32);
    while begun.elapsed() < HOT {
        for _ in 0..16 {
            read(&hot);
        }
        times += 16;
    }
    let hot = begun.elapsed().as_secs_f64() / f64::from(times);

    // A prime stride visits all of them in an order that no read-ahead knows.
    let names: Vec<PathBuf> = (0..SMALL_FILES)
        .map(|n| place.directory.join(small((n * 1009 + round) % SMALL_FILES)))
        .collect();
    for path in &names {
        read(path);
    }
    let begun = Instant::now();
    for path in &names {
        read(path);
    }
    let many = begun.elapsed().as_secs_f64() / f64::from(u32::try_from(SMALL_FILES).unwrap());

    let large = place.directory.join("large");
    reading::forget(&large);
    reading::forget(&files.join("large"));
    let mut timed = || {
        let begun = Instant::now();
        read(&large);
        begun.elapsed().as_secs_f64()
    };
    [hot, many, timed(), timed()]
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(rounds: usize, places: &[Place], figures: &[[Vec<f64>; 4]]) {
    println!(
        "medians of {rounds} interleaved rounds; in brackets the speed beside the file system below, median of the rounds"
    );
    println!("| | hot 2 KiB file | {SMALL_FILES} small files | 128 MiB cold | 128 MiB warm | CPU of the mount |");
    println!("|---|---|---|---|---|---|");
    for (place, all) in places.iter().zip(figures) {
        let mut cells = Vec::new();
        for (index, times) in all.iter().enumerate() {
            let ratios = figures[0][index].iter().zip(times).map(|(below, this)| below / this);
            let ratio = median(ratios.collect());
            let time = median(times.clone());
            cells.push(if index < 2 {
                format!("{:.2} µs ({ratio:.2})", time * 1e6)
            } else {
                format!("{:.1} ms ({ratio:.2})", time * 1e3)
            });
        }
        let spent = place
            .server
            .as_ref()
            .map_or_else(String::new, |server| cpu(server.process.id()));
        println!("| {} | {} | {spent} |", place.name, cells.join(" | "));
    }
}

/// Processor time of a process, by the kernel's count of hundredths of a second.
fn cpu(process: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u32>().unwrap())
        .sum();
    format!("{:.1} s", f64::from(ticks) / 100.0)
}

/// The files of one directory as one snapshot, a blob each.
struct Flat {
    directory: PathBuf,
    names: Vec<(String, u64)>,
}

const SNAPSHOT: Door = Door(1);

impl Flat {
    fn new(directory: &Path) -> Self {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().len(),
                )
            })
            .collect();
        names.sort();
        Self {
            directory: directory.to_owned(),
            names,
        }
    }

    fn node(&self, blob: usize) -> FileNode {
        let id = FileId {
            blob: BlobNo(u32::try_from(blob).unwrap()),
            serial: 0,
        };
        FileNode {
            id,
            size: self.names[blob].1,
            mtime: 0,
        }
    }

    fn blob(number: BlobNo) -> usize {
        usize::try_from(number.0).unwrap()
    }
}

impl Tree for Flat {
    fn mirrors(&self) -> io::Result<Vec<(Box<[u8]>, MirrorNo)>> {
        Ok(vec![(b"m"[..].into(), MirrorNo(1))])
    }

    fn pointers(&self, _: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        Ok(Vec::new())
    }

    fn snapshots(&self, _: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        Ok(Vec::new())
    }

    fn snapshot(&self, _: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        Ok((name == b"s").then_some(SNAPSHOT))
    }

    fn snapshot_at(&self, _: MirrorNo, _: &[u8]) -> io::Result<Option<Door>> {
        Ok(None)
    }

    fn superseded(&self, _: MirrorNo, _: Door) -> io::Result<bool> {
        Ok(false)
    }

    fn door(&self, _: Door) -> io::Result<Option<DoorFacts>> {
        Ok(Some(DoorFacts {
            root: DirNo(1),
            mtime: 0,
            snapshot: b"s"[..].into(),
        }))
    }

    fn parent(&self, _: Door, _: DirNo) -> io::Result<Option<Parent>> {
        Ok(Some(Parent::Snapshots(MirrorNo(1))))
    }

    fn child(&self, _: Door, _: DirNo, name: &[u8]) -> io::Result<Option<Found>> {
        let found = self.names.binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        Ok(found.ok().map(|blob| Found {
            node: Node::File(self.node(blob)),
            lasts: true,
        }))
    }

    fn children(&self, _: Door, _: DirNo) -> io::Result<Arc<[Entry]>> {
        let entry = |(blob, (name, _)): (usize, &(String, u64))| Entry {
            name: name.as_bytes().into(),
            node: Node::File(self.node(blob)),
        };
        Ok(self.names.iter().enumerate().map(entry).collect())
    }

    fn file(&self, file: FileId) -> io::Result<Option<FileNode>> {
        Ok(Some(self.node(Self::blob(file.blob))))
    }

    fn open(&self, blob: BlobNo) -> io::Result<File> {
        File::open(self.directory.join(&self.names[Self::blob(blob)].0))
    }

    fn totals(&self) -> io::Result<Totals> {
        Ok(Totals::default())
    }
}
