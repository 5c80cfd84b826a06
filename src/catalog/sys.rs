//! The calls to SQLite that rusqlite has no safe form of.
//!
//! Owns nothing else.

#![expect(
    unsafe_code,
    reason = "sqlite3_file_control and the methods of an open file have no safe form"
)]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::{Connection, ffi};

use super::CatalogError;

/// Keeps the write-ahead log and its index when the last connection closes: a reader who may not write cannot open a
/// WAL database without them.
pub(super) fn keep_log_on_close(connection: &Connection) -> Result<(), CatalogError> {
    let mut on: c_int = 1;
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

/// SQLite's own way to files, and ours, which differs in `xShmMap` alone.
struct Methods {
    original: usize,
    map: unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int, c_int, c_int, *mut *mut c_void) -> c_int,
    ours: ffi::sqlite3_io_methods,
}

static METHODS: OnceLock<Methods> = OnceLock::new();

/// Has the log's index, which is memory shared by processes, take its place on the disk when it is mapped. SQLite makes
/// place for one byte in 4 KiB; where blocks are smaller and the disk is full, writing to the others would be SIGBUS, by which
/// the process dies. This way it is an error like any other. Where it cannot be arranged, all is as SQLite has it.
pub(super) fn fill_shared_memory(connection: &Connection) {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: as in `keep_log_on_close`; for this operation the argument points to a pointer, which outlives the call.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        )
    };
    if code != ffi::SQLITE_OK || file.is_null() {
        return;
    }
    // SAFETY: the pointer is that of the open database file, which nobody else uses now; its methods, if there are any, are a
    // constant of SQLite's or the static above.
    unsafe {
        let Some(original) = (*file).pMethods.as_ref() else {
            return;
        };
        let (Some(map), true) = (original.xShmMap, original.iVersion >= 2) else {
            return;
        };
        let methods = METHODS.get_or_init(|| Methods {
            original: ptr::from_ref(original).addr(),
            map,
            ours: ffi::sqlite3_io_methods {
                xShmMap: Some(map_filled),
                ..*original
            },
        });
        // There are others for file systems without locks, which are left as they are.
        if ptr::from_ref(original).addr() == methods.original {
            (*file).pMethods = &raw const methods.ours;
        }
    }
}

/// Maps a region of the index as SQLite does, and has every page of it written to.
unsafe extern "C" fn map_filled(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    let methods = METHODS.get().expect("set before this is anybody's method");
    // SAFETY: SQLite calls this as it would call its own, with the same arguments.
    let code = unsafe { (methods.map)(file, region, size, extend, mapped) };
    // SAFETY: on success SQLite has set the pointer, to null where there is no such region.
    let address = if code == ffi::SQLITE_OK {
        unsafe { *mapped }
    } else {
        ptr::null_mut()
    };
    if address.is_null() {
        return code;
    }
    let length = usize::try_from(size).unwrap_or(0);
    // SAFETY: the region is mapped with this length and stays so; this advice changes no byte of it.
    let filled = unsafe { libc::madvise(address, length, libc::MADV_POPULATE_WRITE) };
    match std::io::Error::last_os_error().raw_os_error() {
        // What would have been SIGBUS. Anything else is a kernel that does not know the advice, or a mapping for reading.
        Some(libc::EFAULT) if filled == -1 => ffi::SQLITE_FULL,
        _ => code,
    }
}
