//! The kit against itself: faults show on the wire as they are described, and processes are watched as promised.

use std::fs;
use std::time::{Duration, Instant};

use mirrorctl_testkit::{
    Config, Fault, Mirror, Program, Scratch, Signal, TestEnv, Upstream, fetch, fetch_with, mounted_below,
};

const CONTENTS: &[u8] = b"0123456789";

fn upstream() -> (Scratch, Upstream) {
    let scratch = Scratch::new();
    scratch.file("dir/file", CONTENTS);
    let upstream = Upstream::serve(scratch.path());
    (scratch, upstream)
}

#[test]
fn each_fault_shows_as_described() {
    let (_scratch, upstream) = upstream();
    let url = format!("{}/dir/file", upstream.url());
    let pause = Duration::from_millis(10);
    for (fault, status, complete, body) in [
        (Fault::Status(404), 404, true, &b"404 Not Found\n"[..]),
        (
            Fault::StatusWith(503, vec![("Retry-After".into(), "1".into())]),
            503,
            true,
            b"503 Service Unavailable\n",
        ),
        (Fault::Redirect("http://example.org/".into()), 302, true, b"302 Found\n"),
        (Fault::Body(b"other".to_vec()), 200, true, b"other"),
        (Fault::WrongByte, 200, true, b"0123456788"),
        (Fault::Extra(b"abc".to_vec()), 200, true, b"0123456789abc"),
        (
            Fault::Changed {
                after: 4,
                rest: b"abcdef".to_vec(),
            },
            200,
            true,
            b"0123abcdef",
        ),
        (Fault::Truncated(3), 200, false, b"012"),
        (Fault::Slow { piece: 3, pause }, 200, true, CONTENTS),
        (Fault::Delayed(pause), 200, true, CONTENTS),
        (Fault::Unconditional, 200, true, CONTENTS),
    ] {
        upstream.fault_times("dir/*", 1, fault.clone());
        let answer = fetch(&url).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(
            (answer.status, answer.complete, &answer.body[..]),
            (status, complete, body),
            "{fault:?}"
        );
        assert_eq!(fetch(&url).expect("the fault is used up").body, CONTENTS, "{fault:?}");
    }
}

#[test]
fn connections_break_as_described() {
    let (_scratch, upstream) = upstream();
    let url = format!("{}/dir/file", upstream.url());
    upstream.fault_times("dir/file", 1, Fault::Reset(3));
    let error = fetch(&url).expect_err("the connection is reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // Silent connections last until the client's own patience ends, or the server's life.
    for fault in [Fault::Stalled(3), Fault::Silent, Fault::Endless] {
        upstream.fault("dir/file", fault.clone());
        upstream.take_requests();
        let patient = std::thread::spawn({
            let url = url.clone();
            move || {
                Program::new("curl", "curl")
                    .args(["--silent", "--max-time", "0.3", "--output", "/dev/null", &url])
                    .run()
            }
        });
        upstream.wait_for("dir/file");
        assert_eq!(patient.join().expect("runs").status.code(), Some(28), "{fault:?}");
    }
    upstream.clear_faults();
    assert_eq!(fetch(&url).expect("well again").body, CONTENTS);
}

#[test]
fn a_stopped_upstream_ends_its_silent_connections() {
    let (_scratch, upstream) = upstream();
    upstream.fault("*", Fault::Silent);
    let url = format!("{}/dir/file", upstream.url());
    let client = std::thread::spawn(move || fetch(&url));
    upstream.wait_for("dir/file");
    let started = Instant::now();
    drop(upstream);
    assert!(client.join().expect("runs").is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn requests_are_recorded_and_hooks_run_once() {
    let (scratch, upstream) = upstream();
    let url = format!("{}/dir/file", upstream.url());
    let changed = scratch.path().join("dir/file");
    upstream.before("dir/*", move || fs::write(changed, "changed").expect("own file"));
    let first = fetch(&url).expect("answers");
    assert_eq!(first.text(), "changed");
    let tag = first.header("etag").expect("a tag");
    assert_eq!(
        fetch_with(&url, &[("If-None-Match", tag)]).expect("answers").status,
        304
    );
    upstream.fault("dir/file", Fault::Unconditional);
    assert_eq!(
        fetch_with(&url, &[("If-None-Match", tag)]).expect("answers").status,
        200
    );
    let seen = upstream.take_requests();
    let facts: Vec<_> = seen
        .iter()
        .map(|request| (request.path.as_str(), request.conditional, request.status))
        .collect();
    assert_eq!(
        facts,
        [
            ("dir/file", false, 200),
            ("dir/file", true, 304),
            ("dir/file", true, 200)
        ]
    );
    assert_eq!((upstream.hits("*"), upstream.requests().len()), (0, 0));

    let other = Scratch::new();
    other.file("dir/file", "other");
    upstream.switch_to(other.path());
    assert_eq!(fetch(&url).expect("answers").text(), "other");
}

#[test]
fn programs_are_judged_by_what_they_did() {
    let shell = |script: &str| Program::new("sh", "dash").args(["-c", script]);
    shell("echo out; echo err >&2; exit 5")
        .run()
        .code(5)
        .failure()
        .stdout_has("out")
        .stderr_has("err")
        .stdout_lacks("err");
    assert_eq!(shell("echo '{\"a\": [1]}'").run().success().json()["a"][0], 1);
    shell("cat").input("through").run().success().stdout_has("through");
    shell("test -z \"$HOME$CARGO\" && test \"$X\" = y")
        .env("X", "y")
        .run()
        .success();
    let mut sleeping = shell("echo ready; exec sleep 60").spawn();
    sleeping.wait_until("ready", |running| running.stdout().contains("ready"));
    assert!(sleeping.is_running());
    sleeping.kill().killed_by(Signal::Kill);
    let groups = |user: &str| Program::new("id", "coreutils").arg("-nG").user(user).run().success();
    groups(TestEnv::MEMBER).stdout_has(" mirrorctl\n");
    groups(TestEnv::OTHER).stdout_lacks(" mirrorctl\n");
    // A daemon left behind keeps the outputs open; that must not look like a program that runs on.
    let started = Instant::now();
    shell("sleep 30 & echo done").run().success().stdout_has("done");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
#[should_panic(expected = "Debian's package \"no-such-package\" has it")]
fn a_missing_program_names_its_package() {
    Program::new("no-such-program", "no-such-package").run();
}

#[test]
fn an_environment_has_its_own_places() {
    let env = TestEnv::new("/usr/bin/env");
    env.configure(Config::new().mirror(Mirror::new("debian", "http://127.0.0.1:1").suites(&["sid"])));
    let config = fs::read_to_string(env.config_path()).expect("written");
    assert!(
        config.contains(&format!("dir = \"{}\"", env.mount_dir().display())),
        "{config}"
    );
    assert!(
        config.contains(&format!("[snapshot]\npath = \"{}\"", env.state_dir().display())),
        "{config}"
    );
    // `env` takes the option for a wrong one; what counts is that it was run with it.
    env.mirrorctl(&["sync"]).failure().stderr_has("--config");
    assert!(mounted_below(env.root()).is_empty());
}
