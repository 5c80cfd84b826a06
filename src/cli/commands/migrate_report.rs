//! What `mirrorctl migrate` tells: what was taken over, and the commands that come next
//!
//! Owns the report, and the rule that no command of it removes a tree that was not taken over, or more than it names:
//! people type such commands as they are.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::moves::Move;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Align, Human, Page, Table};
use crate::cli::text::utc;
use crate::legacy::{OldMirror, OldTree};
use crate::model::{MirrorId, Pointer, SnapshotName};

/// The outcome of a tree that was not taken over.
const REFUSED: &str = "refused";

#[derive(Serialize)]
pub(super) struct Report {
    dry_run: bool,
    /// Whether what the indices list was looked at, and not the Release files alone.
    files_checked: bool,
    mirrors: Vec<Mirror>,
    moves: Vec<Move>,
    not_set: Vec<Unset>,
    paths: Vec<Moved>,
    next: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Mirror {
    pub(super) mirror: String,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) current: Option<String>,
    pub(super) staging: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Snapshot {
    pub(super) name: String,
    path: String,
    created: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

/// What is found at another path afterwards.
#[derive(Serialize)]
struct Moved {
    old: String,
    new: String,
}

/// A pointer that does not lead where the old link led.
#[derive(Serialize)]
pub(super) struct Unset {
    pub(super) mirror: String,
    pub(super) pointer: String,
    /// The tree that the old link led to.
    pub(super) old: String,
    /// The snapshot that the pointer leads to now.
    pub(super) leads: Option<String>,
    pub(super) why: &'static str,
}

/// Why a pointer does not lead to the snapshot `taken`; `None` when it does, or will.
pub(super) fn why_unset(taken: Option<&String>, leads: Option<&str>, dry_run: bool) -> Option<&'static str> {
    match (taken, leads) {
        (None, _) if dry_run => Some("its snapshot would not be taken over"),
        (None, _) => Some("its snapshot was not taken over"),
        (Some(taken), Some(leads)) if taken != leads => Some("it leads somewhere already"),
        (Some(_), _) => None,
    }
}

impl Snapshot {
    pub(super) fn of(
        tree: &OldTree,
        outcome: Result<(SnapshotName, &'static str), Failure>,
    ) -> (Self, Option<Failure>) {
        let unnamed = || tree.name.clone().unwrap_or_else(|| "(the last sync)".to_owned());
        let (name, outcome, failure) = match outcome {
            Ok((name, outcome)) => (name.to_string(), outcome, None),
            Err(failure) => (unnamed(), REFUSED, Some(failure)),
        };
        let snapshot = Self {
            name,
            path: tree.path.display().to_string(),
            created: utc(tree.made),
            outcome,
            error: failure.as_ref().map(Failure::json),
        };
        (snapshot, failure)
    }
}

impl Mirror {
    /// Where its pointers led.
    pub(super) fn pointers(&self) -> impl Iterator<Item = (MirrorId, Pointer, SnapshotName)> {
        let targets = [(Pointer::Staging, &self.staging), (Pointer::Current, &self.current)];
        targets.into_iter().filter_map(|(pointer, target)| {
            let name = target.as_ref()?.parse().expect("it is a snapshot's name");
            Some((self.mirror.parse().expect("it is a mirror's id"), pointer, name))
        })
    }
}

impl Unset {
    fn sentence(&self) -> String {
        let Self {
            mirror,
            pointer,
            old,
            why,
            ..
        } = self;
        let leads = self
            .leads
            .as_ref()
            .map(|leads| format!(" ({leads})"))
            .unwrap_or_default();
        format!("{mirror}/{pointer} is not set to {old}: {why}{leads}")
    }

    /// Whether clients lose what they have when the mount takes the place of the old tree.
    fn ends_production(&self) -> bool {
        self.pointer == Pointer::Current.name() && self.leads.is_none()
    }
}

impl Report {
    pub(super) fn of(
        context: &Context,
        dry_run: bool,
        old: &[OldMirror],
        mirrors: Vec<Mirror>,
        (moves, not_set): (Vec<Move>, Vec<Unset>),
    ) -> Self {
        let dir = &context.settings.dir;
        let below = |path: String| dir.join(path).display().to_string();
        let paths = old.iter().flat_map(|old| {
            let id = &old.id;
            [
                Moved {
                    old: below(format!("{id}/dists")),
                    new: below(format!("{id}/current/dists")),
                },
                Moved {
                    old: below(format!("{id}-staging/dists")),
                    new: below(format!("{id}/staging/dists")),
                },
            ]
        });
        let next = if dry_run || not_set.iter().any(Unset::ends_production) {
            Vec::new()
        } else {
            let mut commands = in_place(dir);
            commands.extend(removals(dir, &trees(old, &mirrors)));
            commands
        };
        Self {
            dry_run,
            files_checked: !dry_run,
            paths: paths.collect(),
            mirrors,
            moves,
            not_set,
            next,
        }
    }
}

/// Every old tree, and whether it is a snapshot of ours now.
fn trees<'t>(old: &'t [OldMirror], mirrors: &[Mirror]) -> Vec<(&'t Path, bool)> {
    let each = old.iter().zip(mirrors).flat_map(|(old, mirror)| {
        let taken = mirror.snapshots.iter().map(|snapshot| snapshot.outcome != REFUSED);
        old.trees.iter().map(|tree| tree.path.as_path()).zip(taken)
    });
    each.collect()
}

/// Where the old `dir` is put aside.
fn aside(dir: &Path) -> PathBuf {
    dir.with_file_name(format!("{}.old", dir.file_name().unwrap_or_default().to_string_lossy()))
}

/// The commands by which the mount takes the place of the old tree.
fn in_place(dir: &Path) -> Vec<String> {
    let dir_word = word(dir);
    vec![
        format!("mv {dir_word} {} && mkdir {dir_word}", word(&aside(dir))),
        "mirrorctl mount --background".to_owned(),
    ]
}

/// The commands that remove, after that, each of `trees` that was taken over and does not hold another that was not.
fn removals(dir: &Path, trees: &[(&Path, bool)]) -> Vec<String> {
    // Trees are known without links on their way.
    let real = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let holds_refused = |path: &Path| trees.iter().any(|(other, taken)| !taken && other.starts_with(path));
    let removable = trees.iter().filter(|(path, taken)| *taken && !holds_refused(path));
    let now_at = |path: &Path| match path.strip_prefix(&real) {
        Ok(below) => aside(dir).join(below),
        Err(_) => path.to_owned(),
    };
    removable
        .map(|(path, _)| format!("rm -r {}", word(&now_at(path))))
        .collect()
}

/// A path as a word of a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let mut table = Table::new(&[
            ("MIRROR", Align::Left),
            ("SNAPSHOT", Align::Left),
            ("CREATED", Align::Left),
            ("OUTCOME", Align::Left),
            ("POINTERS", Align::Left),
        ]);
        for mirror in &self.mirrors {
            for snapshot in &mirror.snapshots {
                let leads = |target: &Option<String>| target.as_ref() == Some(&snapshot.name);
                let pointers = [("current", leads(&mirror.current)), ("staging", leads(&mirror.staging))];
                let pointers: Vec<_> = pointers
                    .iter()
                    .filter(|(_, leads)| *leads)
                    .map(|(name, _)| *name)
                    .collect();
                table.row([
                    mirror.mirror.clone(),
                    snapshot.name.clone(),
                    snapshot.created.clone(),
                    snapshot.outcome.to_owned(),
                    pointers.join(", "),
                ]);
            }
        }
        page.table(&table);
        self.moves.iter().for_each(|moved| page.line(moved.sentence()));
        self.not_set.iter().for_each(|unset| page.line(unset.sentence()));
        if !self.files_checked {
            page.line("");
            page.line("Only the Release files were checked. Whether a tree has all files, and undamaged, shows when it is taken over.");
        }
        page.line("");
        page.line("What the web server has at other paths then:");
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Left]);
        for moved in &self.paths {
            table.row([format!("  {}", moved.old), "->".to_owned(), moved.new.clone()]);
        }
        page.table(&table);
        page.line("");
        if self.dry_run {
            page.line("The commands that put the mount in the place of the old tree are told by mirrorctl migrate.");
        } else if self.next.is_empty() {
            page.line("The old tree was left as it is, and has to stay: clients would find nothing in current.");
            page.line("Publish a snapshot (mirrorctl snapshot publish), and repeat mirrorctl migrate.");
        } else {
            page.line("The old trees were left as they are. To serve the new one in their place, and then to remove what was taken over:");
            self.next.iter().for_each(|command| page.line(format!("  {command}")));
            page.line("What these do not name was not taken over: look at it before you remove it.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_taken_over_is_removed() {
        let trees = [
            ("/srv/.snapshots/debian/one", true),
            ("/srv/.snapshots/debian/two", false),
            ("/srv/.snapshots/debian/it's", true),
            ("/srv/apt/.debian.2025/debian", true),
            ("/srv/outer", true),
            ("/srv/outer/inner", false),
        ];
        let trees = trees.map(|(path, taken)| (Path::new(path), taken));
        assert_eq!(
            removals(Path::new("/srv/apt"), &trees),
            [
                "rm -r /srv/.snapshots/debian/one",
                r"rm -r '/srv/.snapshots/debian/it'\''s'",
                "rm -r /srv/apt.old/.debian.2025/debian"
            ]
        );
    }
}
