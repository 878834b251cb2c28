//! The page of figures of a running pair: documented as it is, and the dashboard asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::{load, pair};

/// Labels that every metric of a group has, or may have.
const COMMON: [&str; 3] = ["application", "node", "partition"];

/// A metric: its kind, and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn page_of(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// The labels in `{…}`, by name.
fn labels(braces: &str) -> BTreeSet<String> {
    let (mut names, mut name, mut quoted) = (BTreeSet::new(), String::new(), false);
    for letter in braces.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '=' | '!' | '~' => {
                if !name.is_empty() {
                    names.insert(std::mem::take(&mut name));
                }
            }
            ',' | ' ' => name.clear(),
            letter => name.push(letter),
        }
    }
    names
}

fn metrics_in(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            metrics.insert(name.to_owned(), (kind.trim().to_owned(), BTreeSet::new()));
        } else if line.starts_with("lockstep_") {
            let (name, rest) = line.split_once('{').unwrap();
            let (braces, value) = rest.rsplit_once('}').unwrap();
            assert!(value.trim().parse::<f64>().is_ok(), "{line}");
            metrics.get_mut(name).unwrap_or_else(|| panic!("no type: {line}")).1.extend(labels(braces));
        }
    }
    metrics
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// What docs/metrics.md says there is, the common labels left out.
fn documented() -> Metrics {
    let text = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `lockstep_"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // The alarms' table has expressions and two columns.
        let [name, kind, labels, _meaning, _end] = cells[..] else { return None };
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        Some((format!("lockstep_{}", name.trim_end_matches('`')), (kind.to_owned(), labels)))
    })
    .collect()
}

/// Every metric that a query names, with the labels that it is selected or summed by.
fn asked_for(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut summed = BTreeSet::new();
    for (at, _) in query.match_indices("by (") {
        let list = query[at + 4..].split(')').next().unwrap();
        summed.extend(list.split(',').map(|label| label.trim().to_owned()));
    }
    let mut found = Vec::new();
    for (at, _) in query.match_indices("lockstep_") {
        let rest = &query[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let mut by = summed.clone();
        if let Some(braces) = rest[end..].strip_prefix('{') {
            by.extend(labels(braces.split('}').next().unwrap()));
        }
        found.push((rest[..end].to_owned(), by));
    }
    found
}

fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(query) if name == "expr" || name == "query" => found.push(query.clone()),
                    other => queries(other, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|each| queries(each, found)),
        _ => {}
    }
}

#[test]
fn the_documented_metrics_are_those_of_a_running_pair_and_the_dashboard_asks_for_no_others() {
    let (_directory, mut pair) = pair();
    let load = load(&pair);
    let pages = [0, 1].map(|at| metrics_in(&page_of(&pair.node(at).ready().http)));
    assert_eq!(pages[0], pages[1], "both processors have the same metrics");
    let real = &pages[0];
    let own = |metrics: &Metrics| -> Metrics {
        let own = |labels: &BTreeSet<String>| {
            labels.iter().filter(|label| !COMMON.contains(&label.as_str())).cloned().collect()
        };
        metrics.iter().map(|(name, (kind, all))| (name.clone(), (kind.clone(), own(all)))).collect()
    };
    assert_eq!(documented(), own(real), "docs/metrics.md against /metrics");
    let text = std::fs::read_to_string(workspace().join("hosts/lockstepd/grafana/lockstep.json")).unwrap();
    let mut all = Vec::new();
    queries(&serde_json::from_str(&text).unwrap(), &mut all);
    let mut shown = BTreeSet::new();
    for query in &all {
        for (metric, by) in asked_for(query) {
            let (_, has) = real.get(&metric).unwrap_or_else(|| panic!("there is no {metric}: {query}"));
            let odd: Vec<_> = by
                .iter()
                .filter(|label| !has.contains(*label) && !COMMON.contains(&label.as_str()))
                .collect();
            assert!(odd.is_empty(), "{metric} has no label {odd:?}: {query}");
            shown.insert(metric);
        }
    }
    let missing: Vec<_> = real.keys().filter(|metric| !shown.contains(*metric)).collect();
    assert!(missing.is_empty(), "the dashboard does not show {missing:?}");
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}

#[test]
fn queries_are_read_with_their_labels() {
    let query = "sum by (node, how) (rate(lockstep_followed_total{application=\"$a\",how!~\"x,y\"}[5m]))";
    let labels = ["application", "how", "node"].map(String::from).into();
    assert_eq!(asked_for(query), [("lockstep_followed_total".to_owned(), labels)]);
}
