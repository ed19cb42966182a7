//! Search over many vectors: build time, bytes a vector, latency and recall@10 of the exact scan and of
//! the graph at several ef_search.
//!
//!     cargo bench --bench search -- [--rows 100000] [--dim 512] [--vectors x.npy --queries q.npy]
//!
//! The vectors are clustered, as embeddings are; benches/peers/peers.py ann writes its own to x.npy and
//! q.npy, so that both sides search the same ones.

mod support;

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Result;
use bt_store::{
    About, Change, Collection, ContentHash, Filter, Header, Location, ModelId, ModelRef, Reader,
    Record, Walk, Writer,
};
use candle_core::{Device, Tensor};
use support::{argument, row};

const K: usize = 10;

fn main() -> Result<()> {
    let rows: usize = argument("--rows", "100000").parse()?;
    let dim: usize = argument("--dim", "512").parse()?;
    let (vectors, queries) = match argument("--vectors", "").as_str() {
        "" => {
            let centers = Tensor::randn(0f32, 1., (2000, dim), &Device::Cpu)?;
            (clustered(&centers, rows)?, clustered(&centers, 200)?)
        }
        path => (
            Tensor::read_npy(path)?.to_vec2()?,
            Tensor::read_npy(argument("--queries", ""))?
                .narrow(0, 0, 200)?
                .to_vec2()?,
        ),
    };
    let (rows, dim) = (vectors.len(), vectors[0].len());
    let name = format!("{rows} x {dim}");

    let folder = tempfile::tempdir()?;
    let header = Header {
        model: ModelRef {
            spec: "synthetic".into(),
            fit: "reference".into(),
            id: ModelId("synthetic".into()),
        },
        rerank: None,
        dim,
        aligned_with_text: true,
    };
    let mut writer = Writer::create_or_open(folder.path(), &header)?;
    let start = Instant::now();
    for (batch, chunk) in vectors.chunks(1000).enumerate() {
        let changes: Vec<_> = chunk
            .iter()
            .enumerate()
            .map(|(place, embedding)| put(batch * 1000 + place, embedding))
            .collect();
        writer.commit(&changes)?;
    }
    row(
        &format!("commit {name}"),
        rows as f64 / start.elapsed().as_secs_f64(),
        "records/s",
    );
    let start = Instant::now();
    writer.publish(&mut |_| {})?;
    row(
        &format!("publish {name}"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    let stats = writer.stats()?;
    row(
        &format!("truth {name}"),
        stats.truth_bytes as f64 / rows as f64,
        "bytes/picture",
    );
    row(
        &format!("derived {name}"),
        stats.derived_bytes as f64 / rows as f64,
        "bytes/picture",
    );
    drop(writer);

    let start = Instant::now();
    let reader = Reader::open(folder.path())?;
    let truth = search(&reader, &queries[..1], Walk::Exact)?;
    row(
        &format!("open and first exact answer {name}"),
        start.elapsed().as_secs_f64() * 1e3,
        "ms",
    );
    assert_eq!(truth[0].len(), K.min(rows), "every query has its answer");

    let (truth, time) = timed(&reader, &queries, Walk::Exact)?;
    row(&format!("exact {name}"), time, "ms/query");
    let filter = Filter::Format("png".into());
    let start = Instant::now();
    for query in &queries[..20] {
        reader.nearest(query, &filter, K, Walk::Exact)?;
    }
    row(
        &format!("exact, one in 100 allowed {name}"),
        start.elapsed().as_secs_f64() * 1e3 / 20.0,
        "ms/query",
    );
    if reader.facts().graph_rows == 0 {
        return Ok(());
    }
    search(&reader, &queries[..1], Walk::Graph { ef_search: 64 })?;
    for ef_search in [32, 64, 128, 256] {
        let (found, time) = timed(&reader, &queries, Walk::Graph { ef_search })?;
        row(&format!("graph ef {ef_search} {name}"), time, "ms/query");
        row(
            &format!("graph ef {ef_search} recall@{K} {name}"),
            recall(&found, &truth),
            "",
        );
    }
    Ok(())
}

fn clustered(centers: &Tensor, rows: usize) -> Result<Vec<Vec<f32>>> {
    let (count, dim) = centers.dims2()?;
    let which: Vec<u32> = (0..rows).map(|row| (row * 7919 % count) as u32).collect();
    let which = Tensor::from_vec(which, rows, &Device::Cpu)?;
    let spread = Tensor::randn(0f32, 0.35, (rows, dim), &Device::Cpu)?;
    let points = (centers.index_select(&which, 0)? + spread)?;
    let norms = points.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(points.broadcast_div(&norms)?.to_vec2()?)
}

fn put(row: usize, embedding: &[f32]) -> Change {
    let id = ContentHash::of(&row.to_le_bytes());
    let record = Record {
        id,
        locations: vec![Location {
            path: format!("/photos/{:03}/IMG_{row:07}.jpg", row / 1000).into(),
            size: 4_000_000,
            mtime_ns: 1_700_000_000_000_000_000,
        }],
        about: About {
            width: 4000,
            height: 3000,
            format: if row.is_multiple_of(100) {
                "png"
            } else {
                "jpeg"
            }
            .into(),
            ..About::default()
        },
    };
    Change::Put {
        record,
        embedding: embedding.to_vec(),
    }
}

type Answers = Vec<Vec<ContentHash>>;

fn search(reader: &Reader, queries: &[Vec<f32>], walk: Walk) -> Result<Answers> {
    let everything = Filter::everything();
    let mut answers = Vec::with_capacity(queries.len());
    for query in queries {
        let found = reader.nearest(query, &everything, K, walk)?;
        answers.push(found.hits.iter().map(|hit| hit.id).collect());
    }
    Ok(answers)
}

/// The answers, and milliseconds a query.
fn timed(reader: &Reader, queries: &[Vec<f32>], walk: Walk) -> Result<(Answers, f64)> {
    let start = Instant::now();
    let answers = search(reader, queries, walk)?;
    Ok((
        answers,
        start.elapsed().as_secs_f64() * 1e3 / queries.len() as f64,
    ))
}

fn recall(found: &Answers, truth: &Answers) -> f64 {
    let hits: usize = found
        .iter()
        .zip(truth)
        .map(|(found, truth)| {
            let truth: HashSet<_> = truth.iter().collect();
            found.iter().filter(|id| truth.contains(id)).count()
        })
        .sum();
    hits as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
}
