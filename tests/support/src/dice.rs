//! Numbers and bytes that look random and are the same in every run.
//!
//! Owns the generator. It is good enough for tests and for data that does not compress, and for nothing else.

/// A linear congruential generator with the constants of Knuth's MMIX; its upper bits look random enough.
#[derive(Debug, Clone, Default)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `below`.
    ///
    /// # Panics
    /// When `below` is 0.
    pub fn roll(&mut self, below: usize) -> usize {
        usize::try_from(self.step() >> 33).expect("31 bits") % below
    }

    /// One of `words`.
    ///
    /// # Panics
    /// When there is none.
    pub fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }

    /// Bytes that do not compress.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.step().to_be_bytes()[0]).collect()
    }

    fn step(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}
