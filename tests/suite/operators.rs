//! Several commands at once, each in a process of its own: stopped, continued, and racing for the same rows.
//!
//! Owns what operators can do to each other without a mount. Every round ends with a whole state, whoever was first.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mirrorctl::catalog::{Act, Catalog, PointerTarget, RequestedMove};
use mirrorctl::model::{MoveTerms, Pointer, Timestamp};
use mirrorctl::state::StateDir;
use mirrorctl_testkit::{Config, Dice, Fault, Ran, Signal, SuiteSpec, now};
use serde_json::Value;

use crate::site::{SUITE, Site, deb, history, id, refused, text};

/// Seconds in ten years, by which clocks jump.
const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// A site with `names` as snapshots, oldest first, each with a package of its own; pointers lend nothing.
fn site(names: &[&str]) -> Site {
    let mut site = Site::small();
    let config = Config::new().mirror(site.mirror("debian")).lending_nothing();
    site.configure_all(config.set_in("gc", "auto", "false"));
    for name in names {
        site.add(&deb(name, "1", 3_000));
        let made = text(&site.sync()["snapshot"]["name"]);
        site.run(&format!("snapshot rename debian {made} {name}")).success();
        site.archive.remove(SUITE, name).expect("a suite");
    }
    site
}

/// Runs two command lines at once, the second so much later than the first.
fn race(site: &Site, lines: [&str; 2], later: Duration) -> [Ran; 2] {
    let [first, second] = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let first = site.env.spawn(&first);
    thread::sleep(later);
    let second = site.env.spawn(&second);
    [first.wait(), second.wait()]
}

/// The time that a command takes, by which others are spread over it.
fn length_of(site: &Site, line: &str) -> Duration {
    let begun = Instant::now();
    site.run(line).success();
    begun.elapsed()
}

/// Any part of that length.
fn part_of(length: Duration, dice: &mut Dice) -> Duration {
    let thousandths = u32::try_from(dice.roll(1_000)).expect("small");
    length * thousandths / 1_000
}

/// L20, of collections.
#[test]
fn of_two_collections_the_second_says_who_holds_it_up() {
    let site = site(&["one"]);
    let state = StateDir::open_to_change(&site.env.state_dir()).expect("opens");
    let lock = state.lock_gc().expect("free");
    let busy = site.run("--json gc").code(3).json();
    assert_eq!(busy["error"]["kind"], "busy");
    let message = text(&busy["error"]["message"]);
    assert_eq!(message, format!("process {} is collecting garbage", std::process::id()));
    // Whoever only looks waits for nobody, and a sync leaves its sweep to the one that runs.
    site.run("gc --dry-run").success();
    site.run("sync").success();
    drop(lock);
    site.run("gc").success();
}

/// L22.
#[test]
fn a_collection_takes_nothing_from_a_stopped_sync() {
    let names: Vec<String> = (0..12).map(|n| format!("pkg{n:02}")).collect();
    let add = |suite: SuiteSpec, name: &String| suite.package("main", deb(name, "1", 3_000));
    let site = Site::new([names.iter().fold(SuiteSpec::new(SUITE), add)]);
    let keep_little = Config::new()
        .mirror(site.mirror("debian"))
        .set("max_conns", "1")
        .set_in("gc", "keep_partial", "\"1s\"");
    site.configure_all(keep_little);
    // The last package waits; those before it are in the cache, with no snapshot that has them.
    let (release, held) = mpsc::channel::<()>();
    let last = names.len();
    site.upstream.before_nth("pool/*", last, move || {
        // It ends when the other side is dropped.
        let _ = held.recv();
    });
    let mut sync = site.env.spawn(&["sync"]);
    let path = site.pool(&names[0]);
    sync.wait_until("a first batch is kept", |_| site.has_cached(&path));
    let kept: Vec<_> = site.blobs();
    sync.signal(Signal::Stop);
    // Its leases are older than any lease may be, and its lock is the kernel's.
    thread::sleep(Duration::from_millis(2_100));
    let collected = site.json("gc --now");
    assert_eq!(collected["removed"]["files"], 0, "{collected}");
    site.run("gc --now --force").success();
    assert_eq!(site.blobs(), kept);
    assert!(site.has_cached(&path));
    site.run("sync").code(3).stderr_has(&sync.pid().to_string());
    sync.signal(Signal::Continue);
    drop(release);
    sync.wait().success();
    site.assert_whole();
    for path in site.archive.pool_paths() {
        assert_eq!(site.upstream.hits(path), 1, "{path} was fetched twice");
    }
}

/// L22, wherever it is stopped, also with a transaction open.
#[test]
fn a_sync_stopped_anywhere_goes_on_after_a_collection() {
    let mut site = site(&["one"]);
    site.upstream.fault("pool/*", Fault::Delayed(Duration::from_millis(20)));
    let begun = Instant::now();
    site.add(&deb("usual", "1", 2_000));
    site.sync();
    let (usual, mut dice) = (begun.elapsed(), Dice(0x7374_6f70));
    for round in 0..10 {
        for part in 0..3 {
            site.archive
                .add(SUITE, "main", &deb(&format!("p{part}"), &round.to_string(), 2_000))
                .expect("a package");
        }
        site.publish();
        let mut sync = site.env.spawn(&["sync"]);
        thread::sleep(part_of(usual, &mut dice));
        sync.signal(Signal::Stop);
        let collected = site.run("gc --now");
        sync.signal(Signal::Continue);
        // Whoever waits in vain for a transaction says so and has done nothing.
        assert!(
            matches!(collected.status.code(), Some(0 | 3)),
            "round {round}: {collected}"
        );
        sync.wait().success();
        site.assert_whole();
        for path in site.archive.pool_paths() {
            assert!(site.newest().contains_key(path), "round {round}: {path}");
        }
    }
}

/// L21.
#[test]
fn syncs_and_collections_at_once_lose_nothing() {
    let mut site = site(&["one", "two"]);
    let mut dice = Dice(0x6763);
    let usual = length_of(&site, "gc --now");
    for round in 0..12 {
        // What went comes back while it is being removed.
        let package = deb("back", "1", 3_000);
        site.add(&package);
        let with = text(&site.sync()["snapshot"]["name"]);
        site.archive.remove(SUITE, "back").expect("a suite");
        site.add(&deb("round", &round.to_string(), 1_000));
        site.sync();
        site.run(&format!("snapshot delete debian {with}")).success();
        site.add(&package);
        let later = part_of(usual, &mut dice);
        let lines = if round % 2 == 0 {
            ["gc --now", "sync"]
        } else {
            ["sync", "gc --now"]
        };
        for ran in race(&site, lines, later) {
            ran.success();
        }
        site.archive.remove(SUITE, "back").expect("a suite");
        site.assert_whole();
        let newest = site.newest();
        assert!(
            newest.keys().any(|path| path.contains("/back_")),
            "round {round}: {newest:?}"
        );
    }
}

/// L23.
#[test]
fn a_promote_during_a_prune_leads_to_what_is_there() {
    let site = site(&["s0", "s1", "s2"]);
    let mut dice = Dice(0x0070_7275_6e65);
    let usual = length_of(&site, "snapshot prune --dry-run");
    let mut seen = [0, 0];
    for round in 0..12 {
        for name in ["one", "two", "three"] {
            let name = format!("{name}-{round}");
            site.run(&format!("snapshot create debian {name}")).success();
        }
        let target = format!("one-{round}");
        let publish = format!("snapshot publish debian {target}");
        let prune = "snapshot prune --keep-last 1 --keep-within 0";
        let later = part_of(usual, &mut dice);
        let first = round % 2;
        let lines = if first == 0 {
            [prune, &publish]
        } else {
            [&publish, prune]
        };
        let ran = race(&site, lines, later);
        let (pruned, published) = (&ran[first], &ran[1 - first]);
        let (current, there) = (site.pointer("debian", "current"), site.snapshots("debian"));
        if published.status.code() == Some(0) {
            seen[0] += 1;
            assert_eq!(current.as_ref(), Some(&target), "{published}\n{pruned}");
            assert!(matches!(pruned.status.code(), Some(0 | 4)), "{pruned}");
        } else {
            seen[1] += 1;
            assert_eq!(published.status.code(), Some(1), "{published}");
            assert!(
                published.stderr.contains(&format!("no snapshot {target}")),
                "{published}"
            );
            assert_eq!(pruned.status.code(), Some(0), "{pruned}");
        }
        assert!(
            current.is_none_or(|current| there.contains(&current)),
            "round {round}: {there:?}"
        );
        site.assert_whole();
    }
    assert!(seen[0] > 0, "a publish was never first: {seen:?}");
}

/// L24.
#[test]
fn what_a_pointer_leads_to_is_neither_deleted_nor_pruned() {
    let site = site(&["one", "two", "three", "four"]);
    let config = Config::new()
        .mirror(site.mirror("debian").set("environments", "[\"qa\", \"current\"]"))
        .lending_nothing();
    site.configure_all(config);
    for (line, name, pointer) in [
        ("stage debian one", "one", "staging"),
        ("publish debian two", "two", "current"),
        ("publish debian three --to qa", "three", "qa"),
    ] {
        site.run(&format!("snapshot {line}")).success();
        for force in ["", " --force"] {
            refused(
                &site,
                &format!("snapshot delete debian {name}{force}"),
                4,
                &[
                    &format!("debian/{pointer} leads to snapshot {name}"),
                    "point it elsewhere first",
                ],
            );
        }
        // All that are named, or none.
        refused(
            &site,
            &format!("snapshot delete debian four {name} --force"),
            4,
            &[pointer],
        );
    }
    site.run("snapshot prune --keep-last 1 --keep-within 0").success();
    assert_eq!(site.snapshots("debian"), ["four", "three", "two", "one"]);
}

/// L26.
#[test]
fn what_is_gone_damaged_or_held_is_not_promoted() {
    let mut site = site(&["one", "two", "three"]);
    refused(&site, "snapshot publish debian nine", 1, &["no snapshot nine"]);
    refused(&site, "snapshot promote debian", 4, &["leads nowhere yet"]);
    site.run("snapshot delete debian two").success();
    refused(&site, "snapshot publish debian two", 1, &["no snapshot two"]);
    refused(&site, "snapshot stage debian two", 1, &["no snapshot two"]);
    // Where a test is required, a snapshot with a file that is gone does not get there.
    let config = Config::new()
        .mirror(site.mirror("debian").set("test.required", "true"))
        .lending_nothing();
    site.configure_all(config);
    site.run("snapshot stage debian one").success();
    let files = site.files("debian", "one");
    let (digest, _) = files
        .iter()
        .find(|(path, _)| path.contains("/one_"))
        .expect("is listed")
        .1;
    std::fs::remove_file(site.blob(*digest)).expect("is there");
    refused(&site, "snapshot promote debian", 4, &["snapshot test"]);
    site.run("snapshot test debian").code(4);
    refused(&site, "snapshot promote debian", 4, &["snapshot test"]);
    // An incomplete import records nothing that could be promoted.
    site.add(&deb("four", "1", 1_000));
    std::fs::remove_file(site.archive.root().join(site.pool("four"))).expect("is there");
    let root = site.archive.root().display().to_string();
    let fresh = Config::new().mirror(site.mirror("fresh"));
    site.configure_all(fresh);
    let incomplete = site.run(&format!("import fresh {root} --name whole"));
    assert_ne!(incomplete.status.code(), Some(0), "{incomplete}");
    site.run("snapshot publish fresh whole").failure();
    assert_eq!(site.pointer("fresh", "current"), None);
}

/// L27.
#[test]
fn two_promotes_at_once_are_both_in_the_history_or_one_is_refused() {
    let site = site(&["zero", "one", "two"]);
    let mut dice = Dice(0x6d6f_7665);
    let usual = length_of(&site, "snapshot publish debian zero");
    for round in 0..8 {
        site.run("snapshot publish debian zero").success();
        let before = history(&site).len();
        let later = part_of(usual, &mut dice);
        let expect = if round % 2 == 0 { "" } else { " --expect zero" };
        let lines = ["one", "two"].map(|name| format!("snapshot publish debian {name}{expect}"));
        let ran = race(&site, [&lines[0], &lines[1]], later);
        let moves = history(&site);
        let newest = text(&moves[0]["to"]);
        assert_eq!(site.pointer("debian", "current"), Some(newest.clone()));
        let good = ran.iter().filter(|ran| ran.status.code() == Some(0)).count();
        assert_eq!(moves.len() - before, good, "round {round}: {} {}", ran[0], ran[1]);
        if expect.is_empty() {
            assert_eq!(good, 2, "{} {}", ran[0], ran[1]);
            assert_ne!(moves[0]["to"], moves[1]["to"]);
        } else {
            let loser = ran
                .iter()
                .find(|ran| ran.status.code() != Some(0))
                .expect("one of the two");
            assert_eq!((good, loser.status.code()), (1, Some(4)), "{loser}");
            assert!(
                loser.stderr.contains(&format!("leads to {newest}, not to zero")),
                "{loser}"
            );
        }
    }
}

/// What the library does at a time that is not now stands for a clock that is set: to processes, it is the same.
fn catalog(site: &Site) -> Catalog {
    Catalog::open(&site.env.state_dir().join("catalog.db")).expect("opens")
}

fn act(command: &'static str, now: Timestamp) -> Act<'static> {
    Act {
        command,
        actor: "tester",
        message: None,
        now,
        in_turn: false,
        force: false,
        retracts: false,
    }
}

/// L29.
#[test]
fn order_is_that_of_events_whatever_the_clock_says() {
    for jump in [-TEN_YEARS, TEN_YEARS] {
        let mut site = site(&["one"]);
        let then = now().plus(jump);
        // Recorded, published and condemned at another time.
        let terms = MoveTerms::default();
        catalog(&site)
            .create_snapshot(
                &id("debian"),
                &"odd".parse().expect("a name"),
                false,
                &[],
                terms,
                act("stage", then),
            )
            .expect("creates");
        let wish = RequestedMove {
            mirror: id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot("odd".parse().expect("a name")),
            expect: None,
            terms,
        };
        catalog(&site)
            .move_pointers(&[wish], act("publish", then))
            .expect("moves");
        if jump > 0 {
            // The clock was set back: nobody knows how old anything is.
            let pruned = site.run("snapshot prune --keep-last 1 --keep-within 0");
            pruned.code(4).stderr_has("clock");
            assert_eq!(site.snapshots("debian").len(), 2);
        }
        site.add(&deb("two", "1", 1_000));
        let two = text(&site.sync()["snapshot"]["name"]);
        assert_eq!(
            site.snapshots("debian"),
            [two.as_str(), "odd", "one"],
            "the last one recorded comes first"
        );
        site.run(&format!("snapshot publish debian {two}")).success();
        let moves = history(&site);
        let led: Vec<&Value> = moves.iter().map(|moved| &moved["to"]).collect();
        assert_eq!(led, [two.as_str(), "odd"]);
        site.run("snapshot rollback debian").success();
        assert_eq!(site.pointer("debian", "current").as_deref(), Some("odd"));
        site.run(&format!("snapshot publish debian {two}")).success();

        // What is of the future is young.
        site.run("snapshot prune --keep-last 1 --keep-within 1d").success();
        let kept: &[&str] = if jump > 0 {
            &[&two, "odd", "one"]
        } else {
            &[&two, "one"]
        };
        assert_eq!(site.snapshots("debian"), kept);
        site.assert_whole();
    }
}

/// L29.
#[test]
fn a_collection_is_not_led_astray_by_clocks() {
    let site = site(&["one", "two"]);
    site.run("snapshot delete debian one").success();
    let mut ahead = catalog(&site);
    ahead.condemn_unused(now().plus(TEN_YEARS)).expect("marks");
    drop(ahead);
    let blobs = site.blobs();
    // Not for ever, nor at once.
    let collected = site.json("gc");
    assert_eq!(collected["removed"]["files"], 0, "{collected}");
    let until = text(&collected["all_at"]);
    let year = |time: Timestamp| mirrorctl::cli::text::utc(time)[..4].to_owned();
    assert_eq!(until[..4], year(now().plus(86_400)), "{until}");
    assert_eq!(site.blobs(), blobs);
    // The clock jumps ahead: what waits is due, and what is needed stays.
    let mut behind = catalog(&site);
    behind.correct_times(now().plus(-TEN_YEARS)).expect("corrects");
    drop(behind);
    assert_ne!(site.json("gc")["removed"]["files"], 0);
    site.assert_whole();
}
