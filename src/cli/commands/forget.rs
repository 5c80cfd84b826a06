//! The command `mirrorctl forget`.
//!
//! Owns the step from a mirror that is not configured any more to its being forgotten, and the report.

use serde::Serialize;
use serde_json::json;

use crate::catalog::{Catalog, CatalogReader};
use crate::cli::args::ForgetArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::size;
use crate::config::nearest;
use crate::model::{MirrorId, SnapshotName};
use crate::retention::{self, Forgetting};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    mirror: String,
    snapshots: Vec<String>,
    pointers: Vec<Leading>,
    protected: Vec<String>,
    /// Of no other mirror: what `gc` can delete, after its time of grace.
    files: u64,
    bytes: u64,
    /// Why it would be refused as things are.
    configured: bool,
    needs_force: bool,
}

/// A pointer that is set.
#[derive(Serialize)]
struct Leading {
    pointer: String,
    to: String,
}

/// Takes a mirror that is not configured any more out of the catalog.
pub(in crate::cli) fn run(arguments: &ForgetArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirror = &arguments.mirror;
    let configured = context.settings.mirrors.contains_key(mirror);
    if arguments.dry_run {
        let reader = context.reader()?;
        require_known(&reader, mirror, context)?;
        let plan = retention::plan_forget(&reader, mirror)?;
        output.answer(&Report::of(&plan, true, configured));
        return Ok(());
    }
    if configured {
        return Err(still_configured(mirror, context));
    }
    let state = context.existing_state()?;
    let mut catalog = Catalog::open(&state.catalog())?;
    require_known(catalog.reader(), mirror, context)?;
    let lock = state.lock_sync(mirror)?;
    let forgotten = retention::forget(&mut catalog, &Context::blobs(&state)?, &lock, arguments.force)?;
    output.done(&Report::of(&forgotten, false, configured));
    let visible = context.make_visible();
    let cleared = catalog.clear_forgotten();
    visible?;
    cleared.map_err(|error| {
        Failure::from(error).hint(format!(
            "{mirror} is forgotten; the next mirrorctl gc removes the rest of it"
        ))
    })
}

fn still_configured(mirror: &MirrorId, context: &Context) -> Failure {
    let message = format!("mirror {mirror} is configured in {}", context.config.display());
    Failure::new(Kind::Refused, message).hint(format!(
        "remove its section [mirrors.{mirror}] first, or the next sync fetches all of it again"
    ))
}

/// Refuses a mirror that the catalog does not have, naming the nearest one that it has; and a group, whose members are
/// configured all of them.
fn require_known(reader: &CatalogReader, mirror: &MirrorId, context: &Context) -> Result<(), Failure> {
    let known = reader.known_mirrors()?;
    if known.contains(mirror) {
        return Ok(());
    }
    if context.settings.groups.contains_key(mirror) {
        let failure = context.mirror(mirror).err();
        let failure = failure.expect("a group is no mirror");
        return Err(failure.hint("a mirror is forgotten when it is configured no more, which those of a group are"));
    }
    let near = nearest(mirror.as_str(), known.iter().map(MirrorId::as_str));
    let text = match near {
        Some(near) => format!("nothing is stored of {mirror}; did you mean {near:?}?"),
        None => format!("nothing is stored of {mirror}"),
    };
    let failure = Failure::new(Kind::Usage, format!("no mirror {mirror} is in the catalog"));
    Err(failure.problem(text, json!({ "mirror": mirror.as_str(), "nearest": near })))
}

impl Report {
    fn of(forgetting: &Forgetting, dry_run: bool, configured: bool) -> Self {
        let pointers = forgetting.pointers.iter().map(|(pointer, to)| Leading {
            pointer: pointer.to_string(),
            to: to.to_string(),
        });
        let names = |names: &[SnapshotName]| names.iter().map(ToString::to_string).collect();
        Self {
            dry_run,
            mirror: forgetting.mirror.to_string(),
            snapshots: names(&forgetting.snapshots),
            pointers: pointers.collect(),
            protected: names(&forgetting.protected),
            files: forgetting.freed.blobs,
            bytes: forgetting.freed.bytes,
            configured,
            needs_force: forgetting.needs_force(),
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let Self { mirror, files, .. } = self;
        let (is, become_unused) = if self.dry_run {
            ("would be", "would become unused")
        } else {
            ("is", "became unused")
        };
        let snapshots = match self.snapshots.len() {
            1 => "1 snapshot".to_owned(),
            n => format!("{n} snapshots"),
        };
        page.line(format!("{mirror} {is} forgotten, with {snapshots}"));
        page.line(format!(
            "{files} files ({}) {become_unused}; mirrorctl gc deletes such files after their time of grace",
            size(self.bytes)
        ));
        if !self.dry_run {
            return;
        }
        for Leading { pointer, to } in &self.pointers {
            page.line(format!("{mirror}/{pointer} leads to snapshot {to}"));
        }
        for name in &self.protected {
            page.line(format!("snapshot {name} is protected"));
        }
        if self.needs_force {
            page.line("it needs --force");
        }
        if self.configured {
            page.line(format!(
                "[mirrors.{mirror}] has to be removed from the configuration first"
            ));
        }
    }
}
