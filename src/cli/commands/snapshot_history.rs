//! The command `mirrorctl snapshot history`.
//!
//! Owns the table of pointer moves.

use serde::Serialize;

use crate::catalog::MoveRecord;
use crate::cli::args::HistoryArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::stores::synced;
use crate::cli::text::utc;
use crate::model::Leads;

#[derive(Serialize)]
struct Report {
    moves: Vec<Move>,
}

#[derive(Serialize)]
struct Move {
    #[serde(skip)]
    row: i64,
    act: i64,
    time: String,
    mirror: String,
    pointer: String,
    /// By its name now, as long as it is there.
    from: Option<String>,
    /// Likewise; `None` where it was taken out.
    to: Option<String>,
    /// By its name at the time.
    to_then: Option<String>,
    command: String,
    actor: String,
    forced: bool,
    /// Whether what it took the place of was taken back.
    retracts: bool,
    /// Whether the snapshot had passed its checks then; `None` when nobody had run them.
    passed: Option<bool>,
    message: Option<String>,
}

/// Lists the moves of the pointers, newest first.
pub(in crate::cli) fn run(arguments: &HistoryArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirrors = context.mirrors(&arguments.mirrors)?;
    let reader = context.reader()?;
    let mut moves = Vec::new();
    for mirror in mirrors {
        // Never synced, hence never moved.
        let Some(row) = synced(&reader, &mirror.id)? else {
            continue;
        };
        let history = reader.history(row)?;
        moves.extend((0..history.len()).map(|index| Move::of(&history, index)));
    }
    moves.sort_by_key(|entry| std::cmp::Reverse(entry.row));
    moves.truncate(arguments.limit.unwrap_or(usize::MAX));
    output.answer(&Report { moves });
    Ok(())
}

impl Move {
    /// The move at `index` of one mirror's history, newest first, with where its pointer led before.
    fn of(history: &[MoveRecord], index: usize) -> Self {
        let record = &history[index];
        let before = history[index + 1..]
            .iter()
            .find(|older| older.pointer == record.pointer)
            .filter(|older| !older.ends);
        Self {
            row: record.row.number(),
            act: record.act_row.number(),
            time: utc(record.moved_at),
            mirror: record.mirror.to_string(),
            pointer: record.pointer.to_string(),
            from: before.map(|before| before.snapshot.to_string()),
            to: (!record.ends).then(|| record.snapshot.to_string()),
            to_then: (!record.ends).then(|| record.snapshot_then.to_string()),
            command: record.act.clone(),
            actor: record.actor.clone(),
            forced: record.forced,
            retracts: record.retracts,
            passed: record.passed,
            message: record.message.clone(),
        }
    }

    /// Where it led, with what that was called then if it is called otherwise now.
    fn led_to(&self) -> String {
        match (&self.to, &self.to_then) {
            (Some(now), Some(then)) if now != then => format!("{now} (then {then})"),
            (Some(now), _) => now.clone(),
            (None, _) => Leads::NOWHERE.to_owned(),
        }
    }

    /// The command with the flags that matter later.
    fn command(&self) -> String {
        let flags = [(self.retracts, " --retract"), (self.forced, " --force")];
        let flags = flags.into_iter().filter_map(|(is, flag)| is.then_some(flag));
        std::iter::once(self.command.as_str()).chain(flags).collect()
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let headings = [
            "TIME", "MIRROR", "POINTER", "FROM", "TO", "COMMAND", "BY", "CHECKS", "MESSAGE",
        ];
        let mut table = Table::new(&headings.map(|heading| (heading, Align::Left)));
        for entry in &self.moves {
            table.row([
                entry.time.clone(),
                entry.mirror.clone(),
                entry.pointer.clone(),
                entry.from.clone().unwrap_or_else(|| Leads::NOWHERE.to_owned()),
                entry.led_to(),
                entry.command(),
                entry.actor.clone(),
                entry
                    .passed
                    .map_or("-", |passed| if passed { "passed" } else { "failed" })
                    .to_owned(),
                entry.message.clone().unwrap_or_default(),
            ]);
        }
        page.table(&table);
    }
}
