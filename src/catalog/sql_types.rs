//! How the vocabulary stands in SQL columns.
//!
//! Owns the newtypes for row ids and the conversions of names, digests, times, roles and pointers. A column that does
//! not hold what it should is reported as damage, never guessed.

use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::model::{Digest, Fault, MirrorId, Note, Pointer, Role, SnapshotName, Tag, Timestamp};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) i64);

        impl $name {
            /// The number itself.
            #[must_use]
            pub const fn number(self) -> i64 {
                self.0
            }

            /// The id with this number; whether a row has it shows when it is used.
            #[must_use]
            pub const fn from_number(number: i64) -> Self {
                Self(number)
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    };
}

row_id! {
    /// Row of a mirror.
    MirrorRow
}
row_id! {
    /// Row of a directory path, the same in every mirror and listing.
    DirRow
}
row_id! {
    /// Row of a blob. Never used again for other bytes.
    BlobRow
}
row_id! {
    /// Row of a snapshot. Later snapshots have greater numbers, whatever the clock says.
    SnapshotRow
}
row_id! {
    /// Row of a pointer move. Later moves have greater numbers, whatever the clock says.
    MoveRow
}
row_id! {
    /// Position of a listing in the sequence of its mirror, from 1.
    Seq
}

/// The directory row of every archive's root.
pub const ROOT_DIR: DirRow = DirRow(1);

/// `entry.to_seq` of what is still so in the last synced state.
pub(super) const OPEN: Seq = Seq(i32::MAX as i64);

/// A column value that the vocabulary refuses.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> FromSqlError {
    FromSqlError::Other(Box::new(error))
}

/// A wrapper that lets values of the vocabulary cross into SQL and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sql<T>(pub(super) T);

impl ToSql for Sql<Digest> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
    }
}

impl FromSql for Sql<Digest> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Digest::from_bytes(value.as_blob()?).map(Self).map_err(damaged)
    }
}

impl ToSql for Sql<Timestamp> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.unix().into())
    }
}

impl FromSql for Sql<Timestamp> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|seconds| Self(Timestamp::from_unix(seconds)))
    }
}

macro_rules! text_type {
    ($($name:ty),*) => {$(
        impl ToSql for Sql<&$name> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.as_str().into())
            }
        }

        impl FromSql for Sql<$name> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <$name>::from_str(value.as_str()?).map(Self).map_err(damaged)
            }
        }
    )*};
}
text_type!(MirrorId, SnapshotName, Tag, Note);

impl FromSql for Sql<Pointer> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Pointer::from_str(value.as_str()?).map(Self).map_err(damaged)
    }
}

impl ToSql for Sql<Role> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number: i64 = match self.0 {
            Role::Release => 0,
            Role::Index => 1,
            Role::Pool => 2,
        };
        Ok(number.into())
    }
}

impl FromSql for Sql<Role> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self(Role::Release)),
            1 => Ok(Self(Role::Index)),
            2 => Ok(Self(Role::Pool)),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

impl FromSql for Sql<Fault> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        let unknown = || FromSqlError::Other(format!("no fault is called {word:?}").into());
        Fault::named(word).map(Self).ok_or_else(unknown)
    }
}

/// A size as SQLite stores it. Sizes beyond 2^63 cannot come from a file system.
pub(super) fn stored(size: u64) -> i64 {
    i64::try_from(size).expect("no file has 2^63 bytes")
}
