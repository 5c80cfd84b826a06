//! A web server over each place, and who asks it.
//!
//! Owns nginx with one worker, the load that wrk makes, and one download as fast as it goes. It judges nothing.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mirrorctl_testkit::{Nginx, Program, Scratch};

use super::places::tree;

/// How long one load lasts.
const SECONDS: u32 = 2;
/// Connections that ask at the same time.
const CONNECTIONS: u32 = 16;

/// Asks for the paths of a file in turn, and prints figures that need no parsing.
const SCRIPT: &str = r#"
local requests, at = {}, 0
function init(args)
    for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("FIGURES %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(99), failed))
end
"#;

/// What is missing for a web server under load.
pub(super) fn missing() -> Option<&'static str> {
    let lacks = |program| !Program::is_installed(program);
    (lacks("nginx") || lacks("wrk")).then_some("a web server under load, which needs nginx and wrk")
}

/// Paths below the tree, as wrk asks for them.
pub(super) struct Wanted {
    list: PathBuf,
}

impl Wanted {
    pub(super) fn of(scratch: &Scratch, name: &str, paths: &[String]) -> Self {
        scratch.file("load.lua", SCRIPT);
        let mut text = String::new();
        for path in paths {
            writeln!(text, "/{}/{path}", tree()).expect("a string takes all that is written");
        }
        let list = scratch.file(name, text);
        Self { list }
    }
}

/// What a load has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Requests in a second.
    pub(super) rate: u64,
    /// What 99 of 100 requests did not take longer than, in microseconds.
    pub(super) p99: u64,
    /// Processor time that nginx took for a request, in nanoseconds. Says something on a busy machine too.
    pub(super) cpu: u64,
}

/// nginx over one place.
pub(super) struct Web(Nginx);

impl Web {
    pub(super) fn serve(root: &Path) -> Self {
        Self(Nginx::serve_alone(root, "access_log off;"))
    }

    /// Asks for `wanted` again and again from all connections.
    pub(super) fn load(&self, wanted: &Wanted) -> Load {
        let before = self.0.cpu();
        let script = wanted.list.with_file_name("load.lua");
        let ran = Program::new("wrk", "wrk")
            .arg(format!("--duration={SECONDS}s"))
            .arg(format!("--connections={CONNECTIONS}"))
            .args(["--threads=1", "--script"])
            .arg(script)
            .args([&self.0.url(), "--"])
            .arg(&wanted.list)
            .run()
            .success();
        let figures = ran.stdout.lines().find_map(|line| line.strip_prefix("FIGURES "));
        let figures = figures.unwrap_or_else(|| panic!("no figures: {ran}")).split(' ');
        let figures: Vec<u64> = figures.map(|figure| figure.parse().expect("a number")).collect();
        let [requests, microseconds, p99, failed] = figures[..] else {
            panic!("four figures: {ran}")
        };
        assert_eq!(failed, 0, "every request succeeds: {ran}");
        Load {
            rate: requests * 1_000_000 / microseconds,
            p99,
            cpu: u64::try_from(self.0.cpu().saturating_sub(before).as_nanos()).expect("some seconds") / requests,
        }
    }

    /// Downloads one file of `length` bytes.
    pub(super) fn download(&self, path: &str, length: usize) -> Duration {
        let address = self.0.url();
        let address = address.strip_prefix("http://").expect("an address");
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).expect("nginx listens");
        write!(stream, "GET /{}/{path} HTTP/1.0\r\n\r\n", tree()).expect("nginx reads");
        let mut buffer = vec![0; 1 << 20];
        let mut got = 0;
        loop {
            match stream.read(&mut buffer).expect("nginx sends") {
                0 => break,
                more => got += more,
            }
        }
        let took = begun.elapsed();
        assert!(got > length, "a head and the whole body, not {got} bytes");
        took
    }
}
