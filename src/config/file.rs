//! The shape of `mirror.toml`: which keys exist, in which tables, and of which type.
//!
//! Owns the reading of the TOML text into raw values that remember their place. It judges types and names only; what
//! a value means is decided in `resolve`. Each key is named once, in the function that reads its table: asking a
//! table for a key is what makes the key known, so that unknown ones cannot be forgotten.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Located, Notes, Spot};

/// The whole file.
#[derive(Debug)]
pub(super) struct RawFile {
    pub(super) dir: Option<Located<String>>,
    pub(super) max_conns: Option<Located<i64>>,
    pub(super) log: RawLog,
    pub(super) http: RawHttp,
    pub(super) tls: RawTls,
    pub(super) snapshot: RawSnapshot,
    pub(super) publish: RawPublish,
    pub(super) gc: RawGc,
    pub(super) backup: RawBackup,
    pub(super) mount: RawMount,
    pub(super) hooks: RawHooks,
    pub(super) groups: Vec<RawGroup>,
    pub(super) mirrors: Vec<RawMirror>,
}

/// `[publish]`, and `[mirrors.ID.publish]`
#[derive(Debug)]
pub(super) struct RawPublish {
    pub(super) keep_generations: Option<Located<i64>>,
    pub(super) keep_for: Option<Located<String>>,
}

/// `[hooks]`, and `[mirrors.ID.hooks]`
#[derive(Debug)]
pub(super) struct RawHooks {
    pub(super) after_sync: Option<Located<Vec<Located<String>>>>,
    pub(super) after_stage: Option<Located<Vec<Located<String>>>>,
    pub(super) after_promote: Option<Located<Vec<Located<String>>>>,
    pub(super) after_rollback: Option<Located<Vec<Located<String>>>>,
    pub(super) on_failure: Option<Located<Vec<Located<String>>>>,
    pub(super) timeout: Option<Located<String>>,
}

/// `[mirrors.ID.test]`
#[derive(Debug)]
pub(super) struct RawTest {
    pub(super) required: Option<Located<bool>>,
    pub(super) commands: Option<Located<Vec<Located<String>>>>,
    pub(super) timeout: Option<Located<String>>,
    pub(super) min_packages: Option<Located<i64>>,
    pub(super) max_shrink: Option<Located<i64>>,
    pub(super) min_validity: Option<Located<String>>,
    pub(super) companions: Option<Located<Vec<Located<String>>>>,
}

/// One key of `[groups]`: its name, and its members.
pub(super) type RawGroup = (Located<String>, Located<Vec<Located<String>>>);

/// `[log]`
#[derive(Debug)]
pub(super) struct RawLog {
    pub(super) level: Option<Located<String>>,
    pub(super) format: Option<Located<String>>,
}

/// `[http]`, and `[mirrors.ID.http]`
#[derive(Debug)]
pub(super) struct RawHttp {
    pub(super) connect_timeout: Option<Located<String>>,
    pub(super) read_timeout: Option<Located<String>>,
    pub(super) min_rate: Option<Located<String>>,
    pub(super) retries: Option<Located<i64>>,
    pub(super) backoff: Option<Located<String>>,
    pub(super) max_rate: Option<Located<String>>,
    pub(super) proxy: Option<Located<String>>,
    pub(super) auth_conf: Option<Located<String>>,
}

/// `[tls]`, and `[mirrors.ID.tls]`
#[derive(Debug)]
pub(super) struct RawTls {
    pub(super) min_version: Option<Located<String>>,
    pub(super) max_version: Option<Located<String>>,
    pub(super) insecure_skip_verify: Option<Located<bool>>,
    pub(super) ca_cert_file: Option<Located<String>>,
    pub(super) client_cert_file: Option<Located<String>>,
    pub(super) client_key_file: Option<Located<String>>,
    pub(super) cipher_suites: Option<Located<Vec<Located<String>>>>,
    pub(super) server_name: Option<Located<String>>,
}

/// `[snapshot]`, and `[mirrors.ID.snapshot]`
#[derive(Debug)]
pub(super) struct RawSnapshot {
    pub(super) path: Option<Located<String>>,
    /// Of `[snapshot]` alone.
    pub(super) any_file_system: Option<Located<bool>>,
    pub(super) default_name_format: Option<Located<String>>,
    pub(super) prune: RawPrune,
}

/// `[snapshot.prune]`, and `[mirrors.ID.snapshot.prune]`
#[derive(Debug)]
pub(super) struct RawPrune {
    pub(super) keep_last: Option<Located<i64>>,
    pub(super) keep_within: Option<Located<String>>,
    pub(super) keep_daily: Option<Located<i64>>,
    pub(super) keep_weekly: Option<Located<i64>>,
    pub(super) keep_monthly: Option<Located<i64>>,
}

/// `[gc]`
#[derive(Debug)]
pub(super) struct RawGc {
    pub(super) auto: Option<Located<bool>>,
    pub(super) keep_partial: Option<Located<String>>,
    pub(super) grace: Option<Located<String>>,
}

/// `[backup]`
#[derive(Debug)]
pub(super) struct RawBackup {
    pub(super) every: Option<Located<String>>,
    pub(super) keep: Option<Located<i64>>,
}

/// `[mount]`
#[derive(Debug)]
pub(super) struct RawMount {
    pub(super) context: Option<Located<String>>,
    pub(super) data: Option<Located<String>>,
    pub(super) memory: Option<Located<String>>,
    pub(super) watchdog: Option<Located<String>>,
}

/// `[mirrors.ID]`
#[derive(Debug)]
pub(super) struct RawMirror {
    /// The id, with the mirror's dotted key and the place of its name.
    pub(super) id: Located<String>,
    pub(super) url: Option<Located<String>>,
    pub(super) urls: Option<Located<Vec<Located<String>>>>,
    pub(super) suites: Option<Located<Vec<Located<String>>>>,
    pub(super) sections: Option<Located<Vec<Located<String>>>>,
    pub(super) architectures: Option<Located<Vec<Located<String>>>>,
    pub(super) mirror_source: Option<Located<bool>>,
    pub(super) content: RawContent,
    pub(super) pgp_key_path: Option<Located<String>>,
    pub(super) no_pgp_check: Option<Located<bool>>,
    pub(super) max_shrink: Option<Located<i64>>,
    pub(super) max_age: Option<Located<String>>,
    pub(super) max_size: Option<Located<String>>,
    pub(super) environments: Option<Located<Vec<Located<String>>>>,
    pub(super) publish: RawPublish,
    pub(super) publish_to_staging: Option<Located<bool>>,
    pub(super) publish_to_production: Option<Located<bool>>,
    pub(super) test: RawTest,
    pub(super) hooks: RawHooks,
    pub(super) filters: RawFilters,
    pub(super) http: RawHttp,
    pub(super) snapshot: RawSnapshot,
    pub(super) tls: RawTls,
}

/// `[mirrors.ID.content]`
#[derive(Debug)]
pub(super) struct RawContent {
    pub(super) translations: Option<Located<Vec<Located<String>>>>,
    pub(super) contents: Option<Located<bool>>,
    pub(super) appstream: Option<Located<bool>>,
    pub(super) command_not_found: Option<Located<bool>>,
    pub(super) installer: Option<Located<bool>>,
    pub(super) pdiffs: Option<Located<bool>>,
}

/// `[mirrors.ID.filters]`
#[derive(Debug)]
pub(super) struct RawFilters {
    pub(super) keep_versions: Option<Located<i64>>,
    pub(super) exclude_patterns: Option<Located<Vec<Located<String>>>>,
    pub(super) include_patterns: Option<Located<Vec<Located<String>>>>,
    pub(super) sections: Option<Located<Vec<Located<String>>>>,
    pub(super) priorities: Option<Located<Vec<Located<String>>>>,
    pub(super) packages: Option<Located<Vec<Located<String>>>>,
    pub(super) with_recommends: Option<Located<bool>>,
    pub(super) with_required: Option<Located<bool>>,
    pub(super) allow_missing: Option<Located<bool>>,
    pub(super) reindex: Option<Located<bool>>,
    pub(super) signing_key_path: Option<Located<String>>,
}

/// Reads the text of a configuration file. `None` when it is not TOML: its syntax errors are noted, and nothing
/// else, because what a damaged text seems to say would only add errors that are none.
pub(super) fn read(text: &str, notes: &mut Notes) -> Option<RawFile> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut damaged = false;
    let mut lines_told = BTreeSet::new();
    for error in &errors {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE {
            let key = text.get(span.clone()).unwrap_or_default().trim();
            let message = format!("the key {} is set a second time", printable(key));
            notes.add(Spot::Byte(span.start), None, message, None);
            notes.expect_gaps();
        } else {
            damaged = true;
            // One slip makes the parser stumble several times on its line; the first says it best.
            let line_start = text.get(..span.start).and_then(|before| before.rfind('\n'));
            // What has no place, such as nesting that is too deep, hides nothing on the first line.
            if error.span().is_none() || lines_told.insert(line_start) {
                notes.add(Spot::Byte(span.start), None, error.message().to_owned(), None);
            }
        }
    }
    if damaged {
        return None;
    }
    let mut walk = Walk::new(notes);
    let file = read_file(&mut Table::root(document.get_ref()), &mut walk);
    walk.finish();
    Some(file)
}

/// Text of the file as it may be shown: without characters that would change how the rest is shown.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// What the TOML parser calls a key or table that occurs twice.
const DUPLICATE: &str = "duplicate key";

fn read_file(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawFile {
    let file = RawFile {
        dir: table.text("dir", walk),
        max_conns: table.integer("max_conns", walk),
        log: table.table("log", walk, read_log),
        http: table.table("http", walk, read_http),
        tls: table.table("tls", walk, read_tls),
        snapshot: table.table("snapshot", walk, read_global_snapshot),
        publish: table.table("publish", walk, read_publish),
        gc: table.table("gc", walk, read_gc),
        backup: table.table("backup", walk, read_backup),
        mount: table.table("mount", walk, read_mount),
        hooks: table.table("hooks", walk, read_hooks),
        groups: table.each_texts("groups", walk),
        mirrors: table.each_table("mirrors", walk, read_mirror),
    };
    table.finish(walk);
    file
}

fn read_log(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawLog {
    RawLog {
        level: table.text("level", walk),
        format: table.text("format", walk),
    }
}

fn read_http(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawHttp {
    RawHttp {
        connect_timeout: table.text("connect_timeout", walk),
        read_timeout: table.text("read_timeout", walk),
        min_rate: table.text("min_rate", walk),
        retries: table.integer("retries", walk),
        backoff: table.text("backoff", walk),
        max_rate: table.text("max_rate", walk),
        proxy: table.text("proxy", walk),
        auth_conf: table.text("auth_conf", walk),
    }
}

fn read_tls(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawTls {
    RawTls {
        min_version: table.text("min_version", walk),
        max_version: table.text("max_version", walk),
        insecure_skip_verify: table.flag("insecure_skip_verify", walk),
        ca_cert_file: table.text("ca_cert_file", walk),
        client_cert_file: table.text("client_cert_file", walk),
        client_key_file: table.text("client_key_file", walk),
        cipher_suites: table.texts("cipher_suites", walk),
        server_name: table.text("server_name", walk),
    }
}

fn read_snapshot(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawSnapshot {
    RawSnapshot {
        path: table.text("path", walk),
        any_file_system: None,
        default_name_format: table.text("default_name_format", walk),
        prune: table.table("prune", walk, read_prune),
    }
}

/// There is one state for all mirrors.
fn read_global_snapshot(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawSnapshot {
    RawSnapshot {
        any_file_system: table.flag("any_file_system", walk),
        ..read_snapshot(table, walk)
    }
}

fn read_prune(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawPrune {
    RawPrune {
        keep_last: table.integer("keep_last", walk),
        keep_within: table.text("keep_within", walk),
        keep_daily: table.integer("keep_daily", walk),
        keep_weekly: table.integer("keep_weekly", walk),
        keep_monthly: table.integer("keep_monthly", walk),
    }
}

fn read_publish(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawPublish {
    RawPublish {
        keep_generations: table.integer("keep_generations", walk),
        keep_for: table.text("keep_for", walk),
    }
}

fn read_hooks(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawHooks {
    RawHooks {
        after_sync: table.texts("after_sync", walk),
        after_stage: table.texts("after_stage", walk),
        after_promote: table.texts("after_promote", walk),
        after_rollback: table.texts("after_rollback", walk),
        on_failure: table.texts("on_failure", walk),
        timeout: table.text("timeout", walk),
    }
}

fn read_test(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawTest {
    RawTest {
        required: table.flag("required", walk),
        commands: table.texts("commands", walk),
        timeout: table.text("timeout", walk),
        min_packages: table.integer("min_packages", walk),
        max_shrink: table.integer("max_shrink", walk),
        min_validity: table.text("min_validity", walk),
        companions: table.texts("companions", walk),
    }
}

fn read_gc(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawGc {
    RawGc {
        auto: table.flag("auto", walk),
        keep_partial: table.text("keep_partial", walk),
        grace: table.text("grace", walk),
    }
}

fn read_backup(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawBackup {
    RawBackup {
        every: table.text("every", walk),
        keep: table.integer("keep", walk),
    }
}

fn read_mount(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawMount {
    RawMount {
        context: table.text("context", walk),
        data: table.text("data", walk),
        memory: table.text("memory", walk),
        watchdog: table.text("watchdog", walk),
    }
}

fn read_mirror(id: Located<String>, table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawMirror {
    RawMirror {
        id,
        url: table.text("url", walk),
        urls: table.texts("urls", walk),
        suites: table.texts("suites", walk),
        sections: table.texts("sections", walk),
        architectures: table.texts("architectures", walk),
        mirror_source: table.flag("mirror_source", walk),
        content: table.table("content", walk, read_content),
        pgp_key_path: table.text("pgp_key_path", walk),
        no_pgp_check: table.flag("no_pgp_check", walk),
        max_shrink: table.integer("max_shrink", walk),
        max_age: table.text("max_age", walk),
        max_size: table.text("max_size", walk),
        environments: table.texts("environments", walk),
        publish: table.table("publish", walk, read_publish),
        publish_to_staging: table.flag("publish_to_staging", walk),
        publish_to_production: table.flag("publish_to_production", walk),
        test: table.table("test", walk, read_test),
        hooks: table.table("hooks", walk, read_hooks),
        filters: table.table("filters", walk, read_filters),
        http: table.table("http", walk, read_http),
        snapshot: table.table("snapshot", walk, read_snapshot),
        tls: table.table("tls", walk, read_tls),
    }
}

fn read_content(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawContent {
    RawContent {
        translations: table.texts("translations", walk),
        contents: table.flag("contents", walk),
        appstream: table.flag("appstream", walk),
        command_not_found: table.flag("command_not_found", walk),
        installer: table.flag("installer", walk),
        pdiffs: table.flag("pdiffs", walk),
    }
}

fn read_filters(table: &mut Table<'_, '_>, walk: &mut Walk<'_>) -> RawFilters {
    RawFilters {
        keep_versions: table.integer("keep_versions", walk),
        exclude_patterns: table.texts("exclude_patterns", walk),
        include_patterns: table.texts("include_patterns", walk),
        sections: table.texts("sections", walk),
        priorities: table.texts("priorities", walk),
        packages: table.texts("packages", walk),
        with_recommends: table.flag("with_recommends", walk),
        with_required: table.flag("with_required", walk),
        allow_missing: table.flag("allow_missing", walk),
        reindex: table.flag("reindex", walk),
        signing_key_path: table.text("signing_key_path", walk),
    }
}

/// What a walk through the file gathers besides its values.
#[derive(Debug)]
struct Walk<'n> {
    notes: &'n mut Notes,
    /// The keys that were asked for, as in the documentation: `mirrors.ID.url`.
    known: BTreeSet<String>,
    strangers: Vec<Stranger>,
}

/// A key that nobody asked for.
#[derive(Debug)]
struct Stranger {
    /// Its name within its table.
    name: String,
    key: String,
    spot: Spot,
    /// The table it stands in, as in the documentation.
    table: String,
    /// For `[mirror.x]`: the first name in it.
    first_child: Option<String>,
    /// The keys of that table.
    siblings: Vec<&'static str>,
}

impl<'n> Walk<'n> {
    fn new(notes: &'n mut Notes) -> Self {
        Self {
            notes,
            known: BTreeSet::new(),
            strangers: Vec::new(),
        }
    }

    /// Notes the unknown keys, with what was probably meant: possible only now that all known ones are known.
    fn finish(self) {
        for stranger in self.strangers {
            let hint = stranger.hint(&self.known);
            self.notes
                .add(stranger.spot, Some(stranger.key), "unknown key", Some(hint));
        }
    }
}

/// Words of other programs for keys of ours.
const SYNONYMS: [(&str, &str); 5] = [
    ("dep11", "appstream"),
    ("cnf", "command_not_found"),
    ("components", "sections"),
    ("keyring", "pgp_key_path"),
    ("signed_by", "pgp_key_path"),
];

impl Stranger {
    /// What was probably meant.
    fn hint(&self, known: &BTreeSet<String>) -> String {
        if self.table.is_empty() && self.name == "mirror" {
            return format!("write [mirrors.{}]", self.first_child.as_deref().unwrap_or("ID"));
        }
        let synonym = SYNONYMS
            .iter()
            .find_map(|(word, ours)| (*word == self.name && self.siblings.contains(ours)).then_some(*ours));
        if let Some(near) = synonym.or_else(|| nearest(&self.name, self.siblings.iter().copied())) {
            return format!("did you mean {near:?}?");
        }
        if let Some(table) = table_with(&self.name, known) {
            return match table {
                "" => "it belongs at the top, before the first [table]".to_owned(),
                table => format!("it belongs in [{table}]"),
            };
        }
        match self.siblings.as_slice() {
            [] => "there are no keys here".to_owned(),
            siblings => format!("known here: {}", siblings.join(", ")),
        }
    }
}

/// The table that has a key called `name`, as in the documentation.
fn table_with<'k>(name: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    known.iter().find_map(|key| match key.rsplit_once('.') {
        Some((table, last)) => (last == name).then_some(table),
        None => (key == name).then_some(""),
    })
}

/// The candidate that `word` is probably a slip of.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    candidates
        .filter(|candidate| {
            // A slip changes few letters of a word; whoever shortens it leaves its beginning as it was.
            let slips = candidate.chars().count().max(word.chars().count()).div_ceil(3);
            let shortened = word.chars().count() >= 3 && candidate.starts_with(word);
            distance(candidate) <= slips || shortened || strsim::jaro_winkler(word, candidate) > 0.88
        })
        .min_by_key(|candidate| distance(candidate))
}

/// A table that is being read.
struct Table<'t, 'i> {
    /// `None` for a table that the file does not have: it is read all the same, so that its keys become known.
    entries: Option<&'t DeTable<'i>>,
    /// Its dotted key; empty for the root.
    key: String,
    /// Its dotted key as in the documentation, with `ID` for the name of a mirror.
    documented: String,
    asked: Vec<&'static str>,
}

impl<'t, 'i> Table<'t, 'i> {
    fn root(entries: &'t DeTable<'i>) -> Self {
        Self {
            entries: Some(entries),
            key: String::new(),
            documented: String::new(),
            asked: Vec::new(),
        }
    }

    fn text(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Option<Located<String>> {
        let found = self.value(name, walk)?;
        as_text(&found, walk)
    }

    fn integer(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Option<Located<i64>> {
        let found = self.value(name, walk)?;
        let Some(integer) = found.value.as_integer() else {
            walk.notes.fault(&found, wrong_type("a whole number", found.value));
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            walk.notes.fault(&found, "is too large a number");
        }
        number.map(|number| found.with(number))
    }

    fn flag(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Option<Located<bool>> {
        let found = self.value(name, walk)?;
        let flag = found.value.as_bool();
        if flag.is_none() {
            walk.notes
                .fault(&found, wrong_type("true or false, without quotes", found.value));
        }
        flag.map(|flag| found.with(flag))
    }

    fn texts(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Option<Located<Vec<Located<String>>>> {
        let found = self.value(name, walk)?;
        as_texts(&found, walk)
    }

    /// Reads every list in the table `name`, whose keys are names that operators choose.
    fn each_texts(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Vec<RawGroup> {
        walk.known.insert(format!("{}.NAME", dotted(&self.documented, name)));
        let Some(entries) = self.entry(name).and_then(|found| as_table(&found, walk)) else {
            return Vec::new();
        };
        let key = dotted(&self.key, name);
        let lists = entries.iter().filter_map(|(name, value)| {
            let located = |spot| Located {
                value: value.get_ref(),
                key: dotted(&key, name.get_ref()),
                spot: Spot::Byte(spot),
            };
            let texts = as_texts(&located(value.span().start), walk)?;
            Some((located(name.span().start).with(name.get_ref().to_string()), texts))
        });
        lists.collect()
    }

    /// Reads the table `name` within this one.
    fn table<T>(
        &mut self,
        name: &'static str,
        walk: &mut Walk<'_>,
        read: impl FnOnce(&mut Table<'_, '_>, &mut Walk<'_>) -> T,
    ) -> T {
        let entries = self.entry(name).and_then(|found| as_table(&found, walk));
        let mut table = Table {
            entries,
            key: dotted(&self.key, name),
            documented: dotted(&self.documented, name),
            asked: Vec::new(),
        };
        let value = read(&mut table, walk);
        table.finish(walk);
        value
    }

    /// Reads every table in the table `name`, whose keys are ids that operators choose.
    fn each_table<T>(
        &mut self,
        name: &'static str,
        walk: &mut Walk<'_>,
        read: impl Fn(Located<String>, &mut Table<'_, '_>, &mut Walk<'_>) -> T,
    ) -> Vec<T> {
        let Some(entries) = self.entry(name).and_then(|found| as_table(&found, walk)) else {
            return Vec::new();
        };
        let key = dotted(&self.key, name);
        let mut values = Vec::new();
        for (id, value) in entries {
            let id = Located {
                value: id.get_ref().to_string(),
                key: dotted(&key, id.get_ref()),
                spot: Spot::Byte(id.span().start),
            };
            let Some(entries) = as_table(&id.with(value.get_ref()), walk) else {
                continue;
            };
            let mut table = Table {
                entries: Some(entries),
                key: id.key.clone(),
                documented: format!("{}.ID", dotted(&self.documented, name)),
                asked: Vec::new(),
            };
            values.push(read(id, &mut table, walk));
            table.finish(walk);
        }
        values
    }

    /// The value of the key `name`, which thereby becomes known.
    fn value(&mut self, name: &'static str, walk: &mut Walk<'_>) -> Option<Located<&'t DeValue<'i>>> {
        walk.known.insert(dotted(&self.documented, name));
        self.entry(name)
    }

    fn entry(&mut self, name: &'static str) -> Option<Located<&'t DeValue<'i>>> {
        self.asked.push(name);
        let value = self.entries?.get(name)?;
        Some(Located {
            value: value.get_ref(),
            key: dotted(&self.key, name),
            spot: Spot::Byte(value.span().start),
        })
    }

    /// Sets aside the keys that nobody asked for.
    fn finish(&self, walk: &mut Walk<'_>) {
        let unknown = self
            .entries
            .into_iter()
            .flatten()
            .filter(|(name, _)| !self.asked.contains(&&**name.get_ref()));
        for (name, value) in unknown {
            walk.strangers.push(Stranger {
                name: name.get_ref().to_string(),
                key: dotted(&self.key, name.get_ref()),
                spot: Spot::Byte(name.span().start),
                table: self.documented.clone(),
                first_child: first_child(value),
                siblings: self.asked.clone(),
            });
        }
    }
}

fn first_child(value: &Spanned<DeValue<'_>>) -> Option<String> {
    let (name, _) = value
        .get_ref()
        .as_table()?
        .iter()
        .min_by_key(|(name, _)| name.span().start)?;
    Some(quoted(name.get_ref()))
}

fn as_text(found: &Located<&DeValue<'_>>, walk: &mut Walk<'_>) -> Option<Located<String>> {
    let text = found.value.as_str();
    if text.is_none() {
        walk.notes.fault(found, wrong_type("text in quotes", found.value));
    }
    text.map(|text| found.with(text.to_owned()))
}

fn as_texts(found: &Located<&DeValue<'_>>, walk: &mut Walk<'_>) -> Option<Located<Vec<Located<String>>>> {
    let Some(items) = found.value.as_array() else {
        walk.notes
            .fault(found, wrong_type("a list, such as [\"one\", \"two\"]", found.value));
        return None;
    };
    let texts: Vec<_> = items
        .iter()
        .map(|item| {
            let located = Located {
                value: item.get_ref(),
                key: found.key.clone(),
                spot: Spot::Byte(item.span().start),
            };
            as_text(&located, walk)
        })
        .collect();
    let all: Option<Vec<_>> = texts.into_iter().collect();
    all.map(|texts| found.with(texts))
}

fn as_table<'t, 'i>(found: &Located<&'t DeValue<'i>>, walk: &mut Walk<'_>) -> Option<&'t DeTable<'i>> {
    let table = found.value.as_table();
    if table.is_none() {
        let needed = format!("a table, written [{}]", found.key);
        walk.notes.fault(found, wrong_type(&needed, found.value));
    }
    table
}

fn wrong_type(needed: &str, value: &DeValue<'_>) -> String {
    let is = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("must be {needed}, but is {is}")
}

fn dotted(table: &str, name: &str) -> String {
    match table {
        "" => quoted(name),
        table => format!("{table}.{}", quoted(name)),
    }
}

/// A key as it is written in TOML: in quotes when it is not a plain word.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// Every key there is, as in the documentation.
#[cfg(test)]
pub(super) fn known_keys() -> BTreeSet<String> {
    let mut notes = Notes::default();
    let mut walk = Walk::new(&mut notes);
    let document = DeTable::parse("[mirrors.x]").expect("TOML");
    read_file(&mut Table::root(document.get_ref()), &mut walk);
    walk.known
}
