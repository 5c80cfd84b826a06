//! From raw values to settings: defaults, inheritance, the environment, and every rule a value must keep.
//!
//! Owns the meaning of each key. It notes all errors and goes on, so that one run names them all. A key of a later
//! release may be set to what happens without it; anything else is refused, because a mirror that ignores what its
//! operator asked for does harm quietly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Component as PathPart, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::error::{Located, Notes, Spot};
use super::file::{RawContent, RawFile, RawGc, RawLog, RawMirror, RawMount, RawSnapshot};
use super::{
    GcSettings, HookSettings, HttpSettings, Keyrings, LogSettings, MirrorSettings, MountSettings, NameFormat,
    PruneSettings, Settings, Surroundings, filters, hooks, http, parse_duration, parse_size, pruning, publishing,
    testing, tls, urls,
};
use crate::model::{BaseUrl, BaseUrlError, Content, Lending, MirrorId, Percent, Translations};

/// Where state lives when nothing is configured.
const DEFAULT_STATE: &str = "/var/lib/mirrorctl/snapshots";
/// Connections to one upstream host when nothing is configured.
const DEFAULT_MAX_CONNS: usize = 10;

/// What is said of everything that a later release builds.
const NOT_YET: &str = "is not supported yet";

/// The settings that `raw` and the environment describe. `None` only when something was noted.
pub(super) fn resolve(mut raw: RawFile, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<Settings> {
    let overrides = overlay(&mut raw, surroundings, notes);
    if raw.dir.is_none() {
        notes.missing("dir".to_owned(), Spot::Byte(0));
    }
    let dir = raw.dir.as_ref().and_then(|dir| absolute(dir, surroundings, notes));
    let state = match &raw.snapshot.path {
        Some(path) => absolute(path, surroundings, notes),
        None => Some(PathBuf::from(DEFAULT_STATE)),
    };
    keep_apart(&raw, dir.as_deref(), state.as_deref(), notes);
    let http = http::settings(&raw.http, &http_defaults(surroundings, notes), surroundings, notes);
    let inherited = Inherited {
        http: http.clone(),
        name_format: name_format(&raw.snapshot, &NameFormat::default(), notes),
        prune: pruning::settings(&raw.snapshot.prune, PruneSettings::DEFAULT, notes),
        lending: publishing::lending(&raw.publish, Lending::DEFAULT, notes),
        hooks: hooks::settings(&raw.hooks, &HookSettings::NONE, notes),
        state: state.clone(),
        tls: tls::Global::new(&raw.tls, surroundings, notes),
    };
    let max_conns = max_conns(raw.max_conns.as_ref(), notes);
    let log = log(&raw.log, notes);
    let gc = gc(&raw.gc, notes);
    let backup = super::backup::settings(&raw.backup, notes);
    let mount = mount(&raw.mount, notes);
    let mut mirrors = mirrors(&raw.mirrors, &inherited, surroundings, notes);
    let is_mirror = |name: &str| raw.mirrors.iter().any(|mirror| mirror.id.value == name);
    testing::check_companions(&raw.mirrors, &raw.groups, notes);
    let groups = publishing::groups(&raw.groups, is_mirror, notes);
    testing::put_members_for_groups(&mut mirrors, &groups);
    Some(Settings {
        dir: dir?,
        state: state?,
        any_file_system: raw.snapshot.any_file_system.as_ref().is_some_and(|any| any.value),
        max_conns,
        log,
        http,
        name_format: inherited.name_format,
        prune: inherited.prune,
        lending: inherited.lending,
        hooks: inherited.hooks,
        groups,
        gc,
        backup,
        mount,
        mirrors,
        overrides,
    })
}

/// What applies where `[http]` says nothing: the environment may name proxies.
fn http_defaults(surroundings: &Surroundings<'_>, notes: &mut Notes) -> HttpSettings {
    HttpSettings {
        proxy: http::proxies_of_environment(surroundings, notes),
        ..HttpSettings::defaults()
    }
}

/// What mirrors take from the global tables.
struct Inherited<'r> {
    http: HttpSettings,
    name_format: NameFormat,
    prune: PruneSettings,
    lending: Lending,
    hooks: HookSettings,
    state: Option<PathBuf>,
    tls: tls::Global<'r>,
}

/// Puts the environment's values in the place of the file's. Returns the variables that are set.
fn overlay(raw: &mut RawFile, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Vec<&'static str> {
    let mut environment = Environment {
        surroundings,
        notes,
        used: Vec::new(),
    };
    environment.text("MIRRORCTL_DIR", "dir", &mut raw.dir);
    environment.parsed("MIRRORCTL_MAX_CONNS", "max_conns", "a whole number", &mut raw.max_conns);
    environment.text("MIRRORCTL_LOG_LEVEL", "log.level", &mut raw.log.level);
    environment.text("MIRRORCTL_LOG_FORMAT", "log.format", &mut raw.log.format);
    let tls = &mut raw.tls;
    environment.text("MIRRORCTL_TLS_MIN_VERSION", "tls.min_version", &mut tls.min_version);
    environment.text("MIRRORCTL_TLS_MAX_VERSION", "tls.max_version", &mut tls.max_version);
    environment.parsed(
        "MIRRORCTL_TLS_INSECURE_SKIP_VERIFY",
        "tls.insecure_skip_verify",
        "true or false",
        &mut tls.insecure_skip_verify,
    );
    environment.text("MIRRORCTL_TLS_CA_CERT_FILE", "tls.ca_cert_file", &mut tls.ca_cert_file);
    environment.text(
        "MIRRORCTL_TLS_CLIENT_CERT_FILE",
        "tls.client_cert_file",
        &mut tls.client_cert_file,
    );
    environment.text(
        "MIRRORCTL_TLS_CLIENT_KEY_FILE",
        "tls.client_key_file",
        &mut tls.client_key_file,
    );
    environment.list(
        "MIRRORCTL_TLS_CIPHER_SUITES",
        "tls.cipher_suites",
        &mut tls.cipher_suites,
    );
    environment.text("MIRRORCTL_TLS_SERVER_NAME", "tls.server_name", &mut tls.server_name);
    environment.used
}

/// The environment while it is laid over the file.
struct Environment<'a, 's> {
    surroundings: &'a Surroundings<'s>,
    notes: &'a mut Notes,
    used: Vec<&'static str>,
}

impl Environment<'_, '_> {
    fn text(&mut self, variable: &'static str, key: &str, target: &mut Option<Located<String>>) {
        if let Some(found) = self.value(variable, key) {
            *target = Some(found);
        }
    }

    fn parsed<T: FromStr>(&mut self, variable: &'static str, key: &str, needed: &str, target: &mut Option<Located<T>>) {
        let Some(found) = self.value(variable, key) else {
            return;
        };
        match found.value.parse() {
            Ok(value) => *target = Some(found.with(value)),
            Err(_) => self
                .notes
                .fault(&found, format!("must be {needed}, but is {:?}", found.value)),
        }
    }

    /// A list with commas between its items.
    fn list(&mut self, variable: &'static str, key: &str, target: &mut Option<Located<Vec<Located<String>>>>) {
        if let Some(found) = self.value(variable, key) {
            let items = found.value.split(',').map(|item| found.with(item.trim().to_owned()));
            *target = Some(found.with(items.collect()));
        }
    }

    /// The value of a variable; an empty one counts as unset, as shells cannot always unset.
    fn value(&mut self, variable: &'static str, key: &str) -> Option<Located<String>> {
        let value = (self.surroundings.variable)(variable).filter(|value| !value.is_empty())?;
        self.used.push(variable);
        let spot = Spot::Variable(variable);
        let Ok(value) = value.into_string() else {
            self.notes.add(spot, Some(key.to_owned()), "is not UTF-8 text", None);
            return None;
        };
        Some(Located {
            value,
            key: key.to_owned(),
            spot,
        })
    }
}

/// Notes that a required key of a mirror is missing.
pub(super) fn missing_in<T>(mirror: &Located<String>, key: &str, notes: &mut Notes) -> Option<T> {
    notes.missing(format!("{}.{key}", mirror.key), mirror.spot);
    None
}

/// The path `located` names: absolute, with `~/` expanded, without `.` parts and superfluous slashes.
pub(super) fn absolute(
    located: &Located<String>,
    surroundings: &Surroundings<'_>,
    notes: &mut Notes,
) -> Option<PathBuf> {
    let text = located.value.as_str();
    let expanded = match (text.strip_prefix("~/"), surroundings.home) {
        (None, _) => PathBuf::from(text),
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(_), None) => {
            notes.fault(located, "starts with \"~/\", but HOME is not set");
            return None;
        }
    };
    let complaint = if text.contains(char::is_control) {
        Some("must not have control characters".to_owned())
    } else if !expanded.is_absolute() {
        Some(format!("must be an absolute path, but is {text:?}"))
    } else if expanded.components().any(|part| part == PathPart::ParentDir) {
        Some(format!("must not have a \"..\" part, but is {text:?}"))
    } else {
        None
    };
    match complaint {
        None => Some(expanded.components().collect()),
        Some(complaint) => {
            notes.fault(located, complaint);
            None
        }
    }
}

/// The mount would hide a state directory inside of it, and a mount inside of the state would look like state.
fn keep_apart(raw: &RawFile, dir: Option<&Path>, state: Option<&Path>, notes: &mut Notes) {
    let (Some(dir), Some(state)) = (dir, state) else {
        return;
    };
    let message = if dir == state {
        "the mount point and the state directory are the same"
    } else if state.starts_with(dir) {
        "the state directory is inside the mount point, which would hide it"
    } else if dir.starts_with(state) {
        "the mount point is inside the state directory"
    } else {
        return;
    };
    let told = raw.snapshot.path.as_ref().or(raw.dir.as_ref());
    if let Some(told) = told {
        let hint = format!("dir is {}, [snapshot] path is {}", dir.display(), state.display());
        notes.fault_with_hint(told, message, &hint);
    }
}

fn max_conns(raw: Option<&Located<i64>>, notes: &mut Notes) -> usize {
    raw.and_then(|number| at_least_one(number, notes))
        .unwrap_or(DEFAULT_MAX_CONNS)
}

pub(super) fn at_least_one(number: &Located<i64>, notes: &mut Notes) -> Option<usize> {
    let size = usize::try_from(number.value).ok().filter(|size| *size > 0);
    if size.is_none() {
        notes.fault(number, format!("must be at least 1, but is {}", number.value));
    }
    size
}

fn log(raw: &RawLog, notes: &mut Notes) -> LogSettings {
    LogSettings {
        level: parsed(raw.level.as_ref(), notes).unwrap_or_default(),
        format: parsed(raw.format.as_ref(), notes).unwrap_or_default(),
    }
}

/// The value that a text stands for, where the type's own error says what is wrong.
fn parsed<T>(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    let raw = raw?;
    match raw.value.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            notes.fault(raw, error.to_string());
            None
        }
    }
}

pub(super) fn duration(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<Duration> {
    let raw = raw?;
    match parse_duration(&raw.value) {
        Ok(duration) => Some(duration),
        Err(error) => {
            notes.fault(raw, format!("{error}, but is {:?}", raw.value));
            None
        }
    }
}

fn size(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<u64> {
    let raw = raw?;
    match parse_size(&raw.value) {
        Ok(size) => Some(size),
        Err(error) => {
            notes.fault(raw, format!("{error}, but is {:?}", raw.value));
            None
        }
    }
}

fn name_format(raw: &RawSnapshot, inherited: &NameFormat, notes: &mut Notes) -> NameFormat {
    parsed(raw.default_name_format.as_ref(), notes).unwrap_or_else(|| inherited.clone())
}

fn gc(raw: &RawGc, notes: &mut Notes) -> GcSettings {
    let grace = duration(raw.grace.as_ref(), notes);
    if let (Some(raw), Some(grace)) = (&raw.grace, grace)
        && grace < GcSettings::SHORTEST_GRACE
    {
        let message = format!("must be at least 24h, but is {:?}", raw.value);
        notes.fault_with_hint(raw, message, "to free space at once, run gc --now");
    }
    GcSettings {
        auto: raw.auto.as_ref().map_or(GcSettings::DEFAULT.auto, |auto| auto.value),
        keep_partial: duration(raw.keep_partial.as_ref(), notes).unwrap_or(GcSettings::DEFAULT.keep_partial),
        grace: grace.unwrap_or(GcSettings::DEFAULT.grace),
    }
}

fn mount(raw: &RawMount, notes: &mut Notes) -> MountSettings {
    let memory = size(raw.memory.as_ref(), notes);
    if let (Some(raw), Some(memory)) = (&raw.memory, memory)
        && memory < MountSettings::LEAST_MEMORY
    {
        notes.fault(raw, format!("must be at least 1MiB, but is {:?}", raw.value));
    }
    let watchdog = duration(raw.watchdog.as_ref(), notes);
    if let (Some(raw), Some(watchdog)) = (&raw.watchdog, watchdog)
        && !watchdog.is_zero()
        && watchdog < MountSettings::SHORTEST_WATCHDOG
    {
        notes.fault(raw, format!("must be 0 (never) or at least 2s, but is {:?}", raw.value));
    }
    MountSettings {
        context: parsed(raw.context.as_ref(), notes),
        data: parsed(raw.data.as_ref(), notes).unwrap_or_default(),
        memory: memory.unwrap_or(MountSettings::DEFAULT_MEMORY),
        watchdog: watchdog.unwrap_or(MountSettings::DEFAULT_WATCHDOG),
    }
}

fn mirrors(
    raw: &[RawMirror],
    inherited: &Inherited<'_>,
    surroundings: &Surroundings<'_>,
    notes: &mut Notes,
) -> BTreeMap<MirrorId, MirrorSettings> {
    raw.iter()
        .filter_map(|raw| mirror(raw, inherited, surroundings, notes))
        .map(|mirror| (mirror.id.clone(), mirror))
        .collect()
}

fn mirror(
    raw: &RawMirror,
    inherited: &Inherited<'_>,
    surroundings: &Surroundings<'_>,
    notes: &mut Notes,
) -> Option<MirrorSettings> {
    let id = parsed(Some(&raw.id), notes);
    let urls = urls::urls(raw, notes);
    let suites = match &raw.suites {
        Some(suites) => names(suites, notes),
        None => missing_in(&raw.id, "suites", notes),
    };
    let flat = is_flat(raw.suites.as_ref(), notes);
    let components = match &raw.sections {
        Some(sections) if flat => refuse_of_flat(sections, "sections", notes),
        Some(sections) => names(sections, notes),
        None if flat => Some(Vec::new()),
        None => missing_in(&raw.id, "sections", notes),
    };
    let architectures = match &raw.architectures {
        Some(architectures) if flat => refuse_of_flat(architectures, "architectures", notes),
        Some(architectures) => names(architectures, notes),
        None if flat => Some(Vec::new()),
        None => missing_in(&raw.id, "architectures", notes),
    };
    let content = content(&raw.content, raw.mirror_source.as_ref(), notes);
    let keyring = raw
        .pgp_key_path
        .as_ref()
        .and_then(|path| keyring(path, surroundings, notes));
    let name_format = name_format(&raw.snapshot, &inherited.name_format, notes);
    let prune = pruning::settings(&raw.snapshot.prune, inherited.prune, notes);
    refuse_own_state(&raw.snapshot, inherited.state.as_deref(), surroundings, notes);
    let max_size = size(raw.max_size.as_ref(), notes);
    let filters = filters::resolve(&raw.filters, surroundings, notes);
    let tls = inherited.tls.of_mirror(&raw.tls, surroundings, notes);
    let max_shrink = percent(raw.max_shrink.as_ref(), notes).unwrap_or(Percent::HALF);
    Some(MirrorSettings {
        id: id?,
        urls: urls?,
        http: http::settings(&raw.http, &inherited.http, surroundings, notes),
        suites: suites?,
        components: components?,
        architectures: architectures?,
        content: content?,
        keyring,
        no_pgp_check: is_set(raw.no_pgp_check.as_ref()),
        max_shrink,
        max_age: duration(raw.max_age.as_ref(), notes),
        max_size,
        filters,
        environments: publishing::environments(raw.environments.as_ref(), notes),
        lending: publishing::lending(&raw.publish, inherited.lending, notes),
        test: testing::settings(raw, max_shrink, notes),
        hooks: hooks::settings(&raw.hooks, &inherited.hooks, notes),
        publish_to_staging: is_set(raw.publish_to_staging.as_ref()),
        publish_to_production: is_set(raw.publish_to_production.as_ref()),
        name_format,
        prune,
        tls,
    })
}

pub(super) fn percent(raw: Option<&Located<i64>>, notes: &mut Notes) -> Option<Percent> {
    let raw = raw?;
    let percent = u8::try_from(raw.value).ok().and_then(Percent::new);
    if percent.is_none() {
        notes.fault(raw, format!("must be a percentage from 0 to 100, but is {}", raw.value));
    }
    percent
}

/// Lines for a shell, possibly none.
pub(super) fn commands(raw: Option<&Located<Vec<Located<String>>>>, notes: &mut Notes) -> Option<Vec<String>> {
    let raw = raw?;
    for line in &raw.value {
        if line.value.trim().is_empty() {
            notes.fault(line, "must not be empty");
        } else if line.value.contains('\0') {
            notes.fault(line, "must not have a NUL character");
        }
    }
    Some(raw.value.iter().map(|line| line.value.clone()).collect())
}

pub(super) fn is_set(flag: Option<&Located<bool>>) -> bool {
    flag.is_some_and(|flag| flag.value)
}

pub(super) fn base_url(raw: &Located<String>, notes: &mut Notes) -> Option<BaseUrl> {
    match raw.value.parse() {
        Ok(url) => Some(url),
        Err(BaseUrlError::Syntax(reason)) => {
            notes.fault(raw, format!("is not a URL ({reason})"));
            None
        }
        Err(error) => {
            notes.fault(raw, error.to_string());
            None
        }
    }
}

/// The names in a list: at least one, each by the rule of its kind, none twice.
pub(super) fn names<T>(raw: &Located<Vec<Located<String>>>, notes: &mut Notes) -> Option<Vec<T>>
where
    T: FromStr + Ord + Clone,
    T::Err: Display,
{
    if raw.value.is_empty() {
        notes.fault(raw, "must name at least one");
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(raw.value.len());
    for item in &raw.value {
        match item.value.parse::<T>() {
            Ok(name) if seen.insert(name.clone()) => names.push(name),
            Ok(_) => notes.fault(item, format!("names {:?} twice", item.value)),
            Err(reason) => notes.fault(item, format!("{:?} cannot be: {reason}", item.value)),
        }
    }
    (names.len() == raw.value.len()).then_some(names)
}

/// The file of a keyring, which is there when that is asked for.
fn keyring(raw: &Located<String>, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<PathBuf> {
    let path = absolute(raw, surroundings, notes)?;
    match surroundings.keyrings {
        Keyrings::NotLookedAt => Some(path),
        Keyrings::MustBeReadable => match readable_file(&path) {
            Ok(()) => Some(path),
            Err(reason) => {
                notes.fault(raw, format!("cannot read the keyring {}: {reason}", path.display()));
                None
            }
        },
    }
}

fn readable_file(path: &Path) -> io::Result<()> {
    // Looked at before it is opened: opening a named pipe would wait for somebody to write to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path).map(drop)
}

/// Whether the mirror is of flat repositories, which cannot be mixed with others: these have no sections.
fn is_flat(suites: Option<&Located<Vec<Located<String>>>>, notes: &mut Notes) -> bool {
    let Some(suites) = suites else {
        return false;
    };
    let flat = suites.value.iter().filter(|suite| suite.value.ends_with('/')).count();
    if flat != 0 && flat != suites.value.len() {
        let hint = "make them two mirrors";
        let message = "mixes flat repositories (ending in \"/\") with suites below dists/";
        notes.fault_with_hint(suites, message, hint);
    }
    flat != 0
}

fn refuse_of_flat<T, N>(raw: &Located<T>, what: &str, notes: &mut Notes) -> Option<N> {
    let message = format!("flat repositories (suites that end in \"/\") have no {what}");
    notes.fault_with_hint(raw, message, "leave the key out");
    None
}

fn content(raw: &RawContent, mirror_source: Option<&Located<bool>>, notes: &mut Notes) -> Option<Content> {
    let default = Content::default();
    let flag = |raw: &Option<Located<bool>>, default| raw.as_ref().map_or(default, |flag| flag.value);
    // A client that is led to a difference of which the mirror lacks a part fails, where it would take the index else.
    refuse_unless(raw.pdiffs.as_ref(), |on| !on, notes);
    Some(Content {
        sources: is_set(mirror_source),
        contents: flag(&raw.contents, default.contents),
        appstream: flag(&raw.appstream, default.appstream),
        command_not_found: flag(&raw.command_not_found, default.command_not_found),
        installer: flag(&raw.installer, default.installer),
        translations: match &raw.translations {
            None => default.translations,
            Some(languages) => translations(languages, notes)?,
        },
    })
}

/// Languages, possibly none, or `*` alone for all.
fn translations(raw: &Located<Vec<Located<String>>>, notes: &mut Notes) -> Option<Translations> {
    match raw.value.as_slice() {
        [] => Some(Translations::Of(Vec::new())),
        [all] if all.value == "*" => Some(Translations::All),
        _ => names(raw, notes).map(Translations::Of),
    }
}

/// All mirrors share one catalog and one blob cache, so the only path a mirror can name is the global one.
fn refuse_own_state(raw: &RawSnapshot, global: Option<&Path>, surroundings: &Surroundings<'_>, notes: &mut Notes) {
    if let Some(path) = &raw.path
        && let Some(own) = absolute(path, surroundings, notes)
        && global.is_some_and(|global| global != own)
    {
        let hint = "all mirrors share the one of the table [snapshot]";
        notes.fault_with_hint(path, "a state directory of its own is not possible for a mirror", hint);
    }
}

/// Refuses a key of a later release, unless its value asks for what happens without it.
fn refuse_unless<T>(raw: Option<&Located<T>>, harmless: impl Fn(&T) -> bool, notes: &mut Notes) {
    if let Some(raw) = raw
        && !harmless(&raw.value)
    {
        notes.fault(raw, NOT_YET);
    }
}
