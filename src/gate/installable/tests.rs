//! Tests of the comparison of two archives.

use super::*;
use crate::apt::installability::BinaryReader;
use crate::gate::Outcome;

/// Packages, each as name, version, architecture with `+foreign` or `+same` where it says so, and dependencies.
fn packages(index: &str) -> Vec<BinaryPackage> {
    let mut packages = Vec::new();
    let mut reader = BinaryReader::new(|package| packages.push(package));
    for line in index.lines().filter(|line| !line.trim().is_empty()) {
        let [name, version, architecture, fields @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let depends = if fields.is_empty() {
            String::new()
        } else {
            format!("Depends: {}\n", fields.join(" "))
        };
        let (architecture, multi_arch) = architecture.split_once('+').unwrap_or((architecture, "no"));
        let stanza = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMulti-Arch: {multi_arch}\n{depends}\n"
        );
        reader.push(stanza.as_bytes()).expect("a stanza");
    }
    reader.finish().expect("an index");
    packages
}

fn binaries(automatic: &str, on_request: &str) -> Binaries {
    Binaries {
        automatic: packages(automatic),
        on_request: packages(on_request),
    }
}

fn archive(index: &str, companion: &str) -> Archive {
    Archive::of(binaries(index, ""), binaries(companion, ""))
}

fn judged(now: &Archive, before: &Archive) -> (Vec<String>, u64) {
    let go_on = Stop(&|| false);
    let doubtful = now.doubtful(go_on).expect("goes on");
    let comparison = Comparison::of(now, &doubtful, before, go_on).expect("goes on");
    let as_before = comparison.as_before;
    let check = Comparison::check([comparison]);
    assert_eq!(check.outcome == Outcome::Failed, !check.details.is_empty());
    (check.details, as_before)
}

#[test]
fn only_what_was_fine_and_is_not_any_more_is_told() {
    let before = || {
        archive(
            "a 1 amd64 b\nb 1 amd64\nold 1 amd64 gone\nkeeps 1 amd64 b (= 1)\ntwo 1 amd64",
            "",
        )
    };
    let now = archive(
        "a 2 amd64 b (>= 3)\nb 2 amd64\nold 2 amd64 gone\nkeeps 1 amd64 b (= 1)\nnew 1 amd64 gone\n\
         two 1 amd64 gone\ntwo 2 amd64",
        "",
    );
    let (worse, as_before) = judged(&now, &before());
    assert_eq!(
        worse,
        [
            "a 2 on amd64: needs b (>= 3), which nothing satisfies; production has 1",
            "keeps 1 on amd64: needs b (= 1), which nothing satisfies",
            "two 1 on amd64: needs gone, which nothing satisfies",
        ]
    );
    assert_eq!(as_before, 2, "old was broken before, and new was not there");
    assert_eq!(judged(&before(), &before()), (Vec::new(), 1));
    assert_eq!(
        judged(&now, &Archive::default()).0,
        [""; 0],
        "nothing was there to become worse"
    );
}

#[test]
fn companions_satisfy_and_are_not_judged_themselves() {
    let before = || archive("a 1 amd64 lib", "lib 1 amd64\nother 1 amd64");
    assert_eq!(
        judged(&archive("a 1 amd64 lib", "lib 2 amd64\nother 2 amd64 gone"), &before()).0,
        [""; 0]
    );
    let (worse, _) = judged(&archive("a 1 amd64 lib", ""), &before());
    assert_eq!(worse, ["a 1 on amd64: needs lib, which nothing satisfies"]);
}

/// The archive with all packages of the `names` essential, and excluding what they say.
fn with_essential(mut archive: Archive, names: &[(&str, &str)]) -> Archive {
    for package in &mut archive.packages {
        if let Some((_, excludes)) = names.iter().find(|(name, _)| **name == *package.name) {
            package.essential = true;
            package.excludes = (*excludes).into();
        }
    }
    archive
}

#[test]
fn an_archive_that_is_no_whole_system_is_judged_without_one() {
    let of = |index: &str| with_essential(archive(index, ""), &[("base", "")]);
    let before = of("base 1 amd64 elsewhere\na 1 amd64 lib\nlib 1 amd64\nold 1 amd64 gone");
    let (worse, as_before) = judged(&of("base 2 amd64 elsewhere\na 1 amd64 lib\nold 1 amd64 gone"), &before);
    assert_eq!(worse, ["a 1 on amd64: needs lib, which nothing satisfies"]);
    assert_eq!(as_before, 2);
    let whole = of("base 2 amd64\na 1 amd64 lib\nold 1 amd64 gone");
    assert_eq!(judged(&whole, &before).0.len(), 1, "nor with what completes it");
}

#[test]
fn a_system_that_cannot_be_installed_any_more_is_told_first() {
    let of = |index: &str, excludes: &str| with_essential(archive(index, ""), &[("base", ""), ("tool", excludes)]);
    let before = of("a 1 amd64\nbase 1 amd64\ntool 1 amd64", "");
    let (worse, _) = judged(&of("a 1 amd64\nbase 1 amd64\ntool 1 amd64", "base"), &before);
    let no_system = "needs the essential packages, which exclude each other";
    let all = ["a", "base", "tool"].map(|name| format!("{name} 1 on amd64: {no_system}"));
    assert_eq!(worse, all);
    let (worse, _) = judged(&of("a 1 amd64\nbase 1 amd64\ntool 2 amd64 gone", ""), &before);
    assert_eq!(
        worse,
        [
            "tool 2 on amd64: needs gone, which nothing satisfies; production has 1",
            "a 1 on amd64: needs tool, which is essential and cannot be installed itself",
            "base 1 on amd64: needs tool, which is essential and cannot be installed itself",
        ]
    );
}

#[test]
fn each_architecture_is_a_system_of_its_own() {
    let before = || archive("a 1 all lib\nlib 1 amd64\nlib 1 arm64\nx 1 amd64 lib:arm64", "");
    let (worse, _) = judged(
        &archive("a 1 all lib\nlib 1 amd64\nx 1 amd64 lib:arm64\ny 1 arm64", ""),
        &before(),
    );
    assert_eq!(
        worse,
        [
            "x 1 on amd64 with arm64: needs lib:arm64, which nothing satisfies",
            "a 1 on arm64: needs lib, which nothing satisfies",
        ]
    );
    assert_eq!(judged(&before(), &before()), (Vec::new(), 0));
    // All packages of the other architecture go: with them goes what needs them.
    let (worse, _) = judged(&archive("lib 1 amd64\nx 1 amd64 lib:arm64", ""), &before());
    assert_eq!(
        worse,
        ["x 1 on amd64 with arm64: needs lib:arm64, which nothing satisfies"]
    );
}

#[test]
fn a_foreign_package_mends_nothing_for_clients_that_take_none() {
    let both = "tool 1 amd64+foreign\ntool 1 i386+foreign\napp 1 amd64 tool";
    let (worse, as_before) = judged(
        &archive("tool 1 i386+foreign\napp 1 amd64 tool", ""),
        &archive(both, ""),
    );
    assert_eq!(worse, ["app 1 on amd64: needs tool, which nothing satisfies"]);
    assert_eq!(as_before, 0);
    // Where it was needed before, it goes on to satisfy those who take it, and its end is told.
    let only = || archive("tool 1 i386+foreign\napp 1 amd64 tool", "");
    assert_eq!(judged(&only(), &only()), (Vec::new(), 0));
    let (worse, _) = judged(&archive("tool 1 i386\napp 1 amd64 tool", ""), &only());
    assert_eq!(worse, ["app 1 on amd64 with i386: needs tool, which nothing satisfies"]);
    // A version that needs what the one before did not.
    let (worse, _) = judged(
        &archive("app 2 amd64 tool:i386\ntool 1 i386", ""),
        &archive("app 1 amd64", ""),
    );
    assert_eq!(
        worse,
        ["app 2 on amd64: needs tool:i386, which nothing satisfies; production has 1"]
    );
}

#[test]
fn packages_for_all_architectures_alone_are_judged_where_companions_are() {
    let before = archive("app 1 all lib", "lib 1 amd64\nlib 1 arm64");
    let (worse, _) = judged(&archive("app 1 all lib", "lib 1 amd64\nother 1 arm64"), &before);
    assert_eq!(worse, ["app 1 on arm64: needs lib, which nothing satisfies"]);
    assert_eq!(judged(&archive("app 1 all", ""), &before), (Vec::new(), 0));
}

#[test]
fn suites_of_a_mirror_satisfy_each_other_unless_apt_must_be_told_to() {
    let of = |own: (&str, &str), companion: (&str, &str)| {
        Archive::of(binaries(own.0, own.1), binaries(companion.0, companion.1))
    };
    let none = ("", "");
    // One index after the other, as those of `stable` and `stable-updates` are: one archive.
    let stable = "app 1 amd64 lib\nlib 1 amd64";
    let updates = of(("app 1 amd64 lib\nlib 2 amd64", ""), none);
    assert_eq!(judged(&updates, &of((stable, ""), none)), (Vec::new(), 0));
    // What only backports have now is nothing to clients without them, also where it is a companion that has it.
    let why = "app 1 on amd64: needs lib, which nothing satisfies";
    for (own, companion) in [
        (("app 1 amd64 lib", "lib 2 amd64"), none),
        (("app 1 amd64 lib", ""), ("", "lib 2 amd64")),
    ] {
        let (worse, _) = judged(&of(own, companion), &of((stable, ""), none));
        assert_eq!(worse, [why]);
        // Who needed backports before has them.
        assert_eq!(judged(&of(own, companion), &of(own, companion)), (Vec::new(), 0));
        let (worse, _) = judged(&of(("app 1 amd64 lib", ""), none), &of(own, companion));
        assert_eq!(worse, [why]);
    }
    // Backports themselves stand on everything.
    let before = of((stable, "new 1 amd64 lib"), none);
    assert_eq!(
        judged(&of((stable, "new 2 amd64 lib, more\nmore 1 amd64"), none), &before),
        (Vec::new(), 0)
    );
    let (worse, _) = judged(&of((stable, "new 2 amd64 lib (>= 2)"), none), &before);
    assert_eq!(
        worse,
        ["new 2 on amd64: needs lib (>= 2), which nothing satisfies; production has 1"]
    );
}

#[test]
fn whoever_stops_waits_for_no_answer() {
    let broken = archive("a 1 amd64 gone", "");
    assert!(matches!(broken.doubtful(Stop(&|| true)), Err(Halt::Stopped)));
    let doubtful = broken.doubtful(Stop(&|| false)).expect("goes on");
    let stopped = Comparison::of(&broken, &doubtful, &broken, Stop(&|| true));
    assert!(matches!(stopped, Err(Halt::Stopped)));
}
