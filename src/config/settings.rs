//! What a valid configuration means.
//!
//! Owns the types that the rest of the program is configured by. They hold validated values only: text that broke a
//! rule never gets here (see `resolve`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{BackupSettings, HookSettings, HttpSettings, NameFormat, NameFormatError, PruneSettings, TestSettings};
use crate::model::{
    Architecture, BaseUrl, Component, Content, Filter, Lending, MirrorId, MoveTerms, Percent, Pointer, SelinuxLabel,
    SnapshotName, Suite, Timestamp, TlsSettings,
};

/// The whole configuration: the file with the environment over it and every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The mount point, below which each mirror has its directory. Absolute.
    pub dir: PathBuf,
    /// The state directory: catalog and blob cache. Absolute, and neither inside `dir` nor around it.
    pub state: PathBuf,
    /// Whether the state may be on a file system of another machine or process.
    pub any_file_system: bool,
    /// Connections to one upstream host at a time; at least 1.
    pub max_conns: usize,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How files are fetched, for mirrors that do not say; its rate holds for all mirrors together.
    pub http: HttpSettings,
    /// How generated snapshot names are made, for mirrors that do not say.
    pub name_format: NameFormat,
    /// Which snapshots are kept, for mirrors that do not say.
    pub prune: PruneSettings,
    /// What of earlier publications stays reachable, for mirrors that do not say.
    pub lending: Lending,
    /// What is run when something has happened, for mirrors that do not say.
    pub hooks: HookSettings,
    /// Names under which several mirrors can be named at once; no mirror has one of them. The members in their configured
    /// order.
    pub groups: BTreeMap<MirrorId, Vec<MirrorId>>,
    /// What becomes of blobs that nothing needs any more.
    pub gc: GcSettings,
    /// When the catalog is copied.
    pub backup: BackupSettings,
    /// How the mount serves.
    pub mount: MountSettings,
    /// The mirrors.
    pub mirrors: BTreeMap<MirrorId, MirrorSettings>,
    /// The environment variables that took the place of something in the file.
    pub overrides: Vec<&'static str>,
}

/// One mirror: an upstream archive and what to keep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSettings {
    /// Its id.
    pub id: MirrorId,
    /// The archive root at upstream, at each place that has it, in the order to try; at least one, none twice.
    pub urls: Vec<BaseUrl>,
    /// How its files are fetched.
    pub http: HttpSettings,
    /// The suites, in the configured order; at least one, none twice. Either all of them are flat repositories, or none.
    pub suites: Vec<Suite>,
    /// The components (`sections` in the file), in the configured order; at least one, none twice. Of flat repositories,
    /// none.
    pub components: Vec<Component>,
    /// The architectures exactly as configured; at least one, none twice; of flat repositories, none. Packages for every
    /// architecture (`all`) belong to the mirror whether or not they are named here.
    pub architectures: Vec<Architecture>,
    /// What is mirrored besides packages.
    pub content: Content,
    /// The file with the keys that may sign; `None` means the keyrings that APT itself trusts.
    pub keyring: Option<PathBuf>,
    /// Take unsigned and wrongly signed metadata.
    pub no_pgp_check: bool,
    /// A snapshot that lost a larger share of its pool files is held.
    pub max_shrink: Percent,
    /// From this age on, `status` warns of a Release file; `None` for never.
    pub max_age: Option<Duration>,
    /// Most bytes that one snapshot may have.
    pub max_size: Option<u64>,
    /// Which packages are kept, and what indices say of the others.
    pub filters: FilterSettings,
    /// Its pointers in the order in which snapshots pass through them; `staging` and `current` exist whether they are named
    /// or not.
    pub environments: Vec<Pointer>,
    /// What of earlier publications stays reachable.
    pub lending: Lending,
    /// What a snapshot must be like to be fit for production.
    pub test: TestSettings,
    /// What is run when something has happened.
    pub hooks: HookSettings,
    /// Point `staging` at each new snapshot.
    pub publish_to_staging: bool,
    /// Point `current` at each new snapshot.
    pub publish_to_production: bool,
    /// How generated snapshot names are made.
    pub name_format: NameFormat,
    /// Which snapshots are kept.
    pub prune: PruneSettings,
    /// How connections to upstream are secured.
    pub tls: TlsSettings,
}

impl MirrorSettings {
    /// On which terms `pointer` moves.
    #[must_use]
    pub fn terms(&self, pointer: &Pointer) -> MoveTerms {
        MoveTerms {
            lending: self.lending,
            must_have_passed: self.test.required && *pointer == Pointer::Current,
            min_validity: self.test.min_validity,
        }
    }

    /// Its pointers in the order in which snapshots pass through them, with `staging` and `current` where they are not named.
    #[must_use]
    pub fn pointers(&self) -> Vec<Pointer> {
        let mut pointers = self.environments.clone();
        let unnamed = Pointer::ALWAYS
            .into_iter()
            .filter(|pointer| !self.environments.contains(pointer));
        pointers.extend(unnamed);
        pointers
    }

    /// Whether one of its pointers has this name, so that no snapshot can have it.
    #[must_use]
    pub fn has_environment_called(&self, name: &SnapshotName) -> bool {
        self.environments.iter().any(|pointer| pointer.name() == name.as_str())
    }

    /// The name of a snapshot that is made at `time`, which may be taken by another one.
    ///
    /// # Errors
    /// Far outside of human history, or when there is no such name that is not an environment's.
    pub fn generated_name(&self, time: Timestamp) -> Result<SnapshotName, NameFormatError> {
        let name = self.name_format.name_at(time)?;
        let mut free = name.clone();
        for n in 2.. {
            if !self.has_environment_called(&free) {
                break;
            }
            free = name.with_suffix(n).map_err(|reason| NameFormatError::Name {
                example: name.to_string(),
                reason,
            })?;
        }
        Ok(free)
    }
}

/// Which packages of a mirror are kept, and what its indices say of the others. A filter that leaves anything out comes
/// with one of the two ways to go on from there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterSettings {
    /// Which packages are kept.
    pub filter: Filter,
    /// Serve upstream's indices, which list files that are not there.
    pub allow_missing: bool,
    /// The file with the secret key that signs rebuilt indices; `None` to serve upstream's.
    pub signing_key: Option<PathBuf>,
}

/// What becomes of blobs that nothing needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcSettings {
    /// End each sync with a bounded sweep.
    pub auto: bool,
    /// How long what a failed sync has fetched is kept for the next one.
    pub keep_partial: Duration,
    /// How long a blob stays readable after it was condemned; at least [`GcSettings::SHORTEST_GRACE`].
    pub grace: Duration,
}

impl GcSettings {
    /// What applies when nothing is configured.
    pub const DEFAULT: Self = Self {
        auto: true,
        keep_partial: Duration::from_hours(14 * 24),
        grace: Self::SHORTEST_GRACE,
    };

    /// The mount promises a day to readers of a file that has left the tree.
    pub const SHORTEST_GRACE: Duration = Duration::from_hours(24);
}

/// How the mount serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSettings {
    /// What SELinux shall take every mounted file for.
    pub context: Option<SelinuxLabel>,
    /// How the bytes of files reach their readers.
    pub data: MountData,
    /// Bytes that listings of directories may take in its memory; at least [`MountSettings::LEAST_MEMORY`].
    pub memory: u64,
    /// How long the process that serves may not show that it does before it is killed and replaced; zero for ever, else at least
    /// [`MountSettings::SHORTEST_WATCHDOG`].
    pub watchdog: Duration,
}

impl MountSettings {
    /// What applies when nothing is configured: long enough for a disk that is slow to answer, and short enough for web
    /// servers, whose clients give up after half a minute or later.
    pub const DEFAULT_WATCHDOG: Duration = Duration::from_secs(20);

    /// There is a sign of life each second, and one may be late.
    pub const SHORTEST_WATCHDOG: Duration = Duration::from_secs(2);

    /// What applies when nothing is configured: some 300,000 names of usual length.
    pub const DEFAULT_MEMORY: u64 = 24 << 20;

    /// Less than this and directories are read from the catalog again and again.
    pub const LEAST_MEMORY: u64 = 1 << 20;
}

/// How the bytes of files reach their readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountData {
    /// In the best way that the kernel offers.
    #[default]
    Auto,
    /// Files are not opened by the mount.
    NoOpen,
    /// The mount is asked for each opening, and what the kernel remembers stays.
    KeepCache,
    /// The kernel reads the blobs by itself.
    Passthrough,
}

/// What is logged, and how. Always to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// From which level on.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// The least important events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything, for finding faults.
    Debug,
    /// The course of each command.
    #[default]
    Info,
    /// What an operator should look at.
    Warn,
    /// Failures only.
    Error,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// For people and files; never coloured.
    Plain,
    /// One JSON object a line, with the time.
    Json,
}

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {allowed}")]
pub struct WordError {
    word: String,
    allowed: String,
}

macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $name {
            /// Every value, in the documented order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(word: &str) -> Result<Self, WordError> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(WordError {
                        word: word.to_owned(),
                        allowed: [$($word),+].join(", "),
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

words!(LogLevel { Debug = "debug", Info = "info", Warn = "warn", Error = "error" });
words!(MountData { Auto = "auto", NoOpen = "no-open", KeepCache = "keep-cache", Passthrough = "passthrough" });
words!(LogFormat { Text = "text", Plain = "plain", Json = "json" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_agree() {
        for level in LogLevel::ALL {
            assert_eq!(level.name().parse(), Ok(*level));
        }
        for format in LogFormat::ALL {
            assert_eq!(format.name().parse(), Ok(*format));
        }
        let error = "Info".parse::<LogLevel>().expect_err("upper case");
        assert_eq!(error.to_string(), "\"Info\" is none of debug, info, warn, error");
        assert!(LogLevel::Debug < LogLevel::Error);
    }
}
