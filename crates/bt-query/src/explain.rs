//! Why the results are what they are, as text: the walk that was taken, the time of each stage, and each
//! result's place at every stage. The same facts are in the JSON form.

use std::fmt::Write as _;

use bt_store::Walk;

use crate::answer::{Answer, Found};
use crate::fuse::Ranked;
use crate::plan::{QueryVector, Retrieve};

/// One line on where a result's place comes from.
pub(crate) fn reasons(found: &Found) -> String {
    let why = &found.why;
    let place = |name: &str, ranked: Option<Ranked>| {
        ranked.map(|Ranked { rank, score }| format!("{name} #{rank} ({score:.3})"))
    };
    let mut parts: Vec<String> = [
        place("vector", why.vector),
        place("words", why.words),
        place("fused", why.fused),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(cosine) = why.cosine {
        parts.push(format!("cosine {cosine:.3}"));
    }
    if let Some(logit) = why.itm_logit {
        parts.push(format!("ITM {logit:+.2}"));
    }
    if let Some(score) = why.rerank_score {
        parts.push(format!("reranked by {score:.3}"));
    }
    for seen in &why.not {
        parts.push(format!("not: {:.0} %", seen * 100.0));
    }
    if why.exact_name {
        parts.push("exact file name".to_owned());
    }
    if why.says_it {
        parts.push("its words say it".to_owned());
    }
    parts.join(" · ")
}

/// What was done, and how long each stage took; several lines.
pub(crate) fn course(answer: &Answer) -> String {
    let mut text = String::new();
    let plan = &answer.plan;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} of {} pictures pass the filters",
        answer.allowed, answer.pictures
    );
    let vector = match plan.vector {
        QueryVector::Absent => "none",
        QueryVector::Text => "the words",
        QueryVector::Picture => "the picture",
        QueryVector::Pair => "words and picture through the cross-modal embedding",
        QueryVector::Mean => "the mean of words and picture",
    };
    let less = if plan.subtract {
        ", less what should not be seen"
    } else {
        ""
    };
    let _ = writeln!(text, "query vector: {vector}{less}");
    for finder in &plan.retrieve {
        let _ = match finder {
            Retrieve::Vector { walk, n } => {
                let walked = answer.walk.unwrap_or(*walk);
                let fell_back = if walked == *walk {
                    String::new()
                } else {
                    format!(" (planned: {})", walk_name(*walk))
                };
                writeln!(text, "vectors: {}{fell_back}, best {n}", walk_name(walked))
            }
            Retrieve::Words { text: words, n } => writeln!(text, "words: `{words}`, best {n}"),
            Retrieve::LookAt { at_most } => {
                writeln!(text, "looked at one by one: at most {at_most}")
            }
        };
    }
    let _ = writeln!(
        text,
        "fused by reciprocal rank, k = {}, weights {} (vectors) and {} (words)",
        plan.fuse.k, plan.fuse.vector_weight, plan.fuse.words_weight
    );
    let _ = match plan.rerank {
        None => writeln!(text, "not reranked"),
        Some(rerank) => {
            let why = match answer.left_out {
                0 => String::new(),
                left_out => format!(
                    "; {left_out} cannot match, in 99 of 100 queries, by what their embeddings say"
                ),
            };
            writeln!(
                text,
                "reranked: {} of at most {} looked at{why}",
                answer.looked_at, rerank.top
            )
        }
    };
    let _ = writeln!(
        text,
        "a match from {:.0} % on; {} results",
        plan.cut.threshold * 100.0,
        answer.matched
    );
    for note in &plan.notes {
        let _ = writeln!(text, "{note}");
    }
    let times: Vec<String> = answer
        .stages
        .iter()
        .map(|stage| format!("{} {:.1} ms", stage.name, stage.took.as_secs_f64() * 1e3))
        .collect();
    let _ = writeln!(
        text,
        "time: {}; together {:.1} ms",
        times.join(", "),
        answer.took().as_secs_f64() * 1e3
    );
    text
}

fn walk_name(walk: Walk) -> String {
    match walk {
        Walk::Exact => "every allowed row compared (exact)".to_owned(),
        Walk::Graph { ef_search } => format!("graph walked with breadth {ef_search}"),
    }
}
