//! The archive of a cell.
//!
//! Owns what is in it, and how each maker is told the options. It checks nothing.

use std::any::Any;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::{AptlyArchive, FtpArchive, Package, RepreproArchive, leave};

use super::{Beside, Cell, Maker};

/// An archive that is there.
pub(super) struct Made {
    pub(super) root: PathBuf,
    pub(super) key: PathBuf,
    /// What must not go away before the archive.
    _maker: Box<dyn Any>,
}

impl Cell {
    /// The package of a component, `hello-main`, in a version, with a file and a long description.
    fn package(&self, component: &str, version: &str) -> Package {
        let name = name(component);
        let architecture = self.architectures[0];
        Package::new(&name, version, architecture)
            .depends(&data(component))
            .file(&format!("usr/share/{name}/version"), version)
    }

    /// Calls `add` with every component and package, and `add_source` with every source package.
    fn fill(&self, add: impl Fn(&str, &Package), add_source: impl Fn(&str, &Package)) {
        for component in self.components {
            for version in self.versions {
                let package = self.package(component, version);
                add(component, &package);
                if self.sources != Beside::Absent {
                    add_source(component, &package);
                }
            }
            add(component, &Package::new(&data(component), "1", "all"));
        }
    }

    /// The architectures, and `source` if it has sources.
    fn with_source(&self) -> Vec<&'static str> {
        let source = (self.sources != Beside::Absent).then_some("source");
        self.architectures.iter().copied().chain(source).collect()
    }

    /// Makes it.
    pub(super) fn make(&self) -> Made {
        match self.maker {
            Maker::AptFtparchive => self.by_apt_ftparchive(),
            Maker::Reprepro => self.by_reprepro(),
            Maker::Aptly => self.by_aptly(),
        }
    }

    fn by_apt_ftparchive(&self) -> Made {
        let archive = FtpArchive::new(self.suites, self.components, &self.with_source())
            .forms(self.forms)
            .by_hash(self.by_hash)
            .contents(self.contents != Beside::Absent)
            .translations(self.translations != Beside::Absent);
        self.fill(
            |component, package| archive.add(component, package),
            |component, package| archive.add_source(component, package),
        );
        archive.publish(self.signing);
        Made {
            root: archive.root(),
            key: archive.key_file(),
            _maker: Box::new(archive),
        }
    }

    fn by_reprepro(&self) -> Made {
        let forms: Vec<String> = self.forms.iter().map(|form| format!(".{form}")).collect();
        let forms = forms.join(" ");
        let mut fields = format!("DebIndices: Packages Release {forms}\nDscIndices: Sources Release {forms}\n");
        if self.contents != Beside::Absent {
            fields += "Contents: percomponent nocompatsymlink .gz\n";
        }
        let archive = RepreproArchive::with(self.suites, self.components, &self.with_source(), &fields);
        self.fill(
            |component, package| archive.add(component, package),
            |component, package| archive.add_source(component, package),
        );
        self.sign(&archive.root());
        Made {
            root: archive.root(),
            key: archive.key_file(),
            _maker: Box::new(archive),
        }
    }

    fn by_aptly(&self) -> Made {
        let archive = AptlyArchive::new(self.components);
        self.fill(
            |component, package| archive.add(component, package),
            |component, package| archive.add_source(component, package),
        );
        let by_hash = format!("-acquire-by-hash={}", self.by_hash);
        let contents = format!("-skip-contents={}", self.contents == Beside::Absent);
        for suite in self.suites {
            archive.publish(suite, &self.with_source(), &[&by_hash, &contents]);
        }
        self.sign(&archive.root());
        Made {
            root: archive.root(),
            key: archive.key_file(),
            _maker: Box::new(archive),
        }
    }

    /// Leaves the Release files that the cell has.
    fn sign(&self, root: &Path) {
        for suite in self.suites {
            leave(self.signing, &root.join("dists").join(suite));
        }
    }
}

/// The name of the package of a component.
pub(super) fn name(component: &str) -> String {
    format!("hello-{}", component.replace('/', "-"))
}

/// The name of the package that it depends on.
fn data(component: &str) -> String {
    format!("data-{}", component.replace('/', "-"))
}
