//! What a command works with: the environment, the clock, and the configuration.
//!
//! Owns the only look at the environment and at the time of day, which everything below gets as values. It is also
//! where stores are opened and locks are taken. It prints nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::args::Global;
use super::failure::{Failure, Kind};
use super::stores::unconfigured_hint;
use super::sys;
use crate::config::{self, Keyrings, MirrorSettings, Settings, Surroundings, TlsFiles, nearest};
use crate::model::{Clock, MirrorId, Timestamp, TlsSettings};
use crate::upstream;

/// Where running mounts register unless `MIRRORCTL_RUN_DIR` says otherwise.
const DEFAULT_RUN_DIR: &str = "/run/mirrorctl";

/// The environment variables, as they were when the program started.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable; `None` when it is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// Who acts. What `SUDO_USER` says counts for root only, who could be anybody anyway.
    #[must_use]
    pub fn actor(&self) -> String {
        let caller = self.get("SUDO_USER").filter(|_| sys::is_root());
        caller.map_or_else(sys::user_name, |caller| caller.to_string_lossy().into_owned())
    }

    /// The directory where running mounts register.
    ///
    /// # Errors
    /// A [`Failure`] when `MIRRORCTL_RUN_DIR` is not an absolute path.
    pub fn run_dir(&self) -> Result<PathBuf, Failure> {
        let dir = self
            .get("MIRRORCTL_RUN_DIR")
            .map_or(Path::new(DEFAULT_RUN_DIR), Path::new);
        if dir.is_absolute() {
            Ok(dir.to_owned())
        } else {
            let message = format!("MIRRORCTL_RUN_DIR must be an absolute path, but is {}", dir.display());
            Err(Failure::new(Kind::Failed, message))
        }
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The time of day.
///
/// A clock set before 1970 counts as 1970: every comparison then errs on the side of keeping things.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is where the clock enters")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// The time of day as it passes, and by which one can wait.
#[must_use]
pub fn clock() -> Clock {
    Clock::with_pauses(now, std::thread::sleep)
}

/// An error with all that caused it, in one line.
fn causes(error: &dyn Error) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a command with a configuration works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration file.
    pub config: PathBuf,
    /// What it says, with the environment and the flags over it.
    pub settings: Settings,
    /// Where running mounts register.
    pub run_dir: PathBuf,
    /// The home directory of whoever runs the command.
    pub home: Option<PathBuf>,
    /// Who acts, for the history: whoever called sudo, or the user this process runs as.
    pub actor: String,
    /// The time of day when the command started.
    pub now: Timestamp,
    /// The time of day, for what is done later.
    pub clock: Clock,
}

impl Context {
    /// Loads the configuration that flags and environment name.
    ///
    /// # Errors
    /// A [`Failure`] that names everything wrong with it.
    pub fn load(flags: &Global, environment: &Environment, keyrings: Keyrings) -> Result<Self, Failure> {
        Self::load_with(flags, environment, keyrings, TlsFiles::NotLookedAt)
    }

    /// As [`Context::load`] for commands that connect to upstreams: also looks into the files of TLS settings.
    ///
    /// # Errors
    /// A [`Failure`] that names everything wrong with the configuration and those files.
    pub fn load_to_connect(flags: &Global, environment: &Environment, keyrings: Keyrings) -> Result<Self, Failure> {
        let judge = |tls: &TlsSettings| {
            let faults = upstream::check_tls_files(tls).into_iter();
            faults.map(|fault| (fault.file(), causes(&fault))).collect()
        };
        Self::load_with(flags, environment, keyrings, TlsFiles::JudgedBy(&judge))
    }

    fn load_with(
        flags: &Global,
        environment: &Environment,
        keyrings: Keyrings,
        tls_files: TlsFiles<'_>,
    ) -> Result<Self, Failure> {
        let surroundings = Surroundings {
            variable: &|name| environment.get(name).map(ToOwned::to_owned),
            home: environment.get("HOME").map(Path::new),
            keyrings,
            tls_files,
        };
        let mut settings = config::load(&flags.config, &surroundings)?;
        if let Some(level) = flags.log_level {
            settings.log.level = level;
        }
        Ok(Self {
            config: flags.config.clone(),
            settings,
            run_dir: environment.run_dir()?,
            home: environment.get("HOME").map(PathBuf::from),
            actor: environment.actor(),
            now: now(),
            clock: clock(),
        })
    }

    /// The one mirror that is named.
    ///
    /// # Errors
    /// A [`Failure`] when it is not configured, or the name is that of a group.
    pub fn mirror(&self, named: &MirrorId) -> Result<&MirrorSettings, Failure> {
        if let Some(members) = self.settings.groups.get(named) {
            let members: Vec<&str> = members.iter().map(MirrorId::as_str).collect();
            let message = format!(
                "{named} is a group of {}, and this command takes one mirror",
                members.join(", ")
            );
            return Err(Failure::new(Kind::Usage, message).hint("name one of its mirrors"));
        }
        Ok(self.mirrors(std::slice::from_ref(named))?[0])
    }

    /// The named mirrors and those of the named groups, each once, in the order of the configuration; all of them when
    /// none is named.
    ///
    /// # Errors
    /// A [`Failure`] that names every mirror which is not configured.
    pub fn mirrors(&self, named: &[MirrorId]) -> Result<Vec<&MirrorSettings>, Failure> {
        let configured = &self.settings.mirrors;
        let members = |name: &MirrorId| match self.settings.groups.get(name) {
            Some(members) => members.clone(),
            None => vec![name.clone()],
        };
        let meant: Vec<MirrorId> = named.iter().flat_map(members).collect();
        let unknown: Vec<_> = meant.iter().filter(|id| !configured.contains_key(*id)).collect();
        if let Some(first) = unknown.first() {
            let message = match unknown.len() {
                1 => format!("no mirror {first} is configured in {}", self.config.display()),
                n => format!("{n} of the mirrors are not configured in {}", self.config.display()),
            };
            let failure = Failure::new(Kind::Usage, message);
            return Err(unknown
                .into_iter()
                .fold(failure, |failure, id| self.unknown(failure, id)));
        }
        // By the words, not by what they mean: a group of none is none.
        let wanted = |id: &MirrorId| named.is_empty() || meant.contains(id);
        Ok(configured.values().filter(|mirror| wanted(&mirror.id)).collect())
    }

    fn unknown(&self, failure: Failure, id: &MirrorId) -> Failure {
        if self.was_configured(id) {
            let detail = json!({ "mirror": id.as_str(), "nearest": null });
            return failure
                .problem(format!("{id} is not configured"), detail)
                .hint(unconfigured_hint(id.as_str()));
        }
        let names = self.settings.mirrors.keys().chain(self.settings.groups.keys());
        let near = nearest(id.as_str(), names.map(MirrorId::as_str));
        let text = match near {
            Some(near) => format!("{id} is not configured; did you mean {near:?}?"),
            None => format!("{id} is not configured"),
        };
        failure.problem(text, json!({ "mirror": id.as_str(), "nearest": near }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::LogLevel;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        variables.iter().map(owned).collect()
    }

    fn context(flags: &Global, variables: &[(&str, &str)]) -> Result<Context, Failure> {
        Context::load(flags, &environment(variables), Keyrings::NotLookedAt)
    }

    /// Flags that name a configuration with two mirrors.
    fn flags(file: &mut tempfile::NamedTempFile) -> Global {
        let mirror = "url = \"http://h/\"\nsuites = [\"s\"]\nsections = [\"m\"]\narchitectures = [\"a\"]\n";
        write!(
            file,
            "dir = \"/srv/apt\"\n[mirrors.debian]\n{mirror}[mirrors.ubuntu]\n{mirror}"
        )
        .expect("written");
        Global {
            config: file.path().to_owned(),
            log_level: None,
            quiet: false,
            verbose_errors: false,
            json: false,
        }
    }

    #[test]
    fn flags_go_over_the_environment() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let mut flags = flags(&mut file);
        let variables = [
            ("MIRRORCTL_LOG_LEVEL", "warn"),
            ("HOME", "/home/op"),
            ("MIRRORCTL_DIR", "~/apt"),
        ];
        let loaded = context(&flags, &variables).expect("valid");
        assert_eq!(loaded.settings.log.level, LogLevel::Warn);
        assert_eq!(loaded.settings.dir, Path::new("/home/op/apt"));
        flags.log_level = Some(LogLevel::Debug);
        assert_eq!(
            context(&flags, &variables).expect("valid").settings.log.level,
            LogLevel::Debug
        );
    }

    #[test]
    fn the_run_directory_can_be_moved() {
        assert_eq!(environment(&[]).run_dir(), Ok(PathBuf::from("/run/mirrorctl")));
        assert_eq!(
            environment(&[("MIRRORCTL_RUN_DIR", "")]).run_dir(),
            Ok(PathBuf::from("/run/mirrorctl"))
        );
        assert_eq!(
            environment(&[("MIRRORCTL_RUN_DIR", "/x")]).run_dir(),
            Ok(PathBuf::from("/x"))
        );
        assert!(environment(&[("MIRRORCTL_RUN_DIR", "x")]).run_dir().is_err());
    }

    #[test]
    fn mirrors_are_selected_by_name() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let context = context(&flags(&mut file), &[]).expect("valid");
        let select = |names: &[&str]| {
            let ids: Vec<MirrorId> = names.iter().map(|name| name.parse().expect("valid")).collect();
            context
                .mirrors(&ids)
                .map(|found| found.iter().map(|mirror| mirror.id.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(select(&[]).expect("all"), ["debian", "ubuntu"]);
        assert_eq!(select(&["ubuntu", "ubuntu"]).expect("one"), ["ubuntu"]);
        let failure = select(&["debain", "zzz", "ubuntu"]).expect_err("two unknown");
        assert_eq!(failure.kind(), Kind::Usage);
        let text = failure.human(false);
        assert!(
            text.contains("debain is not configured; did you mean \"debian\"?"),
            "{text}"
        );
        assert!(text.contains("  zzz is not configured\n"), "{text}");
    }

    #[test]
    fn only_no_word_at_all_means_all_mirrors() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let mut context = context(&flags(&mut file), &[]).expect("valid");
        let id = |name: &str| -> MirrorId { name.parse().expect("valid") };
        let groups = [("none", vec![]), ("some", vec![id("ubuntu")])];
        context.settings.groups = groups.map(|(name, members)| (id(name), members)).into();
        let select = |names: &[&str]| {
            let named: Vec<MirrorId> = names.iter().map(|name| id(name)).collect();
            let found = context.mirrors(&named).expect("all known");
            found.iter().map(|mirror| mirror.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(select(&[]), ["debian", "ubuntu"]);
        assert!(select(&["none"]).is_empty());
        assert_eq!(select(&["none", "some"]), ["ubuntu"]);
        assert_eq!(select(&["some", "ubuntu"]), ["ubuntu"]);
        let text = context.mirror(&id("some")).expect_err("a group").human(false);
        assert!(
            text.contains("some is a group of ubuntu, and this command takes one mirror"),
            "{text}"
        );
    }

    #[test]
    fn the_clock_runs() {
        // 2023-11-14: earlier than this program.
        assert!(now() > Timestamp::from_unix(1_700_000_000));
    }
}
