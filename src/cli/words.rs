//! Words of the command line that name mirrors together with snapshots.
//!
//! Owns their grammar: `MIRROR NAME`, `MIRROR=NAME …` and `[MIRROR=]NAME`. Which mirrors and snapshots there are, it does
//! not know.

use std::str::FromStr;

use clap::builder::TypedValueParser as _;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::model::{Leads, MirrorId, NameError, SnapshotName};

/// A mirror or group, and the snapshot that its pointers shall lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// The mirror or group.
    pub mirror: MirrorId,
    /// The snapshot.
    pub name: SnapshotName,
}

/// What `snapshot stage` and `snapshot publish` are given: `MIRROR NAME`, or `MIRROR=NAME` for each of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aims(pub Vec<Aim>);

/// `--expect [MIRROR=]NAME`, with `-` in the place of a name for nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The mirror or group; `None` for the only one that moves.
    pub mirror: Option<MirrorId>,
    /// Where its pointer must lead.
    pub leads: Leads,
}

impl FromStr for Expectation {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        let (mirror, leads) = with_mirror(word)?;
        Ok(Self { mirror, leads })
    }
}

/// A word of `snapshot stage` and `snapshot publish`: `MIRROR=NAME`, or one of `MIRROR NAME`, either of which a snapshot could
/// be called.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    mirror: Option<MirrorId>,
    name: SnapshotName,
}

impl FromStr for Word {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        let (mirror, name) = with_mirror(word)?;
        Ok(Self { mirror, name })
    }
}

/// Reads `[MIRROR=]OTHER`.
fn with_mirror<T: FromStr<Err = NameError>>(word: &str) -> Result<(Option<MirrorId>, T), NameError> {
    match word.split_once('=') {
        Some((mirror, other)) => Ok((Some(mirror.parse()?), other.parse()?)),
        None => Ok((None, word.parse()?)),
    }
}

const WORDS: &str = "target";
const USAGE: &str = "<MIRROR> <NAME>, or <MIRROR>=<NAME>... for several";

impl Aims {
    /// The mirrors and groups, as they were named.
    #[must_use]
    pub fn mirrors(&self) -> Vec<MirrorId> {
        self.0.iter().map(|aim| aim.mirror.clone()).collect()
    }

    /// What words in this order mean, or what is wrong with them.
    fn of(words: &[Word]) -> Result<Self, (ErrorKind, String)> {
        let pairs = words.iter().map(|word| {
            let mirror = word.mirror.clone()?;
            let name = word.name.clone();
            Some(Aim { mirror, name })
        });
        if let Some(aims) = pairs.collect() {
            return Ok(Self(aims));
        }
        match words {
            [mirror, name] if mirror.mirror.is_none() && name.mirror.is_none() => {
                let word = mirror.name.as_str();
                let mirror = word.parse().map_err(|error: NameError| {
                    let message = format!("invalid value '{word}' for '<MIRROR>': {error}");
                    (ErrorKind::ValueValidation, message)
                })?;
                let name = name.name.clone();
                Ok(Self(vec![Aim { mirror, name }]))
            }
            [_] => {
                let message = "the following required arguments were not provided: <NAME>".to_owned();
                Err((ErrorKind::MissingRequiredArgument, message))
            }
            _ => {
                let message = "several mirrors need a snapshot each, as in MIRROR=NAME".to_owned();
                Err((ErrorKind::TooManyValues, message))
            }
        }
    }
}

impl Args for Aims {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new(WORDS)
                .value_name("TARGET")
                .help("MIRROR NAME: a mirror or group, and the snapshot; or MIRROR=NAME for each of several, all in one step")
                .required(true)
                .num_args(1..)
                .value_parser(clap::builder::StringValueParser::new().try_map(|word| word.parse::<Word>())),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Aims {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let words = matches.get_many::<Word>(WORDS).unwrap_or_default();
        let words: Vec<Word> = words.cloned().collect();
        // The command that is being parsed is not known here, and clap would show the usage of the program.
        Self::of(&words).map_err(|(kind, message)| Command::new("snapshot").override_usage(USAGE).error(kind, message))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aims(line: &str) -> Result<String, String> {
        let words: Result<Vec<Word>, _> = line.split_whitespace().map(str::parse).collect();
        let aims = Aims::of(&words.map_err(|error| error.to_string())?).map_err(|(_, message)| message)?;
        let shown = aims.0.iter().map(|aim| format!("{}={}", aim.mirror, aim.name));
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn mirrors_and_snapshots_come_in_pairs() {
        for (line, meant) in [
            ("debian one", "debian=one"),
            ("debian=one", "debian=one"),
            (
                "debian=one ubuntu=2026-01-01T00-00-00Z",
                "debian=one ubuntu=2026-01-01T00-00-00Z",
            ),
        ] {
            assert_eq!(aims(line).as_deref(), Ok(meant));
        }
        for (line, wrong) in [
            ("debian", "not provided: <NAME>"),
            ("debian one two", "a snapshot each"),
            ("debian=one ubuntu", "a snapshot each"),
            ("debian one ubuntu=two", "a snapshot each"),
            ("Debian one", "a mirror id starts with"),
            ("debian=", "a snapshot name starts with"),
            ("=one", "a mirror id starts with"),
            ("debian=one=two", "a snapshot name starts with"),
            ("current one", "the served tree uses itself"),
        ] {
            let complaint = aims(line).expect_err(line);
            assert!(complaint.contains(wrong), "{line}: {complaint}");
        }
    }

    #[test]
    fn an_expectation_may_name_its_mirror() {
        let parsed = |word: &str| {
            word.parse::<Expectation>()
                .map(|it| (it.mirror.map(|id| id.to_string()), it.leads.to_string()))
        };
        assert_eq!(parsed("one"), Ok((None, "to one".to_owned())));
        assert_eq!(
            parsed("debian=one"),
            Ok((Some("debian".to_owned()), "to one".to_owned()))
        );
        assert_eq!(parsed("-"), Ok((None, "nowhere".to_owned())));
        assert_eq!(
            parsed("debian=-"),
            Ok((Some("debian".to_owned()), "nowhere".to_owned()))
        );
        parsed("debian=").expect_err("no name");
        aims("debian=-").expect_err("a pointer is not moved nowhere");
    }
}
