//! Time goes on while a sync works.
//!
//! Owns the tests that need a clock of their own, which only the library takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mirrorctl::blobs::BlobStore;
use mirrorctl::catalog::Catalog;
use mirrorctl::model::{Clock, Content, MirrorId, MoveTerms, Percent, Timestamp};
use mirrorctl::signature::Keyring;
use mirrorctl::state::StateDir;
use mirrorctl::sync::{self, Acceptance, Filtering, Job, Outcome, Progress, Store, SyncError, SyncReport, Trust};
use mirrorctl::upstream::{Client, ClientOptions};
use mirrorctl_testkit::Fault;
use tokio::sync::watch;

use crate::site::{SUITE, Site, deb};

/// Longer than any difference between clocks that signatures are forgiven.
const HOUR: i64 = 3600;

struct Silent;

impl Progress for Silent {
    fn stage(&self, _: &MirrorId, _: &str) {}
    fn begin(&self, _: u64, _: u64) {}
    fn bytes(&self, _: u64) {}
    fn file(&self) {}
    fn end(&self) {}
}

/// A clock that shows what is set.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(time: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(time.unix())))
    }

    fn set(&self, time: Timestamp) {
        self.0.store(time.unix(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || Timestamp::from_unix(hands.0.load(Ordering::SeqCst)))
    }
}

/// Syncs the site's mirror by the clock `hands`.
fn sync(site: &Site, begun: Timestamp, hands: &Hands) -> Result<SyncReport, SyncError> {
    sync_by(site, begun, hands.clock(), &ClientOptions::new(2))
}

/// Syncs the site's mirror by `clock`, with all that a client can be told.
pub(crate) fn sync_by(
    site: &Site,
    begun: Timestamp,
    clock: Clock,
    options: &ClientOptions,
) -> Result<SyncReport, SyncError> {
    let key = site.archive.key().public_armored().expect("a key");
    let state = StateDir::open_to_change(&site.env.state_dir()).expect("opens");
    let catalog = Catalog::open(&state.catalog()).expect("opens");
    let blobs = BlobStore::open(&state.blobs(), None).expect("opens");
    let store = Arc::new(Store::new(catalog, blobs, state.incoming_root()));
    let mirror: MirrorId = "debian".parse().expect("valid");
    let job = Job {
        mirror: mirror.clone(),
        urls: vec![format!("{}/", site.upstream.url()).parse().expect("valid")],
        suites: vec![SUITE.parse().expect("valid")],
        components: vec!["main".parse().expect("valid")],
        architectures: vec!["amd64".parse().expect("valid")],
        content: Content::default(),
        filtering: Filtering::default(),
        trust: Trust::Keyring(Arc::new(Keyring::parse(&key).expect("a keyring"))),
        name: "one".parse().expect("valid"),
        pointers: Vec::new(),
        terms: MoveTerms::default(),
        force: false,
        accept: Acceptance::default(),
        max_shrink: Percent::HALF,
        max_size: None,
        adoption: None,
        connections: 2,
        actor: "tester".to_owned(),
        now: begun,
        clock,
    };
    let lock = Arc::new(state.lock_sync(&mirror).expect("locks"));
    let client = Client::new(options).expect("a client");
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let (_sender, never) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(sync::run(&job, &lock, &client, &store, &progress, &never))
}

#[test]
fn what_is_signed_while_other_mirrors_sync_is_not_of_the_future() {
    let mut site = Site::small();
    let begun = mirrorctl_testkit::now().plus(-10 * HOUR);
    let later = begun.plus(HOUR);
    site.archive.publish(later).expect("publishes");
    let report = sync(&site, begun, &Hands::at(later)).expect("syncs");
    assert!(matches!(report.outcome, Outcome::Recorded { .. }), "{report:?}");
    // The control: by the time of its beginning it is.
    let site_before = sync(&Site::small(), begun.plus(-HOUR), &Hands::at(begun.plus(-HOUR)));
    assert!(
        matches!(site_before, Err(SyncError::Signature { .. })),
        "{site_before:?}"
    );
}

#[test]
fn a_sync_that_begins_anew_judges_by_the_time_of_day() {
    let mut site = Site::small();
    let begun = mirrorctl_testkit::now().plus(-9 * HOUR);
    let hands = Hands::at(begun);
    let old = site.env.root().join("old");
    mirrorctl_testkit::Program::new("cp", "coreutils")
        .args(["-a".as_ref(), site.archive.root().as_os_str(), old.as_os_str()])
        .run()
        .success();
    site.archive.add(SUITE, "main", &deb("dd", "1", 100)).expect("adds");
    let later = begun.plus(2 * HOUR);
    site.archive.publish(later).expect("publishes");
    site.upstream.switch_to(&old);
    site.upstream.fault_times("pool/*/bb_*", 1, Fault::Status(404));
    let (upstream, moved, new) = (site.upstream.switch(), hands.clone(), site.archive.root().to_owned());
    site.upstream.before("pool/*/bb_*", move || {
        moved.set(later.plus(60));
        upstream.to(&new);
    });
    // The second attempt finds everything.
    let report = sync(&site, begun, &hands).expect("syncs");
    assert!(matches!(report.outcome, Outcome::Recorded { .. }), "{report:?}");
    assert!(site.newest().keys().any(|path| path.contains("dd_1")));
    let catalog = site.catalog();
    let row = catalog.mirror(&"debian".parse().expect("valid")).expect("synced");
    let state = catalog.last_state(row).expect("reads").expect("synced");
    assert_eq!(state.recorded_at, later.plus(60), "recorded when it was recorded");
}
