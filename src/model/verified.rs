//! Text whose signature was checked.
//!
//! Owns [`VerifiedText`], the only text that the parser of Release files accepts. Only `signature` makes one.

/// The text of a Release file exactly as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedText {
    text: String,
    signers: Vec<String>,
}

impl VerifiedText {
    /// States that `text` was signed by the keys with the fingerprints `signers` (none when the operator switched
    /// the check off). To be called from `signature` only, which `tests/boundaries.rs` holds.
    pub(crate) fn vouched(text: String, signers: Vec<String>) -> Self {
        Self { text, signers }
    }

    /// The signed text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fingerprints of the keys whose good signatures it carries, in upper-case hexadecimal.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}
