//! Stories of `bt-index`, told by the real program on real files with the model that comes along.
#![allow(clippy::unwrap_used)]

mod captions;
mod commands;
mod hostile;
mod life;
mod many;
mod together;

#[path = "../harness/mod.rs"]
mod harness;

use serde_json::Value;

/// Checks some counts of a report; all other counts must be 0.
#[track_caller]
fn assert_counts(report: &Value, expected: &[(&str, u64)]) {
    const COUNTS: [&str; 10] = [
        "indexed",
        "unchanged",
        "moved",
        "duplicates",
        "redescribed",
        "gone",
        "not_pictures",
        "vanished",
        "pruned",
        "found",
    ];
    let of = |name: &str| {
        expected
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, n)| *n)
    };
    let lists = ["failed", "unsupported", "damaged", "warnings"];
    for name in COUNTS.iter().filter(|name| **name != "found") {
        assert_eq!(report[name], of(name), "{name}: {report:#}");
    }
    for name in lists {
        assert_eq!(
            report[name].as_array().unwrap().len() as u64,
            of(name),
            "{name}: {report:#}"
        );
    }
    let ended: u64 = COUNTS[..7]
        .iter()
        .map(|name| report[name].as_u64().unwrap())
        .sum::<u64>()
        + of("failed")
        + of("unsupported");
    assert_eq!(
        report["found"], ended,
        "every file ends as exactly one outcome: {report:#}"
    );
}
