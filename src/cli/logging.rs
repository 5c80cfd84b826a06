//! The log: where events of the program go.
//!
//! Owns the subscriber and the form of its lines. Logs go to standard error and nowhere else. Events of libraries are
//! shown from warnings on only, because what they trace is not about mirrors.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::text::visible;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Starts the log of this process; `quiet` leaves failures only. A second start changes nothing.
pub fn start(settings: LogSettings, quiet: bool) {
    let coloured = settings.format == LogFormat::Text && io::stderr().is_terminal();
    let dispatch = dispatch(settings, quiet, coloured, io::stderr);
    // Refused where a log runs already, which then is the one that was asked for first.
    let _ = tracing::dispatcher::set_global_default(dispatch);
}

fn dispatch<W>(settings: LogSettings, quiet: bool, coloured: bool, writer: W) -> Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    let layer = match settings.format {
        LogFormat::Json => layer.json().flatten_event(true).with_writer(writer).boxed(),
        LogFormat::Text | LogFormat::Plain => layer
            .with_ansi(false)
            .event_format(Line { coloured })
            .with_writer(writer)
            .boxed(),
    };
    let level = if quiet {
        LevelFilter::ERROR
    } else {
        filter(settings.level)
    };
    let filter = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_default(level.min(LevelFilter::WARN));
    Dispatch::new(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

/// A line for people: `INFO  message key=value`, with the fields of the spans around the event at its end.
struct Line {
    coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions
                .get::<FormattedFields<N>>()
                .filter(|fields| !fields.is_empty())
            {
                text.push(' ');
                text.push_str(fields);
            }
        }
        let level = *event.metadata().level();
        match colour(level).filter(|_| self.coloured) {
            Some(colour) => write!(out, "\u{1b}[{colour}m{level:<5}\u{1b}[0m ")?,
            None => write!(out, "{level:<5} ")?,
        }
        // What upstream wrote may be part of the message.
        writeln!(out, "{}", visible(&text))
    }
}

/// The terminal's number of the colour that a level stands out in.
fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::output::tests::Shared;

    fn logged(level: LogLevel, format: LogFormat, quiet: bool, coloured: bool, events: impl FnOnce()) -> String {
        let written = Shared::default();
        let settings = LogSettings { level, format };
        let writer = written.clone();
        let dispatch = dispatch(settings, quiet, coloured, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, events);
        written.text()
    }

    fn three_events() {
        tracing::debug!("looking");
        tracing::info!(files = 3, "Sync completed for {}", "debian\u{1b}[2J\u{202e}");
        tracing::error!(target: "library", "broken");
    }

    #[test]
    fn lines_are_for_people() {
        assert_eq!(
            logged(LogLevel::Info, LogFormat::Text, false, false, three_events),
            "INFO  Sync completed for debian\\x1b[2J\\u{202e} files=3\nERROR broken\n"
        );
        let coloured = logged(LogLevel::Error, LogFormat::Text, false, true, three_events);
        assert_eq!(coloured, "\u{1b}[31mERROR\u{1b}[0m broken\n");
    }

    #[test]
    fn spans_say_what_an_event_is_about() {
        let lines = logged(LogLevel::Info, LogFormat::Plain, false, false, || {
            let _mirror = tracing::info_span!("sync", mirror = "debian").entered();
            tracing::warn!("slow");
        });
        assert_eq!(lines, "WARN  slow mirror=\"debian\"\n");
    }

    #[test]
    fn levels_and_quiet_select() {
        let lines = |level, quiet| {
            logged(level, LogFormat::Plain, quiet, false, three_events)
                .lines()
                .count()
        };
        assert_eq!(lines(LogLevel::Debug, false), 3);
        assert_eq!(lines(LogLevel::Warn, false), 1);
        assert_eq!(lines(LogLevel::Debug, true), 1);
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        let lines = logged(LogLevel::Debug, LogFormat::Plain, false, false, || {
            tracing::info!(target: "hyper", "connected");
            tracing::warn!(target: "hyper", "lost");
        });
        assert_eq!(lines, "WARN  lost\n");
    }

    #[test]
    fn programs_get_json() {
        let lines = logged(LogLevel::Info, LogFormat::Json, false, false, three_events);
        let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["files"], 3);
        assert!(first["timestamp"].is_string());
    }
}
