//! Relations between packages: the values of `Depends`, `Provides` and their like.
//!
//! Owns the reading of one relation and the question whether a version satisfies it. Which packages there are is not
//! known here.

use std::cmp::Ordering;

use super::version;

/// How a version must stand to the one that a relation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the outdated `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the outdated `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// One relation, such as `libc6:any (>= 2.36)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The name of a package, real or virtual.
    pub name: &'a str,
    /// What follows the colon: `any`, or an architecture.
    pub qualifier: Option<&'a str>,
    /// The demanded version.
    pub version: Option<(Operator, &'a str)>,
}

impl<'a> Relation<'a> {
    /// Reads one relation; `None` for what is none. Restrictions to architectures and build profiles, which the
    /// relations of binary packages do not have, are not looked at.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '<'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (name, qualifier) = name
            .split_once(':')
            .map_or((name, None), |(name, qualifier)| (name, Some(qualifier)));
        let rest = rest.trim_start();
        let version = match rest.strip_prefix('(') {
            None => None,
            Some(inside) => Some(demand(inside.split_once(')')?.0)?),
        };
        (!name.is_empty()).then_some(Self {
            name,
            qualifier,
            version,
        })
    }

    /// Whether the package's own version is one of those that the relation allows.
    #[must_use]
    pub fn allows(&self, version: &str) -> bool {
        let Some((operator, demanded)) = self.version else {
            return true;
        };
        let order = version::compare(version, demanded);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    /// Whether a package that provides the name satisfies it: at `version` if it says one. A demanded version is
    /// satisfied only by a provided one.
    #[must_use]
    pub fn allows_provided(&self, version: Option<&str>) -> bool {
        self.version.is_none() || version.is_some_and(|version| self.allows(version))
    }
}

fn demand(text: &str) -> Option<(Operator, &str)> {
    let known = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let text = text.trim();
    let (sign, operator) = known.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let version = text[sign.len()..].trim();
    (!version.is_empty()).then_some((operator, version))
}

/// The groups of a field: all of them are needed, and of each group one alternative.
pub fn groups(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|group| !group.is_empty())
}

/// The alternatives of a group, in the order of preference. What cannot be read is left out.
pub fn alternatives(group: &str) -> impl Iterator<Item = Relation<'_>> {
    group.split('|').filter_map(Relation::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_in_every_form() {
        let read = |text| Relation::parse(text).map(|r| (r.name, r.qualifier, r.version));
        for (text, expected) in [
            ("libc6", ("libc6", None, None)),
            (
                " libc6 (>= 2.36) ",
                ("libc6", None, Some((Operator::LaterOrEqual, "2.36"))),
            ),
            ("libc6(>=2.36)", ("libc6", None, Some((Operator::LaterOrEqual, "2.36")))),
            (
                "python3:any (<< 3.12)",
                ("python3", Some("any"), Some((Operator::Earlier, "3.12"))),
            ),
            ("a:i386", ("a", Some("i386"), None)),
            ("a (= 1:2-3)", ("a", None, Some((Operator::Equal, "1:2-3")))),
            ("a (< 1)", ("a", None, Some((Operator::EarlierOrEqual, "1")))),
            ("a (> 1)", ("a", None, Some((Operator::LaterOrEqual, "1")))),
            ("a (>> 1) [amd64]", ("a", None, Some((Operator::Later, "1")))),
            ("g++ [amd64] <!nocheck>", ("g++", None, None)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for bad in ["", "  ", "(>= 1)", "a (>= 1", "a (1)", "a (>=)"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_are_split_into_groups_and_alternatives() {
        let field = "a (>= 1), b | c:any (= 2) ,, d,\n e";
        let read: Vec<Vec<&str>> = groups(field)
            .map(|group| alternatives(group).map(|relation| relation.name).collect())
            .collect();
        assert_eq!(read, [vec!["a"], vec!["b", "c"], vec!["d"], vec!["e"]]);
    }

    #[test]
    fn versions_satisfy_or_do_not() {
        let allows = |relation: &str, version: &str| Relation::parse(relation).expect("valid").allows(version);
        for (operator, expected) in [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">>", [false, false, true]),
        ] {
            let relation = format!("a ({operator} 1.0)");
            assert_eq!(
                ["1.0~rc", "1.0", "1.0-1"].map(|v| allows(relation.as_str(), v)),
                expected,
                "{operator}"
            );
        }
        let provided =
            |relation: &str, version: Option<&str>| Relation::parse(relation).expect("valid").allows_provided(version);
        assert!(provided("a", None) && provided("a", Some("1")));
        assert!(provided("a (>= 2)", Some("2")) && !provided("a (>= 2)", Some("1")));
        assert!(!provided("a (>= 2)", None));
    }
}
