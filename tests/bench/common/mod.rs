//! What the benchmarks share: the machine they ran on, medians, and tables.
//!
//! Owns how figures are printed. It measures nothing itself and knows nothing of mirrorctl.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use mirrorctl_testkit::{Program, Scratch, now};

/// Whether `cargo bench` runs this and not `cargo test --all-targets`, which would wait for minutes for nothing.
pub(crate) fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Writes everything to disk that anybody has written so far, so that whoever is measured next does not wait for it.
pub(crate) fn settle() {
    Program::new("sync", "coreutils").run().success();
}

/// The time, the kernel, the processors, and what a durable write costs in `scratch`.
pub(crate) fn machine(scratch: &Scratch) -> String {
    let date = jiff::Timestamp::from_second(now().unix()).expect("a time of these days");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let file_system = Program::new("stat", "coreutils")
        .args(["--file-system", "--format=%T"])
        .arg(scratch.path())
        .run()
        .stdout;
    let durable = samples(20, |round| {
        let mut file = fs::File::create(scratch.path().join("probe")).expect("a file");
        let begun = Instant::now();
        file.write_all(&[u8::try_from(round).unwrap_or_default(); 4096])
            .and_then(|()| file.sync_all())
            .expect("writes a page");
        begun.elapsed()
    });
    format!(
        "{date}, Linux {}, {processors} processors, {} in {}; writing 4 KiB durably takes {} there",
        kernel.trim(),
        file_system.trim(),
        scratch.path().parent().unwrap_or(scratch.path()).display(),
        milliseconds(median(&durable)),
    )
}

/// `count` samples of something.
pub(crate) fn samples(count: usize, take: impl FnMut(usize) -> Duration) -> Vec<Duration> {
    (0..count).map(take).collect()
}

/// The middle one; the lower of the two middle ones of an even number.
pub(crate) fn median<T: Copy + Ord>(samples: &[T]) -> T {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) / 2]
}

/// `3.21 ms`.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A table: the first column to the left, the others to the right.
pub(crate) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = || std::iter::once(head.iter().map(ToString::to_string).collect()).chain(rows.iter().cloned());
    let mut widths = vec![0; head.len()];
    for row in cells() {
        let row: Vec<String> = row;
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("\n{title}\n");
    for row in cells() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(line, "  {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
            written.expect("a string takes all that is written");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
