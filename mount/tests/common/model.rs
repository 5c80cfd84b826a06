//! What the mount should show, as plain maps of paths.
//!
//! Owns the steps of a history and what each of them leaves, for the tests that compare the mount with it. It must stay simple enough
//! to be seen to be right.

use std::collections::{BTreeMap, BTreeSet};

use mirrorctl_mount::tree::MirrorNo;

use crate::common::{Files, MemoryTree};

pub(crate) const MIRRORS: [&str; 3] = ["alpha", "beta", "gamma"];
pub(crate) const POINTERS: [&str; 2] = ["current", "staging"];
pub(crate) const SNAPSHOTS: [&str; 4] = ["s1", "s2", "s3", "s4"];
pub(crate) const LINKS: [&str; 3] = ["then", "2026-03-01", "x"];

/// One step of a history.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    AddMirror(usize),
    RemoveMirror(usize),
    AddSnapshot(usize, usize, Files),
    RemoveSnapshot(usize, usize),
    RenameSnapshot(usize, usize, usize),
    Point(usize, usize, usize),
    Unset(usize, usize),
    Link(usize, usize, usize),
}

/// What should be there: per mirror its snapshots and pointers, each with its files.
#[derive(Default)]
pub(crate) struct Model {
    mirrors: BTreeMap<&'static str, ModelMirror>,
}

struct ModelMirror {
    number: MirrorNo,
    snapshots: BTreeMap<&'static str, Files>,
    pointers: BTreeMap<&'static str, Files>,
    /// Where links lead; nowhere when that snapshot is gone.
    links: BTreeMap<&'static str, Option<&'static str>>,
}

impl ModelMirror {
    /// Lets links to `snapshot` lead to `to`.
    fn relink(&mut self, snapshot: &str, to: Option<&'static str>) {
        for link in self.links.values_mut().filter(|link| **link == Some(snapshot)) {
            *link = to;
        }
    }
}

/// What a walk finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory(BTreeSet<String>),
    File(Vec<u8>),
}

impl Model {
    /// Takes `step`, in the tree and in the model, if it can be taken.
    pub(crate) fn take(&mut self, tree: &MemoryTree, step: &Step) {
        match step {
            Step::AddMirror(mirror) => {
                let name = MIRRORS[*mirror];
                if !self.mirrors.contains_key(name) {
                    let number = tree.add_mirror(name);
                    let empty = ModelMirror {
                        number,
                        snapshots: BTreeMap::new(),
                        pointers: BTreeMap::new(),
                        links: BTreeMap::new(),
                    };
                    self.mirrors.insert(name, empty);
                }
            }
            Step::RemoveMirror(mirror) => {
                if self.mirrors.remove(MIRRORS[*mirror]).is_some() {
                    tree.remove_mirror(MIRRORS[*mirror]);
                }
            }
            Step::AddSnapshot(mirror, snapshot, files) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror]) {
                    tree.add_snapshot(mirror.number, SNAPSHOTS[*snapshot], files.clone());
                    mirror.snapshots.insert(SNAPSHOTS[*snapshot], files.clone());
                    mirror.relink(SNAPSHOTS[*snapshot], None);
                }
            }
            Step::RemoveSnapshot(mirror, snapshot) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror])
                    && mirror.snapshots.remove(SNAPSHOTS[*snapshot]).is_some()
                {
                    tree.remove_snapshot(mirror.number, SNAPSHOTS[*snapshot]);
                    mirror.relink(SNAPSHOTS[*snapshot], None);
                }
            }
            Step::RenameSnapshot(mirror, old, new) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror])
                    && let Some(files) = mirror.snapshots.remove(SNAPSHOTS[*old])
                {
                    tree.rename_snapshot(mirror.number, SNAPSHOTS[*old], SNAPSHOTS[*new]);
                    mirror.snapshots.insert(SNAPSHOTS[*new], files);
                    if old != new {
                        mirror.relink(SNAPSHOTS[*new], None);
                        mirror.relink(SNAPSHOTS[*old], Some(SNAPSHOTS[*new]));
                    }
                }
            }
            Step::Point(mirror, pointer, snapshot) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror])
                    && let Some(files) = mirror.snapshots.get(SNAPSHOTS[*snapshot])
                {
                    tree.point(mirror.number, POINTERS[*pointer], SNAPSHOTS[*snapshot]);
                    mirror.pointers.insert(POINTERS[*pointer], files.clone());
                }
            }
            Step::Unset(mirror, pointer) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror]) {
                    tree.unset(mirror.number, POINTERS[*pointer]);
                    mirror.pointers.remove(POINTERS[*pointer]);
                }
            }
            Step::Link(mirror, link, snapshot) => {
                if let Some(mirror) = self.mirrors.get_mut(MIRRORS[*mirror])
                    && mirror.snapshots.contains_key(SNAPSHOTS[*snapshot])
                {
                    tree.link(mirror.number, LINKS[*link], SNAPSHOTS[*snapshot]);
                    mirror.links.insert(LINKS[*link], Some(SNAPSHOTS[*snapshot]));
                }
            }
        }
    }

    /// Every link by its path, and the snapshot it leads to, by its path too.
    pub(crate) fn links(&self) -> Vec<(String, Option<String>)> {
        let mut links = Vec::new();
        for (name, mirror) in &self.mirrors {
            for link in LINKS {
                let snapshot = mirror.links.get(link).copied().flatten();
                let leads_to = snapshot.map(|snapshot| format!("{name}/snapshots/{snapshot}"));
                links.push((format!("{name}/at/{link}"), leads_to));
            }
        }
        links
    }

    /// Everything that can be walked to by names that are listed, by path.
    pub(crate) fn everything(&self) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::from([(String::new(), Found::Directory(BTreeSet::new()))]);
        for (name, mirror) in &self.mirrors {
            add(&mut found, &format!("{name}/snapshots"), None);
            add(&mut found, &format!("{name}/at"), None);
            for (snapshot, files) in &mirror.snapshots {
                add_files(&mut found, &format!("{name}/snapshots/{snapshot}"), files);
            }
            for (pointer, files) in &mirror.pointers {
                add_files(&mut found, &format!("{name}/{pointer}"), files);
            }
        }
        found
    }
}

fn add_files(found: &mut BTreeMap<String, Found>, door: &str, files: &Files) {
    add(found, door, None);
    for (path, bytes) in files {
        add(found, &format!("{door}/{path}"), Some(bytes));
    }
}

/// Adds a file or directory with all directories above it.
fn add(found: &mut BTreeMap<String, Found>, path: &str, bytes: Option<&Vec<u8>>) {
    let own = bytes.map_or_else(|| Found::Directory(BTreeSet::new()), |bytes| Found::File(bytes.clone()));
    found.entry(path.to_owned()).or_insert(own);
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return;
    }
    add(found, parent, None);
    let Some(Found::Directory(names)) = found.get_mut(parent) else {
        panic!("{parent} is a directory")
    };
    names.insert(name.to_owned());
}
