//! What was understood of a mirror's filters.
//!
//! Owns their part of the report: the rules, who signs rebuilt indices, and patterns that were probably meant
//! otherwise.

use serde::Serialize;

use super::check_config::{shown, texts};
use crate::cli::output::Table;
use crate::config::FilterSettings;
use crate::model::{Filter, NamePattern, Timestamp};
use crate::signature::Signer;

#[derive(Serialize)]
pub(super) struct Filters {
    keep_versions: usize,
    exclude_patterns: Vec<String>,
    include_patterns: Vec<String>,
    sections: Vec<String>,
    priorities: Vec<String>,
    packages: Vec<String>,
    with_recommends: bool,
    with_required: bool,
    allow_missing: bool,
    signing: Option<Signing>,
}

/// Who signs rebuilt indices.
#[derive(Serialize)]
struct Signing {
    key_path: String,
    /// The key's fingerprint; `None` when this user may not read the key.
    fingerprint: Option<String>,
    /// The public certificate, for clients to trust.
    certificate: Option<String>,
}

impl Filters {
    /// The filters, and what was probably meant otherwise.
    pub(super) fn of(settings: &FilterSettings, now: Timestamp) -> (Self, Vec<String>) {
        let FilterSettings {
            filter,
            allow_missing,
            signing_key,
        } = settings;
        let mut warnings = suspicious("exclude_patterns", &filter.exclude);
        warnings.extend(suspicious("include_patterns", &filter.include));
        let signing = signing_key.as_deref().map(|path| {
            let signer = Signer::load(path, now);
            if let Err(error) = &signer {
                let cause = std::error::Error::source(error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                warnings.push(format!("filters.signing_key_path: {error}{cause}"));
            }
            let signer = signer.ok();
            Signing {
                key_path: shown(path),
                fingerprint: signer.as_ref().map(Signer::fingerprint),
                certificate: signer.and_then(|signer| signer.public_armored().ok()),
            }
        });
        let Filter {
            exclude,
            include,
            sections,
            priorities,
            packages,
            recommends,
            required,
            keep_versions,
        } = filter;
        let filters = Self {
            keep_versions: *keep_versions,
            exclude_patterns: texts(exclude),
            include_patterns: texts(include),
            sections: sections.clone(),
            priorities: texts(priorities),
            packages: texts(packages),
            with_recommends: *recommends,
            with_required: *required,
            allow_missing: *allow_missing,
            signing,
        };
        (filters, warnings)
    }

    /// Adds what there is to say to the table of a mirror.
    pub(super) fn rows(&self, table: &mut Table) {
        let lists = [
            ("  left out", &self.exclude_patterns),
            ("  kept names", &self.include_patterns),
            ("  kept sections", &self.sections),
            ("  kept priorities", &self.priorities),
            ("  kept with what they need", &self.packages),
        ];
        for (label, list) in lists {
            if !list.is_empty() {
                table.row([label.into(), list.join(" ")]);
            }
        }
        if self.keep_versions > 0 {
            table.row(["  kept versions".into(), format!("the newest {}", self.keep_versions)]);
        }
        if let Some(signing) = &self.signing {
            let key = signing
                .fingerprint
                .as_deref()
                .unwrap_or("a key that cannot be used here");
            table.row([
                "  indices".into(),
                format!("rebuilt, signed by {key} of {}", signing.key_path),
            ]);
        } else if self.allow_missing {
            table.row([
                "  indices".into(),
                "upstream's, which list what the filters leave out".into(),
            ]);
        }
    }
}

/// A remark on each pattern that looks as if it was written for a shell.
fn suspicious(key: &str, patterns: &[NamePattern]) -> Vec<String> {
    let meant = |pattern: &NamePattern| {
        let meant = pattern.meant()?;
        let pattern = pattern.as_str();
        Some(format!(
            "filters.{key}: patterns are regular expressions; did you mean {meant:?} by {pattern:?}?"
        ))
    };
    patterns.iter().filter_map(meant).collect()
}
