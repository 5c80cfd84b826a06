//! The command `mirrorctl snapshot rollback`.
//!
//! Owns what people are told of going back: the dates of the Release files on both sides, and what clients that saw the newer
//! ones will do.

use serde::Serialize;

use super::moves::{Move, Moves};
use super::replaced::{Replaced, replaced};
use crate::cli::args::RollbackArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::{span, utc};
use crate::model::{Lending, SnapshotName, Timestamp};
use crate::publish::{self, Redated, Rollback, WayBack};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    retract: bool,
    moves: Vec<Move>,
    replaced: Vec<Replaced>,
    mirrors: Vec<Mirror>,
}

/// What a mirror's clients see of it.
#[derive(Serialize)]
struct Mirror {
    mirror: String,
    releases: Vec<Release>,
    /// Snapshots whose files are not reachable any more.
    unreachable: Vec<String>,
    clients: String,
}

#[derive(Serialize)]
struct Release {
    suite: String,
    from_date: Option<String>,
    to_date: Option<String>,
}

/// Points an environment back at what it pointed at before, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &RollbackArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let RollbackArgs {
        mirrors, of, moving, ..
    } = arguments;
    let movers = context.movers(mirrors, of, moving)?;
    let by = context.by_moving(moving);
    let (to, retract) = (arguments.to.as_ref(), arguments.retract);
    if arguments.dry_run {
        let plan = publish::plan_rollback(&context.reader()?, of, &movers, to, retract, by)?;
        let moves = plan.ways.iter().map(|way| {
            let from = Some(way.from.to_string());
            Move::planned(&way.mirror, of, from, &way.to, way.changes)
        });
        output.answer(&Report::of(true, &plan, moves.collect(), Vec::new()));
        return Ok(());
    }
    let mut catalog = context.catalog()?;
    let plan = publish::plan_rollback(catalog.reader(), of, &movers, to, retract, by)?;
    let moved = publish::rollback(&mut catalog, &plan, by)?;
    Moves::log(&moved);
    // The same command would go back another step.
    let targets = plan.ways.iter().map(|way| format!(" {}={}", way.mirror, way.to));
    let visible = context.make_visible_by(&format!(
        "do not roll back again; mirrorctl snapshot publish --to {of}{} tells it once more",
        targets.collect::<String>()
    ));
    let moves = moved.iter().map(Move::of).collect();
    output.done(&Report::of(false, &plan, moves, replaced(&moved, context)));
    context.after_moves(&moved);
    visible
}

impl Report {
    fn of(dry_run: bool, plan: &Rollback, moves: Vec<Move>, replaced: Vec<Replaced>) -> Self {
        Self {
            dry_run,
            retract: plan.retracts,
            moves,
            replaced,
            mirrors: plan.ways.iter().map(Mirror::of).collect(),
        }
    }
}

impl Mirror {
    fn of(way: &WayBack) -> Self {
        let releases = way.suites.iter().map(|suite| Release {
            suite: suite.suite.to_string(),
            from_date: suite.from.map(utc),
            to_date: suite.to.map(utc),
        });
        Self {
            mirror: way.mirror.to_string(),
            releases: releases.collect(),
            unreachable: way.unreachable.iter().map(ToString::to_string).collect(),
            clients: clients(way),
        }
    }
}

impl Release {
    fn sentence(&self) -> String {
        let known = |date: &Option<String>| date.clone().unwrap_or_else(|| "none".to_owned());
        let (from, to) = (known(&self.from_date), known(&self.to_date));
        format!("  {}: Release of {from} -> {to}", self.suite)
    }
}

/// What clients of a mirror will do when it goes this way.
fn clients(way: &WayBack) -> String {
    if !way.changes {
        return "nothing changes for clients".to_owned();
    }
    let others: Vec<&str> = way
        .unreachable
        .iter()
        .filter(|name| **name != way.from)
        .map(SnapshotName::as_str)
        .collect();
    let others = others.join(", ");
    if way.from == way.to {
        return match others.as_str() {
            "" => format!("clients stay with {}", way.to),
            _ => format!(
                "clients stay with {}; what only {others} has is not found any more",
                way.to
            ),
        };
    }
    let told = of_what_it_leaves(way);
    match others.as_str() {
        "" => told,
        _ => format!("{told}; what only {others} has is not found any more either"),
    }
}

/// What becomes of the clients of the snapshot that a pointer goes back from.
fn of_what_it_leaves(way: &WayBack) -> String {
    let stays = lent(way.lending).filter(|_| !way.unreachable.contains(&way.from));
    let Some(newest) = newest_taken_back(&way.suites) else {
        let taken =
            "clients take the Release files at their next update, as none of them is older than what they have seen";
        return match stays {
            Some(until) => format!("{taken}; files of {} stay reachable {until}", way.from),
            None => format!("{taken}; until then, what only {} has is not found", way.from),
        };
    };
    let kept = format!(
        "clients that updated from {} keep its lists, because APT takes an older Release file for one that has not changed, and \
         go on asking for its files",
        way.from
    );
    match stays {
        Some(until) => format!("{kept}, which stay reachable {until}"),
        None => format!(
            "{kept}, which are not reachable any more: what only {} has fails with 404 until a Release file newer than {} is \
             published",
            way.from,
            utc(newest)
        ),
    }
}

/// The date of the newest Release file that an older one takes the place of, or none at all; `None` when there is none.
fn newest_taken_back(suites: &[Redated]) -> Option<Timestamp> {
    let back = suites.iter().filter(|suite| suite.to < suite.from);
    back.filter_map(|suite| suite.from).max()
}

/// How long the files of what is left are reachable; `None` for not at all.
fn lent(lending: Lending) -> Option<String> {
    let publications = match lending.generations {
        0 => None,
        1 => Some("until there was another publication".to_owned()),
        n => Some(format!("until there were {n} further publications")),
    };
    let time = (!lending.within.is_zero()).then(|| format!("for {}", span(lending.within)));
    match (time, publications) {
        (Some(time), Some(publications)) => Some(format!("{time}, and in any case {publications}")),
        (time, publications) => time.or(publications),
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        if self.dry_run {
            page.line("dry run: nothing is moved");
        }
        for (moved, mirror) in self.moves.iter().zip(&self.mirrors) {
            page.line(moved.sentence());
            mirror.releases.iter().for_each(|release| page.line(release.sentence()));
            page.line(format!("  {}", mirror.clients));
        }
        self.replaced.iter().for_each(|replaced| page.line(replaced.sentence()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn way(dates: &[(Option<i64>, Option<i64>)], generations: u32, hours: u64) -> WayBack {
        let suite = |(from, to): &(Option<i64>, Option<i64>)| Redated {
            suite: "stable".parse().expect("valid"),
            from: from.map(Timestamp::from_unix),
            to: to.map(Timestamp::from_unix),
        };
        WayBack {
            mirror: "debian".parse().expect("valid"),
            from: "b".parse().expect("valid"),
            to: "a".parse().expect("valid"),
            changes: true,
            lending: Lending {
                generations,
                within: Duration::from_hours(hours),
            },
            unreachable: Vec::new(),
            suites: dates.iter().map(suite).collect(),
        }
    }

    #[test]
    fn people_are_told_what_clients_will_do() {
        let (back, same, ahead) = ((Some(60), Some(0)), (Some(60), Some(60)), (Some(0), Some(60)));
        let gone = (Some(120), None);
        for (way, retracts, parts) in [
            (
                way(&[back], 3, 48),
                false,
                &[
                    "updated from b keep its lists",
                    "stay reachable for 2d, and in any case until there were 3 further",
                ][..],
            ),
            (way(&[back], 3, 0), false, &["until there were 3 further publications"]),
            (way(&[back], 1, 0), false, &["until there was another publication"]),
            (way(&[back], 0, 1), false, &["stay reachable for 1h"]),
            (
                way(&[back], 0, 0),
                false,
                &["404 until a Release file newer than 1970-01-01T00:01:00Z"],
            ),
            (
                way(&[back], 3, 48),
                true,
                &["404 until a Release file newer than 1970-01-01T00:01:00Z"],
            ),
            (
                way(&[same, gone, back], 3, 48),
                true,
                &["newer than 1970-01-01T00:02:00Z"],
            ),
            (
                way(&[same, ahead], 3, 48),
                false,
                &["at their next update", "files of b stay reachable for 2d"],
            ),
            (
                way(&[same], 3, 48),
                true,
                &["at their next update", "what only b has is not found"],
            ),
        ] {
            let gone = if retracts { vec![way.from.clone()] } else { Vec::new() };
            let told = clients(&WayBack {
                unreachable: gone,
                ..way
            });
            for part in parts {
                assert!(told.contains(part), "{part:?} is not in {told:?}");
            }
        }
        let there = WayBack {
            changes: false,
            ..way(&[same], 3, 48)
        };
        assert_eq!(clients(&there), "nothing changes for clients");
    }

    #[test]
    fn people_are_told_what_is_gone_besides() {
        let name = |text: &str| -> SnapshotName { text.parse().expect("valid") };
        let back = WayBack {
            unreachable: vec![name("c")],
            ..way(&[(Some(60), Some(0))], 3, 48)
        };
        let told = clients(&back);
        assert!(
            told.contains("stay reachable for 2d") && told.ends_with("; what only c has is not found any more either"),
            "{told}"
        );
        let stays = WayBack { to: name("b"), ..back };
        assert_eq!(
            clients(&stays),
            "clients stay with b; what only c has is not found any more"
        );
    }
}
