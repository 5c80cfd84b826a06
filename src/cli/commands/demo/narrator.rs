//! How the demonstration is told.
//!
//! Owns the narration: people get each line as it happens, programs the whole story when it is over.

use serde::Serialize;

use crate::cli::output::{Human, Output, Page};

/// Tells the story line by line.
pub(super) struct Narrator<'a> {
    output: &'a mut Output,
    story: Story,
}

#[derive(Default, Serialize)]
struct Story {
    steps: Vec<Step>,
}

/// One step of the story: its title, and what was done and found.
#[derive(Serialize)]
struct Step {
    title: String,
    lines: Vec<String>,
}

impl Human for Story {
    /// People have heard it already.
    fn human(&self, _: &mut Page) {}
}

impl<'a> Narrator<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        let story = Story::default();
        Self { output, story }
    }

    /// Begins a step.
    pub(super) fn heading(&mut self, title: &str) {
        if !self.story.steps.is_empty() {
            self.output.say("");
        }
        self.output.say(title);
        self.story.steps.push(Step {
            title: title.to_owned(),
            lines: Vec::new(),
        });
    }

    /// Tells a line of the step.
    pub(super) fn say(&mut self, line: &str) {
        self.output.say(&format!("  {line}"));
        if let Some(step) = self.story.steps.last_mut() {
            step.lines.push(line.to_owned());
        }
    }

    /// The story is over, however it ended.
    pub(super) fn end(self) {
        self.output.done(&self.story);
    }
}
