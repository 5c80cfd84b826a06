//! What is mirrored of a suite besides its packages.
//!
//! Owns [`Content`]: the choice, with its defaults. Which files each choice means is for `apt` to say.

use super::Language;

/// What is mirrored of each suite besides the package indices of its components and architectures, and the pool files
/// that these name. Nothing of it is missed where a Release file does not list it, except source packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Source packages and their indices.
    pub sources: bool,
    /// Package descriptions in other languages, and the long ones in English.
    pub translations: Translations,
    /// Which files each package has.
    pub contents: bool,
    /// Descriptions and icons of applications, for software centres (DEP-11).
    pub appstream: bool,
    /// Which package has which command.
    pub command_not_found: bool,
    /// Images of the installer.
    pub installer: bool,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            sources: false,
            translations: Translations::default(),
            contents: false,
            appstream: true,
            command_not_found: true,
            installer: false,
        }
    }
}

/// The languages whose translations are mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Translations {
    /// Whatever there is. The default: a client that wants a language which Release lists and the mirror lacks updates
    /// nothing.
    #[default]
    All,
    /// These; possibly none.
    Of(Vec<Language>),
}

impl Translations {
    /// Whether the language called `name` is among them.
    #[must_use]
    pub fn include(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(languages) => languages.iter().any(|language| language.as_str() == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_the_default() {
        let content = Content::default();
        assert!(content.translations.include("en") && content.translations.include("de"));
        let english = Translations::Of(vec!["en".parse().expect("valid")]);
        assert!(english.include("en") && !english.include("de"));
        assert!(!Translations::Of(Vec::new()).include("en"));
    }
}
