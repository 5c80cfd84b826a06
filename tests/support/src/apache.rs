//! Apache as Debian ships it: the event MPM, an unprivileged worker, no modules but those that serving files needs.
//!
//! Owns [`Apache`], with a configuration, port, log and pid file of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::{Program, Running, Scratch, Signal, fetch, free_port};

/// Times another port is tried when somebody else took the free one first.
const ATTEMPTS: usize = 5;

/// A running Apache on 127.0.0.1. Stops when it is dropped.
#[derive(Debug)]
pub struct Apache {
    scratch: Scratch,
    port: u16,
    running: Running,
}

impl Apache {
    /// Serves the files below `root`.
    ///
    /// # Panics
    /// When Apache does not start.
    pub fn serve(root: &Path) -> Self {
        (0..ATTEMPTS)
            .find_map(|_| Self::try_start(root))
            .expect("Apache finds a port")
    }

    fn try_start(root: &Path) -> Option<Self> {
        let scratch = Scratch::new();
        let port = free_port();
        let configuration = scratch.file("apache.conf", configuration(scratch.path(), root, port));
        let mut running = Program::new("apache2", "apache2-bin")
            .arg("-f")
            .arg(configuration)
            .arg("-DFOREGROUND")
            .spawn();
        let url = format!("http://127.0.0.1:{port}/");
        let mut answers = false;
        while !answers && running.is_running() {
            // 403 will do: Apache is there.
            answers =
                fetch(&url).is_ok_and(|answer| answer.header("server").is_some_and(|name| name.contains("Apache")));
            std::thread::sleep(Duration::from_millis(5));
        }
        if !answers {
            let said = running.wait();
            let log = fs::read_to_string(scratch.path().join("error.log")).unwrap_or_default();
            assert!(
                said.stderr.contains("Address already in use"),
                "Apache does not start: {said}\n{log}"
            );
            return None;
        }
        Some(Self { scratch, port, running })
    }

    /// The URL of the root, without `/` at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it complained about.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.running.signal(Signal::Terminate);
        self.running.ends_within(Duration::from_secs(5));
    }
}

fn configuration(own: &Path, root: &Path, port: u16) -> String {
    let (own, root) = (own.display(), root.display());
    format!(
        "ServerRoot {own}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {own}/apache.pid
DefaultRuntimeDir {own}
ErrorLog {own}/error.log
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
StartServers 1
DocumentRoot {root}
<Directory {root}>
    Require all granted
    Options FollowSymLinks
    AllowOverride None
</Directory>
"
    )
}
