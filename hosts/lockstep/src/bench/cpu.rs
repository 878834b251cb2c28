//! Processor time of processes, as the kernel counts it.

use super::error::Wrong;

/// A tick of `/proc/PID/stat`, in seconds: 10 ms on every Linux that we know.
const TICK_S: f64 = 0.01;

/// The processor time that a process has taken, in seconds.
///
/// # Errors
/// When it is gone, or has ended and nobody has asked how.
pub fn taken_s(pid: u32) -> Result<f64, Wrong> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| Wrong::NoProcess(pid))?;
    // Fields after the name, which ends with the last parenthesis: the state, and user and system time as 12th and 13th.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    if matches!(fields.next(), Some("Z" | "X") | None) {
        return Err(Wrong::NoProcess(pid));
    }
    let mut fields = fields.skip(10);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok((ticks() + ticks()) as f64 * TICK_S)
}

/// The machine's load average over one minute; what else it had to do stands in every figure.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_taken_and_a_process_that_is_not_there_is_named() {
        let own = std::process::id();
        let until = taken_s(own).unwrap() + 3.0 * TICK_S;
        while taken_s(own).unwrap() < until {}
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        // Until it is waited for it is there, and has ended.
        while taken_s(ended.id()).is_ok() {}
        ended.wait().unwrap();
        // The kernel gives no process this number.
        assert_eq!(taken_s(u32::MAX), Err(Wrong::NoProcess(u32::MAX)));
    }
}
