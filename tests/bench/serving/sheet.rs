//! What was measured, round by round, and what that is held to.
//!
//! Owns the arithmetic: medians of each place, and the ratio to the place it is compared with as the median of the rounds'
//! ratios, since what disturbs a round disturbs both.

use crate::common::median;

/// What a ratio is held to, in hundredths.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    /// More is better, and this is the least.
    AtLeast(u64),
    /// Less is better, and this is the most.
    AtMost(u64),
    /// For comparison only.
    None,
}

/// One figure that all places have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    /// In words.
    pub(super) what: &'static str,
    /// Of the figures.
    pub(super) unit: &'static str,
    pub(super) bar: Bar,
}

/// Samples of every measure, in the order in which they were first taken; those of the own place first, then those of what
/// it is held against.
#[derive(Default)]
pub(super) struct Sheet(Vec<(Measure, Vec<Vec<u64>>)>);

impl Sheet {
    /// Adds a sample of `measure` in the place of that number.
    pub(super) fn add(&mut self, measure: Measure, place: usize, sample: u64) {
        let at = self.0.iter().position(|(known, _)| known.what == measure.what);
        let at = at.unwrap_or_else(|| {
            self.0.push((measure, Vec::new()));
            self.0.len() - 1
        });
        let samples = &mut self.0[at].1;
        samples.resize(samples.len().max(place + 1), Vec::new());
        samples[place].push(sample);
    }

    /// The rows of a table with `places` places: what, unit, a median of each, ratio, bar, and whether it is held.
    pub(super) fn rows(&self, places: usize) -> Vec<Vec<String>> {
        let row = |(measure, samples): &(Measure, Vec<Vec<u64>>)| {
            let mut row = vec![measure.what.to_owned(), measure.unit.to_owned()];
            let medians = (0..places).map(|place| match samples.get(place).map(Vec::as_slice) {
                Some([]) | None => "-".to_owned(),
                Some(taken) => median(taken).to_string(),
            });
            row.extend(medians);
            row.extend(verdict(measure.bar, &samples[0], &samples[1]));
            row
        };
        let mut rows: Vec<Vec<String>> = self.0.iter().map(row).collect();
        // Each begins with the number of its bar.
        rows.sort_by(|a, b| a[0][..2].cmp(&b[0][..2]));
        rows
    }
}

/// The ratio of `own` to `other`, the bar, and whether it is held.
fn verdict(bar: Bar, own: &[u64], other: &[u64]) -> [String; 3] {
    // Ten thousandths, so that what is printed and what is judged are the same but for rounding.
    let ratios: Vec<u64> = own
        .iter()
        .zip(other)
        .map(|(own, other)| own * 10_000 / (*other).max(1))
        .collect();
    let ratio = median(&ratios);
    let (bar, is_held) = match bar {
        Bar::AtLeast(least) => (format!(">= {}", hundredths(least * 100)), Some(ratio >= least * 100)),
        Bar::AtMost(most) => (format!("<= {}", hundredths(most * 100)), Some(ratio <= most * 100)),
        Bar::None => ("-".to_owned(), None),
    };
    let held = is_held.map_or("-", |is_held| if is_held { "yes" } else { "NO" });
    [hundredths(ratio), bar, held.to_owned()]
}

fn hundredths(ten_thousandths: u64) -> String {
    let rounded = (ten_thousandths + 50) / 100;
    format!("{}.{:02}", rounded / 100, rounded % 100)
}
