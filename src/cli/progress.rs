//! How a running sync looks: a bar on a terminal, lines in a log otherwise.
//!
//! Owns both forms. Bars go to standard error and are gone when they end.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use crate::model::MirrorId;
use crate::sync::Progress;
use crate::verify::Watch;

/// The form that fits `output`.
pub(super) fn of(output: &Output) -> Arc<dyn Progress> {
    if output.shows_progress() {
        Arc::new(Bar::default())
    } else {
        Arc::new(Lines)
    }
}

/// The form of a check that fits `output`.
pub(super) fn of_check(output: &Output) -> Box<dyn Watch> {
    if output.shows_progress() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines)
    }
}

/// Lines in the log.
struct Lines;

impl Progress for Lines {
    fn stage(&self, mirror: &MirrorId, what: &str) {
        tracing::info!("{what} for {mirror}");
    }

    fn begin(&self, files: u64, bytes: u64) {
        tracing::info!("{files} files to fetch, {}", super::text::size(bytes));
    }

    fn bytes(&self, _bytes: u64) {}

    fn file(&self) {}

    fn end(&self) {}
}

impl Watch for Lines {
    fn begin(&self, files: u64, bytes: u64) {
        tracing::info!("{files} files to check, {}", super::text::size(bytes));
    }

    fn bytes(&self, _bytes: u64) {}

    fn end(&self) {}
}

/// A bar of bytes.
#[derive(Default)]
struct Bar {
    current: Mutex<Option<ProgressBar>>,
    stage: Mutex<String>,
}

impl Bar {
    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        // A bar is only ever replaced as a whole.
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn stage(&self, mirror: &MirrorId, what: &str) {
        tracing::info!("{what} for {mirror}");
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = mirror.to_string();
    }

    fn begin(&self, _files: u64, bytes: u64) {
        let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(template).expect("the template is sound");
        let prefix = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bar = ProgressBar::new(bytes).with_style(style).with_prefix(prefix);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn bytes(&self, bytes: u64) {
        self.with(|bar| bar.inc(bytes));
    }

    fn file(&self) {}

    fn end(&self) {
        self.with(ProgressBar::finish_and_clear);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Watch for Bar {
    fn begin(&self, files: u64, bytes: u64) {
        Progress::begin(self, files, bytes);
    }

    fn bytes(&self, bytes: u64) {
        Progress::bytes(self, bytes);
    }

    fn end(&self) {
        Progress::end(self);
    }
}
