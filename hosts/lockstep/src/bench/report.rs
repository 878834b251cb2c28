//! What is told of a load, to people and to programs.

use serde::Serialize;

use super::args::{Bench, Distribution, Encoding, Protocol};
use super::board::Board;
use super::cpu::load_average;
use super::figures::Outcome;

/// Latencies, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latencies {
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half of them are not longer.
    pub p50: f64,
    /// 90 in 100 are not longer.
    pub p90: f64,
    /// 99 in 100 are not longer.
    pub p99: f64,
    /// 999 in 1,000 are not longer.
    pub p999: f64,
    /// 9,999 in 10,000 are not longer.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

/// The processor time of a process while it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessTime {
    /// The processor's name, or the process's number.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// Its time in seconds; none if it ended meanwhile.
    pub cpu_s: Option<f64>,
    /// Of that, for 1,000 events.
    pub cpu_s_per_1000: Option<f64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The application.
    pub application: String,
    /// The procedure.
    pub procedure: String,
    /// How events were sent.
    pub protocol: Protocol,
    /// How control parameters were encoded.
    pub encoding: Encoding,
    /// Connections.
    pub connections: u32,
    /// Events under way on each, at most.
    pub in_flight: u32,
    /// Events a second that were due; none under a closed load.
    pub open_rate_per_s: Option<f64>,
    /// Keys.
    pub keys: u64,
    /// How they were drawn.
    pub distribution: Distribution,
    /// Partitions, as far as they matter.
    pub partitions: u16,
    /// How long it was measured.
    pub seconds: f64,
    /// Answers in that time.
    pub events: u64,
    /// Answers a second.
    pub rate_per_s: f64,
    /// Of these, those with a reply.
    pub committed: u64,
    /// The application's own "no".
    pub refused: u64,
    /// What went wrong and was rolled back.
    pub faulted: u64,
    /// What the first refusal said.
    pub first_refusal: Option<String>,
    /// What the first fault said.
    pub first_fault: Option<String>,
    /// Events that were due and had no answer when the load was given up.
    pub unanswered: u64,
    /// Latencies of all events that were due while it was measured.
    pub latency_us: Latencies,
    /// The longest time between two answers.
    pub longest_gap_ms: f64,
    /// Events sent again under their id, in the whole run.
    pub sent_again: u64,
    /// Connections that worked and were lost, in the whole run.
    pub connections_lost: u64,
    /// The processors.
    pub processes: Vec<ProcessTime>,
    /// Of all of them, for 1,000 events; none if one is not known.
    pub cpu_s_per_1000: Option<f64>,
    /// The load's own processor time in seconds.
    pub load_cpu_s: f64,
    /// The machine's load average over a minute, at the end.
    pub load_average: Option<f64>,
    /// Ctrl-C ended it early.
    pub interrupted: bool,
    /// Answers in each millisecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_per_ms: Option<Vec<u32>>,
}

impl Report {
    /// Of what was measured; `times` are the processes with their time.
    pub fn of(
        bench: &Bench,
        partitions: u16,
        board: &Board,
        left: u64,
        times: Vec<(String, u32, Option<f64>)>,
        load_cpu_s: f64,
    ) -> Self {
        let figures = &board.figures;
        let events = figures.events();
        let per_1000 = |seconds: f64| rounded(seconds * 1e3 / events.max(1) as f64, 6);
        let all: Option<f64> = times.iter().map(|(_, _, time)| *time).sum();
        let us = |ns: f64| rounded(ns / 1e3, 1);
        let quantile = |quantile: f64| rounded(figures.quantile_us(quantile), 1);
        Report {
            application: bench.application.clone(),
            procedure: bench.procedure.clone(),
            protocol: bench.protocol,
            encoding: bench.encoding,
            connections: bench.connections,
            in_flight: match bench.protocol {
                Protocol::Binary => bench.in_flight,
                Protocol::Http => 1,
            },
            open_rate_per_s: bench.rate,
            keys: bench.keys,
            distribution: bench.distribution,
            partitions,
            seconds: rounded(figures.seconds(), 3),
            events,
            rate_per_s: rounded(figures.rate_per_s(), 1),
            committed: figures.count(Outcome::Committed),
            refused: figures.count(Outcome::Refused),
            faulted: figures.count(Outcome::Faulted),
            first_refusal: board.said[0].clone(),
            first_fault: board.said[1].clone(),
            unanswered: board.open + left,
            latency_us: Latencies {
                min: us(figures.latencies.min() as f64),
                mean: us(figures.latencies.mean()),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                p9999: quantile(0.9999),
                max: us(figures.latencies.max() as f64),
            },
            longest_gap_ms: rounded(figures.longest_gap_ms(), 2),
            sent_again: board.resent,
            connections_lost: board.lost,
            cpu_s_per_1000: all.filter(|_| !times.is_empty()).map(per_1000),
            processes: times
                .into_iter()
                .map(|(name, pid, cpu_s)| ProcessTime {
                    name,
                    pid,
                    cpu_s: cpu_s.map(|seconds| rounded(seconds, 2)),
                    cpu_s_per_1000: cpu_s.map(per_1000),
                })
                .collect(),
            load_cpu_s: rounded(load_cpu_s, 2),
            load_average: load_average(),
            interrupted: super::interrupt::pressed(),
            answers_per_ms: figures.timeline().map(<[u32]>::to_vec),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Report { latency_us: latency, .. } = self;
        let ms = |us: f64| format!("{:.3}", us / 1e3);
        let load = match self.open_rate_per_s {
            None => format!("{} in flight each", self.in_flight),
            Some(rate) => format!("{rate} events due a second"),
        };
        let mut text = format!(
            "{} {}: {} connections, {load}, {:.1} s{}\n",
            self.application,
            self.procedure,
            self.connections,
            self.seconds,
            if self.interrupted { ", ended early" } else { "" },
        );
        text += &format!(
            "  events      {} ({:.0} a second): {} committed, {} refused, {} faulted, {} unanswered\n",
            self.events, self.rate_per_s, self.committed, self.refused, self.faulted, self.unanswered
        );
        for (what, said) in [("refusal", &self.first_refusal), ("fault", &self.first_fault)] {
            if let Some(said) = said {
                text += &format!("  the first {what} said: {said}\n");
            }
        }
        text += &format!(
            "  latency ms  p50 {}   p90 {}   p99 {}   p99.9 {}   p99.99 {}   max {}\n",
            ms(latency.p50),
            ms(latency.p90),
            ms(latency.p99),
            ms(latency.p999),
            ms(latency.p9999),
            ms(latency.max)
        );
        text += &format!(
            "  longest gap {:.1} ms   sent again {}   connections lost {}\n",
            self.longest_gap_ms, self.sent_again, self.connections_lost
        );
        for process in &self.processes {
            text += &match (process.cpu_s, process.cpu_s_per_1000) {
                (Some(cpu_s), Some(per_1000)) => {
                    format!(
                        "  processor {}: {cpu_s:.2} s of CPU, {per_1000:.6} s for 1,000 events\n",
                        process.name
                    )
                }
                _ => format!("  processor {}: ended meanwhile\n", process.name),
            };
        }
        text += &format!("  this load: {:.2} s of CPU", self.load_cpu_s);
        if let Some(average) = self.load_average {
            text += &format!("; load average {average} at the end");
        }
        text + "\n"
    }
}

fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}
