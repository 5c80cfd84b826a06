//! What the verified Release files of a listing said.
//!
//! Owns the rows of table `release` and the question what a mirror's last synced state was made from.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::sql_types::Sql;
use super::{Catalog, CatalogError, CatalogReader, MirrorRow, Seq, snapshots};
use crate::model::{Shrink, Suite, Timestamp};

/// One suite of a listing: facts of its Release file, and what a conditional request for it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The distribution path.
    pub suite: Suite,
    /// `Date`.
    pub date: Option<Timestamp>,
    /// `Valid-Until`.
    pub valid_until: Option<Timestamp>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Label`.
    pub label: Option<String>,
    /// `Suite`.
    pub suite_field: Option<String>,
    /// `Codename`.
    pub codename: Option<String>,
    /// Fingerprints of the keys whose signatures were good.
    pub signers: Vec<String>,
    /// Upstream's `ETag` of the file that was verified.
    pub etag: Option<String>,
    /// Upstream's `Last-Modified` of it.
    pub last_modified: Option<String>,
}

/// What a mirror's last synced state is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedState {
    /// The listing.
    pub seq: Seq,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When upstream was last asked and had nothing newer, or when it was recorded.
    pub checked_at: Option<Timestamp>,
    /// The upstream it came from.
    pub url: String,
    /// What was selected from the archive, as the sync that recorded it wrote it down.
    pub selection: String,
    /// Number of files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Number of files that the indices name and a filter has left out.
    pub absent: u64,
    /// One item for each suite.
    pub releases: Vec<ReleaseFacts>,
}

/// A synced state that pointers may lead to, as what a later one is measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedState {
    /// Number of its pool files.
    pub pool_files: u64,
    /// What was selected from the archive.
    pub selection: String,
}

impl CatalogReader {
    /// The last synced state of a mirror; `None` before its first complete sync.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn last_state(&self, mirror: MirrorRow) -> Result<Option<SyncedState>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT seq, recorded_at, checked_at, selection, files, bytes, url, absent
             FROM listing JOIN mirror ON mirror.id = mirror_id
             WHERE mirror_id = ? ORDER BY seq DESC LIMIT 1",
        )?;
        let state = query.query_row([mirror], |row| {
            let Sql(recorded_at) = row.get(1)?;
            Ok(SyncedState {
                seq: row.get(0)?,
                recorded_at,
                checked_at: row.get::<_, Option<Sql<Timestamp>>>(2)?.map(|Sql(time)| time),
                selection: row.get(3)?,
                url: row.get(6)?,
                files: row.get::<_, i64>(4)?.cast_unsigned(),
                bytes: row.get::<_, i64>(5)?.cast_unsigned(),
                absent: row.get::<_, i64>(7)?.cast_unsigned(),
                releases: Vec::new(),
            })
        });
        let Some(mut state) = state.optional()? else {
            return Ok(None);
        };
        state.releases = self.releases(mirror, state.seq)?;
        Ok(Some(state))
    }

    /// The newest listing of a mirror that is not held; `None` when there is none.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn last_accepted(&self, mirror: MirrorRow) -> Result<Option<AcceptedState>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT pool_files, selection FROM listing WHERE mirror_id = ? AND held_against IS NULL
             ORDER BY seq DESC LIMIT 1",
        )?;
        let accepted = query.query_row([mirror], |row| {
            Ok(AcceptedState {
                pool_files: row.get::<_, i64>(0)?.cast_unsigned(),
                selection: row.get(1)?,
            })
        });
        Ok(accepted.optional()?)
    }

    /// What the last synced state of a mirror is held for, if it is.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn last_held(&self, mirror: MirrorRow) -> Result<Option<Shrink>, CatalogError> {
        let newest = "SELECT max(seq) FROM listing WHERE mirror_id = ?";
        let newest: Option<Seq> = self.connection.query_row(newest, [mirror], |row| row.get(0))?;
        newest.map_or(Ok(None), |seq| snapshots::held(&self.connection, mirror, seq))
    }

    /// The Release facts of one listing, sorted by suite.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn releases(&self, mirror: MirrorRow, seq: Seq) -> Result<Vec<ReleaseFacts>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT suite, date, valid_until, origin, label, suite_field, codename, signers, etag, last_modified
             FROM release WHERE mirror_id = ? AND seq = ? ORDER BY suite",
        )?;
        let rows = query.query_map(params![mirror, seq], facts)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What a later Release file of `suite` is measured against, whatever the listings after it were selected from: what
    /// the newest listing that has the suite says of it; or the newest one from a URL that `is_upstream`, when that is of a
    /// later date. `None` when no listing has the suite.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn last_release(
        &self,
        mirror: MirrorRow,
        suite: &Suite,
        is_upstream: impl Fn(&str) -> bool,
    ) -> Result<Option<ReleaseFacts>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT suite, date, valid_until, origin, label, suite_field, codename, signers, etag, last_modified, url
             FROM release JOIN listing USING (mirror_id, seq) WHERE mirror_id = ? AND suite = ? ORDER BY seq DESC",
        )?;
        let mut rows = query.query(params![mirror, suite.as_str()])?;
        let mut newest: Option<ReleaseFacts> = None;
        while let Some(row) = rows.next()? {
            let found = facts(row)?;
            let from_upstream = is_upstream(&row.get::<_, String>(10)?);
            if newest.is_none() || from_upstream {
                newest = newest.filter(|newest| newest.date >= found.date).or(Some(found));
            }
            if from_upstream {
                break;
            }
        }
        Ok(newest)
    }
}

/// The suite of a listing whose Release file clients refuse first, and from when on; `None` when none says so.
pub(super) fn first_to_expire(
    connection: &Connection,
    mirror: MirrorRow,
    seq: Seq,
) -> Result<Option<(Suite, Timestamp)>, CatalogError> {
    let mut query = connection.prepare_cached(
        "SELECT suite, valid_until FROM release
         WHERE mirror_id = ? AND seq = ? AND valid_until IS NOT NULL ORDER BY valid_until, suite LIMIT 1",
    )?;
    let first = query.query_row(params![mirror, seq], |row| {
        let Sql(until) = row.get(1)?;
        Ok((suite(row)?, until))
    });
    Ok(first.optional()?)
}

/// The suite, which is the first column.
fn suite(row: &Row<'_>) -> rusqlite::Result<Suite> {
    let suite: String = row.get(0)?;
    suite
        .parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// Reads the columns that `release` is always asked for.
fn facts(row: &Row<'_>) -> rusqlite::Result<ReleaseFacts> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<Sql<Timestamp>>>(column)?.map(|t| t.0));
    let signers: String = row.get(7)?;
    Ok(ReleaseFacts {
        suite: suite(row)?,
        date: time(1)?,
        valid_until: time(2)?,
        origin: row.get(3)?,
        label: row.get(4)?,
        suite_field: row.get(5)?,
        codename: row.get(6)?,
        signers: signers.split_whitespace().map(str::to_owned).collect(),
        etag: row.get(8)?,
        last_modified: row.get(9)?,
    })
}

/// Where a synced state came from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The upstream, without credentials.
    pub url: &'a str,
    /// What was selected from the archive.
    pub selection: &'a str,
    /// The Release facts of every suite.
    pub releases: &'a [ReleaseFacts],
}

impl Catalog {
    /// Notes that upstream was asked at `now` and the last synced state still is what `source` offers: the leases of
    /// failed syncs have served their purpose.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn note_unchanged(
        &mut self,
        mirror: MirrorRow,
        source: &Source<'_>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE mirror SET checked_at = ? WHERE id = ?",
                params![Sql(now), mirror],
            )?;
            transaction.execute("DELETE FROM lease WHERE mirror_id = ?", [mirror])?;
            transaction.execute(
                "UPDATE listing SET url = ?2, selection = ?3
                 WHERE mirror_id = ?1 AND seq = (SELECT max(seq) FROM listing WHERE mirror_id = ?1)
                   AND (url <> ?2 OR selection <> ?3)",
                params![mirror, source.url, source.selection],
            )?;
            let mut validators = transaction.prepare_cached(
                "UPDATE release SET etag = ?3, last_modified = ?4
                 WHERE mirror_id = ?1 AND seq = (SELECT max(seq) FROM listing WHERE mirror_id = ?1) AND suite = ?2
                   AND (etag IS NOT ?3 OR last_modified IS NOT ?4)",
            )?;
            for facts in source.releases {
                validators.execute(params![mirror, facts.suite.as_str(), facts.etag, facts.last_modified])?;
            }
            Ok(())
        })
    }
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    seq: Seq,
    releases: &[ReleaseFacts],
) -> Result<(), CatalogError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO release (mirror_id, seq, suite, date, valid_until, origin, label, suite_field, codename, signers,
                              etag, last_modified)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for facts in releases {
        insert.execute(params![
            mirror,
            seq,
            facts.suite.as_str(),
            facts.date.map(Sql),
            facts.valid_until.map(Sql),
            facts.origin,
            facts.label,
            facts.suite_field,
            facts.codename,
            facts.signers.join(" "),
            facts.etag,
            facts.last_modified,
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Recording;
    use super::super::tests::{House, at, facts, listing, mirror_id, snapshot_name};
    use super::*;

    fn release(suite: &str) -> ReleaseFacts {
        ReleaseFacts {
            suite: suite.parse().expect("valid suite"),
            date: Some(at(-5)),
            valid_until: None,
            origin: Some("Debian".into()),
            label: None,
            suite_field: Some("stable".into()),
            codename: Some("trixie".into()),
            signers: vec!["AB".repeat(20), "CD".repeat(20)],
            etag: Some("\"x\"".into()),
            last_modified: None,
        }
    }

    #[test]
    fn what_the_release_files_said_is_kept_with_the_listing() {
        let mut house = House::new();
        let id = mirror_id("debian");
        let row = house.catalog.adopt_mirror(&id).expect("adopts");
        assert_eq!(house.catalog.reader().last_state(row).expect("reads"), None);
        assert_eq!(
            house.catalog.reader().mirrors().expect("reads"),
            [],
            "it has no state to serve yet"
        );
        house.catalog.add_blobs(&[facts("x")]).expect("adds");
        let prepared = house
            .catalog
            .prepare(&id, &listing(&[("a", "x")]), at(0))
            .expect("prepares");
        let releases = [
            release("trixie/updates"),
            ReleaseFacts {
                signers: Vec::new(),
                ..release("a")
            },
        ];
        let name = snapshot_name("one");
        let what = Recording {
            source: Source {
                url: "http://h/",
                selection: "main",
                releases: &releases,
            },
            ..Recording::plain(
                house.store_manifest(row, &prepared, at(0)).expect("stores"),
                &name,
                at(7),
            )
        };
        house.catalog.record(&prepared, &what).expect("records");
        house
            .catalog
            .note_unchanged(
                row,
                &Source {
                    url: "http://h/",
                    selection: "main",
                    releases: &releases,
                },
                at(9),
            )
            .expect("notes");
        let state = house
            .catalog
            .reader()
            .last_state(row)
            .expect("reads")
            .expect("was synced");
        assert_eq!((state.recorded_at, state.checked_at), (at(7), Some(at(9))));
        assert_eq!((state.files, state.bytes, state.selection.as_str()), (1, 1, "main"));
        let [trixie, a] = releases;
        assert_eq!(state.releases, [a, trixie], "sorted by suite");
        assert_eq!(house.catalog.reader().mirrors().expect("reads"), [(row, id)]);
        house
            .sync("debian", &listing(&[]), "two", &[], at(10))
            .expect("records");
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &[snapshot_name("one")], false, at(9))
            .expect("deletes");
        assert_eq!(
            house.number("SELECT count(*) FROM release"),
            0,
            "they go with their listing"
        );
    }
}
