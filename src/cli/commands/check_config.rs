//! `mirrorctl check config`: what was understood of the configuration
//!
//! Owns the report of what was understood of the configuration. That it is good is said by there being one.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;

use serde::Serialize;

use super::filter_report::Filters;
use super::left_overs::left_overs;
use crate::cli::context::Context;
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::security;
use crate::cli::text::{size, span};
use crate::config::{HttpSettings, MirrorSettings, PruneSettings, Settings};
use crate::model::{Content, Lending, Timestamp, TlsSettings, Translations};

#[derive(Serialize)]
struct Report {
    config: String,
    overridden_by: Vec<&'static str>,
    dir: String,
    state: String,
    max_conns: usize,
    log: Log,
    http: Http,
    gc: Gc,
    backup: Backup,
    mount: Mount,
    groups: BTreeMap<String, Vec<String>>,
    mirrors: Vec<Mirror>,
}

#[derive(Serialize)]
struct Log {
    level: &'static str,
    format: &'static str,
}

#[derive(Serialize)]
struct Http {
    connect_timeout: String,
    read_timeout: String,
    min_rate: u64,
    retries: u32,
    backoff: String,
    max_rate: Option<u64>,
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
    auth_conf: Option<String>,
}

#[derive(Serialize)]
struct Gc {
    auto: bool,
    keep_partial: String,
    grace: String,
}

#[derive(Serialize)]
struct Backup {
    every: String,
    keep: usize,
}

#[derive(Serialize)]
struct Mount {
    context: Option<String>,
    data: &'static str,
    memory: u64,
}

#[derive(Serialize)]
struct Mirror {
    id: String,
    url: String,
    urls: Vec<String>,
    http: Http,
    suites: Vec<String>,
    sections: Vec<String>,
    architectures: Vec<String>,
    mirror_source: bool,
    content: ContentReport,
    pgp_key_path: Option<String>,
    no_pgp_check: bool,
    max_shrink: u8,
    max_age: Option<String>,
    max_size: Option<u64>,
    /// All of them, in the order of the workflow.
    environments: Vec<String>,
    publish: Publish,
    publish_to_staging: bool,
    publish_to_production: bool,
    default_name_format: String,
    /// A name by this format, as a sync would give it now.
    example_name: Option<String>,
    prune: Prune,
    tls: Tls,
    filters: Filters,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Tls {
    min_version: &'static str,
    max_version: &'static str,
    insecure_skip_verify: bool,
    ca_cert_file: Option<String>,
    client_cert_file: Option<String>,
    client_key_file: Option<String>,
    cipher_suites: Vec<&'static str>,
    server_name: Option<String>,
}

/// What of earlier publications stays reachable.
#[derive(Serialize)]
struct Publish {
    keep_generations: u32,
    keep_for: String,
}

#[derive(Serialize)]
struct Prune {
    keep_last: usize,
    keep_within: String,
    keep_daily: usize,
    keep_weekly: usize,
    keep_monthly: usize,
}

/// Prints what was understood of the configuration.
pub(in crate::cli) fn run(context: &Context, output: &mut Output) {
    let mut report = Report::of(&context.config, &context.settings, context.now);
    for (mirror, told) in report.mirrors.iter_mut().zip(context.settings.mirrors.values()) {
        mirror.warnings.extend(left_overs(context, told));
    }
    output.answer(&report);
}

impl Report {
    fn of(config: &Path, settings: &Settings, now: Timestamp) -> Self {
        Self {
            config: shown(config),
            overridden_by: settings.overrides.clone(),
            dir: shown(&settings.dir),
            state: shown(&settings.state),
            max_conns: settings.max_conns,
            log: Log {
                level: settings.log.level.name(),
                format: settings.log.format.name(),
            },
            http: Http::of(&settings.http),
            gc: Gc {
                auto: settings.gc.auto,
                keep_partial: span(settings.gc.keep_partial),
                grace: span(settings.gc.grace),
            },
            backup: Backup {
                every: span(settings.backup.every),
                keep: settings.backup.keep,
            },
            mount: Mount {
                context: settings.mount.context.as_ref().map(ToString::to_string),
                data: settings.mount.data.name(),
                memory: settings.mount.memory,
            },
            groups: settings
                .groups
                .iter()
                .map(|(name, members)| (name.to_string(), texts(members)))
                .collect(),
            mirrors: settings
                .mirrors
                .values()
                .map(|mirror| Mirror::of(mirror, now))
                .collect(),
        }
    }
}

impl Mirror {
    fn of(settings: &MirrorSettings, now: Timestamp) -> Self {
        let (filters, suspicions) = Filters::of(&settings.filters, now);
        let mut warnings = security::warnings(settings);
        warnings.extend(suspicions);
        Self {
            id: settings.id.to_string(),
            url: settings.urls[0].to_string(),
            urls: texts(&settings.urls),
            http: Http::of(&settings.http),
            suites: texts(&settings.suites),
            sections: texts(&settings.components),
            architectures: texts(&settings.architectures),
            mirror_source: settings.content.sources,
            content: ContentReport::of(&settings.content),
            pgp_key_path: settings.keyring.as_deref().map(shown),
            no_pgp_check: settings.no_pgp_check,
            max_shrink: settings.max_shrink.number(),
            max_age: settings.max_age.map(span),
            max_size: settings.max_size,
            environments: texts(&settings.pointers()),
            publish: Publish::of(settings.lending),
            publish_to_staging: settings.publish_to_staging,
            publish_to_production: settings.publish_to_production,
            default_name_format: settings.name_format.to_string(),
            example_name: settings.name_format.name_at(now).ok().map(|name| name.to_string()),
            prune: Prune::of(settings.prune),
            tls: Tls::of(&settings.tls),
            filters,
            warnings,
        }
    }

    fn signed_by(&self) -> String {
        match &self.pgp_key_path {
            _ if self.no_pgp_check => "anybody (no_pgp_check)".to_owned(),
            Some(path) => format!("the keys in {path}"),
            None => "the keys that APT itself trusts".to_owned(),
        }
    }

    fn names(&self) -> String {
        match &self.example_name {
            Some(example) => format!("{}, such as {example}", self.default_name_format),
            None => self.default_name_format.clone(),
        }
    }

    fn besides(&self) -> String {
        let languages = match self.content.translations.as_slice() {
            [] => None,
            [all] if all == "*" => Some("all translations".to_owned()),
            languages => Some(format!("translations ({})", languages.join(" "))),
        };
        let switches = [
            (self.mirror_source, "sources"),
            (self.content.appstream, "appstream"),
            (self.content.command_not_found, "command-not-found"),
            (self.content.contents, "contents"),
            (self.content.installer, "installer"),
        ];
        let on = switches
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| name.to_owned());
        let all: Vec<String> = on.chain(languages).collect();
        if all.is_empty() {
            "nothing".to_owned()
        } else {
            all.join(", ")
        }
    }

    fn published_to(&self) -> &'static str {
        match (self.publish_to_staging, self.publish_to_production) {
            (true, true) => "staging and production",
            (true, false) => "staging",
            (false, true) => "production",
            (false, false) => "nothing by itself",
        }
    }
}

/// What is mirrored besides packages, by the names of the keys.
#[derive(Debug, Serialize)]
struct ContentReport {
    translations: Vec<String>,
    appstream: bool,
    command_not_found: bool,
    contents: bool,
    installer: bool,
}

impl ContentReport {
    fn of(content: &Content) -> Self {
        Self {
            translations: match &content.translations {
                Translations::All => vec!["*".to_owned()],
                Translations::Of(languages) => texts(languages),
            },
            appstream: content.appstream,
            command_not_found: content.command_not_found,
            contents: content.contents,
            installer: content.installer,
        }
    }
}

impl Tls {
    fn of(settings: &TlsSettings) -> Self {
        let identity = settings.identity.as_ref();
        Self {
            min_version: settings.min_version.name(),
            max_version: settings.max_version.name(),
            insecure_skip_verify: settings.insecure_skip_verify,
            ca_cert_file: settings.ca_file.as_deref().map(shown),
            client_cert_file: identity.map(|identity| shown(&identity.certificate)),
            client_key_file: identity.map(|identity| shown(&identity.key)),
            cipher_suites: settings.cipher_suites.iter().map(|suite| suite.name()).collect(),
            server_name: settings.server_name.as_ref().map(ToString::to_string),
        }
    }

    fn sentence(&self) -> String {
        let versions = if self.min_version == self.max_version {
            format!("TLS {}", self.min_version)
        } else {
            format!("TLS {} to {}", self.min_version, self.max_version)
        };
        let trusted = match &self.ca_cert_file {
            _ if self.insecure_skip_verify => "any certificate (insecure_skip_verify)".to_owned(),
            Some(path) => format!("the authorities in {path}"),
            None => "the system's authorities".to_owned(),
        };
        let mut parts = vec![versions, format!("trusting {trusted}")];
        parts.extend(self.server_name.as_ref().map(|name| format!("as {name}")));
        parts.extend(self.client_cert_file.as_ref().map(|path| format!("showing {path}")));
        if !self.cipher_suites.is_empty() {
            parts.push(format!("with {} only", self.cipher_suites.join(" ")));
        }
        parts.join(", ")
    }
}

impl Http {
    fn of(settings: &HttpSettings) -> Self {
        Self {
            connect_timeout: span(settings.connect_timeout),
            read_timeout: span(settings.read_timeout),
            min_rate: settings.min_rate,
            retries: settings.retries,
            backoff: span(settings.backoff),
            max_rate: settings.max_rate.map(NonZeroU64::get),
            http_proxy: settings.proxy.http.as_ref().map(ToString::to_string),
            https_proxy: settings.proxy.https.as_ref().map(ToString::to_string),
            no_proxy: settings.proxy.except.clone(),
            auth_conf: settings.auth_conf.as_deref().map(shown),
        }
    }

    /// By which way files are fetched, and how fast at most.
    fn way(&self) -> String {
        let way = match (&self.http_proxy, &self.https_proxy) {
            (None, None) => "direct connections".to_owned(),
            (Some(http), Some(https)) if http == https => format!("the proxy {http}"),
            (http, https) => {
                let named = [("http", http), ("https", https)];
                let named = named.map(|(scheme, proxy)| {
                    let proxy = proxy.as_deref().unwrap_or("direct connections");
                    format!("{proxy} for {scheme}")
                });
                named.join(", ")
            }
        };
        match self.max_rate {
            Some(rate) => format!("{way}, at most {} a second", size(rate)),
            None => way,
        }
    }

    fn patience(&self) -> String {
        format!(
            "{} to connect, {} for bytes, {} retries",
            self.connect_timeout, self.read_timeout, self.retries
        )
    }
}

impl Publish {
    fn of(lending: Lending) -> Self {
        Self {
            keep_generations: lending.generations,
            keep_for: span(lending.within),
        }
    }

    fn sentence(&self) -> String {
        format!(
            "the last {} publications, and those of the last {}",
            self.keep_generations, self.keep_for
        )
    }
}

impl Prune {
    fn of(settings: PruneSettings) -> Self {
        Self {
            keep_last: settings.keep_last,
            keep_within: span(settings.keep_within),
            keep_daily: settings.keep_daily,
            keep_weekly: settings.keep_weekly,
            keep_monthly: settings.keep_monthly,
        }
    }

    fn sentence(&self) -> String {
        let mut kept = vec![
            format!("the newest {}", self.keep_last),
            format!("those younger than {}", self.keep_within),
        ];
        let calendar = [
            (self.keep_daily, "days"),
            (self.keep_weekly, "weeks"),
            (self.keep_monthly, "months"),
        ];
        let counted = calendar.iter().filter(|(count, _)| *count > 0);
        kept.extend(
            counted.map(|(count, periods)| format!("the newest of each of the last {count} {periods} that have one")),
        );
        let last = kept.pop().unwrap_or_default();
        format!("{}, and {last}", kept.join(", "))
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!("{} is good.", self.config));
        if !self.overridden_by.is_empty() {
            page.line(format!(
                "The environment goes over it: {}.",
                self.overridden_by.join(", ")
            ));
        }
        let mut table = pairs();
        table.row(["mount point".into(), self.dir.clone()]);
        table.row(["state".into(), self.state.clone()]);
        table.row(["connections".into(), format!("{} to a host", self.max_conns)]);
        table.row(["log".into(), format!("{}, {}", self.log.level, self.log.format)]);
        table.row(["unneeded files".into(), self.gc.sentence()]);
        table.row(["copies of the catalog".into(), self.backup.sentence()]);
        table.row(["mounted files".into(), self.mount.sentence()]);
        for (name, members) in &self.groups {
            table.row([format!("group {name}"), members.join(" ")]);
        }
        page.table(&table);
        for mirror in &self.mirrors {
            page.line("");
            page.line(format!("mirror {}", mirror.id));
            page.table(&mirror.table());
            for warning in &mirror.warnings {
                page.line(format!("  warning: {warning}"));
            }
        }
    }
}

impl Mount {
    fn sentence(&self) -> String {
        let (data, memory) = (self.data, size(self.memory));
        let label = self.context.iter().map(|label| format!(", labelled {label}"));
        format!(
            "read by {data}, listings in up to {memory}{}",
            label.collect::<String>()
        )
    }
}

impl Backup {
    fn sentence(&self) -> String {
        match self.keep {
            0 => "none".to_owned(),
            keep => format!("every {}, the newest {keep} are kept", self.every),
        }
    }
}

impl Gc {
    fn sentence(&self) -> String {
        let when = if self.auto {
            "swept after each sync"
        } else {
            "swept by gc only"
        };
        format!(
            "{when}, readable for {}, kept for a failed sync for {}",
            self.grace, self.keep_partial
        )
    }
}

impl Mirror {
    fn table(&self) -> Table {
        let mut table = pairs();
        table.row(["  url".into(), self.urls.join(" ")]);
        table.row(["  through".into(), self.http.way()]);
        table.row(["  patience".into(), self.http.patience()]);
        table.row(["  suites".into(), self.suites.join(" ")]);
        // Flat repositories have neither.
        if !self.sections.is_empty() {
            table.row(["  sections".into(), self.sections.join(" ")]);
            table.row(["  architectures".into(), self.architectures.join(" ")]);
        }
        table.row(["  besides packages".into(), self.besides()]);
        if self.url.starts_with("https:") {
            table.row(["  secured by".into(), self.tls.sentence()]);
        }
        table.row(["  signed by".into(), self.signed_by()]);
        table.row([
            "  held".into(),
            format!("what lost more than {} % of its packages", self.max_shrink),
        ]);
        if let Some(age) = &self.max_age {
            table.row(["  old".into(), format!("a Release file older than {age}")]);
        }
        table.row(["  environments".into(), self.environments.join(" ")]);
        table.row(["  stays reachable".into(), self.publish.sentence()]);
        table.row(["  new snapshots go to".into(), self.published_to().into()]);
        table.row(["  their names".into(), self.names()]);
        if let Some(max_size) = self.max_size {
            table.row(["  most bytes of each".into(), size(max_size)]);
        }
        table.row(["  kept".into(), self.prune.sentence()]);
        self.filters.rows(&mut table);
        table
    }
}

fn pairs() -> Table {
    Table::bare(&[Align::Left, Align::Left])
}
