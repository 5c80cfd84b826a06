//! The test kit of mirrorctl: everything a test needs around the program.
//!
//! Owns upstreams (good ones, hostile ones, and ones made by Debian's own tools), a private installation to run the
//! real binary in, and the clients: nginx, Apache, apt, gpg, and a gate that stops them in mid-course. A fixture that cannot be had is a panic that names the Debian package
//! to install, never a skipped test. Archives come from [`mirrorctl::demo`]; nothing here knows how mirrorctl works inside.
//!
//! ```no_run
//! use mirrorctl_testkit::{ArchiveBuilder, Config, Deb, Mirror, SuiteSpec, TestEnv, Upstream, now};
//!
//! let env = TestEnv::new("/path/to/mirrorctl");
//! let suite = SuiteSpec::new("bookworm").package("main", Deb::new("hello", "1", "amd64"));
//! let archive = ArchiveBuilder::new().suite(suite).create(&env.root().join("archive"), now()).expect("an archive");
//! let upstream = Upstream::serve(archive.root());
//! let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
//! env.configure(Config::new().mirror(Mirror::new("debian", &upstream.url()).suites(&["bookworm"]).key(&key)));
//! env.mirrorctl(&["sync", "debian"]).success();
//! ```

mod apache;
mod apt;
mod aptly;
mod blackhole;
mod certificates;
mod config;
mod debian;
mod debmirror;
mod dice;
mod dose;
mod env;
mod forge;
mod ftparchive;
pub mod fuzzed;
mod gate;
mod gnupg;
mod http;
mod lists;
mod mount;
mod nginx;
mod program;
mod proxy;
mod recording;
mod scratch;
mod strace;
mod sys;
mod tls;
mod upstream;

pub use apache::Apache;
pub use apt::{AptRoot, Policy};
pub use aptly::{AptlyArchive, AptlyClient};
pub use blackhole::Blackhole;
pub use certificates::{Authority, Certified, Validity};
pub use config::{Config, Mirror};
pub use debian::{DpkgArchive, FlatArchive, Package, RepreproArchive, leave};
pub use debmirror::Debmirror;
pub use dice::Dice;
pub use dose::{Builds, broken_by_dose};
pub use env::TestEnv;
pub use forge::{forge, sign};
pub use ftparchive::FtpArchive;
pub use gate::{Gate, Held, Passed};
pub use gnupg::{GpgHome, GpgKey};
pub use http::{Fetched, fetch, fetch_with, head};
pub use lists::{AptList, native_architecture};
pub use mirrorctl::demo::{Archive, ArchiveBuilder, Deb, Signing, SigningKey, SuiteSpec, Variant};
pub use mount::{MountGuard, mounted_below};
pub use nginx::Nginx;
pub use program::{Program, Ran, Running, Usage};
pub use proxy::{Asked, Proxy};
pub use recording::recording;
pub use scratch::{Scratch, free_port, is_root, now};
pub use strace::{Call, Injection};
pub use sys::{Signal, pages_in_memory};
pub use tls::{TlsFront, TlsVersions};
pub use upstream::{Fault, Recorded, Switch, Upstream};
