//! The rows and what is asked of each.

use rig::bench::What;

use super::targets::Target;

/// What a row is compared with, beside `limit`.
pub enum Kind {
    /// Nothing.
    Alone,
    /// Another load, on a pair with another durability, with the same number of connections and events under way.
    Beside { what: What, durability: &'static str },
    /// The same pair before its standby had another version.
    Mixed,
    /// Nothing; it runs at half of the rate that the pair has under a closed load.
    HalfOfSaturation,
}

/// A row.
pub struct Row {
    pub name: &'static str,
    pub what: What,
    pub connections: u32,
    pub in_flight: u32,
    pub durability: &'static str,
    pub partitions: u16,
    /// Of both processors.
    pub busy_poll_us: u64,
    pub kind: Kind,
    pub targets: &'static [Target],
}

const MEMORY: &str = "replicated";
const DISK: &str = "fsync";

/// Transfers on a pair with one partition.
const fn transfers(
    name: &'static str,
    connections: u32,
    in_flight: u32,
    durability: &'static str,
    kind: Kind,
    targets: &'static [Target],
) -> Row {
    Row {
        name,
        what: What::Transfers,
        connections,
        in_flight,
        durability,
        partitions: 1,
        busy_poll_us: 0,
        kind,
        targets,
    }
}

const BESIDE_MEMORY: Kind = Kind::Beside { what: What::Transfers, durability: MEMORY };

/// All of them.
pub const ROWS: &[Row] = &[
    transfers("64x1", 64, 1, MEMORY, Kind::Alone, &[Target::RateOfLimit(0.75), Target::CpuPer1000(0.010)]),
    transfers("8x256", 8, 256, MEMORY, Kind::Alone, &[Target::RateOfLimit(0.4), Target::CpuPer1000(0.003)]),
    transfers("1x1", 1, 1, MEMORY, Kind::Alone, &[Target::MedianOfLimit(1.15)]),
    Row {
        name: "busy-1x1",
        busy_poll_us: 200,
        ..transfers("", 1, 1, MEMORY, Kind::Alone, &[Target::MedianOfLimit(0.7)])
    },
    transfers("fsync-64x1", 64, 1, DISK, BESIDE_MEMORY, &[Target::RateOfOther(0.5)]),
    transfers("fsync-8x256", 8, 256, DISK, BESIDE_MEMORY, &[Target::RateOfOther(0.6), Target::P999Ms(10.0)]),
    transfers("fsync-1x1", 1, 1, DISK, Kind::Alone, &[Target::MedianOfLimit(3.0)]),
    transfers(
        "mixed-8x256",
        8,
        256,
        MEMORY,
        Kind::Mixed,
        &[Target::CpuOfOther(1.2), Target::RateOfOther(0.85)],
    ),
    transfers("half-64x4", 64, 4, MEMORY, Kind::HalfOfSaturation, &[Target::P999Ms(10.0)]),
    Row { name: "partitions-2-8x256", partitions: 2, ..transfers("", 8, 256, MEMORY, BESIDE_MEMORY, &[]) },
    Row {
        name: "reads-8x256",
        what: What::Balances,
        ..transfers("", 8, 256, MEMORY, BESIDE_MEMORY, &[Target::RateOfOther(1.5)])
    },
    Row {
        name: "withheld-8x64",
        what: What::Documents { bytes: 1_024 },
        ..transfers("", 8, 64, MEMORY, BESIDE_MEMORY, &[])
    },
    Row {
        name: "http-64x1",
        what: What::TransfersOverHttp,
        ..transfers("", 64, 1, MEMORY, BESIDE_MEMORY, &[Target::RateOfOther(0.6)])
    },
];
