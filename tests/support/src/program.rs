//! Running programs and judging what they did.
//!
//! Owns the one way in which tests start a process: a cleared environment, a time limit, both outputs captured, and
//! assertions that show them. A missing program is a panic that names its Debian package.

#![expect(clippy::disallowed_types, reason = "the test kit runs mirrorctl and its clients")]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Signal;
use crate::sys;

/// How long a program may run before the test fails. Generous: two slow cores may run many tests at once.
const TIME_LIMIT: Duration = Duration::from_mins(3);

/// How long the outputs of a program that has ended are waited for. They stay open when it left a daemon behind.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// Where programs are looked for: everything Debian installs to, whatever the tests' own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program about to be run, with an environment of its own.
#[derive(Debug, Clone)]
pub struct Program {
    file: OsString,
    package: String,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: OsString,
    input: Vec<u8>,
    user: Option<String>,
    memory: Option<u64>,
    limit: Duration,
}

impl Program {
    /// The program `name`, which the Debian package `package` installs.
    pub fn new(name: &str, package: &str) -> Self {
        Self {
            file: name.into(),
            package: format!("Debian's package {package:?}"),
            arguments: Vec::new(),
            variables: vec![("PATH".into(), PATH.into()), ("LC_ALL".into(), "C.UTF-8".into())],
            directory: "/".into(),
            input: Vec::new(),
            user: None,
            memory: None,
            limit: TIME_LIMIT,
        }
    }

    /// The program in the file `path`, which the build made.
    pub fn at(path: &Path) -> Self {
        let mut program = Self::new("", "");
        program.file = path.into();
        "cargo build".clone_into(&mut program.package);
        program
    }

    /// Whether a program called `name` is installed.
    pub fn is_installed(name: &str) -> bool {
        PATH.split(':').any(|place| Path::new(place).join(name).exists())
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. Only `PATH` and `LC_ALL` are there otherwise.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in `directory` instead of `/`.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = directory.into();
        self
    }

    /// Gives it `bytes` to read on its standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs as another user, with that user's groups. The tests must be root.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.to_owned());
        self
    }

    /// Lets it have at most `bytes` of memory of its own: what it asks for beyond that is refused, by which it dies. Stacks
    /// count, the program's own code and files that it maps do not.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Fails the test after `limit` instead of three minutes.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Has `outer` start it: its words come behind those of `outer`, and all else stays as it is.
    #[must_use]
    pub(crate) fn started_by(self, outer: Self) -> Self {
        let inner = std::iter::once(self.file).chain(self.arguments);
        Self {
            file: outer.file,
            package: outer.package,
            arguments: outer.arguments.into_iter().chain(inner).collect(),
            ..self
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        self.spawn().wait()
    }

    /// Runs it to its end, without input, and tells what that took. Nothing reads its output meanwhile, which would take
    /// time from it, and there is no time limit.
    ///
    /// # Panics
    /// When it does not end with exit code 0, with what it said.
    pub fn measure(self) -> Usage {
        let mut output = tempfile::tempfile().expect("a temporary file");
        let copy = || Stdio::from(output.try_clone().expect("an open file"));
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(copy()).stderr(copy());
        let begun = Instant::now();
        let child = self.start(&mut command);
        let (status, cost) = sys::wait(child).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let wall = begun.elapsed();
        let mut said = String::new();
        if !status.success() {
            output.rewind().expect("a file can be read again");
            output.read_to_string(&mut said).expect("programs write text");
        }
        assert!(status.success(), "{command:?}: {status}\n{said}");
        Usage {
            wall,
            cpu: cost.cpu,
            peak: cost.peak,
        }
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = format!("{command:?}");
        let mut child = self.start(&mut command);
        feed(&mut child, self.input);
        let stdout = Output::capture(child.stdout.take());
        let stderr = Output::capture(child.stderr.take());
        Running {
            line,
            child,
            stdout,
            stderr,
            limit: self.limit,
            ended: None,
        }
    }

    /// The command, with neither input nor outputs yet.
    fn command(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
                command.args(["--init-groups", "--"]).arg(&self.file);
                command
            }
            None => Command::new(&self.file),
        };
        if let Some(bytes) = self.memory {
            let limited = command;
            command = Command::new("prlimit");
            command.args([&format!("--data={bytes}"), "--"]);
            command.arg(limited.get_program()).args(limited.get_args());
        }
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory);
        command
    }

    fn start(&self, command: &mut Command) -> Child {
        command.spawn().unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => panic!("{command:?}: not found; {} has it", self.package),
            _ => panic!("{command:?}: {error}"),
        })
    }
}

/// What running a program to its end took, all processes it started and waited for included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// Time on processors, in user and kernel mode.
    pub cpu: Duration,
    /// Most memory that one of its processes had at a time, in bytes. Never less than what the caller had when it
    /// started it, because the kernel counts a process's life before `exec` too.
    pub peak: u64,
}

/// Writes the input from a thread of its own, so that a program that writes before it reads cannot block both sides.
fn feed(child: &mut Child, input: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take().filter(|_| !input.is_empty()) {
        // A program may end without reading its input; what it says and its status are what is judged.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
}

/// One output of a running program, read as it comes.
#[derive(Debug)]
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn capture(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut stream = stream.expect("the output was piped");
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = stream.read(&mut chunk) {
                lock(&shared).extend_from_slice(&chunk[..length]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.bytes)).into_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that runs. Killed when this value is dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    limit: Duration,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours");
        }
        self.ended.is_none()
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            sys::send(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.line));
        }
    }

    /// Waits until `done` says so.
    ///
    /// # Panics
    /// When the program ends before, or its time limit passes.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + self.limit;
        while !done(self) {
            assert!(
                self.is_running(),
                "{} ended before {what}:\n{}{}",
                self.line,
                self.stdout(),
                self.stderr()
            );
            assert!(
                Instant::now() < deadline,
                "{}: no {what} in time:\n{}{}",
                self.line,
                self.stdout(),
                self.stderr()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and leaves it to be asked what it said.
    ///
    /// # Panics
    /// When the time limit passes.
    pub fn wait_until_ended(&mut self) {
        let limit = self.limit;
        assert!(self.ends_within(limit), "{} runs for more than {limit:?}", self.line);
    }

    /// Waits for its end, at most `limit`; whether it has ended.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(500);
        while self.is_running() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        true
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When the time limit passes; the program is killed.
    pub fn wait(mut self) -> Ran {
        let limit = self.limit;
        assert!(
            self.ends_within(limit),
            "{} runs for more than {limit:?}:\n{}{}",
            self.line,
            self.stdout(),
            self.stderr()
        );
        let deadline = Instant::now() + OUTPUT_LIMIT;
        while !(self.stdout.reader.is_finished() && self.stderr.reader.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        Ran {
            line: std::mem::take(&mut self.line),
            status: self.ended.expect("it has ended"),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Kills it without warning and waits for its end.
    pub fn kill(mut self) -> Ran {
        self.signal(Signal::Kill);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            // Both fail only when it has just ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A program that has ended. Its assertions give it back, so that they can be chained.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

#[expect(clippy::return_self_not_must_use, reason = "the assertion is the point")]
impl Ran {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts any exit code but 0, and no signal.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(self.status.code().is_some_and(|code| code != 0), "{self}");
        self
    }

    /// Asserts that a signal ended it.
    #[track_caller]
    pub fn killed_by(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal.number()), "{self}");
        self
    }

    /// Asserts that the standard output contains `text`.
    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} on stdout of {self}");
        self
    }

    /// Asserts that the standard output does not contain `text`.
    #[track_caller]
    pub fn stdout_lacks(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text), "{text:?} on stdout of {self}");
        self
    }

    /// Asserts that the standard error contains `text`.
    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} on stderr of {self}");
        self
    }

    /// Asserts that the standard error does not contain `text`.
    #[track_caller]
    pub fn stderr_lacks(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "{text:?} on stderr of {self}");
        self
    }

    /// The standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{line}\n{status}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}
