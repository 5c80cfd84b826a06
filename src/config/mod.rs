//! The configuration: from the text of `mirror.toml` and the environment to validated settings.
//!
//! Owns every key with its default and its rule (`docs/configuration.md` lists them), and reports everything that is
//! wrong at once, with file, line, column and key. What this release does not build is refused, never ignored. It
//! reads the configuration file and looks whether keyrings are there; it changes nothing, and takes the environment,
//! and whoever can judge the files of TLS settings, as values.

mod backup;
mod duration;
mod error;
mod file;
mod filters;
mod hooks;
mod http;
mod name_format;
mod pruning;
mod publishing;
mod resolve;
mod settings;
mod size;
mod testing;
mod tls;
mod urls;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

pub use backup::BackupSettings;
pub use duration::{DurationError, parse_duration};
pub use error::{ConfigError, ConfigErrors, LoadError, Origin};
pub use file::nearest;
pub use hooks::HookSettings;
pub use http::{HttpSettings, ProxySettings};
pub use name_format::{NameFormat, NameFormatError};
pub use pruning::PruneSettings;
pub use settings::{
    FilterSettings, GcSettings, LogFormat, LogLevel, LogSettings, MirrorSettings, MountData, MountSettings, Settings,
    WordError,
};
pub use size::{SizeError, parse_size};
pub use testing::TestSettings;

use crate::model::{TlsFile, TlsSettings};
use error::{Notes, Spot};

/// Far above any configuration, far below what would hurt: a thousand mirrors need a quarter of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What a configuration depends on besides its file.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment: the value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The directory that `~/` stands for.
    pub home: Option<&'a Path>,
    /// Whether keyrings must be there.
    pub keyrings: Keyrings,
    /// Who looks into the files that TLS settings name.
    pub tls_files: TlsFiles<'a>,
}

/// Whether loading a configuration looks into the files that TLS settings name.
#[derive(Clone, Copy)]
pub enum TlsFiles<'a> {
    /// They are not looked at: for commands that connect to no upstream.
    NotLookedAt,
    /// This answers what is wrong with the files of some settings: for commands that connect.
    JudgedBy(&'a dyn Fn(&TlsSettings) -> Vec<(TlsFile, String)>),
}

/// Whether loading a configuration looks for the keyrings it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyrings {
    /// A keyring that cannot be read is an error: for commands that check signatures.
    MustBeReadable,
    /// Keyrings are not looked at: a mount must come up, and any user may list snapshots, without them.
    NotLookedAt,
}

/// Reads the configuration file at `path`.
///
/// # Errors
/// [`LoadError`]: the file cannot be read, or breaks rules, all of which are named.
pub fn load(path: &Path, surroundings: &Surroundings<'_>) -> Result<Settings, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(parse(&bytes, path, surroundings)?)
}

/// Reads a configuration from the contents of a file; `path` is for messages only.
///
/// # Errors
/// Everything that breaks a rule.
pub fn parse(bytes: &[u8], path: &Path, surroundings: &Surroundings<'_>) -> Result<Settings, ConfigErrors> {
    let mut notes = Notes::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to here");
            notes.add(Spot::Byte(good.len()), None, "the file is not UTF-8 text", None);
            return Err(notes.into_errors(path, good));
        }
    };
    if text.starts_with('\u{feff}') {
        let hint = "save it as UTF-8 without one".to_owned();
        notes.add(
            Spot::Byte(0),
            None,
            "the file starts with a byte order mark",
            Some(hint),
        );
        return Err(notes.into_errors(path, text));
    }
    let settings = file::read(text, &mut notes).and_then(|raw| resolve::resolve(raw, surroundings, &mut notes));
    match settings {
        Some(settings) if notes.is_empty() => Ok(settings),
        _ => Err(notes.into_errors(path, text)),
    }
}

#[cfg(test)]
mod tests;
