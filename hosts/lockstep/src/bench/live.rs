//! How it goes, on standard error: one line that is redrawn on a terminal, plain lines where there is none.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::Board;

/// How often the line is redrawn, in nanoseconds.
const REDRAW_EVERY_NS: u64 = 250_000_000;
/// How often a plain line is written, in nanoseconds.
const LINE_EVERY_NS: u64 = 1_000_000_000;

/// The line.
pub struct Live {
    bar: Option<ProgressBar>,
    every_ns: u64,
    at_ns: u64,
    answered: u64,
}

impl Live {
    /// Says nothing yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let every_ns = if bar.is_some() { REDRAW_EVERY_NS } else { LINE_EVERY_NS };
        Live { bar, every_ns, at_ns: 0, answered: 0 }
    }

    /// When it wants to say something next.
    pub fn due_ns(&self) -> u64 {
        self.at_ns + self.every_ns
    }

    /// Says how `phase` goes, if it is time.
    pub fn glance(&mut self, phase: &str, board: &Board) {
        let now_ns = board.clock.now_ns();
        if now_ns < self.due_ns() {
            return;
        }
        let seconds = (now_ns - self.at_ns) as f64 / 1e9;
        let rate = (board.answered - self.answered) as f64 / seconds;
        (self.at_ns, self.answered) = (now_ns, board.answered);
        let mut line = format!("{phase}: {rate:.0} answers/s, {} under way", board.open);
        let figures = &board.figures;
        if !figures.latencies.is_empty() {
            let [p50, p99] = [0.5, 0.99].map(|quantile| figures.quantile_us(quantile) / 1e3);
            line += &format!(", p50 {p50:.2} ms, p99 {p99:.2} ms");
        }
        if board.resent > 0 {
            line += &format!(", {} sent again", board.resent);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => eprintln!("{line}"),
        }
    }

    /// Clears the line away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
