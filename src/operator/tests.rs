//! Programs that behave and programs that do not.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const LONG: Duration = Duration::from_mins(2);

fn script<'a>(argv: &'a [&'a str]) -> Program<'a> {
    Program {
        argv,
        environment: &[],
        directory: Path::new("/"),
        input: b"",
        limit: LONG,
        keep: 10_000,
    }
}

fn ran(program: &Program<'_>) -> Ended {
    run(program, &|| false).expect("starts")
}

fn text(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.output).into_owned()
}

fn shell(line: &str) -> Ended {
    ran(&script(&["/bin/sh", "-c", line]))
}

/// Whether the process whose number is in the file at `path` goes; it was killed, and a zombie counts as gone.
fn is_gone(path: &Path) -> bool {
    let pid = fs::read_to_string(path).expect("written");
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        if stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X ")) {
            return true;
        }
        std::thread::sleep(BREATH);
    }
    false
}

#[test]
fn a_program_gets_what_it_is_given_and_nothing_else() {
    let place = tempfile::tempdir().expect("temporary directory");
    let held = fs::File::open("/dev/null").expect("opens");
    let program = Program {
        environment: &[("A", "b c"), ("HOME", "/h")],
        directory: place.path(),
        input: b"from outside",
        ..script(&["/bin/sh", "-c", "env | sort; pwd; cat; echo; ls /proc/self/fd"])
    };
    let ended = ran(&program);
    drop(held);
    // A shell adds PWD and the like; the descriptors are the three, and the one that ls reads with.
    let text = text(&ended);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(['_', 'O', 'S'])).collect();
    let pwd = place.path().canonicalize().expect("there");
    let pwd = pwd.to_str().expect("text");
    let (path, own) = (format!("PATH={PATH}"), format!("PWD={pwd}"));
    assert_eq!(
        lines,
        ["A=b c", "HOME=/h", &path, &own, pwd, "from outside", "0", "1", "2", "3"]
    );
    assert!(ended.succeeded());
}

#[test]
fn both_streams_are_kept_in_their_order_and_ends_are_told() {
    let ended = shell("echo one; echo two >&2; echo three; exit 7");
    assert_eq!(
        (ended.end, text(&ended).as_str(), ended.forgotten),
        (End::Exited(7), "one\ntwo\nthree\n", Forgotten::default())
    );
    assert_eq!(shell("kill -SEGV $$").end, End::Killed(11));
    let error = run(&script(&["/nonexistent/program"]), &|| false).expect_err("is not there");
    assert_eq!(error.to_string(), "cannot run /nonexistent/program");
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_end_of_endless_output_is_kept() {
    let ended = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end");
    assert_eq!(
        (ended.output.len(), ended.forgotten.bytes),
        (10_000, 3_000_009 - 10_000)
    );
    assert_eq!(ended.forgotten.lines, 1, "in part");
    assert!(text(&ended).ends_with("xx\nthe end\n"));
    let ended = shell("seq 1 10000");
    let told = text(&ended).lines().count() as u64;
    let cut = !text(&ended).starts_with(&format!("{}\n", 10_001 - told));
    assert_eq!(ended.forgotten.lines + told, 10_000 + u64::from(cut));
    // A line that fits just so is not told in part.
    let ended = shell("echo gone; yes 123456789 | head -n 1000");
    assert_eq!((text(&ended).lines().count(), ended.forgotten.lines), (1000, 1));
}

#[test]
fn input_that_nobody_reads_harms_nobody() {
    let input = vec![b'x'; 1 << 20];
    let program = |line| Program {
        input: &input,
        argv: line,
        ..script(&[])
    };
    assert!(ran(&program(&["/bin/sh", "-c", "exec 0<&-; sleep 0.1; exit 0"])).succeeded());
    assert!(ran(&program(&["true"])).succeeded());
    assert_eq!(text(&ran(&program(&["wc", "-c"]))).trim(), "1048576");
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_its_children() {
    let place = tempfile::tempdir().expect("temporary directory");
    // The child ignores the wish and has to be killed; the program itself tidies up.
    let line = "trap 'echo tidied; exit 1' TERM; (trap '' TERM; sh -c 'echo $PPID' > pid; while :; do sleep 1; done) & \
                while [ ! -s pid ]; do sleep 0.05; done; echo ready; wait";
    let argv = ["/bin/sh", "-c", line];
    let program = Program {
        directory: place.path(),
        limit: Duration::from_secs(2),
        ..script(&argv)
    };
    let ended = ran(&program);
    assert_eq!((ended.end, text(&ended).as_str()), (End::TimedOut, "ready\ntidied\n"));
    assert!(is_gone(&place.path().join("pid")));
}

#[test]
fn what_a_program_leaves_behind_is_ended_and_does_not_hold_its_caller_up() {
    let place = tempfile::tempdir().expect("temporary directory");
    let program = Program {
        directory: place.path(),
        ..script(&["/bin/sh", "-c", "sleep 1000 & echo $! > pid; echo done"])
    };
    let begun = Instant::now();
    let ended = ran(&program);
    assert!(ended.succeeded() && text(&ended) == "done\n");
    assert!(begun.elapsed() < LONG);
    assert!(is_gone(&place.path().join("pid")));
    // One that leaves the group lives on, and keeps the pipe to itself.
    let ended = shell("setsid sleep 5 & echo done");
    assert!(ended.succeeded() && text(&ended) == "done\n");
}

#[test]
fn the_caller_can_stop_it() {
    let looks = AtomicUsize::new(0);
    let stop = || looks.fetch_add(1, Ordering::SeqCst) > 2;
    let ended = run(&script(&["sleep", "1000"]), &stop).expect("starts");
    assert_eq!(ended.end, End::Stopped);
}

#[test]
fn nobody_hears_of_the_guard() {
    let place = tempfile::tempdir().expect("temporary directory");
    let pid = place.path().join("guard");
    // It is in the group and no child of the program's, which has none to wait for.
    let line = format!(
        "exec 2> /dev/null; for stat in /proc/[0-9]*/stat; do \
         read -r number name state parent group rest < $stat || continue; \
         if [ \"$group\" = $$ ] && [ \"$number\" != $$ ]; then echo $number > {}; echo $parent; fi; done",
        pid.display()
    );
    let ended = shell(&line);
    let parents = text(&ended);
    let parents: Vec<&str> = parents.lines().collect();
    assert!(ended.succeeded() && parents.len() == 1, "{ended:?}");
    assert!(is_gone(&pid));
}
