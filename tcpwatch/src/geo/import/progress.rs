//! How far an import is, shown on a terminal and nowhere else.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that is drawn for one stage after the other.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    length: Cell<u64>,
    /// The position at which it is drawn next.
    next: Cell<u64>,
}

impl Progress {
    /// On stderr where that is a terminal; else nothing is ever drawn.
    pub fn on_a_terminal() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    /// Nothing is ever drawn.
    #[cfg(test)]
    pub fn hidden() -> Self {
        Self::on(ProgressDrawTarget::hidden())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg:24} [{bar:40}] {percent:>3} %") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            length: Cell::new(0),
            next: Cell::new(0),
        }
    }

    /// A stage of `length` steps begins.
    pub fn begin(&self, stage: &str, length: u64) {
        self.bar.set_message(stage.to_owned());
        self.measure(length);
    }

    /// The stage begins anew, and has `length` steps.
    pub fn measure(&self, length: u64) {
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.length.set(length);
        self.next.set(0);
    }

    /// So many steps of the stage are done. Cheap enough for every step.
    pub fn reached(&self, position: u64) {
        const PARTS: u64 = 200;
        if position >= self.next.get() {
            self.bar.set_position(position);
            self.next.set(position + self.length.get() / PARTS);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
