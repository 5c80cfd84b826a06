//! What was measured, and how it is shown.
//!
//! Owns the medians and the table.

use std::time::Duration;

use mirrorctl_testkit::Usage;

use super::common::{median, settle, table};
use super::peers::Peer;
use super::upstream::Server;

/// One program after another, as one.
pub(super) fn and_then(one: Usage, other: Usage) -> Usage {
    Usage {
        wall: one.wall + other.wall,
        cpu: one.cpu + other.cpu,
        peak: one.peak.max(other.peak),
    }
}

/// One sync.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    usage: Usage,
    requests: usize,
}

impl Run {
    pub(super) fn of(server: &Server, sync: impl FnOnce() -> Usage) -> Self {
        settle();
        let before = server.requests();
        let usage = sync();
        Self {
            usage,
            requests: server.requests() - before,
        }
    }
}

/// The runs of everybody.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<(Peer, Run)>);

impl Runs {
    /// Adds a run that cannot have been what it claims with fewer than `least` requests.
    pub(super) fn add(&mut self, peer: Peer, run: Run, least: usize) {
        assert!(run.requests >= least, "{}: only {} requests", peer.name(), run.requests);
        self.0.push((peer, run));
    }

    /// Medians of one peer: time, CPU time, memory, requests. `None` for one that did not run.
    fn medians(&self, peer: Peer) -> Option<(Duration, Duration, u64, usize)> {
        let runs: Vec<&Run> = self
            .0
            .iter()
            .filter(|(who, _)| *who == peer)
            .map(|(_, run)| run)
            .collect();
        (!runs.is_empty()).then(|| {
            let of =
                |time: fn(&Usage) -> Duration| median(&runs.iter().map(|run| time(&run.usage)).collect::<Vec<_>>());
            (
                of(|usage| usage.wall),
                of(|usage| usage.cpu),
                median(&runs.iter().map(|run| run.usage.peak).collect::<Vec<_>>()),
                median(&runs.iter().map(|run| run.requests).collect::<Vec<_>>()),
            )
        })
    }

    pub(super) fn table(&self, title: &str) -> String {
        let head = ["", "wall", "ratio", "CPU", "ratio", "memory", "requests"];
        let (our_wall, our_cpu, ..) = self.medians(Peer::Mirrorctl).expect("mirrorctl always runs");
        let row = |peer: Peer| {
            let (wall, cpu, peak, requests) = self.medians(peer)?;
            Some(vec![
                peer.name().to_owned(),
                seconds(wall),
                ratio(wall, our_wall),
                seconds(cpu),
                ratio(cpu, our_cpu),
                megabytes(peak),
                requests.to_string(),
            ])
        };
        let rows: Vec<Vec<String>> = Peer::ALL.into_iter().filter_map(row).collect();
        table(title, &head, &rows)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn ratio(time: Duration, ours: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() / ours.as_secs_f64())
}

/// Memory as people read it.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
