//! One directory's listing as it is kept in memory: two pieces, whatever the number of names.
//!
//! Owns that form and how many bytes it takes. It never changes once it is made.

use crate::error::FsError;
use crate::tree::{BlobNo, Child, DirNo, FileId, FileNode, Node};

/// What stands in the place of a file's size for a directory: a size no file can have.
const DIRECTORY: u64 = u64::MAX;

/// What a listing takes besides its names and entries: its place in the map, the shared pointer, three allocations.
const OVERHEAD: usize = 192;

/// The names of one directory in byte order, each with what stands there.
#[derive(Debug)]
pub(crate) struct Listing {
    /// All names, one after the other.
    names: Box<[u8]>,
    entries: Box<[Entry]>,
}

#[derive(Debug)]
struct Entry {
    /// [`DIRECTORY`], or the size of the file.
    size: u64,
    mtime: i64,
    serial: u64,
    /// Of the directory or of the blob.
    number: u32,
    /// Where the name ends, which begins where the one before ends.
    name_end: u32,
}

impl Listing {
    /// The listing of `children`, which are in byte order.
    ///
    /// # Errors
    /// When the names have more bytes than can be counted in 32 bits.
    pub(crate) fn new(children: &[Child]) -> Result<Self, FsError> {
        let length = children.iter().map(|child| child.name.len()).sum();
        let mut names = Vec::with_capacity(length);
        let mut entries = Vec::with_capacity(children.len());
        for child in children {
            names.extend_from_slice(&child.name);
            let name_end = u32::try_from(names.len()).map_err(|_| FsError::OutOfRange)?;
            entries.push(Entry::new(child.node, name_end));
        }
        Ok(Self {
            names: names.into(),
            entries: entries.into(),
        })
    }

    /// The entries from the one numbered `first` on.
    pub(crate) fn iter_from(&self, first: usize) -> impl Iterator<Item = (&[u8], Node)> {
        (first..self.entries.len()).map(|index| (self.name(index), self.entries[index].node()))
    }

    /// What stands under `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Node> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.entries[middle].node()),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.names.len() + size_of_val(&*self.entries) + OVERHEAD
    }

    fn name(&self, index: usize) -> &[u8] {
        let end = |index: usize| usize::try_from(self.entries[index].name_end).expect("32 bits fit");
        let begin = index.checked_sub(1).map_or(0, end);
        &self.names[begin..end(index)]
    }
}

impl Entry {
    fn new(node: Node, name_end: u32) -> Self {
        match node {
            Node::Directory(DirNo(number)) => Self {
                size: DIRECTORY,
                mtime: 0,
                serial: 0,
                number,
                name_end,
            },
            Node::File(FileNode { id, size, mtime }) => Self {
                // No disk has a larger one, and it is damage when it is read.
                size: size.min(DIRECTORY - 1),
                mtime,
                serial: id.serial,
                number: id.blob.0,
                name_end,
            },
        }
    }

    fn node(&self) -> Node {
        if self.size == DIRECTORY {
            return Node::Directory(DirNo(self.number));
        }
        Node::File(FileNode {
            id: FileId {
                blob: BlobNo(self.number),
                serial: self.serial,
            },
            size: self.size,
            mtime: self.mtime,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn node() -> impl Strategy<Value = Node> {
        let file = |(blob, serial, size, mtime): (u32, u64, u64, i64)| {
            let id = FileId {
                blob: BlobNo(blob),
                serial,
            };
            Node::File(FileNode { id, size, mtime })
        };
        prop_oneof![
            any::<u32>().prop_map(|number| Node::Directory(DirNo(number))),
            (any::<u32>(), any::<u64>(), 0..DIRECTORY, any::<i64>()).prop_map(file),
        ]
    }

    proptest! {
        #[test]
        fn every_name_is_found_and_listed_as_it_was_given(
            named in btree_map(vec(any::<u8>(), 0..20), node(), 0..50),
            other in vec(any::<u8>(), 0..20),
            first in 0_usize..60,
        ) {
            let children: Vec<Child> = named
                .iter()
                .map(|(name, node)| Child { name: name.clone().into(), node: *node })
                .collect();
            let listing = Listing::new(&children).unwrap();
            for child in &children {
                prop_assert_eq!(listing.find(&child.name), Some(child.node));
            }
            prop_assert_eq!(listing.find(&other), named.get(&other).copied());
            let listed: Vec<_> = listing.iter_from(first).map(|(name, node)| (name.to_vec(), node)).collect();
            prop_assert_eq!(listed, named.into_iter().skip(first).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_entry_takes_32_bytes_and_its_name() {
        let child = |n: u32| Child {
            name: format!("{n:010}").into_bytes().into(),
            node: Node::Directory(DirNo(n)),
        };
        let bytes = |count| {
            let children: Vec<Child> = (0..count).map(child).collect();
            Listing::new(&children).unwrap().bytes()
        };
        assert_eq!(bytes(1001) - bytes(1), 1000 * (32 + 10));
    }
}
