//! The progress bar. It is drawn on standard error, and only if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Steps of the bar for each run.
const STEPS: u64 = 100;

/// Progress over all runs.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for this many runs.
    pub(super) fn over(runs: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left")
            .expect("the template is a constant that parses");
        let bar = ProgressBar::with_draw_target(Some(runs as u64 * STEPS), ProgressDrawTarget::stderr());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// A run begins: the one with this number, counted from 0.
    pub(super) fn begin(&self, run: usize, description: String) {
        self.bar.set_position(run as u64 * STEPS);
        self.bar.set_message(description);
    }

    /// The present run has done this share of its work, 0 ..= 1.
    pub(super) fn show(&self, share: f64) {
        let run_start = self.bar.position() / STEPS * STEPS;
        let steps = (share * STEPS as f64) as u64;
        // The last step belongs to the next run, or the division above would take it for one.
        self.bar.set_position(run_start + steps.min(STEPS - 1));
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
