//! A difference for somebody who decides about promoting it.
//!
//! Owns its rendering for people: a line for each suite, then what is suspicious, then packages by what became of them,
//! then files. Its form for programs is that of the difference itself.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::output::{Align, Human, Page, Table};
use crate::cli::text::{size, utc};
use crate::compare::{Difference, FileKind, Package, PackageKind, Path, Side, SuiteDifference, SuiteKind, Version};

/// Packages or files of one kind that are listed before the rest is only counted.
const SHOWN: usize = 20;

/// A difference, and how much of it people want to see.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report {
    pub(super) difference: Difference,
    /// Whether no list is shortened.
    #[serde(skip)]
    pub(super) all: bool,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let Difference { mirror, from, to, .. } = &self.difference;
        if self.difference.identical {
            page.line(format!("{mirror}: {} and {} are the same", name(from), name(to)));
            return;
        }
        page.line(format!("{mirror}: {} -> {}", name(from), name(to)));
        page.line("");
        page.table(&self.summary());
        self.replaced(page);
        for suite in &self.difference.suites {
            self.suite(suite, page);
        }
        self.files(page);
    }
}

impl Report {
    /// A line for each suite.
    fn summary(&self) -> Table {
        let kinds = PackageKind::ALL.map(|kind| kind.name().to_uppercase());
        let mut columns = vec![("SUITE", Align::Left)];
        columns.extend(kinds.iter().map(|kind| (kind.as_str(), Align::Right)));
        columns.extend([("NEW", Align::Right), ("GONE", Align::Right), ("", Align::Left)]);
        let mut table = Table::new(&columns);
        for suite in &self.difference.suites {
            let mut row = vec![suite.suite.to_string()];
            let counts = PackageKind::ALL.map(|kind| suite.packages_by_kind.of(kind));
            row.extend(counts.map(|count| if count == 0 { "-".to_owned() } else { count.to_string() }));
            row.extend([suite.new_bytes, suite.gone_bytes].map(size));
            row.push(remarks(suite));
            table.row(row);
        }
        table
    }

    /// Files that no archive should change.
    fn replaced(&self, page: &mut Page) {
        let replaced = &self.difference.files.replaced;
        if replaced.is_empty() {
            return;
        }
        page.line("");
        page.line(format!(
            "warning: {} of packages have other content under the same name:",
            counted(replaced.len(), "file", "files")
        ));
        let shown = self.shown(replaced);
        for path in shown {
            page.line(format!("    {path}"));
        }
        rest(page, replaced.len() - shown.len());
    }

    fn suite(&self, suite: &SuiteDifference, page: &mut Page) {
        let indices = [("new", &suite.new_indices), ("gone", &suite.gone_indices)];
        if suite.packages.is_empty() && indices.iter().all(|(_, names)| names.is_empty()) {
            return;
        }
        page.line("");
        page.line(suite.suite.as_str());
        for (what, names) in indices.iter().filter(|(_, names)| !names.is_empty()) {
            page.line(format!("  {what} indices: {}", names.join(", ")));
        }
        for kind in PackageKind::ALL {
            let lines = Line::of(suite.packages.iter().filter(|package| package.kind == kind));
            if !lines.is_empty() {
                self.packages(kind, &lines, page);
            }
        }
    }

    fn packages(&self, kind: PackageKind, lines: &[Line<'_>], page: &mut Page) {
        let explained = match kind {
            PackageKind::Rebuilt => " (same version, other content)",
            PackageKind::Downgraded | PackageKind::Removed | PackageKind::Upgraded | PackageKind::Added => "",
        };
        page.line(format!("  {}{explained}:", kind.name()));
        let shown = self.shown(lines);
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Left, Align::Right]);
        for line in shown {
            table.row([
                format!("    {}", line.first.name),
                line.versions(),
                line.place(),
                size(line.bytes),
            ]);
        }
        page.table(&table);
        rest(page, lines.len() - shown.len());
    }

    fn files(&self, page: &mut Page) {
        let files = &self.difference.files;
        page.line("");
        page.line(format!(
            "files: {} added, {} removed, {} changed; {} new, {} gone",
            files.added,
            files.removed,
            files.changed,
            size(files.new_bytes),
            size(files.gone_bytes)
        ));
        let Some(paths) = &files.paths else { return };
        let shown = self.shown(paths);
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Right]);
        for path in shown {
            let (word, bytes) = told(path);
            table.row([format!("  {word}"), path.path.to_string(), bytes]);
        }
        page.table(&table);
        rest(page, paths.len() - shown.len());
    }

    fn shown<'a, T>(&self, list: &'a [T]) -> &'a [T] {
        if self.all { list } else { &list[..list.len().min(SHOWN)] }
    }
}

/// A package as people see it: in all architectures for which the same became of it.
struct Line<'a> {
    first: &'a Package,
    architectures: BTreeSet<&'a str>,
    bytes: u64,
}

impl<'a> Line<'a> {
    fn of(packages: impl Iterator<Item = &'a Package>) -> Vec<Self> {
        let mut lines: Vec<Self> = Vec::new();
        for package in packages {
            let newest = package.to.as_ref().or(package.from.as_ref());
            let bytes = newest.map_or(0, |version| version.bytes);
            let own = newest
                .map(|version| &*version.architecture)
                .filter(|_| package.component.is_none());
            let architectures = package.architectures.iter().map(|name| &**name).chain(own);
            match lines.last_mut() {
                Some(line) if identity(line.first) == identity(package) => {
                    line.architectures.extend(architectures);
                    line.bytes += bytes;
                }
                _ => lines.push(Self {
                    first: package,
                    architectures: architectures.collect(),
                    bytes,
                }),
            }
        }
        lines
    }

    fn versions(&self) -> String {
        let Package { from, to, beside, .. } = self.first;
        let text = match (from, to) {
            (Some(from), Some(to)) if from.version == to.version => from.version.to_string(),
            (Some(from), Some(to)) => format!("{} -> {}", from.version, to.version),
            (Some(one), None) | (None, Some(one)) => one.version.to_string(),
            (None, None) => String::new(),
        };
        match beside {
            Some(version) => format!("{text} (beside {version})"),
            None => text,
        }
    }

    /// Component and architectures.
    fn place(&self) -> String {
        let architectures = self.architectures.iter().copied().collect::<Vec<_>>().join(",");
        let architectures = if self.first.source { "source" } else { &architectures };
        match &self.first.component {
            Some(component) => format!("{component} {architectures}"),
            None => architectures.to_owned(),
        }
    }
}

/// What packages of one line have in common.
fn identity(package: &Package) -> impl PartialEq + '_ {
    let version = |version: &'_ Option<Version>| version.as_ref().map(|version| version.version.clone());
    let versions = (version(&package.from), version(&package.to), &package.beside);
    (&package.name, &package.component, package.source, versions)
}

/// A side by its snapshot, and by the pointer that it was named by.
fn name(side: &Side) -> String {
    match &side.pointer {
        Some(pointer) => format!("{} ({pointer})", side.snapshot),
        None => side.snapshot.to_string(),
    }
}

/// What there is to say of a suite besides numbers.
fn remarks(suite: &SuiteDifference) -> String {
    let mut remarks = Vec::new();
    if suite.security {
        remarks.push("security".to_owned());
    }
    match suite.kind {
        SuiteKind::Added => remarks.push("new suite".to_owned()),
        SuiteKind::Removed => remarks.push("suite is gone".to_owned()),
        SuiteKind::Changed => {}
        SuiteKind::Unchanged => remarks.push("no package differs".to_owned()),
    }
    if let (Some(from), Some(to)) = (suite.date_from, suite.date_to)
        && from != to
    {
        let older = if to < from { ", which is OLDER" } else { "" };
        remarks.push(format!("Release {} -> {}{older}", utc(from), utc(to)));
    }
    remarks.join("; ")
}

/// The word for what became of a path, and its lengths.
fn told(path: &Path) -> (&'static str, String) {
    let bytes = |bytes: Option<u64>| bytes.map(size).unwrap_or_default();
    match path.kind {
        FileKind::Added => ("added", bytes(path.bytes_to)),
        FileKind::Removed => ("removed", bytes(path.bytes_from)),
        FileKind::Changed => (
            "changed",
            format!("{} -> {}", bytes(path.bytes_from), bytes(path.bytes_to)),
        ),
    }
}

fn rest(page: &mut Page, more: usize) {
    if more > 0 {
        page.line(format!("    and {more} more (--all shows them)"));
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
