//! Conditional requests across moves, through nginx and Apache.
//!
//! Owns the proof that no server on the mount says "not modified", or resumes a file, when what stands at the URL has
//! changed: whatever validator of whatever earlier answer a client comes back with.

use std::collections::BTreeMap;

use mirrorctl_testkit::{Apache, Config, Deb, Fetched, SuiteSpec, fetch, fetch_with};

use super::world::{INDEX, ONE, Ours, Plain, SUITE, World, package};
use crate::site::mtime;

/// An answer to remember, with what tells it from others.
struct Known {
    path: String,
    body: Vec<u8>,
    time: String,
    tag: String,
}

impl Known {
    fn new(path: &str, answer: Fetched) -> Self {
        assert_eq!((answer.status, answer.complete), (200, true), "{path}");
        let value = |name| answer.header(name).expect("both servers send it").to_owned();
        Self {
            path: path.to_owned(),
            time: value("last-modified"),
            tag: value("etag"),
            body: answer.body,
        }
    }

    /// Every condition that a client can make of it. Clients have at most one of the kinds of ranges.
    fn conditions(&self) -> Vec<Vec<(&str, &str)>> {
        let (time, tag) = (self.time.as_str(), self.tag.as_str());
        vec![
            vec![("If-Modified-Since", time)],
            vec![("If-None-Match", tag)],
            vec![("If-Modified-Since", time), ("If-None-Match", tag)],
            vec![("Range", "bytes=10-"), ("If-Range", time)],
            vec![("Range", "bytes=10-"), ("If-Range", tag)],
        ]
    }
}

/// A server on one directory, and what it has answered so far.
struct Server {
    name: &'static str,
    url: String,
    known: Vec<Known>,
    /// How often it was asked, and how often it saved the client the bytes.
    asked: usize,
    saved: usize,
}

impl Server {
    fn new(name: &'static str, url: &str) -> Self {
        Self {
            name,
            url: url.to_owned(),
            known: Vec::new(),
            asked: 0,
            saved: 0,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{ONE}/{path}", self.url)
    }

    fn body(&self, path: &str) -> Vec<u8> {
        Known::new(path, fetch(&self.url(path)).expect("an answer")).body
    }

    /// Asks for `path` with everything that is known of it, and gives the conditions that were met wrongly. Remembers the
    /// answer without conditions.
    fn wrong(&mut self, path: &str) -> Vec<String> {
        let url = self.url(path);
        let now = Known::new(path, fetch(&url).expect("an answer"));
        let mut wrong = Vec::new();
        for known in self.known.iter().filter(|known| known.path == path) {
            for condition in known.conditions() {
                let answer = fetch_with(&url, &condition).expect("an answer");
                self.asked += 1;
                let right = match answer.status {
                    200 => answer.complete && answer.body == now.body,
                    304 => known.body == now.body,
                    206 => known.body == now.body && answer.body == now.body[10..],
                    _ => false,
                };
                self.saved += usize::from(answer.status != 200);
                if !right {
                    let status = answer.status;
                    wrong.push(format!("{}: {path}: {condition:?}: {status}", self.name));
                }
            }
        }
        self.known.push(now);
        wrong
    }

    /// Forgets all but the last so many answers for each path, so that the tests stay quick.
    fn keep(&mut self, count: usize) {
        let mut seen = BTreeMap::<String, usize>::new();
        let mut kept: Vec<Known> = std::mem::take(&mut self.known).into_iter().rev().collect();
        kept.retain(|known| {
            let seen = seen.entry(known.path.clone()).or_default();
            *seen += 1;
            *seen <= count
        });
        kept.reverse();
        self.known = kept;
    }
}

/// Files at their plain names, which may change at each move.
fn plain_names() -> [String; 5] {
    let release = |file: &str| format!("current/dists/{SUITE}/{file}");
    [
        release("InRelease"),
        release("Release"),
        release("Release.gpg"),
        format!("current/{INDEX}.gz"),
        format!("current/{INDEX}.xz"),
    ]
}

/// Three states, of which the first two have an `InRelease` of the same size and time, as snapshots.
fn twins_and_another(world: &mut Ours) -> [String; 3] {
    world.next(ONE);
    let first = world.snapshot("site/staging");
    let stock = world.stock(ONE);
    let (size, pace) = (stock.size(), stock.pace);
    stock.pace = 0;
    stock.publish_until(|stock| stock.size() == size);
    stock.pace = pace;
    world.prepare(ONE);
    let second = world.snapshot("site/staging");
    world.next(ONE);
    [first, second, world.snapshot("site/staging")]
}

fn publish(world: &Ours, snapshot: &str) {
    world.env.mirrorctl(&["snapshot", "publish", ONE, snapshot]).success();
}

/// Whether the condition that was met wrongly has a time and no tag.
fn is_by_time_alone(wrong: &str) -> bool {
    wrong.contains("[(\"If-Modified-Since\"") && !wrong.contains("If-None-Match")
}

#[test]
fn nothing_that_a_move_changed_is_not_modified() {
    let mut world = Ours::by_default();
    let states = twins_and_another(&mut world);
    let apache = Apache::serve(&world.root());
    let mut servers = [
        Server::new("nginx", &world.nginx().url()),
        Server::new("Apache", &apache.url()),
    ];
    let names = plain_names();
    // Forward, back, to where it is already, and over twins.
    let order = [0, 1, 0, 2, 1, 1, 2, 0, 1, 0];
    for (number, state) in order.into_iter().enumerate() {
        if number % 3 == 2 {
            // Of several that move it at once, each but one finds that it has just moved.
            std::thread::scope(|scope| {
                for state in states.iter().chain(&states) {
                    scope.spawn(|| publish(&world, state));
                }
            });
        }
        // At once: what the clients know is not a second old.
        publish(&world, &states[state]);
        for server in &mut servers {
            let mut wrong = Vec::new();
            for name in &names {
                wrong.extend(server.wrong(name));
                let frozen = name.replace("current", &format!("snapshots/{}", states[state]));
                let same = server.body(&frozen) == server.known.last().expect("just asked").body;
                assert!(same, "{name} is not that of the snapshot");
            }
            // Right after a move, before the time it shows has come, and again.
            for name in &names {
                wrong.extend(server.wrong(name));
            }
            assert!(wrong.is_empty(), "move {number}: {wrong:#?}");
            server.keep(12);
        }
    }
    for server in &servers {
        assert!(server.asked > 2000, "{}", server.asked);
        // Or it would be no art to be never wrong.
        assert!(server.saved > 0, "{} saves nobody anything", server.name);
    }
    let log = apache.error_log();
    assert!(!log.contains("error]"), "{log}");
}

#[test]
fn control_a_symlink_between_directories_is_not_modified_wrongly() {
    let mut world = Plain::new();
    world.advance(ONE);
    let apache = Apache::serve(&world.root());
    let mut servers = [
        Server::new("nginx", &world.nginx().url()),
        Server::new("Apache", &apache.url()),
    ];
    let name = &plain_names()[0];
    for server in &mut servers {
        assert!(server.wrong(name).is_empty());
    }
    let stock = world.stock(ONE);
    let size = stock.size();
    stock.pace = 0;
    stock.publish_until(|stock| stock.size() == size);
    world.prepare(ONE);
    world.switch(&[ONE]);
    for server in &mut servers {
        let wrong = server.wrong(name);
        assert!(wrong.len() >= 3, "{wrong:?}");
    }
    // Going back is enough for Apache, which asks whether the file is older than the client's.
    world.stock(ONE).pace = 60;
    world.advance(ONE);
    let server = &mut servers[1];
    drop(server.wrong(name));
    world.back(ONE);
    let wrong = server.wrong(name);
    assert!(
        wrong.iter().any(|wrong| wrong.contains("If-Modified-Since")),
        "{wrong:?}"
    );
}

#[test]
fn a_condition_that_meets_a_move_on_its_way_gets_the_new_state() {
    let mut world = Ours::by_default();
    let [first, second, _] = twins_and_another(&mut world);
    publish(&world, &first);
    let path = format!("{ONE}/current/dists/{SUITE}/InRelease");
    let url = format!("{}/{path}", world.gate().url());
    for to in [&second, &first, &second] {
        let known = Known::new(&path, fetch(&url).expect("an answer"));
        for condition in known.conditions().into_iter().take(3) {
            let fresh = fetch_with(&url, &condition).expect("an answer");
            assert_eq!(fresh.status, 304, "{condition:?}");
        }
        let condition = known.conditions().swap_remove(2);
        let held = world.gate().hold(&path);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| fetch_with(&url, &condition).expect("an answer"));
            held.arrived();
            publish(&world, to);
            held.let_go();
            let answer = asking.join().expect("the client");
            assert_eq!(answer.status, 200);
            assert_ne!(answer.body, known.body);
        });
    }
}

#[test]
fn what_a_move_leaves_alone_stays_not_modified() {
    let mut world = Ours::by_default();
    world.advance(ONE);
    let apache = Apache::serve(&world.root());
    let steady = "current/pool/main/s/steady/steady_1_amd64.deb".to_owned();
    let changing = format!("current/{}", package(1));
    let index = {
        let digest = mirrorctl::model::Digest::of(&world_body(&world, &format!("{INDEX}.xz")));
        format!(
            "current/{}/by-hash/SHA256/{digest}",
            INDEX.trim_end_matches("/Packages")
        )
    };
    let names = [steady, changing, index];
    let mut servers = [
        Server::new("nginx", &world.nginx().url()),
        Server::new("Apache", &apache.url()),
    ];
    for moves in 0..4_usize {
        for server in &mut servers {
            for name in &names {
                let wrong = server.wrong(name);
                assert!(wrong.is_empty(), "{wrong:?}");
                let url = server.url(name);
                for known in server.known.iter().filter(|known| known.path == *name) {
                    for condition in known.conditions().into_iter().take(3) {
                        let status = fetch_with(&url, &condition).expect("an answer").status;
                        assert_eq!(
                            status, 304,
                            "{}: {name} after {moves} moves: {condition:?}",
                            server.name
                        );
                    }
                }
            }
        }
        world.advance(ONE);
    }
}

fn world_body(world: &Ours, path: &str) -> Vec<u8> {
    fetch(&world.url(path)).expect("an answer").body
}

/// A package that was built again under the same name and version, which archives should not do: its file keeps the
/// time that upstream gave it, so that it tells the states apart as long as upstream's own times do.
#[test]
fn a_package_file_that_was_replaced_under_its_name_is_told_apart() {
    let mut world = Ours::of(&[(ONE, SuiteSpec::new(SUITE))], Config::new(), "");
    let rebuilt = |byte: u8| Deb::new("rebuilt", "1", "amd64").file("usr/share/rebuilt/data", vec![byte; 64]);
    let path = "current/pool/main/r/rebuilt/rebuilt_1_amd64.deb";
    let mut states = Vec::new();
    let mut times = Vec::new();
    for byte in [b'a', b'b'] {
        world.next_with(ONE, &[rebuilt(byte)]);
        world.switch(&[ONE]);
        states.push(world.snapshot("site/staging"));
        times.push(mtime(&world.root().join(ONE).join(path)));
    }
    assert!(times[0] < times[1], "{times:?}");
    let apache = Apache::serve(&world.root());
    let mut nginx = Server::new("nginx", &world.nginx().url());
    let mut apache = Server::new("Apache", &apache.url());
    for state in [0, 1, 0, 1, 0] {
        publish(&world, &states[state]);
        let wrong = nginx.wrong(path);
        assert!(wrong.is_empty(), "{wrong:?}");
        // Apache takes a time that is later than the file's for "has it", so that it errs about the older file; tags it compares.
        let wrong = apache.wrong(path);
        let is_older = state == 0;
        assert!(is_older || wrong.is_empty(), "{wrong:?}");
        assert!(wrong.iter().all(|wrong| is_by_time_alone(wrong)), "{wrong:?}");
    }
}
