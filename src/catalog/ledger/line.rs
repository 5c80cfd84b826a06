//! The ledger's text: one line for each step, with a checksum.
//!
//! Owns the format (`docs/formats.md`). Pure: it reads and writes byte strings, never files or the database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tables::{self, NUMBERED_BY_MANIFESTS};
use crate::model::{Digest, MirrorId};

/// The version of the format.
const FORMAT: u32 = 1;

/// Digits of a line's checksum, the first ones of the SHA-256 of what follows: enough to find damage, which is no attack.
const CHECKSUM: usize = 16;

/// Rows in one line of the part that is written at once.
const ROWS_OF_A_LINE: usize = 500;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the format.
    ledger: u32,
    /// The catalog whose row numbers follow.
    pub(super) generation: String,
    /// The last change that is in the part which was written at once.
    pub(super) n: i64,
    /// Bytes of that part, without this line.
    pub(super) base: u64,
    /// The greatest number that each numbered table had given out then.
    sequences: BTreeMap<String, i64>,
}

/// What every line has.
#[derive(Deserialize)]
struct Numbered {
    n: i64,
}

/// A line that is not the first.
#[derive(Deserialize)]
struct Step {
    n: i64,
    #[serde(rename = "do")]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    put: Option<String>,
    drop: Option<String>,
    row: Map<String, Value>,
}

/// A ledger that says everything at once.
pub(super) fn whole(generation: &str, n: i64, sequences: BTreeMap<String, i64>, rows: &[String]) -> Vec<u8> {
    let mut base = Vec::new();
    for some in rows.chunks(ROWS_OF_A_LINE) {
        base.append(&mut step(n, some));
    }
    let head = Head {
        ledger: FORMAT,
        generation: generation.to_owned(),
        n,
        base: base.len() as u64,
        sequences,
    };
    let mut text = line(&serde_json::to_string(&head).expect("numbers and text can be written"));
    text.append(&mut base);
    text
}

/// The line for these changes, of which the last has the number `n`.
pub(super) fn step(n: i64, changes: &[String]) -> Vec<u8> {
    line(&format!("{{\"n\":{n},\"do\":[{}]}}", changes.join(",")))
}

fn line(json: &str) -> Vec<u8> {
    let mut line = checksum(json.as_bytes()).into_bytes();
    line.push(b' ');
    line.extend_from_slice(json.as_bytes());
    line.push(b'\n');
    line
}

fn checksum(json: &[u8]) -> String {
    let mut digits = Digest::of(json).to_string();
    digits.truncate(CHECKSUM);
    digits
}

/// What a line without its end says, if it is whole.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == sum).then_some(json)
}

/// The number of the last change that a line, without its end, brings the catalog to.
pub(super) fn number(line: &[u8]) -> Option<i64> {
    let numbered: Numbered = serde_json::from_slice(checked(line)?).ok()?;
    Some(numbered.n)
}

/// The first line, without its end, if it is of a format that is known here.
pub(super) fn head(line: &[u8]) -> Option<Head> {
    let head: Head = serde_json::from_slice(checked(line)?).ok()?;
    (head.ledger == FORMAT).then_some(head)
}

/// A part of a row's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::catalog) enum KeyPart {
    Number(i64),
    Text(String),
}

/// The rows of one table by their keys, each by the names of its columns.
pub(in crate::catalog) type Rows = BTreeMap<Vec<KeyPart>, Map<String, Value>>;

/// What a ledger says in the end.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The generation of the catalog that it is of; `None` when the first line is damaged.
    pub generation: Option<String>,
    /// The number of the last change.
    pub(in crate::catalog) n: i64,
    /// Lines that could not be read; what they said is lost, unless a later one says it again.
    pub damaged_lines: u64,
    /// The rows of each table.
    pub(in crate::catalog) tables: BTreeMap<&'static str, Rows>,
    /// The greatest number that each numbered table is known to have given out.
    pub(in crate::catalog) sequences: BTreeMap<String, i64>,
}

impl Ledger {
    /// Reads a ledger. Damaged lines are left out and counted; the end of the last one may be missing, as a killed process
    /// leaves it, and that is no damage.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut ledger = Self::default();
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            let understood = if index == 0 {
                ledger.begin(line)
            } else {
                ledger.take(line)
            };
            if understood.is_none() {
                ledger.damaged_lines += 1;
            }
        }
        ledger
    }

    /// The mirrors that it knows and that were not forgotten.
    pub fn mirrors(&self) -> impl Iterator<Item = MirrorId> {
        let names = self.rows("mirror").filter_map(|row| row.get("name")?.as_str());
        names.filter_map(|name| name.parse().ok())
    }

    /// The rows of a table, by their keys.
    pub(in crate::catalog) fn rows(&self, table: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.tables.get(table).into_iter().flat_map(BTreeMap::values)
    }

    fn begin(&mut self, line: &[u8]) -> Option<()> {
        let head = head(line)?;
        self.generation = Some(head.generation);
        self.n = head.n;
        self.sequences = head.sequences;
        Some(())
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let step: Step = serde_json::from_slice(checked(line)?).ok()?;
        self.n = self.n.max(step.n);
        step.changes.into_iter().try_for_each(|change| self.apply(change))
    }

    fn apply(&mut self, change: Change) -> Option<()> {
        let name = change.put.as_ref().or(change.drop.as_ref())?;
        // Of a table that a later program has: it knows what to do about it.
        let Some(table) = tables::find(name) else {
            return Some(());
        };
        let key = table.key.iter().map(|column| key_part(change.row.get(*column)?));
        let key: Vec<KeyPart> = key.collect::<Option<_>>()?;
        if let ([KeyPart::Number(number)], true) = (&key[..], table.is_numbered) {
            let newest = self.sequences.entry(table.name.to_owned()).or_default();
            *newest = (*newest).max(*number);
        }
        let rows = self.tables.entry(table.name).or_default();
        if change.put.is_some() {
            rows.insert(key, change.row);
        } else {
            rows.remove(&key);
        }
        Some(())
    }
}

fn key_part(value: &Value) -> Option<KeyPart> {
    match value {
        Value::Number(number) => number.as_i64().map(KeyPart::Number),
        Value::String(text) => Some(KeyPart::Text(text.clone())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The tables whose numbers a head tells.
pub(super) fn numbered_tables() -> impl Iterator<Item = &'static str> {
    let logged = tables::LOGGED.iter().filter(|table| table.is_numbered);
    logged.map(|table| table.name).chain(NUMBERED_BY_MANIFESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: i64, name: &str) -> String {
        format!("{{\"put\":\"mirror\",\"row\":{{\"id\":{id},\"name\":\"{name}\",\"checked_at\":null}}}}")
    }

    fn names(ledger: &Ledger) -> Vec<&str> {
        let names = ledger.rows("mirror").map(|row| row["name"].as_str().expect("text"));
        names.collect()
    }

    fn text() -> Vec<u8> {
        let sequences = BTreeMap::from([("blob".to_owned(), 9)]);
        let mut text = whole("00ff", 3, sequences, &[put(1, "one"), put(2, "two")]);
        text.append(&mut step(5, &[put(4, "four"), put(1, "uno")]));
        let drop = "{\"drop\":\"mirror\",\"row\":{\"id\":4}}".to_owned();
        text.append(&mut step(6, &[drop]));
        text
    }

    #[test]
    fn what_is_said_last_counts() {
        let ledger = Ledger::parse(&text());
        assert_eq!(names(&ledger), ["uno", "two"]);
        assert_eq!((ledger.n, ledger.damaged_lines), (6, 0));
        assert_eq!(ledger.generation.as_deref(), Some("00ff"));
        assert_eq!(
            (ledger.sequences["mirror"], ledger.sequences["blob"]),
            (4, 9),
            "also of what is gone"
        );
    }

    #[test]
    fn the_head_tells_how_long_the_rest_is() {
        let text = text();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let head = head(lines[0]).expect("whole");
        assert_eq!(head.base, lines[1].len() as u64 + 1);
        assert_eq!(
            lines[..4].iter().map(|line| number(line)).collect::<Vec<_>>(),
            [Some(3), Some(3), Some(5), Some(6)]
        );
        assert_eq!(number(lines[4]), None, "nothing is after the last line");
    }

    #[test]
    fn a_line_that_was_cut_short_never_was() {
        let text = text();
        let third = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(2)
            .expect("lines")
            .0
            + 1;
        for end in third..text.len() - 1 {
            let ledger = Ledger::parse(&text[..end]);
            assert_eq!(
                (names(&ledger).len(), ledger.n, ledger.damaged_lines),
                (3, 5, 0),
                "{end}"
            );
        }
    }

    #[test]
    fn damage_costs_the_line_that_it_is_in() {
        let text = text();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 4;
            let ledger = Ledger::parse(&damaged);
            let is_end_of_last = at == text.len() - 1;
            assert_eq!(ledger.damaged_lines > 0, !is_end_of_last, "{at}");
        }
        let end = text.iter().position(|byte| *byte == b'\n').expect("lines");
        let mut headless = text.clone();
        headless[end / 2] ^= 1;
        let ledger = Ledger::parse(&headless);
        assert_eq!((names(&ledger), &ledger.generation), (vec!["uno", "two"], &None));
    }

    #[test]
    fn what_a_later_program_adds_is_passed_over() {
        let mut text = whole("00", 0, BTreeMap::new(), &[]);
        let later = "{\"put\":\"later\",\"row\":{\"id\":1}}".to_owned();
        text.append(&mut step(1, &[later, put(1, "one")]));
        let ledger = Ledger::parse(&text);
        assert_eq!((names(&ledger), ledger.damaged_lines), (vec!["one"], 0));
    }
}
