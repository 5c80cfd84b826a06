//! Selections from small archives, written as stanzas.

use super::*;
use crate::apt::selection::CandidateReader;

/// A filter with these patterns left out, and versions kept.
fn filter() -> Filter {
    Filter::default()
}

fn index(filter: &Filter, lists: Lists, text: &str) -> Index {
    let mut reader = CandidateReader::new(filter, &lists);
    text.as_bytes()
        .chunks(11)
        .for_each(|piece| reader.push(piece).expect("valid"));
    let candidates = reader.finish().expect("valid");
    Index { lists, candidates }
}

const BINARIES: Lists = Lists::Binaries { installer: false };

/// A stanza of `name_version_architecture` and further fields.
fn stanza(package: &str, fields: &str) -> String {
    let mut parts = package.split('_');
    let mut part = || parts.next().unwrap_or_default();
    let (name, version, architecture) = (part(), part(), part());
    let architecture = if architecture.is_empty() { "amd64" } else { architecture };
    let fields: String = fields
        .split(';')
        .filter(|f| !f.is_empty())
        .map(|f| f.trim().to_owned() + "\n")
        .collect();
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}Filename: pool/{name}_{version}_{architecture}.deb\n\n"
    )
}

/// What is kept of indices of binary packages, each given as stanzas: the files of kept stanzas, sorted.
fn kept_of(filter: &Filter, indices: &[&[(&str, &str)]]) -> (Vec<String>, Selection) {
    let indices: Vec<Index> = indices
        .iter()
        .map(|stanzas| {
            let text: String = stanzas
                .iter()
                .map(|(package, fields)| stanza(package, fields))
                .collect();
            index(filter, BINARIES, &text)
        })
        .collect();
    let selection = select(filter, &indices);
    (files(&indices, &selection), selection)
}

fn files(indices: &[Index], selection: &Selection) -> Vec<String> {
    let mut files: Vec<String> = indices
        .iter()
        .zip(&selection.kept)
        .flat_map(|(index, kept)| index.candidates.iter().zip(kept))
        .filter(|(_, kept)| **kept)
        .flat_map(|(candidate, _)| candidate.paths.iter())
        .map(|path| path.trim_start_matches("pool/").trim_end_matches(".deb").to_owned())
        .collect();
    files.sort();
    files
}

fn patterns(texts: &[&str]) -> Vec<crate::model::NamePattern> {
    texts.iter().map(|text| text.parse().expect("an expression")).collect()
}

fn packages(names: &[&str]) -> Filter {
    Filter {
        packages: names.iter().map(|name| name.parse().expect("a name")).collect(),
        ..filter()
    }
}

#[test]
fn versions_are_counted_by_name_and_architecture_and_index() {
    let filter = Filter {
        keep_versions: 1,
        ..filter()
    };
    let first: &[_] = &[
        ("a_1.9", ""),
        ("a_1.10", ""),
        ("a_1.10~rc1", ""),
        ("a_1.2_arm64", ""),
        ("a_1.1_arm64", ""),
        ("b_2_all", ""),
        ("b_1:1_all", ""),
    ];
    let (kept, _) = kept_of(&filter, &[first, &[("a_0.1", "")]]);
    assert_eq!(kept, ["a_0.1_amd64", "a_1.10_amd64", "a_1.2_arm64", "b_1:1_all"]);
    let two = Filter {
        keep_versions: 2,
        ..filter
    };
    let (kept, _) = kept_of(&two, &[first]);
    assert_eq!(kept.len(), 6, "{kept:?}");
    // One version that is listed twice is one version.
    let twice = Filter {
        keep_versions: 1,
        ..Filter::default()
    };
    let (kept, _) = kept_of(&twice, &[&[("a_1", ""), ("a_1-0", ""), ("a_0", "")]]);
    assert_eq!(kept, ["a_1-0_amd64", "a_1_amd64"]);
}

#[test]
fn patterns_sections_and_priorities_restrict_together() {
    let stanzas: &[_] = &[
        ("lib_1", "Section: libs; Priority: optional"),
        ("lib-dbg_1", "Section: libs; Priority: optional"),
        ("lib-free_1", "Section: contrib/libs; Priority: standard"),
        ("tool_1", "Section: admin; Priority: required"),
        ("bare_1", ""),
    ];
    let kept = |filter: &Filter| kept_of(filter, &[stanzas]).0;
    assert_eq!(kept(&filter()).len(), 5);
    let exclude = Filter {
        exclude: patterns(&["-dbg$", "^to"]),
        ..filter()
    };
    assert_eq!(kept(&exclude), ["bare_1_amd64", "lib-free_1_amd64", "lib_1_amd64"]);
    let sections = Filter {
        sections: vec!["libs".into()],
        ..exclude.clone()
    };
    assert_eq!(kept(&sections), ["lib-free_1_amd64", "lib_1_amd64"]);
    let whole = Filter {
        sections: vec!["contrib/libs".into()],
        ..filter()
    };
    assert_eq!(kept(&whole), ["lib-free_1_amd64"]);
    let priorities = Filter {
        priorities: vec![Priority::Required, Priority::Standard],
        ..filter()
    };
    assert_eq!(kept(&priorities), ["lib-free_1_amd64", "tool_1_amd64"]);
    let all = Filter {
        include: patterns(&["^lib"]),
        priorities: vec![Priority::Optional],
        ..exclude
    };
    assert_eq!(kept(&all), ["lib_1_amd64"]);
}

#[test]
fn files_that_a_kept_stanza_names_too_are_not_absent() {
    let filter = Filter {
        exclude: patterns(&["^x"]),
        ..filter()
    };
    let text = "Package: xa\nVersion: 1\nFilename: ./pool/shared.deb\n\nPackage: b\nVersion: 1\nFilename: pool/shared.deb\n\n\
        Package: xc\nVersion: 1\nFilename: pool/c.deb\n";
    let indices = [index(&filter, BINARIES, text)];
    let selection = select(&filter, &indices);
    assert_eq!(selection.kept, [[false, true, false]]);
    assert_eq!(selection.absent(&indices), HashSet::from(["pool/c.deb"]));
    assert_eq!(selection.held(), 1);
}

#[test]
fn dependencies_are_followed_to_the_end() {
    let stanzas: &[_] = &[
        (
            "app_2",
            "Depends: lib (>= 1), tool:any,\n helper | other; Pre-Depends: init; Recommends: doc; Suggests: game",
        ),
        ("lib_1", "Depends: data"),
        ("lib_0.5", ""),
        ("data_1_all", "Depends: app"),
        ("tool_1", "Multi-Arch: allowed"),
        ("other_1", ""),
        ("helper_1", ""),
        ("init_1", ""),
        ("doc_1", ""),
        ("game_1", ""),
        ("base_1", "Essential: yes; Depends: lib (<< 1)"),
        ("req_1", "Priority: required"),
    ];
    let folded = |filter: &Filter| kept_of(filter, &[stanzas]).0;
    let wanted = [
        "app_2_amd64",
        "data_1_all",
        "helper_1_amd64",
        "init_1_amd64",
        "lib_1_amd64",
        "tool_1_amd64",
    ];
    assert_eq!(folded(&packages(&["app"])), wanted);
    let recommends = Filter {
        recommends: true,
        ..packages(&["app"])
    };
    assert!(folded(&recommends).contains(&"doc_1_amd64".to_owned()));
    let required = Filter {
        required: true,
        ..filter()
    };
    assert_eq!(folded(&required), ["base_1_amd64", "lib_0.5_amd64", "req_1_amd64"]);
    // What the operator names satisfies a group, whatever its place in there.
    assert!(!folded(&packages(&["app", "other"])).contains(&"helper_1_amd64".to_owned()));
    // What is left out satisfies nothing.
    let without = Filter {
        exclude: patterns(&["^helper$"]),
        ..packages(&["app"])
    };
    assert!(folded(&without).contains(&"other_1_amd64".to_owned()));
}

#[test]
fn named_packages_are_kept_beside_those_of_a_kind() {
    let stanzas: &[_] = &[
        ("app_1", "Depends: lib"),
        ("lib_1", ""),
        ("x-1_1", "Section: x"),
        ("y_1", ""),
    ];
    let both = Filter {
        include: patterns(&["^x"]),
        ..packages(&["app"])
    };
    assert_eq!(
        kept_of(&both, &[stanzas]).0,
        ["app_1_amd64", "lib_1_amd64", "x-1_1_amd64"]
    );
}

#[test]
fn virtual_packages_are_satisfied_by_one_provider() {
    let stanzas: &[_] = &[
        ("app_1", "Depends: mail, abi (>= 2), abi-old (= 1), real"),
        ("zmail_1", "Provides: mail; Priority: important"),
        ("amail_1", "Provides: x, mail; Priority: optional"),
        ("abi-1_1", "Provides: abi (= 1), abi-old (= 1)"),
        ("abi-2_1", "Provides: abi (= 2)"),
        ("abi-any_1", "Provides: abi"),
        ("real_1", ""),
        ("unreal_1", "Provides: real"),
    ];
    let (kept, selection) = kept_of(&packages(&["app"]), &[stanzas]);
    assert_eq!(
        kept,
        [
            "abi-1_1_amd64",
            "abi-2_1_amd64",
            "app_1_amd64",
            "real_1_amd64",
            "zmail_1_amd64"
        ]
    );
    assert_eq!(selection.unsatisfied, []);
    let (kept, _) = kept_of(&packages(&["app", "amail"]), &[stanzas]);
    assert!(!kept.contains(&"zmail_1_amd64".to_owned()), "{kept:?}");
    // A virtual package can be named.
    let (kept, selection) = kept_of(&packages(&["mail"]), &[stanzas]);
    assert_eq!((kept, selection.unknown.len()), (vec!["zmail_1_amd64".to_owned()], 0));
}

#[test]
fn architectures_are_followed_apart() {
    let stanzas: &[_] = &[
        ("app_1", "Depends: common, lib"),
        ("app_1_arm64", "Depends: common, lib"),
        ("common_1_all", "Depends: tool"),
        ("lib_1", ""),
        ("lib_1_arm64", "Depends: gone | away (>= 2)"),
        ("tool_1", ""),
        ("tool_1_arm64", ""),
        ("cross_1", "Depends: native:arm64, only:any, never:any"),
        ("native_1_arm64", ""),
        ("only_1_arm64", "Multi-Arch: allowed"),
        ("never_1_arm64", ""),
    ];
    let (kept, selection) = kept_of(&packages(&["app", "missing"]), &[stanzas]);
    assert_eq!(kept.len(), 7, "{kept:?}");
    assert_eq!(selection.unknown, ["missing"]);
    let lacking = Unsatisfied {
        package: "lib".to_owned(),
        architecture: "arm64".to_owned(),
        dependency: "gone | away (>= 2)".to_owned(),
    };
    assert_eq!(selection.unsatisfied, [lacking]);
    let (kept, selection) = kept_of(&packages(&["cross"]), &[stanzas]);
    assert_eq!(kept, ["cross_1_amd64", "native_1_arm64", "only_1_arm64"]);
    assert_eq!(selection.unsatisfied.len(), 1);
    // A package for every architecture alone, and one that is listed for each.
    let (kept, _) = kept_of(&packages(&["a"]), &[&[("a_1_all", "Depends: b"), ("b_1_all", "")]]);
    assert_eq!(kept, ["a_1_all", "b_1_all"]);
    let (kept, _) = kept_of(
        &packages(&["a"]),
        &[&[("a_1_all", ""), ("b_1", "")], &[("a_1_all", ""), ("b_1_arm64", "")]],
    );
    assert_eq!(kept, ["a_1_all", "a_1_all"]);
}

#[test]
fn dependencies_keep_the_newest_versions_that_they_allow() {
    let stanzas: &[_] = &[
        ("app_1", "Depends: lib (= 9)"),
        ("app_2", "Depends: lib (<< 3)"),
        ("lib_1", ""),
        ("lib_2", ""),
        ("lib_3", ""),
        ("lib_9", ""),
    ];
    let filter = Filter {
        keep_versions: 1,
        ..packages(&["app"])
    };
    let (kept, _) = kept_of(&filter, &[stanzas]);
    assert_eq!(kept, ["app_2_amd64", "lib_2_amd64"]);
    let all = kept_of(&packages(&["app"]), &[stanzas]).0;
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn the_installer_has_packages_of_its_own() {
    let filter = packages(&["app", "udeb"]);
    let normal = index(
        &filter,
        BINARIES,
        &(stanza("app_1", "Depends: lib") + &stanza("other_1", "")),
    );
    let installer = Lists::Binaries { installer: true };
    let udebs = index(
        &filter,
        installer,
        &(stanza("lib_1", "") + &stanza("udeb_1", "Depends: lib")),
    );
    let indices = [normal, udebs];
    let selection = select(&filter, &indices);
    assert_eq!(
        files(&indices, &selection),
        ["app_1_amd64", "lib_1_amd64", "udeb_1_amd64"]
    );
    assert_eq!(selection.unsatisfied.len(), 1, "app gets no lib");
}

#[test]
fn sources_follow_their_binaries() {
    let binaries = stanza("app_1+b1", "Source: src (1)")
        + &stanza("lib_2", "Source: src-lib")
        + &stanza("own_3", "")
        + &stanza("x-only_1", "Source: of-x");
    let source = |name: &str, version: &str| {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: any\nDirectory: pool/{name}\nFiles:\n 00 1 {name}.dsc\n\
             Checksums-Sha256:\n 00 1 {name}.dsc\n 00 2 {name}.tar.xz\n\n"
        )
    };
    let sources = source("src", "1") + &source("src", "0") + &source("src-lib", "2") + &source("own", "3");
    let sources = sources + &source("of-x", "1") + &source("elsewhere", "1");
    let kept = |filter: &Filter| {
        let indices = [
            index(filter, BINARIES, &binaries),
            index(filter, Lists::Sources, &sources),
        ];
        let selection = select(filter, &indices);
        let named = |(candidate, _): (&Candidate, _)| format!("{}_{}", candidate.name, candidate.version);
        let kept = indices[1].candidates.iter().zip(&selection.kept[1]);
        kept.filter(|(_, kept)| **kept).map(named).collect::<Vec<_>>()
    };
    let exclude = Filter {
        exclude: patterns(&["^x-"]),
        ..filter()
    };
    assert_eq!(kept(&exclude), ["src_1", "src_0", "src-lib_2", "own_3", "elsewhere_1"]);
    assert_eq!(kept(&packages(&["app"])), ["src_1"]);
    for directory in ["pool/src", "pool/src/", "./pool/src", "./pool/src/"] {
        let text = source("src", "1").replace("Directory: pool/src", &format!("Directory: {directory}"));
        let paths = index(&exclude, Lists::Sources, &text).candidates.remove(0).paths;
        assert_eq!(
            paths,
            ["pool/src/src.dsc".into(), "pool/src/src.tar.xz".into()],
            "{directory}"
        );
    }
}

#[test]
fn kept_stanzas_are_copied_byte_for_byte() {
    let text = b"\n\nPackage: a\nX:  odd  \n\n\n\nPackage: b\n\nPackage: c\n folded\t\n\nPackage: d";
    let copy = |kept: &[bool], piece: usize| {
        let (mut copier, mut output) = (Copier::new(kept), Vec::new());
        text.chunks(piece).for_each(|piece| copier.push(piece, &mut output));
        copier.finish(&mut output);
        String::from_utf8(output).expect("text")
    };
    for piece in 1..text.len() {
        assert_eq!(
            copy(&[true, false, true, true], piece),
            "Package: a\nX:  odd  \n\nPackage: c\n folded\t\n\nPackage: d\n\n"
        );
        assert_eq!(copy(&[false, true, false, false], piece), "Package: b\n\n");
        assert_eq!(copy(&[false; 4], piece), "");
    }
}

#[test]
fn stanzas_end_where_the_reader_ends_them() {
    let text = "Package: a\r\nVersion: 1\r\n\r\n\r\nPackage: b\r\nVersion: 1\n\nPackage: c\nVersion: 1\r\n\r";
    assert_eq!(index(&filter(), BINARIES, text).candidates.len(), 3);
    for piece in 1..text.len() {
        let (mut copier, mut output) = (Copier::new(&[true, false, true]), Vec::new());
        text.as_bytes()
            .chunks(piece)
            .for_each(|piece| copier.push(piece, &mut output));
        copier.finish(&mut output);
        assert_eq!(
            String::from_utf8(output).expect("text"),
            "Package: a\r\nVersion: 1\r\n\r\nPackage: c\nVersion: 1\r\n\r\n",
            "{piece}"
        );
    }
}

#[test]
fn a_stanza_without_name_or_version_is_refused() {
    let filter = filter();
    for text in ["Version: 1\n", "Package: a\n"] {
        let mut reader = CandidateReader::new(&filter, &BINARIES);
        reader.push(text.as_bytes()).expect("text so far");
        assert!(reader.finish().is_err(), "{text}");
    }
}
