//! What is shown while it runs, on standard error: one live line on a terminal, plain lines otherwise.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rig::load::figures::Glance;

/// Without a terminal, how often a line says how it goes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The display.
pub struct Display {
    bar: Option<ProgressBar>,
    step: RefCell<String>,
    last_line: RefCell<Instant>,
}

impl Display {
    /// Live if standard error is a terminal.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Display { bar, step: RefCell::default(), last_line: RefCell::new(Instant::now()) }
    }

    /// A step begins.
    pub fn step(&self, step: &str) {
        *self.step.borrow_mut() = step.to_owned();
        match &self.bar {
            Some(bar) => bar.set_message(step.to_owned()),
            None => eprintln!(" >>  {step}"),
        }
    }

    /// A step is done; `what` came of it.
    pub fn done(&self, what: &str) {
        self.line(&format!(" ok  {what}"));
    }

    /// Further detail of the step under way, as when cargo compiles.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            let detail: String = detail.chars().take(80).collect();
            bar.set_message(format!("{}  {detail}", self.step.borrow()));
        }
    }

    /// How the load goes, with further detail of the step.
    pub fn glance(&self, glance: &Glance, detail: &str) {
        let step = self.step.borrow();
        let figures = format!(
            "{step}{detail}   {:.0} events/s   longest gap {:.1} ms   p99 {:.1} ms   {} under way",
            glance.rate_per_s,
            glance.longest_gap_ms,
            glance.p99_us as f64 / 1e3,
            glance.under_way,
        );
        match &self.bar {
            Some(bar) => bar.set_message(figures),
            None => {
                let mut last = self.last_line.borrow_mut();
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!("     {figures}");
                }
            }
        }
    }

    /// A line that stays.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Clears the live line.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
