//! Why a request is refused, and the error number that says so.
//!
//! Owns [`FsError`] and its one translation to an error number. Nothing else in the crate may choose an error number
//! for a question about the tree: "cannot know now" must never turn into "does not exist".

use std::fmt;
use std::io;

use fuser::Errno;

/// Why the tree cannot answer as asked.
#[derive(Debug)]
pub enum FsError {
    /// There is no such name or number (any more).
    NotFound,
    /// The name is longer than any name can be.
    NameTooLong,
    /// A directory was needed.
    NotADirectory,
    /// A file was needed.
    IsADirectory,
    /// What was asked makes no sense for this kind of thing: where a file leads, or what bytes a link has.
    WrongKind,
    /// There is no such extended attribute.
    NoSuchAttribute,
    /// The blob's bytes are fewer or more than were recorded: no byte of it can be trusted.
    Damaged,
    /// A number from the tree exceeds its documented maximum, so no inode number can be made of it.
    OutOfRange,
    /// The tree cannot know now.
    Unavailable(io::Error),
}

impl FsError {
    /// The error number the asking process gets.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotFound => Errno::ENOENT,
            Self::NameTooLong => Errno::ENAMETOOLONG,
            Self::NotADirectory => Errno::ENOTDIR,
            Self::IsADirectory => Errno::EISDIR,
            Self::WrongKind => Errno::EINVAL,
            Self::NoSuchAttribute => Errno::ENODATA,
            Self::Unavailable(error) if out_of_descriptors(error) => Errno::EMFILE,
            Self::Damaged | Self::OutOfRange | Self::Unavailable(_) => Errno::EIO,
        }
    }

    /// Whether somebody should look into it: everything that is not an ordinary answer to an ordinary question.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::NotFound
            | Self::NameTooLong
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::WrongKind
            | Self::NoSuchAttribute => false,
            Self::Damaged | Self::OutOfRange | Self::Unavailable(_) => true,
        }
    }
}

/// Whether `error` says that this process or the machine has no file descriptor left.
pub(crate) fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such name",
            Self::NameTooLong => "the name is longer than 255 bytes",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::WrongKind => "not a thing of which that can be asked",
            Self::NoSuchAttribute => "no such extended attribute",
            Self::Damaged => "the blob's length is not the recorded one",
            Self::OutOfRange => "a number of the tree is too large for an inode number",
            Self::Unavailable(_) => "the tree cannot answer now",
        })
    }
}

impl std::error::Error for FsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(error),
            Self::NotFound
            | Self::NameTooLong
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::WrongKind
            | Self::NoSuchAttribute
            | Self::Damaged
            | Self::OutOfRange => None,
        }
    }
}

impl From<io::Error> for FsError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_knowing_is_never_not_existing() {
        let unknown = [
            (io::Error::from_raw_os_error(libc::ENOENT), libc::EIO),
            (io::Error::from_raw_os_error(libc::EACCES), libc::EIO),
            (io::Error::other("the catalog is busy"), libc::EIO),
            (io::Error::from_raw_os_error(libc::EMFILE), libc::EMFILE),
            (io::Error::from_raw_os_error(libc::ENFILE), libc::EMFILE),
        ];
        for (error, expected) in unknown {
            let text = error.to_string();
            assert_eq!(i32::from(FsError::from(error).errno()), expected, "{text}");
        }
    }
}
