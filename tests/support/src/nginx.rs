//! nginx as operators run it: an unprivileged worker, sendfile on.
//!
//! Owns [`Nginx`], with a configuration, port, log and pid file of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::{Program, Running, Scratch, Signal, fetch, free_port, is_root};

/// Times another port is tried when somebody else took the free one first.
const ATTEMPTS: usize = 5;

/// A running nginx on 127.0.0.1. Stops when it is dropped.
#[derive(Debug)]
pub struct Nginx {
    scratch: Scratch,
    port: u16,
    running: Running,
}

impl Nginx {
    /// Serves the files below `root`.
    pub fn serve(root: &Path) -> Self {
        Self::serve_with(root, "")
    }

    /// Serves the files below `root`, with further directives in its `http` block, such as `open_file_cache …;`.
    ///
    /// # Panics
    /// When nginx does not start.
    pub fn serve_with(root: &Path, directives: &str) -> Self {
        Self::start(root, directives, 2)
    }

    /// As [`Nginx::serve_with`], with one worker, so that every request meets the same caches.
    ///
    /// # Panics
    /// When nginx does not start.
    pub fn serve_alone(root: &Path, directives: &str) -> Self {
        Self::start(root, directives, 1)
    }

    fn start(root: &Path, directives: &str, workers: usize) -> Self {
        (0..ATTEMPTS)
            .find_map(|_| Self::try_start(root, directives, workers))
            .expect("nginx finds a port")
    }

    fn try_start(root: &Path, directives: &str, workers: usize) -> Option<Self> {
        let scratch = Scratch::new();
        let port = free_port();
        let configuration = configuration(scratch.path(), root, port, directives, workers);
        let configuration = scratch.file("nginx.conf", configuration);
        let mut running = Program::new("nginx", "nginx")
            .arg("-c")
            .arg(configuration)
            .arg("-p")
            .arg(scratch.path())
            .arg("-e")
            .arg(scratch.path().join("error.log"))
            .spawn();
        let url = format!("http://127.0.0.1:{port}/");
        let mut answers = false;
        while !answers && running.is_running() {
            // 404 will do: nginx is there.
            answers =
                fetch(&url).is_ok_and(|answer| answer.header("server").is_some_and(|name| name.contains("nginx")));
            std::thread::sleep(Duration::from_millis(5));
        }
        if !answers {
            let said = running.wait();
            assert!(
                said.stderr.contains("Address already in use"),
                "nginx does not start: {said}"
            );
            return None;
        }
        Some(Self { scratch, port, running })
    }

    /// The URL of the root, without `/` at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lines of the access log: `STATUS METHOD PATH`.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("access.log")).unwrap_or_default()
    }

    /// Whether one of its workers has the file at `path` open at the moment.
    pub fn has_open(&self, path: &Path) -> bool {
        let workers = self.workers();
        let mut descriptors = workers.iter().flat_map(|worker| {
            let descriptors = fs::read_dir(format!("/proc/{worker}/fd"));
            descriptors.into_iter().flatten().flatten()
        });
        descriptors.any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|open| open == path))
    }

    /// Processor time that its workers have taken so far.
    pub fn cpu(&self) -> Duration {
        let taken = |worker: &String| {
            let times = fs::read_to_string(format!("/proc/{worker}/schedstat")).expect("procfs");
            let running = times.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok());
            Duration::from_nanos(running.expect("a number of nanoseconds comes first"))
        };
        self.workers().iter().map(taken).sum()
    }

    /// The process ids of its workers.
    fn workers(&self) -> Vec<String> {
        let master = self.running.pid();
        let workers = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).expect("procfs");
        workers.split_whitespace().map(str::to_owned).collect()
    }

    /// What it complained about.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.running.signal(Signal::Terminate);
        self.running.ends_within(Duration::from_secs(5));
    }
}

fn configuration(own: &Path, root: &Path, port: u16, directives: &str, workers: usize) -> String {
    let own = own.display();
    let user = if is_root() { "user www-data;" } else { "" };
    format!(
        "daemon off;
{user}
worker_processes {workers};
pid {own}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    log_format plain '$status $request_method $request_uri';
    access_log {own}/access.log plain;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    default_type application/octet-stream;
    {directives}
    server {{
        listen 127.0.0.1:{port};
        root {};
    }}
}}
",
        root.display()
    )
}
