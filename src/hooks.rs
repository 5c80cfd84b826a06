//! Telling the operator's programs what has happened.
//!
//! Owns the events, their form as JSON (`docs/cli.md`), and the running of hooks with them. Hooks change nothing about what
//! has happened: whoever calls warns of those that fail and goes on. Who asked for which is not known here.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::model::{MirrorId, Pointer, SnapshotName, Timestamp};
use crate::operator::{self, End, Program};

/// The form of events. It changes when a member changes its meaning or goes; new ones may come.
const VERSION: u32 = 1;

/// Most bytes of a hook's output that are looked at: for its last words.
const KEEP: usize = 4 << 10;

/// What hooks can be run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A sync has recorded a snapshot.
    AfterSync,
    /// `staging` has moved.
    AfterStage,
    /// Another pointer has moved.
    AfterPromote,
    /// A pointer has gone back.
    AfterRollback,
    /// A sync, a test or a move has failed.
    OnFailure,
}

impl Occasion {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterSync => "after_sync",
            Self::AfterStage => "after_stage",
            Self::AfterPromote => "after_promote",
            Self::AfterRollback => "after_rollback",
            Self::OnFailure => "on_failure",
        }
    }
}

/// What has happened to one mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerned {
    /// The mirror.
    pub mirror: MirrorId,
    /// The snapshot that was recorded, or that the pointer leads to now.
    pub snapshot: Option<SnapshotName>,
    /// The pointer that moved, or was to move when something failed.
    pub pointer: Option<Pointer>,
    /// Where it led before.
    pub from: Option<SnapshotName>,
}

/// What has happened.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// For what hooks it is.
    pub occasion: Occasion,
    /// By which command, as the history has it.
    pub command: &'a str,
    /// When.
    pub time: Timestamp,
    /// Who did it.
    pub actor: &'a str,
    /// Why, in their words.
    pub message: Option<&'a str>,
    /// The mirrors; those of a move became visible together.
    pub mirrors: Vec<Concerned>,
    /// What went wrong, if anything, as `--json` tells it.
    pub error: Option<Value>,
}

/// An event as hooks read it.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    event: &'static str,
    command: &'a str,
    time: String,
    actor: &'a str,
    message: Option<&'a str>,
    mirrors: Vec<WrittenMirror<'a>>,
    error: Option<&'a Value>,
}

#[derive(Serialize)]
struct WrittenMirror<'a> {
    mirror: &'a str,
    snapshot: Option<&'a str>,
    pointer: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
}

impl Event<'_> {
    /// The event as JSON, on one line.
    fn written(&self) -> Vec<u8> {
        let mirrors = self.mirrors.iter().map(|concerned| WrittenMirror {
            mirror: concerned.mirror.as_str(),
            snapshot: concerned.snapshot.as_ref().map(SnapshotName::as_str),
            pointer: concerned.pointer.as_ref().map(Pointer::name),
            from: concerned.from.as_ref().map(SnapshotName::as_str),
            to: concerned
                .pointer
                .as_ref()
                .and(concerned.snapshot.as_ref())
                .map(SnapshotName::as_str),
        });
        let written = Written {
            version: VERSION,
            event: self.occasion.name(),
            command: self.command,
            time: self.time.to_string(),
            actor: self.actor,
            message: self.message,
            mirrors: mirrors.collect(),
            error: self.error.as_ref(),
        };
        let mut line = serde_json::to_vec(&written).expect("text cannot fail to serialise");
        line.push(b'\n');
        line
    }
}

/// A hook that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its line.
    pub line: String,
    /// What became of it, with its last words.
    pub why: String,
}

/// Runs hooks one after the other, each with the event on its standard input, and answers those that did not succeed.
pub fn run(
    lines: &[String],
    event: &Event<'_>,
    (limit, home): (Duration, Option<&str>),
    stop: &dyn Fn() -> bool,
) -> Vec<Trouble> {
    let input = event.written();
    let mut environment = vec![("LC_ALL", "C.UTF-8"), ("MIRRORCTL_EVENT", event.occasion.name())];
    environment.extend(home.map(|home| ("HOME", home)));
    let run = |line: &String| {
        let program = Program {
            argv: &["/bin/sh", "-c", line],
            environment: &environment,
            directory: Path::new("/"),
            input: &input,
            limit,
            keep: KEEP,
        };
        let how = match operator::run(&program, stop) {
            Err(error) => format!("{error}: {}", error.source),
            Ok(ended) => {
                let text = String::from_utf8_lossy(&ended.output);
                let last = text.lines().next_back().unwrap_or_default();
                let words = if last.is_empty() {
                    String::new()
                } else {
                    format!(": {last}")
                };
                match ended.end {
                    End::Exited(0) => return None,
                    End::Exited(code) => format!("it ended with code {code}{words}"),
                    End::Killed(signal) => format!("it was ended by signal {signal}{words}"),
                    End::TimedOut => format!("it was ended, as it took more than {} s{words}", limit.as_secs()),
                    End::Stopped => "it was interrupted".to_owned(),
                }
            }
        };
        Some(Trouble {
            line: line.clone(),
            why: how,
        })
    };
    lines.iter().filter_map(run).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event<'a>() -> Event<'a> {
        Event {
            occasion: Occasion::AfterPromote,
            command: "publish",
            time: Timestamp::from_unix(0),
            actor: "op",
            message: Some("now"),
            mirrors: vec![Concerned {
                mirror: "debian".parse().expect("valid"),
                snapshot: Some("two".parse().expect("valid")),
                pointer: Some(Pointer::Current),
                from: Some("one".parse().expect("valid")),
            }],
            error: None,
        }
    }

    #[test]
    fn hooks_read_the_event_and_those_that_fail_are_named() {
        let place = tempfile::tempdir().expect("temporary directory");
        let file = place.path().join("event");
        let lines = [
            format!("cat > {}; echo $MIRRORCTL_EVENT >> {0}", file.display()),
            "echo first; echo no network; exit 3".to_owned(),
            "exec sleep 100".to_owned(),
            "exit 0".to_owned(),
        ];
        let trouble = run(&lines, &event(), (Duration::from_secs(2), None), &|| false);
        let told: Vec<_> = trouble
            .iter()
            .map(|trouble| (trouble.line.as_str(), trouble.why.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (lines[1].as_str(), "it ended with code 3: no network"),
                (lines[2].as_str(), "it was ended, as it took more than 2 s"),
            ]
        );
        let text = std::fs::read_to_string(file).expect("written");
        let (json, name) = text.split_once('\n').expect("two lines");
        assert_eq!(name, "after_promote\n");
        let read: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(
            read,
            json!({
                "version": 1, "event": "after_promote", "command": "publish", "time": "1970-01-01T00:00:00Z", "actor": "op", "message": "now",
                "mirrors": [{ "mirror": "debian", "snapshot": "two", "pointer": "current", "from": "one", "to": "two" }],
                "error": null,
            })
        );
    }
}
