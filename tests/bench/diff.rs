//! What comparing two snapshots costs: time and memory of `mirrorctl snapshot diff`.
//!
//! Run with `cargo bench --bench diff`; it prints one line for each case. The archive is as large as Debian's main for one
//! architecture, its indices are compressed with xz as Debian's are, and its packages exist in the catalog only. It judges
//! nothing.

#![expect(clippy::print_stdout, reason = "printing its figures is what it is for")]

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, samples, settle, table};
use mirrorctl::apt::{PackagesReader, PoolFile};
use mirrorctl::blobs::BlobStore;
use mirrorctl::catalog::{Catalog, Recording, ReleaseFacts, Source};
use mirrorctl::model::{BlobFacts, Digest, Entry, Listing, ListingBuilder, MirrorId, RepoPath, Role, Timestamp};
use mirrorctl::state::StateDir;
use mirrorctl_testkit::{Config, Mirror, Program, Scratch, TestEnv, recording};

/// Packages of the archive.
const PACKAGES: u32 = 63_000;
/// Every so many of them is upgraded: 630.
const FEW: u32 = 100;
const ROUNDS: usize = 5;
/// The word on our own command line that asks for making the archive, in a process whose memory nobody measures.
const PREPARE: &str = "prepare";
const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);

/// A state of the archive: its packages have version 2 where their number is a multiple of `upgraded`.
struct State {
    name: &'static str,
    upgraded: Option<u32>,
}

const STATES: [State; 4] = [
    State {
        name: "old",
        upgraded: None,
    },
    State {
        name: "few",
        upgraded: Some(FEW),
    },
    State {
        name: "all",
        upgraded: Some(1),
    },
    State {
        name: "same",
        upgraded: Some(1),
    },
];

impl State {
    fn version(&self, package: u32) -> u32 {
        1 + u32::from(self.upgraded.is_some_and(|upgraded| package.is_multiple_of(upgraded)))
    }
}

fn pool_file(package: u32, version: u32) -> (RepoPath, Entry) {
    let source = package / 2;
    let name = format!(
        "pool/main/{:02}/source-{source:05}/package-{package:05}_{version}_amd64.deb",
        source % 40
    );
    let blob = BlobFacts {
        digest: Digest::of(name.as_bytes()),
        size: 123_456,
        mtime: NOW,
    };
    let (role, by_hash) = (Role::Pool, Vec::new());
    (name.parse().expect("a path"), Entry { role, blob, by_hash })
}

/// The index and the listing of a state; stanzas are as long as Debian's are on average.
fn archive(state: &State) -> (String, ListingBuilder) {
    let (mut index, mut listing) = (String::new(), ListingBuilder::new());
    for package in 0..PACKAGES {
        let version = state.version(package);
        let (path, entry) = pool_file(package, version);
        let (digest, size) = (entry.blob.digest, entry.blob.size);
        let noise = Digest::of(format!("noise {package}").as_bytes());
        write!(
            index,
            "Package: package-{package:05}\nVersion: {version}\nInstalled-Size: 512\nMaintainer: Nobody In Particular \
             <nobody-{}@example.org>\nArchitecture: amd64\nDepends: libc6 (>= 2.36), libgcc-s1 (>= 3.0), libstdc++6 (>= \
             12), package-{:05} (>= 1), package-{:05} | package-{:05}\nDescription: one of very many packages\n\
             Description-md5: {}\nHomepage: https://example.org/{noise}\nTag: devel::library, implemented-in::c++, \
             role::shared-lib, scope::utility, use::converting, works-with::text\nSection: libs\nPriority: \
             optional\nFilename: {path}\nSize: {size}\nMD5sum: {}\nSHA256: {digest}\n\n",
            package % 700,
            package * 7 % PACKAGES,
            package * 11 % PACKAGES,
            package * 13 % PACKAGES,
            &noise.to_string()[..32],
            &digest.to_string()[..32],
        )
        .expect("a string takes all that is written");
        listing.add(path, entry).expect("no clash");
    }
    (index, listing)
}

/// Records all states in the state directory `root`.
fn prepare(root: &Path) {
    let state_dir = StateDir::open_to_change(root).expect("a state directory");
    let mut catalog = Catalog::open(&state_dir.catalog()).expect("a catalog");
    let blobs = BlobStore::open(&state_dir.blobs(), None).expect("a cache");
    let mirror: MirrorId = "debian".parse().expect("an id");
    catalog.adopt_mirror(&mirror).expect("adopts");
    for state in &STATES {
        let (index, mut listing) = archive(state);
        let packed = compressed(&index, root);
        let blob = kept(&state_dir, &blobs, &packed);
        let (role, by_hash) = (Role::Index, Vec::new());
        let path = "dists/trixie/main/binary-amd64/Packages.xz".parse().expect("a path");
        listing.add(path, Entry { role, blob, by_hash }).expect("no clash");
        record(&mut catalog, &mirror, &listing.build().expect("no clash"), state);
        println!(
            "{}: {} bytes of index, {} compressed",
            state.name,
            index.len(),
            packed.len()
        );
    }
}

/// `text` as xz packs it: with little effort, but with the dictionary of its usual effort, so that reading it takes as much
/// memory.
fn compressed(text: &str, place: &Path) -> Vec<u8> {
    let plain = place.join("Packages");
    std::fs::write(&plain, text).expect("writes");
    let packed = place.join("Packages.xz");
    Program::new("xz", "xz-utils")
        .args(["--lzma2=preset=0,dict=8MiB", "--force", "--threads=1"])
        .arg(&plain)
        .run()
        .success();
    let bytes = std::fs::read(&packed).expect("was written");
    std::fs::remove_file(&packed).expect("removes");
    bytes
}

/// Makes a blob of bytes.
fn kept(state: &StateDir, blobs: &BlobStore, bytes: &[u8]) -> BlobFacts {
    let inbox = blobs.inbox(&state.incoming_root().join("debian")).expect("an inbox");
    let mut incoming = inbox.begin(bytes.len() as u64, None).expect("begins");
    incoming.write(bytes).expect("writes");
    let mut arrived = incoming.finish(Some(bytes.len() as u64), NOW).expect("is whole");
    blobs.place([&mut arrived]).expect("is placed");
    BlobFacts {
        digest: arrived.digest(),
        size: arrived.size(),
        mtime: NOW,
    }
}

fn record(catalog: &mut Catalog, mirror: &MirrorId, listing: &Listing, state: &State) {
    let blobs: Vec<_> = listing.iter().map(|(_, entry)| entry.blob).collect();
    catalog.add_blobs(&blobs).expect("adds");
    let prepared = catalog.prepare(mirror, listing, NOW).expect("prepares");
    let manifest = BlobFacts {
        digest: Digest::of(prepared.manifest()),
        size: prepared.manifest().len() as u64,
        mtime: NOW,
    };
    catalog.add_blobs(&[manifest]).expect("adds");
    let facts = ReleaseFacts {
        suite: "trixie".parse().expect("a suite"),
        date: Some(NOW),
        valid_until: None,
        origin: None,
        label: None,
        suite_field: None,
        codename: None,
        signers: Vec::new(),
        etag: None,
        last_modified: None,
    };
    let called = state.name.parse().expect("a name");
    let what = Recording {
        source: Source {
            url: "http://h/",
            selection: "everything",
            releases: &[facts],
        },
        ..recording(manifest.digest, &called, NOW)
    };
    let _recorded = catalog.record(&prepared, &what).expect("records");
}

/// What `mirrorctl` with these words takes: median times, and the most memory of any round. `forgetful`: whether each round
/// begins without inventories, as the first one ever does where no sync has left any.
fn measured(env: &TestEnv, line: &str, forgetful: bool) -> [String; 3] {
    let words: Vec<&str> = line.split(' ').collect();
    let (mut cpu, mut peak) = (Vec::new(), 0);
    if !forgetful {
        env.command(&words).run().success();
    }
    let wall = samples(ROUNDS, |_| {
        if forgetful {
            forget_inventories(&env.state_dir());
        }
        let usage = env.command(&words).measure();
        cpu.push(usage.cpu);
        peak = peak.max(usage.peak);
        usage.wall
    });
    let (wall, cpu) = (milliseconds(median(&wall)), milliseconds(median(&cpu)));
    [wall, cpu, format!("{} MB", peak / 1_000_000)]
}

/// What it costs a sync to take the inventory of an index that it reads, on one processor: the least of all rounds, which
/// others on the machine disturb least.
fn taking_stock() -> String {
    let (index, _) = archive(&STATES[0]);
    let read = |reader: PackagesReader<fn(PoolFile)>| {
        let begun = Instant::now();
        let mut reader = reader;
        for piece in index.as_bytes().chunks(256 << 10) {
            reader.push(piece).expect("an index");
        }
        let inventory = reader.finish_with_inventory().expect("an index");
        let stored = inventory.and_then(|inventory| inventory.to_stored(Digest::of(b"index")));
        std::hint::black_box(stored);
        begun.elapsed()
    };
    let reader = || PackagesReader::new((|_| {}) as fn(PoolFile));
    let least = |with: bool| {
        let rounds = samples(4 * ROUNDS, |_| {
            read(if with { reader().taking_stock() } else { reader() })
        });
        milliseconds(rounds.into_iter().min().unwrap_or_default())
    };
    format!(
        "reading an index: {}; with its inventory: {}",
        least(false),
        least(true)
    )
}

fn forget_inventories(state: &Path) {
    for entry in std::fs::read_dir(state.join("inventories")).expect("a directory") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removes");
    }
}

/// The inventories that there are, and their bytes.
fn inventories(state: &Path) -> (usize, u64) {
    let entries = std::fs::read_dir(state.join("inventories")).expect("a directory");
    let sizes: Vec<u64> = entries
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len())
        .collect();
    (sizes.len(), sizes.iter().sum())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [.., word, root] = &arguments[..]
        && word == PREPARE
    {
        return prepare(Path::new(root));
    }
    if !is_wanted() {
        return;
    }
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    env.configure(Config::new().mirror(Mirror::new("debian", "http://h/").suites(&["trixie"])));
    std::fs::create_dir(env.state_dir()).expect("makes");
    let own = std::env::current_exe().expect("this program");
    let limit = Duration::from_mins(30);
    let prepared = Program::at(&own)
        .arg(PREPARE)
        .arg(env.state_dir())
        .limit(limit)
        .run()
        .success();
    print!("{}", prepared.stdout);
    settle();
    println!("{}", machine(&Scratch::new()));
    let few = "snapshot diff debian old few";
    let few_in_full = "--json snapshot diff debian old few --files";
    let all = "snapshot diff debian old all";
    let all_in_full = "--json snapshot diff debian old all --files";
    let cases = [
        ("a process that does nothing", "version", false),
        ("the same, recorded twice", "snapshot diff debian all same", false),
        ("630 upgraded", few, false),
        ("630 upgraded, with files, as JSON", few_in_full, false),
        ("all upgraded", all, false),
        ("all upgraded, with files, as JSON", all_in_full, false),
        ("630 upgraded, without inventories", few, true),
        ("all upgraded, without inventories", all, true),
    ];
    let rows = cases.map(|(case, line, forgetful)| [&[case.to_owned()][..], &measured(&env, line, forgetful)].concat());
    let (files, bytes) = inventories(&env.state_dir());
    println!("{files} inventories, {bytes} bytes");
    let head = ["", "wall", "CPU", "memory"];
    println!(
        "{}",
        table(&format!("{PACKAGES} packages; medians of {ROUNDS}"), &head, &rows)
    );
    // Last: a process inherits the peak of memory of the one that starts it.
    println!("{}", taking_stock());
}
