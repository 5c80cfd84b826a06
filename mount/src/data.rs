//! The ways in which a file's bytes can reach a reader, and which of them a mount takes.
//!
//! Owns [`DataPath`] and the choice. A mount takes one of them for all of its files, from its handshake to its end: the
//! kernel does not bear two of them on one inode.

use std::fmt;
use std::io;
use std::str::FromStr;

use fuser::InitFlags;

/// A way in which a file's bytes reach its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataPath {
    /// Opening is not asked for: a file in the kernel's memory is served without the mount's process. Linux 3.16.
    NoOpen,
    /// Each opening is asked for, which finds damage before the first byte is sent; what the kernel remembers of the file stays.
    KeepCache,
    /// Each opening is asked for and names the blob's own file, which the kernel reads from then on. Linux 6.9; needs
    /// `CAP_SYS_ADMIN`, and blobs on a file system that lies on no other. Another process cannot adopt such a mount.
    Passthrough,
}

/// Text that names no [`DataPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchPath;

/// Why a mount cannot take the way it was told to.
#[derive(Debug)]
pub struct Unfit {
    wanted: DataPath,
    /// `None` when the kernel does not offer it at all.
    source: Option<io::Error>,
}

impl DataPath {
    /// Every way, the best first. By measurement (docs/adr/0028): the first serves small files from memory at the speed of the file system
    /// below, the others at a half of it or less.
    pub const ALL: [Self; 3] = [Self::NoOpen, Self::KeepCache, Self::Passthrough];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOpen => "no-open",
            Self::KeepCache => "keep-cache",
            Self::Passthrough => "passthrough",
        }
    }

    /// What the kernel must offer.
    pub(crate) fn needs(self) -> InitFlags {
        match self {
            Self::NoOpen => InitFlags::FUSE_NO_OPEN_SUPPORT,
            Self::KeepCache => InitFlags::empty(),
            Self::Passthrough => InitFlags::FUSE_PASSTHROUGH,
        }
    }

    /// Whether a process that did not begin the mount can go on with it. The kernel takes further openings of a file that is open
    /// only by the very number under which it was named to it, and those numbers are known to the process that was given them.
    pub(crate) fn is_adoptable(self) -> bool {
        match self {
            Self::NoOpen | Self::KeepCache => true,
            Self::Passthrough => false,
        }
    }

    /// The way to take where the kernel offers `offered`: that which is `wanted`, or else the best one which another process can
    /// adopt.
    pub(crate) fn choose(wanted: Option<Self>, offered: InitFlags) -> Result<Self, Unfit> {
        let offers = |way: &Self| offered.contains(way.needs());
        match wanted {
            Some(wanted) if offers(&wanted) => Ok(wanted),
            Some(wanted) => Err(Unfit { wanted, source: None }),
            None => {
                let mut fit = Self::ALL.into_iter().filter(|way| way.is_adoptable());
                Ok(fit.find(offers).unwrap_or(Self::KeepCache))
            }
        }
    }

    /// Why this way cannot be taken although the kernel offers it.
    pub(crate) fn refused(self, source: io::Error) -> Unfit {
        Unfit {
            wanted: self,
            source: Some(source),
        }
    }
}

impl fmt::Display for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DataPath {
    type Err = NoSuchPath;

    fn from_str(word: &str) -> Result<Self, NoSuchPath> {
        let known = Self::ALL.into_iter().find(|way| way.name() == word);
        known.ok_or(NoSuchPath)
    }
}

impl fmt::Display for NoSuchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is none of no-open, keep-cache, passthrough")
    }
}

impl std::error::Error for NoSuchPath {}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.wanted) {
            (Some(_), wanted) => write!(f, "the kernel refuses the data path {wanted}"),
            (None, DataPath::Passthrough) => {
                f.write_str("the kernel does not offer the data path passthrough (Linux 6.9 does)")
            }
            (None, wanted @ (DataPath::NoOpen | DataPath::KeepCache)) => {
                write!(f, "the kernel does not offer the data path {wanted}")
            }
        }
    }
}

impl std::error::Error for Unfit {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kernels offer of what is asked for here: 5.15 and 6.1 alike, and 6.9.
    const OLD: InitFlags = InitFlags::FUSE_NO_OPEN_SUPPORT.union(InitFlags::FUSE_MAX_PAGES);
    const NEW: InitFlags = OLD.union(InitFlags::FUSE_PASSTHROUGH);

    #[test]
    fn words_and_ways_agree() {
        for way in DataPath::ALL {
            assert_eq!(way.name().parse(), Ok(way));
        }
        for word in ["", "auto", "No-open", "noopen"] {
            assert_eq!(word.parse::<DataPath>(), Err(NoSuchPath), "{word:?}");
        }
    }

    #[test]
    fn the_choice_follows_what_is_offered() {
        for (wanted, offered, chosen) in [
            (None, NEW, Some(DataPath::NoOpen)),
            (None, OLD, Some(DataPath::NoOpen)),
            (None, InitFlags::FUSE_PASSTHROUGH, Some(DataPath::KeepCache)),
            (None, InitFlags::empty(), Some(DataPath::KeepCache)),
            (Some(DataPath::KeepCache), NEW, Some(DataPath::KeepCache)),
            (Some(DataPath::Passthrough), NEW, Some(DataPath::Passthrough)),
            (Some(DataPath::Passthrough), OLD, None),
            (Some(DataPath::NoOpen), InitFlags::empty(), None),
        ] {
            assert_eq!(DataPath::choose(wanted, offered).ok(), chosen, "{wanted:?}");
        }
    }

    #[test]
    fn what_cannot_be_adopted_is_never_chosen_unasked() {
        for offered in [OLD, NEW, InitFlags::all(), InitFlags::empty()] {
            assert!(DataPath::choose(None, offered).unwrap().is_adoptable());
        }
    }

    #[test]
    fn a_refusal_names_the_way_and_the_reason() {
        let missing = DataPath::choose(Some(DataPath::Passthrough), OLD).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the kernel does not offer the data path passthrough (Linux 6.9 does)"
        );
        let refused = DataPath::Passthrough.refused(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(refused.to_string(), "the kernel refuses the data path passthrough");
        assert!(std::error::Error::source(&refused).is_some());
    }
}
