//! A sync beside its peers: the first one, one with nothing new, and one after 1 % of the packages changed.
//!
//! Owns the comparison of mirrorctl with aptly, debmirror, apt-mirror and a bare parallel download, all from one loopback
//! server, in interleaved rounds. Nothing is asserted but that everybody fetched everything: figures are for people to
//! judge. Arguments are the sizes of the archives in packages: `cargo bench --bench sync -- 60000`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../common/mod.rs"]
mod common;
mod peers;
mod runs;
mod upstream;

use std::path::Path;

use common::{is_wanted, machine};
use mirrorctl_testkit::{Program, Scratch};
use peers::{Installation, Peer, syncing};
use runs::{Run, Runs, megabytes};
use upstream::{DATA, Scale, Server, UpstreamStates, make_archive};

/// What is measured when no size is given.
const SIZES: [usize; 2] = [5_000, 60_000];
/// Archives of at least so many packages get one round: their syncs are long enough to say something at once.
const LARGE: usize = 20_000;
/// Syncs with nothing new in each round, which take so little that one says nothing.
const REPEATS: usize = 3;
/// Files fetched at the same time by those who can.
const CONNECTIONS: usize = 10;

const SUITE: &str = "stable";

/// The argument that makes this program write the archive's states instead, below the directory that follows, for the
/// numbers of packages and rounds that follow that.
const MAKE: &str = "--make-archive";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == MAKE) {
        let number = |at: usize| arguments[at].parse().expect("a number");
        let scale = Scale {
            packages: number(at + 2),
            rounds: number(at + 3),
        };
        make_archive(Path::new(&arguments[at + 1]), scale);
    } else if is_wanted() {
        let asked: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
        let sizes = if asked.is_empty() { &SIZES[..] } else { &asked };
        let scratch = Scratch::new();
        println!("{}", machine(&scratch));
        for packages in sizes {
            let rounds = if *packages < LARGE { 3 } else { 1 };
            compare(
                &scratch,
                Scale {
                    packages: *packages,
                    rounds,
                },
            );
        }
    }
}

fn compare(scratch: &Scratch, scale: Scale) {
    let upstream = UpstreamStates::make(scratch, scale);
    let server = Server::serve(&upstream.served());
    println!(
        "\n{} packages of {DATA} bytes of data, one suite, amd64 and all, indices as gz and xz; served by {}",
        scale.packages,
        server.name()
    );
    println!(
        "medians of {} interleaved rounds, {CONNECTIONS} connections; memory is that of the largest process, and cannot \
         be measured below {}",
        scale.rounds,
        megabytes(Program::new("true", "coreutils").measure().peak)
    );

    let mut peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| peer.is_there()).collect();
    let (mut first, mut unchanged, mut changed) = (Runs::default(), Runs::default(), Runs::default());
    // Nothing is removed before the end: creating files costs more for a while after many were deleted, on some file
    // systems, and whoever comes next would pay.
    let mut done = Vec::new();
    for round in 0..scale.rounds {
        // Whoever comes first in one round comes last in the next.
        peers.rotate_left(1);
        let place = |peer: &Peer| (*peer, Installation::new(&server, &upstream));
        let places: Vec<(Peer, Installation)> = peers.iter().map(place).collect();
        for (peer, place) in &places {
            first.add(*peer, Run::of(&server, || peer.first_sync(place)), scale.packages);
        }
        for _ in 0..REPEATS {
            for (peer, place) in syncing(&places) {
                unchanged.add(*peer, Run::of(&server, || peer.next_sync(place)), 1);
            }
        }
        upstream.show(round + 1);
        for (peer, place) in syncing(&places) {
            changed.add(*peer, Run::of(&server, || peer.next_sync(place)), scale.changed());
        }
        done.push(places);
    }
    print!("{}", first.table("first sync, into an empty directory"));
    print!("{}", unchanged.table("sync with nothing new"));
    print!(
        "{}",
        changed.table(&format!("sync after {} packages changed", scale.changed()))
    );
}
