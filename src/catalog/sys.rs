//! The one call to SQLite that rusqlite has no safe form of.
//!
//! Owns nothing else.

use rusqlite::{Connection, ffi};

use super::CatalogError;

/// Keeps the write-ahead log and its index when the last connection closes: a reader who may not write cannot open a
/// WAL database without them.
#[expect(unsafe_code, reason = "sqlite3_file_control has no safe form")]
pub(super) fn keep_log_on_close(connection: &Connection) -> Result<(), CatalogError> {
    let mut on: std::ffi::c_int = 1;
    // SAFETY: the handle is that of a live connection used by this thread only; the database name is a C string; for
    // this operation the argument points to an int, which outlives the call.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
    }
}
