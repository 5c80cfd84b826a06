//! The man pages in `docs/man/`, made from the definition of the command line.
//!
//! Owns the test that they are up to date. It writes them anew when `MIRRORCTL_WRITE_MAN_PAGES` is set.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::args::Arguments;

#[test]
fn man_pages_are_those_of_the_command_line() {
    let mut made = BTreeMap::new();
    let mut command = Arguments::command().disable_help_subcommand(true);
    // Gives every command the flags that all have.
    command.build();
    make("mirrorctl", command, &mut made);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
    #[expect(clippy::disallowed_methods, reason = "asked by whoever runs the test")]
    if std::env::var_os("MIRRORCTL_WRITE_MAN_PAGES").is_some() {
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).expect("makes the directory");
        for (name, page) in &made {
            fs::write(directory.join(name), page).expect("writes a page");
        }
    }
    let kept: BTreeMap<String, String> = fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read_to_string(entry.path()).expect("text"),
            )
        })
        .collect();
    let hint = "run the test with MIRRORCTL_WRITE_MAN_PAGES=1 and commit docs/man";
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        made.keys().collect::<Vec<_>>(),
        "{hint}"
    );
    for (name, page) in &made {
        assert_eq!(&kept[name], page, "{name}: {hint}");
    }
}

/// The page of `command`, called `name`, and those of the commands below it.
fn make(name: &str, command: Command, pages: &mut BTreeMap<String, String>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        make(&format!("{name}-{}", below.get_name()), below.clone(), pages);
    }
    let shown = name.replace('-', " ");
    let command = command.bin_name(shown).display_name(name.to_owned());
    let mut page = Vec::new();
    let title = name.to_uppercase();
    clap_mangen::Man::new(command)
        .title(title)
        .date("")
        .source(concat!("mirrorctl ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .expect("renders into memory");
    pages.insert(format!("{name}.1"), String::from_utf8(page).expect("UTF-8"));
}
