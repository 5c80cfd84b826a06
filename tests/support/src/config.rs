//! Configuration files for tests.
//!
//! Owns [`Config`] and [`Mirror`], which write `mirror.toml`. They check nothing: a test may well want a wrong file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A `mirror.toml`. [`TestEnv::configure`](crate::TestEnv::configure) adds where things are.
#[derive(Debug, Clone, Default)]
pub struct Config {
    top: Vec<(String, String)>,
    tables: BTreeMap<String, Vec<(String, String)>>,
}

/// A table `[mirrors.ID]`: component `main`, architecture `amd64`, until told otherwise.
#[derive(Debug, Clone)]
pub struct Mirror {
    id: String,
    keys: BTreeMap<String, String>,
}

impl Config {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key of the top level to a TOML value: `set("max_conns", "4")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.top.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets a key of a table to a TOML value: `set_in("snapshot.prune", "keep_within", "\"30d\"")`.
    #[must_use]
    pub fn set_in(mut self, table: &str, key: &str, value: &str) -> Self {
        self.tables
            .entry(table.to_owned())
            .or_default()
            .push((key.to_owned(), value.to_owned()));
        self
    }

    /// As [`Config::set_in`], unless the key is set already.
    #[must_use]
    pub fn default_in(self, table: &str, key: &str, value: &str) -> Self {
        let set = self
            .tables
            .get(table)
            .is_some_and(|keys| keys.iter().any(|(known, _)| known == key));
        if set { self } else { self.set_in(table, key, value) }
    }

    /// Has pointers lend nothing of earlier publications.
    #[must_use]
    pub fn lending_nothing(self) -> Self {
        let config = self.set_in("publish", "keep_generations", "0");
        config.set_in("publish", "keep_for", "\"0s\"")
    }

    /// Adds a mirror.
    #[must_use]
    pub fn mirror(mut self, mirror: Mirror) -> Self {
        self.tables
            .entry(format!("mirrors.{}", mirror.id))
            .or_default()
            .extend(mirror.keys);
        self
    }

    /// The file.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let write_keys = |text: &mut String, keys: &[(String, String)]| {
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("a string takes all that is written");
            }
        };
        write_keys(&mut text, &self.top);
        for (table, keys) in &self.tables {
            writeln!(text, "\n[{table}]").expect("a string takes all that is written");
            write_keys(&mut text, keys);
        }
        text
    }
}

impl Mirror {
    /// The mirror `id` of the archive at `url`.
    pub fn new(id: &str, url: &str) -> Self {
        let mirror = Self {
            id: id.to_owned(),
            keys: BTreeMap::new(),
        };
        mirror
            .set("url", &quoted(url))
            .sections(&["main"])
            .architectures(&["amd64"])
    }

    /// Its suites.
    #[must_use]
    pub fn suites(self, names: &[&str]) -> Self {
        self.set("suites", &list(names))
    }

    /// Its components.
    #[must_use]
    pub fn sections(self, names: &[&str]) -> Self {
        self.set("sections", &list(names))
    }

    /// Its architectures.
    #[must_use]
    pub fn architectures(self, names: &[&str]) -> Self {
        self.set("architectures", &list(names))
    }

    /// The file with the keys it trusts.
    #[must_use]
    pub fn key(self, path: &Path) -> Self {
        self.set("pgp_key_path", &quoted(&path.to_string_lossy()))
    }

    /// Whether each new snapshot is staged.
    #[must_use]
    pub fn publish_to_staging(self, yes: bool) -> Self {
        self.set("publish_to_staging", &yes.to_string())
    }

    /// Whether each new snapshot goes to production.
    #[must_use]
    pub fn publish_to_production(self, yes: bool) -> Self {
        self.set("publish_to_production", &yes.to_string())
    }

    /// Sets a key to a TOML value, in place of an earlier one: `set("no_pgp_check", "true")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves a key out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }
}

/// A TOML string. Every JSON string without astral escapes is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(names: &[&str]) -> String {
    serde_json::Value::from(names).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_the_top_level() {
        let mirror = Mirror::new("debian", "http://h/")
            .suites(&["a", "b"])
            .without("sections")
            .publish_to_staging(true);
        let config = Config::new()
            .set_in("snapshot", "path", "\"/s\"")
            .mirror(mirror)
            .set("max_conns", "4");
        assert_eq!(
            config.to_toml(),
            "max_conns = 4\n\n[mirrors.debian]\narchitectures = [\"amd64\"]\npublish_to_staging = true\n\
             suites = [\"a\",\"b\"]\nurl = \"http://h/\"\n\n[snapshot]\npath = \"/s\"\n"
        );
    }
}
