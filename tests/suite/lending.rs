//! What commands say of files that earlier publications lend, and of files that changed under their names.
//!
//! Owns the reports; what is served is tested with a mount.

use serde_json::{Value, json};

use crate::site::{Site, deb, text};

/// Three snapshots of `debian`, oldest first: in each, the file of `aa` has other bytes under the same name.
fn three_snapshots() -> (Site, Vec<String>) {
    let mut site = Site::small();
    site.sync();
    for size in [3_000, 4_000] {
        site.add(&deb("aa", "1", size));
        site.sync();
    }
    let mut names = site.snapshots("debian");
    names.reverse();
    (site, names)
}

fn reachable(site: &Site) -> Vec<(String, String, u64)> {
    let report = site.json("status");
    let reachable = report["mirrors"][0]["reachable"].as_array().expect("a list").clone();
    let one = |one: &Value| {
        let left = one["publications_left"].as_u64().expect("a number");
        (text(&one["pointer"]), text(&one["snapshot"]), left)
    };
    reachable.iter().map(one).collect()
}

#[test]
fn a_move_tells_which_files_changed_under_their_names() {
    let (site, names) = three_snapshots();
    let path = site.pool("aa");
    let lead = |command: &str, name: &str| site.json(&format!("snapshot {command} debian {name}"))["replaced"].clone();
    assert_eq!(lead("publish", &names[0]), json!([]), "nothing was there before");
    let replaced = |pointer: &str| json!([{"mirror": "debian", "pointer": pointer, "files": 1, "paths": [path]}]);
    assert_eq!(lead("publish", &names[2]), replaced("current"));
    assert_eq!(lead("publish", &names[2]), json!([]), "it is there already");
    assert_eq!(
        lead("publish", &names[0]),
        replaced("current"),
        "nor does the way back go unseen"
    );
    assert_eq!(lead("stage", &names[0]), json!([]));
    site.run(&format!("snapshot stage debian {}", names[1]))
        .success()
        .stdout_has(&format!(
            "debian/staging: 1 file changed under the same name, and clients refuse them until they update: {path}\n"
        ));
    assert_eq!(site.json("snapshot promote debian")["replaced"], replaced("current"));
}

#[test]
fn a_file_that_comes_back_with_other_bytes_is_told_as_long_as_the_old_ones_are_lent() {
    let mut site = Site::small();
    site.sync();
    for (name, size) in [("dd", 3_000), ("dd", 4_000), ("ee", 100)] {
        site.add(&deb(name, "1", size));
        site.sync();
    }
    let names: Vec<String> = site.snapshots("debian").into_iter().rev().collect();
    let [lacks, has, has_other, later] = &names[..] else {
        panic!("four snapshots: {names:?}")
    };
    let to = |name: &str, pointer: &str| site.json(&format!("snapshot publish debian {name} --to {pointer}"));
    for (name, paths) in [
        (has, vec![]),
        (lacks, vec![]),
        (has_other, vec![site.pool("dd")]),
        (later, vec![]),
    ] {
        let replaced = &to(name, "current")["replaced"];
        let told = replaced
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|one| one["paths"].as_array().expect("a list"));
        assert_eq!(told.map(text).collect::<Vec<_>>(), paths, "{name} in {names:?}");
    }
    site.configure(|mirror| {
        mirror
            .set("publish.keep_generations", "0")
            .set("publish.keep_for", "\"0\"")
    });
    for name in [has, lacks, has_other] {
        assert_eq!(to(name, "staging")["replaced"], json!([]), "nothing is lent");
    }
}

#[test]
fn whatever_moves_a_pointer_tells_which_files_changed_under_their_names() {
    let mut site = Site::small();
    site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true));
    assert_eq!(site.json("sync")["mirrors"][0]["snapshot"]["replaced"], json!([]));
    let first = site.snapshots("debian").remove(0);
    let path = site.pool("aa");
    let replaced = |pointer: &str| json!({"mirror": "debian", "pointer": pointer, "files": 1, "paths": [path]});
    let back = |site: &Site| {
        for command in ["stage", "publish"] {
            site.run(&format!("snapshot {command} debian {first}")).success();
        }
    };
    site.add(&deb("aa", "1", 3_000));
    let synced = site.json("sync");
    assert_eq!(
        synced["mirrors"][0]["snapshot"]["replaced"],
        json!([replaced("staging"), replaced("current")])
    );

    back(&site);
    let created = site.json("snapshot create debian again --stage");
    assert_eq!(created["replaced"], json!([replaced("staging")]));
    let promoted = site.json("sync --promote-if-tested");
    assert_eq!(promoted["mirrors"][0]["outcome"], "unchanged");
    assert_eq!(promoted["promotion"]["replaced"], json!([replaced("current")]));

    back(&site);
    let root = site.archive.root().display().to_string();
    site.run(&format!("import debian {root} --name imported"))
        .success()
        .stdout_has("debian/staging: 1 file changed under the same name")
        .stdout_has("debian/current: 1 file changed under the same name");
    site.add(&deb("aa", "1", 4_000));
    site.run("sync")
        .success()
        .stdout_has("debian/current: 1 file changed under the same name");
}

#[test]
fn what_lends_is_shown_and_deleted_by_force_only() {
    let (site, names) = three_snapshots();
    for name in &names {
        site.run(&format!("snapshot publish debian {name}")).success();
    }
    let current = |name: &String, left: u64| ("current".to_owned(), name.clone(), left);
    assert_eq!(reachable(&site), [current(&names[1], 3), current(&names[0], 2)]);
    site.run("status").success().stdout_has(&format!(
        "debian/current lends files of {} until 2 more publications, and until 20",
        names[0]
    ));

    let delete = format!("snapshot delete debian {}", names[0]);
    let refused = site.run(&format!("--json {delete}")).code(4).json();
    assert_eq!(refused["error"]["kind"], "refused");
    let message = text(&refused["error"]["message"]);
    let expected = format!("debian/current lends files of snapshot {} until 2 more", names[0]);
    assert!(message.starts_with(&expected), "{message}");
    site.run(&format!("snapshot create debian {} --force", names[0]))
        .code(4);
    let pruned = site.json("snapshot prune --dry-run --keep-last 1 --keep-within 0");
    let verdicts = pruned["mirrors"][0]["snapshots"].as_array().expect("verdicts").iter();
    let reasons: Vec<Value> = verdicts.map(|verdict| verdict["kept_because"].clone()).collect();
    let lent = json!(["within the grace overlay"]);
    assert_eq!(reasons, [json!(["current", "among the newest"]), lent.clone(), lent]);
    assert_eq!(site.snapshots("debian").len(), 3);

    site.run(&format!("{delete} --force")).success();
    assert_eq!(reachable(&site), [current(&names[1], 3)]);
    site.assert_whole();
}

#[test]
fn every_pointer_lends_by_its_own_terms() {
    let (site, names) = three_snapshots();
    site.configure(|mirror| {
        mirror
            .set("publish.keep_generations", "1")
            .set("publish.keep_for", "\"0\"")
    });
    for name in &names {
        site.run(&format!("snapshot stage debian {name}")).success();
    }
    let staging = |name: &String, left| ("staging".to_owned(), name.clone(), left);
    assert_eq!(reachable(&site), [staging(&names[1], 1)]);
    site.run("status").success().stdout_has(&format!(
        "debian/staging lends files of {} until 1 more publication\n",
        names[1]
    ));
    let status = site.json("status");
    assert_eq!(status["mirrors"][0]["reachable"][0]["until"], Value::Null);
    // What nobody lends any more goes as ever.
    site.run(&format!("snapshot delete debian {}", names[0])).success();
    site.run(&format!("snapshot delete debian {}", names[1])).code(4);
}
