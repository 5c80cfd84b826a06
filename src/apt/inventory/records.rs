//! An inventory in memory: a record for each build, sorted, in one piece of memory.
//!
//! Owns the form of a record (`docs/formats.md`) and the order. Equal packages have equal bytes, so that two inventories of
//! which little differs are compared about as fast as they are read; only what differs becomes a [`Build`].

use super::{Build, Fingerprint};
use crate::model::{Digest, HashType};

/// The packages of an index, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Records, by the bytes of their names and then by the bytes that follow these.
    records: Vec<u8>,
}

/// All builds of one name. Groups are equal when all that is known of their builds is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    name: &'a [u8],
    records: &'a [u8],
}

/// The groups of an inventory, sorted by name.
#[derive(Debug, Clone)]
pub struct Groups<'a> {
    rest: &'a [u8],
}

impl Inventory {
    /// Its packages.
    #[must_use]
    pub fn groups(&self) -> Groups<'_> {
        Groups { rest: &self.records }
    }

    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    /// The inventory that consists of `records`; `None` when they are not such as [`Draft::finish`] makes.
    pub(super) fn checked(records: Vec<u8>) -> Option<Self> {
        let (mut rest, mut before) = (&records[..], None);
        while !rest.is_empty() {
            let record = Record::take(&mut rest)?;
            let key = (record.name, record.bytes);
            if before.is_some_and(|before| before > key) {
                return None;
            }
            before = Some(key);
        }
        Some(Self { records })
    }
}

impl<'a> Group<'a> {
    /// The name as bytes, by which groups are sorted.
    #[must_use]
    pub fn sorted_by(&self) -> &'a [u8] {
        self.name
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> Box<str> {
        text(self.name)
    }

    /// The builds, in an order that depends on nothing but them.
    #[must_use]
    pub fn builds(&self) -> Vec<Build> {
        let (mut rest, mut builds) = (self.records, Vec::new());
        while let Some(record) = Record::take(&mut rest) {
            builds.push(record.build());
        }
        builds
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let start = self.rest;
        let name = Record::take(&mut self.rest)?.name;
        while take_bytes(&mut &*self.rest) == Some(name) {
            Record::take(&mut self.rest)?;
        }
        let records = &start[..start.len() - self.rest.len()];
        Some(Group { name, records })
    }
}

/// An inventory that grows.
#[derive(Debug, Default)]
pub(super) struct Draft {
    records: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

/// What there is to say of a build but for the paths of its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) architecture: &'a str,
    pub(super) size: u64,
    pub(super) content: Fingerprint,
}

impl Draft {
    /// Adds a build whose files have these paths.
    pub(super) fn add(&mut self, head: &Head<'_>, paths: &[impl AsRef<str>]) {
        let records = &mut self.records;
        for text in [head.name, head.version, head.architecture] {
            put_bytes(records, text.as_bytes());
        }
        put_number(records, head.size);
        records.push(code(head.content.kind));
        records.extend_from_slice(head.content.digest.as_bytes());
        put_number(records, paths.len() as u64);
        for path in paths {
            put_bytes(records, path.as_ref().as_bytes());
        }
        self.ends.push(self.records.len());
    }

    /// Length of all records in bytes.
    pub(super) fn length(&self) -> usize {
        self.records.len()
    }

    /// The inventory of what was added.
    pub(super) fn finish(self) -> Inventory {
        let Self { records, ends } = self;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let slices = starts.zip(&ends).map(|(start, end)| &records[start..*end]);
        // Each with the name in front, by which it is sorted.
        let mut sorted: Vec<(&[u8], &[u8])> = slices
            .map(|record| (take_bytes(&mut &*record).unwrap_or_default(), record))
            .collect();
        if sorted.is_sorted() {
            return Inventory { records };
        }
        // Archives sort their indices by the names of sources, or nearly by those of packages: there is order to go by.
        sorted.sort();
        let mut in_order = Vec::with_capacity(records.len());
        for (_, record) in sorted {
            in_order.extend_from_slice(record);
        }
        Inventory { records: in_order }
    }
}

/// A record, taken apart.
struct Record<'a> {
    bytes: &'a [u8],
    name: &'a [u8],
    version: &'a [u8],
    architecture: &'a [u8],
    size: u64,
    content: Fingerprint,
    paths: u64,
    /// The paths, each after its length.
    joined: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the record off with which `rest` begins; `None` when there is none.
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let whole = *rest;
        let (name, version, architecture) = (take_bytes(rest)?, take_bytes(rest)?, take_bytes(rest)?);
        let size = take_number(rest)?;
        let (kind, digest) = rest.split_off(..=Digest::LENGTH)?.split_first()?;
        let content = Fingerprint {
            kind: kind_of(*kind)?,
            digest: Digest::from_bytes(digest).ok()?,
        };
        let paths = take_number(rest)?;
        let joined = *rest;
        for _ in 0..paths {
            take_bytes(rest)?;
        }
        Some(Self {
            bytes: &whole[..whole.len() - rest.len()],
            name,
            version,
            architecture,
            size,
            content,
            paths,
            joined: &joined[..joined.len() - rest.len()],
        })
    }

    fn build(&self) -> Build {
        let mut joined = self.joined;
        let paths = (0..self.paths).map_while(|_| take_bytes(&mut joined));
        Build {
            version: text(self.version),
            architecture: text(self.architecture),
            size: self.size,
            content: self.content,
            paths: paths.map(text).collect(),
        }
    }
}

/// Text that was written as such: what is not is shown as well as it can be.
fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// The number of a hash type in a record; the catalog has the same numbers.
fn code(kind: HashType) -> u8 {
    match kind {
        HashType::Md5Sum => 1,
        HashType::Sha1 => 2,
        HashType::Sha256 => 4,
        HashType::Sha512 => 8,
    }
}

fn kind_of(number: u8) -> Option<HashType> {
    HashType::ALL.into_iter().find(|kind| code(*kind) == number)
}

/// Writes a number in groups of seven bits, the lowest first; all but the last have the eighth bit set.
fn put_number(records: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return records.push(low & 0x7f);
        }
        records.push(low | 0x80);
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_bytes(records: &mut Vec<u8>, bytes: &[u8]) {
    put_number(records, bytes.len() as u64);
    records.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    rest.split_off(..length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A build by name, version and the paths of its files.
    type Spec = (String, String, u64, Vec<String>);

    fn inventory(specs: &[Spec]) -> Inventory {
        let mut draft = Draft::default();
        for (name, version, size, paths) in specs {
            let content = Fingerprint {
                kind: HashType::Sha256,
                digest: Digest::of(version.as_bytes()),
            };
            let head = Head {
                name,
                version,
                architecture: "all",
                size: *size,
                content,
            };
            draft.add(&head, paths);
        }
        draft.finish()
    }

    fn specs(inventory: &Inventory) -> Vec<Spec> {
        let spec = |group: &Group<'_>, build: Build| {
            let paths = build.paths.iter().map(ToString::to_string).collect();
            (group.name().into(), build.version.into(), build.size, paths)
        };
        let groups = inventory.groups();
        groups
            .flat_map(|group| group.builds().into_iter().map(move |build| spec(&group, build)))
            .collect()
    }

    prop_compose! {
        fn spec()(
            name in "[ab\u{e4}]{1,3}", version in "\\PC{0,3}", size in any::<u64>(),
            paths in prop::collection::vec("[a-z/\\t]{0,200}", 0..3),
        ) -> Spec {
            (name, version, size, paths)
        }
    }

    proptest! {
        #[test]
        fn whatever_is_added_comes_out_and_the_order_does_not_matter(mut all in prop::collection::vec(spec(), 0..20)) {
            let one = inventory(&all);
            all.reverse();
            prop_assert_eq!(&inventory(&all), &one);
            let mut found = specs(&one);
            let names = |specs: &[Spec]| specs.iter().map(|spec| spec.0.clone()).collect::<Vec<_>>();
            prop_assert!(names(&found).is_sorted());
            let mut groups = names(&found);
            groups.dedup();
            prop_assert_eq!(one.groups().count(), groups.len());
            all.sort();
            found.sort();
            prop_assert_eq!(found, all);
            prop_assert_eq!(Inventory::checked(one.records().to_vec()), Some(one));
        }

        #[test]
        fn bytes_that_are_no_inventory_are_never_taken_for_one(
            all in prop::collection::vec(spec(), 1..4), noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let records = inventory(&all).records().to_vec();
            for length in 1..records.len() {
                if let Some(shorter) = Inventory::checked(records[..length].to_vec()) {
                    // It ends between two of them.
                    prop_assert!(specs(&shorter).len() < all.len());
                }
            }
            // Noise may happen to be one; then it is read without trouble.
            if let Some(found) = Inventory::checked(noise) {
                prop_assert!(specs(&found).len() < 60);
            }
        }
    }

    #[test]
    fn what_is_not_sorted_is_no_inventory() {
        let spec = |name: &str| (name.to_owned(), "1".to_owned(), 1, vec!["p".to_owned()]);
        let records = |names: [&str; 2]| names.map(|name| inventory(&[spec(name)]).records().to_vec()).concat();
        assert_eq!(
            Inventory::checked(records(["a", "b"])),
            Some(inventory(&[spec("b"), spec("a")]))
        );
        assert_eq!(Inventory::checked(records(["b", "a"])), None);
    }

    #[test]
    fn numbers_have_one_length_and_end() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(take_number(&mut &bytes[..]), Some(number));
            assert_eq!(take_number(&mut &bytes[1..]).is_some(), bytes.len() > 1);
        }
        assert_eq!(take_number(&mut &[0xff; 20][..]), None);
        assert_eq!(take_bytes(&mut &[5, b'a'][..]), None);
    }
}
