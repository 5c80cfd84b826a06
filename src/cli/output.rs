//! Everything a command prints.
//!
//! Owns [`Output`], the only place that writes to standard output and error (logs have their own writer, see
//! `logging`), and the lines and tables that reports are written in. Text of a report is made visible before it reaches a
//! terminal, so that nothing an upstream wrote can move the cursor or deceive a reader. With `--json`, a
//! command prints exactly one JSON document to standard output, also when it fails. A reader that hangs up ends the
//! printing, not the command.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::text::visible;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Text for people.
    Human,
    /// One JSON document for programs.
    Json,
}

/// The form of a report for people. Its form for programs is its `Serialize`, which must make an object.
pub trait Human {
    /// Writes the report on `page`.
    fn human(&self, page: &mut Page);
}

/// Where a command prints.
pub struct Output {
    mode: Mode,
    quiet: bool,
    stdout: Stream,
    stderr: Stream,
    /// The report, until the JSON document is complete.
    document: Option<Value>,
    /// Whether the JSON document was printed already.
    reported: bool,
}

impl Output {
    /// The output of this process.
    #[must_use]
    pub fn of_process(mode: Mode) -> Self {
        Self::to(mode, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// An output to two writers.
    #[must_use]
    pub fn to(mode: Mode, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            mode,
            quiet: false,
            stdout: Stream::new(stdout),
            stderr: Stream::new(stderr),
            document: None,
            reported: false,
        }
    }

    /// From now on, people get answers and errors only.
    pub fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Whether progress may be drawn on standard error: somebody is looking, and did not ask for silence.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        self.mode == Mode::Human && !self.quiet && io::stderr().is_terminal()
    }

    /// Prints what the user asked for; also with `--quiet`.
    ///
    /// A command gives one report. With `--json`, a further one would take the place of the first.
    pub fn answer<R: Serialize + Human>(&mut self, report: &R) {
        match self.mode {
            Mode::Json => self.document = Some(document(report)),
            Mode::Human => self.stdout.write(&Page::of(report)),
        }
    }

    /// Prints what a command did; with `--quiet` for programs only.
    pub fn done<R: Serialize + Human>(&mut self, report: &R) {
        if self.mode == Mode::Json || !self.quiet {
            self.answer(report);
        }
    }

    /// Prints a line at once, for commands that tell their story as they go. For people only.
    pub fn say(&mut self, line: &str) {
        if self.mode == Mode::Human && !self.quiet {
            self.stdout.write(&format!("{}\n", visible(line)));
        }
    }

    /// Prints what a command did at once, although the command goes on. Nothing else is printed by it then.
    pub fn report_now<R: Serialize + Human>(&mut self, report: &R) {
        match self.mode {
            Mode::Json => self.stdout.write(&format!("{}\n", document(report))),
            Mode::Human => self.stdout.write(&Page::of(report)),
        }
        self.reported = true;
    }

    /// Prints how the command ended, and returns its exit code.
    pub(super) fn finish(mut self, outcome: Result<(), Failure>, detailed: bool) -> u8 {
        let mut failure = outcome.err();
        if self.mode == Mode::Json && !(self.reported && failure.is_none()) {
            let document = self.document.take();
            self.stdout
                .write(&format!("{}\n", complete(document, failure.as_ref())));
        } else if let Some(failure) = &failure {
            self.stderr.write(&failure.human(detailed));
        }
        if let Some(error) = self.stdout.error.take().filter(|_| failure.is_none()) {
            let unprinted = Failure::new(Kind::Failed, format!("cannot print: {error}"));
            self.stderr.write(&unprinted.human(detailed));
            failure = Some(unprinted);
        }
        failure.map_or(0, |failure| failure.kind().exit_code())
    }
}

fn document<R: Serialize>(report: &R) -> Value {
    serde_json::to_value(report).expect("reports have text for keys and cannot fail to serialise")
}

/// The document: the report, with the failure in it as `error`.
fn complete(report: Option<Value>, failure: Option<&Failure>) -> Value {
    let mut document = report.unwrap_or_else(|| json!({}));
    if let Some(failure) = failure {
        document["error"] = failure.json();
    }
    document
}

/// A writer that stops at the first error and remembers it, so that commands need not ask after each line.
struct Stream {
    writer: Box<dyn Write + Send>,
    stopped: bool,
    /// Why it stopped, unless its reader just hung up.
    error: Option<io::Error>,
}

impl Stream {
    fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer,
            stopped: false,
            error: None,
        }
    }

    fn write(&mut self, text: &str) {
        if self.stopped {
            return;
        }
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        if let Err(error) = written {
            self.stopped = true;
            self.error = Some(error).filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        }
    }
}

/// Text for people, while it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    fn of<R: Human>(report: &R) -> String {
        let mut page = Self::default();
        report.human(&mut page);
        page.0
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.0.push_str(&visible(line.as_ref()));
        self.0.push('\n');
    }

    /// Adds text of our own exactly as it is, such as a script.
    pub fn verbatim(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        table.render(&mut self.0);
    }
}

/// The side that the cells of a column keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows with columns as wide as their widest cell, two spaces apart. Widths count characters: names of mirrors and
/// snapshots are ASCII, and paths need no more.
#[derive(Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading over each column.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned());
        Self {
            aligns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![headings.collect()],
        }
    }

    /// A table without headings.
    #[must_use]
    pub fn bare(aligns: &[Align]) -> Self {
        Self {
            aligns: aligns.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has a cell for every column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<_> = cells.into_iter().map(|cell| visible(&cell).into_owned()).collect();
        assert_eq!(row.len(), self.aligns.len(), "a row has a cell for every column");
        self.rows.push(row);
    }

    fn render(&self, text: &mut String) {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> = (0..self.aligns.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.aligns).zip(&widths) {
                let written = match align {
                    Align::Left => write!(line, "{cell:<width$}  "),
                    Align::Right => write!(line, "{cell:>width$}  "),
                };
                written.expect("a String takes all");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer that others can look into.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Serialize)]
    struct Report {
        name: &'static str,
    }

    impl Human for Report {
        fn human(&self, page: &mut Page) {
            page.line(format!("name {}", self.name));
        }
    }

    const REPORT: Report = Report { name: "x\u{1b}[31m" };

    fn printed(mode: Mode, print: impl FnOnce(&mut Output), outcome: Result<(), Failure>) -> (String, String, u8) {
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let mut output = Output::to(mode, Box::new(stdout.clone()), Box::new(stderr.clone()));
        print(&mut output);
        let code = output.finish(outcome, false);
        (stdout.text(), stderr.text(), code)
    }

    #[test]
    fn people_get_lines_that_cannot_deceive() {
        let failure = Failure::new(Kind::Refused, "no\u{202e}t \u{9b}1m\nnow");
        let (stdout, stderr, code) = printed(Mode::Human, |output| output.answer(&REPORT), Err(failure));
        assert_eq!(stdout, "name x\\u{1b}[31m\n");
        assert_eq!(stderr, "error: no\\u{202e}t \\u{9b}1m\\nnow\n");
        assert_eq!(code, 4);
    }

    #[test]
    fn programs_get_one_document() {
        let (stdout, stderr, code) = printed(Mode::Json, |output| output.answer(&REPORT), Ok(()));
        assert_eq!(
            (stdout.as_str(), stderr.as_str(), code),
            ("{\"name\":\"x\\u001b[31m\"}\n", "", 0)
        );
        let failure = || Err(Failure::new(Kind::Busy, "wait"));
        let (stdout, stderr, code) = printed(Mode::Json, |output| output.done(&REPORT), failure());
        let document: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(
            (document["name"].as_str(), document["error"]["exit_code"].as_u64()),
            (Some("x\u{1b}[31m"), Some(3))
        );
        assert_eq!((stderr.as_str(), code), ("", 3));
        let (stdout, ..) = printed(Mode::Json, |_| {}, failure());
        assert_eq!(
            serde_json::from_str::<Value>(&stdout).expect("JSON")["error"]["kind"],
            "busy"
        );
        let (stdout, ..) = printed(Mode::Json, |output| output.say("hello"), Ok(()));
        assert_eq!(stdout, "{}\n");
    }

    #[test]
    fn quiet_leaves_answers_and_errors() {
        let quietly = |mode| {
            printed(
                mode,
                |output| {
                    output.be_quiet();
                    output.say("hello");
                    output.done(&REPORT);
                },
                Err(Failure::new(Kind::Failed, "broken")),
            )
        };
        let (stdout, stderr, _) = quietly(Mode::Human);
        assert_eq!((stdout.as_str(), stderr.as_str()), ("", "error: broken\n"));
        assert!(quietly(Mode::Json).0.contains("\"name\":"));
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_hangs_up_is_no_failure_but_a_full_disk_is() {
        for (kind, code, complaint) in [
            (io::ErrorKind::BrokenPipe, 0, ""),
            (io::ErrorKind::StorageFull, 1, "error: cannot print: no storage space\n"),
        ] {
            let stderr = Shared::default();
            let mut output = Output::to(Mode::Human, Box::new(Broken(kind)), Box::new(stderr.clone()));
            output.say("one");
            output.say("two");
            assert_eq!(output.finish(Ok(()), false), code);
            assert_eq!(stderr.text(), complaint);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("MIRROR", Align::Left), ("SIZE", Align::Right), ("STATUS", Align::Left)]);
        table.row(["a".into(), "12.0 GiB".into(), String::new()]);
        table.row(["debian\n".into(), "1 B".into(), "current".into()]);
        let mut page = Page::default();
        page.table(&table);
        assert_eq!(
            page.0,
            "MIRROR        SIZE  STATUS\n\
             a         12.0 GiB\n\
             debian\\n       1 B  current\n"
        );
    }
}
