//! What a command says of the mirror that is named, or of each member of the group.
//!
//! Owns the way from one name to several reports: one mirror's report stands alone, those of a group's members together. It
//! knows nothing of what is reported.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};
use crate::config::MirrorSettings;
use crate::model::MirrorId;

/// The reports: of one mirror, or of the members of a group.
struct Each<R> {
    reports: Vec<R>,
    of_group: bool,
}

impl<R: Serialize> Serialize for Each<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.reports.as_slice() {
            [only] if !self.of_group => only.serialize(serializer),
            reports => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("mirrors", reports)?;
                map.end()
            }
        }
    }
}

impl<R: Human> Human for Each<R> {
    fn human(&self, page: &mut Page) {
        for (number, report) in self.reports.iter().enumerate() {
            if number > 0 {
                page.line("");
            }
            report.human(page);
        }
    }
}

/// Answers with what `one` says of the mirror `named`, or of each member of that group. One that fails keeps none of the
/// others from being looked at.
pub(super) fn answer<R: Serialize + Human>(
    named: &MirrorId,
    context: &Context,
    output: &mut Output,
    one: impl FnMut(&MirrorSettings) -> (Option<R>, Result<(), Failure>),
) -> Result<(), Failure> {
    let mirrors = context.mirrors(std::slice::from_ref(named))?;
    let (reports, outcomes): (Vec<_>, Vec<_>) = mirrors.into_iter().map(one).unzip();
    let reports: Vec<R> = reports.into_iter().flatten().collect();
    if !reports.is_empty() {
        let of_group = context.settings.groups.contains_key(named);
        output.answer(&Each { reports, of_group });
    }
    Failure::of_several(outcomes.into_iter().filter_map(Result::err))
}
