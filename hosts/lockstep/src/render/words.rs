//! Numbers, lengths of time and columns, as all commands print them.

/// `18,442,107`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 procedure`, `2 procedures`.
pub fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(number))
}

/// `850 us`, `1.9 ms`, `2.4 s`.
pub fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `12 s`, `5 min`, `3 h`, `41 d`: the largest unit alone.
pub fn age(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

/// `2 min`, `90 s`, `250 ms`: exact.
pub fn length(ms: u64) -> String {
    match ms {
        _ if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms > 0 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

/// `0:41`, `12:05`.
pub fn clock(ms: u64) -> String {
    let s = ms / 1_000;
    format!("{}:{:02}", s / 60, s % 60)
}

/// `0.04 s`.
pub fn seconds(us: u64) -> String {
    format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000)
}

/// Rows in columns, two spaces apart, each line after `indent`; no trailing spaces.
pub fn columns(indent: &str, gap: &str, rows: &[Vec<String>]) -> String {
    let width_of =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..).map_while(width_of).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from(indent);
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                line.push_str(gap);
            }
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widths[at] - cell.chars().count()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(18_442_107)],
            ["0", "999", "1,000", "18,442,107"]
        );
        assert_eq!([counted(1, "fault"), counted(0, "fault")], ["1 fault", "0 faults"]);
        assert_eq!([latency(850), latency(1_999), latency(2_400_000)], ["850 us", "1.9 ms", "2.4 s"]);
        assert_eq!(
            [age(5_000), age(300_000), age(7_200_000), age(41 * 86_400_000)],
            ["5 s", "5 min", "2 h", "41 d"]
        );
        assert_eq!(
            [length(120_000), length(90_000), length(250), length(0)],
            ["2 min", "90 s", "250 ms", "0 ms"]
        );
        assert_eq!([clock(41_000), clock(725_000)], ["0:41", "12:05"]);
        assert_eq!(seconds(94_000), "0.09 s");
    }

    #[test]
    fn columns_line_up_and_end_without_spaces() {
        let rows = [vec!["a".into(), "long".into(), "x".into()], vec!["bcd".into(), String::new()]];
        assert_eq!(columns("  ", "  ", &rows), "  a    long  x\n  bcd\n");
    }
}
